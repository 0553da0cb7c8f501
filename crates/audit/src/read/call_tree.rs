//! Shows a session as a tree, as text and as Mermaid: turns, their calls, nested calls, sub-agents, denials. The tree
//! shows an agent's actions without the conversation.
//!
//! Only the index is needed. Each call appears once, even if a span and an event report it, or two spans
//! (`vault::call_dedup`). Denied calls are never left out. If signatures were checked, unsigned entries are shown only
//! on request. Work is linear in the number of entries, whichever parents they report, and nesting is limited to
//! [`MAX_DEPTH`]. Neighbours: `turns` (contexts), `entry_links` (parents), `agents`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, Write};

use serde::Serialize;

use super::agents::{AgentAssignment, OWN_AGENT};
use super::entry_links::{EntryLinks, EntryNode, MAX_CANDIDATES, cut_cycles};
use super::session::ReplayedSession;
use kernel::terminal::escape_unsafe;
use vault::call_dedup::{CallDeduplicator, is_denied};

/// Calls nested more deeply are shown side by side at this depth.
const MAX_DEPTH: usize = 32;

/// A turn: one invocation of the agent.
#[derive(Serialize)]
pub struct SessionTurn {
    /// Number of the turn, from 1.
    pub number: usize,
    /// Start time; null if only calls are known.
    pub start: Option<String>,
    /// Name of the agent.
    pub actor: Option<String>,
    /// Run id, as the index shows it.
    pub run_id: Option<String>,
    pub calls: Vec<CallNode>,
}

/// A call of a model, tool or agent, or a permission request.
#[derive(Default, Serialize)]
pub struct CallNode {
    pub start: String,
    /// Kind: `model`, `tool`, `agent` or `permission`.
    pub call: String,
    /// Name of the model, tool or agent; of a budget's decision, its description.
    pub name: Option<String>,
    /// `ok`, or the error.
    pub status: String,
    /// Outcome of a permission request.
    pub decision: Option<String>,
    pub denied: bool,
    /// Cost in USD, exact decimal.
    pub cost_usd: Option<String>,
    /// Leaf, `writer/epoch/number`; null without an index line.
    pub leaf: Option<String>,
    pub calls: Vec<CallNode>,
}

/// The id that the model's provider gave to the answer.
fn response_id<'e>(node: &EntryNode<'e>) -> Option<&'e str> {
    node.response.or_else(|| node.item()?.head.response_id.as_deref())
}

fn was_denied(node: &EntryNode<'_>) -> bool {
    node.entry.row.as_ref().and_then(|row| row.tail.decision.as_deref()).is_some_and(is_denied)
}

fn is_shown(node: &EntryNode<'_>) -> bool {
    matches!(node.call, "model" | "tool" | "agent" | "permission")
}

impl ReplayedSession {
    pub fn tree(&self) -> Vec<SessionTurn> {
        let nodes: Vec<EntryNode<'_>> = self.counted_entries().map(EntryNode::from_entry).collect();
        let repeats = find_repeats(&nodes);
        let links = EntryLinks::build(&nodes, &repeats);
        let agents = AgentAssignment::assign(&nodes, &links);
        CallForest::build(&nodes, &repeats, &links, &agents).build_turns()
    }

    /// Writes the tree as text.
    pub fn write_tree(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "session {}", escape_unsafe(&self.session))?;
        for erased in &self.erasures {
            writeln!(out, "{}", escape_unsafe(erased))?;
        }
        for turn in self.tree() {
            writeln!(out, "turn {}  {}", turn.number, escape_unsafe(&turn.headline()))?;
            turn.calls.iter().try_for_each(|call| write_branch(call, 1, out))?;
        }
        self.unreadable.iter().try_for_each(|why| writeln!(out, "not read: {}", escape_unsafe(why)))?;
        writeln!(out, "{}", self.total_line())
    }

    /// Writes the tree as a Mermaid flowchart.
    pub fn write_mermaid(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "flowchart LR\n  classDef denied stroke-width:4px,stroke-dasharray:4")?;
        writeln!(out, "  n0[\"session {}\"]", quote_mermaid(&self.session))?;
        let mut next_id = 1;
        for turn in self.tree() {
            let turn_id = next_id;
            next_id += 1;
            writeln!(
                out,
                "  n{turn_id}[\"turn {} {}\"]\n  n0 --> n{turn_id}",
                turn.number,
                quote_mermaid(&turn.headline())
            )?;
            // calls still to be written, each with the id of its parent
            let mut pending: Vec<(usize, &CallNode)> = turn.calls.iter().rev().map(|call| (turn_id, call)).collect();
            while let Some((parent_id, call)) = pending.pop() {
                let class = if call.denied { ":::denied" } else { "" };
                let label = quote_mermaid(&call.describe());
                writeln!(out, "  n{next_id}[\"{label}\"]{class}\n  n{parent_id} --> n{next_id}")?;
                pending.extend(call.calls.iter().rev().map(|nested| (next_id, nested)));
                next_id += 1;
            }
        }
        Ok(())
    }
}

