//! The dashboard of claude-otel-hooks users: every panel computes the same from a gateway's output as from what the
//! client sent. The panels are the board's published definition.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use otlp::{NodeId, NodeKind, Payload, Signal, TextField, Value};
use serde_json::{Map, Value as Json, json};

use crate::gateway;

/// One panel: its aggregates, its records and its grouping.
struct Panel {
    name: &'static str,
    /// Name of the span or of the log event.
    of: &'static str,
    only: Option<(&'static str, &'static str)>,
    aggregates: &'static [Aggregate],
    by: &'static [&'static str],
}

enum Aggregate {
    Count,
    Sum(&'static str),
    Average(&'static str),
    P95(&'static str),
    /// Duration of the span itself.
    AverageDuration,
    P95Duration,
}

use Aggregate::{Average, AverageDuration, Count, P95, P95Duration, Sum};

const INPUT: Aggregate = Sum("gen_ai.usage.input_tokens");
const READ: Aggregate = Sum("gen_ai.usage.cache_read_tokens");
const WRITE: Aggregate = Sum("gen_ai.usage.cache_creation_tokens");
const OUTPUT: Aggregate = Sum("gen_ai.usage.output_tokens");

const fn panel(name: &'static str, of: &'static str, aggregates: &'static [Aggregate]) -> Panel {
    Panel { name, of, only: None, aggregates, by: &[] }
}

/// The panels of the board. Ratios and estimated costs are formulas over these sums.
const PANELS: [Panel; 21] = [
    panel("Sessions Started", "claude_code.session.start", &[Count]),
    panel("Tool Calls", "claude_code.tool", &[Count]),
    panel("User Prompts", "claude_code.user_prompt", &[Count]),
    panel("Session Duration", "claude_code.session.end", &[Average("session.duration_ms"), P95("session.duration_ms")]),
    panel("Cache Hit Ratio", "claude_code.turn.stop", &[Average("gen_ai.usage.cache_hit_ratio")]),
    Panel { by: &["gen_ai.request.model"], ..panel("Model Usage", "claude_code.turn.stop", &[Count]) },
    panel("Token Usage", "claude_code.turn.stop", &[INPUT, READ, OUTPUT]),
    Panel {
        only: Some(("gen_ai.tool.success", "false")),
        by: &["gen_ai.tool.name"],
        ..panel("Tool Failures", "claude_code.tool", &[Count])
    },
    Panel { by: &["gen_ai.tool.name"], ..panel("Permission Denials", "claude_code.permission.denied", &[Count]) },
    Panel { by: &["gen_ai.tool.name"], ..panel("Tool Duration", "claude_code.tool", &[AverageDuration, P95Duration]) },
    Panel {
        only: Some(("gen_ai.tool.name", "\"Edit\"")),
        by: &["session.id"],
        ..panel("Lines Edited per Session", "claude_code.tool", &[Sum("edit.lines_added"), Sum("edit.lines_removed")])
    },
    Panel { by: &["session.id"], ..panel("Prompts per Session", "claude_code.user_prompt", &[Count]) },
    Panel { by: &["session.id"], ..panel("Tokens per Session", "claude_code.turn.stop", &[INPUT, READ, OUTPUT]) },
    Panel { by: &["error", "status_code"], ..panel("API Errors", "api_error", &[Count]) },
    Panel { by: &["agent.stop_reason"], ..panel("Stop Reason Distribution", "claude_code.turn.stop", &[Count]) },
    Panel {
        by: &["agent.type"],
        ..panel("Subagent Activity", "claude_code.subagent", &[Count, Average("agent.duration_ms")])
    },
    panel("Context Compaction", "claude_code.context.compact", &[Count, Sum("context.tokens_saved")]),
    Panel {
        by: &["gen_ai.request.model"],
        ..panel("Tokens per Model", "claude_code.turn.stop", &[INPUT, READ, WRITE, OUTPUT])
    },
    Panel {
        by: &["gen_ai.request.model"],
        ..panel("Estimated Cost per Model", "claude_code.turn.stop", &[INPUT, OUTPUT, READ, WRITE])
    },
    Panel { by: &["git.repo"], ..panel("Tokens per Repo", "claude_code.turn.stop", &[INPUT, READ, WRITE, OUTPUT]) },
    Panel {
        by: &["git.repo"],
        ..panel("Estimated Cost per Repo", "claude_code.turn.stop", &[INPUT, OUTPUT, READ, WRITE])
    },
];

/// One span or log event, as a back end stores it.
struct Row {
    name: String,
    nanos: u64,
    attributes: Map<String, Json>,
}

fn rows(payload: &Payload) -> Vec<Row> {
    payload.items().map(|node| row(payload, node)).collect()
}

fn row(payload: &Payload, node: NodeId) -> Row {
    let resource = payload.attributes(payload.resource(node)).map(|one| (one.key.to_owned(), plain(one.value)));
    let mut attributes: Map<String, Json> = resource.collect();
    attributes.extend(payload.attributes(node).map(|one| (one.key.to_owned(), plain(one.value))));
    let event = attributes.get("event.name").and_then(Json::as_str).map(str::to_owned);
    let name = match payload.kind(node) {
        NodeKind::LogRecord => event.unwrap_or_default(),
        _ => payload.text(node, TextField::Name).to_owned(),
    };
    let nanos = payload.end_time(node).saturating_sub(payload.time(node));
    Row { name, nanos, attributes }
}

fn plain(value: Value<'_>) -> Json {
    let mut text = String::new();
    value.write_json(&mut text);
    serde_json::from_str(&text).unwrap()
}

fn number(row: &Row, key: &str) -> Option<f64> {
    match row.attributes.get(key)? {
        Json::String(text) => text.parse().ok(),
        value => value.as_f64(),
    }
}

/// The panel's figures by group.
fn compute(panel: &Panel, rows: &[Row]) -> BTreeMap<String, Vec<f64>> {
    let mut groups: BTreeMap<String, Vec<&Row>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.name == panel.of) {
        let is = |(key, value): (&str, &str)| row.attributes.get(key).is_some_and(|there| format!("{there}") == value);
        if panel.only.is_none_or(is) {
            let group: Vec<Json> =
                panel.by.iter().map(|key| row.attributes.get(*key).cloned().unwrap_or_default()).collect();
            groups.entry(json!(group).to_string()).or_default().push(row);
        }
    }
    let figures = |rows: &Vec<&Row>| panel.aggregates.iter().map(|one| figure(one, rows)).collect();
    groups.iter().map(|(group, rows)| (group.clone(), figures(rows))).collect()
}

fn figure(aggregate: &Aggregate, rows: &[&Row]) -> f64 {
    let of = |key: &str| rows.iter().filter_map(|row| number(row, key)).collect::<Vec<f64>>();
    let durations = || rows.iter().map(|row| row.nanos as f64 / 1e6).collect::<Vec<f64>>();
    let average = |values: Vec<f64>| values.iter().sum::<f64>() / values.len().max(1) as f64;
    match aggregate {
        Count => rows.len() as f64,
        Sum(key) => of(key).iter().sum(),
        Average(key) => average(of(key)),
        P95(key) => p95(of(key)),
        AverageDuration => average(durations()),
        P95Duration => p95(durations()),
    }
}

fn p95(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get((values.len() * 95).div_ceil(100).saturating_sub(1)).copied().unwrap_or(0.0)
}

/// The recorded requests of a session: signal and bytes.
fn recorded(folder: &str) -> Vec<(Signal, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "pb"));
    files.sort();
    files.into_iter().map(|path| (signal(&path), fs::read(&path).unwrap())).collect()
}

