//! [`RunSource`]: how history reads the runs of a tracker; and [`JudgementStore`], which stores judgements. Pages
//! and the API read both trackers and history through `history::RunBoard`.

use std::collections::BTreeMap;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::alert_rule::{AlertRule, AlertSeverity, AlertUnit};
use super::amounts::{format_decimal, format_dollars, format_multiple, format_seconds};
use super::sums::InvestigationStats;
use super::view::{RunDetail, RunJudgement, RunOwner, RunView};

/// Why a judgement was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JudgementError {
    /// No run has this id.
    UnknownRun,
    /// It could not be made durable now; the client should retry.
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
    /// Name of the tool, or of the budget with whose it is; "" = none.
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

    /// What `tool` names.
    pub fn subject_word(&self) -> &'static str {
        if self.rule.is_of_budget() { "budget" } else { "tool" }
    }

    /// Unit of the value and threshold.
    pub fn unit(&self) -> AlertUnit {
        self.rule.unit()
    }

    /// Ratio of value to threshold; `None` if that is meaningless.
    pub fn multiple(&self) -> Option<f64> {
        let is_meaningful =
            !matches!(self.unit(), AlertUnit::Event(_)) && self.threshold > 0.0 && self.value.is_finite();
        is_meaningful.then(|| self.value / self.threshold)
    }

    /// The measurement as a sentence: `$0.01, 2 × the limit of $0.005`.
    pub fn measurement_text(&self) -> String {
        let format_amount = |amount: f64| match self.unit() {
            AlertUnit::Usd => format_dollars(amount),
            AlertUnit::Seconds => format_seconds(amount),
            AlertUnit::Count(_) | AlertUnit::Times(_) | AlertUnit::Share | AlertUnit::Event(_) => {
                format_decimal(amount)
            }
        };
        let value = match self.unit() {
            AlertUnit::Event(what) => return what.to_owned(),
            AlertUnit::Share => {
                return format!("{} % of the budget's limit", format_decimal((self.value * 100.0).floor()));
            }
            AlertUnit::Times(what) => {
                return format!(
                    "{} × {what} (limit {} ×)",
                    format_multiple(self.value),
                    format_multiple(self.threshold)
                );
            }
            AlertUnit::Count(what) if !what.is_empty() => format!("{} {what}", format_amount(self.value)),
            _ => format_amount(self.value),
        };
        match self.multiple() {
            Some(multiple) => {
                format!("{value}, {} × the limit of {}", format_multiple(multiple), format_amount(self.threshold))
            }
            None => format!("{value} (limit {})", format_amount(self.threshold)),
        }
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

/// Runs that history has to write, and keys of runs that it has to delete because they became part of others.
#[derive(Default, Serialize, Deserialize)]
pub struct EndedRuns {
    pub ended: Vec<(u64, RunDetail)>,
    pub removed: Vec<u64>,
}

/// The runs that history's file does not hold: those that are not over, and those that ended just now. Calls take
/// milliseconds.
pub trait RunSource: Send + Sync {
    /// Keeps ended runs until [`Self::take_ended`]; without this call nobody asks for them.
    fn enable_history(&self);
    /// Calls `visit` with the key and the stored form ([`super::encode_run`]) of each run, and with the keys of runs
    /// that history has to delete.
    fn visit_runs(&self, visit: &mut dyn FnMut(u64, Option<&[u8]>));
    /// Those of these runs that have these keys, with the keys. Their judgements may be empty: see [`Self::judgement`].
    fn find_runs(&self, keys: &[u64]) -> Vec<(u64, RunDetail)>;
    /// Accounts that have such runs.
    fn accounts(&self) -> Vec<String>;
    /// The recorded outcome of any run.
    fn judgement(&self, key: u64) -> Option<RunJudgement>;
    /// Iterations at which a run of this feature must stop.
    fn iteration_ceiling(&self, feature: Option<&str>) -> u64;
    /// Takes the ended runs. The caller writes them, or gives them back.
    fn take_ended(&self) -> EndedRuns;
    fn give_back(&self, ended: EndedRuns);
    /// Investigations by agent type.
    fn investigations(&self) -> BTreeMap<String, InvestigationStats>;
    /// Aggregates of numeric span attributes.
    fn measures(&self) -> Vec<MeasureAggregate>;
    /// Firing alerts, then the latest resolved ones; at most 1,000.
    fn alerts(&self) -> Vec<Alert>;
}

/// Stores outcomes and evaluations of runs.
pub trait JudgementStore: Send + Sync {
    /// Stores the judgement of a run; completes once it is durable.
    fn store_judgement<'a>(
        &'a self,
        account: &'a str,
        id: &'a str,
        judgement: RunJudgement,
    ) -> BoxFuture<'a, Result<(), JudgementError>>;
}
