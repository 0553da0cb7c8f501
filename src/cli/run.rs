//! `tollgate run`: runs a gateway until SIGTERM or SIGINT; a second signal ends it at once. SIGHUP, `--watch` and `POST
//! /-/reload` start a new round with the reloaded configuration: a round shuts down in order while its ports stay open,
//! so clients only wait a moment. An unusable configuration changes nothing. If a new round fails to start, the
//! previous one runs again with the same keys, certificates and tokens. Exit codes: 78 for a bad configuration, 1 for
//! later failures, 143 or 130 after a second signal. Hanging threads do not delay the exit. `RunningGateway` is in
//! `app`.

use std::io;
use std::path::Path;
use std::pin::pin;

use clap::Args;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::common::{CommonArgs, RejectFileArg};
use super::config_loading::{ConfigSnapshot, FileCreation, LoadedConfig, TRYOUT_KEY, load_config};
use super::error::{CommandError, ExitStatus};
use super::output::report_error;
use super::reload::{ReloadWatcher, warn_expiring_certificates};
use super::runtime::{EXIT_GRACE, runtime_threads};
use crate::app::assemble::ReloadResources;
use crate::app::build::GatewayDeps;
use crate::app::gateway_keys::GatewayKeys;
use crate::app::resolve::ValidSettings;
use crate::app::{GatewayOutcome, RunningGateway, StartError, StartFault, assemble, process, tasks, volume};
use kernel::clock::{Clock, SystemClock};
use net::RetainedSockets;
use telemetry::logging;

#[derive(Args, Clone, Copy, Default)]
pub(super) struct RunArgs {
    /// Reloads the configuration when its file, or a file that it names by `${file:…}`, changes (also through links, as
    /// with ConfigMaps).
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    _none: RejectFileArg,
}

/// Runs the gateway until a signal.
pub(super) fn run(common: &CommonArgs, options: RunArgs) -> Result<ExitStatus, CommandError> {
    let loaded = load_config(common, FileCreation::TryoutKey)?;
    logging::init(loaded.valid.log_level);
    warn_expiring_certificates(&loaded.valid, SystemClock::new().now());
    let runtime = tasks::build_runtime(runtime_threads()).map_err(|error| format!("can't start: {error}"))?;
    let rounds = run_rounds(common.clone(), options, loaded);
    // The error is reported before waiting for hanging threads.
    Ok(tasks::run_to_end(runtime, EXIT_GRACE, async { rounds.await.unwrap_or_else(|error| report_error(&error)) }))
}

