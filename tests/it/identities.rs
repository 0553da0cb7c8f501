//! Tests of verified senders through a whole gateway: two users whose clients claim each other's id are kept apart.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use config::env::OtherMachineLookup;
use fakes::oidc::{Key, Provider, claims, keys_of};
use serde_json::{Value, json};
use tollgate::app::resolve;

use crate::client::{JSON, ask, attributes, status_and_body, tollgate};
use crate::gateway;

const KEYS: [&str; 5] =
    ["session.id", "user.id", "tenant.id", "tollgate.claimed.user.id", "tollgate.claimed.tenant.id"];
const USERS: [(&str, &str, &str); 2] = [("ann", "acme", "1"), ("bob", "globex", "2")];

fn changes(provider: &Provider, folder: &Path) -> Value {
    let metrics = json!({ "receivers": ["otlp"], "processors": ["normalize", "redact"], "exporters": ["file"] });
    json!({
        "receivers": { "otlp": { "auth": {
            "oidc": { "issuer": provider.issuer, "audience": "tollgate" },
            "identity": { "user": "email", "tenant": "org", "groups": "groups" },
        } } },
        "processors": {
            "vault": { "signing_key": folder.join("gate.key") }, "runs": { "settle": "1s" },
        },
        "service": { "pipelines": { "metrics": metrics } },
    })
}

/// What a client sends that claims another's ids: a model call with its log record and a count.
fn requests(session: &str, digit: &str, (user, tenant): (&str, &str)) -> [(&'static str, Value); 3] {
    let mut all = json!({ "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "session.id": session,
        "gen_ai.request.model": "gpt-4o", "gen_ai.usage.input_tokens": 10, "gen_ai.usage.output_tokens": 5,
        "gen_ai.input.messages": format!("[{{\"role\":\"user\",\"parts\":[{{\"type\":\"text\",\"content\":\"hello {digit}\"}}]}}]"),
        "user.id": user, "tenant.id": tenant });
    let (trace, span) = (digit.repeat(32), digit.repeat(16));
    let (start, end) = ("1795000000000000000", "1795000001000000000");
    let call = json!({ "traceId": trace, "spanId": span, "name": "chat gpt-4o", "startTimeUnixNano": start,
        "endTimeUnixNano": end, "attributes": attributes(&all) });
    all.as_object_mut().unwrap().retain(|key, _| ["session.id", "user.id", "tenant.id"].contains(&&**key));
    let record = json!({ "timeUnixNano": start, "eventName": "noted", "attributes": attributes(&all) });
    let point =
        json!({ "timeUnixNano": end, "startTimeUnixNano": start, "asInt": "1", "attributes": attributes(&all) });
    let sum =
        json!({ "name": "calls", "sum": { "aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [point] } });
    [
        ("traces", json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [call] }] }] })),
        ("logs", json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": [record] }] }] })),
        ("metrics", json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [sum] }] }] })),
    ]
}

/// The attributes with text values of each item of a request in JSON that names a session.
fn items_of_sessions(value: &Value, found: &mut Vec<BTreeMap<String, String>>) {
    match value {
        Value::Array(all) => all.iter().for_each(|one| items_of_sessions(one, found)),
        Value::Object(map) => {
            let pairs = map.get("attributes").and_then(Value::as_array).into_iter().flatten();
            let text = |pair: &Value| {
                let (key, text) = (pair["key"].as_str()?, pair["value"]["stringValue"].as_str()?);
                KEYS.contains(&key).then(|| (key.to_owned(), text.to_owned()))
            };
            let item: BTreeMap<String, String> = pairs.filter_map(text).collect();
            found.extend(Some(item).filter(|item| item.contains_key("session.id")));
            map.values().for_each(|one| items_of_sessions(one, found));
        }
        _ => {}
    }
}

async fn get(admin: SocketAddr, target: String) -> Value {
    let answer = ask(admin, &format!("GET {target}"), "accept: application/json\r\n", b"");
    serde_json::from_str(&status_and_body(&answer).1).unwrap()
}

