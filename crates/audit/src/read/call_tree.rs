//! A session as a tree, as text and as Mermaid: turns, their calls, nested calls, sub-agents, denials. It shows an
//! agent's actions without the conversation.
//!
//! Only the index is needed. Each call appears once, even if a span and an event report it, or two spans
//! (`vault/calls`). Denials are never left out. Unsigned entries are excluded, if signatures were checked. Work is
//! linear in the number of entries whatever parents they claim, and nesting is limited to [`MAX_DEPTH`]. Neighbours:
//! `turns` (contexts), `entry_links` (parents), `agents`.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{self, Write};

use serde::Serialize;

use super::agents::{AgentAssignment, OWN_AGENT};
use super::entry_links::{EntryLinks, EntryNode, MAX_CANDIDATES, cut_cycles};
use super::session::{ReplayedSession, cost_facts};
use kernel::terminal::escape_unsafe;
use vault::call_dedup::{CallDeduplicator, is_denied};

/// Deepest nesting that is shown; deeper calls are shown side by side.
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
    /// Calls of the turn.
    pub calls: Vec<CallNode>,
}

/// A call of a model, tool or agent, or a permission request.
#[derive(Serialize)]
pub struct CallNode {
    /// Start time.
    pub start: String,
    /// Kind: `model`, `tool`, `agent` or `permission`.
    pub call: String,
    /// Name of the model, tool or agent.
    pub name: Option<String>,
    /// `ok`, or the error.
    pub status: String,
    /// Outcome of a permission request.
    pub decision: Option<String>,
    /// Whether the call was denied.
    pub denied: bool,
    /// Cost in USD, exact decimal.
    pub cost_usd: Option<String>,
    /// Leaf, `writer/epoch/number`; null without an index line.
    pub leaf: Option<String>,
    /// Nested calls.
    pub calls: Vec<CallNode>,
}

/// The provider's response id.
fn response_id<'e>(node: &EntryNode<'e>) -> Option<&'e str> {
    let (row, item) = (node.entry.row.as_ref(), node.entry.item.as_ref());
    row.and_then(|row| row.tail.response_id.as_deref()).or(item.and_then(|item| item.head.response_id.as_deref()))
}

fn was_denied(node: &EntryNode<'_>) -> bool {
    node.entry.row.as_ref().and_then(|row| row.tail.decision.as_deref()).is_some_and(is_denied)
}

fn is_shown(node: &EntryNode<'_>) -> bool {
    matches!(node.call, "model" | "tool" | "agent" | "permission")
}

impl ReplayedSession {
    /// The session's turns with their calls.
    pub fn tree(&self) -> Vec<SessionTurn> {
        let nodes: Vec<EntryNode<'_>> = self.counted_entries().map(EntryNode::from_entry).collect();
        let again = find_repeats(&nodes);
        let links = EntryLinks::build(&nodes, &again);
        let agents = AgentAssignment::assign(&nodes, &links);
        CallForest::build(&nodes, &again, &links, &agents).turns()
    }

    /// Writes the tree as text.
    ///
    /// # Errors
    /// Errors of `out`.
    pub fn write_tree(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "session {}", escape_unsafe(self.id()))?;
        for erased in self.erasures() {
            writeln!(out, "{}", escape_unsafe(erased))?;
        }
        for turn in self.tree() {
            writeln!(out, "turn {}  {}", turn.number, escape_unsafe(&turn.headline()))?;
            turn.calls.iter().try_for_each(|call| write_branch(call, 1, out))?;
        }
        self.unreadable().iter().try_for_each(|why| writeln!(out, "not read: {}", escape_unsafe(why)))?;
        writeln!(out, "{}", self.total_line())
    }

    /// Writes the tree as a Mermaid flowchart.
    ///
    /// # Errors
    /// Errors of `out`.
    pub fn write_mermaid(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "flowchart LR\n  classDef denied stroke-width:4px,stroke-dasharray:4")?;
        writeln!(out, "  n0[\"session {}\"]", quote_mermaid(self.id()))?;
        let mut next = 1;
        for turn in self.tree() {
            let number = next;
            next += 1;
            writeln!(
                out,
                "  n{number}[\"turn {} {}\"]\n  n0 --> n{number}",
                turn.number,
                quote_mermaid(&turn.headline())
            )?;
            let mut waiting: Vec<(usize, &CallNode)> = turn.calls.iter().rev().map(|call| (number, call)).collect();
            while let Some((above, call)) = waiting.pop() {
                let class = if call.denied { ":::denied" } else { "" };
                writeln!(out, "  n{next}[\"{}\"]{class}\n  n{above} --> n{next}", quote_mermaid(&call.describe()))?;
                waiting.extend(call.calls.iter().rev().map(|call| (next, call)));
                next += 1;
            }
        }
        Ok(())
    }
}

