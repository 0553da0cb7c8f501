//! **What**: standard output and exit codes. **Invariants**: a closed pipe is a clean end; colour only where wanted.
//! **Not here**: logs (`telemetry/logging`, on stderr).

use std::io::{self, IsTerminal, Write};

use super::error::CommandError;
use config::env;
use kernel::terminal::{clean, escaped};

pub(super) use super::error::Exit;

/// Says on stderr why a command did not do what it was asked, and gives the exit code.
pub(super) fn report(error: &CommandError) -> Exit {
    report_as(error, str::to_owned)
}

/// As [`report`], without what a terminal might act on: names in a vault are anybody's.
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

/// Writes to stdout, as all that a command does. A reader that went away ends the process with 0, as stock tools do.
///
/// # Errors
/// As [`print`].
pub(super) fn out(text: &str) -> Result<Exit, CommandError> {
    print(text)?;
    Ok(Exit::Fine)
}

/// Says beside the answer what it lacks, or what else is to know; nobody listens on a closed stderr.
pub(super) fn tell<'w>(what: &str, whys: impl IntoIterator<Item = &'w String>) {
    let mut stderr = io::stderr().lock();
    whys.into_iter().for_each(|why| drop(writeln!(stderr, "{what}: {}", clean(why))));
}

/// Writes to stdout. A reader that went away ends the process with 0, as stock tools do.
///
/// # Errors
/// One line.
pub(super) fn print(text: &str) -> Result<(), CommandError> {
    emit(io::stdout().lock(), text)
}

/// JSON with a line end. What a terminal might act on in a client's text stands there as `\uXXXX`, which is the same
/// JSON.
///
/// # Errors
/// As [`print`].
pub(super) fn print_json(json: &str) -> Result<(), CommandError> {
    print(&format!("{}\n", escaped(json.trim_end())))
}

/// Writes a line to stderr.
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
