//! [`GroupEvaluation`]: the evaluation of one group finds the runs and sessions that are over, that changed, or that
//! may fire an alert. An evaluation takes long and depends only on the group and on [`EvaluationInputs`], so it runs
//! outside the state's lock. The result holds no reference to the group. `state` applies it.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::HashMap;

use kernel::pseudonym::IdPolicy;
use runs::{RunState, RunView, SessionView};

use super::aggregation_context::AggregationContext;
use super::alerts::{RuleContext, SessionBounds};
use super::codec::put;
use super::config::Settings;
use super::constants::{MAX_RECENT_RUNS, nanos, session_of_trace};
use super::contribution::RunContribution;
use super::group::{ItemGroup, PublicationRecord};
use super::headroom::{CallHeadroom, warning_threshold};
use super::observe::{digest, run_digest};
use super::resolve::ResolvedRuns;
use super::run::Run;
use super::store::KeyId;
use super::view::ViewBuilder;

/// A run ended by an agent whose parent was not seen is shown as ended after its trace was quiet for this many times
/// `settle`. The agent may turn out to be a sub-agent, whose parent's span is sent when the parent ends; so anything
/// that cannot be corrected later waits for the run's own root, the end of its session, or `idle_timeout`.
const PRESUMED_END_FACTOR: u64 = 10;
/// A group of at least this weight is evaluated once per `settle`, a lighter one more often. A group counts as heavy
/// if its interval is longer than [`SUSPECT_SEARCH_INTERVAL`].
const FULL_INTERVAL_WEIGHT: u64 = 400_000;

/// If a ceiling may have been crossed, a heavy group is searched for suspects (runs that may fire an alert) this long
/// after new items came, in ns: an alert is at most this and one tick late.
pub(super) const SUSPECT_SEARCH_INTERVAL: u64 = 4_000_000_000;

/// Inputs of an evaluation besides the group.
pub(super) struct EvaluationInputs {
    /// The engine's running time.
    pub(super) running: u64,
    /// Wall clock, unix ns; 0 = not known yet.
    pub(super) wall: u64,
    /// Cost and duration above which sessions of a feature fire alerts.
    pub(super) bounds: Arc<SessionBounds>,
    pub(super) context: AggregationContext,
    pub(super) settings: Arc<Settings>,
    pub(super) ids: Arc<dyn IdPolicy>,
}

/// A view with the digest by which outcomes find it.
#[derive(Clone)]
pub(super) struct DigestedRunView {
    pub(super) view: RunView,
    pub(super) digest: u64,
}

impl DigestedRunView {
    pub(super) fn new(view: RunView) -> Self {
        let digest = run_digest(&view.account, &view.run);
        Self { view, digest }
    }
}

/// A record to store in the group, with its key.
pub(super) type KeyedRecord = (u64, PublicationRecord);

pub(super) enum EvaluationFinding {
    /// A run that goes on, or got items after its end: its view if it may fire an alert. A run that is shown as ended
    /// from now on (`is_newly_presumed`) is recorded even if no alert fires.
    Suspect {
        view: Option<Box<DigestedRunView>>,
        record: KeyedRecord,
        is_newly_presumed: bool,
    },
    RunEnded {
        view: Box<DigestedRunView>,
        record: KeyedRecord,
    },
    /// A run that was published before got more items: its new view if that changed.
    RunRevised {
        view: Option<Box<DigestedRunView>>,
        record: KeyedRecord,
    },
    /// A session is over; its runs need records too.
    SessionEnded {
        view: Box<SessionView>,
        record: KeyedRecord,
        run_records: Vec<KeyedRecord>,
    },
    /// A session goes on and exceeds its feature's bounds.
    SessionOutlier {
        view: Box<SessionView>,
        record: KeyedRecord,
    },
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct GroupEvaluation {
    /// Id of the group's first key, by which the group is recognised later.
    pub(super) first_key: Option<KeyId>,
    pub(super) batch: u64,
    /// Runs that are not over.
    pub(super) unfinished_runs: u32,
    pub(super) evicted_runs: u64,
    /// When to evaluate the group again.
    pub(super) next_at: u64,
    /// Nothing came for `idle_timeout`, so all runs of the group are over.
    pub(super) is_idle: bool,
    /// In publishing order.
    pub(super) findings: Vec<EvaluationFinding>,
    /// The shares of the group's runs in the sums.
    pub(super) contributions: Vec<u8>,
    /// For an evicted group: its latest runs, the latest last; then the ids of the others.
    pub(super) retired: Vec<DigestedRunView>,
    pub(super) dropped_run_ids: Vec<String>,
    /// For a heavy group: how many calls its runs may still get before it must be evaluated.
    pub(super) headroom: Option<CallHeadroom>,
}

struct GroupEvaluator<'e> {
    group: &'e ItemGroup,
    views: ViewBuilder<'e>,
    inputs: &'e EvaluationInputs,
    /// By session, the time of its reported end.
    session_ends: HashMap<u32, u64>,
    evaluation: GroupEvaluation,
}

