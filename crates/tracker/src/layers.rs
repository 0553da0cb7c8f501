//! Decides which records of model calls count. One call may be reported by an instrumentation's span, by the vendor
//! SDK's span directly below it, and by log records written in either.
//! Invariants: a call counts once, at its innermost span; a price on an outer span is kept; tokens of failed calls
//! count; calls that were counted earlier do not count again; linear time, except for walks of at most 64 spans.
//! `group` merges records with the same id; `twins` pairs a span with a log record without one.

use std::collections::{HashMap, HashSet};

use super::group::{Call, Node};
use super::run::{Item, What};
use super::seen::{flag, worth};
use super::table::Table;
use super::twins::Twins;

/// How one item counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// Not counted: it is no call, or another record reports it.
    Nothing,
    /// An answered call, with its price if it has one.
    Answered(Option<i128>),
    /// The tokens of a whole turn, with their price if they have one.
    Turn(Option<i128>),
    /// An answered call without token counts.
    NoUsage,
    /// A failed call; with its price if it consumed tokens anyway.
    Failed(Option<Option<i128>>),
}

/// A span that is a model call.
struct Layer<'g> {
    call: &'g Call,
    /// The model call directly above; 0 = none.
    above: u64,
    /// Whether one of the calls below is answered, failed, priced.
    answered: bool,
    failed: bool,
    priced: bool,
    no_usage: bool,
    /// The innermost call that takes this span's price: the one with the smallest place.
    lends_to: u64,
}

/// Maximum number of layers that are walked.
const DEPTH: usize = 64;

struct Layers<'g> {
    by_place: HashMap<u64, Layer<'g>>,
    /// Spans in which log records of answered calls were written.
    logged: HashSet<u64>,
}

