//! Sums up the items of a group's runs. A call that several layers report counts once; the tokens of a turn count only
//! if no call reports its own; the sums do not depend on the order of items. `resolve` assigns items to runs.

use std::collections::{HashMap, HashSet};

use runs::{ModelTotals, StepKind};

use super::acts::{self, Act};
use super::group::{Call, Group, Mark, Spot, Tool};
use super::layers::{self, Counts};
use super::resolve::Resolved;
use super::run::{Id, Item, Run, What};
use super::seen::{flag, mark, trouble};
use super::terms::Terms;
use super::tokens::Tokens;
use super::twins::Twins;

/// Computes totals, peaks, ends and failures.
pub(super) fn add_up(resolved: &mut Resolved<'_>, items: &[Item<'_>], homes: &[Option<usize>], terms: &Terms) {
    let twins = Twins::of(items, homes);
    let counts = layers::counts(&resolved.group.nodes, items, &twins);
    let answered = counts.iter().zip(homes).filter(|(counts, _)| matches!(counts, Counts::Answered(_)));
    let with_calls: HashSet<usize> = answered.filter_map(|(_, home)| *home).collect();
    let turns = counts.iter().zip(homes).filter(|(counts, _)| matches!(counts, Counts::Turn(_)));
    let with_turns: HashSet<usize> = turns.filter_map(|(_, home)| *home).collect();
    let denied: HashMap<u64, u16> = denials(resolved.group);
    let mut state = Latest::default();
    for (number, ((item, home), counts)) in items.iter().zip(homes).zip(&counts).enumerate() {
        let Some(at) = *home else { continue };
        let above = resolved.tree.above(item.spot.node);
        let (group, Some(run)) = (resolved.group, resolved.runs.get_mut(at)) else { continue };
        match item.what {
            What::Call(call) => {
                let Some(call) = twins.call(number, call) else { continue };
                let counts = match *counts {
                    Counts::Turn(_) if with_calls.contains(&at) => Counts::Nothing,
                    // the end of the turn reports the tokens of its calls
                    Counts::NoUsage if with_turns.contains(&at) => Counts::Nothing,
                    counts => counts,
                };
                let sub = above.nested || call.flags & flag::SUB != 0;
                let aside = sub || call.flags & flag::ASIDE != 0;
                run.killed |= call.flags & flag::LIMIT != 0 && !above.nested;
                state.call(run, at, (item, call), counts, group, (aside, sub));
            }
            What::Tool(tool) => {
                let Some(tool) = twins.tool(number, tool) else { continue };
                let nested = above.nested;
                let above = denied.get(&tool.spot.node).copied().filter(|_| tool.spot.own);
                add_tool(run, item, tool, (above, nested), group);
            }
            What::Mark(mark) => {
                let root = match mark.kind == mark::AGENT && mark.spot.own && above.root == mark.spot.node {
                    false => Root::No,
                    true if above.orphan != 0 && mark.flags & flag::IS_TURN == 0 => Root::Presumed,
                    true => Root::Yes,
                };
                add_mark(run, item, mark, (root, above.nested), group);
            }
        }
    }
    state.finish(&mut resolved.runs);
    for run in &mut resolved.runs {
        run.roots.sort_unstable();
        run.peaks = acts::tell(&mut run.acts, &mut run.totals, resolved.group, terms);
    }
    iterations(resolved);
    session_ends(resolved);
    name_features(resolved, items, homes);
}

/// A run whose root does not name a feature takes it from its own calls. A sub-agent's calls name the sub-agent, so
/// they are ignored.
fn name_features(resolved: &mut Resolved<'_>, items: &[Item<'_>], homes: &[Option<usize>]) {
    let group = resolved.group;
    let mut features: HashMap<usize, u16> = HashMap::new();
    for (item, home) in items.iter().zip(homes) {
        let (What::Call(call), Some(home)) = (&item.what, home) else { continue };
        let is_rooted = resolved.runs.get(*home).is_none_or(|run| matches!(run.id, Id::Root(_)));
        if call.feature == 0 || is_rooted || call.flags & flag::SUB != 0 || resolved.tree.above(item.spot.node).nested {
            continue;
        }
        let known = features.entry(*home).or_default();
        *known = group.first_name(*known, call.feature);
    }
    for (home, feature) in features {
        if let Some(run) = resolved.runs.get_mut(home) {
            run.tags.feature = feature;
        }
    }
}

