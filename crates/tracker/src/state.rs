//! [`TrackerState`]: everything the tracker remembers, and how committed batches and passing time change it. A run is
//! published when its end was reported and late items had time to arrive, or when nothing came for long. Bounded. Time
//! is the engine's running time, which a jump of the clock moves by a minute at most. While its group is kept, each run
//! is passed to the recorder at most once, and so is each session unless it resumes. `metrics` keeps the metrics.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use budgets::Ledger;
use kernel::clock::{MAX_CLOCK_STEP, UnixNanos};
use kernel::pseudonym::IdPolicy;
use runs::{Alert, EndedRuns, RunOwner, RunView, SessionView};

use super::alerts::{AlertEvaluator, RuleContext};
use super::budget_figures::{self, AskedSessions, LiveUsage, ShownNames};
use super::codec::{put, put_list, take};
use super::config::Settings;
use super::continuations::{Continuations, SessionNews};
use super::ended_queue::EndedQueue;
use super::evaluation::{self, EvaluationFinding, EvaluationInputs, GroupEvaluation, KeyedRecord, RunStage};
use super::former_state;
use super::group::{CurrentRun, ItemGroup};
use super::investigations::Investigations;
use super::measures::Measures;
use super::metrics::RunMetrics;
use super::observation::key_kind;
use super::observation::{BatchObservation, nanos};
use super::outbox::{Outbox, OutboxEvent};
use super::run_calls::AggregationContext;
use super::store::{AppliedBatch, GroupStore, KeyedBatch, key_id};

/// New items are evaluated after this time, ns; in large groups later, see [`evaluation::evaluation_interval`].
const EVALUATION_DELAY: u64 = 1_000_000_000;
/// Items of another replica are evaluated after this time, ns. It raises the alerts; here only sums are late. Otherwise
/// each replica would work as much as the whole fleet.
const OTHERS_EVALUATION_DELAY: u64 = 10_000_000_000;
/// Version of the encoding of checkpoints.
const VERSION: u8 = 11;
/// The version before the savings of caches, and the one before budgets, whose form ends with what plans cover.
const VERSION_WITHOUT_SAVINGS: u8 = 10;
const VERSION_WITHOUT_BUDGETS: u8 = 9;

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
    /// What budgets have used.
    pub(super) ledger: Ledger,
    pub(super) asked: AskedSessions,
    /// Wall clock at the first tick.
    since: u64,
    /// Set by the first tick: effects applied from then on are new, not replayed from the spool.
    has_ticked: bool,
}

