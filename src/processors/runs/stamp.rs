//! **What**: writes what is known of an item's run on it, and a run's totals on its root. **Invariants**: the state is
//! read, never changed: the batch is added to copies of its groups; what a client's own totals say stays.
//! **Not here**: removing what clients may not stamp (`processors/normalize`).

use std::collections::HashMap;

use crate::genai::{Facts, ItemFacts, Vaulted};
use crate::otlp::{Node, OwnedValue};
use crate::pipeline::{Batch, Trust};

use super::group::Spot;
use super::meters::usd;
use super::observe::Observed;
use super::resolve::{Resolved, Run};
use super::seen::{Seen, Sight, flag, kind, mark};
use super::store::Store;

/// The run's id.
pub(super) const RUN: &str = "tollgate.run.id";
const TURN: &str = "tollgate.run.turn";
const ITERATION: &str = "tollgate.run.iteration";
/// Groups are looked into up to this many units (about 4 MiB); items of larger ones get what they tell themselves.
const MOST: usize = 100_000;

/// What to write on one node.
struct Stamp {
    node: Node,
    run: Option<String>,
    totals: Vec<(&'static str, OwnedValue)>,
}

/// What is known of the batch's groups.
pub(super) struct Known {
    copy: Store,
    /// No group was left out.
    whole: bool,
}

/// Whether the state has to be asked: for totals, and where runs are named on other signals than these items.
pub(super) fn asks(sight: &Sight, store: &Store) -> bool {
    let is_end = |seen: &Seen| matches!(seen.mark, mark::AGENT | mark::TURN_END) && seen.flags & flag::SPAN != 0;
    if sight.items.iter().any(is_end) {
        return true;
    }
    let named = |key: u32| {
        let group = store.find(sight, key).and_then(|(group, _)| store.get(group));
        group.is_some_and(|group| group.named != 0)
    };
    let unnamed = sight.items.iter().any(|seen| seen.run == 0);
    let traces = (1..).zip(&sight.keys).filter(|(_, key)| key.kind == kind::TRACE);
    unnamed && traces.into_iter().any(|(number, _)| named(number))
}

/// Copies of the batch's groups.
pub(super) fn known(sight: &Sight, store: &Store) -> Known {
    let (copy, whole) = store.copy_for(sight, MOST);
    Known { copy, whole }
}

/// Stamps a batch.
pub(super) fn stamp(batch: &mut Batch, facts: &Facts, observed: &Observed, known: Option<Known>) {
    let sight = &observed.sight;
    let stamps = match known {
        None => plain(observed),
        Some(mut known) => {
            known.copy.apply(sight, u64::MAX);
            resolved(observed, &known)
        }
    };
    let keep = batch.origin.trust == Trust::Internal;
    // Facts were read before these stamps: the vault step would not see content in them.
    let vaulted = Vaulted::of(&batch.payload, facts);
    let text = |text: Option<String>| text.filter(|text| !vaulted.holds(text)).map(OwnedValue::Str);
    let items: HashMap<Node, &ItemFacts> = facts.items.iter().map(|item| (item.node, item)).collect();
    for stamp in stamps {
        let payload = &mut batch.payload;
        let Some(item) = items.get(&stamp.node) else { continue };
        let mut set = |key: &str, value: Option<OwnedValue>| {
            if let Some(value) = value
                && !(keep && payload.get(stamp.node, key).is_some())
            {
                payload.set(stamp.node, key, value);
            }
        };
        set(RUN, text(stamp.run));
        set(TURN, text(item.turn.clone()));
        set(ITERATION, item.iteration.map(OwnedValue::Int));
        for (key, value) in stamp.totals {
            if payload.get(stamp.node, key).is_none() {
                payload.set(stamp.node, key, value);
            }
        }
    }
}

/// What items tell themselves: the run's id, else the trace's.
fn plain(observed: &Observed) -> Vec<Stamp> {
    let sight = &observed.sight;
    let items = sight.items.iter().zip(&observed.nodes);
    items.map(|(seen, node)| Stamp { node: *node, run: told(sight, seen), totals: Vec::new() }).collect()
}

fn told(sight: &Sight, seen: &Seen) -> Option<String> {
    let key = if seen.run == 0 { seen.trace } else { seen.run };
    sight.keys.get((key as usize).checked_sub(1)?).map(|key| key.text.to_string())
}

fn resolved(observed: &Observed, known: &Known) -> Vec<Stamp> {
    let sight = &observed.sight;
    let mut groups: HashMap<u32, Resolved<'_>> = HashMap::new();
    let mut stamps = Vec::with_capacity(sight.items.len());
    for (seen, node) in sight.items.iter().zip(&observed.nodes) {
        let number = |key| known.copy.find(sight, key);
        let any = number(seen.run).or_else(|| number(seen.trace)).or_else(|| number(seen.session));
        let run = any.and_then(|(id, _)| known.copy.get(id).map(|group| (id, group))).and_then(|(id, group)| {
            let resolved = groups.entry(id).or_insert_with(|| Resolved::of(group));
            let local = |key| number(key).map_or(0, |(_, local)| local);
            let spot = Spot { own: seen.flags & flag::SPAN != 0, node: seen.node, trace: local(seen.trace) };
            resolved.run_of(local(seen.run), &spot, local(seen.session), seen.start)
        });
        let ends =
            matches!(seen.mark, mark::AGENT | mark::TURN_END) && seen.flags & (flag::ENDED | flag::SUB) == flag::ENDED;
        let is_root = ends && run.is_some_and(|run| run.ended && (seen.mark != mark::AGENT || run.is_root(seen.node)));
        let totals = run.filter(|_| is_root && known.whole).map(totals).unwrap_or_default();
        let text = run.map(|run| run.text.clone()).or_else(|| told(sight, seen));
        stamps.push(Stamp { node: *node, run: text, totals });
    }
    stamps
}

/// A run's totals under the users' names. A cost that lacks a call's price is no cost.
fn totals(run: &Run) -> Vec<(&'static str, OwnedValue)> {
    let totals = &run.totals;
    let int = |count: u64| OwnedValue::Int(i64::try_from(count).unwrap_or(i64::MAX));
    let mut all = vec![
        ("agent.total_input_tokens", int(totals.input_tokens())),
        ("agent.total_output_tokens", int(totals.tokens().output)),
        ("agent.tool_calls_made", int(totals.tool_calls())),
    ];
    if totals.unpriced() == 0 {
        all.push(("agent.estimated_cost_usd", OwnedValue::Double(usd(totals.atto_usd()))));
    }
    all
}