impl SessionTurn {
    fn headline(&self) -> String {
        let start = self.start.as_deref().map(|start| start.get(..19).unwrap_or(start).replace('T', " "));
        [start.as_deref(), self.actor.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("  ")
    }
}

impl CallNode {
    fn describe(&self) -> String {
        let mut words = vec![self.call.clone()];
        words.extend(self.name.clone());
        words.extend(Some(self.status.clone()).filter(|status| status != "ok"));
        words.extend(self.decision.clone());
        words.extend(self.denied.then(|| "DENIED".to_owned()));
        words.extend(self.cost_usd.as_ref().map(|usd| format!("{usd} USD")));
        words.join("  ")
    }
}

fn write_branch(call: &CallNode, depth: usize, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}{}", "  ".repeat(depth), escape_unsafe(&call.describe()))?;
    call.calls.iter().try_for_each(|nested| write_branch(nested, depth + 1, out))
}

/// Escapes a text for a quoted Mermaid label: special characters become entities.
fn quote_mermaid(text: &str) -> String {
    escape_unsafe(text)
        .chars()
        .map(|c| match c {
            '"' | '#' | '<' | '>' | '&' | '`' | ';' | '\\' => format!("#{};", u32::from(c)),
            c => c.to_string(),
        })
        .collect()
}

/// Positions of nodes that repeat a call of another node. Of a model call the node that counts is kept, of a tool call
/// its span. Denied calls are always kept, as is a deferred model call whose other report is missing.
fn find_repeats(nodes: &[EntryNode<'_>]) -> HashSet<usize> {
    let (mut counted_spans, mut counted_responses) = (HashSet::new(), HashSet::new());
    for node in nodes.iter().filter(|node| node.is_model_call()) {
        counted_spans.extend(node.span.filter(|_| node.is_span));
        counted_responses.extend(response_id(node));
    }
    // whether another node of the same model call counts
    let is_counted = |node: &EntryNode<'_>| {
        let has_counted_response = || response_id(node).is_some_and(|response| counted_responses.contains(response));
        node.span.is_some_and(|span| counted_spans.contains(span)) || has_counted_response()
    };
    let mut seen_calls = CallDeduplicator::default();
    let mut repeats = HashSet::new();
    for is_span in [true, false] {
        for (at, node) in nodes.iter().enumerate().filter(|(_, node)| node.is_span == is_span) {
            let is_repeat = match node.call {
                "model" => !node.is_model_call() && (node.cost_status != "deferred" || is_counted(node)),
                _ => !was_denied(node) && node.call == "tool" && !seen_calls.is_new_tool(node),
            };
            if is_repeat {
                repeats.insert(at);
            }
        }
    }
    repeats
}

/// The shown nodes with their parents. Each sub-agent without a span gets a node of its own, whose position is the
/// number of entries plus the agent's index.
struct CallForest<'n, 'e> {
    nodes: &'n [EntryNode<'e>],
    agents: &'n AgentAssignment<'n, 'e>,
    /// Positions of the shown nodes.
    shown: BTreeSet<usize>,
    /// The nearest shown parent, by position.
    parents: Vec<Option<usize>>,
    /// Positions of agents without a caller, in order of time; each is a turn.
    roots: Vec<usize>,
    /// Failed reports of tool calls, by trace and call id, because the span of a tool call may lack the error.
    failures: HashMap<(&'e str, &'e str), Vec<&'n EntryNode<'e>>>,
    /// Number of shown tool calls, by trace and call id.
    call_counts: HashMap<(&'e str, &'e str), usize>,
}

