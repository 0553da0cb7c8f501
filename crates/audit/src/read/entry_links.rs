//! [`EntryLinks`]: finds the direct parent of each entry of a session, for both the call tree (`tree`) and the
//! assignment of agents (`agents`).
//!
//! A span's parent is its parent span; an event's is its span, or the tool call that it names. Cycles are cut, so that
//! every way up ends. Time and memory are linear in the number of entries. Reported links are never overridden by
//! guesses: only if the parent left no line, entries are placed below the single agent call during which all of them
//! happened.

use std::collections::{HashMap, HashSet};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use kernel::clock::UnixNanos;
use vault::call_dedup::{is_agent_tool, is_same_tool};
use vault::document::DocumentItem;
use vault::object_names::rfc3339;

use super::session::SessionEntry;

/// Most calls with one id, and most agent calls in one trace, that are searched; with more, the link is ambiguous.
pub(super) const MAX_CANDIDATES: usize = 64;

/// An entry's data that determines its place.
pub(super) struct EntryNode<'e> {
    pub(super) at: &'e str,
    /// End of a span.
    end: Option<&'e str>,
    pub(super) call: &'e str,
    trace: &'e str,
    pub(super) span: Option<&'e str>,
    parent: Option<&'e str>,
    pub(super) tool: Option<&'e str>,
    pub(super) tool_call: Option<&'e str>,
    /// Id of the sub-agent, if the client reports it.
    pub(super) agent: Option<&'e str>,
    pub(super) actor: Option<&'e str>,
    pub(super) status: &'e str,
    pub(super) is_span: bool,
    pub(super) entry: &'e SessionEntry,
}

impl<'e> EntryNode<'e> {
    pub(super) fn from_entry(entry: &'e SessionEntry) -> Self {
        if let Some(row) = &entry.row {
            let tail = &row.tail;
            return Self {
                at: &entry.at,
                end: tail.end_ts.as_deref(),
                call: &tail.call,
                trace: tail.trace_id.as_deref().unwrap_or_default(),
                span: tail.span_id.as_deref(),
                parent: tail.parent_span_id.as_deref(),
                tool: tail.tool_name.as_deref(),
                tool_call: tail.tool_call_id.as_deref(),
                agent: tail.agent_id.as_deref(),
                actor: tail.actor.as_deref(),
                status: &tail.status,
                is_span: tail.signal == "traces",
                entry,
            };
        }
        let head = entry.item.as_ref().map(|item| &item.head);
        let id = |id: Option<&'e Option<String>>| id.and_then(|id| id.as_deref());
        let failed = if head.is_some_and(|head| head.failed) { "error" } else { "ok" };
        Self {
            at: &entry.at,
            end: id(head.map(|head| &head.end)),
            call: head.map(|head| &*head.call).unwrap_or_default(),
            trace: id(head.map(|head| &head.trace_id)).unwrap_or_default(),
            span: id(head.map(|head| &head.span_id)),
            parent: id(head.map(|head| &head.parent_span_id)),
            tool: head.and_then(|head| head.tool.as_deref()),
            tool_call: head.and_then(|head| head.tool_call.as_deref()),
            agent: head.and_then(|head| head.agent.as_deref()),
            actor: head.and_then(|head| head.actor.as_deref()),
            status: head.and_then(|head| head.error.as_deref()).unwrap_or(failed),
            is_span: head.is_some_and(|head| head.kind == "span"),
            entry,
        }
    }

