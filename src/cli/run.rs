//! `tollgate run`: runs a gateway until SIGTERM or SIGINT; a second signal ends it at once. SIGHUP, `--watch` and `POST
//! /-/reload` start a new round with the reloaded configuration: a round shuts down in order while its ports stay open,
//! so clients only wait a moment. An unusable configuration changes nothing. If a new round fails to start, the
//! previous one runs again with the same keys, certificates and tokens. Exit codes: 78 for a bad configuration, 1 for
//! later failures, 143 or 130 after a second signal. Hanging threads do not delay the exit. `App` is in `app`.

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

#[derive(Args, Clone, Copy, Default)]
pub(super) struct Options {
    /// Reloads the configuration when its file, or a file that it names by `${file:…}`, changes (also through links, as
    /// with ConfigMaps).
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    _none: NoFile,
}

/// Runs the gateway until a signal.
pub(super) fn run(common: &Common, options: Options) -> Result<Exit, CommandError> {
    let loaded = load(common, Make::Keys)?;
    logging::init(loaded.valid.log_level);
    tell_of_age(&loaded.valid, SystemClock::new().now());
    let runtime = tasks::runtime(runtime_threads()).map_err(|error| format!("can't start: {error}"))?;
    let rounds = serve(common.clone(), options, loaded);
    // The error is reported before waiting for hanging threads.
    Ok(tasks::run_to_end(runtime, GRACE, async { rounds.await.unwrap_or_else(|error| report(&error)) }))
}

/// Runs rounds of one gateway, each with the latest usable configuration.
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
    // The previous round's settings and keys are kept until the next one runs, because files and variables that it
    // names may be gone.
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
                // A starting round owns the spool already, so until it runs only a stop signal ends it.
                let runs = Notify::new();
                let former = &mut before;
                let ready = |app: &App| {
                    // From here there is no way back, so the previous keys are dropped at once.
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
            // The new configuration can't be run, so the previous one runs again.
            (Err(error), Some((valid, said, keys))) => {
                reloads.failed();
                tracing::error!(error = error.text, "the new configuration can't be run; the one before is run again");
                (loaded, kept) = (Loaded { valid, said, ..loaded }, Some(keys));
            }
            (Err(error), None) => return Err(with_option(error, embedded).into()),
        }
    }
}

/// Adds a hint to use `--listen`, since the embedded default has no file in which to change a port.
fn with_option(error: StartError, embedded: bool) -> StartError {
    if !embedded || error.fault != Fault::Port {
        return error;
    }
    let text = format!("{} (in a file for --config), or give --listen HOST:PORT, e.g. 127.0.0.1:14317", error.text);
    StartError { text, ..error }
}

/// Keeps the ports open for another round, or closes them.
fn end_round(another: bool, sockets: &Sockets, seams: &Seams) {
    if another { seams.health.goes_on() } else { sockets.close() }
}

fn signals(error: &io::Error) -> CommandError {
    CommandError::Failed(format!("can't handle signals: {error}"))
}

/// The keys of a round: those it had, or newly read ones. `None` if a stop signal came while a KMS was slow.
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
