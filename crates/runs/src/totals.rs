//! **What**: what a run or a session adds up to: [`Totals`]. **Invariants**: exact: counts are whole, cost is in 1e-18
//! USD; what has no price is counted apart, never as zero; sums are the same in any order; no map tells more than 64
//! kinds apart. **Not here**: what belongs to a run (the crate `tracker`), what can't be added ([`super::Peaks`]).

use std::collections::BTreeMap;

use genai::Buckets;

/// Tools, models or finish reasons that one sum tells apart.
const MAX_KINDS: usize = 64;
/// What the rest is called.
pub const OTHER: &str = "other";
/// What has no name.
pub const UNKNOWN: &str = "unknown";

/// Calls of one tool.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ToolTotals {
    /// Ended well, as far as anyone told.
    pub ok: u64,
    /// Failed.
    pub failed: u64,
    /// Not allowed to run.
    pub denied: u64,
    /// Made again after a failed call of the same tool.
    pub retries: u64,
}

/// Calls of one model or tenant.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ModelTotals {
    /// Calls that were answered.
    pub calls: u64,
    /// Their tokens.
    pub tokens: Buckets,
    /// Their cost, 1e-18 USD, without the unpriced ones.
    pub atto_usd: i128,
    /// Answered calls without a price.
    pub unpriced: u64,
    /// Of these, the calls whose client reported no usage.
    pub no_usage: u64,
}

/// A permission that was denied.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denial {
    /// The tool that may not run.
    pub tool: String,
    /// Who denied it: `config`, `hook`, `user_reject` …; `unknown` where nobody tells.
    pub source: String,
}

/// One model stood in for another.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fallback {
    /// `refusal`, `rate_limited_429`, `overloaded_529` or `other`.
    pub reason: String,
    /// Provider of the model that did not answer.
    pub provider: String,
    /// The model that did not answer.
    pub from: String,
    /// The model that did.
    pub to: String,
}

/// Why model calls were not answered as asked.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trouble {
    /// As [`Fallback::reason`].
    pub reason: String,
    /// Who was asked.
    pub provider: String,
}

/// What a run or session did.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Model calls that were answered: by model.
    pub models: BTreeMap<String, ModelTotals>,
    /// Model calls that failed without an answer.
    pub failed_calls: u64,
    /// Model calls made again after a failure, with the same model.
    pub retries: u64,
    /// Tool calls: by tool.
    pub tools: BTreeMap<String, ToolTotals>,
    /// Iterations of the agent's loop.
    pub iterations: u64,
    /// Agents below the run's own.
    pub sub_agents: u64,
    /// Finish reasons of answered calls and turns, in one spelling each.
    pub finish: BTreeMap<String, u64>,
    /// Failures of model calls, tools and the run itself: by type of error.
    pub errors: BTreeMap<String, u64>,
    /// Model calls that were refused, rate limited, overloaded …
    pub troubles: BTreeMap<Trouble, u64>,
    /// Changes to another model after one that did not answer.
    pub fallbacks: BTreeMap<Fallback, u64>,
    /// Permissions that were denied.
    pub denials: BTreeMap<Denial, u64>,
    /// Tool calls that read.
    pub reads: u64,
    /// Tool calls that change something.
    pub writes: u64,
    /// Answers by another model than was asked for.
    pub swapped: u64,
    /// Of all this, what calls took that name another tenant than the run's: by tenant.
    pub others: BTreeMap<String, ModelTotals>,
}

impl ModelTotals {
    /// Adds other calls.
    pub fn add(&mut self, other: &Self) {
        self.calls += other.calls;
        self.tokens = add(self.tokens, other.tokens);
        self.atto_usd = self.atto_usd.saturating_add(other.atto_usd);
        self.unpriced += other.unpriced;
        self.no_usage += other.no_usage;
    }

    /// Takes calls out.
    pub fn subtract(&mut self, other: &Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.tokens = subtract(self.tokens, other.tokens);
        self.atto_usd = self.atto_usd.saturating_sub(other.atto_usd);
        self.unpriced = self.unpriced.saturating_sub(other.unpriced);
        self.no_usage = self.no_usage.saturating_sub(other.no_usage);
    }
}

impl Totals {
    /// Model calls that were answered.
    pub fn calls(&self) -> u64 {
        self.models.values().map(|model| model.calls).sum()
    }

