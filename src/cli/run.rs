//! **What**: `tollgate run`: a gateway until SIGTERM or SIGINT. **Invariants**: core dumps are off and panics are quiet
//! before any telemetry arrives; exit 78 for a bad configuration, 1 for what fails later. **Not here**: `App`.

use std::sync::Arc;

use super::Common;
use super::output::{Exit, complain};
use super::source::{Loaded, Make, TRYOUT_KEY, load};
use crate::app::build::Seams;
use crate::app::{App, assemble, process, tasks, volume};
use crate::clock::SystemClock;
use crate::pipeline::RealDisk;
use crate::rng::SystemRng;
use crate::telemetry::{Health, Meter, logging};

/// Runs until a signal.
pub(super) fn run(common: &Common) -> Exit {
    let loaded = match load(common, Make::Keys) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    prepare(&loaded);
    let runtime = match tasks::runtime(runtime_threads()) {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("can't start: {error}")),
    };
    runtime.block_on(serve(loaded))
}

/// What must hold before anything is received.
pub(super) fn prepare(loaded: &Loaded) {
    logging::init(loaded.valid.log_level);
    process::quiet_panics();
    if let Err(error) = process::harden() {
        tracing::warn!(%error, "core dumps could not be switched off");
    }
    // Only the first call can succeed; a second one changes nothing.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
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

async fn serve(loaded: Loaded) -> Exit {
    let stop = match process::stop_signal() {
        Ok(stop) => stop,
        Err(error) => return fail(&format!("can't handle signals: {error}")),
    };
    let seams = seams();
    let embedded = loaded.embedded;
    let spool = loaded.valid.spool.directory.clone();
    if let Some(warning) = volume::warning(&spool) {
        tracing::warn!("{warning}");
    }
    let blueprint = match assemble::blueprint(loaded.valid, &seams) {
        Ok(blueprint) => blueprint,
        Err(error) => return fail_with(&error.text, error.exit),
    };
    let app = match App::start(blueprint, seams).await {
        Ok(app) => app,
        Err(error) => return fail_with(&error.text, error.exit),
    };
    for (what, address) in app.addresses() {
        tracing::info!(%address, "listening: {what}");
    }
    if embedded {
        let directory = spool.parent().unwrap_or(&spool).display().to_string();
        tracing::info!(
            directory,
            "the embedded default: content goes to a vault here, sealed to a try-out auditor ({TRYOUT_KEY}); use --config in production"
        );
    }
    let ended = app.wait(stop).await;
    if ended.failed.is_some() { Exit::Failed } else { Exit::Fine }
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
