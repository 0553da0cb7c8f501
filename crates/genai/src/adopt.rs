//! **What**: [`adopt`]: items that are an agent's because their trace is known as one from earlier requests
//! (`docs/decisions/0001-agent-items-and-content.md`).
//! **Why**: clients send the spans of one run in many requests, in any order; what is content may not hang on the cut.
//! **Invariants**: the content of adopted items is found anew, that of the others stays as it was read.
//! **Not here**: the memory of traces (who strips content keeps it).

use otlp::{Payload, Signal};

use super::calls::Entry;
use super::content::{Finder, Unlisted};
use super::facts::Facts;
use super::item::Reader;
use super::rest;
use super::vocabulary::Vocabulary;

/// Traces of a payload's agent items, each once, in order.
pub fn agent_traces<'p>(payload: &'p Payload, facts: &Facts) -> Vec<&'p [u8]> {
    let mut traces: Vec<&[u8]> = Vec::new();
    let mut seen = std::collections::HashSet::new();
    for item in facts.items.iter().filter(|item| item.agent) {
        let trace = payload.trace_id(item.node);
        if !trace.is_empty() && seen.insert(trace) {
            traces.push(trace);
        }
    }
    traces
}

/// The facts with items of `known` traces as an agent's, and unlisted text treated as told. None: they are as they were.
pub fn adopt(
    vocabulary: &Vocabulary,
    payload: &Payload,
    facts: &Facts,
    unlisted: Unlisted,
    known: impl Fn(&[u8]) -> bool,
) -> Option<Facts> {
    let anew = unlisted != Unlisted::Text;
    if payload.signal() == Signal::Metrics || (!anew && facts.items.iter().all(|item| item.agent)) {
        return None;
    }
    let mut answers = std::collections::HashMap::new();
    let mut adopted = |trace| *answers.entry(trace).or_insert_with(|| known(trace));
    let mut adopts = |item: &super::ItemFacts| {
        let trace = payload.trace_id(item.node);
        !item.agent && !trace.is_empty() && adopted(trace)
    };
    let again = anew && facts.agent;
    if !again && !facts.items.iter().any(&mut adopts) {
        return None;
    }
    let mut entries: Vec<Entry<'_>> = Vec::with_capacity(facts.items.len());
    for item in &facts.items {
        let mut item = item.clone();
        item.agent |= adopts(&item);
        // Places on resources and scopes are given out again.
        let shared = [payload.resource(item.node), payload.scope(item.node)];
        item.content.retain(|place| !shared.contains(&place.node));
        let dialect = item.dialect.and_then(|name| vocabulary.dialects.iter().find(|dialect| dialect.name == name));
        entries.push(Entry { facts: item, dialect });
    }
    let mut reader = Reader::new(vocabulary, payload);
    let finder = Finder::new(vocabulary, payload, unlisted);
    for entry in entries.iter_mut().filter(|entry| anew && entry.dialect.is_some()) {
        reader.enter(entry.facts.node);
        finder.item(&mut reader, entry.facts.node, entry.dialect, true).give(&mut entry.facts, false);
    }
    rest(&mut reader, &finder, &mut entries);
    let items = entries.into_iter().map(|entry| entry.facts).collect();
    Some(Facts { items, agent: true, late: facts.late.clone() })
}
