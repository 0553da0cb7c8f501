//! [`TrackerState`]: everything the tracker remembers, and how committed batches and passing time change it. A run is
//! published when its end was reported and late items had time to arrive, or when nothing came for long. Bounded. Time
//! is the engine's running time, which a jump of the clock moves by a minute at most. While its group is kept, each run
//! is passed to the recorder at most once, and so is each session unless it resumes. `metrics` keeps the metrics.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kernel::clock::UnixNanos;
use kernel::pseudonym::IdPolicy;
use runs::{Alert, EndedRuns, RunOwner, RunView, SessionView};

use super::aggregation_context::AggregationContext;
use super::alerts::{AlertEvaluator, RuleContext};
use super::codec::{put, put_list, take};
use super::config::Settings;
use super::constants::nanos;
use super::continuations::{Continuations, SessionNews};
use super::ended_queue::EndedQueue;
use super::evaluation::{self, DigestedRunView, EvaluationFinding, EvaluationInputs, GroupEvaluation, KeyedRecord};
use super::former_state;
use super::group::{CurrentRun, ItemGroup};
use super::investigations::Investigations;
use super::measures::Measures;
use super::observation::BatchObservation;
use super::outbox::{Outbox, OutboxEvent};
use super::recorder::RunEventRecorder;
use super::store::{AppliedBatch, GroupStore, NewToolCall, key_ids};

/// Maximum time that one step of the clock counts for, ns.
const MAX_CLOCK_STEP: u64 = 60_000_000_000;
/// New items are evaluated after this time, ns; in large groups later, see [`evaluation::evaluation_interval`].
const EVALUATION_DELAY: u64 = 1_000_000_000;
/// Items of another replica are evaluated after this time, ns. It raises the alerts; here only sums are late. Otherwise
/// each replica would work as much as the whole fleet.
const OTHERS_EVALUATION_DELAY: u64 = 10_000_000_000;
/// Version of the encoding of checkpoints.
const VERSION: u8 = 9;

/// See the module documentation.
pub(super) struct TrackerState {
    settings: Arc<Settings>,
    pub(super) store: GroupStore,
    /// Time that passed while the engine ran, ns.
    running: u64,
    /// Wall clock at the last tick.
    wall: Option<u64>,
    pub(super) investigations: Investigations,
    pub(super) continuations: Continuations,
    pub(super) ended: EndedQueue,
    pub(super) measures: Measures,
    pub(super) alerts: AlertEvaluator,
    /// News that connectors still have to emit.
    pub(super) outbox: Outbox,
    /// Unfinished runs that this replica counts, as of their groups' last evaluation.
    pub(super) unfinished_runs: u64,
    /// Set by the first tick: effects applied from then on are new, not replayed from the spool.
    has_ticked: bool,
}

/// Follow-up work of an applied batch.
pub(super) struct BatchFollowUp {
    pub(super) tool_calls: Vec<NewToolCall>,
    /// Groups evicted to make room.
    pub(super) evicted: Vec<ItemGroup>,
    /// See [`AppliedBatch::summed`].
    pub(super) summed: u64,
}

