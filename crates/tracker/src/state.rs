//! [`TrackerState`]: everything the tracker remembers, and how committed batches and passing time change it. A run is
//! summed up when its end was reported and late items had time to arrive, or when nothing came for long. Bounded. Time
//! is the engine's running time, which a jump of the clock moves by a minute at most. Each run and each session is
//! handed to the recorder at most once. `metrics` keeps the metrics.

use std::collections::HashMap;
use std::sync::Arc;

use kernel::clock::UnixNanos;
use runs::{Alert, RunView, SessionView};

use super::aggregation_context::AggregationContext;
use super::alerts::{AlertEvaluator, RuleContext};
use super::codec::BinaryCodec;
use super::config::Settings;
use super::constants::nanos;
use super::evaluation::{
    self, DigestedRunView, EvaluationFinding, EvaluationInputs, GroupEvaluation, SUSPECT_SEARCH_INTERVAL,
};
use super::group::{ItemGroup, PublicationRecord};
use super::history::RunHistory;
use super::measures::Measures;
use super::observation::BatchObservation;
use super::outbox::{Outbox, OutboxEvent};
use super::recorder::RunEventRecorder;
use super::store::{GroupStore, NewToolCall};

/// Maximum time that one step of the clock counts for, ns.
const MAX_CLOCK_STEP: u64 = 60_000_000_000;
/// New items are evaluated after this time, ns: sums, pages and alerts lag by this and one tick at most.
const EVALUATION_DELAY: u64 = 1_000_000_000;
const VERSION: u8 = 7;

/// See the module documentation.
pub(super) struct TrackerState {
    settings: Settings,
    pub(super) store: GroupStore,
    /// Time that passed while the engine ran, ns.
    running: u64,
    /// Wall clock at the last tick.
    wall: Option<u64>,
    pub(super) history: RunHistory,
    pub(super) measures: Measures,
    pub(super) alerts: AlertEvaluator,
    /// News that connectors still have to emit.
    pub(super) outbox: Outbox,
    unfinished_runs: u64,
    /// Set by the first tick: effects applied from then on are new, not replayed from the spool.
    has_ticked: bool,
}

/// Follow-up work of an applied batch.
pub(super) struct BatchFollowUp {
    /// Tool calls to count.
    pub(super) tool_calls: Vec<NewToolCall>,
    /// Groups evicted to make room.
    pub(super) evicted: Vec<ItemGroup>,
}

impl TrackerState {
    pub(super) fn new(settings: Settings) -> Self {
        let store = GroupStore::new(settings.max_runs);
        Self {
            settings,
            store,
            running: 0,
            wall: None,
            history: RunHistory::default(),
            measures: Measures::default(),
            alerts: AlertEvaluator::default(),
            outbox: Outbox::default(),
            unfinished_runs: 0,
            has_ticked: false,
        }
    }

    /// Unfinished runs, as of their groups' last evaluation.
    pub(super) fn unfinished_runs(&self) -> u64 {
        self.unfinished_runs
    }

    /// Applies a committed batch. `shown` holds the names of its measures as they may be shown.
    pub(super) fn apply(
        &mut self,
        sight: &BatchObservation,
        shown: &HashMap<u32, String>,
        recorder: &dyn RunEventRecorder,
    ) -> BatchFollowUp {
        let live: &dyn RunEventRecorder = if self.has_ticked { recorder } else { &NoopRecorder };
        self.measures.apply(sight, &self.settings, shown, live);
        sight.outcomes.iter().for_each(|outcome| self.history.record_outcome(&sight.account, outcome, live));
        self.queue_events(Vec::new(), live);
        let (mut heard, alive) = (Vec::new(), self.has_ticked);
        let mut hear = |one: NewToolCall| heard.extend(alive.then_some(one));
        let (touched, gone) = self.store.apply(sight, self.running, &mut hear);
        let lag = nanos(self.settings.settle).min(EVALUATION_DELAY);
        for id in touched {
            let rest = self.store.get(id).map_or(0, |group| evaluation::evaluation_interval(group, &self.settings));
            self.store.schedule_evaluation(id, self.running.saturating_add(lag.max(rest)));
            if rest > SUSPECT_SEARCH_INTERVAL {
                self.store.schedule_suspect_search(id, self.running.saturating_add(SUSPECT_SEARCH_INTERVAL));
            }
        }
        BatchFollowUp { tool_calls: heard, evicted: gone }
    }

