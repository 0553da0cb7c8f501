//! Events for connectors: each is emitted once, also across crashes; their contents, and data they must not contain.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::support::*;
use super::truth::read::{self, Series, attribute};
use crate::RunTracker;
use connectors::runs as connector;
use genai::testing::request;
use kernel::clock::{ManualClock, UnixNanos};
use otlp::r#gen::opentelemetry::proto;
use otlp::{Payload, Signal, UnknownFields};
use pipeline::forward_label::ForwardLabel;
use pipeline::testing::engine::Sink;
use pipeline::testing::rig::{Parts, Rig};
use pipeline::{PipelinePlan, Processor, RequestSource, Trust};
use proto::common::v1::{AnyValue, any_value::Value};
use proto::logs::v1::LogRecord;
use runs::{OutcomeVerdict, RunOutcome};
use telemetry::Meter;

const START: u64 = 1_700_000_000;

struct Gate {
    rig: Rig,
    runs: Arc<RunTracker>,
    connector: connector::RunsConnector,
}

fn open(folder: &Path, at: u64) -> Gate {
    let meter = Meter::new();
    let runs = runs_with(settings(), &meter);
    let sink = Sink::open("sink", Trust::Internal);
    let plan = |id: &str, signal, receiver: &str, processors| PipelinePlan {
        id: id.into(),
        signal,
        receivers: vec![receiver.into()],
        processors,
        exporters: vec![sink.clone()],
    };
    let step = Arc::<RunTracker>::clone(&runs) as Arc<dyn Processor>;
    let mut parts = Parts::new(Vec::new(), Vec::new());
    parts.pipelines = vec![
        PipelinePlan { exporters: Vec::new(), ..plan("traces", Signal::Traces, "otlp", vec![step]) },
        plan("logs/told", Signal::Logs, "told", Vec::new()),
        plan("metrics/told", Signal::Metrics, "told", Vec::new()),
    ];
    parts.clock = ManualClock::at(UnixNanos(at * 1_000_000_000));
    let clock = Arc::<ManualClock>::clone(&parts.clock);
    let signals = vec![Signal::Logs, Signal::Metrics];
    let settings = connector::RunsConfig::default().settings().unwrap_or_else(|_| panic!("valid"));
    let source = Arc::<RunTracker>::clone(&runs) as Arc<dyn RequestSource>;
    let connector = connector::RunsConnector::build("told".into(), settings, vec![source], signals, clock, &meter);
    Gate { rig: parts.open(folder), runs, connector }
}

impl Gate {
    fn put(&mut self, items: &[Json]) {
        let payload: Payload = request::payload(&json!({"items": items}));
        let wire = payload.encode(UnknownFields::Keep).ok().map(|encoded| Bytes::from(encoded.bytes)).unwrap();
        assert!(matches!(self.rig.put(wire), pipeline::Outcome::Accepted));
    }

    fn wait(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.rig.clock.advance(Duration::from_secs(1));
            self.rig.engine.tick();
        }
    }

    fn tell(&mut self) {
        let (connector, inlet) = (&self.connector, Arc::clone(&self.rig.engine.inlet));
        let (clock, committer) = (Arc::clone(&self.rig.clock), &mut self.rig.committer);
        let commit = || committer.step(Duration::ZERO).committed > 0;
        pipeline::testing::drive::drive(&clock, Duration::from_secs(60), connector.send_new_requests(&inlet), commit)
            .unwrap();
    }

    fn bodies(&self, signal: Signal) -> Vec<Bytes> {
        let copies = self.rig.waiting("sink").into_iter().map(|copy| ForwardLabel::split(&copy.body).unwrap());
        copies.filter(|(label, _)| label.signal == signal).map(|(_, body)| body).collect()
    }

    fn records(&self) -> Vec<LogRecord> {
        self.bodies(Signal::Logs).into_iter().flat_map(read::records).collect()
    }

    /// Sum or count by name in `/metrics` and labels.
    fn metrics(&self) -> Series {
        let mut all = Series::new();
        self.bodies(Signal::Metrics).into_iter().for_each(|body| read::add_metrics(body, &mut all, true));
        all
    }
}

