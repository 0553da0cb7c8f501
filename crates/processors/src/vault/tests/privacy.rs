//! Tests of the two privacy profiles: how much of names, error texts, log bodies and numbers is forwarded.

use serde_json::{Value as Json, json};

use super::process::Bench;

fn failing(session: usize, name: &str, message: &str) -> Json {
    json!({"items": [{"name": name, "trace": session + 1, "span": 1, "status": message, "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.conversation.id": format!("s-{session}"),
        "error.message": message, "patient.age": 47, "gen_ai.usage.input_tokens": 1234}}]})
}

/// Must not regress: a span name that is a sentence goes, however often it is sent; short names, numbers and an error's
/// own words stay.
#[test]
fn standard() {
    let sentence = "please call Maria Huber about her diagnosis";
    let mut bench = Bench::new();
    for session in 0..8 {
        let out = bench.commit(&failing(session, sentence, "could not reach 'ward 7'"));
        let all = String::from_utf8_lossy(&out.bytes).into_owned();
        assert!(!all.contains("Maria"), "session {session}");
        assert!(all.contains("could not reach 'ward 7'"));
        assert_eq!(out.attributes(0)["patient.age"], "47");
    }
    let out = bench.commit(&failing(0, "chat gpt-4o", "x"));
    assert!(String::from_utf8_lossy(&out.bytes).contains("chat gpt-4o"));
}

/// Must not regress: with `strict`, a name that is not made of the item's own facts goes, errors keep nothing that
/// differs between two of them, and numbers leave as buckets; everything is in the vault.
#[test]
fn strict() {
    let mut bench = Bench::new().strict();
    for session in 0..8 {
        let message = format!("could not reach 'ward {session}' of patient{session}");
        let out = bench.commit(&failing(session, "triage", &message));
        let (attributes, all) = (out.attributes(0), String::from_utf8_lossy(&out.bytes).into_owned());
        assert!(!all.contains("triage"), "session {session}");
        assert!(!all.contains("ward") && !all.contains(&format!("patient{session}")), "{all}");
        assert_eq!((&*attributes["patient.age"], &*attributes["gen_ai.usage.input_tokens"]), ("20", "1234"));
        let kept = super::inside::kept(&out).concat();
        assert!(kept.contains(&format!("ward {session}")) && kept.contains("47"), "{kept}");
    }
    let out = bench.commit(&failing(7, "chat gpt-4o", ""));
    assert!(String::from_utf8_lossy(&out.bytes).contains("chat gpt-4o"), "a name made of the item's own facts");
}

/// Must not regress: with `strict`, numbers under unknown keys become buckets, also with a fraction, on events and on
/// an agent's resource; as texts they go. Numbers stamped by tollgate or under listed keys stay exact.
#[test]
fn strict_numbers() {
    let call = json!({"resource": {"gen_ai.agent.name": "planner", "patient.floor": 37}, "items": [{"name": "chat gpt-4o", "trace": 1, "span": 1, "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "server.port": 8443, "tollgate.usage.x": 1234,
        "age": "47", "balance": 0.87, "born": "1985-03-12", "run.no": "run-12345", "run.key": "run-3f2a9c0b7d1e", "floors": [37, 38]},
        "events": [{"name": "chat", "attributes": {"weight": 81}}]}]});
    let mut bench = Bench::new().strict();
    let out = bench.commit(&call);
    let moved = telemetry::moved_keys::VaultSummary::from_meter(&bench.meter).moved_keys;
    assert!(moved.iter().any(|moved| moved.key == "balance" && moved.count == 1), "it is counted: {moved:?}");
    let attributes = out.attributes(0);
    let expected = [
        ("server.port", "8443"),
        ("tollgate.usage.x", "1234"),
        ("age", "[CONTENT]"),
        ("balance", "0.5"),
        ("born", "[CONTENT]"),
        ("run.no", "[CONTENT]"),
        ("run.key", "[CONTENT]"),
        ("floors", "[CONTENT]"),
    ];
    for (key, value) in expected {
        assert_eq!(attributes[key], value, "{key}");
    }
    let kept = super::inside::kept(&out).concat();
    for number in ["37", "81", "47", "0.87", "1985-03-12", "12345", "38"] {
        assert!(kept.contains(number), "{number} is not kept: {kept}");
    }
}

/// Must not regress: with `strict`, the status of a failed tool is its output and goes; an exception's type is judged
/// too.
#[test]
fn strict_failures_of_tools() {
    let call = json!({"items": [{"name": "execute_tool lookup", "trace": 1, "span": 1, "status": "nothing about Maria",
        "attributes": {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "lookup"},
        "events": [{"name": "exception", "attributes": {"exception.type": "Maria is ill, they say"}}]}]});
    let out = Bench::new().strict().commit(&call);
    assert!(!String::from_utf8_lossy(&out.bytes).contains("Maria"));
}

/// Must not regress: a second vault behind the first finds nothing to keep, so the reference stays that of the first.
#[test]
fn a_second_vault_keeps_nothing() {
    for bench in [Bench::new(), Bench::new().strict()] {
        let case = failing(0, "chat about Maria and all that she said", "Maria is ill");
        let [first, second] = bench.pass_twice(&case);
        assert!(first.is_some() && first == second, "{first:?}, {second:?}");
    }
}