/// Stamps, API, metrics, vault folders, index, search and erasure show the verified ids of two users who claim each
/// other's, and say what was claimed. (Failed while the claimed tenant of an agent's item was closed.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_who_claim_each_other_are_kept_apart() {
    let (folder, key) = (tempfile::tempdir().unwrap(), Key::new("k1"));
    let provider = Provider::new(keys_of(&[&key]));
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (code, public, err) =
        tollgate(&["vault", "keygen", "--signing", "--name", "gate", "--output", &at("gate.key")]);
    assert_eq!(code, Some(0), "{err}");
    let public = public.lines().find(|line| line.contains("gate+")).expect("a key").trim();
    let config = gateway::configuration(folder.path(), &changes(&provider, folder.path()));
    let (app, meter) = gateway::start_with(&config, &OtherMachineLookup, folder.path()).await;
    let (otlp, admin) = (gateway::address(&app, "otlp http"), gateway::address(&app, "admin"));
    let send = |token: &str, signal: &str, body: &Value| {
        let headers = format!("{JSON}authorization: Bearer {token}\r\n");
        ask(otlp, &format!("POST /v1/{signal}"), &headers, body.to_string().as_bytes())
    };
    for (index, (user, tenant, digit)) in USERS.into_iter().enumerate() {
        let (other, other_tenant, _) = USERS[1 - index];
        let ids = json!({ "email": format!("{user}@corp.example"), "email_verified": true, "org": tenant, "groups": ["dev"] });
        let token = key.sign(&claims(&provider.issuer, ids));
        let claimed = format!("{other}@corp.example");
        for (signal, body) in requests(&format!("session-{user}"), digit, (&claimed, other_tenant)) {
            let answer = send(&token, signal, &body);
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
    let [(_, body), ..] = requests("session-x", "3", ("x", "x"));
    let refused = send(&key.sign(&claims(&provider.issuer, json!({ "org": "acme" }))), "traces", &body);
    assert!(refused.starts_with("HTTP/1.1 403") && refused.contains("`email` is missing"), "{refused}");
    let mut shown = BTreeMap::new();
    for (user, tenant, _) in USERS {
        let runs = get(admin, format!("/api/runs?session=session-{user}")).await;
        let run = &runs["runs"][0];
        assert_eq!((&run["tenant"], runs["runs"].as_array().map(Vec::len)), (&json!(tenant), Some(1)), "{runs}");
        shown.insert(user, run["user"].as_str().unwrap_or_default().to_owned());
    }
    let none = get(admin, "/api/runs?tenant=acme&session=session-bob".to_owned()).await;
    assert_eq!(none["runs"], json!([]));
    let metrics = meter.render();
    for kind in ["user", "tenant"] {
        let series = format!("tollgate_claimed_identities_total{{processor=\"normalize\",kind=\"{kind}\"}} 6");
        assert!(metrics.contains(&series), "{metrics}");
    }
    let by_tenant = |tenant: &str| {
        metrics.lines().any(|line| line.starts_with("tollgate_cost_usd_total{") && line.contains(tenant))
    };
    assert!(by_tenant("acme") && by_tenant("globex") && !metrics.contains("corp.example"), "{metrics}");
    app.shutdown().await;

    let sent = fs::read_to_string(at("outbound.jsonl")).unwrap();
    assert!(!sent.contains("corp.example"), "{sent}");
    let mut all = Vec::new();
    sent.lines().for_each(|line| items_of_sessions(&serde_json::from_str(line).unwrap(), &mut all));
    let mut items: BTreeMap<String, Vec<BTreeMap<String, String>>> = BTreeMap::new();
    all.into_iter().for_each(|item| items.entry(item["session.id"].clone()).or_default().push(item));
    let of = |user: &str| items[&format!("session-{user}")][0].clone();
    let (ann, bob) = (of("ann"), of("bob"));
    assert!(ann["user.id"].starts_with("h-") && ann["user.id"] != bob["user.id"], "{ann:?} {bob:?}");
    assert_eq!(ann["tollgate.claimed.user.id"], bob["user.id"]);
    assert_eq!((&*ann["tenant.id"], &*ann["tollgate.claimed.tenant.id"]), ("acme", "globex"));
    assert_eq!((&*bob["tenant.id"], &*bob["tollgate.claimed.tenant.id"]), ("globex", "acme"));
    for (user, item) in [("ann", &ann), ("bob", &bob)] {
        let all = &items[&format!("session-{user}")];
        assert!(all.len() == 3 && all.iter().all(|other| other == item), "a span, a record and a point: {all:?}");
    }
    assert_eq!((&shown["ann"], &shown["bob"]), (&ann["user.id"], &bob["user.id"]));
    assert!(sent.contains("tollgate.user.groups"), "{sent}");

    let vault = at("vault");
    let is_folder = |path: &str| fs::metadata(format!("{vault}/default/{path}")).is_ok();
    assert!(is_folder("acme/session-ann") && is_folder("globex/session-bob"));
    assert!(!is_folder("globex/session-ann") && !is_folder("acme/session-bob"));
    let find = ["vault", "find", "--store", &*vault, "--user", &*ann["user.id"], "--sessions"];
    let (_, found, notes) = tollgate(&find);
    assert_eq!(found.trim(), "session-ann\tdefault", "{notes}");
    assert!(notes.contains(&format!("clients of this user named the user {}", bob["user.id"])), "{notes}");
    assert!(notes.contains(&format!("clients of the verified user {} named this user", bob["user.id"])), "{notes}");
    let of_ann = ["--store", &*vault, "--user", &*ann["user.id"], "--gateway-key", public];
    let reason = ["--requested-by", "officer", "--reason", "T-1", "--output", &at("request")];
    let (code, out, err) = tollgate(&[&["vault", "erase", "--request"][..], &of_ann, &reason].concat());
    assert_eq!(code, Some(0), "{out}{err}");
    let request = fs::read_to_string(at("request")).unwrap();
    assert!(request.contains("session-ann") && !request.contains("session-bob"), "{request}");
    assert!(format!("{out}{err}").contains("named the user"), "{out}{err}");
}

/// A receiver that verifies users feeds no pipeline that would leave the claims on the items.
#[test]
fn a_pipeline_without_normalize_is_refused() {
    let (folder, provider) = (tempfile::tempdir().unwrap(), Provider::new(json!({})));
    let mut changes = changes(&provider, folder.path());
    changes["service"]["pipelines"]["metrics"]["processors"] = json!(["redact"]);
    let config = gateway::configuration(folder.path(), &changes);
    let read = resolve::resolve_config("test", &config, &OtherMachineLookup, folder.path());
    let problems = read.result.err().map(|problems| read.source.render(&problems, false)).expect("refused");
    assert!(problems.contains("a pipeline of metrics does not begin with `normalize`"), "{problems}");
}
