//! [`CallHeadroom`]: how many model calls the runs of a heavy group may still get before one of them may cross an
//! iteration ceiling that has not fired for it. [`HeadroomWatch`]: the calls that arrived since. Evaluating a heavy
//! group is slow, so it is done early only if a ceiling may have been crossed. Calls are counted by trace and named
//! run, or else by session, and twice if two records report them; so the count is never too low, except for calls that
//! a later span moves into another run: those wait for the next evaluation. `state` and `store` schedule evaluations.

use foldhash::{HashMap, HashMapExt as _};

use super::config::Settings;
use super::group::ItemKeys;
use super::observation::ObservedItem;
use super::resolve::ResolvedRuns;
use super::run::{Run, RunIdentity};

/// See the module documentation.
#[derive(Default)]
pub(super) struct CallHeadroom {
    /// By number of a trace, a named run or a session.
    by_key: HashMap<u32, u64>,
    /// Headroom of a key that had no run yet.
    for_new_key: u64,
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct HeadroomWatch {
    headroom: CallHeadroom,
    /// Calls that arrived since the last evaluation began, by the same keys.
    arrived_calls: HashMap<u32, u64>,
    due: bool,
}

impl CallHeadroom {
    /// Computes the headroom from the unfinished runs, each with the number of calls it may still get.
    pub(super) fn compute<'r>(
        resolved: &ResolvedRuns<'_>,
        runs: impl Iterator<Item = (&'r Run, u64)>,
        settings: &Settings,
    ) -> Self {
        let lowest_ceiling = settings
            .iteration_ceilings
            .values()
            .fold(settings.iteration_ceiling, |lowest, ceiling| lowest.min(*ceiling));
        let mut headroom = Self { by_key: HashMap::new(), for_new_key: warning_threshold(lowest_ceiling.into()) };
        let traces = resolved.traces_of_runs();
        for (run, remaining) in runs {
            if let RunIdentity::Named(key) | RunIdentity::Session(key) = run.id {
                headroom.lower_headroom(key, remaining);
            }
            let own_trace = [run.trace];
            let traces = traces.get(&run.id).map_or(&own_trace[..], Vec::as_slice);
            // a run whose calls are spread over several traces has at least this share in one of them
            let share = remaining.div_ceil(traces.len().max(1) as u64);
            traces.iter().filter(|trace| **trace != 0).for_each(|trace| headroom.lower_headroom(*trace, share));
        }
        headroom
    }

    fn lower_headroom(&mut self, key: u32, remaining: u64) {
        self.by_key.entry(key).and_modify(|known| *known = remaining.min(*known)).or_insert(remaining);
    }

    fn headroom_of_key(&self, key: u32) -> u64 {
        self.by_key.get(&key).copied().unwrap_or(self.for_new_key).max(1)
    }
}

/// Iterations at which a ceiling's warning fires.
pub(super) fn warning_threshold(ceiling: u64) -> u64 {
    ceiling.saturating_mul(4).div_ceil(5)
}

impl HeadroomWatch {
    /// For a group that was not watched during its last evaluation.
    pub(super) fn already_due() -> Self {
        Self { due: true, ..Self::default() }
    }

    /// Counts an item that came into the group.
    pub(super) fn count_item(&mut self, item: &ObservedItem, ids: ItemKeys) {
        if item.call.is_none() {
            return;
        }
        let session = if ids.trace == 0 && ids.run == 0 { ids.session } else { 0 };
        for key in [ids.trace, ids.run, session].into_iter().filter(|key| *key != 0) {
            let arrived = self.arrived_calls.entry(key).or_default();
            *arrived += 1;
            let reaches_warning =
                u64::from(item.iteration) >= self.headroom.for_new_key && !self.headroom.by_key.contains_key(&key);
            self.due |= reaches_warning || *arrived >= self.headroom.headroom_of_key(key);
        }
    }

    /// Whether a ceiling may have been crossed.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    /// An evaluation of the current snapshot begins; later items are not part of it.
    pub(super) fn begin_evaluation(&mut self) {
        self.arrived_calls.clear();
        self.due = false;
    }

    pub(super) fn end_evaluation(&mut self, headroom: CallHeadroom) {
        self.due |= self.arrived_calls.iter().any(|(key, arrived)| *arrived >= headroom.headroom_of_key(*key));
        self.headroom = headroom;
    }
}
