//! Decides which records of model calls count. One call may be reported in several layers: by an instrumentation's
//! span, by the vendor SDK's span directly below it, and by log records written in either.
//! Invariants: a call counts once, at its innermost span; a price on an outer span is kept; tokens of failed calls
//! count; calls that were counted earlier do not count again; linear time, except for walks over at most 64 layers.
//! `group` merges records with the same id; `paired_records` pairs a span with a log record without one.

use foldhash::{HashMap, HashMapExt as _, HashSet};

use super::compact_map::CompactMap;
use super::group::{ModelCallRecord, SpanNode};
use super::observation::{flag, price_quality};
use super::paired_records::PairedRecords;
use super::run::{ItemRecord, RunItem};

/// How one item counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum CountDecision {
    /// Not counted: it is no call, or another record reports it.
    NotCounted,
    /// An answered call, with its price if it has one.
    Answered(Option<i128>),
    /// The tokens of a whole turn, with their price if they have one.
    TurnTokens(Option<i128>),
    /// An answered call without token counts.
    NoUsage,
    /// A failed call that consumed no tokens, or whose tokens were counted earlier.
    Failed,
    /// A failed call that consumed tokens, with their price if they have one.
    FailedWithTokens(Option<i128>),
    /// No call, but a change of what earlier ones were charged.
    Change(i128),
}

struct ModelCallLayer<'g> {
    call: &'g ModelCallRecord,
    /// The model call directly above; 0 = none.
    parent_call: u64,
    /// Whether one of the calls below is answered, failed, priced, or without usage.
    answered: bool,
    failed: bool,
    priced: bool,
    no_usage: bool,
    /// The innermost call that takes this span's price: of several the one with the smallest place; 0 = none.
    price_recipient: u64,
}

/// Maximum number of layers that are walked.
const MAX_WALKED_LAYERS: usize = 64;

struct ModelCallLayers<'g> {
    by_place: HashMap<u64, ModelCallLayer<'g>>,
    /// Spans in which log records of answered calls were written.
    spans_with_logs: HashSet<u64>,
}

