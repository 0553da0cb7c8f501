//! [`EndedQueue`]: ended runs that history did not write yet. Bounded: if history can't write, the account with most
//! data loses its oldest. `evaluation` finds ended runs, `src/app/history_recorder.rs` moves them to history's file.

use kernel::bounded_map::{AccountHash, BoundedMap};
use runs::{EndedRuns, RunDetail};

/// Maximum weight of the queue: a run weighs 1, and 1 more for each 20 calls.
const MAX_WEIGHT: usize = 8192;

/// See the module documentation.
#[derive(Default)]
pub(super) struct EndedQueue {
    /// `None`: the run is to be deleted. With the account.
    runs: BoundedMap<u64, (AccountHash, Option<RunDetail>), MAX_WEIGHT>,
    pub(super) is_enabled: bool,
}

impl EndedQueue {
    pub(super) fn add(&mut self, account: &str, new: EndedRuns) {
        if !self.is_enabled {
            return;
        }
        let account = AccountHash::from(account);
        for key in new.removed {
            self.runs.insert_for(account, key, (account, None), 1);
        }
        for (key, detail) in new.ended {
            let weight = 1 + detail.steps.as_ref().map_or(0, Vec::len) / 20;
            self.runs.insert_for(account, key, (account, Some(detail)), weight);
        }
    }

    pub(super) fn get(&self, key: u64) -> Option<&RunDetail> {
        self.runs.get(&key)?.1.as_ref()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, Option<&RunDetail>)> {
        self.runs.iter().map(|(key, (_, detail))| (*key, detail.as_ref()))
    }

    /// What a restart must not lose: keys of runs that are to be deleted. Ended runs are found again.
    pub(super) fn unwritten(&self) -> EndedRuns {
        let removed = self.iter().filter(|(_, detail)| detail.is_none()).map(|(key, _)| key).collect();
        EndedRuns { removed, ..EndedRuns::default() }
    }

    pub(super) fn restore(&mut self, unwritten: EndedRuns) {
        let is_enabled = std::mem::replace(&mut self.is_enabled, true);
        self.give_back(unwritten);
        self.is_enabled = is_enabled;
    }

    pub(super) fn take(&mut self) -> EndedRuns {
        let mut taken = EndedRuns::default();
        let keys: Vec<u64> = self.runs.iter().map(|(key, _)| *key).collect();
        for key in keys {
            match self.runs.remove(&key) {
                Some((_, Some(detail))) => taken.ended.push((key, detail)),
                Some((_, None)) => taken.removed.push(key),
                None => {}
            }
        }
        taken
    }

    /// Takes runs back that could not be written, except those that changed meanwhile.
    pub(super) fn give_back(&mut self, mut unwritten: EndedRuns) {
        unwritten.ended.retain(|(key, _)| !self.runs.contains_key(key));
        for (key, detail) in unwritten.ended {
            let account = detail.view.account.clone();
            self.add(&account, EndedRuns { ended: vec![(key, detail)], removed: Vec::new() });
        }
        let removed = unwritten.removed.into_iter().filter(|key| !self.runs.contains_key(key)).collect();
        self.add("", EndedRuns { ended: Vec::new(), removed });
    }
}
