//! [`SpanTree`]: the spans of a group as a forest: for each place the topmost agent invocation and the nearest named
//! run above it. Spans are exported when they end, so a sub-agent arrives before its parent: an agent with an unseen
//! parent may be a run's root, or a sub-agent of a root that is still to come.
//! The tree depends only on the set of spans; building it takes linear time; cycles of parents are cut at their
//! smallest place. `resolve` builds runs; `evaluation` decides when a run whose root has an unseen parent is over.

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::group::{ItemGroup, SpanNode};
use super::observation::{earlier, first_nonzero, flag, mark};
use super::run::{RunItem, all_items};

#[derive(Clone, Copy, Default)]
pub(super) struct SpanAncestors {
    /// The topmost agent invocation on the path up, the place itself included; 0 = none.
    pub(super) root: u64,
    /// The run named nearest on the path up to the root.
    pub(super) run: u32,
    /// Below an agent invocation that is not the root, or such an invocation itself.
    pub(super) nested: bool,
    /// The last place on the path up, if its parent was not seen; 0 = the path ends at a span without a parent.
    pub(super) orphan: u64,
}

pub(super) struct SpanTree {
    ancestors: HashMap<u64, SpanAncestors>,
    named_run_of_root: HashMap<u64, u32>,
    /// Places of agent invocations whose own root was not seen.
    unrooted: HashSet<u64>,
    /// The smallest place of each cycle of parents.
    cuts: HashSet<u64>,
}

impl SpanTree {
    pub(super) fn build(group: &ItemGroup) -> Self {
        let ancestors = HashMap::with_capacity(group.nodes.len());
        let (unrooted, cuts) = (HashSet::new(), HashSet::new());
        let mut tree = Self { ancestors, named_run_of_root: HashMap::new(), unrooted, cuts };
        tree.climb_all(group);
        tree.unrooted = find_unrooted_agents(group, &tree);
        if !tree.unrooted.is_empty() {
            tree.ancestors.clear();
            tree.climb_all(group);
        }
        for (place, node) in group.nodes.iter().filter(|(_, node)| node.run != 0) {
            let root = tree.ancestors(place).root;
            if root != 0 {
                let run = tree.named_run_of_root.get(&root).map_or(node.run, |known| group.first_key(*known, node.run));
                tree.named_run_of_root.insert(root, run);
            }
        }
        tree
    }

    /// The ancestors of a place; empty for an unknown place.
    pub(super) fn ancestors(&self, place: u64) -> SpanAncestors {
        self.ancestors.get(&place).copied().unwrap_or_default()
    }

    /// The run named for a place: nearest above it, otherwise anywhere below its root.
    pub(super) fn named_run(&self, place: u64) -> u32 {
        let SpanAncestors { root, run, .. } = self.ancestors(place);
        if run != 0 { run } else { self.named_run_of_root.get(&root).copied().unwrap_or(0) }
    }

    /// Places of agent invocations below an unseen root, that is, of sub-agents.
    pub(super) fn unrooted(&self) -> impl Iterator<Item = u64> {
        self.unrooted.iter().copied()
    }

    fn climb_all(&mut self, group: &ItemGroup) {
        let mut path = Vec::new();
        for place in group.nodes.keys() {
            while !self.climb(group, place, &mut path) {}
        }
    }

    /// Finds the ancestors of a place and of all places above it. Returns false if it had to cut a cycle of parents.
    fn climb<'g>(&mut self, group: &'g ItemGroup, place: u64, path: &mut Vec<(u64, &'g SpanNode)>) -> bool {
        path.clear();
        // a place on the way up; it is left behind at ever longer distances until a cycle leads back to it
        let (mut current, mut visited) = (place, place);
        let mut above = loop {
            if let Some(known) = self.ancestors.get(&current) {
                break *known;
            }
            let Some(node) = group.nodes.get(current) else {
                let orphan = path.last().map_or(0, |(place, _)| *place);
                break SpanAncestors { orphan, ..SpanAncestors::default() };
            };
            path.push((current, node));
            if node.parent == 0 || self.cuts.contains(&current) {
                break SpanAncestors::default();
            }
            if path.len().is_power_of_two() {
                visited = current;
            }
            current = node.parent;
            if current == visited {
                let first = path.iter().rposition(|(place, _)| *place == visited).unwrap_or(0);
                self.cuts.extend(path.iter().skip(first).map(|(place, _)| *place).min());
                return false;
            }
        };
        for (place, node) in path.drain(..).rev() {
            let orphan = above.orphan;
            let is_unrooted = self.unrooted.contains(&place);
            above = match (above.root, node.agent) {
                // A run named above the root is a different run.
                (0, true) if !is_unrooted && !above.nested => {
                    SpanAncestors { root: place, run: node.run, nested: false, orphan }
                }
                (root, is_agent) => SpanAncestors {
                    root,
                    run: if node.run != 0 { node.run } else { above.run },
                    nested: above.nested || is_unrooted || (root != 0 && is_agent),
                    orphan,
                },
            };
            self.ancestors.insert(place, above);
        }
        true
    }
}

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

/// Agent invocations with an unseen parent ("orphans") that are not roots of a run, because other items of their trace
/// lie outside of them: their places. A sub-agent's span ends before that of the agent which started it, so it arrives
/// first. `tree` takes every agent without one above it for a root. At most one orphan of a trace is its root: the one
/// that spans all the others in time, if no agent of the trace has all its parents. Agents that name different sessions
/// or runs are left alone. Items that share the orphan's parent lie outside of it, whatever the clocks say. Linear.
fn find_unrooted_agents(group: &ItemGroup, tree: &SpanTree) -> HashSet<u64> {
    let mut traces: HashMap<u32, TraceOrphans> = HashMap::new();
    for mark in group.marks.values().filter(|mark| mark.kind == mark::AGENT && mark.position.is_own_span) {
        let place = mark.position.node;
        let SpanAncestors { root, orphan, .. } = tree.ancestors(place);
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
        let orphan = if position.is_own_span { tree.ancestors(position.node).orphan } else { 0 };
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
