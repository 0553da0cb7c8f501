//! Tests of the processor: places, treatments, caps. The rules are tested in `redaction`.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value};
use prost::Message;

use super::{RedactConfig, RedactProcessor};
use crate::testing::{assert_shows, batch};
use genai::testing::builtin::vocabulary;
use genai::testing::request;
use kernel::pseudonym::{IdPolicy, PlainIds, Pseudonymizer};
use kernel::secret::Secret;
use otlp::{Payload, Signal, UnknownFields};
use pipeline::{Batch, Clearance, ContentState, Processor, TextState, Trust};
use telemetry::Meter;

mod across;
mod ask;
mod fields;
mod known_pairs;
mod left;
mod options;

fn processor(config: &RedactConfig, meter: &Meter) -> RedactProcessor {
    let settings = config.settings().map_err(|problems| format!("{problems:?}")).expect("valid");
    RedactProcessor::new("redact".into(), settings, vocabulary(), Arc::new(ids()), meter)
}

fn config(text: &str) -> RedactConfig {
    config::load::parse_data("redact", text).unwrap_or_else(|problem| panic!("{problem}"))
}

fn with(text: &str) -> RedactProcessor {
    processor(&config(text), &Meter::new())
}

/// The processor with the default settings, made once.
fn by_default() -> &'static RedactProcessor {
    static PROCESSOR: LazyLock<RedactProcessor> = LazyLock::new(|| processor(&RedactConfig::default(), &Meter::new()));
    &PROCESSOR
}

fn ids() -> PlainIds {
    PlainIds(Pseudonymizer::new(&Secret::new("key".to_owned())))
}

fn pass(redact: &RedactProcessor, signal: Signal, wire: Vec<u8>) -> (Vec<u8>, Clearance) {
    pass_with(redact, signal, wire, ContentState::Kept)
}

fn pass_with(redact: &RedactProcessor, signal: Signal, wire: Vec<u8>, content: ContentState) -> (Vec<u8>, Clearance) {
    let mut batch = batch(Payload::parse(signal, Bytes::from(wire)).expect("payload"));
    batch.clearance.content = content;
    redact.process(&mut batch).expect("processed");
    (batch.payload.encode(UnknownFields::Drop).expect("encoded").bytes, batch.clearance)
}

/// What is sent on of a case, as text.
fn sent_on(redact: &RedactProcessor, case: &serde_json::Value) -> String {
    let mut batch = batch(request::payload(case));
    redact.process(&mut batch).expect("processed");
    let bytes = batch.payload.encode(UnknownFields::Drop).expect("encoded").bytes;
    String::from_utf8_lossy(&bytes).into_owned()
}

fn kv(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    kv(key, Value::StringValue(value.to_owned()))
}

fn span_with(attributes: Vec<KeyValue>) -> Vec<u8> {
    let json = serde_json::json!({"resourceSpans": [{"scopeSpans": [{"spans": [{
        "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331", "name": "x",
        "startTimeUnixNano": "1", "endTimeUnixNano": "2"}]}]}]});
    let mut request: ExportTraceServiceRequest = serde_json::from_value(json).expect("request");
    request.resource_spans[0].scope_spans[0].spans[0].attributes = attributes;
    request.encode_to_vec()
}

/// The first span's attributes.
fn attributes_in(bytes: &[u8]) -> Vec<KeyValue> {
    let request = ExportTraceServiceRequest::decode(bytes).expect("decodes");
    request.resource_spans[0].scope_spans[0].spans[0].attributes.clone()
}

fn attributes_after(redact: &RedactProcessor, attributes: Vec<KeyValue>) -> Vec<KeyValue> {
    attributes_in(&pass(redact, Signal::Traces, span_with(attributes)).0)
}

