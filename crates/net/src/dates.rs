//! **What**: whether certificates hold today, and in two weeks. **Why**: one that is over is read without a word and
//! refused by every peer. **Invariants**: looks at dates alone, not at who signed what; what is trusted is asked for no
//! dates when peers are checked, so dates of it are a warning, and only where none of a file holds. **Not here**:
//! reading files (`pem`).

use std::time::Duration;

use rustls::pki_types::UnixTime;
use webpki::Error;

use super::pem::Files;
use super::tls_error::TlsError;
use super::validity::{DAY, is_of_dates, judged, text};
use config::Gravity;

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

/// A certificate that ends within this time is told while there is time to make another.
const SOON: Duration = Duration::from_secs(14 * DAY);

/// What is wrong with the dates of what is shown (`shown`) and of what is trusted (`trusted`).
pub(super) fn wrong(files: &Files, shown: &'static str, trusted: &'static str, now: u64) -> Vec<Trouble> {
    // what can't be read is told by who builds of it
    let all = |key| files.certificates(key).ok().flatten().unwrap_or_default();
    let line = |key, what: &str| format!("{}: {what}", files.path(key).display());
    let at = |wait| UnixTime::since_unix_epoch(Duration::from_secs(now).saturating_add(wait));
    let mut found = Vec::new();
    let certificates = all(shown);
    let first = |wait| certificates.iter().find_map(|one| judged(one, at(wait)).err());
    if let Some(error) = first(Duration::ZERO) {
        found.push(Trouble::error((shown, line(shown, &text(&error, now)))));
    } else if let Some(error) = first(SOON) {
        found.push(Trouble { key: shown, what: line(shown, &text(&error, now)), gravity: Gravity::Warning });
    }
    // one that can't be read is of a version without extensions, which is trusted all the same
    let over = |one| judged(one, at(Duration::ZERO)).err().filter(is_of_dates);
    let over: Option<Vec<Error>> = all(trusted).iter().map(over).collect();
    if let Some(error) = over.as_deref().and_then(<[Error]>::first) {
        let what = text(error, now);
        let what = line(trusted, &format!("{what}, and no other of it holds; it is trusted all the same"));
        found.push(Trouble { key: trusted, what, gravity: Gravity::Warning });
    }
    found
}

/// What is wrong with dates (`found`), with each file by itself (`faults`), and, where none of them is at fault, with
/// all of them together.
pub(super) fn with(
    mut found: Vec<Trouble>,
    faults: Vec<TlsError>,
    build: impl FnOnce() -> Result<(), TlsError>,
) -> Vec<Trouble> {
    let faults = if faults.is_empty() { build().err().into_iter().collect() } else { faults };
    for fault in faults.iter().map(TlsError::by_key).map(Trouble::error) {
        // a certificate of another version is told by both
        if !found.contains(&fault) {
            found.push(fault);
        }
    }
    found
}
