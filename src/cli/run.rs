//! **What**: `tollgate run`: a gateway until SIGTERM or SIGINT; a second one ends it at once. **Invariants**: exit 78 for
//! a bad configuration, 1 for what fails later; nothing that hangs keeps the process. **Not here**: `App`, what holds for
//! all commands (`app/process`).

use std::sync::Arc;
use std::time::Duration;

use super::Common;
use super::output::{Exit, complain};
use super::source::{Loaded, Make, TRYOUT_KEY, load};
use crate::app::build::Seams;
use crate::app::{App, Life, assemble, process, tasks, volume};
use crate::clock::SystemClock;
use crate::pipeline::RealDisk;
use crate::rng::SystemRng;
use crate::telemetry::{Health, Meter, logging};

/// What is left of threads that hang when all is over.
pub(super) const GRACE: Duration = Duration::from_secs(2);

/// Runs until a signal.
pub(super) fn run(common: &Common) -> Exit {
    let loaded = match load(common, Make::Keys) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    logging::init(loaded.valid.log_level);
    match tasks::runtime(runtime_threads()) {
        Ok(runtime) => tasks::run_to_end(runtime, GRACE, serve(loaded)),
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

async fn serve(loaded: Loaded) -> Exit {
    let (stop, now) = match (process::stop_signal(1), process::stop_signal(2)) {
        (Ok(stop), Ok(now)) => (stop, now),
        (Err(error), _) | (_, Err(error)) => return fail(&format!("can't handle signals: {error}")),
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
    let ready = |app: &App| {
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
    };
    match App::live(blueprint, seams, ready, stop, now).await {
        Ok(Life::Whole(ended)) if ended.failed.is_none() => Exit::Fine,
        Ok(Life::Unborn) => Exit::Fine,
        Ok(Life::Whole(_) | Life::Cut) => Exit::Failed,
        Err(error) => fail_with(&error.text, error.exit),
    }
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
