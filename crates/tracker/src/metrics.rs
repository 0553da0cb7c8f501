//! [`RunMetrics`]: metrics of finished runs and sessions, and of events counted immediately, under the documented
//! names. Labels are tenants, features, models, tools and similar, each with a capped number of values; run, session
//! and user ids are never labels. `state` decides when something is over; `points` sends the same metrics over OTLP.

use std::sync::Arc;

use runs::{Alert, RunView, SessionView, total_input_tokens};
use telemetry::labels::LabelValues;
use telemetry::{Counter, Gauge, Meter, names};

use super::recorder::RunEventRecorder;
use super::store::NewToolCall;

const NANOS_PER_SECOND: f64 = 1e9;
const ATTO_PER_USD: f64 = 1e18;

/// All labels whose values come from telemetry.
pub(super) struct MetricLabels {
    pub(super) tenants: Arc<LabelValues>,
    pub(super) features: Arc<LabelValues>,
    pub(super) models: Arc<LabelValues>,
    pub(super) tools: Arc<LabelValues>,
    pub(super) providers: Arc<LabelValues>,
    pub(super) templates: Arc<LabelValues>,
    pub(super) sources: Arc<LabelValues>,
    pub(super) finishes: Arc<LabelValues>,
    pub(super) services: Arc<LabelValues>,
    pub(super) commits: Arc<LabelValues>,
    pub(super) errors: Arc<LabelValues>,
}

impl MetricLabels {
    fn from_meter(meter: &Meter) -> Self {
        let label = |name| meter.label(name);
        Self {
            tenants: label("tenant"),
            features: label("feature"),
            models: label("model"),
            tools: label("tool_name"),
            providers: label("provider"),
            templates: label("template"),
            sources: label("source"),
            finishes: label("reason"),
            services: label("service"),
            commits: label("commit"),
            errors: label("error_type"),
        }
    }
}

/// See the module documentation.
pub(super) struct RunMetrics {
    meter: Meter,
    pub(super) labels: MetricLabels,
    pub(super) live: Gauge,
    evicted: Counter,
    rejected_measures: Counter,
    dropped_events: Counter,
}

impl RunMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            meter: meter.clone(),
            labels: MetricLabels::from_meter(meter),
            live: meter.gauge(&names::RUNS_LIVE, &[]),
            evicted: meter.counter(&names::RUNS_EVICTED, &[]),
            rejected_measures: meter.counter(&names::MEASURES_REFUSED, &[]),
            dropped_events: meter.counter(&names::RUN_EVENTS_DROPPED, &[]),
        }
    }

    /// Counts measure values that were rejected as invalid.
    pub(super) fn count_rejected_measures(&self, count: u64) {
        self.rejected_measures.increment(count);
    }

    /// Counts a call or a failure of a tool; `name` is the tool's name as it may be shown.
    pub(super) fn count_tool_call(&self, account: &str, name: &str, call: &NewToolCall) {
        let labels = [("tool_name", self.labels.tools.value(account, Some(name)))];
        self.meter.counter(&names::TOOL_CALLS, &labels).increment(u64::from(call.ran));
        self.meter.counter(&names::TOOL_FAILURES, &labels).increment(u64::from(call.failed));
    }

    /// Counts a run's fallbacks, troubles, denials, finish reasons and errors.
    fn record_troubles(&self, run: &RunView, tenant: &str) {
        let (meter, labels, account) = (&self.meter, &self.labels, &*run.account);
        let template = labels.templates.value(account, run.template.as_deref());
        for (fallback, count) in &run.totals.fallbacks {
            let provider = labels.providers.value(account, Some(&fallback.provider));
            let reason = ("reason", &*fallback.reason);
            let labels = [reason, ("provider", provider), ("tenant", tenant), ("template", template)];
            meter.counter(&names::FALLBACKS, &labels).increment(*count);
        }
        for (trouble, count) in &run.totals.troubles {
            let provider = labels.providers.value(account, Some(&trouble.provider));
            let reason = ("reason", &*trouble.reason);
            let labels = [reason, ("provider", provider), ("tenant", tenant), ("template", template)];
            meter.counter(&names::MODEL_TROUBLES, &labels).increment(*count);
        }
        for (denial, count) in &run.totals.denials {
            let (tool, source) =
                (labels.tools.value(account, Some(&denial.tool)), labels.sources.value(account, Some(&denial.source)));
            meter.counter(&names::PERMISSION_DENIALS, &[("tool", tool), ("source", source)]).increment(*count);
        }
        for (reason, count) in &run.totals.finish_reasons {
            let reason = labels.finishes.value(account, Some(reason));
            meter.counter(&names::FINISHES, &[("reason", reason)]).increment(*count);
        }
        for (error, count) in &run.totals.errors {
            let error = labels.errors.value(account, Some(error));
            meter.counter(&names::RUN_ERRORS, &[("error_type", error)]).increment(*count);
        }
    }
}