impl TrackerState {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        let store = GroupStore::new(settings.max_runs as usize);
        Self {
            settings,
            store,
            running: 0,
            wall: None,
            investigations: Investigations::default(),
            continuations: Continuations::default(),
            ended: EndedQueue::default(),
            measures: Measures::default(),
            alerts: AlertEvaluator::default(),
            outbox: Outbox::default(),
            unfinished_runs: 0,
            has_ticked: false,
        }
    }

    /// Applies a batch that `owner` committed. `shown_names` holds the names of its measures as they may be shown.
    pub(super) fn apply(
        &mut self,
        observation: &BatchObservation,
        shown_names: &HashMap<u32, String>,
        owner: &RunOwner,
        recorder: &dyn RunEventRecorder,
    ) -> BatchFollowUp {
        // effects that are replayed from the spool were counted before, those of another replica there
        let is_counted = self.has_ticked && owner.is_here();
        let recorder = recorder_if(is_counted, recorder);
        self.measures.apply(observation, &self.settings, shown_names, recorder);
        observation
            .outcomes
            .iter()
            .for_each(|outcome| self.investigations.record_outcome(&observation.account, outcome, recorder));
        self.queue_events(Vec::new(), owner, recorder);
        let mut tool_calls = Vec::new();
        let mut collect_call = |call: NewToolCall| tool_calls.extend(is_counted.then_some(call));
        let batch_owner = (owner, self.running);
        let AppliedBatch { touched, evicted, summed } =
            self.store.apply(observation, &key_ids(observation), batch_owner, &mut collect_call);
        let min_delay = match owner {
            RunOwner::Here => nanos(self.settings.settle.0).min(EVALUATION_DELAY),
            RunOwner::Replica(_) => OTHERS_EVALUATION_DELAY,
        };
        for id in touched {
            let interval = self.store.get(id).map_or(0, |group| evaluation::evaluation_interval(group, &self.settings));
            self.store.schedule_evaluation(id, self.running.saturating_add(min_delay.max(interval)));
        }
        BatchFollowUp { tool_calls, evicted, summed: if is_counted { summed } else { 0 } }
    }

    /// Applies what a committed batch tells about sessions, after its observation.
    pub(super) fn apply_sessions(&mut self, news: &SessionNews) {
        self.continuations.apply(news);
        self.store.set_continued(news);
    }

    /// Advances the running time to the wall clock `now`.
    pub(super) fn advance_clock(&mut self, now: UnixNanos) {
        // Time during which no process ran does not count, so replayed batches are as recent as when they arrived.
        let last_tick = self.wall.filter(|_| self.has_ticked);
        let passed = last_tick.map_or(0, |last| now.0.saturating_sub(last)).min(MAX_CLOCK_STEP);
        (self.wall, self.has_ticked) = (Some(now.0), true);
        self.running = self.running.saturating_add(passed);
    }

    /// The inputs of evaluations until time passes.
    pub(super) fn evaluation_inputs(
        &mut self,
        context: AggregationContext,
        ids: &Arc<dyn IdPolicy>,
    ) -> EvaluationInputs {
        let bounds = self.alerts.session_bounds(&self.settings.alerts);
        let (wall, settings) = (self.wall.unwrap_or(0), Arc::clone(&self.settings));
        let has_history = self.ended.dropped.is_some();
        EvaluationInputs { running: self.running, wall, bounds, context, settings, ids: Arc::clone(ids), has_history }
    }

    pub(super) fn next_due_group(&mut self) -> Option<(u32, Arc<ItemGroup>)> {
        self.store.next_due_group(self.running)
    }

    /// Wall clock at the last tick; the latest time before the first one.
    pub(super) fn wall_or_max(&self) -> u64 {
        self.wall.unwrap_or(u64::MAX)
    }

    /// Replaces the current runs of a group; those of a later batch are still to be computed.
    pub(super) fn replace_current(&mut self, id: u32, evaluation: GroupEvaluation) {
        let Some(group) = self.store.get(id) else { return };
        self.ended.add(&group.account, evaluation.ended);
        if group.batch != evaluation.batch {
            self.store.mark_changed(id);
        }
        self.set_current(id, evaluation.current);
    }

    /// Sets the current runs of a group. History may have one that vanished under its former id, if a crash made this
    /// state older than its file.
    fn set_current(&mut self, id: u32, current: Vec<CurrentRun>) {
        let Some(group) = self.store.get(id) else { return };
        let present: HashSet<u64> = current.iter().map(|run| run.key).chain(group.known_to_history()).collect();
        let is_gone = |key: &u64| !present.contains(key);
        let removed: Vec<u64> = group.current.iter().map(|run| run.key).filter(is_gone).collect();
        self.ended.add(&group.account, EndedRuns { removed, ..EndedRuns::default() });
        self.store.change_group(id, |group| group.set_current(current.into()));
    }

    pub(super) fn recount_unfinished(&mut self) {
        let own = self.store.groups().filter(|group| group.owner.is_here());
        self.unfinished_runs = own.map(|group| u64::from(group.unfinished_runs)).sum();
    }

    /// Whether an evaluation is still valid: the group is the same, and if it is to become dormant, nothing was added
    /// to it since.
    fn is_current(&self, id: u32, evaluation: &GroupEvaluation) -> bool {
        let same_group =
            self.store.get(id).filter(|group| group.keys.first().map(|key| key.id) == evaluation.first_key);
        same_group.is_some_and(|group| !evaluation.is_idle || group.batch == evaluation.batch)
    }

    /// Applies a part of an evaluation, as if it preceded everything that was added to the group since. Returns false
    /// if the group was merged into another or became active again; it is then evaluated when it is due.
    pub(super) fn apply_findings(
        &mut self,
        id: u32,
        evaluation: &GroupEvaluation,
        findings: Vec<EvaluationFinding>,
        recorder: &dyn RunEventRecorder,
    ) -> bool {
        if !self.is_current(id, evaluation) {
            self.store.mark_changed(id);
            return false;
        }
        let owner = self.store.get(id).map(|group| group.owner.clone()).unwrap_or_default();
        let records = self.publish_findings(findings, true, &owner, recorder);
        if !records.is_empty() {
            self.store.change_group(id, |group| {
                records.into_iter().for_each(|(key, record)| group.published.insert(key, record));
            });
        }
        true
    }

    /// Completes an evaluation whose parts were all applied.
    pub(super) fn finish_evaluation(&mut self, id: u32, evaluation: GroupEvaluation) {
        if !self.is_current(id, &evaluation) {
            self.store.mark_changed(id);
            return;
        }
        let Some(group) = self.store.get(id) else { return };
        self.ended.add(&group.account, evaluation.ended);
        if group.batch != evaluation.batch {
            self.store.mark_changed(id);
        }
        self.store.change_group(id, |group| {
            group.unfinished_runs = evaluation.unfinished_runs;
            (group.written, group.maybe_written) = (evaluation.written.into(), evaluation.maybe_written.into());
        });
        self.set_current(id, evaluation.current);
        if evaluation.is_idle {
            self.store.mark_dormant(id);
            return;
        }
        self.store.schedule_evaluation(id, evaluation.next_at);
    }

    /// Passes results on to alerts, history and connectors. Returns the records to store for runs and sessions.
    /// `is_kept`: the group is kept, so more items may come. `owner`: the replica that counts them and tells
    /// connectors; the others only know that it did.
    fn publish_findings(
        &mut self,
        findings: Vec<EvaluationFinding>,
        is_kept: bool,
        owner: &RunOwner,
        recorder: &dyn RunEventRecorder,
    ) -> Vec<KeyedRecord> {
        let recorder = recorder_if(owner.is_here(), recorder);
        let mut records: Vec<KeyedRecord> = Vec::new();
        let (mut ended, mut revised, mut sessions, mut alerts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for finding in findings {
            match finding {
                EvaluationFinding::Suspect { view, record: (key, mut record), is_newly_presumed } => {
                    let fired_before = record.fired;
                    if let Some(view) = view {
                        let view = self.with_judgement(*view);
                        alerts.extend(self.evaluate_run_alerts(&view, (false, false), &mut record.fired));
                    }
                    records.extend((is_newly_presumed || record.fired != fired_before).then_some((key, record)));
                }
                EvaluationFinding::RunEnded { view, record: (key, mut record) } => {
                    let (digest, view) = (view.digest, self.with_judgement(*view));
                    recorder.record_run(&view);
                    if is_kept {
                        alerts.extend(self.evaluate_run_alerts(&view, (true, false), &mut record.fired));
                    }
                    self.investigations.add_to_investigation(&view, digest, recorder);
                    let (revision, must_emit) = self.outbox.next_revision(&view, 0);
                    record.revision = revision;
                    if revision > 0 && must_emit {
                        revised.push(OutboxEvent::Run(Box::new(view.clone()), revision));
                    }
                    records.push((key, record));
                    ended.push(OutboxEvent::Run(Box::new(view), 0));
                }
                EvaluationFinding::RunRevised { view, record: (key, mut record) } => {
                    if let Some(view) = view {
                        let (digest, view) = (view.digest, self.with_judgement(*view));
                        alerts.extend(self.evaluate_run_alerts(&view, (true, true), &mut record.fired));
                        self.investigations.add_to_investigation(&view, digest, recorder);
                        let (revision, must_emit) = self.outbox.next_revision(&view, record.revision);
                        record.revision = revision;
                        revised.extend(must_emit.then(|| OutboxEvent::Run(Box::new(view), revision)));
                    }
                    records.push((key, record));
                }
                EvaluationFinding::SessionEnded { view, record: (key, mut record), run_records } => {
                    recorder.record_session(&view);
                    if is_kept {
                        alerts.extend(self.evaluate_session_alerts(&view, true, &mut record.fired));
                    }
                    records.extend(run_records.into_iter().chain([(key, record)]));
                    sessions.push(OutboxEvent::Session(view));
                }
                EvaluationFinding::SessionOutlier { view, record: (key, mut record) } => {
                    let fired_before = record.fired;
                    alerts.extend(self.evaluate_session_alerts(&view, false, &mut record.fired));
                    records.extend((record.fired != fired_before).then_some((key, record)));
                }
            }
        }
        self.investigations.publish_investigation_figures(recorder);
        alerts.iter().for_each(|alert| recorder.count_alert(alert));
        let alerts = alerts.into_iter().map(|alert| OutboxEvent::Alert(Box::new(alert)));
        let has_connector = self.outbox.has_connector();
        let events = ended.into_iter().chain(revised).chain(sessions).chain(alerts).filter(|_| has_connector).collect();
        self.queue_events(events, owner, recorder);
        records
    }

    /// Evaluates the alert rules for a run; a run that has just ended (`is_over` and not `was_over`) is added to the
    /// baselines.
    fn evaluate_run_alerts(
        &mut self,
        view: &RunView,
        (is_over, was_over): (bool, bool),
        fired: &mut u16,
    ) -> Vec<Alert> {
        let ceiling = self.settings.ceiling(view.feature.as_deref());
        let context = RuleContext { limits: &self.settings.alerts, ceiling, now: self.wall.unwrap_or(0) };
        let mut alerts = self.alerts.evaluate_run(view, is_over, fired, context);
        if is_over && !was_over {
            alerts.extend(self.alerts.update_baselines(view, context));
        }
        alerts
    }

    fn evaluate_session_alerts(&mut self, view: &SessionView, is_over: bool, fired: &mut u16) -> Vec<Alert> {
        let context = RuleContext { limits: &self.settings.alerts, ceiling: u64::MAX, now: self.wall.unwrap_or(0) };
        self.alerts.evaluate_session(view, is_over, fired, context)
    }

    pub(super) fn with_judgement(&self, run: DigestedRunView) -> RunView {
        RunView { judgement: self.investigations.judgement(run.digest).unwrap_or_default(), ..run.view }
    }

    /// Puts these events and those of the history into the outbox, unless another replica does.
    fn queue_events(&mut self, events: Vec<OutboxEvent>, owner: &RunOwner, recorder: &dyn RunEventRecorder) {
        let events = events.into_iter().chain(self.investigations.events.drain(..)).filter(|_| owner.is_here());
        let dropped = self.outbox.push_events(events.collect());
        recorder.count_dropped_events(dropped);
    }

    /// Applies the last evaluation of an evicted group: finished runs are published, the others are counted as
    /// evicted.
    pub(super) fn apply_eviction(
        &mut self,
        group: &ItemGroup,
        mut evaluation: GroupEvaluation,
        recorder: &dyn RunEventRecorder,
    ) {
        let findings = std::mem::take(&mut evaluation.findings);
        self.publish_findings(findings, false, &group.owner, recorder);
        recorder_if(group.owner.is_here(), recorder).count_evicted(evaluation.evicted_runs);
        let now = self.wall.unwrap_or(0);
        evaluation.evicted_ids.iter().for_each(|run| self.alerts.end_evicted_run(&group.account, run, now));
        self.ended.add(&group.account, evaluation.ended);
    }

    pub(super) fn save(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put(&self.running, &mut out);
        put(&self.wall, &mut out);
        self.investigations.save(&mut out);
        put(&self.measures, &mut out);
        self.alerts.save(&mut out);
        self.outbox.save(&mut out);
        put(&self.store.len(), &mut out);
        self.store.groups().for_each(|group| put(group, &mut out));
        put_owners(self.store.groups().map(|group| &group.owner), &mut out);
        put_owners(self.alerts.owners(), &mut out);
        put(&self.ended.unwritten(), &mut out);
        self.continuations.save(&mut out);
        out
    }

    /// Restores the result of [`Self::save`] under the current settings. `None`: damaged, or of another version.
    pub(super) fn load(settings: Arc<Settings>, saved: &[u8]) -> Option<Self> {
        let (version, mut rest) = saved.split_first()?;
        let from = &mut rest;
        let is_former = former_state::VERSIONS.contains(version);
        if *version != VERSION && !is_former {
            return None;
        }
        let mut state = Self::new(settings);
        state.running = take(from)?;
        state.wall = take(from)?;
        let former_runs = if is_former { former_state::take_ended_runs(from)? } else { EndedRuns::default() };
        state.investigations = Investigations::load(from)?;
        state.measures = take(from)?;
        state.alerts = AlertEvaluator::load(from)?;
        state.outbox = Outbox::load(from)?;
        let mut groups = if is_former { former_state::take_groups(from)? } else { take::<Vec<ItemGroup>>(from)? };
        if !from.is_empty() {
            groups.iter_mut().zip(take_owners(from)?).for_each(|(group, owner)| group.owner = owner);
            state.alerts.set_owners(take_owners(from)?);
        }
        state.ended.give_back(if is_former { former_runs } else { take(from)? });
        if !is_former {
            state.continuations = Continuations::load(from)?;
        }
        if !from.is_empty() {
            return None;
        }
        for group in groups {
            let id = state.store.insert(group.with_uncertain_history());
            state.store.schedule_evaluation(id, state.running);
        }
        state.recount_unfinished();
        Some(state)
    }
}

/// Saves owners as names; "" is this replica.
fn put_owners<'o>(owners: impl Iterator<Item = &'o RunOwner>, out: &mut Vec<u8>) {
    put_list(owners.map(|owner| owner.replica().unwrap_or("")), out);
}

fn take_owners(from: &mut &[u8]) -> Option<Vec<RunOwner>> {
    let names: Vec<Box<str>> = take(from)?;
    let owner = |name: Box<str>| if name.is_empty() { RunOwner::Here } else { RunOwner::Replica(name.into()) };
    Some(names.into_iter().map(owner).collect())
}

/// The recorder, or one that ignores what was counted before or by another replica.
fn recorder_if(is_counted: bool, recorder: &dyn RunEventRecorder) -> &dyn RunEventRecorder {
    if is_counted { recorder } else { &NoopRecorder }
}

/// A recorder that ignores all events.
struct NoopRecorder;

impl RunEventRecorder for NoopRecorder {}
