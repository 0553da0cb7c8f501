//! Tests of texts that repeat content, through the steps that strip and redact: across batches and signals, and on
//! every recording, where the rate of false finds is measured. `cargo test --test it echoes -- --nocapture` prints it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use echoes::FingerprintCache;
use genai::{ClosedItemPolicy, KeyRole, Vocabulary};
use kernel::clock::UnixNanos;
use kernel::pseudonym::{PlainIds, Pseudonymizer};
use kernel::rng::{Rng, SystemRng};
use kernel::secret::Secret;
use otlp::{Payload, Signal, TextEdit, TextField, TextPlaceKind, UnknownFields, Value, json as otlp_json};
use pipeline::{Batch, BatchOrigin, Processor, Trust};
use processors::{redact, vault};
use serde_json::{Value as Json, json};
use telemetry::Meter;

struct Line {
    vault: vault::VaultProcessor,
    redact: redact::RedactProcessor,
}

impl Line {
    /// `rules`: whether redaction rules apply in addition to echoes.
    fn new(rules: bool) -> Self {
        // an agent whose name is a sentence
        let keep = BTreeSet::from(["gen_ai.agent.name".to_owned()]);
        let vocabulary = Vocabulary::builtin().ok().unwrap();
        let vocabulary = Arc::new(vocabulary.with_policy(ClosedItemPolicy { keep, ..ClosedItemPolicy::default() }));
        let meter = Meter::new();
        let pseudonyms = Pseudonymizer::new(&Secret::new("k".to_owned()));
        let mut config = redact::RedactConfig::default();
        if !rules {
            config.rules.clear();
        }
        let settings = config.settings().ok().unwrap();
        let parts = vault::VaultProcessorParts {
            id: "vault".into(),
            vocabulary: Arc::clone(&vocabulary),
            ids: Arc::new(PlainIds(pseudonyms.clone())),
            rng: Arc::new(SystemRng),
            store: None,
            leave: vault::LeftContent::Nothing,
            privacy: vault::PrivacyProfile::Standard,
            echo_finder: vault::EchoFinder {
                memory: Arc::new(FingerprintCache::new(&SystemRng)),
                max_error_text: redact::DEFAULT_MAX_ERROR_TEXT,
                max_scan: redact::DEFAULT_MAX_SCAN,
            },
        };
        Self {
            vault: vault::VaultProcessor::new(parts, &meter),
            redact: redact::RedactProcessor::new(
                "redact".into(),
                settings,
                vocabulary,
                Arc::new(PlainIds(pseudonyms)),
                &meter,
            ),
        }
    }

    /// Processes one batch; with `commit` its effects are applied.
    fn pass(&self, payload: Payload, commit: bool) -> Payload {
        let origin = BatchOrigin {
            account: "default".into(),
            identity: pipeline::ClientIdentity::Unverified,
            receiver: "otlp".into(),
            trust: Trust::ThirdParty,
            received: UnixNanos(1),
            id: SystemRng.id(),
            repeat: false,
            source_record: None,
        };
        let mut batch = Batch::new(Arc::new(origin), payload);
        self.vault.process(&mut batch).ok().unwrap();
        self.redact.process(&mut batch).ok().unwrap();
        if commit {
            batch.effects.iter().for_each(|effect| self.vault.apply(effect));
        }
        let bytes = batch.payload.encode(UnknownFields::Drop).ok().unwrap().bytes;
        Payload::parse(batch.payload.signal(), Bytes::from(bytes)).ok().unwrap()
    }
}

fn span(name: &str, attributes: &Json, message: &str) -> Json {
    json!({ "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": name,
        "startTimeUnixNano": "1", "endTimeUnixNano": "2", "attributes": crate::client::attributes(attributes),
        "status": if message.is_empty() { json!({}) } else { json!({ "code": 2, "message": message }) } })
}

/// Gives a span's attribute another value, or with `null` removes it.
fn set(span: &mut Json, key: &str, value: Json) {
    let attributes = span["attributes"].as_array_mut().unwrap();
    attributes.retain(|attribute| attribute["key"] != key);
    attributes.extend((!value.is_null()).then(|| json!({ "key": key, "value": value })));
}

fn traces(spans: Vec<Json>) -> Payload {
    let request = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string();
    let wire = otlp_json::decode(Signal::Traces, request.as_bytes()).ok().unwrap();
    Payload::parse(Signal::Traces, Bytes::from(wire)).ok().unwrap()
}