fn signal(path: &Path) -> Signal {
    let name = path.file_stem().unwrap().to_str().unwrap();
    Signal::ALL.into_iter().find(|signal| name.ends_with(signal.as_str())).unwrap()
}

/// Spans for the board's rarer panels, which no recording contains.
fn built() -> (Signal, Vec<u8>) {
    let span = |name: &str, attributes: Json| {
        let attributes: Vec<Json> = attributes
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| {
                let value = match value {
                    Json::String(text) => json!({"stringValue": text}),
                    Json::Bool(flag) => json!({"boolValue": flag}),
                    Json::Number(number) if number.is_f64() => json!({"doubleValue": number}),
                    number => json!({"intValue": number.to_string()}),
                };
                json!({"key": key, "value": value})
            })
            .collect();
        json!({"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "spanId": "00f067aa0ba902b7", "name": name,
            "startTimeUnixNano": "1795000000000000000", "endTimeUnixNano": "1795000000250000000", "attributes": attributes})
    };
    let spans = [
        span("claude_code.session.start", json!({"session.id": "s1"})),
        span("claude_code.session.end", json!({"session.id": "s1", "session.duration_ms": 61_000})),
        span("claude_code.user_prompt", json!({"session.id": "s1", "gen_ai.prompt": "please fix the build"})),
        span(
            "claude_code.tool",
            json!({"session.id": "s1", "gen_ai.tool.name": "Edit", "gen_ai.tool.success": true, "edit.lines_added": 7, "edit.lines_removed": 2, "gen_ai.tool.input": "{\"file\": \"a b\"}"}),
        ),
        span(
            "claude_code.tool",
            json!({"session.id": "s1", "gen_ai.tool.name": "Bash", "gen_ai.tool.success": false, "error.message": "it failed for ada@example.com"}),
        ),
        span(
            "claude_code.permission.denied",
            json!({"session.id": "s1", "gen_ai.tool.name": "Bash", "permission.deny_reason": "not that one"}),
        ),
        span("claude_code.subagent", json!({"session.id": "s1", "agent.type": "Explore", "agent.duration_ms": 1200})),
        span("claude_code.context.compact", json!({"session.id": "s1", "context.tokens_saved": 90_000})),
        span(
            "claude_code.turn.stop",
            json!({"session.id": "s1", "git.repo": "acme/shop", "gen_ai.request.model": "claude-sonnet-4-5", "agent.stop_reason": "end_turn", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 200, "gen_ai.usage.cache_read_tokens": 9000, "gen_ai.usage.cache_creation_tokens": 500, "gen_ai.usage.cache_hit_ratio": 0.946, "gen_ai.output.messages": "[{\"role\":\"assistant\"}]"}),
        ),
        span("api_error", json!({"session.id": "s1", "error": "overloaded_error", "status_code": 529})),
    ];
    let request = json!({"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "claude-code"}}]},
        "scopeSpans": [{"scope": {"name": "claude_code_hooks"}, "spans": spans}]}]});
    (Signal::Traces, otlp::json::decode(Signal::Traces, request.to_string().as_bytes()).unwrap())
}

/// Computes every panel from built spans, from the recorded hooks, and from Claude Code itself (its log events name
/// the errors).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_computes_the_same() {
    let mut requests = vec![built()];
    for session in
        ["claude-otel-hooks/articles", "claude-otel-hooks/turns", "claude-otel-hooks/failures", "claude-code/failing"]
    {
        requests.extend(recorded(session));
    }
    requests.retain(|(signal, _)| *signal != Signal::Metrics);
    let parse = |signal, bytes: Vec<u8>| {
        Payload::parse(signal, Bytes::from(bytes)).unwrap_or_else(|error| panic!("{}", error.message))
    };
    let before: Vec<Row> = requests.iter().flat_map(|(signal, bytes)| rows(&parse(*signal, bytes.clone()))).collect();
    let after: Vec<Row> = gateway::forwarded(requests)
        .await
        .into_iter()
        .flat_map(|(signal, bytes)| rows(&parse(signal, bytes)))
        .collect();
    assert_eq!(before.len(), after.len());
    for panel in &PANELS {
        let sent = compute(panel, &before);
        assert!(!sent.is_empty(), "{}: nothing to compute", panel.name);
        assert_eq!(compute(panel, &after), sent, "{}", panel.name);
    }
}
