//! The `runs` processor. A run is one agent invocation, identified by the id that a dialect names, otherwise by spans
//! and traces; a session has one or more runs. The processor stamps the run on every agent item and sums up activity,
//! duration, cost and failures.
//! Invariants: `process` changes only its batch, and remembers ends of traces that nobody knows; the runs change only
//! by effects of committed batches and by ticks, and do not depend on the order or batching of items; a call that
//! arrives on two signals counts once; all state is bounded. `genai` classifies items, `crates/processors/src/cost`
//! prices them, `pages` shows the result.

mod alerts;
mod args;
mod attributes;
mod budget_desk;
mod budget_figures;
mod catalog;
mod codec;
pub mod config;
mod continuations;
mod ended_queue;
mod ends;
mod evaluation;
mod finish_reason;
mod former_state;
mod group;
mod group_data;
mod investigations;
mod measures;
mod metrics;
mod model_calls;
mod observation;
mod observe;
mod outbox;
mod owners;
mod paired_tools;
mod points;
mod resolve;
mod run;
mod run_calls;
mod sorted_map;
mod stamp;
mod state;
mod store;
mod sum;
mod summary;
mod timeline;
mod tokens;
mod tree;
mod view;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard};

use foldhash::{HashSet, HashSetExt as _};
use genai::{Facts, VaultedTexts, Vocabulary, adopt_owners, cached_facts};
use kernel::clock::UnixNanos;
use kernel::hex;
use kernel::pseudonym::IdPolicy;
use otlp::{JudgeId, Payload, Signal};
use pipeline::{Batch, BatchOrigin, Effect, Processor, Reason, RequestSource, SourceRequest};
use rates::ActiveRates;
use runs::{RunJudgement, RunOwner, RunView, run_key};
use telemetry::Meter;

pub use alerts::AlertThresholds;
pub use config::{Config, Settings};

use budget_figures::{BudgetNews, FiguresCache};
use continuations::SessionNews;
use ends::{EarlyEnds, EndSpan};
use evaluation::{EvaluationInputs, GroupEvaluation};
use group::ItemGroup;
use metrics::RunMetrics;
use observation::{BatchObservation, ObservedOutcome, key_kind};
use observe::ObservationContext;
use run_calls::AggregationContext;
use state::TrackerState;
use store::{KeyId, KeyedBatch, NewToolCall};

/// Maximum number of groups evaluated in one tick, so that no tick takes long.
const EVALUATIONS_PER_TICK: usize = 2000;
/// Maximum number of findings about runs and sessions that are applied under one lock.
const FINDINGS_PER_LOCK: usize = 64;

pub struct RunTracker {
    id: Arc<str>,
    settings: Arc<Settings>,
    vocabulary: Arc<Vocabulary>,
    ids: Arc<dyn IdPolicy>,
    metrics: RunMetrics,
    /// The price tables in use; empty in pipelines without a cost step.
    rate_tables: OnceLock<Arc<ActiveRates>>,
    early_ends: EarlyEnds,
    figures: FiguresCache,
    /// Gives the verdict that the tracker does not read an attribute.
    judge: JudgeId,
    /// Locked only briefly: long work is done on snapshots of groups.
    state: Mutex<TrackerState>,
    /// The file of history in tests.
    #[cfg(test)]
    test_history: Mutex<::history::SharedHistoryStore>,
}

impl RunTracker {
    /// An empty tracker. `ids` decides how ids and names appear on pages and in metrics.
    pub fn new(
        id: Arc<str>,
        settings: Settings,
        vocabulary: Arc<Vocabulary>,
        ids: Arc<dyn IdPolicy>,
        meter: &Meter,
    ) -> Self {
        let settings = Arc::new(settings);
        Self {
            id,
            state: Mutex::new(TrackerState::new(Arc::clone(&settings))),
            settings,
            vocabulary,
            ids,
            metrics: RunMetrics::new(meter),
            early_ends: EarlyEnds::default(),
            figures: FiguresCache::default(),
            judge: JudgeId::unique(),
            rate_tables: OnceLock::new(),
            #[cfg(test)]
            test_history: Mutex::default(),
        }
    }

    /// Sets the price tables of the cost step before this one; they say which ids mean the same model. Only the first
    /// call counts.
    pub fn set_rate_tables(&self, active: Arc<ActiveRates>) {
        self.rate_tables.get_or_init(|| active);
    }

    /// Fills in missing tenants, features and users of a batch from the known runs. Only the first call has an effect.
    pub fn complete_owners(&self, origin: &BatchOrigin, payload: &Payload, facts: &mut Facts) {
        adopt_owners(payload, facts, |items| {
            // The workers of a fleet know different runs, and must decide alike about a source record.
            if origin.source_record.is_some() {
                return Vec::new();
            }
            let queries = owners::make_queries(&origin.account, items);
            let state = self.state.lock();
            queries.iter().map(|query| owners::find_owner(&state.store, query)).collect()
        });
    }

