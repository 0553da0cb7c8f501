//! [`History::look`]: queries the tracker for the current state of its runs. It runs before each page or report, so
//! that the figures are current and include live runs.
//! Each run appears once: a run merged into another is removed. Up to [`WHOLE`] live runs all are queried; beyond that
//! the latest changes are, and the others in turn. Queries run one at a time. Results are stored in `memory`;
//! `app/remember` decides when to write them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::entry::Entry;
use super::memory::History;
use runs::{Board, RunView};

/// Runs of the first query beyond the live ones, and of the last query.
const FEW: usize = 128;
const MOST: usize = 32_768;
/// Number of live runs up to which every query covers all.
const WHOLE: usize = 2048;
/// A live run that was not shown for this long is queried by its id, ns.
const PATIENCE: u64 = 120_000_000_000;
/// Maximum number of runs queried by id at once.
const ASKED: usize = 32;

impl History {
    /// Updates the history from the tracker at `now`.
    pub fn look(&self, board: &dyn Board, now: u64) {
        let mut last = self.looking.lock();
        let live = self.runs.read().values().filter(|kept| kept.entry.live()).count();
        let mut most = live.min(WHOLE).saturating_add(FEW);
        let (views, whole) = loop {
            let views = board.recent(most);
            let whole = views.len() < most;
            if whole || most >= MOST || views.last().is_none_or(|view| self.knows(view, now)) {
                break (views, whole);
            }
            most = most.saturating_mul(8).min(MOST);
        };
        self.note(&views, now);
        if whole {
            self.merge(&views, *last);
        }
        for unseen in self.unseen(now, PATIENCE, ASKED) {
            match board.run_of(&unseen.account, &unseen.run).map(|detail| detail.view) {
                Some(view) => drop(self.note([&view], now)),
                None => drop(self.lost(&unseen, now)),
            }
        }
        *last = now;
    }

    /// Called when the tracker has shown all its runs. A run shown at the last query (`last`) and missing now was
    /// merged into another, if a run of the same trace started no later and did at least as much.
    fn merge(&self, views: &[RunView], last: u64) {
        let shown: HashSet<(&str, &str)> = views.iter().map(|view| (&*view.account, &*view.run)).collect();
        let runs = self.runs.read();
        let vanished: Vec<&Arc<Entry>> = (runs.values())
            .filter(|kept| kept.seen != 0 && kept.seen == last && !kept.entry.trace.is_empty())
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
        let holds = |view: &RunView, entry: &Entry| {
            let totals = &view.totals;
            // The run's clock is ahead, so the entry has the time of the query instead.
            let ahead = view.start > last;
            (view.start <= entry.start || ahead)
                && view.last >= entry.at
                && totals.calls() >= entry.calls
                && totals.tool_calls() >= entry.tool_calls
                && totals.atto_usd() >= entry.atto
        };
        let merged = |entry: &&&Arc<Entry>| {
            let others = by_trace.get(&(&*entry.account, &*entry.trace));
            others.is_some_and(|others| others.iter().any(|view| holds(view, entry)))
        };
        let keys: Vec<String> = vanished.iter().filter(merged).map(|entry| entry.key()).collect();
        drop(runs);
        self.merged(keys);
    }
}
