//! [`Reloads`]: decides when a running gateway reloads its configuration (SIGHUP, a changed file, the admin port), and
//! loads it. A configuration that has problems, or whose certificates, keys, tokens or tables can't be used, is
//! reported and counted, and the present one runs on. A changed file, or a file named by `${file:…}`, is taken only
//! after it was the same twice in a row, because a copy may be half done. Each change is taken once, and a change back
//! to the running text does nothing. If the files named by a refused configuration are repaired, it is taken as soon as
//! it is usable, since it may, for example, close a port. `run` applies the result.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tracing::subscriber::{NoSubscriber, with_default};

use super::common::Common;
use super::output::complain;
use super::source::{Loaded, Make, Said, Told, load_told, said_by};
use crate::app::build::Seams;
use crate::app::outside;
use crate::app::rehearse;
use crate::app::resolve::Valid;
use crate::app::tasks::Tasks;
use kernel::clock::{Clock, UnixNanos};
use net::spawn::blocking;
use telemetry::{Counter, names};

/// How often a watched file is checked, unless checking takes long.
const LOOK: Duration = Duration::from_secs(1);
/// Every how many checks of a refused configuration a network request is allowed, which may be recorded or billed.
const ASK: u32 = 10;

/// Waits for reloads of one gateway.
pub(super) struct Reloads {
    common: Common,
    watch: bool,
    hang_up: Signal,
    asked: Arc<Notify>,
    /// The configuration as last read, even if it was unusable or could not run. `None` if it could not be read.
    seen: Option<Said>,
    /// The settings of a configuration that was refused because of files it names.
    refused: Option<Arc<Valid>>,
    clock: Arc<dyn Clock>,
    /// Runs file access on threads, where a hanging volume blocks nothing else.
    tasks: Arc<Tasks>,
    failures: Counter,
}

impl Reloads {
    /// Starts to listen for reasons to reload. Call it in a runtime.
    ///
    /// # Errors
    /// The operating system refuses the signal handler.
    pub(super) fn new(common: Common, watch: bool, seams: &Seams) -> io::Result<Self> {
        let (hang_up, asked) = (signal(SignalKind::hangup())?, Arc::default());
        let (clock, failures) = (Arc::clone(&seams.clock), seams.meter.counter(&names::CONFIG_RELOAD_FAILURES, &[]));
        let tasks = Tasks::new(&seams.meter);
        Ok(Self { common, watch, hang_up, asked, seen: None, refused: None, clock, tasks, failures })
    }

    /// Counts a configuration that could not be run.
    pub(super) fn failed(&self) {
        self.failures.increment(1);
    }

    /// Notified when the admin port gets a request to reload.
    pub(super) fn asked(&self) -> Arc<Notify> {
        Arc::clone(&self.asked)
    }

    /// Completes with the next usable configuration; `running` is the present one.
    pub(super) async fn next(&mut self, running: &Said) -> Loaded {
        loop {
            let look = Look {
                common: self.common.clone(),
                known: self.seen.as_ref().unwrap_or(running).clone(),
                refused: self.refused.clone(),
                clock: Arc::clone(&self.clock),
            };
            let watched = watched(look, self.watch, &self.tasks);
            tokio::select! {
                _ = self.hang_up.recv() => tracing::info!("SIGHUP: the configuration is read again"),
                () = self.asked.notified() => tracing::info!("asked by the admin port: the configuration is read again"),
                found = watched => match found {
                    Found::Changed(said) if said == *running => {
                        (self.seen, self.refused) = (Some(said), None);
                        tracing::info!("the file says again what runs: nothing changes");
                        continue;
                    }
                    Found::Changed(_) => tracing::info!("the file changed: the configuration is read again"),
                    Found::Mended => {
                        tracing::info!("what the configuration names can be used now: the configuration is read again");
                    }
                }
            }
            if let Some(loaded) = self.usable().await {
                return loaded;
            }
            self.failed();
        }
    }

