//! Each rule fires for its subject and is silent otherwise; more traffic alone fires nothing.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::support::*;
use crate::alerts::{AlertEvaluator, AlertThresholds, RuleContext};
use genai::testing::request;
use kernel::clock::UnixNanos;
use otlp::Payload;
use pipeline::Processor;
use runs::{Alert, RunState, RunView};
use telemetry::Meter;

/// A run with a session of its own: model calls with this many tokens, tools, seconds.
#[derive(Clone, Copy)]
struct Plan {
    trace: u64,
    calls: u64,
    tokens: u64,
    tools: u64,
    equal: bool,
    failing: bool,
    seconds: u64,
    ended: bool,
}

const PLAIN: Plan =
    Plan { trace: 1, calls: 3, tokens: 1000, tools: 2, equal: false, failing: false, seconds: 60, ended: true };

fn payload(plan: &Plan) -> Payload {
    let session = format!("s{}", plan.trace);
    let whose = json!({"session.id": session, "feature": "triage", "tenant.id": "acme"});
    let item = |operation: &str, id: u64, at: u64, length: u64, more: Json| {
        let ids = [plan.trace, id, u64::from(id != 1)];
        span(operation, ids, [at, at + length], &merged(whose.clone(), &more))
    };
    let mut items = Vec::new();
    for n in 0..plan.calls {
        items.push(item("chat", 1000 + n, n, 1, usage("gpt-5-mini", plan.tokens, 1)));
    }
    for n in 0..plan.tools {
        let args = if plan.equal { "{}".to_owned() } else { format!("{{\"n\": {n}}}") };
        let call = json!({"gen_ai.tool.name": "grep", "gen_ai.tool.call.arguments": args});
        let mut tool = item("execute_tool", 5000 + n, n, 1, call);
        if plan.failing {
            tool["status"] = json!("error");
        }
        items.push(tool);
    }
    if plan.ended {
        items.push(item("invoke_agent", 1, 0, plan.seconds, json!({})));
    }
    request::payload(&json!({"items": items}))
}

struct Scene {
    line: Line,
    meter: Meter,
    now: UnixNanos,
    next: u64,
}

impl Scene {
    fn new() -> Self {
        let meter = Meter::new();
        let line = Line::whole(runs_with(settings(), &meter));
        let now = UnixNanos((T0 + 60) * 1_000_000_000);
        line.runs.tick(now);
        Self { line, meter, now, next: 100 }
    }

    fn play(&mut self, plan: Plan) -> &mut Self {
        self.line.play(payload(&plan));
        self
    }

    /// Plays this many runs that end, each with a trace and a session of its own.
    fn past(&mut self, count: u64, plan: Plan) -> &mut Self {
        for _ in 0..count {
            self.next += 1;
            self.line.play(payload(&Plan { trace: self.next, ..plan }));
        }
        self
    }

    fn wait(&mut self, minutes: u64) -> &mut Self {
        self.now = wait(&self.line.runs, self.now, Duration::from_secs(60 * minutes));
        self
    }

    /// Rules that are firing now.
    fn firing(&self) -> Vec<&'static str> {
        let mut rules: Vec<&str> =
            self.all().iter().filter(|alert| alert.until.is_none()).map(|alert| alert.rule.as_str()).collect();
        rules.sort_unstable();
        rules
    }

    /// Rules that fired at any time.
    fn fired(&self) -> Vec<&'static str> {
        let mut rules: Vec<&str> = self.all().iter().map(|alert| alert.rule.as_str()).collect();
        rules.sort_unstable();
        rules
    }

    fn all(&self) -> Vec<Alert> {
        self.line.runs.alerts()
    }
}

/// Ordinary runs fire nothing, nor do three times as many of them.
#[test]
fn traffic_alone_is_silent() {
    let mut scene = Scene::new();
    scene.past(60, PLAIN).wait(35).past(180, PLAIN).wait(35);
    assert!(scene.fired().is_empty(), "{:?}", scene.fired());
    assert!(!scene.meter.render().contains("agent_alert_total{"));
}

/// Near the ceiling a warning fires, at the ceiling a critical alert; both end with the run and fire once.
#[test]
fn ceilings() {
    let mut scene = Scene::new();
    scene.play(Plan { calls: 40, ended: false, ..PLAIN }).wait(1);
    assert_eq!(scene.firing(), ["iteration_ceiling_warning"]);
    scene.play(Plan { calls: 50, ended: false, ..PLAIN }).wait(1);
    assert_eq!(scene.firing(), ["iteration_ceiling", "iteration_ceiling_warning"]);
    let alert = scene.all().into_iter().find(|alert| alert.rule.as_str() == "iteration_ceiling").unwrap();
    assert_eq!((alert.value, alert.threshold, &*alert.session), (50.0, 50.0, "s1"));
    assert_eq!(alert.trace, format!("{:032}", 1), "it leads to its trace");
    scene.play(Plan { calls: 50, ..PLAIN }).wait(2);
    assert!(scene.firing().is_empty(), "{:?}", scene.firing());
    assert_eq!(scene.fired(), ["iteration_ceiling", "iteration_ceiling_warning"]);
    assert!(
        scene.meter.render().contains("agent_alert_total{rule=\"iteration_ceiling\",tenant=\"acme\"} 1"),
        "{}",
        scene.meter.render()
    );
    let mut below = Scene::new();
    below.play(Plan { calls: 39, ..PLAIN }).wait(2);
    assert!(below.fired().is_empty());
}

