//! Figures beside calls and cost: limits, retries, fallbacks, loops, steps that stand out; and no locking while the
//! API is used.

use serde_json::{Value as Json, json};

use super::support::*;
use crate::{RunTracker, observation};
use genai::testing::request;
use runs::{RunState, RunView, StepKind};
use telemetry::Meter;

fn chat(at: u64, model: &str, more: Json) -> Json {
    span("chat", [1, at + 1, 1], [at, at + 1], &merged(json!({"gen_ai.request.model": model}), &more))
}

pub(super) fn answered(at: u64, model: &str, input: u64) -> Json {
    chat(at, model, json!({"gen_ai.usage.input_tokens": input, "gen_ai.usage.output_tokens": 1}))
}

fn failed(at: u64, model: &str, status: u64) -> Json {
    let mut item = chat(at, model, json!({"error.type": "api_error", "http.response.status_code": status}));
    item["status"] = json!("error");
    item
}

/// An answered call without reported usage is counted as such once, in live and finished runs; a failed call is not.
#[test]
fn calls_without_usage_are_counted() {
    let silent = |at: u64| chat(at, "gpt-5-mini", json!({}));
    let view = run(&[silent(1), silent(3), failed(5, "gpt-5-mini", 429), answered(7, "gpt-5-mini", 10)]);
    let model = &view.totals.models["gpt-5-mini"];
    assert_eq!((model.calls, model.unpriced, model.no_usage), (3, 3, 2), "{}", show(&view));
    let line = Line::new(runs());
    let other = chat(9, "gpt-5-mini", json!({"tenant.id": "other"}));
    let items = json!({"items": [silent(1), other, root(json!({"tenant.id": "acme"}))]});
    line.play(request::payload(&items));
    let totals = &line.views()[0].totals;
    assert_eq!((totals.models["gpt-5-mini"].no_usage, totals.other_tenants["other"].no_usage), (2, 1));
}

pub(super) fn tool(at: u64, name: &str, args: &str, more: Json) -> Json {
    let own = json!({"gen_ai.tool.name": name, "gen_ai.tool.call.arguments": args});
    span("execute_tool", [1, at + 1, 1], [at, at + 1], &merged(own, &more))
}

pub(super) fn root(attributes: Json) -> Json {
    span("invoke_agent", [1, 1, 0], [0, 500], &attributes)
}

/// The only run of these items, which must be the same forwards and backwards.
pub(super) fn run(items: &[Json]) -> RunView {
    let play = |items: &[&Json]| {
        let line = Line::new(runs());
        items.iter().for_each(|item| drop(line.play(request::payload(&json!({"items": [item]})))));
        let views = line.views();
        assert_eq!(views.len(), 1);
        views.into_iter().next().unwrap()
    };
    let there = play(&items.iter().collect::<Vec<_>>());
    let back = play(&items.iter().rev().collect::<Vec<_>>());
    assert!(there == back, "{}\n{}", show(&there), show(&back));
    there
}

/// A run that a limit ended is marked, whichever field reports it: a stop reason, a type of error, the exception of a
/// graph.
#[test]
fn killed_by_a_limit() {
    let stopped = run(&[answered(1, "m", 1), root(json!({"agent.stop_reason": "max_turns"}))]);
    assert_eq!((stopped.state, stopped.failed), (RunState::Killed, true));
    let mut graph = root(json!({"error.type": "langgraph.errors.GraphRecursionError"}));
    graph["status"] = json!("error");
    let view = run(&[answered(1, "m", 1), graph]);
    assert_eq!(view.state, RunState::Killed);
    assert_eq!(view.totals.errors["langgraph.errors.GraphRecursionError"], 1);
    let plain = run(&[answered(1, "m", 1), root(json!({}))]);
    assert_eq!(plain.state, RunState::Ended);
}

