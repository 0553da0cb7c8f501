//! [`RunHistory`]: finished runs that are still shown, their sums, their outcomes, and the investigations they belong
//! to. Bounded: 1,000 runs, 200 names of a kind, 1,000 users and sessions (the most expensive each), 10,000 outcomes,
//! 5,000 investigations. The account with the most entries loses one first: sums are added to its `other`, everything
//! else is dropped. `state` decides when a run is over.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use runs::fair_eviction::{AccountOwned, FairQueue, choose_eviction};
use runs::{InvestigationStats, OTHER, OutcomeVerdict, RunJudgement, RunSums, RunView, UsageSum};

use super::codec::{BinaryCodec, fields};
use super::constants::{MAX_RECENT_RUNS, UNATTRIBUTED};
use super::contribution::{self, RunContribution};
use super::observation::ObservedOutcome;
use super::observe::run_digest;
use super::outbox::OutboxEvent;
use super::recorder::RunEventRecorder;

/// Maximum number of tenants, features or models with a sum of their own.
const MAX_NAMED_SUMS: usize = 200;
/// Maximum number of users or sessions with a sum of their own.
const MAX_USERS_OR_SESSIONS: usize = 1000;
const MAX_OUTCOMES: usize = 10_000;
const MAX_INVESTIGATIONS: usize = 5000;
/// Maximum number of runs with figures of their own in one investigation.
const MAX_RUNS_PER_INVESTIGATION: usize = 1000;
/// Maximum number of evaluation scores of one run.
const MAX_SCORES: usize = 8;

/// The state of one incident's investigation.
#[derive(Clone, Default)]
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

fields!(InvestigationState {
    agent_type,
    runs,
    tool_calls,
    atto,
    overridden,
    judged,
    confidence,
    resolution_seconds,
    last
});

/// A finished run and its digest.
struct FinishedRun {
    view: RunView,
    digest: u64,
}

impl AccountOwned for FinishedRun {
    fn account(&self) -> &str {
        &self.view.account
    }
}

/// The account and the run of a stored outcome.
struct OutcomeKey {
    account: String,
    run: u64,
}

fields!(OutcomeKey { account, run });

impl AccountOwned for OutcomeKey {
    fn account(&self) -> &str {
        &self.account
    }
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct RunHistory {
    recent: FairQueue<FinishedRun>,
    /// By account.
    sums: BTreeMap<String, RunSums>,
    outcomes: BTreeMap<u64, RunJudgement>,
    /// Keys of outcomes in order of arrival.
    outcome_order: FairQueue<OutcomeKey>,
    /// By account and incident.
    investigations: BTreeMap<(String, String), InvestigationState>,
    /// The case of a run, by the run's digest.
    investigation_of_run: HashMap<u64, (String, String)>,
    /// Accounts and agent types whose figures changed.
    changed_figures: BTreeSet<(String, String)>,
    /// Pending news about investigations; drained after each change.
    pub(super) events: Vec<OutboxEvent>,
}

impl BinaryCodec for RunSums {
    fn put(&self, out: &mut Vec<u8>) {
        self.all.put(out);
        for map in [&self.by_tenant, &self.by_feature, &self.by_model, &self.by_user, &self.by_session] {
            map.put(out);
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(Self {
            all: BinaryCodec::take(from)?,
            by_tenant: BinaryCodec::take(from)?,
            by_feature: BinaryCodec::take(from)?,
            by_model: BinaryCodec::take(from)?,
            by_user: BinaryCodec::take(from)?,
            by_session: BinaryCodec::take(from)?,
            by_account: BTreeMap::new(),
        })
    }
}

impl BinaryCodec for RunHistory {
    fn put(&self, out: &mut Vec<u8>) {
        self.recent.len().put(out);
        self.recent().for_each(|view| view.put(out));
        self.sums.put(out);
        self.outcomes.put(out);
        self.outcome_order.len().put(out);
        self.outcome_order.iter().for_each(|key| key.put(out));
        self.investigations.put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let retired = |view: RunView| FinishedRun { digest: run_digest(&view.account, &view.run), view };
        let recent = Vec::take(from)?.into_iter().map(retired).collect();
        let (sums, outcomes) = (BinaryCodec::take(from)?, BinaryCodec::take(from)?);
        let order = Vec::take(from)?.into_iter().collect();
        let cases: BTreeMap<(String, String), InvestigationState> = BinaryCodec::take(from)?;
        let runs = cases.iter().flat_map(|(key, case)| case.runs.keys().map(|run| (*run, key.clone())));
        let case_of = runs.collect();
        let (stale, news) = (BTreeSet::new(), Vec::new());
        Some(Self {
            recent,
            sums,
            outcomes,
            outcome_order: order,
            investigations: cases,
            investigation_of_run: case_of,
            changed_figures: stale,
            events: news,
        })
    }
}

impl RunHistory {
    /// Replaces a group's old share in the sums with its new one, both encoded as in [`counted`].
    pub(super) fn replace_contributions(&mut self, account: &str, before: &[u8], after: &[u8]) {
        if before == after {
            return;
        }
        let (before, after) = (contribution::decode_contributions(before), contribution::decode_contributions(after));
        let all = &mut self.sums;
        let own = all.entry(account.to_owned()).or_default();
        let parts: Vec<SumContribution<'_>> = before.iter().flat_map(contribution_parts).collect();
        // a name that was evicted has its old share in `other`
        let own_names: Vec<bool> = parts.iter().map(|(of, _, name, _)| of(own).contains_key(*name)).collect();
        after.iter().for_each(|one| own.all.add(&one.sum));
        before.iter().for_each(|one| own.all.subtract(&one.sum));
        for (of, most, name, sum) in after.iter().flat_map(self::contribution_parts) {
            sum_of_name(all, of, [account, name], most).add(sum);
        }
        let own = all.entry(account.to_owned()).or_default();
        for ((of, _, name, sum), is_own) in parts.into_iter().zip(own_names) {
            let names = of(own);
            let name = if is_own && names.contains_key(name) { name } else { OTHER };
            if let Some(known) = names.get_mut(name) {
                known.subtract(sum);
                if *known == UsageSum::default() {
                    names.remove(name);
                }
            }
        }
    }

