//! [`PairVerdicts`] remembers what steps decided about attributes that occur again and again. Most attributes of
//! ordinary spans are one of a few pairs of a key and a short text (a method, a route, a host), and judging a text costs
//! far more than finding it again. [`Payload::find_pairs`] finds the pairs of a request once; after that, each step
//! reads its verdict about an attribute as one bit.
//!
//! A verdict depends on the pair alone, and on nothing of account, item or request. Pairs are compared byte by byte, and
//! a forgotten pair is only judged again. An attribute that an edit changed or added has no pair.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};

use super::check::KeyValueShape;
use super::ids::AttrId;
use super::index::{AttrRec, StorageState};
use super::payload::Payload;
use super::wire;

#[cfg(test)]
mod tests;

/// Maximum size of a remembered pair, as the field of a request, bytes.
const MAX_PAIR_BYTES: usize = 320;
/// Maximum number of pairs, and of their bytes. A full table is replaced by an empty one.
const MAX_PAIRS: usize = 8192;
const MAX_BYTES: usize = 1 << 20;
/// Places for pairs that were seen once: only the second occurrence is remembered, so that ids take no memory.
const SEEN_ONCE: usize = 16_384;
/// The place of an attribute without a pair.
const NO_PAIR: u32 = u32::MAX;

/// One verdict that a step may give a pair; from [`PairVerdicts::new_verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict(u8);

/// The pairs that the workers of a gateway remember together, see the module.
#[derive(Default)]
pub struct PairVerdicts {
    table: Mutex<Arc<PairTable>>,
    verdicts: Mutex<u8>,
}

impl PairVerdicts {
    /// A verdict that no other step uses; `None` after 64.
    pub fn new_verdict(&self) -> Option<Verdict> {
        let mut used = self.verdicts.lock();
        let verdict = Verdict(*used);
        *used = used.checked_add(1).filter(|used| u32::from(*used) <= u64::BITS)?;
        Some(verdict)
    }

    fn table(&self) -> Arc<PairTable> {
        let mut table = self.table.lock();
        if table.pairs.read().is_full() {
            *table = Arc::default();
        }
        Arc::clone(&table)
    }
}

/// Remembered pairs with their verdicts. A place is never used for a second pair.
struct PairTable {
    pairs: RwLock<StoredPairs>,
    /// By place, one bit for each verdict.
    verdicts: Box<[AtomicU64]>,
    /// Parts of the hashes of pairs that occurred.
    seen_once: Box<[AtomicU32]>,
    hasher: RandomState,
}

#[derive(Default)]
struct StoredPairs {
    places: HashTable<u32>,
    /// By place: where its bytes end.
    ends: Vec<u32>,
    bytes: Vec<u8>,
}

impl Default for PairTable {
    fn default() -> Self {
        Self {
            pairs: RwLock::default(),
            verdicts: (0..MAX_PAIRS).map(|_| AtomicU64::new(0)).collect(),
            seen_once: (0..SEEN_ONCE).map(|_| AtomicU32::new(0)).collect(),
            hasher: RandomState::default(),
        }
    }
}

impl PairTable {
    fn hash(&self, pair: &[u8]) -> u64 {
        use std::hash::BuildHasher as _;
        self.hasher.hash_one(pair)
    }

    /// Whether a pair with this hash occurred before, or another one that is taken for it.
    fn was_seen(&self, hash: u64) -> bool {
        let (place, mark) = (hash as usize % SEEN_ONCE, (hash >> 32) as u32 | 1);
        self.seen_once.get(place).is_some_and(|seen| seen.swap(mark, Ordering::Relaxed) == mark)
    }
}

impl StoredPairs {
    fn is_full(&self) -> bool {
        self.ends.len() >= MAX_PAIRS || self.bytes.len() + MAX_PAIR_BYTES > MAX_BYTES
    }

    fn bytes_at(&self, place: u32) -> &[u8] {
        let start = place.checked_sub(1).and_then(|before| self.ends.get(before as usize)).map_or(0, |end| *end);
        let end = self.ends.get(place as usize).map_or(0, |end| *end);
        self.bytes.get(start as usize..end as usize).unwrap_or_default()
    }