    /// Those traces of these spans that the tracker knows.
    fn known_traces(&self, account: &str, ends: &[EndSpan]) -> HashSet<[u8; 16]> {
        if ends.is_empty() || self.state.lock().store.len() == 0 {
            return HashSet::new();
        }
        let id = |end: &EndSpan| store::key_id(account, key_kind::TRACE, "", &hex::encode(&end.trace));
        let ids: Vec<KeyId> = ends.iter().map(id).collect();
        let state = self.state.lock();
        let known = ends.iter().zip(&ids).filter(|(_, id)| state.store.find_key(id).is_some());
        known.map(|(end, _)| end.trace).collect()
    }

    fn aggregation_context(&self) -> AggregationContext {
        let table = self.rate_tables.get().map(|active| Arc::clone(active.rates().common()));
        AggregationContext { window: observation::nanos(self.settings.tool_window.0), table }
    }

    /// The effect to commit for a judgement that a client reports of a run.
    pub fn judgement_effect(&self, view: &RunView, mut judgement: RunJudgement, received: UnixNanos) -> Effect {
        observe::redact_scores(&mut judgement, &view.account, &*self.ids);
        let [tenant, feature] = [&view.tenant, &view.feature].map(|name| name.as_deref().unwrap_or("").into());
        let observed = ObservedOutcome {
            run: run_key(&view.account, &view.run),
            incident: view.incident.as_deref().unwrap_or("").into(),
            whose: if judgement.scores.is_empty() { [0; 2] } else { [1, 2] },
            judgement,
        };
        let observation = BatchObservation {
            account: view.account.as_str().into(),
            received: received.0,
            names: vec![tenant, feature],
            outcomes: vec![observed],
            ..BatchObservation::default()
        };
        Effect::new(Arc::clone(&self.id), observation.encode())
    }

    /// Applies an effect of a batch that `owner` committed.
    fn apply_committed(&self, effect: &[u8], owner: &RunOwner) {
        if let Some(news) = SessionNews::decode(effect) {
            self.state.lock().apply_sessions(&news);
        } else if let Some(news) = BudgetNews::decode(effect) {
            self.apply_records(&news, owner);
        } else {
            self.apply_observation(effect, owner);
        }
    }

    fn apply_observation(&self, effect: &[u8], owner: &RunOwner) {
        let Some(observation) = BatchObservation::decode(effect) else { return };
        let account = &*observation.account;
        let shown_names = observation
            .measure_names()
            .map(|(number, name)| (number, self.ids.redact_column(account, name).into_owned()))
            .collect();
        let names = (&shown_names, &self.shown_names(&observation));
        let applied = self.state.lock().apply(&observation, names, owner, &self.metrics);
        self.metrics.summed_items.increment(applied.summed);
        self.count_tool_calls(account, &applied.tool_calls);
        self.publish_evicted(&applied.evicted);
    }

    fn evaluation_inputs(&self) -> EvaluationInputs {
        self.state.lock().evaluation_inputs(self.aggregation_context(), &self.ids)
    }

    fn publish_evicted(&self, evicted: &[ItemGroup]) {
        if evicted.is_empty() {
            return;
        }
        let inputs = self.evaluation_inputs();
        for group in evicted {
            let evaluation = GroupEvaluation::evaluate(group, &inputs, true);
            self.state.lock().apply_eviction(group, evaluation, &self.metrics);
        }
    }

    fn count_tool_calls(&self, account: &str, calls: &[NewToolCall]) {
        let mut shown_names: HashMap<&str, String> = HashMap::new();
        for call in calls {
            let name = shown_names
                .entry(&call.tool)
                .or_insert_with(|| self.ids.redact_column(account, &call.tool).into_owned());
            self.metrics.count_tool_call(account, name, call);
        }
    }
}

impl RequestSource for RunTracker {
    fn enable_signals(&self, signals: &[Signal]) {
        self.state.lock().outbox.register_signals(signals);
    }

    fn next_request(&self, signal: Signal, now: UnixNanos) -> Option<SourceRequest> {
        let state = self.state.lock();
        let batch = state.outbox.next_batch(signal, now.0)?;
        let wire = match signal {
            Signal::Metrics => points::encode_metrics_request(&batch.events, &self.metrics, batch.previous_end, now.0),
            Signal::Logs | Signal::Traces => summary::encode_logs_request(&batch.events, now.0),
        };
        let effect = Effect::new(Arc::clone(&self.id), batch.effect);
        Some(SourceRequest { account: batch.account.into(), wire: wire.into(), effect })
    }
}