#[derive(Default)]
struct SessionRuns<'r> {
    runs: Vec<&'r Run>,
    /// The end of a run was not seen, so the session is not over.
    has_open_run: bool,
}

impl GroupEvaluation {
    pub(super) fn evaluate(group: &ItemGroup, inputs: &EvaluationInputs) -> Self {
        let resolved = ResolvedRuns::resolve(group, &inputs.context);
        let mut evaluator = GroupEvaluator::new(&resolved, inputs);
        let mut sessions: BTreeMap<&str, SessionRuns<'_>> = BTreeMap::new();
        for run in &resolved.runs {
            let (is_over, unended_state) = evaluator.evaluate_run(run);
            evaluator.add_contribution(run, unended_state);
            let session = sessions.entry(&run.session).or_default();
            session.runs.push(run);
            session.has_open_run |= !is_over;
        }
        for SessionRuns { runs, has_open_run } in sessions.into_values() {
            if evaluator.evaluation.is_idle || (!has_open_run && evaluator.is_session_over(&runs)) {
                evaluator.end_session(&runs);
            } else if evaluator.is_outlier(&runs) {
                let view = Box::new(evaluator.views.session_view(&runs, true));
                let record = evaluator.session_record(&runs);
                evaluator.evaluation.findings.push(EvaluationFinding::SessionOutlier { view, record });
            }
        }
        let headroom = evaluator.headroom(&resolved);
        let evaluation = evaluator.evaluation;
        let earliest = inputs.running.saturating_add(evaluation_interval(group, &inputs.settings).max(1));
        Self { headroom, next_at: evaluation.next_at.max(earliest), ..evaluation }
    }

    /// A partial evaluation for heavy groups whose next full one is far off: unfinished runs that break a rule which
    /// did not fire for them yet.
    pub(super) fn find_suspects(group: &ItemGroup, inputs: &EvaluationInputs) -> Self {
        let resolved = ResolvedRuns::resolve(group, &inputs.context);
        let mut evaluator = GroupEvaluator::new(&resolved, inputs);
        for run in &resolved.runs {
            let (key, record) = evaluator.run_record(run);
            if record.is_up_to_date(run) || evaluator.suspected_rules(run) & !record.fired == 0 {
                continue;
            }
            let view = evaluator.suspect_view(run, record.state_without_end(run));
            let suspect = EvaluationFinding::Suspect { view, record: (key, record), is_newly_presumed: false };
            evaluator.evaluation.findings.push(suspect);
        }
        Self { headroom: evaluator.headroom(&resolved), ..evaluator.evaluation }
    }

    pub(super) fn evaluate_evicted(group: &ItemGroup, inputs: &EvaluationInputs) -> Self {
        let resolved = ResolvedRuns::resolve(group, &inputs.context);
        let mut evaluator = GroupEvaluator::new(&resolved, inputs);
        let mut sessions: BTreeMap<&str, SessionRuns<'_>> = BTreeMap::new();
        for run in &resolved.runs {
            let session = sessions.entry(&run.session).or_default();
            session.runs.push(run);
            evaluator.add_contribution(run, state_when_evicted(group, run));
            let (key, record) = evaluator.run_record(run);
            if record.over_at != 0 {
                continue;
            }
            if run.ended || run.presumed_end {
                evaluator.finish_run(run, key, record, RunState::Evicted);
            } else {
                session.has_open_run = true;
                evaluator.evaluation.evicted_runs += 1;
            }
        }
        for session in sessions.into_values().filter(|session| !session.has_open_run) {
            evaluator.end_session(&session.runs);
        }
        evaluator.retire_runs(&resolved.runs);
        evaluator.evaluation
    }
}