fn string_of(attribute: &KeyValue) -> Option<String> {
    match attribute.value.clone()?.value? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

fn string_after(redact: &RedactProcessor, key: &str, value: &str) -> Option<String> {
    attributes_after(redact, vec![text(key, value)]).iter().find_map(string_of)
}

const MAIL: &str = "jane@example.com";

/// On data points a placeholder keeps series apart; elsewhere on metrics it has no pseudonym; content is removed.
#[test]
fn metrics_keep_series_apart() {
    let point = |mail: &str| {
        serde_json::json!({"timeUnixNano": "1", "asInt": "1", "attributes": [
        {"key": "who", "value": {"stringValue": mail}}, {"key": "user.id", "value": {"stringValue": mail}}]})
    };
    let call = serde_json::json!({"timeUnixNano": "1", "asInt": "1", "attributes": [
        {"key": "gen_ai.input.messages", "value": {"stringValue": "a prompt"}}]});
    let json = serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "description": MAIL, "unit": "1",
        "sum": {"aggregationTemporality": 1, "isMonotonic": true, "dataPoints": [point(MAIL), point("joe@example.com"), call]}}]}]}]});
    let request: ExportMetricsServiceRequest = serde_json::from_value(json).expect("request");
    let (bytes, clearance) = pass(by_default(), Signal::Metrics, request.encode_to_vec());
    assert!(clearance.allows(Trust::ThirdParty));
    let shown = String::from_utf8_lossy(&bytes).into_owned();
    assert!(!shown.contains("jane") && !shown.contains("joe") && !shown.contains("a prompt"));
    let keyed: std::collections::BTreeSet<&str> =
        shown.split("[EMAIL:h-").skip(1).filter_map(|rest| rest.get(..16)).collect();
    assert_eq!(keyed.len(), 2, "two series stay two");
    let request = ExportMetricsServiceRequest::decode(&bytes[..]).expect("decodes");
    assert_eq!(request.resource_metrics[0].scope_metrics[0].metrics[0].description, "[EMAIL]");
}

/// Credentials are dropped by key; other headers stay.
#[test]
fn credentials_are_dropped() {
    for key in "authorization http.request.header.authorization Cookie http.response.header.set-cookie x-api-key \
            http.request.header.x-auth-token rpc.grpc.request.metadata.authorization"
        .split(' ')
    {
        assert_eq!(attributes_after(by_default(), vec![text(key, "opaque")]).len(), 0, "{key}");
    }
    assert_eq!(
        string_after(by_default(), "http.request.header.content-type", "text/html").as_deref(),
        Some("text/html")
    );
}

/// A user id or name stays only if it is opaque; with `user_ids: keep` only the rules decide.
#[test]
fn users_become_pseudonyms_unless_opaque() {
    let keep = with("{user_ids: keep}");
    for named in
        "margaret.oduya oduya 4711 CONTOSO\\mhuber user_margaret_oduya_of_support Margaret-Oduya-1985-Smith".split(' ')
    {
        for key in ["user.id", "enduser.id", "user.name", "user_id", "langfuse.user.id"] {
            let shown = string_after(by_default(), key, named).expect("kept");
            assert!(shown.starts_with("h-") && shown == ids().pseudonym("default", named), "{key}: {shown}");
        }
        assert_eq!(string_after(&keep, "user.id", named).as_deref(), Some(named));
        assert_eq!(string_after(by_default(), "session.id", "main").as_deref(), Some("main"), "no user's");
    }
    for opaque in
        ["218fc5a9-a5f1-4b54-aa05-46717d0ab26d", "2fd4e1c67a2d28fced849ee1bb76e739", "k3Jx9QpZ0vR7tL2mN8wB5cY1dF"]
    {
        assert_eq!(string_after(by_default(), "user.id", opaque).as_deref(), Some(opaque));
    }
}

/// The pseudonyms of run summaries stay, although their keys end in `_key`; any other value there is searched.
/// (Regression test: back ends got `[API_KEY]` in place of every user.)
#[test]
fn pseudonyms_of_summaries_are_no_credentials() {
    let user = ids().pseudonym("default", "8f4a2b");
    for key in ["tollgate.run.user_key", "tollgate.run.session_key", "tollgate.run.key"] {
        assert_eq!(string_after(by_default(), key, &user).as_deref(), Some(&*user), "{key}");
    }
    let digest = user.trim_start_matches("h-").repeat(2);
    for (key, value) in [("tollgate.run.user_key", digest), ("app.user_key", user)] {
        assert_eq!(string_after(by_default(), key, &value).as_deref(), Some("[API_KEY]"), "{key}");
    }
}

