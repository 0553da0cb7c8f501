//! [`TlsError`]: why TLS files can't be used. Messages name the key and the file, never contents.

use std::path::PathBuf;

use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, Error};

pub(super) const DAY: u64 = 24 * 60 * 60;

/// Why the TLS of a client or a port can't be set up. `key` is the setting under `tls` that names the file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// The setting is missing although another one requires it.
    #[error("tls.{key} is missing")]
    Missing { key: &'static str },
    /// The file can't be read, or is not PEM.
    #[error("tls.{key}: can't read {}: {why}", path.display())]
    Unreadable {
        key: &'static str,
        path: PathBuf,
        /// The operating system's error, or what the file holds instead.
        why: String,
    },
    /// The file was read, but its contents can't be used.
    #[error("tls.{key}: {what}")]
    Unusable {
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

/// Why a certificate can't be used at all, whatever its dates; `None` if it can be parsed.
pub(super) fn describe_unparsable(certificate: &CertificateDer<'_>) -> Option<String> {
    EndEntityCert::try_from(certificate).err().map(|error| describe_error(&error, 0))
}

/// The error of a certificate in words, as of `now` (Unix seconds).
pub(super) fn describe_error(error: &Error, now: u64) -> String {
    match error {
        Error::CertExpired { not_after, .. } => {
            let (day, end) = (format_day(*not_after), not_after.as_secs());
            if end < now {
                format!("its certificate expired on {day}, {} ago", format_days(now - end))
            } else {
                format!("its certificate expires on {day}, in {}", format_days(end - now))
            }
        }
        Error::CertNotValidYet { not_before, .. } => {
            format!("its certificate is not valid before {}", format_day(*not_before))
        }
        Error::InvalidCertValidity => "its certificate is never valid: it ends before it begins".to_owned(),
        Error::UnsupportedCertVersion => {
            "its certificate is X.509 version 1, which TLS does not accept: create one of \
             version 3 with `subjectAltName`"
                .to_owned()
        }
        _ => "it contains a certificate that can't be parsed".to_owned(),
    }
}

fn format_days(seconds: u64) -> String {
    match seconds / DAY {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

fn format_day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).map(|at| at.date().to_string()).unwrap_or_default()
}
