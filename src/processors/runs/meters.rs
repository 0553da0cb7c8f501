//! **What**: [`Meters`]: runs and sessions that are over, and what is counted at once, as metrics under the users' names.
//! **Invariants**: labels are tenants, features, models, tools and the like, each capped; never an id of a run, session
//! or user. **Not here**: when something is over (`state`), the same over OTLP (`points`).

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::runs::{Alert, RunView, SessionView, input};
use crate::telemetry::{Counter, Gauge, Meter, names};

use super::state::Recorder;
use super::store::Heard;

/// Values that one label takes.
const VALUES: usize = 200;
const OTHER: &str = "other";
const UNATTRIBUTED: &str = "unattributed";
const NANOS: f64 = 1e9;
const ATTO: f64 = 1e18;

/// Longest label, bytes.
const LONGEST: usize = 128;

/// Text of telemetry may be a label only if it looks like a name: a mail address or a sentence does not.
fn is_name(text: &str) -> bool {
    text.len() <= LONGEST && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-:/".contains(&byte))
}

/// The values of a label that were seen.
#[derive(Default)]
pub(super) struct Values(Mutex<HashSet<String>>);

impl Values {
    pub(super) fn value<'a>(&self, text: Option<&'a str>) -> &'a str {
        let Some(text) = text.filter(|text| !text.is_empty()) else { return UNATTRIBUTED };
        if !is_name(text) {
            return OTHER;
        }
        let mut seen = self.0.lock();
        if seen.contains(text) {
            return text;
        }
        if seen.len() >= VALUES {
            return OTHER;
        }
        seen.insert(text.to_owned());
        text
    }
}

/// Every label whose values come from telemetry.
#[derive(Default)]
pub(super) struct Labels {
    pub(super) tenants: Values,
    pub(super) features: Values,
    pub(super) models: Values,
    pub(super) tools: Values,
    pub(super) providers: Values,
    pub(super) templates: Values,
    pub(super) sources: Values,
    pub(super) finishes: Values,
    pub(super) services: Values,
    pub(super) commits: Values,
    pub(super) errors: Values,
}

/// See the module.
pub(super) struct Meters {
    meter: Meter,
    pub(super) labels: Labels,
    pub(super) live: Gauge,
    evicted: Counter,
    refused: Counter,
    untold: Counter,
}

impl Meters {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            meter: meter.clone(),
            labels: Labels::default(),
            live: meter.gauge(&names::RUNS_LIVE, &[]),
            evicted: meter.counter(&names::RUNS_EVICTED, &[]),
            refused: meter.counter(&names::MEASURES_REFUSED, &[]),
            untold: meter.counter(&names::RUNS_UNTOLD, &[]),
        }
    }

    /// Values that are no measure.
    pub(super) fn refused(&self, count: u64) {
        self.refused.increment(count);
    }

    /// A tool was called, or failed. `name`: as it may be shown.
    pub(super) fn tool(&self, name: &str, heard: &Heard) {
        let labels = [("tool_name", self.labels.tools.value(Some(name)))];
        self.meter.counter(&names::TOOL_CALLS, &labels).increment(u64::from(heard.ran));
        self.meter.counter(&names::TOOL_FAILURES, &labels).increment(u64::from(heard.failed));
    }

    /// What went wrong in a run, by kind.
    fn troubles(&self, run: &RunView, tenant: &str) {
        let (meter, labels) = (&self.meter, &self.labels);
        for (fallback, count) in &run.totals.fallbacks {
            let provider = labels.providers.value(Some(&fallback.provider));
            let labels = [("reason", &*fallback.reason), ("provider", provider), ("tenant", tenant)];
            meter.counter(&names::FALLBACKS, &labels).increment(*count);
        }
        let template = labels.templates.value(run.template.as_deref());
        for (trouble, count) in &run.totals.troubles {
            let provider = labels.providers.value(Some(&trouble.provider));
            let reason = ("reason", &*trouble.reason);
            let labels = [reason, ("provider", provider), ("tenant", tenant), ("template", template)];
            meter.counter(&names::MODEL_TROUBLES, &labels).increment(*count);
        }
        for (denial, count) in &run.totals.denials {
            let (tool, source) = (labels.tools.value(Some(&denial.tool)), labels.sources.value(Some(&denial.source)));
            meter.counter(&names::PERMISSION_DENIALS, &[("tool", tool), ("source", source)]).increment(*count);
        }
        for (reason, count) in &run.totals.finish {
            let reason = labels.finishes.value(Some(reason));
            meter.counter(&names::FINISHES, &[("reason", reason)]).increment(*count);
        }
        for (error, count) in &run.totals.errors {
            let error = labels.errors.value(Some(error));
            meter.counter(&names::RUN_ERRORS, &[("error_type", error)]).increment(*count);
        }
    }
}

