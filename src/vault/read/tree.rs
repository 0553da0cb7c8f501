//! **What**: a session as a tree: turns, the calls in them, what these called, what was denied; as text and as Mermaid.
//! **Why**: what an agent did is seen at once, without what was said. **Invariants**: needs the index only; each call stands
//! once, also where a span and an event tell of it, or two spans (`vault/calls`); nothing that was denied is left out; what nobody signed is in no tree, where somebody looked.
//! **Not here**: reading (`replay`), contexts (`turns`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, Write};

use serde::Serialize;

use super::replay::{Entry, Replay, facts};
use super::terminal::clean;
use crate::vault::calls::Calls;

/// Deepest nesting that is shown; below it calls stand side by side.
const DEEPEST: usize = 32;
/// Steps up to a root: longer chains are taken for loops.
const CLIMB: usize = 1000;

/// A turn: one invocation of the agent.
#[derive(Serialize)]
pub struct TurnOf {
    /// From 1.
    pub number: usize,
    /// When it began; null where only calls are known.
    pub at: Option<String>,
    /// Agent.
    pub actor: Option<String>,
    /// Run, as the index shows it.
    pub run_id: Option<String>,
    /// What was called.
    pub calls: Vec<Call>,
}

/// A call.
#[derive(Serialize)]
pub struct Call {
    /// When.
    pub at: String,
    /// `model`, `tool`, `agent`, `permission`.
    pub call: String,
    /// Model, tool or agent.
    pub name: Option<String>,
    /// `ok`, or what went wrong.
    pub status: String,
    /// A permission's outcome.
    pub decision: Option<String>,
    /// It was not allowed.
    pub denied: bool,
    /// Exact decimal, USD.
    pub cost_usd: Option<String>,
    /// Leaf, `writer/epoch/number`; null: no index line tells of it.
    pub leaf: Option<String>,
    /// What it called.
    pub calls: Vec<Call>,
}

/// Whether a permission's outcome says no.
pub fn is_denied(decision: &str) -> bool {
    let decision = decision.to_ascii_lowercase();
    ["rej", "den", "block", "refus", "forbid", "disallow", "abort", "cancel"]
        .iter()
        .any(|word| decision.starts_with(word))
        || decision == "no"
}

/// What the tree needs of an entry.
struct Node<'e> {
    at: &'e str,
    call: &'e str,
    span: Option<&'e str>,
    parent: Option<&'e str>,
    is_span: bool,
    entry: &'e Entry,
}

impl<'e> Node<'e> {
    fn of(entry: &'e Entry) -> Self {
        let (tail, head) = (entry.row.as_ref().map(|row| &row.tail), entry.item.as_ref().map(|item| &item.head));
        let id = |of_tail: Option<&'e Option<String>>, of_head: Option<&'e Option<String>>| {
            of_tail.or(of_head).and_then(|id| id.as_deref())
        };
        Self {
            at: &entry.at,
            call: tail.map(|tail| &*tail.call).or(head.map(|head| &*head.call)).unwrap_or_default(),
            span: id(tail.map(|tail| &tail.span_id), head.map(|head| &head.span_id)),
            parent: id(tail.map(|tail| &tail.parent_span_id), head.map(|head| &head.parent_span_id)),
            is_span: tail.map(|tail| tail.signal == "traces").or(head.map(|head| head.kind == "span")).unwrap_or(false),
            entry,
        }
    }

    /// The provider's id of a model's answer.
    fn response(&self) -> Option<&'e str> {
        let (row, item) = (self.entry.row.as_ref(), self.entry.item.as_ref());
        row.and_then(|row| row.tail.response_id.as_deref()).or(item.and_then(|item| item.head.response_id.as_deref()))
    }

    fn is_denied(&self) -> bool {
        self.entry.row.as_ref().and_then(|row| row.tail.decision.as_deref()).is_some_and(is_denied)
    }

    fn is_shown(&self) -> bool {
        matches!(self.call, "model" | "tool" | "agent" | "permission")
    }
}

impl Replay {
    /// The session's turns with their calls.
    pub fn tree(&self) -> Vec<TurnOf> {
        let nodes: Vec<Node<'_>> = self.counted().map(Node::of).collect();
        Forest::of(&nodes).turns()
    }