    /// The sums over all runs, live ones included.
    pub(super) fn sums(&self) -> RunSums {
        let mut sums = RunSums::default();
        self.sums.values().for_each(|one| sums.add(one));
        RunSums { by_account: self.sums.clone(), ..sums }
    }

    /// Finished runs, oldest first.
    pub(super) fn recent(&self) -> impl DoubleEndedIterator<Item = &RunView> {
        self.recent.iter().map(|one| &one.view)
    }

    /// Adds a finished run to the list.
    pub(super) fn add_finished_run(&mut self, view: RunView, digest: u64) {
        self.recent.push(FinishedRun { view, digest }, MAX_RECENT_RUNS);
    }

    /// The recorded outcome of a run, by its digest.
    pub(super) fn judgement(&self, digest: u64) -> RunJudgement {
        self.outcomes.get(&digest).cloned().unwrap_or_default()
    }

    /// Records an outcome or scores of a run.
    pub(super) fn record_outcome(&mut self, account: &str, seen: &ObservedOutcome, recorder: &dyn RunEventRecorder) {
        if !self.outcomes.contains_key(&seen.run) {
            let gone = self.outcome_order.push(OutcomeKey { account: account.to_owned(), run: seen.run }, MAX_OUTCOMES);
            gone.and_then(|gone| self.outcomes.remove(&gone.run));
        }
        let known = self.outcomes.entry(seen.run).or_default();
        known.outcome = seen.judged.outcome.or(known.outcome);
        for score in &seen.judged.scores {
            known.scores.retain(|one| one.name != score.name);
            known.scores.push(score.clone());
        }
        known.scores.drain(..known.scores.len().saturating_sub(MAX_SCORES));
        let judged = known.clone();
        let views = self.recent.iter_mut().filter(|one| one.digest == seen.run);
        views.for_each(|one| one.view.judgement = judged.clone());
        let named = (account.to_owned(), seen.incident.to_string());
        let by_run = || self.investigation_of_run.get(&seen.run).filter(|key| key.0 == account).cloned();
        let key = if seen.incident.is_empty() { by_run() } else { Some(named) };
        let Some(key) = key else { return };
        if let Some(case) = self.investigations.get_mut(&key)
            && case.apply_outcome(account, &judged, recorder)
        {
            self.events.push(OutboxEvent::Overridden(key.0, case.agent_type.clone(), key.1));
        }
    }