impl SessionTurn {
    fn headline(&self) -> String {
        let at = self.start.as_deref().map(|at| at.get(..19).unwrap_or(at).replace('T', " "));
        [at.as_deref(), self.actor.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("  ")
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
    call.calls.iter().try_for_each(|below| write_branch(below, depth + 1, out))
}

/// A text for Mermaid quotes, with entities for special characters.
fn quote_mermaid(text: &str) -> String {
    escape_unsafe(text)
        .chars()
        .map(|c| match c {
            '"' | '#' | '<' | '>' | '&' | '`' | ';' | '\\' => format!("#{};", u32::from(c)),
            c => c.to_string(),
        })
        .collect()
}

/// Nodes that repeat a call which another node represents: a model call is represented by the node that counts, a tool
/// call by its span. Denials are always kept, as are calls whose other report is missing.
fn find_repeats(nodes: &[EntryNode<'_>]) -> HashSet<usize> {
    let (mut spans, mut responses) = (HashSet::new(), HashSet::new());
    for node in nodes.iter().filter(|node| node.entry.is_model_call()) {
        spans.extend(node.span.filter(|_| node.is_span));
        responses.extend(response_id(node));
    }
    let is_settled = |node: &EntryNode<'_>| {
        let by_other = || response_id(node).is_some_and(|response| responses.contains(response));
        node.span.is_some_and(|span| spans.contains(span)) || by_other()
    };
    let mut calls = CallDeduplicator::default();
    let mut again = HashSet::new();
    for is_span in [true, false] {
        for (at, node) in nodes.iter().enumerate().filter(|(_, node)| node.is_span == is_span) {
            let is_again = match node.call {
                "model" => !node.entry.is_model_call() && (cost_facts(node.entry).1 != "deferred" || is_settled(node)),
                _ => {
                    !was_denied(node)
                        && node.call == "tool"
                        && node.entry.call_report().is_some_and(|told| !calls.is_new_tool(&told))
                }
            };
            if is_again {
                again.insert(at);
            }
        }
    }
    again
}

/// Parents of the shown nodes. Agents without a span of their own have positions after those of all nodes.
struct CallForest<'n, 'e> {
    nodes: &'n [EntryNode<'e>],
    agents: &'n AgentAssignment<'n, 'e>,
    /// The positions that are shown.
    shown: BTreeSet<usize>,
    /// For each of them, the nearest shown parent.
    above: Vec<Option<usize>>,
    /// Agents without a caller, each of which is a turn, in order of time.
    roots: Vec<usize>,
    /// Failures by trace and call id: the span of a tool call may not have its status.
    failed: HashMap<(&'e str, &'e str), Vec<&'n EntryNode<'e>>>,
    /// Number of shown tool calls, by trace and id.
    calls: HashMap<(&'e str, &'e str), usize>,
}

impl<'n, 'e> CallForest<'n, 'e> {
    /// Builds the forest; `again` are nodes that repeat another node's call.
    fn build(
        nodes: &'n [EntryNode<'e>],
        again: &HashSet<usize>,
        links: &EntryLinks,
        agents: &'n AgentAssignment<'n, 'e>,
    ) -> Self {
        let shown = |at: usize| !again.contains(&at) && nodes.get(at).is_some_and(is_shown);
        let mut nearest: Vec<Option<usize>> = vec![None; nodes.len()];
        for at in links.order() {
            let up = links.parent(at);
            let above = up.and_then(|up| if shown(up) { Some(up) } else { nearest.get(up).copied().flatten() });
            nearest.get_mut(at).into_iter().for_each(|place| *place = above);
        }
        let near = |at: usize| nearest.get(at).copied().flatten();
        let mut above = vec![None; nodes.len() + agents.sub_agents().end];
        let mut all: BTreeSet<usize> = (0..nodes.len()).filter(|at| shown(*at)).collect();
        for at in all.clone() {
            let agent = agents.agent(at);
            let hidden = agent != OWN_AGENT && !agents.has_span(agent);
            let of_agent = near(at).filter(|up| !hidden || agents.agent(*up) == agent);
            let up = of_agent.or_else(|| hidden.then_some(nodes.len() + agent));
            all.extend(up.filter(|up| *up >= nodes.len()));
            above.get_mut(at).into_iter().for_each(|place| *place = up);
        }
        for at in all.range(nodes.len()..) {
            let call = agents.call(at - nodes.len());
            let up = call.and_then(|call| if shown(call) { Some(call) } else { near(call) });
            above.get_mut(*at).into_iter().for_each(|place| *place = up);
        }
        // agents may claim to have called each other
        cut_cycles(&mut above);
        let is_root = |at: &usize| {
            let is_agent = nodes.get(*at).is_some_and(|node| node.call == "agent" && node.is_span);
            is_agent && above.get(*at).is_none_or(Option::is_none)
        };
        let roots = (0..nodes.len()).filter(is_root).collect();
        let is_told = |node: &EntryNode<'_>| node.call == "other" || (node.call == "tool" && !node.is_span);
        let (mut failed, mut calls): (HashMap<_, Vec<_>>, HashMap<_, usize>) = (HashMap::new(), HashMap::new());
        for (at, node) in nodes.iter().enumerate() {
            let Some(id) = node.call_id() else { continue };
            if node.status != "ok" && is_told(node) {
                let all = failed.entry(id).or_default();
                all.extend(Some(node).filter(|_| all.len() < MAX_CANDIDATES));
            }
            if node.call == "tool" && shown(at) {
                *calls.entry(id).or_default() += 1;
            }
        }
        Self { nodes, agents, shown: all, above, roots, failed, calls }
    }

