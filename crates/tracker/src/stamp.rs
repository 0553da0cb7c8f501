//! Stamps the known run on each item, and a run's totals on its root. The state is only read: the batch is added to
//! copies of its groups. Totals that the client set itself are kept. `processors/normalize` removes stamps that
//! clients may not set; `credit` limits how much may be read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use genai::{Facts, Vaulted};
use otlp::OwnedValue;
use pipeline::{Batch, Trust};
use runs::StepKind;

use super::credit::Credit;
use super::group::{Group, Spot};
use super::meters::usd;
use super::resolve::Resolved;
use super::run::Run;
use super::seen::{Seen, Sight, flag, kind, mark, trouble};
use super::store::{KeyId, Store, key_ids};
use super::terms::Terms;

/// Attribute of the run's id.
pub(super) const RUN: &str = "tollgate.run.id";
const TURN: &str = "tollgate.run.turn";
const ITERATION: &str = "tollgate.run.iteration";
/// The attributes to write on one item.
#[derive(Default)]
struct Stamp {
    run: Option<String>,
    /// Further attributes, written only if the item lacks them.
    told: Vec<(&'static str, OwnedValue)>,
}

/// Copies of the batch's groups.
pub(super) struct Known {
    copy: Store,
    /// No group was left out.
    whole: bool,
    terms: Terms,
}

/// Whether the state must be read: for totals, for fallbacks, and if a trace's runs may be named on another signal
/// than these items.
pub(super) fn asks(sight: &Sight, ids: &[KeyId], store: &Store) -> bool {
    let is_end = |seen: &Seen| matches!(seen.mark, mark::AGENT | mark::TURN_END) && seen.flags & flag::SPAN != 0;
    if sight.items.iter().any(is_end) || may_fall_back(sight, ids, store) {
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

/// Whether a call of the batch reports trouble or a fallback, or may follow a call that did.
fn may_fall_back(sight: &Sight, ids: &[KeyId], store: &Store) -> bool {
    let mut calls = sight.items.iter().filter_map(|seen| seen.call.as_ref()).peekable();
    if calls.peek().is_none() {
        return false;
    }
    let before = || {
        let keys = ids.iter().zip(&sight.keys).filter(|(_, key)| key.kind != kind::SESSION);
        let mut groups = keys.filter_map(|(id, _)| store.get(store.find(id)?.0));
        groups.any(|group| group.troubled)
    };
    calls.any(|call| call.trouble != trouble::NONE || call.fallback != trouble::NONE) || before()
}

/// Copies the parts of the batch's groups that it may read.
pub(super) fn known(sight: &Sight, ids: &[KeyId], groups: Vec<Arc<Group>>, credit: &Credit, terms: &Terms) -> Known {
    let is_root = |seen: &Seen| seen.mark == mark::AGENT && seen.parent == 0 && seen.flags & flag::SPAN != 0;
    let root = sight.items.iter().any(is_root);
    let mut known = Known { copy: Store::new(usize::MAX), whole: true, terms: terms.without_window() };
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

/// Stamps a batch. Texts in `vaulted` are not written: facts were read before these stamps, so the vault step would
/// not recognise content in them.
pub(super) fn stamp(batch: &mut Batch, facts: &Facts, vaulted: &Vaulted, sight: &Sight, known: Option<Known>) {
    let stamps: Vec<Stamp> = match known {
        None => sight.items.iter().map(|seen| Stamp { run: told(sight, seen), told: Vec::new() }).collect(),
        Some(mut known) => {
            known.copy.apply(sight, u64::MAX, &mut |_| {});
            resolved(sight, &known)
        }
    };
    let keep = batch.origin.trust == Trust::Internal;
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
        for (key, value) in stamp.told {
            if payload.get(item.node, key).is_none() {
                payload.set(item.node, key, value);
            }
        }
    }
}

/// The run id that the item itself names, otherwise its trace id.
fn told(sight: &Sight, seen: &Seen) -> Option<String> {
    let key = if seen.run == 0 { seen.trace } else { seen.run };
    sight.keys.get((key as usize).checked_sub(1)?).map(|key| key.text.to_string())
}

fn resolved(sight: &Sight, known: &Known) -> Vec<Stamp> {
    let ids = key_ids(sight);
    let places: Vec<Option<(u32, u32)>> = ids.iter().map(|id| known.copy.find(id)).collect();
    let place = |key: u32| places.get((key as usize).checked_sub(1)?).copied().flatten();
    let local = |key: u32| place(key).map_or(0, |(_, local)| local);
    let mut groups: HashMap<u32, (Resolved<'_>, Fallbacks)> = HashMap::new();
    let stamp = |seen: &Seen| {
        let (group, _) = [seen.run, seen.trace, seen.session].into_iter().find_map(place)?;
        if let Entry::Vacant(place) = groups.entry(group) {
            let resolved = Resolved::of(known.copy.get(group)?, &known.terms);
            let fallbacks = fallbacks(&resolved);
            place.insert((resolved, fallbacks));
        }
        let spot = Spot { own: seen.flags & flag::SPAN != 0, node: seen.node, trace: local(seen.trace) };
        let (resolved, fallbacks) = groups.get(&group)?;
        let run = resolved.run_of(local(seen.run), &spot, local(seen.session), seen.start)?;
        let over = run.ended && seen.flags & (flag::ENDED | flag::SUB) == flag::ENDED;
        let is_end = match seen.mark {
            mark::AGENT => run.is_root(seen.node),
            kind => kind == mark::TURN_END,
        };
        let mut told = if over && is_end && known.whole { totals(run) } else { Vec::new() };
        let call = seen.call.as_ref().filter(|_| seen.flags & flag::SPAN != 0);
        if let Some(words) = call.and_then(|call| fallbacks.get(&call.key)) {
            told.extend(stand_in(resolved.group, *words));
        }
        Some(Stamp { run: Some(run.text.clone()), told })
    };
    let stamps: Vec<Option<Stamp>> = sight.items.iter().map(stamp).collect();
    let or_told = |(seen, stamp): (&Seen, Option<Stamp>)| {
        stamp.unwrap_or_else(|| Stamp { run: told(sight, seen), ..Stamp::default() })
    };
    sight.items.iter().zip(stamps).map(or_told).collect()
}

/// Reason, replaced model and replacing model, by the key of the replacing call.
type Fallbacks = HashMap<u64, (u8, u16, u16)>;

fn fallbacks(resolved: &Resolved<'_>) -> Fallbacks {
    let acts = resolved.runs.iter().flat_map(|run| &run.acts).filter(|act| act.kind == StepKind::Model);
    acts.filter_map(|act| act.stands_in.map(|(reason, from)| (act.key, (reason, from, act.name)))).collect()
}

/// The attributes of a span whose model replaced another one.
fn stand_in(group: &Group, (reason, from, to): (u8, u16, u16)) -> impl Iterator<Item = (&'static str, OwnedValue)> {
    let words = [
        ("tollgate.fallback.reason", trouble::word(reason)),
        ("tollgate.fallback.from", group.name(from)),
        ("tollgate.fallback.to", group.name(to)),
    ];
    words.into_iter().filter(|(_, word)| !word.is_empty()).map(|(key, word)| (key, OwnedValue::Str(word.to_owned())))
}

/// A run's totals under the documented names. The cost is left out if any call has no price.
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
