//! [`RunEventRecorder`]: receives what the tracker counts. `metrics` implements it with tollgate's own metrics.

use runs::{Alert, RunView, SessionView};

/// Receives events about finished runs and sessions, and events that are counted immediately. By default it ignores
/// them.
pub(super) trait RunEventRecorder {
    fn record_run(&self, _run: &RunView) {}
    fn record_session(&self, _session: &SessionView) {}
    /// Unfinished runs were evicted.
    fn count_evicted(&self, _runs: u64) {}
    /// A value of a configured measure; labels: measure, service, tenant, commit.
    fn record_measure(&self, _account: &str, _labels: [&str; 4], _value: f64) {}
    /// The first run of an incident is over.
    fn count_investigation(&self, _account: &str, _agent_type: &str) {}
    /// News were dropped before a connector emitted them.
    fn count_dropped_events(&self, _count: u64) {}
    fn count_alert(&self, _alert: &Alert) {}
    /// A human overrode an agent's result.
    fn count_override(&self, _account: &str, _agent_type: &str) {}
    /// The 95th percentile of tool calls per investigation, over all accounts; the new label value counts against the
    /// cap of `account`.
    fn set_tool_calls_p95(&self, _account: &str, _agent_type: &str, _calls: f64) {}
}
