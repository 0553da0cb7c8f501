//! Whether a certificate is valid at a given time, and the reason in words if it is not. `certificate_dates` knows the
//! files.

use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, Error, KeyUsage};

pub(super) const DAY: u64 = 24 * 60 * 60;

/// Why a certificate can't be used at all, whatever its dates; `None` if it can be parsed.
pub(super) fn describe_unparsable(certificate: &CertificateDer<'_>) -> Option<String> {
    EndEntityCert::try_from(certificate).err().map(|error| describe_error(&error, 0))
}

/// Checks that a certificate can be parsed and is valid at `time`.
pub(super) fn check_validity(certificate: &CertificateDer<'_>, time: UnixTime) -> Result<(), Error> {
    let parsed = EndEntityCert::try_from(certificate)?;
    // webpki checks dates first. Without trusted roots a valid certificate fails too, but with another error.
    match parsed.verify_for_usage(&[], &[], &[], time, KeyUsage::server_auth(), None, None) {
        Err(error) if is_date_error(&error) => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn is_date_error(error: &Error) -> bool {
    matches!(error, Error::CertExpired { .. } | Error::CertNotValidYet { .. } | Error::InvalidCertValidity)
}

/// Describes the error for people, as of `now`.
pub(super) fn describe_error(error: &Error, now: u64) -> String {
    match error {
        Error::CertExpired { not_after, .. } if not_after.as_secs() < now => {
            format!(
                "its certificate expired on {}, {} ago",
                format_day(*not_after),
                format_days(now - not_after.as_secs())
            )
        }
        Error::CertExpired { not_after, .. } => {
            let left = not_after.as_secs().saturating_sub(now);
            format!("its certificate expires on {}, in {}", format_day(*not_after), format_days(left))
        }
        Error::CertNotValidYet { not_before, .. } => {
            format!("its certificate is not valid before {}", format_day(*not_before))
        }
        Error::InvalidCertValidity => "its certificate is never valid: it ends before it begins".to_owned(),
        Error::UnsupportedCertVersion => {
            "its certificate is X.509 version 1, which TLS does not accept: create one of version 3 with \
             `subjectAltName`"
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
