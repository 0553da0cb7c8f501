//! [`StartTimes`]: when a session, turn, tool call, sub-agent or compaction began, for the length of the span that ends
//! it. Only a memory aid: each event is stored as a span of its own at once, so a forgotten or lost start costs the
//! length of one span and nothing else. Bounded; the oldest entries are forgotten first, whatever their account.

use std::collections::{HashMap, VecDeque};

use kernel::sha256::Sha256;
use parking_lot::Mutex;

use super::event_table::Interval;

/// StartEntries, each some 60 bytes.
const MAX_ENTRIES: usize = 1 << 16;
/// Longest interval, in nanoseconds: 30 days. An older start is of another session with the same id.
const MAX_AGE: u64 = 30 * 86_400 * 1_000_000_000;

/// Identifies an interval.
type IntervalKey = [u8; 16];

/// The starts of open intervals.
pub(super) struct StartTimes {
    capacity: usize,
    entries: Mutex<StartEntries>,
}

#[derive(Default)]
struct StartEntries {
    starts: HashMap<IntervalKey, u64>,
    /// The keys of `starts`, oldest first.
    order: VecDeque<IntervalKey>,
}

/// The key of an interval of one session of one account.
pub(super) fn interval_key(interval: Interval, account: &str, session: &str, id: &str) -> IntervalKey {
    let mut hash = Sha256::new();
    hash.update([interval as u8]);
    for part in [account, session, id] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hash.finalize().first_chunk().copied().unwrap_or_default()
}

impl StartTimes {
    /// An empty memory.
    pub(super) fn new() -> Self {
        Self::with_capacity(MAX_ENTRIES)
    }

    /// A memory of at most `capacity` entries.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::default() }
    }

    /// Remembers that the interval began at `now`, unix ns. A later start replaces an earlier one.
    pub(super) fn begin(&self, key: IntervalKey, now: u64) {
        let mut entries = self.entries.lock();
        if entries.starts.insert(key, now).is_none() {
            entries.order.push_back(key);
        }
        while entries.starts.len() > self.capacity {
            let Some(oldest) = entries.order.pop_front() else { return };
            entries.starts.remove(&oldest);
        }
    }

    /// Forgets an interval that is over.
    pub(super) fn forget(&self, key: &IntervalKey) {
        let mut entries = self.entries.lock();
        if entries.starts.remove(key).is_some() {
            entries.order.retain(|known| known != key);
        }
    }

    /// When the interval began, if that is known and not after `now`. The entry stays: the event may be repeated.
    pub(super) fn start_of(&self, key: &IntervalKey, now: u64) -> Option<u64> {
        let start = self.entries.lock().starts.get(key).copied()?;
        (start <= now && now.saturating_sub(start) <= MAX_AGE).then_some(start)
    }
}
