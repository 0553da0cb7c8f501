//! Requests in the short notation of golden cases and tests, converted to a [`Payload`] by way of OTLP/JSON.
//!
//! ```yaml
//! signal: traces                 # or logs, metrics
//! resource: {service.name: api}
//! scope: {name: lib, version: 1.0.0, attributes: {}}
//! items:                         # or `groups:`, a list of {resource, scope, items}
//!   - {name: chat, trace: 1, span: 2, parent: 1, start: 1700000000, end: 1700000001,
//!      status: error, attributes: {a: 1}, events: [{name: e, attributes: {}}], links: []}
//!   - {event_name: x, body: {k: v}, trace: 1, span: 2, time: 1700000000, attributes: {}}
//!   - {metric: name, attributes: {}, value: 3, exemplars: [{attributes: {}}]}
//! ```
//! Ids are small numbers or whole hex; times are seconds. `{$bytes: base64}` is a bytes value,
//! `{$text: …}` structure as JSON text.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use serde_json::{Map, Value as Json, json};

pub use fixtures::at;

use otlp::{Payload, Signal};

/// The payload of a case.
pub fn payload(case: &Json) -> Payload {
    let signal = match case["signal"].as_str().unwrap_or("traces") {
        "logs" => Signal::Logs,
        "metrics" => Signal::Metrics,
        _ => Signal::Traces,
    };
    let groups = case["groups"].as_array().cloned().unwrap_or_else(|| vec![case.clone()]);
    let (outer, inner) = match signal {
        Signal::Traces => ("resourceSpans", ("scopeSpans", "spans")),
        Signal::Logs => ("resourceLogs", ("scopeLogs", "logRecords")),
        Signal::Metrics => ("resourceMetrics", ("scopeMetrics", "metrics")),
    };
    let mut out = Vec::new();
    for group in groups {
        let none = Vec::new();
        let items = group["items"].as_array().unwrap_or(&none).iter().map(|one| item(signal, one)).collect::<Vec<_>>();
        let scope = &group["scope"];
        let (name, version) = (scope["name"].as_str().unwrap_or(""), scope["version"].as_str().unwrap_or(""));
        let mut holder = Map::new();
        holder.insert(
            "scope".into(),
            json!({"name": name, "version": version, "attributes": attributes(&scope["attributes"])}),
        );
        holder.insert(inner.1.into(), Json::Array(items));
        holder.insert("schemaUrl".into(), scope["schema_url"].as_str().unwrap_or("").into());
        let mut resource = Map::new();
        resource.insert("resource".into(), json!({"attributes": attributes(&group["resource"])}));
        resource.insert(inner.0.into(), json!([holder]));
        out.push(Json::Object(resource));
    }
    from_json(signal, &json!({ outer: out }).to_string())
}

