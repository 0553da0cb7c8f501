//! Hooks of Claude Code in a whole gateway: they join the runs of the native telemetry, count nothing twice, and their
//! content stays inside. The real client is tried in `tests/peers/parts/claude.py`.

use std::fs;

use kernel::clock::{Clock as _, SystemClock};
use otlp::Signal;
use serde_json::{Value, json};

use crate::client::{JSON, ask, status_and_body};
use crate::gateway;
use crate::sources::root;

const SESSION: &str = "tests/recordings/claude-code/mixed";

/// The unix time of the recording's first item, ns, and an hour.
const RECORDED: u64 = 1_795_165_533_926_000_000;
const HOUR: u64 = 3_600_000_000_000;

/// The request with the recording's times (fixed64 fields) moved by whole hours to the last one: runs that ended days
/// ago are not shown.
fn moved_to_now(mut body: Vec<u8>) -> Vec<u8> {
    let now = SystemClock::new().now().0;
    let shift = (now - RECORDED) / HOUR * HOUR;
    for at in 0..body.len().saturating_sub(7) {
        let time = u64::from_le_bytes(body[at..at + 8].try_into().unwrap());
        if (RECORDED..RECORDED + HOUR).contains(&time) {
            body[at..at + 8].copy_from_slice(&(time + shift).to_le_bytes());
        }
    }
    body
}

/// The runs after the native telemetry of the recorded session, its hooks or both, and what left.
async fn played(with_native: bool, with_hooks: bool) -> (Vec<Value>, String) {
    let folder = tempfile::tempdir().unwrap();
    let hooks = json!({
        "receivers": { "claude_code_hooks": { "endpoint": "127.0.0.1:0" } },
        "service": { "pipelines": { "traces": { "receivers": ["otlp", "claude_code_hooks"] } } },
    });
    let app = gateway::start(&gateway::configuration(folder.path(), &hooks), folder.path()).await;
    let at = |name: &str| gateway::address(&app, name);
    let (otlp, hooks, admin) = (at("otlp http"), at("claude_code_hooks"), at("admin"));
    let manifest = fs::read(root().join("tests/recordings/claude-code/manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    let files = manifest["sessions"]["mixed"]["files"].as_array().unwrap().clone();
    for file in files.iter().filter(|file| with_native && file["signal"] != "metrics") {
        let signal = if file["signal"] == "logs" { Signal::Logs } else { Signal::Traces };
        let body = fs::read(root().join(SESSION).join(file["file"].as_str().unwrap())).unwrap();
        gateway::post(otlp, signal, &moved_to_now(body));
    }
    let mut events: Vec<_> =
        fs::read_dir(root().join(SESSION).join("hooks")).unwrap().map(|file| file.unwrap().path()).collect();
    events.sort();
    for event in events.iter().filter(|_| with_hooks) {
        let answer = ask(hooks, "POST /v1/hooks/claude-code", JSON, &fs::read(event).unwrap());
        assert_eq!(status_and_body(&answer), (200, String::new()), "{}", event.display());
    }
    let (status, runs) = status_and_body(&ask(admin, "GET /api/runs", "", b""));
    assert_eq!(status, 200, "{runs}");
    let mut runs = serde_json::from_str::<Value>(&runs).unwrap()["runs"].as_array().unwrap().clone();
    runs.sort_by_key(|run| run["start"].to_string());
    app.shutdown().await;
    (runs, fs::read_to_string(folder.path().join("outbound.jsonl")).unwrap())
}

/// The figures of a run that hooks must not change.
fn figures(run: &Value) -> Value {
    let totals = &run["totals"];
    let names = "model_calls failed_model_calls iterations tool_calls failed_tool_calls sub_agents tokens cost_usd tools \
        permission_denials";
    let figures = names.split_whitespace().map(|name| (name.to_owned(), totals[name].clone()));
    let ids = ["id", "session_id"].iter().map(|name| ((*name).to_owned(), run[*name].clone()));
    Value::Object(ids.chain(figures).collect())
}

/// Hooks beside native telemetry join its runs and change none of their figures.
#[tokio::test(flavor = "multi_thread")]
async fn hooks_join_the_native_runs() {
    let (native, _) = played(true, false).await;
    let (both, outbound) = played(true, true).await;
    assert_eq!(native.len(), 2);
    assert_eq!(native.iter().map(figures).collect::<Vec<_>>(), both.iter().map(figures).collect::<Vec<_>>());
    assert!(native[0]["totals"]["tool_calls"] == 4, "{}", figures(&native[0]));
    assert!(native[0]["totals"]["sub_agents"] == 1, "{}", figures(&native[0]));
    let spans = outbound.matches("\"claude_code_hooks\"").count();
    assert!(spans > 0, "the spans of hooks leave");
    assert!(!outbound.contains("CANARY-subtoolargs") && !outbound.contains("CANARY-completion"), "no content leaves");
}

/// Hooks alone tell of the runs too: turns, tools, sub-agents and ends, without models and cost.
#[tokio::test(flavor = "multi_thread")]
async fn hooks_alone_make_runs() {
    let (runs, outbound) = played(false, true).await;
    assert_eq!(runs.len(), 2);
    let totals = &runs[0]["totals"];
    let found = [&totals["tool_calls"], &totals["sub_agents"], &totals["model_calls"], &totals["cost_usd"]];
    assert_eq!(found, [&json!(3), &json!(1), &json!(0), &json!("0")], "{totals}");
    assert!(!outbound.contains("CANARY"), "no content leaves");
}
