//! [`BoardFates`]: tells a sampler what is known of runs, by one look at the board for all units. A unit names its run
//! as it was known when the item came; a run that got another id since is found by its trace.

use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use kernel::clock::UnixNanos;
use pipeline::sampling::rules::{KeepRule, RunFate, RunFates, SampleUnit};
use runs::{RunRecord, run_key};

use super::board::RunBoard;

/// See the module.
pub struct BoardFates(pub RunBoard);

/// The runs of one account that are looked for, and what was found.
#[derive(Default)]
struct WantedRuns<'u> {
    by_run: HashMap<&'u str, Option<RunFate>>,
    by_trace: HashMap<&'u str, Option<RunFate>>,
}

/// Accounts and names of what raised an alert.
#[derive(Default)]
struct AlertSubjects {
    runs: HashSet<(String, String)>,
    sessions: HashSet<(String, String)>,
}

impl RunFates for BoardFates {
    fn fates(&self, units: &[Arc<SampleUnit>], rules: &[KeepRule], since: UnixNanos) -> Vec<Option<RunFate>> {
        let Self(board) = self;
        let shown_id = |unit: &SampleUnit| match &board.ids {
            Some(ids) => ids.shown_id(&unit.account, &unit.run).into_owned(),
            None => unit.run.to_string(),
        };
        let runs: Vec<String> = units.iter().map(|unit| shown_id(unit)).collect();
        let mut wanted: HashMap<&str, WantedRuns<'_>> = HashMap::default();
        for (unit, run) in units.iter().zip(&runs) {
            let of_account = wanted.entry(&unit.account).or_default();
            of_account.by_run.extend((!run.is_empty()).then_some((&**run, None)));
            of_account.by_trace.extend((!unit.trace.is_empty()).then_some((&*unit.trace, None)));
        }
        let alerts = if rules.contains(&KeepRule::Alerts) { self.alert_subjects() } else { AlertSubjects::default() };
        board.visit_runs(since.0, &mut |run| {
            let Some(WantedRuns { by_run, by_trace }) = wanted.get_mut(run.account) else { return };
            let slots = [by_run.get_mut(run.run), by_trace.get_mut(run.trace)];
            let mut slots = slots.into_iter().flatten().peekable();
            if slots.peek().is_none() {
                return;
            }
            let fate = RunFate {
                is_kept: rules.iter().any(|rule| is_kept(run, *rule, &alerts)),
                is_over: !run.state.is_live(),
                lot: run_key(run.account, run.run),
            };
            slots.for_each(|slot| *slot = Some(slot.map_or(fate, |known| join(known, fate))));
        });
        let fate = |(unit, run): (&Arc<SampleUnit>, &String)| {
            let WantedRuns { by_run, by_trace } = wanted.get(&*unit.account)?;
            let of_run = by_run.get(&**run).copied().flatten();
            of_run.or_else(|| by_trace.get(&*unit.trace).copied().flatten())
        };
        units.iter().zip(&runs).map(fate).collect()
    }
}

impl BoardFates {
    fn alert_subjects(&self) -> AlertSubjects {
        let mut subjects = AlertSubjects::default();
        for alert in self.0.alerts() {
            match alert.run.is_empty() {
                true => subjects.sessions.insert((alert.account, alert.session)),
                false => subjects.runs.insert((alert.account, alert.run)),
            };
        }
        subjects
    }
}

/// The fate of several runs in one trace.
fn join(one: RunFate, other: RunFate) -> RunFate {
    RunFate {
        is_kept: one.is_kept || other.is_kept,
        is_over: one.is_over && other.is_over,
        lot: one.lot.min(other.lot),
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
