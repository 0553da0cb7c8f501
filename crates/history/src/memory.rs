//! [`RunHistory`]: the runs of the last 48 hours in memory. At most [`MAX_RUNS`] are kept; beyond that the account with
//! most runs loses its oldest. There is one entry per run, with its latest state. Runs whose own times are further back
//! are counted, not kept. Keys of changed runs wait until the changes are written.
//! The tracker is queried in `tracker_query`, aggregates are in `figures`, the file is in `store`.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::entry::RunRecord;
use runs::fair_eviction::split_fairly;
use runs::{RunState, RunView};

/// How long runs are kept, ns.
pub const RETENTION: u64 = 48 * 3_600_000_000_000;
/// Maximum number of runs.
pub const MAX_RUNS: usize = 50_000;

pub(super) struct CachedRun {
    pub(super) entry: Arc<RunRecord>,
    /// When the tracker last showed the run, unix ns; 0 = before this start.
    pub(super) last_seen: u64,
    /// Order of insertion, for runs with the same time.
    order: u64,
}

/// See the module.
#[derive(Default)]
pub struct RunHistory {
    pub(super) runs: RwLock<HashMap<String, CachedRun>>,
    /// Keys of runs whose latest state is not written yet, including removed runs.
    changed: Mutex<BTreeSet<String>>,
    /// Time of the last query of the tracker. The lock is held during a query, so that an older answer never replaces a
    /// newer one.
    pub(super) last_query: Mutex<u64>,
    next_order: AtomicU64,
    /// See [`Self::left_out`].
    evicted: AtomicU64,
    too_old: AtomicU64,
}