/// How each item counts, in the order of `items`.
pub(super) fn decide_counts(
    nodes: &CompactMap<SpanNode>,
    items: &[RunItem<'_>],
    pairs: &PairedRecords,
) -> Vec<CountDecision> {
    let layers = ModelCallLayers::build(nodes, items);
    let decide = |(index, item): (usize, &RunItem<'_>)| match item.record {
        ItemRecord::Call(call) => pairs.call(index, call).map_or(CountDecision::NotCounted, |call| layers.decide(call)),
        ItemRecord::Tool(_) | ItemRecord::Mark(_) => CountDecision::NotCounted,
    };
    items.iter().enumerate().map(decide).collect()
}

impl<'g> ModelCallLayers<'g> {
    fn build(nodes: &CompactMap<SpanNode>, items: &[RunItem<'g>]) -> Self {
        let calls = items.iter().filter_map(|item| match item.record {
            ItemRecord::Call(call) if call.position.is_own_span && is_layer(call) => Some((call.position.node, call)),
            _ => None,
        });
        let mut by_place: HashMap<u64, ModelCallLayer<'g>> = HashMap::new();
        for (place, call) in calls {
            let [answered, failed, priced, no_usage] = [false; 4];
            let layer = ModelCallLayer { call, parent_call: 0, answered, failed, priced, no_usage, price_recipient: 0 };
            // One place should hold one call; if there are two, the answered one is kept.
            let chosen = by_place.entry(place).or_insert(layer);
            if !is_answered(chosen.call) && is_answered(call) {
                chosen.call = call;
            }
        }
        let places: Vec<u64> = by_place.keys().copied().collect();
        for place in &places {
            let parent = nodes.get(*place).map_or(0, |node| node.parent);
            if parent != *place && by_place.contains_key(&parent) {
                by_place.entry(*place).and_modify(|layer| layer.parent_call = parent);
            }
        }
        let spans_with_logs = items.iter().filter_map(|item| match item.record {
            ItemRecord::Call(call) if !call.position.is_own_span && is_answered(call) => Some(call.position.node),
            _ => None,
        });
        let mut layers = Self { by_place, spans_with_logs: spans_with_logs.collect() };
        for place in &places {
            layers.propagate_result(*place);
        }
        for place in &places {
            layers.register_price_recipient(*place);
        }
        layers
    }

    /// Records a call's result in all layers above it.
    fn propagate_result(&mut self, place: u64) {
        let Some(layer) = self.by_place.get(&place) else { return };
        let (answered, failed) = (is_answered(layer.call), is_failed(layer.call));
        let priced = has_used_tokens(layer.call) && layer.call.price_quality == price_quality::PRICED;
        let no_usage = is_without_usage(layer.call);
        let mut above = layer.parent_call;
        for _ in 0..MAX_WALKED_LAYERS {
            let Some(layer) = self.by_place.get_mut(&above) else { return };
            layer.answered |= answered;
            layer.failed |= failed;
            layer.priced |= priced;
            layer.no_usage |= no_usage;
            above = layer.parent_call;
        }
    }

    /// Registers an innermost call without a price with the layers above it, which may have one.
    fn register_price_recipient(&mut self, place: u64) {
        let Some(layer) = self.by_place.get(&place).filter(|layer| is_answered(layer.call) && !layer.answered) else {
            return;
        };
        let mut above = layer.parent_call;
        for _ in 0..MAX_WALKED_LAYERS {
            let Some(layer) = self.by_place.get_mut(&above) else { return };
            layer.price_recipient = if layer.price_recipient == 0 { place } else { layer.price_recipient.min(place) };
            above = layer.parent_call;
        }
    }

    fn decide(&self, call: &ModelCallRecord) -> CountDecision {
        if call.price_quality == price_quality::CHANGE {
            return CountDecision::Change(call.atto.amount());
        }
        let layer = self.by_place.get(&call.position.node).filter(|_| is_layer(call));
        let is_decisive = match layer {
            Some(layer) if call.position.is_own_span => {
                let is_innermost = is_answered(call) || !(layer.failed || layer.no_usage);
                let succeeds_after_failures = is_without_usage(call) && !layer.no_usage;
                !layer.answered && (is_innermost || succeeds_after_failures)
            }
            // A log record counts only if its span does not report enough itself.
            Some(layer) => {
                let has_answered_span = layer.answered || is_answered(layer.call);
                !has_answered_span && (is_answered(call) || !(layer.failed || is_failed(layer.call)))
            }
            None => true,
        };
        if is_without_usage(call) {
            let is_alone = !self.spans_with_logs.contains(&call.position.node) && !self.is_below_answered(layer);
            return if is_decisive && is_alone { CountDecision::NoUsage } else { CountDecision::NotCounted };
        }
        if !is_decisive {
            return CountDecision::NotCounted;
        }
        if !is_answered(call) {
            let price = || self.effective_price(call).filter(|_| has_used_tokens(call));
            return match is_failed(call) {
                true => price().map_or(CountDecision::Failed, CountDecision::FailedWithTokens),
                false => CountDecision::NotCounted,
            };
        }
        match self.effective_price(call) {
            None => CountDecision::NotCounted,
            Some(price) if call.flags & flag::TURN_TOKENS != 0 => CountDecision::TurnTokens(price),
            Some(price) => CountDecision::Answered(price),
        }
    }

    /// Whether a call lies below an answered call with token counts.
    fn is_below_answered(&self, layer: Option<&ModelCallLayer<'_>>) -> bool {
        let mut above = layer.map_or(0, |layer| layer.parent_call);
        for _ in 0..MAX_WALKED_LAYERS {
            let Some(layer) = self.by_place.get(&above) else { return false };
            if is_answered(layer.call) {
                return true;
            }
            above = layer.parent_call;
        }
        false
    }

    /// The call's own price, or that of a layer above. `None`: the call was counted earlier; `Some(None)`: it has no
    /// price.
    fn effective_price(&self, call: &ModelCallRecord) -> Option<Option<i128>> {
        if call.price_quality == price_quality::PRICED {
            return Some(Some(call.atto.amount()));
        }
        let mut is_new = call.price_quality != price_quality::NOT_COUNTED;
        let place = call.position.node;
        let mut above =
            self.by_place.get(&place).filter(|_| call.position.is_own_span).map_or(0, |layer| layer.parent_call);
        for _ in 0..MAX_WALKED_LAYERS {
            let Some(layer) = self.by_place.get(&above) else { break };
            if layer.call.price_quality == price_quality::PRICED && is_answered(layer.call) && !layer.priced {
                return Some(Some(if layer.price_recipient == place { layer.call.atto.amount() } else { 0 }));
            }
            is_new |= layer.call.price_quality != price_quality::NOT_COUNTED;
            above = layer.parent_call;
        }
        is_new.then_some(None)
    }
}

/// Whether the record can be a layer of a call; the tokens of a turn and changes of charges can't.
fn is_layer(call: &ModelCallRecord) -> bool {
    call.price_quality != price_quality::CHANGE && call.flags & flag::TURN_TOKENS == 0
}

/// Answered: a record saw the answer, or reports tokens and no failure.
fn is_answered(call: &ModelCallRecord) -> bool {
    call.flags & flag::ANSWERED != 0 || call.flags & (flag::FAILED | flag::USED_TOKENS) == flag::USED_TOKENS
}

/// Failed, and no record saw an answer.
fn is_failed(call: &ModelCallRecord) -> bool {
    call.flags & (flag::FAILED | flag::ANSWERED) == flag::FAILED
}

/// A record reports success without tokens, and no record reports the answer, tokens or a failure.
fn is_without_usage(call: &ModelCallRecord) -> bool {
    call.flags & (flag::NO_USAGE | flag::ANSWERED | flag::USED_TOKENS | flag::FAILED) == flag::NO_USAGE
}

/// It consumed tokens, whether it was answered or failed.
fn has_used_tokens(call: &ModelCallRecord) -> bool {
    call.flags & flag::USED_TOKENS != 0
}