/// Parses OTLP/JSON into a payload.
pub fn from_json(signal: Signal, text: &str) -> Payload {
    let wire = otlp::json::decode(signal, text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    Payload::parse(signal, Bytes::from(wire)).unwrap_or_else(|error| panic!("{} at {}", error.message, error.at))
}

/// Loads a recorded request: `NNN-signal.pb` or `.json` under `tests/recordings`.
pub fn recorded(path: &Path) -> Payload {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let signal = match name.rsplit('-').next().unwrap() {
        "logs" => Signal::Logs,
        "metrics" => Signal::Metrics,
        _ => Signal::Traces,
    };
    let bytes = fs::read(path).unwrap();
    if path.extension().is_some_and(|ending| ending == "json") {
        return from_json(signal, std::str::from_utf8(&bytes).unwrap());
    }
    Payload::parse(signal, Bytes::from(bytes)).unwrap_or_else(|error| panic!("{} at {}", error.message, error.at))
}

/// The data in a YAML file of the repository.
pub fn case_file<T: serde::de::DeserializeOwned>(path: &str) -> T {
    config::load::parse_data(path, &fs::read_to_string(at(path)).unwrap())
        .unwrap_or_else(|problem| panic!("{path}: {problem} {:?}", problem.at.map(|at| (at.line, at.column))))
}

/// Loads every case of the YAML files in a folder (each file is a list), with file and case name.
pub fn cases(folder: &str) -> Vec<(String, Json)> {
    let mut files: Vec<_> = fs::read_dir(at(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut out = Vec::new();
    for path in files.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "yaml")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let list: Vec<Json> = case_file(&format!("{folder}/{name}"));
        out.extend(list.into_iter().map(|case| (format!("{name}: {}", case["name"].as_str().unwrap_or("?")), case)));
    }
    out
}

fn item(signal: Signal, one: &Json) -> Json {
    let mut out = json!({"attributes": attributes(&one["attributes"])});
    match signal {
        Signal::Traces => {
            let start = nanos(&one["start"], 1_795_000_000.0);
            let events = one["events"].as_array().cloned().unwrap_or_default();
            let links = one["links"].as_array().cloned().unwrap_or_default();
            out["name"] = one["name"].clone();
            out["traceId"] = id(&one["trace"], 32);
            out["spanId"] = id(&one["span"], 16);
            out["parentSpanId"] = id(&one["parent"], 16);
            out["kind"] = json!(one["kind"].as_u64().unwrap_or(0));
            out["startTimeUnixNano"] = start.clone();
            out["endTimeUnixNano"] = if one["end"].is_null() { start } else { nanos(&one["end"], 0.0) };
            out["status"] = match &one["status"] {
                Json::String(word) if word == "error" => json!({"code": 2}),
                Json::String(text) => json!({"code": 2, "message": text}),
                _ => json!({}),
            };
            out["events"] = events
                .iter()
                .map(|event| json!({"name": event["name"], "attributes": attributes(&event["attributes"])}))
                .collect();
            out["links"] = links.iter().map(|link| json!({"attributes": attributes(&link["attributes"])})).collect();
        }
        Signal::Logs => {
            out["timeUnixNano"] = nanos(&one["time"], 1_795_000_000.0);
            out["traceId"] = id(&one["trace"], 32);
            out["spanId"] = id(&one["span"], 16);
            out["eventName"] = Json::String(one["event_name"].as_str().unwrap_or("").to_owned());
            if !one["body"].is_null() {
                out["body"] = any_value(&one["body"]);
            }
        }
        Signal::Metrics => {
            out["timeUnixNano"] = nanos(&one["time"], 1_795_000_000.0);
            out["asDouble"] = json!(one["value"].as_f64().unwrap_or(0.0));
            let exemplars = one["exemplars"].as_array().cloned().unwrap_or_default();
            out["exemplars"] = exemplars
                .iter()
                .map(|one| json!({"asDouble": 1.0, "filteredAttributes": attributes(&one["attributes"])}))
                .collect();
            out = json!({"name": one["metric"], "gauge": {"dataPoints": [out]}});
        }
    }
    out
}

fn nanos(seconds: &Json, default: f64) -> Json {
    Json::String(format!("{:.0}", seconds.as_f64().unwrap_or(default) * 1e9))
}

fn id(value: &Json, digits: usize) -> Json {
    match value {
        Json::Number(number) => Json::String(format!("{:0>digits$}", number.to_string())),
        Json::String(text) => Json::String(format!("{text:0>digits$}")),
        _ => Json::String(String::new()),
    }
}

fn attributes(map: &Json) -> Json {
    let none = Map::new();
    let entries = map.as_object().unwrap_or(&none);
    entries.iter().map(|(key, value)| json!({"key": key, "value": any_value(value)})).collect()
}

fn any_value(value: &Json) -> Json {
    match value {
        Json::Null => json!({}),
        Json::Bool(value) => json!({ "boolValue": value }),
        Json::Number(number) if number.is_f64() => json!({ "doubleValue": number }),
        Json::Number(number) => json!({ "intValue": number.to_string() }),
        Json::String(text) => json!({ "stringValue": text }),
        Json::Array(items) => json!({"arrayValue": {"values": items.iter().map(any_value).collect::<Vec<_>>()}}),
        Json::Object(entries) => match (entries.get("$bytes"), entries.get("$text")) {
            (Some(bytes), _) => json!({ "bytesValue": bytes }),
            (None, Some(text)) => json!({ "stringValue": text.to_string() }),
            (None, None) => json!({"kvlistValue": {"values": attributes(value)}}),
        },
    }
}