/// A user id is treated alike as a number, in JSON text and under another spelling of its key; neighbouring data stays.
#[test]
fn users_are_found_in_every_form() {
    let (redact, keep) = (by_default(), with("{user_ids: keep}"));
    let number = |redact: &RedactProcessor, key: &str| {
        let out = attributes_after(redact, vec![kv(key, Value::IntValue(4711))]);
        out.into_iter().find(|kv| kv.key == key)?.value?.value
    };
    let shown = ids().pseudonym("default", "4711");
    for key in ["user.id", "user_id", "userId", "usr.id"] {
        assert_eq!(number(redact, key), Some(Value::StringValue(shown.clone())), "{key}");
        assert_eq!(number(&keep, key), Some(Value::IntValue(4711)), "{key}");
    }
    assert_eq!(number(redact, "http.response.status_code"), Some(Value::IntValue(4711)));
    for key in ["userId", "usr.name", "user_name", "username", "user.email", "enduser.name"] {
        let named = string_after(redact, key, "margaret.oduya").expect("kept");
        assert_eq!(named, ids().pseudonym("default", "margaret.oduya"), "{key}");
    }
    for (sent, left) in [
        (r#"{"user_id": 4711, "level": "info"}"#, format!(r#"{{"user_id": "{shown}", "level": "info"}}"#)),
        (r#"INFO login {"userId": "4711", "n": 4711}"#, format!(r#"INFO login {{"userId": "{shown}", "n": 4711}}"#)),
        (r#"{"a": {"user.id": 4711}}"#, format!(r#"{{"a": {{"user.id": "{shown}"}}}}"#)),
        (r#"{"users": 4711, "user_count": 3, "userId": null}"#, String::new()),
        ("user 4711 is here", String::new()),
    ] {
        let left = if left.is_empty() { sent } else { &left };
        assert_eq!(string_after(redact, "payload", sent).as_deref(), Some(left), "{sent}");
        assert_eq!(string_after(&keep, "payload", sent).as_deref(), Some(sent), "{sent}");
    }
}

/// An id that imitates a pseudonym, or is too long for an object name, has the same form on a span as in the vault's
/// index and object names.
#[test]
fn ids_have_one_form_everywhere() {
    let (forged, long, wide) = ("h-".to_owned() + &"0".repeat(32), "s".repeat(129), "é".repeat(60));
    for id in [&forged, &long, &wide] {
        let shown = string_after(by_default(), "session.id", id).expect("kept");
        assert!(shown.starts_with("h-") && shown != *id, "{shown}");
        assert_eq!(shown, ids().shown_id("default", id));
        assert_eq!(shown, ids().object_name_segment("default", id), "{id}");
    }
    let endless = "s".repeat(5000);
    let carried = genai::bounded_id(&endless);
    assert_eq!(
        string_after(by_default(), "session.id", &endless).as_deref(),
        Some(&*ids().shown_id("default", &carried))
    );
    assert_eq!(string_after(by_default(), "session.id", &"s".repeat(128)).as_deref(), Some(&*"s".repeat(128)));
}

/// An id with a private part between its separators becomes the same pseudonym in an attribute and in an object name;
/// ids generated by programs stay readable in both. (`redaction` tests which ids those are.)
#[test]
fn composite_ids_have_one_form_everywhere() {
    let settings = RedactConfig::default().settings().map_err(|problems| format!("{problems:?}")).expect("valid");
    let pseudonyms = Pseudonymizer::new(&Secret::new("key".to_owned()));
    let rules: Arc<dyn IdPolicy> =
        Arc::new(redaction::RedactionIdPolicy::new(vec![Arc::clone(&settings.detector)], pseudonyms));
    let redact = RedactProcessor::new("redact".into(), settings, vocabulary(), Arc::clone(&rules), &Meter::new());
    for key in ["session.id", "gen_ai.conversation.id", "tenant.id"] {
        for id in ["conv-maria.huber@x-clinic.at-1", "CONTOSO\\mhuber", "user:maria.huber"] {
            let shown = string_after(&redact, key, id).expect("kept");
            assert_eq!(shown, rules.pseudonym("default", id), "{key}: {id}");
            assert_eq!(rules.object_name_segment("default", id), shown, "{id}");
        }
        for id in ["3f2504e0-4f89-411d-9a0c-0305e82c3301", "session-2026-11-25-001", "conv_abc123"] {
            assert_eq!(string_after(&redact, key, id).as_deref(), Some(id), "{key}");
            assert_eq!(rules.object_name_segment("default", id), id);
        }
    }
}

/// Long values are cut to their cap including the mark; a second pass changes nothing; error texts have a cap of their
/// own.
#[test]
fn long_values_are_cut() {
    let long = "é".repeat(40_000);
    let cut = string_after(by_default(), "note", &long).expect("kept");
    assert!(cut.len() <= 32 << 10 && cut.ends_with("…[TRUNCATED]"), "{}", cut.len());
    assert_eq!(string_after(by_default(), "note", &cut).as_deref(), Some(cut.as_str()));
    let error = string_after(by_default(), "exception.stacktrace", &long).expect("kept");
    assert!(error.len() <= 8 << 10);
}

/// Paths keep their shape without the user name.
#[test]
fn homes_are_hidden() {
    for (path, wanted) in [
        ("/home/alice/src/main.rs", "/home/[USERNAME]/src/main.rs"),
        ("/Users/bob", "/Users/[USERNAME]"),
        ("C:\\Users\\carol\\x", "C:\\Users\\[USERNAME]\\x"),
        ("/srv/app", "/srv/app"),
        ("/home/[USERNAME]/x", "/home/[USERNAME]/x"),
    ] {
        assert_eq!(string_after(by_default(), "cwd", path).as_deref(), Some(wanted));
    }
}

/// Hits are counted by rule and signal, without their text.
#[test]
fn hits_are_counted() {
    let meter = Meter::new();
    let redact = processor(&RedactConfig::default(), &meter);
    let listed = kv("l", list_of(Value::StringValue(MAIL.to_owned())));
    attributes_after(&redact, vec![listed, text("x", &format!("{MAIL} and {MAIL}"))]);
    let rendered = meter.render();
    assert!(rendered.contains("tollgate_redactions_total{rule=\"email\",signal=\"traces\"} 3"), "{rendered}");
    assert!(!rendered.contains("jane"));
}

/// Unknown rule sets, invalid patterns and caps that are too small are refused by field.
#[test]
fn bad_settings_are_refused() {
    let config = config("{ rules: [pii, pee], custom: [{ name: ok, pattern: 'a*' }], max_value_bytes: 1 }");
    let problems = config.settings().err().expect("refused");
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["rules[1]", "max_value_bytes", "custom[0].name", "custom[0].pattern"]);
}

fn map(entries: Vec<KeyValue>) -> Value {
    Value::KvlistValue(KeyValueList { values: entries })
}

/// A list of one value.
fn list_of(value: Value) -> Value {
    Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(value) }] })
}

