//! `vault get`: opens the content that a reference or index lines point to, as JSON. Neighbours: `opener` opens
//! fragments; the command line is in `src/cli`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use sha2::{Digest, Sha256};

use super::document_check::{CONTENT_MISMATCH, UntrustedDocument};
use super::find::{IndexQuery, find, find_signed};
use super::index::each_row;
use super::opener::{FragmentOpener, FragmentScopes};
use super::payload_fetch::{FetchedPayload, FragmentHashes};
use super::session::ContentLimit;
use crate::error::{ReadError, several_accounts_error};
use crate::location::Vault;
use crate::signed_index::SignedIndex;
use vault::chain::note::VerifyKey;
use vault::index_row::IndexRow;
use vault::object_names::{FragmentScope, ObjectName};

/// The object or range to open.
#[derive(Clone, Debug, Default)]
pub struct ContentReference {
    /// The reference: `s3://bucket/name`, `file:///name`, or the name.
    pub uri: String,
    /// The range attribute, `bytes=0000004096-0000009215`; defaults to the whole object.
    pub range: Option<String>,
}

/// Opens the referenced content and writes its documents, one line of JSON each, then reports the fragments that did
/// not open.
///
/// # Errors
/// One line for each fragment that did not open; [`io::Error`]s of `out` are passed through.
pub async fn get(
    vault: &Vault,
    opener: &mut FragmentOpener<'_>,
    wanted: &ContentReference,
    out: &mut (dyn Write + Send),
) -> Result<io::Result<()>, ReadError> {
    let name = vault.parse_reference(&wanted.uri)?;
    let range = wanted.range.as_deref().map(parse_range).transpose()?;
    let (mut closed, mut text) = (Vec::new(), Vec::new());
    let packed = ObjectName::parse(name).is_some_and(|object| object.scope.is_none());
    let mut lines = if packed {
        read_range_lines(vault, name, range).await?
    } else {
        (FragmentScopes::new(), FragmentHashes::default())
    };
    write_documents(opener, (name, range), &lines, &[], &mut ContentLimit::default().0, &mut closed, &mut text).await;
    if !closed.is_empty() && !packed {
        // a foreign object may occupy the name: index lines then show which object is meant
        lines = (FragmentScopes::new(), read_range_lines(vault, name, range).await?.1);
        let mut again = (Vec::new(), Vec::new());
        let moved = opener.alternative_reads().len();
        write_documents(opener, (name, range), &lines, &[], &mut ContentLimit::default().0, &mut again.0, &mut again.1)
            .await;
        if opener.alternative_reads().len() > moved {
            (closed, text) = again;
        }
    }
    let written = out.write_all(&text);
    if closed.is_empty() { Ok(written) } else { Err(ReadError::join(closed)) }
}

/// Identifies an index line, as on spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafId {
    /// The writer's name.
    pub writer: String,
    /// Epoch of the writer.
    pub epoch: String,
    /// Number of the line in the account's chain.
    pub number: u64,
}

impl LeafId {
    /// Parses `writer/epoch/number`.
    ///
    /// # Errors
    /// The text has another form.
    pub fn parse(text: &str) -> Result<Self, ReadError> {
        let mut parts = text.rsplitn(3, '/');
        let number = parts.next().and_then(|number| number.parse().ok());
        let (epoch, writer) = (parts.next(), parts.next());
        let found = number.zip(epoch).zip(writer).filter(|(_, writer)| !writer.is_empty());
        let ((number, epoch), writer) =
            found.ok_or_else(|| ReadError::invalid(format!("{text} is not a leaf: use `writer/epoch/number`")))?;
        Ok(Self { writer: writer.to_owned(), epoch: epoch.to_owned(), number })
    }

    fn matches(&self, row: &IndexRow) -> bool {
        row.leaf == self.number && row.tail.writer == self.writer && row.tail.epoch == self.epoch
    }
}

/// Index lines whose content is to be opened.
#[derive(Clone, Debug, Default)]
pub struct LineSelection {
    /// Conditions on the lines.
    pub query: IndexQuery,
    /// Only this line, if given.
    pub leaf: Option<LeafId>,
    /// Public keys of the writers' signers: only lines that they signed count. Without keys every line counts, whoever
    /// wrote it.
    pub keys: Vec<VerifyKey>,
}

