//! Sums up the items of a group's runs. A call that several layers report counts once; the tokens of a turn count only
//! if no call reports its own; the sums do not depend on the order of items. `resolve` assigns items to runs.

use std::collections::{HashMap, HashSet};

use runs::{ModelTotals, StepKind};

use super::aggregation_context::AggregationContext;
use super::group::{ItemGroup, LifecycleMark, ModelCallRecord, ToolCallRecord, TracePosition};
use super::layers::{self, CountDecision};
use super::observation::{flag, mark, trouble};
use super::paired_records::PairedRecords;
use super::resolve::ResolvedRuns;
use super::run::{ItemRecord, Run, RunIdentity, RunItem};
use super::run_calls::{self, RunCall};
use super::tokens::PackedTokens;

/// Computes totals, peaks, ends and failures.
pub(super) fn sum_runs(
    resolved: &mut ResolvedRuns<'_>,
    items: &[RunItem<'_>],
    homes: &[Option<usize>],
    terms: &AggregationContext,
) {
    let pairs = PairedRecords::pair_records(items, homes);
    let counts = layers::decide_counts(&resolved.group.nodes, items, &pairs);
    let answered = counts.iter().zip(homes).filter(|(counts, _)| matches!(counts, CountDecision::Answered(_)));
    let with_calls: HashSet<usize> = answered.filter_map(|(_, home)| *home).collect();
    let turns = counts.iter().zip(homes).filter(|(counts, _)| matches!(counts, CountDecision::TurnTokens(_)));
    let with_turns: HashSet<usize> = turns.filter_map(|(_, home)| *home).collect();
    let denied: HashMap<u64, u16> = denied_tools(resolved.group);
    let mut state = LatestCalls::default();
    for (number, ((item, home), counts)) in items.iter().zip(homes).zip(&counts).enumerate() {
        let Some(at) = *home else { continue };
        let above = resolved.tree.ancestors(item.position.node);
        let (group, Some(run)) = (resolved.group, resolved.runs.get_mut(at)) else { continue };
        match item.record {
            ItemRecord::Call(call) => {
                let Some(call) = pairs.call(number, call) else { continue };
                let counts = match *counts {
                    CountDecision::TurnTokens(_) if with_calls.contains(&at) => CountDecision::NotCounted,
                    // the end of the turn reports the tokens of its calls
                    CountDecision::NoUsage if with_turns.contains(&at) => CountDecision::NotCounted,
                    counts => counts,
                };
                let sub = above.nested || call.flags & flag::SUB_AGENT != 0;
                let aside = sub || call.flags & flag::OUTSIDE_LOOP != 0;
                run.killed |= call.flags & flag::LIMIT != 0 && !above.nested;
                state.add_call(run, at, (item, call), counts, group, (aside, sub));
            }
            ItemRecord::Tool(tool) => {
                let Some(tool) = pairs.tool(number, tool) else { continue };
                let nested = above.nested;
                let above = denied.get(&tool.position.node).copied().filter(|_| tool.position.is_own_span);
                add_tool(run, item, tool, (above, nested), group);
            }
            ItemRecord::Mark(mark) => {
                let root =
                    match mark.kind == mark::AGENT && mark.position.is_own_span && above.root == mark.position.node {
                        false => RootStatus::No,
                        true if above.orphan != 0 && mark.flags & flag::IS_TURN == 0 => RootStatus::Presumed,
                        true => RootStatus::Yes,
                    };
                add_mark(run, item, mark, (root, above.nested), group);
            }
        }
    }
    state.finish(&mut resolved.runs);
    for run in &mut resolved.runs {
        run.roots.sort_unstable();
        run.peaks = run_calls::summarize_calls(&mut run.calls, &mut run.totals, resolved.group, terms);
    }
    apply_reported_iterations(resolved);
    apply_session_ends(resolved);
    inherit_features(resolved, items, homes);
}

/// A run whose root does not name a feature takes it from its own calls. A sub-agent's calls name the sub-agent, so
/// they are ignored.
fn inherit_features(resolved: &mut ResolvedRuns<'_>, items: &[RunItem<'_>], homes: &[Option<usize>]) {
    let group = resolved.group;
    let mut features: HashMap<usize, u16> = HashMap::new();
    for (item, home) in items.iter().zip(homes) {
        let (ItemRecord::Call(call), Some(home)) = (&item.record, home) else { continue };
        let is_rooted = resolved.runs.get(*home).is_none_or(|run| matches!(run.id, RunIdentity::Root(_)));
        if call.feature == 0
            || is_rooted
            || call.flags & flag::SUB_AGENT != 0
            || resolved.tree.ancestors(item.position.node).nested
        {
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
fn denied_tools(group: &ItemGroup) -> HashMap<u64, u16> {
    let mut denied: HashMap<u64, u16> = HashMap::new();
    for node in group.nodes.values().filter(|node| node.denied) {
        let known = denied.entry(node.parent).or_default();
        *known = group.first_name(*known, node.denial_source);
    }
    denied
}

fn add_tool(
    run: &mut Run,
    item: &RunItem<'_>,
    tool: &ToolCallRecord,
    (above, nested): (Option<u16>, bool),
    group: &ItemGroup,
) {
    let name = if tool.name == 0 { tool.alias } else { tool.name };
    let denied = above.is_some() || tool.flags & flag::DENIED != 0;
    if denied {
        let source = group.first_name(tool.denial_source, above.unwrap_or(0));
        run.totals.add_denial(group.name(name), group.name(source), 1);
    }
    if tool.flags & flag::TOOL_RAN == 0 {
        return;
    }
    let (failed, sub) = RunCall::failed_and_sub_agent(tool.flags);
    let sub = sub || nested;
    let sum = run.totals.tool(group.name(name));
    match (denied, failed) {
        (true, _) => sum.denied += 1,
        (false, true) => sum.failed += 1,
        (false, false) => sum.ok += 1,
    }
    run.calls.push(RunCall {
        kind: StepKind::Tool,
        key: item.key,
        parent: parent_place(group, &tool.position),
        position: tool.position.clone(),
        start: tool.start,
        end: tool.end,
        name,
        error: tool.error,
        failed: failed && !denied,
        denied,
        outside_loop: false,
        sub_agent: sub,
        tokens: PackedTokens::from_buckets(&Default::default()),
        atto: None,
        requested_model: 0,
        provider: 0,
        trouble: trouble::NONE,
        fallback: trouble::NONE,
        attempts: 0,
        args: tool.args,
        replaced_model: None,
    });
}

/// Place of the span above; for a log record the span it was written in.
fn parent_place(group: &ItemGroup, spot: &TracePosition) -> u64 {
    if spot.is_own_span { group.nodes.get(spot.node).map_or(0, |node| node.parent) } else { spot.node }
}

/// Whether an agent invocation is its run's root.
#[derive(Clone, Copy, PartialEq)]
enum RootStatus {
    Yes,
    /// Presumably: its parent was not seen.
    Presumed,
    No,
}

fn add_mark(
    run: &mut Run,
    item: &RunItem<'_>,
    mark: &LifecycleMark,
    (root, nested): (RootStatus, bool),
    group: &ItemGroup,
) {
    let (failed, sub) = RunCall::failed_and_sub_agent(mark.flags);
    let is_root = root != RootStatus::No;
    // A limit that stopped a sub-agent does not stop its parent, which may go on and succeed.
    run.killed |= mark.flags & flag::LIMIT != 0 && !sub && !nested;
    let is_turn_end = mark.kind == mark::TURN_END && !nested;
    if is_root || is_turn_end {
        let ended = mark.flags & flag::ENDED != 0;
        match root {
            RootStatus::Presumed => {
                run.presumed_end |= ended;
                run.presumed_failed |= failed;
            }
            RootStatus::Yes | RootStatus::No => {
                run.ended |= ended;
                run.failed |= failed;
            }
        }
        run.succeeded |= mark.flags & flag::SUCCEEDED != 0;
    }
    if failed && (is_root || is_turn_end || mark.kind == mark::FAILURE) {
        run.totals.add_error(group.name(mark.error));
    }
    if is_root {
        run.roots.push(mark.position.node);
        let (start, end) = run.root.unwrap_or((item.start, item.end));
        run.root = Some((start.min(item.start), end.max(item.end)));
    } else if mark.kind == mark::SUB_AGENT || (mark.kind == mark::AGENT && !sub) {
        run.totals.sub_agents += 1;
    }
}

/// A call that names another tenant than its run is counted for that tenant.
fn add_other_tenant_share(
    run: &mut Run,
    call: &ModelCallRecord,
    group: &ItemGroup,
    counts: CountDecision,
    price: Option<i128>,
) {
    if call.tenant != 0 && call.tenant != run.tags.tenant {
        let (atto_usd, unpriced) = (price.unwrap_or(0), u64::from(price.is_none()));
        let calls = u64::from(!matches!(counts, CountDecision::Failed(_)));
        let no_usage = u64::from(counts == CountDecision::NoUsage);
        let one = ModelTotals { calls, tokens: call.tokens.to_buckets(), atto_usd, unpriced, no_usage };
        run.totals.other_tenants.entry(group.name(call.tenant).to_owned()).or_default().add(&one);
    }
}

/// Values that are final only after all calls of a run were seen.
#[derive(Default)]
struct LatestCalls {
    /// The latest call of each run: whether it belongs to the run's own loop (preferred), when it ended, and whether
    /// it failed.
    latest_call: HashMap<usize, ((bool, u64), bool)>,
    /// Number of answered calls that are steps of the run's own loop.
    own_calls: HashMap<usize, u64>,
}

impl LatestCalls {
    fn add_call(
        &mut self,
        run: &mut Run,
        at: usize,
        (item, call): (&RunItem<'_>, &ModelCallRecord),
        counts: CountDecision,
        group: &ItemGroup,
        (aside, sub): (bool, bool),
    ) {
        let model = if call.model == 0 { run.model } else { call.model };
        let price = match counts {
            CountDecision::NotCounted => return,
            CountDecision::Failed(spent) => {
                run.totals.failed_calls += 1;
                if let Some(price) = spent {
                    run.totals.add_tokens_and_cost(group.name(model), call.tokens.to_buckets(), price);
                    add_other_tenant_share(run, call, group, counts, price);
                }
                spent.flatten()
            }
            CountDecision::NoUsage | CountDecision::Answered(_) | CountDecision::TurnTokens(_) => {
                let price = match counts {
                    CountDecision::Answered(price) | CountDecision::TurnTokens(price) => price,
                    _ => None,
                };
                run.totals.add_call(group.name(model), call.tokens.to_buckets(), price);
                if counts == CountDecision::NoUsage {
                    run.totals.mark_no_usage(group.name(model));
                }
                add_other_tenant_share(run, call, group, counts, price);
                run.totals.add_finish(group.name(call.finish));
                *self.own_calls.entry(at).or_default() += u64::from(!aside);
                price
            }
        };
        let failed = matches!(counts, CountDecision::Failed(_));
        run.calls.push(RunCall {
            kind: StepKind::Model,
            key: item.key,
            parent: parent_place(group, &call.position),
            position: call.position.clone(),
            start: call.start,
            end: call.end,
            name: model,
            error: call.error,
            failed,
            denied: false,
            outside_loop: aside,
            sub_agent: sub,
            tokens: if counts == CountDecision::Failed(None) {
                PackedTokens::from_buckets(&Default::default())
            } else {
                call.tokens
            },
            atto: price,
            requested_model: call.requested_model,
            provider: call.provider,
            trouble: call.trouble,
            fallback: call.fallback,
            attempts: call.attempts,
            args: 0,
            replaced_model: None,
        });
        let (latest, rank) = (self.latest_call.entry(at).or_default(), (!aside, call.end));
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
            run.failed |= !run.succeeded && self.latest_call.get(&at).is_some_and(|(_, failed)| *failed);
            run.totals.iterations = self.own_calls.get(&at).copied().unwrap_or(0);
        }
    }
}

/// Iteration numbers that items report replace the default count.
fn apply_reported_iterations(resolved: &mut ResolvedRuns<'_>) {
    let mut told: HashMap<RunIdentity, HashSet<u32>> = HashMap::new();
    for (place, node) in resolved.group.nodes.iter().filter(|(_, node)| node.iteration != 0) {
        let spot = super::group::TracePosition { is_own_span: true, node: place, trace: node.trace };
        let session = resolved.group.key(node.trace).map_or(0, |key| key.session);
        if let Some(run) = resolved.find_run(node.run, &spot, session, 0) {
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
fn apply_session_ends(resolved: &mut ResolvedRuns<'_>) {
    let mut ends: HashMap<u32, u64> = HashMap::new();
    for mark in resolved.group.marks.values().filter(|mark| mark.kind == mark::SESSION_END) {
        let latest = ends.entry(mark.session).or_default();
        *latest = mark.end.max(*latest);
    }
    for run in &mut resolved.runs {
        run.ended |= run.session_key != 0 && ends.get(&run.session_key).is_some_and(|end| run.start <= *end);
    }
}
