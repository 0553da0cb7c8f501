//! [`Opener::fetch`]: reads a payload object's bytes under its name, or under an alternative name if its own was taken
//! before the gateway wrote (`stored_as` in its digest). A writer may plant objects, and a planted object must hide
//! nothing.
//!
//! The object under the name is used unless an alternative has more of the fragments that index lines name, by their
//! hashes. Reads from an alternative name are reported. Neighbours: `Signed` (whether lines are signed), `verify`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use vault::names::is_aside;
use vault::row::Row;
use vault::store::ObjectKind;

use super::opener::Opener;
use crate::error::ReadError;
use crate::location::Vault;

/// First byte and length of a fragment.
type Place = (u64, u64);

/// Places whose bytes have the SHA-256 (hex) in an index line.
pub(crate) type Matches = BTreeMap<Place, String>;

/// Limit on overlapping places: bytes hashed, as a multiple of the object's size.
const TIMES: usize = 1024;

/// A payload object, or a range of it, as it was read.
pub(crate) struct Fetched {
    /// The name under which it was read.
    pub(crate) at: String,
    /// Its bytes.
    pub(crate) bytes: Result<Bytes, ReadError>,
    /// Its fragments that match index lines.
    pub(crate) found: Matches,
}

/// SHA-256 (hex) of an object's fragments according to index lines. A place may have several hashes, because lines may
/// be planted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hashes(BTreeMap<Place, BTreeSet<String>>);

impl Hashes {
    /// Adds a line's fragment.
    pub(crate) fn add(&mut self, row: &Row) {
        if let Some((place, sha256)) = row.off.zip(row.tail.len).zip(row.tail.ct_sha256.clone()) {
            self.0.entry(place).or_default().insert(sha256);
        }
    }

    /// The places at which `bytes`, which begin at offset `start` of their object, match a line's hash. Places in
    /// genuine lines never overlap; planted lines can't make a reader hash more than [`TIMES`] times the size of
    /// `bytes`.
    pub(super) fn found(&self, bytes: &[u8], start: u64) -> Matches {
        let mut left = bytes.len().saturating_mul(TIMES);
        let at = |(&(off, len), told): (&Place, &BTreeSet<String>)| {
            let first = usize::try_from(off.checked_sub(start)?).ok()?;
            let fragment = bytes.get(first..first.checked_add(usize::try_from(len).ok()?)?)?;
            left = left.checked_sub(fragment.len())?;
            let sha256 = kernel::hex::encode(&Sha256::digest(fragment));
            told.contains(&sha256).then_some(((off, len), sha256))
        };
        self.0.iter().filter_map(at).collect()
    }

    /// Number of places within a range.
    fn inside(&self, (start, length): (u64, u64)) -> usize {
        let end = start.saturating_add(length);
        self.0
            .keys()
            .filter(|(off, len)| *off >= start && off.checked_add(*len).is_some_and(|last| last <= end))
            .count()
    }
}

impl Vault {
    /// A payload object, or a range of it (first byte, length).
    pub(crate) async fn payload(&self, name: &str, range: Option<(u64, u64)>, hashes: &Hashes) -> Fetched {
        let asked = range.unwrap_or((0, u64::MAX));
        let all = hashes.inside(asked);
        let fetched = async |at: &str| {
            let bytes = self.fetch(ObjectKind::Payload, at, range).await;
            let found = bytes.as_ref().map(|bytes| hashes.found(bytes, asked.0)).unwrap_or_default();
            Fetched { at: at.to_owned(), bytes, found }
        };
        let mut best = fetched(name).await;
        if best.found.len() == all {
            return best;
        }
        for other in self.beside(name).await {
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
    async fn beside(&self, name: &str) -> Vec<String> {
        let Some(folder) = self.relative(name).and_then(|name| name.rsplit_once('/')).map(|(folder, _)| folder) else {
            return Vec::new();
        };
        // without the right to list, only the object's own name is read
        let there = self.list(ObjectKind::Payload, &format!("{folder}/")).await.unwrap_or_default();
        there.into_iter().filter(|other| is_aside(name, other)).collect()
    }
}

impl Opener<'_> {
    /// As [`Vault::payload`]; a read from an alternative name is added to [`Self::moved`].
    pub(super) async fn fetch(&mut self, name: &str, range: Option<(u64, u64)>, hashes: &Hashes) -> Fetched {
        let fetched = self.vault.payload(name, range, hashes).await;
        if fetched.at != name {
            self.moved.push(format!(
                "{name}: what stands there is not what index lines name, which was read at {}; `tollgate vault verify` tells more",
                fetched.at
            ));
        }
        fetched
    }

    /// Objects that were read under an alternative name, a line each.
    pub fn moved(&self) -> &[String] {
        &self.moved
    }
}
