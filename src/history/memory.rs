//! **What**: [`History`]: the runs of the last 48 hours in memory. **Invariants**: at most [`MAX_RUNS`], the latest ones; one
//! entry a run, that of the last look; runs whose own clock is further back are counted, not kept.
//! **Not here**: sums (`figures`), the file (`store`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::Entry;
use crate::runs::{RunState, RunView};

/// How far back it goes, ns.
pub const KEEP: u64 = 48 * 3_600_000_000_000;
/// Runs that are kept.
pub const MAX_RUNS: usize = 50_000;

struct Kept {
    entry: Arc<Entry>,
    /// When it was last shown by the tracker, unix ns; 0 = before this start.
    seen: u64,
}

/// See the module.
#[derive(Default)]
pub struct History {
    runs: RwLock<HashMap<String, Kept>>,
    crowded: AtomicU64,
    old: AtomicU64,
}

impl History {
    /// Takes in what the tracker shows now; those that are new or have changed come back, to be written down.
    pub fn note<'v>(&self, views: impl IntoIterator<Item = &'v RunView>, now: u64) -> Vec<Arc<Entry>> {
        let (mut changed, mut old) = (Vec::new(), 0);
        let mut runs = self.runs.write();
        for view in views {
            let mut entry = Entry::of(view, now);
            if entry.at.saturating_add(KEEP) < now {
                old += 1;
                continue;
            }
            let key = entry.key();
            if let Some(known) = runs.get_mut(&key) {
                if view.last > now {
                    // its clock is ahead: it does not change just because ours goes on
                    (entry.at, entry.start) = (known.entry.at, known.entry.start);
                }
                if *known.entry == entry {
                    known.seen = now;
                    continue;
                }
            }
            let entry = Arc::new(entry);
            changed.push(Arc::clone(&entry));
            runs.insert(key, Kept { entry, seen: now });
        }
        drop(runs);
        self.old.fetch_max(old, Ordering::Relaxed);
        changed
    }

    /// Takes in what was written down before the start.
    pub fn restore(&self, entries: Vec<Entry>) {
        let mut runs = self.runs.write();
        for entry in entries {
            runs.entry(entry.key()).or_insert_with(|| Kept { entry: Arc::new(entry), seen: 0 });
        }
    }

    /// Forgets what is older than 48 hours, and the oldest if there are too many. Returns before when all is forgotten.
    pub fn forget(&self, now: u64) -> u64 {
        let mut before = now.saturating_sub(KEEP);
        let mut runs = self.runs.write();
        if runs.len() > MAX_RUNS {
            let mut times: Vec<u64> = runs.values().map(|kept| kept.entry.at).collect();
            let excess = times.len() - MAX_RUNS;
            let (_, at, _) = times.select_nth_unstable(excess);
            before = before.max(*at);
        }
        let had = runs.len();
        runs.retain(|_, kept| kept.entry.at >= before);
        let crowded = if before > now.saturating_sub(KEEP) { had - runs.len() } else { 0 };
        self.crowded.fetch_add(crowded as u64, Ordering::Relaxed);
        before
    }

    /// Live runs that the tracker did not show for `patience` ns: account and id, at most `most`.
    pub fn unseen(&self, now: u64, patience: u64, most: usize) -> Vec<Arc<Entry>> {
        let runs = self.runs.read();
        let unseen = runs.values().filter(|kept| kept.entry.live() && kept.seen.saturating_add(patience) < now);
        unseen.take(most).map(|kept| Arc::clone(&kept.entry)).collect()
    }

    /// The tracker does not know a live run any more.
    pub fn lost(&self, entry: &Entry, now: u64) -> Arc<Entry> {
        let lost = Arc::new(Entry { state: RunState::Evicted.as_str().into(), ..entry.clone() });
        self.runs.write().insert(lost.key(), Kept { entry: Arc::clone(&lost), seen: now });
        lost
    }

    /// All of them, in no order.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.runs.read().values().map(|kept| Arc::clone(&kept.entry)).collect()
    }

    /// One run by its id.
    pub fn find_of(&self, account: &str, run: &str) -> Option<Arc<Entry>> {
        let runs = self.runs.read();
        let is_it = |kept: &&Kept| *kept.entry.run == *run && *kept.entry.account == *account;
        runs.values().filter(is_it).max_by_key(|kept| kept.entry.at).map(|kept| Arc::clone(&kept.entry))
    }

    /// The accounts that have a run of this id.
    pub fn accounts(&self, run: &str) -> Vec<String> {
        let runs = self.runs.read();
        runs.values().filter(|kept| *kept.entry.run == *run).map(|kept| kept.entry.account.to_string()).collect()
    }

    /// Whether this very entry is known.
    pub fn knows(&self, view: &RunView, now: u64) -> bool {
        let entry = Entry::of(view, now);
        self.runs.read().get(&entry.key()).is_some_and(|kept| *kept.entry == entry)
    }

    /// Runs that were left out: because there were too many; at one look, because their times are more than 48 hours back.
    pub fn left_out(&self) -> [u64; 2] {
        [self.crowded.load(Ordering::Relaxed), self.old.load(Ordering::Relaxed)]
    }
}
