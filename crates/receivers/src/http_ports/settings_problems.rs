//! [`SettingsProblems`]: collects the problems of a receiver's stanza, so that all are reported at once.

use std::time::Duration;

use config::{FieldProblem, PortTls, TimeSpan};
use net::{Endpoint, server_tls};

/// Largest request that may be configured: lengths in the wire format and in permits have 32 bits.
const MAX_REQUEST_BYTES: u64 = 2 << 30;
/// Default of `max_connection_age_grace`.
const DEFAULT_AGE_GRACE: Duration = Duration::from_secs(30);

/// The problems found so far.
#[derive(Default)]
pub(crate) struct SettingsProblems(Vec<FieldProblem>);

impl SettingsProblems {
    pub(crate) fn add(&mut self, path: &str, what: &str) {
        self.0.push(FieldProblem::new(path, what));
    }

    pub(crate) fn into_result<T>(self, settings: T) -> Result<T, Vec<FieldProblem>> {
        if self.0.is_empty() { Ok(settings) } else { Err(self.0) }
    }

    /// Every problem, if the settings could not be made.
    pub(crate) fn into_problems<T>(self) -> Result<T, Vec<FieldProblem>> {
        Err(self.0)
    }

    /// An address to listen on; a fault in it is a problem at `path`.
    pub(crate) fn keep_endpoint(&mut self, path: &str, endpoint: Result<Endpoint, String>) -> Option<Endpoint> {
        endpoint.map_err(|what| self.add(path, &what)).ok()
    }

    /// The maximum age of a connection and the time that requests in progress still get.
    pub(crate) fn check_age(
        &mut self,
        path: &str,
        age: Option<TimeSpan>,
        grace: Option<TimeSpan>,
    ) -> Option<(Duration, Duration)> {
        let age = age.map(|age| self.check_span(&format!("{path}.max_connection_age"), age));
        if age.is_none() && grace.is_some() {
            self.add(&format!("{path}.max_connection_age_grace"), "requires `max_connection_age`");
        }
        age.map(|age| (age, grace.map_or(DEFAULT_AGE_GRACE, |grace| grace.0)))
    }

    /// A size of requests, in bytes.
    pub(crate) fn check_size(&mut self, path: &str, bytes: u64) -> usize {
        if bytes == 0 || bytes > MAX_REQUEST_BYTES {
            self.add(path, "must be from 1 byte to 2 GiB");
        }
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }

    /// A duration above zero.
    pub(crate) fn check_span(&mut self, path: &str, span: TimeSpan) -> Duration {
        if span.0.is_zero() {
            self.add(path, "must be more than zero");
        }
        span.0
    }

    /// Certificate and key of a port.
    pub(crate) fn check_tls(&mut self, path: &str, tls: &PortTls) -> server_tls::ServerTlsSettings {
        tls.check(path, &mut self.0);
        server_tls::ServerTlsSettings::from(tls)
    }

    /// A number of connections or requests.
    pub(crate) fn check_count(&mut self, path: &str, count: u32) -> u32 {
        if count == 0 || count > 1 << 20 {
            self.add(path, "must be from 1 to 1048576");
        }
        count
    }
}
