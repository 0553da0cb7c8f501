//! Settles the facts that need the whole payload: models inherited from ancestors, which items belong to an agent, and
//! whose they are.
//!
//! Linear in the payload, apart from walks to at most 64 ancestors. Whether two items report one call is decided by the
//! crate `calls`.

use foldhash::HashSet;

use otlp::{Payload, Signal};

use super::facts::{ItemFacts, ItemRole};
use super::item_reader::SpanIndex;
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
            inherit_models(entries, &spans);
        }
        owners::inherit_owners(entries, &spans, &passed_parts);
    }
    mark_agent_items(payload, entries);
    owners::complete_owners(payload, entries);
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
