//! Checks whether certificates are valid today and in two weeks. An expired certificate loads without an error, but
//! every peer refuses it.
//! Only dates are checked, not signatures. TLS does not check dates of trusted (CA) certificates, so they cause a
//! warning, and only if all certificates in a file are out of date. `pem` reads the files.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use webpki::Error;

use super::certificate_validity::{DAY, check_validity, describe_error, is_date_error};
use super::pem::PemFiles;
use super::tls_error::TlsError;
use config::ProblemSeverity;

/// A problem with a TLS file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFileProblem {
    /// The configuration key that names the file; empty if the problem belongs to no single file.
    pub key: &'static str,
    /// The file and its problem.
    pub message: String,
    /// `Error`: the file can't be used, or peers refuse it.
    pub gravity: ProblemSeverity,
    /// Whether the file can't be used, so that nothing that needs it starts.
    pub prevents_start: bool,
}

impl TlsFileProblem {
    pub(super) fn error((key, what): (&'static str, String)) -> Self {
        Self { key, message: what, gravity: ProblemSeverity::Error, prevents_start: false }
    }
}

/// How long before its end a certificate causes a warning.
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * DAY);

/// Problems with the dates of the own certificates (under the key `own`) and of the trusted ones (under `trusted`).
pub(super) fn find_date_problems(
    files: &PemFiles,
    own: &'static str,
    trusted: &'static str,
    now: u64,
) -> Vec<TlsFileProblem> {
    // files that can't be read are reported when the TLS configuration is built from them
    let certificates = |key| files.certificates(key).ok().flatten().unwrap_or_default();
    let message = |key, what: &str| format!("{}: {what}", files.path(key).display());
    let at = |wait| UnixTime::since_unix_epoch(Duration::from_secs(now).saturating_add(wait));
    let mut found = Vec::new();
    let own_certificates = certificates(own);
    let first_error =
        |wait| own_certificates.iter().find_map(|certificate| check_validity(certificate, at(wait)).err());
    if let Some(error) = first_error(Duration::ZERO) {
        found.push(TlsFileProblem::error((own, message(own, &describe_error(&error, now)))));
    } else if let Some(error) = first_error(EXPIRY_WARNING) {
        found.push(TlsFileProblem {
            key: own,
            message: message(own, &describe_error(&error, now)),
            gravity: ProblemSeverity::Warning,
            prevents_start: false,
        });
    }
    // A certificate that can't be parsed counts as valid: it has an older version, and is trusted anyway.
    let date_error = |certificate| check_validity(certificate, at(Duration::ZERO)).err().filter(is_date_error);
    // `None` if at least one certificate is valid.
    let date_errors: Option<Vec<Error>> = certificates(trusted).iter().map(date_error).collect();
    if let Some(error) = date_errors.as_deref().and_then(<[Error]>::first) {
        let error = describe_error(error, now);
        let what = message(
            trusted,
            &format!("{error}, and no other certificate in the file is valid; they are still trusted"),
        );
        let gravity = ProblemSeverity::Warning;
        found.push(TlsFileProblem { key: trusted, message: what, gravity, prevents_start: false });
    }
    found
}

/// Combines problems with dates (`found`), with single files (`faults`) and, if no single file is at fault, with all
/// files together (`build`).
pub(super) fn combine_problems(
    mut found: Vec<TlsFileProblem>,
    faults: Vec<TlsError>,
    build: impl FnOnce() -> Result<(), TlsError>,
) -> Vec<TlsFileProblem> {
    let faults = if faults.is_empty() { build().err().into_iter().collect() } else { faults };
    for fault in faults.iter().map(TlsError::key_and_message).map(TlsFileProblem::error) {
        // both checks report a certificate of an unsupported version
        found.retain(|known| *known != fault);
        found.push(TlsFileProblem { prevents_start: true, ..fault });
    }
    found
}
