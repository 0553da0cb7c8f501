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
use telemetry::names::{self, MetricDefinition, MetricKind};

use super::metrics::MetricLabels;
use super::outbox::OutboxEvent;
use super::summary::{resource, scope, text_attribute};

/// Name and unit.
type MetricName = (&'static str, &'static str);

/// The names under which figures are sent; others are not sent.
static METRIC_NAMES: [(&MetricDefinition, MetricName); 19] = [
    (&names::RUNS, ("agent.runs", "{run}")),
    (&names::RUN_ITERATIONS, ("agent.run.iterations", "{iteration}")),
    (&names::RUN_DURATION, ("agent.run.duration_seconds", "s")),
    (&names::RUN_COST, ("agent.run.cost_usd", "USD")),
    (&names::ESTIMATED_COST, ("agent.estimated_cost_usd", "USD")),
    (&names::TURN_INPUT_TOKENS, ("agent.turn.input_tokens", "{token}")),
    (&names::TURN_OUTPUT_TOKENS, ("agent.turn.output_tokens", "{token}")),
    (&names::FALLBACKS, ("agent.fallbacks", "{fallback}")),
    (&names::PERMISSION_DENIALS, ("agent.permission_denials", "{denial}")),
    (&names::SESSION_DURATION, ("agent.session.duration_seconds", "s")),
    (&names::SESSION_LLM_CALLS, ("agent.session.llm_calls_total", "{call}")),
    (&names::SESSION_TOOL_CALLS, ("agent.session.tool_calls_total", "{call}")),
    (&names::SESSION_COST, ("agent.session.cost_usd", "USD")),
    (&names::SESSIONS, SESSIONS),
    (&names::SESSION_ERRORS, SESSION_ERRORS),
    (&names::ALERTS, ("agent.alerts", "{alert}")),
    (&names::INVESTIGATIONS, ("agent.investigations", "{investigation}")),
    (&names::OVERRIDES, ("agent.human_override_count", "{investigation}")),
    (&names::TOOL_CALLS_P95, ("agent.tool_calls_per_investigation_p95", "{call}")),
];
const SESSIONS: MetricName = ("agent.sessions", "{session}");
const SESSION_ERRORS: MetricName = ("agent.session.errors", "{session}");
const SESSION_ERROR_RATE: MetricName = ("agent.session.error_rate", "1");

type PointAttributes = Vec<(&'static str, String)>;

/// The values of one metric with the same attributes.
enum MetricValue {
    Histogram(HistogramAccumulator),
    Sum(f64),
    Gauge(f64),
}

struct HistogramAccumulator {
    bounds: &'static [f64],
    buckets: Vec<u64>,
    sum: f64,
    min: f64,
    max: f64,
}

impl HistogramAccumulator {
    fn new(bounds: &'static [f64]) -> Self {
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

    fn into_point(self, attributes: PointAttributes, start: u64, now: u64) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: to_key_values(attributes),
            start_time_unix_nano: start,
            time_unix_nano: now,
            count: self.buckets.iter().sum(),
            sum: Some(self.sum),
            bucket_counts: self.buckets,
            explicit_bounds: self.bounds.to_vec(),
            min: Some(self.min),
            max: Some(self.max),
            ..HistogramDataPoint::default()
        }
    }
}

/// The values of one request, by metric and attributes.
#[derive(Default)]
struct MetricAccumulator(BTreeMap<(MetricName, PointAttributes), MetricValue>);

/// Encodes a request with the totals of `events` for the interval from `since` (0 = unknown) to `now`.
pub(super) fn encode_metrics_request(events: &[&OutboxEvent], labels: &MetricLabels, since: u64, now: u64) -> Vec<u8> {
    let mut points = MetricAccumulator::default();
    let record = &mut |metric: &'static MetricDefinition, labels: &[(&'static str, &str)], value: f64| {
        points.add(metric, labels, value);
    };
    for event in events {
        match event {
            OutboxEvent::Run(view, _) => labels.run_figures(view, record),
            OutboxEvent::Session(view) => labels.session_figures(view, record),
            OutboxEvent::Alert(alert) => labels.alert_figures(alert, record),
            OutboxEvent::Investigation(account, agent_type, _) => {
                labels.investigation_figures(account, agent_type, record);
            }
            OutboxEvent::Overridden(account, agent_type, _) => {
                record(&names::OVERRIDES, &[labels.agent_type(account, agent_type)], 1.0);
            }
            OutboxEvent::ToolCallsP95(account, agent_type, calls) => {
                record(&names::TOOL_CALLS_P95, &[labels.agent_type(account, agent_type)], *calls);
            }
        }
    }
    points.add_error_rates();
    points.encode(if since == 0 { now.saturating_sub(1) } else { since.min(now) }, now)
}

