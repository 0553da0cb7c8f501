//! [`RunRecord`]: one run with everything that lists and sums need, small enough that a page reads a hundred thousand.
//! Names and ids are those that may be shown, so a third party may see all of them; counts and cost are exact. The
//! tracker keeps the records of runs that are not over, `history` those of ended ones; the whole of a run is in
//! [`super::RunView`].

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use kernel::sha256::Sha256;

use super::totals::{ModelTotals, RunTotals, ToolTotals};
use super::view::{RunJudgement, RunOwner, RunPeaks, RunState, RunView};

/// The first 64 bits of the SHA-256 of a list of parts; never 0.
pub fn digest(parts: &[&str]) -> u64 {
    let hash = Sha256::digest_list(parts);
    hash.first_chunk::<8>().map_or(1, |bytes| u64::from_le_bytes(*bytes)).max(1)
}

/// Identifies the run of an account in all stores and outcomes: a [`digest`]. `run` is the run's id as shown.
pub fn run_key(account: &str, run: &str) -> u64 {
    digest(&["outcome", account, run])
}

/// What a person calls a run: its service, the request or job that it is part of, and its agent.
pub fn run_title(names: [Option<&str>; 3]) -> String {
    let mut names: Vec<&str> = names.into_iter().flatten().collect();
    names.dedup();
    if names.is_empty() { "unnamed run".to_owned() } else { names.join(" · ") }
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Account of the credential that sent it.
    pub account: Arc<str>,
    pub run: Box<str>,
    pub session: Box<str>,
    /// Trace id in hex, or "".
    pub trace: Box<str>,
    /// Id of its root span; all zero if unknown.
    pub root: [u8; 8],
    pub tenant: Option<Arc<str>>,
    pub feature: Option<Arc<str>>,
    /// User who requested the run: a pseudonym.
    pub user: Option<Arc<str>>,
    /// `build.commit_sha`.
    pub commit: Option<Arc<str>>,
    /// `work_tracker.issue_id`.
    pub issue: Option<Arc<str>>,
    pub template: Option<Arc<str>>,
    pub incident: Option<Arc<str>>,
    /// `service.name`.
    pub service: Option<Arc<str>>,
    /// Route or name of the request or job that it is part of.
    pub operation: Option<Arc<str>>,
    pub state: RunState,
    /// Start, unix ns; 0 = unknown.
    pub start: u64,
    /// Last event, unix ns; the time at which the record was made if no event has a plausible time.
    pub at: u64,
    /// From start to end, ns.
    pub duration: u64,
    /// Iterations of the agent's loop.
    pub iterations: u64,
    /// Model calls that were not answered.
    pub failed_calls: u64,
    /// Tool calls that change something.
    pub writes: u64,
    pub models: Vec<(Arc<str>, ModelTotals)>,
    /// Parts that calls of other tenants than the run's took.
    pub others: Vec<(Arc<str>, ModelTotals)>,
    pub tools: Vec<(Arc<str>, ToolTotals)>,
    /// [reason, provider] and number of model calls that were refused, rate-limited or overloaded.
    pub troubles: Vec<([Arc<str>; 2], u64)>,
    /// [reason, provider, from, to] and number of fallbacks.
    pub fallbacks: Vec<([Arc<str>; 4], u64)>,
    /// [tool, source of the denial] and number of denials.
    pub denials: Vec<([Arc<str>; 2], u64)>,
}

