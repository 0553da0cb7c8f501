//! Test runs: [`ended`], and [`Made`], a board of them, for tests of pages, history and alerts that need no tracker.
//! Runs of recorded telemetry are in the crate `tracker`.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::{
    Alert, AlertRule, InvestigationStats, MeasureAggregate, RunBudget, RunCatalog, RunDetail, RunJudgement, RunOwner,
    RunPeaks, RunState, RunStep, RunSums, RunTotals, RunView,
};
use genai::CallTokenBuckets;

/// Default end of test runs, unix ns.
pub const NOW: u64 = 1_800_000_000 * 1_000_000_000;
/// One minute, ns.
pub const MINUTE: u64 = 60_000_000_000;

/// A run of the account `default` that took `minutes` and ended at [`NOW`], with one model call that cost `atto`.
pub fn ended(run: &str, minutes: u64, atto: i128) -> RunView {
    let mut totals = RunTotals { iterations: minutes, ..RunTotals::default() };
    totals.add_call(
        "claude-sonnet-4-5",
        CallTokenBuckets { input: 1200, output: 34, ..CallTokenBuckets::default() },
        Some(atto),
    );
    RunView {
        owner: RunOwner::Here,
        account: "default".into(),
        run: run.into(),
        session: format!("session-of-{run}"),
        trace: "0af7651916cd43dd8448eb211c80319c".into(),
        root: [7; 8],
        tenant: Some("acme".into()),
        feature: None,
        user: None,
        template: None,
        incident: None,
        commit: Some("c0ffee".into()),
        issue: Some("OPS-1".into()),
        service: Some("agents".into()),
        operation: None,
        state: RunState::Ended,
        failed: false,
        start: NOW - minutes * MINUTE,
        last: NOW,
        duration: minutes * MINUTE,
        totals,
        peaks: RunPeaks::default(),
        judgement: RunJudgement::default(),
    }
}

/// A firing alert about a run, by the name of its rule.
pub fn alert(rule: &str, run: &str, since: u64) -> Alert {
    Alert {
        owner: RunOwner::Here,
        rule: AlertRule::parse(rule).expect("a rule"),
        account: "default".into(),
        run: run.into(),
        session: "s-1".into(),
        trace: "0af7651916cd43dd8448eb211c80319c".into(),
        tenant: Some("acme".into()),
        feature: Some("triage".into()),
        tool: "Bash".into(),
        value: 7.0,
        threshold: 5.0,
        since,
        until: None,
    }
}

/// A board with fixed contents.
#[derive(Default)]
pub struct Made {
    /// Runs with their calls, latest first.
    pub runs: Vec<(RunView, Vec<RunStep>)>,
    /// Firing and resolved alerts.
    pub alerts: Mutex<Vec<Alert>>,
}

impl RunCatalog for Made {
    fn recent_runs(&self, limit: usize) -> Vec<RunView> {
        self.runs.iter().take(limit).map(|(view, _)| view.clone()).collect()
    }

    fn find_run_of_account(&self, account: &str, id: &str) -> Option<RunDetail> {
        let (view, steps) = self.runs.iter().find(|(view, _)| view.run == id && view.account == account)?;
        Some(RunDetail { view: view.clone(), steps: Some(steps.clone()), step_count: steps.len() as u64 })
    }

    fn accounts_with_run(&self, id: &str) -> Vec<String> {
        self.runs.iter().filter(|(view, _)| view.run == id).map(|(view, _)| view.account.clone()).collect()
    }

    fn budget(&self, _: &str, _: &str) -> Option<RunBudget> {
        None
    }

    fn sums(&self) -> RunSums {
        RunSums::default()
    }

    fn investigations(&self) -> BTreeMap<String, InvestigationStats> {
        BTreeMap::new()
    }

    fn measures(&self) -> Vec<MeasureAggregate> {
        Vec::new()
    }

    fn alerts(&self) -> Vec<Alert> {
        self.alerts.lock().clone()
    }
}
