//! **What**: [`unrooted`]: agent invocations whose parent was not seen and that are no run's root, because something
//! else of their trace was done outside of them: a sub-agent's span comes before that of the agent which started it.
//! **Invariants**: of a trace's orphans at most one is its root: the one that lasts as long as all the others together,
//! where no agent of the trace has its parents; agents that name sessions or runs of their own stay apart; what has the
//! same parent was done outside whatever clocks say; linear. **Not here**: what stands above a place (`tree`), when a
//! run whose root has an unseen parent is over (`look`).

use std::collections::{HashMap, HashSet};

use super::group::Group;
use super::run::first_nonzero;
use super::seen::{earlier, flag, mark};

/// The orphans of one trace.
#[derive(Default)]
struct Orphans {
    /// Agent invocations: place and times.
    agents: Vec<(u64, u64, u64)>,
    /// From the begin of the first item without a parent to the end of the last.
    start: u64,
    end: u64,
    /// An agent of the trace has all its parents.
    rooted: bool,
    /// Session and run that its agents name; 0 = none.
    names: (u32, u32),
    /// They name several.
    mixed: bool,
}

/// What stands above a place if all agent invocations under no other are roots: that root, and the place on the way up
/// whose parent was not seen; 0 = none.
pub(super) type Way = (u64, u64);

/// Agent invocations that are no roots.
pub(super) fn unrooted(group: &Group, way: impl Fn(u64) -> Way) -> HashSet<u64> {
    let mut traces: HashMap<u32, Orphans> = HashMap::new();
    for mark in group.marks.values().filter(|mark| mark.kind == mark::AGENT && mark.spot.own) {
        let (root, orphan) = way(mark.spot.node);
        if root != mark.spot.node {
            continue;
        }
        let trace = traces.entry(mark.spot.trace).or_default();
        trace.name(mark.session, mark.run);
        if orphan == 0 || mark.flags & flag::IS_TURN != 0 {
            trace.rooted = true;
        } else {
            trace.agents.push((mark.spot.node, mark.start, mark.end));
        }
    }
    let parent = |place: u64| group.nodes.get(place).map_or(0, |node| node.parent);
    traces.retain(|_, trace| !trace.agents.is_empty() && !trace.mixed);
    if traces.is_empty() {
        return HashSet::new();
    }
    let calls = group.calls.values().map(|call| (&call.spot, call.start, call.end));
    let tools = group.tools.values().map(|tool| (&tool.spot, tool.start, tool.end));
    let marks = group.marks.values().map(|mark| (&mark.spot, mark.start, mark.end));
    // below each parent that was not seen, a place, and whether there are others
    let mut below: HashMap<u64, (u64, bool)> = HashMap::new();
    for (spot, start, end) in calls.chain(tools).chain(marks) {
        let orphan = if spot.own { way(spot.node).1 } else { 0 };
        if let Some(trace) = traces.get_mut(&spot.trace).filter(|_| orphan != 0) {
            trace.start = earlier(trace.start, start);
            trace.end = trace.end.max(end);
            let known = below.entry(parent(orphan)).or_insert((orphan, false));
            known.1 |= known.0 != orphan;
        }
    }
    let alone = |place: u64| below.get(&parent(place)).is_none_or(|(_, others)| !others);
    traces.values().flat_map(|trace| trace.unrooted(alone)).collect()
}

impl Orphans {
    fn name(&mut self, session: u32, run: u32) {
        let differ = |known: u32, new: u32| known != 0 && new != 0 && known != new;
        self.mixed |= differ(self.names.0, session) || differ(self.names.1, run);
        self.names = (first_nonzero(self.names.0, session), first_nonzero(self.names.1, run));
    }

    /// `alone`: whether nothing else has the parent of a place.
    fn unrooted(&self, alone: impl Fn(u64) -> bool) -> impl Iterator<Item = u64> + '_ {
        let whole = |(place, start, end): &(u64, u64, u64)| *start <= self.start && *end >= self.end && alone(*place);
        let spans_all = self.agents.iter().filter(|agent| !self.rooted && whole(agent)).map(|(place, ..)| *place);
        let root = spans_all.min();
        self.agents.iter().map(|(place, ..)| *place).filter(move |place| Some(*place) != root)
    }
}
