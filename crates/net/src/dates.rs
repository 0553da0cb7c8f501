//! Checks whether certificates are valid today and in two weeks. An expired certificate loads without an error, but
//! every peer refuses it.
//! Only dates are checked, not signatures. TLS does not check dates of trusted (CA) certificates, so they cause a
//! warning, and only if all certificates in a file are out of date. `pem` reads the files.

use std::time::Duration;

use rustls::pki_types::UnixTime;
use webpki::Error;

use super::pem::Files;
use super::tls_error::TlsError;
use super::validity::{DAY, is_of_dates, judged, text};
use config::Gravity;

/// A problem with a TLS file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The configuration key that names the file; empty if the problem belongs to no single file.
    pub key: &'static str,
    /// The file and its problem.
    pub what: String,
    /// `Error`: the file can't be used, or peers refuse it.
    pub gravity: Gravity,
}

impl Trouble {
    pub(super) fn error((key, what): (&'static str, String)) -> Self {
        Self { key, what, gravity: Gravity::Error }
    }
}

/// How long before its end a certificate causes a warning.
const SOON: Duration = Duration::from_secs(14 * DAY);

/// Problems with the dates of the own certificates (key `shown`) and of the trusted ones (key `trusted`).
pub(super) fn wrong(files: &Files, shown: &'static str, trusted: &'static str, now: u64) -> Vec<Trouble> {
    // files that can't be read are reported when the TLS configuration is built from them
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
    // a certificate that can't be parsed has an older version without extensions, and is trusted anyway
    let over = |one| judged(one, at(Duration::ZERO)).err().filter(is_of_dates);
    let over: Option<Vec<Error>> = all(trusted).iter().map(over).collect();
    if let Some(error) = over.as_deref().and_then(<[Error]>::first) {
        let what = text(error, now);
        let what = line(trusted, &format!("{what}, and no other of it holds; it is trusted all the same"));
        found.push(Trouble { key: trusted, what, gravity: Gravity::Warning });
    }
    found
}

/// Combines problems with dates (`found`), with single files (`faults`) and, if no single file is at fault, with all
/// files together (`build`).
pub(super) fn with(
    mut found: Vec<Trouble>,
    faults: Vec<TlsError>,
    build: impl FnOnce() -> Result<(), TlsError>,
) -> Vec<Trouble> {
    let faults = if faults.is_empty() { build().err().into_iter().collect() } else { faults };
    for fault in faults.iter().map(TlsError::by_key).map(Trouble::error) {
        // both checks report a certificate of an unsupported version
        if !found.contains(&fault) {
            found.push(fault);
        }
    }
    found
}
