//! [`PairVerdicts`] remembers for which attributes a step has nothing to do. Most attributes of ordinary spans are one
//! of a few pairs of a key and a short text (a method, a route, a host), and judging a text costs far more than finding
//! it again. A pair is the encoded KeyValue of a text attribute of at most 320 bytes.
//!
//! The life of a pair: at its first occurrence it is only marked, at the second [`Payload::find_pairs`] stores it in a
//! table that all workers share, and steps give it verdicts ("holds no content", "stays"): one bit for each step and
//! the rules that it applies. From the third occurrence on, the step reads its bit and skips the attribute. A full
//! table is replaced by an empty one; requests in flight keep the old one.
//!
//! A verdict depends on the pair and on what the step names in [`Payload::verdict_bit`] (its instance, its rules),
//! never on the account or on other attributes. No text is kept: a pair is known by two hashes of 64 bits, of which one
//! is SipHash with random keys, so that nobody can make up a pair that is taken for another. An attribute that an edit
//! changed or added has no pair.

use std::hash::{BuildHasher as _, Hash};
use std::sync::atomic::{AtomicU64, Ordering};

use super::check::KeyValueShape;
use super::ids::AttrId;
use super::index::{AttrRec, StorageState};
use super::pair_table::{FoundPairs, NO_PAIR, PairVerdicts, VerdictBit};
use super::payload::Payload;

#[cfg(test)]
mod tests;

/// Maximum size of a pair, as the field of a request, bytes.
const MAX_PAIR_BYTES: usize = 320;

impl Payload {
    /// Finds the pairs of the attributes. Only the first call has an effect.
    pub fn find_pairs(&self, verdicts: &PairVerdicts) {
        self.pairs.get_or_init(|| {
            let table = verdicts.current_table();
            let mut new: Vec<(usize, u64, u64)> = Vec::new();
            let pairs = table.pairs.read();
            let find = |(number, attr): (usize, &AttrRec)| {
                let Some(pair) = self.pair_bytes(attr) else { return NO_PAIR };
                let quick = table.quick.hash_one(pair);
                pairs.find(quick, || table.keyed.hash_one(pair)).unwrap_or_else(|| {
                    if table.mark_seen(quick) {
                        new.push((number, quick, table.keyed.hash_one(pair)));
                    }
                    NO_PAIR
                })
            };
            let mut places: Vec<u32> = self.index.attrs.iter().enumerate().map(find).collect();
            drop(pairs);
            if !new.is_empty() {
                let mut pairs = table.pairs.write();
                for (number, quick, keyed) in new {
                    let place = pairs.add(quick, keyed).unwrap_or(NO_PAIR);
                    places.get_mut(number).into_iter().for_each(|known| *known = place);
                }
            }
            FoundPairs { table, places }
        });
    }

    /// The field of an attribute that may have a pair.
    pub(super) fn pair_bytes(&self, attr: &AttrRec) -> Option<&[u8]> {
        let is_pair = attr.state == StorageState::Wire
            && attr.shape == KeyValueShape::Text
            && !attr.unknown
            && attr.wire.len() <= MAX_PAIR_BYTES;
        is_pair.then(|| self.bytes(attr.state, attr.wire))
    }

    /// The bit of a verdict about this request's pairs. `judge`: the instance of the step, and all that its verdict
    /// depends on besides the pair. `None` if pairs were not searched, or too many verdicts are in use.
    pub fn verdict_bit(&self, judge: impl Hash) -> Option<VerdictBit> {
        let table = &self.pairs.get()?.table;
        Some(VerdictBit { bit: table.bit(judge)?, table: table.id })
    }

    /// The verdicts about an attribute's pair, if they are those of the table of `verdict`.
    fn verdict_bits(&self, id: AttrId, verdict: VerdictBit) -> Option<&AtomicU64> {
        let found = self.pairs.get().filter(|found| found.table.id == verdict.table)?;
        let place = *found.places.get(id.index())?;
        let is_unchanged = || self.index.attrs.get(id.index()).is_some_and(|attr| attr.state == StorageState::Wire);
        found.table.verdicts.get(place as usize).filter(|_| is_unchanged())
    }

    /// Whether a step gave the attribute's pair this verdict.
    pub fn has_verdict(&self, id: AttrId, verdict: VerdictBit) -> bool {
        let verdicts = self.verdict_bits(id, verdict);
        verdicts.is_some_and(|verdicts| verdicts.load(Ordering::Relaxed) & (1 << verdict.bit) != 0)
    }

    /// Gives the attribute's pair this verdict, if it has one.
    pub fn give_verdict(&self, id: AttrId, verdict: VerdictBit) {
        let verdicts = self.verdict_bits(id, verdict);
        verdicts.into_iter().for_each(|verdicts| _ = verdicts.fetch_or(1 << verdict.bit, Ordering::Relaxed));
    }
}
