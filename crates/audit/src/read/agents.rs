//! [`AgentAssignment`]: assigns each entry of a session to the session's own agent or to a sub-agent, and finds the
//! call that started each sub-agent. A sub-agent's prompt must not be mistaken for what the user said to its caller.
//!
//! A sub-agent is recognised by the client's id, by an agent span below others, or by a call of an agent-starting tool
//! above. Entries without any of these belong to the session's own agent. A call starts one agent, unless ids show
//! several. Neighbours: `entry_links` (parents), `turns`, `tree` (display).

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use vault::call_dedup::is_agent_tool;
use vault::document::DocumentItem;

use super::entry_links::{EntryLinks, EntryNode, MAX_CANDIDATES};

/// Index of the session's own agent.
pub(super) const OWN_AGENT: usize = 0;

/// The session's own agent, or a sub-agent.
#[derive(Default)]
struct Agent<'e> {
    /// The id that the client reports for it.
    reported_id: Option<&'e str>,
    name: Option<String>,
    /// The call that started it.
    call: Option<usize>,
    /// The span of the agent itself.
    span: Option<usize>,
    /// Its first and last entry.
    first_and_last: Option<(usize, usize)>,
}

/// Agents of a session (see the module). Entries are identified by their positions.
pub(super) struct AgentAssignment<'n, 'e> {
    nodes: &'n [EntryNode<'e>],
    /// The agent of each entry.
    agent_of_entry: Vec<usize>,
    /// For each entry, the nearest agent span above it, or itself.
    span_of_entry: Vec<Option<usize>>,
    all: Vec<Agent<'e>>,
    /// Agents by the call that started them, in the order of discovery.
    agents_by_call: BTreeMap<usize, Vec<usize>>,
    /// Facts about the calls that started agents.
    call_facts: HashMap<usize, AgentCallFacts>,
    /// These calls, by the last entry that reports on them.
    calls_by_last_report: HashMap<usize, usize>,
}

/// Facts about a call that started agents, collected once for all of them.
struct AgentCallFacts {
    /// Name of the agents.
    name: Option<String>,
    /// The prompt given to the agents.
    prompt: Option<String>,
    /// Whether an entry reports a result.
    is_answered: bool,
}

/// Argument keys that hold an agent's prompt.
const PROMPTS: [&str; 6] = ["prompt", "task", "message", "instructions", "query", "input"];
/// Argument keys that hold an agent's name.
const NAMES: [&str; 3] = ["subagent_type", "agent_type", "agent"];