impl Processor for RunTracker {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        if batch.payload.signal() == Signal::Metrics {
            return Ok(());
        }
        let records = self.record_effect(batch);
        batch.effects.extend(records);
        let mut facts = cached_facts(&self.vocabulary, &batch.origin.account, &batch.payload, &mut batch.facts);
        if facts.has_open_owners() {
            batch.facts = None;
            self.complete_owners(&batch.origin, &batch.payload, Arc::make_mut(&mut facts));
            batch.facts = Some(Arc::<Facts>::clone(&facts));
        }
        let ends = EndSpan::find_all(&batch.payload);
        let account = Arc::clone(&batch.origin.account);
        let known_traces = self.known_traces(&account, &ends);
        let early_ends = self.early_ends.exchange(&account, &batch.payload, &facts, (&ends, &known_traces));
        if !observe::has_measures(&batch.payload, &self.settings)
            && known_traces.is_empty()
            && !observe::is_any_observed(&facts)
        {
            return Ok(());
        }
        let vaulted = VaultedTexts::collect(&batch.payload, &facts);
        let context = ObservationContext {
            unread: batch.payload.verdict_bit(self.judge),
            vocabulary: &self.vocabulary,
            settings: &self.settings,
            ids: &*self.ids,
            vaulted: &vaulted,
            ends: &ends,
            early_ends: &early_ends,
            known_traces: &known_traces,
        };
        let (mut observation, rejected_measures) =
            observe::observe_batch(&batch.origin, &batch.payload, &facts, context);
        self.metrics.rejected_measures.increment(rejected_measures);
        if observation.items.is_empty() && observation.measures.is_empty() {
            return Ok(());
        }
        let keyed = KeyedBatch::new(&observation);
        let known = || MutexGuard::map(self.state.lock(), |state| &mut state.continuations);
        let news = SessionNews::read(&account, &batch.payload, &facts, &*self.ids, known);
        let (groups, sessions, continued) = {
            let state = self.state.lock();
            let is_needed = stamp::is_state_needed(&keyed, &state.store);
            let groups = is_needed.then(|| state.store.groups_of(&keyed.ids));
            let wants_sessions = self.settings.agent_attributes;
            let sessions = wants_sessions.then(|| stamp::sessions_of_traces(&keyed, &state.store));
            (groups, sessions, stamp::continued_sessions(&observation, &state.continuations, &news))
        };
        let copies = groups.map(|groups| stamp::copy_groups(&keyed, groups, &self.aggregation_context()));
        stamp::stamp_batch(batch, &facts, &vaulted, &keyed, copies, &continued);
        if let Some(sessions) = sessions {
            stamp::write_agent_attributes(&mut batch.payload, &facts, &vaulted, &observation, &sessions);
        }
        if !batch.origin.repeat {
            observation.merge_plain_items();
            batch.effects.push(Effect::new(Arc::clone(&self.id), observation.encode()));
            batch.effects.extend((!news.is_empty()).then(|| Effect::new(Arc::clone(&self.id), news.encode())));
        }
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        if !self.state.lock().outbox.apply_emission(&effect.body) {
            self.apply_committed(&effect.body, &RunOwner::Here);
        }
    }

    fn shares_effects(&self) -> bool {
        true
    }

    fn apply_shared(&self, effect: &Effect, replica: &Arc<str>) {
        if !outbox::is_emission(&effect.body) {
            self.apply_committed(&effect.body, &RunOwner::Replica(Arc::clone(replica)));
        }
    }

    fn tick(&self, now: UnixNanos) {
        self.state.lock().advance_clock(now);
        let inputs = self.evaluation_inputs();
        for _ in 0..EVALUATIONS_PER_TICK {
            let Some((id, group)) = self.state.lock().next_due_group() else { break };
            let mut evaluation = GroupEvaluation::evaluate(&group, &inputs, false);
            self.watch_runs(id, &group, now.0);
            drop(group); // the lock holder would have to copy the group on a change
            let mut findings = std::mem::take(&mut evaluation.findings).into_iter().peekable();
            let mut is_current = true;
            while is_current && findings.peek().is_some() {
                let part = findings.by_ref().take(FINDINGS_PER_LOCK).collect();
                is_current = self.state.lock().apply_findings(id, &evaluation, part, &self.metrics);
            }
            if is_current {
                self.state.lock().finish_evaluation(id, evaluation);
            }
        }
        let evicted = self.state.lock().store.evict_excess_dormant();
        self.publish_evicted(&evicted);
        self.tick_budgets();
        self.metrics.live.set(self.state.lock().unfinished_runs() as f64);
    }

    fn save(&self, checkpoint: &mut Vec<u8>) {
        self.state.lock().save(checkpoint);
    }

    fn restore(&self, checkpoint: &[u8]) -> bool {
        let Some(mut restored) = TrackerState::load(Arc::clone(&self.settings), checkpoint) else { return false };
        let mut current = self.state.lock();
        restored.outbox.keep_signals(&current.outbox);
        restored.ended.dropped = current.ended.dropped.clone();
        *current = restored;
        true
    }
}
