//! **What**: [`Reloads`]: when a running gateway's configuration is to be read again, and what it then says. **Why**:
//! SIGHUP, a file that changes and the admin port mean the same. **Invariants**: a configuration with problems is told,
//! counted and forgotten, and so is one whose certificates, keys, tokens or tables can't be used, all while the one
//! before runs on; one that came by a changed file (its own, or one that it names by `${file:…}`) is taken when it has
//! been the same for a moment: half of a copy is none; a watched file is taken once for each change, whatever became of
//! it, and not when it says again what runs; one that was refused for what it names is watched with all of that, and
//! taken as soon as it can be: it may be what closes a port. **Not here**: what becomes of it (`run`).

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

/// How often a watched file is looked at, unless that takes long.
const LOOK: Duration = Duration::from_secs(1);
/// Of so many looks at what was refused one asks who must be asked over the network, and writes down each time.
const ASK: u32 = 10;

/// See the module.
pub(super) struct Reloads {
    common: Common,
    watch: bool,
    hang_up: Signal,
    asked: Arc<Notify>,
    /// What the file said when it was read last, also where that could not be used, or not be run. None: it could not
    /// be read.
    seen: Option<Said>,
    /// What that means, where files that it names could not be used.
    refused: Option<Arc<Valid>>,
    clock: Arc<dyn Clock>,
    /// Files are read where a volume that hangs holds up nobody.
    tasks: Arc<Tasks>,
    failures: Counter,
}

impl Reloads {
    /// Waits for reasons from now on. Call it in a runtime.
    ///
    /// # Errors
    /// The operating system refuses the handler.
    pub(super) fn new(common: Common, watch: bool, seams: &Seams) -> io::Result<Self> {
        let (hang_up, asked) = (signal(SignalKind::hangup())?, Arc::default());
        let (clock, failures) = (Arc::clone(&seams.clock), seams.meter.counter(&names::CONFIG_RELOAD_FAILURES, &[]));
        let tasks = Tasks::new(&seams.meter);
        Ok(Self { common, watch, hang_up, asked, seen: None, refused: None, clock, tasks, failures })
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

    /// The configuration, if it can be used.
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

/// To a person, with the places in the file; a log that others read stays one JSON object a line.
fn show(told: &Told) {
    if io::stderr().is_terminal() && !told.shown.is_empty() {
        complain(&told.shown);
    }
}

/// What a watch came upon.
#[derive(PartialEq)]
enum Found {
    /// The file, or one that it names by `${file:…}`, says this.
    Changed(Said),
    /// Nothing keeps what was refused from being started any more.
    Mended,
}

/// What a watch looks at.
#[derive(Clone)]
struct Look {
    common: Common,
    /// What the file said last.
    known: Said,
    /// What could not be used of it.
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
        // what is wrong was told when it was refused, and not each second
        let faults = with_default(NoSubscriber::default(), || rehearse::faults(refused, &self.clock));
        faults.is_empty().then_some(Found::Mended)
    }
}

/// Ends when there is something, twice in a row the same, with that.
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
        // large tables and slow volumes: what is refused may stay so for days
        rest = LOOK.max(clock.monotonic().saturating_sub(began) * 20);
        if ask {
            // a KMS that hangs is nothing of this machine's, and meanwhile the file itself may be put right
            rest = rest.min(LOOK * ASK);
        }
        match (now, last) {
            (Some(now), Some(before)) if now == before => return now,
            (now, _) => last = now,
        }
    }
}

/// Peers refuse a certificate that is over, and nobody else would say so.
pub(super) fn tell_of_age(valid: &Valid, now: UnixNanos) {
    for why in outside::aged(valid, now) {
        tracing::warn!(why, "a certificate that is shown to others has to be made anew");
    }
}
