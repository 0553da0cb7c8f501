//! When a run is over: its own root decides, whatever sub-agents do and in whatever order spans arrive.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::support::*;
use genai::testing::request;
use otlp::Signal;
use pipeline::{Processor, RequestSource};
use runs::{Alert, RunState, RunView};
use telemetry::{Meter, names};

fn agent(id: u64, parent: u64, times: [u64; 2]) -> Json {
    span("invoke_agent", [1, id, parent], times, &json!({"tenant.id": "acme"}))
}

/// A call that costs $0.10.
fn chat(id: u64, parent: u64, at: u64) -> Json {
    let more = merged(usage("gpt-4o", 40_000, 0), &json!({"tenant.id": "acme"}));
    span("chat", [1, id, parent], [at, at + 1], &more)
}

struct Scene {
    line: Line,
    meter: Meter,
    now: kernel::clock::UnixNanos,
}

impl Scene {
    fn new() -> Self {
        let meter = Meter::new();
        let line = Line::metered(runs_with(settings(), &meter), &meter);
        line.runs.tick(NOW);
        Self { line, meter, now: NOW }
    }

    fn send(&mut self, items: &[Json], then: u64) -> &mut Self {
        self.line.play(request::payload(&json!({"items": items})));
        self.wait(then)
    }

    fn wait(&mut self, seconds: u64) -> &mut Self {
        self.now = wait(&self.line.runs, self.now, Duration::from_secs(seconds));
        self
    }

    fn only(&self) -> RunView {
        let views = self.line.views();
        assert_eq!(views.len(), 1, "{:?}", views.iter().map(|view| (&view.run, view.state)).collect::<Vec<_>>());
        views.into_iter().next().unwrap()
    }

    /// Runs, live runs, iterations, tenths of a dollar.
    fn sums(&self) -> (u64, u64, u64, i128) {
        let all = self.line.runs.sums().all;
        (all.runs, all.live, all.iterations, all.atto_usd / 100_000_000_000_000_000)
    }

    fn alerts(&self) -> Vec<Alert> {
        self.line.runs.alerts()
    }

    /// Runs counted in the metrics.
    fn counted(&self) -> f64 {
        self.meter.values(&names::RUNS).iter().sum()
    }
}

/// Everything that cannot be corrected waits until the end is certain. A failed sub-agent, alone in its trace for so
/// long that its end is shown as the run's, is not counted in metrics, summaries and sessions; a late item takes its
/// end back at once. The run is counted in all of them once its root arrived. (`truth` compares all surfaces.)
#[test]
fn a_presumed_end_is_not_counted() {
    let mut scene = Scene::new();
    scene.line.runs.enable_signals(&[Signal::Logs, Signal::Metrics]);
    let mut failed = agent(2, 1, [0, 5]);
    failed["status"] = json!("error");
    scene.send(&[chat(3, 2, 0), failed], 10);
    assert_eq!(
        (scene.only().state, scene.only().failed, scene.line.runs.sums().all.failed),
        (RunState::Live, false, 0)
    );
    scene.wait(400);
    assert_eq!((scene.only().state, scene.sums()), (RunState::Failed, (1, 0, 1, 1)));
    let told = |scene: &Scene| {
        let news =
            [Signal::Logs, Signal::Metrics].map(|signal| scene.line.runs.next_request(signal, scene.now).is_some());
        (scene.meter.values(&names::RUNS), scene.meter.values(&names::SESSIONS), news)
    };
    assert_eq!(told(&scene), (Vec::new(), Vec::new(), [false, false]));
    scene.send(&[chat(5, 2, 3)], 3);
    assert_eq!((scene.only().state, scene.line.runs.sums().all.failed), (RunState::Live, 0), "it goes on");
    scene.wait(300);
    assert_eq!((scene.only().state, scene.line.runs.sums().all.failed), (RunState::Failed, 1));
    scene.send(&[chat(4, 1, 7), agent(1, 0, [0, 9])], 60);
    let view = scene.only();
    assert_eq!((view.state, view.failed, view.totals.sub_agents), (RunState::Ended, false, 1));
    assert_eq!(told(&scene), (vec![1.0], vec![1.0], [true, true]));
    let rendered = scene.meter.render();
    assert!(rendered.contains("agent_runs_total{state=\"ended\",tenant=\"acme\""), "{rendered}");
    assert!(
        rendered.contains("agent_run_duration_seconds_sum{tenant=\"acme\",feature=\"unattributed\"} 9"),
        "{rendered}"
    );
}

