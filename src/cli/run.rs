//! **What**: `tollgate run`: a gateway until SIGTERM or SIGINT; a second one ends it at once; SIGHUP, `--watch` and `POST /-/reload`
//! begin another round with the configuration read again. **Why** rounds: a round ends in good order, as a shutdown does, while
//! its ports stay open: who connects in between waits a moment. **Invariants**: a configuration that can't be used changes nothing; exit 78 for
//! a bad configuration, 1 for what fails later; what runs again after that has the keys, certificates and tokens that it had; nothing that hangs keeps the process. **Not here**: `App`, what holds for
//! all commands (`app/process`).

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Common;
use super::output::{Exit, complain};
use super::reload::Reloads;
use super::source::{Loaded, Make, Said, TRYOUT_KEY, load};
use crate::app::assemble::Round;
use crate::app::build::Seams;
use crate::app::keys::Keys;
use crate::app::resolve::Valid;
use crate::app::{App, Life, StartError, assemble, outside, process, tasks, volume};
use kernel::clock::{Clock, SystemClock, UnixNanos};
use kernel::rng::SystemRng;
use net::Sockets;
use pipeline::RealDisk;
use telemetry::{Health, Meter, logging};

/// What is left of threads that hang when all is over.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Options of `run`.
#[derive(Args, Clone, Copy, Default)]
pub(super) struct Options {
    /// Reads the configuration again when its file, or one that it names by `${file:…}`, changes (also by way of links, as ConfigMaps do).
    #[arg(long)]
    watch: bool,
}

/// Runs until a signal.
pub(super) fn run(common: &Common, options: Options) -> Exit {
    let loaded = match load(common, Make::Keys) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    logging::init(loaded.valid.log_level);
    tell_of_age(&loaded.valid, SystemClock::new().now());
    match tasks::runtime(runtime_threads()) {
        Ok(runtime) => tasks::run_to_end(runtime, GRACE, serve(common.clone(), options, loaded)),
        Err(error) => fail(&format!("can't start: {error}")),
    }
}

/// Threads of sockets and timers; requests have workers of their own.
pub(super) fn runtime_threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).min(4)
}

/// Seams of a real gateway.
pub(super) fn seams() -> Seams {
    Seams {
        clock: Arc::new(SystemClock::new()),
        rng: Arc::new(SystemRng),
        disk: Arc::new(RealDisk),
        meter: Meter::new(),
        health: Health::new(),
    }
}

