//! [`Investigations`]: the outcomes of runs, and the investigations that runs belong to. Bounded: 10,000 outcomes,
//! 5,000 investigations; the account with the most entries loses one first. `state` decides when a run is over.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use kernel::bounded_map::BoundedMap;
use runs::fair_eviction::choose_eviction;
use runs::{InvestigationStats, MAX_SCORES, OutcomeVerdict, RunJudgement, RunOutcome, RunView, UNATTRIBUTED};
use serde::{Deserialize, Serialize};

use super::alerts::percentile;
use super::codec::{put, put_list, take};
use super::metrics::RunMetrics;
use super::observation::ObservedOutcome;
use super::outbox::{EvaluationEvent, OutboxEvent};

const MAX_OUTCOMES: usize = 10_000;
const MAX_INVESTIGATIONS: usize = 5000;
/// Maximum number of runs in one investigation. Further runs do not count: without a figure to subtract, each of their
/// revisions would be added again.
const MAX_RUNS_PER_INVESTIGATION: usize = 1000;

#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct InvestigationState {
    agent_type: String,
    /// Tool calls and cost of each run, by the run's digest.
    runs: BTreeMap<u64, (u64, i128)>,
    tool_calls: u64,
    atto: i128,
    overridden: bool,
    judged: bool,
    confidence: Option<f64>,
    resolution_seconds: Option<f64>,
    /// Start of the last run that was added, unix ns.
    last: u64,
}

#[derive(Default)]
struct JudgedRun {
    account: String,
    judgement: RunJudgement,
}

#[derive(Default)]
pub(super) struct Investigations {
    outcomes: BoundedMap<u64, JudgedRun, MAX_OUTCOMES>,
    /// By account and incident.
    investigations: BTreeMap<(String, String), InvestigationState>,
    /// Key of the investigation of a run, by the run's digest.
    investigation_of_run: HashMap<u64, (String, String)>,
    /// Accounts and agent types whose figures changed.
    changed_figures: BTreeSet<(String, String)>,
    /// News about investigations that are not in the outbox yet; drained after each change.
    pub(super) events: Vec<OutboxEvent>,
}

impl Investigations {
    pub(super) fn save(&self, out: &mut Vec<u8>) {
        put_list(self.outcomes.iter().map(|(run, judged)| (run, &judged.judgement)), out);
        put_list(self.outcomes.iter().map(|(run, judged)| (&judged.account, run)), out);
        put(&self.investigations, out);
    }

    pub(super) fn load(from: &mut &[u8]) -> Option<Self> {
        let mut history = Self::default();
        let mut judgements: BTreeMap<u64, RunJudgement> = take(from)?;
        for (account, run) in take::<Vec<(String, u64)>>(from)? {
            let judgement = judgements.remove(&run).unwrap_or_default();
            history.outcomes.insert_for(&*account.clone(), run, JudgedRun { account, judgement }, 1);
        }
        let investigations: BTreeMap<(String, String), InvestigationState> = take(from)?;
        let runs = investigations.iter().flat_map(|(key, state)| state.runs.keys().map(|run| (*run, key.clone())));
        history.investigation_of_run = runs.collect();
        history.investigations = investigations;
        Some(history)
    }

    /// The recorded outcome of a run, by its key.
    pub(super) fn judgement(&self, key: u64) -> Option<RunJudgement> {
        self.outcomes.get(&key).map(|judged| judged.judgement.clone())
    }

    /// `whose`: the tenant and the feature of the scores.
    pub(super) fn record_outcome(&mut self, account: &str, observed: &ObservedOutcome, whose: [String; 2]) {
        let events = &mut self.events;
        let outcome = self.outcomes.update(account, observed.run, |judged| {
            account.clone_into(&mut judged.account);
            let judgement = &mut judged.judgement;
            judgement.outcome = observed.judgement.outcome.or(judgement.outcome);
            for score in &observed.judgement.scores {
                // A repeat is no news. The order stays, so that repeats don't push the others out.
                if judgement.scores.contains(score) {
                    continue;
                }
                let event = Box::new(EvaluationEvent { run: observed.run, score: score.clone(), whose: whose.clone() });
                events.push(OutboxEvent::Evaluation(account.to_owned(), event));
                judgement.scores.retain(|known| known.name != score.name);
                judgement.scores.push(score.clone());
            }
            judgement.scores.drain(..judgement.scores.len().saturating_sub(MAX_SCORES));
            judgement.outcome
        });
        let key_of_run = || self.investigation_of_run.get(&observed.run).filter(|key| key.0 == account).cloned();
        let named_key = || Some((account.to_owned(), observed.incident.to_string()));
        let Some(key) = (if observed.incident.is_empty() { key_of_run() } else { named_key() }) else { return };
        if let Some(investigation) = self.investigations.get_mut(&key)
            && investigation.apply_outcome(outcome)
        {
            self.events.push(OutboxEvent::Overridden(key.0, investigation.agent_type.clone(), key.1));
        }
    }