impl Recorder for Meters {
    fn run(&self, run: &RunView) {
        let (meter, values, totals) = (&self.meter, &self.labels, &run.totals);
        let (tenant, feature) =
            (values.tenants.value(run.tenant.as_deref()), values.features.value(run.feature.as_deref()));
        let labels = [("tenant", tenant), ("feature", feature)];
        let state = [("state", run.state.as_str()), ("tenant", tenant), ("feature", feature)];
        meter.counter(&names::RUNS, &state).increment(1);
        meter.histogram(&names::RUN_ITERATIONS, &labels).record(totals.iterations as f64);
        meter.histogram(&names::RUN_DURATION, &labels).record(run.duration as f64 / NANOS);
        meter.histogram(&names::RUN_COST, &labels).record(usd(totals.atto_usd()));
        meter.gauge(&names::ESTIMATED_COST, &[("agent_type", feature)]).increment(usd(totals.atto_usd()));
        meter.histogram(&names::RUN_TOOL_RETRIES, &[("feature", feature)]).record(totals.tool_retries() as f64);
        for (name, model) in &totals.models {
            let labels = [("model", values.models.value(Some(name)))];
            meter.histogram(&names::TURN_INPUT_TOKENS, &labels).record(input(&model.tokens) as f64);
            meter.histogram(&names::TURN_OUTPUT_TOKENS, &labels).record(model.tokens.output as f64);
        }
        self.troubles(run, tenant);
    }

    fn session(&self, session: &SessionView) {
        let (meter, values, totals) = (&self.meter, &self.labels, &session.totals);
        let feature = values.features.value(session.feature.as_deref());
        let tenant = values.tenants.value(session.tenant.as_deref());
        let model = values.models.value(totals.main_model());
        let by_feature = [("feature", feature)];
        let duration = meter.histogram(&names::SESSION_DURATION, &[("feature", feature), ("model", model)]);
        duration.record(session.duration as f64 / NANOS);
        meter.histogram(&names::SESSION_LLM_CALLS, &by_feature).record(totals.calls() as f64);
        for (name, tool) in &totals.tools {
            let labels = [("feature", feature), ("tool_name", values.tools.value(Some(name)))];
            let calls = tool.ok + tool.failed + tool.denied;
            meter.histogram(&names::SESSION_TOOL_CALLS, &labels).record(calls as f64);
        }
        let cost = meter.histogram(&names::SESSION_COST, &[("feature", feature), ("tenant", tenant)]);
        cost.record(usd(totals.atto_usd()));
        meter.counter(&names::SESSIONS, &by_feature).increment(1);
        meter.counter(&names::SESSION_ERRORS, &by_feature).increment(u64::from(session.failed));
    }

    fn evicted(&self, runs: u64) {
        self.evicted.increment(runs);
    }

    fn measure(&self, [measure, service, tenant, commit]: [&str; 4], value: f64) {
        let values = &self.labels;
        let labels = [
            ("measure", measure),
            ("service", values.services.value(Some(service))),
            ("tenant", values.tenants.value(Some(tenant))),
            ("commit", values.commits.value(Some(commit))),
        ];
        self.meter.histogram(&names::MEASURE, &labels).record(value);
    }

    fn untold(&self, news: u64) {
        self.untold.increment(news);
    }

    fn alert(&self, alert: &Alert) {
        let tenant = self.labels.tenants.value(alert.tenant.as_deref());
        self.meter.counter(&names::ALERTS, &[("rule", alert.rule), ("tenant", tenant)]).increment(1);
    }

    fn investigation(&self, kind: &str) {
        let labels = [("agent_type", self.labels.features.value(Some(kind)))];
        self.meter.counter(&names::INVESTIGATIONS, &labels).increment(1);
        self.meter.counter(&names::OVERRIDES, &labels).increment(0);
    }

    fn overridden(&self, kind: &str) {
        self.meter.counter(&names::OVERRIDES, &[("agent_type", self.labels.features.value(Some(kind)))]).increment(1);
    }

    fn tool_calls_p95(&self, kind: &str, calls: f64) {
        let labels = [("agent_type", self.labels.features.value(Some(kind)))];
        self.meter.gauge(&names::TOOL_CALLS_P95, &labels).set(calls);
    }
}

/// For a histogram; sums that have to be exact are taken from the views.
pub(super) fn usd(atto: i128) -> f64 {
    atto as f64 / ATTO
}
