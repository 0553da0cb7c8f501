//! The results of commands: [`ExitStatus`] and [`CommandError`]. The exit code depends on the kind of error, never on
//! its text. Texts contain no telemetry and no secrets. `output` prints them.

use std::process::ExitCode;

use net::{BindError, TlsError};
use pipeline::spool::SpoolOpenError;
use rates::RatesError;

/// `EX_CONFIG` of sysexits.h.
const EX_CONFIG: u8 = 78;

/// A signal that ends the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    Terminate,
    /// SIGINT, such as Ctrl-C.
    Interrupt,
}

/// The exit codes of commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: success.
    Success,
    /// 1: run-time failure.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 78: bad configuration.
    Config,
    /// 143 or 130, as a shell reports signals: a second signal stopped the process at once.
    StoppedBySignal(StopSignal),
}

impl From<ExitStatus> for ExitCode {
    fn from(exit: ExitStatus) -> Self {
        Self::from(match exit {
            ExitStatus::Success => 0,
            ExitStatus::Failed => 1,
            ExitStatus::Usage => 2,
            ExitStatus::Config => EX_CONFIG,
            ExitStatus::StoppedBySignal(StopSignal::Terminate) => 128 + 15,
            ExitStatus::StoppedBySignal(StopSignal::Interrupt) => 128 + 2,
        })
    }
}

/// The result of a command, or of a part of one.
pub type Result<T, E = CommandError> = std::result::Result<T, E>;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A run-time failure.
    #[error("{0}")]
    Failed(String),
    /// The command line is wrong: a malformed value or a missing argument.
    #[error("{0}")]
    Usage(String),
    /// The configuration can't be found or read, or names a key that is missing.
    #[error("{0}")]
    Config(String),
    /// The configuration is invalid; the text has all problems with file, line and snippet.
    #[error("{0}")]
    Problems(String),
}

impl CommandError {
    /// The exit code for this error.
    pub fn exit_status(&self) -> ExitStatus {
        match self {
            Self::Failed(_) => ExitStatus::Failed,
            Self::Usage(_) => ExitStatus::Usage,
            Self::Config(_) | Self::Problems(_) => ExitStatus::Config,
        }
    }
}

/// Errors given as text are run-time failures; use a variant for any other exit code.
impl From<String> for CommandError {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

macro_rules! from {
    ($($error:ty),*) => {$(
        impl From<$error> for CommandError {
            fn from(error: $error) -> Self {
                Self::Failed(error.to_string())
            }
        }
    )*};
}

from!(&str, BindError, TlsError, RatesError);

impl From<SpoolOpenError> for CommandError {
    fn from(error: SpoolOpenError) -> Self {
        let kind = if error.exit_code == EX_CONFIG { Self::Config } else { Self::Failed };
        kind(error.to_string())
    }
}
