//! Runs the command of a key: `{ command: [program, argument…] }`. No shell, no input, at most [`MAX_OUTPUT`] bytes of
//! output within [`TIME_LIMIT`]. The output is the key: it is wiped and never logged. The command's error output is
//! discarded, because it may quote the key. However the run ends, the command and its children are killed.

use std::io::{self, ErrorKind, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use zeroize::Zeroizing;

use kernel::files::describe_io_error;
use kernel::secret::Secret;

#[cfg(test)]
mod tests;

/// Time that a command may take.
pub(super) const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Most bytes that a command may print.
const MAX_OUTPUT: usize = 4096;
const TOO_LONG: &str = "printed more than 4096 bytes: it must print the key alone";
/// Time between two looks for output.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Why a command gave no key. The text has nothing that it printed.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub(super) struct KeyCommandError {
    text: String,
    /// Whether the same command may give the key later, such as when a service is back.
    pub(super) may_pass: bool,
}

/// The fault of a command that will never give a key.
fn refusal(text: &str) -> KeyCommandError {
    KeyCommandError { text: text.to_owned(), may_pass: false }
}

fn failure(text: String) -> KeyCommandError {
    KeyCommandError { text, may_pass: true }
}

fn unreadable(error: impl Into<io::Error>) -> KeyCommandError {
    failure(format!("its output can't be read: {}", error.into()))
}

/// The program of a command, and its arguments.
///
/// # Errors
/// There is no program, or not its whole path.
pub(super) fn check_command(command: &[String]) -> Result<(&str, &[String]), KeyCommandError> {
    let no_program = "names no program: write `[/path/of/program, argument]`";
    let (program, arguments) = command.split_first().ok_or_else(|| refusal(no_program))?;
    // Otherwise the program would be searched in the folders that `PATH` happens to have.
    let relative = "must begin with the whole path of the program, such as `/usr/bin/vault`";
    if program.starts_with('/') { Ok((program, arguments)) } else { Err(refusal(relative)) }
}

/// A running command; dropping it kills the command and its children, then collects it.
struct RunningCommand(Child);

impl RunningCommand {
    /// Starts the command as the leader of a process group.
    fn start(command: &[String]) -> Result<Self, KeyCommandError> {
        let (program, arguments) = check_command(command)?;
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let why = |error: io::Error| refusal(&format!("can't be run: {}", describe_io_error(error.kind())));
        command.spawn().map(Self).map_err(why)
    }

    /// Whether the command has ended. It is not collected yet, so its group's number can't belong to others.
    fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(Pid::from_child(&self.0)), options)?.is_some())
    }

    /// Kills what is left of the command and its children, which may hold the key too, and collects the command.
    fn end(&mut self) -> io::Result<ExitStatus> {
        // No member may be left.
        let _ = kill_process_group(Pid::from_child(&self.0), Signal::KILL);
        self.0.wait()
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        // A collected command's number may belong to another process.
        if self.has_ended().is_ok() {
            drop(self.end());
        }
    }
}

/// Runs the command and returns the key that it prints, without the white space around it.
///
/// # Errors
/// See [`KeyCommandError`].
pub(super) async fn read_key(command: &[String]) -> Result<Secret, KeyCommandError> {
    read_key_within(command, TIME_LIMIT).await
}

async fn read_key_within(command: &[String], limit: Duration) -> Result<Secret, KeyCommandError> {
    let mut running = RunningCommand::start(command)?;
    let reading = read_output(&mut running);
    let too_slow = |_| failure(format!("did not end within {} s", limit.as_secs()));
    let (output, status) = tokio::time::timeout(limit, reading).await.map_err(too_slow)??;
    if !status.success() {
        return Err(failure(format!("failed ({status}): run it as the gateway's user to see why")));
    }
    let not_text = |_| refusal("printed bytes that are not text: it must print the key as base64 or hex");
    let text = std::str::from_utf8(&output).map_err(not_text)?.trim();
    match text.is_empty() {
        true => Err(refusal("printed nothing: it must print the key")),
        false => Ok(Secret::new(text.to_owned())),
    }
}

/// Reads the output to its end, and waits for the command.
async fn read_output(running: &mut RunningCommand) -> Result<(Zeroizing<Vec<u8>>, ExitStatus), KeyCommandError> {
    // Its whole room at once: a growing buffer would leave copies of the key behind.
    let (mut buffer, mut length) = (Zeroizing::new(vec![0; MAX_OUTPUT + 1]), 0);
    let mut pipe = running.0.stdout.take().ok_or_else(|| unreadable(ErrorKind::BrokenPipe))?;
    let flags = rustix::fs::fcntl_getfl(&pipe).map_err(unreadable)?;
    rustix::fs::fcntl_setfl(&pipe, flags | OFlags::NONBLOCK).map_err(unreadable)?;
    loop {
        match pipe.read(buffer.get_mut(length..).unwrap_or_default()) {
            Ok(0) if length > MAX_OUTPUT => return Err(refusal(TOO_LONG)),
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => tokio::time::sleep(POLL_INTERVAL).await,
            Err(error) => return Err(unreadable(error)),
        }
    }
    buffer.truncate(length);
    while !running.has_ended().map_err(unreadable)? {
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    Ok((buffer, running.end().map_err(unreadable)?))
}
