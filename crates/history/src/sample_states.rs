//! [`BoardSampleStates`]: finds the states of a sampler's runs in one pass over the board. An item carries the run id
//! that was known when it arrived; if the run was renamed since, it is found by its trace. All runs of a trace are
//! decided together, so that no back end gets a part of a trace.

use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashSet};

use kernel::clock::UnixNanos;
use pipeline::sampling::rules::{KeepRule, RunSampleState, RunSampleStates, SampleUnit};
use runs::{RunRecord, run_key};

use super::board::RunBoard;

/// See the module.
pub struct BoardSampleStates {
    /// All runs.
    pub board: RunBoard,
    /// See [`RunSampleStates::settle`].
    pub settle: Duration,
}

/// The runs of one account to find, each with its state once found.
#[derive(Default)]
struct WantedRuns<'u> {
    by_run: HashMap<&'u str, Option<RunSampleState>>,
    by_trace: HashMap<&'u str, Option<RunSampleState>>,
    /// By trace, the runs that items of the trace name: a run may have several traces, and the board knows one.
    runs_of_trace: HashMap<&'u str, Vec<&'u str>>,
}

impl WantedRuns<'_> {
    /// The joint state of all runs of a unit.
    fn state(&self, run: &str, trace: &str) -> Option<RunSampleState> {
        let named = self.runs_of_trace.get(trace).into_iter().flatten().copied().chain([run]);
        let runs = named.filter_map(|run| *self.by_run.get(run)?);
        runs.chain(self.by_trace.get(trace).copied().flatten()).reduce(join)
    }
}

/// Accounts and names of what raised an alert.
#[derive(Default)]
struct AlertSubjects {
    runs: HashSet<(String, String)>,
    sessions: HashSet<(String, String)>,
}

impl RunSampleStates for BoardSampleStates {
    fn find_states(&self, units: &[Arc<SampleUnit>], rules: &[KeepRule], since: UnixNanos) -> Vec<RunSampleState> {
        let named: Vec<&str> = units.iter().map(|unit| &*unit.run).collect();
        let mut found = self.find_known(units, &named, rules, since);
        // Items for an internal exporter have ids as they were sent, which the board may show in another form.
        let shown = |(unit, found): (&Arc<SampleUnit>, &Option<RunSampleState>)| match (found, &self.board.ids) {
            (None, Some(ids)) if !unit.run.is_empty() => ids.shown_id(&unit.account, &unit.run).into_owned(),
            _ => String::new(),
        };
        let shown: Vec<String> = units.iter().zip(&found).map(shown).collect();
        if shown.iter().zip(units).any(|(shown, unit)| !shown.is_empty() && **shown != *unit.run) {
            let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
            let renamed = self.find_known(units, &shown, rules, since);
            found.iter_mut().zip(renamed).for_each(|(found, renamed)| *found = found.or(renamed));
        }
        let unknown = |unit: &SampleUnit| RunSampleState {
            hash: self.hash(&unit.account, if unit.trace.is_empty() { &unit.run } else { &unit.trace }),
            ..RunSampleState::default()
        };
        units.iter().zip(found).map(|(unit, found)| found.unwrap_or_else(|| unknown(unit))).collect()
    }

    fn settle(&self) -> Duration {
        self.settle
    }
}

impl BoardSampleStates {
    /// The states of the units that have runs. `named`: the run that each unit names.
    fn find_known<'u>(
        &self,
        units: &'u [Arc<SampleUnit>],
        named: &[&'u str],
        rules: &[KeepRule],
        since: UnixNanos,
    ) -> Vec<Option<RunSampleState>> {
        let mut wanted: HashMap<&str, WantedRuns<'_>> = HashMap::default();
        for (unit, run) in units.iter().zip(named) {
            let of_account = wanted.entry(&unit.account).or_default();
            of_account.by_run.extend((!run.is_empty()).then_some((*run, None)));
            of_account.by_trace.extend((!unit.trace.is_empty()).then_some((&*unit.trace, None)));
            if !run.is_empty() && !unit.trace.is_empty() {
                of_account.runs_of_trace.entry(&unit.trace).or_default().push(run);
            }
        }
        let alerts = if rules.contains(&KeepRule::Alerts) { self.alert_subjects() } else { AlertSubjects::default() };
        self.board.visit_runs(since.0, &mut |run| {
            let Some(WantedRuns { by_run, by_trace, .. }) = wanted.get_mut(run.account) else { return };
            let slots = [by_run.get_mut(run.run), by_trace.get_mut(run.trace)];
            let mut slots = slots.into_iter().flatten().peekable();
            if slots.peek().is_none() {
                return;
            }
            let state = RunSampleState {
                is_known: true,
                is_kept: rules.iter().any(|rule| is_kept(run, *rule, &alerts)),
                is_over: !run.state.is_live(),
                hash: self.hash(run.account, run.run),
            };
            slots.for_each(|slot| *slot = Some(slot.map_or(state, |known| join(known, state))));
        });
        let state = |(unit, run): (&Arc<SampleUnit>, &&str)| wanted.get(&*unit.account)?.state(run, &unit.trace);
        units.iter().zip(named).map(state).collect()
    }

    /// A hash of a run or trace that depends on the key of pseudonyms, so that no sender can choose who is sampled.
    pub fn hash(&self, account: &str, name: &str) -> u64 {
        match &self.board.ids {
            Some(ids) => run_key(account, &ids.pseudonym(account, name)),
            None => run_key(account, name),
        }
    }

    fn alert_subjects(&self) -> AlertSubjects {
        let mut subjects = AlertSubjects::default();
        for alert in self.board.alerts() {
            match alert.run.is_empty() {
                true => subjects.sessions.insert((alert.account, alert.session)),
                false => subjects.runs.insert((alert.account, alert.run)),
            };
        }
        subjects
    }
}

/// The state of several runs whose items are decided together.
fn join(one: RunSampleState, other: RunSampleState) -> RunSampleState {
    RunSampleState {
        is_known: true,
        is_kept: one.is_kept || other.is_kept,
        is_over: one.is_over && other.is_over,
        hash: one.hash.min(other.hash),
    }
}

fn is_kept(run: &RunRecord<'_>, rule: KeepRule, alerts: &AlertSubjects) -> bool {
    match rule {
        KeepRule::Errors => run.failed || run.state.is_failed() || run.failed_calls > 0,
        KeepRule::Alerts => {
            let is_subject = |subjects: &HashSet<(String, String)>, name: &str| {
                !name.is_empty() && subjects.contains(&(run.account.to_owned(), name.to_owned()))
            };
            is_subject(&alerts.runs, run.run) || is_subject(&alerts.sessions, run.session)
        }
        KeepRule::Unpriced => run.total().unpriced > 0,
        KeepRule::CostAbove(limit) => run.total().atto_usd > limit,
        KeepRule::SlowerThan(limit) => u128::from(run.duration) > limit.as_nanos(),
    }
}
