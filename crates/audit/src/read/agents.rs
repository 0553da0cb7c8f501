//! [`AgentAssignment`]: assigns each entry of a session to the session's own agent or to a sub-agent, and finds the
//! call that started each sub-agent. A sub-agent's prompt must not be mistaken for a message from the user.
//!
//! A sub-agent is recognised by the client's id for it, by an agent span below a tool call or another agent span, or by
//! a call of an agent-starting tool above the entry. Entries without any of these belong to the session's own agent. A
//! call starts one agent, unless ids or agent spans show several. Neighbours: `entry_links`, `turns`, `call_tree`.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use vault::call_dedup::is_agent_tool;
use vault::document::DocumentItem;

use super::entry_links::{EntryLinks, EntryNode, MAX_CANDIDATES};

/// Index of the session's own agent.
pub(super) const OWN_AGENT: usize = 0;

/// The session's own agent, or a sub-agent. Entries are identified by their positions.
#[derive(Default)]
struct Agent<'e> {
    reported_id: Option<&'e str>,
    name: Option<String>,
    call: Option<usize>,
    span: Option<usize>,
    first_and_last: Option<(usize, usize)>,
}

/// Agents of a session (see the module). Entries are identified by their positions, agents by their indices.
pub(super) struct AgentAssignment<'n, 'e> {
    nodes: &'n [EntryNode<'e>],
    agent_of_entry: Vec<usize>,
    /// For each entry, the nearest agent span: the entry itself or one above it.
    agent_span_of_entry: Vec<Option<usize>>,
    agents: Vec<Agent<'e>>,
    /// Agents by the call that started them, in the order of discovery.
    agents_by_call: BTreeMap<usize, Vec<usize>>,
    /// Facts about the calls that started agents.
    call_facts: HashMap<usize, AgentCallFacts>,
    /// The calls that started agents, by the last entry that reports on them.
    calls_by_last_report: HashMap<usize, usize>,
}

/// Facts about a call that started agents.
struct AgentCallFacts {
    name: Option<String>,
    prompt: Option<String>,
    /// Whether an entry reports a result.
    is_answered: bool,
}

/// Argument keys that hold an agent's prompt.
const PROMPT_KEYS: [&str; 6] = ["prompt", "task", "message", "instructions", "query", "input"];
/// Argument keys that hold an agent's name.
const NAME_KEYS: [&str; 3] = ["subagent_type", "agent_type", "agent"];

