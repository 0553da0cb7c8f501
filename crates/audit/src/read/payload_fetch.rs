//! Whether stored content is what index lines say. [`FragmentOpener::fetch_payload`] reads a payload object under its
//! name, or under an alternative name if another object had the name before the gateway wrote (`stored_as` in the
//! digest): the one with most fragments that have hashes of index lines, and reports it. [`UntrustedDocument`] compares
//! an opened fragment with its lines: its id, account, items, content hashes and commitments, because an attacker may
//! have stored other content at the place that a line refers to. Content is hashed, never shown. Neighbours: `opener`,
//! `verify`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::opener::FragmentOpener;
use crate::error::Result;
use crate::location::Vault;
use kernel::sha256::Sha256;
use vault::chain::tree::parse_hash;
use vault::document::commitment;
use vault::index_row::IndexRow;
use vault::object_names::is_alternative_name;
use vault::store::ObjectKind;

/// First byte and length of a fragment.
type FragmentRange = (u64, u64);

/// Ranges whose bytes have a hash of an index line, with that SHA-256 (hex).
pub(crate) type FragmentMatches = BTreeMap<FragmentRange, String>;

/// Most bytes that are hashed, as a multiple of the object's size: ranges in planted lines may overlap.
const MAX_OVERLAP_FACTOR: usize = 1024;

/// A payload object, or a range of it, as it was read.
pub(crate) struct FetchedPayload {
    /// The name under which it was read.
    pub(crate) at: String,
    pub(crate) bytes: Result<Bytes>,
    /// The fragments that match index lines.
    pub(crate) found: FragmentMatches,
}

/// SHA-256 (hex) of an object's fragments according to index lines. A range may have several hashes, because lines may
/// be planted.
#[derive(Clone, Debug, Default)]
pub(crate) struct FragmentHashes(BTreeMap<FragmentRange, BTreeSet<String>>);

impl FragmentHashes {
    pub(crate) fn add(&mut self, row: &IndexRow) {
        if let Some((range, sha256)) = row.off.zip(row.tail.len).zip(row.tail.ct_sha256.clone()) {
            self.0.entry(range).or_default().insert(sha256);
        }
    }

    /// The ranges of the object at which `bytes`, which begin at offset `start` of the object, match a line's hash. At
    /// most [`MAX_OVERLAP_FACTOR`] times the size of `bytes` is hashed; ranges in genuine lines never overlap.
    pub(super) fn find_matches(&self, bytes: &[u8], start: u64) -> FragmentMatches {
        let mut hash_budget = bytes.len().saturating_mul(MAX_OVERLAP_FACTOR);
        let match_range = |(&(off, len), hashes): (&FragmentRange, &BTreeSet<String>)| {
            let first = usize::try_from(off.checked_sub(start)?).ok()?;
            let fragment = bytes.get(first..first.checked_add(usize::try_from(len).ok()?)?)?;
            hash_budget = hash_budget.checked_sub(fragment.len())?;
            let sha256 = kernel::hex::encode(&Sha256::digest(fragment));
            hashes.contains(&sha256).then_some(((off, len), sha256))
        };
        self.0.iter().filter_map(match_range).collect()
    }

    /// Number of fragments within a range.
    fn count_inside(&self, (start, length): FragmentRange) -> usize {
        let end = start.saturating_add(length);
        self.0
            .keys()
            .filter(|(off, len)| *off >= start && off.checked_add(*len).is_some_and(|fragment_end| fragment_end <= end))
            .count()
    }
}

impl FragmentOpener<'_> {
    /// A payload object, or a range of it (first byte, length). A read from an alternative name is added to
    /// `alternative_reads`.
    pub(super) async fn fetch_payload(
        &mut self,
        name: &str,
        range: Option<(u64, u64)>,
        hashes: &FragmentHashes,
    ) -> FetchedPayload {
        let (start, length) = range.unwrap_or((0, u64::MAX));
        let (vault, expected) = (self.vault, hashes.count_inside((start, length)));
        let fetch_as = async |at: &str| {
            let bytes = vault.fetch(ObjectKind::Payload, at, range).await;
            let found = bytes.as_ref().map(|bytes| hashes.find_matches(bytes, start)).unwrap_or_default();
            FetchedPayload { at: at.to_owned(), bytes, found }
        };
        let mut best = fetch_as(name).await;
        if best.found.len() == expected {
            return best;
        }
        for alternative in list_alternative_names(vault, name).await {
            let fetched = fetch_as(&alternative).await;
            if fetched.found.len() > best.found.len() {
                best = fetched;
            }
            if best.found.len() == expected {
                break;
            }
        }
        if best.at != name {
            self.alternative_reads.push(format!(
                "{name}: another object occupies this name; its content was read from {}; run `tollgate vault verify`",
                best.at
            ));
        }
        best
    }
}