/// Every text of a payload, with its kind of place and its key.
fn texts(payload: &Payload) -> Vec<(TextPlaceKind, String, String)> {
    let mut out = Vec::new();
    payload.clone().edit_text(|place, text| {
        out.push((place.kind, place.path_key.to_owned(), text.to_owned()));
        TextEdit::Keep
    });
    out
}

const PROMPT: &str = "Please tell Jane Doe that her invoice of March is overdue by forty days";

fn chat(session: &str) -> Json {
    let prompt = json!([{ "role": "user", "parts": [{ "type": "text", "content": PROMPT }] }]).to_string();
    span(
        "chat gpt-5",
        &json!({ "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5", "gen_ai.conversation.id": session, "gen_ai.input.messages": prompt }),
        "",
    )
}

fn failing(session: &str) -> Json {
    span(
        "invoke_agent: tell Jane Doe that her invoice of March",
        &json!({ "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "mail", "gen_ai.conversation.id": session,
            "error": true, "error.type": "MailError",
            "exception.message": "MailError: can't send 'her invoice of March is overdue by forty days'" }),
        "could not Please tell Jane Doe that her invoice of March is over…",
    )
}

fn said(payload: &Payload) -> (String, String, String) {
    let node = payload.items().find(|node| !payload.text(*node, TextField::StatusMessage).is_empty()).unwrap();
    let texts = [
        payload.text(node, TextField::Name),
        payload.text(node, TextField::StatusMessage),
        payload.get_str(node, "exception.message").unwrap(),
    ];
    let [name, status, message] = texts.map(str::to_owned);
    (name, status, message)
}

/// Within one batch, in either order and in all places, the quotation is removed while names and codes stay.
#[test]
fn within_a_batch() {
    for spans in [vec![chat("s"), failing("s")], vec![failing("s"), chat("s")]] {
        let out = Line::new(true).pass(traces(spans), false);
        let (name, status, message) = said(&out);
        assert_eq!(name, "invoke_agent: [CONTENT]");
        assert_eq!(status, "could not [CONTENT]…");
        assert_eq!(message, "MailError: can't send '[CONTENT]'");
        let node = out.items().find(|node| out.get(*node, "error").is_some()).unwrap();
        assert!(out.get(node, "error").unwrap().as_str().is_none(), "a flag stays a flag");
        assert!(out.get_str(node, "exception.slug").unwrap().starts_with("MailError-"));
    }
}

/// Across batches of a session, committed content is remembered; uncommitted content and content of another session is
/// not.
#[test]
fn over_batches() {
    // without the error's own quotation and the long name, which are content themselves
    let failing = |session: &str| {
        let mut span = failing(session);
        span["name"] = json!("invoke_agent");
        set(&mut span, "exception.message", json!({ "stringValue": "MailError: not sent" }));
        span
    };
    let line = Line::new(true);
    let fresh = said(&line.pass(traces(vec![failing("s")]), true));
    assert!(fresh.1.contains("invoice of March"), "nothing was stripped yet");
    line.pass(traces(vec![chat("s")]), false);
    assert_eq!(said(&line.pass(traces(vec![failing("s")]), true)), fresh, "not committed, not remembered");
    line.pass(traces(vec![chat("s")]), true);
    assert_eq!(said(&line.pass(traces(vec![failing("s")]), true)).1, "could not [CONTENT]…");
    let mut other = failing("t");
    other["traceId"] = json!("1af7651916cd43dd8448eb211c80319c");
    assert_eq!(said(&line.pass(traces(vec![other]), true)), fresh, "another session");
}

