//! [`Remember`]: records the history by reading the tracker every two seconds and writing the changes. Pages and
//! reports must neither delay commits nor be lost in a restart. Fetched details and waiting entries are shared fairly
//! between accounts. Files are accessed off the async threads. A file that can't be opened is retried; a write failure
//! is logged once until writing works again; neither affects anything else. `history` defines what is kept and how the
//! tracker is queried.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::app::build::{Companion, Seams};
use crate::app::start_error::StartError;
use history::{Entry, Failures, History, Store, StoreError, Write};
use net::{Spawn, spawn::blocking};
use pages::Shelf;
use pipeline::spool::SpoolKey;
use runs::share::fair;
use runs::{Board, Detail, json as shape};

/// Time between two updates.
const EVERY: Duration = Duration::from_secs(2);
/// The most runs whose calls are stored in one update.
const ASKED: usize = 32;
/// The most calls that are stored of one run.
const STEPS: usize = 500;

/// The most JSON of runs that is fetched in one update, in bytes.
const DETAILS: usize = 16 << 20;
/// Time between two attempts to open the file, in ns.
const AGAIN: u64 = 60_000_000_000;

/// The most runs, counts and samples that wait while the file can't be written.
const OWED: usize = 4096;

/// Records the history of runs and failing spans.
pub(super) struct Remember {
    pub(super) board: Arc<dyn Board>,
    pub(super) history: Arc<History>,
    pub(super) failures: Arc<Failures>,
    pub(super) shelf: Shelf,
    pub(super) file: PathBuf,
    pub(super) keys: Vec<SpoolKey>,
    pub(super) seams: Seams,
    pub(super) tasks: Arc<dyn Spawn>,
    pub(super) failing: AtomicBool,
    /// Changes that could not be written yet.
    pub(super) owed: Mutex<Write>,
    /// When opening the file is retried, unix ns; 0 if it is open.
    pub(super) again: AtomicU64,
}

impl Remember {
    fn now(&self) -> u64 {
        self.seams.clock.now().0
    }

    /// The JSON of some finished runs with their calls, by position in `news`.
    fn details(&self, news: &[Arc<Entry>]) -> HashMap<usize, String> {
        let over = (0..).zip(news).filter(|(_, entry)| !entry.live());
        let over = over.map(|(place, entry)| (&*entry.account, (entry.at, place), 1, (place, entry)));
        let (mut details, mut left) = (HashMap::new(), DETAILS);
        for (place, entry) in fair(over, ASKED).0 {
            let detail = self.board.run_of(&entry.account, &entry.run).filter(|detail| detail.steps.is_some());
            let Some(text) = detail.map(detail_text) else { continue };
            let Some(rest) = left.checked_sub(text.len()) else { continue };
            left = rest;
            details.insert(place, text);
        }
        details
    }

    /// Runs one update.
    pub(super) fn look(&self) {
        let now = self.now();
        self.try_again(now);
        self.history.look(&*self.board, now);
        self.history.forget(now);
        let (news, gone) = self.history.changed();
        self.failures.forget(now);
        let (counts, samples) = self.failures.changed();
        let mut details = self.details(&news);
        let runs = (0..).zip(news).map(|(place, entry)| (entry, details.remove(&place))).collect();
        let owed = std::mem::take(&mut *self.owed.lock());
        let write = Write { runs, gone, counts, samples }.after(owed);
        if write.is_empty() {
            return;
        }
        let mut shelf = self.shelf.lock();
        let Some(store) = shelf.as_mut() else {
            *self.owed.lock() = write.newest(OWED);
            return;
        };
        match store.write(&write, now) {
            Ok(()) => self.failing.store(false, Ordering::Relaxed),
            Err(error) => {
                *self.owed.lock() = write.newest(OWED);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!("history can't be written; pages go on from memory: {error}");
                }
            }
        }
    }

    /// Opens the file and restores its history.
    fn open(&self, now: u64) -> Result<(), StoreError> {
        let opened = Store::open(&self.file, &self.keys, &self.seams.rng, now);
        self.again.store(if opened.is_ok() { 0 } else { now.saturating_add(AGAIN) }, Ordering::Relaxed);
        let opened = opened?;
        if let Some(aside) = &opened.aside {
            tracing::warn!(moved_to = %aside.display(), "the history file was damaged or of another version: a new one begins");
        }
        self.history.restore(opened.runs);
        self.failures.restore(opened.counts, opened.samples);
        *self.shelf.lock() = Some(opened.store);
        Ok(())
    }

    fn try_again(&self, now: u64) {
        let again = self.again.load(Ordering::Relaxed);
        if again != 0 && now >= again && self.open(now).is_ok() {
            tracing::info!("history survives a restart again");
        }
    }
}

fn detail_text(mut detail: Detail) -> String {
    if let Some(steps) = &mut detail.steps {
        steps.truncate(STEPS);
    }
    shape::detail(&detail).to_string()
}

impl Companion for Remember {
    fn name(&self) -> &'static str {
        "history"
    }

    /// Restores the history. An unusable file costs the history, but does not prevent the start.
    fn prepare(&self) -> Result<(), StartError> {
        if let Err(error) = self.open(self.now()) {
            tracing::warn!("history does not survive a restart until this works: {error}");
        }
        Ok(())
    }

    fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                let clock = Arc::clone(&self.seams.clock);
                let ended = tokio::select! {
                    _ = stop.wait_for(|stop| *stop) => true,
                    () = clock.sleep(EVERY) => false,
                };
                let this = Arc::clone(&self);
                blocking(&*self.tasks, "history", move || this.look()).await;
                if ended {
                    // After a reload, the next round opens the file itself.
                    *self.shelf.lock() = None;
                    self.again.store(0, Ordering::Relaxed);
                    return;
                }
            }
        })
    }
}
