//! Reads the surfaces: JSON and text, `/metrics`, and OTLP requests. The values get the names of the truth.

use std::collections::BTreeMap;

use prost::Message;
use serde_json::Value as Json;

use super::make::Facts;
use kernel::hex;
use otlp::r#gen::opentelemetry::proto;
use proto::collector::logs::v1::ExportLogsServiceRequest;
use proto::collector::metrics::v1::ExportMetricsServiceRequest;
use proto::common::v1::{KeyValue, any_value::Value};
use proto::logs::v1::LogRecord;
use proto::metrics::v1::{Gauge, Sum, metric::Data, number_data_point::Value as Number};
use telemetry::{Meter, SeriesValue, names};

/// Name and JSON pointer of each value.
type Places = [(&'static str, &'static str)];

/// For one run or session.
pub(super) const TOTALS: &Places = &[
    ("iterations", "/totals/iterations"),
    ("calls", "/totals/model_calls"),
    ("failed_calls", "/totals/failed_model_calls"),
    ("retries", "/totals/model_retries"),
    ("fallbacks", "/totals/fallbacks"),
    ("tools", "/totals/tool_calls"),
    ("failed_tools", "/totals/failed_tool_calls"),
    ("tool_retries", "/totals/tool_retries"),
    ("sub_agents", "/totals/sub_agents"),
    ("input", "/totals/tokens/input_total"),
    ("output", "/totals/tokens/output_total"),
    ("atto", "/totals/cost_usd"),
    ("unpriced", "/totals/unpriced_calls"),
];

/// For `/api/sums`.
pub(super) const SUM: &Places = &[
    ("runs", "/runs"),
    ("failed", "/failed"),
    ("iterations", "/iterations"),
    ("calls", "/model_calls"),
    ("failed_calls", "/failed_model_calls"),
    ("tools", "/tool_calls"),
    ("failed_tools", "/failed_tool_calls"),
    ("input", "/tokens/input_total"),
    ("output", "/tokens/output_total"),
    ("atto", "/cost_usd"),
    ("unpriced", "/unpriced_calls"),
];

/// For a part of a run: one model or tenant.
pub(super) const PART: &Places = &[
    ("calls", "/calls"),
    ("input", "/tokens/input_total"),
    ("output", "/tokens/output_total"),
    ("atto", "/cost_usd"),
    ("unpriced", "/unpriced_calls"),
];

/// For the page.
pub(super) const FIGURES: &Places = &[
    ("runs", "/runs"),
    ("failed", "/failed_runs"),
    ("iterations", "/iterations"),
    ("calls", "/model_calls"),
    ("fallbacks", "/fallbacks"),
    ("tools", "/tool_calls"),
    ("failed_tools", "/failed_tool_calls"),
    ("input", "/input_tokens"),
    ("output", "/output_tokens"),
    ("atto", "/cost_usd"),
    ("unpriced", "/unpriced_calls"),
];

/// For a report's sums and the page's tables.
pub(super) const COUNTED: &Places = &[
    ("runs", "/runs"),
    ("failed", "/failed"),
    ("iterations", "/iterations"),
    ("calls", "/model_calls"),
    ("tools", "/tool_calls"),
    ("failed_tools", "/failed_tool_calls"),
    ("input", "/input_tokens"),
    ("output", "/output_tokens"),
    ("atto", "/cost_usd"),
    ("unpriced", "/unpriced_calls"),
];

/// Values that can be added over shares; a run counts in each of its shares.
pub(super) const SHARED: [&str; 5] = ["calls", "input", "output", "atto", "unpriced"];

/// The values at these places; some are missing in a table of a page.
pub(super) fn facts(json: &Json, places: &Places) -> Facts {
    let unpriced = places.iter().find(|(name, _)| *name == "unpriced").and_then(|(_, place)| json.pointer(place));
    let unpriced = unpriced.and_then(Json::as_u64).unwrap_or(0);
    places.iter().filter_map(|(name, place)| Some((*name, number(json.pointer(place)?, unpriced)))).collect()
}

/// A cost is a string, or null if nothing has a price.
fn number(value: &Json, unpriced: u64) -> i128 {
    match value {
        Json::Number(number) => number.as_u64().map_or(i128::MIN, i128::from),
        Json::Bool(holds) => i128::from(*holds),
        Json::String(text) => atto(text),
        Json::Array(rows) => rows.iter().filter_map(|row| row["count"].as_u64()).map(i128::from).sum(),
        Json::Null if unpriced > 0 => 0,
        _ => i128::MIN,
    }
}

/// Decimal text in 1e-18.
pub(super) fn atto(text: &str) -> i128 {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    format!("{whole}{part:0<18}").parse().unwrap_or(i128::MIN)
}

/// A trace's number from its hex id, in which all digits are decimal here.
pub(super) fn trace(id: &str) -> u64 {
    id.parse().unwrap_or(0)
}

/// The values in a report's line about runs.
pub(super) fn report_line(text: &str) -> Facts {
    let line = text.lines().find_map(|line| line.strip_prefix("Runs: ")).unwrap_or_default();
    let before = |word: &str| {
        let head = line.split(word).next().unwrap_or_default();
        head.rsplit([' ', '(']).next().and_then(|number| number.parse().ok()).unwrap_or(i128::MIN)
    };
    let cost = line.split("cost ").nth(1).unwrap_or_default();
    let unpriced = cost.split_once("USD, ").or_else(|| cost.split_once("price, "));
    let unpriced = unpriced.and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()).unwrap_or(0);
    let cost = if cost.starts_with("no price") { 0 } else { atto(cost.split(' ').next().unwrap_or_default()) };
    let facts = [
        ("runs", before(" (")),
        ("failed", before(" failed)")),
        ("iterations", before(" iteration")),
        ("atto", cost),
        ("unpriced", unpriced),
    ];
    facts.into_iter().collect()
}