/// Minimum time between two evaluations of a group, ns. It grows with the weight, so that a constant stream of items
/// does not make a heavy group be summed up all the time.
pub(super) fn evaluation_interval(group: &ItemGroup, settings: &Settings) -> u64 {
    let weight = u64::try_from(group.weight()).unwrap_or(u64::MAX);
    nanos(settings.settle.0) / FULL_INTERVAL_WEIGHT * weight.min(FULL_INTERVAL_WEIGHT)
}

impl<'e> GroupEvaluator<'e> {
    fn new(resolved: &'e ResolvedRuns<'e>, inputs: &'e EvaluationInputs) -> Self {
        let group = resolved.group;
        let idle_at = group.touched.saturating_add(nanos(inputs.settings.idle_timeout.0));
        let evaluation = GroupEvaluation {
            first_key: group.keys.first().map(|key| key.id),
            batch: group.batch,
            next_at: idle_at,
            is_idle: idle_at <= inputs.running,
            ..GroupEvaluation::default()
        };
        Self {
            group,
            views: ViewBuilder { ids: &*inputs.ids, resolved },
            inputs,
            session_ends: group.session_ends(),
            evaluation,
        }
    }

    fn run_record(&self, run: &Run) -> KeyedRecord {
        (run_key(run), run_publication(self.group, run).cloned().unwrap_or_default())
    }

    /// Evaluates one run. Returns whether the run is over, even if late items still come in, and its state if its end
    /// was not reported.
    fn evaluate_run(&mut self, run: &Run) -> (bool, RunState) {
        let (key, record) = self.run_record(run);
        let was_over = record.over_at != 0;
        if record.is_up_to_date(run) {
            // an item that was assigned to this run may turn out to belong to another
            if self.contribution(run, RunState::Idle).digest() != record.contribution_digest {
                self.revise_run(run, key, record);
            }
            return (true, RunState::Idle);
        }
        let running = self.inputs.running;
        let after_quiet = |wait: u64| run.touched.saturating_add(wait).min(self.idle_at());
        let publish_at = after_quiet(nanos(if run.ended {
            self.inputs.settings.settle.0
        } else {
            self.inputs.settings.idle_timeout.0
        }));
        let presume_at = after_quiet(nanos(self.inputs.settings.settle.0).saturating_mul(PRESUMED_END_FACTOR));
        let has_end = run.ended || run.presumed_end;
        if self.evaluation.is_idle || (has_end && publish_at <= running) {
            match was_over {
                true => self.revise_run(run, key, record),
                false => self.finish_run(run, key, record, RunState::Idle),
            }
            return (true, RunState::Idle);
        }
        let is_presumed = run.presumed_end && !run.ended && presume_at <= running;
        let is_newly_presumed = is_presumed && record.presumed_at <= run.touched;
        let presumed_at = if is_newly_presumed { running.max(1) } else { record.presumed_at };
        let record = PublicationRecord { presumed_at, ..record };
        let unended_state = record.state_without_end(run);
        let view = self.suspect_view(run, unended_state);
        if is_newly_presumed || view.is_some() {
            let suspect = EvaluationFinding::Suspect { view, record: (key, record), is_newly_presumed };
            self.evaluation.findings.push(suspect);
        }
        let next_at = match (has_end, is_presumed) {
            (false, _) => self.idle_at(),
            (true, true) => publish_at,
            (true, false) => publish_at.min(presume_at),
        };
        self.evaluation.next_at = self.evaluation.next_at.min(next_at);
        self.evaluation.unfinished_runs += u32::from(unended_state == RunState::Live);
        (was_over && run.ended, unended_state)
    }

    /// The run's view, if it may fire an alert.
    fn suspect_view(&self, run: &Run, unended_state: RunState) -> Option<Box<DigestedRunView>> {
        let view = || Box::new(DigestedRunView::new(self.views.run_view(run, unended_state)));
        (self.suspected_rules(run) != 0).then(view)
    }

    fn suspected_rules(&self, run: &Run) -> u16 {
        RuleContext { limits: &self.inputs.settings.alerts, ceiling: self.ceiling(run), now: self.inputs.wall }
            .suspected_rules(run)
    }

    fn ceiling(&self, run: &Run) -> u64 {
        let feature = Some(self.group.name(run.tags.feature)).filter(|name| !name.is_empty());
        self.inputs.settings.ceiling(feature)
    }

