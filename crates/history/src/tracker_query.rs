//! [`RunHistory::update_from_tracker`]: queries the tracker for the current state of its runs. Pages and reports query
//! first, so that the figures are current and include live runs. Each run appears once: a run merged into another is
//! removed. With at most [`MAX_COMPLETE_QUERY`] live runs, all are queried; with more, the runs that changed last, and
//! the others in turn. Queries run one at a time. Results are stored in `memory`; `src/app/history_recorder.rs` decides
//! when to write them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::entry::RunRecord;
use super::memory::RunHistory;
use runs::{RunCatalog, RunView};

/// Number of runs that the first query asks for besides the live ones.
const FIRST_QUERY_RUNS: usize = 128;
/// Maximum number of runs that a query asks for.
const MAX_QUERY_RUNS: usize = 32_768;
/// Number of live runs up to which every query covers all live runs.
const MAX_COMPLETE_QUERY: usize = 2048;
/// A live run that was not shown for this long is queried by its id, ns.
const MAX_UNSEEN: u64 = 120_000_000_000;
/// Maximum number of runs queried by id at once.
const MAX_QUERIED_BY_ID: usize = 32;

impl RunHistory {
    pub fn update_from_tracker(&self, catalog: &dyn RunCatalog, now: u64) {
        let mut last_query = self.last_query.lock();
        let live_count = self.runs.read().values().filter(|cached| cached.entry.is_live()).count();
        let mut limit = live_count.min(MAX_COMPLETE_QUERY).saturating_add(FIRST_QUERY_RUNS);
        let (views, is_complete) = loop {
            let views = catalog.recent_runs(limit);
            let is_complete = views.len() < limit;
            if is_complete || limit >= MAX_QUERY_RUNS || views.last().is_none_or(|view| self.is_stored(view, now)) {
                break (views, is_complete);
            }
            limit = limit.saturating_mul(8).min(MAX_QUERY_RUNS);
        };
        self.store_views(&views, now);
        if is_complete {
            self.remove_merged(&views, *last_query);
        }
        for unseen in self.longest_unseen(now, MAX_UNSEEN, MAX_QUERIED_BY_ID) {
            match catalog.find_run_of_account(&unseen.account, &unseen.run).map(|detail| detail.view) {
                Some(view) => drop(self.store_views([&view], now)),
                None => drop(self.mark_evicted(&unseen, now)),
            }
        }
        *last_query = now;
    }

    /// Called when the tracker has shown all its runs. A run shown at the last query and missing now was merged into
    /// another, if a run of the same trace started no later and did at least as much.
    fn remove_merged(&self, views: &[RunView], last_query: u64) {
        let shown: HashSet<(&str, &str)> = views.iter().map(|view| (&*view.account, &*view.run)).collect();
        let runs = self.runs.read();
        let vanished: Vec<&Arc<RunRecord>> = (runs.values())
            .filter(|cached| cached.last_seen != 0 && cached.last_seen == last_query && !cached.entry.trace.is_empty())
            .map(|cached| &cached.entry)
            .filter(|entry| !shown.contains(&(&*entry.account, &*entry.run)))
            .collect();
        if vanished.is_empty() {
            return;
        }
        let mut by_trace: HashMap<(&str, &str), Vec<&RunView>> = HashMap::new();
        for view in views.iter().filter(|view| !view.trace.is_empty()) {
            by_trace.entry((&view.account, &view.trace)).or_default().push(view);
        }
        let includes = |view: &RunView, entry: &RunRecord| {
            let totals = &view.totals;
            // The run's clock is ahead, so the entry has the time of the query instead.
            let is_clock_ahead = view.start > last_query;
            (view.start <= entry.start || is_clock_ahead)
                && view.last >= entry.at
                && totals.calls() >= entry.calls
                && totals.tool_calls() >= entry.tool_calls
                && totals.atto_usd() >= entry.atto
        };
        let is_merged = |entry: &&&Arc<RunRecord>| {
            let same_trace = by_trace.get(&(&*entry.account, &*entry.trace));
            same_trace.is_some_and(|same_trace| same_trace.iter().any(|view| includes(view, entry)))
        };
        let keys: Vec<String> = vanished.iter().filter(is_merged).map(|entry| entry.key()).collect();
        drop(runs);
        self.remove_runs(keys);
    }
}
