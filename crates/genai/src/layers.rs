//! Detects the layers of one model call within a payload: an instrumentation's span around a vendor SDK's span, with
//! chains, retry helpers or HTTP spans between them. The innermost layer is billed.
//!
//! Two spans are the same call only if their token counts match ([`CallTokenCounts::matches_inner`]), their models are
//! compatible and they do not carry different response ids. `processors/cost` handles layers of other payloads.

use foldhash::HashMap;
use serde::{Deserialize, Serialize};

use super::facts::{ItemFacts, ItemRole};
use super::item_facts::response_id_kind;
use super::item_reader::SpanIndex;
use super::request_facts::{ItemWithDialect, mark_copies};
use super::usage::{input_forms, split_tokens};

/// Marks outer layers and roll-ups as copies: the calls inside them are billed. A model call above others, with no span
/// with tokens between them, is an outer layer if its counts match one inner call, and a roll-up (a call that reports
/// the sum of others) if they match the sum. Inputs and models are compared because short outputs are often equal.
pub(super) fn mark_outer_layers(entries: &mut [ItemWithDialect<'_>], spans: &SpanIndex<'_>) {
    let mut inner_calls: HashMap<usize, Vec<usize>> = HashMap::default();
    let is_model = |entry: &ItemWithDialect<'_>| entry.facts.call == ItemRole::Model;
    let has_tokens = |at: &usize| entries.get(*at).is_some_and(|entry| entry.facts.usage.is_reported());
    for (at, entry) in entries.iter().enumerate().filter(|(_, entry)| is_model(entry)) {
        // A call inside a tool or an agent is a separate call.
        let same_call = |at: &usize| {
            let call = entries.get(*at).map(|entry| entry.facts.call);
            !matches!(call, None | Some(ItemRole::Tool | ItemRole::Agent))
        };
        let above = spans.ancestors(entry.facts.node).take_while(same_call).find(has_tokens);
        if let Some(above) = above.filter(|above| *above != at && entries.get(*above).is_some_and(is_model)) {
            inner_calls.entry(above).or_default().push(at);
        }
    }
    let mut outer_calls = Vec::new();
    for (at, inner) in inner_calls {
        let Some(outer) = entries.get(at).map(|entry| CallLayer::from_facts(&entry.facts)) else { continue };
        let inner: Vec<CallLayer<'_>> =
            inner.iter().filter_map(|at| Some(CallLayer::from_facts(&entries.get(*at)?.facts))).collect();
        let same = |inner: &&CallLayer<'_>| outer.has_compatible_model(inner) && !outer.is_different_call(inner);
        let is_copy = inner.iter().filter(same).any(|inner| outer.counts.matches_inner(&inner.counts));
        let is_roll_up = || {
            let total = inner.iter().fold(CallTokenCounts::default(), |sum, layer| sum.sum_with(&layer.counts));
            inner.len() > 1
                && inner.iter().any(|inner| outer.has_compatible_model(inner))
                && outer.counts.matches_inner(&total)
        };
        if is_copy || is_roll_up() {
            outer_calls.push((at, is_copy));
        }
    }
    mark_copies(entries, outer_calls);
}

/// One layer's view of a call.
struct CallLayer<'f> {
    counts: CallTokenCounts,
    /// Model of the response, model of the request.
    models: [Option<&'f str>; 2],
    id: Option<&'f str>,
}

impl<'f> CallLayer<'f> {
    fn from_facts(facts: &'f ItemFacts) -> Self {
        Self {
            counts: CallTokenCounts::from_facts(facts),
            models: [&facts.response_model, &facts.request_model].map(|model| model.as_deref().map(model_stem)),
            id: facts.provider_response_id(),
        }
    }

    /// Returns true if both layers carry a response id of the same kind and the ids differ.
    fn is_different_call(&self, other: &Self) -> bool {
        self.id
            .zip(other.id)
            .is_some_and(|(one, other)| one != other && response_id_kind(one) == response_id_kind(other))
    }

    /// Returns true if the models are compatible: one layer reports none, or they have one in common.
    fn has_compatible_model(&self, other: &Self) -> bool {
        let reports_model = |layer: &Self| layer.models.iter().any(Option::is_some);
        let in_other =
            |model: &&str| other.models.iter().flatten().any(|other_model| model.eq_ignore_ascii_case(other_model));
        !reports_model(self) || !reports_model(other) || self.models.iter().flatten().any(in_other)
    }
}

/// The part of a model name that all layers of a call share: without a path, a vendor prefix, and a date or version
/// suffix. Only for telling layers from separate calls, never for prices.
pub fn model_stem(model: &str) -> &str {
    const VENDOR_PREFIXES: &str = "\
        us eu apac global anthropic amazon meta mistral cohere deepseek openai qwen google ai21";
    let model = model.trim();
    let mut stem = model.rsplit('/').next().unwrap_or(model);
    stem = stem.split([':', '@', '[']).next().unwrap_or(stem);
    while let Some((first, rest)) = stem.split_once('.') {
        if !VENDOR_PREFIXES.split(' ').any(|word| first.eq_ignore_ascii_case(word)) {
            break;
        }
        stem = rest;
    }
    while let Some((rest, last)) = stem.rsplit_once('-') {
        let version = last.strip_prefix('v').unwrap_or(last);
        let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        let dropped = digits && (last.starts_with('v') || last.len() > 1);
        if rest.is_empty() || !(dropped || last == "latest") {
            break;
        }
        stem = rest;
    }
    stem
}

/// A call's token counts. Layers may report the input with or without cached tokens, so all forms of it are kept.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CallTokenCounts {
    /// Three forms of the input: the reported count, the total, and the count without cached tokens.
    input: [Option<u64>; 3],
    output: Option<u64>,
}