    /// For a heavy group: how many calls its runs may still get before it must be evaluated.
    fn headroom<'r>(&self, resolved: &'r ResolvedRuns<'_>) -> Option<CallHeadroom> {
        let remaining_calls = |run: &'r Run| {
            let (_, record) = self.run_record(run);
            let (ceiling, used) = (self.ceiling(run), run.totals.iterations);
            // a limit that is already crossed fires with this evaluation
            let next_limit =
                [warning_threshold(ceiling), ceiling].into_iter().find(|limit| used < *limit).unwrap_or(u64::MAX);
            (!record.is_up_to_date(run)).then(|| (run, next_limit.saturating_sub(used)))
        };
        let is_heavy = evaluation_interval(self.group, &self.inputs.settings) > SUSPECT_SEARCH_INTERVAL;
        is_heavy.then(|| {
            CallHeadroom::compute(resolved, resolved.runs.iter().filter_map(remaining_calls), &self.inputs.settings)
        })
    }

    fn idle_at(&self) -> u64 {
        self.group.touched.saturating_add(nanos(self.inputs.settings.idle_timeout.0))
    }

    fn finish_run(&mut self, run: &Run, key: u64, record: PublicationRecord, unended_state: RunState) {
        let view = self.views.run_view(run, unended_state);
        let record = PublicationRecord {
            over_at: self.inputs.running.max(1),
            digest: view_digest(&view),
            contribution_digest: RunContribution::from_view(&view).digest(),
            ..record
        };
        let view = Box::new(DigestedRunView::new(view));
        self.evaluation.findings.push(EvaluationFinding::RunEnded { view, record: (key, record) });
    }

    /// A finished run got more items: its summary is revised, however late, so that it agrees with the sums.
    fn revise_run(&mut self, run: &Run, key: u64, record: PublicationRecord) {
        let view = self.views.run_view(run, RunState::Idle);
        let digest = view_digest(&view);
        let has_changed = digest != record.digest;
        let record = PublicationRecord {
            over_at: self.inputs.running,
            digest,
            revision: record.revision.saturating_add(u32::from(has_changed)),
            contribution_digest: RunContribution::from_view(&view).digest(),
            ..record
        };
        let view = has_changed.then(|| Box::new(DigestedRunView::new(view)));
        self.evaluation.findings.push(EvaluationFinding::RunRevised { view, record: (key, record) });
    }

    fn contribution(&self, run: &Run, unended_state: RunState) -> RunContribution {
        RunContribution::from_view(&self.views.run_view(run, unended_state))
    }

    /// Adds the run's share in the sums, whether it is over or not.
    fn add_contribution(&mut self, run: &Run, unended_state: RunState) {
        put(&self.contribution(run, unended_state), &mut self.evaluation.contributions);
    }

    /// The record of the alert rules that fired for a session.
    fn session_record(&self, runs: &[&Run]) -> KeyedRecord {
        let session = runs.first().map_or("", |run| &run.session);
        let key = digest(&["rules", session]);
        (key, self.group.published.get(key).cloned().unwrap_or_default())
    }

    /// Publishes the runs of a session that is over, except those published with an earlier end: a session may be
    /// resumed.
    fn end_session(&mut self, runs: &[&Run]) {
        let is_new = |run: &&&Run| find_publication(self.group, "session", run).is_none();
        let new_runs: Vec<&Run> = runs.iter().filter(is_new).copied().collect();
        if new_runs.is_empty() {
            return;
        }
        let view = Box::new(self.views.session_view(&new_runs, new_runs.len() == runs.len()));
        let over_record = PublicationRecord { over_at: self.inputs.running.max(1), ..PublicationRecord::default() };
        let run_records = new_runs.into_iter().map(|run| (session_key(run), over_record.clone())).collect();
        let record = self.session_record(runs);
        self.evaluation.findings.push(EvaluationFinding::SessionEnded { view, record, run_records });
    }

    /// A session whose runs are all over is over if its end was reported and no run started later, or if no item names
    /// it, so that it is a single trace.
    fn is_session_over(&self, runs: &[&Run]) -> bool {
        let Some(session) = runs.first().map(|run| run.session_key) else { return false };
        session == 0 || self.session_ends.get(&session).is_some_and(|end| runs.iter().all(|run| run.start <= *end))
    }

    /// A cheap check whether a session that goes on costs or takes more than is usual for its feature.
    fn is_outlier(&self, runs: &[&Run]) -> bool {
        let feature = runs.iter().map(|run| self.group.name(run.tags.feature)).find(|name| !name.is_empty());
        let Some((max_cost, max_seconds)) = feature.and_then(|name| self.inputs.bounds.get(&self.group.account, name))
        else {
            return false;
        };
        let spent = runs.iter().fold(0_i128, |sum, run| sum.saturating_add(run.totals.atto_usd()));
        let start = runs.iter().map(|run| run.start).filter(|start| *start != 0).min().unwrap_or(0);
        let end = runs.iter().map(|run| run.last).max().unwrap_or(0);
        spent as f64 / 1e18 > max_cost || end.saturating_sub(start) as f64 / 1e9 > max_seconds
    }

    /// Keeps the runs of an evicted group visible for a while.
    fn retire_runs(&mut self, runs: &[Run]) {
        let mut runs: Vec<&Run> = runs.iter().collect();
        runs.sort_by_key(|run| (run.last, &run.id_text));
        let (dropped, latest) =
            runs.split_at_checked(runs.len().saturating_sub(MAX_RECENT_RUNS)).unwrap_or((&[], &runs));
        let ids = self.views.ids;
        let shown_id = |run: &&Run| ids.shown_id(&self.group.account, &run.id_text).into_owned();
        self.evaluation.dropped_run_ids = dropped.iter().map(shown_id).collect();
        let view = |run: &&Run| self.views.run_view(run, state_when_evicted(self.group, run));
        self.evaluation.retired = latest.iter().map(|run| DigestedRunView::new(view(run))).collect();
    }
}

