//! Standard output, error messages and colour. A closed pipe is a normal end. Logs go to stderr through
//! `telemetry/logging`.

use std::io::{self, IsTerminal, Write};

use super::error::CommandError;
use config::env;
use kernel::terminal::{clean, escaped};

pub(super) use super::error::Exit;

/// Prints the reason for a failure to stderr and returns the exit code.
pub(super) fn report(error: &CommandError) -> Exit {
    report_as(error, str::to_owned)
}

/// Like [`report`], without control characters, because anyone can choose names in a vault.
pub(super) fn report_clean(error: &CommandError) -> Exit {
    report_as(error, |text| text.lines().map(clean).collect::<Vec<_>>().join("\n"))
}

fn report_as(error: &CommandError, shown: impl FnOnce(&str) -> String) -> Exit {
    match error {
        CommandError::Problems(problems) => complain(problems),
        other => complain(&format!("error: {}", shown(&other.to_string()))),
    }
    error.exit()
}

/// Prints the whole output of a command. If the reader has gone away, the process exits with 0, like standard tools.
///
/// # Errors
/// See [`print`].
pub(super) fn out(text: &str) -> Result<Exit, CommandError> {
    print(text)?;
    Ok(Exit::Fine)
}

/// Prints notes beside the result to stderr. Write errors are ignored, since stderr may be closed.
pub(super) fn tell<'w>(what: &str, whys: impl IntoIterator<Item = &'w String>) {
    let mut stderr = io::stderr().lock();
    whys.into_iter().for_each(|why| drop(writeln!(stderr, "{what}: {}", clean(why))));
}

/// Writes to stdout. If the reader has gone away, the process exits with 0, like standard tools.
///
/// # Errors
/// Writing failed.
pub(super) fn print(text: &str) -> Result<(), CommandError> {
    emit(io::stdout().lock(), text)
}

/// Prints JSON with a line end. Control characters of a client's text are escaped as `\uXXXX`, which is equivalent
/// JSON.
///
/// # Errors
/// See [`print`].
pub(super) fn print_json(json: &str) -> Result<(), CommandError> {
    print(&format!("{}\n", escaped(json.trim_end())))
}

pub(super) fn complain(text: &str) {
    let mut stderr = io::stderr().lock();
    let written = stderr.write_all(text.as_bytes()).and_then(|()| stderr.write_all(b"\n"));
    drop(written);
}

fn emit(mut to: impl Write, text: &str) -> Result<(), CommandError> {
    match to.write_all(text.as_bytes()).and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.map_err(|error| CommandError::Failed(format!("can't write: {error}"))),
    }
}

/// Whether to use colour on stderr.
pub(super) fn colour_err() -> bool {
    io::stderr().is_terminal() && allowed()
}

/// Whether to use colour on stdout.
pub(super) fn colour_out() -> bool {
    io::stdout().is_terminal() && allowed()
}

fn allowed() -> bool {
    env::var("NO_COLOR").is_none_or(|value| value.is_empty()) && env::var("TERM").as_deref() != Some("dumb")
}