    /// Adds a finished or updated run to its incident's case.
    pub(super) fn add_to_investigation(&mut self, view: &RunView, digest: u64, recorder: &dyn RunEventRecorder) {
        let Some(incident) = &view.incident else { return };
        let kind = view.feature.as_deref().unwrap_or(UNATTRIBUTED);
        let key = (view.account.clone(), incident.clone());
        if !self.investigations.contains_key(&key) {
            recorder.count_investigation(&key.0, kind);
            self.events.push(OutboxEvent::Investigation(key.0.clone(), kind.to_owned(), key.1.clone()));
            if self.investigations.len() >= MAX_INVESTIGATIONS {
                let all = self.investigations.iter().map(|(key, case)| (&*key.0, case.last, key));
                let oldest = choose_eviction(all).cloned();
                let gone = oldest.and_then(|key| self.investigations.remove(&key));
                gone.iter()
                    .flat_map(|case| case.runs.keys())
                    .for_each(|run| drop(self.investigation_of_run.remove(run)));
            }
        }
        let judged = self.judgement(digest);
        let (account, incident) = key.clone();
        let case = self.investigations.entry(key.clone()).or_default();
        if case.agent_type.is_empty() {
            kind.clone_into(&mut case.agent_type);
        }
        let now = (view.totals.tool_calls(), view.totals.atto_usd());
        let (calls, atto) = case.runs.get(&digest).copied().unwrap_or_default();
        if case.runs.contains_key(&digest) || case.runs.len() < MAX_RUNS_PER_INVESTIGATION {
            case.runs.insert(digest, now);
            self.investigation_of_run.insert(digest, key);
        }
        case.tool_calls = case.tool_calls.saturating_add(now.0).saturating_sub(calls);
        case.atto = case.atto.saturating_add(now.1).saturating_sub(atto);
        case.last = case.last.max(view.start);
        let overridden = case.apply_outcome(&account, &judged, recorder);
        let kind = case.agent_type.clone();
        if overridden {
            self.events.push(OutboxEvent::Overridden(account.clone(), kind.clone(), incident));
        }
        self.changed_figures.insert((account, kind));
    }

    /// Publishes the changed figures of investigations, once for all runs that were added. Each account gets its own
    /// value.
    pub(super) fn publish_investigation_figures(&mut self, recorder: &dyn RunEventRecorder) {
        let stale = std::mem::take(&mut self.changed_figures);
        if stale.is_empty() {
            return;
        }
        // one pass over all cases for all changed figures
        let (mut all, mut own) = (BTreeMap::<&str, Vec<u64>>::new(), BTreeMap::<[&str; 2], Vec<u64>>::new());
        for ((account, _), case) in &self.investigations {
            all.entry(&case.agent_type).or_default().push(case.tool_calls);
            own.entry([account, &case.agent_type]).or_default().push(case.tool_calls);
        }
        let all: BTreeMap<&str, f64> = all.into_iter().map(|(kind, calls)| (kind, percentile(calls, 0.95))).collect();
        for (account, kind) in &stale {
            recorder.set_tool_calls_p95(account, kind, all.get(&**kind).copied().unwrap_or(0.0));
            let own = percentile(own.remove(&[&**account, &**kind]).unwrap_or_default(), 0.95);
            self.events.push(OutboxEvent::ToolCallsP95(account.clone(), kind.clone(), own));
        }
    }