fn bytes_after(redact: &RedactProcessor, bytes: &[u8]) -> Vec<u8> {
    let after = attributes_after(redact, vec![kv("raw", Value::BytesValue(bytes.to_vec()))]);
    let Some(Value::BytesValue(bytes)) = after[0].value.clone().unwrap().value else { panic!("bytes stay bytes") };
    bytes
}

/// Bytes that the rules cannot search (a bad byte, wide characters, compressed text) are removed, because they may hide
/// private data. Ids and text stay, and a second pass changes nothing.
#[test]
fn bytes_that_are_no_text_do_not_go_on() {
    let meter = Meter::new();
    let redact = processor(&RedactConfig::default(), &meter);
    let wide: Vec<u8> = MAIL.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let (card, cyrillic) = ("4111111111111111", "Жанна: жанна@почта.рф и так далее");
    let mut hidden = vec![
        [b"\xff reply to ".as_slice(), MAIL.as_bytes()].concat(),
        card.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        "41111111".encode_utf16().flat_map(u16::to_le_bytes).collect(),
        "41111111".chars().flat_map(|c| u32::from(c).to_le_bytes()).collect(),
        cyrillic.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        vec![0xff, 0xfe, 0x00, 0x80],
        wide,
    ];
    hidden.push(vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xcb, 0x4a, 0xcc, 0x4b, 0xad, 0x74]);
    hidden[7].extend([0; 7]);
    for bytes in &hidden {
        assert_eq!(bytes_after(&redact, bytes), b"[UNSCANNED]", "{bytes:x?}");
    }
    assert_eq!(bytes_after(&redact, b"[UNSCANNED]"), b"[UNSCANNED]");
    let told = format!("tollgate_redact_unscanned_values_total{{signal=\"traces\"}} {}", hidden.len());
    assert_shows(&meter, &told);
    for width in [8_u8, 16, 32] {
        let id: Vec<u8> = (0..width).map(|n| n.wrapping_mul(37) ^ 0x9c).collect();
        assert_eq!(bytes_after(&redact, &id), id);
        assert_eq!(bytes_after(&redact, &vec![0; width.into()]), vec![0; width.into()]);
    }
    let text = "plain \u{e9}\n\x1b[1mtext\x1b[0m".as_bytes();
    assert_eq!(bytes_after(&redact, text), text);
    assert_eq!(bytes_after(&redact, MAIL.as_bytes()), b"[EMAIL]");
    let nested = kv("a", map(vec![kv("b", Value::BytesValue(hidden[0].clone()))]));
    assert!(format!("{:?}", attributes_after(&redact, vec![nested])).contains(&format!("{:?}", b"[UNSCANNED]")));
}

