//! Every recorded session, played in order, equals its hand count.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::support::*;
use genai::CallTokenBuckets;
use otlp::Value;
use rates::Usd;
use runs::{RunTotals, RunView};

/// Data that the telemetry lacks but the mock model knows; everything else must be equal.
struct Gaps {
    /// openai-v2 on the legacy conventions reports no cached and no reasoning tokens.
    cached: bool,
    /// … and no tools in traces.
    tools: bool,
}

fn gaps(session: &str) -> Gaps {
    let legacy = session == "semconv/openai-v2-events";
    Gaps { cached: !legacy, tools: !legacy }
}

/// The totals of all runs of a session.
fn together(views: &[RunView]) -> RunTotals {
    let mut totals = RunTotals::default();
    views.iter().for_each(|view| totals.add(&view.totals));
    totals
}

fn number(json: &Json) -> u64 {
    json.as_u64().unwrap_or(0)
}

/// The hand count's tokens, as disjoint buckets.
fn expected_tokens(session: &Session) -> CallTokenBuckets {
    let totals = &session.manifest["totals"];
    let (mut input, output) = (number(&totals["input_tokens"]), number(&totals["output_tokens"]));
    let (mut read, mut write) = (number(&totals["cache_read_tokens"]), number(&totals["cache_creation_tokens"]));
    let mut reasoning = number(&totals["reasoning_tokens"]);
    if !gaps(&session.name).cached {
        (read, write, reasoning) = (0, 0, 0);
    }
    if session.manifest["input_includes_cached"] == Json::Bool(true) {
        input -= read + write;
    }
    let long = number(&totals["cache_creation_1h_tokens"]);
    let (cache_write_5m, cache_write_1h) = (write - long, long);
    CallTokenBuckets { input, cache_read: read, cache_write_5m, cache_write_1h, output, reasoning }
}