    /// Investigations by agent type.
    pub(super) fn investigations(&self) -> BTreeMap<String, InvestigationStats> {
        let mut all: BTreeMap<String, InvestigationStats> = BTreeMap::new();
        let mut calls: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for case in self.investigations.values() {
            let one = all.entry(case.agent_type.clone()).or_default();
            one.count += 1;
            one.judged += u64::from(case.judged);
            one.overridden += u64::from(case.overridden);
            one.atto_usd = one.atto_usd.saturating_add(case.atto);
            calls.entry(&case.agent_type).or_default().push(case.tool_calls);
            let Some((confidence, seconds)) = case.confidence.zip(case.resolution_seconds) else { continue };
            let tenth = ((confidence * 10.0) as usize).min(9);
            if let Some((count, mean)) = one.resolution.get_mut(tenth) {
                *count += 1;
                *mean += (seconds - *mean) / *count as f64;
            }
        }
        for (kind, calls) in calls {
            let Some(one) = all.get_mut(kind) else { continue };
            one.tool_calls_mean = calls.iter().sum::<u64>() as f64 / calls.len().max(1) as f64;
            one.tool_calls_p95 = percentile(calls, 0.95);
        }
        all
    }
}

impl InvestigationState {
    /// Applies an outcome; returns whether the case has just become overridden.
    fn apply_outcome(&mut self, account: &str, judged: &RunJudgement, recorder: &dyn RunEventRecorder) -> bool {
        let Some(outcome) = judged.outcome else { return false };
        self.confidence = outcome.confidence.or(self.confidence);
        self.resolution_seconds = outcome.resolution_seconds.or(self.resolution_seconds);
        let overridden = outcome.verdict == OutcomeVerdict::Overridden;
        // An override is final: later outcomes do not undo it, and a second override is not counted.
        let new = overridden && !self.overridden;
        if new {
            recorder.count_override(account, &self.agent_type);
        }
        self.overridden |= overridden;
        self.judged = true;
        new
    }
}

/// The nearest-rank percentile; 0 if there are no values.
pub(super) fn percentile(mut values: Vec<u64>, share: f64) -> f64 {
    values.sort_unstable();
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).map_or(0.0, |value| *value as f64)
}

/// One of the sums a run contributes to: which map, its maximum number of names, the name, the amount.
type SumContribution<'c> = (fn(&mut RunSums) -> &mut BTreeMap<String, UsageSum>, usize, &'c str, &'c UsageSum);

fn contribution_parts(run: &RunContribution) -> Vec<SumContribution<'_>> {
    let mut parts: Vec<SumContribution<'_>> = vec![
        (|sums| &mut sums.by_feature, MAX_NAMED_SUMS, &run.feature, &run.sum),
        (|sums| &mut sums.by_user, MAX_USERS_OR_SESSIONS, &run.user, &run.sum),
        (|sums| &mut sums.by_session, MAX_USERS_OR_SESSIONS, &run.session, &run.sum),
    ];
    for (tenant, sum) in &run.tenants {
        parts.push((|sums| &mut sums.by_tenant, MAX_NAMED_SUMS, tenant, sum));
    }
    for (model, sum) in &run.models {
        parts.push((|sums| &mut sums.by_model, MAX_NAMED_SUMS, model, sum));
    }
    parts
}

/// The sum of an account's name, created if missing. If there are too many names, the cheapest name of the account
/// with the most is merged into that account's `other`.
fn sum_of_name<'m>(
    all: &'m mut BTreeMap<String, RunSums>,
    of: impl Fn(&mut RunSums) -> &mut BTreeMap<String, UsageSum>,
    [account, name]: [&str; 2],
    most: usize,
) -> &'m mut UsageSum {
    let known = of(all.entry(account.to_owned()).or_default()).contains_key(name);
    let count = |sums: &mut RunSums| of(sums).keys().filter(|name| *name != OTHER).count();
    if !known && all.values_mut().map(count).sum::<usize>() >= most {
        let fullest = all.iter_mut().map(|(account, sums)| (of(sums).len(), account)).max();
        let fullest = fullest.map(|(_, account)| account.clone());
        fullest
            .and_then(|account| all.get_mut(&account))
            .into_iter()
            .for_each(|sums| merge_cheapest_into_other(of(sums)));
    }
    of(all.entry(account.to_owned()).or_default()).entry(name.to_owned()).or_default()
}

fn merge_cheapest_into_other(sums: &mut BTreeMap<String, UsageSum>) {
    let cheapest = sums.iter().filter(|(name, _)| *name != OTHER).min_by_key(|(_, sum)| (sum.atto_usd, sum.runs));
    let cheapest = cheapest.map(|(name, _)| name.clone());
    if let Some(sum) = cheapest.and_then(|name| sums.remove(&name)) {
        sums.entry(OTHER.to_owned()).or_default().add(&sum);
    }
}
