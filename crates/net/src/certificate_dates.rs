//! Whether certificates are valid today and in two weeks. An expired certificate loads without an error, but every peer
//! refuses it. Only dates are checked, not signatures. TLS does not check dates of trusted (CA) certificates, so they
//! cause a warning, and only if all certificates in a file are out of date. `pem` reads the files.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{EndEntityCert, Error, KeyUsage};

use super::pem::PemFiles;
use super::tls_error::{DAY, TlsError, describe_error};
use config::ProblemSeverity;

/// How long before its end a certificate causes a warning, in seconds.
const EXPIRY_WARNING: u64 = 14 * DAY;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFileProblem {
    /// The configuration key that names the file; empty if the problem belongs to no single file.
    pub key: &'static str,
    pub message: String,
    /// `Error`: the file can't be used, or peers refuse it.
    pub gravity: ProblemSeverity,
    /// Whether the file can't be used, so that nothing that needs it starts.
    pub prevents_start: bool,
}

/// Problems with the dates of the own certificates (under the key `own`) and of the trusted ones (under `trusted`), as
/// of `now` (Unix seconds).
pub(super) fn find_date_problems(
    files: &PemFiles,
    own: &'static str,
    trusted: &'static str,
    now: u64,
) -> Vec<TlsFileProblem> {
    // files that can't be read are reported when the TLS configuration is built from them
    let certificates = |key| files.certificates(key).ok().flatten().unwrap_or_default();
    let problem = |key, gravity, error: &Error, more: &str| TlsFileProblem {
        key,
        message: format!("{}: {}{more}", files.path(key).display(), describe_error(error, now)),
        gravity,
        prevents_start: false,
    };
    let own_certificates = certificates(own);
    let first_error = |at| own_certificates.iter().find_map(|certificate| check_validity(certificate, at).err());
    let error = first_error(now).map(|error| problem(own, ProblemSeverity::Error, &error, ""));
    let warning =
        || Some(problem(own, ProblemSeverity::Warning, &first_error(now.saturating_add(EXPIRY_WARNING))?, ""));
    let mut found: Vec<TlsFileProblem> = error.or_else(warning).into_iter().collect();
    // A certificate that can't be parsed counts as valid: it has an older version, and is trusted anyway.
    let date_error = |certificate| check_validity(certificate, now).err().filter(is_date_error);
    // `None` if at least one certificate is valid.
    let date_errors: Option<Vec<Error>> = certificates(trusted).iter().map(date_error).collect();
    if let Some(error) = date_errors.as_deref().and_then(<[Error]>::first) {
        let more = ", and no other certificate in the file is valid; they are still trusted";
        found.push(problem(trusted, ProblemSeverity::Warning, error, more));
    }
    found
}

/// Combines problems with dates (`found`), with single files (`faults`) and, if no single file is at fault, with all
/// files together (`build`).
pub(super) fn combine_problems(
    mut found: Vec<TlsFileProblem>,
    mut faults: Vec<TlsError>,
    build: impl FnOnce() -> Result<(), TlsError>,
) -> Vec<TlsFileProblem> {
    if faults.is_empty() {
        faults.extend(build().err());
    }
    for (key, message) in faults.iter().map(TlsError::key_and_message) {
        // both checks report a certificate of an unsupported version
        found.retain(|known| known.key != key || known.message != message || known.gravity != ProblemSeverity::Error);
        found.push(TlsFileProblem { key, message, gravity: ProblemSeverity::Error, prevents_start: true });
    }
    found
}

/// Checks that a certificate can be parsed and is valid at a time in Unix seconds.
fn check_validity(certificate: &CertificateDer<'_>, at: u64) -> Result<(), Error> {
    let (parsed, at) = (EndEntityCert::try_from(certificate)?, UnixTime::since_unix_epoch(Duration::from_secs(at)));
    // webpki checks dates first. Without trusted roots a valid certificate fails too, but with another error.
    match parsed.verify_for_usage(&[], &[], &[], at, KeyUsage::server_auth(), None, None) {
        Err(error) if is_date_error(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_date_error(error: &Error) -> bool {
    matches!(error, Error::CertExpired { .. } | Error::CertNotValidYet { .. } | Error::InvalidCertValidity)
}