    /// Tool calls, whatever became of them.
    pub fn tool_calls(&self) -> u64 {
        self.tools.values().map(|tool| tool.ok + tool.failed + tool.denied).sum()
    }

    /// Tool calls that failed.
    pub fn tool_failures(&self) -> u64 {
        self.tools.values().map(|tool| tool.failed).sum()
    }

    /// Tool calls made again after a failure.
    pub fn tool_retries(&self) -> u64 {
        self.tools.values().map(|tool| tool.retries).sum()
    }

    /// Tokens of all models.
    pub fn tokens(&self) -> Buckets {
        self.models.values().fold(Buckets::default(), |sum, model| add(sum, model.tokens))
    }

    /// The size of all prompts: tokens that were read from or written to a cache included.
    pub fn input_tokens(&self) -> u64 {
        input(&self.tokens())
    }

    /// Cost in 1e-18 USD, without unpriced calls.
    pub fn atto_usd(&self) -> i128 {
        self.models.values().fold(0, |sum, model| sum.saturating_add(model.atto_usd))
    }

    /// Answered calls that are not in the cost.
    pub fn unpriced(&self) -> u64 {
        self.models.values().map(|model| model.unpriced).sum()
    }

    /// What each tenant's calls took: that of the run, then the others.
    pub fn by_tenant<'t>(&'t self, own: Option<&'t str>) -> impl Iterator<Item = (Option<&'t str>, ModelTotals)> {
        let mut rest = ModelTotals::default();
        self.models.values().for_each(|model| rest.add(model));
        self.others.values().for_each(|other| rest.subtract(other));
        std::iter::once((own, rest)).chain(self.others.iter().map(|(name, other)| (Some(&**name), *other)))
    }

    /// The model that took the most tokens; of equals the first in the alphabet.
    pub fn main_model(&self) -> Option<&str> {
        let size = |model: &ModelTotals| input(&model.tokens).saturating_add(model.tokens.output);
        let by_size = self.models.iter().rev().max_by_key(|(_, model)| size(model));
        by_size.map(|(name, _)| name.as_str())
    }

    /// Adds what another run of the same tenant did.
    pub fn add(&mut self, other: &Self) {
        self.add_names(other, str::to_owned);
        other.others.iter().for_each(|(name, other)| kind(&mut self.others, name).add(other));
    }

    /// The same but for tenants, with names in the form in which `shown` gives them; names that look the same then are
    /// added up.
    pub fn add_names(&mut self, other: &Self, shown: impl Fn(&str) -> String) {
        for (name, model) in &other.models {
            kind(&mut self.models, &shown(name)).add(model);
        }
        for (name, tool) in &other.tools {
            let sum = kind(&mut self.tools, &shown(name));
            sum.ok += tool.ok;
            sum.failed += tool.failed;
            sum.denied += tool.denied;
            sum.retries += tool.retries;
        }
        for (name, count) in &other.finish {
            *kind(&mut self.finish, &shown(name)) += count;
        }
        for (name, count) in &other.errors {
            *kind(&mut self.errors, &shown(name)) += count;
        }
        for (Trouble { reason, provider }, count) in &other.troubles {
            self.add_trouble(reason, &shown(provider), *count);
        }
        for (Fallback { reason, provider, from, to }, count) in &other.fallbacks {
            self.add_fallback([reason, &shown(provider), &shown(from), &shown(to)], *count);
        }
        for (Denial { tool, source }, count) in &other.denials {
            self.add_denial(&shown(tool), &shown(source), *count);
        }
        self.failed_calls += other.failed_calls;
        self.retries += other.retries;
        self.iterations += other.iterations;
        self.sub_agents += other.sub_agents;
        self.reads += other.reads;
        self.writes += other.writes;
        self.swapped += other.swapped;
    }

    /// One answered call; `price` in 1e-18 USD, none = unpriced.
    pub fn add_call(&mut self, model: &str, tokens: Buckets, price: Option<i128>) {
        self.add_spent(model, tokens, price);
        kind(&mut self.models, model).calls += 1;
    }

    /// Marks one of a model's answered calls as one whose client reported no usage.
    pub fn mark_no_usage(&mut self, model: &str) {
        kind(&mut self.models, model).no_usage += 1;
    }

    /// What a call took that failed all the same; `price` in 1e-18 USD, none = unpriced.
    pub fn add_spent(&mut self, model: &str, tokens: Buckets, price: Option<i128>) {
        let sum = kind(&mut self.models, model);
        sum.tokens = add(sum.tokens, tokens);
        match price {
            Some(atto) => sum.atto_usd = sum.atto_usd.saturating_add(atto),
            None => sum.unpriced += 1,
        }
    }

    /// The sum of one tool.
    pub fn tool(&mut self, name: &str) -> &mut ToolTotals {
        kind(&mut self.tools, name)
    }

    /// One finish reason; "" is none.
    pub fn add_finish(&mut self, reason: &str) {
        if !reason.is_empty() {
            *kind(&mut self.finish, reason) += 1;
        }
    }

    /// One failure.
    pub fn add_error(&mut self, name: &str) {
        *kind(&mut self.errors, name) += 1;
    }

    /// Model calls in trouble.
    pub fn add_trouble(&mut self, reason: &str, provider: &str, count: u64) {
        let [reason, provider] = [reason, provider].map(named);
        let rest = || Trouble { reason: reason.to_owned(), provider: OTHER.to_owned() };
        let key = Trouble { reason: reason.to_owned(), provider: provider.to_owned() };
        *slot(&mut self.troubles, key, rest) += count;
    }

    /// Changes of model: reason, provider, from, to.
    pub fn add_fallback(&mut self, words: [&str; 4], count: u64) {
        let [reason, provider, from, to] = words.map(|word| named(word).to_owned());
        let other = || OTHER.to_owned();
        let rest = || Fallback { reason: reason.clone(), provider: other(), from: other(), to: other() };
        let key = Fallback { reason: reason.clone(), provider, from, to };
        *slot(&mut self.fallbacks, key, rest) += count;
    }

    /// Denied permissions.
    pub fn add_denial(&mut self, tool: &str, source: &str, count: u64) {
        let [tool, source] = [tool, source].map(|word| named(word).to_owned());
        let rest = || Denial { tool: OTHER.to_owned(), source: source.clone() };
        *slot(&mut self.denials, Denial { tool, source: source.clone() }, rest) += count;
    }
}