    fn find(&self, hash: u64, pair: &[u8]) -> Option<u32> {
        self.places.find(hash, |place| self.bytes_at(*place) == pair).copied()
    }

    /// The place of a pair that was added, if there was room.
    fn add(&mut self, hash: u64, pair: &[u8], hash_of: impl Fn(&[u8]) -> u64) -> Option<u32> {
        if let Some(place) = self.find(hash, pair) {
            return Some(place);
        }
        let place = Some(self.ends.len() as u32).filter(|_| !self.is_full())?;
        self.bytes.extend_from_slice(pair);
        self.ends.push(self.bytes.len() as u32);
        let mut places = std::mem::take(&mut self.places);
        places.insert_unique(hash, place, |place| hash_of(self.bytes_at(*place)));
        self.places = places;
        Some(place)
    }
}

/// The pairs of a request's attributes.
#[derive(Clone)]
pub(super) struct FoundPairs {
    table: Arc<PairTable>,
    /// By number of the attribute.
    places: Vec<u32>,
}

impl Payload {
    /// Finds the pairs of the attributes. `may_remember`: whether texts under a key may be kept in memory.
    pub fn find_pairs(&self, verdicts: &PairVerdicts, mut may_remember: impl FnMut(&str) -> bool) {
        self.pairs.get_or_init(|| {
            let table = verdicts.table();
            let mut new: Vec<(usize, u64)> = Vec::new();
            let pairs = table.pairs.read();
            let find = |(number, attr): (usize, &AttrRec)| {
                let Some(pair) = self.pair(attr) else { return NO_PAIR };
                let hash = table.hash(pair);
                pairs.find(hash, pair).unwrap_or_else(|| {
                    if table.was_seen(hash) && may_remember(wire::text_or_empty(self.bytes(attr.state, attr.key))) {
                        new.push((number, hash));
                    }
                    NO_PAIR
                })
            };
            let mut places: Vec<u32> = self.index.attrs.iter().enumerate().map(find).collect();
            drop(pairs);
            if !new.is_empty() {
                let mut pairs = table.pairs.write();
                for (number, hash) in new {
                    let pair = self.index.attrs.get(number).and_then(|attr| self.pair(attr)).unwrap_or_default();
                    let place = pairs.add(hash, pair, |pair| table.hash(pair)).unwrap_or(NO_PAIR);
                    places.get_mut(number).into_iter().for_each(|known| *known = place);
                }
            }
            FoundPairs { table, places }
        });
    }

    /// The field of an attribute whose pair may be remembered.
    fn pair(&self, attr: &AttrRec) -> Option<&[u8]> {
        let is_pair = attr.state == StorageState::Wire
            && attr.shape == KeyValueShape::Text
            && !attr.unknown
            && attr.wire.len() <= MAX_PAIR_BYTES;
        is_pair.then(|| self.bytes(attr.state, attr.wire))
    }

    /// The verdicts about an attribute's pair.
    fn verdicts(&self, id: AttrId) -> Option<&AtomicU64> {
        let found = self.pairs.get()?;
        let place = *found.places.get(id.index())?;
        let is_unchanged = || self.index.attrs.get(id.index()).is_some_and(|attr| attr.state == StorageState::Wire);
        found.table.verdicts.get(place as usize).filter(|_| is_unchanged())
    }

    /// Whether a step gave the attribute's pair this verdict.
    pub fn has_verdict(&self, id: AttrId, verdict: Verdict) -> bool {
        self.verdicts(id).is_some_and(|verdicts| verdicts.load(Ordering::Relaxed) & (1 << verdict.0) != 0)
    }

    /// Gives the attribute's pair this verdict, if it has one.
    pub fn give_verdict(&self, id: AttrId, verdict: Verdict) {
        self.verdicts(id).into_iter().for_each(|verdicts| _ = verdicts.fetch_or(1 << verdict.0, Ordering::Relaxed));
    }
}
