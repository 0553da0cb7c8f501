//! [`Slack`]: how many model calls the runs of a heavy group may still get before one may cross a ceiling that did not
//! fire for it. [`Watch`]: the calls that arrived since. Evaluating a heavy group is slow, so it is done early only if
//! a ceiling may have been crossed.
//! Calls are counted by trace, named run and session, and twice if two records report them; so the count is never too
//! low, except for calls that a later span moves into another run: those wait for the next evaluation. `state` and
//! `store` schedule it.

use std::collections::HashMap;

use super::config::Settings;
use super::group::Ids;
use super::resolve::Resolved;
use super::run::{Id, Run};
use super::seen::Seen;

/// See the module documentation.
#[derive(Default)]
pub(super) struct Slack {
    /// By number of a trace, a named run or a session.
    by_key: HashMap<u32, u64>,
    /// For a key that had no run yet.
    fresh: u64,
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct Watch {
    slack: Slack,
    /// Calls that arrived, by the same keys.
    added: HashMap<u32, u64>,
    due: bool,
}

impl Slack {
    /// Computes the slack from the unfinished runs, each with the calls it may still get.
    pub(super) fn of<'r>(
        resolved: &Resolved<'_>,
        runs: impl Iterator<Item = (&'r Run, u64)>,
        settings: &Settings,
    ) -> Self {
        let least = settings.iteration_ceilings.values().fold(settings.iteration_ceiling, |least, one| least.min(*one));
        let mut slack = Self { by_key: HashMap::new(), fresh: warning(least) };
        let traces = resolved.traces_of_runs();
        for (run, left) in runs {
            if let Id::Named(key) | Id::Session(key) = run.id {
                slack.put(key, left);
            }
            let own = [run.trace];
            let traces = traces.get(&run.id).map_or(&own[..], Vec::as_slice);
            // a run whose calls are spread over several traces has at least this share in one of them
            let share = left.div_ceil(traces.len().max(1) as u64);
            traces.iter().filter(|trace| **trace != 0).for_each(|trace| slack.put(*trace, share));
        }
        slack
    }

    fn put(&mut self, key: u32, left: u64) {
        self.by_key.entry(key).and_modify(|known| *known = left.min(*known)).or_insert(left);
    }

    fn of_key(&self, key: u32) -> u64 {
        self.by_key.get(&key).copied().unwrap_or(self.fresh).max(1)
    }
}

/// Iterations at which a ceiling's warning fires.
pub(super) fn warning(ceiling: u64) -> u64 {
    ceiling.saturating_mul(4).div_ceil(5)
}

impl Watch {
    /// For a group that was not watched during its last evaluation.
    pub(super) fn unknown() -> Self {
        Self { due: true, ..Self::default() }
    }

    /// Counts an item that came into the group.
    pub(super) fn add(&mut self, seen: &Seen, ids: Ids) {
        if seen.call.is_none() {
            return;
        }
        let session = if ids.trace == 0 && ids.run == 0 { ids.session } else { 0 };
        for key in [ids.trace, ids.run, session].into_iter().filter(|key| *key != 0) {
            let added = self.added.entry(key).or_default();
            *added += 1;
            let is_told = u64::from(seen.iteration) >= self.slack.fresh && !self.slack.by_key.contains_key(&key);
            self.due |= is_told || *added >= self.slack.of_key(key);
        }
    }

    /// Whether a ceiling may have been crossed.
    pub(super) fn is_due(&self) -> bool {
        self.due
    }

    /// An evaluation of the current snapshot begins; later items are not part of it.
    pub(super) fn begin(&mut self) {
        self.added.clear();
        self.due = false;
    }

    /// The evaluation ended with this slack.
    pub(super) fn end(&mut self, slack: Slack) {
        self.due |= self.added.iter().any(|(key, added)| *added >= slack.of_key(*key));
        self.slack = slack;
    }
}
