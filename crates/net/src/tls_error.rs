//! [`TlsError`]: why TLS files can't be used. Messages name the key and the file, never contents.

use std::path::PathBuf;

/// Why the TLS of a client or a port can't be set up. `key` is the setting under `tls` that names the file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// The setting is missing although another one requires it.
    #[error("tls.{key} is missing")]
    Missing {
        /// The setting.
        key: &'static str,
    },
    /// The file can't be read, or is not PEM.
    #[error("tls.{key}: can't read {}: {why}", path.display())]
    Unreadable {
        /// The setting.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error, or what the file holds instead.
        why: String,
    },
    /// The file was read, but its contents can't be used.
    #[error("tls.{key}: {what}")]
    Unusable {
        /// The setting.
        key: &'static str,
        /// The file and its problem.
        what: String,
    },
    /// The system has no root certificates.
    #[error("this machine has no root certificates: install them or set tls.ca_file")]
    NoRoots,
    /// The TLS library refuses its own defaults.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

impl TlsError {
    /// The setting at fault (empty if there is none) and the problem.
    pub(super) fn key_and_message(&self) -> (&'static str, String) {
        match self {
            Self::Unreadable { key, path, why } => (key, format!("can't read {}: {why}", path.display())),
            Self::Unusable { key, what } => (key, what.clone()),
            Self::Missing { .. } | Self::NoRoots | Self::Library(_) => ("", self.to_string()),
        }
    }
}