impl PublicationRecord {
    /// Whether the run was published as over and nothing came into its trace since. Items between two ticks carry the
    /// time of the first tick although they arrive after its evaluations, hence the strict comparison.
    fn is_up_to_date(&self, run: &Run) -> bool {
        run.touched < self.over_at
    }

    /// The state of a run whose end was not reported. Evaluations and pages both use this method, because separate
    /// decisions came to differ.
    fn state_without_end(&self, run: &Run) -> RunState {
        let is_presumed = run.presumed_end && run.touched < self.presumed_at;
        let has_late_items = run.ended && self.over_at != 0;
        if self.is_up_to_date(run) || is_presumed || has_late_items { RunState::Idle } else { RunState::Live }
    }
}

/// The state of a run, in a group still in memory, whose end was not reported.
pub(super) fn state_without_end(group: &ItemGroup, run: &Run) -> RunState {
    run_publication(group, run).map_or(RunState::Live, |record| record.state_without_end(run))
}

/// The same for an evicted group: a run that was over before does not count as evicted.
fn state_when_evicted(group: &ItemGroup, run: &Run) -> RunState {
    let was_over = run_publication(group, run).is_some_and(|record| record.is_up_to_date(run));
    if was_over { RunState::Idle } else { RunState::Evicted }
}

fn run_publication<'g>(group: &'g ItemGroup, run: &Run) -> Option<&'g PublicationRecord> {
    find_publication(group, "run", run)
}

/// The stored record of a run (`kind` "run"), or of the run's part in its session ("session"). Falls back to the ids
/// derived from the trace, which a run has until an item names the run or its session.
fn find_publication<'g>(group: &'g ItemGroup, kind: &str, run: &Run) -> Option<&'g PublicationRecord> {
    if group.published.len() == 0 {
        return None;
    }
    let find = |session: &str, id: &str| group.published.get(digest(&[kind, session, id]));
    let trace = group.key_text(run.trace);
    let find_by_trace = || {
        let session = session_of_trace(trace);
        find(&run.session, trace).or_else(|| find(&session, trace)).or_else(|| find(&session, &run.id_text))
    };
    let by_id = find(&run.session, &run.id_text);
    if by_id.is_none() && run.is_alone_in_trace && !trace.is_empty() { find_by_trace() } else { by_id }
}

fn run_key(run: &Run) -> u64 {
    digest(&["run", &run.session, &run.id_text])
}

fn session_key(run: &Run) -> u64 {
    digest(&["session", &run.session, &run.id_text])
}

/// Changes when the view changes; outcomes are not included.
pub(super) fn view_digest(view: &RunView) -> u64 {
    let mut bytes = Vec::new();
    put(&RunView { judgement: Default::default(), ..view.clone() }, &mut bytes);
    digest(&[&kernel::hex::encode(&bytes)])
}
