//! Test runs: [`ended`], and [`Made`], a board of them, for tests of pages, history and alerts that need no tracker.
//! Runs of recorded telemetry are in the crate `tracker`.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::{
    Alert, AlertRule, EndedRuns, InvestigationStats, MeasureAggregate, ModelTotals, RunDetail, RunJudgement, RunOwner,
    RunPeaks, RunSource, RunState, RunStep, RunTotals, RunView, encode_run,
};
use genai::CallTokenBuckets;

/// Default end of test runs, unix ns.
pub const NOW: u64 = 1_800_000_000 * 1_000_000_000;
/// One minute, ns.
pub const MINUTE: u64 = 60_000_000_000;

impl RunTotals {
    /// Adds an answered call; `price` in 1e-18 USD, `None` = unpriced.
    pub fn add_call(&mut self, model: &str, tokens: CallTokenBuckets, price: Option<i128>) {
        let unpriced = u64::from(price.is_none());
        let atto_usd = price.unwrap_or(0);
        self.add_model(model, &ModelTotals { calls: 1, tokens, atto_usd, unpriced, ..ModelTotals::default() });
    }

    /// Marks one of a model's answered calls as one whose client reported no usage.
    pub fn mark_no_usage(&mut self, model: &str) {
        self.add_model(model, &ModelTotals { no_usage: 1, ..ModelTotals::default() });
    }
}

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
        continues: None,
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

/// A source with fixed contents, of which nothing is in history's file.
#[derive(Default)]
pub struct Made {
    /// Runs with their calls.
    pub runs: Vec<(RunView, Vec<RunStep>)>,
    /// Firing and resolved alerts.
    pub alerts: Mutex<Vec<Alert>>,
    /// Ended runs that wait for history.
    pub ended: Mutex<EndedRuns>,
    /// Keys of runs that history has to delete.
    pub removed: Vec<u64>,
}

/// A run with its calls.
pub fn detail(view: &RunView, steps: &[RunStep]) -> RunDetail {
    RunDetail {
        view: view.clone(),
        steps: Some(steps.to_vec()),
        step_count: steps.len() as u64,
        first_heard: 0,
        heard: 0,
    }
}

impl RunSource for Made {
    fn enable_history(&self) {}

    fn visit_runs(&self, visit: &mut dyn FnMut(u64, Option<&[u8]>)) {
        for (view, _) in &self.runs {
            visit(view.key(), Some(&encode_run(view, NOW)));
        }
        self.removed.iter().for_each(|key| visit(*key, None));
    }

    fn find_runs(&self, keys: &[u64]) -> Vec<(u64, RunDetail)> {
        let all = self.runs.iter().map(|(view, steps)| (view.key(), detail(view, steps)));
        all.filter(|(key, _)| keys.contains(key)).collect()
    }

    fn accounts(&self) -> Vec<String> {
        self.runs.iter().map(|(view, _)| view.account.clone()).collect()
    }

    fn judgement(&self, _: u64) -> Option<RunJudgement> {
        None
    }

    fn iteration_ceiling(&self, _: Option<&str>) -> u64 {
        50
    }

    fn take_ended(&self) -> EndedRuns {
        std::mem::take(&mut self.ended.lock())
    }

    fn give_back(&self, ended: EndedRuns) {
        *self.ended.lock() = ended;
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
