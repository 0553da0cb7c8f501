//! Reads the index for one session: its lines, erasures that name it, and objects that no line names yet. Planted lines
//! hide nothing, and are marked if signatures were checked. Neighbour: `replay` opens the content.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use vault::index_row::{ErasureState, IndexRow, KeyCopy, RowKind};
use vault::object_names::{ObjectName, account_segment, session_folder};
use vault::store::ObjectKind;

use super::index::{UnreadIndex, each_row, each_signed_row, each_unsigned_row};
use super::key_claims::KeyClaims;
use super::session::{LineId, ReplayFilter, line_id};
use crate::error::ReadError;
use crate::location::Vault;

/// Assumed memory of an index line, bytes.
const LINE_MEMORY: u64 = 1024;
/// Most unsigned erasures that are considered.
const MAX_UNSIGNED_ERASURES: usize = 100;
/// Most copies of the session's keys that are considered, signed ones included, before unsigned ones are dropped.
const MAX_COPIES: usize = 10_000;

fn is_wanted(row: &IndexRow, session: &str, filter: &ReplayFilter) -> bool {
    let same = match (&row.tail.session_id, &row.tail.trace_id) {
        (Some(id), _) => id == session,
        (None, Some(trace)) => session.strip_prefix("trace-") == Some(trace),
        (None, None) => session == "trace-none",
    };
    same && !matches!(row.tail.kind, Some(RowKind::Quarantine | RowKind::Gap))
        && filter.account.as_ref().is_none_or(|account| *account == row.tail.account)
        && filter.tenant.as_ref().is_none_or(|tenant| *tenant == row.tail.tenant)
}

/// The session's data in the index.
pub(super) struct SessionIndex {
    pub(super) rows: Vec<IndexRow>,
    /// Lines of erasures, of any session.
    pub(super) erasures: Vec<IndexRow>,
    /// Erasures without a signature of the given keys, if signatures were checked.
    pub(super) unsigned_erasures: Vec<IndexRow>,
    /// Key copies, signed or not: a listed copy must still hold the key itself.
    pub(super) copies: Vec<KeyCopy>,
    /// Unreadable parts of the index: one foreign object must not end every replay.
    pub(super) unreadable: Vec<String>,
    /// Number of entries in `closed` that are no loss, because they are about unsigned objects.
    pub(super) unsigned_remarks: usize,
    /// Signed objects that are missing and older than any that exists.
    pub(super) older_missing: Option<String>,
    /// Lines that did not fit into memory.
    pub(super) omitted_lines: u64,
    pub(super) unsigned: BTreeSet<LineId>,
}

impl SessionIndex {
    /// Claims of the lines about the session's keys.
    pub(super) fn key_claims(&mut self, session: &str) -> KeyClaims {
        let of_signed = self.rows.iter().filter(|row| !self.unsigned.contains(&line_id(row)));
        let of_unsigned = self.rows.iter().filter(|row| self.unsigned.contains(&line_id(row)));
        let mut claims = KeyClaims::collect(of_signed, of_unsigned, std::mem::take(&mut self.copies));
        // another account's erasure concerns another session, even if the name is the same
        let accounts: HashSet<&str> = self.rows.iter().map(|row| row.tail.account.as_str()).collect();
        let own = |row: &&IndexRow| accounts.is_empty() || accounts.contains(row.tail.account.as_str());
        claims.add_erasures(session, self.erasures.iter().filter(own), true);
        claims.add_erasures(session, self.unsigned_erasures.iter().filter(own), false);
        claims
    }
}

