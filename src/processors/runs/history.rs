//! **What**: [`History`]: runs that are over and still shown, what they add up to, what became of them, and the investigations
//! they belong to. **Invariants**: bounded: 1,000 runs, 200 names of a kind, 1,000 users and sessions (the dearest each), 10,000
//! outcomes, 5,000 investigations; what makes room goes into `other`, or is forgotten, oldest first.
//! **Not here**: when a run is over (`state`).

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use crate::runs::{Investigations, Judged, OTHER, RunSums, RunView, Sum, Totals, Verdict};

use super::codec::{Code, fields};
use super::observe::run_digest;
use super::outbox::News;
use super::seen::SeenOutcome;
use super::state::Recorder;

/// Runs that are over and still shown.
pub(super) const RECENT: usize = 1000;
/// Tenants, features or models that sums tell apart.
const SUMS: usize = 200;
/// Users or sessions.
const PEOPLE: usize = 1000;
const OUTCOMES: usize = 10_000;
const INVESTIGATIONS: usize = 5000;
/// Runs of one investigation whose outcomes are told apart.
const RUNS: usize = 1000;
/// Evaluations of one run.
const SCORES: usize = 8;
/// What has no name.
pub(super) const UNATTRIBUTED: &str = "unattributed";

/// What is known of one incident.
#[derive(Clone, Default)]
pub(super) struct Case {
    kind: String,
    runs: Vec<u64>,
    tool_calls: u64,
    atto: i128,
    overridden: bool,
    judged: bool,
    confidence: Option<f64>,
    resolved_in: Option<f64>,
    /// Begin of the last run that was added, unix ns.
    last: u64,
}

fields!(Case { kind, runs, tool_calls, atto, overridden, judged, confidence, resolved_in, last });

/// See the module.
#[derive(Default)]
pub(super) struct History {
    pub(super) recent: VecDeque<RunView>,
    /// Their digests, in their order.
    digests: VecDeque<u64>,
    pub(super) sums: RunSums,
    outcomes: BTreeMap<u64, Judged>,
    /// Keys of outcomes in the order they came.
    order: VecDeque<u64>,
    /// By account and incident.
    cases: BTreeMap<(String, String), Case>,
    /// Which of them a run is in, by its digest.
    case_of: HashMap<u64, (String, String)>,
    /// Accounts and agent types whose figures changed.
    stale: BTreeSet<(String, String)>,
    /// What is to be told of investigations; taken at once.
    pub(super) news: Vec<News>,
}

impl Code for RunSums {
    fn put(&self, out: &mut Vec<u8>) {
        self.all.put(out);
        for map in [&self.by_tenant, &self.by_feature, &self.by_model, &self.by_user, &self.by_session] {
            map.put(out);
        }
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        Some(Self {
            all: Code::take(from)?,
            by_tenant: Code::take(from)?,
            by_feature: Code::take(from)?,
            by_model: Code::take(from)?,
            by_user: Code::take(from)?,
            by_session: Code::take(from)?,
        })
    }
}

impl Code for History {
    fn put(&self, out: &mut Vec<u8>) {
        self.recent.len().put(out);
        self.recent.iter().for_each(|view| view.put(out));
        self.sums.put(out);
        self.outcomes.put(out);
        self.order.len().put(out);
        self.order.iter().for_each(|key| key.put(out));
        self.cases.put(out);
    }

    fn take(from: &mut &[u8]) -> Option<Self> {
        let recent: VecDeque<RunView> = Vec::take(from)?.into();
        let digests = recent.iter().map(|view| run_digest(&view.account, &view.run)).collect();
        let (sums, outcomes, order) = (Code::take(from)?, Code::take(from)?, Vec::take(from)?.into());
        let cases: BTreeMap<(String, String), Case> = Code::take(from)?;
        let runs = cases.iter().flat_map(|(key, case)| case.runs.iter().map(|run| (*run, key.clone())));
        let case_of = runs.collect();
        let (stale, news) = (BTreeSet::new(), Vec::new());
        Some(Self { recent, digests, sums, outcomes, order, cases, case_of, stale, news })
    }
}

