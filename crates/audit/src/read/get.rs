//! `vault get`: opens the content that a reference or index lines point to, and writes it as JSON. Neighbours: `opener`
//! opens fragments; the command line is in `cli`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use super::find::{IndexQuery, find_signed};
use super::index::{IndexLines, each_row};
use super::opener::{FragmentOpener, FragmentScopes};
use super::payload_fetch::{CONTENT_MISMATCH, FetchedPayload, FragmentHashes, UntrustedDocument};
use super::session::ContentLimit;
use crate::error::{ReadError, Result, several_accounts_error};
use crate::location::Vault;
use crate::signed_index::SignedIndex;
use kernel::sha256::Sha256;
use vault::chain::note::VerifyKey;
use vault::index_row::IndexRow;
use vault::object_names::{FragmentScope, ObjectName};

/// The object or range to open.
#[derive(Clone, Debug, Default)]
pub struct ContentReference {
    /// The reference: `s3://bucket/name`, `file:///name`, or the name.
    pub uri: String,
    /// The span's range attribute, `bytes=0000004096-0000009215`; `None` means the whole object.
    pub range: Option<String>,
}

/// Opens the referenced content and writes its documents, one line of JSON each, then reports the fragments that did
/// not open.
///
/// # Errors
/// One line for each fragment that did not open; [`io::Error`]s of `out` are passed through.
pub async fn get(
    opener: &mut FragmentOpener<'_>,
    wanted: &ContentReference,
    out: &mut (dyn Write + Send),
) -> Result<io::Result<()>> {
    let vault = opener.vault;
    let name = vault.parse_reference(&wanted.uri)?;
    let range = wanted.range.as_deref().map(parse_range).transpose()?;
    let packed = ObjectName::parse(name).is_some_and(|object| object.scope.is_none());
    let facts = if packed { read_range_facts(vault, name, range).await? } else { RangeFacts::default() };
    opener.room = ContentLimit::default().0;
    let (mut text, mut failures) = read_documents(opener, (name, range), &facts, &[]).await;
    if !failures.is_empty() && !packed {
        // another program's object may occupy this name; the index then gives the name that the gateway used instead
        let facts = RangeFacts { scopes: FragmentScopes::new(), ..read_range_facts(vault, name, range).await? };
        let reads_before = opener.alternative_reads.len();
        opener.room = ContentLimit::default().0;
        let again = read_documents(opener, (name, range), &facts, &[]).await;
        if opener.alternative_reads.len() > reads_before {
            (text, failures) = again;
        }
    }
    let written = out.write_all(&text);
    if failures.is_empty() { Ok(written) } else { Err(ReadError::join(&failures)) }
}

/// Identifies an index line, as the leaf attribute of spans does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafId {
    pub writer: String,
    pub epoch: String,
    /// Number of the line in the account's chain.
    pub number: u64,
}

impl LeafId {
    /// Parses `writer/epoch/number`.
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = text.rsplitn(3, '/');
        let number = parts.next().and_then(|number| number.parse().ok());
        let (epoch, writer) = (parts.next(), parts.next());
        let fields = number.zip(epoch).zip(writer).filter(|(_, writer)| !writer.is_empty());
        let ((number, epoch), writer) =
            fields.ok_or_else(|| ReadError::new(format!("{text} is not a leaf: use `writer/epoch/number`")))?;
        Ok(Self { writer: writer.to_owned(), epoch: epoch.to_owned(), number })
    }

    fn matches(&self, row: &IndexRow) -> bool {
        row.leaf == self.number && row.tail.writer == self.writer && row.tail.epoch == self.epoch
    }
}

/// Index lines whose content is to be opened.
#[derive(Clone, Debug, Default)]
pub struct LineSelection {
    pub query: IndexQuery,
    /// Only this line, if given.
    pub leaf: Option<LeafId>,
    /// Public keys of the writers' signers: only lines signed with one of these keys count. Without keys all lines
    /// count.
    pub keys: Vec<VerifyKey>,
}

#[derive(Default)]
struct NamedContent {
    /// Number of matching lines that count: those that a given key signed, or all if no key is given.
    counted_lines: u64,
    /// Number of lines whose content is not opened because no given key signed them.
    unsigned_lines: u64,
    /// Fragments (object, first byte, length), with the lines that refer to them.
    fragments: BTreeMap<(String, u64, u64), Vec<IndexRow>>,
    hashes: BTreeMap<String, FragmentHashes>,
    accounts: BTreeSet<String>,
    unreadable_index: Vec<String>,
}