    fn turns(&self) -> Vec<SessionTurn> {
        let mut below: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut first = Vec::new();
        let roots: HashSet<usize> = self.roots.iter().copied().collect();
        for at in self.shown.iter().filter(|at| !roots.contains(at)) {
            let above = self.above.get(*at).copied().flatten();
            // an entry without a parent belongs to the turn that was active
            let begun = || {
                self.roots.get(self.roots.partition_point(|root| self.time(*root) <= self.time(*at)).checked_sub(1)?)
            };
            match above.or_else(|| begun().copied()) {
                Some(up) => below.entry(up).or_default().push(*at),
                None => first.push(*at),
            }
        }
        below.values_mut().chain([&mut first]).for_each(|calls| calls.sort_by_key(|at| (self.time(*at), *at)));
        let mut turns = Vec::new();
        if !first.is_empty() {
            let calls = first.iter().filter_map(|at| self.call(*at, &below, 0)).collect();
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
                calls: self.calls(*root, &below, 0),
            });
        }
        (1..).zip(&mut turns).for_each(|(number, turn)| turn.number = number);
        turns
    }

    fn time(&self, at: usize) -> &str {
        let of_agent = || self.agents.first(at.checked_sub(self.nodes.len())?).map(|node| node.at);
        self.nodes.get(at).map(|node| node.at).or_else(of_agent).unwrap_or_default()
    }

    fn calls(&self, at: usize, below: &BTreeMap<usize, Vec<usize>>, depth: usize) -> Vec<CallNode> {
        let calls = below.get(&at).map(Vec::as_slice).unwrap_or_default();
        if depth < MAX_DEPTH {
            return calls.iter().filter_map(|at| self.call(*at, below, depth + 1)).collect();
        }
        // all deeper calls, side by side
        let (mut out, mut waiting) = (Vec::new(), calls.iter().rev().copied().collect::<Vec<_>>());
        while let Some(at) = waiting.pop() {
            out.extend(self.call(at, &BTreeMap::new(), depth));
            waiting.extend(below.get(&at).into_iter().flatten().rev());
        }
        out
    }

    fn call(&self, at: usize, below: &BTreeMap<usize, Vec<usize>>, depth: usize) -> Option<CallNode> {
        let Some(node) = self.nodes.get(at) else {
            let (name, calls) = (self.agents.name(at - self.nodes.len()), self.calls(at, below, depth));
            let (start, name) = (self.time(at).to_owned(), name.map(str::to_owned));
            let (call, status) = ("agent".to_owned(), "ok".to_owned());
            return Some(CallNode {
                start,
                call,
                name,
                status,
                decision: None,
                denied: false,
                cost_usd: None,
                leaf: None,
                calls,
            });
        };
        let (tail, head) =
            (node.entry.row.as_ref().map(|row| &row.tail), node.entry.item.as_ref().map(|item| &item.head));
        let named = match node.call {
            "tool" | "permission" => tail.and_then(|tail| tail.tool_name.clone()),
            "model" => tail.and_then(|tail| tail.model.clone()),
            _ => tail.and_then(|tail| tail.actor.clone()),
        };
        let name = named.or_else(|| head.map(|head| head.name.to_string()).filter(|name| !name.is_empty()));
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
            calls: self.calls(at, below, depth),
        })
    }

    /// The error of a node. For a tool call, the failure may be only in its result's event; that counts if no other
    /// call has the same id.
    fn status(&self, node: &EntryNode<'e>) -> &'e str {
        let told = || {
            let id = node.call_id().filter(|id| self.calls.get(id) == Some(&1))?;
            let mut all = self.failed.get(&id)?.iter().rev();
            all.find(|failed| failed.may_name_same_tool(node)).map(|failed| failed.status)
        };
        let is_silent = node.status == "ok" && node.call == "tool";
        if is_silent { told().unwrap_or(node.status) } else { node.status }
    }
}
