//! [`FragmentOpener::fetch_payload`]: reads a payload object's bytes under its name, or under an alternative name if
//! its own was taken before the gateway wrote (`stored_as` in its digest). A writer may plant objects, and a planted
//! object must hide nothing.
//!
//! The object under the name is used unless an alternative has more of the fragments that index lines name, by their
//! hashes. Reads from an alternative name are reported. Neighbours: `SignedIndex` (whether lines are signed), `verify`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use vault::index_row::IndexRow;
use vault::object_names::is_alternative_name;
use vault::store::ObjectKind;

use super::opener::FragmentOpener;
use crate::error::ReadError;
use crate::location::Vault;

/// First byte and length of a fragment.
type FragmentRange = (u64, u64);

/// Places whose bytes have the SHA-256 (hex) in an index line.
pub(crate) type FragmentMatches = BTreeMap<FragmentRange, String>;

/// Limit on overlapping places: bytes hashed, as a multiple of the object's size.
const MAX_OVERLAP_FACTOR: usize = 1024;

/// A payload object, or a range of it, as it was read.
pub(crate) struct FetchedPayload {
    /// The name under which it was read.
    pub(crate) at: String,
    /// Its bytes.
    pub(crate) bytes: Result<Bytes, ReadError>,
    /// Its fragments that match index lines.
    pub(crate) found: FragmentMatches,
}

/// SHA-256 (hex) of an object's fragments according to index lines. A place may have several hashes, because lines may
/// be planted.
#[derive(Clone, Debug, Default)]
pub(crate) struct FragmentHashes(BTreeMap<FragmentRange, BTreeSet<String>>);

impl FragmentHashes {
    /// Adds a line's fragment.
    pub(crate) fn add(&mut self, row: &IndexRow) {
        if let Some((place, sha256)) = row.off.zip(row.tail.len).zip(row.tail.ct_sha256.clone()) {
            self.0.entry(place).or_default().insert(sha256);
        }
    }

    /// The places at which `bytes`, which begin at offset `start` of their object, match a line's hash. Places in
    /// genuine lines never overlap; planted lines can't make a reader hash more than [`MAX_OVERLAP_FACTOR`] times the
    /// size of `bytes`.
    pub(super) fn find_matches(&self, bytes: &[u8], start: u64) -> FragmentMatches {
        let mut left = bytes.len().saturating_mul(MAX_OVERLAP_FACTOR);
        let at = |(&(off, len), told): (&FragmentRange, &BTreeSet<String>)| {
            let first = usize::try_from(off.checked_sub(start)?).ok()?;
            let fragment = bytes.get(first..first.checked_add(usize::try_from(len).ok()?)?)?;
            left = left.checked_sub(fragment.len())?;
            let sha256 = kernel::hex::encode(&Sha256::digest(fragment));
            told.contains(&sha256).then_some(((off, len), sha256))
        };
        self.0.iter().filter_map(at).collect()
    }

    /// Number of places within a range.
    fn count_inside(&self, (start, length): (u64, u64)) -> usize {
        let end = start.saturating_add(length);
        self.0
            .keys()
            .filter(|(off, len)| *off >= start && off.checked_add(*len).is_some_and(|last| last <= end))
            .count()
    }
}

impl Vault {
    /// A payload object, or a range of it (first byte, length).
    pub(crate) async fn fetch_payload(
        &self,
        name: &str,
        range: Option<(u64, u64)>,
        hashes: &FragmentHashes,
    ) -> FetchedPayload {
        let asked = range.unwrap_or((0, u64::MAX));
        let all = hashes.count_inside(asked);
        let fetched = async |at: &str| {
            let bytes = self.fetch(ObjectKind::Payload, at, range).await;
            let found = bytes.as_ref().map(|bytes| hashes.find_matches(bytes, asked.0)).unwrap_or_default();
            FetchedPayload { at: at.to_owned(), bytes, found }
        };
        let mut best = fetched(name).await;
        if best.found.len() == all {
            return best;
        }
        for other in self.list_alternative_names(name).await {
            let other = fetched(&other).await;
            if other.found.len() > best.found.len() {
                best = other;
            }
            if best.found.len() == all {
                break;
            }
        }
        best
    }

    /// Alternative names of an object.
    async fn list_alternative_names(&self, name: &str) -> Vec<String> {
        let Some(folder) = self.relative_name(name).and_then(|name| name.rsplit_once('/')).map(|(folder, _)| folder)
        else {
            return Vec::new();
        };
        // without the right to list, only the object's own name is read
        let there = self.list(ObjectKind::Payload, &format!("{folder}/")).await.unwrap_or_default();
        there.into_iter().filter(|other| is_alternative_name(name, other)).collect()
    }
}

impl FragmentOpener<'_> {
    /// As [`Vault::payload`]; a read from an alternative name is added to [`Self::moved`].
    pub(super) async fn fetch_payload(
        &mut self,
        name: &str,
        range: Option<(u64, u64)>,
        hashes: &FragmentHashes,
    ) -> FetchedPayload {
        let fetched = self.vault.fetch_payload(name, range, hashes).await;
        if fetched.at != name {
            self.alternative_reads.push(format!(
                "{name}: another object occupies this name; its content was read from {}; run `tollgate vault verify`",
                fetched.at
            ));
        }
        fetched
    }

    /// Objects that were read under an alternative name, a line each.
    pub fn alternative_reads(&self) -> &[String] {
        &self.alternative_reads
    }
}