/// A credential below another key is removed whatever its value is, because numbers and lists are not searched.
#[test]
fn nested_credentials_are_dropped_whole() {
    let values = || {
        vec![
            Value::IntValue(987_654_321),
            Value::DoubleValue(98765.4321),
            Value::BoolValue(true),
            Value::BytesValue(b"opaque".to_vec()),
            Value::StringValue("opaque".to_owned()),
            list_of(Value::IntValue(987_654_321)),
            map(vec![kv("deeper", Value::IntValue(987_654_321))]),
        ]
    };
    for value in values() {
        let headers = map(vec![kv("x-api-key", value), text("accept", "text/html")]);
        for holder in [headers.clone(), list_of(headers)] {
            let after = attributes_after(by_default(), vec![kv("headers", holder)]);
            let shown = format!("{after:?}");
            assert!(!shown.contains("x-api-key") && shown.contains("text/html"), "{shown}");
        }
    }
    let record = serde_json::json!({"signal": "logs", "items": [{"body": {"authorization": 987_654_321, "a": "b"}}]});
    assert!(!sent_on(by_default(), &record).contains("authorization"));
}

/// Listed content below another key was not taken by the vault step, so it is removed and counted; numbers stay.
#[test]
fn nested_content_is_dropped() {
    let meter = Meter::new();
    let redact = processor(&RedactConfig::default(), &meter);
    let call = map(vec![
        text("gen_ai.input.messages", "dear doctor"),
        kv("gen_ai.completion", map(vec![text("x", "dear patient")])),
        kv("completion", Value::IntValue(7)),
        text("model", "gpt-4o"),
    ]);
    let shown = format!("{:?}", attributes_after(&redact, vec![kv("call", call)]));
    assert!(!shown.contains("dear") && shown.contains("gpt-4o") && shown.contains("IntValue(7)"), "{shown}");
    assert!(meter.render().contains("tollgate_redact_dropped_attributes_total{signal=\"traces\"} 2"));
}

/// Home directories are searched in linear time: quadratic work would take minutes.
#[test]
fn many_homes_take_linear_time() {
    let hidden =
        fixtures::guard::ends("homes", || string_after(by_default(), "cwd", &"/home/a".repeat(60_000)).expect("kept"));
    assert!(hidden.starts_with("/home/[USERNAME]/home/[USERNAME]"));
}

/// The slug of a failure with these attributes.
fn slug_of(attributes: Vec<KeyValue>) -> Option<String> {
    string_of(attributes_after(by_default(), attributes).iter().find(|kv| kv.key == "exception.slug")?)
}

