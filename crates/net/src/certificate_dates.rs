//! Whether certificates are valid today and in two weeks. An expired certificate loads without an error, but every peer
//! refuses it. Only dates are checked, not signatures. TLS does not check dates of trusted (CA) certificates, so they
//! cause a warning, and only if all certificates in a file are out of date. `pem` reads the files.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, Error, KeyUsage};

use super::pem::PemFiles;
use super::tls_error::TlsError;
use config::ProblemSeverity;

const DAY: u64 = 24 * 60 * 60;
/// How long before its end a certificate causes a warning, in seconds.
const EXPIRY_WARNING: u64 = 14 * DAY;

/// A problem with a TLS file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFileProblem {
    /// The configuration key that names the file; empty if the problem belongs to no single file.
    pub key: &'static str,
    /// The file and its problem.
    pub message: String,
    /// `Error`: the file can't be used, or peers refuse it.
    pub gravity: ProblemSeverity,
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
    };
    let own_certificates = certificates(own);
    let first_error = |at| own_certificates.iter().find_map(|certificate| check_validity(certificate, at).err());
    let error = first_error(now).map(|error| problem(own, ProblemSeverity::Error, &error, ""));
    let warning = || Some(problem(own, ProblemSeverity::Warning, &first_error(now.saturating_add(EXPIRY_WARNING))?, ""));
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
        let fault = TlsFileProblem { key, message, gravity: ProblemSeverity::Error };
        // both checks report a certificate of an unsupported version
        if !found.contains(&fault) {
            found.push(fault);
        }
    }
    found
}

/// Why a certificate can't be used at all, whatever its dates; `None` if it can be parsed.
pub(super) fn describe_unparsable(certificate: &CertificateDer<'_>) -> Option<String> {
    EndEntityCert::try_from(certificate).err().map(|error| describe_error(&error, 0))
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

fn describe_error(error: &Error, now: u64) -> String {
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
        Error::UnsupportedCertVersion => "its certificate is X.509 version 1, which TLS does not accept: create one of \
             version 3 with `subjectAltName`"
            .to_owned(),
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
