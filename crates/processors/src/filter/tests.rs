//! Tests of conditions, of presets on real recordings, and of sampling. Drops are counted by rule after the commit.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value as Json, json};

use super::{FilterConfig, FilterProcessor, matching};
use crate::testing::{batch, session_files};
use genai::testing::request;
use otlp::{Payload, Signal, TextField};
use pipeline::Processor;
use telemetry::Meter;

fn filter(json: Json, meter: &Meter) -> FilterProcessor {
    let config: FilterConfig = serde_json::from_value(json).expect("readable");
    FilterProcessor::new("filter".into(), config.settings().expect("valid"), meter)
}

/// Names of the items of `case` that are kept.
fn left(filter: &FilterProcessor, case: &Json) -> Vec<String> {
    let mut batch = batch(request::payload(case));
    filter.process(&mut batch).expect("never fails");
    batch.effects.iter().for_each(|effect| filter.apply(effect));
    let payload = &batch.payload;
    payload.items().map(|item| payload.text(item, TextField::Name).to_owned()).collect()
}

/// Each condition alone, and all conditions of a rule together. Errors are kept unless the rule includes them.
#[test]
fn all_conditions_of_a_rule_must_hold() {
    let span = |name: &str, attributes: Json| json!({ "name": name, "trace": 1, "span": 2, "attributes": attributes });
    let case = json!({ "resource": { "service.name": "shop" }, "scope": { "name": "http.server" }, "items": [
        span("GET /healthz", json!({ "http.route": "/healthz", "code": 200 })),
        span("GET /orders", json!({ "http.route": "/orders", "code": 200 })),
        { "name": "GET /healthz", "trace": 1, "span": 3, "status": "error", "attributes": { "http.route": "/healthz" } },
    ] });
    let meter = Meter::new();
    let rule = |conditions: Json| {
        let mut rule = conditions;
        rule["name"] = "r".into();
        left(&filter(json!({ "drop": [rule] }), &meter), &case).len()
    };
    for (conditions, kept) in [
        (json!({ "names": ["GET /health*"] }), 2),
        (json!({ "names": ["GET /health*"], "include_errors": true }), 1),
        (json!({ "names": ["POST *", "*orders"] }), 2),
        (json!({ "scopes": ["http.*"] }), 1),
        (json!({ "scopes": ["grpc.*"] }), 3),
        (json!({ "attributes": { "code": "2*" } }), 1),
        (json!({ "attributes": { "code": "*", "http.route": "/orders" } }), 2),
        (json!({ "resource": { "service.name": "shop" } }), 1),
        (json!({ "resource": { "service.name": "other" } }), 3),
        (json!({ "without": ["code"], "include_errors": true }), 2),
        (json!({ "names": ["*"], "signals": ["logs"] }), 3),
        (json!({ "names": ["GET *"], "attributes": { "http.route": "/nowhere" } }), 3),
    ] {
        assert_eq!(rule(conditions.clone()), kept, "{conditions}");
    }
    let text = meter.render();
    assert!(text.contains(r#"tollgate_filtered_items_total{processor="filter",rule="r",signal="traces"} "#), "{text}");
}

/// Log records are dropped by severity, and kept if they have none. Data points are dropped by metric name.
#[test]
fn logs_by_severity_and_points_by_metric() {
    let meter = Meter::new();
    let quiet = filter(json!({ "drop": [{ "name": "quiet", "severity_below": "warn" }] }), &meter);
    let record = |severity: u8| format!(r#"{{"severityNumber":{severity},"body":{{"stringValue":"x"}}}}"#);
    let records: Vec<String> = [0, 5, 9, 12, 13, 17].into_iter().map(record).collect();
    let text = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{}]}}]}}]}}"#, records.join(","));
    let mut logs = batch(request::from_json(Signal::Logs, &text));
    quiet.process(&mut logs).expect("never fails");
    let payload = &logs.payload;
    assert_eq!(payload.items().map(|item| payload.severity_number(item)).collect::<Vec<_>>(), [0, 13, 17]);
    assert!(!meter.render().contains("rule=\"quiet\""), "nothing is counted before the commit");
    let points = filter(json!({ "drop": [{ "name": "m", "names": ["process.*"] }] }), &meter);
    let metrics = json!({ "signal": "metrics", "items": [{ "metric": "process.cpu", "value": 1 }, { "metric": "runs", "value": 2 }] });
    let mut metrics = batch(request::payload(&metrics));
    points.process(&mut metrics).expect("never fails");
    assert_eq!(metrics.payload.item_count(), 1);
}

