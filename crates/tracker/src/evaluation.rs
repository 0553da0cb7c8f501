//! [`GroupEvaluation`]: the evaluation of one group finds the runs and sessions that are over, that changed, or that
//! may fire an alert, and the records of runs for history. An evaluation takes long and depends only on the group and
//! on [`EvaluationInputs`], so it runs outside the state's lock. The result holds no reference to the group. `state`
//! applies it.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::{HashMap, HashSet};

use kernel::pseudonym::IdPolicy;
use runs::{EndedRuns, MAX_KEPT_STEPS, RunState, RunView, SessionView, digest, encode_run, run_key};

use super::alerts::{RuleContext, SessionBounds, account_scoped_name};
use super::codec::put;
use super::config::Settings;
use super::group::{CurrentRun, ItemGroup, PublicationRecord};
use super::observation::{nanos, session_of_trace};
use super::resolve::ResolvedRuns;
use super::run::Run;
use super::run_calls::AggregationContext;
use super::store::KeyId;
use super::view::ViewBuilder;

/// A run ended by an agent whose parent was not seen is shown as ended after its trace was quiet for this many times
/// `settle`. The agent may turn out to be a sub-agent, whose parent's span is sent when the parent ends; so anything
/// that cannot be corrected later waits for the run's own root, the end of its session, or `idle_timeout`.
const PRESUMED_END_FACTOR: u64 = 10;
/// A group of at least this weight is evaluated once per `settle`, a lighter one more often.
const FULL_INTERVAL_WEIGHT: u64 = 400_000;

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
    pub(super) has_history: bool,
}

/// A record to store in the group, with its key.
pub(super) type KeyedRecord = (u64, PublicationRecord);

#[derive(Clone, Copy, PartialEq)]
pub(super) enum RunStage {
    /// The run goes on, or got items after its end; it may fire an alert. If it is shown as ended from now on, that is
    /// recorded in any case.
    Suspect {
        is_newly_presumed: bool,
    },
    Ended,
    /// A run that was published before got more items.
    Revised,
}

pub(super) enum EvaluationFinding {
    Run {
        stage: RunStage,
        /// `None`: nothing changed but the record.
        view: Option<Box<RunView>>,
        /// See [`run_key`].
        run: u64,
        record: KeyedRecord,
    },
    /// `ended_runs`: the records of its runs if the session is over; `None` if it only exceeds its feature's bounds.
    Session { view: Box<SessionView>, record: KeyedRecord, ended_runs: Option<Vec<KeyedRecord>> },
}

#[derive(Default)]
pub(super) struct GroupEvaluation {
    /// Id of the group's first key, by which the group is recognised later.
    pub(super) first_key: Option<KeyId>,
    pub(super) batch: u64,
    pub(super) unfinished_runs: u32,
    pub(super) evicted_runs: u64,
    pub(super) next_at: u64,
    /// Nothing came for `idle_timeout`, so all runs of the group are over.
    pub(super) is_idle: bool,
    /// In publishing order.
    pub(super) findings: Vec<EvaluationFinding>,
    pub(super) current: Vec<CurrentRun>,
    /// Keys of its runs that history has from now on.
    pub(super) written: Vec<u64>,
    pub(super) maybe_written: Vec<u64>,
    /// Changes for history.
    pub(super) ended: EndedRuns,
    /// For an evicted group: the ids of all its runs, as shown.
    pub(super) evicted_ids: Vec<String>,
}

struct GroupEvaluator<'e> {
    group: &'e ItemGroup,
    views: ViewBuilder<'e>,
    inputs: &'e EvaluationInputs,
    /// By session, the time of its reported end.
    session_ends: HashMap<u32, u64>,
    /// Keys of the group's runs that history has, and of those that went on before.
    written: HashSet<u64>,
    current: HashSet<u64>,
    evaluation: GroupEvaluation,
}