impl MetricAccumulator {
    fn add(&mut self, metric: &'static MetricDefinition, labels: &[(&'static str, &str)], value: f64) {
        let Some((_, name)) = METRIC_NAMES.iter().find(|(known, _)| std::ptr::eq(*known, metric)) else { return };
        let key = |label: &'static str| if label == "agent_type" { "agent.type" } else { label };
        let attributes = labels.iter().map(|(label, value)| (key(label), (*value).to_owned())).collect();
        let known = self.0.entry((*name, attributes)).or_insert_with(|| match metric.kind {
            MetricKind::Histogram(bounds) => MetricValue::Histogram(HistogramAccumulator::new(bounds)),
            _ if std::ptr::eq(metric, &names::TOOL_CALLS_P95) => MetricValue::Gauge(value),
            _ => MetricValue::Sum(0.0),
        });
        match known {
            MetricValue::Histogram(histogram) => histogram.add(value),
            MetricValue::Sum(sum) => *sum += value,
            MetricValue::Gauge(latest) => *latest = value,
        }
    }

    /// Adds `agent.session.error_rate` of this request.
    fn add_error_rates(&mut self) {
        let sum = |name: MetricName, feature: &PointAttributes| match self.0.get(&(name, feature.clone())) {
            Some(MetricValue::Sum(sum)) => *sum,
            _ => 0.0,
        };
        let features = self.0.keys().filter(|(name, _)| *name == SESSIONS).map(|(_, feature)| feature);
        let rate = |feature: &PointAttributes| sum(SESSION_ERRORS, feature) / sum(SESSIONS, feature);
        let rates: Vec<_> = features
            .map(|feature| ((SESSION_ERROR_RATE, feature.clone()), MetricValue::Gauge(rate(feature))))
            .collect();
        self.0.extend(rates);
    }

    fn encode(self, start: u64, now: u64) -> Vec<u8> {
        let aggregation_temporality = AggregationTemporality::Delta as i32;
        let mut metrics: Vec<Metric> = Vec::new();
        for (((name, unit), attributes), value) in self.0 {
            if metrics.last().is_none_or(|last| last.name != name) {
                metrics.push(Metric { name: name.to_owned(), unit: unit.to_owned(), ..Metric::default() });
            }
            let Some(Metric { data, .. }) = metrics.last_mut() else { continue };
            let data = data.get_or_insert_with(|| match value {
                MetricValue::Histogram(_) => {
                    metric::Data::Histogram(Histogram { data_points: Vec::new(), aggregation_temporality })
                }
                MetricValue::Sum(_) => {
                    metric::Data::Sum(Sum { data_points: Vec::new(), aggregation_temporality, is_monotonic: true })
                }
                MetricValue::Gauge(_) => metric::Data::Gauge(Gauge { data_points: Vec::new() }),
            });
            match (data, value) {
                (metric::Data::Histogram(histogram), MetricValue::Histogram(accumulator)) => {
                    histogram.data_points.push(accumulator.into_point(attributes, start, now));
                }
                (metric::Data::Sum(sum), MetricValue::Sum(value)) => {
                    sum.data_points.push(number_point(attributes, value, start, now));
                }
                (metric::Data::Gauge(gauge), MetricValue::Gauge(value)) => {
                    gauge.data_points.push(number_point(attributes, value, 0, now));
                }
                _ => {}
            }
        }
        let scope_metrics = ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() };
        let resource_metrics = ResourceMetrics {
            resource: Some(resource()),
            scope_metrics: vec![scope_metrics],
            ..ResourceMetrics::default()
        };
        ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }.encode_to_vec()
    }
}

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
