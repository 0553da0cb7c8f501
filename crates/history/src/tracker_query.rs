//! [`RunHistory::update_from_tracker`]: queries the tracker for the current state of its runs. It runs before each page
//! or report, so that the figures are current and include live runs. Each run appears once: a run merged into another
//! is removed. Up to [`WHOLE`] live runs all are queried; beyond that the latest changes are, and the others in turn.
//! Queries run one at a time. Results are stored in `memory`; `app/remember` decides when to write them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::entry::RunRecord;
use super::memory::RunHistory;
use runs::{RunCatalog, RunView};

/// Runs of the first query beyond the live ones, and of the last query.
const FIRST_QUERY_RUNS: usize = 128;
const MAX_QUERY_RUNS: usize = 32_768;
/// Number of live runs up to which every query covers all.
const MAX_COMPLETE_QUERY: usize = 2048;
/// A live run that was not shown for this long is queried by its id, ns.
const MAX_UNSEEN: u64 = 120_000_000_000;
/// Maximum number of runs queried by id at once.
const MAX_QUERIED_BY_ID: usize = 32;

impl RunHistory {
    /// Updates the history from the tracker at `now`.
    pub fn update_from_tracker(&self, board: &dyn RunCatalog, now: u64) {
        let mut last = self.last_query.lock();
        let live = self.runs.read().values().filter(|kept| kept.entry.is_live()).count();
        let mut most = live.min(MAX_COMPLETE_QUERY).saturating_add(FIRST_QUERY_RUNS);
        let (views, whole) = loop {
            let views = board.recent_runs(most);
            let whole = views.len() < most;
            if whole || most >= MAX_QUERY_RUNS || views.last().is_none_or(|view| self.is_stored(view, now)) {
                break (views, whole);
            }
            most = most.saturating_mul(8).min(MAX_QUERY_RUNS);
        };
        self.store_views(&views, now);
        if whole {
            self.remove_merged(&views, *last);
        }
        for unseen in self.longest_unseen(now, MAX_UNSEEN, MAX_QUERIED_BY_ID) {
            match board.find_run_of_account(&unseen.account, &unseen.run).map(|detail| detail.view) {
                Some(view) => drop(self.store_views([&view], now)),
                None => drop(self.mark_evicted(&unseen, now)),
            }
        }
        *last = now;
    }

    /// Called when the tracker has shown all its runs. A run shown at the last query (`last`) and missing now was
    /// merged into another, if a run of the same trace started no later and did at least as much.
    fn remove_merged(&self, views: &[RunView], last: u64) {
        let shown: HashSet<(&str, &str)> = views.iter().map(|view| (&*view.account, &*view.run)).collect();
        let runs = self.runs.read();
        let vanished: Vec<&Arc<RunRecord>> = (runs.values())
            .filter(|kept| kept.last_seen != 0 && kept.last_seen == last && !kept.entry.trace.is_empty())
            .map(|kept| &kept.entry)
            .filter(|entry| !shown.contains(&(&*entry.account, &*entry.run)))
            .collect();
        if vanished.is_empty() {
            return;
        }
        let mut by_trace: HashMap<(&str, &str), Vec<&RunView>> = HashMap::new();
        for view in views.iter().filter(|view| !view.trace.is_empty()) {
            by_trace.entry((&view.account, &view.trace)).or_default().push(view);
        }
        let holds = |view: &RunView, entry: &RunRecord| {
            let totals = &view.totals;
            // The run's clock is ahead, so the entry has the time of the query instead.
            let ahead = view.start > last;
            (view.start <= entry.start || ahead)
                && view.last >= entry.at
                && totals.calls() >= entry.calls
                && totals.tool_calls() >= entry.tool_calls
                && totals.atto_usd() >= entry.atto
        };
        let merged = |entry: &&&Arc<RunRecord>| {
            let others = by_trace.get(&(&*entry.account, &*entry.trace));
            others.is_some_and(|others| others.iter().any(|view| holds(view, entry)))
        };
        let keys: Vec<String> = vanished.iter().filter(merged).map(|entry| entry.key()).collect();
        drop(runs);
        self.remove_runs(keys);
    }
}