/// Items in one trace of the session `s`.
fn of(trace: u64, mut items: Vec<Json>) -> Vec<Json> {
    items.iter_mut().for_each(|item| {
        item["trace"] = json!(trace);
        item["attributes"]["session.id"] = json!("s");
    });
    items
}

/// A root that never arrives: the run is in metrics and summaries once its trace was quiet for `idle_timeout`, even if
/// other runs of its session go on.
#[test]
fn a_presumed_end_is_certain_in_the_end() {
    let mut scene = Scene::new();
    scene.send(&of(1, vec![chat(3, 2, 0), agent(2, 1, [0, 5])]), 10);
    for at in 0..4 {
        assert!(scene.meter.values(&names::RUNS).is_empty(), "not before");
        scene.send(&of(2, vec![chat(100 + at, 90, 600 * at)]), 590);
    }
    assert_eq!((scene.meter.values(&names::RUNS), scene.sums().1), (vec![1.0], 1));
}

/// Groups that are kept in case a run resumes are evicted first; no live run is evicted instead.
#[test]
fn dormant_groups_make_room() {
    let mut scene = Scene::new();
    let runs = |from: u64, count: u64| -> Vec<Json> {
        (from..from + count).flat_map(|trace| of(trace, vec![chat(2, 1, 0)])).collect::<Vec<_>>()
    };
    let mut items = runs(1, 2100);
    items.iter_mut().enumerate().for_each(|(at, item)| item["attributes"]["session.id"] = json!(format!("s{at}")));
    scene.send(&items, 31 * 60);
    let known = scene.line.runs.state.lock().store.len();
    assert_eq!((known, scene.line.views().len(), scene.sums()), (1000, 2100, (2100, 0, 2100, 2100)));
    assert!(scene.line.views().iter().all(|view| view.state == RunState::Idle));
    assert!(scene.meter.render().contains("tollgate_runs_evicted_total 0"), "{}", scene.meter.render());
}

/// Late items of a run whose group was evicted are added to its row; they used to replace it.
#[test]
fn an_evicted_run_that_goes_on_is_whole() {
    let config = crate::Config { max_runs: 1, ..crate::Config::default() };
    let mut scene = Scene::new();
    scene.line =
        Line::metered(runs_with(config.settings().unwrap_or_else(|_| panic!("valid")), &scene.meter), &scene.meter);
    scene.send(&of(1, vec![chat(3, 1, 0), agent(1, 0, [0, 5])]), 60);
    let mut other = of(2, vec![chat(5, 4, 10)]);
    other[0]["attributes"]["session.id"] = json!("t");
    scene.line.number_from(1_000_000);
    scene.send(&other, 60);
    assert_eq!(scene.line.views().len(), 2, "written");
    scene.line.number_from(2_000_000);
    scene.send(&of(1, vec![chat(6, 1, 4)]), 31 * 60);
    let run = scene.line.views().into_iter().find(|view| view.session == "s").unwrap();
    assert_eq!((run.totals.calls(), run.totals.atto_usd()), (2, 200_000_000_000_000_000));
}

