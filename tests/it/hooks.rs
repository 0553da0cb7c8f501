//! Hooks in a whole gateway: those of Claude Code join the runs of the native telemetry, count nothing twice, and their
//! content stays inside; `tollgate hook` asks for other clients. The real Claude Code is tried in
//! `tests/peers/parts/claude.py`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};

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
    // the length of the last message, which itself is in the vault
    assert_eq!(totals["summary"], json!({"characters": 47, "words": 3}), "{totals}");
    let lengths = ["response.char_length", "response.word_count"].map(|key| outbound.matches(key).count());
    assert_eq!(lengths, [3, 3], "of two turns and a sub-agent");
    assert!(!outbound.contains("CANARY"), "no content leaves");
}

/// Runs `tollgate hook` with an event on standard input: its exit code, output and messages.
fn run_hook(client: &str, event: &[u8], environment: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["hook", client]).args(arguments).env_clear().envs(environment.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // a command that refuses its arguments reads nothing
    drop(child.stdin.take().unwrap().write_all(event));
    let output = child.wait_with_output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (output.status.code().unwrap(), out, err)
}

const CODEX_CALL: &[u8] =
    br#"{"session_id":"s1","hook_event_name":"PreToolUse","tool_name":"Bash","tool_input":{"command":"CANARY"}}"#;

/// A server that gives every connection this answer, or none.
fn fake_server(answer: Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for mut socket in listener.incoming().map(Result::unwrap) {
            if let Some(answer) = answer {
                let mut read = [0; 4096];
                drop(socket.read(&mut read));
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", answer.len());
                drop(socket.write_all(format!("{head}{answer}").as_bytes()));
            }
            open.push(socket);
        }
    });
    address
}

/// The command asks a gateway whose budget stops the work, in each client's form, and only with the token.
#[tokio::test(flavor = "multi_thread")]
async fn the_hook_command_asks() {
    let folder = tempfile::tempdir().unwrap();
    let token = "token-of-a-developer";
    let hooks = json!({
        "receivers": { "claude_code_hooks": { "endpoint": "127.0.0.1:0", "auth": { "tokens": { "acme": [token] } } } },
        "processors": { "runs": { "budgets": {
            "features": { "scope": "feature", "amount": "1 USD", "action": "deny", "on_unknown": "deny" },
        } } },
        "service": { "pipelines": { "traces": { "receivers": ["otlp", "claude_code_hooks"] } } },
    });
    let app = gateway::start(&gateway::configuration(folder.path(), &hooks), folder.path()).await;
    let endpoint = format!("http://{}", gateway::address(&app, "claude_code_hooks"));
    let environment = [("TOLLGATE_HOOK_ENDPOINT", endpoint.as_str()), ("TOLLGATE_TOKEN", token)];
    let ran = tokio::task::spawn_blocking({
        let (endpoint, environment) = (endpoint.clone(), environment.map(|(name, value)| (name, value.to_owned())));
        move || {
            let environment: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let cursor = br#"{"conversation_id":"s1","hook_event_name":"beforeSubmitPrompt","prompt":"CANARY"}"#;
            let past = br#"{"conversation_id":"s1","hook_event_name":"afterFileEdit"}"#;
            [
                run_hook("codex", CODEX_CALL, &environment, &[]),
                run_hook("cursor", cursor, &environment, &["--on-failure", "deny"]),
                run_hook("cursor", past, &environment, &["--on-failure", "deny"]),
                run_hook("codex", CODEX_CALL, &[], &["--endpoint", &endpoint, "--on-failure", "deny"]),
            ]
        }
    });
    let [codex, cursor, past, refused] = ran.await.unwrap();
    let parsed = |(code, out, err): &(i32, String, String)| {
        assert!(*code == 0 && !format!("{out}{err}").contains("CANARY"), "{code} {out} {err}");
        serde_json::from_str::<Value>(out).unwrap()
    };
    let why = "tollgate can't check budget features, because this request names no feature.";
    let denial = parsed(&codex)["hookSpecificOutput"].take();
    assert_eq!(denial["permissionDecision"], "deny");
    assert!(denial["permissionDecisionReason"].as_str().unwrap().starts_with(why), "{denial}");
    let denial = parsed(&cursor);
    assert!(denial["continue"] == false && denial["user_message"].as_str().unwrap().starts_with(why), "{denial}");
    assert_eq!((parsed(&past), &*past.2), (json!({}), ""));
    let reason = parsed(&refused)["hookSpecificOutput"]["permissionDecisionReason"].take();
    assert!(reason.as_str().unwrap().contains("HTTP status 401"), "{reason}");
    app.shutdown().await;
}

/// Without an answer of a gateway, `--on-failure` decides, in the client's form. What is no event stops every client by
/// the exit code.
#[test]
fn the_hook_command_knows_what_to_do_without_an_answer() {
    let closed = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let servers =
        [closed.clone(), fake_server(None), fake_server(Some("<html>CANARY</html>")), fake_server(Some("[]"))];
    for server in &servers {
        let environment = [("TOLLGATE_HOOK_ENDPOINT", server.as_str())];
        let (code, out, err) = run_hook("codex", CODEX_CALL, &environment, &["--timeout", "1s"]);
        assert!(
            code == 0 && out == "{}\n" && err.contains("goes on unchecked") && !err.contains("CANARY"),
            "{out} {err}"
        );
        let strict = [environment[0], ("TOLLGATE_HOOK_ON_FAILURE", "deny")];
        let (code, out, _) = run_hook("codex", CODEX_CALL, &strict, &["--timeout", "1s"]);
        assert!(code == 0 && out.contains(r#""permissionDecision":"deny""#) && !out.contains("CANARY"), "{code} {out}");
    }
    let deny = ["--endpoint", closed.as_str(), "--on-failure", "deny"];
    let huge = vec![b'x'; (32 << 20) + 1];
    for event in [&b"CANARY"[..], b"", b"{}", b"\xff", &huge] {
        let (code, out, err) = run_hook("gemini", event, &[], &deny);
        assert!(
            code == 2 && out.is_empty() && err.contains("stopped this call") && !err.contains("CANARY"),
            "{code} {out} {err}"
        );
        let (code, out, _) = run_hook("gemini", event, &[], &deny[..2]);
        assert_eq!((code, &*out), (0, "{}\n"));
    }
    let (code, _, err) = run_hook("nobody", CODEX_CALL, &[], &deny);
    assert!(code == 2 && err.contains("`claude-code`, `codex`, `gemini`, `cursor`"), "{code} {err}");
}
