//! [`BudgetDesk`]: whom receivers, pages and grants ask. `tracker` implements it, `Ledger::answer` decides.

use std::sync::Arc;

use crate::answer::Answer;
use crate::config::Budget;
use crate::ledger::BudgetLine;
use crate::names::Question;

/// Knows the budgets of a gateway. Calls take at most some milliseconds, and wait for no worker.
pub trait BudgetDesk: Send + Sync {
    /// Whether there are budgets at all.
    fn has_budgets(&self) -> bool;
    /// What is configured.
    fn budgets(&self) -> &[Budget];
    fn answer(&self, question: &Question) -> Answer;
    /// The keys of budgets with what they have used, most used first; at most some seconds old.
    fn lines(&self) -> Arc<[BudgetLine]>;
    /// Whether this gateway's sums are those of a whole fleet.
    fn knows_fleet(&self) -> bool;
}
