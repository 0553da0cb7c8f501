//! Tests of the lines about clients, on answers as a gateway gives them.

use super::*;

fn client(name: &str, dialect: &Value, ages: [Value; 3], content: &Value) -> Value {
    let [traces, logs, metrics] = ages;
    json!({
        "account": "default", "name": name, "dialect": dialect, "version": "2.1.328", "sdk": null,
        "seconds_ago": {"traces": traces, "logs": logs, "metrics": metrics}, "content_seconds_ago": content,
    })
}

fn lines(clients: &[Value]) -> String {
    let catalog = ClientCatalog::builtin().expect("the table");
    format_clients(&json!({"clients": clients}), &catalog, Duration::from_secs(600), false)
}

/// A line names everything that is off, with the setting that turns it on. A part that no item could have carried is
/// not reported, nor anything of a client that was not seen in the time.
#[test]
fn a_line_names_the_settings() {
    let content = json!({
        "input": {"expected": 3.0, "carried": 3.0}, "output": {"expected": 3.0, "carried": 4000.0},
        "tool_args": {"expected": null, "carried": null}, "tool_result": {"expected": 9.0, "carried": null},
    });
    let native = json!("claude-code-native");
    let recent = client("claude-code", &native, [json!(null), json!(2.9), json!(61.0)], &content);
    assert_eq!(
        lines(&[recent]),
        "claude-code 2.1.328: logs 2s ago, metrics 1m ago; off: traces (CLAUDE_CODE_ENHANCED_TELEMETRY_BETA=1, \
         OTEL_TRACES_EXPORTER=otlp), answers (OTEL_LOG_ASSISTANT_RESPONSES=1), tool results (OTEL_LOG_TOOL_CONTENT=1)\n"
    );
    let old = client("claude-code", &native, [json!(7300.0), json!(null), json!(null)], &content);
    assert_eq!(lines(&[old]), "claude-code 2.1.328: traces 2h ago\n");
}

/// Must not regress: a budget by user that a client can't count for is said, not silently empty.
#[test]
fn what_budgets_miss_is_said() {
    let mut codex = client("codex_exec", &json!("codex-cli"), [json!(1.0), json!(1.0), json!(1.0)], &json!({}));
    codex["unnamed_for_budgets"] = json!(["user"]);
    let text = lines(&[codex]);
    assert!(text.ends_with("; sends no user, so budgets of scope user don't count it\n"), "{text}");
}

/// A client that is in no table gets no advice, and a part that a client has no switch for is not called off. Names are
/// made safe for a terminal, and accounts are shown only if there are several.
#[test]
fn unknown_clients_get_no_advice() {
    let silent = json!({"output": {"expected": 1.0, "carried": null}});
    let unknown = client("a\u{1b}[2J", &Value::Null, [json!(1.0), json!(1.0), json!(null)], &json!({}));
    let codex = client("codex_exec", &json!("codex-cli"), [json!(1.0), json!(1.0), json!(1.0)], &silent);
    let mut other = codex.clone();
    other["account"] = "acme".into();
    let text = lines(&[unknown, codex, other]);
    let expected = "a\\u{1b}[2J 2.1.328 (account default): traces 1s ago, logs 1s ago; off: metrics\n\
        codex_exec 2.1.328 (account default): traces 1s ago, logs 1s ago, metrics 1s ago\n\
        codex_exec 2.1.328 (account acme): traces 1s ago, logs 1s ago, metrics 1s ago\n";
    assert_eq!(text, expected);
}

/// Each line of `--json` is an object with the same findings; an answer of another shape gives no line and no panic.
#[test]
fn lines_are_json_on_request() {
    let catalog = ClientCatalog::builtin().expect("the table");
    let opencode = client("opencode", &json!("opencode"), [json!(1.0), json!(null), json!(null)], &json!({}));
    let text = format_clients(&json!({"clients": [opencode]}), &catalog, Duration::from_secs(60), true);
    let line: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(line["off"], json!([{"name": "logs", "settings": ["OTEL_EXPORTER_OTLP_ENDPOINT"]}]));
    for odd in [json!(null), json!({"clients": 3}), json!({"clients": [1, {"name": {}}]})] {
        let text = format_clients(&odd, &catalog, Duration::from_secs(60), false);
        assert!(text.lines().count() <= 2, "{text}");
    }
}

/// Calls of a provider that the table lacks are reported with the line that prices them, safe for a terminal.
#[test]
fn unknown_providers_are_reported() {
    let row = |config: Value| json!({"provider": "a\u{1b}b", "model": "m", "price_config": config});
    let answer =
        json!({"calls_without_price": [row(json!("cost: { providers: { a: openai } }")), row(Value::Null), 3]});
    let expected =
        "no price for m of a\\u{1b}b; to set one, add under `processors`: cost: { providers: { a: openai } }\n";
    assert_eq!(format_unpriced(&answer), expected);
    assert_eq!(format_unpriced(&json!({"clients": 3})), "");
}
