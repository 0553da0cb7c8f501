//! [`FragmentOpener::fetch_payload`]: reads a payload object under its name, or under an alternative name if another
//! object had the name before the gateway wrote (`stored_as` in the digest). A planted object must hide nothing.
//!
//! The object under the name is used unless an alternative contains more fragments with the hashes of index lines.
//! Reads from an alternative name are reported. Neighbours: `SignedIndex` (whether lines are signed), `verify`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use kernel::sha256::Sha256;
use vault::index_row::IndexRow;
use vault::object_names::is_alternative_name;
use vault::store::ObjectKind;

use super::opener::FragmentOpener;
use crate::error::Result;
use crate::location::Vault;

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