impl History {
    /// A run is over: it counts.
    pub(super) fn add_up(&mut self, view: &RunView, digest: u64, recorder: &dyn Recorder) {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| UNATTRIBUTED.to_owned());
        let sums = &mut self.sums;
        sums.all.add_run(view);
        dearest(&mut sums.by_tenant, &name(&view.tenant), SUMS).add_run(view);
        dearest(&mut sums.by_feature, &name(&view.feature), SUMS).add_run(view);
        for (model, totals) in &view.totals.models {
            let part = Totals { models: [(model.clone(), *totals)].into(), ..Totals::default() };
            dearest(&mut sums.by_model, model, SUMS).add_share(view, &part);
        }
        dearest(&mut sums.by_user, &name(&view.user), PEOPLE).add_run(view);
        dearest(&mut sums.by_session, &view.session, PEOPLE).add_run(view);
        self.investigate(view, digest, recorder);
    }

    /// A run goes into the list of those that are over.
    pub(super) fn retire(&mut self, view: RunView, digest: u64) {
        self.recent.push_back(view);
        self.digests.push_back(digest);
        self.recent.drain(..self.recent.len().saturating_sub(RECENT));
        self.digests.drain(..self.digests.len().saturating_sub(RECENT));
    }

    /// What became of a run, by its digest.
    pub(super) fn judged(&self, digest: u64) -> Judged {
        self.outcomes.get(&digest).cloned().unwrap_or_default()
    }

    /// Somebody said what became of a run.
    pub(super) fn judge(&mut self, account: &str, seen: &SeenOutcome, recorder: &dyn Recorder) {
        if !self.outcomes.contains_key(&seen.run) {
            self.order.push_back(seen.run);
            while self.order.len() > OUTCOMES {
                if let Some(oldest) = self.order.pop_front() {
                    self.outcomes.remove(&oldest);
                }
            }
        }
        let known = self.outcomes.entry(seen.run).or_default();
        known.outcome = seen.judged.outcome.or(known.outcome);
        for score in &seen.judged.scores {
            known.scores.retain(|one| one.name != score.name);
            known.scores.push(score.clone());
        }
        known.scores.drain(..known.scores.len().saturating_sub(SCORES));
        let judged = known.clone();
        let views = self.recent.iter_mut().zip(&self.digests).filter(|(_, digest)| **digest == seen.run);
        views.for_each(|(view, _)| view.judged = judged.clone());
        let named = (account.to_owned(), seen.incident.to_string());
        let by_run = || self.case_of.get(&seen.run).filter(|key| key.0 == account).cloned();
        let key = if seen.incident.is_empty() { by_run() } else { Some(named) };
        let Some(key) = key else { return };
        if let Some(case) = self.cases.get_mut(&key)
            && case.judge(&judged, recorder)
        {
            self.news.push(News::Overridden(key.0, case.kind.clone(), key.1));
        }
    }

    fn investigate(&mut self, view: &RunView, digest: u64, recorder: &dyn Recorder) {
        let Some(incident) = &view.incident else { return };
        let kind = view.feature.as_deref().unwrap_or(UNATTRIBUTED);
        let key = (view.account.clone(), incident.clone());
        if !self.cases.contains_key(&key) {
            recorder.investigation(kind);
            self.news.push(News::Investigation(key.0.clone(), kind.to_owned(), key.1.clone()));
            if self.cases.len() >= INVESTIGATIONS {
                let oldest = self.cases.iter().min_by_key(|(_, case)| case.last).map(|(key, _)| key.clone());
                let gone = oldest.and_then(|key| self.cases.remove(&key));
                gone.iter().flat_map(|case| &case.runs).for_each(|run| drop(self.case_of.remove(run)));
            }
        }
        let judged = self.judged(digest);
        let (account, incident) = key.clone();
        let case = self.cases.entry(key.clone()).or_default();
        if case.kind.is_empty() {
            kind.clone_into(&mut case.kind);
        }
        if !case.runs.contains(&digest) && case.runs.len() < RUNS {
            case.runs.push(digest);
            self.case_of.insert(digest, key);
        }
        case.tool_calls += view.totals.tool_calls();
        case.atto = case.atto.saturating_add(view.totals.atto_usd());
        case.last = case.last.max(view.start);
        let overridden = case.judge(&judged, recorder);
        let kind = case.kind.clone();
        if overridden {
            self.news.push(News::Overridden(account.clone(), kind.clone(), incident));
        }
        self.stale.insert((account, kind));
    }

    /// Figures of investigations that changed: once for all runs that were added up before.
    pub(super) fn figure(&mut self, recorder: &dyn Recorder) {
        let mut known: BTreeMap<String, f64> = BTreeMap::new();
        for (account, kind) in std::mem::take(&mut self.stale) {
            let p95 = *known.entry(kind.clone()).or_insert_with(|| self.p95(&kind));
            recorder.tool_calls_p95(&kind, p95);
            self.news.push(News::ToolCalls(account, kind, p95));
        }
    }

    fn p95(&self, kind: &str) -> f64 {
        let calls = self.cases.values().filter(|case| case.kind == kind).map(|case| case.tool_calls);
        percentile(calls.collect(), 0.95)
    }

    /// Investigations by agent type.
    pub(super) fn investigations(&self) -> BTreeMap<String, Investigations> {
        let mut all: BTreeMap<String, Investigations> = BTreeMap::new();
        let mut calls: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for case in self.cases.values() {
            let one = all.entry(case.kind.clone()).or_default();
            one.count += 1;
            one.judged += u64::from(case.judged);
            one.overridden += u64::from(case.overridden);
            one.atto_usd = one.atto_usd.saturating_add(case.atto);
            calls.entry(&case.kind).or_default().push(case.tool_calls);
            let Some((confidence, seconds)) = case.confidence.zip(case.resolved_in) else { continue };
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

impl Case {
    /// Whether it is overridden now and was not before.
    fn judge(&mut self, judged: &Judged, recorder: &dyn Recorder) -> bool {
        let Some(outcome) = judged.outcome else { return false };
        self.confidence = outcome.confidence.or(self.confidence);
        self.resolved_in = outcome.resolved_in.or(self.resolved_in);
        let overridden = outcome.verdict == Verdict::Overridden;
        // Who overrode once has: a later word does not undo it, and no override counts twice.
        let new = overridden && !self.overridden;
        if new {
            recorder.overridden(&self.kind);
        }
        self.overridden |= overridden;
        self.judged = true;
        new
    }
}

/// The nearest-rank percentile; 0 of nothing.
pub(super) fn percentile(mut values: Vec<u64>, share: f64) -> f64 {
    values.sort_unstable();
    let rank = (values.len() as f64 * share).ceil() as usize;
    values.get(rank.saturating_sub(1)).map_or(0.0, |value| *value as f64)
}

/// The entry of a name; the cheapest one makes room for it.
fn dearest<'m>(sums: &'m mut BTreeMap<String, Sum>, name: &str, most: usize) -> &'m mut Sum {
    if sums.len() >= most && !sums.contains_key(name) {
        let cheapest = sums.iter().filter(|(name, _)| *name != OTHER).min_by_key(|(_, sum)| (sum.atto_usd, sum.runs));
        let cheapest = cheapest.map(|(name, _)| name.clone());
        if let Some(sum) = cheapest.and_then(|name| sums.remove(&name)) {
            sums.entry(OTHER.to_owned()).or_default().add(&sum);
        }
    }
    sums.entry(name.to_owned()).or_default()
}
