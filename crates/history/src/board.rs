//! [`RunBoard`]: all runs, for pages, the API, the report and alerts. Each run is in one place: in the tracker until it
//! is over, then in the file. The lock of the file is held for a whole read, and by the recorder while it moves ended
//! runs, so a reader sees each run once. A run that continues after its end is in both; the tracker's is read.
//! `src/app/history_recorder.rs` writes the file.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::{HashMap, HashSet, HashSetExt as _};
use parking_lot::Mutex;
use serde::Deserialize;

use kernel::pseudonym::IdPolicy;
use runs::{
    Alert, BudgetState, FirstRuns, InvestigationStats, MeasureAggregate, RunBudget, RunDetail, RunRecord, RunSource,
    RunSums, RunView, UNATTRIBUTED, UsageSum, encode_run, run_key,
};

use super::store::{HistoryStore, StoreError};

/// The file, once it is open.
pub type SharedHistoryStore = Arc<Mutex<Option<HistoryStore>>>;

/// The runs that a list shows: those with all these names.
#[derive(Default, Deserialize)]
pub struct RunFilter {
    tenant: Option<String>,
    feature: Option<String>,
    service: Option<String>,
    model: Option<String>,
    state: Option<String>,
    session: Option<String>,
    incident: Option<String>,
    /// Also selects the account if several have a run with the same id.
    pub account: Option<String>,
}

impl RunFilter {
    /// The names that are set, with their parameters.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &str)> + Clone {
        let names = [
            ("tenant", &self.tenant),
            ("feature", &self.feature),
            ("service", &self.service),
            ("model", &self.model),
            ("state", &self.state),
            ("session", &self.session),
            ("incident", &self.incident),
            ("account", &self.account),
        ];
        names.into_iter().filter_map(|(parameter, name)| Some((parameter, name.as_deref()?)))
    }

    pub fn matches(&self, run: &RunRecord<'_>) -> bool {
        self.names().all(|(parameter, wanted)| {
            let name = match parameter {
                "tenant" => run.tenant,
                "feature" => run.feature,
                "service" => run.service,
                "model" => return run.models.iter().any(|(model, _)| *model == wanted),
                "state" => Some(run.state.as_str()),
                "session" => Some(run.session),
                "incident" => run.incident,
                _ => Some(run.account),
            };
            name.unwrap_or(UNATTRIBUTED) == wanted
        })
    }
}

/// Maximum number of sessions in a chain.
const MAX_STORY: usize = 64;

