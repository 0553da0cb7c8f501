//! [`CallHeadroom`]: how many model calls the runs of a heavy group may still get before one may cross a ceiling that
//! did not fire for it. [`HeadroomWatch`]: the calls that arrived since. Evaluating a heavy group is slow, so it is
//! done early only if a ceiling may have been crossed. Calls are counted by trace, named run and session, and twice if
//! two records report them; so the count is never too low, except for calls that a later span moves into another run:
//! those wait for the next evaluation. `state` and `store` schedule it.

use std::collections::HashMap;

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
    /// For a key that had no run yet.
    for_new_key: u64,
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct HeadroomWatch {
    headroom: CallHeadroom,
    /// Calls that arrived, by the same keys.
    arrived_calls: HashMap<u32, u64>,
    due: bool,
}

impl CallHeadroom {
    /// Computes the slack from the unfinished runs, each with the calls it may still get.
    pub(super) fn compute<'r>(
        resolved: &ResolvedRuns<'_>,
        runs: impl Iterator<Item = (&'r Run, u64)>,
        settings: &Settings,
    ) -> Self {
        let least = settings.iteration_ceilings.values().fold(settings.iteration_ceiling, |least, one| least.min(*one));
        let mut slack = Self { by_key: HashMap::new(), for_new_key: warning_threshold(least) };
        let traces = resolved.traces_of_runs();
        for (run, left) in runs {
            if let RunIdentity::Named(key) | RunIdentity::Session(key) = run.id {
                slack.lower_headroom(key, left);
            }
            let own = [run.trace];
            let traces = traces.get(&run.id).map_or(&own[..], Vec::as_slice);
            // a run whose calls are spread over several traces has at least this share in one of them
            let share = left.div_ceil(traces.len().max(1) as u64);
            traces.iter().filter(|trace| **trace != 0).for_each(|trace| slack.lower_headroom(*trace, share));
        }
        slack
    }

    fn lower_headroom(&mut self, key: u32, left: u64) {
        self.by_key.entry(key).and_modify(|known| *known = left.min(*known)).or_insert(left);
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
    pub(super) fn count_item(&mut self, seen: &ObservedItem, ids: ItemKeys) {
        if seen.call.is_none() {
            return;
        }
        let session = if ids.trace == 0 && ids.run == 0 { ids.session } else { 0 };
        for key in [ids.trace, ids.run, session].into_iter().filter(|key| *key != 0) {
            let added = self.arrived_calls.entry(key).or_default();
            *added += 1;
            let is_told =
                u64::from(seen.iteration) >= self.headroom.for_new_key && !self.headroom.by_key.contains_key(&key);
            self.due |= is_told || *added >= self.headroom.headroom_of_key(key);
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

    /// The evaluation ended with this slack.
    pub(super) fn end_evaluation(&mut self, slack: CallHeadroom) {
        self.due |= self.arrived_calls.iter().any(|(key, added)| *added >= slack.headroom_of_key(*key));
        self.headroom = slack;
    }
}
