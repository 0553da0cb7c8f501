//! Standard output, error messages and colour. A closed pipe is a normal end. Logs go to stderr through
//! `telemetry/logging`.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use crate::error::CommandError;
use config::env;
use kernel::clock::{Clock as _, SystemClock};
use kernel::terminal::{escape_json, escape_unsafe};

pub use crate::error::ExitStatus;

/// Prints the reason for a failure to stderr and returns the exit code.
pub fn report_error(error: &CommandError) -> ExitStatus {
    report_error_as(error, str::to_owned)
}

/// Like [`report_error`], without control characters, because anyone can choose names in a vault.
pub fn report_error_clean(error: &CommandError) -> ExitStatus {
    report_error_as(error, |text| text.lines().map(escape_unsafe).collect::<Vec<_>>().join("\n"))
}

fn report_error_as(error: &CommandError, format: impl FnOnce(&str) -> String) -> ExitStatus {
    match error {
        CommandError::Problems(problems) => print_to_stderr(problems),
        error => print_to_stderr(&format!("error: {}", format(&error.to_string()))),
    }
    error.exit_status()
}

/// Prints the whole output of a command. If the reader has gone away, the process exits with 0, like standard tools.
///
/// # Errors
/// See [`print()`].
pub fn print_result(text: &str) -> Result<ExitStatus, CommandError> {
    print(text)?;
    Ok(ExitStatus::Success)
}

/// Prints notes beside the result to stderr. Write errors are ignored, since stderr may be closed.
pub fn print_notes<'w>(label: &str, notes: impl IntoIterator<Item = &'w String>) {
    let mut stderr = io::stderr().lock();
    notes.into_iter().for_each(|note| drop(writeln!(stderr, "{label}: {}", escape_unsafe(note))));
}

/// Writes to stdout. If the reader has gone away, the process exits with 0, like standard tools.
///
/// # Errors
/// Writing failed.
pub fn print(text: &str) -> Result<(), CommandError> {
    write_output(io::stdout().lock(), text)
}

/// Prints JSON with a line end. Control characters of a client's text are escaped as `\uXXXX`, which is equivalent
/// JSON.
///
/// # Errors
/// See [`print()`].
pub fn print_json(json: &str) -> Result<(), CommandError> {
    print(&format!("{}\n", escape_json(json.trim_end())))
}

pub fn print_to_stderr(text: &str) {
    let mut stderr = io::stderr().lock();
    let written = stderr.write_all(text.as_bytes()).and_then(|()| stderr.write_all(b"\n"));
    drop(written);
}

fn write_output(mut output: impl Write, text: &str) -> Result<(), CommandError> {
    match output.write_all(text.as_bytes()).and_then(|()| output.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.map_err(|error| CommandError::Failed(format!("can't write: {error}"))),
    }
}

pub fn use_colour_on_stderr() -> bool {
    io::stderr().is_terminal() && is_colour_allowed()
}

pub fn use_colour_on_stdout() -> bool {
    io::stdout().is_terminal() && is_colour_allowed()
}

fn is_colour_allowed() -> bool {
    env::var("NO_COLOR").is_none_or(|value| value.is_empty()) && env::var("TERM").as_deref() != Some("dumb")
}

/// Minimum time between two updates of a progress line.
const UPDATE_INTERVAL: Duration = Duration::from_millis(200);

/// A line on stderr that shows how far long work is, if stderr is a terminal. It ends when this is dropped.
pub struct Progress {
    clock: SystemClock,
    last_shown: Option<Duration>,
    is_terminal: bool,
}

impl Default for Progress {
    fn default() -> Self {
        Self { clock: SystemClock::new(), last_shown: None, is_terminal: io::stderr().is_terminal() }
    }
}

impl Progress {
    /// Shows the text in place of the last one, unless that was just shown.
    pub fn show(&mut self, text: impl FnOnce() -> String) {
        let now = self.clock.monotonic();
        if !self.is_terminal || self.last_shown.is_some_and(|shown| now.saturating_sub(shown) < UPDATE_INTERVAL) {
            return;
        }
        self.last_shown = Some(now);
        drop(io::stderr().lock().write_all(format!("\r{}", text()).as_bytes()));
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.last_shown.is_some() {
            drop(io::stderr().lock().write_all(b"\n"));
        }
    }
}
