//! Reads the index for one session: its lines, erasures that name the session, and objects that no line names yet.
//! Planted lines hide nothing, and are marked if signatures were checked. Neighbour: `replay` opens the content.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use vault::index_row::{ErasureRecord, ErasureState, IndexRow, KeyCopy, RowKind};
use vault::object_names::{ObjectName, account_segment, id_segment, session_folder};
use vault::store::ObjectKind;

use super::index::{IndexLines, each_row};
use super::key_claims::KeyClaims;
use super::session::{LineId, ReplayFilter, ReplayedSession, line_id};
use crate::error::Result;
use crate::location::Vault;

/// Assumed memory of an index line, bytes.
const LINE_MEMORY: u64 = 1024;
/// Most unsigned erasures that are considered.
const MAX_UNSIGNED_ERASURES: usize = 100;
/// Once this many copies of the session's keys are listed, signed ones included, unsigned ones are dropped.
const MAX_COPIES: usize = 10_000;

fn is_wanted(row: &IndexRow, session: &str, filter: &ReplayFilter) -> bool {
    row.tail.session_name().as_deref().unwrap_or("trace-none") == session
        && !matches!(row.tail.kind, Some(RowKind::Quarantine | RowKind::Gap))
        && filter.account.as_ref().is_none_or(|account| *account == row.tail.account)
        && filter.tenant.as_ref().is_none_or(|tenant| *tenant == row.tail.tenant)
}

#[derive(Default)]
pub(super) struct SessionIndex {
    pub(super) rows: Vec<IndexRow>,
    /// Erasure lines, of any session; only signed ones, if signatures were checked.
    pub(super) erasures: Vec<IndexRow>,
    /// Erasure lines of the session without a signature of the given keys, if signatures were checked.
    pub(super) unsigned_erasures: Vec<IndexRow>,
    /// Key copies, signed or not: a listed copy must still hold the key itself.
    pub(super) copies: Vec<KeyCopy>,
    /// The session without its entries. Unreadable parts of the index are no errors: a planted object must not end
    /// every replay.
    pub(super) replay: ReplayedSession,
}

impl SessionIndex {
    /// Claims of the lines about the session's keys; takes `copies`.
    pub(super) fn key_claims(&mut self, session: &str) -> KeyClaims {
        let signed_rows = self.rows.iter().filter(|row| !self.replay.unsigned.contains(&line_id(row)));
        let unsigned_rows = self.rows.iter().filter(|row| self.replay.unsigned.contains(&line_id(row)));
        let mut claims = KeyClaims::collect(signed_rows, unsigned_rows, std::mem::take(&mut self.copies));
        // another account's erasure concerns another session, even if the name is the same
        let accounts: HashSet<&str> = self.rows.iter().map(|row| row.tail.account.as_str()).collect();
        let is_of_account = |row: &&IndexRow| accounts.is_empty() || accounts.contains(row.tail.account.as_str());
        claims.add_erasures(session, self.erasures.iter().filter(is_of_account), true);
        claims.add_erasures(session, self.unsigned_erasures.iter().filter(is_of_account), false);
        claims
    }
}

/// Descriptions of the erasures that name this session; those of other accounts are excluded.
pub(super) fn describe_erasures(erasures: &[IndexRow], session: &str, rows: &[IndexRow]) -> Vec<String> {
    let segment = id_segment(session);
    let account = rows.first().map(|row| row.tail.account.as_str());
    let concerned = erasures.iter().filter(|row| account.is_none_or(|account| account == row.tail.account));
    let erasures = concerned.filter_map(|row| Some((row, row.tail.erasure.as_ref()?)));
    let mut descriptions: BTreeMap<&str, (ErasureState, String)> = BTreeMap::new();
    for (row, erasure) in erasures {
        if !erasure.sessions.iter().any(|name| name.split_once('/').is_some_and(|(_, name)| name == segment)) {
            continue;
        }
        let state = if erasure.state == ErasureState::Done { "erased" } else { "being erased since" };
        let (ErasureRecord { who, why, signers, key_ids, .. }, ts) = (&**erasure, &row.tail.ts);
        let (signers, keys) = (signers.join(", "), key_ids.len());
        let description =
            format!("{state} {ts} at the request of {who} ({why}), signed by {signers}: {keys} keys destroyed");
        let described = descriptions.get(erasure.nonce.as_str());
        if described.is_none_or(|(state, _)| *state != ErasureState::Done) {
            descriptions.insert(&erasure.nonce, (erasure.state, description));
        }
    }
    descriptions.into_values().map(|(_, description)| description).collect()
}

