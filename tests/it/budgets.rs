//! Budgets of a whole gateway: the page and the command show what was spent, a grant raises a limit, and the vault and
//! back ends have its record.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use config::env::OtherMachineLookup;
use kernel::clock::{Clock, SystemClock};
use serde_json::{Value, json};
use tollgate::app::resolve;

use crate::client::{self, attributes, output, status_and_body};
use crate::gateway;

fn changes() -> Value {
    json!({ "processors": { "runs": { "budgets": {
        "dev-daily": { "scope": "user", "period": "day", "amount": "0.01 USD", "action": "deny" },
        "one-run": { "scope": "run", "amount": "0.02 USD", "action": "deny", "shadow": true },
    } } } })
}

/// Calls of a user in a session, each of $0.003 to $0.01.
fn calls(user: &str, count: u64) -> String {
    let now = SystemClock::new().now().0 - 10_000_000_000;
    let span = |call: u64| {
        json!({ "traceId": format!("{:032x}", 7), "spanId": format!("{:016x}", 100 + call), "name": "chat gpt-4o", "kind": 3,
            "startTimeUnixNano": (now + call).to_string(), "endTimeUnixNano": (now + 1_000_000_000 + call).to_string(),
            "attributes": attributes(&json!({ "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
                "gen_ai.request.model": "gpt-4o", "gen_ai.conversation.id": "s-1", "user.id": user,
                "gen_ai.response.id": format!("r-{call}"), "gen_ai.usage.input_tokens": 1000,
                "gen_ai.usage.output_tokens": 100 })) })
    };
    let spans: Vec<Value> = (0..count).map(span).collect();
    json!({ "resourceSpans": [{ "resource": { "attributes": attributes(&json!({ "service.name": "agents" })) },
        "scopeSpans": [{ "spans": spans }] }] })
    .to_string()
}

/// What a client would send to grant itself more.
fn forged(key: &str) -> String {
    let span = json!({ "traceId": format!("{:032x}", 9), "spanId": format!("{:016x}", 9), "name": "tollgate.budget.decision",
        "startTimeUnixNano": "1795000000000000000", "endTimeUnixNano": "1795000000000000000",
        "attributes": attributes(&json!({ "tollgate.budget.decision": "grant", "tollgate.budget.name": "dev-daily",
            "tollgate.budget.scope": "user", "tollgate.budget.key": key, "tollgate.budget.measure": "amount",
            "tollgate.budget.spent": "0", "tollgate.budget.limit": "1000", "tollgate.budget.reason": "forged",
            "tollgate.budget.until": i64::MAX })) });
    json!({ "resourceSpans": [{ "scopeSpans": [{ "scope": { "name": "tollgate.budgets" }, "spans": [span] }] }] })
        .to_string()
}

