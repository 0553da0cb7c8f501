//! [`SpanTree`]: the spans of a group as a forest: for each place the topmost agent invocation and the nearest named
//! run above it. Spans are exported when they end, so a sub-agent arrives before its parent: an agent with an unseen
//! parent may be a run's root, or a sub-agent of a root that is still to come.
//! The tree depends only on the set of spans; building it takes linear time; cycles of parents are cut at their
//! smallest place. `resolve` builds runs; `orphans` decides which agents with an unseen parent are roots.

use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};

use super::group::{ItemGroup, SpanNode};
use super::orphans::{self, RootAndOrphan};

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

/// All places of a group.
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
        let root_and_orphan = |place| {
            let SpanAncestors { root, orphan, .. } = tree.ancestors(place);
            RootAndOrphan { root, orphan }
        };
        tree.unrooted = orphans::find_unrooted_agents(group, root_and_orphan);
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
            if !self.climb(group, place, &mut path) {
                self.cuts = cycle_cuts(group);
                self.climb(group, place, &mut path);
            }
        }
    }

    /// Finds the ancestors of a place and of all places above it. Returns false if these are a cycle without a cut.
    fn climb<'g>(&mut self, group: &'g ItemGroup, place: u64, path: &mut Vec<(u64, &'g SpanNode)>) -> bool {
        path.clear();
        let mut current = place;
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
            if path.len() > group.nodes.len() {
                return false;
            }
            current = node.parent;
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

/// The smallest place of each cycle of parents.
fn cycle_cuts(group: &ItemGroup) -> HashSet<u64> {
    let (mut visited, mut cuts) = (HashSet::with_capacity(group.nodes.len()), HashSet::new());
    for place in group.nodes.keys() {
        let (mut path, mut index_on_path) = (Vec::new(), HashMap::new());
        let mut current = place;
        while current != 0 && !visited.contains(&current) {
            if let Some(&cycle_start) = index_on_path.get(&current) {
                cuts.extend(path.iter().skip(cycle_start).min().copied());
                break;
            }
            let Some(node) = group.nodes.get(current) else { break };
            index_on_path.insert(current, path.len());
            path.push(current);
            current = node.parent;
        }
        visited.extend(path);
    }
    cuts
}
