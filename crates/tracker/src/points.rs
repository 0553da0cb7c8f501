//! Encodes news as OTLP metrics under the documented names (docs/runs.md), as deltas since the previous request. Deltas
//! stay exact across restarts, because each run is in exactly one of them.
//! Labels, their caps and the histogram buckets are those of `/metrics`. `outbox` decides when to send; `summary`
//! encodes logs.

use std::collections::BTreeMap;

use prost::Message;

use otlp::r#gen::opentelemetry::proto;
use proto::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::metrics::v1::metric::Data;
use proto::metrics::v1::number_data_point::Value as Number;
use proto::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum,
};
use telemetry::names::{self, MetricDefinition, MetricKind};

use super::metrics::RunMetrics;
use super::outbox::OutboxEvent;
use super::summary::{resource, scope, text_attribute};

/// How a metric is sent: its name and unit.
type MetricName = (&'static str, &'static str);

/// The names under which figures are sent; others are not sent.
static METRIC_NAMES: [(&MetricDefinition, MetricName); 21] = [
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
    (&names::EVALUATIONS, ("agent.evaluations", "{evaluation}")),
    (&names::EVALUATION_SCORE, ("agent.evaluation.score", "1")),
    (&names::TOOL_CALLS_P95, ("agent.tool_calls_per_investigation_p95", "{call}")),
];
const SESSIONS: MetricName = ("agent.sessions", "{session}");
const SESSION_ERRORS: MetricName = ("agent.session.errors", "{session}");
const SESSION_ERROR_RATE: MetricName = ("agent.session.error_rate", "1");

type PointAttributes = Vec<(&'static str, String)>;

/// The values of one metric with the same attributes. A sum or a gauge has only `sum`.
struct PointValues {
    sum: f64,
    min: f64,
    max: f64,
    buckets: Vec<u64>,
}

struct MetricPoints {
    kind: MetricKind,
    points: BTreeMap<PointAttributes, PointValues>,
}

/// Encodes a request with the totals of `events` for the interval from `since` (0 = unknown) to `now`.
pub(super) fn encode_metrics_request(events: &[&OutboxEvent], metrics: &RunMetrics, since: u64, now: u64) -> Vec<u8> {
    let mut sent: BTreeMap<MetricName, MetricPoints> = BTreeMap::new();
    let record = &mut |metric: &'static MetricDefinition, labels: &[(&'static str, &str)], value: f64| {
        let Some((_, name)) = METRIC_NAMES.iter().find(|(known, _)| std::ptr::eq(*known, metric)) else { return };
        let key = |label: &'static str| if label == "agent_type" { "agent.type" } else { label };
        let attributes = labels.iter().map(|(label, value)| (key(label), (*value).to_owned())).collect();
        // deltas of a gauge that only grows are a sum
        let is_sum = metric.kind == MetricKind::Gauge && !std::ptr::eq(metric, &names::TOOL_CALLS_P95);
        let kind = if is_sum { MetricKind::Sum } else { metric.kind };
        sent.entry(*name).or_insert_with(|| MetricPoints::new(kind)).add(attributes, value);
    };
    events.iter().for_each(|event| metrics.event_figures(event, record));
    if let Some(rates) = error_rates(&sent) {
        sent.insert(SESSION_ERROR_RATE, rates);
    }
    let start = if since == 0 { now.saturating_sub(1) } else { since.min(now) };
    let to_metric = |((name, unit), points): (MetricName, MetricPoints)| {
        let data = Some(points.into_data(start, now));
        Metric { name: name.to_owned(), unit: unit.to_owned(), data, ..Metric::default() }
    };
    let metrics = sent.into_iter().map(to_metric).collect();
    let scope_metrics = ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() };
    let resource_metrics = ResourceMetrics {
        resource: Some(resource()),
        scope_metrics: vec![scope_metrics],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }.encode_to_vec()
}

/// The `agent.session.error_rate` of a request.
fn error_rates(sent: &BTreeMap<MetricName, MetricPoints>) -> Option<MetricPoints> {
    let (sessions, errors) = (sent.get(&SESSIONS)?, sent.get(&SESSION_ERRORS)?);
    let mut rates = MetricPoints::new(MetricKind::Gauge);
    for (feature, sessions) in &sessions.points {
        let errors = errors.points.get(feature).map_or(0.0, |errors| errors.sum);
        rates.add(feature.clone(), errors / sessions.sum);
    }
    Some(rates)
}

impl MetricPoints {
    fn new(kind: MetricKind) -> Self {
        Self { kind, points: BTreeMap::new() }
    }

    fn add(&mut self, attributes: PointAttributes, value: f64) {
        let bounds = if let MetricKind::Histogram(bounds) = self.kind { bounds } else { &[] };
        let new = || PointValues { sum: 0.0, min: f64::MAX, max: f64::MIN, buckets: vec![0; bounds.len() + 1] };
        let point = self.points.entry(attributes).or_insert_with(new);
        point.sum = if self.kind == MetricKind::Gauge { value } else { point.sum + value };
        (point.min, point.max) = (point.min.min(value), point.max.max(value));
        if let Some(bucket) = point.buckets.get_mut(bounds.partition_point(|bound| *bound < value)) {
            *bucket += 1;
        }
    }

    fn into_data(self, start: u64, now: u64) -> Data {
        let aggregation_temporality = AggregationTemporality::Delta as i32;
        let points = self.points.into_iter();
        let number = |start: u64| {
            move |(attributes, values): (PointAttributes, PointValues)| NumberDataPoint {
                attributes: to_key_values(attributes),
                start_time_unix_nano: start,
                time_unix_nano: now,
                value: Some(Number::AsDouble(values.sum)),
                ..NumberDataPoint::default()
            }
        };
        match self.kind {
            MetricKind::Gauge => Data::Gauge(Gauge { data_points: points.map(number(0)).collect() }),
            MetricKind::Counter | MetricKind::Sum => {
                let data_points = points.map(number(start)).collect();
                Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true })
            }
            MetricKind::Histogram(bounds) => {
                let point = |(attributes, values): (PointAttributes, PointValues)| HistogramDataPoint {
                    attributes: to_key_values(attributes),
                    start_time_unix_nano: start,
                    time_unix_nano: now,
                    count: values.buckets.iter().sum(),
                    sum: Some(values.sum),
                    bucket_counts: values.buckets,
                    explicit_bounds: bounds.to_vec(),
                    min: Some(values.min),
                    max: Some(values.max),
                    ..HistogramDataPoint::default()
                };
                Data::Histogram(Histogram { data_points: points.map(point).collect(), aggregation_temporality })
            }
        }
    }
}

fn to_key_values(attributes: PointAttributes) -> Vec<proto::common::v1::KeyValue> {
    attributes.into_iter().map(|(key, value)| text_attribute(key, &value)).collect()
}