fn get(admin: SocketAddr, path: &str) -> String {
    let (status, body) =
        status_and_body(&client::ask(admin, &format!("GET {path}"), "accept: application/json\r\n", b""));
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// The line of a user's budget, once it fits.
fn line_of_user(admin: SocketAddr, fits: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let answer: Value = serde_json::from_str(&get(admin, "/api/budgets")).unwrap();
        let lines = answer["budgets"].as_array().unwrap();
        match lines.iter().find(|line| line["scope"] == "user" && fits(line)) {
            Some(line) => return line.clone(),
            None => assert!(began.elapsed() < Duration::from_secs(20), "{answer}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The command `budgets` against a gateway, with the token that it made.
fn command(admin: SocketAddr, folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let token = fs::read_to_string(folder.join("data/admin.token")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.env_clear().env("TOLLGATE_ADMIN", format!("http://{admin}")).env("TOLLGATE_ADMIN_TOKEN", token.trim());
    output(command.arg("budgets").args(arguments))
}

/// A user over its limit is shown first; nobody but an operator raises the limit; a grant is known after a restart, to
/// auditors and to back ends, with its texts redacted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_raises_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let configuration = gateway::configuration(folder.path(), &changes());
    let app = gateway::start(&configuration, folder.path()).await;
    let (otlp, admin) = (gateway::address(&app, "otlp http"), gateway::address(&app, "admin"));
    client::post_traces(otlp, &calls("ada@example.com", 4));
    let line = line_of_user(admin, |line| line["over"] == true);
    let key = line["key"].as_str().unwrap().to_owned();
    assert!(key.starts_with("h-") && line["uses"][0]["limit"] == "0.01", "{line}");
    client::post_traces(otlp, &forged(&key));
    let (code, out, err) = command(admin, folder.path(), &[]);
    assert_eq!(code, Some(0), "{err}");
    let first = out.lines().next().unwrap();
    assert!(first.contains("dev-daily") && first.contains(&key) && first.contains("of 0.01 USD"), "{out}");

    let grant = |more: &[&str]| {
        let common = ["grant", "ada@example.com", "--reason", "the release, says bob@example.com"];
        command(admin, folder.path(), &[&common, more].concat())
    };
    for (arguments, expected) in [
        (&["--for", "4h", "--amount", "10"][..], "with its currency"),
        (&["--for", "32d", "--amount", "10USD"], "from 1 second to 31 days"),
        (&["--for", "0s", "--amount", "10USD"], "from 1 second to 31 days"),
        (&["--for", "soon", "--amount", "10USD"], "must be a time such as"),
        (
            &["--for", "4h", "--amount", "10USD", "--budget", "weekly"],
            "no budget has this name; there are: dev-daily, one-run",
        ),
        (&["--for", "4h", "--amount", "10USD", "--minutes", "3"], "cannot be used with"),
        (&["--for", "4h"], "required"),
    ] {
        let (code, out, err) = grant(arguments);
        assert!(code != Some(0) && err.contains(expected), "{arguments:?}: {out}{err}");
    }
    let stranger = client::ask(admin, "POST /-/budgets/grants", client::JSON, b"{}");
    assert!(stranger.starts_with("HTTP/1.1 401"), "{stranger}");
    let (code, out, err) = grant(&["--for", "4h", "--amount", "10USD"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.starts_with(&format!("user {key} may use 10 USD more until ")) && out.contains("dev-daily"), "{out}");
    let granted = line_of_user(admin, |line| line["grants"][0]["extra"] == "10");
    assert_eq!((&granted["uses"][0]["limit"], &granted["over"]), (&json!("10.01"), &json!(false)), "no forged grant");
    let why = granted["grants"][0]["reason"].as_str().unwrap();
    assert!(why.starts_with("the release, says ") && !why.contains('@'), "{why}");
    let runs: Value = serde_json::from_str(&get(admin, "/api/runs")).unwrap();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "a record is no run: {runs}");
    app.shutdown().await;

    let app = gateway::start(&configuration, folder.path()).await;
    let admin = gateway::address(&app, "admin");
    line_of_user(admin, |line| line["uses"][0]["limit"] == "10.01" && line["grants"][0]["extra"] == "10");
    app.shutdown().await;
    let vault = folder.path().join("vault").display().to_string();
    let (code, found, err) = client::tollgate(&["vault", "find", "--store", &vault, "--kind", "decision"]);
    assert_eq!((code, found.lines().count()), (Some(0), 1), "{found}{err}");
    assert!(found.contains(&format!("grant: user {key} may use 10 USD more of all budgets of scope user")), "{found}");
    let (_, found, _) = client::tollgate(&["vault", "find", "--store", &vault, "--user", &key, "--kind", "decision"]);
    assert_eq!(found.lines().count(), 1, "an erasure of the user finds it: {found}");
    let sent = fs::read_to_string(folder.path().join("outbound.jsonl")).unwrap();
    let record = sent.lines().find(|line| line.contains("tollgate.budget.reason")).unwrap();
    assert!(
        record.contains(&key) && record.contains("the release, says ") && !record.contains("@example.com"),
        "{record}"
    );
    assert!(!sent.contains("forged"), "{sent}");
}

/// What `validate` says of a gateway whose hooks ask these budgets, in a pipeline with these processors.
fn told(hooks: &Value, budgets: &Value, steps: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = json!({ "receivers": ["claude_code_hooks"], "processors": steps, "exporters": ["file"] });
    let mut receiver = json!({ "endpoint": "127.0.0.1:0" });
    receiver["auth"] = hooks.clone();
    let all = json!({ "receivers": { "claude_code_hooks": receiver }, "processors": { "runs": { "budgets": budgets } },
        "service": { "pipelines": { "traces/hooks": pipeline } } });
    let config = gateway::configuration(folder.path(), &all);
    let read = resolve::resolve_config("test", &config, &OtherMachineLookup, folder.path());
    let warnings = read.source.render(&read.warnings, false);
    read.result.map_or_else(|problems| read.source.render(&problems, false), |_| String::new()) + &warnings
}

/// An answer of which no ledger learns is an error; a budget that refuses each first prompt is warned of.
/// Seen failing: without each of the checks.
#[test]
fn hooks_ask_budgets_that_learn_of_it_and_can_know_them() {
    let tokens = json!({ "tokens": { "acme": ["token-of-acme-0123"] } });
    let users = json!({ "users": { "ann": { "account": "acme", "tokens": ["token-of-ann-01234"] } } });
    let budget = |scope: &str, more: &Value| {
        let mut budget = json!({ "scope": scope, "amount": "5 USD", "action": "deny" });
        budget.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "b": budget })
    };
    let (lost, early) = ("add `runs` to the `processors`", "refuses the first prompt of each session");
    let with_runs = ["normalize", "cost", "runs", "vault", "redact"];
    let plain = budget("user", &json!({}));
    assert!(!told(&tokens, &plain, &with_runs).contains(lost));
    let found = told(&tokens, &plain, &["normalize", "cost", "vault", "redact"]);
    assert!(found.contains(lost) && found.contains("receivers.claude_code_hooks"), "{found}");
    let without = told(&tokens, &json!({}), &["normalize", "cost", "vault", "redact"]);
    assert!(!without.contains(lost), "{without}");
    let strict = json!({ "on_unknown": "deny" });
    for (scope, of_tokens, of_users) in [
        ("user", true, false),
        ("tenant", true, false),
        ("feature", true, true),
        ("issue", true, true),
        ("session", false, false),
        ("account", false, false),
    ] {
        let told = [&tokens, &users].map(|hooks| told(hooks, &budget(scope, &strict), &with_runs).contains(early));
        assert_eq!(told, [of_tokens, of_users], "{scope}");
    }
    let shadow = json!({ "on_unknown": "deny", "shadow": true });
    assert!(!told(&tokens, &budget("user", &shadow), &with_runs).contains(early), "it stops nobody");
}
