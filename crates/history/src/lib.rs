//! The last 48 hours: [`RunHistory`] (runs), [`WindowFigures`] (aggregates of a time window for a page),
//! [`FailedSpans`] (failing spans, counted and sampled), [`ClientTable`] (clients that sent lately) and
//! [`HistoryStore`], the file in which runs and failures survive a restart.
//! The tracker keeps only the latest runs; a comparison with yesterday, a nightly report and a run's page on the next
//! morning need more. Only data that a third party may see is kept: names that passed the id policy, spans that were
//! stripped and redacted. Memory and disk are bounded: the account with most data loses its oldest. The gateway starts
//! whatever is wrong with the file. Batches pass only the check for failed spans and a look at each resource here. Runs
//! are identified in the crate `tracker`, HTML is made in `pages`, and `src/app/history_recorder.rs` decides when to
//! write.

mod client_recorder;
mod clients;
mod entry;
mod failure_recorder;
mod failures;
mod figures;
mod json;
mod memory;
mod report;
mod seal;
mod store;
mod tracker_query;
mod usage;
mod write;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
pub(crate) mod tests;

pub use client_recorder::ClientRecorder;
pub use clients::ClientTable;
pub use entry::{RunModelUsage, RunRecord, RunToolUsage, run_title};
pub use failure_recorder::FailedSpanRecorder;
pub use failures::{FailedSpans, FailureCount, FailureKey, FailureSample};
pub use figures::{
    ChangeFigures, CostShare, DAY, NameCounts, TimeWindow, WindowFigures, WindowMetric, compute_changes,
    compute_figures,
};
pub use json::{changes_json, figures_json, run_json};
pub use memory::{MAX_RUNS, RETENTION, RunHistory};
pub use report::{
    FailureGroup, FailureReport, GROUPINGS, JiraComment, ReportParameters, UnknownGrouping, build_report, report_json,
    report_markdown,
};
pub use store::{HistoryStore, OpenedHistory, StoreError};
pub use usage::CallsWithoutUsage;
pub use write::HistoryWrite;