/// A failed call repeated with its model is a retry; with another model it is a fallback, with its reason.
#[test]
fn retries_and_fallbacks() {
    let view = run(&[failed(1, "big", 429), failed(3, "big", 529), answered(5, "small", 10), root(json!({}))]);
    assert_eq!((view.totals.retries, view.totals.failed_calls), (1, 2));
    let told: Vec<_> =
        view.totals.fallbacks.iter().map(|(names, count)| (names.each_ref().map(String::as_str), *count)).collect();
    assert_eq!(told, [(["overloaded_529", "openai", "big", "small"], 1)]);
    let troubles: Vec<_> = view.totals.troubles.iter().map(|([reason, _], count)| (&**reason, *count)).collect();
    assert_eq!(troubles, [("overloaded_529", 1), ("rate_limited_429", 1)]);
    let mut refused = answered(1, "big", 10);
    refused["attributes"]["gen_ai.response.finish_reasons"] = json!(["refusal"]);
    let view = run(&[refused, answered(3, "small", 10), root(json!({}))]);
    assert_eq!(view.totals.fallbacks.keys().next().map(|[reason, ..]| &**reason), Some("refusal"));
    assert_eq!(view.totals.retries, 0);
    let view = run(&[failed(1, "big", 400), answered(3, "other", 1), root(json!({}))]);
    assert_eq!(view.totals.fallbacks.keys().next().map(|[reason, ..]| &**reason), Some("other"));
    let view = run(&[answered(1, "big", 1), answered(3, "small", 1), root(json!({}))]);
    assert!(view.totals.fallbacks.is_empty(), "two models are no fallback");
}

/// `length`, `max_tokens` and `MAX_TOKENS` are the same reason.
#[test]
fn finish_reasons_are_one() {
    let mut items: Vec<Json> = ["length", "max_tokens", "MAX_TOKENS", "end_turn", "STOP"]
        .iter()
        .zip([1, 3, 5, 7, 9])
        .map(|(reason, at)| {
            let mut item = answered(at, "m", 1);
            item["attributes"]["gen_ai.response.finish_reasons"] = json!([reason]);
            item
        })
        .collect();
    items.push(root(json!({})));
    let finish = run(&items).totals.finish_reasons;
    assert_eq!((finish["length"], finish["stop"], finish.len()), (3, 2, 2));
}