    pub(super) fn item(&self) -> Option<&'e DocumentItem> {
        self.entry.item.as_ref()
    }

    pub(super) fn is_tool_span(&self) -> bool {
        self.is_span && self.call == "tool"
    }

    /// The span that it belongs below, or at.
    fn parent_span(&self) -> Option<&'e str> {
        if self.is_span { self.parent } else { self.span }
    }

    /// Whether it reports on the tool call `call`.
    pub(super) fn is_report_on(&self, call: &EntryNode<'_>) -> bool {
        let (is_named, same_id) =
            (self.tool_call.is_some() && call.tool_call.is_some(), self.tool_call == call.tool_call);
        let is_at = !self.is_span && self.span.is_some() && self.span == call.span;
        self.trace == call.trace && self.may_name_same_tool(call) && if is_named { same_id } else { is_at }
    }

    /// Whether both may name the same tool.
    pub(super) fn may_name_same_tool(&self, call: &EntryNode<'_>) -> bool {
        self.tool.zip(call.tool).is_none_or(|(one, other)| is_same_tool(one, other))
    }

    /// Whether the whole interval lies within this span.
    fn is_spanning(&self, (from, until): (&str, &str)) -> bool {
        self.at <= from && self.end.is_some_and(|end| until <= end)
    }

    /// Trace and id of the tool call that it is or reports on.
    pub(super) fn call_id(&self) -> Option<(&'e str, &'e str)> {
        Some((self.trace, self.tool_call?))
    }

    /// Start of what it reports; an event may have a duration.
    pub(super) fn begin_time(&self) -> String {
        let took = self.entry.row.as_ref().and_then(|row| row.tail.duration_ns).filter(|_| !self.is_span);
        let began = took.and_then(|took| {
            let at = OffsetDateTime::parse(self.at, &Rfc3339).ok()?;
            let at = u64::try_from(at.unix_timestamp_nanos()).ok()?;
            Some(rfc3339(UnixNanos(at.checked_sub(took)?)))
        });
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
    /// Links the entries. Entries in `again` report on the same thing as another entry; they become parents only if
    /// there is no alternative.
    pub(super) fn build(nodes: &[EntryNode<'_>], again: &HashSet<usize>) -> Self {
        let known = LinkTargets::build(nodes, again);
        let mut up: Vec<Option<usize>> =
            nodes.iter().enumerate().map(|(at, node)| known.find_parent(nodes, node).filter(|up| *up != at)).collect();
        for (orphan, call) in adopt_orphans(nodes, &up, again) {
            if let Some(up) = up.get_mut(orphan) {
                *up = Some(call);
            }
        }
        let order = cut_cycles(&mut up);
        Self { parents: up, order }
    }

    /// The parent of an entry.
    pub(super) fn parent(&self, at: usize) -> Option<usize> {
        self.parents.get(at).copied().flatten()
    }

    /// All entries, parents first.
    pub(super) fn order(&self) -> impl Iterator<Item = usize> {
        self.order.iter().copied()
    }
}

/// Spans and tool calls by their ids.
struct LinkTargets<'e> {
    spans: HashMap<(&'e str, &'e str), usize>,
    calls: HashMap<(&'e str, &'e str), Vec<usize>>,
}

impl<'e> LinkTargets<'e> {
    fn build(nodes: &[EntryNode<'e>], again: &HashSet<usize>) -> Self {
        let of_spans = || {
            let spans = nodes.iter().enumerate().filter(|(_, node)| node.is_span);
            spans.filter_map(|(at, node)| Some(((node.trace, node.span?), at)))
        };
        let mut spans: HashMap<_, _> = of_spans().collect();
        spans.extend(of_spans().filter(|(_, at)| !again.contains(at)));
        let mut calls: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, node) in nodes.iter().enumerate().filter(|(at, node)| node.is_tool_span() && !again.contains(at)) {
            if let Some(id) = node.tool_call {
                calls.entry((node.trace, id)).or_default().push(at);
            }
        }
        Self { spans, calls }
    }

