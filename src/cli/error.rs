//! **What**: how commands end: [`Exit`], and [`CommandError`], why one did not do what it was asked. **Invariants**:
//! the exit code follows from the kind of error alone, never from its text; a text holds no telemetry and no secret.
//! **Not here**: printing (`output`).

use std::process::ExitCode;

use crate::app::dry::DryRunError;
use crate::app::process::Stop;
use crate::app::{Fault, StartError};
use audit::read::ReadError;
use net::{BindError, TlsError};
use pipeline::spool::OpenError;
use rates::RatesError;
use vault::keygen::KeygenError;

/// `EX_CONFIG` of sysexits.
const CONFIG: u8 = 78;

/// How a command ended, by its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: fine.
    Fine,
    /// 1: failed at run time.
    Failed,
    /// 2: wrong usage.
    Usage,
    /// 78: bad configuration.
    Config,
    /// 143 or 130, as a shell says it: a second signal ended it where it stood.
    Cut(Stop),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Fine => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Config => CONFIG,
            Exit::Cut(Stop::Terminate) => 128 + 15,
            Exit::Cut(Stop::Interrupt) => 128 + 2,
        })
    }
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// A run-time failure.
    #[error("{0}")]
    Failed(String),
    /// The command line is wrong: a malformed value, or a missing argument.
    #[error("{0}")]
    Usage(String),
    /// The configuration can't be found or read, or names a key that is missing.
    #[error("{0}")]
    Config(String),
    /// The configuration is invalid: all its problems, with file, line and snippet.
    #[error("{0}")]
    Problems(String),
    /// A vault can't be read, judged or written.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No key was made.
    #[error(transparent)]
    Keygen(#[from] KeygenError),
    /// A rate table can't be used.
    #[error(transparent)]
    Rates(#[from] RatesError),
    /// A gateway did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A request could not be tried outside a running gateway.
    #[error(transparent)]
    DryRun(#[from] DryRunError),
    /// A spool can't be opened.
    #[error(transparent)]
    Spool(#[from] OpenError),
    /// An address can't be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Files of TLS can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl CommandError {
    /// How the process ends.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Start(error) | Self::DryRun(DryRunError::Start(error)) if error.fault == Fault::Configuration => {
                Exit::Config
            }
            Self::Spool(error) if error.exit_code() == CONFIG => Exit::Config,
            Self::Failed(_) | Self::Read(_) | Self::Keygen(_) | Self::Rates(_) => Exit::Failed,
            Self::Start(_) | Self::DryRun(_) | Self::Spool(_) | Self::Bind(_) | Self::Tls(_) => Exit::Failed,
            Self::Usage(_) => Exit::Usage,
            Self::Config(_) | Self::Problems(_) => Exit::Config,
        }
    }
}

/// Errors that arrive as text are run-time failures; for any other exit code, use a variant.
impl From<String> for CommandError {
    fn from(text: String) -> Self {
        Self::Failed(text)
    }
}

impl From<&str> for CommandError {
    fn from(text: &str) -> Self {
        Self::Failed(text.to_owned())
    }
}

#[cfg(test)]
mod tests;
