//! **What**: whether one certificate holds at a time, and why not in words. **Not here**: which files they stand in
//! (`dates`).

use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, Error, KeyUsage};

pub(super) const DAY: u64 = 24 * 60 * 60;

/// Why nobody takes a certificate, whatever its dates; None where it can be read.
pub(super) fn unread(certificate: &CertificateDer<'_>) -> Option<String> {
    EndEntityCert::try_from(certificate).err().map(|error| text(&error, 0))
}

/// Whether it can be read, and holds at that time.
pub(super) fn judged(certificate: &CertificateDer<'_>, time: UnixTime) -> Result<(), Error> {
    let parsed = EndEntityCert::try_from(certificate)?;
    // Dates are looked at before anything else; that nobody signed it is no matter here.
    match parsed.verify_for_usage(&[], &[], &[], time, KeyUsage::server_auth(), None, None) {
        Err(error) if is_of_dates(&error) => Err(error),
        _ => Ok(()),
    }
}

pub(super) fn is_of_dates(error: &Error) -> bool {
    matches!(error, Error::CertExpired { .. } | Error::CertNotValidYet { .. } | Error::InvalidCertValidity)
}

/// For people, as of `now`.
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
