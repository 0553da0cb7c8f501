//! **What**: whether certificates hold today. **Why**: one that is over is read without a word and refused by every peer.
//! **Invariants**: looks at dates alone, not at who signed what; what is trusted is asked for no dates when peers are checked, so dates
//! of it are a warning, and only where none of a file holds. **Not here**: reading files (`pem`).

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use time::OffsetDateTime;
use webpki::{EndEntityCert, Error, KeyUsage};

use super::pem::Files;
use crate::config::Gravity;

/// Something about a file: the key that names it, and a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The key; empty: none of them.
    pub key: &'static str,
    /// The file and what is about it.
    pub what: String,
    /// An error: it can't be used, or is refused by peers.
    pub gravity: Gravity,
}

impl Trouble {
    pub(super) fn error((key, what): (&'static str, String)) -> Self {
        Self { key, what, gravity: Gravity::Error }
    }
}

/// What is wrong with the dates of what is shown (`shown`) and of what is trusted (`trusted`).
pub(super) fn wrong(files: &Files, shown: &'static str, trusted: &'static str, now: u64) -> Vec<Trouble> {
    // what can't be read is told by who builds of it
    let all = |key| files.certificates(key).ok().flatten().unwrap_or_default();
    let line = |key, what: &str| format!("{}: {what}", files.path(key).display());
    let mut found = Vec::new();
    let unread = || "it holds a certificate that can't be read".to_owned();
    let first = all(shown).iter().find_map(|one| of(one, now).unwrap_or_else(|| Some(unread())));
    found.extend(first.map(|what| Trouble::error((shown, line(shown, &what)))));
    // one that can't be read is of a version without extensions, which is trusted all the same
    let over: Option<Vec<String>> = all(trusted).iter().map(|one| of(one, now).flatten()).collect();
    if let Some(what) = over.as_deref().and_then(<[String]>::first) {
        let what = line(trusted, &format!("{what}, and no other of it holds; it is trusted all the same"));
        found.push(Trouble { key: trusted, what, gravity: Gravity::Warning });
    }
    found
}

/// What is wrong with its dates, if anything; `None`: it can't be read.
fn of(certificate: &CertificateDer<'_>, now: u64) -> Option<Option<String>> {
    let parsed = EndEntityCert::try_from(certificate).ok()?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now));
    // Dates are looked at before anything else; that nobody signed it is no matter here.
    Some(match parsed.verify_for_usage(&[], &[], &[], time, KeyUsage::server_auth(), None, None) {
        Err(Error::CertExpired { not_after, .. }) => Some(format!("its certificate expired on {}", day(not_after))),
        Err(Error::CertNotValidYet { not_before, .. }) => {
            Some(format!("its certificate does not hold before {}", day(not_before)))
        }
        _ => None,
    })
}

fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).map(|at| at.date().to_string()).unwrap_or_default()
}
