//! The form of an answer to an agent or proxy; `ledger` decides it.

use crate::record::BudgetRecord;
use crate::words::{Measure, Verdict};

/// The answer to a [`crate::Question`].
#[derive(Clone, Debug)]
pub struct Answer {
    pub verdict: Verdict,
    /// The sentence for the person who is asked or stopped; empty if the verdict is yes.
    pub reason: String,
    /// A sentence for each budget that has reached a share of `warn_at`: what was used, of how much.
    pub notes: Vec<String>,
    /// Records to commit before the answer is sent, also of shadow budgets.
    pub records: Vec<BudgetRecord>,
    /// The budgets that apply, most used first.
    pub budgets: Vec<BudgetUse>,
    /// Since when these sums are complete, unix ns; 0: since the budgets' periods began.
    pub known_since: u64,
}

/// How much of one limit is used.
#[derive(Clone, Debug)]
pub struct BudgetUse {
    pub budget: String,
    pub key: String,
    pub measure: Measure,
    /// 1e-18 USD, or a number.
    pub spent: i128,
    pub limit: i128,
    /// End of the period, unix ns; 0: none.
    pub until: u64,
}

impl Answer {
    /// The answer if no budget applies.
    pub fn allow() -> Self {
        let (reason, notes, records, budgets) = Default::default();
        Self { verdict: Verdict::Allow, reason, notes, records, budgets, known_since: 0 }
    }
}
