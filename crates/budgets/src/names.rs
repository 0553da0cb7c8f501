//! What an agent or proxy asks about: names, and what is known of a run and session.

use std::sync::Arc;

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