/// Tools that a span below them marks as denied, with the source of the denial.
fn denials(group: &Group) -> HashMap<u64, u16> {
    let mut denied: HashMap<u64, u16> = HashMap::new();
    for node in group.nodes.values().filter(|node| node.denied) {
        let known = denied.entry(node.parent).or_default();
        *known = group.first_name(*known, node.source);
    }
    denied
}

fn add_tool(run: &mut Run, item: &Item<'_>, tool: &Tool, (above, nested): (Option<u16>, bool), group: &Group) {
    let name = if tool.name == 0 { tool.alias } else { tool.name };
    let denied = above.is_some() || tool.flags & flag::DENIED != 0;
    if denied {
        let source = group.first_name(tool.source, above.unwrap_or(0));
        run.totals.add_denial(group.name(name), group.name(source), 1);
    }
    if tool.flags & flag::RAN == 0 {
        return;
    }
    let (failed, sub) = Act::flagged(tool.flags);
    let sub = sub || nested;
    let sum = run.totals.tool(group.name(name));
    match (denied, failed) {
        (true, _) => sum.denied += 1,
        (false, true) => sum.failed += 1,
        (false, false) => sum.ok += 1,
    }
    run.acts.push(Act {
        kind: StepKind::Tool,
        key: item.key,
        parent: parent(group, &tool.spot),
        spot: tool.spot.clone(),
        start: tool.start,
        end: tool.end,
        name,
        error: tool.error,
        failed: failed && !denied,
        denied,
        aside: false,
        sub,
        tokens: Tokens::of(&Default::default()),
        atto: None,
        asked: 0,
        provider: 0,
        trouble: trouble::NONE,
        fallback: trouble::NONE,
        attempts: 0,
        args: tool.args,
        stands_in: None,
    });
}

/// Place of the span above; for a log record the span it was written in.
fn parent(group: &Group, spot: &Spot) -> u64 {
    if spot.own { group.nodes.get(spot.node).map_or(0, |node| node.parent) } else { spot.node }
}

/// Whether an agent invocation is its run's root.
#[derive(Clone, Copy, PartialEq)]
enum Root {
    Yes,
    /// Presumably: its parent was not seen.
    Presumed,
    No,
}

fn add_mark(run: &mut Run, item: &Item<'_>, mark: &Mark, (root, nested): (Root, bool), group: &Group) {
    let (failed, sub) = Act::flagged(mark.flags);
    let is_root = root != Root::No;
    // A limit that stopped a sub-agent does not stop its parent, which may go on and succeed.
    run.killed |= mark.flags & flag::LIMIT != 0 && !sub && !nested;
    let is_turn_end = mark.kind == mark::TURN_END && !nested;
    if is_root || is_turn_end {
        let ended = mark.flags & flag::ENDED != 0;
        match root {
            Root::Presumed => {
                run.presumed_end |= ended;
                run.presumed_failed |= failed;
            }
            Root::Yes | Root::No => {
                run.ended |= ended;
                run.failed |= failed;
            }
        }
        run.okay |= mark.flags & flag::OKAY != 0;
    }
    if failed && (is_root || is_turn_end || mark.kind == mark::FAILURE) {
        run.totals.add_error(group.name(mark.error));
    }
    if is_root {
        run.roots.push(mark.spot.node);
        let (start, end) = run.root.unwrap_or((item.start, item.end));
        run.root = Some((start.min(item.start), end.max(item.end)));
    } else if mark.kind == mark::SUB_AGENT || (mark.kind == mark::AGENT && !sub) {
        run.totals.sub_agents += 1;
    }
}