/// Identical calls in a row are recognised by their arguments, whatever the order of keys; other calls, and calls
/// without arguments, are not.
#[test]
fn equal_calls_in_a_row() {
    let none = || json!({});
    let items = [
        tool(1, "grep", r#"{"path": "a", "q": 1}"#, none()),
        tool(3, "grep", r#"{"q":1,"path":"a"}"#, none()),
        tool(5, "grep", r#"{"q": 1.0, "path": "a"}"#, none()),
        tool(7, "grep", r#"{"q": 2, "path": "a"}"#, none()),
        tool(9, "read_file", r#"{"q": 2, "path": "a"}"#, none()),
        tool(11, "mcp__db__update", "x", none()),
        root(none()),
    ];
    let view = run(&items);
    let row = view.peaks.identical_row.unwrap();
    assert_eq!((&*row.tool, row.count), ("grep", 3));
    let window = view.peaks.busiest_window.unwrap();
    assert_eq!((&*window.tool, window.count), ("grep", 4));
    assert_eq!((view.totals.reads, view.totals.writes), (5, 1));
    let mut silent: Vec<Json> = (0..4).map(|n| tool(1 + 2 * n, "grep", "", none())).collect();
    silent.push(root(none()));
    assert!(run(&silent).peaks.identical_row.is_none());
}

/// The digest of arguments is keyed: the same call in two accounts, or under two keys, has two digests.
#[test]
fn digests_of_arguments_are_keyed() {
    let digest = |line: &Line, account: &str| {
        let batch = processed_as(&line.runs, account, &[tool(1, "grep", r#"{"q": 1}"#, json!({}))]);
        let sight = observation::BatchObservation::decode(&batch.effects[0].body).unwrap();
        sight.items[0].tool.as_ref().unwrap().args
    };
    let line = Line::new(runs());
    assert_eq!(digest(&line, "a"), digest(&line, "a"));
    assert_ne!(digest(&line, "a"), digest(&line, "b"));
    let other = Line::new(runs_keyed("another"));
    assert_ne!(digest(&line, "a"), digest(&other, "a"));
}

/// Calls of one tool within a time window; calls outside of it are not added.
#[test]
fn a_tool_in_a_window() {
    let at = |n: u64| {
        let mut item = tool(1 + n, "search", "", json!({}));
        item["start"] = json!(T0 + n * 200);
        item["end"] = json!(T0 + n * 200 + 1);
        item
    };
    let mut items: Vec<Json> = (0..10).map(at).collect();
    items.push(root(json!({})));
    let window = run(&items).peaks.busiest_window.unwrap();
    assert_eq!(window.count, 3, "of ten calls 200 s apart three fit into 10 minutes");
}

/// A tool called again after a failure is a retry; the slowest and the most expensive step and the context are
/// reported.
#[test]
fn steps_that_stand_out() {
    let mut failing = tool(1, "build", "", json!({}));
    failing["status"] = json!("error");
    let mut slow = tool(10, "build", "", json!({}));
    slow["end"] = json!(T0 + 60);
    let view =
        run(&[failing, slow, answered(3, "m", 100), answered(5, "m", 900), answered(7, "m", 400), root(json!({}))]);
    assert_eq!((view.totals.tools["build"].retries, view.totals.tools["build"].failed), (1, 1));
    let slowest = view.peaks.slowest.as_ref().unwrap();
    assert_eq!((slowest.kind, &*slowest.name, slowest.duration), (StepKind::Tool, "build", 50_000_000_000));
    assert_eq!(slowest.span, 0x11_u64.to_be_bytes(), "the span is known again");
    assert_eq!(view.peaks.context, [100, 400, 900]);
    assert!((view.peaks.context_growth() - 4.0).abs() < 1e-9);
    assert_eq!(view.root, 1_u64.to_be_bytes());
    assert_eq!(view.trace, format!("{:032}", 1));
}

/// An answer by another model than requested is counted; a date after the name does not make it another model.
#[test]
fn changed_models() {
    let ask = |at: u64, asked: &str, got: &str| {
        let mut item = answered(at, asked, 1);
        item["attributes"]["gen_ai.response.model"] = json!(got);
        item
    };
    let view = run(&[ask(1, "gpt-5-mini", "gpt-5-mini-2025-08-07"), ask(3, "opus", "haiku"), root(json!({}))]);
    assert_eq!(view.totals.model_changes, 1);
}

/// Tool calls are counted when they arrive, once each, whichever records report them, and not again on replay.
#[test]
fn tools_count_at_once() {
    let meter = Meter::new();
    let line = Line::new(runs_with(settings(), &meter));
    let with_id = |at: u64| tool(at, "grep", "", json!({"gen_ai.tool.call.id": "c1"}));
    line.play(request::payload(&json!({"items": [with_id(1)]})));
    assert!(!meter.render().contains("agent_tool_calls_total{"), "before the first tick effects are old ones");
    line.runs.tick_now(NOW);
    let mut bad = with_id(3);
    bad["status"] = json!("error");
    line.play(request::payload(&json!({"items": [with_id(3), bad, tool(5, "grep", "", json!({}))]})));
    let text = meter.render();
    assert!(text.contains("agent_tool_calls_total{tool_name=\"grep\"} 1"), "{text}");
    assert!(text.contains("agent_tool_failures_total{tool_name=\"grep\"} 1"), "{text}");
}

/// A span id can be recovered from its place.
#[test]
fn places_are_spans() {
    for n in 0..1000_u64 {
        let (trace, span) = ((u128::from(n) * 77 + 1).to_be_bytes(), (n * 31 + 1).to_be_bytes());
        assert_eq!(observation::span_id_of_place(trace, observation::span_place(trace, span)), span);
    }
}

fn runs_keyed(key: &str) -> std::sync::Arc<RunTracker> {
    use kernel::pseudonym::{PlainIds, Pseudonymizer};
    let ids = PlainIds(Pseudonymizer::new(&kernel::secret::Secret::new(key.into())));
    with_history(RunTracker::new("runs".into(), settings(), vocabulary(), std::sync::Arc::new(ids), &Meter::new()))
}

/// The span of a model that replaced another one is stamped with the reason and both models, also if the failed call
/// was in an earlier request; no other span is stamped.
#[test]
fn fallbacks_are_stamped() {
    let line = Line::new(runs());
    let words = |batch: &pipeline::Batch| -> Vec<Vec<String>> {
        let of = |node| {
            let names = ["reason", "from", "to"].map(|name| format!("tollgate.fallback.{name}"));
            names.iter().filter_map(|name| batch.payload.get_str(node, name).map(str::to_owned)).collect()
        };
        batch.payload.items().map(of).collect()
    };
    let none: Vec<Vec<String>> = vec![Vec::new()];
    assert_eq!(words(&line.play(request::payload(&json!({"items": [failed(1, "big", 529)]})))), none);
    let batch = line.play(request::payload(&json!({"items": [answered(3, "small", 10)]})));
    assert_eq!(words(&batch), [["overloaded_529", "big", "small"]]);
    assert_eq!(words(&line.play(request::payload(&json!({"items": [answered(5, "small", 10)]})))), none);
    let both = line.play(request::payload(&json!({"items": [failed(7, "small", 429), answered(9, "other", 1)]})));
    assert_eq!(words(&both), [vec![], ["rate_limited_429", "small", "other"].map(str::to_owned).to_vec()]);
}