impl CallTokenCounts {
    /// The counts of an item.
    pub fn from_facts(facts: &ItemFacts) -> Self {
        Self { input: input_forms(facts, split_tokens(facts).ok().as_ref()), output: facts.usage.output }
    }

    /// If the same answer was reported before (`earlier`) with less output: returns the earlier output, and the counts
    /// added since. `None` if it is not the same answer, or did not grow.
    pub fn growth_since(&self, earlier: &Self) -> Option<(u64, Self)> {
        let (before, now) = (earlier.output?, self.output?);
        let same_input = self.input.iter().flatten().any(|input| earlier.input.contains(&Some(*input)));
        (same_input && now > before).then(|| (before, Self { input: [None; 3], output: Some(now - before) }))
    }

    /// The sum of both counts.
    #[must_use]
    pub fn sum_with(&self, more: &Self) -> Self {
        let add = |sum: Option<u64>, more: Option<u64>| match (sum, more) {
            (Some(sum), Some(more)) => Some(sum.saturating_add(more)),
            (sum, more) => sum.or(more),
        };
        let ([a, b, c], [d, e, f]) = (self.input, more.input);
        Self { input: [add(a, d), add(b, e), add(c, f)], output: add(self.output, more.output) }
    }

    /// Returns true if an outer layer with these counts can wrap a call (or calls) with the `inner` counts: the outputs
    /// are equal, and so is one form of the input, if both report an input.
    pub fn matches_inner(&self, inner: &Self) -> bool {
        let reports_input = |counts: &Self| counts.input.iter().any(Option::is_some);
        let input_missing = !reports_input(self) || !reports_input(inner);
        let same_input = self.input.iter().flatten().any(|input| inner.input.contains(&Some(*input)));
        self.output == inner.output && (same_input || (input_missing && self.output.is_some()))
    }

    /// Returns true if these counts have more than twice the input or output of `other`. A roll-up may include calls
    /// that reported nothing, but most calls report their tokens.
    pub fn is_more_than_double(&self, other: &Self) -> bool {
        let max_input = |counts: &Self| counts.input.iter().flatten().copied().max().unwrap_or(0);
        let is_double = |count: u64, other: u64| count > other.saturating_mul(2);
        is_double(max_input(self), max_input(other)) || is_double(self.output.unwrap_or(0), other.output.unwrap_or(0))
    }
}
