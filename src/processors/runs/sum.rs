//! **What**: adds the items of a group's runs up. **Invariants**: a call that several layers tell of counts once; the
//! tokens of a turn count only where no call tells its own; sums do not depend on the order of items.
//! **Not here**: whose item it is (`resolve`).

use std::collections::{HashMap, HashSet};

use super::group::Call;
use super::layers::{self, Counts};
use super::resolve::{Id, Item, Resolved, Run, What};
use super::seen::{flag, mark};

/// Fills in totals, ends and failures.
pub(super) fn add_up(resolved: &mut Resolved<'_>, items: &[Item<'_>], homes: &[Option<usize>]) {
    let counts = layers::counts(&resolved.group.nodes, items);
    let answered = counts.iter().zip(homes).filter(|(counts, _)| matches!(counts, Counts::Answered(_)));
    let with_calls: HashSet<usize> = answered.filter_map(|(_, home)| *home).collect();
    let denied: HashSet<u64> =
        resolved.group.nodes.values().filter(|node| node.denied).map(|node| node.parent).collect();
    let mut state = Latest::default();
    for ((item, home), counts) in items.iter().zip(homes).zip(&counts) {
        let Some(at) = *home else { continue };
        let above = resolved.tree.above(item.spot.node);
        let (group, Some(run)) = (resolved.group, resolved.runs.get_mut(at)) else { continue };
        match item.what {
            What::Call(call) => {
                let counts = match *counts {
                    Counts::Turn(_) if with_calls.contains(&at) => Counts::Nothing,
                    counts => counts,
                };
                let model = if call.model == 0 { run.model } else { call.model };
                let names = (group.name(model), group.name(call.finish));
                let aside = above.nested || call.flags & (flag::SUB | flag::ASIDE) != 0;
                state.call(run, at, call, counts, names, aside);
            }
            What::Tool(tool) if tool.flags & flag::RAN != 0 => {
                let name = if tool.name == 0 { tool.alias } else { tool.name };
                let denied = tool.spot.own && denied.contains(&tool.spot.node);
                run.totals.add_tool(group.name(name), if denied { tool.flags | flag::DENIED } else { tool.flags });
            }
            What::Tool(_) => {}
            What::Mark(mark) => {
                let is_root = mark.kind == mark::AGENT && mark.spot.own && above.root == mark.spot.node;
                let sub = mark.flags & flag::SUB != 0;
                if is_root || mark.kind == mark::TURN_END {
                    run.ended |= mark.flags & flag::ENDED != 0;
                    run.failed |= mark.flags & flag::FAILED != 0;
                    run.okay |= mark.flags & flag::OKAY != 0;
                }
                if is_root {
                    run.roots.push(mark.spot.node);
                    let (start, end) = run.root.unwrap_or((item.start, item.end));
                    run.root = Some((start.min(item.start), end.max(item.end)));
                } else if mark.kind == mark::SUB_AGENT || (mark.kind == mark::AGENT && !sub) {
                    run.totals.sub_agents += 1;
                }
            }
        }
    }
    state.finish(&mut resolved.runs);
    iterations(resolved);
    session_ends(resolved);
}

/// What is only known when all calls of a run were seen.
#[derive(Default)]
struct Latest {
    /// Time of the latest call of a run, and whether it failed.
    calls: HashMap<usize, (u64, bool)>,
    /// Answered calls that are steps of the run's own loop.
    own: HashMap<usize, u64>,
}

impl Latest {
    fn call(&mut self, run: &mut Run, at: usize, call: &Call, counts: Counts, names: (&str, &str), aside: bool) {
        match counts {
            Counts::Nothing => return,
            Counts::Failed => run.totals.failed_calls += 1,
            Counts::Answered(price) | Counts::Turn(price) => {
                run.totals.add_call(names.0, call.tokens.buckets(), price);
                run.totals.add_finish(names.1);
                *self.own.entry(at).or_default() += u64::from(!aside);
            }
        }
        let latest = self.calls.entry(at).or_default();
        // of two at one time the answered one
        *latest = match latest.0.cmp(&call.end) {
            std::cmp::Ordering::Less => (call.end, counts == Counts::Failed),
            std::cmp::Ordering::Equal => (latest.0, latest.1 && counts == Counts::Failed),
            std::cmp::Ordering::Greater => *latest,
        };
    }

    /// A run whose last call failed has failed, unless it says that all went well. Calls are its iterations, unless told.
    fn finish(self, runs: &mut [Run]) {
        for (at, run) in runs.iter_mut().enumerate() {
            run.failed |= !run.okay && self.calls.get(&at).is_some_and(|(_, failed)| *failed);
            run.totals.iterations = self.own.get(&at).copied().unwrap_or(0);
        }
    }
}

/// Where items tell the number of their iteration, these count.
fn iterations(resolved: &mut Resolved<'_>) {
    let mut told: HashMap<Id, HashSet<u32>> = HashMap::new();
    for (place, node) in resolved.group.nodes.iter().filter(|(_, node)| node.iteration != 0) {
        let spot = super::group::Spot { own: true, node: place, trace: node.trace };
        let session = resolved.group.key(node.trace).map_or(0, |key| key.within);
        if let Some(run) = resolved.run_of(node.run, &spot, session, 0) {
            told.entry(run.id).or_default().insert(node.iteration);
        }
    }
    for run in &mut resolved.runs {
        if let Some(told) = told.get(&run.id) {
            run.totals.iterations = told.len() as u64;
        }
    }
}

/// The end of a session ends the runs that had begun by then.
fn session_ends(resolved: &mut Resolved<'_>) {
    let ends: Vec<(u32, u64)> = (resolved.group.marks.values())
        .filter(|mark| mark.kind == mark::SESSION_END)
        .map(|mark| (mark.session, mark.end))
        .collect();
    for run in &mut resolved.runs {
        let over = |(session, end): &(u32, u64)| *session == run.session_key && run.start <= *end;
        run.ended |= run.session_key != 0 && ends.iter().any(over);
    }
}
