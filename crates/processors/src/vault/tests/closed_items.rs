//! Tests of agents' items: which items are closed, and what stays of them.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::super::PrivacyProfile;
use super::super::moved_values::MovedValueCounters;
use super::process::{Bench, Out, declaring};
use genai::{ClosedItemPolicy, DeclaredAgents, EarlierAgentServices, ServiceIdentity};
use kernel::pseudonym::IdPolicy;
use telemetry::Meter;
use telemetry::moved_keys::VaultSummary;

fn call(session: usize, attributes: &Json) -> Json {
    let mut all = json!({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.conversation.id": format!("s-{session}")});
    all.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
    json!({"items": [{"name": "chat gpt-4o", "trace": session + 1, "span": 1, "attributes": all}]})
}

fn value(out: &Out, key: &str) -> String {
    out.attributes(0).remove(key).unwrap_or_else(|| panic!("no {key}"))
}

fn keys(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Must not regress: under a key that no list names one identifier stays, and a text with a blank becomes a mark beside
/// a reference, in the first session and in the twentieth.
#[test]
fn one_identifier_stays() {
    let own = json!({"team": "payments-core", "order.status": "PAID", "own.note": "Maria is ill", "own.id": "maria.huber.ward.seven",
        "count": 7});
    let mut bench = Bench::new();
    for session in 0..20 {
        let out = bench.commit(&call(session, &own));
        assert_eq!(
            (&*value(&out, "team"), &*value(&out, "order.status"), &*value(&out, "count")),
            ("payments-core", "PAID", "7")
        );
        assert_eq!(
            (&*value(&out, "own.note"), &*value(&out, "own.id")),
            ("[CONTENT]", "[CONTENT]"),
            "session {session}"
        );
        assert!(out.attributes(0).contains_key("gen_ai.payload.s3_uri"));
        assert!(super::inside::kept(&out).concat().contains("Maria is ill"));
    }
}

/// Must not regress: below a word for what a person says or is, not even one word stays; numbers and generated ids do.
#[test]
fn private_keys_keep_no_word() {
    let key_words = "input output args state query message user customer patient metadata";
    for key in key_words.split(' ').flat_map(|word| [format!("app.{word}.own"), format!("{word}_own")]) {
        let out = Bench::new().pass(&call(0, &json!({key.as_str(): "Maria"})));
        assert!(!String::from_utf8_lossy(&out.bytes).contains("Maria"), "{key}");
    }
    for text in ["12", "req_011CV4pQ7mZ2xT8kD5nW"] {
        assert_eq!(value(&Bench::new().pass(&call(0, &json!({"patient.ref": text}))), "patient.ref"), text);
    }
}

/// Must not regress: names of a few words stay under listed keys, a sentence there does not.
#[test]
fn names_under_listed_keys() {
    for (key, name) in [
        ("gen_ai.agent.name", "Research Agent"),
        ("gen_ai.tool.name", "mcp__vaultdb__lookup"),
        ("error.type", "TimeoutError"),
    ] {
        let out = Bench::new().pass(&call(0, &json!({key: name})));
        assert_eq!(value(&out, key), name, "{key}");
    }
    let out = Bench::new().pass(&call(0, &json!({"gen_ai.agent.name": "the agent that treats Maria Huber"})));
    assert_eq!(value(&out, "gen_ai.agent.name"), "[CONTENT]");
}

/// Must not regress: a log body that goes leaves a mark; the name of its event stays, also with its dialect's prefix,
/// but not with free text before it.
#[test]
fn bodies_leave_a_mark() {
    let log = |body: &str, event: &str| {
        let case = json!({"signal": "logs", "items": [{"body": body, "event_name": event, "trace": 1, "span": 1,
            "attributes": {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}}]});
        let out = Bench::new().pass(&case);
        String::from_utf8_lossy(&out.bytes).into_owned()
    };
    let all = log("Maria Huber was told about her illness", "");
    assert!(all.contains("[CONTENT]") && !all.contains("Maria"), "{all}");
    for (body, stays) in [("claude_code.call_done", true), ("call_done", true), ("maria.huber.hiv.call_done", false)] {
        assert_eq!(log(body, "call_done").contains(body), stays, "{body}");
    }
}

/// Must not regress: `keep` leaves a key's texts, also if its last word suggests content; `never` leaves none, also
/// under a listed key.
#[test]
fn keys_by_policy() {
    let policy = ClosedItemPolicy {
        keep: keys(&["own.team", "app.prompt"]),
        never: keys(&["ward", "gen_ai.agent.name"]),
        ..ClosedItemPolicy::default()
    };
    let out = Bench::new().policy(policy).pass(&call(
        0,
        &json!({"own.team": "payments core", "ward": "north", "gen_ai.agent.name": "Clara", "app.prompt": "version two",
            "squad": "search core"}),
    ));
    assert_eq!((&*value(&out, "own.team"), &*value(&out, "app.prompt")), ("payments core", "version two"));
    for key in ["ward", "gen_ai.agent.name", "squad"] {
        assert_eq!(value(&out, key), "[CONTENT]", "{key}");
    }
}

/// A span and a log record of a service without any sign of an agent.
fn plain(resource: &Json) -> [Json; 2] {
    let attributes = json!({"http.request.method": "POST", "own.note": "Maria is ill"});
    [
        json!({"resource": resource, "items": [{"name": "POST", "trace": 7, "span": 1, "attributes": attributes}]}),
        json!({"signal": "logs", "resource": resource, "items": [{"body": "told: Maria is ill", "trace": 7, "span": 1}]}),
    ]
}

/// Whether a service's plain spans and logs are closed.
fn is_closed(policy: ClosedItemPolicy, resource: &Json) -> bool {
    let mut bench = Bench::new().policy(policy);
    let closed =
        plain(resource).map(|case| !String::from_utf8_lossy(&bench.pass(&case).bytes).contains("Maria is ill"));
    assert!(closed[0] == closed[1], "a span and a log record of {resource} differ: {closed:?}");
    closed[0]
}

/// Services of one account that an earlier version had learned.
struct Earlier;

impl EarlierAgentServices for Earlier {
    fn contains(&self, account: &str, service: &ServiceIdentity<'_>) -> bool {
        (account, service.name) == ("default", "clinic")
    }
}

/// Must not regress: every item of a declared service is closed, of a coding agent, and of a service that an earlier
/// version had learned; of no other.
#[test]
fn declared_services_are_closed() {
    let (clinic, shop) = (json!({"service.name": "clinic"}), json!({"service.name": "shop"}));
    let earlier = || ClosedItemPolicy { earlier_agents: Some(Arc::new(Earlier)), ..ClosedItemPolicy::default() };
    let all = || ClosedItemPolicy { agents: DeclaredAgents::All, ..ClosedItemPolicy::default() };
    for (policy, resource, closed) in [
        (declaring(&["clinic"]), &clinic, true),
        (declaring(&["clinic"]), &shop, false),
        (all(), &shop, true),
        (all(), &json!({}), true),
        (earlier(), &clinic, true),
        (earlier(), &shop, false),
        (ClosedItemPolicy::default(), &json!({"service.name": "gemini-cli"}), true),
        (ClosedItemPolicy::default(), &clinic, false),
    ] {
        assert_eq!(is_closed(policy, resource), closed, "{resource}");
    }
}

/// Must not regress: of a service that calls a model only the items that show it are closed. Its other items, its
/// resource and services that it calls are redacted only, in the same trace and request, before the call and after it.
#[test]
fn a_call_closes_no_neighbour() {
    let resource = json!({"service.name": "clinic", "own.team": "the night shift"});
    let mut bench = Bench::new();
    let called = call(6, &json!({"own.note": "CANARY is ill"}))["items"][0].clone();
    for _ in 0..3 {
        for case in plain(&resource) {
            let out = bench.commit(&case);
            let all = String::from_utf8_lossy(&out.bytes).into_owned();
            assert!(all.contains("Maria is ill") && all.contains("the night shift"), "{all}");
        }
        let [mut request, _] = plain(&resource);
        request["items"].as_array_mut().unwrap().push(called.clone());
        let other = plain(&json!({"service.name": "other"}))[0].clone();
        let out = bench.commit(&json!({"groups": [request, other]}));
        let all = String::from_utf8_lossy(&out.bytes).into_owned();
        assert!(all.matches("Maria is ill").count() == 2 && all.contains("the night shift"), "{all}");
        assert!(!out.attributes(0).contains_key("gen_ai.payload.s3_uri") && !all.contains("CANARY"), "{all}");
    }
}

/// Must not regress: each value that moves is counted under its key, as shown on the page; values that are kept, listed
/// in `never`, or whose key is not a name, are not.
#[test]
fn moved_keys_are_counted() {
    let policy = ClosedItemPolicy { keep: keys(&["squad"]), never: keys(&["patient"]), ..ClosedItemPolicy::default() };
    let mut bench = Bench::new().policy(policy);
    let own = json!({
        "team": "payments core", "squad": "search core", "patient": "Maria Huber", "app.note": {"a": "in transit"},
        "gen_ai.input.messages": "[]", "what Maria said": "no",
    });
    for session in 0..3 {
        let out = bench.commit(&call(session, &own));
        assert_eq!((&*value(&out, "team"), &*value(&out, "squad")), ("[CONTENT]", "search core"));
    }
    let summary = VaultSummary::from_meter(&bench.meter);
    let moved: Vec<(String, u64)> = summary.moved_keys.into_iter().map(|moved| (moved.key, moved.count)).collect();
    assert!(moved.contains(&("team".to_owned(), 3)) && moved.contains(&("app.note".to_owned(), 3)), "{moved:?}");
    assert!(moved.iter().all(|(key, _)| ["team", "app.note", "other"].contains(&key.as_str())), "{moved:?}");
    assert_eq!(summary.privacy_profiles, [("vault".to_owned(), PrivacyProfile::Standard.name().to_owned())]);
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
