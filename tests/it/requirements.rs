//! What users asked for by name: each of their alerts, thresholds, metrics and attributes has a line in
//! `tests/cases/requirements.yaml`, which is compared with what ships. Their behaviour is tested elsewhere: rules in
//! `deploy/alerts/tests`, tollgate's own alerts and metrics in `crates/tracker/src/tests`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ::otlp::{Payload, Signal, json as otlp};
use bytes::Bytes;
use serde_json::{Value as Json, json};
use telemetry::names::ALL;
use tracker::{AlertThresholds, Config};

use crate::client::attributes;
use crate::gateway;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The Prometheus rules by name, with white space normalised.
fn rules() -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for file in ["agents", "incidents", "measures", "runs", "gateway"] {
        let text = read(&format!("deploy/alerts/prometheus/{file}.yaml"));
        for rule in text.split("- alert: ").skip(1) {
            let (name, rest) = rule.split_once('\n').unwrap();
            let rest = rest.split("- record: ").next().unwrap();
            all.insert(name.trim().to_owned(), rest.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    all
}

/// The tables of tests/cases/requirements.yaml.
#[derive(serde::Deserialize)]
struct Requirements {
    /// The requested alert, the rule's name, and texts that the rule must contain.
    alerts: Vec<(String, String, Vec<String>)>,
    /// Metrics by their name over OTLP, with their name in Prometheus.
    metrics: BTreeMap<String, String>,
    /// Attributes by the name of their span.
    spans: serde_json::Map<String, Json>,
    /// Attributes that a dashboard reads, by the name of their span.
    panels: BTreeMap<String, Vec<String>>,
}

fn requirements() -> Requirements {
    let tables = config::load::parse_data("requirements.yaml", &read("tests/cases/requirements.yaml"));
    tables.unwrap_or_else(|problem| panic!("{problem}"))
}

/// Detects a changed threshold, a removed alert, and a rule that depends on call volume.
#[test]
fn alerts_and_thresholds() {
    let (rules, alerts) = (rules(), requirements().alerts);
    assert_eq!(alerts.len(), 24);
    for (asked, alert, says) in alerts {
        let rule = rules.get(&alert).unwrap_or_else(|| panic!("{asked}: no rule {alert}"));
        says.iter().for_each(|part| assert!(rule.contains(part), "{asked}: {alert} does not say `{part}`: {rule}"));
    }
    let template: Vec<String> = ["honeycomb/main.tf", "cloudwatch/alarms.yaml", "signoz/rules.json"]
        .map(|file| read(&format!("deploy/alerts/{file}")))
        .into();
    for name in ["SREAgent-HighOverrideRate", "SREAgent-CostAnomaly", "SREAgent-ToolCallAnomaly"] {
        assert!(template.iter().all(|file| file.contains(name)), "{name}");
    }
}

/// tollgate's own alerts, with the users' thresholds as defaults.
#[test]
fn defaults_of_its_own_alerts() {
    let AlertThresholds { identical_calls, tool_calls, tool_retries, overdue_after, .. } = AlertThresholds::default();
    assert_eq!((identical_calls, tool_calls, tool_retries), (5, 20, 2));
    assert_eq!(overdue_after.0.as_secs(), 3600);
    let limits = AlertThresholds::default();
    assert_eq!(
        [limits.session_cost, limits.session_cost_runaway, limits.session_duration, limits.drift],
        [5.0, 50.0, 2.0, 1.5]
    );
    assert_eq!(limits.min_runs, 30);
    let config = Config::default();
    assert_eq!(config.tool_window.0.as_secs(), 600);
    assert_eq!(config.measures, Vec::<String>::new());
    for key in ["feature", "agent.feature", "gen_ai.agent.name"] {
        assert!(config.feature_from.iter().any(|known| known == key), "{key}");
    }
    let runbook = read("docs/runs.md");
    for rule in runs::AlertRule::rules().map(runs::AlertRule::as_str) {
        assert!(runbook.contains(&format!("`{rule}`")), "{rule}");
    }
}

/// Each metric has its name on `/metrics`, its name over OTLP, and a place in the docs.
#[test]
fn metrics_by_name() {
    let (told, docs) = (read("crates/tracker/src/points.rs"), read("docs/runs.md"));
    let metrics = requirements().metrics;
    assert_eq!(metrics.len(), 17);
    for (otlp, prometheus) in &metrics {
        assert!(ALL.iter().any(|def| def.name == prometheus.as_str()), "{prometheus}");
        assert!(told.contains(&format!("\"{otlp}\"")), "{otlp} is not told over OTLP");
        assert!(docs.contains(otlp.as_str()), "{otlp} is not in docs/runs.md");
    }
}

/// None of these attributes is removed or renamed on the way to a third party, including those of the resource.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_by_name() {
    let service = json!({"service.name": "agents", "service.version": "1.2", "build.commit_sha": "c0ffee", "deploy.environment": "prod",
        "work_tracker.issue_id": "OPS-7"});
    let asked_for = requirements().spans;
    let span = |(at, (name, all)): (u64, (&String, &Json))| {
        json!({"traceId": format!("{:032x}", at + 1), "spanId": format!("{:016x}", at + 1), "name": name,
            "startTimeUnixNano": "1795000000000000000", "endTimeUnixNano": "1795000000250000000", "attributes": attributes(all)})
    };
    let spans: Vec<Json> = (0..).zip(&asked_for).map(span).collect();
    let request = json!({"resourceSpans": [{"resource": {"attributes": attributes(&service)}, "scopeSpans": [{"spans": spans}]}]});
    let sent = otlp::decode(Signal::Traces, request.to_string().as_bytes()).unwrap();
    let out = gateway::forwarded(vec![(Signal::Traces, sent)]).await;
    let payloads: Vec<Payload> =
        out.into_iter().map(|(signal, bytes)| Payload::parse(signal, Bytes::from(bytes)).ok().unwrap()).collect();
    let items = || payloads.iter().flat_map(|payload| payload.items().map(move |item| (payload, item)));
    assert_eq!(items().count(), asked_for.len());
    for (name, wanted) in &asked_for {
        let (payload, item) =
            items().find(|(payload, item)| payload.text(*item, ::otlp::TextField::Name) == name.as_str()).unwrap();
        let there = |node, key: &str| -> Json {
            let mut text = String::new();
            payload.get(node, key).unwrap_or_else(|| panic!("{name}: {key} is gone")).write_json(&mut text);
            serde_json::from_str(&text).unwrap()
        };
        let same = |one: &Json, other: &Json| {
            one == other || one.to_string().trim_matches('"') == other.to_string().trim_matches('"')
        };
        for (key, value) in wanted.as_object().unwrap() {
            assert!(same(&there(item, key), value), "{name}: {key} is {}", there(item, key));
        }
        for (key, value) in service.as_object().unwrap() {
            assert!(same(&there(payload.resource(item), key), value), "{name}: {key}");
        }
    }
}

/// Every recorded span of claude-otel-hooks keeps its duration and what the panels read of it, so each panel shows the
/// same figures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn panels_show_the_same() {
    let (mut sent, panels) = (Vec::new(), requirements().panels);
    for session in ["articles", "turns", "failures"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings/claude-otel-hooks").join(session);
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.file_name().unwrap().to_string_lossy().ends_with("-traces.pb") {
                sent.push((Signal::Traces, fs::read(path).unwrap()));
            }
        }
    }
    let read = |requests: &[(Signal, Vec<u8>)]| {
        let mut rows = Vec::new();
        for (signal, bytes) in requests {
            let payload = Payload::parse(*signal, Bytes::copy_from_slice(bytes)).ok().unwrap();
            for item in payload.items() {
                let name = payload.text(item, ::otlp::TextField::Name);
                let Some(keys) = panels.get(name) else { continue };
                let mut row = format!("{name} {}", payload.end_time(item) - payload.time(item));
                for key in keys {
                    row.push(' ');
                    let value = payload.get(item, key).or_else(|| payload.get(payload.resource(item), key));
                    value.iter().for_each(|value| value.write_json(&mut row));
                }
                rows.push(row);
            }
        }
        rows.sort();
        rows
    };
    let wanted = read(&sent);
    assert!(wanted.len() > 10, "{}", wanted.len());
    assert_eq!(read(&gateway::forwarded(sent).await), wanted);
}
