//! **What**: what concerns the process as a whole: no core dumps, a panic hook that says where and never what, signals,
//! memory. **Why**: every command holds something that must not be at rest, so all begin alike. **Invariants**: nothing
//! here prints payload; a refusal of the operating system is logged, not fatal.

use std::io::{self, Write};

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

/// What holds for every command before it reads anything: panics are quiet, TLS has its provider, memory is nobody's
/// but ours.
///
/// # Errors
/// The operating system leaves core dumps on; everything else is done.
pub fn begin() -> io::Result<()> {
    quiet_panics();
    // Only the first call can succeed; a second one changes nothing.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    harden()
}

/// No core dumps, and no reading of this process's memory by others of the same user: memory holds what must not be
/// at rest.
///
/// # Errors
/// The operating system refuses.
pub fn harden() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// From now on a panic tells its thread and place, never its message: to the log, else to stderr.
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

/// What tells a process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// SIGTERM.
    Terminate,
    /// SIGINT, such as Ctrl-C.
    Interrupt,
}

/// Ends at the first SIGTERM or SIGINT after the call.
///
/// # Errors
/// The operating system refuses the handler.
pub fn stop_signal() -> io::Result<impl Future<Output = ()> + Send> {
    let first = nth_signal(1)?;
    Ok(async move {
        first.await;
    })
}

/// Ends at the second SIGTERM or SIGINT after the call; says which it was.
///
/// # Errors
/// The operating system refuses the handler.
pub fn second_signal() -> io::Result<impl Future<Output = Stop> + Send> {
    nth_signal(2)
}

fn nth_signal(count: u32) -> io::Result<impl Future<Output = Stop> + Send> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        let mut last = Stop::Terminate;
        for _ in 0..count {
            last = tokio::select! {
                _ = term.recv() => Stop::Terminate,
                _ = int.recv() => Stop::Interrupt,
            };
        }
        last
    })
}

/// Ticks of processor time in a second, as `/proc` counts them on every architecture that this is built for.
const TICKS: f64 = 100.0;

/// Processor time that this process took, user and system, seconds; `None` where the system does not tell.
pub fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name stands in brackets and may hold anything; user and system time are the 12th and 13th field behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks = |at: usize| fields.split_whitespace().nth(at)?.parse::<u64>().ok();
    Some((ticks(11)? + ticks(12)?) as f64 / TICKS)
}

/// Resident memory in bytes; `None` where the system does not tell. (`status` is readable by everyone, also once core
/// dumps are off and the files of this process belong to root.)
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}