/// Reads the index for a session. Unsigned lines come after the signed ones.
pub(super) async fn read_session_index(vault: &Vault, session: &str, filter: &ReplayFilter) -> Result<SessionIndex> {
    let mut found = SessionIndex::default();
    found.replay.session = session.to_owned();
    (found.replay.signatures_checked, found.replay.counts_unsigned) = (filter.signed.is_some(), filter.unsigned);
    let segment = id_segment(session);
    let is_session_copy = |copy: &KeyCopy| copy.name.rsplit('/').nth(2) == Some(&*segment);
    let is_session = |name: &String| name.split_once('/').is_some_and(|(_, name)| name == segment);
    let max_rows = usize::try_from(filter.content.0 / LINE_MEMORY).unwrap_or(usize::MAX);
    let mut visit = |_: &str, row: IndexRow| match row.tail.kind {
        Some(RowKind::Erasure) => found.erasures.push(row),
        Some(RowKind::KeyCopies) => found.copies.extend(row.tail.key_copies.into_iter().filter(is_session_copy)),
        _ if !is_wanted(&row, session, filter) => {}
        _ if found.rows.len() < max_rows => found.rows.push(row),
        _ => found.replay.omitted += 1,
    };
    let account = filter.account.as_deref();
    let unread = each_row(vault, account, &|_| true, filter.signed.as_deref().into(), &mut visit).await?;
    (found.replay.unreadable, found.replay.older_missing) = (unread.unreadable, unread.older_missing);
    let Some(signed) = &filter.signed else { return Ok(found) };
    found.replay.unreadable.extend_from_slice(&signed.unreadable);
    let (mut reused_numbers, mut other_accounts, mut over_limit) = (0_u64, 0_u64, 0_u64);
    let signed_ids: HashSet<LineId> = found.rows.iter().map(line_id).collect();
    let signed_accounts: HashSet<String> = found.rows.iter().map(|row| row.tail.account.clone()).collect();
    let mut visit = |_: &str, row: IndexRow| match row.tail.kind {
        // an unsigned erasure erases nothing; it is considered only for warnings about existing keys
        Some(RowKind::Erasure) => {
            let mut sessions = row.tail.erasure.iter().flat_map(|erasure| &erasure.sessions);
            if sessions.any(is_session) && found.unsigned_erasures.len() < MAX_UNSIGNED_ERASURES {
                found.unsigned_erasures.push(row);
            }
        }
        Some(RowKind::KeyCopies) => {
            let room = MAX_COPIES.saturating_sub(found.copies.len());
            found.copies.extend(row.tail.key_copies.into_iter().filter(is_session_copy).take(room));
        }
        _ if !is_wanted(&row, session, filter) => {}
        _ if signed_ids.contains(&line_id(&row)) => reused_numbers += 1,
        _ if !signed_accounts.is_empty() && !signed_accounts.contains(&row.tail.account) => other_accounts += 1,
        _ if found.rows.len() < max_rows => {
            found.replay.unsigned.insert(line_id(&row));
            found.rows.push(row);
        }
        _ => over_limit += 1,
    };
    let unread = each_row(vault, account, &|_| true, IndexLines::Unsigned(signed), &mut visit).await?;
    let signed_remarks = found.replay.unreadable.len();
    found.replay.unreadable.extend(unread.unreadable);
    for (count, problem) in [
        (reused_numbers, "reuse the numbers of signed lines: they were planted"),
        (other_accounts, "belong to accounts that have no signed line of this session"),
        (over_limit, "were left out: the memory limit is reached"),
    ] {
        found.replay.unreadable.extend((count > 0).then(|| format!("{count} unsigned lines {problem}")));
    }
    found.replay.lossless_remarks = found.replay.unreadable.len() - signed_remarks;
    Ok(found)
}

