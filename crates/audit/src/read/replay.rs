//! `vault replay`: reads a session in order of time, with its prompts, answers, tool calls and costs, so that an
//! incident can be understood without calling a model again.
//!
//! Nothing is left out, except messages shown before, which are counted, and content beyond the memory limit, which is
//! an error. Content belongs to a line only if its sealed bytes have the line's hash and it matches the line's
//! commitment. Objects not yet in the index are found by their names. Content without a (signed) line is marked, and in
//! no turn or sum. Unreadable parts are reported and hide nothing else. Neighbours: `text`, `turns`, `tree` and
//! `report` (output).

use std::collections::{BTreeMap, BTreeSet};

use vault::index_row::IndexRow;
use vault::object_names::FragmentScope;

use super::document_check::{CONTENT_MISMATCH, UntrustedDocument};
use super::open_failure::OpenFailure;
use super::opener::{FragmentOpener, FragmentScopes, OpenedFragment};
use super::payload_fetch::{FetchedPayload, FragmentHashes};
use super::session::{ReplayFilter, ReplayedSession, SessionEntry, line_id};
use super::session_index::{
    SessionIndex, describe_erasures, find_foreign_fragments, find_unindexed_objects, read_session_index,
};
use crate::error::{ReadError, several_accounts_error};
use crate::location::Vault;
use kernel::terminal::escape_unsafe;

/// The lines that refer to an object.
#[derive(Default)]
struct ObjectLines {
    /// Whether the lines are signed; false also if signatures were not checked.
    signed: bool,
    /// Lines by the offset of their fragment.
    rows: BTreeMap<u64, Vec<IndexRow>>,
    places: FragmentScopes,
    hashes: FragmentHashes,
}

/// Reads a session by its id as the index shows it (`trace-…` for records without one).
///
/// # Errors
/// The store fails, or there is no such session.
pub async fn replay(
    vault: &Vault,
    opener: &mut FragmentOpener<'_>,
    session: &str,
    filter: &ReplayFilter,
) -> Result<ReplayedSession, ReadError> {
    let mut indexed = read_session_index(vault, session, filter).await?;
    opener.claims = indexed.key_claims(session);
    let SessionIndex {
        rows,
        erasures,
        unreadable: closed,
        unsigned_remarks: planted,
        older_missing: older,
        omitted_lines: left_out,
        unsigned,
        ..
    } = indexed;
    let of_signed = rows.iter().filter(|row| !unsigned.contains(&line_id(row)));
    let mut accounts: BTreeSet<String> = of_signed.map(|row| row.tail.account.clone()).collect();
    let unindexed = find_unindexed_objects(vault, session, filter, &accounts).await?;
    accounts.extend(rows.iter().map(|row| row.tail.account.clone()));
    if accounts.len() > 1 {
        return Err(several_accounts_error("this session", accounts));
    }
    let erased = describe_erasures(&erasures, session, &rows);
    let mut replay = ReplayedSession {
        session: session.to_owned(),
        accounts: BTreeSet::new(),
        entries: Vec::new(),
        erasures: erased,
        unreadable: closed,
        lossless_remarks: planted,
        older_missing: older,
        omitted: left_out,
        signatures_checked: filter.signed.is_some(),
        counts_unsigned: filter.unsigned,
        unsigned,
    };
    let mut objects = replay.take_lines(rows);
    for name in unindexed {
        objects.entry(name).or_default();
    }
    let of_others = find_foreign_fragments(vault, session, filter, objects.keys().map(String::as_str)).await?;
    // a planted object must not take memory from the others
    let mut objects: Vec<(String, ObjectLines)> = objects.into_iter().collect();
    let order = |(name, meant): &(String, ObjectLines)| (!meant.signed, meant.rows.is_empty(), name.clone());
    objects.sort_by_cached_key(order);
    let mut room = filter.content.0;
    // an object read under an alternative name has no line of its own
    let (mut taken, none) = (BTreeSet::new(), BTreeSet::new());
    for (name, meant) in objects {
        if !taken.contains(&name) || !meant.rows.is_empty() {
            let strange = of_others.get(&name).unwrap_or(&none);
            taken.insert(replay.read_object(opener, &name, meant, strange, &mut room).await);
        }
    }
    if replay.entries.is_empty() {
        let none = format!("no session {session:?} in this vault (private ids are stored as h-… pseudonyms)");
        let closed = replay.unreadable.iter().chain(&replay.older_missing).map(|why| escape_unsafe(why));
        return Err(ReadError::NotFound(std::iter::once(none).chain(closed).collect::<Vec<_>>().join("\nnot read: ")));
    }
    if replay.omitted > 0 {
        let most = filter.content.0 >> 20;
        replay.unreadable.push(format!(
            "{} fragments or lines: the session exceeds the memory limit of {most} MiB: raise --content",
            replay.omitted
        ));
    }
    replay.entries.sort_by(|a, b| (&a.at, a.leaf).cmp(&(&b.at, b.leaf)));
    Ok(replay)
}

