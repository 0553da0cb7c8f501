//! Tests of `deltatocumulative` between two gateways.

use std::fs;
use std::path::Path;

use otlp::{Signal, json};

use super::gateway;

fn configuration(folder: &Path, name: &str, exporter: &str, more: serde_json::Value) -> String {
    fs::create_dir_all(folder.join(name)).unwrap();
    serde_json::json!({
        "receivers": { "otlp": { "protocols": { "http": { "endpoint": "127.0.0.1:0" } } } },
        "exporters": { exporter: more },
        "spool": { "directory": folder.join(name).join("spool").display().to_string(), "max_size": "64MiB" },
        "service": { "pipelines": { "metrics": { "receivers": ["otlp"], "exporters": [exporter] } } },
    })
    .to_string()
}

/// A sum's deltas arrive as totals since the start of the first one, with each delivered delta counted once.
#[tokio::test(flavor = "multi_thread")]
async fn deltas_arrive_as_totals() {
    let folder = tempfile::tempdir().unwrap();
    let file =
        serde_json::json!({ "path": folder.path().join("out.jsonl").display().to_string(), "trust": "internal" });
    let behind = gateway::start(&configuration(folder.path(), "behind", "file", file), folder.path()).await;
    let endpoint = format!("http://{}", behind.addresses()[0].1);
    let way = serde_json::json!({ "endpoint": endpoint, "trust": "internal", "deltatocumulative": {} });
    let front = gateway::start(&configuration(folder.path(), "front", "otlp_http", way), folder.path()).await;
    let http = front.addresses()[0].1;
    let delta = |start: u64, value: u64| {
        let text = format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"calls","sum":{{"aggregationTemporality":1,"isMonotonic":true,
            "dataPoints":[{{"startTimeUnixNano":"{start}","timeUnixNano":"{}","asInt":"{value}"}}]}}}}]}}]}}]}}"#,
            start + 10
        );
        json::decode(Signal::Metrics, text.as_bytes()).unwrap()
    };
    let bodies = [delta(100, 3), delta(110, 4), delta(110, 4), delta(120, 5)];
    bodies.iter().for_each(|body| gateway::post(http, Signal::Metrics, body));
    front.shutdown().await;
    behind.shutdown().await;
    let out = fs::read_to_string(folder.path().join("out.jsonl")).unwrap();
    let points = out.split("\"startTimeUnixNano\":\"").skip(1);
    let of = |point: &str, key: &str| point.split(key).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let found: Vec<_> = points
        .map(|point| {
            (point.split('"').next().unwrap().to_owned(), of(point, "\"timeUnixNano\":\""), of(point, "\"asInt\":\""))
        })
        .collect();
    let wanted = [("100", "110", "3"), ("100", "120", "7"), ("100", "130", "12")];
    assert_eq!(
        found,
        wanted.map(|(start, time, value)| (start.to_owned(), time.to_owned(), value.to_owned())),
        "{out}"
    );
    assert!(!out.contains("\"aggregationTemporality\":1"), "{out}");
}