impl<'n, 'e> AgentAssignment<'n, 'e> {
    pub(super) fn assign(nodes: &'n [EntryNode<'e>], links: &EntryLinks) -> Self {
        let mut this = Self {
            nodes,
            agent_of_entry: vec![OWN_AGENT; nodes.len()],
            agent_span_of_entry: vec![None; nodes.len()],
            agents: vec![Agent::default()],
            agents_by_call: BTreeMap::new(),
            call_facts: HashMap::new(),
            calls_by_last_report: HashMap::new(),
        };
        let (mut enclosing_spans, mut agents_by_id) = (vec![None; nodes.len()], HashMap::new());
        for at in links.order() {
            let Some(node) = nodes.get(at) else { continue };
            let parent = links.parent(at);
            let enclosing_span = parent.and_then(|parent| match nodes.get(parent) {
                Some(node) if node.is_tool_span() || node.is_agent_span() => Some(parent),
                _ => enclosing_spans.get(parent).copied().flatten(),
            });
            let inherited_span = parent.and_then(|parent| this.agent_span_of_entry.get(parent).copied().flatten());
            let agent_span = if node.is_agent_span() { Some(at) } else { inherited_span };
            let agent = this.find_agent((at, node), parent, enclosing_span, &mut agents_by_id);
            for (list, value) in [(&mut enclosing_spans, enclosing_span), (&mut this.agent_span_of_entry, agent_span)] {
                list.get_mut(at).into_iter().for_each(|place| *place = value);
            }
            this.agent_of_entry.get_mut(at).into_iter().for_each(|place| *place = agent);
        }
        this.finish(links);
        this
    }

    /// The agent of an entry. `enclosing_span` is the nearest tool call or agent span above the entry.
    fn find_agent(
        &mut self,
        (at, node): (usize, &EntryNode<'e>),
        parent: Option<usize>,
        enclosing_span: Option<usize>,
        agents_by_id: &mut HashMap<&'e str, usize>,
    ) -> usize {
        let enclosing_call = enclosing_span
            .and_then(|span| Some((span, self.nodes.get(span)?)))
            .filter(|(_, call)| call.call == "tool" && !node.is_report_on(call));
        let call = enclosing_call.map(|(call, _)| call);
        let starting_call =
            enclosing_call.filter(|(_, call)| call.tool.is_some_and(is_agent_tool)).map(|(call, _)| call);
        let index = match (node.agent, node.is_agent_span() && enclosing_span.is_some(), starting_call) {
            (Some(id), ..) => match agents_by_id.get(id) {
                Some(agent) => *agent,
                None => {
                    let agent = self.find_or_add_agent(starting_call, |agent| agent.reported_id.is_none());
                    agents_by_id.insert(id, agent);
                    self.agents.get_mut(agent).into_iter().for_each(|agent| agent.reported_id = Some(id));
                    agent
                }
            },
            (None, true, _) => self.find_or_add_agent(call, |agent| agent.span.is_none()),
            (None, false, Some(call)) => self.find_or_add_agent(Some(call), |_| true),
            (None, false, None) => return parent.map_or(OWN_AGENT, |parent| self.agent(parent)),
        };
        let call_by_other_agent = call.filter(|call| self.agent(*call) != index);
        let Some(agent) = self.agents.get_mut(index) else { return OWN_AGENT };
        if node.is_agent_span() && agent.span.is_none() {
            agent.span = Some(at);
        }
        if let Some(call) = call_by_other_agent.filter(|_| agent.call.is_none()) {
            agent.call = Some(call);
            self.agents_by_call.entry(call).or_default().push(index);
        }
        index
    }

    /// An agent started by this call for which `matches` holds, or else a new one.
    fn find_or_add_agent(&mut self, call: Option<usize>, matches: impl Fn(&Agent<'_>) -> bool) -> usize {
        let started = call.and_then(|call| self.agents_by_call.get(&call)).into_iter().flatten();
        let found = started.copied().take(MAX_CANDIDATES).find(|agent| self.agents.get(*agent).is_some_and(&matches));
        found.unwrap_or_else(|| {
            self.agents.push(Agent::default());
            self.agents.len() - 1
        })
    }

    /// Computes everything that depends on all agents: their active times, reports on their calls, their names.
    fn finish(&mut self, links: &EntryLinks) {
        self.remove_silent_agents();
        for (at, agent) in self.agent_of_entry.iter().enumerate() {
            let Some(agent) = self.agents.get_mut(*agent) else { continue };
            agent.first_and_last = Some((agent.first_and_last.map_or(at, |(first, _)| first), at));
        }
        self.assign_calls_by_events();
        let reports_by_call = self.collect_reports(links);
        self.calls_by_last_report =
            reports_by_call.iter().filter_map(|(call, reports)| Some((*reports.last()?, *call))).collect();
        self.call_facts = reports_by_call
            .iter()
            .map(|(call, reports)| (*call, AgentCallFacts::collect(self.nodes, reports)))
            .collect();
        self.assign_names();
    }

    /// For each call that started agents, the entries that report on the call, in order of time.
    fn collect_reports(&self, links: &EntryLinks) -> HashMap<usize, Vec<usize>> {
        let mut calls_by_id: HashMap<_, usize> = HashMap::new();
        for call in self.agents_by_call.keys() {
            let Some(node) = self.nodes.get(*call) else { continue };
            calls_by_id.extend(node.call_id().map(|id| (id, *call)));
        }
        let mut reports_by_call: HashMap<usize, Vec<usize>> = HashMap::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let parent = links.parent(at);
            let candidates = [Some(at), parent, node.call_id().and_then(|id| calls_by_id.get(&id).copied())];
            // an entry at another tool's call that names no call itself reports on that tool
            let reported_tool = parent
                .and_then(|parent| self.nodes.get(parent))
                .filter(|parent| parent.is_tool_span() && node.is_report_on(parent));
            let is_report_on_call = |call: &EntryNode<'_>| {
                node.is_report_on(call) && reported_tool.is_none_or(|tool| tool.may_name_same_tool(call))
            };
            let is_reported = |call: &usize| {
                self.agents_by_call.contains_key(call)
                    && (*call == at || self.nodes.get(*call).is_some_and(is_report_on_call))
            };
            if let Some(call) = candidates.into_iter().flatten().find(is_reported) {
                reports_by_call.entry(call).or_default().push(at);
            }
        }
        reports_by_call
    }

    /// Gives the entries of agents that have no id, span, model call or output to their callers: the name of an
    /// agent-starting tool may also be that of an ordinary tool.
    fn remove_silent_agents(&mut self) {
        let mut has_spoken = vec![false; self.agents.len()];
        for (node, agent) in self.nodes.iter().zip(&self.agent_of_entry) {
            let has_output = || node.item().is_some_and(|item| item.content.iter().any(|piece| piece.part == "output"));
            let is_model = node.call.starts_with("model") || (node.call != "tool" && has_output());
            has_spoken.get_mut(*agent).into_iter().for_each(|has_spoken| *has_spoken |= is_model);
        }
        // callers have lower indices than the silent agents that they called
        let mut replacements: Vec<usize> = Vec::with_capacity(self.agents.len());
        for (index, (agent, has_spoken)) in self.agents.iter().zip(has_spoken).enumerate() {
            let is_agent = has_spoken || index == OWN_AGENT || agent.reported_id.is_some() || agent.span.is_some();
            let caller = || replacements.get(self.agent(agent.call?)).copied();
            replacements.push(if is_agent { index } else { caller().unwrap_or(OWN_AGENT) });
        }
        for agent in &mut self.agent_of_entry {
            *agent = replacements.get(*agent).copied().unwrap_or(OWN_AGENT);
        }
    }

    /// For clients that send only events: assigns an agent with an id to the call during which it was active, if there
    /// is exactly one such call.
    fn assign_calls_by_events(&mut self) {
        // when each call of an agent-starting tool began, and the last entry that reports on it, at the call's end
        let mut calls: HashMap<(&str, &str), (String, usize)> = HashMap::new();
        let starters = self.nodes.iter().enumerate().filter(|(_, node)| node.tool.is_some_and(is_agent_tool));
        for (at, node) in starters {
            let Some(id) = node.call_id() else { continue };
            let call = calls.entry(id).or_insert_with(|| (node.begin_time(), at));
            *call = (std::mem::take(&mut call.0).min(node.begin_time()), at);
        }
        if calls.len() > MAX_CANDIDATES {
            return;
        }
        for index in self.sub_agents() {
            let Some(agent) = self.agents.get(index).filter(|agent| agent.call.is_none() && agent.span.is_none())
            else {
                continue;
            };
            let time = |at: usize| self.nodes.get(at).map(|node| node.at);
            let Some((Some(from), Some(until))) = agent.first_and_last.map(|(first, last)| (time(first), time(last)))
            else {
                continue;
            };
            let is_around = |(began, last_report): &&(String, usize)| {
                began.as_str() <= from
                    && time(*last_report).is_some_and(|end| until <= end)
                    && self.agent(*last_report) != index
            };
            let mut found = calls.values().filter(is_around);
            if let (Some((_, call)), None) = (found.next(), found.next()) {
                let call = *call;
                self.agents_by_call.entry(call).or_default().push(index);
                self.agents.get_mut(index).into_iter().for_each(|agent| agent.call = Some(call));
            }
        }
    }

    fn assign_names(&mut self) {
        let own_name = self
            .nodes
            .iter()
            .zip(&self.agent_of_entry)
            .find_map(|(node, agent)| node.actor.filter(|_| *agent == OWN_AGENT));
        let mut names: Vec<Option<String>> = vec![None; self.agents.len()];
        for (at, (node, index)) in self.nodes.iter().zip(&self.agent_of_entry).enumerate() {
            let (Some(agent), Some(name)) = (self.agents.get(*index), names.get_mut(*index)) else { continue };
            let caller_name = agent.call.and_then(|call| self.nodes.get(call)?.actor).or(own_name);
            let names_agent = agent.span == Some(at) || (agent.span.is_none() && node.actor != caller_name);
            if name.is_none() && names_agent {
                *name = node.actor.map(str::to_owned);
            }
        }
        for (index, name) in (0..).zip(names).skip(1) {
            let name = name.or_else(|| self.call_facts(index)?.name.clone());
            if let Some(agent) = self.agents.get_mut(index) {
                let tool = agent.call.and_then(|call| self.nodes.get(call)?.tool);
                agent.name = name.or_else(|| agent.reported_id.or(tool).map(str::to_owned));
            }
        }
    }

    pub(super) fn agent(&self, at: usize) -> usize {
        self.agent_of_entry.get(at).copied().unwrap_or(OWN_AGENT)
    }

    pub(super) fn sub_agents(&self) -> std::ops::Range<usize> {
        1..self.agents.len()
    }

    /// A sub-agent's name; without one its reported id, or the tool that started it.
    pub(super) fn name(&self, agent: usize) -> Option<&str> {
        self.agents.get(agent)?.name.as_deref()
    }

    /// The name of an entry's agent: for the session's own agent, the one on the nearest agent span.
    pub(super) fn entry_agent_name(&self, at: usize) -> Option<&str> {
        let span_actor = || self.nodes.get(self.agent_span_of_entry.get(at).copied().flatten()?)?.actor;
        self.name(self.agent(at)).or_else(span_actor)
    }

    /// The call that started a sub-agent.
    pub(super) fn call(&self, agent: usize) -> Option<usize> {
        self.agents.get(agent)?.call
    }

    /// Whether the agent has a span of its own.
    pub(super) fn has_span(&self, agent: usize) -> bool {
        self.agents.get(agent).is_some_and(|agent| agent.span.is_some())
    }

    pub(super) fn first(&self, agent: usize) -> Option<&EntryNode<'e>> {
        self.nodes.get(self.agents.get(agent)?.first_and_last?.0)
    }

    /// The prompt that the starting call gave the agent, if reported.
    pub(super) fn prompt(&self, agent: usize) -> Option<&str> {
        self.call_facts(agent)?.prompt.as_deref()
    }

    /// Facts about the agent's call; `None` if the call started more than [`MAX_CANDIDATES`] agents.
    fn call_facts(&self, agent: usize) -> Option<&AgentCallFacts> {
        let call = self.call(agent)?;
        let is_within_limit = self.agents_by_call.get(&call).is_some_and(|agents| agents.len() <= MAX_CANDIDATES);
        self.call_facts.get(&call).filter(|_| is_within_limit)
    }

    /// Agents whose starting call has this entry as its last report.
    pub(super) fn agents_ended_at(&self, at: usize) -> impl Iterator<Item = usize> {
        self.calls_by_last_report.get(&at).and_then(|call| self.agents_by_call.get(call)).into_iter().flatten().copied()
    }

    /// For an agent whose call has no reported result: the calling agent, and the end of the call.
    pub(super) fn unanswered_caller(&self, agent: usize) -> Option<(usize, &'e str)> {
        let call = self.call(agent).filter(|call| self.call_facts.get(call).is_none_or(|facts| !facts.is_answered))?;
        Some((self.agent(call), self.nodes.get(call)?.end_time()))
    }

    /// The tool call id of the call that started an agent.
    pub(super) fn call_id(&self, agent: usize) -> Option<&'e str> {
        self.nodes.get(self.call(agent)?)?.tool_call
    }
}