    /// Adds a finished or revised run to its incident's investigation.
    pub(super) fn add_to_investigation(&mut self, view: &RunView, digest: u64) {
        let Some(incident) = &view.incident else { return };
        let agent_type = view.feature.as_deref().unwrap_or(UNATTRIBUTED);
        let key = (view.account.clone(), incident.clone());
        if !self.investigations.contains_key(&key) {
            self.events.push(OutboxEvent::Investigation(key.0.clone(), agent_type.to_owned(), key.1.clone()));
            if self.investigations.len() >= MAX_INVESTIGATIONS {
                self.evict_investigation();
            }
        }
        let new = || InvestigationState { agent_type: agent_type.to_owned(), ..InvestigationState::default() };
        let investigation = self.investigations.entry(key.clone()).or_insert_with(new);
        let (tool_calls, atto) = (view.totals.tool_calls(), view.totals.atto_usd());
        if investigation.runs.contains_key(&digest) || investigation.runs.len() < MAX_RUNS_PER_INVESTIGATION {
            let (old_tool_calls, old_atto) = investigation.runs.insert(digest, (tool_calls, atto)).unwrap_or_default();
            self.investigation_of_run.insert(digest, key.clone());
            investigation.tool_calls =
                investigation.tool_calls.saturating_add(tool_calls).saturating_sub(old_tool_calls);
            investigation.atto = investigation.atto.saturating_add(atto).saturating_sub(old_atto);
        }
        investigation.last = investigation.last.max(view.start);
        let ((account, incident), agent_type) = (key, investigation.agent_type.clone());
        if investigation.apply_outcome(view.judgement.outcome) {
            self.events.push(OutboxEvent::Overridden(account.clone(), agent_type.clone(), incident));
        }
        self.changed_figures.insert((account, agent_type));
    }

    fn evict_investigation(&mut self) {
        let candidates = self.investigations.iter().map(|(key, investigation)| (&*key.0, investigation.last, key));
        let oldest = choose_eviction(candidates).cloned();
        let evicted = oldest.and_then(|key| self.investigations.remove(&key));
        let runs = evicted.iter().flat_map(|investigation| investigation.runs.keys());
        runs.for_each(|run| drop(self.investigation_of_run.remove(run)));
    }

    /// Publishes the changed figures of investigations, once for all runs that were added. Each account gets its own
    /// value.
    pub(super) fn publish_investigation_figures(&mut self, metrics: Option<&RunMetrics>) {
        let changed = std::mem::take(&mut self.changed_figures);
        if changed.is_empty() {
            return;
        }
        // one pass over all investigations for all changed figures
        let mut calls_by_type = BTreeMap::<&str, Vec<f64>>::new();
        let mut calls_by_account = BTreeMap::<[&str; 2], Vec<f64>>::new();
        for ((account, _), investigation) in &self.investigations {
            let (agent_type, tool_calls) = (&*investigation.agent_type, investigation.tool_calls as f64);
            calls_by_type.entry(agent_type).or_default().push(tool_calls);
            calls_by_account.entry([account, agent_type]).or_default().push(tool_calls);
        }
        let p95 = |calls: Vec<f64>| percentile(calls, 0.95);
        let p95_by_type: BTreeMap<&str, f64> =
            calls_by_type.into_iter().map(|(agent_type, calls)| (agent_type, p95(calls))).collect();
        for (account, agent_type) in &changed {
            if let Some(metrics) = metrics {
                let of_all_accounts = p95_by_type.get(&**agent_type).copied().unwrap_or(0.0);
                metrics.set_tool_calls_p95(account, agent_type, of_all_accounts);
            }
            let own_calls = calls_by_account.remove(&[&**account, &**agent_type]).unwrap_or_default();
            self.events.push(OutboxEvent::ToolCallsP95(account.clone(), agent_type.clone(), p95(own_calls)));
        }
    }

    pub(super) fn by_agent_type(&self) -> BTreeMap<String, InvestigationStats> {
        let mut by_type: BTreeMap<String, InvestigationStats> = BTreeMap::new();
        let mut calls: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for case in self.investigations.values() {
            let stats = by_type.entry(case.agent_type.clone()).or_default();
            stats.count += 1;
            stats.judged += u64::from(case.judged);
            stats.overridden += u64::from(case.overridden);
            stats.atto_usd = stats.atto_usd.saturating_add(case.atto);
            calls.entry(&case.agent_type).or_default().push(case.tool_calls as f64);
            let Some((confidence, seconds)) = case.confidence.zip(case.resolution_seconds) else { continue };
            let tenth = ((confidence * 10.0) as usize).min(9);
            if let Some((count, mean)) = stats.resolution.get_mut(tenth) {
                *count += 1;
                *mean += (seconds - *mean) / *count as f64;
            }
        }
        for (agent_type, calls) in calls {
            let Some(stats) = by_type.get_mut(agent_type) else { continue };
            stats.tool_calls_mean = calls.iter().sum::<f64>() / calls.len().max(1) as f64;
            stats.tool_calls_p95 = percentile(calls, 0.95);
        }
        by_type
    }
}

impl InvestigationState {
    /// Applies an outcome; returns whether the investigation has just become overridden.
    fn apply_outcome(&mut self, outcome: Option<RunOutcome>) -> bool {
        let Some(outcome) = outcome else { return false };
        self.confidence = outcome.confidence.or(self.confidence);
        self.resolution_seconds = outcome.resolution_seconds.or(self.resolution_seconds);
        let overridden = outcome.verdict == OutcomeVerdict::Overridden;
        // An override is final: later outcomes do not undo it, and a second override is not counted.
        let is_newly_overridden = overridden && !self.overridden;
        self.overridden |= overridden;
        self.judged = true;
        is_newly_overridden
    }
}
