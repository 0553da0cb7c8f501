//! Runs as pages, commands and the API see them: results ([`RunTotals`], [`RunPeaks`]), state ([`RunView`]), sums,
//! budgets, alerts, and [`RunSource`], by which history reads a tracker. The tracker, the connector, the admin port and
//! commands share this one model and its JSON. Ids and names have passed the id policy; users are keyed pseudonyms;
//! there is no content, and nothing has `Debug`. Counts are whole and cost is exact (1e-18 USD). Runs are identified
//! and added up in the crate `tracker`; sockets and guards are in `telemetry/admin`.

mod alert_rule;
pub mod amounts;
mod board;
pub mod fair_eviction;
pub mod json;
mod key;
mod record;
mod sums;
mod totals;
mod view;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use alert_rule::{AlertRule, AlertSeverity, AlertUnit};
pub use board::{
    Alert, BudgetState, EndedRuns, JudgementError, JudgementStore, MeasureAggregate, RunBudget, RunSource,
};
pub use key::{digest, run_key};
pub use record::{FirstRuns, LargestFirst, RunRecord, decode_run, encode_run};
pub use sums::{InvestigationStats, RunSums, UsageSum};
pub use totals::{
    CountsByNames, ModelTotals, OTHER, RunTotals, RunWork, ToolTotals, UNATTRIBUTED, UNKNOWN, combine_buckets,
    total_input_tokens,
};
pub use view::{
    AnnotatorKind, CallStreak, EvaluationScore, MAX_KEPT_STEPS, MAX_SCORES, OutcomeVerdict, RunDetail, RunJudgement,
    RunOutcome, RunOwner, RunPeaks, RunState, RunStep, RunView, SessionView, StepKind,
};
