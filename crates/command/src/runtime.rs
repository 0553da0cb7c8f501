//! The runtime for commands: [`block_on`], and [`serve`] for those that run until a signal.

use std::time::Duration;

use crate::error::{CommandError, ExitStatus};
use crate::output::report_error;
use crate::tasks;

/// How long hanging threads may delay the exit.
const EXIT_GRACE: Duration = Duration::from_secs(2);

/// Number of threads for sockets and timers; requests have workers of their own.
fn runtime_threads() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from).min(4)
}

/// Runs a command that serves until a signal. Its error is reported before hanging threads are waited for.
///
/// # Errors
/// The runtime can't be started.
pub fn serve(work: impl Future<Output = Result<ExitStatus, CommandError>>) -> Result<ExitStatus, CommandError> {
    let runtime = tasks::build_runtime(runtime_threads()).map_err(|error| format!("can't start: {error}"))?;
    Ok(tasks::run_to_end(runtime, EXIT_GRACE, async { work.await.unwrap_or_else(|error| report_error(&error)) }))
}

/// Runs `work` on a new runtime.
///
/// # Errors
/// The error of `work`, or the runtime can't be started.
pub fn block_on<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    // Only the first call of a process succeeds; the provider is then already installed for later calls.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    tasks::build_runtime(runtime_threads()).map_err(|error| format!("can't start: {error}"))?.block_on(work)
}