impl RunRecord {
    /// The record of a view taken at `now`: later times are those of a clock that is ahead.
    pub fn from_view(view: &RunView, now: u64) -> Self {
        let totals = &view.totals;
        let shared = |text: &Option<String>| text.as_deref().map(Arc::from);
        let word = |word: &String| -> Arc<str> { word.as_str().into() };
        Self {
            account: view.account.as_str().into(),
            run: view.run.as_str().into(),
            session: view.session.as_str().into(),
            trace: view.trace.as_str().into(),
            root: view.root,
            tenant: shared(&view.tenant),
            feature: shared(&view.feature),
            user: shared(&view.user),
            commit: shared(&view.commit),
            issue: shared(&view.issue),
            template: shared(&view.template),
            incident: shared(&view.incident),
            service: shared(&view.service),
            operation: shared(&view.operation),
            state: view.state,
            start: view.start.min(now),
            at: match view.last.max(view.start) {
                0 => now,
                at => at.min(now),
            },
            duration: view.duration,
            iterations: totals.iterations,
            failed_calls: totals.failed_calls,
            writes: totals.writes,
            models: totals.models.iter().map(|(name, model)| (word(name), *model)).collect(),
            others: totals.other_tenants.iter().map(|(name, other)| (word(name), *other)).collect(),
            tools: totals.tools.iter().map(|(name, tool)| (word(name), *tool)).collect(),
            troubles: (totals.troubles.iter())
                .map(|(one, count)| ([&one.reason, &one.provider].map(word), *count))
                .collect(),
            fallbacks: (totals.fallbacks.iter())
                .map(|(one, count)| ([&one.reason, &one.provider, &one.from, &one.to].map(word), *count))
                .collect(),
            denials: (totals.denials.iter()).map(|(one, count)| ([&one.tool, &one.source].map(word), *count)).collect(),
        }
    }

    pub fn key(&self) -> u64 {
        run_key(&self.account, &self.run)
    }

    /// See [`run_title`].
    pub fn title(&self) -> String {
        run_title([&self.service, &self.operation, &self.feature].map(Option::as_deref))
    }

    /// Whether no end of the run is known yet.
    pub fn is_live(&self) -> bool {
        self.state == RunState::Live
    }

    /// Whether the run failed or was ended by a limit.
    pub fn is_failed(&self) -> bool {
        matches!(self.state, RunState::Failed | RunState::Killed)
    }

    /// The sum over its models.
    pub fn total(&self) -> ModelTotals {
        let mut total = ModelTotals::default();
        self.models.iter().for_each(|(_, model)| total.add(model));
        total
    }

    /// Tool calls, including failed and denied ones.
    pub fn tool_calls(&self) -> u64 {
        self.tools.iter().map(|(_, tool)| tool.calls()).sum()
    }

    pub fn tool_failures(&self) -> u64 {
        self.tools.iter().map(|(_, tool)| tool.failed).sum()
    }
}

impl RunView {
    /// What a record says of a run whose view is not kept.
    pub fn from_record(run: &RunRecord) -> Self {
        let text = |name: &Option<Arc<str>>| name.as_deref().map(str::to_owned);
        let mut totals = RunTotals {
            iterations: run.iterations,
            failed_calls: run.failed_calls,
            writes: run.writes,
            models: run.models.iter().map(|(name, model)| (name.to_string(), *model)).collect(),
            other_tenants: run.others.iter().map(|(name, other)| (name.to_string(), *other)).collect(),
            tools: run.tools.iter().map(|(name, tool)| (name.to_string(), *tool)).collect(),
            ..RunTotals::default()
        };
        run.troubles.iter().for_each(|([reason, provider], count)| totals.add_trouble(reason, provider, *count));
        run.fallbacks
            .iter()
            .for_each(|(words, count)| totals.add_fallback(words.each_ref().map(|word| &**word), *count));
        run.denials.iter().for_each(|([tool, source], count)| totals.add_denial(tool, source, *count));
        Self {
            owner: RunOwner::Here,
            account: run.account.to_string(),
            run: run.run.to_string(),
            session: run.session.to_string(),
            continues: None,
            trace: run.trace.to_string(),
            root: run.root,
            tenant: text(&run.tenant),
            feature: text(&run.feature),
            user: text(&run.user),
            template: text(&run.template),
            incident: text(&run.incident),
            commit: text(&run.commit),
            issue: text(&run.issue),
            service: text(&run.service),
            operation: text(&run.operation),
            state: run.state,
            failed: run.is_failed(),
            start: run.start,
            last: run.at,
            duration: run.duration,
            totals,
            peaks: RunPeaks::default(),
            judgement: RunJudgement::default(),
        }
    }
}
