//! [`find_unrooted_agents`]: agent invocations with an unseen parent ("orphans") that are not roots of a run, because
//! other items of their trace lie outside of them. A sub-agent's span ends before that of the agent which started it,
//! so it arrives first.
//! Invariants: at most one orphan of a trace is its root: the one that spans all the others in time, if no agent of
//! the trace has all its parents. Agents that name different sessions or runs are left alone. Items that share the
//! orphan's parent lie outside of it, whatever the clocks say. Linear. `tree` finds a place's ancestors; `evaluation`
//! decides when a run whose root has an unseen parent is over.

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::group::ItemGroup;
use super::observation::{earlier, flag, mark};
use super::run::{RunItem, all_items, first_nonzero};

/// An agent invocation with an unseen parent.
struct OrphanAgent {
    place: u64,
    start: u64,
    end: u64,
}

#[derive(Default)]
struct TraceOrphans {
    agents: Vec<OrphanAgent>,
    /// From the start of the first item below an unseen parent to the end of the last.
    start: u64,
    end: u64,
    has_rooted_agent: bool,
    /// The session and run that its agents name; 0 = none.
    session: u32,
    run: u32,
    /// The agents name more than one session or run.
    has_other_names: bool,
}

/// The ancestors of a place if every agent invocation without an agent above it counts as a root.
pub(super) struct RootAndOrphan {
    pub(super) root: u64,
    /// The place on the way up whose parent was not seen; 0 = none.
    pub(super) orphan: u64,
}

/// Places of agent invocations that are not roots.
pub(super) fn find_unrooted_agents(group: &ItemGroup, ancestors: impl Fn(u64) -> RootAndOrphan) -> HashSet<u64> {
    let mut traces: HashMap<u32, TraceOrphans> = HashMap::new();
    for mark in group.marks.values().filter(|mark| mark.kind == mark::AGENT && mark.position.is_own_span) {
        let place = mark.position.node;
        let RootAndOrphan { root, orphan } = ancestors(place);
        if root != place {
            continue;
        }
        let trace = traces.entry(mark.position.trace).or_default();
        trace.add_names(mark.session, mark.run);
        if orphan == 0 || mark.flags & flag::IS_TURN != 0 {
            trace.has_rooted_agent = true;
        } else {
            trace.agents.push(OrphanAgent { place, start: mark.start, end: mark.end });
        }
    }
    traces.retain(|_, trace| !trace.agents.is_empty() && !trace.has_other_names);
    if traces.is_empty() {
        return HashSet::new();
    }
    let parent = |place: u64| group.nodes.get(place).map_or(0, |node| node.parent);
    // for each unseen parent: one place below it, and whether there are others
    let mut below: HashMap<u64, (u64, bool)> = HashMap::new();
    for RunItem { position, start, end, .. } in all_items(group) {
        let orphan = if position.is_own_span { ancestors(position.node).orphan } else { 0 };
        if let Some(trace) = traces.get_mut(&position.trace).filter(|_| orphan != 0) {
            trace.start = earlier(trace.start, start);
            trace.end = trace.end.max(end);
            let (first, has_others) = below.entry(parent(orphan)).or_insert((orphan, false));
            *has_others |= *first != orphan;
        }
    }
    let has_siblings = |place: u64| below.get(&parent(place)).is_some_and(|(_, has_others)| *has_others);
    traces.values().flat_map(|trace| trace.unrooted_agents(has_siblings)).collect()
}

impl TraceOrphans {
    fn add_names(&mut self, session: u32, run: u32) {
        let differ = |known: u32, new: u32| known != 0 && new != 0 && known != new;
        self.has_other_names |= differ(self.session, session) || differ(self.run, run);
        (self.session, self.run) = (first_nonzero(self.session, session), first_nonzero(self.run, run));
    }

    /// `has_siblings` says whether there are other places below the unseen parent of a place.
    fn unrooted_agents(&self, has_siblings: impl Fn(u64) -> bool) -> impl Iterator<Item = u64> + '_ {
        let spans_all =
            |agent: &&OrphanAgent| agent.start <= self.start && agent.end >= self.end && !has_siblings(agent.place);
        let candidates = self.agents.iter().filter(|agent| !self.has_rooted_agent && spans_all(agent));
        let root = candidates.map(|agent| agent.place).min();
        self.agents.iter().map(|agent| agent.place).filter(move |place| Some(*place) != root)
    }
}