/// A trace is kept or dropped as a whole, on every gateway alike; traces kept at a smaller ratio are a subset; kept
/// items carry the ratio.
#[test]
fn sampling_keeps_whole_traces() {
    let id = |number: u64| {
        // Spread like random ids.
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        [&[7; 8][..], &mixed.to_be_bytes()].concat()
    };
    let kept =
        |ratio: f64| (0..10_000).filter(|number| matching::is_sampled(&id(*number), ratio)).collect::<BTreeSet<_>>();
    let (tenth, half) = (kept(0.1), kept(0.5));
    assert!((900..1100).contains(&tenth.len()), "{}", tenth.len());
    assert!((4800..5200).contains(&half.len()), "{}", half.len());
    assert!(tenth.is_subset(&half));
    assert_eq!((kept(0.0).len(), kept(1.0).len()), (0, 10_000));
    assert!(matching::is_sampled(&[], 0.0), "what has no trace stays");
    let meter = Meter::new();
    let step = filter(json!({ "sampling": { "ratio": 0.5 } }), &meter);
    let hex = |number: u64| id(number).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let items: Vec<Json> = (0..40).map(|at| json!({ "name": "a", "trace": hex(at / 4), "span": at + 1 })).collect();
    let mut batch = batch(request::payload(&json!({ "items": items })));
    step.process(&mut batch).expect("never fails");
    let payload = &batch.payload;
    let traces: Vec<&[u8]> = payload.items().map(|item| payload.trace_id(item)).collect();
    assert!(!traces.is_empty() && traces.len() < 40);
    for trace in &traces {
        assert_eq!(traces.iter().filter(|other| other == &trace).count(), 4, "whole");
    }
    assert!(payload.items().all(|item| payload.get(item, "tollgate.sample.ratio").is_some()));
}

/// On recordings of real clients most items are dropped, but none with tokens, a tool call, a turn or an error.
#[test]
fn presets_on_recordings() {
    for (client, most) in [("codex", 0.8), ("opencode", 0.7)] {
        let step = filter(json!({ "presets": [client] }), &Meter::new());
        let sessions = fs::read_dir(request::at("tests/recordings").join(client)).expect("recordings");
        let sessions = sessions.map(|entry| entry.expect("an entry").path()).filter(|path| path.is_dir());
        let (mut before, mut after) = (0, 0);
        for path in sessions.flat_map(|session| session_files(&session)) {
            let payload = request::recorded(&path);
            let signal = payload.signal();
            let telling = |payload: &Payload| {
                let tells =
                    |key: &str| key.starts_with("gen_ai.usage") || key.ends_with("token_count") || key == "tool_name";
                let has = |item| payload.attributes(item).any(|attribute| tells(attribute.key));
                let names = ["ai.", "Tool.", "session_task", "run_turn", "turn", "codex.api_request", "codex.tool"];
                let named = |item| names.iter().any(|name| payload.text(item, TextField::Name).starts_with(name));
                payload.items().filter(|item| has(*item) || named(*item) || payload.status_code(*item) == 2).count()
            };
            let was = telling(&payload);
            let mut batch = batch(payload);
            let spans = |payload: &Payload| if signal == Signal::Traces { payload.item_count() } else { 0 };
            before += spans(&batch.payload);
            step.process(&mut batch).expect("never fails");
            after += spans(&batch.payload);
            assert_eq!(telling(&batch.payload), was, "{}", path.display());
        }
        assert!(before > 100, "{client}: {before} spans");
        let gone = 1.0 - f64::from(after as u32) / f64::from(before as u32);
        assert!(gone >= most, "{client}: {gone} of {before} spans go");
    }
}

/// A rule without a condition, a duplicate name and a ratio above one are each reported.
#[test]
fn what_cannot_be_meant_is_refused() {
    let config: FilterConfig = serde_json::from_value(json!({
        "drop": [
            { "name": "all" },
            { "name": "a b", "names": ["x"] },
            { "name": "sampling", "names": ["x"] },
            { "name": "traces", "signals": ["traces"], "severity_below": "warn" },
        ],
        "sampling": { "ratio": 1.5 },
    }))
    .expect("readable");
    let problems = config.settings().expect_err("refused");
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["drop[0]", "drop[1].name", "drop[2].name", "drop[3].severity_below", "sampling.ratio"]);
    assert!(FilterConfig::default().settings().is_err());
}
