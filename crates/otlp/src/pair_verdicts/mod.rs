//! [`PairVerdicts`] remembers what steps decided about attributes that occur again and again. Most attributes of
//! ordinary spans are one of a few pairs of a key and a short text (a method, a route, a host), and judging a text costs
//! far more than finding it again. [`Payload::find_pairs`] finds the pairs of a request once; after that, each step
//! reads its verdict about an attribute as one bit.
//!
//! A verdict depends on the pair alone, and on nothing of account, item or request. No text is kept: a pair is known by
//! two hashes of 64 bits, of which one is SipHash with random keys, so that nobody can make up a pair that is taken for
//! another. A forgotten pair is only judged again. An attribute that an edit changed or added has no pair.

use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};

use super::check::KeyValueShape;
use super::ids::AttrId;
use super::index::{AttrRec, StorageState};
use super::payload::Payload;

#[cfg(test)]
mod tests;

/// Maximum size of a pair, as the field of a request, bytes.
const MAX_PAIR_BYTES: usize = 320;
/// Maximum number of pairs. A full table is replaced by an empty one; so is one whose verdicts are used up.
const MAX_PAIRS: usize = 8192;
/// Places for pairs that were seen once. Only at the second occurrence is a pair remembered, so most ids take no room.
const SEEN_ONCE: usize = 16_384;
/// The place of an attribute without a pair.
const NO_PAIR: u32 = u32::MAX;

/// The next [`Judge`] or table.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// An instance of a step, whose verdicts are its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Judge(u64);

impl Judge {
    /// Another one than all before.
    pub fn next() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// One verdict that a step may give the pairs of a request, from [`Payload::verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    bit: u32,
    /// The table that it belongs to.
    table: u64,
}

/// The pairs that the workers of a gateway remember together, see the module.
#[derive(Default)]
pub struct PairVerdicts(Mutex<Arc<PairTable>>);

impl PairVerdicts {
    fn table(&self) -> Arc<PairTable> {
        let mut table = self.0.lock();
        if table.pairs.read().is_full() || table.is_used_up.load(Ordering::Relaxed) {
            *table = Arc::default();
        }
        Arc::clone(&table)
    }
}

/// Remembered pairs with their verdicts. A place is never used for a second pair, and a bit for no second verdict.
struct PairTable {
    id: u64,
    pairs: RwLock<StoredPairs>,
    /// By place, one bit for each verdict.
    verdicts: Box<[AtomicU64]>,
    /// By bit: a hash of who judges, and under which rules.
    judges: RwLock<Vec<u64>>,
    /// There were more judges than bits.
    is_used_up: AtomicBool,
    /// Parts of the hashes of pairs that occurred.
    seen_once: Box<[AtomicU32]>,
    quick: foldhash::fast::RandomState,
    keyed: std::hash::RandomState,
}

#[derive(Default)]
struct StoredPairs {
    places: HashTable<u32>,
    /// By place: the quick hash and the keyed one.
    hashes: Vec<[u64; 2]>,
}

impl Default for PairTable {
    fn default() -> Self {
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            pairs: RwLock::default(),
            verdicts: (0..MAX_PAIRS).map(|_| AtomicU64::new(0)).collect(),
            judges: RwLock::default(),
            is_used_up: AtomicBool::new(false),
            seen_once: (0..SEEN_ONCE).map(|_| AtomicU32::new(0)).collect(),
            quick: foldhash::fast::RandomState::default(),
            keyed: std::hash::RandomState::new(),
        }
    }
}

impl PairTable {
    /// Whether a pair with this hash occurred before, or another one that is taken for it.
    fn was_seen(&self, quick: u64) -> bool {
        let (place, mark) = (quick as usize % SEEN_ONCE, (quick >> 32) as u32 | 1);
        self.seen_once.get(place).is_some_and(|seen| seen.swap(mark, Ordering::Relaxed) == mark)
    }

