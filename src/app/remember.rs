//! **What**: [`Remember`]: keeps history: looks at the tracker every few seconds, writes down what changed. **Why**: pages and
//! reports must neither hold up commits nor be lost in a restart. **Invariants**: it asks the tracker for few runs at a time, for
//! more only if all of those were news; files are touched off the async threads; a failure to write is told once until it
//! works again, and changes nothing else. **Not here**: what is kept (`history`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::app::build::{Companion, Seams};
use crate::history::{Entry, Failures, History, Store, Write};
use crate::net::{Spawn, spawn::blocking};
use crate::pages::Shelf;
use crate::pipeline::spool::SpoolKey;
use crate::runs::{Board, Detail, json as shape};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(5);
/// Runs of a first look, and of a last one.
const FEW: usize = 128;
const MOST: usize = 32_768;
/// A live run that was not shown for so long is asked for by its id.
const PATIENCE: u64 = 120_000_000_000;
/// Runs that are asked for by their id in one look.
const ASKED: usize = 32;
/// Calls of one run that are written down.
const STEPS: usize = 500;

/// Runs, counts and samples that wait for a file that can be written.
const OWED: usize = 4096;

/// See the module.
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
    /// What could not be written.
    pub(super) owed: Mutex<Write>,
}

impl Remember {
    fn now(&self) -> u64 {
        self.seams.clock.now().0
    }

    /// What the tracker shows that is new.
    fn news(&self, now: u64) -> Vec<Arc<Entry>> {
        let mut most = FEW;
        let views = loop {
            let views = self.board.recent(most);
            let whole = views.len() < most || most >= MOST;
            if whole || views.last().is_none_or(|view| self.history.knows(view, now)) {
                break views;
            }
            most = most.saturating_mul(8).min(MOST);
        };
        let mut news = self.history.note(&views, now);
        for unseen in self.history.unseen(now, PATIENCE, ASKED) {
            match self.board.run(&unseen.run).map(|detail| detail.view).filter(|view| *view.account == *unseen.account)
            {
                Some(view) => news.extend(self.history.note([&view], now)),
                None => news.push(self.history.lost(&unseen, now)),
            }
        }
        news
    }

    /// One look.
    fn look(&self) {
        let now = self.now();
        let news = self.news(now);
        let before = self.history.forget(now);
        self.failures.forget(now);
        let (counts, samples) = self.failures.changed();
        let mut asked = 0;
        let with_detail = |entry: Arc<Entry>| {
            let over = !entry.live() && asked < ASKED;
            asked += usize::from(over);
            let detail = if over { self.board.run(&entry.run) } else { None };
            let detail = detail.filter(|detail| detail.steps.is_some() && *detail.view.account == *entry.account);
            (entry, detail.map(detail_text))
        };
        let runs = news.into_iter().map(with_detail).collect();
        let owed = std::mem::take(&mut *self.owed.lock());
        let write = Write { runs, counts, samples, before }.after(owed);
        let mut shelf = self.shelf.lock();
        let Some(store) = shelf.as_mut().filter(|_| !write.is_empty()) else { return };
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

    /// Reads what was written before. A file that can't be used costs the past, never the start.
    fn prepare(&self) -> Result<(), String> {
        match Store::open(&self.file, &self.keys, &self.seams.rng, self.now()) {
            Ok(opened) => {
                if let Some(aside) = &opened.aside {
                    tracing::warn!(moved_to = %aside.display(), "the history file was damaged or of another version: a new one begins");
                }
                self.history.restore(opened.runs);
                self.failures.restore(opened.counts, opened.samples);
                *self.shelf.lock() = Some(opened.store);
            }
            Err(error) => tracing::warn!("history does not survive a restart: {error}"),
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
                    // a gateway that begins again opens the file anew
                    *self.shelf.lock() = None;
                    return;
                }
            }
        })
    }
}
