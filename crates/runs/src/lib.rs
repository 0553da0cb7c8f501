//! Runs as pages, commands and the API see them: results ([`Totals`], [`Peaks`]), state ([`RunView`]), sums, budgets,
//! alerts, and [`Board`], which answers queries. The tracker, the connector, the admin port and commands share this one
//! model and its JSON.
//! Ids and names have passed the id policy; users are keyed pseudonyms; there is no content, and nothing has `Debug`.
//! Counts are whole and cost is exact (1e-18 USD). Runs are identified and added up in the crate `tracker`; sockets and
//! guards are in `telemetry/admin`.

pub mod api;
mod board;
pub mod json;
pub mod share;
mod sums;
mod totals;
mod view;
pub mod words;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

pub use board::{Alert, Board, Boards, Budget, BudgetState, Judge, Measure, NotTaken, Outcome, Severity, Verdict};
pub use sums::{Investigations, RunSums, Sum};
pub use totals::{Denial, Fallback, ModelTotals, OTHER, ToolTotals, Totals, Trouble, UNKNOWN, add, input, subtract};
pub use view::{Detail, Judged, Peaks, RunState, RunView, Score, SessionView, Step, StepKind, Streak};