/// A call that names another tenant than its run is counted for that tenant.
fn share(run: &mut Run, call: &Call, group: &Group, counts: Counts, price: Option<i128>) {
    if call.tenant != 0 && call.tenant != run.tags.tenant {
        let (atto_usd, unpriced) = (price.unwrap_or(0), u64::from(price.is_none()));
        let calls = u64::from(!matches!(counts, Counts::Failed(_)));
        let no_usage = u64::from(counts == Counts::NoUsage);
        let one = ModelTotals { calls, tokens: call.tokens.buckets(), atto_usd, unpriced, no_usage };
        run.totals.others.entry(group.name(call.tenant).to_owned()).or_default().add(&one);
    }
}

/// Values that are final only after all calls of a run were seen.
#[derive(Default)]
struct Latest {
    /// The latest call of each run: whether it belongs to the run's own loop (preferred), when it ended, and whether
    /// it failed.
    calls: HashMap<usize, ((bool, u64), bool)>,
    /// Number of answered calls that are steps of the run's own loop.
    own: HashMap<usize, u64>,
}

impl Latest {
    fn call(
        &mut self,
        run: &mut Run,
        at: usize,
        (item, call): (&Item<'_>, &Call),
        counts: Counts,
        group: &Group,
        (aside, sub): (bool, bool),
    ) {
        let model = if call.model == 0 { run.model } else { call.model };
        let price = match counts {
            Counts::Nothing => return,
            Counts::Failed(spent) => {
                run.totals.failed_calls += 1;
                if let Some(price) = spent {
                    run.totals.add_spent(group.name(model), call.tokens.buckets(), price);
                    share(run, call, group, counts, price);
                }
                spent.flatten()
            }
            Counts::NoUsage | Counts::Answered(_) | Counts::Turn(_) => {
                let price = match counts {
                    Counts::Answered(price) | Counts::Turn(price) => price,
                    _ => None,
                };
                run.totals.add_call(group.name(model), call.tokens.buckets(), price);
                if counts == Counts::NoUsage {
                    run.totals.mark_no_usage(group.name(model));
                }
                share(run, call, group, counts, price);
                run.totals.add_finish(group.name(call.finish));
                *self.own.entry(at).or_default() += u64::from(!aside);
                price
            }
        };
        let failed = matches!(counts, Counts::Failed(_));
        run.acts.push(Act {
            kind: StepKind::Model,
            key: item.key,
            parent: parent(group, &call.spot),
            spot: call.spot.clone(),
            start: call.start,
            end: call.end,
            name: model,
            error: call.error,
            failed,
            denied: false,
            aside,
            sub,
            tokens: if counts == Counts::Failed(None) { Tokens::of(&Default::default()) } else { call.tokens },
            atto: price,
            asked: call.asked,
            provider: call.provider,
            trouble: call.trouble,
            fallback: call.fallback,
            attempts: call.attempts,
            args: 0,
            stands_in: None,
        });
        let (latest, rank) = (self.calls.entry(at).or_default(), (!aside, call.end));
        // if two calls end at the same time, the answered one decides
        *latest = match latest.0.cmp(&rank) {
            std::cmp::Ordering::Less => (rank, failed),
            std::cmp::Ordering::Equal => (latest.0, latest.1 && failed),
            std::cmp::Ordering::Greater => *latest,
        };
    }

    /// A run whose last call failed has failed, unless it reports success. Iterations default to the number of own
    /// calls.
    fn finish(self, runs: &mut [Run]) {
        for (at, run) in runs.iter_mut().enumerate() {
            run.failed |= !run.okay && self.calls.get(&at).is_some_and(|(_, failed)| *failed);
            run.totals.iterations = self.own.get(&at).copied().unwrap_or(0);
        }
    }
}

/// Iteration numbers that items report replace the default count.
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

/// The end of a session ends the runs that had started by then.
fn session_ends(resolved: &mut Resolved<'_>) {
    let mut ends: HashMap<u32, u64> = HashMap::new();
    for mark in resolved.group.marks.values().filter(|mark| mark.kind == mark::SESSION_END) {
        let latest = ends.entry(mark.session).or_default();
        *latest = mark.end.max(*latest);
    }
    for run in &mut resolved.runs {
        run.ended |= run.session_key != 0 && ends.get(&run.session_key).is_some_and(|end| run.start <= *end);
    }
}
