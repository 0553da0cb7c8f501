//! The table behind `pair_verdicts`: pairs by two hashes, one bit for each verdict, and who gives it.

use std::hash::{BuildHasher as _, Hash};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use hashbrown::HashTable;
use parking_lot::{Mutex, RwLock};

/// Maximum number of pairs. A full table is replaced by an empty one; so is one whose verdicts are used up.
pub(super) const MAX_PAIRS: usize = 8192;
/// Places for marks of pairs that were seen once. Most ids never occur again, and take no room in the table.
const SEEN_ONCE: usize = 16_384;
/// The place of an attribute without a pair.
pub(super) const NO_PAIR: u32 = u32::MAX;

/// The next id of a judge or a table.
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// The id under which an instance of a step gives verdicts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JudgeId(pub(super) u64);

impl JudgeId {
    /// An id that no other instance has.
    pub fn unique() -> Self {
        Self(NEXT_ID.fetch_add(1, Ordering::Relaxed))
    }
}

/// The bit that is one verdict in one table, from [`verdict_bit`](crate::Payload::verdict_bit).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerdictBit {
    pub(super) bit: u32,
    /// The table that it belongs to.
    pub(super) table: u64,
}

/// The pairs that the workers of a gateway remember together, see the module.
#[derive(Default)]
pub struct PairVerdicts(Mutex<Arc<PairTable>>);

impl PairVerdicts {
    pub(super) fn current_table(&self) -> Arc<PairTable> {
        let mut table = self.0.lock();
        if table.pairs.read().is_full() || table.is_used_up.load(Ordering::Relaxed) {
            *table = Arc::default();
        }
        Arc::clone(&table)
    }
}

/// Remembered pairs with their verdicts. A place is never used for a second pair, and a bit for no second verdict.
pub(super) struct PairTable {
    pub(super) id: u64,
    pub(super) pairs: RwLock<StoredPairs>,
    /// By place, one bit for each verdict.
    pub(super) verdicts: Box<[AtomicU64]>,
    /// By bit: a hash of who judges, and under which rules.
    judges: RwLock<Vec<u64>>,
    /// There were more judges than bits.
    is_used_up: AtomicBool,
    /// Parts of the hashes of pairs that occurred.
    seen_once: Box<[AtomicU32]>,
    pub(super) quick: foldhash::fast::RandomState,
    pub(super) keyed: std::hash::RandomState,
}

#[derive(Default)]
pub(super) struct StoredPairs {
    places: HashTable<u32>,
    /// By place: the quick hash and the keyed one.
    pub(super) hashes: Vec<[u64; 2]>,
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
    pub(super) fn mark_seen(&self, quick: u64) -> bool {
        let (place, mark) = (quick as usize % SEEN_ONCE, (quick >> 32) as u32 | 1);
        self.seen_once.get(place).is_some_and(|seen| seen.swap(mark, Ordering::Relaxed) == mark)
    }

    /// The bit of a judge's verdict.
    pub(super) fn bit(&self, judge: impl Hash) -> Option<u32> {
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
    pub(super) fn find(&self, quick: u64, keyed: impl Fn() -> u64) -> Option<u32> {
        let is_equal = |place: &u32| {
            let hashes = self.hashes.get(*place as usize);
            hashes.is_some_and(|hashes| hashes[0] == quick && hashes[1] == keyed())
        };
        self.places.find(quick, is_equal).copied()
    }

    /// The place of a pair that was added, if there was room.
    pub(super) fn add(&mut self, quick: u64, keyed: u64) -> Option<u32> {
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
    pub(super) table: Arc<PairTable>,
    /// By number of the attribute.
    pub(super) places: Vec<u32>,
}