    /// Loads the configuration, if it can be used.
    async fn usable(&mut self) -> Option<Loaded> {
        let (common, clock) = (self.common.clone(), Arc::clone(&self.clock));
        let read = move || {
            let seen = said_by(&common).ok();
            let (loaded, faults) = match load_told(&common, Make::Keys) {
                Ok((loaded, warnings)) => {
                    show(&warnings);
                    warnings.lines.iter().for_each(|why| tracing::warn!(why, "of the configuration that was read"));
                    let faults = rehearse::faults(&loaded.valid, &clock);
                    if faults.is_empty() {
                        tell_of_age(&loaded.valid, clock.now());
                    }
                    (Some(loaded), faults)
                }
                Err(problems) => {
                    show(&problems);
                    (None, problems.lines)
                }
            };
            (seen, loaded, faults)
        };
        let (seen, loaded, faults) = blocking(&*self.tasks, "reload", read).await.unwrap_or_default();
        (self.seen, self.refused) = (seen, None);
        if faults.is_empty() && loaded.is_some() {
            return loaded;
        }
        tracing::error!(why = faults.join("; "), "the configuration can't be used; the one before goes on");
        self.refused = loaded.filter(|_| self.watch).map(|loaded| Arc::new(loaded.valid));
        None
    }
}

/// Prints problems with their positions to a terminal. Otherwise they are only logged, so that the log stays one JSON
/// object per line.
fn show(told: &Told) {
    if io::stderr().is_terminal() && !told.shown.is_empty() {
        complain(&told.shown);
    }
}

/// The result of a check.
#[derive(PartialEq)]
enum Found {
    /// The file, or a file that it names by `${file:…}`, changed to this.
    Changed(Said),
    /// The refused configuration can be used now.
    Mended,
}

/// The inputs of a check.
#[derive(Clone)]
struct Look {
    common: Common,
    /// The configuration as last read.
    known: Said,
    /// The settings of a refused configuration.
    refused: Option<Arc<Valid>>,
    clock: Arc<dyn Clock>,
}

impl Look {
    fn found(&self, ask: bool) -> Option<Found> {
        let said = said_by(&self.common).ok()?;
        if said != self.known {
            return Some(Found::Changed(said));
        }
        let refused = self.refused.as_ref().filter(|refused| ask || !rehearse::asks(refused))?;
        // The faults were logged when the configuration was refused; don't repeat them every second.
        let faults = with_default(NoSubscriber::default(), || rehearse::faults(refused, &self.clock));
        faults.is_empty().then_some(Found::Mended)
    }
}

/// Completes when two checks in a row find the same change.
async fn watched(look: Look, watch: bool, tasks: &Tasks) -> Found {
    if !watch {
        return std::future::pending().await;
    }
    let (mut last, mut rest, mut looks, clock) = (None, LOOK, 0, Arc::clone(&look.clock));
    loop {
        tokio::time::sleep(rest).await;
        looks += 1;
        let (look, began, ask) = (look.clone(), clock.monotonic(), looks % ASK == 0);
        let now = blocking(tasks, "reload", move || look.found(ask)).await.flatten();
        // With large tables or slow volumes checks are expensive, and a configuration may stay refused for days.
        rest = LOOK.max(clock.monotonic().saturating_sub(began) * 20);
        if ask {
            // A hanging KMS must not delay the next check for long, because the file itself may be corrected meanwhile.
            rest = rest.min(LOOK * ASK);
        }
        match (now, last) {
            (Some(now), Some(before)) if now == before => return now,
            (now, _) => last = now,
        }
    }
}

/// Warns about certificates that have expired or soon will, since otherwise only refusing peers would show it.
pub(super) fn tell_of_age(valid: &Valid, now: UnixNanos) {
    for why in outside::aged(valid, now) {
        tracing::warn!(why, "a certificate that is shown to others has to be made anew");
    }
}
