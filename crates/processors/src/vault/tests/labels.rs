//! Tests of short texts under unlisted keys: forwarded at once, after repetition, or never.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::super::LabelPolicy;
use super::super::moved_values::MovedValueCounters;
use super::process::{Bench, Out};
use kernel::pseudonym::IdPolicy;
use telemetry::Meter;

fn call(session: usize, attributes: &Json) -> Json {
    let mut all = json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.conversation.id": format!("s-{session}")});
    all.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    json!({"items": [{"name": "chat gpt-4o", "trace": session + 1, "span": 1, "attributes": all}]})
}

fn value(out: &Out, key: &str) -> String {
    out.attributes(0).remove(key).unwrap_or_else(|| panic!("no {key}"))
}

/// Must not regress: an application's own attribute stays as a key with a reference, and its value is forwarded once
/// five sessions have sent it. A name sent by one session stays in the vault, also after a restart.
#[test]
fn repetition_brings_a_label_back() {
    let mut bench = Bench::new();
    for session in 0..5 {
        let out =
            bench.commit(&call(session, &json!({"team": "payments core", "patient": format!("Maria {session}")})));
        assert_eq!(value(&out, "team"), "[CONTENT]", "session {session}");
        assert!(out.attributes(0).contains_key("gen_ai.payload.s3_uri"));
        assert!(!out.documents.is_empty());
    }
    let mut bench = bench.restarted();
    let out = bench.commit(&call(5, &json!({"team": "payments core", "patient": "Maria 5"})));
    assert_eq!((&*value(&out, "team"), &*value(&out, "patient")), ("payments core", "[CONTENT]"));
    let out = bench.commit(&call(5, &json!({"squad": "payments core"})));
    assert_eq!(value(&out, "squad"), "[CONTENT]", "another key proves nothing");
}

/// Must not regress: one session that repeats itself proves nothing, and text over 64 bytes is never forwarded.
#[test]
fn what_never_proves_itself() {
    let mut bench = Bench::new();
    let long = "a sentence that is longer than sixty-four bytes and says what the customer said";
    for turn in 0..20 {
        let out = bench.commit(&call(0, &json!({"note": "Maria is ill"})));
        assert_eq!(value(&out, "note"), "[CONTENT]", "turn {turn}");
        let out = bench.commit(&call(turn, &json!({"remark": long})));
        assert_eq!(value(&out, "remark"), "[CONTENT]", "turn {turn}");
    }
}

/// Must not regress: without a session id, everything a user sends within a day counts as one session, whatever its
/// traces; the session of another span in the trace counts.
#[test]
fn traces_are_no_sessions() {
    let turn = |trace: usize, user: &str, session: Option<&str>| {
        let own = json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "user.id": user, "own": "Maria is ill"});
        let mut root = json!({"gen_ai.operation.name": "invoke_agent"});
        root.as_object_mut()
            .unwrap()
            .extend(session.map(|session| ("gen_ai.conversation.id".to_owned(), json!(session))));
        json!({"items": [
            {"name": "chat gpt-4o", "trace": trace, "span": 1, "parent": 2, "attributes": own},
            {"name": "invoke_agent", "trace": trace, "span": 2, "attributes": root},
        ]})
    };
    let mut bench = Bench::new();
    for trace in 1..20 {
        let out = bench.commit(&turn(trace, "u1", None));
        assert_eq!(value(&out, "own"), "[CONTENT]", "trace {trace} of one conversation");
    }
    let mut bench = Bench::new();
    for user in 1..=6 {
        let out = bench.commit(&turn(user, &format!("u{user}"), None));
        assert_eq!(value(&out, "own") == "[CONTENT]", user < 6, "user {user}");
    }
    let mut bench = Bench::new();
    for session in 1..=6 {
        let out = bench.commit(&turn(session, "u1", Some(&format!("s{session}"))));
        assert_eq!(value(&out, "own") == "[CONTENT]", session < 6, "session {session} of the trace");
    }
}

/// Must not regress: one tenant's sessions prove nothing for another tenant.
#[test]
fn tenants_prove_for_themselves() {
    let mut bench = Bench::new();
    for session in 0..6 {
        bench.commit(&call(session, &json!({"own": "Maria is ill", "tenant.id": "a"})));
    }
    let out = bench.commit(&call(7, &json!({"own": "Maria is ill", "tenant.id": "a"})));
    assert_eq!(value(&out, "own"), "Maria is ill");
    let out = bench.commit(&call(8, &json!({"own": "Maria is ill", "tenant.id": "b"})));
    assert_eq!(value(&out, "own"), "[CONTENT]");
}