/// A stack trace that quotes content keeps its frames and its type, whatever its length.
#[test]
fn traces_keep_their_frames() {
    let frames: String = (0..400)
        .map(|line| format!("  File \"/srv/app/mail.py\", line {line}, in send\n    {}\n", "x".repeat(40)))
        .collect();
    let trace = format!("Traceback (most recent call last):\n{frames}mail.MailError: {PROMPT}\n");
    let mut span = failing("s");
    set(&mut span, "exception.stacktrace", json!({ "stringValue": trace }));
    let out = Line::new(true).pass(traces(vec![chat("s"), span]), false);
    let node = out.items().find(|node| out.get(*node, "error").is_some()).unwrap();
    let cut = out.get_str(node, "exception.stacktrace").unwrap();
    assert!(cut.len() <= redact::DEFAULT_MAX_ERROR_TEXT, "{}", cut.len());
    assert!(cut.len() > redact::DEFAULT_MAX_ERROR_TEXT / 2, "{}", cut.len());
    assert!(
        cut.starts_with("Traceback (most recent call last):\n  File \"/srv/app/mail.py\", line 0, in send\n"),
        "{cut}"
    );
    assert!(cut.contains("line 399, in send") && cut.ends_with("mail.MailError: [CONTENT]\n"), "{cut}");
    assert!(cut.contains("…[TRUNCATED]"), "{cut}");
    let again = Line::new(true).pass(out.clone(), false);
    let node = again.items().find(|node| again.get(*node, "error").is_some()).unwrap();
    assert_eq!(again.get_str(node, "exception.stacktrace"), Some(cut), "a second pass changes nothing");
}

/// The output texts that contain `word`, which must not be content.
fn out_of(payload: &Payload, word: &str) -> String {
    let all = texts(payload).into_iter().map(|(_, _, text)| text);
    all.filter(|text| text.contains(word)).collect::<Vec<_>>().join("|")
}

/// In an error that is a structure each text is searched and capped; if one changed, the vault keeps the whole
/// structure. Flags and numbers stay unchanged.
#[test]
fn structured_errors() {
    let value = |text: &str| json!({ "stringValue": text });
    let entry = |key: &str, value: Json| json!({ "key": key, "value": value });
    let map = |entries: Vec<Json>| json!({ "kvlistValue": { "values": entries } });
    let long = format!("long: {}", "a different sentence about nothing at all ".repeat(600));
    let error = map(vec![
        entry("message", value("code-1: her invoice of March is overdue by forty days")),
        entry("retryable", json!({ "boolValue": true })),
        entry("status", json!({ "intValue": "429" })),
        entry(
            "causes",
            json!({ "arrayValue": { "values": [value("code-2: her invoice of March is overdue by forty days"), value(&long)] } }),
        ),
    ]);
    let mut span = failing("s");
    set(&mut span, "error", error);
    let text = entry("text", value("code-3: tell Jane Doe that her invoice of March"));
    set(&mut span, "exception.message", map(vec![text]));
    let out = Line::new(true).pass(traces(vec![chat("s"), span]), false);
    assert_eq!(out_of(&out, "code-"), "code-1: [CONTENT]|code-2: [CONTENT]|code-3: [CONTENT]");
    assert!(out_of(&out, "long: ").len() <= redact::DEFAULT_MAX_ERROR_TEXT);
    let node = out.items().find(|node| out.get(*node, "error").is_some()).unwrap();
    let entries: Vec<_> = out.get(node, "error").unwrap().entries().collect();
    let plain = |key: &str| entries.iter().find(|(known, _)| *known == key).unwrap().1;
    assert!(matches!(plain("retryable"), Value::Bool(true)) && matches!(plain("status"), Value::Int(429)));
}

/// An event name or error type that is a sentence goes to the vault.
#[test]
fn texts_that_stay() {
    let quote = "tell Jane Doe that her invoice of March";
    let mut span = failing("s");
    set(&mut span, "error.type", json!({ "stringValue": format!("type-1 {quote}") }));
    span["events"] = json!([{ "timeUnixNano": "1", "name": format!("event-4: {quote}"),
        "attributes": [{ "key": "error.type", "value": { "stringValue": format!("type-5 {quote}") } }] }]);
    let out = Line::new(true).pass(traces(vec![chat("s"), span]), false);
    assert_eq!(out_of(&out, "type-"), "");
    assert_eq!(out_of(&out, "event-4"), "", "a name that is a sentence");
}

