//! **What**: [`Schedule`]: which groups to work on, and when.
//! **Invariants**: a group has at most one time, the earliest that was asked for.
//! **Not here**: what is done with a group then (`state`).

use std::collections::{BTreeSet, HashMap};

/// See the module.
#[derive(Default)]
pub(super) struct Schedule {
    /// By the running time at which a group is due.
    due: BTreeSet<(u64, u32)>,
    times: HashMap<u32, u64>,
}

impl Schedule {
    /// The time of a group.
    pub(super) fn time_of(&self, id: u32) -> Option<u64> {
        self.times.get(&id).copied()
    }

    /// Asks for a group at a time; the earlier of two counts.
    pub(super) fn ask(&mut self, id: u32, at: u64) {
        if self.time_of(id).is_some_and(|known| known <= at) {
            return;
        }
        self.forget(id);
        self.due.insert((at, id));
        self.times.insert(id, at);
    }

    /// Takes one group off whose time has come.
    pub(super) fn next(&mut self, now: u64) -> Option<u32> {
        let &(_, id) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.forget(id);
        Some(id)
    }

    /// A group is not asked for any more.
    pub(super) fn forget(&mut self, id: u32) {
        if let Some(at) = self.times.remove(&id) {
            self.due.remove(&(at, id));
        }
    }
}