/// Descriptions of the erasures that name this session; those of other accounts are excluded.
pub(super) fn describe_erasures(erasures: &[IndexRow], session: &str, rows: &[IndexRow]) -> Vec<String> {
    let segment = kernel::pseudonym::encode_segment(session).unwrap_or_else(|| session.to_owned());
    let account = rows.first().map(|row| row.tail.account.as_str());
    let concerned = erasures.iter().filter(|row| account.is_none_or(|account| account == row.tail.account));
    let erasures = concerned.filter_map(|row| Some((row, row.tail.erasure.as_ref()?)));
    let mut said: BTreeMap<&str, (ErasureState, String)> = BTreeMap::new();
    for (row, erasure) in erasures {
        if !erasure.sessions.iter().any(|one| one.split_once('/').is_some_and(|(_, one)| one == segment)) {
            continue;
        }
        let state = if erasure.state == ErasureState::Done { "erased" } else { "being erased since" };
        let text = format!(
            "{state} {} at the request of {} ({}), signed by {}: {} keys destroyed",
            row.tail.ts,
            erasure.who,
            erasure.why,
            erasure.signers.join(", "),
            erasure.key_ids.len()
        );
        let known = said.get(erasure.nonce.as_str()).is_some_and(|(state, _)| *state == ErasureState::Done);
        if !known {
            said.insert(&erasure.nonce, (erasure.state, text));
        }
    }
    said.into_values().map(|(_, text)| text).collect()
}

/// Reads the index for a session.
pub(super) async fn read_session_index(
    vault: &Vault,
    session: &str,
    filter: &ReplayFilter,
) -> Result<SessionIndex, ReadError> {
    let (mut rows, mut erasures, mut left_out) = (Vec::new(), Vec::new(), 0_u64);
    let (mut copies, mut doubted) = (Vec::new(), Vec::new());
    let own = kernel::pseudonym::encode_segment(session).unwrap_or_else(|| session.to_owned());
    let is_own = |copy: &KeyCopy| copy.name.rsplit('/').nth(2) == Some(&*own);
    let is_named = |one: &String| one.split_once('/').is_some_and(|(_, one)| one == own);
    let most = usize::try_from(filter.content.0 / LINE_MEMORY).unwrap_or(usize::MAX);
    let mut visit = |row: IndexRow| {
        if row.tail.kind == Some(RowKind::Erasure) {
            erasures.push(row);
        } else if row.tail.kind == Some(RowKind::KeyCopies) {
            copies.extend(row.tail.key_copies.into_iter().filter(is_own));
        } else if is_wanted(&row, session, filter) {
            if rows.len() < most { rows.push(row) } else { left_out += 1 }
        }
    };
    let account = filter.account.as_deref();
    let Some(signed) = &filter.signed else {
        let closed = each_row(vault, account, &|_| true, &mut visit).await?;
        let unsigned = BTreeSet::new();
        return Ok(SessionIndex {
            rows,
            erasures,
            unsigned_erasures: doubted,
            copies,
            unreadable: closed,
            unsigned_remarks: 0,
            older_missing: None,
            omitted_lines: left_out,
            unsigned,
        });
    };
    let UnreadIndex { unreadable: mut closed, older_missing: older } =
        each_signed_row(vault, account, &|_| true, signed, &mut visit).await?;
    closed.extend_from_slice(signed.unreadable());
    let (mut unsigned, mut twice, mut strange, mut more) = (BTreeSet::new(), 0_u64, 0_u64, 0_u64);
    let known: HashSet<LineId> = rows.iter().map(line_id).collect();
    let accounts: HashSet<String> = rows.iter().map(|row| row.tail.account.clone()).collect();
    let mut visit = |_: &str, row: IndexRow| {
        match row.tail.kind {
            // an unsigned erasure erases nothing; it is considered only for warnings about existing keys
            Some(RowKind::Erasure) => {
                let of_this = row.tail.erasure.as_ref().is_some_and(|erasure| erasure.sessions.iter().any(is_named));
                return if of_this && doubted.len() < MAX_UNSIGNED_ERASURES {
                    doubted.push(row)
                };
            }
            Some(RowKind::KeyCopies) => {
                let room = MAX_COPIES.saturating_sub(copies.len());
                return copies.extend(row.tail.key_copies.into_iter().filter(is_own).take(room));
            }
            _ if !is_wanted(&row, session, filter) => return,
            _ => {}
        }
        match (known.contains(&line_id(&row)), rows.len() < most) {
            (true, _) => twice += 1,
            _ if !accounts.is_empty() && !accounts.contains(&row.tail.account) => strange += 1,
            (false, true) => {
                unsigned.insert(line_id(&row));
                rows.push(row);
            }
            (false, false) => more += 1,
        }
    };
    let missing = closed.len();
    closed.extend(each_unsigned_row(vault, account, &|_| true, signed, &mut visit).await?);
    for (count, what) in [
        (twice, "reuse the numbers of signed lines: they were planted"),
        (strange, "belong to accounts that have no signed line of this session"),
        (more, "were left out: the memory limit is reached"),
    ] {
        closed.extend((count > 0).then(|| format!("{count} unsigned lines {what}")));
    }
    let planted = closed.len() - missing;
    Ok(SessionIndex {
        rows,
        erasures,
        unsigned_erasures: doubted,
        copies,
        unreadable: closed,
        unsigned_remarks: planted,
        older_missing: older,
        omitted_lines: left_out,
        unsigned,
    })
}