    /// Writes the tree as text.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_tree(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "session {}", clean(self.id()))?;
        for erased in self.erased() {
            writeln!(out, "{}", clean(erased))?;
        }
        for turn in self.tree() {
            writeln!(out, "turn {}  {}", turn.number, clean(&turn.headline()))?;
            turn.calls.iter().try_for_each(|call| branch(call, 1, out))?;
        }
        self.closed().iter().try_for_each(|why| writeln!(out, "not read: {}", clean(why)))?;
        writeln!(out, "{}", self.total_line())
    }

    /// Writes the tree as a Mermaid flowchart.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_mermaid(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "flowchart LR\n  classDef denied stroke-width:4px,stroke-dasharray:4")?;
        writeln!(out, "  n0[\"session {}\"]", quoted(self.id()))?;
        let mut next = 1;
        for turn in self.tree() {
            let number = next;
            next += 1;
            writeln!(out, "  n{number}[\"turn {} {}\"]\n  n0 --> n{number}", turn.number, quoted(&turn.headline()))?;
            let mut waiting: Vec<(usize, &Call)> = turn.calls.iter().rev().map(|call| (number, call)).collect();
            while let Some((above, call)) = waiting.pop() {
                let class = if call.denied { ":::denied" } else { "" };
                writeln!(out, "  n{next}[\"{}\"]{class}\n  n{above} --> n{next}", quoted(&call.words()))?;
                waiting.extend(call.calls.iter().rev().map(|call| (next, call)));
                next += 1;
            }
        }
        Ok(())
    }
}

impl TurnOf {
    fn headline(&self) -> String {
        let at = self.at.as_deref().map(|at| at.get(..19).unwrap_or(at).replace('T', " "));
        [at.as_deref(), self.actor.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("  ")
    }
}

impl Call {
    fn words(&self) -> String {
        let mut words = vec![self.call.clone()];
        words.extend(self.name.clone());
        words.extend(Some(self.status.clone()).filter(|status| status != "ok"));
        words.extend(self.decision.clone());
        words.extend(self.denied.then(|| "DENIED".to_owned()));
        words.extend(self.cost_usd.as_ref().map(|usd| format!("{usd} USD")));
        words.join("  ")
    }
}

fn branch(call: &Call, depth: usize, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}{}", "  ".repeat(depth), clean(&call.words()))?;
    call.calls.iter().try_for_each(|below| branch(below, depth + 1, out))
}

/// A text within quotes of Mermaid: entities for whatever it might take for its own.
fn quoted(text: &str) -> String {
    clean(text)
        .chars()
        .map(|c| match c {
            '"' | '#' | '<' | '>' | '&' | '`' | ';' | '\\' => format!("#{};", u32::from(c)),
            c => c.to_string(),
        })
        .collect()
}

/// Nodes that tell of a call that another one stands for: of a model call the one that counts, of a tool call the span. What was denied
/// stands in any case, as does a call whose other telling did not come.
fn again(nodes: &[Node<'_>]) -> HashSet<usize> {
    let (mut spans, mut responses) = (HashSet::new(), HashSet::new());
    for node in nodes.iter().filter(|node| node.entry.is_model_call()) {
        spans.extend(node.span.filter(|_| node.is_span));
        responses.extend(node.response());
    }
    let is_settled = |node: &Node<'_>| {
        let by_other = || node.response().is_some_and(|response| responses.contains(response));
        node.span.is_some_and(|span| spans.contains(span)) || by_other()
    };
    let mut calls = Calls::default();
    let mut again = HashSet::new();
    for is_span in [true, false] {
        for (at, node) in nodes.iter().enumerate().filter(|(_, node)| node.is_span == is_span) {
            let is_again = match node.call {
                "model" => !node.entry.is_model_call() && (facts(node.entry).1 != "deferred" || is_settled(node)),
                _ => {
                    let is_told = |told| !calls.is_new_tool(&told);
                    !node.is_denied() && node.call == "tool" && node.entry.told().is_some_and(is_told)
                }
            };
            if is_again {
                again.insert(at);
            }
        }
    }
    again
}

/// Who is below whom.
struct Forest<'n, 'e> {
    nodes: &'n [Node<'e>],
    /// Spans by id.
    spans: HashMap<&'e str, usize>,
    /// Shown nodes, without those that tell of the same call again.
    shown: HashSet<usize>,
    /// Agents that nobody called: turns.
    roots: Vec<usize>,
}

