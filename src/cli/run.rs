//! `tollgate run`: runs a gateway until SIGTERM or SIGINT; a second signal ends it at once. SIGHUP, `--watch` and `POST
//! /-/reload` start a new round with the reloaded configuration: a round shuts down in order while its ports stay open,
//! so clients only wait a moment. An unusable configuration changes nothing. If a new round fails to start, the
//! previous one runs again with the same keys, certificates and tokens. Exit codes: 78 for a bad configuration, 1 for
//! later failures, 143 or 130 after a second signal. Hanging threads do not delay the exit. `RunningGateway` is in
//! `app`.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use clap::Args;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::common::{CommonArgs, RejectFileArg};
use super::config_loading::{ConfigSnapshot, FileAccess, LoadedConfig, load_with_warnings};
use super::reload::{ReloadWatcher, warn_expiring_certificates};
use crate::app::build::{GatewayDeps, ReloadResources};
use crate::app::gateway_keys::GatewayKeys;
use crate::app::resolve::ValidSettings;
use crate::app::{GatewayOutcome, RunningGateway, StartError, StartFault, assemble, volume};
use command::error::{CommandError, ExitStatus};
use command::keyfile::TRYOUT_KEY;
use command::os;
use command::runtime::serve;
use genai::Vocabulary;
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
    // Both take long, and neither needs the other. A vocabulary that can't be built is built again, with its error.
    let (loaded, vocabulary) = std::thread::scope(|scope| {
        let vocabulary = scope.spawn(Vocabulary::builtin);
        (load_with_warnings(common, FileAccess::Create, |_, _| Vec::new()), vocabulary.join().ok().and_then(Result::ok))
    });
    let loaded = loaded?;
    logging::init(loaded.valid.log_level);
    warn_expiring_certificates(&loaded.valid, SystemClock::new().now());
    let resources = ReloadResources { vocabulary: Arc::new(Mutex::new(vocabulary)), ..ReloadResources::default() };
    serve(run_rounds(common.clone(), options, loaded, resources))
}

/// Runs rounds of one gateway, each with the latest usable configuration.
async fn run_rounds(
    common: CommonArgs,
    options: RunArgs,
    loaded: LoadedConfig,
    resources: ReloadResources,
) -> Result<ExitStatus, CommandError> {
    let (mut stop, mut second_signal) = (pin!(os::stop_signal()?), pin!(os::second_signal()?));
    let deps = GatewayDeps::system();
    let mut reloads = ReloadWatcher::new(common.clone(), options.watch, &deps)?;
    let resources = ReloadResources {
        sockets: Some(RetainedSockets::default()),
        reload_requested: Some(reloads.reload_requested()),
        ..resources
    };
    let sockets = resources.sockets.clone().unwrap_or_default();
    // The previous round's settings and keys are kept until the next one runs, because files and variables that it
    // names may be gone.
    let (mut loaded, mut previous, mut kept_keys) =
        (loaded, None::<(ValidSettings, ConfigSnapshot, GatewayKeys)>, None::<GatewayKeys>);
    loop {
        let embedded = loaded.embedded;
        let spool = loaded.valid.spool.directory.clone();
        if let Some(warning) = volume::warn_if_in_memory(&spool) {
            tracing::warn!("{warning}");
        }
        sockets.begin_round();
        let (snapshot, settings) = (loaded.snapshot.clone(), loaded.valid.clone());
        let Some(keys) = round_keys(&settings, kept_keys.take(), &deps, stop.as_mut()).await else {
            return Ok(ExitStatus::Success);
        };
        let prepared = keys.and_then(|keys| {
            let blueprint = assemble::build_blueprint_with_keys(loaded.valid, keys.clone(), resources.clone())?;
            Ok((blueprint, keys))
        });
        let started = match prepared {
            Ok((blueprint, keys)) => {
                // A starting round owns the spool already, so until it runs only a stop signal ends it.
                let ready_notify = Notify::new();
                let previous_round = &mut previous;
                let on_ready = |app: &RunningGateway| {
                    // From here there is no way back, so the previous keys are dropped at once.
                    *previous_round = None;
                    ready_notify.notify_one();
                    sockets.close_unused();
                    keys.note_use(&spool, deps.clock.now());
                    log_startup(app, embedded, &spool);
                };
                let next_config = Mutex::new(None);
                let until_end = async {
                    let reloaded = async {
                        ready_notify.notified().await;
                        reloads.next(settings.fleet_role(), &snapshot).await
                    };
                    tokio::select! {
                        () = &mut stop => {}
                        reloaded = reloaded => *next_config.lock() = Some(reloaded),
                    }
                    end_round(next_config.lock().is_some(), &sockets, &deps);
                };
                let outcome =
                    RunningGateway::run_until_stopped(blueprint, deps.clone(), on_ready, until_end, &mut second_signal)
                        .await;
                outcome.map(|outcome| (outcome, next_config.into_inner(), keys))
            }
            Err(error) => Err(error),
        };
        match (started, previous.take()) {
            (Ok((GatewayOutcome::Completed(ended), Some(next_config), keys)), _) if ended.failed.is_none() => {
                previous = Some((settings, snapshot, keys));
                loaded = next_config;
            }
            (Ok((GatewayOutcome::Completed(ended), None, _)), _) if ended.failed.is_none() => {
                return Ok(ExitStatus::Success);
            }
            (Ok((GatewayOutcome::StoppedBeforeReady, ..)), _) => return Ok(ExitStatus::Success),
            (Ok((GatewayOutcome::Aborted(signal), ..)), _) => return Ok(ExitStatus::StoppedBySignal(signal)),
            (Ok(_), _) => return Ok(ExitStatus::Failed),
            // The new configuration can't be run, so the previous one runs again.
            (Err(error), Some((valid, snapshot, keys))) => {
                reloads.count_failure();
                tracing::error!(
                    error = error.text,
                    "the new configuration can't be started; restarting the previous one"
                );
                (loaded, kept_keys) = (LoadedConfig { valid, snapshot, ..loaded }, Some(keys));
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
fn end_round(has_next_round: bool, sockets: &RetainedSockets, deps: &GatewayDeps) {
    if has_next_round { deps.health.announce_next_round() } else { sockets.close() }
}

/// The keys of a round: the kept keys of a previous round that runs again, or newly read ones. `None` if a stop signal
/// came while the keys were read.
async fn round_keys(
    valid: &ValidSettings,
    kept_keys: Option<GatewayKeys>,
    deps: &GatewayDeps,
    stop: impl Future<Output = ()>,
) -> Option<Result<GatewayKeys, StartError>> {
    if let Some(keys) = kept_keys {
        return Some(Ok(keys));
    }
    tokio::select! {
        keys = GatewayKeys::read(valid, deps) => Some(keys),
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
