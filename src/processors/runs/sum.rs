//! **What**: adds the items of a group's runs up. **Invariants**: a call that several layers tell of counts once; the
//! tokens of a turn count only where no call tells its own; sums do not depend on the order of items.
//! **Not here**: whose item it is (`resolve`).

use std::collections::{HashMap, HashSet};

use super::group::Call;
use super::resolve::{Id, Item, Resolved, Run, What};
use super::seen::{flag, mark, worth};

/// What stands directly under a model call, or was logged in it.
#[derive(Clone, Copy, Default)]
struct Inner {
    answered: bool,
    failed: bool,
}

/// What a call counts as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Counts {
    Nothing,
    Answered,
    Turn,
    Failed,
}

/// Fills in totals, ends and failures.
pub(super) fn add_up(resolved: &mut Resolved<'_>, items: &[Item<'_>], homes: &[Option<usize>]) {
    let counts = counts(resolved, items);
    let with_calls: HashSet<usize> =
        (counts.iter().zip(homes)).filter_map(|(counts, home)| home.filter(|_| *counts == Counts::Answered)).collect();
    let mut state = Latest::default();
    for ((item, home), counts) in items.iter().zip(homes).zip(&counts) {
        let Some(at) = *home else { continue };
        let above = resolved.tree.above(item.spot.node);
        let (group, Some(run)) = (resolved.group, resolved.runs.get_mut(at)) else { continue };
        match item.what {
            What::Call(call) => {
                let counts =
                    if *counts == Counts::Turn && with_calls.contains(&at) { Counts::Nothing } else { *counts };
                let names = (group.name(call.model), group.name(call.finish));
                let nested = above.nested || call.flags & flag::SUB != 0;
                state.call(run, at, call, counts, names, nested);
            }
            What::Tool(tool) if tool.flags & flag::RAN != 0 => {
                let name = if tool.name == 0 { tool.alias } else { tool.name };
                run.totals.add_tool(group.name(name), tool);
            }
            What::Tool(_) => {}
            What::Mark(mark) => {
                let is_root = mark.kind == mark::AGENT && mark.spot.own && above.root == mark.spot.node;
                let sub = mark.flags & flag::SUB != 0;
                if is_root || mark.kind == mark::TURN_END {
                    run.ended |= mark.flags & flag::ENDED != 0;
                    run.failed |= mark.flags & flag::FAILED != 0;
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
    /// Answered calls that are not a sub-agent's.
    own: HashMap<usize, u64>,
}

impl Latest {
    fn call(&mut self, run: &mut Run, at: usize, call: &Call, counts: Counts, names: (&str, &str), nested: bool) {
        match counts {
            Counts::Nothing => return,
            Counts::Failed => run.totals.failed_calls += 1,
            Counts::Answered | Counts::Turn => {
                run.totals.add_call(names.0, call);
                run.totals.add_finish(names.1);
                *self.own.entry(at).or_default() += u64::from(!nested);
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

    /// A run whose last word was a failure has failed, whatever its root says; calls are its iterations, unless told.
    fn finish(self, runs: &mut [Run]) {
        for (at, run) in runs.iter_mut().enumerate() {
            run.failed |= self.calls.get(&at).is_some_and(|(_, failed)| *failed);
            run.totals.iterations = self.own.get(&at).copied().unwrap_or(0);
        }
    }
}

/// What each item counts as, in their order.
fn counts(resolved: &Resolved<'_>, items: &[Item<'_>]) -> Vec<Counts> {
    let nodes = &resolved.group.nodes;
    let mut inner: HashMap<u64, Inner> = HashMap::new();
    let calls = || {
        items.iter().filter_map(|item| match item.what {
            What::Call(call) => Some(call),
            _ => None,
        })
    };
    let spans: HashSet<u64> = calls().filter(|call| call.spot.own).map(|call| call.spot.node).collect();
    for call in calls() {
        let own = call.spot.own;
        let outer = if own { nodes.get(&call.spot.node).map_or(0, |node| node.parent) } else { call.spot.node };
        if spans.contains(&outer) {
            let inner = inner.entry(outer).or_default();
            inner.answered |= is_answered(call);
            inner.failed |= call.flags & flag::FAILED != 0;
        }
    }
    let count = |item: &Item<'_>| {
        let What::Call(call) = item.what else { return Counts::Nothing };
        let inner = inner.get(&call.spot.node).filter(|_| call.spot.own).copied().unwrap_or_default();
        let failed = call.flags & (flag::FAILED | flag::REAL) == flag::FAILED;
        match is_answered(call) {
            true if inner.answered => Counts::Nothing,
            true if call.flags & flag::TURN != 0 => Counts::Turn,
            true => Counts::Answered,
            false if failed && !inner.answered && !inner.failed => Counts::Failed,
            false => Counts::Nothing,
        }
    };
    items.iter().map(count).collect()
}

/// A model answered, and it is no repeat of a call that was counted before.
fn is_answered(call: &Call) -> bool {
    call.flags & flag::REAL != 0 && call.worth != worth::NOT_COUNTED
}

/// Where items tell the number of their iteration, these count.
fn iterations(resolved: &mut Resolved<'_>) {
    let mut told: HashMap<Id, HashSet<u32>> = HashMap::new();
    for (place, node) in resolved.group.nodes.iter().filter(|(_, node)| node.iteration != 0) {
        let spot = super::group::Spot { own: true, node: *place, trace: node.trace };
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
