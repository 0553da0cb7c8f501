//! Sums up the items of a group's runs. A call that several layers report counts once; the tokens of a turn count only
//! if no call of the run reports its own; the sums do not depend on the order of items. `resolve` assigns items to
//! runs.

use foldhash::{HashMap, HashMapExt as _, HashSet};

use runs::{ModelTotals, RunWork, StepKind, ToolTotals, UNATTRIBUTED};

use super::ends;
use super::group::{ItemGroup, LifecycleMark, ModelCall, ModelCallRecord, SummedCalls, ToolCallRecord, TracePosition};
use super::model_calls::{CountDecision, ModelCalls};
use super::observation::{first_nonzero, flag, mark, price_quality};
use super::paired_tools::PairedTools;
use super::resolve::ResolvedRuns;
use super::run::{ItemRecord, Run, RunIdentity, RunItem};
use super::run_calls::{self, AggregationContext, RunCall};
use super::tokens::PackedTokens;

/// Computes totals, peaks, ends and failures. `item_runs`: the run of each item.
pub(super) fn sum_runs(
    resolved: &mut ResolvedRuns<'_>,
    items: &[RunItem<'_>],
    item_runs: &[Option<usize>],
    context: &AggregationContext,
) {
    let paired_tools = PairedTools::pair_records(items, item_runs);
    let model_calls = ModelCalls::count(resolved.group, items, item_runs);
    let decisions = &model_calls.decisions;
    let runs_with = |is_wanted: fn(&CountDecision) -> bool| -> HashSet<usize> {
        let wanted = decisions.iter().zip(item_runs).filter(|(decision, _)| is_wanted(decision));
        wanted.filter_map(|(_, run)| *run).collect()
    };
    let has_tokens = |decision: &_| matches!(decision, CountDecision::Answered(_) | CountDecision::FailedWithTokens(_));
    let runs_with_calls = runs_with(has_tokens);
    let runs_with_totals = runs_with(|decision| matches!(decision, CountDecision::Total(_)));
    let denied_tools = denied_tools(resolved.group);
    let mut latest_calls = LatestCalls::default();
    for (item_index, ((item, run_index), decision)) in items.iter().zip(item_runs).zip(decisions).enumerate() {
        let Some(run_index) = *run_index else { continue };
        let ancestors = resolved.tree.ancestors(item.position.node);
        let (group, Some(run)) = (resolved.group, resolved.runs.get_mut(run_index)) else { continue };
        match item.record {
            ItemRecord::Call(call) => {
                let call = model_calls.call(item_index, call);
                let decision = match *decision {
                    // its calls report the tokens; what it was charged stays
                    CountDecision::Total(price) if runs_with_calls.contains(&run_index) => {
                        price.map_or(CountDecision::NotCounted, CountDecision::Change)
                    }
                    // the end of the turn reports the tokens of its calls
                    CountDecision::NoUsage if runs_with_totals.contains(&run_index) => CountDecision::NotCounted,
                    decision => decision,
                };
                let sub_agent = ancestors.nested || call.flags & flag::SUB_AGENT != 0;
                let outside_loop = sub_agent || call.flags & flag::OUTSIDE_LOOP != 0;
                run.killed |= call.flags & flag::LIMIT != 0 && !ancestors.nested;
                latest_calls.add_call(run, run_index, (item, call), decision, group, (outside_loop, sub_agent));
            }
            ItemRecord::Summed(sum) => latest_calls.add_summed(run, run_index, sum, group),
            ItemRecord::Tool(tool) => {
                let Some(tool) = paired_tools.tool(item_index, tool) else { continue };
                let denied_by = denied_tools.get(&tool.position.node).copied().filter(|_| tool.position.is_own_span);
                add_tool(run, item, tool, (denied_by, ancestors.nested), group);
            }
            ItemRecord::Mark(mark) => {
                let is_agent = mark.kind == mark::AGENT && mark.position.is_own_span;
                let is_root = is_agent && ancestors.root == mark.position.node;
                let is_presumed = is_root && ancestors.orphan != 0 && mark.flags & flag::IS_TURN == 0;
                add_mark(run, item, mark, [is_root, is_presumed, ancestors.nested], group);
            }
        }
    }
    latest_calls.finish(&mut resolved.runs, resolved.group);
    add_changes(&mut resolved.runs, items, item_runs);
    for run in &mut resolved.runs {
        run.roots.sort_unstable();
        run.peaks = run_calls::summarize_calls(&mut run.calls, &mut run.totals, resolved.group, context);
    }
    apply_reported_iterations(resolved);
    ends::end_runs(resolved.group, &mut resolved.runs, items, item_runs);
    apply_session_ends(resolved);
    inherit_features(resolved, items, item_runs);
}

/// Adds changes of charges to the calls that they belong to, for the most expensive one.
fn add_changes(runs: &mut [Run], items: &[RunItem<'_>], item_runs: &[Option<usize>]) {
    let changes: Vec<(usize, &ModelCallRecord)> = items
        .iter()
        .zip(item_runs)
        .filter_map(|(item, run_index)| match item.record {
            ItemRecord::Call(call) if call.price_quality == price_quality::CHANGE => Some(((*run_index)?, call)),
            _ => None,
        })
        .filter(|(_, change)| change.position.node != 0)
        .collect();
    let mut calls: HashMap<(usize, u64), &mut RunCall> = HashMap::new();
    for (run_index, run) in runs.iter_mut().enumerate().filter(|_| !changes.is_empty()) {
        for call in run.calls.iter_mut().filter(|call| call.kind == StepKind::Model) {
            calls.entry((run_index, call.position.node)).or_insert(call);
        }
    }
    for (run_index, change) in changes {
        if let Some(call) = calls.get_mut(&(run_index, change.position.node)) {
            call.atto = Some(call.atto.unwrap_or(0).saturating_add(change.atto.amount()));
        }
    }
}

/// A run that is not identified by a root takes its feature from its own calls. A sub-agent's calls name the sub-agent,
/// so they are ignored.
fn inherit_features(resolved: &mut ResolvedRuns<'_>, items: &[RunItem<'_>], item_runs: &[Option<usize>]) {
    let group = resolved.group;
    let mut features: HashMap<usize, u16> = HashMap::new();
    for (item, run_index) in items.iter().zip(item_runs) {
        let (ItemRecord::Call(call), Some(run_index)) = (&item.record, run_index) else { continue };
        let is_rooted = resolved.runs.get(*run_index).is_none_or(|run| matches!(run.id, RunIdentity::Root(_)));
        if call.feature == 0
            || is_rooted
            || call.flags & flag::SUB_AGENT != 0
            || resolved.tree.ancestors(item.position.node).nested
        {
            continue;
        }
        let known = features.entry(*run_index).or_default();
        *known = group.first_name(*known, call.feature);
    }
    for (run_index, feature) in features {
        if let Some(run) = resolved.runs.get_mut(run_index) {
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

/// `denied_by`: source of a denial that a span below the tool reports.
fn add_tool(
    run: &mut Run,
    item: &RunItem<'_>,
    tool: &ToolCallRecord,
    (denied_by, is_nested): (Option<u16>, bool),
    group: &ItemGroup,
) {
    let name = tool.any_name();
    let denied = denied_by.is_some() || tool.flags & flag::DENIED != 0;
    if denied {
        let source = group.first_name(tool.denial_source, denied_by.unwrap_or(0));
        run.totals.add_denial(group.name(name), group.name(source), 1);
    }
    if tool.flags & flag::TOOL_RAN == 0 {
        return;
    }
    let failed = tool.flags & flag::FAILED != 0;
    run.totals.work.add(&RunWork { lines: tool.lines.map(i128::from), ..RunWork::default() });
    let tool_totals = run.totals.tool(group.name(name));
    match (denied, failed) {
        (true, _) => tool_totals.denied += 1,
        (false, true) => tool_totals.failed += 1,
        (false, false) => tool_totals.ok += 1,
    }
    run.calls.push(RunCall {
        name,
        error: tool.error,
        failed: failed && !denied,
        denied,
        sub_agent: is_nested || tool.flags & flag::SUB_AGENT != 0,
        args: tool.args,
        ..item.to_call(StepKind::Tool, group)
    });
}

/// A presumed root is an agent whose parent was not seen.
fn add_mark(
    run: &mut Run,
    item: &RunItem<'_>,
    mark: &LifecycleMark,
    [is_root, is_presumed, is_nested]: [bool; 3],
    group: &ItemGroup,
) {
    let [failed, sub_agent] = [flag::FAILED, flag::SUB_AGENT].map(|flag| mark.flags & flag != 0);
    // A limit that stopped a sub-agent does not stop its parent, which may go on and succeed.
    run.killed |= mark.flags & flag::LIMIT != 0 && !sub_agent && !is_nested;
    let is_turn_end = mark.kind == mark::TURN_END && !is_nested;
    if is_root || is_turn_end {
        let (has_ended, has_failed) = match is_presumed {
            true => (&mut run.presumed_end, &mut run.presumed_failed),
            false => (&mut run.ended, &mut run.failed),
        };
        *has_ended |= mark.flags & flag::ENDED != 0;
        *has_failed |= failed;
        run.succeeded |= mark.flags & flag::SUCCEEDED != 0;
        let (at, [characters, words]) = mark.summary;
        let summary = [at.into(), characters.into(), words.into()];
        run.totals.work.add(&RunWork { summary, ..RunWork::default() });
    }
    if failed && (is_root || is_turn_end || mark.kind == mark::FAILURE) {
        run.totals.add_error(group.name(mark.error));
    }
    if is_root {
        run.roots.push(mark.position.node);
        let (start, end) = run.root.unwrap_or((item.start, item.end));
        run.root = Some((start.min(item.start), end.max(item.end)));
    } else if mark.kind == mark::SUB_AGENT || (mark.kind == mark::AGENT && !sub_agent) {
        run.totals.sub_agents += 1;
    }
}

/// Values that are final only after all calls of a run were seen, by the run's index.
#[derive(Default)]
struct LatestCalls {
    /// The latest call of each run: whether it belongs to the run's own loop (preferred), when it ended, and whether
    /// it was answered.
    latest_call: HashMap<usize, (bool, u64, bool)>,
    /// The part of each tenant in a run, as decided when the calls were committed; 0 = unattributed.
    tenants: HashMap<(usize, u16), ModelTotals>,
}

impl LatestCalls {
    fn add_call(
        &mut self,
        run: &mut Run,
        run_index: usize,
        (item, call): (&RunItem<'_>, &ModelCallRecord),
        decision: CountDecision,
        group: &ItemGroup,
        (outside_loop, sub_agent): (bool, bool),
    ) {
        let model = first_nonzero(call.model, run.model);
        let (tokens, price) = match decision {
            CountDecision::NotCounted => return,
            CountDecision::Answered(price) | CountDecision::Total(price) | CountDecision::FailedWithTokens(price) => {
                (call.tokens, price)
            }
            CountDecision::Change(atto) => (PackedTokens::default(), Some(atto)),
            CountDecision::NoUsage => (call.tokens, None),
            CountDecision::Failed => (PackedTokens::default(), None),
        };
        let is_change = matches!(decision, CountDecision::Change(_));
        let failed = matches!(decision, CountDecision::Failed | CountDecision::FailedWithTokens(_));
        run.totals.failed_calls += u64::from(failed);
        if decision != CountDecision::Failed {
            let counted = ModelTotals {
                calls: u64::from(!failed && !is_change),
                tokens: tokens.to_buckets(),
                atto_usd: price.unwrap_or(0),
                covered_atto_usd: price.filter(|_| call.flags & flag::COVERED != 0).unwrap_or(0),
                saved_atto_usd: price.map_or(0, |_| call.saved.amount()),
                unpriced: u64::from(price.is_none()),
                no_usage: u64::from(decision == CountDecision::NoUsage),
            };
            run.totals.add_model(group.name(model), &counted);
            self.tenants.entry((run_index, call.tenant)).or_default().add(&counted);
        }
        if is_change {
            return;
        }
        if !failed {
            run.totals.add_finish(group.name(call.finish));
            run.totals.iterations += u64::from(!outside_loop);
        }
        run.calls.push(RunCall {
            name: model,
            error: call.error,
            failed,
            outside_loop,
            sub_agent,
            record: ModelCall { tokens, ..call.detail },
            atto: price,
            ..item.to_call(StepKind::Model, group)
        });
        let latest = self.latest_call.entry(run_index).or_insert((false, 0, true));
        *latest = (*latest).max((!outside_loop, call.end, !failed));
    }

    fn add_summed(&mut self, run: &mut Run, run_index: usize, sum: &SummedCalls, group: &ItemGroup) {
        if sum.tool != ToolTotals::default() {
            run.totals.tool(group.name(sum.name)).add(&sum.tool);
        }
        run.totals.failed_calls += sum.failed_calls;
        if sum.model != ModelTotals::default() {
            let covered_atto_usd = if sum.flags & flag::COVERED != 0 { sum.model.atto_usd } else { 0 };
            let model = ModelTotals { covered_atto_usd, ..sum.model };
            run.totals.add_model(group.name(first_nonzero(sum.name, run.model)), &model);
            self.tenants.entry((run_index, sum.tenant)).or_default().add(&model);
        }
        run.totals.iterations += sum.iterations;
        run.totals.work.add(&sum.work);
        if sum.model.calls + sum.failed_calls > 0 {
            let latest = self.latest_call.entry(run_index).or_insert((false, 0, true));
            *latest = (*latest).max((sum.flags & flag::OUTSIDE_LOOP == 0, sum.end, sum.model.calls > 0));
        }
    }

    /// If a run's calls have several tenants, the run gets the root's tenant (without a root, its trace's or session's)
    /// if a call has it too, otherwise the alphabetically first. Calls of other tenants are summed in `other_tenants`,
    /// so that the sums by tenant are those of the calls.
    fn decide_tenants(&mut self, runs: &mut [Run], group: &ItemGroup) {
        let mut tenants_of_calls: HashMap<usize, u16> = HashMap::new();
        for (run_index, tenant) in self.tenants.keys() {
            let first = tenants_of_calls.entry(*run_index).or_default();
            *first = group.first_name(*first, *tenant);
        }
        for (run_index, first) in tenants_of_calls {
            let Some(run) = runs.get_mut(run_index) else { continue };
            if !self.tenants.contains_key(&(run_index, run.tags.tenant)) {
                run.tags.tenant = first;
            }
        }
        for ((run_index, tenant), share) in self.tenants.drain() {
            let Some(run) = runs.get_mut(run_index).filter(|run| run.tags.tenant != tenant) else { continue };
            let name = if tenant == 0 { UNATTRIBUTED } else { group.name(tenant) };
            run.totals.other_tenants.entry(name.to_owned()).or_default().add(&share);
        }
    }

    /// A run whose last call failed has failed, unless it reports success.
    fn finish(mut self, runs: &mut [Run], group: &ItemGroup) {
        self.decide_tenants(runs, group);
        for (index, (.., is_answered)) in self.latest_call {
            if let Some(run) = runs.get_mut(index) {
                run.failed |= !run.succeeded && !is_answered;
            }
        }
    }
}

/// Iteration numbers that items report replace the number of answered calls of the run's own loop.
fn apply_reported_iterations(resolved: &mut ResolvedRuns<'_>) {
    let mut reported: HashMap<RunIdentity, HashSet<u32>> = HashMap::new();
    for (place, node) in resolved.group.nodes.iter().filter(|(_, node)| node.iteration != 0) {
        let position = TracePosition { is_own_span: true, node: place, trace: node.trace };
        let session = resolved.group.key(node.trace).map_or(0, |key| key.session);
        if let Some(run) = resolved.find_run(node.run, &position, session, 0) {
            reported.entry(run.id).or_default().insert(node.iteration);
        }
    }
    for run in &mut resolved.runs {
        if let Some(iterations) = reported.get(&run.id) {
            run.totals.iterations = iterations.len() as u64;
        }
    }
}

/// The end of a session ends the runs that had started by then.
fn apply_session_ends(resolved: &mut ResolvedRuns<'_>) {
    let ends = resolved.group.session_ends();
    for run in &mut resolved.runs {
        run.ended |= run.session_key != 0 && ends.get(&run.session_key).is_some_and(|end| run.start <= *end);
    }
}
