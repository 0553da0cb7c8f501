//! [`RunRecord`]: one run as history keeps it, an entry of the history. Names and ids are those that the tracker shows,
//! so a third party may see all of them; counts and cost are exact. The tracker's own view is in the crate `runs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use runs::{RunState, RunView, total_input_tokens};

/// Maximum number of models, tenants, tools, troubles, fallbacks or denials kept per run.
const MAX_PARTS: usize = 24;

/// One model's or tenant's part of a run.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunModelUsage {
    pub name: Arc<str>,
    pub calls: u64,
    /// Input tokens, including cached ones.
    pub input: u64,
    pub output: u64,
    /// Cost, 1e-18 USD.
    pub atto: i128,
    /// Answered calls without a price.
    pub unpriced: u64,
    /// Those of `unpriced` whose client reported no usage.
    #[serde(default)]
    pub no_usage: u64,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunToolUsage {
    pub name: Arc<str>,
    pub calls: u64,
    pub failed: u64,
    /// Calls that were not allowed.
    pub denied: u64,
}

/// One run, with everything that aggregates need.
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
    /// Tenant for which the run worked.
    pub tenant: Option<Arc<str>>,
    /// Feature for which the run worked.
    pub feature: Option<Arc<str>>,
    /// User who requested the run: a pseudonym.
    pub user: Option<Arc<str>>,
    /// `build.commit_sha`.
    pub commit: Option<Arc<str>>,
    /// `work_tracker.issue_id`.
    pub issue: Option<Arc<str>>,
    #[serde(default)]
    pub template: Option<Arc<str>>,
    /// `service.name`.
    pub service: Option<Arc<str>>,
    /// Route or name of the request or job that it is part of.
    #[serde(default)]
    pub operation: Option<Arc<str>>,
    /// One of [`RunState::as_str`].
    pub state: Box<str>,
    /// Start, unix ns; 0 = unknown.
    pub start: u64,
    /// Last event, unix ns; at most the gateway's time at which the entry was made.
    pub at: u64,
    /// From start to end, ns.
    pub duration: u64,
    /// Iterations of the agent's loop.
    pub iterations: u64,
    /// Model calls that were answered.
    pub calls: u64,
    pub failed_calls: u64,
    pub tool_calls: u64,
    /// Tool calls that failed.
    pub tool_failures: u64,
    /// Tool calls that change something.
    pub writes: u64,
    /// Input tokens, including cached ones.
    pub input: u64,
    pub output: u64,
    /// Cost, 1e-18 USD.
    pub atto: i128,
    /// Answered calls without a price.
    pub unpriced: u64,
    pub models: Vec<RunModelUsage>,
    /// Parts that calls of other tenants than the run's took.
    #[serde(default)]
    pub others: Vec<RunModelUsage>,
    pub tools: Vec<RunToolUsage>,
    /// [reason, provider] and number of model calls that were refused, rate-limited or overloaded.
    #[serde(default)]
    pub troubles: Vec<([Arc<str>; 2], u64)>,
    /// [reason, provider, from, to] and number of fallbacks.
    pub fallbacks: Vec<([Arc<str>; 4], u64)>,
    /// Tool, source of the denial, number.
    pub denials: Vec<(Arc<str>, Arc<str>, u64)>,
}

impl RunRecord {
    /// The entry of a view taken at `now`.
    pub fn from_view(view: &RunView, now: u64) -> Self {
        let totals = &view.totals;
        let shared = |text: &Option<String>| text.as_deref().map(Arc::from);
        let tokens = totals.tokens();
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
            service: shared(&view.service),
            operation: shared(&view.operation),
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
            input: total_input_tokens(&tokens),
            output: tokens.output,
            atto: totals.atto_usd(),
            unpriced: totals.unpriced(),
            models: collect_models(&totals.models),
            others: collect_models(&totals.other_tenants),
            tools: first_parts(&totals.tools, |(name, tool)| RunToolUsage {
                name: word(name),
                calls: tool.ok + tool.failed + tool.denied,
                failed: tool.failed,
                denied: tool.denied,
            }),
            troubles: first_parts(&totals.troubles, |(one, count)| ([&one.reason, &one.provider].map(word), *count)),
            fallbacks: first_parts(&totals.fallbacks, |(one, count)| {
                ([&one.reason, &one.provider, &one.from, &one.to].map(word), *count)
            }),
            denials: first_parts(&totals.denials, |(one, count)| (word(&one.tool), word(&one.source), *count)),
        }
    }

    /// Unique key of the run: account and run id.
    pub fn key(&self) -> String {
        format!("{}\u{0}{}", self.account, self.run)
    }

    /// Whether no end of the run is known yet.
    pub fn is_live(&self) -> bool {
        &*self.state == RunState::Live.as_str()
    }

    /// Whether the run failed or was ended by a limit, as `agent_runs_total` counts it.
    pub fn is_failed(&self) -> bool {
        [RunState::Failed, RunState::Killed].iter().any(|state| &*self.state == state.as_str())
    }

    /// See [`run_title`].
    pub fn title(&self) -> String {
        run_title([&self.service, &self.operation, &self.feature].map(Option::as_deref))
    }
}

/// What a person calls a run: its service, the request or job that it is part of, and its agent.
pub fn run_title(names: [Option<&str>; 3]) -> String {
    let mut names: Vec<&str> = names.into_iter().flatten().collect();
    names.dedup();
    if names.is_empty() { "unnamed run".to_owned() } else { names.join(" · ") }
}

fn collect_models(totals: &BTreeMap<String, runs::ModelTotals>) -> Vec<RunModelUsage> {
    first_parts(totals, |(name, model)| RunModelUsage {
        name: name.as_str().into(),
        calls: model.calls,
        input: total_input_tokens(&model.tokens),
        output: model.tokens.output,
        atto: model.atto_usd,
        unpriced: model.unpriced,
        no_usage: model.no_usage,
    })
}

fn first_parts<K, V, P>(parts: &BTreeMap<K, V>, convert: impl Fn((&K, &V)) -> P) -> Vec<P> {
    parts.iter().take(MAX_PARTS).map(convert).collect()
}
