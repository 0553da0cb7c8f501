//! [`Claims`]: makes sure that each call is counted once, whichever of its copies or repeats arrives first: a batch
//! counts a call only if it could claim the call's key.
//! At most one batch holds a key. A claim becomes permanent when its batch is committed ([`Claims::settle`]), and is
//! released if the batch is not ([`Claims::discard`]). Only settled claims are saved. The number of keys is bounded,
//! and dropped keys are counted. The processor that counts defines the keys.
//! `kernel::bounded_map` would take three times the memory for a million keys: here each has 4 bytes besides itself.

use std::time::Duration;

use foldhash::HashMap;
use parking_lot::Mutex;

use kernel::clock::UnixNanos;
use kernel::sha256::Sha256;

#[cfg(test)]
mod tests;

/// Minimum time for which a claim is kept, if there is room.
pub const KEEP: Duration = Duration::from_secs(3600);
/// Maximum number of keys.
pub const LIMIT: usize = 1_000_000;

/// First byte of saved claims: the number of batches (4 bytes, little-endian), each batch with its arrival, then each
/// key with the position of its batch.
const SAVED_VERSION: u8 = 2;
/// First byte of an older form: each key with its batch and arrival.
const SAVED_VERSION_1: u8 = 1;
const SAVED_BATCH_BYTES: usize = 24;
const SAVED_KEY_BYTES: usize = 20;
/// The same in version 1.
const SAVED_ENTRY_BYTES: usize = 40;

/// Key of something that must be counted once: a digest of account and ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimKey([u8; 16]);

impl ClaimKey {
    /// The key of these parts, in order. Different lists of parts have different keys (except for a collision of 128
    /// bits).
    pub fn from_parts(parts: &[&[u8]]) -> Self {
        let hash = Sha256::digest_list(parts);
        Self(std::array::from_fn(|at| hash.get(at).copied().unwrap_or_default()))
    }

    /// Encodes the key for an effect's body.
    pub fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Decodes a key from an effect's body.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

/// Result of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimResult {
    /// The batch now holds the key: count it.
    First,
    /// This batch (possibly the asking one) holds the key: do not count it.
    ClaimedBy([u8; 16]),
}

/// A claiming batch.
#[derive(Clone, Copy)]
struct ClaimingBatch {
    id: [u8; 16],
    /// Its arrival, in nanoseconds since the epoch.
    arrived: u64,
    /// Number of keys that it holds in its generation.
    key_count: u32,
}

impl ClaimingBatch {
    fn new(id: [u8; 16], arrived: UnixNanos) -> Self {
        Self { id, arrived: arrived.0, key_count: 0 }
    }
}

/// Who holds a key: a position in [`Generation::batches`], and whether that batch is committed. A million keys are
/// kept, so each takes as little room as it can.
#[derive(Clone, Copy)]
struct ClaimEntry(u32);

impl ClaimEntry {
    const SETTLED: u32 = 1 << 31;

    fn position(self) -> usize {
        (self.0 & !Self::SETTLED) as usize
    }

    fn is_settled(self) -> bool {
        self.0 & Self::SETTLED != 0
    }

    fn settle(&mut self) {
        self.0 |= Self::SETTLED;
    }
}

/// Keys that were claimed in about one hour.
#[derive(Default)]
struct Generation {
    keys: HashMap<[u8; 16], ClaimEntry>,
    batches: Vec<ClaimingBatch>,
    /// Positions of the batches that still claim keys.
    positions: HashMap<[u8; 16], u32>,
    /// Positions of batches that hold no key any more, because they were not committed.
    free: Vec<u32>,
}

impl Generation {
    fn holder(&self, key: &[u8; 16]) -> Option<[u8; 16]> {
        let entry = self.keys.get(key)?;
        self.batches.get(entry.position()).map(|batch| batch.id)
    }

    fn insert(&mut self, key: [u8; 16], batch: ClaimingBatch, is_settled: bool) {
        let (batches, free) = (&mut self.batches, &mut self.free);
        let position = *self.positions.entry(batch.id).or_insert_with(|| match free.pop() {
            Some(position) => {
                batches.get_mut(position as usize).into_iter().for_each(|unused| *unused = batch);
                position
            }
            None => {
                batches.push(batch);
                batches.len() as u32 - 1
            }
        });
        let mut entry = ClaimEntry(position);
        if is_settled {
            entry.settle();
        }
        self.keys.insert(key, entry);
        batches.get_mut(position as usize).into_iter().for_each(|holder| holder.key_count += 1);
    }

    /// Settles the key if `batch` holds it. Returns whether the key is held at all.
    fn settle(&mut self, key: &[u8; 16], batch: &[u8; 16]) -> bool {
        let Some(entry) = self.keys.get_mut(key) else { return false };
        if self.batches.get(entry.position()).is_some_and(|holder| holder.id == *batch) {
            entry.settle();
        }
        true
    }