/// Must not regress: a log body of one or a few words is treated like any other text, unless it is its event's name.
#[test]
fn bodies_prove_themselves() {
    let log = |session: usize, body: &str, event: &str| {
        json!({"signal": "logs", "items": [{"body": body, "event_name": event, "trace": session + 1, "span": 1,
            "attributes": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.conversation.id": format!("s-{session}")}}]})
    };
    let mut bench = Bench::new();
    for session in 0..6 {
        let out = bench.commit(&log(session, "Maria", ""));
        assert_eq!(String::from_utf8_lossy(&out.bytes).contains("Maria"), session == 5, "session {session}");
    }
    // The event's name may be preceded by its dialect's prefix, but not by free text.
    for (body, leaves) in [("claude_code.call_done", true), ("call_done", true), ("maria.huber.hiv.call_done", false)] {
        let out = Bench::new().commit(&log(0, body, "call_done"));
        assert_eq!(String::from_utf8_lossy(&out.bytes).contains(body), leaves, "{body}");
    }
}

/// Must not regress: `keep` forwards a key's short texts at once, also if its last word suggests content; `never` never
/// forwards them.
#[test]
fn keys_by_policy() {
    let policy = LabelPolicy {
        min_sessions: 2,
        keep: vec!["team".to_owned(), "app.prompt".to_owned()],
        never: vec!["patient".to_owned(), "gen_ai.agent.name".to_owned()],
    };
    let mut bench = Bench::new().labels(policy);
    for session in 0..6 {
        let out = bench.commit(&call(
            session,
            &json!({"team": "payments core", "patient": "Maria", "ward": "north", "gen_ai.agent.name": "Clara",
                "app.prompt": "version two"}),
        ));
        assert_eq!((&*value(&out, "team"), &*value(&out, "patient")), ("payments core", "[CONTENT]"));
        assert_eq!(value(&out, "gen_ai.agent.name"), "[CONTENT]", "a known key that is never to leave");
        assert_eq!(value(&out, "app.prompt"), "version two");
        assert_eq!(value(&out, "ward"), if session < 2 { "[CONTENT]" } else { "north" }, "session {session}");
    }
}

/// Must not regress: generated ids need no proof, names do. (`genai` tests which texts those are;
/// `nothing_leaves_from_an_agents_item` has many disguises of words.)
#[test]
fn what_needs_no_proof() {
    for (text, leaves) in [("12", true), ("req_011CV4pQ7mZ2xT8kD5nW", true), ("maria.huber", false)] {
        let out = Bench::new().commit(&call(0, &json!({"own": text})));
        assert_eq!(value(&out, "own") == text, leaves, "{text}");
    }
}

/// Must not regress: names of a few words pass under known keys. (A sentence there must prove itself:
/// `nothing_leaves_from_an_agents_item`.)
#[test]
fn names_under_known_keys() {
    for (key, name) in [
        ("gen_ai.agent.name", "Research Agent"),
        ("gen_ai.tool.name", "mcp__vaultdb__lookup"),
        ("error.type", "TimeoutError"),
    ] {
        let out = Bench::new().commit(&call(0, &json!({key: name})));
        assert_eq!(value(&out, key), name, "{key}");
    }
}

/// Must not regress: each value that moves is counted under its key, as shown on the page; values that are kept, listed
/// in `never`, or whose key is not a name, are not.
#[test]
fn moved_keys_are_counted() {
    let policy =
        LabelPolicy { keep: vec!["squad".to_owned()], never: vec!["patient".to_owned()], ..LabelPolicy::default() };
    let mut bench = Bench::new().labels(policy);
    let own = json!({
        "team": "payments core", "squad": "search core", "patient": "Maria Huber", "app.note": {"a": "in transit"},
        "gen_ai.input.messages": "[]", "what Maria said": "no",
    });
    for session in 0..3 {
        let out = bench.commit(&call(session, &own));
        assert_eq!((&*value(&out, "team"), &*value(&out, "squad")), ("[CONTENT]", "search core"));
    }
    let moved: Vec<(String, u64)> = telemetry::moved_keys::VaultSummary::from_meter(&bench.meter)
        .moved_keys
        .into_iter()
        .map(|moved| (moved.key, moved.count))
        .collect();
    assert!(moved.contains(&("team".to_owned(), 3)) && moved.contains(&("app.note".to_owned(), 3)), "{moved:?}");
    assert!(moved.iter().all(|(key, _)| ["team", "app.note", "other"].contains(&key.as_str())), "{moved:?}");
    assert_eq!(
        telemetry::moved_keys::VaultSummary::from_meter(&bench.meter).privacy_profiles,
        [("vault".to_owned(), "standard".to_owned())]
    );
}

/// Must not regress: a key that a redaction rule would change, such as a token that a map uses as its key, names no
/// metric, which everyone reads who may scrape.
#[test]
fn private_keys_name_no_metric() {
    struct HidesTokens;
    impl IdPolicy for HidesTokens {
        fn shown_id<'a>(&self, _: &str, id: &'a str) -> Cow<'a, str> {
            id.into()
        }
        fn redact_column<'a>(&self, _: &str, text: &'a str) -> Cow<'a, str> {
            if text.starts_with("ghp_") { "[API_KEY]".into() } else { text.into() }
        }
        fn pseudonym(&self, _: &str, id: &str) -> String {
            id.to_owned()
        }
    }
    let meter = Meter::new();
    let counters = MovedValueCounters::new("vault".into(), Arc::new(HidesTokens), &meter);
    ["team", "ghp_3cGFa8PAyrre"].into_iter().for_each(|key| counters.count_value("acme", key, "labels"));
    let shown = meter.render();
    assert!(shown.contains("key=\"team\"") && shown.contains("key=\"other\""), "{shown}");
    assert!(!shown.contains("ghp_"), "{shown}");
}

/// Must not regress: metrics also make a service an agent's service; its later items without agent attributes are
/// treated like an agent's.
#[test]
fn metrics_tell_of_an_agents_service() {
    let resource = json!({"service.name": "clinic-agent"});
    let metric = json!({"signal": "metrics", "resource": resource, "items": [{"metric": "gen_ai.client.token.usage", "value": 3,
        "attributes": {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-4o"}}]});
    let child = json!({"resource": resource, "items": [{"name": "POST", "trace": 7, "span": 1, "attributes": {"http.request.method": "POST", "own": "Maria is ill"}}]});
    let mut bench = Bench::new();
    bench.commit(&metric);
    assert_eq!(value(&bench.commit(&child), "own"), "[CONTENT]");
}
