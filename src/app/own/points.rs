//! Converts the text of `/metrics` to one OTLP request, so that both always agree. Counters and histograms are totals
//! since the start. Names are those of `/metrics` without `_total`, which Prometheus appends again. The parent module
//! sends the request.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use kernel::clock::UnixNanos;
use otlp::{Signal, json as otlp_json};
use telemetry::names::{ALL, Def, Kind};
use telemetry::samples::{Sample, parse};

/// `AGGREGATION_TEMPORALITY_CUMULATIVE`
const CUMULATIVE: u8 = 2;

/// The resource that the metrics belong to.
#[derive(Clone)]
pub(super) struct Resource {
    instance: String,
}

impl Resource {
    /// The resource of one run of the process.
    pub(super) fn new(instance: &str) -> Self {
        Self { instance: instance.to_owned() }
    }
}

type Labels = BTreeMap<String, String>;
type Series = BTreeMap<Labels, Read>;

/// A series of a histogram, as parsed.
#[derive(Default)]
struct Read {
    /// Upper bound and cumulative count of each bucket, in the order of the text.
    buckets: Vec<(f64, u64)>,
    sum: f64,
    count: u64,
}

/// The encoded request and the number of its points; `None` if there are no points.
pub(super) fn request(text: &str, resource: &Resource, began: UnixNanos, now: UnixNanos) -> Option<(Vec<u8>, u64)> {
    let mut plain: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    let mut histograms: BTreeMap<&str, Series> = BTreeMap::new();
    for sample in parse(text) {
        if let Some(def) = ALL.iter().find(|def| def.name == sample.name) {
            plain.entry(def.name).or_default().push(sample);
        } else if let Some((def, part)) = part_of(&sample.name) {
            take(histograms.entry(def.name).or_default(), sample, part);
        }
    }
    let times = Times { began: began.0.to_string(), now: now.0.to_string() };
    let mut items = 0;
    let mut metrics = Vec::new();
    for def in ALL {
        let points: Vec<Value> = match (def.kind, plain.remove(def.name), histograms.remove(def.name)) {
            (Kind::Histogram(_), _, Some(series)) => {
                series.into_iter().map(|(labels, read)| distribution(&labels, &read, &times)).collect()
            }
            (_, Some(samples), _) => samples.iter().map(|sample| number(def, sample, &times)).collect(),
            _ => continue,
        };
        items += points.len() as u64;
        metrics.push(metric(def, points));
    }
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let version = env!("CARGO_PKG_VERSION");
    let attributes = [
        text("service.name", "tollgate"),
        text("service.version", version),
        text("service.instance.id", &resource.instance),
    ];
    let request = json!({"resourceMetrics": [{
        "resource": {"attributes": attributes},
        "scopeMetrics": [{"scope": {"name": "tollgate", "version": version}, "metrics": metrics}],
    }]});
    let body = otlp_json::decode(Signal::Metrics, request.to_string().as_bytes()).ok()?;
    (items > 0).then_some((body, items))
}

/// The histogram that a sample belongs to, and which part of it the sample is.
fn part_of(name: &str) -> Option<(&'static Def, &'static str)> {
    ["_bucket", "_sum", "_count"].into_iter().find_map(|part| {
        let base = name.strip_suffix(part)?;
        let def = ALL.iter().find(|def| def.name == base && matches!(def.kind, Kind::Histogram(_)))?;
        Some((*def, part))
    })
}

fn take(series: &mut Series, mut sample: Sample, part: &str) {
    let bound = sample.labels.remove("le");
    let value = sample.number();
    let read = series.entry(sample.labels).or_default();
    match (part, bound) {
        ("_bucket", Some(bound)) => {
            read.buckets.push((bound.replace("+Inf", "inf").parse().unwrap_or(f64::INFINITY), value as u64))
        }
        ("_sum", _) => read.sum = value,
        ("_count", _) => read.count = value as u64,
        _ => {}
    }
}

fn metric(def: &Def, points: Vec<Value>) -> Value {
    let name = def.name.strip_suffix("_total").filter(|_| def.kind != Kind::Gauge).unwrap_or(def.name);
    let data = match def.kind {
        Kind::Gauge => json!({"dataPoints": points}),
        Kind::Counter | Kind::Sum => {
            json!({"aggregationTemporality": CUMULATIVE, "isMonotonic": true, "dataPoints": points})
        }
        Kind::Histogram(_) => json!({"aggregationTemporality": CUMULATIVE, "dataPoints": points}),
    };
    let kind = match def.kind {
        Kind::Gauge => "gauge",
        Kind::Counter | Kind::Sum => "sum",
        Kind::Histogram(_) => "histogram",
    };
    json!({"name": name, "description": def.help.trim(), "unit": unit(name), kind: data})
}

/// The unit that a name ends with, in UCUM.
fn unit(name: &str) -> &'static str {
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

fn attributes(labels: &Labels) -> Vec<Value> {
    labels.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect()
}

/// Start of the totals and present time, in unix ns.
struct Times {
    began: String,
    now: String,
}

fn number(def: &Def, sample: &Sample, times: &Times) -> Value {
    let (key, value) = match def.kind {
        Kind::Counter => ("asInt", Value::from(sample.value.clone())),
        _ => ("asDouble", sample.number().into()),
    };
    json!({
        "startTimeUnixNano": times.began, "timeUnixNano": times.now,
        "attributes": attributes(&sample.labels), key: value,
    })
}

fn distribution(labels: &Labels, read: &Read, times: &Times) -> Value {
    let bounds: Vec<f64> = read.buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).collect();
    let below = read.buckets.iter().map(|(_, count)| *count);
    let before = std::iter::once(0).chain(below.clone());
    let counts: Vec<String> = below.zip(before).map(|(here, before)| here.saturating_sub(before).to_string()).collect();
    json!({
        "startTimeUnixNano": times.began, "timeUnixNano": times.now, "attributes": attributes(labels),
        "count": read.count.to_string(), "sum": read.sum, "bucketCounts": counts, "explicitBounds": bounds,
    })
}
