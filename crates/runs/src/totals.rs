//! [`RunTotals`]: exact sums over a run or session. Counts are whole, cost is in 1e-18 USD; unpriced calls are counted
//! separately, never as zero cost. Sums do not depend on the order. No map has more than 64 kinds, plus `other`. The
//! crate `tracker` decides what belongs to a run; maxima, which can't be added up, are in [`super::RunPeaks`].

use std::collections::BTreeMap;

use genai::CallTokenBuckets;
use serde::{Deserialize, Serialize};

/// Maximum number of tools, models or finish reasons in one sum.
const MAX_KINDS: usize = 64;
/// Name of the kinds beyond the maximum.
pub const OTHER: &str = "other";
/// Tenant, feature or user of items that name none.
pub const UNATTRIBUTED: &str = "unattributed";
/// Name used if none was given.
pub const UNKNOWN: &str = "unknown";

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolTotals {
    /// Calls without a reported failure.
    pub ok: u64,
    pub failed: u64,
    /// Calls that were not allowed to run.
    pub denied: u64,
    /// Calls made after a failed call of the same tool.
    pub retries: u64,
}

impl ToolTotals {
    /// All calls, including failed and denied ones.
    pub fn calls(&self) -> u64 {
        self.ok + self.failed + self.denied
    }

    pub fn add(&mut self, other: &Self) {
        self.ok += other.ok;
        self.failed += other.failed;
        self.denied += other.denied;
        self.retries += other.retries;
    }
}

/// Calls of one model or tenant.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelTotals {
    /// Calls that were answered.
    pub calls: u64,
    pub tokens: CallTokenBuckets,
    /// Cost, 1e-18 USD, without unpriced calls.
    pub atto_usd: i128,
    /// The part of the cost that plans cover: nothing is to pay for it. Stored at the end of a run's record.
    #[serde(skip)]
    pub covered_atto_usd: i128,
    /// What caching saved, 1e-18 USD; negative: cache writes cost more than reads saved. Stored there too.
    #[serde(skip)]
    pub saved_atto_usd: i128,
    /// Answered calls without a price.
    pub unpriced: u64,
    /// Those of `unpriced` whose client reported no usage.
    pub no_usage: u64,
}

/// What edits changed, and the length of the agent's last message. Stored among amounts of money, so of their type.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct RunWork {
    /// Lines that edits added, and lines that they removed.
    pub lines: [i128; 2],
    /// Of the last message: its time (unix ns), characters and words. The greatest is the last one.
    pub summary: [i128; 3],
}

impl RunWork {
    /// Adds other edits; of the two messages the last one stays.
    pub fn add(&mut self, other: &Self) {
        self.lines.iter_mut().zip(other.lines).for_each(|(lines, more)| *lines = lines.saturating_add(more));
        self.summary = self.summary.max(other.summary);
    }

    /// Lines added and removed, characters and words of the last message.
    pub fn counts(&self) -> [u64; 4] {
        let ([added, removed], [_, characters, words]) = (self.lines, self.summary);
        [added, removed, characters, words].map(|count| u64::try_from(count).unwrap_or(0))
    }
}

/// Names that occurred together, and how often.
pub type CountsByNames<const N: usize> = BTreeMap<[String; N], u64>;

/// Sums over the calls of a run or session.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTotals {
    /// Answered model calls, by model.
    pub models: BTreeMap<String, ModelTotals>,
    /// Model calls that failed without an answer.
    pub failed_calls: u64,
    /// Model calls repeated after a failure, with the same model.
    pub retries: u64,
    pub tools: BTreeMap<String, ToolTotals>,
    /// Iterations of the agent's loop.
    pub iterations: u64,
    pub sub_agents: u64,
    /// Finish reasons of answered calls and turns, each normalised to one spelling.
    pub finish_reasons: BTreeMap<String, u64>,
    /// Failures of model calls, tools and the run itself, by error type.
    pub errors: BTreeMap<String, u64>,
    /// Model calls that were not answered as asked: the reason (`refusal`, `rate_limited_429`, `overloaded_529` or
    /// `other`) and the provider.
    pub troubles: CountsByNames<2>,
    /// Answers of another model: the reason, provider and name of the model that did not answer, the model that did.
    pub fallbacks: CountsByNames<4>,
    /// Permissions that were denied: the tool that was not allowed to run, and the source of the denial: `config`,
    /// `hook`, `user_reject` …
    pub denials: CountsByNames<2>,
    /// Tool calls that read.
    pub reads: u64,
    /// Tool calls that change something.
    pub writes: u64,
    /// Answers from a model other than the requested one.
    pub model_changes: u64,
    /// The part of calls that belong to another tenant than the run's, or to none ([`UNATTRIBUTED`]).
    pub other_tenants: BTreeMap<String, ModelTotals>,
    /// Stored at the end of a run's record.
    #[serde(skip)]
    pub work: RunWork,
}

