//! [`StartTimes`]: when a session, turn, tool call, sub-agent or compaction began, for the length of the span that ends
//! it. Only a memory aid: each event is stored as a span of its own at once, so a forgotten or lost start costs the
//! length of one span and nothing else. Bounded.

use kernel::bounded_map::BoundedMap;
use kernel::sha256::Sha256;
use parking_lot::Mutex;

use super::event_table::Interval;

/// Maximum number of starts, each some 80 bytes.
const MAX_ENTRIES: usize = 1 << 16;
/// Longest interval, in nanoseconds: 30 days. An older start is of another session with the same id.
const MAX_AGE: u64 = 30 * 86_400 * 1_000_000_000;

type IntervalKey = [u8; 16];

#[derive(Default)]
pub(super) struct StartTimes(Mutex<BoundedMap<IntervalKey, u64, MAX_ENTRIES>>);

pub(super) fn interval_key(interval: Interval, account: &str, session: &str, id: &str) -> IntervalKey {
    let mut hash = Sha256::new();
    hash.update([interval as u8]);
    hash.update_list([account, session, id]);
    hash.finalize().first_chunk().copied().unwrap_or_default()
}

impl StartTimes {
    /// A memory of at most `capacity` entries.
    #[cfg(test)]
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Mutex::new(BoundedMap::new(capacity)))
    }

    /// Remembers that the account's interval began at `now`, unix ns. A later start replaces an earlier one.
    pub(super) fn begin(&self, account: &str, key: IntervalKey, now: u64) {
        self.0.lock().insert_for(account, key, now, 1);
    }

    pub(super) fn forget(&self, key: &IntervalKey) {
        self.0.lock().remove(key);
    }

    /// When the interval began, if that is known and not after `now`. The entry stays: the event may be repeated.
    pub(super) fn start_of(&self, key: &IntervalKey, now: u64) -> Option<u64> {
        let start = self.0.lock().get(key).copied()?;
        (start <= now && now.saturating_sub(start) <= MAX_AGE).then_some(start)
    }
}
