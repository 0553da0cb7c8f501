//! Stamps the known run on each item, and a run's totals on its root. The state is only read: the batch is added to
//! copies of its groups. Totals that the client set itself are kept. `processors/normalize` removes stamps that
//! clients may not set; `read_quota` limits how much may be read.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use genai::{Facts, VaultedTexts};
use otlp::OwnedValue;
use pipeline::{Batch, Trust};
use runs::StepKind;

use super::aggregation_context::AggregationContext;
use super::group::{ItemGroup, TracePosition};
use super::metrics::usd;
use super::observation::{BatchObservation, ObservedItem, flag, key_kind, mark, trouble};
use super::read_quota::ReadQuota;
use super::resolve::ResolvedRuns;
use super::run::Run;
use super::store::{GroupStore, KeyId, key_ids};

/// Attribute of the run's id.
pub(super) const RUN_ID_ATTRIBUTE: &str = "tollgate.run.id";
const TURN_ATTRIBUTE: &str = "tollgate.run.turn";
const ITERATION_ATTRIBUTE: &str = "tollgate.run.iteration";
/// The attributes to write on one item.
#[derive(Default)]
struct ItemStamp {
    run: Option<String>,
    /// Further attributes, written only if the item lacks them.
    attributes: Vec<(&'static str, OwnedValue)>,
}

/// Copies of the batch's groups.
pub(super) struct GroupCopies {
    store: GroupStore,
    /// No group was left out.
    is_complete: bool,
    context: AggregationContext,
}

/// Whether the state must be read: for totals, for fallbacks, and if a trace's runs may be named on another signal
/// than these items.
pub(super) fn is_state_needed(sight: &BatchObservation, ids: &[KeyId], store: &GroupStore) -> bool {
    let is_end =
        |seen: &ObservedItem| matches!(seen.mark, mark::AGENT | mark::TURN_END) && seen.flags & flag::SPAN != 0;
    if sight.items.iter().any(is_end) || has_possible_fallback(sight, ids, store) {
        return true;
    }
    let named = |id: &KeyId| {
        let group = store.find_key(id).and_then(|(group, _)| store.get(group));
        group.is_some_and(|group| group.named_runs != 0)
    };
    let unnamed = sight.items.iter().any(|seen| seen.run == 0);
    let mut traces = ids.iter().zip(&sight.keys).filter(|(_, key)| key.kind == key_kind::TRACE);
    unnamed && traces.any(|(id, _)| named(id))
}

/// Whether a call of the batch reports trouble or a fallback, or may follow a call that did.
fn has_possible_fallback(sight: &BatchObservation, ids: &[KeyId], store: &GroupStore) -> bool {
    let mut calls = sight.items.iter().filter_map(|seen| seen.call.as_ref()).peekable();
    if calls.peek().is_none() {
        return false;
    }
    let before = || {
        let keys = ids.iter().zip(&sight.keys).filter(|(_, key)| key.kind != key_kind::SESSION);
        let mut groups = keys.filter_map(|(id, _)| store.get(store.find_key(id)?.0));
        groups.any(|group| group.has_trouble)
    };
    calls.any(|call| call.trouble != trouble::NONE || call.fallback != trouble::NONE) || before()
}

/// Copies the parts of the batch's groups that it may read.
pub(super) fn copy_groups(
    sight: &BatchObservation,
    ids: &[KeyId],
    groups: Vec<Arc<ItemGroup>>,
    credit: &ReadQuota,
    terms: &AggregationContext,
) -> GroupCopies {
    let is_root = |seen: &ObservedItem| seen.mark == mark::AGENT && seen.parent == 0 && seen.flags & flag::SPAN != 0;
    let root = sight.items.iter().any(is_root);
    let mut known =
        GroupCopies { store: GroupStore::new(usize::MAX), is_complete: true, context: terms.without_window() };
    for group in groups {
        match credit.readable_part(group, ids, root) {
            Some(part) => {
                known.store.insert(part);
            }
            None => known.is_complete = false,
        }
    }
    known
}

/// Stamps a batch. Texts in `vaulted` are not written: facts were read before these stamps, so the vault step would
/// not recognise content in them.
pub(super) fn stamp_batch(
    batch: &mut Batch,
    facts: &Facts,
    vaulted: &VaultedTexts,
    sight: &BatchObservation,
    known: Option<GroupCopies>,
) {
    let stamps: Vec<ItemStamp> = match known {
        None => sight
            .items
            .iter()
            .map(|seen| ItemStamp { run: named_run_or_trace(sight, seen), attributes: Vec::new() })
            .collect(),
        Some(mut known) => {
            known.store.apply(sight, u64::MAX, &mut |_| {});
            resolve_stamps(sight, &known)
        }
    };
    let keep = batch.origin.trust == Trust::Internal;
    let text = |text: Option<String>| text.filter(|text| !vaulted.contains(text)).map(OwnedValue::Str);
    let payload = &mut batch.payload;
    for (item, stamp) in facts.items.iter().filter(|item| item.agent).zip(stamps) {
        let own = [
            (RUN_ID_ATTRIBUTE, text(stamp.run)),
            (TURN_ATTRIBUTE, text(item.turn.clone())),
            (ITERATION_ATTRIBUTE, item.iteration.map(OwnedValue::Int)),
        ];
        for (key, value) in own {
            if let Some(value) = value.filter(|_| !keep || payload.get(item.node, key).is_none()) {
                payload.set(item.node, key, value);
            }
        }
        for (key, value) in stamp.attributes {
            if payload.get(item.node, key).is_none() {
                payload.set(item.node, key, value);
            }
        }
    }
}

/// The run id that the item itself names, otherwise its trace id.
fn named_run_or_trace(sight: &BatchObservation, seen: &ObservedItem) -> Option<String> {
    let key = if seen.run == 0 { seen.trace } else { seen.run };
    sight.keys.get((key as usize).checked_sub(1)?).map(|key| key.text.to_string())
}

fn resolve_stamps(sight: &BatchObservation, known: &GroupCopies) -> Vec<ItemStamp> {
    let ids = key_ids(sight);
    let places: Vec<Option<(u32, u32)>> = ids.iter().map(|id| known.store.find_key(id)).collect();
    let place = |key: u32| places.get((key as usize).checked_sub(1)?).copied().flatten();
    let local = |key: u32| place(key).map_or(0, |(_, local)| local);
    let mut groups: HashMap<u32, (ResolvedRuns<'_>, FallbackIndex)> = HashMap::new();
    let stamp = |seen: &ObservedItem| {
        let (group, _) = [seen.run, seen.trace, seen.session].into_iter().find_map(place)?;
        if let Entry::Vacant(place) = groups.entry(group) {
            let resolved = ResolvedRuns::resolve(known.store.get(group)?, &known.context);
            let fallbacks = index_fallbacks(&resolved);
            place.insert((resolved, fallbacks));
        }
        let spot =
            TracePosition { is_own_span: seen.flags & flag::SPAN != 0, node: seen.node, trace: local(seen.trace) };
        let (resolved, fallbacks) = groups.get(&group)?;
        let run = resolved.find_run(local(seen.run), &spot, local(seen.session), seen.start)?;
        let over = run.ended && seen.flags & (flag::ENDED | flag::SUB_AGENT) == flag::ENDED;
        let is_end = match seen.mark {
            mark::AGENT => run.is_root(seen.node),
            kind => kind == mark::TURN_END,
        };
        let mut told = if over && is_end && known.is_complete { run_total_attributes(run) } else { Vec::new() };
        let call = seen.call.as_ref().filter(|_| seen.flags & flag::SPAN != 0);
        if let Some(words) = call.and_then(|call| fallbacks.get(&call.key)) {
            told.extend(fallback_attributes(resolved.group, *words));
        }
        Some(ItemStamp { run: Some(run.id_text.clone()), attributes: told })
    };
    let stamps: Vec<Option<ItemStamp>> = sight.items.iter().map(stamp).collect();
    let or_told = |(seen, stamp): (&ObservedItem, Option<ItemStamp>)| {
        stamp.unwrap_or_else(|| ItemStamp { run: named_run_or_trace(sight, seen), ..ItemStamp::default() })
    };
    sight.items.iter().zip(stamps).map(or_told).collect()
}

/// Reason, replaced model and replacing model, by the key of the replacing call.
type FallbackIndex = HashMap<u64, (u8, u16, u16)>;

fn index_fallbacks(resolved: &ResolvedRuns<'_>) -> FallbackIndex {
    let acts = resolved.runs.iter().flat_map(|run| &run.calls).filter(|act| act.kind == StepKind::Model);
    acts.filter_map(|act| act.replaced_model.map(|(reason, from)| (act.key, (reason, from, act.name)))).collect()
}

/// The attributes of a span whose model replaced another one.
fn fallback_attributes(
    group: &ItemGroup,
    (reason, from, to): (u8, u16, u16),
) -> impl Iterator<Item = (&'static str, OwnedValue)> {
    let words = [
        ("tollgate.fallback.reason", trouble::reason_text(reason)),
        ("tollgate.fallback.from", group.name(from)),
        ("tollgate.fallback.to", group.name(to)),
    ];
    words.into_iter().filter(|(_, word)| !word.is_empty()).map(|(key, word)| (key, OwnedValue::Str(word.to_owned())))
}

/// A run's totals under the documented names. The cost is left out if any call has no price.
fn run_total_attributes(run: &Run) -> Vec<(&'static str, OwnedValue)> {
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