/// Calls, tokens, tools by name and outcome, sessions and runs of every recording equal the hand count. (`golden.rs`
/// has the numbers of single runs.)
#[test]
fn hand_counts() {
    let mut wrong = Vec::new();
    let mut compared = 0;
    for session in CLIENTS.into_iter().flat_map(sessions) {
        let line = Line::whole(runs());
        session.payloads.iter().for_each(|payload| drop(line.play(payload.clone())));
        let views = line.views();
        let totals = together(&views);
        let mut check = |what: &str, got: String, expected: String| {
            compared += 1;
            if got != expected {
                wrong.push(format!("{}: {what} is {got} instead of {expected}", session.name));
            }
        };
        let hand = &session.manifest;
        check("calls", totals.calls().to_string(), number(&hand["totals"]["calls"]).to_string());
        check("tokens", format!("{:?}", totals.tokens()), format!("{:?}", expected_tokens(&session)));
        if gaps(&session.name).cached {
            let cost = hand["totals"]["cost_usd_exact"].as_str().unwrap();
            check("cost", Usd(totals.atto_usd()).to_string(), cost.to_owned());
        }
        check("unpriced", totals.unpriced().to_string(), "0".to_owned());
        check("tools", format!("{:?}", tools_of(&totals)), format!("{:?}", hand_tools(&session)));
        // `tests/cases/runs` says which of their traces are runs
        if !["codex", "gemini-cli"].contains(&session.name.split('/').next().unwrap()) {
            check("sessions", format!("{:?}", ids(&views)), format!("{:?}", hand_ids(&session)));
        }
        for (model, (calls, output)) in hand_models(hand) {
            // the answering model's name may end in a date
            let found = totals.models.iter().find(|(name, _)| name.starts_with(&model));
            let got = found.map(|(_, model)| (model.calls, model.tokens.output));
            check(&model, format!("{got:?}"), format!("{:?}", Some((calls, output))));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(compared > 100, "{compared}");
}

/// By tool: successful calls, failed or denied calls.
fn tools_of(totals: &RunTotals) -> BTreeMap<String, (u64, u64)> {
    totals.tools.iter().map(|(name, tool)| (name.clone(), (tool.ok, tool.failed + tool.denied))).collect()
}

fn hand_tools(session: &Session) -> BTreeMap<String, (u64, u64)> {
    let mut tools: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let calls = session.manifest["tool_calls"].as_array().unwrap();
    for call in calls.iter().filter(|_| gaps(&session.name).tools) {
        // Codex reports the name of an MCP server's tool without its namespace
        let name = call["name"].as_str().unwrap().rsplit("::").next().unwrap();
        let tool = tools.entry(name.to_owned()).or_default();
        match call["success"].as_bool().unwrap() {
            true => tool.0 += 1,
            false => tool.1 += 1,
        }
    }
    tools
}

/// Session and run ids of the views.
fn ids(views: &[RunView]) -> Vec<(String, String)> {
    views.iter().map(|view| (view.session.clone(), view.run.clone())).collect()
}

fn hand_ids(session: &Session) -> Vec<(String, String)> {
    let list = |key: &str| -> Vec<String> {
        session.manifest[key].as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned()).collect()
    };
    let of_session = [list("session_ids"), list("conversation_ids")].concat().first().unwrap().clone();
    let runs = [list("prompt_ids"), list("turn_ids"), list("trace_ids")];
    let runs = runs.into_iter().find(|ids| !ids.is_empty()).unwrap();
    let mut ids: Vec<_> = runs.into_iter().map(|run| (of_session.clone(), run)).collect();
    ids.sort();
    ids
}

/// By model: calls and output tokens.
fn hand_models(hand: &Json) -> BTreeMap<String, (u64, u64)> {
    let mut models: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for call in hand["calls"].as_array().unwrap().iter().filter(|call| call.get("error").is_none()) {
        let model = models.entry(call["model"].as_str().unwrap().to_owned()).or_default();
        *model = (model.0 + 1, model.1 + number(&call["output_tokens"]));
    }
    models
}

/// A root is stamped with the exact cost if every call has a price, and with none otherwise.
#[test]
fn roots_are_told_the_cost() {
    let costs = |name: &str| -> Vec<f64> {
        let client = name.split('/').next().unwrap();
        let session = sessions(client).into_iter().find(|session| session.name == name).unwrap();
        let line = Line::whole(runs());
        let batches: Vec<_> = session.payloads.into_iter().map(|payload| line.play(payload)).collect();
        let nodes = batches.iter().flat_map(|batch| batch.payload.items().map(|node| (&batch.payload, node)));
        let told = nodes.filter_map(|(payload, node)| payload.get(node, "agent.estimated_cost_usd"));
        told.map(|value| if let Value::Double(usd) = value { usd } else { -1.0 }).collect()
    };
    assert_eq!(costs("openinference/openai"), [0.00076034]);
    assert_eq!(costs("semconv/anthropic"), [0.0152865]);
    assert_eq!(costs("claude-otel-hooks/articles"), [0.012675, 0.00201]);
    // the log that bills the last call arrives after the root
    assert!(costs("claude-code/plain").is_empty());
    // its spans arrived before any log of the session, so they were priced from the spans; the logs add the rest
    assert_eq!(costs("claude-code/detailed"), [0.025614]);
}

/// Logs alone and traces alone give the same calls, except that logs report no call of a denied tool and no name of an
/// MCP tool.
#[test]
fn one_signal_alone() {
    for session in sessions("claude-code") {
        for signal in [otlp::Signal::Logs, otlp::Signal::Traces] {
            let line = Line::new(runs());
            let payloads = session.payloads.iter().filter(|payload| payload.signal() == signal);
            payloads.for_each(|payload| drop(line.play(payload.clone())));
            let views = line.views();
            let totals = together(&views);
            let hand = &session.manifest["totals"];
            assert_eq!(totals.calls(), number(&hand["calls"]), "{} {signal:?}", session.name);
            assert_eq!(totals.tokens().output, number(&hand["output_tokens"]), "{} {signal:?}", session.name);
            let hand_runs = session.manifest["prompt_ids"].as_array().unwrap().len();
            assert_eq!(views.len(), hand_runs, "{} {signal:?}", session.name);
            if signal == otlp::Signal::Traces {
                assert_eq!(tools_of(&totals), hand_tools(&session), "{}", session.name);
            }
        }
    }
}
