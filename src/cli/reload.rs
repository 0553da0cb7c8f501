//! **What**: [`Reloads`]: when a running gateway's configuration is to be read again, and what it then says. **Why**: SIGHUP, a file
//! that changes and the admin port mean the same. **Invariants**: a configuration with problems is told, counted and forgotten, and so is one whose certificates,
//! keys, tokens or tables can't be used, all while the one before runs on; one that
//! came by a changed file (its own, or one that it names by `${file:…}`) is taken when it has been the same for a moment: half of a copy is none; a watched file is taken once for each
//! change, whatever became of it, and not when it says again what runs. **Not here**: what becomes of it (`run`).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

use super::Common;
use super::source::{Loaded, Make, Said, load, said_by};
use crate::app::build::Seams;
use crate::app::rehearse;
use crate::clock::Clock;
use crate::telemetry::{Counter, names};

/// How often a watched file is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// See the module.
pub(super) struct Reloads {
    common: Common,
    watch: bool,
    hang_up: Signal,
    asked: Arc<Notify>,
    /// What the file said when it was read last, also where that could not be used, or not be run. None: it could not be read.
    seen: Option<Said>,
    clock: Arc<dyn Clock>,
    failures: Counter,
}

impl Reloads {
    /// Waits for reasons from now on.
    ///
    /// # Errors
    /// The operating system refuses the handler.
    pub(super) fn new(common: Common, watch: bool, seams: &Seams) -> io::Result<Self> {
        let (hang_up, asked) = (signal(SignalKind::hangup())?, Arc::default());
        let (clock, failures) = (Arc::clone(&seams.clock), seams.meter.counter(&names::CONFIG_RELOAD_FAILURES, &[]));
        Ok(Self { common, watch, hang_up, asked, seen: None, clock, failures })
    }

    /// What was given as the next configuration could not be run.
    pub(super) fn failed(&self) {
        self.failures.increment(1);
    }

    /// Who is told when the admin port is asked.
    pub(super) fn asked(&self) -> Arc<Notify> {
        Arc::clone(&self.asked)
    }

    /// Ends with the next configuration that can be used; `running` is what the one that runs says.
    pub(super) async fn next(&mut self, running: &Said) -> Loaded {
        loop {
            let known = self.seen.as_ref().unwrap_or(running);
            let watched = watched(&self.common, self.watch, known);
            tokio::select! {
                _ = self.hang_up.recv() => tracing::info!("SIGHUP: the configuration is read again"),
                () = self.asked.notified() => tracing::info!("asked by the admin port: the configuration is read again"),
                said = watched => {
                    if said == *running {
                        self.seen = Some(said);
                        tracing::info!("the file says again what runs: nothing changes");
                        continue;
                    }
                    tracing::info!("the file changed: the configuration is read again");
                }
            }
            self.seen = said_by(&self.common).ok();
            if let Some(loaded) = self.usable() {
                return loaded;
            }
            self.failed();
        }
    }
}

impl Reloads {
    /// The configuration, if it can be used.
    fn usable(&self) -> Option<Loaded> {
        let Ok(loaded) = load(&self.common, Make::Keys) else {
            tracing::error!("the configuration can't be used; the one before goes on");
            return None;
        };
        let faults = rehearse::faults(&loaded.valid, &self.clock);
        if !faults.is_empty() {
            tracing::error!(why = faults.join("; "), "the configuration can't be used; the one before goes on");
            return None;
        }
        Some(loaded)
    }
}

/// Ends when the file, or one that it names, says something else than `known`, twice in a row the same, with that.
async fn watched(common: &Common, watch: bool, known: &Said) -> Said {
    if !watch {
        return std::future::pending().await;
    }
    let mut last = None;
    loop {
        tokio::time::sleep(LOOK).await;
        let now = said_by(common).ok().filter(|said| said != known);
        match (now, last) {
            (Some(now), Some(before)) if now == before => return now,
            (now, _) => last = now,
        }
    }
}
