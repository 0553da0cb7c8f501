//! **What**: whether certificates hold today. **Why**: one that is over is read without a word and refused by every peer.
//! **Invariants**: looks at dates alone, not at who signed what. **Not here**: reading files (`pem`).

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, Error, KeyUsage};

use super::pem::Files;

/// What is wrong with the dates of the certificates under `keys`: key, and a line.
pub(super) fn wrong(files: &Files, keys: &[&'static str], now: u64) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    for key in keys {
        // what can't be read is told by who builds of it
        let certificates = files.certificates(key).ok().flatten().unwrap_or_default();
        let first = certificates.iter().find_map(|certificate| of(certificate, now));
        found.extend(first.map(|what| (*key, format!("{}: {what}", files.path(key).display()))));
    }
    found
}

fn of(certificate: &CertificateDer<'_>, now: u64) -> Option<String> {
    let parsed = match EndEntityCert::try_from(certificate) {
        Ok(parsed) => parsed,
        Err(_) => return Some("it holds a certificate that can't be read".to_owned()),
    };
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
    // Dates are looked at before anything else; that nobody signed it is no matter here.
    match parsed.verify_for_usage(&[], &[], &[], time, KeyUsage::server_auth(), None, None) {
        Err(Error::CertExpired { not_after, .. }) => Some(format!("its certificate expired on {}", day(not_after))),
        Err(Error::CertNotValidYet { not_before, .. }) => {
            Some(format!("its certificate does not hold before {}", day(not_before)))
        }
        _ => None,
    }
}

fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).map(|at| at.date().to_string()).unwrap_or_default()
}
