//! [`Schedule`]: when to work on which group. A group has at most one time, the earliest requested. `store` owns the
//! schedules, `state` does the work.

use std::collections::BTreeSet;

use foldhash::HashMap;

/// See the module documentation.
#[derive(Default)]
pub(super) struct Schedule {
    /// The engine's running time at which each group is due, and the group, earliest first.
    due: BTreeSet<(u64, u32)>,
    /// The same times by group.
    times: HashMap<u32, u64>,
}

impl Schedule {
    pub(super) fn time_of(&self, id: u32) -> Option<u64> {
        self.times.get(&id).copied()
    }

    /// Schedules a group; the earlier of two times counts.
    pub(super) fn schedule(&mut self, id: u32, at: u64) {
        if self.time_of(id).is_some_and(|known| known <= at) {
            return;
        }
        self.cancel(id);
        self.due.insert((at, id));
        self.times.insert(id, at);
    }

    pub(super) fn ids(&self) -> impl ExactSizeIterator<Item = u32> {
        self.times.keys().copied()
    }

    pub(super) fn earliest(&self) -> Option<u32> {
        self.due.first().map(|(_, id)| *id)
    }

    /// Removes and returns one group that is due.
    pub(super) fn pop_due(&mut self, now: u64) -> Option<u32> {
        let &(_, id) = self.due.first().filter(|(at, _)| *at <= now)?;
        self.cancel(id);
        Some(id)
    }

    /// Removes a group.
    pub(super) fn cancel(&mut self, id: u32) {
        if let Some(at) = self.times.remove(&id) {
            self.due.remove(&(at, id));
        }
    }
}
