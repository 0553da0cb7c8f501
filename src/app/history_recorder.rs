//! [`HistoryRecorder`]: records the history by reading the tracker every two seconds and writing the changes. Pages and
//! reports must neither delay commits nor be lost in a restart. Fetched details and waiting entries are shared fairly
//! between accounts. Files are accessed off the async threads. A file that can't be opened is retried; a write failure
//! is logged once until writing works again; neither affects anything else. `history` defines what is kept and how the
//! tracker is queried.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::app::build::{BackgroundTask, GatewayDeps, background_task};
use history::{FailedSpans, HistoryStore, HistoryWrite, RunHistory, RunRecord, StoreError};
use net::{Spawn, spawn::run_blocking};
use pages::SharedHistoryStore;
use pipeline::spool::SpoolKey;
use runs::fair_eviction::split_fairly;
use runs::{RunCatalog, RunDetail, json as run_json};

/// Time between two updates.
const UPDATE_INTERVAL: Duration = Duration::from_secs(2);
/// The most runs whose calls are stored in one update.
const MAX_DETAILED_RUNS: usize = 32;
/// The most calls that are stored of one run.
const MAX_STEPS: usize = 500;

/// The most JSON of runs that is fetched in one update, in bytes.
const MAX_DETAIL_BYTES: usize = 16 << 20;
/// Time between two attempts to open the file, in ns.
const REOPEN_INTERVAL_NS: u64 = 60_000_000_000;

/// The most runs, counts and samples that wait while the file can't be written.
const MAX_UNWRITTEN: usize = 4096;

/// Records the history of runs and failing spans.
pub(super) struct HistoryRecorder {
    pub(super) catalog: Arc<dyn RunCatalog>,
    pub(super) history: Arc<RunHistory>,
    pub(super) failures: Arc<FailedSpans>,
    pub(super) store: SharedHistoryStore,
    pub(super) file: PathBuf,
    pub(super) keys: Vec<SpoolKey>,
    pub(super) deps: GatewayDeps,
    pub(super) tasks: Arc<dyn Spawn>,
    pub(super) is_failing: AtomicBool,
    /// Changes that could not be written yet.
    pub(super) unwritten: Mutex<HistoryWrite>,
    /// When opening the file is retried, unix ns; 0 if it is open.
    pub(super) reopen_at: AtomicU64,
}

impl HistoryRecorder {
    fn now(&self) -> u64 {
        self.deps.clock.now().0
    }

    /// The JSON of some finished runs with their calls, by position in `changed`.
    fn fetch_details(&self, changed: &[Arc<RunRecord>]) -> HashMap<usize, String> {
        let finished = (0..).zip(changed).filter(|(_, entry)| !entry.is_live());
        let finished = finished.map(|(index, entry)| (&*entry.account, (entry.at, index), 1, (index, entry)));
        let (mut details, mut remaining_bytes) = (HashMap::new(), MAX_DETAIL_BYTES);
        for (index, entry) in split_fairly(finished, MAX_DETAILED_RUNS).0 {
            let detail =
                self.catalog.find_run_of_account(&entry.account, &entry.run).filter(|detail| detail.steps.is_some());
            let Some(text) = detail.map(detail_text) else { continue };
            let Some(rest) = remaining_bytes.checked_sub(text.len()) else { continue };
            remaining_bytes = rest;
            details.insert(index, text);
        }
        details
    }

    pub(super) fn update(&self) {
        let now = self.now();
        self.retry_open(now);
        self.history.update_from_tracker(&*self.catalog, now);
        self.history.evict_old(now);
        let (changed, removed) = self.history.take_changes();
        self.failures.evict_old(now);
        let (counts, samples) = self.failures.take_changes();
        let mut details = self.fetch_details(&changed);
        let runs = (0..).zip(changed).map(|(index, entry)| (entry, details.remove(&index))).collect();
        let older = std::mem::take(&mut *self.unwritten.lock());
        let write = HistoryWrite { runs, removed, counts, samples }.merge_older(older);
        if write.is_empty() {
            return;
        }
        let mut store_slot = self.store.lock();
        let Some(store) = store_slot.as_mut() else {
            *self.unwritten.lock() = write.keep_newest(MAX_UNWRITTEN);
            return;
        };
        match store.write(&write, now) {
            Ok(()) => self.is_failing.store(false, Ordering::Relaxed),
            Err(error) => {
                *self.unwritten.lock() = write.keep_newest(MAX_UNWRITTEN);
                if !self.is_failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!("history can't be written to disk; pages are served from memory: {error}");
                }
            }
        }
    }

    /// Opens the file and restores its history.
    fn open(&self, now: u64) -> Result<(), StoreError> {
        let opened = HistoryStore::open(&self.file, &self.keys, &self.deps.rng, now);
        self.reopen_at
            .store(if opened.is_ok() { 0 } else { now.saturating_add(REOPEN_INTERVAL_NS) }, Ordering::Relaxed);
        let opened = opened?;
        if let Some(moved_to) = &opened.moved_aside {
            tracing::warn!(moved_to = %moved_to.display(), "the history file was damaged or has another version; it was moved away and a new one was created");
        }
        self.history.restore(opened.runs);
        self.failures.restore(opened.counts, opened.samples);
        *self.store.lock() = Some(opened.store);
        Ok(())
    }

    fn retry_open(&self, now: u64) {
        let reopen_at = self.reopen_at.load(Ordering::Relaxed);
        if reopen_at != 0 && now >= reopen_at && self.open(now).is_ok() {
            tracing::info!("history is saved to disk again");
        }
    }
}

fn detail_text(mut detail: RunDetail) -> String {
    if let Some(steps) = &mut detail.steps {
        steps.truncate(MAX_STEPS);
    }
    run_json::detail(&detail).to_string()
}

impl HistoryRecorder {
    pub(super) fn into_task(self: Arc<Self>) -> BackgroundTask {
        let recorder = Arc::clone(&self);
        background_task("history", move || recorder.prepare(), |stop| self.run(stop))
    }

    /// Restores the history. An unusable file costs the history, but does not prevent the start.
    pub(super) fn prepare(&self) {
        if let Err(error) = self.open(self.now()) {
            tracing::warn!("the history file can't be opened, so history is lost at a restart: {error}");
        }
    }

    async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let clock = Arc::clone(&self.deps.clock);
            let stopping = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                () = clock.sleep(UPDATE_INTERVAL) => false,
            };
            let recorder = Arc::clone(&self);
            run_blocking(&*self.tasks, "history", move || recorder.update()).await;
            if stopping {
                // After a reload, the next round opens the file itself.
                *self.store.lock() = None;
                self.reopen_at.store(0, Ordering::Relaxed);
                return;
            }
        }
    }
}