    /// Advances the running time to the wall clock `now`.
    pub(super) fn advance_clock(&mut self, now: UnixNanos) {
        // Time during which no process ran does not count, so replayed batches are as recent as when they arrived.
        let before = self.wall.filter(|_| self.has_ticked);
        let passed = before.map_or(0, |wall| now.0.saturating_sub(wall)).min(MAX_CLOCK_STEP);
        (self.wall, self.has_ticked) = (Some(now.0), true);
        self.running = self.running.saturating_add(passed);
    }

    /// The inputs of evaluations until time passes.
    pub(super) fn evaluation_inputs(&mut self, terms: AggregationContext) -> EvaluationInputs {
        let bounds = self.alerts.session_bounds(&self.settings.alerts);
        EvaluationInputs { running: self.running, wall: self.wall.unwrap_or(0), bounds, context: terms }
    }

    /// The next group to evaluate.
    pub(super) fn next_due_group(&mut self) -> Option<(u32, Arc<ItemGroup>)> {
        loop {
            let id = self.store.next_due_group(self.running)?;
            if let Some(group) = self.store.snapshot(id) {
                return Some((id, group));
            }
        }
    }

    /// The next group to search for suspects.
    pub(super) fn next_suspect_group(&mut self) -> Option<(u32, Arc<ItemGroup>)> {
        loop {
            let id = self.store.next_suspect_group(self.running)?;
            if let Some(group) = self.store.snapshot(id) {
                return Some((id, group));
            }
        }
    }

    /// Recounts unfinished runs.
    pub(super) fn recount_unfinished(&mut self) {
        self.unfinished_runs = self.store.groups().map(|group| u64::from(group.unfinished_runs)).sum();
    }

    /// Whether an evaluation is still valid: the group is the same, and if it is to become dormant, nothing was added
    /// to it since.
    fn is_current(&self, id: u32, look: &GroupEvaluation) -> bool {
        let same = self.store.get(id).filter(|group| group.keys.first().map(|key| key.id) == look.first_key);
        same.is_some_and(|group| !look.idle || group.batch == look.batch)
    }

    /// Applies a part of an evaluation, as if it preceded everything that was added to the group since. Returns false
    /// if the group was merged into another or became active again; it is then evaluated when it is due.
    pub(super) fn apply_findings(
        &mut self,
        id: u32,
        look: &GroupEvaluation,
        part: Vec<EvaluationFinding>,
        recorder: &dyn RunEventRecorder,
    ) -> bool {
        if !self.is_current(id, look) {
            self.store.drop_watch(id);
            return false;
        }
        let announced = self.publish_findings(part, true, recorder);
        if !announced.is_empty() {
            self.store.modify_group(id, |group| {
                announced.into_iter().for_each(|(key, one)| group.published.insert(key, one));
            });
        }
        true
    }

    /// Completes an evaluation whose parts were all applied.
    pub(super) fn finish_evaluation(&mut self, id: u32, look: GroupEvaluation) {
        if !self.is_current(id, &look) {
            self.store.drop_watch(id);
            return;
        }
        if let Some(group) = self.store.get(id) {
            self.history.replace_contributions(&group.account, &group.contributions, &look.contributions);
        }
        let counted = look.contributions.into_boxed_slice();
        self.store
            .modify_group(id, |group| (group.unfinished_runs, group.contributions) = (look.unfinished_runs, counted));
        if look.idle {
            self.store.drop_watch(id);
            self.store.mark_dormant(id);
            return;
        }
        self.store.schedule_evaluation(id, look.next_at);
        self.store.finish_watch(id, look.headroom, self.running.saturating_add(SUSPECT_SEARCH_INTERVAL));
    }

    /// Completes a search for suspects whose results were applied.
    pub(super) fn finish_suspect_search(&mut self, id: u32, look: GroupEvaluation) {
        match self.is_current(id, &look) {
            true => self.store.finish_watch(id, look.headroom, self.running.saturating_add(SUSPECT_SEARCH_INTERVAL)),
            false => self.store.drop_watch(id),
        }
    }

