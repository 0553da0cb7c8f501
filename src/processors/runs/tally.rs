//! **What**: what a run or a session adds up to: [`Totals`]. **Invariants**: exact: counts are whole, cost is in 1e-18 USD;
//! what has no price is counted apart, never as zero; sums are the same in any order.
//! **Not here**: what belongs to a run (`resolve`).

use std::collections::BTreeMap;

use crate::genai::Buckets;

use super::codec::fields;
use super::seen::flag;

/// Tools, models or finish reasons that one sum tells apart.
const MAX_KINDS: usize = 64;
/// What the rest is called.
const OTHER: &str = "other";
/// What has no name.
const UNKNOWN: &str = "unknown";

/// Calls of one tool.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct ToolTotals {
    /// Ended well, as far as anyone told.
    pub ok: u64,
    /// Failed.
    pub failed: u64,
    /// Not allowed to run.
    pub denied: u64,
}

/// Calls of one model.
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
}

/// What a run or session did.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// Model calls that were answered: by model.
    pub models: BTreeMap<String, ModelTotals>,
    /// Model calls that failed without an answer.
    pub failed_calls: u64,
    /// Tool calls: by tool.
    pub tools: BTreeMap<String, ToolTotals>,
    /// Iterations of the agent's loop.
    pub iterations: u64,
    /// Agents below the run's own.
    pub sub_agents: u64,
    /// Finish reasons of answered calls and turns.
    pub finish: BTreeMap<String, u64>,
}

fields!(ToolTotals { ok, failed, denied });
fields!(ModelTotals { calls, tokens, atto_usd, unpriced });
fields!(Totals { models, failed_calls, tools, iterations, sub_agents, finish });

impl Totals {
    /// Model calls that were answered.
    pub fn calls(&self) -> u64 {
        self.models.values().map(|model| model.calls).sum()
    }

    /// Tool calls, whatever became of them.
    pub fn tool_calls(&self) -> u64 {
        self.tools.values().map(|tool| tool.ok + tool.failed + tool.denied).sum()
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

    /// The model that took the most tokens; of equals the first in the alphabet.
    pub fn main_model(&self) -> Option<&str> {
        let size = |model: &ModelTotals| input(&model.tokens).saturating_add(model.tokens.output);
        let by_size = self.models.iter().rev().max_by_key(|(_, model)| size(model));
        by_size.map(|(name, _)| name.as_str())
    }

    /// Adds what another run did.
    pub fn add(&mut self, other: &Self) {
        for (name, model) in &other.models {
            let sum = kind(&mut self.models, name);
            sum.calls += model.calls;
            sum.tokens = add(sum.tokens, model.tokens);
            sum.atto_usd = sum.atto_usd.saturating_add(model.atto_usd);
            sum.unpriced += model.unpriced;
        }
        for (name, tool) in &other.tools {
            let sum = kind(&mut self.tools, name);
            sum.ok += tool.ok;
            sum.failed += tool.failed;
            sum.denied += tool.denied;
        }
        for (name, count) in &other.finish {
            *kind(&mut self.finish, name) += count;
        }
        self.failed_calls += other.failed_calls;
        self.iterations += other.iterations;
        self.sub_agents += other.sub_agents;
    }

    pub(super) fn add_call(&mut self, model: &str, tokens: Buckets, price: Option<i128>) {
        let sum = kind(&mut self.models, model);
        sum.calls += 1;
        sum.tokens = add(sum.tokens, tokens);
        match price {
            Some(atto) => sum.atto_usd = sum.atto_usd.saturating_add(atto),
            None => sum.unpriced += 1,
        }
    }

    pub(super) fn add_tool(&mut self, name: &str, flags: u16) {
        let sum = kind(&mut self.tools, name);
        if flags & flag::DENIED != 0 {
            sum.denied += 1;
        } else if flags & flag::FAILED != 0 {
            sum.failed += 1;
        } else {
            sum.ok += 1;
        }
    }

    pub(super) fn add_finish(&mut self, reason: &str) {
        if !reason.is_empty() {
            *kind(&mut self.finish, reason) += 1;
        }
    }
}

/// The entry of a name, of which there are not too many.
fn kind<'m, T: Default>(map: &'m mut BTreeMap<String, T>, name: &str) -> &'m mut T {
    let name = if name.is_empty() { UNKNOWN } else { name };
    let name = if map.len() < MAX_KINDS || map.contains_key(name) { name } else { OTHER };
    map.entry(name.to_owned()).or_default()
}

/// The input side.
pub(super) fn input(tokens: &Buckets) -> u64 {
    let Buckets { input, cache_read, cache_write_5m, cache_write_1h, .. } = *tokens;
    [cache_read, cache_write_5m, cache_write_1h].into_iter().fold(input, u64::saturating_add)
}

pub(super) fn add(a: Buckets, b: Buckets) -> Buckets {
    Buckets {
        input: a.input.saturating_add(b.input),
        cache_read: a.cache_read.saturating_add(b.cache_read),
        cache_write_5m: a.cache_write_5m.saturating_add(b.cache_write_5m),
        cache_write_1h: a.cache_write_1h.saturating_add(b.cache_write_1h),
        output: a.output.saturating_add(b.output),
        reasoning: a.reasoning.saturating_add(b.reasoning),
    }
}