impl RunEventRecorder for RunMetrics {
    fn record_run(&self, run: &RunView) {
        let (meter, values, totals, account) = (&self.meter, &self.labels, &run.totals, &*run.account);
        let tenant = values.tenants.value(account, run.tenant.as_deref());
        let feature = values.features.value(account, run.feature.as_deref());
        let labels = [("tenant", tenant), ("feature", feature)];
        let state = [("state", run.state.as_str()), ("tenant", tenant), ("feature", feature)];
        meter.counter(&names::RUNS, &state).increment(1);
        meter.histogram(&names::RUN_ITERATIONS, &labels).record(totals.iterations as f64);
        meter.histogram(&names::RUN_DURATION, &labels).record(run.duration as f64 / NANOS_PER_SECOND);
        for (tenant, share) in totals.by_tenant(run.tenant.as_deref()) {
            let labels = [("tenant", values.tenants.value(account, tenant)), ("feature", feature)];
            meter.histogram(&names::RUN_COST, &labels).record(usd(share.atto_usd));
        }
        meter.gauge(&names::ESTIMATED_COST, &[("agent_type", feature)]).increment(usd(totals.atto_usd()));
        meter.histogram(&names::RUN_TOOL_RETRIES, &[("feature", feature)]).record(totals.tool_retries() as f64);
        for (name, model) in &totals.models {
            let labels = [("model", values.models.value(account, Some(name)))];
            meter.histogram(&names::TURN_INPUT_TOKENS, &labels).record(total_input_tokens(&model.tokens) as f64);
            meter.histogram(&names::TURN_OUTPUT_TOKENS, &labels).record(model.tokens.output as f64);
        }
        self.record_troubles(run, tenant);
    }

    fn record_session(&self, session: &SessionView) {
        let (meter, values, totals) = (&self.meter, &self.labels, &session.totals);
        let account = &*session.account;
        let feature = values.features.value(account, session.feature.as_deref());
        let model = values.models.value(account, totals.main_model());
        let by_feature = [("feature", feature)];
        let duration = meter.histogram(&names::SESSION_DURATION, &[("feature", feature), ("model", model)]);
        duration.record(session.duration as f64 / NANOS_PER_SECOND);
        meter.histogram(&names::SESSION_LLM_CALLS, &by_feature).record(totals.calls() as f64);
        for (name, tool) in &totals.tools {
            let labels = [("feature", feature), ("tool_name", values.tools.value(account, Some(name)))];
            let calls = tool.ok + tool.failed + tool.denied;
            meter.histogram(&names::SESSION_TOOL_CALLS, &labels).record(calls as f64);
        }
        for (tenant, share) in totals.by_tenant(session.tenant.as_deref()) {
            let labels = [("feature", feature), ("tenant", values.tenants.value(account, tenant))];
            meter.histogram(&names::SESSION_COST, &labels).record(usd(share.atto_usd));
        }
        meter.counter(&names::SESSIONS, &by_feature).increment(1);
        meter.counter(&names::SESSION_ERRORS, &by_feature).increment(u64::from(session.failed));
    }

    fn count_evicted(&self, runs: u64) {
        self.evicted.increment(runs);
    }

    fn record_measure(&self, account: &str, [measure, service, tenant, commit]: [&str; 4], value: f64) {
        let values = &self.labels;
        let labels = [
            ("measure", measure),
            ("service", values.services.value(account, Some(service))),
            ("tenant", values.tenants.value(account, Some(tenant))),
            ("commit", values.commits.value(account, Some(commit))),
        ];
        self.meter.histogram(&names::MEASURE, &labels).record(value);
    }

    fn count_dropped_events(&self, count: u64) {
        self.dropped_events.increment(count);
    }

    fn count_alert(&self, alert: &Alert) {
        let tenant = self.labels.tenants.value(&alert.account, alert.tenant.as_deref());
        self.meter.counter(&names::ALERTS, &[("rule", alert.rule.as_str()), ("tenant", tenant)]).increment(1);
    }

    fn count_investigation(&self, account: &str, agent_type: &str) {
        let labels = [("agent_type", self.labels.features.value(account, Some(agent_type)))];
        self.meter.counter(&names::INVESTIGATIONS, &labels).increment(1);
        self.meter.counter(&names::OVERRIDES, &labels).increment(0);
    }

    fn count_override(&self, account: &str, agent_type: &str) {
        self.meter
            .counter(&names::OVERRIDES, &[("agent_type", self.labels.features.value(account, Some(agent_type)))])
            .increment(1);
    }

    fn set_tool_calls_p95(&self, account: &str, agent_type: &str, calls: f64) {
        let labels = [("agent_type", self.labels.features.value(account, Some(agent_type)))];
        self.meter.gauge(&names::TOOL_CALLS_P95, &labels).set(calls);
    }
}

/// USD as a rounded number; exact sums come from the views.
pub(super) fn usd(atto: i128) -> f64 {
    atto as f64 / ATTO_PER_USD
}