fn run_of(trace: u64) -> Vec<Json> {
    let whose = |more: Json| {
        let own = json!({"gen_ai.provider.name": "openai", "session.id": format!("s{trace}"), "feature": "triage",
            "tenant.id": "acme"});
        merged(own, &more)
    };
    vec![
        json!({"name": "chat", "trace": trace, "span": 2, "parent": 1, "start": START, "end": START + 1, "attributes": whose(json!({
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 7,
            "gen_ai.input.messages": "[{\"role\": \"user\", \"parts\": [{\"type\": \"text\", \"content\": \"CANARY\"}]}]"}))}),
        json!({"name": "execute_tool", "trace": trace, "span": 3, "parent": 1, "start": START + 1, "end": START + 2, "attributes": whose(json!({
            "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "grep", "gen_ai.tool.call.arguments": "CANARY"}))}),
        json!({"name": "invoke_agent a", "trace": trace, "span": 1, "start": START, "end": START + 4, "attributes": whose(json!({
            "gen_ai.operation.name": "invoke_agent", "incident.id": "INC-1"}))}),
    ]
}

/// A finished run becomes one log event and its share of the metrics, without content.
#[test]
fn a_run_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut gate = open(folder.path(), START + 60);
    gate.put(&run_of(1));
    gate.tell();
    assert!(gate.records().is_empty(), "it may go on");
    gate.wait(40);
    gate.tell();
    gate.tell();
    let records = gate.records();
    assert_eq!(records.len(), 1);
    let run = &records[0];
    assert_eq!(run.event_name, "tollgate.run.summary");
    assert!(
        matches!(&run.body, Some(AnyValue { value: Some(Value::StringValue(name)) }) if name == "tollgate.run.summary")
    );
    assert_eq!((run.trace_id.len(), &*run.span_id), (16, &[0, 0, 0, 0, 0, 0, 0, 1][..]));
    for (key, expected) in [
        ("tollgate.run.id", &*format!("{:032}", 1)),
        ("session.id", "s1"),
        ("tollgate.run.state", "ended"),
        ("error", "0"),
        ("tenant.id", "acme"),
        ("agent.feature", "triage"),
        ("incident.id", "INC-1"),
        ("agent.total_input_tokens", "100"),
        ("agent.total_output_tokens", "7"),
        ("agent.tool_calls_made", "1"),
        ("tollgate.run.duration_seconds", "4"),
        ("tollgate.run.unpriced_calls", "1"),
        ("gen_ai.request.model", "m"),
    ] {
        assert_eq!(attribute(run, key), expected, "{key}");
    }
    assert_eq!(attribute(run, "tollgate.run.revision"), "");
    assert_eq!(attribute(run, "agent.estimated_cost_usd"), "", "a cost that lacks a price is none");
    let metrics = gate.metrics();
    for (name, expected) in [
        ("agent_run_iterations_sum{feature=triage,tenant=acme}", 1.0),
        ("agent_run_duration_seconds_sum{feature=triage,tenant=acme}", 4.0),
        ("agent_runs_total{feature=triage,state=ended,tenant=acme}", 1.0),
        ("agent_turn_input_tokens_sum{model=m}", 100.0),
        ("agent_investigations{agent_type=triage}", 1.0),
        ("agent_tool_calls_per_investigation_p95{agent_type=triage}", 1.0),
    ] {
        assert_eq!(metrics.get(name), Some(&expected), "{name} in {metrics:?}");
    }
    assert!(!metrics.keys().any(|name| name.starts_with("agent_session")), "the session may go on");
    gate.wait(31 * 60);
    gate.tell();
    let metrics = gate.metrics();
    for (name, expected) in [
        ("agent_session_duration_seconds_sum{feature=triage,model=m}", 4.0),
        ("agent_session_llm_calls_sum{feature=triage}", 1.0),
        ("agent_session_tool_calls_sum{feature=triage,tool_name=grep}", 1.0),
        ("agent_session_error_rate{feature=triage}", 0.0),
        ("agent_sessions_total{feature=triage}", 1.0),
        ("agent_run_iterations_sum{feature=triage,tenant=acme}", 1.0),
    ] {
        assert_eq!(metrics.get(name), Some(&expected), "{name} in {metrics:?}");
    }
    for signal in [Signal::Logs, Signal::Metrics] {
        assert!(gate.bodies(signal).iter().all(|body| !String::from_utf8_lossy(body).contains("CANARY")));
    }
}

/// A crash at any point between the end of a run and its emission: the run is emitted once.
#[test]
fn told_once_over_a_crash() {
    for (closed, told, saved) in
        [(false, false, false), (true, false, false), (true, false, true), (true, true, false), (true, true, true)]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut gate = open(folder.path(), START + 60);
        gate.put(&run_of(1));
        gate.wait(if closed { 40 } else { 2 });
        if saved {
            // a checkpoint is written only after another batch
            gate.put(&run_of(2));
            gate.rig.checkpoints.write().unwrap();
        }
        if told {
            gate.tell();
            assert_eq!(gate.records().len(), 1);
        }
        drop(gate);
        let mut gate = open(folder.path(), START + 120);
        gate.wait(40);
        gate.tell();
        gate.wait(2);
        gate.tell();
        let id = format!("{:032}", 1);
        let of_first = gate.records().into_iter().filter(|run| attribute(run, "tollgate.run.id") == id);
        assert_eq!(of_first.count(), 1, "closed {closed}, told {told}, saved {saved}");
        let iterations = gate.metrics()["agent_run_iterations_sum{feature=triage,tenant=acme}"];
        assert_eq!(iterations, if saved { 2.0 } else { 1.0 }, "closed {closed}, told {told}, saved {saved}");
    }
}

/// Late items, however late, cause another summary with a revision; repeated items do not.
#[test]
fn late_items_make_a_revision() {
    let folder = tempfile::tempdir().unwrap();
    let mut gate = open(folder.path(), START + 60);
    let items = run_of(1);
    gate.put(&[items[0].clone(), items[2].clone()]);
    gate.wait(40);
    gate.tell();
    gate.put(&[items[1].clone()]);
    gate.wait(40);
    gate.tell();
    // the same again: nothing new
    gate.put(&[items[1].clone(), items[0].clone()]);
    gate.wait(40);
    gate.tell();
    let told: Vec<_> = gate
        .records()
        .iter()
        .map(|run| (attribute(run, "tollgate.run.revision"), attribute(run, "agent.tool_calls_made")))
        .collect();
    assert_eq!(told, [("", "0"), ("1", "1")].map(|(revision, tools)| (revision.to_owned(), tools.to_owned())));
    gate.wait(16 * 60);
    let mut late = items[1].clone();
    late["span"] = json!(9);
    gate.put(&[late]);
    gate.wait(60);
    gate.tell();
    assert_eq!(gate.records().len(), 3, "sums have it too");
    assert_eq!(gate.metrics()["agent_run_iterations_sum{feature=triage,tenant=acme}"], 1.0, "measured once");
}

/// Alerts and overrides are emitted once each.
#[test]
fn alerts_and_overrides_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut gate = open(folder.path(), START + 60);
    let mut items = run_of(1);
    for n in 0..5 {
        let mut tool = items[1].clone();
        tool["span"] = json!(20 + n);
        items.push(tool);
    }
    gate.put(&items);
    gate.wait(40);
    let outcome = RunOutcome { verdict: OutcomeVerdict::Overridden, confidence: None, resolution_seconds: None };
    for _ in 0..2 {
        let effect = gate.runs.reported_outcome("default", &format!("{:032}", 1), outcome).unwrap();
        gate.rig.engine.applier.apply(&[effect], Some(pipeline::spool::RecordSeq(u64::MAX / 2)));
    }
    gate.tell();
    gate.tell();
    let records = gate.records();
    let alerts: Vec<&LogRecord> = records.iter().filter(|record| record.event_name == "tollgate.alert").collect();
    assert_eq!(alerts.len(), 1);
    assert_eq!(attribute(alerts[0], "tollgate.alert.rule"), "identical_tool_calls");
    assert_eq!(attribute(alerts[0], "tollgate.alert.value"), "6");
    let metrics = gate.metrics();
    assert_eq!(metrics["agent_human_override_count{agent_type=triage}"], 1.0);
    assert_eq!(metrics["agent_alert_total{rule=identical_tool_calls,tenant=acme}"], 1.0);
    assert_eq!(gate.runs.alerts().len(), 1);
}

/// Without a connector no news are kept; for a slow connector the oldest surplus news are dropped and counted.
#[test]
fn what_nobody_asks_for_is_not_kept() {
    let line = Line::new(runs());
    line.play(request::payload(&json!({"items": run_of(1)})));
    wait(&line.runs, NOW, Duration::from_secs(60));
    assert_eq!(line.runs.state.lock().outbox.entries.len(), 0);
    assert!(line.runs.next_request(Signal::Logs, NOW).is_none());
}