/// Whether a viewer may see a run.
type RunPermit = dyn Fn(&RunRecord<'_>) -> bool + Send + Sync;

/// See the module documentation.
#[derive(Clone, Default)]
pub struct RunBoard {
    pub sources: Vec<Arc<dyn RunSource>>,
    pub store: SharedHistoryStore,
    /// Makes the pseudonyms of users, for a permit.
    pub ids: Option<Arc<dyn IdPolicy>>,
    /// The reader sees these runs, and alerts on one of them alone. `None`: all.
    pub permit: Option<Arc<RunPermit>>,
}

impl RunBoard {
    fn is_permitted(&self, run: &RunRecord<'_>) -> bool {
        self.permit.as_ref().is_none_or(|permit| permit(run))
    }

    /// Calls `visit` with each run of which the gateway heard later than `from` (unix ns), whatever its own times, and
    /// with each that is not over.
    pub fn visit_runs(&self, from: u64, visit: &mut dyn FnMut(&RunRecord<'_>)) {
        let visit = &mut |run: &RunRecord<'_>| {
            if self.is_permitted(run) {
                visit(run);
            }
        };
        let store = self.store.lock();
        let mut seen: HashSet<u64> = HashSet::new();
        for source in &self.sources {
            source.visit_runs(&mut |key, run| {
                let is_new = seen.insert(key);
                if let Some(run) = run.filter(|_| is_new).and_then(RunRecord::decode) {
                    visit(&run);
                }
            });
        }
        if let Some(store) = &*store {
            let visited = store.visit_runs(from, &mut |key, run| {
                if !seen.contains(&key) {
                    visit(run);
                }
            });
            if let Err(error) = visited {
                tracing::warn!(%error, "the history of runs can't be read");
            }
        }
    }

    /// The runs that come first by `rank`, at most `limit`. `None`: not wanted.
    pub fn first_runs<R: Ord>(
        &self,
        from: u64,
        limit: usize,
        rank: impl Fn(&RunRecord<'_>) -> Option<R>,
    ) -> FirstRuns<R> {
        let mut first = FirstRuns::new(limit);
        self.visit_runs(from, &mut |run| {
            if let Some(rank) = rank(run) {
                first.add(rank, run);
            }
        });
        first
    }

    /// The latest runs that `filter` chooses, live ones first, at most `limit`.
    pub fn latest_runs(&self, from: u64, limit: usize, filter: &RunFilter) -> Vec<RunDetail> {
        let rank = |run: &RunRecord<'_>| filter.matches(run).then_some((!run.state.is_live(), Reverse(run.last)));
        let runs = self.first_runs(from, limit, rank).into_views();
        let keys: Vec<u64> = runs.iter().map(RunView::key).collect();
        let mut found: HashMap<u64, RunDetail> = self.find_runs(&keys).into_iter().collect();
        keys.iter().filter_map(|key| found.remove(key)).collect()
    }

    /// One run of an account, with its judgement.
    pub fn find_run(&self, account: &str, id: &str) -> Option<RunDetail> {
        self.find_runs(&[run_key(account, id)]).pop().map(|(_, detail)| detail)
    }

    fn find_runs(&self, keys: &[u64]) -> Vec<(u64, RunDetail)> {
        let mut found = {
            let store = self.store.lock();
            let mut found: Vec<_> = self.sources.iter().flat_map(|source| source.find_runs(keys)).collect();
            let known: HashSet<u64> = found.iter().map(|(key, _)| *key).collect();
            let stored = keys.iter().filter(|key| !known.contains(key));
            found.extend(stored.filter_map(|key| Some((*key, store.as_ref()?.read_run(*key)?))));
            found
        };
        let is_permitted = |bytes: &[u8]| RunRecord::decode(bytes).is_some_and(|run| self.is_permitted(&run));
        found.retain(|(_, run)| self.permit.is_none() || is_permitted(&encode_run(&run.view, run.view.last)));
        for (key, detail) in &mut found {
            let judged = self.sources.iter().find_map(|source| source.judgement(*key));
            judged.into_iter().for_each(|judgement| detail.view.judgement = judgement);
        }
        found
    }

    /// Deletes the runs that `is_wanted` chooses from the file, and refuses those that the trackers still have, live
    /// ones too; returns how many they are together.
    ///
    /// # Errors
    /// The file is not open, or can't be read or written.
    pub fn erase_runs(&self, is_wanted: impl Fn(&RunRecord<'_>) -> bool, now: u64) -> Result<usize, StoreError> {
        let mut store = self.store.lock();
        let store = store.as_mut().ok_or(StoreError::Closed)?;
        let mut erased = HashSet::new();
        store.visit_runs(0, &mut |key, run| erased.extend(is_wanted(run).then_some(key)))?;
        for source in &self.sources {
            source.visit_runs(&mut |key, run| {
                let run = run.and_then(RunRecord::decode);
                erased.extend(run.is_some_and(|run| is_wanted(&run)).then_some(key));
            });
        }
        let erased: Vec<u64> = erased.into_iter().collect();
        store.erase(&erased, now)?;
        Ok(erased.len())
    }

    /// Accounts that have runs.
    pub fn accounts(&self) -> BTreeSet<String> {
        let stored = self.store.lock().as_ref().map(HistoryStore::accounts).unwrap_or_default();
        self.sources.iter().flat_map(|source| source.accounts()).chain(stored).collect()
    }

    /// Accounts that have a run of this id.
    pub fn accounts_with_run(&self, id: &str) -> Vec<String> {
        self.accounts().into_iter().filter(|account| self.find_run(account, id).is_some()).collect()
    }

    /// The account of a run: `account` if it is given, else the one that has the id; if several have it, these as an
    /// error.
    ///
    /// # Errors
    /// The accounts, of which one must be given.
    pub fn resolve_account(&self, account: Option<String>, id: &str) -> Result<Option<String>, Vec<String>> {
        if account.is_some() {
            return Ok(account);
        }
        let mut accounts = self.accounts_with_run(id);
        if accounts.len() > 1 { Err(accounts) } else { Ok(accounts.pop()) }
    }

    /// The chain of sessions that ends with this one, oldest first, each with the sum of its runs.
    pub fn story(&self, account: &str, session: &str, from: u64) -> Vec<(String, UsageSum)> {
        let mut continued: HashMap<String, String> = HashMap::default();
        self.visit_runs(from, &mut |run| {
            if let Some(before) = run.continues.filter(|_| run.account == account) {
                continued.insert(run.session.to_owned(), before.to_owned());
            }
        });
        let mut names = vec![session.to_owned()];
        while let Some(before) = names.last().and_then(|session| continued.remove(session))
            && names.len() < MAX_STORY
            && !names.contains(&before)
        {
            names.push(before);
        }
        names.reverse();
        let mut sums: HashMap<&str, UsageSum> = names.iter().map(|name| (&**name, UsageSum::default())).collect();
        self.visit_runs(from, &mut |run| {
            if let Some(sum) = sums.get_mut(run.session).filter(|_| run.account == account) {
                sum.add(&UsageSum::of_run(run));
            }
        });
        let sums: Vec<UsageSum> = names.iter().map(|name| sums.get(&**name).cloned().unwrap_or_default()).collect();
        names.into_iter().zip(sums).filter(|(name, sum)| sum.runs > 0 || name == session).collect()
    }

    /// The run's state relative to its iteration ceiling.
    pub fn budget(&self, account: &str, id: &str) -> Option<RunBudget> {
        let view = self.find_run(account, id)?.view;
        let ceiling = self.sources.first().map_or(u64::MAX, |source| source.iteration_ceiling(view.feature.as_deref()));
        let state = match view.totals.iterations {
            used if used >= ceiling => BudgetState::Exceeded,
            used if used.saturating_mul(5) >= ceiling.saturating_mul(4) => BudgetState::Warned,
            _ => BudgetState::Ok,
        };
        Some(RunBudget { view, ceiling, state })
    }

    /// Sums over the runs of which the gateway heard later than `from`, live ones up to now.
    pub fn sums(&self, from: u64) -> RunSums {
        let mut sums = RunSums::default();
        self.visit_runs(from, &mut |run| sums.add_run(run));
        sums.finish()
    }

    /// Investigations by agent type. If several trackers know one type, that with more investigations is shown.
    pub fn investigations(&self) -> BTreeMap<String, InvestigationStats> {
        let mut by_agent_type: BTreeMap<String, InvestigationStats> = BTreeMap::new();
        for (agent_type, stats) in self.sources.iter().flat_map(|source| source.investigations()) {
            let known = by_agent_type.entry(agent_type).or_default();
            if stats.count > known.count {
                *known = stats;
            }
        }
        by_agent_type
    }

    /// Aggregates of numeric span attributes.
    pub fn measures(&self) -> Vec<MeasureAggregate> {
        self.sources.iter().flat_map(|source| source.measures()).collect()
    }

    /// Firing alerts, then the latest resolved ones.
    pub fn alerts(&self) -> Vec<Alert> {
        let is_seen = |alert: &Alert| self.permit.is_none() || self.find_run(&alert.account, &alert.run).is_some();
        self.sources.iter().flat_map(|source| source.alerts()).filter(is_seen).collect()
    }
}
