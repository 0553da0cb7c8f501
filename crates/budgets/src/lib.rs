//! Budgets: how much a run, session, user, tenant, feature, issue or account may spend, and the answer to an agent or
//! proxy that asks whether it may go on.
//!
//! Pure: no clock, no network. `tracker` adds what each committed batch used to the [`Ledger`], in commit order, so a
//! replay gives the same sums; `receivers` ask through [`BudgetDesk`] and send a [`BudgetRecord`] of each answer other
//! than yes; `pages` shows the [`BudgetLine`]s. All names are in the form that pages show: users are pseudonyms.

mod answer;
pub mod config;
mod desk;
mod ledger;
mod names;
mod period;
mod record;
mod sentence;
mod words;

#[cfg(test)]
mod tests;

pub use answer::{Answer, BudgetUse};
pub use desk::BudgetDesk;
pub use ledger::{BudgetLine, Crossing, Grant, Ledger, Spending};
pub use names::{Known, Names, Question, Usage};
pub use record::{BudgetRecord, INSTRUMENTATION_SCOPE, RECORD_SPAN, RecordKind};
pub use words::{Action, Measure, Scope, Verdict};