impl RunHistory {
    /// Stores the views of the tracker; returns the entries that are new or have changed.
    pub fn store_views<'v>(&self, views: impl IntoIterator<Item = &'v RunView>, now: u64) -> Vec<Arc<RunRecord>> {
        let (mut changed, mut too_old) = (Vec::new(), 0);
        let mut runs = self.runs.write();
        for view in views {
            let mut entry = RunRecord::from_view(view, now);
            if entry.at.saturating_add(RETENTION) < now {
                too_old += 1;
                continue;
            }
            let key = entry.key();
            let mut order = None;
            if let Some(known) = runs.get_mut(&key) {
                order = Some(known.order);
                if view.last > now {
                    // The run's clock is ahead: its capped times must not change just because ours goes on.
                    (entry.at, entry.start) = (known.entry.at, known.entry.start);
                }
                if *known.entry == entry {
                    known.last_seen = now;
                    continue;
                }
            }
            let entry = Arc::new(entry);
            changed.push(Arc::clone(&entry));
            let order = order.unwrap_or_else(|| self.take_order());
            runs.insert(key, CachedRun { entry, last_seen: now, order });
        }
        drop(runs);
        self.changed.lock().extend(changed.iter().map(|entry| entry.key()));
        self.too_old.fetch_max(too_old, Ordering::Relaxed);
        changed
    }

    fn take_order(&self) -> u64 {
        self.next_order.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds entries read from the file at start.
    pub fn restore(&self, entries: Vec<RunRecord>) {
        let mut runs = self.runs.write();
        for entry in entries {
            let key = entry.key();
            runs.entry(key).or_insert_with(|| CachedRun {
                entry: Arc::new(entry),
                last_seen: 0,
                order: self.take_order(),
            });
        }
    }

    /// Removes runs that are older than 48 hours or beyond [`MAX_RUNS`].
    pub fn evict_old(&self, now: u64) {
        let before = now.saturating_sub(RETENTION);
        let mut runs = self.runs.write();
        runs.retain(|_, cached| cached.entry.at >= before);
        if runs.len() <= MAX_RUNS {
            return;
        }
        let candidates =
            runs.iter().map(|(key, cached)| (&*cached.entry.account, (cached.entry.at, cached.order), 1, key));
        let evicted: Vec<String> = split_fairly(candidates, MAX_RUNS).1.into_iter().cloned().collect();
        let mut changed = self.changed.lock();
        evicted.iter().for_each(|key| {
            runs.remove(key);
            // Only memory is bounded here; the file keeps the run.
            changed.remove(key);
        });
        drop(changed);
        self.evicted.fetch_add(evicted.len() as u64, Ordering::Relaxed);
    }

    /// At most `limit` live runs that the tracker has not shown for `min_unseen` ns: of each account the longest unseen
    /// ones.
    pub fn longest_unseen(&self, now: u64, min_unseen: u64, limit: usize) -> Vec<Arc<RunRecord>> {
        let runs = self.runs.read();
        let unseen_runs =
            runs.values().filter(|cached| cached.entry.is_live() && cached.last_seen.saturating_add(min_unseen) < now);
        let unseen_runs =
            unseen_runs.map(|cached| (&*cached.entry.account, Reverse((cached.last_seen, cached.order)), 1, cached));
        split_fairly(unseen_runs, limit).0.into_iter().map(|cached| Arc::clone(&cached.entry)).collect()
    }

    /// Marks a live run that the tracker no longer knows as evicted.
    pub fn mark_evicted(&self, entry: &RunRecord, now: u64) -> Arc<RunRecord> {
        let evicted = Arc::new(RunRecord { state: RunState::Evicted.as_str().into(), ..entry.clone() });
        self.changed.lock().insert(evicted.key());
        self.runs
            .write()
            .insert(evicted.key(), CachedRun { entry: Arc::clone(&evicted), last_seen: now, order: self.take_order() });
        evicted
    }

    /// Removes runs that were merged into others.
    pub(super) fn remove_runs(&self, keys: Vec<String>) {
        let mut runs = self.runs.write();
        keys.iter().for_each(|key| drop(runs.remove(key)));
        drop(runs);
        self.changed.lock().extend(keys);
    }

    /// Changes since the last call, to be written: current entries, and keys of removed runs.
    pub fn take_changes(&self) -> (Vec<Arc<RunRecord>>, Vec<String>) {
        let changed = std::mem::take(&mut *self.changed.lock());
        let (mut entries, mut removed, runs) = (Vec::new(), Vec::new(), self.runs.read());
        for key in changed {
            match runs.get(&key) {
                Some(cached) => entries.push(Arc::clone(&cached.entry)),
                None => removed.push(key),
            }
        }
        (entries, removed)
    }

    /// All runs, in no order.
    pub fn all_runs(&self) -> Vec<Arc<RunRecord>> {
        self.runs.read().values().map(|cached| Arc::clone(&cached.entry)).collect()
    }

    pub fn find_run(&self, account: &str, run: &str) -> Option<Arc<RunRecord>> {
        let runs = self.runs.read();
        let is_wanted = |cached: &&CachedRun| *cached.entry.run == *run && *cached.entry.account == *account;
        runs.values().filter(is_wanted).max_by_key(|cached| cached.entry.at).map(|cached| Arc::clone(&cached.entry))
    }

    /// Accounts that have a run of this id.
    pub fn accounts_with_run(&self, run: &str) -> Vec<String> {
        let runs = self.runs.read();
        runs.values()
            .filter(|cached| *cached.entry.run == *run)
            .map(|cached| cached.entry.account.to_string())
            .collect()
    }

    /// Whether the entry of this view is stored already.
    pub fn is_stored(&self, view: &RunView, now: u64) -> bool {
        let entry = RunRecord::from_view(view, now);
        self.runs.read().get(&entry.key()).is_some_and(|cached| *cached.entry == entry)
    }

    /// Numbers of runs left out: because there were too many in total, and in one query because their times were more
    /// than 48 hours back.
    pub fn left_out(&self) -> [u64; 2] {
        [self.evicted.load(Ordering::Relaxed), self.too_old.load(Ordering::Relaxed)]
    }
}