    /// Removes those of `keys` that the batch holds and that are not settled.
    fn release(&mut self, keys: &[[u8; 16]], batch: &[u8; 16]) {
        let Some(position) = self.positions.remove(batch) else { return };
        let Some(holder) = self.batches.get_mut(position as usize) else { return };
        for key in keys {
            // a settled entry has a bit more, so it is never equal
            if self.keys.get(key).is_some_and(|entry| entry.0 == position) {
                self.keys.remove(key);
                holder.key_count -= 1;
            }
        }
        if holder.key_count == 0 {
            self.free.push(position);
        }
    }
}

/// Keys and the batches that hold them. Shared by all workers.
pub struct Claims {
    keep: Duration,
    limit: usize,
    tables: Mutex<ClaimTables>,
}

/// Two generations: new keys go into `young`. When `young` is full or too old, it replaces `old`, whose keys are
/// forgotten. So a key is kept for one to two times `keep`, and at most `limit` keys are kept.
#[derive(Default)]
struct ClaimTables {
    young: Generation,
    old: Generation,
    /// Time at which `young` was begun.
    young_since: Option<u64>,
    /// Keys claimed by batches that are not committed yet.
    unsettled: HashMap<[u8; 16], Vec<[u8; 16]>>,
    forgotten: u64,
}

impl Default for Claims {
    fn default() -> Self {
        Self::new(KEEP, LIMIT)
    }
}

impl Claims {
    /// Keeps each key for at least `keep`, unless there are more than `limit`.
    pub fn new(keep: Duration, limit: usize) -> Self {
        Self { keep, limit: limit.max(2), tables: Mutex::new(ClaimTables::default()) }
    }

    /// Claims `key` for `batch`, which arrived at `now`. If `batch` itself holds the key already, the
    /// result is `ClaimedBy(batch)`.
    pub fn claim(&self, key: ClaimKey, batch: &[u8; 16], now: UnixNanos) -> ClaimResult {
        let mut tables = self.tables.lock();
        if let Some(holder) = tables.holder(&key.0) {
            return ClaimResult::ClaimedBy(holder);
        }
        tables.insert(key.0, ClaimingBatch::new(*batch, now), false, self.limit);
        tables.unsettled.entry(*batch).or_default().push(key.0);
        ClaimResult::First
    }

    /// The batch that holds `key`, without claiming it.
    pub fn holder(&self, key: ClaimKey) -> Option<[u8; 16]> {
        self.tables.lock().holder(&key.0)
    }

    /// Whether the batch that holds `key` is committed.
    pub fn is_settled(&self, key: ClaimKey) -> bool {
        let tables = self.tables.lock();
        [&tables.young, &tables.old].iter().any(|one| one.keys.get(&key.0).is_some_and(|entry| entry.is_settled()))
    }

    /// Makes these claims of a committed batch permanent, and releases its other ones. Called from `Processor::apply`,
    /// also for effects replayed after a crash, when the keys are not in the table yet.
    pub fn settle(&self, batch: &[u8; 16], arrived: UnixNanos, keys: impl IntoIterator<Item = ClaimKey>) {
        let mut tables = self.tables.lock();
        tables.settle(batch, arrived, keys, self.limit);
        tables.release(batch);
    }

    /// Makes these claims of a batch that another worker committed permanent. A batch of the same record may be in
    /// flight here, and keeps its other claims.
    pub fn settle_told(&self, batch: &[u8; 16], arrived: UnixNanos, keys: impl IntoIterator<Item = ClaimKey>) {
        self.tables.lock().settle(batch, arrived, keys, self.limit);
    }

    /// Releases all claims of a batch that was not committed.
    pub fn discard(&self, batch: &[u8; 16]) {
        self.tables.lock().release(batch);
    }

    /// Forgets old keys. To be called about once a second.
    pub fn expire(&self, now: UnixNanos) {
        let keep = u64::try_from(self.keep.as_nanos()).unwrap_or(u64::MAX);
        let mut tables = self.tables.lock();
        let age = tables.young_since.map_or(0, |since| now.0.saturating_sub(since));
        if age >= keep {
            tables.rotate(now.0);
        }
        if age >= keep.saturating_mul(2) {
            tables.rotate(now.0);
        }
    }

    /// Number of keys dropped so far, by age or for room.
    pub fn forgotten(&self) -> u64 {
        self.tables.lock().forgotten
    }

    /// Number of keys kept now.
    pub fn len(&self) -> usize {
        let tables = self.tables.lock();
        tables.young.keys.len() + tables.old.keys.len()
    }