/// Content that the matching lines name.
#[derive(Default)]
struct NamedContent {
    /// Number of matching lines, and of lines with content that were skipped because no given key signed them.
    lines: u64,
    unsigned: u64,
    /// Fragments (object, first byte, length), with the lines that refer to them.
    fragments: BTreeMap<(String, u64, u64), Vec<IndexRow>>,
    /// Hashes of the fragments, by object.
    hashes: BTreeMap<String, FragmentHashes>,
    /// Accounts of the lines.
    accounts: BTreeSet<String>,
    /// Unreadable parts of the index.
    unreadable_index: Vec<String>,
}

impl NamedContent {
    async fn read(vault: &Vault, wanted: &LineSelection) -> Result<Self, ReadError> {
        let (query, mut named) = (&wanted.query, Self::default());
        let mut visit = |row: &IndexRow, unsigned: bool| {
            if wanted.leaf.as_ref().is_none_or(|leaf| leaf.matches(row)) {
                named.add(row, unsigned);
            }
        };
        let unread = if wanted.keys.is_empty() {
            find(vault, query, &mut |row| visit(row, false)).await?.unreadable
        } else {
            let signed = SignedIndex::read(vault, &wanted.keys, query.account.as_deref()).await?;
            // unreadable unsigned objects don't affect the answer
            find_signed(vault, query, &signed, &mut visit).await?.0.unreadable
        };
        named.unreadable_index = unread.iter().map(|why| format!("not read: {why}")).collect();
        Ok(named)
    }

    fn add(&mut self, row: &IndexRow, unsigned: bool) {
        let place = row.object_key.clone().zip(row.off).zip(row.tail.len);
        let place = place.map(|((object, off), len)| (object, off, len));
        if unsigned {
            // signed lines come first, so an equal unsigned line was stored twice
            let same = |known: &IndexRow| FragmentScope::from_tail(&known.tail) == FragmentScope::from_tail(&row.tail);
            let new = |place| self.fragments.get(&place).is_none_or(|rows| !rows.iter().any(same));
            self.unsigned += u64::from(place.is_some_and(new));
            return;
        }
        self.lines += 1;
        self.accounts.insert(row.tail.account.clone());
        if let Some(place) = place {
            self.hashes.entry(place.0.clone()).or_default().add(row);
            self.fragments.entry(place).or_default().push(row.clone());
        }
    }

    /// Remarks besides the opened content.
    fn remarks(&mut self) -> Vec<ReadError> {
        let none = match (self.fragments.is_empty(), self.lines) {
            (false, _) => None,
            (true, 0) => Some(
                "no index line matches; lines of the last minute are not written yet: give the reference from the span instead"
                    .to_owned(),
            ),
            (true, _) => Some("the matching index lines have no content".to_owned()),
        };
        let passed = (self.unsigned > 0).then(|| {
            format!(
                "not opened: content of {} lines that are not signed by a given key: signed by someone else, not signed yet, or planted",
                self.unsigned
            )
        });
        let unread = std::mem::take(&mut self.unreadable_index).into_iter().map(ReadError::Damaged);
        none.map(ReadError::NotFound).into_iter().chain(passed.map(ReadError::Forbidden)).chain(unread).collect()
    }
}

/// Opens the content that index lines name, each fragment once, and writes it as [`get`] does.
///
/// # Errors
/// One line for each fragment that did not open and each part of the index that was not read, after the rest was
/// written. No line matches, or none has content. Lines of several accounts have the leaf's number.
pub async fn get_lines(
    vault: &Vault,
    opener: &mut FragmentOpener<'_>,
    wanted: &LineSelection,
    out: &mut (dyn Write + Send),
) -> Result<io::Result<()>, ReadError> {
    let mut named = NamedContent::read(vault, wanted).await?;
    if named.accounts.len() > 1 && wanted.leaf.is_some() {
        return Err(several_accounts_error("this number", &named.accounts));
    }
    let (mut closed, mut room) = (named.remarks(), ContentLimit::default().0);
    for ((object, off, len), rows) in named.fragments {
        let mut refused = Vec::new();
        let mut lines = (FragmentScopes::new(), named.hashes.get(&object).cloned().unwrap_or_default());
        // lines may disagree on whose fragment it is
        let scopes: BTreeSet<FragmentScope> = rows.iter().map(|row| FragmentScope::from_tail(&row.tail)).collect();
        for scope in scopes {
            let (mut text, before) = (Vec::new(), refused.len());
            let meant: Vec<&IndexRow> =
                rows.iter().filter(|row| FragmentScope::from_tail(&row.tail) == scope).collect();
            lines.0 = FragmentScopes::from([((0, len), scope)]);
            let place = (&*object, Some((off, len)));
            write_documents(opener, place, &lines, &meant, &mut room, &mut refused, &mut text).await;
            let written = out.write_all(&text);
            if written.is_err() {
                return Ok(written);
            }
            if refused.len() == before {
                break;
            }
        }
        refused.dedup();
        closed.extend(refused);
    }
    if closed.is_empty() { Ok(Ok(())) } else { Err(ReadError::join(closed)) }
}

