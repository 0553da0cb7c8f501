//! What a masked session shows of an item.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use redaction::{Detector, builtin_rules};
use serde_json::{Value, json};
use vault::document::DocumentItem;

use crate::read::session::{ReplayedSession, SessionEntry};

fn masked(item: Value) -> DocumentItem {
    let item: DocumentItem = serde_json::from_value(item).expect("an item");
    let entry = SessionEntry { at: String::new(), leaf: 0, row: None, item: Some(item), redaction_counts: None };
    let mut session = ReplayedSession { entries: vec![entry], ..ReplayedSession::default() };
    session.mask(&Detector::new(&builtin_rules().expect("rules"), &[]).expect("a detector"));
    session.entries.remove(0).item.expect("an item")
}

/// No private part stays in any text of an item: head, keys, structure, JSON in JSON, numbers, nor in another text of
/// the item than the one that gave it away. A text that can't be searched is not shown. Ids that link entries stay.
/// (Shown to fail without the head's texts, without the second search, and without the limit.)
#[test]
fn every_text_of_an_item_is_masked() {
    let (mail, nested) = ("carl.berg@corp.example", json!({"to": "carl.berg@corp.example"}).to_string());
    let piece =
        |key: &str, value: Value| json!({"part": "input", "on": "span", "key": key, "event": mail, "value": value});
    let deep = (0..6).fold(format!("write to {mail}"), |text, _| STANDARD.encode(text));
    let item = masked(json!({
        "kind": "span", "name": format!("chat for {mail}"), "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "user": mail,
        "start": "2026-11-20T05:00:00Z", "call": "model", "parameters": {"user": mail}, "content_sha256": "5f0c", "context_sha256": "c0de", "salt": "aa",
        "content": [
            piece("gen_ai.input.messages", json!([{"role": "user", "content": format!("write to {mail}")}])),
            piece("arguments", json!({"body": nested, "password": "Kettledolphin43!"})),
            piece(mail, json!("a text")),
            piece("card", json!(4_111_111_111_111_111_u64)),
            piece("customer.name", json!("Wilhelmina Oakenshaw")),
            piece("note", json!("rows of Oakenshaw")),
            piece("deep", json!(deep)),
            piece("long", json!("x ".repeat(5 << 20))),
            piece("null", Value::Null),
        ],
    }));
    let text = serde_json::to_string(&item).expect("JSON");
    for private in [mail, "carl.berg", "Kettledolphin43", "4111111111111111", "Oakenshaw"] {
        assert!(!text.contains(private), "{private} in {text}");
    }
    // what is masked could be guessed from a hash of the whole
    assert!(item.context_sha256.is_none() && item.content_sha256.is_empty() && item.salt.is_empty());
    assert!(item.parameters.is_empty() && item.head.trace_id.as_deref() == Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    assert_eq!((&*item.head.start, &*item.head.call), ("2026-11-20T05:00:00Z", "model"));
    let values: Vec<&str> = item.content.iter().filter_map(|piece| piece.value.as_str()).collect();
    assert_eq!(values[0], r#"[{"role":"user","content":"write to [EMAIL]"}]"#);
    assert_eq!(values[7], "[UNSCANNED]");
    assert_eq!(values[6], "[UNSCANNED]");
}
