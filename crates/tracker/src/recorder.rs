//! [`RunEventRecorder`]: receives what the tracker counts. `metrics` implements it with tollgate's own metrics.

use runs::{Alert, RunView, SessionView};

/// Receives events about finished runs and sessions, and events that are counted immediately.
pub(super) trait RunEventRecorder {
    fn record_run(&self, run: &RunView);
    fn record_session(&self, session: &SessionView);
    /// Unfinished runs were evicted.
    fn count_evicted(&self, runs: u64);
    /// A value of a configured measure; labels: measure, service, tenant, commit.
    fn record_measure(&self, account: &str, labels: [&str; 4], value: f64);
    /// The first run of an incident is over.
    fn count_investigation(&self, account: &str, agent_type: &str);
    /// News were dropped before a connector emitted them.
    fn count_dropped_events(&self, count: u64);
    fn count_alert(&self, alert: &Alert);
    /// A human overrode an agent's result.
    fn count_override(&self, account: &str, agent_type: &str);
    /// The 95th percentile of tool calls per investigation, over all accounts; the new label value counts against the
    /// cap of `account`.
    fn set_tool_calls_p95(&self, account: &str, agent_type: &str, calls: f64);
}
