//! **What**: writes what is known of an item's run on it, and a run's totals on its root. **Invariants**: the state is
//! read, never changed: the batch is added to copies of its groups; what a client's own totals say stays.
//! **Not here**: removing what clients may not stamp (`processors/normalize`), how much may be looked into (`credit`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::genai::{Facts, Vaulted};
use crate::otlp::OwnedValue;
use crate::pipeline::{Batch, Trust};

use super::credit::Credit;
use super::group::{Group, Spot};
use super::meters::usd;
use super::resolve::{Resolved, Run};
use super::seen::{Seen, Sight, flag, kind, mark};
use super::store::{KeyId, Store, key_ids};

/// The run's id.
pub(super) const RUN: &str = "tollgate.run.id";
const TURN: &str = "tollgate.run.turn";
const ITERATION: &str = "tollgate.run.iteration";
/// What to write on one item.
#[derive(Default)]
struct Stamp {
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
pub(super) fn asks(sight: &Sight, ids: &[KeyId], store: &Store) -> bool {
    let is_end = |seen: &Seen| matches!(seen.mark, mark::AGENT | mark::TURN_END) && seen.flags & flag::SPAN != 0;
    if sight.items.iter().any(is_end) {
        return true;
    }
    let named = |id: &KeyId| {
        let group = store.find(id).and_then(|(group, _)| store.get(group));
        group.is_some_and(|group| group.named != 0)
    };
    let unnamed = sight.items.iter().any(|seen| seen.run == 0);
    let mut traces = ids.iter().zip(&sight.keys).filter(|(_, key)| key.kind == kind::TRACE);
    unnamed && traces.any(|(id, _)| named(id))
}

/// What the batch may look into of its groups.
pub(super) fn known(sight: &Sight, ids: &[KeyId], groups: Vec<Arc<Group>>, credit: &Credit) -> Known {
    let is_root = |seen: &Seen| seen.mark == mark::AGENT && seen.parent == 0 && seen.flags & flag::SPAN != 0;
    let root = sight.items.iter().any(is_root);
    let mut known = Known { copy: Store::new(usize::MAX), whole: true };
    for group in groups {
        match credit.part(group, ids, root) {
            Some(part) => {
                known.copy.insert(part);
            }
            None => known.whole = false,
        }
    }
    known
}

/// Stamps a batch.
pub(super) fn stamp(batch: &mut Batch, facts: &Facts, sight: &Sight, known: Option<Known>) {
    let stamps: Vec<Stamp> = match known {
        None => sight.items.iter().map(|seen| Stamp { run: told(sight, seen), totals: Vec::new() }).collect(),
        Some(mut known) => {
            known.copy.apply(sight, u64::MAX, &mut |_| {});
            resolved(sight, &known)
        }
    };
    let keep = batch.origin.trust == Trust::Internal;
    // Facts were read before these stamps: the vault step would not see content in them.
    let vaulted = Vaulted::of(&batch.payload, facts);
    let text = |text: Option<String>| text.filter(|text| !vaulted.holds(text)).map(OwnedValue::Str);
    let payload = &mut batch.payload;
    for (item, stamp) in facts.items.iter().filter(|item| item.agent).zip(stamps) {
        let own =
            [(RUN, text(stamp.run)), (TURN, text(item.turn.clone())), (ITERATION, item.iteration.map(OwnedValue::Int))];
        for (key, value) in own {
            if let Some(value) = value.filter(|_| !keep || payload.get(item.node, key).is_none()) {
                payload.set(item.node, key, value);
            }
        }
        for (key, value) in stamp.totals {
            if payload.get(item.node, key).is_none() {
                payload.set(item.node, key, value);
            }
        }
    }
}

/// What an item tells itself: the run's id, else the trace's.
fn told(sight: &Sight, seen: &Seen) -> Option<String> {
    let key = if seen.run == 0 { seen.trace } else { seen.run };
    sight.keys.get((key as usize).checked_sub(1)?).map(|key| key.text.to_string())
}

fn resolved(sight: &Sight, known: &Known) -> Vec<Stamp> {
    let ids = key_ids(sight);
    let places: Vec<Option<(u32, u32)>> = ids.iter().map(|id| known.copy.find(id)).collect();
    let place = |key: u32| places.get((key as usize).checked_sub(1)?).copied().flatten();
    let local = |key: u32| place(key).map_or(0, |(_, local)| local);
    let mut groups: HashMap<u32, Resolved<'_>> = HashMap::new();
    let stamp = |seen: &Seen| {
        let (group, _) = [seen.run, seen.trace, seen.session].into_iter().find_map(place)?;
        if let Entry::Vacant(place) = groups.entry(group) {
            place.insert(Resolved::of(known.copy.get(group)?, 0));
        }
        let spot = Spot { own: seen.flags & flag::SPAN != 0, node: seen.node, trace: local(seen.trace) };
        let run = groups.get(&group)?.run_of(local(seen.run), &spot, local(seen.session), seen.start)?;
        let over = run.ended && seen.flags & (flag::ENDED | flag::SUB) == flag::ENDED;
        let is_end = match seen.mark {
            mark::AGENT => run.is_root(seen.node),
            kind => kind == mark::TURN_END,
        };
        let totals = if over && is_end && known.whole { totals(run) } else { Vec::new() };
        Some(Stamp { run: Some(run.text.clone()), totals })
    };
    let stamps: Vec<Option<Stamp>> = sight.items.iter().map(stamp).collect();
    let or_told = |(seen, stamp): (&Seen, Option<Stamp>)| {
        stamp.unwrap_or_else(|| Stamp { run: told(sight, seen), ..Stamp::default() })
    };
    sight.items.iter().zip(stamps).map(or_told).collect()
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