/// Rounds of one gateway: each with the configuration that was read last.
async fn serve(common: Common, options: Options, loaded: Loaded) -> Exit {
    let (stop, now) = match (process::stop_signal(1), process::stop_signal(2)) {
        (Ok(stop), Ok(now)) => (stop, now),
        (Err(error), _) | (_, Err(error)) => return fail(&format!("can't handle signals: {error}")),
    };
    let (mut stop, mut now) = (pin!(stop), pin!(now));
    let seams = seams();
    let mut reloads = match Reloads::new(common.clone(), options.watch, &seams) {
        Ok(reloads) => reloads,
        Err(error) => return fail(&format!("can't handle signals: {error}")),
    };
    let round = Round { sockets: Some(Sockets::default()), again: Some(reloads.asked()) };
    let sockets = round.sockets.clone().unwrap_or_default();
    // What ran last stays resolved, with its keys, until what comes after it runs: the files and variables that it names may have gone since.
    let (mut loaded, mut before, mut kept) = (loaded, None::<(Valid, Said, Keys)>, None::<Keys>);
    loop {
        let embedded = loaded.embedded;
        let spool = loaded.valid.spool.directory.clone();
        if let Some(warning) = volume::warning(&spool) {
            tracing::warn!("{warning}");
        }
        sockets.begin();
        let (said, running) = (loaded.said.clone(), loaded.valid.clone());
        let Some(keys) = keys_of(&running, kept.take(), &seams, stop.as_mut()).await else { return Exit::Fine };
        let made = keys.and_then(|keys| {
            let blueprint = assemble::blueprint_for(loaded.valid, keys.clone(), &seams, round.clone())?;
            Ok((blueprint, keys))
        });
        let started = match made {
            Ok((blueprint, keys)) => {
                // A round that starts holds the spool already: only a signal to stop ends it before it runs.
                let runs = Notify::new();
                let former = &mut before;
                let ready = |app: &App| {
                    // nothing goes back from here on: its keys are held no longer than they may be needed
                    *former = None;
                    runs.notify_one();
                    sockets.settle();
                    tell(app, embedded, &spool);
                };
                let next = Mutex::new(None);
                let ended = async {
                    let found = async {
                        runs.notified().await;
                        reloads.next(&said).await
                    };
                    tokio::select! {
                        () = &mut stop => {}
                        found = found => *next.lock() = Some(found),
                    }
                    if next.lock().is_none() {
                        sockets.close();
                    } else {
                        seams.health.goes_on();
                    }
                };
                let lived = App::live(blueprint, seams.clone(), ready, ended, &mut now).await;
                lived.map(|life| (life, next.into_inner(), keys))
            }
            Err(error) => Err(error),
        };
        match (started, before.take()) {
            (Ok((Life::Whole(ended), Some(next), keys)), _) if ended.failed.is_none() => {
                before = Some((running, said, keys));
                loaded = next;
            }
            (Ok((Life::Whole(ended), None, _)), _) if ended.failed.is_none() => return Exit::Fine,
            (Ok((Life::Unborn, ..)), _) => return Exit::Fine,
            (Ok(_), _) => return Exit::Failed,
            // The new configuration can't be run: the one before could.
            (Err(error), Some((valid, said, keys))) => {
                reloads.failed();
                tracing::error!(error = error.text, "the new configuration can't be run; the one before is run again");
                (loaded, kept) = (Loaded { valid, said, ..loaded }, Some(keys));
            }
            (Err(error), None) => return fail_with(&error.text, error.exit_code()),
        }
    }
}

/// The keys of a round: those that it had, else what there is to read. None: it was told to stop, while a KMS took its time.
async fn keys_of(
    valid: &Valid,
    had: Option<Keys>,
    seams: &Seams,
    stop: impl Future<Output = ()>,
) -> Option<Result<Keys, StartError>> {
    if let Some(keys) = had {
        return Some(Ok(keys));
    }
    tokio::select! {
        keys = Keys::read(valid, &*seams.rng) => Some(keys),
        () = stop => None,
    }
}

fn tell(app: &App, embedded: bool, spool: &Path) {
    for (what, address) in app.addresses() {
        tracing::info!(%address, "listening: {what}");
    }
    if embedded {
        let directory = spool.parent().unwrap_or(spool).display().to_string();
        tracing::info!(
            directory,
            "the embedded default: content goes to a vault here, sealed to a try-out auditor ({TRYOUT_KEY}); use --config in production"
        );
    }
}

/// Peers refuse a certificate that is over, and nobody else would say so.
pub(super) fn tell_of_age(valid: &Valid, now: UnixNanos) {
    for why in outside::aged(valid, now) {
        tracing::warn!(why, "a certificate that is shown to others has to be made anew");
    }
}

/// How a command ended that has nothing more to say than what went wrong.
pub(super) fn ended(done: Result<(), String>) -> Exit {
    done.map_or_else(|why| fail(&why), |()| Exit::Fine)
}

/// One line to stderr, and exit code 1.
pub(super) fn fail(text: &str) -> Exit {
    fail_with(text, 1)
}

/// One line to stderr; `exit` is 78 where the configuration is at fault.
pub(super) fn fail_with(text: &str, exit: u8) -> Exit {
    complain(&format!("error: {text}"));
    if exit == 78 { Exit::Config } else { Exit::Failed }
}
