//! **What**: [`StartError`]: why a gateway did not start, and the exit code that says so.

use std::fmt;

/// Why a gateway did not start.
#[derive(Debug)]
pub struct StartError {
    /// One line.
    pub text: String,
    /// Exit code of the process: 1, or 78 when the configuration is at fault.
    pub exit: u8,
    /// Whether all that failed was to take a port.
    pub port: bool,
}

impl StartError {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), exit: 1, port: false }
    }

    /// The configuration is at fault.
    pub(super) fn config(text: impl Into<String>) -> Self {
        Self { exit: 78, ..Self::new(text) }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for StartError {}

impl From<String> for StartError {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}
