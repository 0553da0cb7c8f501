//! Settles the facts that need the whole payload: models inherited from ancestors, roll-ups, turn ends that are the
//! only carrier of tokens, copies beside a call, which items belong to an agent, and whose they are.
//!
//! Linear in the payload, apart from walks to at most 64 ancestors. `known_agents` handles traces known from earlier
//! requests, `layers` the layers around a call.

use foldhash::{HashMap, HashSet};

use otlp::{NodeKind, Payload, Signal};

use super::facts::{ItemFacts, ItemRole};
use super::item_reader::SpanIndex;
use super::layers::{CallTokenCounts, mark_outer_layers};
use super::owners;
use super::vocabulary::Dialect;

/// An item's facts with its dialect.
pub(super) struct ItemWithDialect<'v> {
    pub(super) facts: ItemFacts,
    pub(super) dialect: Option<&'v Dialect>,
}

/// Settles all facts that depend on other items of the payload.
pub(super) fn settle_request_facts(payload: &Payload, entries: &mut [ItemWithDialect<'_>]) {
    let is_call = |entry: &ItemWithDialect<'_>| matches!(entry.facts.call, ItemRole::Model | ItemRole::ModelCopy);
    let (has_calls, passed_parts) = (entries.iter().any(is_call), owners::passed_parts(payload, entries));
    if payload.signal() == Signal::Traces && (has_calls || !passed_parts.is_empty()) {
        let spans = SpanIndex::new(payload, entries.iter().map(|entry| entry.facts.node).collect());
        if has_calls {
            mark_outer_layers(entries, &spans);
            mark_rollups(entries, &spans);
            mark_sibling_copies(payload, entries);
            inherit_models(entries, &spans);
            clear_no_usage(entries, &spans);
        }
        owners::inherit_owners(entries, &spans, &passed_parts);
    }
    settle_turn_ends(payload, entries);
    mark_agent_items(payload, entries);
    owners::complete_owners(payload, entries);
}

/// Marks roll-ups as copies. In a generic (undescribed) dialect every span above one with tokens is a roll-up. A span
/// with an unknown operation is a roll-up too, unless it has more than twice the tokens of the spans below it.
fn mark_rollups(entries: &mut [ItemWithDialect<'_>], spans: &SpanIndex<'_>) {
    let mut is_above_tokens = vec![false; entries.len()];
    let mut sums_below: HashMap<usize, CallTokenCounts> = HashMap::default();
    let has_guesses = entries.iter().any(|entry| entry.facts.guessed);
    for (at, entry) in entries.iter().enumerate() {
        if !entry.facts.usage.is_reported() || spans.payload.kind(entry.facts.node) != NodeKind::Span {
            continue;
        }
        let ancestors = || spans.ancestors(entry.facts.node).filter(|ancestor| *ancestor != at);
        let has_tokens = |at: &usize| entries.get(*at).is_some_and(|entry| entry.facts.usage.is_reported());
        if has_guesses && let Some(above) = ancestors().find(has_tokens) {
            let sum = sums_below.entry(above).or_default();
            *sum = sum.sum_with(&CallTokenCounts::from_facts(&entry.facts));
        }
        for ancestor in ancestors() {
            match is_above_tokens.get_mut(ancestor) {
                // The ancestors of a marked span were marked together with it.
                Some(true) | None => break,
                Some(mark) => *mark = true,
            }
        }
    }
    for (at, (entry, is_above_tokens)) in entries.iter_mut().zip(is_above_tokens).enumerate() {
        let fits_sum = || {
            sums_below.get(&at).is_some_and(|sum| !CallTokenCounts::from_facts(&entry.facts).is_more_than_double(sum))
        };
        let is_rollup =
            entry.dialect.is_some_and(|dialect| dialect.data.leaves_only) || (entry.facts.guessed && fits_sum());
        if is_above_tokens && is_rollup && entry.facts.call == ItemRole::Model {
            entry.facts.call = ItemRole::ModelCopy;
            entry.facts.billable = false;
        }
    }
}

/// Clears `no_usage` on calls without tokens that are above or below a call with tokens. In a chain of calls without
/// tokens only the innermost one keeps the flag.
fn clear_no_usage(entries: &mut [ItemWithDialect<'_>], spans: &SpanIndex<'_>) {
    if !entries.iter().any(|entry| entry.facts.no_usage) {
        return;
    }
    let facts = |at: &usize| entries.get(*at).map(|entry| &entry.facts);
    let is_model =
        |at: &usize| facts(at).is_some_and(|facts| matches!(facts.call, ItemRole::Model | ItemRole::ModelCopy));
    // A call inside a tool or an agent is a separate call.
    let same_call = |at: &usize| facts(at).is_some_and(|facts| !matches!(facts.call, ItemRole::Tool | ItemRole::Agent));
    let has_tokens = |at: &usize| is_model(at) && facts(at).is_some_and(|facts| facts.usage.is_reported());
    let mut cleared = HashSet::default();
    for (at, entry) in entries.iter().enumerate().filter(|(at, _)| is_model(at)) {
        let above = || spans.ancestors(entry.facts.node).take_while(same_call).filter(|above| *above != at);
        if entry.facts.no_usage && above().any(|above| has_tokens(&above)) {
            cleared.insert(at);
        } else if entry.facts.no_usage || has_tokens(&at) {
            cleared.extend(above().filter(|above| facts(above).is_some_and(|facts| facts.no_usage)));
        }
    }
    for at in cleared {
        if let Some(entry) = entries.get_mut(at) {
            entry.facts.no_usage = false;
        }
    }
}

/// Maximum number of SDK calls compared with one call.
const MAX_COMPARED_CALLS: usize = 64;

/// Marks copies beside a call. A vendor's SDK may trace a call next to the instrumentation's span, even in a separate
/// trace. Two spans with the same model and tokens that overlap in time are one call, unless both carry a response id.
/// The instrumentation's span is billed if it has a response id, otherwise the SDK's.
fn mark_sibling_copies(payload: &Payload, entries: &mut [ItemWithDialect<'_>]) {
    type CallSignature<'a> = (Option<&'a str>, Option<u64>, Option<u64>);
    fn call_signature(facts: &ItemFacts) -> CallSignature<'_> {
        (facts.request_model.as_deref(), facts.usage.input, facts.usage.output)
    }
    let calls = || entries.iter().enumerate().filter(|(_, entry)| entry.facts.call == ItemRole::Model);
    let mut sdk_calls: HashMap<CallSignature<'_>, Vec<usize>> = HashMap::default();
    for (at, entry) in calls().filter(|(_, entry)| entry.facts.from_vendor_sdk) {
        sdk_calls.entry(call_signature(&entry.facts)).or_default().push(at);
    }
    if sdk_calls.is_empty() {
        return;
    }
    let overlaps = |one: &ItemFacts, other: &ItemFacts| {
        payload.time(one.node) <= payload.end_time(other.node) && payload.time(other.node) <= payload.end_time(one.node)
    };
    let mut copies = Vec::new();
    for (at, entry) in calls().filter(|(_, entry)| !entry.facts.from_vendor_sdk) {
        let (facts, has_id) = (&entry.facts, entry.facts.response_id.is_some());
        let is_same_call = |other: &usize| {
            let other = entries.get(*other).map(|entry| &entry.facts);
            other.is_some_and(|other| overlaps(facts, other) && !(has_id && other.response_id.is_some()))
        };
        let Some(candidates) = sdk_calls.get_mut(&call_signature(facts)) else { continue };
        // Each SDK call matches at most one instrumentation span.
        if let Some(found) = candidates.iter().take(MAX_COMPARED_CALLS).position(is_same_call) {
            let sdk_call = candidates.swap_remove(found);
            copies.push((if has_id { sdk_call } else { at }, true));
        }
    }
    mark_copies(entries, copies);
}

/// Marks model calls that are billed elsewhere; `true`: they are copies of a single call.
pub(super) fn mark_copies(entries: &mut [ItemWithDialect<'_>], copies: Vec<(usize, bool)>) {
    for (at, is_copy) in copies {
        if let Some(ItemWithDialect { facts, .. }) = entries.get_mut(at) {
            (facts.call, facts.billable, facts.copy) = (ItemRole::ModelCopy, false, is_copy);
        }
    }
}

fn inherit_models(entries: &mut [ItemWithDialect<'_>], spans: &SpanIndex<'_>) {
    for at in 0..entries.len() {
        let Some(entry) = entries.get(at) else { continue };
        let facts = &entry.facts;
        let is_call = matches!(facts.call, ItemRole::Model | ItemRole::ModelCopy);
        let inherits = entry.dialect.is_some_and(|dialect| dialect.data.inherit_model);
        let lacks_model = facts.request_model.is_none() && facts.response_model.is_none();
        if !is_call || !inherits || !(lacks_model || facts.provider.is_none()) {
            continue;
        }
        let (known, node) = (&*entries, facts.node);
        let above = || spans.ancestors(node).filter_map(|at| known.get(at)).map(|entry| &entry.facts);
        let model = above().find_map(|above| above.request_model.clone());
        let provider = above().find_map(|above| above.provider.clone());
        if let Some(entry) = entries.get_mut(at) {
            if lacks_model {
                entry.facts.request_model = model;
            }
            entry.facts.provider = entry.facts.provider.take().or(provider);
        }
    }
}

/// A turn end is billable only if the payload holds no model call of the same trace.
fn settle_turn_ends(payload: &Payload, entries: &mut [ItemWithDialect<'_>]) {
    let is_billable_end = |facts: &ItemFacts| facts.billable && facts.call == ItemRole::TurnEnd;
    if !entries.iter().any(|entry| is_billable_end(&entry.facts)) {
        return;
    }
    let calls = entries.iter().filter(|entry| entry.facts.call == ItemRole::Model);
    let traces: HashSet<&[u8]> = calls.map(|entry| payload.trace_id(entry.facts.node)).collect();
    for entry in entries.iter_mut().filter(|entry| is_billable_end(&entry.facts)) {
        entry.facts.billable = !traces.contains(payload.trace_id(entry.facts.node));
    }
}

/// Marks items in the trace or session of an agent item as agent items too.
fn mark_agent_items(payload: &Payload, entries: &mut [ItemWithDialect<'_>]) {
    let (mut traces, mut sessions) = (HashSet::default(), HashSet::default());
    for entry in entries.iter().filter(|entry| entry.facts.agent) {
        traces.insert(payload.trace_id(entry.facts.node));
        sessions.extend(entry.facts.session.clone());
    }
    traces.remove([].as_slice());
    if traces.is_empty() && sessions.is_empty() {
        return;
    }
    for entry in entries.iter_mut().filter(|entry| !entry.facts.agent) {
        let facts = &mut entry.facts;
        let in_session = facts.session.as_ref().is_some_and(|session| sessions.contains(session));
        facts.agent = in_session || traces.contains(payload.trace_id(facts.node));
    }
}
