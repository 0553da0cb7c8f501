//! [`known_agents`] marks items as an agent's because their trace is already known from earlier requests, and judges
//! items of known agent services like an agent's (`docs/decisions/0001-agent-items-and-content.md`). Clients send the
//! spans of one run in many requests and in any order, so the decision may not depend on how the spans were batched.
//!
//! Items without a dialect are searched for content again; items with one only if unlisted text is treated differently
//! than in the first reading. The vault step keeps the memory of traces and services.

use std::collections::{HashMap, HashSet};

use otlp::{NodeId, Payload, Signal};

use super::closed_items::ServiceIdentity;
use super::content::{ContentFinder, FoundContent, SharedNodeOwners, UnlistedTextPolicy};
use super::facts::{Facts, ItemFacts};
use super::item_facts;
use super::item_reader::ItemReader;
use super::request_facts::ItemWithDialect;
use super::vocabulary::Vocabulary;

/// Returns the traces of a payload's agent items, without duplicates, in order.
pub fn agent_traces<'p>(payload: &'p Payload, facts: &Facts) -> Vec<&'p [u8]> {
    let mut traces: Vec<&[u8]> = Vec::new();
    let mut seen = HashSet::new();
    for item in facts.items.iter().filter(|item| item.agent) {
        let trace = payload.trace_id(item.node);
        if !trace.is_empty() && seen.insert(trace) {
            traces.push(trace);
        }
    }
    traces
}

/// Maximum number of services reported for one payload.
const MAX_SERVICES: usize = 256;

/// Returns the services whose items of a known dialect make them agent services, without duplicates, in order.
pub fn agent_services<'p>(payload: &'p Payload, facts: &Facts) -> Vec<ServiceIdentity<'p>> {
    let (mut services, mut seen) = (Vec::new(), HashSet::new());
    // An item without a dialect only shares a trace with an agent: its service is one that agents call.
    for item in facts.items.iter().filter(|item| item.agent && item.dialect.is_some()) {
        let resource = payload.resource(item.node);
        if services.len() < MAX_SERVICES && seen.insert(resource) {
            services.extend(
                ServiceIdentity::from_resource(payload, resource).filter(|service| !services.contains(service)),
            );
        }
    }
    services
}

/// Agent traces and services known from earlier requests and from the configuration.
pub struct KnownAgents<'k> {
    /// Returns true for the trace id of an agent.
    pub is_agent_trace: &'k dyn Fn(&[u8]) -> bool,
    /// Returns true for a service of an agent. `None`: the resource identifies no service.
    pub is_agent_service: &'k dyn Fn(Option<&ServiceIdentity<'_>>) -> bool,
}

/// Decides for each item of a payload whether it belongs to an agent's trace or service.
struct AgentMatcher<'k, 'p> {
    payload: &'p Payload,
    known: &'k KnownAgents<'k>,
    /// Whether each trace seen so far is an agent's.
    agent_traces: HashMap<&'p [u8], bool>,
    /// Whether each resource seen so far is that of an agent service.
    resources: HashMap<NodeId, bool>,
    /// Services of the agent items in this payload.
    agent_services: HashSet<ServiceIdentity<'p>>,
}

impl<'k, 'p> AgentMatcher<'k, 'p> {
    fn new(payload: &'p Payload, facts: &Facts, known: &'k KnownAgents<'k>) -> Self {
        let agents = facts.items.iter().filter(|item| item.agent && item.dialect.is_some());
        let resources = agents.map(|item| (payload.resource(item.node), true)).collect();
        let services = agent_services(payload, facts).into_iter().collect();
        Self { payload, known, agent_traces: HashMap::new(), resources, agent_services: services }
    }

    /// Returns whether the item's trace is an agent's, and whether its service is.
    fn match_item(&mut self, item: &ItemFacts) -> (bool, bool) {
        let (payload, known) = (self.payload, self.known);
        let (trace, resource) = (payload.trace_id(item.node), payload.resource(item.node));
        let by_trace =
            !trace.is_empty() && *self.agent_traces.entry(trace).or_insert_with(|| (known.is_agent_trace)(trace));
        let by_service = self.resources.entry(resource);
        let is_known = || {
            let service = ServiceIdentity::from_resource(payload, resource);
            service.is_some_and(|service| self.agent_services.contains(&service))
                || (known.is_agent_service)(service.as_ref())
        };
        (by_trace, *by_service.or_insert_with(is_known))
    }
}