/// Queries, addresses and labels are not treated as quotations, because dashboards need them, even if content and an
/// error beside them contain the same text.
#[test]
fn queries_and_labels_stay() {
    let sql = "SELECT name, email FROM customers WHERE region = ? ORDER BY name";
    let (place, tag) = ("prod europe west", "nightly invoice agents");
    let url = "https://shop.example.com/find/customers/north?page=2";
    let said = format!("{place}; {tag}; {url}; {sql}");
    let tool = json!({ "gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "sql",
        "gen_ai.system_instructions": said, "gen_ai.tool.call.arguments": json!({ "query": sql }).to_string() });
    let kept = json!({ "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "sql", "db.query.text": sql,
        "db.statement": sql, "url.full": url, "deploy.environment": place, "service.namespace": tag });
    let spans = vec![span("execute_tool sql", &tool, ""), span("SELECT customers", &kept, sql)];
    let out = Line::new(false).pass(traces(spans), false);
    let node = out.items().find(|node| out.get(*node, "db.query.text").is_some()).unwrap();
    for (key, text) in kept.as_object().unwrap() {
        assert_eq!(out.get_str(node, key), text.as_str(), "{key}");
    }
    assert!(out.text(node, TextField::StatusMessage).contains("[CONTENT]"), "an error is searched");
}

/// A child span of the same trace is searched although it lacks the session id, also one request later, and in the
/// reverse order.
#[test]
fn children_without_the_session() {
    let without = |mut span: Json| {
        set(&mut span, "gen_ai.conversation.id", Json::Null);
        span
    };
    for (first, second) in [
        (chat("s1"), without(failing("s1"))),
        (without(chat("s1")), failing("s1")),
        (without(chat("s1")), without(failing("s1"))),
    ] {
        let line = Line::new(true);
        line.pass(traces(vec![first]), true);
        let (_, status, message) = said(&line.pass(traces(vec![second]), true));
        assert_eq!((&*status, &*message), ("could not [CONTENT]…", "MailError: can't send '[CONTENT]'"));
    }
}

/// An agent's name stays in other texts if it stays under its own key, although content contains the same text.
#[test]
fn names_of_agents_stay() {
    let name = "Keeper of the northern ledger";
    let agent = |key: &str| {
        let mut attributes = json!({ "gen_ai.operation.name": "invoke_agent", "crewai.agent.role": name,
            "gen_ai.system_instructions": format!("You are {name}, be polite") });
        attributes[key] = json!(name);
        let message = format!("{name} did not answer");
        let out = Line::new(true).pass(traces(vec![span("invoke_agent", &attributes, &message)]), false);
        out.text(out.items().next().unwrap(), TextField::StatusMessage).to_owned()
    };
    assert_eq!(agent("gen_ai.agent.name"), format!("{name} did not answer"));
    assert_eq!(agent("crewai.agent.backstory"), "[CONTENT] did not answer", "no key tells that it is one");
}

/// Log records: bodies that are not content, as text and as structure, and event names.
#[test]
fn log_bodies() {
    let record = |body: Json, event: &str, attributes: Json| {
        json!({ "timeUnixNano": "1", "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331",
            "eventName": event, "body": body, "attributes": attributes })
    };
    let quote = "her invoice of March is overdue by forty days";
    let line = Line::new(true);
    line.pass(traces(vec![chat("s")]), true);
    let body = json!({ "kvlistValue": { "values": [{ "key": "note", "value": { "stringValue": format!("body-2: {quote}") } }] } });
    let records = [
        record(json!({ "stringValue": format!("body-1: {quote}") }), "", json!([])),
        record(body, "", json!([])),
        record(json!({ "intValue": "1" }), &format!("event-3: {quote}"), json!([])),
    ];
    let request = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] }).to_string();
    let wire = otlp_json::decode(Signal::Logs, request.as_bytes()).ok().unwrap();
    let plain = Line::new(true);
    let logs = || Payload::parse(Signal::Logs, Bytes::from(wire.clone())).ok().unwrap();
    let before = plain.pass(logs(), false);
    assert_eq!(out_of(&before, "body-1"), format!("body-1: {quote}"), "they stay where nothing was stripped");
    let out = line.pass(logs(), false);
    assert_eq!(out_of(&out, "Jane").len() + out_of(&out, "forty").len(), 0);
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recordings")
}

fn recorded(path: &Path) -> Option<Payload> {
    let (stem, kind) = (path.file_stem()?.to_str()?, path.extension()?.to_str()?);
    let signal = match stem.rsplit('-').next()? {
        "traces" => Signal::Traces,
        "logs" => Signal::Logs,
        _ => return None,
    };
    let bytes = fs::read(path).unwrap();
    let wire = if kind == "json" { otlp_json::decode(signal, &bytes).ok().unwrap() } else { bytes };
    Payload::parse(signal, Bytes::from(wire)).ok()
}