/// Loops: five identical calls in a row, more than twenty calls of one tool, more than two retries of a tool.
#[test]
fn loops() {
    let fired = |plan: Plan| Scene::new().play(plan).wait(2).fired();
    assert_eq!(fired(Plan { tools: 5, equal: true, ..PLAIN }), ["identical_tool_calls"]);
    assert!(fired(Plan { tools: 4, equal: true, ..PLAIN }).is_empty());
    assert_eq!(fired(Plan { tools: 21, ..PLAIN }), ["tool_calls_in_window"]);
    assert!(fired(Plan { tools: 20, ..PLAIN }).is_empty());
    assert_eq!(fired(Plan { tools: 4, failing: true, ..PLAIN }), ["tool_retries"]);
    assert!(fired(Plan { tools: 3, failing: true, ..PLAIN }).is_empty());
}

/// A run that goes on and on fires; a run that was quiet has ended instead.
#[test]
fn unended_runs() {
    let mut scene = Scene::new();
    for n in 0..7 {
        scene.play(Plan { calls: 3 + n, ended: false, ..PLAIN }).wait(10);
    }
    assert_eq!(scene.firing(), ["run_overdue"]);
    scene.wait(40);
    assert!(scene.firing().is_empty(), "ended by being quiet");
}

/// A session that costs far more than the median of its feature fires while it goes on; without a baseline nothing
/// fires.
#[test]
fn dear_sessions() {
    let mut scene = Scene::new();
    scene.past(29, PLAIN).wait(35).play(Plan { tokens: 60_000, ..PLAIN }).wait(2);
    assert!(scene.fired().is_empty(), "29 are no past");
    let mut scene = Scene::new();
    scene.past(30, PLAIN).wait(35).play(Plan { tokens: 4_900, ended: false, ..PLAIN }).wait(1);
    assert!(scene.fired().is_empty(), "{:?}", scene.fired());
    scene.play(Plan { trace: 2, tokens: 6_000, ended: false, ..PLAIN }).wait(1);
    assert_eq!(scene.firing(), ["session_cost"]);
    scene.play(Plan { trace: 3, tokens: 60_000, ended: false, ..PLAIN }).wait(1);
    assert_eq!(scene.firing(), ["session_cost", "session_cost_runaway"]);
    scene.wait(35);
    assert!(scene.firing().iter().all(|rule| !rule.starts_with("session")), "{:?}", scene.firing());
}

/// A session's alert follows its cost when sub-agents with alphabetically earlier names than its feature arrive.
/// Regression test: the session was taken for one of the sub-agent's feature, which has no baseline.
#[test]
fn a_dear_session_is_its_features() {
    let mut scene = Scene::new();
    scene.past(30, PLAIN).wait(35).play(Plan { trace: 3, tokens: 60_000, ended: false, ..PLAIN }).wait(1);
    let cost = |scene: &Scene| {
        scene
            .all()
            .iter()
            .find(|alert| alert.rule.as_str() == "session_cost_runaway" && alert.until.is_none())
            .unwrap()
            .value
    };
    let before = cost(&scene);
    let whose = json!({"session.id": "s3", "feature": "analyst", "tenant.id": "acme"});
    let items = [
        span("chat", [3, 8001, 8000], [2, 3], &merged(whose.clone(), &usage("gpt-5-mini", 60_000, 1))),
        span("invoke_agent", [3, 8000, 1], [2, 3], &whose),
    ];
    scene.line.play(request::payload(&json!({"items": items})));
    scene.wait(1);
    let after = cost(&scene);
    assert!((after / before - 4.0 / 3.0).abs() < 0.01, "{before} {after}: three calls, then four");
}

/// A session that takes more than twice the 95th percentile fires.
#[test]
fn long_sessions() {
    let mut scene = Scene::new();
    scene.past(30, PLAIN).wait(35).play(Plan { seconds: 119, ..PLAIN }).wait(2);
    assert!(scene.fired().is_empty(), "{:?}", scene.fired());
    scene.play(Plan { trace: 2, seconds: 130, ..PLAIN }).wait(2);
    assert_eq!(scene.fired(), ["session_duration"]);
}

/// Tokens per run or cost per run that rise by half are drift, independent of traffic; a return to normal ends the
/// alert.
#[test]
fn drift() {
    let mut scene = Scene::new();
    scene.past(60, PLAIN).wait(2).past(30, Plan { tokens: 1_400, ..PLAIN }).wait(2);
    assert!(scene.fired().is_empty(), "{:?}", scene.fired());
    let mut scene = Scene::new();
    scene.past(60, PLAIN).wait(2).past(30, Plan { tokens: 1_700, ..PLAIN }).wait(2);
    assert_eq!(scene.firing(), ["cost_per_run_drift", "tokens_per_run_drift"]);
    scene.past(60, PLAIN).wait(2);
    assert!(scene.firing().is_empty(), "{:?}", scene.firing());
}

/// Ended alerts are listed also beside as many active ones as there can be: a webhook waits for the end.
#[test]
fn ended_alerts_are_listed_beside_all_active_ones() {
    let (limits, mut alerts, mut scene) = (AlertThresholds::default(), AlertEvaluator::default(), Scene::new());
    scene.play(PLAIN).wait(2);
    let killed = RunView { state: RunState::Killed, ..scene.line.runs.recent_runs(1).remove(0) };
    for n in 0..1100 {
        let view = RunView { run: format!("r-{n}"), ..killed.clone() };
        alerts.evaluate_run(&view, false, &mut 0, RuleContext { limits: &limits, ceiling: 50, now: n });
    }
    assert_eq!(alerts.all().iter().filter(|alert| alert.until.is_some()).count(), 100);
}
