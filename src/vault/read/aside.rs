//! **What**: [`Opener::fetch`]: a payload object's bytes, wherever they are: under its name, or beside it, where somebody had taken the
//! name before the gateway wrote (`stored_as` in its digest). **Why**: whoever may write may plant, and what is planted must hide
//! nothing. **Invariants**: what stands under the name counts unless another object of that name's own form has more of the fragments that
//! index lines name, by their hashes; what was read in another's place is said. **Not here**: whether lines are what was signed (`Signed`), judging (`verify`).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::vault::names::is_aside;
use crate::vault::row::Row;
use crate::vault::store::ObjectKind;

use super::{Opener, ReadError, Vault};

/// First byte and length of a fragment.
type Place = (u64, u64);

/// SHA-256 (hex) of an object's fragments, as index lines tell them: lines that were planted may tell others of the same place.
#[derive(Clone, Debug, Default)]
pub(in crate::vault) struct Hashes(BTreeMap<Place, BTreeSet<String>>);

impl Hashes {
    /// Takes a line's fragment.
    pub(in crate::vault) fn add(&mut self, row: &Row) {
        if let Some((place, sha256)) = row.off.zip(row.tail.len).zip(row.tail.ct_sha256.clone()) {
            self.0.entry(place).or_default().insert(sha256);
        }
    }

    /// What bytes that begin at `start` of their object have in these places: hashes, where a line tells the same.
    pub(super) fn found(&self, bytes: &[u8], start: u64) -> BTreeMap<Place, String> {
        let at = |(&(off, len), told): (&Place, &BTreeSet<String>)| {
            let first = usize::try_from(off.checked_sub(start)?).ok()?;
            let fragment = bytes.get(first..first.checked_add(usize::try_from(len).ok()?)?)?;
            let sha256 = crate::hex::encode(&Sha256::digest(fragment));
            told.contains(&sha256).then_some(((off, len), sha256))
        };
        self.0.iter().filter_map(at).collect()
    }

    /// Of them, those that lie in a range.
    fn inside(&self, (start, length): (u64, u64)) -> usize {
        let end = start.saturating_add(length);
        self.0
            .keys()
            .filter(|(off, len)| *off >= start && off.checked_add(*len).is_some_and(|last| last <= end))
            .count()
    }
}

impl Vault {
    /// A payload object, or a range of it (first byte, length), and the name that it has.
    pub(in crate::vault) async fn payload(
        &self,
        name: &str,
        range: Option<(u64, u64)>,
        hashes: &Hashes,
    ) -> (String, Result<Bytes, ReadError>) {
        let own = self.fetch(ObjectKind::Payload, name, range).await;
        let asked = range.unwrap_or((0, u64::MAX));
        let all = hashes.inside(asked);
        let held =
            |bytes: &Result<Bytes, ReadError>| bytes.as_ref().map_or(0, |bytes| hashes.found(bytes, asked.0).len());
        let (mut most, mut best) = (held(&own), (name.to_owned(), own));
        if most == all {
            return best;
        }
        for other in self.beside(name).await {
            let bytes = self.fetch(ObjectKind::Payload, &other, range).await;
            let count = held(&bytes);
            if count > most {
                (most, best) = (count, (other, bytes));
            }
            if most == all {
                break;
            }
        }
        best
    }

    /// Names of objects that may be what should stand under this one.
    async fn beside(&self, name: &str) -> Vec<String> {
        let Some(folder) = self.relative(name).and_then(|name| name.rsplit_once('/')).map(|(folder, _)| folder) else {
            return Vec::new();
        };
        // who may not list reads what has the name
        let there = self.list(ObjectKind::Payload, &format!("{folder}/")).await.unwrap_or_default();
        there.into_iter().filter(|other| is_aside(name, other)).collect()
    }
}

impl Opener<'_> {
    /// As [`Vault::payload`]; where it was found beside its name, [`Self::moved`] says so.
    pub(super) async fn fetch(
        &mut self,
        name: &str,
        range: Option<(u64, u64)>,
        hashes: &Hashes,
    ) -> (String, Result<Bytes, ReadError>) {
        let (at, bytes) = self.vault.payload(name, range, hashes).await;
        if at != name {
            self.moved.push(format!(
                "{name}: what stands there is not what index lines name, which was read at {at}; `tollgate vault verify` tells more"
            ));
        }
        (at, bytes)
    }

    /// Objects whose names others have, and where they were read, a line each.
    pub fn moved(&self) -> &[String] {
        &self.moved
    }
}