    /// The bit of a judge's verdict.
    fn bit(&self, judge: impl Hash) -> Option<u32> {
        let judge = self.keyed.hash_one(judge);
        let find = |judges: &[u64]| judges.iter().position(|known| *known == judge).map(|bit| bit as u32);
        let known = find(&self.judges.read());
        known.or_else(|| {
            let mut judges = self.judges.write();
            let bit = find(&judges).unwrap_or(judges.len() as u32);
            if bit >= u64::BITS {
                self.is_used_up.store(true, Ordering::Relaxed);
                return None;
            }
            if bit as usize == judges.len() {
                judges.push(judge);
            }
            Some(bit)
        })
    }
}

impl StoredPairs {
    fn is_full(&self) -> bool {
        self.hashes.len() >= MAX_PAIRS
    }

    /// `keyed` is asked only where the quick hash is known.
    fn find(&self, quick: u64, keyed: impl Fn() -> u64) -> Option<u32> {
        let is_equal = |place: &u32| {
            let hashes = self.hashes.get(*place as usize);
            hashes.is_some_and(|hashes| hashes[0] == quick && hashes[1] == keyed())
        };
        self.places.find(quick, is_equal).copied()
    }

    /// The place of a pair that was added, if there was room.
    fn add(&mut self, quick: u64, keyed: u64) -> Option<u32> {
        if let Some(place) = self.find(quick, || keyed) {
            return Some(place);
        }
        let place = Some(self.hashes.len() as u32).filter(|_| !self.is_full())?;
        self.hashes.push([quick, keyed]);
        let Self { places, hashes } = self;
        places.insert_unique(quick, place, |place| hashes.get(*place as usize).map_or(0, |hashes| hashes[0]));
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
    /// Finds the pairs of the attributes. Only the first call has an effect.
    pub fn find_pairs(&self, verdicts: &PairVerdicts) {
        self.pairs.get_or_init(|| {
            let table = verdicts.table();
            let mut new: Vec<(usize, u64, u64)> = Vec::new();
            let pairs = table.pairs.read();
            let find = |(number, attr): (usize, &AttrRec)| {
                let Some(pair) = self.pair(attr) else { return NO_PAIR };
                let quick = table.quick.hash_one(pair);
                pairs.find(quick, || table.keyed.hash_one(pair)).unwrap_or_else(|| {
                    if table.was_seen(quick) {
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
    pub(super) fn pair(&self, attr: &AttrRec) -> Option<&[u8]> {
        let is_pair = attr.state == StorageState::Wire
            && attr.shape == KeyValueShape::Text
            && !attr.unknown
            && attr.wire.len() <= MAX_PAIR_BYTES;
        is_pair.then(|| self.bytes(attr.state, attr.wire))
    }

    /// The verdict of a judge about this request's pairs. `judge`: the instance of the step, and all that its verdict
    /// depends on besides the pair. `None` if pairs were not searched, or too many verdicts are in use.
    pub fn verdict(&self, judge: impl Hash) -> Option<Verdict> {
        let table = &self.pairs.get()?.table;
        Some(Verdict { bit: table.bit(judge)?, table: table.id })
    }

    /// The verdicts about an attribute's pair, if that of `verdict` is among them.
    fn verdicts(&self, id: AttrId, verdict: Verdict) -> Option<&AtomicU64> {
        let found = self.pairs.get().filter(|found| found.table.id == verdict.table)?;
        let place = *found.places.get(id.index())?;
        let is_unchanged = || self.index.attrs.get(id.index()).is_some_and(|attr| attr.state == StorageState::Wire);
        found.table.verdicts.get(place as usize).filter(|_| is_unchanged())
    }

    /// Whether a step gave the attribute's pair this verdict.
    pub fn has_verdict(&self, id: AttrId, verdict: Verdict) -> bool {
        let verdicts = self.verdicts(id, verdict);
        verdicts.is_some_and(|verdicts| verdicts.load(Ordering::Relaxed) & (1 << verdict.bit) != 0)
    }

    /// Gives the attribute's pair this verdict, if it has one.
    pub fn give_verdict(&self, id: AttrId, verdict: Verdict) {
        let verdicts = self.verdicts(id, verdict);
        verdicts.into_iter().for_each(|verdicts| _ = verdicts.fetch_or(1 << verdict.bit, Ordering::Relaxed));
    }
}
