//! Settles the facts that need the whole request: models inherited from ancestors, roll-ups, turn ends that are the
//! only carrier of tokens, copies beside a call, and which items belong to an agent.
//!
//! Linear in the request, apart from walks to at most 64 ancestors. Traces known from earlier requests are handled in
//! `known_agents`, layers around a call in `layers`.

use std::collections::{HashMap, HashSet};

use otlp::{NodeId, NodeKind, Payload, Signal};

use super::facts::{ItemFacts, ItemRole};
use super::item_reader::SpanIndex;
use super::layers::{CallTokenCounts, mark_outer_layers};
use super::vocabulary::Dialect;

/// An item's facts with its dialect.
pub(super) struct ItemWithDialect<'v> {
    pub(super) facts: ItemFacts,
    pub(super) dialect: Option<&'v Dialect>,
}

/// Settles all facts that depend on other items of the payload.
pub(super) fn settle_request_facts(payload: &Payload, entries: &mut [ItemWithDialect<'_>]) {
    let call = |entry: &ItemWithDialect<'_>| matches!(entry.facts.call, ItemRole::Model | ItemRole::ModelCopy);
    if payload.signal() == Signal::Traces && entries.iter().any(call) {
        let nodes: Vec<NodeId> = entries.iter().map(|entry| entry.facts.node).collect();
        let spans = SpanIndex::new(payload, nodes.iter().copied());
        mark_outer_layers(payload, entries, &nodes, &spans);
        mark_rollups(payload, entries, &nodes, &spans);
        mark_sibling_copies(payload, entries);
        inherit_models(payload, entries, &nodes, &spans);
        clear_no_usage(payload, entries, &nodes, &spans);
    }
    settle_turn_ends(payload, entries);
    mark_agent_items(payload, entries);
}

/// Marks roll-ups as copies. In a generic (undescribed) dialect every span above one with tokens is a roll-up. A span
/// with an unknown operation is a roll-up too, unless it has more than twice the tokens of the spans below it.
fn mark_rollups(payload: &Payload, entries: &mut [ItemWithDialect<'_>], nodes: &[NodeId], spans: &SpanIndex<'_>) {
    let mut rolled = vec![false; entries.len()];
    let mut below: HashMap<usize, CallTokenCounts> = HashMap::new();
    let guesses = entries.iter().any(|entry| entry.facts.guessed);
    for (at, entry) in entries.iter().enumerate() {
        if !entry.facts.usage.is_reported() || payload.kind(entry.facts.node) != NodeKind::Span {
            continue;
        }
        let ancestors = || spans.ancestors(payload, nodes, entry.facts.node).filter(|ancestor| *ancestor != at);
        let told = |at: &usize| entries.get(*at).is_some_and(|entry| entry.facts.usage.is_reported());
        if guesses && let Some(above) = ancestors().find(told) {
            let sum = below.entry(above).or_default();
            *sum = sum.sum_with(&CallTokenCounts::from_facts(&entry.facts));
        }
        for ancestor in ancestors() {
            match rolled.get_mut(ancestor) {
                // The ancestors of a marked span were marked together with it.
                Some(true) | None => break,
                Some(mark) => *mark = true,
            }
        }
    }
    for (at, (entry, rolled)) in entries.iter_mut().zip(rolled).enumerate() {
        let held =
            || below.get(&at).is_some_and(|sum| !CallTokenCounts::from_facts(&entry.facts).is_more_than_double(sum));
        let leaves_only = entry.dialect.is_some_and(|dialect| dialect.leaves_only) || (entry.facts.guessed && held());
        if rolled && leaves_only && entry.facts.call == ItemRole::Model {
            entry.facts.call = ItemRole::ModelCopy;
            entry.facts.billable = false;
        }
    }
}

/// Clears `no_usage` on calls without tokens that are above or below a call with tokens. In a chain of calls without
/// tokens only the innermost one keeps the flag.
fn clear_no_usage(payload: &Payload, entries: &mut [ItemWithDialect<'_>], nodes: &[NodeId], spans: &SpanIndex<'_>) {
    if !entries.iter().any(|entry| entry.facts.no_usage) {
        return;
    }
    let facts = |at: &usize| entries.get(*at).map(|entry| &entry.facts);
    let model = |at: &usize| facts(at).is_some_and(|facts| matches!(facts.call, ItemRole::Model | ItemRole::ModelCopy));
    // A call inside a tool or an agent is a separate call.
    let inside = |at: &usize| facts(at).is_some_and(|facts| !matches!(facts.call, ItemRole::Tool | ItemRole::Agent));
    let tells = |at: &usize| model(at) && facts(at).is_some_and(|facts| facts.usage.is_reported());
    let mut told = HashSet::new();
    for (at, entry) in entries.iter().enumerate().filter(|(at, _)| model(at)) {
        let above =
            || spans.ancestors(payload, nodes, entry.facts.node).take_while(inside).filter(|above| *above != at);
        if entry.facts.no_usage && above().any(|above| tells(&above)) {
            told.insert(at);
        } else if entry.facts.no_usage || tells(&at) {
            told.extend(above().filter(|above| facts(above).is_some_and(|facts| facts.no_usage)));
        }
    }
    for at in told {
        if let Some(entry) = entries.get_mut(at) {
            entry.facts.no_usage = false;
        }
    }
}

/// Maximum number of SDK calls compared with one call.
const MAX_COMPARED_CALLS: usize = 64;

/// Marks copies beside a call. A vendor's SDK may trace a call next to the instrumentation's span, even in a separate
/// trace. Two spans with the same model and tokens that overlap in time are one call, unless both carry a response id.
/// The span with the response id is billed.
fn mark_sibling_copies(payload: &Payload, entries: &mut [ItemWithDialect<'_>]) {
    type CallSignature<'a> = (Option<&'a str>, Option<u64>, Option<u64>);
    fn call_signature(facts: &ItemFacts) -> CallSignature<'_> {
        (facts.request_model.as_deref(), facts.usage.input, facts.usage.output)
    }
    let calls = || entries.iter().enumerate().filter(|(_, entry)| entry.facts.call == ItemRole::Model);
    let mut inner: HashMap<CallSignature<'_>, Vec<usize>> = HashMap::new();
    for (at, entry) in calls().filter(|(_, entry)| entry.facts.from_vendor_sdk) {
        inner.entry(call_signature(&entry.facts)).or_default().push(at);
    }
    if inner.is_empty() {
        return;
    }
    let meets = |one: &ItemFacts, other: &ItemFacts| {
        payload.time(one.node) <= payload.end_time(other.node) && payload.time(other.node) <= payload.end_time(one.node)
    };
    let mut copies = Vec::new();
    for (at, entry) in calls().filter(|(_, entry)| !entry.facts.from_vendor_sdk) {
        let (facts, known) = (&entry.facts, entry.facts.response_id.is_some());
        let same = |other: &usize| {
            let other = entries.get(*other).map(|entry| &entry.facts);
            other.is_some_and(|other| meets(facts, other) && !(known && other.response_id.is_some()))
        };
        let Some(others) = inner.get_mut(&call_signature(facts)) else { continue };
        // Each SDK call matches at most one instrumentation span.
        if let Some(found) = others.iter().take(MAX_COMPARED_CALLS).position(same) {
            let other = others.swap_remove(found);
            copies.push(if known { other } else { at });
        }
    }
    for at in copies {
        if let Some(entry) = entries.get_mut(at) {
            entry.facts.call = ItemRole::ModelCopy;
            (entry.facts.billable, entry.facts.copy) = (false, true);
        }
    }
}

fn inherit_models(payload: &Payload, entries: &mut [ItemWithDialect<'_>], nodes: &[NodeId], spans: &SpanIndex<'_>) {
    for at in 0..entries.len() {
        let Some(entry) = entries.get(at) else { continue };
        let facts = &entry.facts;
        let call = matches!(facts.call, ItemRole::Model | ItemRole::ModelCopy);
        let inherits = entry.dialect.is_some_and(|dialect| dialect.inherit_model);
        let model = facts.request_model.is_none() && facts.response_model.is_none();
        if !call || !inherits || !(model || facts.provider.is_none()) {
            continue;
        }
        let mut found = (None, None);
        for ancestor in spans.ancestors(payload, nodes, facts.node) {
            let Some(above) = entries.get(ancestor).map(|entry| &entry.facts) else { break };
            found.0 = found.0.or_else(|| above.request_model.clone());
            found.1 = found.1.or_else(|| above.provider.clone());
            if found.0.is_some() && found.1.is_some() {
                break;
            }
        }
        if let Some(entry) = entries.get_mut(at) {
            if model {
                entry.facts.request_model = found.0;
            }
            entry.facts.provider = entry.facts.provider.take().or(found.1);
        }
    }
}

/// A turn end is billable only if the request holds no model call of the same trace.
fn settle_turn_ends(payload: &Payload, entries: &mut [ItemWithDialect<'_>]) {
    let alone = |facts: &ItemFacts| facts.billable && facts.call == ItemRole::TurnEnd;
    if !entries.iter().any(|entry| alone(&entry.facts)) {
        return;
    }
    let calls = entries.iter().filter(|entry| entry.facts.call == ItemRole::Model);
    let traces: HashSet<&[u8]> = calls.map(|entry| payload.trace_id(entry.facts.node)).collect();
    for entry in entries.iter_mut().filter(|entry| alone(&entry.facts)) {
        entry.facts.billable = !traces.contains(payload.trace_id(entry.facts.node));
    }
}

/// Marks items in the trace or session of an agent item as agent items too.
fn mark_agent_items(payload: &Payload, entries: &mut [ItemWithDialect<'_>]) {
    let (mut traces, mut sessions) = (HashSet::new(), HashSet::new());
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
        let session = facts.session.as_ref().is_some_and(|session| sessions.contains(session));
        facts.agent = session || traces.contains(payload.trace_id(facts.node));
    }
}
