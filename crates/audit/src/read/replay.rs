//! `vault replay`: reads a session in order of time, with its prompts, answers, tool calls and costs, so that an
//! incident can be understood without calling a model again.
//!
//! Only two things are left out: messages shown before, which are counted, and content beyond the memory limit, which
//! is an error. Content belongs to a line only if its sealed bytes have the line's hash and it matches the line's
//! commitment. Objects not yet in the index are found by their names. Content without a (signed) line is marked, and is
//! in no turn or sum. Unreadable parts are reported and hide nothing else. Neighbours: `output`, `turns`,
//! `call_tree`.

use std::collections::{BTreeMap, BTreeSet};

use vault::index_row::IndexRow;
use vault::object_names::FragmentScope;

use super::opener::{FragmentOpener, FragmentScopes, OpenFailure, OpenedFragment};
use super::payload_fetch::{CONTENT_MISMATCH, FetchedPayload, FragmentHashes, UntrustedDocument};
use super::session::{ReplayFilter, ReplayedSession, SessionEntry, line_id};
use super::session_index::{
    SessionIndex, describe_erasures, find_foreign_fragments, find_unindexed_objects, read_session_index,
};
use crate::error::{ReadError, Result, several_accounts_error};
use kernel::terminal::escape_unsafe;

#[derive(Default)]
struct ObjectLines {
    /// Whether the lines are signed; false also if signatures were not checked.
    signed: bool,
    /// Lines by the offset of their fragment.
    rows: BTreeMap<u64, Vec<IndexRow>>,
    scopes: FragmentScopes,
    hashes: FragmentHashes,
}

/// Reads a session by its id as the index shows it (`trace-…` for records without one).
pub async fn replay(opener: &mut FragmentOpener<'_>, session: &str, filter: &ReplayFilter) -> Result<ReplayedSession> {
    let vault = opener.vault;
    let mut indexed = read_session_index(vault, session, filter).await?;
    opener.claims = indexed.key_claims(session);
    let SessionIndex { rows, erasures, mut replay, .. } = indexed;
    let signed_rows = rows.iter().filter(|row| !replay.unsigned.contains(&line_id(row)));
    let mut accounts: BTreeSet<String> = signed_rows.map(|row| row.tail.account.clone()).collect();
    let unindexed = find_unindexed_objects(vault, session, filter, &accounts).await?;
    accounts.extend(rows.iter().map(|row| row.tail.account.clone()));
    if accounts.len() > 1 {
        return Err(several_accounts_error("this session", accounts));
    }
    replay.erasures = describe_erasures(&erasures, session, &rows);
    let mut objects = replay.take_lines(rows);
    for name in unindexed {
        objects.entry(name).or_default();
    }
    let foreign = find_foreign_fragments(vault, session, filter, objects.keys().map(String::as_str)).await?;
    // a planted object must not take memory from the others
    let mut objects: Vec<(String, ObjectLines)> = objects.into_iter().collect();
    objects.sort_by_cached_key(|(name, lines)| (!lines.signed, lines.rows.is_empty(), name.clone()));
    opener.room = filter.content.0;
    // an object read under an alternative name has no line of its own
    let (mut names_read, no_offsets) = (BTreeSet::new(), BTreeSet::new());
    for (name, lines) in objects {
        if !names_read.contains(&name) || !lines.rows.is_empty() {
            let foreign_offsets = foreign.get(&name).unwrap_or(&no_offsets);
            names_read.insert(replay.read_object(opener, &name, lines, foreign_offsets).await);
        }
    }
    if replay.entries.is_empty() {
        let not_found = format!("no session {session:?} in this vault (private ids are stored as h-… pseudonyms)");
        let unread = replay.unreadable.iter().chain(&replay.older_missing).map(|message| escape_unsafe(message));
        let messages: Vec<String> = std::iter::once(not_found).chain(unread).collect();
        return Err(ReadError::new(messages.join("\nnot read: ")));
    }
    if replay.omitted > 0 {
        replay.unreadable.push(format!(
            "{} fragments or lines: the session exceeds the memory limit of {} MiB: raise --content",
            replay.omitted,
            filter.content.0 >> 20
        ));
    }
    replay.entries.sort_by(|a, b| (&a.at, a.leaf).cmp(&(&b.at, b.leaf)));
    Ok(replay)
}

