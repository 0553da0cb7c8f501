//! **What**: standard output and exit codes. **Invariants**: a closed pipe is a clean end; colour only where wanted.
//! **Not here**: logs (`telemetry/logging`, on stderr).

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use config::env;
use kernel::terminal::{clean, escaped};

/// How a command ended, by its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: fine.
    Fine,
    /// 1: failed at run time.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 78: bad configuration (`EX_CONFIG` of sysexits).
    Config,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Config => 78,
        })
    }
}

/// Writes to stdout; how the command ends if this is all it does. A reader that went away ends the process with 0, as
/// stock tools do.
#[must_use]
pub(super) fn out(text: &str) -> Exit {
    match emit(io::stdout().lock(), text) {
        Ok(()) => Exit::Fine,
        Err(error) => {
            complain(&format!("error: {error}"));
            Exit::Failed
        }
    }
}

/// Says beside the answer what it lacks, or what else is to know; nobody listens on a closed stderr.
pub(super) fn tell<'w>(what: &str, whys: impl IntoIterator<Item = &'w String>) {
    let mut stderr = io::stderr().lock();
    whys.into_iter().for_each(|why| drop(writeln!(stderr, "{what}: {}", clean(why))));
}

/// As [`out`], for what may fail in more than one way.
///
/// # Errors
/// One line.
pub(super) fn print(text: &str) -> Result<(), String> {
    emit(io::stdout().lock(), text)
}

/// JSON with a line end. What a terminal might act on in a client's text stands there as `\uXXXX`, which is the same JSON.
///
/// # Errors
/// As [`print`].
pub(super) fn print_json(json: &str) -> Result<(), String> {
    print(&format!("{}\n", escaped(json.trim_end())))
}

/// Writes a line to stderr.
pub(super) fn complain(text: &str) {
    let mut stderr = io::stderr().lock();
    let written = stderr.write_all(text.as_bytes()).and_then(|()| stderr.write_all(b"\n"));
    drop(written);
}

fn emit(mut to: impl Write, text: &str) -> Result<(), String> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.map_err(|error| format!("can't write: {error}")),
    }
}

/// Whether stderr takes colour.
pub(super) fn colour_err() -> bool {
    io::stderr().is_terminal() && allowed()
}

/// Whether stdout takes colour.
pub(super) fn colour_out() -> bool {
    io::stdout().is_terminal() && allowed()
}

fn allowed() -> bool {
    env::var("NO_COLOR").is_none_or(|value| value.is_empty()) && env::var("TERM").as_deref() != Some("dumb")
}
