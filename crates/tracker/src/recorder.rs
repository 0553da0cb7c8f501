//! [`Recorder`]: receives events about finished runs and sessions. `meters` implements it with metrics.

use runs::{Alert, RunView, SessionView};

/// Receives events about finished runs and sessions, and events that are counted immediately.
pub(super) trait Recorder {
    /// A run is over.
    fn run(&self, run: &RunView);
    /// A session is over.
    fn session(&self, session: &SessionView);
    /// Unfinished runs were evicted.
    fn evicted(&self, runs: u64);
    /// A configured numeric attribute; labels: measure, service, tenant, commit.
    fn measure(&self, account: &str, labels: [&str; 4], value: f64);
    /// The first run of an incident is over.
    fn investigation(&self, account: &str, kind: &str);
    /// News were dropped before a connector emitted them.
    fn untold(&self, news: u64);
    /// An alert fires.
    fn alert(&self, alert: &Alert);
    /// A human overrode an agent's result.
    fn overridden(&self, account: &str, kind: &str);
    /// The 95th percentile of tool calls per investigation, over all accounts; `account` caps the label.
    fn tool_calls_p95(&self, account: &str, kind: &str, calls: f64);
}