impl ReplayedSession {
    /// Takes the session's lines. Lines without content become entries; the others are returned by object. An unsigned
    /// line is ignored for an object that a signed line names.
    fn take_lines(&mut self, rows: Vec<IndexRow>) -> BTreeMap<String, ObjectLines> {
        let mut objects: BTreeMap<String, ObjectLines> = BTreeMap::new();
        // signed lines come first
        for row in rows {
            let signed = self.signatures_checked && !self.unsigned.contains(&line_id(&row));
            if signed || !self.signatures_checked {
                self.accounts.insert(format!("account {} · tenant {}", row.tail.account, row.tail.tenant));
            }
            let content = row.object_key.clone().zip(row.off).filter(|_| row.tail.fragment.is_some());
            let taken = |name: &String| !signed && objects.get(name).is_some_and(|meant| meant.signed);
            match content {
                Some((name, off)) if !taken(&name) => {
                    let meant = objects.entry(name).or_default();
                    meant.signed |= signed;
                    meant.places.extend(row.tail.len.map(|len| ((off, len), FragmentScope::from_tail(&row.tail))));
                    meant.hashes.add(&row);
                    meant.rows.entry(off).or_default().push(row);
                }
                _ => self.entries.push(SessionEntry::from_line(row)),
            }
        }
        objects
    }

    /// Reads an object and its lines, and returns the name under which it was read. `strange` are offsets of other
    /// sessions' fragments.
    async fn read_object(
        &mut self,
        opener: &mut FragmentOpener<'_>,
        name: &str,
        meant: ObjectLines,
        strange: &BTreeSet<u64>,
        room: &mut u64,
    ) -> String {
        let ObjectLines { signed, mut rows, places, hashes } = meant;
        let FetchedPayload { at, bytes, found } = opener.fetch_payload(name, None, &hashes).await;
        let mut seen = BTreeSet::new();
        let opened = match bytes {
            Ok(bytes) => opener.open_documents(&at, &bytes, &places, room).await,
            Err(why) => Err(OpenFailure::Other(why)),
        };
        for opened in opened.unwrap_or_else(|why| vec![Err(why)]) {
            match opened {
                Ok(opened) => {
                    seen.insert(opened.offset);
                    let waiting = rows.entry(opened.offset).or_default();
                    let inside = UntrustedDocument::read(&opened.plain);
                    let is_it = |row: &mut IndexRow| {
                        let sealed = row.off.zip(row.tail.len).and_then(|place| found.get(&place));
                        let agrees = || inside.as_ref().is_ok_and(|inside| inside.check_rows([&*row]).is_ok());
                        sealed.is_some() && sealed == row.tail.ct_sha256.as_ref() && agrees()
                    };
                    let own = waiting.extract_if(.., is_it).collect();
                    self.add_document(opened, own);
                }
                Err(OpenFailure::UnknownScope(_, offset)) if strange.contains(&offset) => {}
                // leaving out an unsigned object is no loss
                Err(OpenFailure::TooLarge) if signed || !self.signatures_checked => self.omitted += 1,
                Err(why) => {
                    let erased = matches!(why, OpenFailure::NoKey(_)) && !self.erasures.is_empty();
                    self.add_unreadable(
                        ReadError::from(why).to_string(),
                        erased || (self.signatures_checked && !signed),
                    );
                }
            }
        }
        for (off, rows) in rows {
            if seen.contains(&off) && !rows.is_empty() {
                let why = format!("{at} at {off}: {CONTENT_MISMATCH}");
                self.add_unreadable(why, self.signatures_checked && !signed);
            }
            // the lines' events happened even if their content did not open
            self.entries.extend(rows.into_iter().map(SessionEntry::from_line));
        }
        for why in opener.take_restored_keys() {
            self.add_unreadable(why, false);
        }
        for key in opener.take_bad_keys() {
            self.add_unreadable(format!("{} among the session's keys: {}", key.name, key.why), true);
        }
        at
    }

    /// Records a failure; `no_loss` if nothing of the session is missing because of it.
    fn add_unreadable(&mut self, why: String, no_loss: bool) {
        self.lossless_remarks += usize::from(no_loss);
        self.unreadable.push(why);
    }

    /// Adds the items of a document; `rows` are its lines.
    fn add_document(&mut self, opened: OpenedFragment, rows: Vec<IndexRow>) {
        let head = &opened.document.head;
        if !rows.is_empty() || !self.signatures_checked {
            self.accounts.insert(format!("account {} · tenant {}", head.account, head.tenant));
        }
        let mut of_item: BTreeMap<u32, IndexRow> = BTreeMap::new();
        for row in rows {
            match row.tail.item {
                Some(item) if !of_item.contains_key(&item) => drop(of_item.insert(item, row)),
                _ => self.entries.push(SessionEntry::from_line(row)),
            }
        }
        for (position, item) in (0..).zip(opened.document.items) {
            let row = of_item.remove(&position);
            let leaf = row.as_ref().map_or(u64::MAX, |row| row.leaf);
            self.entries.push(SessionEntry {
                at: item.head.start.clone(),
                leaf,
                row,
                item: Some(item),
                redaction_counts: None,
            });
        }
        self.entries.extend(of_item.into_values().map(SessionEntry::from_line));
    }
}