/// Returns new facts in which items of known traces are agent items, items of known services are judged like an
/// agent's, and unlisted text is treated as `unlisted` says. `None` if nothing changes.
pub fn mark_known_agents(
    vocabulary: &Vocabulary,
    payload: &Payload,
    facts: &Facts,
    unlisted: UnlistedTextPolicy,
    known: &KnownAgents<'_>,
) -> Option<Facts> {
    // `read_facts` used the policy `Text`.
    let policy_differs = unlisted != UnlistedTextPolicy::Text;
    if payload.signal() == Signal::Metrics || (!policy_differs && facts.items.iter().all(|item| item.agent)) {
        return None;
    }
    let mut matcher = AgentMatcher::new(payload, facts, known);
    let matches: Vec<(bool, bool)> = facts.items.iter().map(|item| matcher.match_item(item)).collect();
    let finds_agent_items =
        facts.items.iter().zip(&matches).any(|(item, (trace, service))| !item.agent && (*trace || *service));
    let must_search = finds_agent_items || (policy_differs && facts.has_agent_items);
    if !must_search {
        return None;
    }
    let mut entries: Vec<ItemWithDialect<'_>> = Vec::with_capacity(facts.items.len());
    for (item, (trace, service)) in facts.items.iter().zip(matches) {
        let mut item = item.clone();
        item.agent |= trace;
        item.of_agent_service = service;
        // The places on resources and scopes are assigned again by `find_remaining_content`.
        let shared = [payload.resource(item.node), payload.scope(item.node)];
        item.content.retain(|place| !shared.contains(&place.node));
        let dialect = item.dialect.and_then(|name| vocabulary.dialects.iter().find(|dialect| dialect.name == name));
        entries.push(ItemWithDialect { facts: item, dialect });
    }
    let mut reader = ItemReader::new(vocabulary, payload);
    let finder = ContentFinder::new(vocabulary, payload, unlisted);
    for entry in entries.iter_mut().filter(|_| policy_differs) {
        let Some(dialect) = entry.dialect else { continue };
        reader.enter_item(entry.facts.node);
        let tool = item_facts::is_tool(&reader, &entry.facts, dialect);
        finder
            .find_in_item(&mut reader, entry.facts.node, Some(dialect), (true, tool))
            .move_into(&mut entry.facts, false);
    }
    find_remaining_content(&mut reader, &finder, &mut entries);
    let items: Vec<ItemFacts> = entries.into_iter().map(|entry| entry.facts).collect();
    let has_agent_items = items.iter().any(|item| item.agent);
    Some(Facts { items, has_agent_items, late_prices: facts.late_prices.clone() })
}

/// Finds content in items without a dialect, and in resources and scopes.
pub(super) fn find_remaining_content<'v, 'p>(
    reader: &mut ItemReader<'v, 'p>,
    finder: &ContentFinder<'v, 'p>,
    entries: &mut [ItemWithDialect<'v>],
) {
    let payload = reader.payload;
    let mut shared = SharedNodeOwners::default();
    for (at, entry) in entries.iter_mut().enumerate() {
        let (node, agent) = (entry.facts.node, entry.facts.is_judged_as_agent());
        shared.register_item(payload, at, node, agent);
        if entry.dialect.is_none() {
            reader.reenter_item(node);
            finder.find_in_item(reader, node, None, (agent, false)).move_into(&mut entry.facts, false);
        }
    }
    for (node, at, agent) in shared.owners.into_iter().rev() {
        let found: FoundContent = finder.find_in_shared_node(&mut reader.memo, node, agent);
        if let Some(entry) = entries.get_mut(at) {
            found.move_into(&mut entry.facts, true);
        }
    }
}