fn named(name: &str) -> &str {
    if name.is_empty() { UNKNOWN } else { name }
}

/// The entry of a name, of which there are not too many.
fn kind<'m, T: Default>(map: &'m mut BTreeMap<String, T>, name: &str) -> &'m mut T {
    let name = named(name);
    let name = if map.len() < MAX_KINDS || map.contains_key(name) { name } else { OTHER };
    map.entry(name.to_owned()).or_default()
}

/// The entry of a key, or of what the rest is called.
fn slot<K: Ord>(map: &mut BTreeMap<K, u64>, key: K, rest: impl FnOnce() -> K) -> &mut u64 {
    let key = if map.len() < MAX_KINDS || map.contains_key(&key) { key } else { rest() };
    map.entry(key).or_default()
}

/// The input side.
pub fn input(tokens: &Buckets) -> u64 {
    let Buckets { input, cache_read, cache_write_5m, cache_write_1h, .. } = *tokens;
    [cache_read, cache_write_5m, cache_write_1h].into_iter().fold(input, u64::saturating_add)
}

/// Bucket by bucket.
pub fn subtract(a: Buckets, b: Buckets) -> Buckets {
    Buckets {
        input: a.input.saturating_sub(b.input),
        cache_read: a.cache_read.saturating_sub(b.cache_read),
        cache_write_5m: a.cache_write_5m.saturating_sub(b.cache_write_5m),
        cache_write_1h: a.cache_write_1h.saturating_sub(b.cache_write_1h),
        output: a.output.saturating_sub(b.output),
        reasoning: a.reasoning.saturating_sub(b.reasoning),
    }
}

/// Bucket by bucket.
pub fn add(a: Buckets, b: Buckets) -> Buckets {
    Buckets {
        input: a.input.saturating_add(b.input),
        cache_read: a.cache_read.saturating_add(b.cache_read),
        cache_write_5m: a.cache_write_5m.saturating_add(b.cache_write_5m),
        cache_write_1h: a.cache_write_1h.saturating_add(b.cache_write_1h),
        output: a.output.saturating_add(b.output),
        reasoning: a.reasoning.saturating_add(b.reasoning),
    }
}