impl NamedContent {
    async fn read(vault: &Vault, wanted: &LineSelection) -> Result<Self> {
        let (query, mut named) = (&wanted.query, Self::default());
        let mut visit = |row: &IndexRow, unsigned: bool| {
            if wanted.leaf.as_ref().is_none_or(|leaf| leaf.matches(row)) {
                named.add(row, unsigned);
            }
        };
        let signed = SignedIndex::read_if_keys(vault, &wanted.keys, query.account.as_deref()).await?;
        // unreadable unsigned objects don't affect the answer
        let unreadable = find_signed(vault, query, signed.as_ref(), &mut visit).await?.0.unreadable;
        named.unreadable_index = unreadable.iter().map(|why| format!("not read: {why}")).collect();
        Ok(named)
    }

    fn add(&mut self, row: &IndexRow, unsigned: bool) {
        let place = row.object_key.clone().zip(row.off).zip(row.tail.len);
        let place = place.map(|((object, off), len)| (object, off, len));
        if unsigned {
            // signed lines were added before: an unsigned line of the same fragment and scope is a copy
            let scope = FragmentScope::from_tail(&row.tail);
            let is_same = |signed_row: &IndexRow| FragmentScope::from_tail(&signed_row.tail) == scope;
            let is_new = |place| self.fragments.get(&place).is_none_or(|rows| !rows.iter().any(is_same));
            self.unsigned_lines += u64::from(place.is_some_and(is_new));
            return;
        }
        self.counted_lines += 1;
        self.accounts.insert(row.tail.account.clone());
        if let Some(place) = place {
            self.hashes.entry(place.0.clone()).or_default().add(row);
            self.fragments.entry(place).or_default().push(row.clone());
        }
    }

    /// Takes the remarks that are reported after the opened content.
    fn take_remarks(&mut self) -> Vec<ReadError> {
        let nothing_found = match (self.fragments.is_empty(), self.counted_lines) {
            (false, _) => None,
            (true, 0) if self.unsigned_lines > 0 => None, // reported below
            (true, 0) => Some(
                "no index line matches; lines of the last minute are not written yet: give the reference from the span \
                 instead"
                    .to_owned(),
            ),
            (true, _) => Some("the matching index lines have no content".to_owned()),
        };
        let skipped = (self.unsigned_lines > 0).then(|| {
            format!(
                "not opened: content of {} lines that are not signed by a given key: signed by someone else, not \
                 signed yet, or planted",
                self.unsigned_lines
            )
        });
        let unopened = nothing_found.into_iter().chain(skipped);
        unopened.chain(std::mem::take(&mut self.unreadable_index)).map(ReadError::new).collect()
    }
}

/// Opens the content that index lines name, each fragment once, and writes it as [`get`] does.
///
/// # Errors
/// One line for each fragment that did not open and each part of the index that was not read, after the rest was
/// written. If lines disagree on a fragment's session, one line for each session that did not open it, also if another
/// did. No line matches, none has content, or lines of several accounts match the leaf.
pub async fn get_lines(
    opener: &mut FragmentOpener<'_>,
    wanted: &LineSelection,
    out: &mut (dyn Write + Send),
) -> Result<io::Result<()>> {
    let mut named = NamedContent::read(opener.vault, wanted).await?;
    if named.accounts.len() > 1 && wanted.leaf.is_some() {
        return Err(several_accounts_error("this number", &named.accounts));
    }
    let mut failures = named.take_remarks();
    opener.room = ContentLimit::default().0;
    for ((object, off, len), rows) in named.fragments {
        let mut fragment_failures = Vec::new();
        let hashes = named.hashes.get(&object).cloned().unwrap_or_default();
        let mut facts = RangeFacts { hashes, ..RangeFacts::default() };
        // lines may disagree on the session or account that the fragment belongs to
        let scopes: BTreeSet<FragmentScope> = rows.iter().map(|row| FragmentScope::from_tail(&row.tail)).collect();
        for scope in scopes {
            let same_scope: Vec<&IndexRow> =
                rows.iter().filter(|row| FragmentScope::from_tail(&row.tail) == scope).collect();
            facts.scopes = FragmentScopes::from([((0, len), scope)]);
            let place = (&*object, Some((off, len)));
            let (text, scope_failures) = read_documents(opener, place, &facts, &same_scope).await;
            let written = out.write_all(&text);
            if written.is_err() {
                return Ok(written);
            }
            if scope_failures.is_empty() {
                break;
            }
            fragment_failures.extend(scope_failures);
        }
        fragment_failures.dedup();
        failures.extend(fragment_failures);
    }
    if failures.is_empty() { Ok(Ok(())) } else { Err(ReadError::join(&failures)) }
}

