//! Whether a certificate is valid at a given time, and the reason in words if it is not. `dates` knows the files.

use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, Error, KeyUsage};

pub(super) const DAY: u64 = 24 * 60 * 60;

/// Why a certificate can't be used at all, whatever its dates; `None` if it can be parsed.
pub(super) fn unread(certificate: &CertificateDer<'_>) -> Option<String> {
    EndEntityCert::try_from(certificate).err().map(|error| text(&error, 0))
}

/// Checks that a certificate can be parsed and is valid at `time`.
pub(super) fn judged(certificate: &CertificateDer<'_>, time: UnixTime) -> Result<(), Error> {
    let parsed = EndEntityCert::try_from(certificate)?;
    // webpki checks dates first; other failures, such as the missing trust anchor, do not matter here.
    match parsed.verify_for_usage(&[], &[], &[], time, KeyUsage::server_auth(), None, None) {
        Err(error) if is_of_dates(&error) => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn is_of_dates(error: &Error) -> bool {
    matches!(error, Error::CertExpired { .. } | Error::CertNotValidYet { .. } | Error::InvalidCertValidity)
}

/// Describes the error for people, as of `now`.
pub(super) fn text(error: &Error, now: u64) -> String {
    match error {
        Error::CertExpired { not_after, .. } if not_after.as_secs() < now => {
            format!("its certificate expired on {}, {} ago", day(*not_after), days(now - not_after.as_secs()))
        }
        Error::CertExpired { not_after, .. } => {
            let left = not_after.as_secs().saturating_sub(now);
            format!("its certificate expires on {}, in {}", day(*not_after), days(left))
        }
        Error::CertNotValidYet { not_before, .. } => {
            format!("its certificate does not hold before {}", day(*not_before))
        }
        Error::InvalidCertValidity => "its certificate never holds: it ends before it begins".to_owned(),
        Error::UnsupportedCertVersion => {
            "its certificate is of X.509 version 1, which TLS does not take: make it anew, as version 3 with \
             `subjectAltName`"
                .to_owned()
        }
        _ => "it holds a certificate that can't be read".to_owned(),
    }
}

fn days(seconds: u64) -> String {
    match seconds / DAY {
        0 => "less than a day".to_owned(),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).map(|at| at.date().to_string()).unwrap_or_default()
}
