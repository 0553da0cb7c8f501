//! [`unrooted`]: agent invocations with an unseen parent that are not roots of a run, because other items of their
//! trace lie outside of them. A sub-agent's span ends before that of the agent which started it, so it arrives first.
//! Invariants: at most one orphan of a trace is its root: the one that spans all the others in time, if no agent of
//! the trace has all its parents. Agents that name different sessions or runs are left alone. Items that share the
//! orphan's parent lie outside of it, whatever the clocks say. Linear. `tree` finds a place's ancestors; `evaluation`
//! decides when a run whose root has an unseen parent is over.

use std::collections::{HashMap, HashSet};

use super::group::ItemGroup;
use super::observation::{earlier, flag, mark};
use super::run::first_nonzero;

/// The orphans of one trace.
#[derive(Default)]
struct TraceOrphans {
    /// Agent invocations: place, start, end.
    agents: Vec<(u64, u64, u64)>,
    /// From the start of the first item below an unseen parent to the end of the last.
    start: u64,
    end: u64,
    /// An agent of the trace has all its parents.
    rooted: bool,
    /// The session and run that its agents name; 0 = none.
    names: (u32, u32),
    /// They name more than one session or run.
    mixed: bool,
}

/// The ancestors of a place if every agent invocation without an agent above it counts as a root: that root, and the
/// place on the way up whose parent was not seen; 0 = none.
pub(super) type RootAndOrphan = (u64, u64);

/// Places of agent invocations that are not roots.
pub(super) fn find_unrooted_agents(group: &ItemGroup, way: impl Fn(u64) -> RootAndOrphan) -> HashSet<u64> {
    let mut traces: HashMap<u32, TraceOrphans> = HashMap::new();
    for mark in group.marks.values().filter(|mark| mark.kind == mark::AGENT && mark.position.is_own_span) {
        let (root, orphan) = way(mark.position.node);
        if root != mark.position.node {
            continue;
        }
        let trace = traces.entry(mark.position.trace).or_default();
        trace.add_names(mark.session, mark.run);
        if orphan == 0 || mark.flags & flag::IS_TURN != 0 {
            trace.rooted = true;
        } else {
            trace.agents.push((mark.position.node, mark.start, mark.end));
        }
    }
    let parent = |place: u64| group.nodes.get(place).map_or(0, |node| node.parent);
    traces.retain(|_, trace| !trace.agents.is_empty() && !trace.mixed);
    if traces.is_empty() {
        return HashSet::new();
    }
    let calls = group.calls.values().map(|call| (&call.position, call.start, call.end));
    let tools = group.tools.values().map(|tool| (&tool.position, tool.start, tool.end));
    let marks = group.marks.values().map(|mark| (&mark.position, mark.start, mark.end));
    // for each unseen parent: one place below it, and whether there are others
    let mut below: HashMap<u64, (u64, bool)> = HashMap::new();
    for (spot, start, end) in calls.chain(tools).chain(marks) {
        let orphan = if spot.is_own_span { way(spot.node).1 } else { 0 };
        if let Some(trace) = traces.get_mut(&spot.trace).filter(|_| orphan != 0) {
            trace.start = earlier(trace.start, start);
            trace.end = trace.end.max(end);
            let known = below.entry(parent(orphan)).or_insert((orphan, false));
            known.1 |= known.0 != orphan;
        }
    }
    let alone = |place: u64| below.get(&parent(place)).is_none_or(|(_, others)| !others);
    traces.values().flat_map(|trace| trace.unrooted_agents(alone)).collect()
}

impl TraceOrphans {
    fn add_names(&mut self, session: u32, run: u32) {
        let differ = |known: u32, new: u32| known != 0 && new != 0 && known != new;
        self.mixed |= differ(self.names.0, session) || differ(self.names.1, run);
        self.names = (first_nonzero(self.names.0, session), first_nonzero(self.names.1, run));
    }

    /// `alone` says whether a place has no siblings below its unseen parent.
    fn unrooted_agents(&self, alone: impl Fn(u64) -> bool) -> impl Iterator<Item = u64> + '_ {
        let whole = |(place, start, end): &(u64, u64, u64)| *start <= self.start && *end >= self.end && alone(*place);
        let spans_all = self.agents.iter().filter(|agent| !self.rooted && whole(agent)).map(|(place, ..)| *place);
        let root = spans_all.min();
        self.agents.iter().map(|(place, ..)| *place).filter(move |place| Some(*place) != root)
    }
}
