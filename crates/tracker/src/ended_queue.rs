//! [`EndedQueue`]: what history did not write yet: ended runs, and keys of runs that it has to delete. Each is bounded:
//! if history can't write, the account with most data loses its oldest, which is counted. `evaluation` finds ended runs,
//! `src/app/history_recorder.rs` moves them to history's file.

use kernel::bounded_map::BoundedMap;
use runs::{EndedRuns, RunDetail};
use telemetry::Counter;

/// Maximum weight of the runs: a run weighs 1, and 1 more for each 20 calls.
const MAX_WEIGHT: usize = 8192;
/// Maximum number of keys of runs to delete, which take hardly any memory.
const MAX_REMOVED: usize = 65_536;

/// See the module documentation.
#[derive(Default)]
pub(super) struct EndedQueue {
    runs: BoundedMap<u64, RunDetail, MAX_WEIGHT>,
    removed: BoundedMap<u64, (), MAX_REMOVED>,
    /// Counts dropped runs and keys. `None`: there is no history, so nothing is added.
    pub(super) dropped: Option<Counter>,
}

impl EndedQueue {
    pub(super) fn add(&mut self, account: &str, new: EndedRuns) {
        if self.dropped.is_some() {
            self.insert(account, new);
        }
    }

    fn insert(&mut self, account: &str, new: EndedRuns) {
        let mut dropped = 0;
        for key in new.removed {
            self.runs.remove(&key);
            dropped += self.removed.insert_for(account, key, (), 1).len();
        }
        for (key, detail) in new.ended {
            let weight = 1 + detail.steps.as_ref().map_or(0, Vec::len) / 20;
            self.removed.remove(&key);
            dropped += self.runs.insert_for(account, key, detail, weight).len();
        }
        self.dropped.iter().for_each(|counter| counter.increment(dropped as u64));
    }

    pub(super) fn get(&self, key: u64) -> Option<&RunDetail> {
        self.runs.get(&key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Option<&RunDetail>)> {
        let removed = self.removed.iter().map(|(key, ())| (*key, None));
        self.runs.iter().map(|(key, detail)| (*key, Some(detail))).chain(removed)
    }

    /// What a restart must not lose: keys of runs that are to be deleted. Ended runs are found again.
    pub(super) fn unwritten(&self) -> EndedRuns {
        EndedRuns { removed: self.removed.iter().map(|(key, ())| *key).collect(), ..EndedRuns::default() }
    }

    pub(super) fn take(&mut self) -> EndedRuns {
        let removed = self.unwritten().removed;
        let keys: Vec<u64> = self.runs.iter().map(|(key, _)| *key).collect();
        let ended = keys.into_iter().filter_map(|key| Some((key, self.runs.remove(&key)?))).collect();
        self.removed = BoundedMap::default();
        EndedRuns { ended, removed }
    }

    /// Takes runs back that could not be written, or that a checkpoint has, except those that changed meanwhile.
    pub(super) fn give_back(&mut self, unwritten: EndedRuns) {
        let is_new = |queue: &Self, key: &u64| queue.get(*key).is_none() && !queue.removed.contains_key(key);
        for (key, detail) in unwritten.ended.into_iter().filter(|(key, _)| is_new(self, key)).collect::<Vec<_>>() {
            let account = detail.view.account.clone();
            self.insert(&account, EndedRuns { ended: vec![(key, detail)], removed: Vec::new() });
        }
        let removed = unwritten.removed.into_iter().filter(|key| is_new(self, key)).collect();
        self.insert("", EndedRuns { ended: Vec::new(), removed });
    }
}
