//! Settings of the whole process: no core dumps, a panic hook that prints the place and never the message, signals, and
//! memory and CPU figures. Every command holds data that must not be written to disk in clear, so all commands begin
//! the same way. Nothing here prints payload.

use std::io::{self, Write};

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{CommandError, StopSignal};

/// Prepares the process before any command reads data: panics are quiet, TLS has its crypto provider, and memory is
/// protected.
///
/// # Errors
/// The operating system leaves core dumps on; the other steps are done.
pub fn prepare_process() -> io::Result<()> {
    quiet_panics();
    // Only the first call can succeed; a second one changes nothing.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    harden_process()
}

/// Disables core dumps, and other processes' access to this process's memory, because it holds data that must not be
/// written to disk in clear.
///
/// # Errors
/// The operating system refuses.
pub fn harden_process() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Makes panics report their thread and place but never their message, to the log or else to stderr.
pub fn quiet_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let (file, line) = panic.location().map_or(("", 0), |place| (place.file(), place.line()));
        let thread = thread.name().unwrap_or("");
        if tracing::dispatcher::has_been_set() {
            tracing::error!(thread, file, line, "panic");
        } else {
            drop(writeln!(io::stderr(), "panic in {thread} at {file}:{line}"));
        }
    }));
}

/// A future that completes at the first SIGTERM or SIGINT after this call.
///
/// # Errors
/// The operating system refuses the handler.
pub fn stop_signal() -> Result<impl Future<Output = ()> + Send, CommandError> {
    let first = nth_signal(1)?;
    Ok(async move {
        first.await;
    })
}

/// A future that completes at the second SIGTERM or SIGINT after this call, with the signal.
///
/// # Errors
/// The operating system refuses the handler.
pub fn second_signal() -> Result<impl Future<Output = StopSignal> + Send, CommandError> {
    nth_signal(2)
}

/// A future that completes at the next SIGHUP.
///
/// # Errors
/// The operating system refuses the handler.
pub fn hangup_signal() -> Result<Signal, CommandError> {
    handle_signal(SignalKind::hangup())
}

fn handle_signal(kind: SignalKind) -> Result<Signal, CommandError> {
    signal(kind).map_err(|error| format!("can't handle signals: {error}").into())
}

fn nth_signal(count: u32) -> Result<impl Future<Output = StopSignal> + Send, CommandError> {
    let (mut term, mut int) = (handle_signal(SignalKind::terminate())?, handle_signal(SignalKind::interrupt())?);
    Ok(async move {
        let mut received = StopSignal::Terminate;
        for _ in 0..count {
            received = tokio::select! {
                _ = term.recv() => StopSignal::Terminate,
                _ = int.recv() => StopSignal::Interrupt,
            };
        }
        received
    })
}

/// Ticks of processor time per second in `/proc`, the same on all supported architectures.
const TICKS_PER_SECOND: f64 = 100.0;

/// Processor time of this process, user and system, in seconds; `None` if the system doesn't report it.
pub fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The process name is in brackets and may contain anything. User and system time are fields 12 and 13 after it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = |index: usize| fields.split_whitespace().nth(index)?.parse::<u64>().ok();
    Some((ticks(11)? + ticks(12)?) as f64 / TICKS_PER_SECOND)
}

/// Resident memory in bytes; `None` if the system doesn't report it. It is read from `status`, which stays readable
/// after core dumps are disabled and this process's files belong to root.
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}