impl<'n, 'e> CallForest<'n, 'e> {
    /// Builds the forest; `repeats` are the positions that [`find_repeats`] found.
    fn build(
        nodes: &'n [EntryNode<'e>],
        repeats: &HashSet<usize>,
        links: &EntryLinks,
        agents: &'n AgentAssignment<'n, 'e>,
    ) -> Self {
        let is_shown_at = |at: usize| !repeats.contains(&at) && nodes.get(at).is_some_and(is_shown);
        let mut shown_parents: Vec<Option<usize>> = vec![None; nodes.len()];
        for at in links.order() {
            let shown_parent = links.parent(at).and_then(|parent| {
                if is_shown_at(parent) { Some(parent) } else { shown_parents.get(parent).copied().flatten() }
            });
            shown_parents.get_mut(at).into_iter().for_each(|place| *place = shown_parent);
        }
        let shown_parent = |at: usize| shown_parents.get(at).copied().flatten();
        let mut parents = vec![None; nodes.len() + agents.sub_agents().end];
        let mut shown: BTreeSet<usize> = (0..nodes.len()).filter(|at| is_shown_at(*at)).collect();
        for at in shown.clone() {
            let agent = agents.agent(at);
            let is_spanless = agent != OWN_AGENT && !agents.has_span(agent);
            let same_agent = shown_parent(at).filter(|parent| !is_spanless || agents.agent(*parent) == agent);
            let parent = same_agent.or_else(|| is_spanless.then_some(nodes.len() + agent));
            shown.extend(parent.filter(|parent| *parent >= nodes.len()));
            parents.get_mut(at).into_iter().for_each(|place| *place = parent);
        }
        for at in shown.range(nodes.len()..) {
            let call = agents.call(at - nodes.len());
            let parent = call.and_then(|call| if is_shown_at(call) { Some(call) } else { shown_parent(call) });
            parents.get_mut(*at).into_iter().for_each(|place| *place = parent);
        }
        // two agents may each report that the other one called it
        cut_cycles(&mut parents);
        let is_root = |at: &usize| {
            let is_agent = nodes.get(*at).is_some_and(|node| node.call == "agent" && node.is_span);
            is_agent && parents.get(*at).is_none_or(Option::is_none)
        };
        let roots = (0..nodes.len()).filter(is_root).collect();
        let is_possible_result = |node: &EntryNode<'_>| node.call == "other" || (node.call == "tool" && !node.is_span);
        let (mut failures, mut call_counts): (HashMap<_, Vec<_>>, HashMap<_, usize>) = (HashMap::new(), HashMap::new());
        for (at, node) in nodes.iter().enumerate() {
            let Some(id) = node.call_id() else { continue };
            if node.status != "ok" && is_possible_result(node) {
                let same_call = failures.entry(id).or_default();
                same_call.extend(Some(node).filter(|_| same_call.len() < MAX_CANDIDATES));
            }
            if node.call == "tool" && is_shown_at(at) {
                *call_counts.entry(id).or_default() += 1;
            }
        }
        Self { nodes, agents, shown, parents, roots, failures, call_counts }
    }

    fn build_turns(&self) -> Vec<SessionTurn> {
        let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut before_first_turn = Vec::new();
        let roots: HashSet<usize> = self.roots.iter().copied().collect();
        for at in self.shown.iter().filter(|at| !roots.contains(at)) {
            let parent = self.parents.get(*at).copied().flatten();
            // an entry without a parent belongs to the turn that was active
            let active_turn = || {
                self.roots.get(self.roots.partition_point(|root| self.time(*root) <= self.time(*at)).checked_sub(1)?)
            };
            match parent.or_else(|| active_turn().copied()) {
                Some(parent) => children.entry(parent).or_default().push(*at),
                None => before_first_turn.push(*at),
            }
        }
        for calls in children.values_mut().chain([&mut before_first_turn]) {
            calls.sort_by_key(|at| (self.time(*at), *at));
        }
        let mut turns = Vec::new();
        if !before_first_turn.is_empty() {
            let calls = before_first_turn.iter().filter_map(|at| self.build_call(*at, &children, 0)).collect();
            turns.push(SessionTurn { number: 0, start: None, actor: None, run_id: None, calls });
        }
        for root in &self.roots {
            let Some(node) = self.nodes.get(*root) else { continue };
            let tail = node.entry.row.as_ref().map(|row| &row.tail);
            turns.push(SessionTurn {
                number: 0,
                start: Some(node.at.to_owned()),
                actor: tail.and_then(|tail| tail.actor.clone()),
                run_id: tail.and_then(|tail| tail.run_id.clone()),
                calls: self.build_calls(*root, &children, 0),
            });
        }
        (1..).zip(&mut turns).for_each(|(number, turn)| turn.number = number);
        turns
    }

    fn time(&self, at: usize) -> &str {
        let agent_start = || self.agents.first(at.checked_sub(self.nodes.len())?).map(|node| node.at);
        self.nodes.get(at).map(|node| node.at).or_else(agent_start).unwrap_or_default()
    }

    fn build_calls(&self, at: usize, children: &BTreeMap<usize, Vec<usize>>, depth: usize) -> Vec<CallNode> {
        let calls = children.get(&at).map(Vec::as_slice).unwrap_or_default();
        if depth < MAX_DEPTH {
            return calls.iter().filter_map(|at| self.build_call(*at, children, depth + 1)).collect();
        }
        // all deeper calls, side by side
        let (mut out, mut pending) = (Vec::new(), calls.iter().rev().copied().collect::<Vec<_>>());
        while let Some(at) = pending.pop() {
            out.extend(self.build_call(at, &BTreeMap::new(), depth));
            pending.extend(children.get(&at).into_iter().flatten().rev());
        }
        out
    }

    fn build_call(&self, at: usize, children: &BTreeMap<usize, Vec<usize>>, depth: usize) -> Option<CallNode> {
        let Some(node) = self.nodes.get(at) else {
            return Some(CallNode {
                start: self.time(at).to_owned(),
                call: "agent".to_owned(),
                name: self.agents.name(at - self.nodes.len()).map(str::to_owned),
                status: "ok".to_owned(),
                calls: self.build_calls(at, children, depth),
                ..CallNode::default()
            });
        };
        let (tail, head) =
            (node.entry.row.as_ref().map(|row| &row.tail), node.entry.item.as_ref().map(|item| &item.head));
        let reported_name = match node.call {
            "tool" | "permission" => tail.and_then(|tail| match &tail.budget {
                Some(budget) => Some(budget.describe()),
                None => tail.tool_name.clone(),
            }),
            "model" => tail.and_then(|tail| tail.model.clone()),
            _ => tail.and_then(|tail| tail.actor.clone()),
        };
        let name = reported_name.or_else(|| head.map(|head| head.name.to_string()).filter(|name| !name.is_empty()));
        let decision = tail.and_then(|tail| tail.decision.clone());
        let leaf =
            node.entry.row.as_ref().map(|row| format!("{}/{}/{:012}", row.tail.writer, row.tail.epoch, row.leaf));
        Some(CallNode {
            start: node.at.to_owned(),
            call: node.call.to_owned(),
            name,
            status: self.status(node).to_owned(),
            denied: decision.as_deref().is_some_and(is_denied),
            decision,
            cost_usd: tail.and_then(|tail| tail.cost_usd.clone()),
            leaf,
            calls: self.build_calls(at, children, depth),
        })
    }

    /// The status of a node. The failure of a tool call may be only in the event of its result. That event counts if no
    /// other call has the same id.
    fn status(&self, node: &EntryNode<'e>) -> &'e str {
        let reported_failure = || {
            let id = node.call_id().filter(|id| self.call_counts.get(id) == Some(&1))?;
            let mut newest_first = self.failures.get(&id)?.iter().rev();
            newest_first.find(|failure| failure.may_name_same_tool(node)).map(|failure| failure.status)
        };
        let may_lack_failure = node.status == "ok" && node.call == "tool";
        if may_lack_failure { reported_failure().unwrap_or(node.status) } else { node.status }
    }
}