    /// Passes results on to alerts, history and connectors. Returns the records to store for runs and sessions.
    /// `alive`: the group is kept, so more items may come.
    fn publish_findings(
        &mut self,
        found: Vec<EvaluationFinding>,
        alive: bool,
        recorder: &dyn RunEventRecorder,
    ) -> Vec<(u64, PublicationRecord)> {
        let mut announced: Vec<(u64, PublicationRecord)> = Vec::new();
        let (mut over, mut more, mut sessions, mut alerts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for one in found {
            match one {
                EvaluationFinding::Suspect(seen, key, mut known, is_presumed) => {
                    let before = known.fired;
                    if let Some(seen) = seen {
                        alerts.extend(self.evaluate_run_alerts(&self.with_judgement(*seen), false, &mut known.fired));
                    }
                    announced.extend((is_presumed || known.fired != before).then_some((key, known)));
                }
                EvaluationFinding::RunEnded(seen, key, mut end) => {
                    let (digest, view) = (seen.digest, self.with_judgement(*seen));
                    recorder.record_run(&view);
                    if alive {
                        alerts.extend(self.evaluate_run_alerts(&view, true, &mut end.fired));
                    }
                    self.history.add_to_investigation(&view, digest, recorder);
                    let (revision, is_new) = self.outbox.next_revision(&view, 0);
                    end.revision = revision;
                    if revision > 0 && is_new {
                        more.push(OutboxEvent::Run(Box::new(view.clone()), revision));
                    }
                    announced.push((key, end));
                    over.push(OutboxEvent::Run(Box::new(view), 0));
                }
                EvaluationFinding::RunRevised(seen, key, mut end) => {
                    if let Some(seen) = seen {
                        let (digest, view) = (seen.digest, self.with_judgement(*seen));
                        alerts.extend(self.evaluate_late_run_alerts(&view, &mut end.fired));
                        self.history.add_to_investigation(&view, digest, recorder);
                        let (revision, is_new) = self.outbox.next_revision(&view, end.revision);
                        end.revision = revision;
                        more.extend(is_new.then(|| OutboxEvent::Run(Box::new(view), revision)));
                    }
                    announced.push((key, end));
                }
                EvaluationFinding::SessionEnded(view, (key, mut known), keys) => {
                    recorder.record_session(&view);
                    if alive {
                        alerts.extend(self.evaluate_session_alerts(&view, true, &mut known.fired));
                    }
                    announced.extend(keys.into_iter().chain([(key, known)]));
                    sessions.push(OutboxEvent::Session(view));
                }
                EvaluationFinding::SessionOutlier(view, (key, mut known)) => {
                    let before = known.fired;
                    alerts.extend(self.evaluate_session_alerts(&view, false, &mut known.fired));
                    announced.extend((known.fired != before).then_some((key, known)));
                }
            }
        }
        self.history.publish_investigation_figures(recorder);
        alerts.iter().for_each(|alert| recorder.count_alert(alert));
        let alerts = alerts.into_iter().map(|alert| OutboxEvent::Alert(Box::new(alert)));
        let asked = self.outbox.has_connector();
        let news = over.into_iter().chain(more).chain(sessions).chain(alerts).filter(|_| asked).collect();
        self.queue_events(news, recorder);
        announced
    }

    /// Evaluates the alert rules for a run.
    fn evaluate_run_alerts(&mut self, view: &RunView, over: bool, fired: &mut u16) -> Vec<Alert> {
        let ceiling = self.settings.ceiling(view.feature.as_deref());
        let rule = RuleContext { limits: &self.settings.alerts, ceiling, now: self.wall.unwrap_or(0) };
        let mut new = self.alerts.evaluate_run(view, over, fired, rule);
        if over {
            new.extend(self.alerts.update_baselines(view, rule));
        }
        new
    }

    /// The same for a run that was over before.
    fn evaluate_late_run_alerts(&mut self, view: &RunView, fired: &mut u16) -> Vec<Alert> {
        let ceiling = self.settings.ceiling(view.feature.as_deref());
        let rule = RuleContext { limits: &self.settings.alerts, ceiling, now: self.wall.unwrap_or(0) };
        self.alerts.evaluate_run(view, true, fired, rule)
    }

    /// Evaluates the alert rules for a session.
    fn evaluate_session_alerts(&mut self, view: &SessionView, over: bool, fired: &mut u16) -> Vec<Alert> {
        let rule = RuleContext { limits: &self.settings.alerts, ceiling: u64::MAX, now: self.wall.unwrap_or(0) };
        self.alerts.evaluate_session(view, over, fired, rule)
    }

    fn with_judgement(&self, seen: DigestedRunView) -> RunView {
        RunView { judgement: self.history.judgement(seen.digest), ..seen.view }
    }

    /// Puts news into the outbox.
    fn queue_events(&mut self, news: Vec<OutboxEvent>, recorder: &dyn RunEventRecorder) {
        let news = news.into_iter().chain(self.history.events.drain(..));
        let dropped = self.outbox.push_events(news.collect());
        recorder.count_dropped_events(dropped);
    }

    /// Applies the last evaluation of an evicted group: finished runs are published, the others are counted as
    /// evicted.
    pub(super) fn apply_eviction(
        &mut self,
        group: &ItemGroup,
        mut look: GroupEvaluation,
        recorder: &dyn RunEventRecorder,
    ) {
        let found = std::mem::take(&mut look.findings);
        self.publish_findings(found, false, recorder);
        self.history.replace_contributions(&group.account, &group.contributions, &look.contributions);
        recorder.count_evicted(look.evicted_runs);
        self.retire_runs(look);
    }

    /// Keeps the runs of an evicted group visible for a while.
    fn retire_runs(&mut self, look: GroupEvaluation) {
        let now = self.wall.unwrap_or(0);
        let account = look.retired.first().map(|seen| seen.view.account.clone()).unwrap_or_default();
        look.dropped_run_ids.iter().for_each(|run| self.alerts.end_evicted_run(&account, run, now));
        for seen in look.retired {
            self.alerts.end_evicted_run(&seen.view.account, &seen.view.run, now);
            let digest = seen.digest;
            let view = self.with_judgement(seen);
            self.history.add_finished_run(view, digest);
        }
    }

    pub(super) fn save(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        self.running.put(&mut out);
        self.wall.put(&mut out);
        self.history.put(&mut out);
        self.measures.put(&mut out);
        self.alerts.put(&mut out);
        self.outbox.put(&mut out);
        self.store.len().put(&mut out);
        self.store.groups().for_each(|group| group.put(&mut out));
        out
    }

    /// Restores the result of [`State::save`] under the current settings. `None`: damaged, or of another version.
    pub(super) fn load(settings: Settings, saved: &[u8]) -> Option<Self> {
        let (&VERSION, mut rest) = saved.split_first()? else { return None };
        let from = &mut rest;
        let mut state = Self::new(settings);
        state.running = BinaryCodec::take(from)?;
        state.wall = BinaryCodec::take(from)?;
        state.history = BinaryCodec::take(from)?;
        state.measures = BinaryCodec::take(from)?;
        state.alerts = BinaryCodec::take(from)?;
        state.outbox = BinaryCodec::take(from)?;
        let groups: Vec<ItemGroup> = BinaryCodec::take(from)?;
        if !from.is_empty() {
            return None;
        }
        for group in groups {
            state.unfinished_runs += u64::from(group.unfinished_runs);
            let id = state.store.insert(group);
            state.store.schedule_evaluation(id, state.running);
        }
        Some(state)
    }
}

/// A recorder that ignores all events.
struct NoopRecorder;

impl RunEventRecorder for NoopRecorder {
    fn record_run(&self, _: &RunView) {}
    fn record_session(&self, _: &SessionView) {}
    fn count_evicted(&self, _: u64) {}
    fn record_measure(&self, _: &str, _: [&str; 4], _: f64) {}
    fn count_dropped_events(&self, _: u64) {}
    fn count_alert(&self, _: &Alert) {}
    fn count_investigation(&self, _: &str, _: &str) {}
    fn count_override(&self, _: &str, _: &str) {}
    fn set_tool_calls_p95(&self, _: &str, _: &str, _: f64) {}
}
