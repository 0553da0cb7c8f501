//! Tests of content inside values that stay, and of unlisted text.

use serde_json::{Value as Json, json};

use super::super::config::LeftContent;
use super::process::Bench;
use genai::{ClosedItemPolicy, UnlistedTextPolicy};

fn everything(out: &super::process::Out) -> String {
    String::from_utf8_lossy(&out.bytes).into_owned()
}

/// The content in the vault, item by item.
pub(super) fn kept(out: &super::process::Out) -> Vec<String> {
    let items = out.documents.iter().flat_map(|document| &document.items);
    let piece =
        |piece: &vault::document::ReadPiece| format!("{}={}", piece.key.as_deref().unwrap_or("(body)"), piece.value);
    items.map(|item| item.content.iter().map(piece).collect::<Vec<_>>().join(" ")).collect()
}

fn logs(items: Json) -> Json {
    json!({"signal": "logs", "items": items})
}

/// The prompt in an ordinary log line goes to the vault; the line stays and is still valid JSON.
#[test]
fn listed_parts_go_and_the_rest_stays_valid() {
    let out = Bench::new().pass(&logs(json!([
        {"body": r#"{"level":"info", "prompt":"CANARY one", "n":[1, {"Tool_Args":{"q":"CANARY"}, "left":2}],"end":true}"#},
        {"body": "{'user': 'u', 'prompt': \"CANARY isn't\", 'n': (1, None)}"},
        {"body": {"prompt": "CANARY", "level": "info", "deep": {"completion": "CANARY", "left": 3}}},
        {"body": "done", "attributes": {"payload": r#"{"data":"{\"prompt\":\"CANARY\",\"left\":4}"}"#, "status": "ok"}},
        {"body": r#"{"left": 5, "prompt": "CANARY was cut o"#},
        {"body": "{\"a\": ".repeat(70) + "CANARY"},
    ])));
    let all = everything(&out);
    assert!(!all.contains("CANARY"), "{all}");
    for left in [
        r#"{"level":"info", "n":[1, { "left":2}],"end":true}"#,
        "{'user': 'u', 'n': (1, None)}",
        r#"{"data":"{\"left\":4}"}"#,
    ] {
        assert!(all.contains(left), "{left} in {all}");
    }
    assert!(all.contains("level") && all.contains("left") && all.contains("deep"));
    let kept = kept(&out);
    assert_eq!(kept.join("\n").matches("CANARY").count(), 8, "{kept:?}");
    assert_eq!(kept.len(), 6);
}

/// Unparsable text loses its listed part or goes to the vault as a whole; text around structure stays.
#[test]
fn broken_text_keeps_nothing_listed() {
    let quoted = (0..5).fold(r#"{"prompt":"CANARY"}"#.to_owned(), |text, _| json!({"d": text}).to_string());
    let bodies = [
        "INFO:agent: {'model': <class 'app.Model'>, 'prompt': 'CANARY'} left0".to_owned(),
        "left1 ChatRequest(n=1, prompt='CANARY' 'CANARY')".to_owned(),
        "left2 OrderedDict([('prompt', 'CANARY'), ('n', 1)])".to_owned(),
        "\u{1e}{\"prompt\":\"CANARY\"} left3".to_owned(),
        "{note: it's, prompt: CANARY}".to_owned(),
        "{'prompt': 'don't CANARY, 'x': 1} CANARY".to_owned(),
        format!("{{\"a\": {}", json!(format!("{} CANARY prompt: x", "[".repeat(90)))),
        quoted,
    ];
    let out = Bench::new().pass(&logs(bodies.iter().map(|body| json!({"body": body})).collect()));
    let all = everything(&out);
    assert!(!all.contains("CANARY"), "{all}");
    assert!((0..4).all(|at| all.contains(&format!("left{at}"))), "{all}");
}

/// Text that is not structure is recognised by its first byte and never walked; structure is walked once.
#[test]
fn text_that_only_looks_like_structure_stays() {
    let bodies = ["{a} and {b} prompt: x", "[INFO] prompt: yes", "{", "[]", "{} {}", "prompt"];
    let out = Bench::new().pass(&logs(bodies.iter().map(|body| json!({"body": body})).collect()));
    let all = everything(&out);
    assert!(bodies.iter().all(|body| all.contains(body)) && out.documents.is_empty(), "{all}");
}

/// `unlisted: text` leaves one identifier under a key, `all` no text, `keep` all but listed content; numbers and listed
/// names stay.
#[test]
fn unlisted_options() {
    let case = json!({"items": [{"name": "chat m", "trace": 1, "span": 1, "attributes": {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.input.messages": "LISTED", "plan": "some PROSE",
        "mood": "LABEL", "map": {"a": "INMAP"}, "json": "{\"prompt\":\"NESTED\",\"rest\":\"REST\"}", "count": 7}}]});
    let left = |unlisted| {
        let out = Bench::new().policy(ClosedItemPolicy { unlisted, ..ClosedItemPolicy::default() }).pass(&case);
        let all = everything(&out);
        assert!(all.contains("gpt-4o") && all.contains("count"), "{all}");
        let words = ["LISTED", "PROSE", "LABEL", "INMAP", "NESTED", "REST"];
        words.into_iter().filter(|word| all.contains(word)).collect::<Vec<_>>()
    };
    assert_eq!(left(UnlistedTextPolicy::Text), ["LABEL"]);
    assert_eq!(left(UnlistedTextPolicy::All), [""; 0]);
    assert_eq!(left(UnlistedTextPolicy::Keep), ["PROSE", "LABEL", "INMAP", "REST"]);
}

/// A span name that holds the caller's words is replaced by its template; the words are in the vault.
#[test]
fn names_that_are_messages() {
    let out = Bench::new().pass(&json!({"items": [{"name": "hello CANARY", "trace": 1, "span": 1, "attributes": {
        "gen_ai.operation.name": "chat", "logfire.msg_template": "hello {name}", "logfire.msg": "hello CANARY", "please help me now": 1}}]}));
    let all = everything(&out);
    assert!(!all.contains("CANARY") && all.contains("hello {name}") && !all.contains("please"), "{all}");
    let kept = kept(&out);
    assert!(kept[0].contains("name=\"hello CANARY\"") && kept[0].contains("please help me now=1"), "{kept:?}");
}

/// The option is read, and `keep` adds a note with its consequence.
#[test]
fn unlisted_is_configured() {
    use UnlistedTextPolicy as Written;
    for (text, written, notes) in [("text", Written::Text, 1), ("all", Written::All, 1), ("keep", Written::Keep, 2)] {
        let settings = super::parse(&format!("store: none\nunlisted: {text}")).settings().unwrap_or_else(|_| panic!());
        assert_eq!((settings.config.unlisted, settings.notes.len()), (written, notes));
    }
    assert_eq!(super::parse("store: none").unlisted, Written::Text);
    assert_eq!(LeftContent::default(), LeftContent::Nothing);
}

/// Values that redaction cannot search (bytes that are not text, texts over the limit) are kept in the vault from any
/// item, and stay beside the reference for redaction to replace; ids and searchable values are not kept.
#[test]
fn what_cannot_be_searched_is_kept() {
    use base64::Engine as _;
    let bytes = |bytes: &[u8]| json!({"$bytes": base64::engine::general_purpose::STANDARD.encode(bytes)});
    let mut bench = Bench::new().scanning(1 << 10);
    let long = format!("CANARY {}", "x ".repeat(600));
    let mut item = |attributes: Json| {
        bench.pass(&json!({"items": [{"name": "work", "trace": 1, "span": 2, "attributes": attributes}]}))
    };
    for (attributes, wanted) in [
        (json!({"raw": bytes(b"\xff CANARY of bytes")}), true),
        (json!({"deep": {"list": [1, bytes(b"\xff CANARY of bytes")]}}), true),
        (json!({"note": long}), true),
        (json!({"note": "short", "id": bytes(&[0x9c; 16])}), false),
    ] {
        let out = item(attributes.clone());
        assert_eq!(out.documents.len(), usize::from(wanted), "{attributes}");
        let all = everything(&out);
        assert_eq!(all.contains("gen_ai.payload.s3_uri"), wanted);
        assert!(all.contains("raw") || all.contains("deep") || all.contains("note"), "the value stays: {all}");
    }
    let out = item(json!({"note": long}));
    assert!(kept(&out)[0].contains("CANARY"), "{:?}", kept(&out));
}