impl AgentCallFacts {
    fn collect(nodes: &[EntryNode<'_>], reports: &[usize]) -> Self {
        let items: Vec<&DocumentItem> = reports.iter().filter_map(|at| nodes.get(*at)?.item()).collect();
        let pieces = |part: &'static str| {
            let content = items.iter().flat_map(|item| &item.content);
            content.filter(move |piece| piece.part == part).map(|piece| &piece.value)
        };
        let arguments: Vec<Value> = pieces("tool_args").filter_map(parse_arguments).collect();
        // keys are in order of preference
        let find_argument = |keys: &[&str]| {
            let find_text = |key: &&str| arguments.iter().find_map(|value| value.get(key)?.as_str());
            keys.iter().find_map(find_text).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let longest_arguments = || {
            let texts = pieces("tool_args").map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            texts.max_by_key(String::len)
        };
        let mut tool_items = items.iter().filter(|item| item.head.call == "tool");
        let is_answered = pieces("tool_result").next().is_some()
            || tool_items.any(|item| item.content.iter().any(|piece| piece.part == "output"));
        let prompt = find_argument(&PROMPT_KEYS).or_else(longest_arguments);
        Self { name: find_argument(&NAME_KEYS), prompt, is_answered }
    }
}

/// Arguments as a JSON object: structure, JSON text, or JSON text after a heading.
fn parse_arguments(value: &Value) -> Option<Value> {
    match value {
        Value::Object(_) => Some(value.clone()),
        Value::String(text) => serde_json::from_str(text.get(text.find('{')?..)?).ok(),
        _ => None,
    }
}
