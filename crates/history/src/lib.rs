//! Runs and failing spans for people: [`RunBoard`] (all runs, live ones from the tracker and ended ones from the file),
//! [`WindowFigures`] (aggregates of a time window for a page), [`FailedSpans`] (failing spans, counted and sampled),
//! [`ClientTable`] (clients that sent lately) and [`HistoryStore`], the file.
//! Only data that a third party may see is kept: names that passed the id policy, spans that were stripped and
//! redacted. Memory and disk are bounded: the account with most data loses its oldest. The gateway starts whatever is
//! wrong with the file. Batches pass only the check for failed spans and a look at each resource here. Runs are
//! identified in the crate `tracker`, HTML is made in `pages`, and `src/app/history_recorder.rs` decides when to write.

mod board;
mod client_recorder;
mod clients;
mod failure_recorder;
mod failures;
mod figures;
mod former_file;
mod json;
mod name_sums;
mod report;
mod sample_states;
mod seal;
mod store;
mod usage;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
pub(crate) mod tests;

pub use board::{RunBoard, RunFilter, SharedHistoryStore};
pub use client_recorder::ClientRecorder;
pub use clients::ClientTable;
pub use failure_recorder::FailedSpanRecorder;
pub use failures::{DAY, FailedSpans, FailureCount, FailureKey, FailureSample, GROUPINGS, RETENTION};
pub use figures::{
    ChangeFigures, ChangeName, CostShare, FigureBuilder, RunAverages, TimeWindow, WindowFigures, WindowMetric,
    compute_changes,
};
pub use json::{changes_json, figures_json, run_json};
pub use name_sums::NameCounts;
pub use report::{
    FailureGroup, FailureReport, JiraComment, ReportParameters, UnknownGrouping, build_report, report_json,
    report_markdown,
};
pub use sample_states::BoardSampleStates;
pub use store::{HistoryStore, HistoryWrite, OpenedHistory, StoreError};
pub use usage::CallsWithoutUsage;