/// Offsets of other sessions' fragments in those of these objects that several sessions share; only the index has the
/// offsets. Their number is bounded by the memory limit; offsets beyond the limit are left out.
pub(super) async fn find_foreign_fragments(
    vault: &Vault,
    session: &str,
    filter: &ReplayFilter,
    objects: impl Iterator<Item = &str>,
) -> Result<BTreeMap<String, BTreeSet<u64>>> {
    let is_packed = |name: &&str| ObjectName::parse(name).is_some_and(|object| object.scope.is_none());
    let mut offsets: BTreeMap<String, BTreeSet<u64>> =
        objects.filter(is_packed).map(|name| (name.to_owned(), BTreeSet::new())).collect();
    if offsets.is_empty() {
        return Ok(offsets);
    }
    let days: BTreeSet<String> = offsets.keys().filter_map(|name| Some(name.rsplit('/').nth(2)?.to_owned())).collect();
    let mut remaining = filter.content.0 / LINE_MEMORY;
    let mut visit = |_: &str, row: IndexRow| {
        let place = row.object_key.as_deref().and_then(|name| offsets.get_mut(name)).zip(row.off);
        if let Some((object_offsets, off)) = place.filter(|_| remaining > 0 && !is_wanted(&row, session, filter)) {
            remaining -= u64::from(object_offsets.insert(off));
        }
    };
    // an object's lines are in the index folder of the object's day
    let is_day = |day: &str| days.contains(day);
    each_row(vault, filter.account.as_deref(), &is_day, filter.signed.as_deref().into(), &mut visit).await?;
    Ok(offsets)
}

/// Finds the session's objects by their names, because those of the last minutes are not in the index yet. `accounts`
/// are the accounts of the session's lines (of the signed ones, if signatures were checked); only their objects are
/// listed. Without any, the objects of the filter's account are listed, or else all objects.
pub(super) async fn find_unindexed_objects(
    vault: &Vault,
    session: &str,
    filter: &ReplayFilter,
    accounts: &BTreeSet<String>,
) -> Result<BTreeSet<String>> {
    let (segment, tenant) = (id_segment(session), filter.tenant.as_deref().map(id_segment));
    // without a given tenant, all tenants are searched: new objects may belong to a tenant without lines
    let mut folders: BTreeSet<String> = match &filter.tenant {
        Some(tenant) => accounts.iter().map(|account| session_folder(account, tenant, session)).collect(),
        None => accounts.iter().map(|account| format!("{}/", account_segment(account))).collect(),
    };
    if folders.is_empty() {
        folders.insert(match (filter.account.as_deref().map(account_segment), &tenant) {
            (Some(account), Some(tenant)) => format!("{account}/{tenant}/{segment}/"),
            (Some(account), None) => format!("{account}/"),
            (None, _) => String::new(),
        });
    }
    let is_wanted_object = |name: &String| {
        ObjectName::parse(name).and_then(|object| object.scope).is_some_and(|scope| {
            scope.session == segment && tenant.as_ref().is_none_or(|tenant| *tenant == scope.tenant)
        })
    };
    let mut names = BTreeSet::new();
    for folder in folders {
        names.extend(vault.list(ObjectKind::Payload, &folder).await?.into_iter().filter(is_wanted_object));
    }
    Ok(names)
}
