//! **What**: [`History::look`]: asks the tracker what its runs do now. **Why**: whoever reads a page or a report looks
//! first, so that its figures are those of this moment, live runs included. **Invariants**: a run is there once: what
//! became part of another run goes; up to [`WHOLE`] runs all are asked for, beyond that those that changed last, and
//! the rest in turn; one at a time. **Not here**: what a look finds (`memory`), when it is written down
//! (`app/remember`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::entry::Entry;
use super::memory::History;
use runs::{Board, RunView};

/// Runs of a first look, and of a last one.
const FEW: usize = 128;
const MOST: usize = 32_768;
/// Live runs among which each look is whole.
const WHOLE: usize = 2048;
/// A live run that was not shown for so long is asked for by its id, ns.
const PATIENCE: u64 = 120_000_000_000;
/// Runs that are asked for by their id in one look.
const ASKED: usize = 32;

impl History {
    /// Takes in what the tracker shows at `now`.
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

    /// The tracker shows all it knows: what it showed at the look before (`last`) and does not show now became part of
    /// another run, if one of the same trace was there all the time and did at least as much.
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
            // a clock that is ahead: the entry has the time of the look instead
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