impl GroupEvaluation {
    /// `is_evicted`: the group is evaluated for the last time.
    pub(super) fn evaluate(group: &ItemGroup, inputs: &EvaluationInputs, is_evicted: bool) -> Self {
        let resolved = ResolvedRuns::resolve(group, &inputs.context);
        let mut evaluator = GroupEvaluator::new(&resolved, inputs);
        // the runs of each session, and whether the end of one was not seen
        let mut sessions: BTreeMap<&str, (Vec<&Run>, bool)> = BTreeMap::new();
        for run in &resolved.runs {
            let is_over = if is_evicted { evaluator.evict_run(run) } else { evaluator.evaluate_run(run) };
            let (runs, has_open_run) = sessions.entry(&run.session).or_default();
            runs.push(run);
            *has_open_run |= !is_over;
        }
        for (runs, has_open_run) in sessions.into_values() {
            let is_over = match is_evicted {
                true => !has_open_run,
                false => evaluator.evaluation.is_idle || (!has_open_run && evaluator.is_session_over(&runs)),
            };
            if is_over {
                evaluator.end_session(&runs);
            } else if !is_evicted && evaluator.is_outlier(&runs) {
                let view = Box::new(evaluator.views.session_view(&runs, true));
                let record = evaluator.session_record(&runs);
                let outlier = EvaluationFinding::Session { view, record, ended_runs: None };
                evaluator.evaluation.findings.push(outlier);
            }
        }
        evaluator.remove_vanished();
        let evaluation = evaluator.evaluation;
        let earliest = inputs.running.saturating_add(evaluation_interval(group, &inputs.settings).max(1));
        Self { next_at: evaluation.next_at.max(earliest), ..evaluation }
    }

