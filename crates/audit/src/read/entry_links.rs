//! [`EntryLinks`]: finds the direct parent of each entry of a session, for both the call tree (`call_tree`) and the
//! assignment of agents (`agents`).
//!
//! A span's parent is its parent span; an event's is its span, or the tool call that the event names. Cycles are cut,
//! so that every entry has a root. Time and memory are linear in the number of entries. A reported link is used as
//! reported: only entries whose parent left no line are placed below the one agent call during which they happened.

use std::collections::{HashMap, HashSet};
use std::ops::Deref;

use kernel::clock::UnixNanos;
use vault::call_dedup::{CallReport, is_agent_tool, is_same_tool};
use vault::document::DocumentItem;
use vault::object_names::{parse_time, rfc3339};

use super::session::SessionEntry;

/// Most calls with one id, and most agent calls in one trace, that are searched; with more, the link is ambiguous.
pub(super) const MAX_CANDIDATES: usize = 64;

/// An entry and the call that it reports. The entry's parent and agent are found by the call.
pub(super) struct EntryNode<'e> {
    /// Start of a span, or time of an event.
    pub(super) at: &'e str,
    report: CallReport<'e>,
    pub(super) entry: &'e SessionEntry,
}

impl<'e> Deref for EntryNode<'e> {
    type Target = CallReport<'e>;

    fn deref(&self) -> &CallReport<'e> {
        &self.report
    }
}

impl<'e> EntryNode<'e> {
    pub(super) fn from_entry(entry: &'e SessionEntry) -> Self {
        Self { at: &entry.at, report: entry.report(), entry }
    }

    pub(super) fn item(&self) -> Option<&'e DocumentItem> {
        self.entry.item.as_ref()
    }

    pub(super) fn is_tool_span(&self) -> bool {
        self.is_span && self.call == "tool"
    }

    pub(super) fn is_agent_span(&self) -> bool {
        self.is_span && self.call == "agent"
    }

    fn parent_span(&self) -> Option<&'e str> {
        if self.is_span { self.parent } else { self.span }
    }

    /// Whether the entry reports on the tool call `call`.
    pub(super) fn is_report_on(&self, call: &EntryNode<'_>) -> bool {
        let is_same_call = if self.tool_call.is_some() && call.tool_call.is_some() {
            self.tool_call == call.tool_call
        } else {
            !self.is_span && self.span.is_some() && self.span == call.span
        };
        self.trace == call.trace && self.may_name_same_tool(call) && is_same_call
    }

    /// Whether both may name the same tool.
    pub(super) fn may_name_same_tool(&self, call: &EntryNode<'_>) -> bool {
        self.tool.zip(call.tool).is_none_or(|(first, second)| is_same_tool(first, second))
    }

    /// Whether the whole interval lies within this span.
    fn is_spanning(&self, from: &str, until: &str) -> bool {
        self.at <= from && self.end.is_some_and(|end| until <= end)
    }

    /// Trace and id of the tool call that the entry is or reports on.
    pub(super) fn call_id(&self) -> Option<(&'e str, &'e str)> {
        Some((self.trace, self.tool_call?))
    }

    /// Start of the reported operation: an event with a duration is sent at the end.
    pub(super) fn begin_time(&self) -> String {
        let duration = self.entry.row.as_ref().and_then(|row| row.tail.duration_ns).filter(|_| !self.is_span);
        let began =
            duration.and_then(|duration| Some(rfc3339(UnixNanos(parse_time(self.at)?.0.checked_sub(duration)?))));
        began.unwrap_or_else(|| self.at.to_owned())
    }

    pub(super) fn end_time(&self) -> &'e str {
        self.end.unwrap_or(self.at)
    }
}

/// Parents of entries (see the module).
pub(super) struct EntryLinks {
    parents: Vec<Option<usize>>,
    order: Vec<usize>,
}

impl EntryLinks {
    /// Links the entries. Entries in `repeats` report on the same operation as another entry; they become parents only
    /// if there is no alternative.
    pub(super) fn build(nodes: &[EntryNode<'_>], repeats: &HashSet<usize>) -> Self {
        let targets = LinkTargets::build(nodes, repeats);
        let mut parents: Vec<Option<usize>> = nodes
            .iter()
            .enumerate()
            .map(|(at, node)| targets.find_parent(nodes, node).filter(|parent| *parent != at))
            .collect();
        adopt_orphans(nodes, &mut parents, repeats);
        let order = cut_cycles(&mut parents);
        Self { parents, order }
    }

    pub(super) fn parent(&self, at: usize) -> Option<usize> {
        self.parents.get(at).copied().flatten()
    }

    /// All entries, parents first.
    pub(super) fn order(&self) -> impl Iterator<Item = usize> {
        self.order.iter().copied()
    }
}

/// Spans and tool calls, by trace and id.
struct LinkTargets<'e> {
    spans: HashMap<(&'e str, &'e str), usize>,
    calls: HashMap<(&'e str, &'e str), Vec<usize>>,
}