/// The facts that index lines give about the fragments in a range of an object.
#[derive(Default)]
struct RangeFacts {
    /// Scopes, by place from the start of the range.
    scopes: FragmentScopes,
    /// Hashes, by place in the object.
    hashes: FragmentHashes,
}

/// The documents in a range of an object, a line each, and a failure for each that does not open. `rows` are lines that
/// refer to the range as a whole: if there are any, the document must agree with one of them.
async fn read_documents(
    opener: &mut FragmentOpener<'_>,
    (name, range): (&str, Option<(u64, u64)>),
    facts: &RangeFacts,
    rows: &[&IndexRow],
) -> (Vec<u8>, Vec<ReadError>) {
    let FetchedPayload { at, bytes, .. } = opener.fetch_payload(name, range, &facts.hashes).await;
    let compared_bytes = bytes.as_ref().ok().filter(|_| !rows.is_empty());
    let sealed_sha256 = compared_bytes.map(|bytes| kernel::hex::encode(&Sha256::digest(bytes)));
    let documents = match bytes {
        Ok(bytes) => opener.open_documents(&at, &bytes, &facts.scopes).await.map_err(ReadError::from),
        Err(error) => Err(error),
    };
    let documents = match documents {
        Ok(documents) => documents,
        Err(error) => return (Vec::new(), vec![error]),
    };
    let (mut out, mut failures) = (Vec::new(), Vec::new());
    for document in documents {
        match document {
            Err(failure) => failures.push(failure.into()),
            Ok(opened) if !rows.is_empty() && !has_agreeing_row(&opened.plain, sealed_sha256.as_deref(), rows) => {
                let first = range.map_or(0, |(first, _)| first);
                failures.push(ReadError::new(format!("{at} at {first}: {CONTENT_MISMATCH}")));
            }
            Ok(opened) => {
                out.extend_from_slice(&opened.plain);
                out.push(b'\n');
            }
        }
    }
    (out, failures)
}

/// Whether a document and the hash of its sealed bytes agree with one of these lines; other lines may be planted.
fn has_agreeing_row(plain: &[u8], sealed_sha256: Option<&str>, rows: &[&IndexRow]) -> bool {
    let same_hash = |row: &&&IndexRow| sealed_sha256.is_some() && row.tail.ct_sha256.as_deref() == sealed_sha256;
    UntrustedDocument::read(plain)
        .is_ok_and(|document| rows.iter().filter(same_hash).any(|row| document.check_rows([*row]).is_ok()))
}

/// Reads the index lines of a range of an object.
async fn read_range_facts(vault: &Vault, name: &str, range: Option<(u64, u64)>) -> Result<RangeFacts> {
    let ((start, length), mut facts) = (range.unwrap_or((0, u64::MAX)), RangeFacts::default());
    let mut visit = |_: &str, row: IndexRow| {
        let place = row.off.and_then(|off| Some((off.checked_sub(start)?, row.tail.len?)));
        let is_inside = |(off, len): &(u64, u64)| off.checked_add(*len).is_some_and(|end| end <= length);
        if let Some(place) = place.filter(is_inside).filter(|_| row.object_key.as_deref() == Some(name)) {
            facts.scopes.insert(place, FragmentScope::from_tail(&row.tail));
            facts.hashes.add(&row);
        }
    };
    // an object's lines are in the index folder of the object's day
    let is_day = |day: &str| name.contains(&format!("/{day}/"));
    each_row(vault, None, &is_day, IndexLines::All, &mut visit).await?;
    Ok(facts)
}

/// Parses `bytes=first-last` into first byte and length.
fn parse_range(text: &str) -> Result<(u64, u64)> {
    text.trim()
        .strip_prefix("bytes=")
        .unwrap_or(text)
        .split_once('-')
        .and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)))
        .and_then(|(first, last)| Some((first, last.checked_sub(first)?.checked_add(1)?)))
        .ok_or_else(|| ReadError::new("the range is invalid: use `bytes=first-last`"))
}