impl ReplayedSession {
    /// Takes the session's lines, signed ones first. Lines with content are returned by object; the others become
    /// entries, as do unsigned lines with content in an object that a signed line names.
    fn take_lines(&mut self, rows: Vec<IndexRow>) -> BTreeMap<String, ObjectLines> {
        let mut objects: BTreeMap<String, ObjectLines> = BTreeMap::new();
        for row in rows {
            let signed = self.signatures_checked && !self.unsigned.contains(&line_id(&row));
            if signed || !self.signatures_checked {
                self.accounts.insert(format!("account {} · tenant {}", row.tail.account, row.tail.tenant));
            }
            let content = row.object_key.clone().zip(row.off).filter(|_| row.tail.fragment.is_some());
            let is_overruled = |name: &String| !signed && objects.get(name).is_some_and(|lines| lines.signed);
            match content {
                Some((name, off)) if !is_overruled(&name) => {
                    let lines = objects.entry(name).or_default();
                    lines.signed |= signed;
                    lines.scopes.extend(row.tail.len.map(|len| ((off, len), FragmentScope::from_tail(&row.tail))));
                    lines.hashes.add(&row);
                    lines.rows.entry(off).or_default().push(row);
                }
                _ => self.entries.push(SessionEntry::from_line(row)),
            }
        }
        objects
    }

    /// Reads an object and its lines, and returns the name under which the object was read. `foreign_offsets` are the
    /// offsets of other sessions' fragments.
    async fn read_object(
        &mut self,
        opener: &mut FragmentOpener<'_>,
        name: &str,
        lines: ObjectLines,
        foreign_offsets: &BTreeSet<u64>,
    ) -> String {
        let ObjectLines { signed, mut rows, scopes, hashes } = lines;
        let FetchedPayload { at, bytes, found } = opener.fetch_payload(name, None, &hashes).await;
        let mut opened_offsets = BTreeSet::new();
        let fragments = match bytes {
            Ok(bytes) => opener.open_documents(&at, &bytes, &scopes).await,
            Err(error) => Err(OpenFailure::Other(error)),
        };
        for fragment in fragments.unwrap_or_else(|failure| vec![Err(failure)]) {
            match fragment {
                Ok(opened) => {
                    opened_offsets.insert(opened.offset);
                    let document = UntrustedDocument::read(&opened.plain);
                    let is_agreeing = |row: &mut IndexRow| {
                        let sha256 = row.off.zip(row.tail.len).and_then(|place| found.get(&place));
                        let agrees = || document.as_ref().is_ok_and(|document| document.check_rows([&*row]).is_ok());
                        sha256.is_some() && sha256 == row.tail.ct_sha256.as_ref() && agrees()
                    };
                    let agreeing = rows.entry(opened.offset).or_default().extract_if(.., is_agreeing).collect();
                    self.add_document(opened, agreeing);
                }
                Err(OpenFailure::UnknownScope(_, offset)) if foreign_offsets.contains(&offset) => {}
                // leaving out an unsigned object is no loss
                Err(OpenFailure::TooLarge) if signed || !self.signatures_checked => self.omitted += 1,
                Err(failure) => {
                    let erased = matches!(failure, OpenFailure::NoKey(_)) && !self.erasures.is_empty();
                    let no_loss = erased || (self.signatures_checked && !signed);
                    self.add_unreadable(ReadError::from(failure).to_string(), no_loss);
                }
            }
        }
        for (off, rows) in rows {
            if opened_offsets.contains(&off) && !rows.is_empty() {
                let message = format!("{at} at {off}: {CONTENT_MISMATCH}");
                self.add_unreadable(message, self.signatures_checked && !signed);
            }
            // the lines' events happened even if their content did not open
            self.entries.extend(rows.into_iter().map(SessionEntry::from_line));
        }
        for message in std::mem::take(&mut opener.restored_keys) {
            self.add_unreadable(message, false);
        }
        for key in std::mem::take(&mut opener.bad_keys) {
            self.add_unreadable(format!("{} among the session's keys: {}", key.name, key.why), true);
        }
        at
    }

    /// Records a failure; `no_loss` if nothing of the session is missing because of it.
    fn add_unreadable(&mut self, message: String, no_loss: bool) {
        self.lossless_remarks += usize::from(no_loss);
        self.unreadable.push(message);
    }

    /// Adds the items of a document; `rows` are the lines that agree with the document.
    fn add_document(&mut self, opened: OpenedFragment, rows: Vec<IndexRow>) {
        let head = &opened.document.head;
        if !rows.is_empty() || !self.signatures_checked {
            self.accounts.insert(format!("account {} · tenant {}", head.account, head.tenant));
        }
        let mut row_by_item: BTreeMap<u32, IndexRow> = BTreeMap::new();
        for row in rows {
            match row.tail.item {
                Some(item) if !row_by_item.contains_key(&item) => drop(row_by_item.insert(item, row)),
                _ => self.entries.push(SessionEntry::from_line(row)),
            }
        }
        for (position, item) in (0..).zip(opened.document.items) {
            let row = row_by_item.remove(&position);
            let leaf = row.as_ref().map_or(u64::MAX, |row| row.leaf);
            self.entries.push(SessionEntry {
                at: item.head.start.clone(),
                leaf,
                row,
                item: Some(item),
                redaction_counts: None,
            });
        }
        self.entries.extend(row_by_item.into_values().map(SessionEntry::from_line));
    }
}