impl<'n, 'e> AgentAssignment<'n, 'e> {
    pub(super) fn assign(nodes: &'n [EntryNode<'e>], links: &EntryLinks) -> Self {
        let mut this = Self {
            nodes,
            agent_of_entry: vec![OWN_AGENT; nodes.len()],
            span_of_entry: vec![None; nodes.len()],
            all: vec![Agent::default()],
            agents_by_call: BTreeMap::new(),
            call_facts: HashMap::new(),
            calls_by_last_report: HashMap::new(),
        };
        let (mut near, mut by_id) = (vec![None; nodes.len()], HashMap::new());
        for at in links.order() {
            let Some(node) = nodes.get(at) else { continue };
            let up = links.parent(at);
            let above = up.and_then(|up| match nodes.get(up) {
                Some(node) if node.is_span && matches!(node.call, "tool" | "agent") => Some(up),
                _ => near.get(up).copied().flatten(),
            });
            let is_agent = node.is_span && node.call == "agent";
            let span =
                if is_agent { Some(at) } else { up.and_then(|up| this.span_of_entry.get(up).copied().flatten()) };
            let agent = this.find_agent((at, node), up, above, &mut by_id);
            for (list, value) in [(&mut near, above), (&mut this.span_of_entry, span)] {
                list.get_mut(at).into_iter().for_each(|place| *place = value);
            }
            this.agent_of_entry.get_mut(at).into_iter().for_each(|place| *place = agent);
        }
        this.finish(links);
        this
    }

    /// The agent of an entry. `above` is the nearest tool call or agent span above it.
    fn find_agent(
        &mut self,
        (at, node): (usize, &EntryNode<'e>),
        up: Option<usize>,
        above: Option<usize>,
        by_id: &mut HashMap<&'e str, usize>,
    ) -> usize {
        let call = above.and_then(|above| Some((above, self.nodes.get(above)?)));
        let call = call.filter(|(_, call)| call.call == "tool" && !node.is_report_on(call));
        let is_span = node.is_span && node.call == "agent";
        let inherited = up.map_or(OWN_AGENT, |up| self.agent(up));
        let starter = call.filter(|(_, call)| call.tool.is_some_and(is_agent_tool));
        let agent = match (node.agent, is_span && above.is_some(), starter) {
            (Some(id), ..) => match by_id.get(id) {
                Some(known) => *known,
                None => {
                    let nameless = |agent: &Agent<'_>| agent.reported_id.is_none();
                    let agent = self.find_or_add_agent(starter.map(|(call, _)| call), nameless);
                    by_id.insert(id, agent);
                    self.all.get_mut(agent).into_iter().for_each(|agent| agent.reported_id = Some(id));
                    agent
                }
            },
            (None, true, _) => self.find_or_add_agent(call.map(|(call, _)| call), |agent| agent.span.is_none()),
            (None, false, Some((call, _))) => self.find_or_add_agent(Some(call), |_| true),
            (None, false, None) => return inherited,
        };
        let from_outside = call.map(|(call, _)| call).filter(|call| self.agent(*call) != agent);
        let Some(known) = self.all.get_mut(agent) else { return OWN_AGENT };
        if is_span && known.span.is_none() {
            known.span = Some(at);
        }
        if let Some(call) = from_outside.filter(|_| known.call.is_none()) {
            known.call = Some(call);
            self.agents_by_call.entry(call).or_default().push(agent);
        }
        agent
    }

    /// An agent started by this call for which `may` holds, or else a new one.
    fn find_or_add_agent(&mut self, call: Option<usize>, may: impl Fn(&Agent<'_>) -> bool) -> usize {
        let known = call.and_then(|call| self.agents_by_call.get(&call)).into_iter().flatten();
        let found = known.copied().take(MAX_CANDIDATES).find(|agent| self.all.get(*agent).is_some_and(&may));
        found.unwrap_or_else(|| {
            self.all.push(Agent::default());
            self.all.len() - 1
        })
    }

    /// Computes everything that depends on all agents: their active times, reports on their calls, their names.
    fn finish(&mut self, links: &EntryLinks) {
        self.remove_silent_agents();
        for (at, of) in self.agent_of_entry.iter().enumerate() {
            let Some(agent) = self.all.get_mut(*of) else { continue };
            agent.first_and_last = Some((agent.first_and_last.map_or(at, |(first, _)| first), at));
        }
        self.assign_calls_by_events();
        let about = self.collect_reports(links);
        self.calls_by_last_report = about.iter().filter_map(|(call, about)| Some((*about.last()?, *call))).collect();
        self.call_facts =
            about.iter().map(|(call, about)| (*call, AgentCallFacts::collect(self.nodes, about))).collect();
        self.assign_names();
    }

    /// Entries that report on calls that started agents, in order of time.
    fn collect_reports(&self, links: &EntryLinks) -> HashMap<usize, Vec<usize>> {
        let (mut ids, mut about): (HashMap<_, usize>, HashMap<_, Vec<usize>>) = (HashMap::new(), HashMap::new());
        for call in self.agents_by_call.keys() {
            let Some(node) = self.nodes.get(*call) else { continue };
            ids.extend(node.call_id().map(|id| (id, *call)));
        }
        for (at, node) in self.nodes.iter().enumerate() {
            let up = links.parent(at);
            let told = [Some(at), up, node.call_id().and_then(|id| ids.get(&id).copied())];
            // an entry at another tool's call that names no call itself reports on that tool
            let near = up.and_then(|up| self.nodes.get(up)).filter(|up| up.is_tool_span() && node.is_report_on(up));
            let is_it = |call: &usize| {
                let is_of = |call: &EntryNode<'_>| {
                    node.is_report_on(call) && near.is_none_or(|near| near.may_name_same_tool(call))
                };
                let of_call = || self.nodes.get(*call).is_some_and(is_of);
                self.agents_by_call.contains_key(call) && (*call == at || of_call())
            };
            if let Some(call) = told.into_iter().flatten().find(is_it) {
                about.entry(call).or_default().push(at);
            }
        }
        about
    }

    /// Removes agents without a model call or output: other tools may have an agent-starting tool's name too.
    fn remove_silent_agents(&mut self) {
        let mut speaks = vec![false; self.all.len()];
        for (node, of) in self.nodes.iter().zip(&self.agent_of_entry) {
            let said = || node.item().is_some_and(|item| item.content.iter().any(|piece| piece.part == "output"));
            let is_model = node.call.starts_with("model") || (node.call != "tool" && said());
            speaks.get_mut(*of).into_iter().for_each(|speaks| *speaks |= is_model);
        }
        // callers come before the agents that they called
        let mut instead: Vec<usize> = Vec::with_capacity(self.all.len());
        for (agent, (known, speaks)) in self.all.iter().zip(speaks).enumerate() {
            let is_agent = speaks || agent == OWN_AGENT || known.reported_id.is_some() || known.span.is_some();
            let caller = || instead.get(self.agent(known.call?)).copied();
            instead.push(if is_agent { agent } else { caller().unwrap_or(OWN_AGENT) });
        }
        for of in &mut self.agent_of_entry {
            *of = instead.get(*of).copied().unwrap_or(OWN_AGENT);
        }
    }

    /// For clients that send only events: assigns an agent with an id to the call during which it was active, if there
    /// is exactly one such call.
    fn assign_calls_by_events(&mut self) {
        let mut calls: HashMap<(&str, &str), (usize, String)> = HashMap::new();
        let starters = self.nodes.iter().enumerate().filter(|(_, node)| node.tool.is_some_and(is_agent_tool));
        for (at, node) in starters {
            if let Some(call) = node.call_id() {
                let began =
                    calls.remove(&call).map_or_else(|| node.begin_time(), |(_, began)| began.min(node.begin_time()));
                calls.insert(call, (at, began));
            }
        }
        if calls.len() > MAX_CANDIDATES {
            return;
        }
        for agent in self.sub_agents() {
            let Some(known) = self.all.get(agent).filter(|known| known.call.is_none() && known.span.is_none()) else {
                continue;
            };
            let time = |at: usize| self.nodes.get(at).map(|node| node.at);
            let Some((Some(from), Some(until))) = known.first_and_last.map(|(first, last)| (time(first), time(last)))
            else {
                continue;
            };
            let around = |(at, began): &&(usize, String)| {
                began.as_str() <= from && time(*at).is_some_and(|end| until <= end) && self.agent(*at) != agent
            };
            let mut found = calls.values().filter(around);
            if let (Some((call, _)), None) = (found.next(), found.next()) {
                let call = *call;
                self.agents_by_call.entry(call).or_default().push(agent);
                self.all.get_mut(agent).into_iter().for_each(|agent| agent.call = Some(call));
            }
        }
    }

    fn assign_names(&mut self) {
        let own = self
            .nodes
            .iter()
            .zip(&self.agent_of_entry)
            .find_map(|(node, agent)| node.actor.filter(|_| *agent == OWN_AGENT));
        let mut names: Vec<Option<String>> = vec![None; self.all.len()];
        for (at, (node, of)) in self.nodes.iter().zip(&self.agent_of_entry).enumerate() {
            let (Some(agent), Some(name)) = (self.all.get(*of), names.get_mut(*of)) else { continue };
            let caller = agent.call.and_then(|call| self.nodes.get(call)?.actor).or(own);
            let is_its = agent.span == Some(at) || (agent.span.is_none() && node.actor != caller);
            if name.is_none() && is_its {
                *name = node.actor.map(str::to_owned);
            }
        }
        for (agent, name) in (0..).zip(names).skip(1) {
            let name = name.or_else(|| self.call_facts(agent)?.name.clone());
            if let Some(agent) = self.all.get_mut(agent) {
                let call = agent.call.and_then(|call| self.nodes.get(call)?.tool);
                agent.name = name.or_else(|| agent.reported_id.or(call).map(str::to_owned));
            }
        }
    }

    /// The agent of an entry.
    pub(super) fn agent(&self, at: usize) -> usize {
        self.agent_of_entry.get(at).copied().unwrap_or(OWN_AGENT)
    }

    /// Indices of the sub-agents.
    pub(super) fn sub_agents(&self) -> std::ops::Range<usize> {
        1..self.all.len()
    }

    /// A sub-agent's name, or its kind.
    pub(super) fn name(&self, agent: usize) -> Option<&str> {
        self.all.get(agent)?.name.as_deref()
    }

    /// The name of an entry's agent.
    pub(super) fn entry_agent_name(&self, at: usize) -> Option<&str> {
        let of_span = || self.nodes.get(self.span_of_entry.get(at).copied().flatten()?)?.actor;
        self.name(self.agent(at)).or_else(of_span)
    }

    /// The call that started a sub-agent.
    pub(super) fn call(&self, agent: usize) -> Option<usize> {
        self.all.get(agent)?.call
    }

    /// Whether the agent has a span of its own.
    pub(super) fn has_span(&self, agent: usize) -> bool {
        self.all.get(agent).is_some_and(|agent| agent.span.is_some())
    }

    /// The first entry of an agent.
    pub(super) fn first(&self, agent: usize) -> Option<&EntryNode<'e>> {
        self.nodes.get(self.all.get(agent)?.first_and_last?.0)
    }

    /// The prompt that the starting call gave the agent, if reported.
    pub(super) fn prompt(&self, agent: usize) -> Option<&str> {
        self.call_facts(agent)?.prompt.as_deref()
    }

    /// Facts about the agent's call; none if the call started more agents than are considered.
    fn call_facts(&self, agent: usize) -> Option<&AgentCallFacts> {
        let call = self.call(agent)?;
        let few = self.agents_by_call.get(&call).is_some_and(|agents| agents.len() <= MAX_CANDIDATES);
        self.call_facts.get(&call).filter(|_| few)
    }

    /// Agents whose starting call has this entry as its last report.
    pub(super) fn agents_ended_at(&self, at: usize) -> impl Iterator<Item = usize> {
        self.calls_by_last_report.get(&at).and_then(|call| self.agents_by_call.get(call)).into_iter().flatten().copied()
    }

    /// For an agent whose call has no reported result: the calling agent, and the end of the call.
    pub(super) fn unanswered_caller(&self, agent: usize) -> Option<(usize, &'e str)> {
        let call = self.call(agent).filter(|call| self.call_facts.get(call).is_none_or(|told| !told.is_answered))?;
        Some((self.agent(call), self.nodes.get(call)?.end_time()))
    }

    /// The id of the call that started it.
    pub(super) fn call_id(&self, agent: usize) -> Option<&'e str> {
        self.nodes.get(self.call(agent)?)?.tool_call
    }
}

impl AgentCallFacts {
    /// Collects the facts from `about`, the entries that report on the call.
    fn collect(nodes: &[EntryNode<'_>], about: &[usize]) -> Self {
        let items: Vec<&DocumentItem> = about.iter().filter_map(|at| nodes.get(*at)?.item()).collect();
        let pieces = |part: &'static str| {
            let all = items.iter().flat_map(|item| &item.content);
            all.filter(move |piece| piece.part == part).map(|piece| &piece.value)
        };
        let all: Vec<Value> = pieces("tool_args").filter_map(parse_arguments).collect();
        // the first of the keys that any of them has
        let argument = |keys: &[&str]| {
            let of = |key: &&str| all.iter().find_map(|value| value.get(key)?.as_str());
            keys.iter().find_map(of).filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let longest = || {
            let texts = pieces("tool_args").map(|value| match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            });
            texts.max_by_key(String::len)
        };
        let of_tool = items.iter().filter(|item| item.head.call == "tool");
        let is_answered = pieces("tool_result").next().is_some()
            || of_tool.flat_map(|item| &item.content).any(|piece| piece.part == "output");
        Self { name: argument(&NAMES), prompt: argument(&PROMPTS).or_else(longest), is_answered }
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
