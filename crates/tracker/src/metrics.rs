//! [`RunMetrics`]: metrics of finished runs and sessions, and of events counted immediately, under the documented
//! names. Labels are tenants, features, models, tools and similar, each with a capped number of values; run and session
//! ids are never labels, and of users only the pseudonym. `state` decides when something is over; `points` sends the
//! same figures over OTLP.

use budgets::{BudgetLine, Scope};
use runs::{RunView, SessionView, total_input_tokens};
use telemetry::names::{self, MetricDefinition, MetricKind};
use telemetry::{Counter, Gauge, Meter};

use super::outbox::{EvaluationEvent, OutboxEvent};
use super::store::NewToolCall;

const NANOS_PER_SECOND: f64 = 1e9;
const ATTO_PER_USD: f64 = 1e18;
/// Keys of budgets with gauges.
const MAX_BUDGET_SERIES: usize = 200;

/// Receives figures: metric, labels, value. Counters and totals grow by the value.
pub(super) type FigureSink<'s> = dyn FnMut(&'static MetricDefinition, &[(&'static str, &str)], f64) + 's;

pub(super) struct RunMetrics {
    meter: Meter,
    pub(super) live: Gauge,
    /// Unfinished runs that were evicted.
    pub(super) evicted: Counter,
    /// Measure values that were rejected as invalid.
    pub(super) rejected_measures: Counter,
    /// News that were dropped before a connector emitted them.
    pub(super) dropped_events: Counter,
    pub(super) dropped_ended_runs: Counter,
    pub(super) summed_items: Counter,
    pub(super) unasked_cost: Gauge,
}

impl RunMetrics {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            meter: meter.clone(),
            live: meter.gauge(&names::RUNS_LIVE, &[]),
            evicted: meter.counter(&names::RUNS_EVICTED, &[]),
            rejected_measures: meter.counter(&names::MEASURES_REFUSED, &[]),
            dropped_events: meter.counter(&names::RUN_EVENTS_DROPPED, &[]),
            dropped_ended_runs: meter.counter(&names::ENDED_RUNS_DROPPED, &[]),
            summed_items: meter.counter(&names::RUN_ITEMS_SUMMED, &[]),
            unasked_cost: meter.gauge(&names::BUDGET_UNASKED_USD, &[]),
        }
    }

    /// The value of a label whose values come from telemetry.
    fn value<'v>(&self, label: &'static str, account: &str, text: Option<&'v str>) -> &'v str {
        self.meter.label(label).value(account, text)
    }

    /// Counts a call or a failure of a tool; `name` is the tool's name as it may be shown.
    pub(super) fn count_tool_call(&self, account: &str, name: &str, call: &NewToolCall) {
        let labels = [("tool_name", self.value("tool_name", account, Some(name)))];
        self.meter.counter(&names::TOOL_CALLS, &labels).increment(u64::from(call.ran));
        self.meter.counter(&names::TOOL_FAILURES, &labels).increment(u64::from(call.failed));
    }

    pub(super) fn count_decisions(&self, budget: &str, action: &str, decisions: u64) {
        self.meter.counter(&names::BUDGET_DECISIONS, &[("budget", budget), ("action", action)]).increment(decisions);
    }

    /// Sets what the keys of budgets have used; keys beyond the label's cap have no series.
    pub(super) fn set_budgets(&self, lines: &[BudgetLine]) {
        [&names::BUDGET_SPENT, &names::BUDGET_LIMIT].into_iter().for_each(|metric| self.meter.clear(metric));
        let lasting = lines.iter().filter(|line| !matches!(line.scope, Scope::Run | Scope::Session));
        for line in lasting.take(MAX_BUDGET_SERIES) {
            let key = self.value("budget_key", &line.account, Some(&line.key));
            for (measure, spent, limit) in line.uses.iter().filter(|_| key == line.key) {
                let [account, budget] = [("account", &*line.account), ("budget", &*line.budget)];
                let labels = [account, budget, ("key", key), ("measure", measure.as_str())];
                self.meter.gauge(&names::BUDGET_SPENT, &labels).set(measure.to_f64(*spent));
                self.meter.gauge(&names::BUDGET_LIMIT, &labels).set(measure.to_f64(*limit));
            }
        }
    }

    pub(super) fn record_measure(&self, account: &str, [measure, service, tenant, commit]: [&str; 4], value: f64) {
        let labels = [
            ("measure", measure),
            ("service", self.value("service", account, Some(service))),
            ("tenant", self.value("tenant", account, Some(tenant))),
            ("commit", self.value("commit", account, Some(commit))),
        ];
        self.meter.histogram(&names::MEASURE, &labels).record(value);
    }

    /// Records an event about runs. The percentile of tool calls is one of all accounts here: see
    /// [`Self::set_tool_calls_p95`].
    pub(super) fn record_event(&self, event: &OutboxEvent) {
        if matches!(event, OutboxEvent::ToolCallsP95(..)) {
            return;
        }
        self.event_figures(event, &mut |metric, labels, value| match metric.kind {
            MetricKind::Counter => self.meter.counter(metric, labels).increment(value as u64),
            MetricKind::Gauge | MetricKind::Sum => self.meter.gauge(metric, labels).increment(value),
            MetricKind::Histogram(_) => self.meter.histogram(metric, labels).record(value),
        });
    }

    /// Sets the 95th percentile of tool calls per investigation, over all accounts; the new label value counts against
    /// the cap of `account`.
    pub(super) fn set_tool_calls_p95(&self, account: &str, agent_type: &str, calls: f64) {
        self.meter.gauge(&names::TOOL_CALLS_P95, &[self.agent_type(account, agent_type)]).set(calls);
    }

    /// The label by which investigations are counted.
    fn agent_type<'a>(&self, account: &str, agent_type: &'a str) -> (&'static str, &'a str) {
        ("agent_type", self.value("feature", account, Some(agent_type)))
    }

    /// The figures of an event; a revision of a run has none.
    pub(super) fn event_figures(&self, event: &OutboxEvent, record: &mut FigureSink<'_>) {
        match event {
            OutboxEvent::Run(run, 0) => self.run_figures(run, record),
            OutboxEvent::Run(..) => {}
            OutboxEvent::Session(session) => self.session_figures(session, record),
            OutboxEvent::Alert(alert) => {
                let tenant = self.value("tenant", &alert.account, alert.tenant.as_deref());
                record(&names::ALERTS, &[("rule", alert.rule.as_str()), ("tenant", tenant)], 1.0);
            }
            OutboxEvent::Investigation(account, agent_type, _) => {
                let labels = [self.agent_type(account, agent_type)];
                record(&names::INVESTIGATIONS, &labels, 1.0);
                record(&names::OVERRIDES, &labels, 0.0);
            }
            OutboxEvent::Overridden(account, agent_type, _) => {
                record(&names::OVERRIDES, &[self.agent_type(account, agent_type)], 1.0);
            }
            OutboxEvent::ToolCallsP95(account, agent_type, calls) => {
                record(&names::TOOL_CALLS_P95, &[self.agent_type(account, agent_type)], *calls);
            }
            OutboxEvent::Evaluation(account, event) => self.evaluation_figures(account, event, record),
        }
    }

    fn evaluation_figures(&self, account: &str, event: &EvaluationEvent, record: &mut FigureSink<'_>) {
        let EvaluationEvent { score, whose: [tenant, feature], .. } = event;
        // labels of metrics have no blanks
        let [name, label] = [&score.name, &score.label].map(|text| text.replace(' ', "_"));
        let name = ("name", self.value("evaluation", account, Some(&name)));
        let tenant = ("tenant", self.value("tenant", account, Some(tenant)));
        let feature = ("feature", self.value("feature", account, Some(feature)));
        let label = match &*label {
            "" => "none",
            label => self.value("evaluation_label", account, Some(label)),
        };
        record(&names::EVALUATIONS, &[name, ("label", label), tenant, feature], 1.0);
        score.value.into_iter().for_each(|value| record(&names::EVALUATION_SCORE, &[name, tenant, feature], value));
    }

    fn run_figures(&self, run: &RunView, record: &mut FigureSink<'_>) {
        let (totals, account) = (&run.totals, &*run.account);
        let tenant = self.value("tenant", account, run.tenant.as_deref());
        let feature = self.value("feature", account, run.feature.as_deref());
        let labels = [("tenant", tenant), ("feature", feature)];
        record(&names::RUNS, &[("state", run.state.as_str()), ("tenant", tenant), ("feature", feature)], 1.0);
        record(&names::RUN_ITERATIONS, &labels, totals.iterations as f64);
        record(&names::RUN_DURATION, &labels, run.duration as f64 / NANOS_PER_SECOND);
        for (tenant, share) in totals.by_tenant(run.tenant.as_deref()) {
            let labels = [("tenant", self.value("tenant", account, tenant)), ("feature", feature)];
            record(&names::RUN_COST, &labels, usd(share.atto_usd));
        }
        record(&names::ESTIMATED_COST, &[("agent_type", feature)], usd(totals.atto_usd()));
        record(&names::RUN_TOOL_RETRIES, &[("feature", feature)], totals.tool_retries() as f64);
        for (name, model) in &totals.models {
            let labels = [("model", self.value("model", account, Some(name)))];
            record(&names::TURN_INPUT_TOKENS, &labels, total_input_tokens(&model.tokens) as f64);
            record(&names::TURN_OUTPUT_TOKENS, &labels, model.tokens.output as f64);
        }
        let template = self.value("template", account, run.template.as_deref());
        let trouble_labels = |reason, provider| {
            let provider = self.value("provider", account, Some(provider));
            [("reason", reason), ("provider", provider), ("tenant", tenant), ("template", template)]
        };
        for ([reason, provider, ..], count) in &totals.fallbacks {
            record(&names::FALLBACKS, &trouble_labels(reason, provider), *count as f64);
        }
        for ([reason, provider], count) in &totals.troubles {
            record(&names::MODEL_TROUBLES, &trouble_labels(reason, provider), *count as f64);
        }
        for ([tool, source], count) in &totals.denials {
            let tool = self.value("tool_name", account, Some(tool));
            let source = self.value("source", account, Some(source));
            record(&names::PERMISSION_DENIALS, &[("tool", tool), ("source", source)], *count as f64);
        }
        for (reason, count) in &totals.finish_reasons {
            let reason = self.value("reason", account, Some(reason));
            record(&names::FINISHES, &[("reason", reason)], *count as f64);
        }
        for (error, count) in &totals.errors {
            let error = self.value("error_type", account, Some(error));
            record(&names::RUN_ERRORS, &[("error_type", error)], *count as f64);
        }
    }

    fn session_figures(&self, session: &SessionView, record: &mut FigureSink<'_>) {
        let (totals, account) = (&session.totals, &*session.account);
        let feature = ("feature", self.value("feature", account, session.feature.as_deref()));
        let model = ("model", self.value("model", account, totals.main_model()));
        record(&names::SESSION_DURATION, &[feature, model], session.duration as f64 / NANOS_PER_SECOND);
        record(&names::SESSION_LLM_CALLS, &[feature], totals.calls() as f64);
        for (name, tool) in &totals.tools {
            let name = ("tool_name", self.value("tool_name", account, Some(name)));
            record(&names::SESSION_TOOL_CALLS, &[feature, name], (tool.ok + tool.failed + tool.denied) as f64);
        }
        for (tenant, share) in totals.by_tenant(session.tenant.as_deref()) {
            let tenant = ("tenant", self.value("tenant", account, tenant));
            record(&names::SESSION_COST, &[feature, tenant], usd(share.atto_usd));
        }
        if let Some(user) = &session.user {
            let user = ("user_key", self.value("user_key", account, Some(user)));
            record(&names::USER_SESSION_COST, &[feature, user], usd(totals.atto_usd()));
        }
        record(&names::SESSIONS, &[feature], 1.0);
        record(&names::SESSION_ERRORS, &[feature], f64::from(u8::from(session.failed)));
    }
}

/// USD as a rounded number; exact sums come from the views.
pub(super) fn usd(atto: i128) -> f64 {
    atto as f64 / ATTO_PER_USD
}
