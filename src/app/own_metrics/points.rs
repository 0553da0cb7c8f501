//! Converts the text of `/metrics` to one OTLP request, so that both always agree. Counters and histograms are totals
//! since the start. Names are those of `/metrics` without `_total`, which Prometheus appends again. The parent module
//! sends the request.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use kernel::clock::UnixNanos;
use otlp::{Signal, json as otlp_json};
use telemetry::names::{ALL, MetricDefinition, MetricKind};
use telemetry::samples::{MetricSample, parse_samples};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`
const CUMULATIVE: u8 = 2;

/// The resource that the metrics belong to.
#[derive(Clone)]
pub(super) struct MetricsResource {
    instance: String,
}

impl MetricsResource {
    /// The resource of one run of the process.
    pub(super) fn new(instance: &str) -> Self {
        Self { instance: instance.to_owned() }
    }
}

type LabelSet = BTreeMap<String, String>;
type HistogramsByLabels = BTreeMap<LabelSet, HistogramSeries>;

/// A series of a histogram, as parsed.
#[derive(Default)]
struct HistogramSeries {
    /// Upper bound and cumulative count of each bucket, in the order of the text.
    buckets: Vec<(f64, u64)>,
    sum: f64,
    count: u64,
}

/// The encoded request and the number of its points; `None` if there are no points.
pub(super) fn build_request(
    metrics_page: &str,
    resource: &MetricsResource,
    began: UnixNanos,
    now: UnixNanos,
) -> Option<(Vec<u8>, u64)> {
    let mut samples_by_name: BTreeMap<&str, Vec<MetricSample>> = BTreeMap::new();
    let mut histograms: BTreeMap<&str, HistogramsByLabels> = BTreeMap::new();
    for sample in parse_samples(metrics_page) {
        if let Some(def) = ALL.iter().find(|def| def.name == sample.name) {
            samples_by_name.entry(def.name).or_default().push(sample);
        } else if let Some((def, part)) = find_histogram(&sample.name) {
            add_sample(histograms.entry(def.name).or_default(), sample, part);
        }
    }
    let times = PointTimes { began: began.0.to_string(), now: now.0.to_string() };
    let mut items = 0;
    let mut metrics = Vec::new();
    for def in ALL {
        let points: Vec<Value> = match (def.kind, samples_by_name.remove(def.name), histograms.remove(def.name)) {
            (MetricKind::Histogram(_), _, Some(series)) => {
                series.into_iter().map(|(labels, histogram)| encode_histogram(&labels, &histogram, &times)).collect()
            }
            (_, Some(samples), _) => samples.iter().map(|sample| encode_number(def, sample, &times)).collect(),
            _ => continue,
        };
        items += points.len() as u64;
        metrics.push(encode_metric(def, points));
    }
    let attribute = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let version = env!("CARGO_PKG_VERSION");
    let attributes = [
        attribute("service.name", "tollgate"),
        attribute("service.version", version),
        attribute("service.instance.id", &resource.instance),
    ];
    let request = json!({"resourceMetrics": [{
        "resource": {"attributes": attributes},
        "scopeMetrics": [{"scope": {"name": "tollgate", "version": version}, "metrics": metrics}],
    }]});
    let body = otlp_json::decode(Signal::Metrics, request.to_string().as_bytes()).ok()?;
    (items > 0).then_some((body, items))
}

/// The histogram that a sample belongs to, and which part of it the sample is.
fn find_histogram(name: &str) -> Option<(&'static MetricDefinition, &'static str)> {
    ["_bucket", "_sum", "_count"].into_iter().find_map(|part| {
        let base = name.strip_suffix(part)?;
        let def = ALL.iter().find(|def| def.name == base && matches!(def.kind, MetricKind::Histogram(_)))?;
        Some((*def, part))
    })
}

fn add_sample(series: &mut HistogramsByLabels, mut sample: MetricSample, part: &str) {
    let bound = sample.labels.remove("le");
    let value = sample.number();
    let histogram = series.entry(sample.labels).or_default();
    match (part, bound) {
        ("_bucket", Some(bound)) => {
            histogram.buckets.push((bound.replace("+Inf", "inf").parse().unwrap_or(f64::INFINITY), value as u64))
        }
        ("_sum", _) => histogram.sum = value,
        ("_count", _) => histogram.count = value as u64,
        _ => {}
    }
}

fn encode_metric(def: &MetricDefinition, points: Vec<Value>) -> Value {
    let name = def.name.strip_suffix("_total").filter(|_| def.kind != MetricKind::Gauge).unwrap_or(def.name);
    let data = match def.kind {
        MetricKind::Gauge => json!({"dataPoints": points}),
        MetricKind::Counter | MetricKind::Sum => {
            json!({"aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": points})
        }
        MetricKind::Histogram(_) => json!({"aggregationTemporality": CUMULATIVE, "dataPoints": points}),
    };
    let kind = match def.kind {
        MetricKind::Gauge => "gauge",
        MetricKind::Counter | MetricKind::Sum => "sum",
        MetricKind::Histogram(_) => "histogram",
    };
    json!({"name": name, "description": def.help.trim(), "unit": unit_of_name(name), kind: data})
}

/// The unit that a name ends with, in UCUM.
fn unit_of_name(name: &str) -> &'static str {
    let ends = |ending: &str| name.ends_with(ending);
    if ends("_seconds") || ends("_uptime") {
        "s"
    } else if ends("_bytes") || ends("_memory_rss") {
        "By"
    } else if ends("_usd") {
        "USD"
    } else {
        "1"
    }
}

fn encode_attributes(labels: &LabelSet) -> Vec<Value> {
    labels.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect()
}

/// Start of the totals and present time, in unix ns.
struct PointTimes {
    began: String,
    now: String,
}

fn encode_number(def: &MetricDefinition, sample: &MetricSample, times: &PointTimes) -> Value {
    let (key, value) = match def.kind {
        MetricKind::Counter => ("asInt", Value::from(sample.value.clone())),
        _ => ("asDouble", sample.number().into()),
    };
    json!({
        "startTimeUnixNano": times.began, "timeUnixNano": times.now,
        "attributes": encode_attributes(&sample.labels), key: value,
    })
}

fn encode_histogram(labels: &LabelSet, histogram: &HistogramSeries, times: &PointTimes) -> Value {
    let bounds: Vec<f64> =
        histogram.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect();
    let cumulative = histogram.buckets.iter().map(|(_, count)| *count);
    let previous = std::iter::once(0).chain(cumulative.clone());
    let counts: Vec<String> =
        cumulative.zip(previous).map(|(count, previous)| count.saturating_sub(previous).to_string()).collect();
    json!({
        "startTimeUnixNano": times.began, "timeUnixNano": times.now, "attributes": encode_attributes(labels),
        "count": histogram.count.to_string(), "sum": histogram.sum, "bucketCounts": counts, "explicitBounds": bounds,
    })
}