/// Claude Code's spans name no run, its log events do, and may arrive after the run is over. The run is counted once,
/// under either id, and an alert that fired before ends with the run.
#[test]
fn a_run_that_is_named_late_is_one_run() {
    let mut scene = Scene::new();
    let span = |name: &str, id: u64, parent: u64| {
        let mut span = json!({"name": name, "trace": 1, "span": id, "start": T0 + id, "end": T0 + id + 1,
            "attributes": {"session.id": "s", "model": "claude-sonnet-4-5", "input_tokens": 10, "output_tokens": 1,
            "request_id": format!("req_{id}")}});
        if parent != 0 {
            span["parent"] = json!(parent);
        }
        span
    };
    let claude = |scene: &Scene, items: &[Json]| {
        let scope = json!({"name": "com.anthropic.claude_code.tracing"});
        scene.line.play(request::payload(&json!({"scope": scope, "items": items})));
    };
    let calls: Vec<Json> = (0..60).map(|at| span("claude_code.llm_request", 100 + at, 1)).collect();
    claude(&scene, &calls);
    scene.wait(5);
    claude(&scene, &[span("claude_code.interaction", 1, 0)]);
    scene.wait(60);
    assert_eq!((scene.counted(), scene.alerts().len()), (1.0, 1));
    let log = json!({"body": "claude_code.api_request", "time": T0 + 101, "trace": 1, "span": 1, "attributes": {
        "event.name": "api_request", "session.id": "s", "prompt.id": "p", "model": "claude-sonnet-4-5",
        "input_tokens": 10, "output_tokens": 1, "request_id": "req_100"}});
    let scope = json!({"name": "com.anthropic.claude_code.events"});
    scene.line.play(request::payload(&json!({"signal": "logs", "scope": scope, "items": [log]})));
    scene.wait(60);
    assert_eq!((&*scene.only().run, scene.counted(), scene.sums().0), ("p", 1.0, 1));
    let holding: Vec<bool> = scene.alerts().iter().map(|alert| alert.until.is_none()).collect();
    assert_eq!(holding, [false], "one alert, which ended with its run");
    scene.wait(31 * 60);
    assert_eq!(scene.meter.values(&names::SESSIONS), [1.0]);
}

/// Time without a process does not count for runs: replayed items are as recent as when they arrived, so late items
/// still have `settle` to arrive after a root.
#[test]
fn no_time_passes_between_processes() {
    let mut scene = Scene::new();
    scene.send(&[chat(2, 1, 0), agent(1, 0, [0, 5])], 5);
    let saved = scene.line.checkpoints();
    let mut after = Scene::new();
    after.line = Line::metered(runs_with(settings(), &after.meter), &after.meter);
    after.line.restore(&saved);
    after.now = scene.now.plus(Duration::from_secs(3600));
    after.wait(20);
    assert_eq!(after.counted(), 0.0);
    after.wait(20);
    assert_eq!(after.counted(), 1.0);
}

/// Token counts of one call are not limited to 2^32.
#[test]
fn tokens_beyond_32_bits() {
    let mut scene = Scene::new();
    let mut call = chat(2, 1, 0);
    call["attributes"]["gen_ai.usage.input_tokens"] = json!(5_000_000_000_u64);
    scene.send(&[call, agent(1, 0, [0, 5])], 60);
    assert_eq!(scene.only().totals.input_tokens(), 5_000_000_000);
}

/// The price table in use tells a retry from a fallback: ids that an overlay maps to one model are the same model.
#[test]
fn models_of_overlays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("overlay.yaml");
    let overlay = "schema: 1\noverlay: true\nversion: o\ncurrency: USD\nper_tokens: 1000000\nalias: {house-fast: openai/gpt-4o}\n";
    std::fs::write(&path, overlay).unwrap();
    let meter = Meter::new();
    let line = Line::priced(runs_with(settings(), &meter), &meter, |config| {
        config.overlays.push(path.display().to_string());
    });
    let mut failed = chat(2, 1, 0);
    failed["attributes"]["gen_ai.request.model"] = json!("house-fast");
    failed["status"] = json!("error");
    line.play(request::payload(&json!({"items": [failed, chat(3, 1, 2), agent(1, 0, [0, 5])]})));
    let views = line.views();
    let totals: Vec<_> = views.iter().map(|view| (view.totals.retries, view.totals.fallbacks.len())).collect();
    assert_eq!(totals, [(1, 0)]);
}

/// A span of an ordinary service: 1 is the trace; kind 2 is SERVER.
fn request(name: &str, [id, parent, kind]: [u64; 3], [start, end]: [u64; 2]) -> Json {
    json!({"name": name, "trace": 1, "span": id, "parent": parent, "kind": kind, "start": T0 + start, "end": T0 + end,
        "attributes": {"http.route": "/orders/{id}"}})
}