    /// Only the runs that are not over, for a query that can't wait for the next evaluation.
    pub(super) fn find_current_runs(group: &ItemGroup, inputs: &EvaluationInputs) -> Self {
        let resolved = ResolvedRuns::resolve(group, &inputs.context);
        let mut evaluator = GroupEvaluator::new(&resolved, inputs);
        for run in &resolved.runs {
            let (_, record) = evaluator.run_record(run);
            if !record.is_up_to_date(run) {
                let view = evaluator.views.run_view(run, record.state_without_end(run));
                evaluator.add_current(run, &view);
            }
        }
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
            written: group.written.iter().copied().collect(),
            current: group.current.iter().map(|run| run.key).collect(),
            evaluation,
        }
    }

    fn run_record(&self, run: &Run) -> KeyedRecord {
        (publication_key("run", run), find_publication(self.group, "run", run).cloned().unwrap_or_default())
    }

    /// Evaluates one run. Returns whether the run is over, even if late items still come in.
    fn evaluate_run(&mut self, run: &Run) -> bool {
        let (key, record) = self.run_record(run);
        let was_over = record.over_at != 0;
        if record.is_up_to_date(run) {
            let view = self.views.run_view(run, RunState::Idle);
            // an item that was assigned to this run may turn out to belong to another
            if view_digest(&view) == record.digest {
                self.give(run, view, true);
            } else {
                self.revise_run(run, key, record);
            }
            return true;
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
            return true;
        }
        let is_presumed = run.presumed_end && !run.ended && presume_at <= running;
        let is_newly_presumed = is_presumed && record.presumed_at <= run.touched;
        let presumed_at = if is_newly_presumed { running.max(1) } else { record.presumed_at };
        let record = PublicationRecord { presumed_at, ..record };
        let unended_state = record.state_without_end(run);
        let view = self.views.run_view(run, unended_state);
        let shown_key = self.add_current(run, &view);
        let view = self.is_suspect(run).then_some(view);
        if is_newly_presumed || view.is_some() {
            self.add_finding(RunStage::Suspect { is_newly_presumed }, view, shown_key, (key, record));
        }
        let next_at = match (has_end, is_presumed) {
            (false, _) => self.idle_at(),
            (true, true) => publish_at,
            (true, false) => publish_at.min(presume_at),
        };
        self.evaluation.next_at = self.evaluation.next_at.min(next_at);
        self.evaluation.unfinished_runs += u32::from(unended_state == RunState::Live);
        was_over && run.ended
    }

    /// The last evaluation of a run; its group is evicted. Returns whether it is over.
    fn evict_run(&mut self, run: &Run) -> bool {
        let (key, record) = self.run_record(run);
        let was_over = record.is_up_to_date(run);
        // a run that was over before does not count as evicted
        let view = self.views.run_view(run, if was_over { RunState::Idle } else { RunState::Evicted });
        self.evaluation.evicted_ids.push(view.run.clone());
        if record.over_at != 0 {
            self.give(run, view, was_over);
        } else if run.ended || run.presumed_end {
            self.finish_run(run, key, record, RunState::Evicted);
        } else {
            self.give(run, view, false);
            self.evaluation.evicted_runs += 1;
            return false;
        }
        true
    }

    fn add_finding(&mut self, stage: RunStage, view: Option<RunView>, run: u64, record: KeyedRecord) {
        let view = view.map(Box::new);
        self.evaluation.findings.push(EvaluationFinding::Run { stage, view, run, record });
    }

    /// Adds a run that is not over. Returns its key, as the functions below.
    fn add_current(&mut self, run: &Run, view: &RunView) -> u64 {
        let now = if self.inputs.wall == 0 { u64::MAX } else { self.inputs.wall };
        let key = run_key(&view.account, &view.run);
        if !self.current.contains(&key) {
            self.remove_trace_id(run);
        }
        self.evaluation.current.push(CurrentRun { key, record: encode_run(view, now).into() });
        key
    }

    /// Gives an ended run to history, unless it is unchanged and history has it.
    fn give(&mut self, run: &Run, view: RunView, is_unchanged: bool) -> u64 {
        let key = run_key(&view.account, &view.run);
        self.evaluation.written.push(key);
        if !is_unchanged || !self.written.contains(&key) {
            self.remove_trace_id(run);
            if self.inputs.has_history {
                self.evaluation.ended.ended.push((key, self.views.detail(run, view, MAX_KEPT_STEPS)));
            }
        }
        key
    }

    /// A run has its trace's id until an item names it. After a crash history may have it under that id, which no state
    /// remembers.
    fn remove_trace_id(&mut self, run: &Run) {
        let trace = self.group.key_text(run.trace);
        if run.is_alone_in_trace && !trace.is_empty() && run.id_text != trace {
            let shown = self.views.ids.shown_id(&self.group.account, trace);
            self.evaluation.ended.removed.push(run_key(&self.group.account, &shown));
        }
    }

    /// A run that history has and that is none any more became part of another run, or got another id.
    fn remove_vanished(&mut self) {
        let evaluation = &mut self.evaluation;
        let present: HashSet<u64> = evaluation.written.iter().copied().collect();
        let current: HashSet<u64> = evaluation.current.iter().map(|run| run.key).collect();
        let lists = [
            (&self.group.written, &mut evaluation.written),
            (&self.group.maybe_written, &mut evaluation.maybe_written),
        ];
        for (before, after) in lists {
            for key in before.iter().filter(|key| !present.contains(key)) {
                match current.contains(key) {
                    true => after.push(*key),
                    false => evaluation.ended.removed.push(*key),
                }
            }
        }
    }

    fn is_suspect(&self, run: &Run) -> bool {
        let feature = Some(self.group.name(run.tags.feature)).filter(|name| !name.is_empty());
        let ceiling = self.inputs.settings.ceiling(feature);
        RuleContext { limits: &self.inputs.settings.alerts, ceiling, now: self.inputs.wall }.is_suspect(run)
    }

    fn idle_at(&self) -> u64 {
        self.group.touched.saturating_add(nanos(self.inputs.settings.idle_timeout.0))
    }

    fn finish_run(&mut self, run: &Run, key: u64, record: PublicationRecord, unended_state: RunState) {
        let view = self.views.run_view(run, unended_state);
        let record = PublicationRecord { over_at: self.inputs.running.max(1), digest: view_digest(&view), ..record };
        let shown_key = self.give(run, view.clone(), false);
        self.add_finding(RunStage::Ended, Some(view), shown_key, (key, record));
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
            ..record
        };
        let shown_key = self.give(run, view.clone(), !has_changed);
        self.add_finding(RunStage::Revised, has_changed.then_some(view), shown_key, (key, record));
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
        let ended_runs =
            Some(new_runs.into_iter().map(|run| (publication_key("session", run), over_record.clone())).collect());
        let record = self.session_record(runs);
        self.evaluation.findings.push(EvaluationFinding::Session { view, record, ended_runs });
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
        let bounds_of = |name| self.inputs.bounds.get(&account_scoped_name(&self.group.account, name));
        let Some((max_cost, max_seconds)) = feature.and_then(bounds_of) else { return false };
        let spent = runs.iter().fold(0_i128, |sum, run| sum.saturating_add(run.totals.atto_usd()));
        let start = runs.iter().map(|run| run.start).filter(|start| *start != 0).min().unwrap_or(0);
        let end = runs.iter().map(|run| run.last).max().unwrap_or(0);
        spent as f64 / 1e18 > *max_cost || end.saturating_sub(start) as f64 / 1e9 > *max_seconds
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
    find_publication(group, "run", run).map_or(RunState::Live, |record| record.state_without_end(run))
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

fn publication_key(kind: &str, run: &Run) -> u64 {
    digest(&[kind, &run.session, &run.id_text])
}

/// Changes when the view changes; outcomes are not included.
pub(super) fn view_digest(view: &RunView) -> u64 {
    let mut bytes = Vec::new();
    put(&RunView { judgement: Default::default(), ..view.clone() }, &mut bytes);
    // not in the stored form of totals; of a run without plans and caching the digest stays what it was
    view.totals.clone().unstored_mut().filter(|atto| **atto != 0).for_each(|atto| put(&*atto, &mut bytes));
    digest(&[&kernel::hex::encode(&bytes)])
}
