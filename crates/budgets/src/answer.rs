//! What an agent or proxy asks, and what it is answered.

use std::sync::Arc;

use crate::config::Budget;
use crate::{BudgetLine, BudgetRecord, Measure, Verdict};

/// The names that a call belongs to: as the client or its credential gives them in a question, otherwise as pages show
/// them.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// The run as its dialect names it, such as Claude Code's `prompt_id`.
    pub run: Option<String>,
    pub session: Option<String>,
    /// A pseudonym, or in a question the id itself.
    pub user: Option<String>,
    pub tenant: Option<String>,
    pub feature: Option<String>,
    /// `work_tracker.issue_id`.
    pub issue: Option<String>,
    /// `service.name`.
    pub service: Option<String>,
    pub model: Option<String>,
}

impl Names {
    /// Adds the names that are missing.
    pub fn fill_from(&mut self, other: &Self) {
        let Self { run, session, user, tenant, feature, issue, service, model } = other.clone();
        let pairs = [
            (&mut self.run, run),
            (&mut self.session, session),
            (&mut self.user, user),
            (&mut self.tenant, tenant),
            (&mut self.feature, feature),
            (&mut self.issue, issue),
            (&mut self.service, service),
            (&mut self.model, model),
        ];
        pairs.into_iter().filter(|(own, _)| own.is_none()).for_each(|(own, more)| *own = more);
    }
}

/// A question whether work may go on.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The account of the credential: no other one's spending counts.
    pub account: Arc<str>,
    pub names: Names,
    /// The trace, if the asker knows no run or session: 32 hex digits.
    pub trace: Option<String>,
    /// Whether the asker can put a question to its user.
    pub can_ask: bool,
    /// The call saves work, such as `git commit`, so that it may go on at the limit.
    pub saves_work: bool,
}

/// What one run or session has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// 1e-18 USD, as if no plan covered anything.
    pub atto_usd: i128,
    /// The part of it that plans cover.
    pub covered_atto_usd: i128,
    pub model_calls: u64,
    pub iterations: u64,
    pub tool_calls: u64,
    pub seconds: u64,
}

impl Usage {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            atto_usd: self.atto_usd.saturating_add(other.atto_usd),
            covered_atto_usd: self.covered_atto_usd.saturating_add(other.covered_atto_usd),
            model_calls: self.model_calls.saturating_add(other.model_calls),
            iterations: self.iterations.saturating_add(other.iterations),
            tool_calls: self.tool_calls.saturating_add(other.tool_calls),
            seconds: self.seconds.saturating_add(other.seconds),
        }
    }
}

/// What is known of the run and session of a question.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub run: Option<Usage>,
    pub session: Option<Usage>,
}

/// The answer to a [`Question`].
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
