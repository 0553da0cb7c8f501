//! [`RunEventRecorder`]: receives events about finished runs and sessions. `metrics` implements it with metrics.

use runs::{Alert, RunView, SessionView};

/// Receives events about finished runs and sessions, and events that are counted immediately.
pub(super) trait RunEventRecorder {
    /// A run is over.
    fn record_run(&self, run: &RunView);
    /// A session is over.
    fn record_session(&self, session: &SessionView);
    /// Unfinished runs were evicted.
    fn count_evicted(&self, runs: u64);
    /// A configured numeric attribute; labels: measure, service, tenant, commit.
    fn record_measure(&self, account: &str, labels: [&str; 4], value: f64);
    /// The first run of an incident is over.
    fn count_investigation(&self, account: &str, kind: &str);
    /// News were dropped before a connector emitted them.
    fn count_dropped_events(&self, news: u64);
    /// An alert fires.
    fn count_alert(&self, alert: &Alert);
    /// A human overrode an agent's result.
    fn count_override(&self, account: &str, kind: &str);
    /// The 95th percentile of tool calls per investigation, over all accounts; `account` caps the label.
    fn set_tool_calls_p95(&self, account: &str, kind: &str, calls: f64);
}
