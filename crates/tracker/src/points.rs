//! Encodes news as OTLP metrics under the documented names (docs/runs.md), as deltas since the previous request. Deltas
//! stay exact across restarts, because each run is in exactly one of them.
//! Labels, their caps and the histogram buckets are those of `/metrics`. `outbox` decides when to send; `summary`
//! encodes logs.

use std::collections::BTreeMap;

use prost::Message;

use otlp::r#gen::opentelemetry::proto;
use proto::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::metrics::v1::number_data_point::Value as Number;
use proto::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric,
};
use runs::{RunView, SessionView, total_input_tokens};
use telemetry::names::{self, MetricDefinition, MetricKind};

use super::metrics::{MetricLabels, usd};
use super::outbox::OutboxEvent;
use super::summary::{resource, scope, text_attribute};

const NANOS_PER_SECOND: f64 = 1e9;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct MetricName {
    name: &'static str,
    unit: &'static str,
}

const fn metric_name(name: &'static str, unit: &'static str) -> MetricName {
    MetricName { name, unit }
}

type PointAttributes = Vec<(&'static str, String)>;

#[derive(Clone)]
struct HistogramAccumulator {
    bounds: &'static [f64],
    buckets: Vec<u64>,
    sum: f64,
    min: f64,
    max: f64,
}

impl HistogramAccumulator {
    fn new(definition: &MetricDefinition) -> Self {
        let bounds = if let MetricKind::Histogram(bounds) = definition.kind { bounds } else { &[] };
        Self { bounds, buckets: vec![0; bounds.len() + 1], sum: 0.0, min: f64::MAX, max: f64::MIN }
    }

    fn add(&mut self, value: f64) {
        let index = self.bounds.iter().take_while(|bound| value > **bound).count();
        if let Some(bucket) = self.buckets.get_mut(index) {
            *bucket += 1;
        }
        self.sum += value;
        (self.min, self.max) = (self.min.min(value), self.max.max(value));
    }
}

/// The values of one request, by metric and attributes.
struct MetricAccumulator<'l> {
    labels: &'l MetricLabels,
    histograms: BTreeMap<(MetricName, PointAttributes), HistogramAccumulator>,
    sums: BTreeMap<(MetricName, PointAttributes), f64>,
    gauges: BTreeMap<(MetricName, PointAttributes), f64>,
}

/// Encodes a request with the totals of `events` for the interval from `since` (0 = unknown) to `now`.
pub(super) fn encode_metrics_request(events: &[&OutboxEvent], labels: &MetricLabels, since: u64, now: u64) -> Vec<u8> {
    let mut points =
        MetricAccumulator { labels, histograms: BTreeMap::new(), sums: BTreeMap::new(), gauges: BTreeMap::new() };
    for event in events {
        match event {
            OutboxEvent::Run(view, _) => points.add_run(view),
            OutboxEvent::Session(view) => points.add_session(view),
            OutboxEvent::Alert(alert) => {
                let tenant = points.labels.tenants.value(&alert.account, alert.tenant.as_deref()).to_owned();
                points.add_count(
                    metric_name("agent.alerts", "{alert}"),
                    vec![("rule", alert.rule.as_str().to_owned()), ("tenant", tenant)],
                    1,
                );
            }
            OutboxEvent::Investigation(account, agent_type, _) => {
                let attributes = points.agent_type_attribute(account, agent_type);
                points.add_count(metric_name("agent.human_override_count", "{investigation}"), attributes.clone(), 0);
                points.add_count(metric_name("agent.investigations", "{investigation}"), attributes, 1);
            }
            OutboxEvent::Overridden(account, agent_type, _) => {
                let attributes = points.agent_type_attribute(account, agent_type);
                points.add_count(metric_name("agent.human_override_count", "{investigation}"), attributes, 1);
            }
            OutboxEvent::ToolCallsP95(account, agent_type, calls) => {
                let attributes = points.agent_type_attribute(account, agent_type);
                points
                    .gauges
                    .insert((metric_name("agent.tool_calls_per_investigation_p95", "{call}"), attributes), *calls);
            }
        }
    }
    points.add_error_rates();
    points.encode(if since == 0 { now.saturating_sub(1) } else { since.min(now) }, now)
}