impl ModelTotals {
    pub fn sum<'m>(models: impl Iterator<Item = &'m Self>) -> Self {
        let mut sum = Self::default();
        models.for_each(|model| sum.add(model));
        sum
    }

    pub fn add(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add, i128::saturating_add);
    }

    pub fn subtract(&mut self, other: &Self) {
        self.combine(other, u64::saturating_sub, i128::saturating_sub);
    }

    /// What is to pay, 1e-18 USD.
    pub fn payable(&self) -> i128 {
        self.atto_usd.saturating_sub(self.covered_atto_usd)
    }

    /// Input tokens, including cached ones.
    pub fn input(&self) -> u64 {
        total_input_tokens(&self.tokens)
    }

    /// Input and output tokens.
    pub fn all_tokens(&self) -> u64 {
        self.input().saturating_add(self.tokens.output)
    }

    fn combine(&mut self, other: &Self, count: fn(u64, u64) -> u64, cost: fn(i128, i128) -> i128) {
        self.calls = count(self.calls, other.calls);
        self.tokens = combine_buckets(self.tokens, other.tokens, count);
        self.atto_usd = cost(self.atto_usd, other.atto_usd);
        self.covered_atto_usd = cost(self.covered_atto_usd, other.covered_atto_usd);
        self.saved_atto_usd = cost(self.saved_atto_usd, other.saved_atto_usd);
        self.unpriced = count(self.unpriced, other.unpriced);
        self.no_usage = count(self.no_usage, other.no_usage);
    }
}

impl RunTotals {
    /// The sum over its models.
    pub fn total(&self) -> ModelTotals {
        ModelTotals::sum(self.models.values())
    }

    /// Model calls that were answered.
    pub fn calls(&self) -> u64 {
        self.total().calls
    }

    /// Tool calls, including failed and denied ones.
    pub fn tool_calls(&self) -> u64 {
        self.tools.values().map(ToolTotals::calls).sum()
    }

    /// Tool calls that failed.
    pub fn tool_failures(&self) -> u64 {
        self.tools.values().map(|tool| tool.failed).sum()
    }

    /// Tool calls made again after a failure.
    pub fn tool_retries(&self) -> u64 {
        self.tools.values().map(|tool| tool.retries).sum()
    }

    pub fn tokens(&self) -> CallTokenBuckets {
        self.total().tokens
    }

    /// Input tokens, including those read from or written to a cache.
    pub fn input_tokens(&self) -> u64 {
        self.total().input()
    }

    /// Cost in 1e-18 USD, without unpriced calls.
    pub fn atto_usd(&self) -> i128 {
        self.total().atto_usd
    }

    /// What is to pay, 1e-18 USD.
    pub fn payable(&self) -> i128 {
        self.total().payable()
    }

    /// What caching saved, 1e-18 USD.
    pub fn saved(&self) -> i128 {
        self.total().saved_atto_usd
    }

    /// The amounts that the stored form lacks, of each model and then of each other tenant, then the work.
    pub fn unstored_mut(&mut self) -> impl Iterator<Item = &mut i128> {
        unstored_amounts(self.models.values_mut().chain(self.other_tenants.values_mut()), &mut self.work)
    }

    /// Answered calls that are not in the cost.
    pub fn unpriced(&self) -> u64 {
        self.total().unpriced
    }

    /// The cost for people; "no price" if no part of it has one.
    pub fn format_cost(&self) -> String {
        super::amounts::format_cost(self.atto_usd(), self.unpriced())
    }