impl<'e> LinkTargets<'e> {
    fn build(nodes: &[EntryNode<'e>], repeats: &HashSet<usize>) -> Self {
        let spans_by_id = || {
            let spans = nodes.iter().enumerate().filter(|(_, node)| node.is_span);
            spans.filter_map(|(at, node)| Some(((node.trace, node.span?), at)))
        };
        let mut spans: HashMap<_, _> = spans_by_id().collect();
        spans.extend(spans_by_id().filter(|(_, at)| !repeats.contains(at)));
        let mut calls: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, node) in nodes.iter().enumerate().filter(|(at, node)| node.is_tool_span() && !repeats.contains(at)) {
            if let Some(id) = node.tool_call {
                calls.entry((node.trace, id)).or_default().push(at);
            }
        }
        Self { spans, calls }
    }

    fn find_parent(&self, nodes: &[EntryNode<'e>], node: &EntryNode<'e>) -> Option<usize> {
        let find_span = || self.spans.get(&(node.trace, node.parent_span()?)).copied();
        match (node.is_span, node.call) {
            (true, "permission") => find_span().or_else(|| self.find_call(nodes, node)),
            (true, _) | (false, "tool") => find_span(),
            (false, _) => self.find_call(nodes, node).or_else(find_span),
        }
    }

    /// The tool call that the entry names; among several with this id, the one during which the entry happened.
    fn find_call(&self, nodes: &[EntryNode<'e>], node: &EntryNode<'e>) -> Option<usize> {
        let calls = self.calls.get(&(node.trace, node.tool_call?)).filter(|calls| calls.len() <= MAX_CANDIDATES)?;
        let of_same_tool =
            || calls.iter().copied().filter(|at| nodes.get(*at).is_some_and(|call| node.may_name_same_tool(call)));
        let is_around = |at: &usize| nodes.get(*at).is_some_and(|call| call.is_spanning(node.at, node.at));
        // events may name the tool differently
        let of_any_tool = || only_one(calls.iter().copied().filter(is_around));
        only_one(of_same_tool()).or_else(|| only_one(of_same_tool().filter(is_around))).or_else(of_any_tool)
    }
}

fn only_one(mut candidates: impl Iterator<Item = usize>) -> Option<usize> {
    candidates.next().filter(|_| candidates.next().is_none())
}

/// Entries that name one parent span, which left no line; the start of the first one, and the end of the last one.
type OrphanGroup<'e> = (Vec<usize>, &'e str, &'e str);

/// Places the entries of each orphan group below the agent call during which all of them happened, if there is exactly
/// one.
fn adopt_orphans(nodes: &[EntryNode<'_>], parents: &mut [Option<usize>], repeats: &HashSet<usize>) {
    let mut agent_calls: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, node) in nodes.iter().enumerate().filter(|(at, node)| node.is_tool_span() && !repeats.contains(at)) {
        if node.tool.is_some_and(is_agent_tool) {
            agent_calls.entry(node.trace).or_default().push(at);
        }
    }
    agent_calls.retain(|_, calls| calls.len() <= MAX_CANDIDATES);
    let mut groups: HashMap<(&str, &str), OrphanGroup<'_>> = HashMap::new();
    for (at, (node, parent)) in nodes.iter().zip(parents.iter()).enumerate() {
        let is_orphan = parent.is_none() && agent_calls.contains_key(node.trace);
        let Some(parent_span) = node.parent_span().filter(|_| is_orphan) else { continue };
        let new_group = || (Vec::new(), node.at, node.end_time());
        let (entries, from, until) = groups.entry((node.trace, parent_span)).or_insert_with(new_group);
        entries.push(at);
        (*from, *until) = ((*from).min(node.at), (*until).max(node.end_time()));
    }
    for ((trace, parent_span), (entries, from, until)) in groups {
        let is_around = |at: &usize| {
            nodes.get(*at).is_some_and(|call| {
                call.parent != Some(parent_span) && call.span != Some(parent_span) && call.is_spanning(from, until)
            })
        };
        let calls = agent_calls.get(trace).into_iter().flatten().copied();
        if let Some(call) = only_one(calls.filter(is_around)) {
            for orphan in entries {
                parents.get_mut(orphan).into_iter().for_each(|parent| *parent = Some(call));
            }
        }
    }
}

/// Cuts cycles; returns all entries, parents first.
pub(super) fn cut_cycles(parents: &mut [Option<usize>]) -> Vec<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum VisitState {
        Unvisited,
        OnPath,
        Ordered,
    }
    let (mut order, mut states) = (Vec::with_capacity(parents.len()), vec![VisitState::Unvisited; parents.len()]);
    let mut path = Vec::new();
    for start in 0..parents.len() {
        let mut next = Some(start);
        while let Some(at) = next {
            let Some(state) = states.get_mut(at) else { break };
            match state {
                VisitState::Ordered => break,
                VisitState::OnPath => {
                    // the parent of the last entry is on the path: this link closes the cycle
                    if let Some(parent) = path.last().and_then(|last: &usize| parents.get_mut(*last)) {
                        *parent = None;
                    }
                    break;
                }
                VisitState::Unvisited => *state = VisitState::OnPath,
            }
            path.push(at);
            next = parents.get(at).copied().flatten();
        }
        for at in path.drain(..).rev() {
            if let Some(state) = states.get_mut(at) {
                *state = VisitState::Ordered;
            }
            order.push(at);
        }
    }
    order
}