/// Offsets of other sessions' fragments in those of these objects that several sessions share. Only the index has them.
/// The number kept is limited by memory; ranges beyond the limit are treated as unknown.
pub(super) async fn find_foreign_fragments(
    vault: &Vault,
    session: &str,
    filter: &ReplayFilter,
    objects: impl Iterator<Item = &str>,
) -> Result<BTreeMap<String, BTreeSet<u64>>, ReadError> {
    let packed = |name: &&str| ObjectName::parse(name).is_some_and(|object| object.scope.is_none());
    let mut others: BTreeMap<String, BTreeSet<u64>> =
        objects.filter(packed).map(|name| (name.to_owned(), BTreeSet::new())).collect();
    if others.is_empty() {
        return Ok(others);
    }
    let days: BTreeSet<String> = others.keys().filter_map(|name| Some(name.rsplit('/').nth(2)?.to_owned())).collect();
    let mut left = filter.content.0 / LINE_MEMORY;
    let mut visit = |row: IndexRow| {
        let place = row.object_key.as_deref().and_then(|name| others.get_mut(name)).zip(row.off);
        if let Some((starts, off)) = place.filter(|_| left > 0 && !is_wanted(&row, session, filter)) {
            left -= u64::from(starts.insert(off));
        }
    };
    // an object's lines are in the index folder of the object's day
    let day = |day: &str| days.contains(day);
    match &filter.signed {
        None => drop(each_row(vault, filter.account.as_deref(), &day, &mut visit).await?),
        Some(signed) => drop(each_signed_row(vault, filter.account.as_deref(), &day, signed, &mut visit).await?),
    }
    Ok(others)
}

/// Objects of the session, found by their names, because those of the last minutes are not in the index yet. They are
/// searched in the accounts of the session's lines. Only if the session has no lines (no signed ones, if signatures
/// were checked) and no account was given, all objects are listed.
pub(super) async fn find_unindexed_objects(
    vault: &Vault,
    session: &str,
    filter: &ReplayFilter,
    accounts: &BTreeSet<String>,
) -> Result<BTreeSet<String>, ReadError> {
    let segment = kernel::pseudonym::encode_segment(session);
    let segment = segment.as_deref().unwrap_or(session);
    let tenant =
        filter.tenant.as_deref().map(|tenant| kernel::pseudonym::encode_segment(tenant).unwrap_or(tenant.to_owned()));
    // in each account with lines, under every tenant: one may be new
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
    let mine = |name: &String| {
        ObjectName::parse(name).and_then(|object| object.scope).is_some_and(|scope| {
            scope.session == segment && tenant.as_ref().is_none_or(|tenant| *tenant == scope.tenant)
        })
    };
    let mut names = BTreeSet::new();
    for folder in folders {
        names.extend(vault.list(ObjectKind::Payload, &folder).await?.into_iter().filter(mine));
    }
    Ok(names)
}