/// Must not regress: a service that makes a model call in each request had hundreds of live runs for half an hour.
#[test]
fn a_request_ends_its_run() {
    for (root, operation, failed) in [("POST /orders/{id}", "POST /orders/{id}", false), ("POST", "/orders/{id}", true)]
    {
        let mut scene = Scene::new();
        scene.send(&[chat(3, 2, 1)], 2);
        let mut root = request(root, [1, 0, 2], [0, 4]);
        if failed {
            root["status"] = json!("error");
        }
        scene.send(&[request("internal", [2, 1, 1], [1, 2]), root], 10);
        assert_eq!(scene.counted(), 0.0, "late logs may come");
        scene.wait(30);
        let view = scene.only();
        let state = if failed { RunState::Failed } else { RunState::Ended };
        assert_eq!((view.state, view.duration, scene.counted()), (state, 4_000_000_000, 1.0));
        assert_eq!((view.operation.as_deref(), view.root), (Some(operation), [0, 0, 0, 0, 0, 0, 0, 1]));
    }
}

/// An agent inside a request: its own span ends it as soon as the request says that nothing is above it.
#[test]
fn a_request_confirms_the_end_of_its_agent() {
    let mut scene = Scene::new();
    scene.send(&[chat(3, 2, 0), agent(2, 1, [0, 5])], 60);
    assert_eq!((scene.only().state, scene.counted()), (RunState::Live, 0.0));
    scene.send(&[request("GET", [1, 0, 2], [0, 9])], 60);
    assert_eq!((scene.only().state, scene.only().duration, scene.counted()), (RunState::Ended, 5_000_000_000, 1.0));
}

/// A service's part of a trace ends with its entry span, and is open again when another service's items come. The
/// entry span of an MCP server does not enclose the calls of the agent, so it ends nothing.
#[test]
fn a_remote_parent_ends_only_what_lies_in_its_span() {
    let mut scene = Scene::new();
    scene.send(&[chat(3, 2, 11), request("GET", [2, 1, 2], [10, 13])], 60);
    assert_eq!((scene.only().state, scene.counted()), (RunState::Ended, 1.0));
    scene.send(&[chat(4, 5, 2)], 60);
    assert_eq!((scene.only().state, scene.counted(), scene.sums().1), (RunState::Live, 1.0, 1), "open again");
    scene.send(&[agent(5, 0, [0, 20])], 60);
    let view = scene.only();
    assert_eq!((view.state, view.totals.calls(), scene.counted()), (RunState::Ended, 2, 1.0));

    let mut scene = Scene::new();
    let tool = span("execute_tool", [1, 7, 6], [21, 22], &json!({"gen_ai.tool.name": "search"}));
    scene.send(&[chat(3, 9, 0), tool, request("tools/call", [6, 5, 2], [20, 23])], 120);
    assert_eq!(scene.only().state, RunState::Live, "the agent goes on");
}

/// The root may arrive before the calls in its trace: exporters of two processes don't wait for each other. The entry of
/// a service that is known too does not displace it, and other accounts' traces of the same id have no part in it.
#[test]
fn a_root_that_arrives_first_ends_the_run() {
    let mut scene = Scene::new();
    scene.line.play_as("other", &[request("GET /other", [1, 0, 2], [0, 9])]);
    scene.send(&[request("GET", [1, 0, 2], [0, 4])], 5);
    scene.send(&[request("GET", [2, 1, 2], [1, 3])], 5);
    scene.send(&[chat(3, 2, 1)], 60);
    let view = scene.only();
    assert_eq!((view.state, view.duration, scene.counted()), (RunState::Ended, 4_000_000_000, 1.0));
    assert_eq!(view.operation.as_deref(), Some("/orders/{id}"));
}

/// Roots of traces in which no agent did anything make no group.
#[test]
fn an_ordinary_trace_is_no_run() {
    let mut scene = Scene::new();
    scene.send(&[request("GET", [1, 0, 2], [0, 4]), request("GET", [2, 1, 1], [0, 4])], 60);
    let known = scene.line.runs.state.lock().store.len();
    assert_eq!((known, scene.line.views().len()), (0, 0));
}
