//! Tests of the step and of the table that it fills, on recordings of real clients.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::super::clients::{ClientTable, MAX_CLIENTS};
use super::ClientRecorder;
use genai::cached_facts;
use genai::testing::builtin::vocabulary;
use genai::testing::request::{at, from_json, payload};
use kernel::clock::UnixNanos;
use kernel::pseudonym::IdPolicy;
use otlp::{Payload, Signal};
use pipeline::{Batch, BatchOrigin, Processor, Trust};

const SECOND: u64 = 1_000_000_000;
const NOW: u64 = 1000 * SECOND;

/// A policy that hides addresses.
struct HidesAddresses;

impl IdPolicy for HidesAddresses {
    fn shown_id<'a>(&self, _: &str, id: &'a str) -> Cow<'a, str> {
        id.into()
    }

    fn redact_column<'a>(&self, _: &str, text: &'a str) -> Cow<'a, str> {
        if text.contains('@') || text.starts_with("hidden") { "[EMAIL]".into() } else { text.into() }
    }

    fn pseudonym(&self, _: &str, id: &str) -> String {
        format!("h-{id}")
    }
}

fn recorder() -> (ClientRecorder, Arc<ClientTable>) {
    let table = Arc::new(ClientTable::default());
    table.set_budget_scopes(vec!["user", "tenant"]);
    (ClientRecorder::new(Arc::clone(&table), Arc::new(HidesAddresses)), table)
}

/// Lets the step see a batch and commits it; `with_facts`: as behind `normalize`.
fn pass(recorder: &ClientRecorder, account: &str, received: u64, payload: Payload, with_facts: bool) {
    let origin = BatchOrigin {
        account: account.into(),
        identity: pipeline::ClientIdentity::Unverified,
        receiver: "otlp".into(),
        trust: Trust::ThirdParty,
        received: UnixNanos(received),
        id: [1; 16],
        repeat: false,
        source_record: None,
    };
    let mut batch = Batch::new(Arc::new(origin), payload);
    if with_facts {
        cached_facts(&vocabulary(), &batch.origin.account, &batch.payload, &mut batch.facts);
    }
    recorder.process(&mut batch).expect("the step refuses nothing");
    batch.effects.iter().for_each(|effect| recorder.apply(effect));
}

/// The table's entry of the only client after a recorded session has passed.
fn client_of(recording: &str) -> Json {
    let (recorder, table) = recorder();
    let mut files: Vec<_> = std::fs::read_dir(at("tests/recordings").join(recording)).expect("recording").collect();
    files.sort_by_key(|file| file.as_ref().expect("file").file_name());
    for path in files.into_iter().map(|file| file.expect("file").path()) {
        let name = path.file_name().and_then(|name| name.to_str()).expect("name").to_owned();
        let Some(signal) = Signal::ALL.into_iter().find(|signal| name.contains(&format!("-{}.", signal.as_str())))
        else {
            continue;
        };
        let bytes = std::fs::read(&path).expect("file");
        let payload = match String::from_utf8(bytes.clone()) {
            Ok(text) if name.ends_with(".json") => from_json(signal, &text),
            _ => Payload::parse(signal, bytes.into()).unwrap_or_else(|error| panic!("{}", error.message)),
        };
        pass(&recorder, "default", NOW, payload, signal != Signal::Metrics);
    }
    let answer = table.to_json(NOW + 5 * SECOND);
    let clients = answer["clients"].as_array().expect("clients").clone();
    assert_eq!(clients.len(), 1, "{recording}: {answer}");
    clients.into_iter().next().expect("client")
}

/// The parts that a client was seen to hold back, and those that it carried.
fn parts(client: &Json) -> (Vec<&'static str>, Vec<&'static str>) {
    let is_seen = |part: &str, what: &str| !client["content_seconds_ago"][part][what].is_null();
    let all = ["input", "output", "tool_args", "tool_result"];
    let off = all.into_iter().filter(|part| is_seen(part, "expected") && !is_seen(part, "carried")).collect();
    (off, all.into_iter().filter(|part| is_seen(part, "carried")).collect())
}