/// Runs rounds of one gateway, each with the latest usable configuration.
async fn run_rounds(common: CommonArgs, options: RunArgs, loaded: LoadedConfig) -> Result<ExitStatus, CommandError> {
    let (stop, now) = match (process::stop_signal(), process::second_signal()) {
        (Ok(stop), Ok(now)) => (stop, now),
        (Err(error), _) | (_, Err(error)) => return Err(signal_error(&error)),
    };
    let (mut stop, mut now) = (pin!(stop), pin!(now));
    let seams = GatewayDeps::system();
    let mut reloads =
        ReloadWatcher::new(common.clone(), options.watch, &seams).map_err(|error| signal_error(&error))?;
    let round = ReloadResources {
        sockets: Some(RetainedSockets::default()),
        reload_requested: Some(reloads.reload_requested()),
    };
    let sockets = round.sockets.clone().unwrap_or_default();
    // The previous round's settings and keys are kept until the next one runs, because files and variables that it
    // names may be gone.
    let (mut loaded, mut before, mut kept) =
        (loaded, None::<(ValidSettings, ConfigSnapshot, GatewayKeys)>, None::<GatewayKeys>);
    loop {
        let embedded = loaded.embedded;
        let spool = loaded.valid.spool.directory.clone();
        if let Some(warning) = volume::warn_if_in_memory(&spool) {
            tracing::warn!("{warning}");
        }
        sockets.begin_round();
        let (said, running) = (loaded.snapshot.clone(), loaded.valid.clone());
        let Some(keys) = round_keys(&running, kept.take(), &seams, stop.as_mut()).await else {
            return Ok(ExitStatus::Success);
        };
        let made = keys.and_then(|keys| {
            let blueprint = assemble::build_blueprint_with_keys(loaded.valid, keys.clone(), &seams, round.clone())?;
            Ok((blueprint, keys))
        });
        let started = match made {
            Ok((blueprint, keys)) => {
                // A starting round owns the spool already, so until it runs only a stop signal ends it.
                let runs = Notify::new();
                let former = &mut before;
                let ready = |app: &RunningGateway| {
                    // From here there is no way back, so the previous keys are dropped at once.
                    *former = None;
                    runs.notify_one();
                    sockets.close_unused();
                    log_startup(app, embedded, &spool);
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
                let lived = RunningGateway::run_until_stopped(blueprint, seams.clone(), ready, ended, &mut now).await;
                lived.map(|life| (life, next.into_inner(), keys))
            }
            Err(error) => Err(error),
        };
        match (started, before.take()) {
            (Ok((GatewayOutcome::Completed(ended), Some(next), keys)), _) if ended.failed.is_none() => {
                before = Some((running, said, keys));
                loaded = next;
            }
            (Ok((GatewayOutcome::Completed(ended), None, _)), _) if ended.failed.is_none() => {
                return Ok(ExitStatus::Success);
            }
            (Ok((GatewayOutcome::StoppedBeforeReady, ..)), _) => return Ok(ExitStatus::Success),
            (Ok((GatewayOutcome::Aborted(by), ..)), _) => return Ok(ExitStatus::StoppedBySignal(by)),
            (Ok(_), _) => return Ok(ExitStatus::Failed),
            // The new configuration can't be run, so the previous one runs again.
            (Err(error), Some((valid, said, keys))) => {
                reloads.count_failure();
                tracing::error!(
                    error = error.text,
                    "the new configuration can't be started; restarting the previous one"
                );
                (loaded, kept) = (LoadedConfig { valid, snapshot: said, ..loaded }, Some(keys));
            }
            (Err(error), None) => return Err(add_listen_hint(error, embedded).into()),
        }
    }
}

/// Adds a hint to use `--listen`, since the embedded default has no file in which to change a port.
fn add_listen_hint(error: StartError, embedded: bool) -> StartError {
    if !embedded || error.fault != StartFault::Port {
        return error;
    }
    let text =
        format!("{} (in a file passed with --config), or use --listen HOST:PORT, such as 127.0.0.1:14317", error.text);
    StartError { text, ..error }
}

/// Keeps the ports open for another round, or closes them.
fn end_round(another: bool, sockets: &RetainedSockets, seams: &GatewayDeps) {
    if another { seams.health.announce_next_round() } else { sockets.close() }
}

fn signal_error(error: &io::Error) -> CommandError {
    CommandError::Failed(format!("can't handle signals: {error}"))
}

/// The keys of a round: those it had, or newly read ones. `None` if a stop signal came while a KMS was slow.
async fn round_keys(
    valid: &ValidSettings,
    had: Option<GatewayKeys>,
    seams: &GatewayDeps,
    stop: impl Future<Output = ()>,
) -> Option<Result<GatewayKeys, StartError>> {
    if let Some(keys) = had {
        return Some(Ok(keys));
    }
    tokio::select! {
        keys = GatewayKeys::read(valid, &*seams.rng) => Some(keys),
        () = stop => None,
    }
}

fn log_startup(app: &RunningGateway, embedded: bool, spool: &Path) {
    for (what, address) in app.addresses() {
        tracing::info!(%address, "listening: {what}");
    }
    if embedded {
        if let Some((_, http)) = app.addresses().iter().find(|(what, _)| what == "otlp http") {
            let set = format!("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf OTEL_EXPORTER_OTLP_ENDPOINT=http://{http}");
            tracing::info!(set, "environment variables to set for your agent");
        }
        let directory = spool.parent().unwrap_or(spool).display().to_string();
        let find = format!("tollgate vault find --store '{directory}/vault'");
        tracing::info!(
            directory,
            find,
            "running the embedded default: content is stored in a vault here, encrypted for a try-out auditor ({TRYOUT_KEY}); use --config in production"
        );
    }
}