    /// Whether no key is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the settled claims, for `Processor::checkpoint`.
    pub fn save(&self, out: &mut Vec<u8>) {
        let tables = self.tables.lock();
        let generations = [&tables.old, &tables.young];
        let batch_count: usize = generations.map(|generation| generation.batches.len()).iter().sum();
        let key_count: usize = generations.map(|generation| generation.keys.len()).iter().sum();
        out.reserve(5 + batch_count * SAVED_BATCH_BYTES + key_count * SAVED_KEY_BYTES);
        out.push(SAVED_VERSION);
        out.extend_from_slice(&(batch_count as u32).to_le_bytes());
        for batch in generations.iter().flat_map(|generation| &generation.batches) {
            out.extend_from_slice(&batch.id);
            out.extend_from_slice(&batch.arrived.to_le_bytes());
        }
        let mut first_batch = 0;
        for generation in generations {
            for (key, entry) in generation.keys.iter().filter(|(_, entry)| entry.is_settled()) {
                out.extend_from_slice(key);
                out.extend_from_slice(&(first_batch + entry.position() as u32).to_le_bytes());
            }
            first_batch += generation.batches.len() as u32;
        }
    }

    /// Replaces all keys by the output of [`Claims::save`]. Returns false if it can't be read; then no key is kept.
    pub fn load(&self, saved: &[u8]) -> bool {
        let mut tables = self.tables.lock();
        let forgotten = tables.forgotten;
        *tables = ClaimTables { forgotten, ..ClaimTables::default() };
        let Some(mut entries) = decode_saved(saved) else { return false };
        entries.sort_unstable_by_key(|(_, batch)| batch.arrived);
        for (key, batch) in entries {
            tables.insert(key, batch, true, self.limit);
        }
        tables.young.positions = HashMap::default();
        tables.old.positions = HashMap::default();
        true
    }
}

/// Keys with their batches. `None`: the bytes can't be read.
fn decode_saved(saved: &[u8]) -> Option<Vec<([u8; 16], ClaimingBatch)>> {
    let (version, saved) = saved.split_first()?;
    match *version {
        SAVED_VERSION => {
            let (count, saved) = saved.split_first_chunk::<4>()?;
            let batch_bytes = (u32::from_le_bytes(*count) as usize).checked_mul(SAVED_BATCH_BYTES)?;
            let (batches, keys) = saved.split_at_checked(batch_bytes)?;
            let batches: Vec<ClaimingBatch> =
                batches.chunks_exact(SAVED_BATCH_BYTES).map(decode_batch).collect::<Option<_>>()?;
            let keys = keys.chunks_exact(SAVED_KEY_BYTES);
            let decode_key = |bytes: &[u8]| {
                let (key, position) = bytes.split_first_chunk::<16>()?;
                let position = u32::from_le_bytes(*position.first_chunk()?);
                Some((*key, *batches.get(position as usize)?))
            };
            keys.remainder().is_empty().then(|| keys.map(decode_key).collect())?
        }
        SAVED_VERSION_1 => {
            let entries = saved.chunks_exact(SAVED_ENTRY_BYTES);
            let decode_entry = |bytes: &[u8]| {
                let (key, batch) = bytes.split_first_chunk::<16>()?;
                Some((*key, decode_batch(batch)?))
            };
            entries.remainder().is_empty().then(|| entries.map(decode_entry).collect())?
        }
        _ => None,
    }
}

fn decode_batch(bytes: &[u8]) -> Option<ClaimingBatch> {
    let (id, arrived) = bytes.split_first_chunk::<16>()?;
    Some(ClaimingBatch::new(*id, UnixNanos(u64::from_le_bytes(*arrived.first_chunk()?))))
}

impl ClaimTables {
    fn holder(&self, key: &[u8; 16]) -> Option<[u8; 16]> {
        self.young.holder(key).or_else(|| self.old.holder(key))
    }

    fn settle(&mut self, batch: &[u8; 16], arrived: UnixNanos, keys: impl IntoIterator<Item = ClaimKey>, limit: usize) {
        for ClaimKey(key) in keys {
            if !self.young.settle(&key, batch) && !self.old.settle(&key, batch) {
                self.insert(key, ClaimingBatch::new(*batch, arrived), true, limit);
            }
        }
    }

    fn insert(&mut self, key: [u8; 16], batch: ClaimingBatch, is_settled: bool, limit: usize) {
        if self.young.keys.len() >= limit / 2 {
            self.rotate(batch.arrived);
        }
        self.young_since.get_or_insert(batch.arrived);
        self.young.insert(key, batch, is_settled);
    }

    fn rotate(&mut self, now: u64) {
        self.forgotten += self.old.keys.len() as u64;
        self.old = std::mem::take(&mut self.young);
        self.young_since = if self.old.keys.is_empty() { None } else { Some(now) };
    }

    /// Releases the batch's claims that were not settled.
    fn release(&mut self, batch: &[u8; 16]) {
        let keys = self.unsettled.remove(batch).unwrap_or_default();
        for generation in [&mut self.young, &mut self.old] {
            generation.release(&keys, batch);
        }
    }
}