/// Series by name and labels; sum and count of histograms.
pub(in crate::tests) type Series = BTreeMap<String, f64>;

fn series(name: &str, mut labels: Vec<(String, String)>) -> String {
    labels.sort();
    let labels: Vec<String> = labels.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{name}{{{}}}", labels.join(","))
}

/// The series of agents and cost in `/metrics`, without buckets.
pub(super) fn metrics(meter: &Meter) -> Series {
    let costs = ["tollgate_cost_usd_total", "tollgate_cost_corrected_usd_total"];
    let wanted = |name: &str| name.starts_with("agent_") || costs.contains(&name);
    let mut all = Series::new();
    for def in names::ALL.iter().filter(|def| wanted(def.name)) {
        for one in meter.series(def) {
            let labels = || one.sorted_labels().into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
            let mut add = |part: &str, value: f64| {
                all.insert(series(&format!("{}{part}", def.name), labels().collect()), value);
            };
            match &one.value {
                SeriesValue::Histogram(histogram) => {
                    let reading = histogram.read();
                    add("_sum", reading.sum);
                    add("_count", reading.counts.iter().sum::<u64>() as f64);
                }
                _ => add("", one.number().unwrap()),
            }
        }
    }
    all
}

/// The name in `/metrics` of an OTLP metric.
fn exposed(name: &str) -> String {
    match name {
        "agent.runs" => "agent_runs_total".to_owned(),
        "agent.alerts" => "agent_alert_total".to_owned(),
        "agent.fallbacks" => "agent_fallback_total".to_owned(),
        "agent.sessions" => "agent_sessions_total".to_owned(),
        "agent.session.errors" => "agent_session_errors_total".to_owned(),
        other => other.trim_end_matches("_total").replace('.', "_"),
    }
}

/// Adds an OTLP request's values under their names in `/metrics`; gauges, which are momentary, only on request.
pub(in crate::tests) fn add_metrics(wire: bytes::Bytes, all: &mut Series, gauges: bool) {
    let request = ExportMetricsServiceRequest::decode(wire).unwrap();
    let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
    for metric in scopes.flat_map(|scope| scope.metrics) {
        let name = exposed(&metric.name);
        let mut add = |part: &str, attributes: &[KeyValue], value: f64| {
            let label = |one: &KeyValue| (one.key.replace('.', "_"), text(Some(one)));
            let key = series(&format!("{name}{part}"), attributes.iter().map(label).collect());
            *all.entry(key).or_default() += value;
        };
        match metric.data.unwrap() {
            Data::Histogram(histogram) => histogram.data_points.iter().for_each(|point| {
                assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
                assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                assert!(point.start_time_unix_nano <= point.time_unix_nano);
                add("_sum", &point.attributes, point.sum.unwrap());
                add("_count", &point.attributes, point.count as f64);
            }),
            Data::Gauge(_) if !gauges => {}
            Data::Sum(Sum { data_points, .. }) | Data::Gauge(Gauge { data_points }) => {
                data_points.iter().for_each(|point| match point.value {
                    Some(Number::AsDouble(value)) => add("", &point.attributes, value),
                    _ => add("", &point.attributes, f64::NAN),
                });
            }
            _ => panic!("no such metric"),
        }
    }
}

/// The sum of all series of a metric whose labels contain this.
pub(super) fn total(all: &Series, name: &str, label: &str) -> f64 {
    let head = format!("{name}{{");
    all.iter().filter(|(key, _)| key.starts_with(&head) && key.contains(label)).map(|(_, value)| value).sum()
}

fn text(one: Option<&KeyValue>) -> String {
    match one.and_then(|one| one.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(holds)) => i32::from(*holds).to_string(),
        _ => String::new(),
    }
}

/// The log records of an OTLP request.
pub(in crate::tests) fn records(wire: bytes::Bytes) -> Vec<LogRecord> {
    let request = ExportLogsServiceRequest::decode(wire).unwrap();
    let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
    scopes.flat_map(|scope| scope.log_records).collect()
}

/// The trace of a record.
pub(super) fn trace_of(record: &LogRecord) -> u64 {
    trace(&hex::encode(&record.trace_id))
}

/// The text of an attribute; empty if there is none.
pub(in crate::tests) fn attribute(record: &LogRecord, key: &str) -> String {
    text(record.attributes.iter().find(|one| one.key == key))
}

/// The values in a run's summary.
pub(super) fn summary(record: &LogRecord) -> Facts {
    const KEYS: [(&str, &str); 14] = [
        ("failed", "error"),
        ("iterations", "tollgate.run.iterations"),
        ("calls", "tollgate.run.model_calls"),
        ("failed_calls", "tollgate.run.failed_model_calls"),
        ("retries", "tollgate.run.model_retries"),
        ("fallbacks", "tollgate.run.fallbacks"),
        ("tools", "agent.tool_calls_made"),
        ("failed_tools", "tollgate.run.failed_tool_calls"),
        ("tool_retries", "tollgate.run.tool_retries"),
        ("sub_agents", "tollgate.run.sub_agents"),
        ("input", "agent.total_input_tokens"),
        ("output", "agent.total_output_tokens"),
        ("unpriced", "tollgate.run.unpriced_calls"),
        ("atto", "tollgate.run.cost_usd"),
    ];
    let number =
        |name: &str, text: String| if name == "atto" { atto(&text) } else { text.parse().unwrap_or(i128::MIN) };
    let facts = KEYS.map(|(name, key)| (name, number(name, attribute(record, key))));
    facts.into_iter().chain([("runs", 1)]).collect()
}
