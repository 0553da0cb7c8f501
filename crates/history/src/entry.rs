//! **What**: [`Entry`]: what history keeps of one run. **Invariants**: names and ids as the tracker shows them, so all
//! of it may be seen by a third party; exact counts and cost. **Not here**: the tracker's own view (`runs`).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use runs::{RunState, RunView, Totals, input};

/// Most models, tools, fallbacks or denials of one run that are kept.
const MAX_PARTS: usize = 24;

/// One model's or tenant's part of a run.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelPart {
    /// The model or tenant.
    pub name: Arc<str>,
    /// Answered calls.
    pub calls: u64,
    /// Tokens that went in, cached ones included.
    pub input: u64,
    /// Tokens that came out.
    pub output: u64,
    /// Cost, 1e-18 USD.
    pub atto: i128,
    /// Answered calls without a price.
    pub unpriced: u64,
    /// Of these, the calls whose client reported no usage.
    #[serde(default)]
    pub no_usage: u64,
}

/// One tool's part of a run.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolPart {
    /// The tool.
    pub name: Arc<str>,
    /// All calls.
    pub calls: u64,
    /// Of these, failed.
    pub failed: u64,
    /// Of these, not allowed.
    pub denied: u64,
}

/// One run, as far as sums need it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Whose credential sent it.
    pub account: Arc<str>,
    /// Its id.
    pub run: Box<str>,
    /// Its session.
    pub session: Box<str>,
    /// Trace id in hex, or "".
    pub trace: Box<str>,
    /// Id of its root span; all zero = none told.
    pub root: [u8; 8],
    /// Whose work.
    pub tenant: Option<Arc<str>>,
    /// What for.
    pub feature: Option<Arc<str>>,
    /// Who asked: a pseudonym.
    pub user: Option<Arc<str>>,
    /// `build.commit_sha`.
    pub commit: Option<Arc<str>>,
    /// `work_tracker.issue_id`.
    pub issue: Option<Arc<str>>,
    /// The prompt template.
    #[serde(default)]
    pub template: Option<Arc<str>>,
    /// `service.name`.
    pub service: Option<Arc<str>>,
    /// One of [`RunState::as_str`].
    pub state: Box<str>,
    /// Begin, unix ns; 0 = not told.
    pub start: u64,
    /// Last event, unix ns, never in the future of whoever noted it.
    pub at: u64,
    /// From begin to end, ns.
    pub duration: u64,
    /// Iterations of its loop.
    pub iterations: u64,
    /// Model calls that were answered.
    pub calls: u64,
    /// Model calls that failed.
    pub failed_calls: u64,
    /// Tool calls.
    pub tool_calls: u64,
    /// Of these, failed.
    pub tool_failures: u64,
    /// Tool calls that change something.
    pub writes: u64,
    /// Tokens that went in, cached ones included.
    pub input: u64,
    /// Tokens that came out.
    pub output: u64,
    /// Cost, 1e-18 USD.
    pub atto: i128,
    /// Answered calls without a price.
    pub unpriced: u64,
    /// By model.
    pub models: Vec<ModelPart>,
    /// Of all this, what calls of other tenants than the run's took.
    #[serde(default)]
    pub others: Vec<ModelPart>,
    /// By tool.
    pub tools: Vec<ToolPart>,
    /// Reason, provider, how often model calls were refused, rate limited or overloaded.
    #[serde(default)]
    pub troubles: Vec<([Arc<str>; 2], u64)>,
    /// Reason, provider, from, to, how often.
    pub fallbacks: Vec<([Arc<str>; 4], u64)>,
    /// Tool, who denied, how often.
    pub denials: Vec<(Arc<str>, Arc<str>, u64)>,
}

impl Entry {
    /// What is kept of a view that is noted at `now`.
    pub fn of(view: &RunView, now: u64) -> Self {
        let totals = &view.totals;
        let shared = |text: &Option<String>| text.as_deref().map(Arc::from);
        let tokens = totals.tokens();
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
            service: shared(&view.service),
            state: view.state.as_str().into(),
            start: view.start.min(now),
            at: view.last.max(view.start).min(now),
            duration: view.duration,
            iterations: totals.iterations,
            calls: totals.calls(),
            failed_calls: totals.failed_calls,
            tool_calls: totals.tool_calls(),
            tool_failures: totals.tool_failures(),
            writes: totals.writes,
            input: input(&tokens),
            output: tokens.output,
            atto: totals.atto_usd(),
            unpriced: totals.unpriced(),
            models: parts(&totals.models),
            others: parts(&totals.others),
            tools: tools(totals),
            troubles: troubles(totals),
            fallbacks: fallbacks(totals),
            denials: denials(totals),
        }
    }

    /// By what a run is told from others.
    pub fn key(&self) -> String {
        format!("{}\u{0}{}", self.account, self.run)
    }

    /// Nobody told its end yet.
    pub fn live(&self) -> bool {
        &*self.state == RunState::Live.as_str()
    }

    /// It failed, or a limit ended it: as `agent_runs_total` counts them.
    pub fn failed(&self) -> bool {
        [RunState::Failed, RunState::Killed].iter().any(|state| &*self.state == state.as_str())
    }

    /// How long it took, or takes so far, ns.
    pub fn elapsed(&self, now: u64) -> u64 {
        if self.live() && self.start != 0 { now.saturating_sub(self.start).max(self.duration) } else { self.duration }
    }
}

fn parts(all: &BTreeMap<String, runs::ModelTotals>) -> Vec<ModelPart> {
    let part = |(name, model): (&String, &runs::ModelTotals)| ModelPart {
        name: name.as_str().into(),
        calls: model.calls,
        input: input(&model.tokens),
        output: model.tokens.output,
        atto: model.atto_usd,
        unpriced: model.unpriced,
        no_usage: model.no_usage,
    };
    all.iter().take(MAX_PARTS).map(part).collect()
}

fn tools(totals: &Totals) -> Vec<ToolPart> {
    let part = |(name, tool): (&String, &runs::ToolTotals)| ToolPart {
        name: name.as_str().into(),
        calls: tool.ok + tool.failed + tool.denied,
        failed: tool.failed,
        denied: tool.denied,
    };
    totals.tools.iter().take(MAX_PARTS).map(part).collect()
}

fn troubles(totals: &Totals) -> Vec<([Arc<str>; 2], u64)> {
    let words = |one: &runs::Trouble| [&one.reason, &one.provider].map(|word| Arc::from(word.as_str()));
    totals.troubles.iter().take(MAX_PARTS).map(|(one, count)| (words(one), *count)).collect()
}

fn fallbacks(totals: &Totals) -> Vec<([Arc<str>; 4], u64)> {
    let words =
        |one: &runs::Fallback| [&one.reason, &one.provider, &one.from, &one.to].map(|word| Arc::from(word.as_str()));
    totals.fallbacks.iter().take(MAX_PARTS).map(|(one, count)| (words(one), *count)).collect()
}

fn denials(totals: &Totals) -> Vec<(Arc<str>, Arc<str>, u64)> {
    let denials = totals.denials.iter().take(MAX_PARTS);
    denials.map(|(one, count)| (one.tool.as_str().into(), one.source.as_str().into(), *count)).collect()
}