async fn list_alternative_names(vault: &Vault, name: &str) -> Vec<String> {
    let folder = vault.relative_name(name).and_then(|name| name.rsplit_once('/')).map(|(folder, _)| folder);
    let Some(folder) = folder else { return Vec::new() };
    // a reader without the right to list reads only the object's own name
    let names = vault.list(ObjectKind::Payload, &format!("{folder}/")).await.unwrap_or_default();
    names.into_iter().filter(|other| is_alternative_name(name, other)).collect()
}

/// Error for content that does not match its index line.
pub(super) const CONTENT_MISMATCH: &str = "the stored content does not match its index line";

#[derive(Deserialize)]
struct FragmentDocument<'a> {
    fragment: String,
    account: String,
    #[serde(borrow)]
    items: Vec<FragmentItem<'a>>,
}

#[derive(Deserialize)]
struct FragmentItem<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
    content_sha256: String,
    context_sha256: Option<String>,
    salt: String,
}

#[derive(Deserialize)]
struct FragmentPiece<'a> {
    part: String,
    #[serde(borrow)]
    value: &'a RawValue,
}

/// An opened document that is not trusted yet.
pub(crate) struct UntrustedDocument<'a>(FragmentDocument<'a>);

impl<'a> UntrustedDocument<'a> {
    /// Parses a document.
    pub(crate) fn read(plain: &'a [u8]) -> Result<Self, &'static str> {
        serde_json::from_slice(plain).map(Self).map_err(|_| "it is not a valid vault document")
    }

    /// Checks that the document agrees with these lines.
    pub(crate) fn check_rows<'r>(&self, rows: impl IntoIterator<Item = &'r IndexRow>) -> Result<(), &'static str> {
        rows.into_iter().try_for_each(|row| self.check_row(row))
    }

    fn check_row(&self, row: &IndexRow) -> Result<(), &'static str> {
        let (Self(document), tail) = (self, &row.tail);
        if tail.fragment.as_ref() != Some(&document.fragment) || tail.account != document.account {
            return Err("its fragment id or account differs from its line");
        }
        let Some(position) = tail.item else { return Ok(()) };
        let item = usize::try_from(position).ok().and_then(|position| document.items.get(position));
        let item = item.ok_or("it does not contain the item that its line names")?;
        let content = Sha256::digest(item.content.get());
        if kernel::hex::encode(&content) != item.content_sha256 {
            return Err("its content does not match its own content hash");
        }
        let salt = parse_hash(&item.salt).ok_or("its salt is malformed")?;
        if tail.commitment.as_ref().is_some_and(|recorded| *recorded != commitment(&salt, &content)) {
            return Err("its content does not match the commitment in its line");
        }
        if hash_context(item.content)? != item.context_sha256 {
            return Err("its context does not match its own context hash");
        }
        Ok(())
    }
}

/// The hash of the model's input; `None` without input.
fn hash_context(content: &RawValue) -> Result<Option<String>, &'static str> {
    let pieces: Vec<FragmentPiece<'_>> =
        serde_json::from_str(content.get()).map_err(|_| "its content is not a list of pieces")?;
    let mut context: Option<Sha256> = None;
    for piece in pieces.iter().filter(|piece| ["system", "tools", "input"].contains(&piece.part.as_str())) {
        let hasher = context.get_or_insert_default();
        for bytes in [piece.part.as_bytes(), &[0], piece.value.get().as_bytes(), &[0]] {
            hasher.update(bytes);
        }
    }
    Ok(context.map(|hasher| kernel::hex::encode(&hasher.finalize())))
}