/// The switches of recorded clients are recognised, whatever mark a client sends in place of content, and no part that
/// was carried is reported as off. (It failed for `<REDACTED>` and for an id under a content key.)
#[test]
fn recorded_clients_show_their_switches() {
    let none: &[&str] = &[];
    let all: &[&str] = &["input", "output", "tool_args", "tool_result"];
    for (recording, name, dialect, off, on) in [
        ("claude-code/plain", "claude-code", "claude-code-native", none, all),
        ("claude-code/quiet", "claude-code", "claude-code-native", all, none),
        ("codex/exec", "codex_exec", "codex-cli", none, all),
        // `reasoning_summary`, a setting, is listed as output
        ("codex/quiet", "codex_exec", "codex-cli", &["input"], &["output", "tool_args", "tool_result"]),
        // Gemini CLI sends no results of tools
        ("gemini-cli/prompt", "gemini-cli", "gemini-cli", &["tool_result"], &["input", "output", "tool_args"]),
        // its switch leaves texts on spans
        ("gemini-cli/quiet", "gemini-cli", "gemini-cli", &["tool_result"], &["input", "output", "tool_args"]),
    ] {
        let client = client_of(recording);
        assert_eq!((client["name"].as_str(), client["dialect"].as_str()), (Some(name), Some(dialect)), "{recording}");
        assert_eq!(parts(&client), (off.to_vec(), on.to_vec()), "{recording}: {client}");
    }
    let plain = client_of("claude-code/plain");
    assert_eq!(plain["seconds_ago"], json!({"traces": 5.0, "metrics": 5.0, "logs": 5.0}));
    assert!(plain["version"].is_string(), "{plain}");
    assert_eq!(plain["unnamed_for_budgets"], json!([]));
    assert_eq!(client_of("codex/exec")["unnamed_for_budgets"], json!(["user", "tenant"]));
}

fn span_of(resource: &Json) -> Payload {
    payload(&json!({"resource": resource, "items": [{"name": "chat", "trace": 1, "span": 1, "attributes": {}}]}))
}

/// Names pass the id policy before they are cut, and a text that is no version is not kept. Without facts the step
/// still sees names and signals; tollgate's own summaries are no client.
#[test]
fn no_private_text_is_kept() {
    let (recorder, table) = recorder();
    let private = format!("{}ada@example.com", "x".repeat(60));
    pass(&recorder, "a", NOW, span_of(&json!({"service.name": private, "service.version": "of Ada Lovelace"})), true);
    pass(
        &recorder,
        "a",
        NOW,
        span_of(&json!({"service.name": "n".repeat(10_000), "service.version": "hidden-1"})),
        false,
    );
    pass(&recorder, "a", NOW, span_of(&json!({"service.name": "n".repeat(10_000)})), false);
    pass(&recorder, "a", NOW, span_of(&json!({"telemetry.sdk.language": "go", "telemetry.sdk.version": "1.2"})), false);
    pass(&recorder, "a", NOW, span_of(&json!({"service.name": "tollgate"})), true);
    let answer = table.to_json(NOW);
    let mut names: Vec<_> =
        answer["clients"].as_array().expect("clients").iter().map(|one| one["name"].clone()).collect();
    names.sort_by_key(Json::to_string);
    assert_eq!(names, [json!("[EMAIL]"), json!("n".repeat(64)), json!("unknown_service")]);
    assert!(!answer.to_string().contains("Lovelace") && !answer.to_string().contains("hidden-1"), "{answer}");
    assert!(answer.to_string().contains("\"go 1.2\""), "{answer}");
}

/// An account that makes up names evicts its own clients, the least recently seen first, and no other account's.
#[test]
fn a_flood_of_names_evicts_its_own() {
    let (recorder, table) = recorder();
    pass(&recorder, "quiet", 1, span_of(&json!({"service.name": "mine"})), false);
    for number in 0..2 * MAX_CLIENTS as u64 {
        pass(&recorder, "loud", 2 + number, span_of(&json!({"service.name": format!("s{number}")})), false);
    }
    let answer = table.to_json(NOW);
    let clients = answer["clients"].as_array().expect("clients");
    assert_eq!(clients.len(), MAX_CLIENTS);
    assert_eq!((&clients[0]["name"], &clients[MAX_CLIENTS - 1]["name"]), (&json!("s511"), &json!("mine")));
}
