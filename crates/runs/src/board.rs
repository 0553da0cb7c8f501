//! [`RunCatalog`]: the interface by which pages, commands and the API query runs, budgets, measures and alerts; and
//! [`OutcomeStore`], which stores verdicts of humans.
//! HTTP is in [`super::api`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::{AlertRule, AlertSeverity, InvestigationStats, RunDetail, RunOwner, RunSums, RunView};

/// Verdict of a human on a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OutcomeVerdict {
    /// The human confirmed the agent's result.
    Confirmed,
    /// A human decided otherwise.
    Overridden,
}

impl OutcomeVerdict {
    /// The verdict as written in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Overridden => "overridden",
        }
    }

    pub fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "confirmed" | "confirm" => Some(Self::Confirmed),
            "overridden" | "override" | "overriden" => Some(Self::Overridden),
            _ => None,
        }
    }
}

/// The result of a run as a human judges it.
#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RunOutcome {
    /// Confirmed or overridden.
    pub verdict: OutcomeVerdict,
    /// The agent's confidence, 0 to 1.
    pub confidence: Option<f64>,
    /// Seconds until the matter was resolved.
    pub resolution_seconds: Option<f64>,
}

// Values are never NaN.
impl Eq for RunOutcome {}

/// Why an outcome was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutcomeError {
    /// No run has this id.
    UnknownRun,
    /// The outcome could not be made durable now; the client should retry.
    NotStoredNow,
}

kernel::word_enum! {
    /// State of a run relative to its iteration ceiling.
    pub BudgetState {
        /// Below 80 %.
        Ok = "ok",
        /// At 80 % or above.
        Warned = "warned",
        /// At or above the ceiling: the run should stop.
        Exceeded = "exceeded",
    }
}

pub struct RunBudget {
    pub view: RunView,
    /// Maximum number of iterations.
    pub ceiling: u64,
    /// State relative to the ceiling.
    pub state: BudgetState,
}

/// One alert that tollgate computes itself.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The replica that sends it.
    #[serde(skip)]
    pub owner: RunOwner,
    pub rule: AlertRule,
    pub account: String,
    /// Id of the run; "" = none.
    pub run: String,
    pub session: String,
    /// Trace id, for a link.
    pub trace: String,
    /// Name of the tool; "" = none.
    pub tool: String,
    pub tenant: Option<String>,
    pub feature: Option<String>,
    pub value: f64,
    pub threshold: f64,
    /// When the alert started firing, unix ns by the gateway's clock.
    pub since: u64,
    /// When it was resolved; `None` = it is still firing.
    pub until: Option<u64>,
}

impl Alert {
    pub fn severity(&self) -> AlertSeverity {
        self.rule.severity()
    }
}

/// Aggregate of one numeric span attribute.
#[derive(Serialize)]
pub struct MeasureAggregate {
    #[serde(rename = "measure")]
    pub name: String,
    /// `service.name`.
    pub service: String,
    pub tenant: String,
    /// `build.commit_sha`.
    #[serde(rename = "commit_sha")]
    pub commit: String,
    /// Number of values.
    pub count: u64,
    pub sum: f64,
    /// 95th percentile, within 1 %.
    pub p95: f64,
}

/// Answers queries about runs. Calls take milliseconds at most.
pub trait RunCatalog: Send + Sync {
    /// The latest runs, live ones first, at most `limit`.
    fn recent_runs(&self, limit: usize) -> Vec<RunView>;
    /// One run of an account by its id; the latest if several have the id.
    fn find_run_of_account(&self, account: &str, id: &str) -> Option<RunDetail>;
    /// Accounts that have a run of this id, each once.
    fn accounts_with_run(&self, id: &str) -> Vec<String>;
    fn budget(&self, account: &str, id: &str) -> Option<RunBudget>;
    /// Sums over runs, live ones up to now.
    fn sums(&self) -> RunSums;
    /// Investigations by agent type.
    fn investigations(&self) -> BTreeMap<String, InvestigationStats>;
    /// Aggregates of numeric span attributes.
    fn measures(&self) -> Vec<MeasureAggregate>;
    /// Firing alerts, then the latest resolved ones; at most 1,000.
    fn alerts(&self) -> Vec<Alert>;
}

/// The catalogs of all trackers of a gateway, queried as one.
#[derive(Clone, Default)]
pub struct CombinedRunCatalog(pub Vec<Arc<dyn RunCatalog>>);

impl RunCatalog for CombinedRunCatalog {
    fn recent_runs(&self, limit: usize) -> Vec<RunView> {
        let mut runs: Vec<RunView> = self.0.iter().flat_map(|catalog| catalog.recent_runs(limit)).collect();
        if self.0.len() > 1 {
            runs.sort_by_key(|view| (view.state != super::RunState::Live, std::cmp::Reverse(view.last)));
            runs.truncate(limit);
        }
        runs
    }

    fn find_run_of_account(&self, account: &str, id: &str) -> Option<RunDetail> {
        self.0
            .iter()
            .filter_map(|catalog| catalog.find_run_of_account(account, id))
            .max_by_key(|detail| detail.view.last)
    }

    fn accounts_with_run(&self, id: &str) -> Vec<String> {
        let all: BTreeSet<String> = self.0.iter().flat_map(|catalog| catalog.accounts_with_run(id)).collect();
        all.into_iter().collect()
    }

    fn budget(&self, account: &str, id: &str) -> Option<RunBudget> {
        self.0.iter().filter_map(|catalog| catalog.budget(account, id)).max_by_key(|budget| budget.view.last)
    }

    fn sums(&self) -> RunSums {
        let mut sums = RunSums::default();
        self.0.iter().for_each(|catalog| sums.add(&catalog.sums()));
        sums
    }

    fn investigations(&self) -> BTreeMap<String, InvestigationStats> {
        // If several trackers know one agent type, the one with more investigations is shown.
        let mut by_agent_type: BTreeMap<String, InvestigationStats> = BTreeMap::new();
        for (agent_type, stats) in self.0.iter().flat_map(|catalog| catalog.investigations()) {
            let known = by_agent_type.entry(agent_type).or_default();
            if stats.count > known.count {
                *known = stats;
            }
        }
        by_agent_type
    }

    fn measures(&self) -> Vec<MeasureAggregate> {
        self.0.iter().flat_map(|catalog| catalog.measures()).collect()
    }

    fn alerts(&self) -> Vec<Alert> {
        self.0.iter().flat_map(|catalog| catalog.alerts()).collect()
    }
}

/// Stores verdicts of humans.
pub trait OutcomeStore: Send + Sync {
    /// Stores the outcome of a run; completes once it is durable.
    fn store_outcome<'a>(
        &'a self,
        account: &'a str,
        id: &'a str,
        outcome: RunOutcome,
    ) -> BoxFuture<'a, Result<(), OutcomeError>>;
}
