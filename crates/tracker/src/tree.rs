//! [`SpanTree`]: the spans of a group as a forest: the topmost agent invocation above each place, and the run named
//! nearest above it. Spans are exported when they end, so a sub-agent arrives before its parent: an agent with an
//! unseen parent may be a run's root, or a sub-agent of a root that is still to come.
//! A function of the set of spans alone; linear; cycles of parents are cut at their smallest place. `resolve` builds
//! runs; `orphans` decides which agents with an unseen parent are roots.

use std::collections::{HashMap, HashSet};

use super::group::ItemGroup;
use super::orphans;

/// The ancestors of a place.
#[derive(Clone, Copy, Default)]
pub(super) struct SpanAncestors {
    /// The topmost agent invocation on the way up, the place itself included; 0 = none.
    pub(super) root: u64,
    /// The run named nearest on the way up, up to the root.
    pub(super) run: u32,
    /// Below an agent invocation that is not the root, or such an invocation itself.
    pub(super) nested: bool,
    /// The first place on the way up whose parent was not seen; 0 = the way ends at a span without a parent.
    pub(super) orphan: u64,
}

/// All places of a group.
pub(super) struct SpanTree {
    above: HashMap<u64, SpanAncestors>,
    /// The run that is named in the tree below each root.
    named_run_of_root: HashMap<u64, u32>,
    /// Agent invocations whose own root was not seen.
    unrooted: HashSet<u64>,
}

impl SpanTree {
    pub(super) fn build(group: &ItemGroup) -> Self {
        let above = HashMap::with_capacity(group.nodes.len());
        let mut tree = Self { above, named_run_of_root: HashMap::new(), unrooted: HashSet::new() };
        let cuts = cycle_cuts(group);
        tree.climb_all(group, &cuts);
        let way = |place| {
            let above = tree.ancestors(place);
            (above.root, above.orphan)
        };
        tree.unrooted = orphans::find_unrooted_agents(group, way);
        if !tree.unrooted.is_empty() {
            tree.above.clear();
            tree.climb_all(group, &cuts);
        }
        for (place, node) in group.nodes.iter().filter(|(_, node)| node.run != 0) {
            let above = tree.ancestors(place);
            if above.root != 0 {
                let run =
                    tree.named_run_of_root.get(&above.root).map_or(node.run, |known| group.first_key(*known, node.run));
                tree.named_run_of_root.insert(above.root, run);
            }
        }
        tree
    }

    /// The ancestors of a place; empty for an unknown place.
    pub(super) fn ancestors(&self, place: u64) -> SpanAncestors {
        self.above.get(&place).copied().unwrap_or_default()
    }

    /// The run named for a place: nearest above it, otherwise anywhere below its root.
    pub(super) fn named_run(&self, place: u64) -> u32 {
        let above = self.ancestors(place);
        if above.run != 0 { above.run } else { self.named_run_of_root.get(&above.root).copied().unwrap_or(0) }
    }

    /// Agent invocations below an unseen root, that is, sub-agents.
    pub(super) fn unrooted(&self) -> impl Iterator<Item = u64> {
        self.unrooted.iter().copied()
    }

    fn climb_all(&mut self, group: &ItemGroup, cuts: &HashSet<u64>) {
        for place in group.nodes.keys() {
            self.climb(group, place, cuts);
        }
    }

    fn climb(&mut self, group: &ItemGroup, place: u64, cuts: &HashSet<u64>) {
        let mut way = Vec::new();
        let mut at = place;
        let mut above = loop {
            if let Some(known) = self.above.get(&at) {
                break *known;
            }
            let Some(node) = group.nodes.get(at) else {
                let orphan = way.last().map_or(0, |(last, _)| *last);
                break SpanAncestors { orphan, ..SpanAncestors::default() };
            };
            way.push((at, node));
            if node.parent == 0 || cuts.contains(&at) {
                break SpanAncestors::default();
            }
            at = node.parent;
        };
        for (at, node) in way.into_iter().rev() {
            let orphan = above.orphan;
            let unrooted = self.unrooted.contains(&at);
            above = match (above.root, node.agent) {
                // A run named above the root is a different run.
                (0, true) if !unrooted && !above.nested => {
                    SpanAncestors { root: at, run: node.run, nested: false, orphan }
                }
                (root, agent) => SpanAncestors {
                    root,
                    run: if node.run != 0 { node.run } else { above.run },
                    nested: above.nested || unrooted || (root != 0 && agent),
                    orphan,
                },
            };
            self.above.insert(at, above);
        }
    }
}

/// The smallest place of each cycle of parents.
fn cycle_cuts(group: &ItemGroup) -> HashSet<u64> {
    let (mut done, mut cuts) = (HashSet::with_capacity(group.nodes.len()), HashSet::new());
    for place in group.nodes.keys() {
        let (mut way, mut on_way) = (Vec::new(), HashMap::new());
        let mut at = place;
        while at != 0 && !done.contains(&at) {
            if let Some(&from) = on_way.get(&at) {
                cuts.extend(way.iter().skip(from).min().copied());
                break;
            }
            let Some(node) = group.nodes.get(at) else { break };
            on_way.insert(at, way.len());
            way.push(at);
            at = node.parent;
        }
        done.extend(way);
    }
    cuts
}
