//! [`HistoryRecorder`]: every two seconds moves ended runs from the trackers to history's file, and writes failing
//! spans. Pages and reports must neither delay commits nor be lost in a restart. The file is accessed off the async
//! threads. A file that can't be opened is retried; a write failure is logged once until writing works again; neither
//! affects anything else: the trackers keep what was not written. `history` defines what is kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use crate::app::build::{BackgroundTask, background_task};
use history::{FailedSpans, HistoryStore, HistoryWrite, RunBoard, StoreError};
use net::{SharedServices, spawn::run_blocking};
use pipeline::spool::SpoolKey;

/// Time between two updates.
const UPDATE_INTERVAL: Duration = Duration::from_secs(2);
/// Time between two attempts to open the file, in ns.
const REOPEN_INTERVAL_NS: u64 = 60_000_000_000;

/// Records the history of runs and failing spans.
pub(super) struct HistoryRecorder {
    pub(super) runs: RunBoard,
    pub(super) failures: Arc<FailedSpans>,
    pub(super) file: PathBuf,
    pub(super) keys: Vec<SpoolKey>,
    /// How long rows of runs are kept, ns.
    pub(super) keep_runs: u64,
    pub(super) services: SharedServices,
    pub(super) is_failing: AtomicBool,
    /// When opening the file is retried, unix ns; 0 if it is open.
    pub(super) reopen_at: AtomicU64,
}

impl HistoryRecorder {
    fn now(&self) -> u64 {
        self.services.clock.now().0
    }

    pub(super) fn update(&self) {
        let now = self.now();
        self.retry_open(now);
        self.failures.evict_old(now);
        // held until the runs are in the file, so that no reader misses them
        let mut store_slot = self.runs.store.lock();
        let Some(store) = store_slot.as_mut() else { return };
        let (mut counts, mut samples) = self.failures.take_changes();
        for source in self.runs.sources.iter().map(Some).chain([None]) {
            let runs = source.map(|source| source.take_ended()).unwrap_or_default();
            let write =
                HistoryWrite { runs, counts: std::mem::take(&mut counts), samples: std::mem::take(&mut samples) };
            if write.is_empty() {
                continue;
            }
            match store.write(&write, now) {
                Ok(()) => self.is_failing.store(false, Ordering::Relaxed),
                Err(error) => {
                    self.failures.give_back(&write.counts, &write.samples);
                    if let Some(source) = source {
                        source.give_back(write.runs);
                    }
                    if !self.is_failing.swap(true, Ordering::Relaxed) {
                        tracing::warn!("history can't be written to disk; the latest runs wait in memory: {error}");
                    }
                    return;
                }
            }
        }
    }

    /// Opens the file and restores its history.
    fn open(&self, now: u64) -> Result<(), StoreError> {
        let opened = HistoryStore::open(&self.file, &self.keys, &self.services.rng, now, self.keep_runs);
        self.reopen_at
            .store(if opened.is_ok() { 0 } else { now.saturating_add(REOPEN_INTERVAL_NS) }, Ordering::Relaxed);
        let opened = opened?;
        if let Some(moved_to) = &opened.moved_aside {
            tracing::warn!(moved_to = %moved_to.display(), "the history file was damaged or has another version; it was moved away and a new one was created");
        }
        self.failures.restore(opened.counts, opened.samples);
        *self.runs.store.lock() = Some(opened.store);
        Ok(())
    }

    fn retry_open(&self, now: u64) {
        let reopen_at = self.reopen_at.load(Ordering::Relaxed);
        if reopen_at != 0 && now >= reopen_at && self.open(now).is_ok() {
            tracing::info!("history is saved to disk again");
        }
    }
}

impl HistoryRecorder {
    pub(super) fn into_task(self: Arc<Self>) -> BackgroundTask {
        let recorder = Arc::clone(&self);
        background_task("history", move || recorder.prepare(), |stop| self.run(stop))
    }

    /// Opens the file. An unusable file costs the history, but does not prevent the start.
    pub(super) fn prepare(&self) {
        self.runs.sources.iter().for_each(|source| source.enable_history());
        if let Err(error) = self.open(self.now()) {
            tracing::warn!("the history file can't be opened, so history is lost at a restart: {error}");
        }
    }

    async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let clock = Arc::clone(&self.services.clock);
            let stopping = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                () = clock.sleep(UPDATE_INTERVAL) => false,
            };
            let recorder = Arc::clone(&self);
            run_blocking(&*self.services.tasks, "history", move || recorder.update()).await;
            if stopping {
                // After a reload, the next round opens the file itself.
                *self.runs.store.lock() = None;
                self.reopen_at.store(0, Ordering::Relaxed);
                return;
            }
        }
    }
}
