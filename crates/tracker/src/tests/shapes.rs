//! Shapes that no recording has: shared traces, late sessions, several roots, layers, cycles, ids used twice.

use serde_json::{Value as Json, json};

use super::support::*;
use genai::testing::request;
use otlp::Payload;
use runs::RunView;

fn span(name: &str, trace: u64, span: u64, parent: u64, attributes: Json) -> Json {
    json!({"name": name, "trace": trace, "span": span, "parent": parent, "start": T0 + span, "end": T0 + span,
        "attributes": attributes})
}

fn chat(trace: u64, at: u64, parent: u64) -> Json {
    super::support::span("chat", [trace, at, parent], [at, at], &usage("m", 10, 1))
}

fn agent(trace: u64, at: u64, parent: u64, session: &str) -> Json {
    let session = if session.is_empty() { json!({}) } else { json!({"gen_ai.conversation.id": session}) };
    super::support::span("invoke_agent", [trace, at, parent], [at, at + 100], &session)
}

fn payload(item: &Json) -> Payload {
    request::payload(&json!({"items": [item]}))
}

/// Plays items one by one in every rotation and backwards; the runs must always be the same.
fn always(items: &[Json]) -> Vec<RunView> {
    let play = |items: &[Json]| {
        let line = Line::new(runs());
        items.iter().for_each(|item| drop(line.play(payload(item))));
        line.views()
    };
    let expected = play(items);
    let mut backwards = items.to_vec();
    backwards.reverse();
    for list in [items.to_vec(), backwards] {
        for at in 0..list.len() {
            let mut turned = list.clone();
            turned.rotate_left(at);
            let got = play(&turned);
            let text = |views: &[RunView]| views.iter().map(show).collect::<Vec<_>>().join("\n");
            assert!(got == expected, "turned by {at}:\n{}\ninstead of\n{}", text(&got), text(&expected));
        }
    }
    expected
}

/// (session, run, calls, sub-agents)
fn brief(views: &[RunView]) -> Vec<(&str, &str, u64, u64)> {
    views.iter().map(|view| (&*view.session, &*view.run, view.totals.calls(), view.totals.sub_agents)).collect()
}

fn trace(n: u64) -> String {
    format!("{n:032}")
}

/// Two invocations under one service's span are two runs of one session, even if only one span names the session.
#[test]
fn two_roots_of_a_trace() {
    let items = [
        agent(1, 2, 1, "s"),
        chat(1, 3, 2),
        agent(1, 4, 1, ""),
        chat(1, 5, 4),
        chat(1, 6, 4),
        span("POST /run", 1, 1, 0, json!({"http.request.method": "POST", "gen_ai.conversation.id": "s"})),
    ];
    let views = always(&items);
    let ids: Vec<_> = views.iter().map(|view| (&*view.session, view.totals.calls())).collect();
    assert_eq!(ids, [("s", 1), ("s", 2)]);
    assert_eq!(views[0].run, trace(1));
    assert!(views[1].run.starts_with(&format!("{}-", trace(1))), "{}", views[1].run);
}

/// A trace without a session forms its own; it moves to the session that a later item names.
#[test]
fn sessions_told_late() {
    let views = always(&[chat(1, 2, 1), chat(1, 3, 1)]);
    let session = format!("trace-{}", trace(1));
    assert_eq!(brief(&views), [(&*session, &*trace(1), 2, 0)]);
    let views = always(&[chat(1, 2, 1), chat(1, 3, 1), agent(1, 1, 0, "s")]);
    assert_eq!(brief(&views), [("s", &*trace(1), 2, 0)]);
}

/// Two sessions that share a trace are separated by their roots.
#[test]
fn sessions_that_share_a_trace() {
    let views = always(&[agent(1, 2, 1, "a"), chat(1, 3, 2), agent(1, 4, 1, "b"), chat(1, 5, 4)]);
    let got: Vec<_> = views.iter().map(|view| (&*view.session, view.totals.calls())).collect();
    assert_eq!(got, [("a", 1), ("b", 1)]);
}

/// An instrumentation's span around the vendor's: one call, priced or not, also in separate requests.
#[test]
fn layers_are_one_call() {
    let mut outer = chat(1, 2, 1);
    outer["attributes"]["gen_ai.usage.output_tokens"] = json!(1);
    let inner = chat(1, 3, 2);
    let other = chat(1, 4, 1);
    let views = always(&[outer, inner, other, agent(1, 1, 0, "s")]);
    assert_eq!(views[0].totals.calls(), 2);
    assert_eq!(views[0].totals.tokens().output, 2);
}

/// A retry inside a call that was answered: one call, one failure.
#[test]
fn failed_attempts_below_a_call() {
    let mut failed =
        span("chat m", 1, 3, 2, json!({"gen_ai.provider.name": "openai", "gen_ai.operation.name": "chat"}));
    failed["status"] = json!("error");
    let views = always(&[agent(1, 1, 0, "s"), chat(1, 2, 1), failed]);
    assert_eq!((views[0].totals.calls(), views[0].totals.failed_calls), (1, 1));
}

/// Parents in a cycle, and a span that is its own parent: each call counts once, and nothing hangs.
#[test]
fn rings_of_parents() {
    let mut items = vec![chat(1, 1, 4), agent(1, 2, 1, "s"), chat(1, 3, 2), agent(1, 4, 3, ""), chat(1, 5, 5)];
    let views = always(&items);
    assert_eq!(views.iter().map(|view| view.totals.calls()).sum::<u64>(), 3);
    // calls directly below each other in a cycle are one call, or none
    items = vec![chat(1, 1, 2), chat(1, 2, 1)];
    let views = always(&items);
    assert!(views.iter().map(|view| view.totals.calls()).sum::<u64>() <= 1);
}

/// Bare spans (`model`, `tool`, `iteration`): the trace is the run, and reported iterations count.
#[test]
fn bare_spans() {
    let model = |at: u64, iteration: u64| {
        span(
            "model",
            1,
            at,
            1,
            json!({"model": "m", "tenant": "acme", "iteration": iteration, "input_tokens": 1, "output_tokens": 1}),
        )
    };
    let mut failed = span(
        "model",
        1,
        9,
        1,
        json!({"model": "m", "tenant": "acme", "iteration": 7, "error": "RateLimitError", "status": 429}),
    );
    failed["start"] = json!(1_795_166_001);
    failed["end"] = json!(1_795_166_001);
    let tool = span("tool", 1, 5, 1, json!({"tool": "search", "arguments": "x", "iteration": 1, "success": false}));
    let views = always(&[model(2, 1), model(3, 1), model(4, 2), failed, tool]);
    assert_eq!(views.len(), 1);
    let totals = &views[0].totals;
    assert_eq!((totals.calls(), totals.failed_calls, totals.iterations, totals.tools["search"].failed), (3, 1, 3, 1));
    assert_eq!((views[0].tenant.as_deref(), views[0].failed), (Some("acme"), false));
}