impl<'n, 'e> Forest<'n, 'e> {
    fn of(nodes: &'n [Node<'e>]) -> Self {
        let all = || nodes.iter().enumerate();
        let again = again(nodes);
        let of_spans = || all().filter(|(_, node)| node.is_span).filter_map(|(at, node)| Some((node.span?, at)));
        let mut spans: HashMap<&str, usize> = of_spans().collect();
        spans.extend(of_spans().filter(|(_, at)| !again.contains(at)));
        let shown = all().filter(|(at, node)| node.is_shown() && !again.contains(at)).map(|(at, _)| at).collect();
        let mut forest = Self { nodes, spans, shown, roots: Vec::new() };
        forest.roots = all()
            .filter(|(at, node)| node.call == "agent" && node.is_span && forest.above(*at).is_none())
            .map(|(at, _)| at)
            .collect();
        forest
    }

    /// The nearest one above that is shown.
    fn above(&self, at: usize) -> Option<usize> {
        let mut node = self.nodes.get(at)?;
        // an event belongs to its span
        let mut next = if node.is_span { node.parent } else { node.span };
        for _ in 0..CLIMB {
            let up = *self.spans.get(next?)?;
            if up == at {
                return None;
            }
            if self.shown.contains(&up) {
                return Some(up);
            }
            node = self.nodes.get(up)?;
            next = node.parent;
        }
        None
    }

    fn turns(&self) -> Vec<TurnOf> {
        let mut below: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut loose = Vec::new();
        let mut shown: Vec<usize> = self.shown.iter().copied().filter(|at| !self.roots.contains(at)).collect();
        shown.sort_unstable();
        for at in shown {
            match self.above(at).filter(|up| self.leads_up(*up)) {
                Some(up) => below.entry(up).or_default().push(at),
                None => loose.push(at),
            }
        }
        // what names nobody above it belongs to the turn that had begun
        let mut first = Vec::new();
        for at in loose {
            let before = self.roots.iter().rev().find(|root| self.time(**root) <= self.time(at));
            match before {
                Some(root) => below.entry(*root).or_default().push(at),
                None => first.push(at),
            }
        }
        below.values_mut().for_each(|calls| calls.sort_by_key(|at| (self.time(*at), *at)));
        let mut turns = Vec::new();
        if !first.is_empty() {
            let calls = first.iter().filter_map(|at| self.call(*at, &below, 0)).collect();
            turns.push(TurnOf { number: 0, at: None, actor: None, run_id: None, calls });
        }
        for root in &self.roots {
            let Some(node) = self.nodes.get(*root) else { continue };
            let tail = node.entry.row.as_ref().map(|row| &row.tail);
            turns.push(TurnOf {
                number: 0,
                at: Some(node.at.to_owned()),
                actor: tail.and_then(|tail| tail.actor.clone()),
                run_id: tail.and_then(|tail| tail.run_id.clone()),
                calls: self.calls(*root, &below, 0),
            });
        }
        (1..).zip(&mut turns).for_each(|(number, turn)| turn.number = number);
        turns
    }

    /// Whether the way up from here ends: spans may name each other in a ring.
    fn leads_up(&self, at: usize) -> bool {
        let mut at = at;
        for _ in 0..CLIMB {
            match self.above(at) {
                Some(up) => at = up,
                None => return true,
            }
        }
        false
    }

    fn time(&self, at: usize) -> &str {
        self.nodes.get(at).map_or("", |node| node.at)
    }

    fn calls(&self, at: usize, below: &BTreeMap<usize, Vec<usize>>, depth: usize) -> Vec<Call> {
        let calls = below.get(&at).map(Vec::as_slice).unwrap_or_default();
        if depth < DEEPEST {
            return calls.iter().filter_map(|at| self.call(*at, below, depth + 1)).collect();
        }
        // everything that is deeper, side by side
        let (mut out, mut waiting) = (Vec::new(), calls.iter().rev().copied().collect::<Vec<_>>());
        while let Some(at) = waiting.pop() {
            out.extend(self.call(at, &BTreeMap::new(), depth));
            waiting.extend(below.get(&at).into_iter().flatten().rev());
        }
        out
    }

    fn call(&self, at: usize, below: &BTreeMap<usize, Vec<usize>>, depth: usize) -> Option<Call> {
        let node = self.nodes.get(at)?;
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
        Some(Call {
            at: node.at.to_owned(),
            call: node.call.to_owned(),
            name,
            status: tail.map_or_else(|| "ok".to_owned(), |tail| tail.status.clone()),
            denied: decision.as_deref().is_some_and(is_denied),
            decision,
            cost_usd: tail.and_then(|tail| tail.cost_usd.clone()),
            leaf,
            calls: self.calls(at, below, depth),
        })
    }
}