/// Writes the documents in a range of an object; failures go to `closed`, a line each. The pair has the fragments'
/// scopes, by offset from the start of the range, and their hashes. `meant` are lines that refer to the range as a
/// whole: the document must agree with one of them.
async fn write_documents(
    opener: &mut FragmentOpener<'_>,
    (name, range): (&str, Option<(u64, u64)>),
    (known, hashes): &(FragmentScopes, FragmentHashes),
    meant: &[&IndexRow],
    room: &mut u64,
    closed: &mut Vec<ReadError>,
    out: &mut Vec<u8>,
) {
    let FetchedPayload { at, bytes, .. } = opener.fetch_payload(name, range, hashes).await;
    let held = bytes.as_ref().ok().filter(|_| !meant.is_empty());
    let sealed = held.map(|bytes| kernel::hex::encode(&Sha256::digest(bytes)));
    let documents = match bytes {
        Ok(bytes) => opener.open_documents(&at, &bytes, known, room).await.map_err(ReadError::from),
        Err(why) => Err(why),
    };
    match documents {
        Err(error) => closed.push(error),
        Ok(documents) => {
            for document in documents {
                match document {
                    Err(shut) => closed.push(shut.into()),
                    Ok(opened) if !meant.is_empty() && !is_meant(&opened.plain, sealed.as_deref(), meant) => {
                        closed.push(ReadError::Damaged(format!(
                            "{at} at {}: {CONTENT_MISMATCH}",
                            range.map_or(0, |(first, _)| first)
                        )));
                    }
                    Ok(opened) => {
                        out.extend_from_slice(&opened.plain);
                        out.push(b'\n');
                    }
                }
            }
        }
    }
}

/// Whether a document and the hash of its sealed bytes agree with one of these lines; other lines may be planted.
fn is_meant(plain: &[u8], sealed: Option<&str>, meant: &[&IndexRow]) -> bool {
    let same = |row: &&&IndexRow| sealed.is_some() && row.tail.ct_sha256.as_deref() == sealed;
    UntrustedDocument::read(plain)
        .is_ok_and(|inside| meant.iter().filter(same).any(|row| inside.check_rows([*row]).is_ok()))
}

/// What index lines say about a range of an object: its fragments' scopes, by offset from the start of the range, and
/// their hashes.
async fn read_range_lines(
    vault: &Vault,
    name: &str,
    range: Option<(u64, u64)>,
) -> Result<(FragmentScopes, FragmentHashes), ReadError> {
    let ((start, length), mut places, mut hashes) =
        (range.unwrap_or((0, u64::MAX)), FragmentScopes::new(), FragmentHashes::default());
    let mut visit = |row: IndexRow| {
        let range = row.off.and_then(|off| Some((off.checked_sub(start)?, row.tail.len?)));
        let inside = |(off, len): &(u64, u64)| off.checked_add(*len).is_some_and(|end| end <= length);
        if let Some(range) = range.filter(inside).filter(|_| row.object_key.as_deref() == Some(name)) {
            places.insert(range, FragmentScope::from_tail(&row.tail));
            hashes.add(&row);
        }
    };
    // an object's lines are in the index folder of the object's day
    let day = |day: &str| name.contains(&format!("/{day}/"));
    each_row(vault, None, &day, &mut visit).await?;
    Ok((places, hashes))
}

/// Parses `bytes=first-last` into first byte and length.
fn parse_range(text: &str) -> Result<(u64, u64), ReadError> {
    text.trim()
        .strip_prefix("bytes=")
        .unwrap_or(text)
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)))
        .and_then(|(first, last)| Some((first, last.checked_sub(first)?.checked_add(1)?)))
        .ok_or_else(|| ReadError::invalid("the range is invalid: use `bytes=first-last`"))
}
