//! **What**: `tollgate run`: a gateway until SIGTERM or SIGINT; a second one ends it at once; SIGHUP, `--watch` and
//! `POST /-/reload` begin another round with the configuration read again. **Why** rounds: a round ends in good order,
//! as a shutdown does, while its ports stay open: who connects in between waits a moment. **Invariants**: a
//! configuration that can't be used changes nothing; exit 78 for a bad configuration, 1 for what fails later, 143 or
//! 130 after a second signal; what runs again after that has the keys, certificates and tokens that it had; nothing
//! that hangs keeps the process. **Not here**: `App`, what holds for all commands (`app/process`).

use std::io;
use std::path::Path;
use std::pin::pin;

use clap::Args;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::common::{Common, NoFile};
use super::error::{CommandError, Exit};
use super::output::report;
use super::reload::{Reloads, tell_of_age};
use super::runtime::{GRACE, runtime_threads};
use super::source::{Loaded, Make, Said, TRYOUT_KEY, load};
use crate::app::assemble::Round;
use crate::app::build::Seams;
use crate::app::keys::Keys;
use crate::app::resolve::Valid;
use crate::app::{App, Fault, Life, StartError, assemble, process, tasks, volume};
use kernel::clock::{Clock, SystemClock};
use net::Sockets;
use telemetry::logging;

/// Options of `run`.
#[derive(Args, Clone, Copy, Default)]
pub(super) struct Options {
    /// Reads the configuration again when its file, or one that it names by `${file:…}`, changes (also by way of links,
    /// as ConfigMaps do).
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    _none: NoFile,
}

/// Runs until a signal.
pub(super) fn run(common: &Common, options: Options) -> Result<Exit, CommandError> {
    let loaded = load(common, Make::Keys)?;
    logging::init(loaded.valid.log_level);
    tell_of_age(&loaded.valid, SystemClock::new().now());
    let runtime = tasks::runtime(runtime_threads()).map_err(|error| format!("can't start: {error}"))?;
    let rounds = serve(common.clone(), options, loaded);
    // said before threads that hang are waited for
    Ok(tasks::run_to_end(runtime, GRACE, async { rounds.await.unwrap_or_else(|error| report(&error)) }))
}

/// Rounds of one gateway: each with the configuration that was read last.
async fn serve(common: Common, options: Options, loaded: Loaded) -> Result<Exit, CommandError> {
    let (stop, now) = match (process::stop_signal(), process::second_signal()) {
        (Ok(stop), Ok(now)) => (stop, now),
        (Err(error), _) | (_, Err(error)) => return Err(signals(&error)),
    };
    let (mut stop, mut now) = (pin!(stop), pin!(now));
    let seams = Seams::real();
    let mut reloads = Reloads::new(common.clone(), options.watch, &seams).map_err(|error| signals(&error))?;
    let round = Round { sockets: Some(Sockets::default()), again: Some(reloads.asked()) };
    let sockets = round.sockets.clone().unwrap_or_default();
    // What ran last stays resolved, with its keys, until what comes after it runs: the files and variables that it
    // names may have gone since.
    let (mut loaded, mut before, mut kept) = (loaded, None::<(Valid, Said, Keys)>, None::<Keys>);
    loop {
        let embedded = loaded.embedded;
        let spool = loaded.valid.spool.directory.clone();
        if let Some(warning) = volume::warning(&spool) {
            tracing::warn!("{warning}");
        }
        sockets.begin();
        let (said, running) = (loaded.said.clone(), loaded.valid.clone());
        let Some(keys) = keys_of(&running, kept.take(), &seams, stop.as_mut()).await else { return Ok(Exit::Fine) };
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
                    end_round(next.lock().is_some(), &sockets, &seams);
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
            (Ok((Life::Whole(ended), None, _)), _) if ended.failed.is_none() => return Ok(Exit::Fine),
            (Ok((Life::Unborn, ..)), _) => return Ok(Exit::Fine),
            (Ok((Life::Cut(by), ..)), _) => return Ok(Exit::Cut(by)),
            (Ok(_), _) => return Ok(Exit::Failed),
            // The new configuration can't be run: the one before could.
            (Err(error), Some((valid, said, keys))) => {
                reloads.failed();
                tracing::error!(error = error.text, "the new configuration can't be run; the one before is run again");
                (loaded, kept) = (Loaded { valid, said, ..loaded }, Some(keys));
            }
            (Err(error), None) => return Err(with_option(error, embedded).into()),
        }
    }
}

/// There is no file to set a port in: the option is what one can give.
fn with_option(error: StartError, embedded: bool) -> StartError {
    if !embedded || error.fault != Fault::Port {
        return error;
    }
    let text = format!("{} (in a file for --config), or give --listen HOST:PORT, e.g. 127.0.0.1:14317", error.text);
    StartError { text, ..error }
}

/// Ports stay open for another round.
fn end_round(another: bool, sockets: &Sockets, seams: &Seams) {
    if another { seams.health.goes_on() } else { sockets.close() }
}

fn signals(error: &io::Error) -> CommandError {
    CommandError::Failed(format!("can't handle signals: {error}"))
}

/// The keys of a round: those that it had, else what there is to read. None: it was told to stop, while a KMS took its
/// time.
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
        if let Some((_, http)) = app.addresses().iter().find(|(what, _)| what == "otlp http") {
            let set = format!("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_ENDPOINT=http://{http}");
            tracing::info!(set, "what to set in your agent");
        }
        let directory = spool.parent().unwrap_or(spool).display().to_string();
        let find = format!("tollgate vault find --store '{directory}/vault'");
        tracing::info!(
            directory,
            find,
            "the embedded default: content goes to a vault here, sealed to a try-out auditor ({TRYOUT_KEY}); use --config in production"
        );
    }
}