/// The slug of a failed tool is made from its type and name: the tool's output is content, whose digest could be looked
/// up.
#[test]
fn slugs_of_tools() {
    let slug = |tool: &str, kind: &str, message: &str| {
        let operation = [text("gen_ai.operation.name", "execute_tool"), text("gen_ai.tool.name", tool)];
        let error = [text("error.type", kind), text("error.message", message)];
        slug_of(operation.into_iter().chain(error).collect()).expect("a slug")
    };
    let one = slug("grep", "ToolError", "no such file");
    assert_eq!(one, slug("grep", "ToolError", "it is a folder"));
    assert_ne!(one, slug("sed", "ToolError", "no such file"));
    assert_ne!(one, slug("grep", "Timeout", "no such file"));
}

/// The same failure gives the same slug whatever ids, numbers and quotations it contains; a different type, message or
/// place gives a different one. The slug is made from redacted text, before any cut.
#[test]
fn slugs() {
    let slug = |kind: &str, message: &str, trace: &str| {
        let mut attributes = vec![text("exception.message", message), text("exception.stacktrace", trace)];
        attributes.extend((!kind.is_empty()).then(|| text("exception.type", kind)));
        slug_of(attributes)
    };
    let trace = |folder: &str, line: u32, name: &str| {
        format!(
            "Traceback (most recent call last):\n  File \"{folder}/main.py\", line {line}, in start\n  File \"{folder}/mail.py\", line {line}, in {name}\nMailError: x"
        )
    };
    let one = slug("app.MailError", "no user 'Jane' at 10.0.0.1 (req_01HZX9A7 12)", &trace("/srv/a", 12, "send"))
        .expect("slug");
    assert!(one.starts_with("MailError-") && one.len() == "MailError-".len() + 12, "{one}");
    let same =
        slug("app.MailError", "no user 'Joe O’Neil'  at 10.0.0.77 (req_77AAAA12 9)", &trace("/home/b/c", 99, "send"));
    assert_eq!(same.as_ref(), Some(&one));
    for other in [
        slug("app.MailFault", "no user 'Jane' at 10.0.0.1 (req_01HZX9A7 12)", &trace("/srv/a", 12, "send")),
        slug("app.MailError", "no server 'Jane' at 10.0.0.1 (req_01HZX9A7 12)", &trace("/srv/a", 12, "send")),
        slug("app.MailError", "no user 'Jane' at 10.0.0.1 (req_01HZX9A7 12)", &trace("/srv/a", 12, "receive")),
    ] {
        assert!(other.is_some() && other.as_ref() != Some(&one), "{other:?}");
    }
    let mails = [slug("E", "sent to jane@example.com", ""), slug("E", "sent to joe@example.org", "")];
    assert_eq!(mails[0], mails[1], "redacted first");
    let long = |end: &str| slug("E", &format!("{} {end}", "word ".repeat(2_000)), "");
    assert_ne!(long("one"), long("other"), "before the cut");
    let own = slug_of(vec![text("exception.type", "E"), text("exception.slug", "ours")]);
    assert_eq!(own.as_deref(), Some("ours"));
    assert!(
        attributes_after(by_default(), vec![text("notification.message", "Claude waits")]).len() == 1,
        "no failure, no slug"
    );
}

/// A long error text keeps its frames and marks where it was cut; a second pass changes nothing.
#[test]
fn error_texts_keep_frames() {
    let frame = |line: usize| format!("    at send (/srv/app/mail.js:{line}:7)\n");
    let message = "can't send ".repeat(900);
    let long: String = (0..1_000).map(frame).collect();
    for trace in [
        format!("MailError: {message}\n{}", frame(1)),
        format!("MailError: no\n{long}"),
        format!("{}{message}", frame(1)),
        format!("MailError: {message}\n{long}Caused by: {message}"),
    ] {
        let out = string_after(by_default(), "exception.stacktrace", &trace).expect("there");
        assert!(out.len() <= 8 << 10 && out.contains("…[TRUNCATED]"), "{}", out.len());
        assert!(out.contains(&frame(1)), "the frame nearest to the fault stays: {out}");
        assert_eq!(string_after(by_default(), "exception.stacktrace", &out).as_ref(), Some(&out));
    }
}

fn attributes_of(bytes: &[u8]) -> std::collections::HashMap<String, Value> {
    attributes_in(bytes).into_iter().filter_map(|one| Some((one.key, one.value?.value?))).collect()
}