impl TrackerState {
    pub(super) fn new(settings: Arc<Settings>) -> Self {
        let store = GroupStore::new(settings.max_runs as usize);
        let ledger = Ledger::new(&settings.budgets);
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
            ledger,
            asked: AskedSessions::default(),
            since: u64::MAX,
            has_ticked: false,
        }
    }

    /// Applies a batch that `owner` committed. `shown_names` holds the names of its measures as they may be shown.
    pub(super) fn apply(
        &mut self,
        observation: &BatchObservation,
        (shown_names, spenders): (&HashMap<u32, String>, &ShownNames),
        owner: &RunOwner,
        metrics: &RunMetrics,
    ) -> AppliedBatch {
        // effects that are replayed from the spool were counted before, those of another replica there
        let metrics = Some(metrics).filter(|_| self.has_ticked && owner.is_here());
        self.measures.apply(observation, &self.settings, shown_names, metrics);
        for outcome in &observation.outcomes {
            let whose = outcome.whose.map(|number| shown_names.get(&number).cloned().unwrap_or_default());
            self.investigations.record_outcome(&observation.account, outcome, whose);
        }
        self.queue_events(Vec::new(), owner, metrics);
        let batch = KeyedBatch::new(observation);
        let mut applied = self.store.apply(&batch, (owner, self.running));
        budget_figures::add_spending(&mut self.ledger, observation, spenders, &applied.tool_calls, owner);
        // a session whose group was given up has a new one
        for (key, id) in observation.keys.iter().zip(&batch.ids).filter(|(key, _)| key.kind == key_kind::SESSION) {
            if let Some(continued) = self.continuations.predecessor_of(&observation.account, &key.text) {
                self.store.set_continued(id, continued);
            }
        }
        let min_delay = match owner {
            RunOwner::Here => nanos(self.settings.settle.0).min(EVALUATION_DELAY),
            RunOwner::Replica(_) => OTHERS_EVALUATION_DELAY,
        };
        for id in &applied.touched {
            let group = self.store.get(*id);
            let interval = group.map_or(0, |group| evaluation::evaluation_interval(group, &self.settings));
            self.store.schedule_evaluation(*id, self.running.saturating_add(min_delay.max(interval)));
        }
        if metrics.is_none() {
            (applied.tool_calls, applied.summed) = (Vec::new(), 0);
        }
        applied
    }

    /// Applies what a committed batch reports about sessions, after its observation.
    pub(super) fn apply_sessions(&mut self, news: &SessionNews) {
        self.continuations.apply(news);
        for session in news.searched.keys() {
            if let Some(continued) = self.continuations.predecessor_of(&news.account, session) {
                self.store.set_continued(&key_id(&news.account, key_kind::SESSION, "", session), continued);
            }
        }
    }

    /// Advances the running time to the wall clock `now`.
    pub(super) fn advance_clock(&mut self, now: UnixNanos) {
        // Time during which no process ran does not count, so replayed batches are as recent as when they arrived.
        let last_tick = self.wall.filter(|_| self.has_ticked);
        let passed = last_tick.map_or(0, |last| now.0.saturating_sub(last)).min(MAX_CLOCK_STEP);
        (self.wall, self.has_ticked) = (Some(now.0), true);
        self.since = self.since.min(now.0);
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

    pub(super) fn has_ticked(&self) -> bool {
        self.has_ticked
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

    /// Unfinished runs that this replica counts, as of their groups' last evaluation.
    pub(super) fn unfinished_runs(&self) -> u64 {
        let own = self.store.groups().filter(|group| group.owner.is_here());
        own.map(|group| u64::from(group.unfinished_runs)).sum()
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
        metrics: &RunMetrics,
    ) -> bool {
        if !self.is_current(id, evaluation) {
            self.store.mark_changed(id);
            return false;
        }
        let owner = self.store.get(id).map(|group| group.owner.clone()).unwrap_or_default();
        let records = self.publish_findings(findings, true, &owner, metrics);
        if !records.is_empty() {
            self.store.change_group(id, |group| {
                records.into_iter().for_each(|(key, record)| group.published.insert(key, record));
            });
        }
        true
    }

    /// Completes an evaluation whose parts were all applied.
    pub(super) fn finish_evaluation(&mut self, id: u32, mut evaluation: GroupEvaluation) {
        if !self.is_current(id, &evaluation) {
            self.store.mark_changed(id);
            return;
        }
        self.store.change_group(id, |group| {
            group.unfinished_runs = evaluation.unfinished_runs;
            group.written = std::mem::take(&mut evaluation.written).into();
            group.maybe_written = std::mem::take(&mut evaluation.maybe_written).into();
        });
        let GroupEvaluation { is_idle, next_at, .. } = evaluation;
        self.replace_current(id, evaluation);
        match is_idle {
            true => self.store.mark_dormant(id),
            false => self.store.schedule_evaluation(id, next_at),
        }
    }

    /// Passes results on to alerts, history and connectors. Returns the records to store for runs and sessions.
    /// `is_kept`: the group is kept, so more items may come. `owner`: the replica that counts them and tells
    /// connectors; the others only know that it did.
    fn publish_findings(
        &mut self,
        findings: Vec<EvaluationFinding>,
        is_kept: bool,
        owner: &RunOwner,
        metrics: &RunMetrics,
    ) -> Vec<KeyedRecord> {
        let mut records: Vec<KeyedRecord> = Vec::new();
        let (mut ended, mut revised, mut sessions, mut alerts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for finding in findings {
            match finding {
                EvaluationFinding::Run { stage, view, run, record: (key, mut record) } => {
                    let fired_before = record.fired;
                    if let Some(mut view) = view {
                        view.judgement = self.investigations.judgement(run).unwrap_or_default();
                        if is_kept || stage != RunStage::Ended {
                            alerts.extend(self.evaluate_run_alerts(&view, stage, &mut record.fired));
                        }
                        match stage {
                            RunStage::Suspect { .. } => {}
                            RunStage::Ended => {
                                self.investigations.add_to_investigation(&view, run);
                                let (revision, must_emit) = self.outbox.next_revision(&view, 0);
                                record.revision = revision;
                                if revision > 0 && must_emit {
                                    revised.push(OutboxEvent::Run(view.clone(), revision));
                                }
                                ended.push(OutboxEvent::Run(view, 0));
                            }
                            RunStage::Revised => {
                                self.investigations.add_to_investigation(&view, run);
                                let (revision, must_emit) = self.outbox.next_revision(&view, record.revision);
                                record.revision = revision;
                                revised.extend(must_emit.then_some(OutboxEvent::Run(view, revision)));
                            }
                        }
                    }
                    let is_unchanged = stage == RunStage::Suspect { is_newly_presumed: false };
                    records.extend((!is_unchanged || record.fired != fired_before).then_some((key, record)));
                }
                EvaluationFinding::Session { view, record: (key, mut record), ended_runs } => {
                    let fired_before = record.fired;
                    if is_kept || ended_runs.is_none() {
                        alerts.extend(self.evaluate_session_alerts(&view, ended_runs.is_some(), &mut record.fired));
                    }
                    let has_fired = record.fired != fired_before;
                    records.extend((ended_runs.is_some() || has_fired).then_some((key, record)));
                    if let Some(runs) = ended_runs {
                        records.extend(runs);
                        sessions.push(OutboxEvent::Session(view));
                    }
                }
            }
        }
        let metrics = Some(metrics).filter(|_| owner.is_here());
        self.investigations.publish_investigation_figures(metrics);
        let alerts = alerts.into_iter().map(|alert| OutboxEvent::Alert(Box::new(alert)));
        self.queue_events(ended.into_iter().chain(revised).chain(sessions).chain(alerts).collect(), owner, metrics);
        records
    }

    /// Evaluates the alert rules for a run; one that has just ended is added to the baselines.
    fn evaluate_run_alerts(&mut self, view: &RunView, stage: RunStage, fired: &mut u16) -> Vec<Alert> {
        let ceiling = self.settings.ceiling(view.feature.as_deref());
        let context = RuleContext { limits: &self.settings.alerts, ceiling, now: self.wall.unwrap_or(0) };
        let is_over = matches!(stage, RunStage::Ended | RunStage::Revised);
        let mut alerts = self.alerts.evaluate_run(view, is_over, fired, context);
        if stage == RunStage::Ended {
            alerts.extend(self.alerts.update_baselines(view, context));
        }
        alerts
    }

    fn evaluate_session_alerts(&mut self, view: &SessionView, is_over: bool, fired: &mut u16) -> Vec<Alert> {
        let context = RuleContext { limits: &self.settings.alerts, ceiling: u64::MAX, now: self.wall.unwrap_or(0) };
        self.alerts.evaluate_session(view, is_over, fired, context)
    }

    /// Records these events and those of the history, and puts them into the outbox, unless another replica does.
    fn queue_events(&mut self, mut events: Vec<OutboxEvent>, owner: &RunOwner, metrics: Option<&RunMetrics>) {
        events.append(&mut self.investigations.events);
        let events = if owner.is_here() { events } else { Vec::new() };
        if let Some(metrics) = metrics {
            events.iter().for_each(|event| metrics.record_event(event));
            let ended = events.iter().filter(|_| self.settings.budgets.iter().any(|budget| budget.can_stop()));
            for run in ended.filter_map(OutboxEvent::ended_run) {
                metrics.unasked_cost.increment(self.asked.unasked_cost(run, self.since).unwrap_or(0.0));
            }
        }
        let dropped = self.outbox.push_events(events);
        metrics.into_iter().for_each(|metrics| metrics.dropped_events.increment(dropped));
    }

    /// Fires an alert of a budget; the replica that it belongs to sends it.
    pub(super) fn publish_budget_alert(&mut self, alert: Alert, metrics: &RunMetrics) {
        let owner = alert.owner.clone();
        if let Some(alert) = self.alerts.fire_budget(alert) {
            let metrics = Some(metrics).filter(|_| owner.is_here());
            self.queue_events(vec![OutboxEvent::Alert(Box::new(alert))], &owner, metrics);
        }
    }

    /// Ends the alerts of budgets whose threshold is not reached any more, or was passed. `live`: what runs and
    /// sessions that are not over have used.
    pub(super) fn end_budget_alerts(&mut self, now: u64, live: &LiveUsage) {
        let Self { alerts, ledger, .. } = self;
        alerts.end_budgets(now, |alert| {
            let (budget, key) = alert.tool.split_once(' ').unwrap_or_default();
            let is_of_run = !alert.run.is_empty() || !alert.session.is_empty();
            let usage = live.get(&(alert.account.clone(), key.to_owned())).copied();
            let share = (alert.threshold * 10_000.0).round() as u32;
            usage.is_some() == is_of_run && ledger.holds(budget, (&alert.account, key), share, usage, now)
        });
    }

    /// Applies the last evaluation of an evicted group: finished runs are published, the others are counted as
    /// evicted.
    pub(super) fn apply_eviction(&mut self, group: &ItemGroup, mut evaluation: GroupEvaluation, metrics: &RunMetrics) {
        let findings = std::mem::take(&mut evaluation.findings);
        self.publish_findings(findings, false, &group.owner, metrics);
        if group.owner.is_here() {
            metrics.evicted.increment(evaluation.evicted_runs);
        }
        let now = self.wall.unwrap_or(0);
        evaluation.evicted_ids.iter().for_each(|run| self.alerts.end_alerts(&group.account, run, now));
        self.ended.add(&group.account, evaluation.ended);
    }

    pub(super) fn save(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        put(&(self.running, self.wall), out);
        self.investigations.save(out);
        put(&self.measures, out);
        self.alerts.save(out);
        self.outbox.save(out);
        put(&self.store.len(), out);
        self.store.groups().for_each(|group| put(group, out));
        put_owners(self.store.groups().map(|group| &group.owner), out);
        put_owners(self.alerts.owners(), out);
        put(&self.ended.unwritten(), out);
        self.continuations.save(out);
        put(&self.ledger.save(), out);
        self.store.groups().for_each(|group| put(&group.unstored(), out));
        self.outbox.save_covered(out);
    }

    /// Restores the result of [`Self::save`] under the current settings. `None`: damaged, or of another version.
    pub(super) fn load(settings: Arc<Settings>, saved: &[u8]) -> Option<Self> {
        let (version, mut rest) = saved.split_first()?;
        let from = &mut rest;
        let is_former = former_state::VERSIONS.contains(version);
        if ![VERSION, VERSION_WITHOUT_SAVINGS, VERSION_WITHOUT_BUDGETS].contains(version) && !is_former {
            return None;
        }
        let mut state = Self::new(settings);
        (state.running, state.wall) = take(from)?;
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
        if *version >= VERSION_WITHOUT_SAVINGS {
            state.ledger.restore(&take::<Vec<u8>>(from)?)?;
        }
        for group in groups.iter_mut().filter(|_| *version == VERSION) {
            group.set_unstored(take(from)?);
        }
        if !from.is_empty() {
            state.outbox.load_covered(from)?;
        }
        if !from.is_empty() {
            return None;
        }
        for group in groups {
            let id = state.store.insert(group.with_uncertain_history());
            state.store.schedule_evaluation(id, state.running);
        }
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