/// The canaries in a text.
fn canaries(text: &str) -> impl Iterator<Item = String> {
    text.match_indices("CANARY-").map(|(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|char: char| !(char.is_ascii_alphanumeric() || char == '-')).unwrap_or(rest.len());
        rest[..end].to_owned()
    })
}

#[derive(Default)]
struct Count {
    texts: usize,
    searched: usize,
    changed: usize,
    false_finds: BTreeSet<String>,
    left: BTreeSet<String>,
    errors: BTreeSet<String>,
}

/// On every recording: no error text, status message or name contains a canary of content that was stripped in the
/// same batch or earlier in the session. Changed texts without a canary are counted and printed, and must stay few.
/// (An error that comes before the content that repeats it, such as a tool's own, is not an echo: it stays, redacted.)
#[test]
#[expect(clippy::print_stdout, reason = "the figures of a release; shown with --nocapture")]
fn recordings() {
    let vocabulary = Vocabulary::builtin().ok().unwrap();
    let mut count = Count::default();
    for client in fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for session in fs::read_dir(&client).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
            let mut files: Vec<PathBuf> = fs::read_dir(&session).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.sort();
            let (line, mut content) = (Line::new(false), BTreeSet::new());
            for payload in files.iter().filter_map(|path| recorded(path)) {
                compare(&line, &vocabulary, payload, &mut content, &mut count);
            }
        }
    }
    let Count { texts, searched, changed, false_finds, left, errors } = count;
    let found = false_finds.len();
    println!("echoes on the recordings: {texts} texts in the places, {searched} long enough to quote");
    println!("{changed} changed, of them without a canary {found}: {false_finds:#?}");
    println!("canaries in error texts that repeat nothing stripped before: {errors:#?}");
    assert!(left.is_empty(), "content that stands in error texts: {left:#?}");
    assert!(changed > 1 && texts > 200, "{changed} of {texts}");
    assert!(found * 100 <= searched, "{found} of {searched}");
}

fn quotes(vocabulary: &Vocabulary, kind: TextPlaceKind, key: &str) -> bool {
    match kind {
        TextPlaceKind::Field(TextField::StatusMessage | TextField::Name | TextField::EventName) => true,
        TextPlaceKind::Value => vocabulary.role(key) == KeyRole::ErrorText,
        _ => false,
    }
}

fn compare(line: &Line, vocabulary: &Vocabulary, payload: Payload, content: &mut BTreeSet<String>, count: &mut Count) {
    let place = |payload: &Payload| -> Vec<String> {
        let all = texts(payload).into_iter().filter(|(kind, key, _)| quotes(vocabulary, *kind, key));
        all.map(|(_, _, text)| text).collect()
    };
    let others = texts(&payload).into_iter().filter(|(kind, key, _)| !quotes(vocabulary, *kind, key));
    content.extend(others.flat_map(|(_, _, text)| canaries(&text).collect::<Vec<_>>()));
    let mut before = place(&payload);
    let out = line.pass(payload, true);
    let after = place(&out);
    // most bodies are removed as a whole and reveal nothing
    let bodies = texts(&out).into_iter().filter(|(kind, ..)| *kind == TextPlaceKind::Body);
    let said = bodies.flat_map(|(_, _, text)| canaries(&text).collect::<Vec<_>>());
    count.left.extend(said.filter(|canary| content.contains(canary)));
    if before.len() > after.len() {
        // an `error` inside of a message, and a tool's output, go to the vault
        let mut left = after.clone();
        before.retain(|text| left.iter().position(|one| one == text).map(|at| left.swap_remove(at)).is_some());
        // a changed text can't be told apart from those
        count.changed += left.len();
    } else {
        assert_eq!(before.len(), after.len());
    }
    for canary in after.iter().flat_map(|text| canaries(text)) {
        let left = if content.contains(&canary) { &mut count.left } else { &mut count.errors };
        left.insert(canary);
    }
    count.texts += before.len();
    let partners = if before.len() == after.len() { &*after } else { &before };
    for (before, after) in before.iter().zip(partners) {
        count.searched += usize::from(echoes::may_quote(before, &[]));
        if before != after {
            count.changed += 1;
            // a name that is a sentence goes as a whole, whatever it repeats
            if !before.contains("CANARY") && after != "[CONTENT]" {
                count.false_finds.insert(format!("{before:?} became {after:?}"));
            }
        }
    }
}