    fn find_parent(&self, nodes: &[EntryNode<'e>], node: &EntryNode<'e>) -> Option<usize> {
        let by_place = || self.spans.get(&(node.trace, node.parent_span()?)).copied();
        match (node.is_span, node.call) {
            (true, "permission") => by_place().or_else(|| self.find_call(nodes, node)),
            (true, _) | (false, "tool") => by_place(),
            (false, _) => self.find_call(nodes, node).or_else(by_place),
        }
    }

    /// The tool call that the entry names; among several with this id, the one during which the entry happened.
    fn find_call(&self, nodes: &[EntryNode<'e>], node: &EntryNode<'e>) -> Option<usize> {
        let all = self.calls.get(&(node.trace, node.tool_call?)).filter(|all| all.len() <= MAX_CANDIDATES)?;
        let told = || all.iter().copied().filter(|at| nodes.get(*at).is_some_and(|call| node.may_name_same_tool(call)));
        let around = |at: &usize| nodes.get(*at).is_some_and(|call| call.is_spanning((node.at, node.at)));
        // events may name the tool differently
        let during = || only_one(all.iter().copied().filter(around));
        only_one(told()).or_else(|| only_one(told().filter(around))).or_else(during)
    }
}

fn only_one(mut all: impl Iterator<Item = usize>) -> Option<usize> {
    all.next().filter(|_| all.next().is_none())
}

/// Entries whose parent left no line, with the agent call during which they happened.
fn adopt_orphans(nodes: &[EntryNode<'_>], up: &[Option<usize>], again: &HashSet<usize>) -> Vec<(usize, usize)> {
    let mut starters: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, node) in nodes.iter().enumerate().filter(|(at, node)| node.is_tool_span() && !again.contains(at)) {
        if node.tool.is_some_and(is_agent_tool) {
            starters.entry(node.trace).or_default().push(at);
        }
    }
    starters.retain(|_, calls| calls.len() <= MAX_CANDIDATES);
    let mut orphans: HashMap<(&str, &str), (Vec<usize>, &str, &str)> = HashMap::new();
    for (at, (node, up)) in nodes.iter().zip(up).enumerate() {
        let Some(place) = node.parent_span().filter(|_| up.is_none() && starters.contains_key(node.trace)) else {
            continue;
        };
        let (all, from, until) = orphans.entry((node.trace, place)).or_insert((Vec::new(), node.at, node.end_time()));
        all.push(at);
        (*from, *until) = ((*from).min(node.at), (*until).max(node.end_time()));
    }
    let mut out = Vec::new();
    for ((trace, place), (all, from, until)) in orphans {
        let around = |at: &usize| {
            let call = nodes.get(*at);
            call.is_some_and(|call| {
                call.parent != Some(place) && call.span != Some(place) && call.is_spanning((from, until))
            })
        };
        if let Some(call) = only_one(starters.get(trace).into_iter().flatten().copied().filter(around)) {
            out.extend(all.into_iter().map(|orphan| (orphan, call)));
        }
    }
    out
}

/// Cuts cycles; returns all entries, parents first.
pub(super) fn cut_cycles(up: &mut [Option<usize>]) -> Vec<usize> {
    #[derive(Clone, Copy, PartialEq)]
    enum VisitState {
        Not,
        OnThisWay,
        Before,
    }
    let (mut order, mut seen) = (Vec::with_capacity(up.len()), vec![VisitState::Not; up.len()]);
    let mut way = Vec::new();
    for start in 0..up.len() {
        let mut next = Some(start);
        while let Some(at) = next {
            let Some(seen_here) = seen.get_mut(at) else { break };
            match seen_here {
                VisitState::Before => break,
                VisitState::OnThisWay => {
                    // the last entry on the way names one that is above itself
                    if let Some(up) = way.last().and_then(|last: &usize| up.get_mut(*last)) {
                        *up = None;
                    }
                    break;
                }
                VisitState::Not => *seen_here = VisitState::OnThisWay,
            }
            way.push(at);
            next = up.get(at).copied().flatten();
        }
        for at in way.drain(..).rev() {
            if let Some(seen) = seen.get_mut(at) {
                *seen = VisitState::Before;
            }
            order.push(at);
        }
    }
    order
}
