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
/// Places for marks of pairs that were seen once. Most ids never occur again, and take no room in the table.
const SEEN_ONCE: usize = 16_384;
/// The place of an attribute without a pair.
const NO_PAIR: u32 = u32::MAX;

/// The next id of a judge or a table.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// The id under which an instance of a step gives verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JudgeId(u64);

impl JudgeId {
    /// An id that no other instance has.
    pub fn unique() -> Self {
        Self(NEXT_ID.fetch_add(1, Ordering::Relaxed))
    }
}

/// The bit that is one verdict in one table, from [`Payload::verdict_bit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictBit {
    bit: u32,
    /// The table that it belongs to.
    table: u64,
}

/// The pairs that the workers of a gateway remember together, see the module.
#[derive(Default)]
pub struct PairVerdicts(Mutex<Arc<PairTable>>);

impl PairVerdicts {
    fn current_table(&self) -> Arc<PairTable> {
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
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
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
    /// Marks a pair as seen. True if it was marked before; pairs that share a place replace each other's marks.
    fn mark_seen(&self, quick: u64) -> bool {
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