    /// The totals of each tenant's calls: first of the run's own tenant, then of the others.
    pub fn by_tenant<'t>(&'t self, own: Option<&'t str>) -> impl Iterator<Item = (Option<&'t str>, ModelTotals)> {
        let mut own_totals = self.total();
        self.other_tenants.values().for_each(|other| own_totals.subtract(other));
        let to_name = |name: &'t str| Some(name).filter(|name| *name != UNATTRIBUTED);
        let others = self.other_tenants.iter().map(move |(name, other)| (to_name(name), *other));
        std::iter::once((own, own_totals)).chain(others)
    }

    /// The model with the most tokens; of equal ones the alphabetically first.
    pub fn main_model(&self) -> Option<&str> {
        let largest = self.models.iter().rev().max_by_key(|(_, model)| model.all_tokens());
        largest.map(|(name, _)| name.as_str())
    }

    /// Adds the totals of another run of the same tenant.
    pub fn add(&mut self, other: &Self) {
        self.add_with_names(other, str::to_owned);
        other.other_tenants.iter().for_each(|(name, other)| entry_or_other(&mut self.other_tenants, name).add(other));
    }

    /// As [`RunTotals::add`], without the parts of other tenants, and with names mapped by `map_name`; the counts of
    /// names that become equal are added up.
    pub fn add_with_names(&mut self, other: &Self, map_name: impl Fn(&str) -> String) {
        for (name, model) in &other.models {
            entry_or_other(&mut self.models, &map_name(name)).add(model);
        }
        for (name, tool) in &other.tools {
            entry_or_other(&mut self.tools, &map_name(name)).add(tool);
        }
        for (name, count) in &other.finish_reasons {
            *entry_or_other(&mut self.finish_reasons, &map_name(name)) += count;
        }
        for (name, count) in &other.errors {
            *entry_or_other(&mut self.errors, &map_name(name)) += count;
        }
        for ([reason, provider], count) in &other.troubles {
            self.add_trouble(reason, &map_name(provider), *count);
        }
        for ([reason, provider, from, to], count) in &other.fallbacks {
            self.add_fallback([reason, &map_name(provider), &map_name(from), &map_name(to)], *count);
        }
        for ([tool, source], count) in &other.denials {
            self.add_denial(&map_name(tool), &map_name(source), *count);
        }
        self.failed_calls += other.failed_calls;
        self.retries += other.retries;
        self.iterations += other.iterations;
        self.sub_agents += other.sub_agents;
        self.reads += other.reads;
        self.writes += other.writes;
        self.model_changes += other.model_changes;
        self.work.add(&other.work);
    }

    /// Adds the sum of several calls of a model.
    pub fn add_model(&mut self, model: &str, totals: &ModelTotals) {
        entry_or_other(&mut self.models, model).add(totals);
    }

    pub fn tool(&mut self, name: &str) -> &mut ToolTotals {
        entry_or_other(&mut self.tools, name)
    }

    /// Adds a finish reason; "" is none.
    pub fn add_finish(&mut self, reason: &str) {
        if !reason.is_empty() {
            *entry_or_other(&mut self.finish_reasons, reason) += 1;
        }
    }

    pub fn add_error(&mut self, name: &str) {
        *entry_or_other(&mut self.errors, name) += 1;
    }

    /// Adds model calls that were not answered as asked.
    pub fn add_trouble(&mut self, reason: &str, provider: &str, count: u64) {
        add_counts(&mut self.troubles, [reason, provider], 0, count);
    }

    /// Adds fallbacks: reason, provider, from, to.
    pub fn add_fallback(&mut self, names: [&str; 4], count: u64) {
        add_counts(&mut self.fallbacks, names, 0, count);
    }

    /// Adds denied permissions.
    pub fn add_denial(&mut self, tool: &str, source: &str, count: u64) {
        add_counts(&mut self.denials, [tool, source], 1, count);
    }
}

/// The amounts that the stored form of parts lacks: what plans cover of each, then what caching saved of each, then the
/// work. Older lists end after one of these.
pub(super) fn unstored_amounts<'p>(
    parts: impl Iterator<Item = &'p mut ModelTotals>,
    RunWork { lines, summary }: &'p mut RunWork,
) -> impl Iterator<Item = &'p mut i128> {
    let (covered, saved): (Vec<_>, Vec<_>) =
        parts.map(|part| (&mut part.covered_atto_usd, &mut part.saved_atto_usd)).unzip();
    covered.into_iter().chain(saved).chain(lines).chain(summary)
}

fn name_or_unknown(name: &str) -> &str {
    if name.is_empty() { UNKNOWN } else { name }
}

/// The entry of a name, or of `other` if there are too many.
fn entry_or_other<'m, T: Default>(map: &'m mut BTreeMap<String, T>, name: &str) -> &'m mut T {
    let name = name_or_unknown(name);
    let name = if map.len() < MAX_KINDS || map.contains_key(name) { name } else { OTHER };
    map.entry(name.to_owned()).or_default()
}

/// Adds a count under these names, or if there are too many, under `other` in place of all but the name at `kept`.
fn add_counts<const N: usize>(counts: &mut CountsByNames<N>, names: [&str; N], kept: usize, count: u64) {
    let mut key = names.map(|name| name_or_unknown(name).to_owned());
    if counts.len() >= MAX_KINDS && !counts.contains_key(&key) {
        let others = key.iter_mut().enumerate().filter(|(index, _)| *index != kept);
        others.for_each(|(_, name)| OTHER.clone_into(name));
    }
    *counts.entry(key).or_default() += count;
}

/// All input tokens, including cached ones.
pub fn total_input_tokens(tokens: &CallTokenBuckets) -> u64 {
    let CallTokenBuckets { input, cache_read, cache_write_5m, cache_write_1h, .. } = *tokens;
    [cache_read, cache_write_5m, cache_write_1h].into_iter().fold(input, u64::saturating_add)
}

/// Combines two sets of token counts field by field.
pub fn combine_buckets(
    a: CallTokenBuckets,
    b: CallTokenBuckets,
    combine: impl Fn(u64, u64) -> u64,
) -> CallTokenBuckets {
    CallTokenBuckets {
        input: combine(a.input, b.input),
        cache_read: combine(a.cache_read, b.cache_read),
        cache_write_5m: combine(a.cache_write_5m, b.cache_write_5m),
        cache_write_1h: combine(a.cache_write_1h, b.cache_write_1h),
        output: combine(a.output, b.output),
        reasoning: combine(a.reasoning, b.reasoning),
    }
}
