//! **What**: runs as the outside sees them: what one did ([`Totals`], [`Peaks`]), where it stands ([`RunView`]), sums,
//! budgets, alerts, and [`Board`], whom pages and commands ask. **Why**: the tracker, the connector, the admin port and
//! commands share one model and one JSON. **Invariants**: ids and names have passed the id policy; users are keyed
//! pseudonyms; no content; nothing here has `Debug`; counts are whole and cost is exact (1e-18 USD). **Not here**: how
//! runs are told apart and added up (the crate `tracker`), sockets and guards (`telemetry/admin`).

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