/// How each item counts, in the order of `items`.
pub(super) fn counts(nodes: &Table<Node>, items: &[Item<'_>], twins: &Twins) -> Vec<Counts> {
    let layers = Layers::of(nodes, items);
    let one = |(at, item): (usize, &Item<'_>)| match item.what {
        What::Call(call) => twins.call(at, call).map_or(Counts::Nothing, |call| layers.count(call)),
        What::Tool(_) | What::Mark(_) => Counts::Nothing,
    };
    items.iter().enumerate().map(one).collect()
}

impl<'g> Layers<'g> {
    fn of(nodes: &Table<Node>, items: &[Item<'g>]) -> Self {
        let calls = items.iter().filter_map(|item| match item.what {
            What::Call(call) if call.spot.own => Some((call.spot.node, call)),
            _ => None,
        });
        let mut layers: HashMap<u64, Layer<'g>> = HashMap::new();
        for (place, call) in calls {
            let [answered, failed, priced, no_usage] = [false; 4];
            let layer = Layer { call, above: 0, answered, failed, priced, no_usage, lends_to: 0 };
            // One place should hold one call; if there are two, the answered one is kept.
            let known = layers.entry(place).or_insert(layer);
            if !is_answered(known.call) && is_answered(call) {
                known.call = call;
            }
        }
        let places: Vec<u64> = layers.keys().copied().collect();
        for place in &places {
            let above = nodes.get(*place).map_or(0, |node| node.parent);
            if above != *place && layers.contains_key(&above) {
                layers.entry(*place).and_modify(|layer| layer.above = above);
            }
        }
        let logged = items.iter().filter_map(|item| match item.what {
            What::Call(call) if !call.spot.own && is_answered(call) => Some(call.spot.node),
            _ => None,
        });
        let mut layers = Self { by_place: layers, logged: logged.collect() };
        for place in &places {
            layers.tell(*place);
        }
        for place in &places {
            layers.lend(*place);
        }
        layers
    }

    /// Records a call's result in all layers above it.
    fn tell(&mut self, place: u64) {
        let Some(layer) = self.by_place.get(&place) else { return };
        let (answered, failed) = (is_answered(layer.call), is_failed(layer.call));
        let priced = is_spent(layer.call) && layer.call.worth == worth::PRICED;
        let no_usage = is_without_usage(layer.call);
        let mut above = layer.above;
        for _ in 0..DEPTH {
            let Some(layer) = self.by_place.get_mut(&above) else { return };
            layer.answered |= answered;
            layer.failed |= failed;
            layer.priced |= priced;
            layer.no_usage |= no_usage;
            above = layer.above;
        }
    }

    /// Registers an innermost call without a price with the layers above it, which may have one.
    fn lend(&mut self, place: u64) {
        let Some(layer) = self.by_place.get(&place).filter(|layer| is_answered(layer.call) && !layer.answered) else {
            return;
        };
        let mut above = layer.above;
        for _ in 0..DEPTH {
            let Some(layer) = self.by_place.get_mut(&above) else { return };
            layer.lends_to = if layer.lends_to == 0 { place } else { layer.lends_to.min(place) };
            above = layer.above;
        }
    }

    fn count(&self, call: &Call) -> Counts {
        let layer = self.by_place.get(&call.spot.node);
        let stands = match layer {
            Some(layer) if call.spot.own => {
                let outermost = is_answered(call) || !(layer.failed || layer.no_usage);
                let retried = is_without_usage(call) && !layer.no_usage;
                !layer.answered && (outermost || retried)
            }
            // A log record counts only if its span does not report enough itself.
            Some(layer) => {
                let answered = layer.answered || is_answered(layer.call);
                !answered && (is_answered(call) || !(layer.failed || is_failed(layer.call)))
            }
            None => true,
        };
        if is_without_usage(call) {
            let alone = !self.logged.contains(&call.spot.node) && !self.is_below_answered(layer);
            return if stands && alone { Counts::NoUsage } else { Counts::Nothing };
        }
        if !stands {
            return Counts::Nothing;
        }
        if !is_answered(call) {
            let price = || self.price(call).filter(|_| is_spent(call));
            return if is_failed(call) { Counts::Failed(price()) } else { Counts::Nothing };
        }
        match self.price(call) {
            None => Counts::Nothing,
            Some(price) if call.flags & flag::TURN != 0 => Counts::Turn(price),
            Some(price) => Counts::Answered(price),
        }
    }

    /// Whether a call lies below an answered call with token counts.
    fn is_below_answered(&self, layer: Option<&Layer<'_>>) -> bool {
        let mut above = layer.map_or(0, |layer| layer.above);
        for _ in 0..DEPTH {
            let Some(layer) = self.by_place.get(&above) else { return false };
            if is_answered(layer.call) {
                return true;
            }
            above = layer.above;
        }
        false
    }

    /// The call's own price, or that of a layer above. `None`: the call was counted earlier.
    fn price(&self, call: &Call) -> Option<Option<i128>> {
        if call.worth == worth::PRICED {
            return Some(Some(call.atto.amount()));
        }
        let mut counted = call.worth != worth::NOT_COUNTED;
        let place = call.spot.node;
        let mut above = self.by_place.get(&place).filter(|_| call.spot.own).map_or(0, |layer| layer.above);
        for _ in 0..DEPTH {
            let Some(layer) = self.by_place.get(&above) else { break };
            if layer.call.worth == worth::PRICED && is_answered(layer.call) && !layer.priced {
                return Some(Some(if layer.lends_to == place { layer.call.atto.amount() } else { 0 }));
            }
            counted |= layer.call.worth != worth::NOT_COUNTED;
            above = layer.above;
        }
        counted.then_some(None)
    }
}

/// Answered: a record saw the answer, or reports tokens and no failure.
fn is_answered(call: &Call) -> bool {
    call.flags & flag::REAL != 0 || call.flags & (flag::FAILED | flag::SPENT) == flag::SPENT
}

/// Failed, and no record saw an answer.
fn is_failed(call: &Call) -> bool {
    call.flags & (flag::FAILED | flag::REAL) == flag::FAILED
}

/// Answered, but no record reports its tokens.
fn is_without_usage(call: &Call) -> bool {
    call.flags & (flag::NO_USAGE | flag::REAL | flag::SPENT | flag::FAILED) == flag::NO_USAGE
}

/// It consumed tokens.
fn is_spent(call: &Call) -> bool {
    call.flags & flag::SPENT != 0
}