impl MetricAccumulator<'_> {
    fn agent_type_attribute(&self, account: &str, agent_type: &str) -> PointAttributes {
        vec![("agent.type", self.labels.features.value(account, Some(agent_type)).to_owned())]
    }

    fn record_histogram(
        &mut self,
        name: MetricName,
        definition: &MetricDefinition,
        attributes: PointAttributes,
        value: f64,
    ) {
        self.histograms.entry((name, attributes)).or_insert_with(|| HistogramAccumulator::new(definition)).add(value);
    }

    fn add_count(&mut self, name: MetricName, attributes: PointAttributes, count: u64) {
        *self.sums.entry((name, attributes)).or_default() += count as f64;
    }

    fn add_run(&mut self, view: &RunView) {
        let (labels, totals, account) = (self.labels, &view.totals, &*view.account);
        let tenant = labels.tenants.value(account, view.tenant.as_deref()).to_owned();
        let feature = labels.features.value(account, view.feature.as_deref()).to_owned();
        let attributes = vec![("tenant", tenant.clone()), ("feature", feature.clone())];
        let seconds = view.duration as f64 / NANOS_PER_SECOND;
        self.record_histogram(
            metric_name("agent.run.iterations", "{iteration}"),
            &names::RUN_ITERATIONS,
            attributes.clone(),
            totals.iterations as f64,
        );
        self.record_histogram(
            metric_name("agent.run.duration_seconds", "s"),
            &names::RUN_DURATION,
            attributes.clone(),
            seconds,
        );
        for (tenant, share) in totals.by_tenant(view.tenant.as_deref()) {
            let tenant = ("tenant", labels.tenants.value(account, tenant).to_owned());
            let attributes = vec![tenant, ("feature", feature.clone())];
            self.record_histogram(
                metric_name("agent.run.cost_usd", "USD"),
                &names::RUN_COST,
                attributes,
                usd(share.atto_usd),
            );
        }
        let mut state_attributes = vec![("state", view.state.as_str().to_owned())];
        state_attributes.extend(attributes);
        self.add_count(metric_name("agent.runs", "{run}"), state_attributes, 1);
        let agent_type = vec![("agent.type", feature)];
        *self.sums.entry((metric_name("agent.estimated_cost_usd", "USD"), agent_type)).or_default() +=
            usd(totals.atto_usd());
        for (model, model_totals) in &totals.models {
            let model = vec![("model", labels.models.value(account, Some(model)).to_owned())];
            let input = total_input_tokens(&model_totals.tokens) as f64;
            self.record_histogram(
                metric_name("agent.turn.input_tokens", "{token}"),
                &names::TURN_INPUT_TOKENS,
                model.clone(),
                input,
            );
            let output = model_totals.tokens.output as f64;
            self.record_histogram(
                metric_name("agent.turn.output_tokens", "{token}"),
                &names::TURN_OUTPUT_TOKENS,
                model,
                output,
            );
        }
        let template = labels.templates.value(account, view.template.as_deref());
        for (fallback, count) in &totals.fallbacks {
            let provider = labels.providers.value(account, Some(&fallback.provider)).to_owned();
            let attributes = vec![
                ("reason", fallback.reason.clone()),
                ("provider", provider),
                ("tenant", tenant.clone()),
                ("template", template.to_owned()),
            ];
            self.add_count(metric_name("agent.fallbacks", "{fallback}"), attributes, *count);
        }
        for (denial, count) in &totals.denials {
            let tool = labels.tools.value(account, Some(&denial.tool)).to_owned();
            let source = labels.sources.value(account, Some(&denial.source)).to_owned();
            self.add_count(
                metric_name("agent.permission_denials", "{denial}"),
                vec![("tool", tool), ("source", source)],
                *count,
            );
        }
    }

    fn add_session(&mut self, view: &SessionView) {
        let (labels, totals, account) = (self.labels, &view.totals, &*view.account);
        let feature = ("feature", labels.features.value(account, view.feature.as_deref()).to_owned());
        let model = labels.models.value(account, totals.main_model()).to_owned();
        let by_feature = vec![feature.clone()];
        let seconds = view.duration as f64 / NANOS_PER_SECOND;
        let with_feature = |attribute: (&'static str, String)| vec![feature.clone(), attribute];
        self.record_histogram(
            metric_name("agent.session.duration_seconds", "s"),
            &names::SESSION_DURATION,
            with_feature(("model", model)),
            seconds,
        );
        let calls = totals.calls() as f64;
        self.record_histogram(
            metric_name("agent.session.llm_calls_total", "{call}"),
            &names::SESSION_LLM_CALLS,
            by_feature.clone(),
            calls,
        );
        for (tool, tool_totals) in &totals.tools {
            let tool = with_feature(("tool_name", labels.tools.value(account, Some(tool)).to_owned()));
            let calls = (tool_totals.ok + tool_totals.failed + tool_totals.denied) as f64;
            self.record_histogram(
                metric_name("agent.session.tool_calls_total", "{call}"),
                &names::SESSION_TOOL_CALLS,
                tool,
                calls,
            );
        }
        for (tenant, share) in totals.by_tenant(view.tenant.as_deref()) {
            let attributes = with_feature(("tenant", labels.tenants.value(account, tenant).to_owned()));
            self.record_histogram(
                metric_name("agent.session.cost_usd", "USD"),
                &names::SESSION_COST,
                attributes,
                usd(share.atto_usd),
            );
        }
        self.add_count(SESSIONS, by_feature.clone(), 1);
        self.add_count(SESSION_ERRORS, by_feature, u64::from(view.failed));
    }

    /// Adds `agent.session.error_rate` of this request.
    fn add_error_rates(&mut self) {
        let sessions = self.sums.iter().filter(|((name, _), count)| *name == SESSIONS && **count > 0.0);
        let rates: Vec<(PointAttributes, f64)> = sessions
            .map(|((_, feature), count)| {
                let errors = self.sums.get(&(SESSION_ERRORS, feature.clone())).copied().unwrap_or(0.0);
                (feature.clone(), errors / count)
            })
            .collect();
        for (feature, rate) in rates {
            self.gauges.insert((metric_name("agent.session.error_rate", "1"), feature), rate);
        }
    }

    fn encode(self, start: u64, now: u64) -> Vec<u8> {
        let delta = AggregationTemporality::Delta as i32;
        let mut metrics: BTreeMap<MetricName, metric::Data> = BTreeMap::new();
        for ((name, attributes), accumulator) in self.histograms {
            let data = metrics.entry(name).or_insert_with(|| {
                metric::Data::Histogram(Histogram { data_points: Vec::new(), aggregation_temporality: delta })
            });
            let point = HistogramDataPoint {
                attributes: to_key_values(attributes),
                start_time_unix_nano: start,
                time_unix_nano: now,
                count: accumulator.buckets.iter().sum(),
                sum: Some(accumulator.sum),
                bucket_counts: accumulator.buckets,
                explicit_bounds: accumulator.bounds.to_vec(),
                min: Some(accumulator.min),
                max: Some(accumulator.max),
                ..HistogramDataPoint::default()
            };
            if let metric::Data::Histogram(histogram) = data {
                histogram.data_points.push(point);
            }
        }
        for ((name, attributes), value) in self.sums {
            let data = metrics.entry(name).or_insert_with(|| {
                metric::Data::Sum(Sum { data_points: Vec::new(), aggregation_temporality: delta, is_monotonic: true })
            });
            if let metric::Data::Sum(sum) = data {
                sum.data_points.push(number_point(attributes, value, start, now));
            }
        }
        for ((name, attributes), value) in self.gauges {
            let data = metrics.entry(name).or_insert_with(|| metric::Data::Gauge(Gauge { data_points: Vec::new() }));
            if let metric::Data::Gauge(gauge) = data {
                gauge.data_points.push(number_point(attributes, value, 0, now));
            }
        }
        let metrics = metrics.into_iter().map(|(name, data)| Metric {
            name: name.name.to_owned(),
            unit: name.unit.to_owned(),
            data: Some(data),
            ..Metric::default()
        });
        let scope_metrics =
            ScopeMetrics { scope: Some(scope()), metrics: metrics.collect(), ..ScopeMetrics::default() };
        let resource_metrics = ResourceMetrics {
            resource: Some(resource()),
            scope_metrics: vec![scope_metrics],
            ..ResourceMetrics::default()
        };
        ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }.encode_to_vec()
    }
}

const SESSIONS: MetricName = metric_name("agent.sessions", "{session}");
const SESSION_ERRORS: MetricName = metric_name("agent.session.errors", "{session}");

fn to_key_values(attributes: PointAttributes) -> Vec<proto::common::v1::KeyValue> {
    attributes.into_iter().map(|(key, value)| text_attribute(key, &value)).collect()
}

fn number_point(attributes: PointAttributes, value: f64, start: u64, now: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: to_key_values(attributes),
        start_time_unix_nano: start,
        time_unix_nano: now,
        value: Some(Number::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}
