//! The published schema is the one of the lines, and a line that breaks it is found.

use serde_json::{Value, json};

use super::{schema, text};
use crate::vault::row::{Kind, Row, Tail};

/// `docs/index-schema.json` is what `vault schema` prints. To make it anew: `TOLLGATE_UPDATE=1 cargo test --lib vault::schema`.
#[test]
fn the_published_schema_is_current() {
    let path = crate::testing::request::at("docs/index-schema.json");
    if crate::config::env::var("TOLLGATE_UPDATE").is_some() {
        std::fs::write(&path, text()).expect("written");
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == text(), "docs/index-schema.json is out of date: run with TOLLGATE_UPDATE=1");
}

/// What of `line` breaks the schema: columns that it does not know too.
pub(crate) fn broken(line: &Value) -> Vec<String> {
    let root = schema();
    let mut out = Vec::new();
    check(&root, &root, line, "", &mut out);
    let known = root["properties"].as_object().expect("columns");
    out.extend(line.as_object().expect("a line").keys().filter(|key| !known.contains_key(*key)).cloned());
    out
}

/// The part of JSON Schema that is used here; another keyword is an error, so that nothing goes unchecked.
fn check(root: &Value, schema: &Value, value: &Value, at: &str, out: &mut Vec<String>) {
    let Some(map) = schema.as_object() else { return assert_eq!(schema, &json!(true)) };
    for (keyword, wanted) in map {
        let holds = match keyword.as_str() {
            "description" | "title" | "format" | "default" | "$schema" | "$defs" | "then" | "maximum" => true,
            "additionalProperties" => wanted == true,
            "$ref" => {
                let name = wanted.as_str().and_then(|name| name.strip_prefix("#/$defs/")).expect("a definition");
                check(root, &root["$defs"][name], value, at, out);
                root["$defs"].get(name).is_some()
            }
            "type" => {
                let is = |name: &Value| match name.as_str().expect("a type") {
                    "null" => value.is_null(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("type {other}"),
                };
                wanted.as_array().map_or_else(|| is(wanted), |names| names.iter().any(is))
            }
            "const" => value == wanted,
            "enum" => wanted.as_array().expect("a list").contains(value),
            "minimum" => {
                value.is_null() || value.as_i64().is_none_or(|value| value >= wanted.as_i64().expect("a number"))
            }
            "pattern" => {
                let digits = wanted.as_str().and_then(|text| text.strip_prefix("^[0-9a-f]{")?.strip_suffix("}$"));
                let digits: usize = digits.and_then(|digits| digits.parse().ok()).expect("hex");
                let hex =
                    |text: &str| text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
                value.as_str().is_none_or(hex)
            }
            "required" => {
                wanted.as_array().expect("a list").iter().all(|key| value.get(key.as_str().expect("a key")).is_some())
            }
            "properties" => {
                for (key, schema) in wanted.as_object().expect("columns") {
                    if let Some(value) = value.get(key) {
                        check(root, schema, value, &format!("{at}/{key}"), out);
                    }
                }
                true
            }
            "items" => {
                let items = value.as_array().into_iter().flatten();
                items.for_each(|item| check(root, wanted, item, &format!("{at}/*"), out));
                true
            }
            "allOf" => {
                wanted.as_array().expect("a list").iter().for_each(|one| check(root, one, value, at, out));
                true
            }
            "anyOf" | "oneOf" => wanted.as_array().expect("a list").iter().any(|one| is_valid(root, one, value)),
            "if" => {
                if is_valid(root, wanted, value) {
                    check(root, &map["then"], value, at, out);
                }
                true
            }
            other => panic!("the keyword {other} is not known here"),
        };
        if !holds {
            out.push(format!("{at}: {keyword} {wanted}"));
        }
    }
}

fn is_valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let mut out = Vec::new();
    check(root, schema, value, "", &mut out);
    out.is_empty()
}

/// Each rule can break.
#[test]
fn a_wrong_line_is_found() {
    let tail = Tail {
        kind: Some(Kind::Payload),
        ts: "2026-11-20T10:00:00Z".to_owned(),
        ingest_ts: "2026-11-20T10:00:00Z".to_owned(),
        signal: "traces".to_owned(),
        account: "default".to_owned(),
        tenant: "acme".to_owned(),
        call: "tool".to_owned(),
        action_type: Some("execute_tool".to_owned()),
        status: "ok".to_owned(),
        writer: "gw".to_owned(),
        epoch: "E".to_owned(),
        fragment: Some("0".repeat(32)),
        ct_sha256: Some("0".repeat(64)),
        commitment: Some("0".repeat(64)),
        key_id: Some("0".repeat(16)),
        len: Some(1),
        item: Some(0),
        pt_bytes: Some(1),
        ..Tail::default()
    };
    let row = Row { v: 1, leaf: 0, object_key: Some("x.agev".to_owned()), off: Some(0), of: None, tail };
    let good = serde_json::to_value(&row).expect("json");
    assert_eq!(broken(&good), Vec::<String>::new());
    for (key, value) in [
        ("leaf", json!("0")),
        ("kind", json!("other")),
        ("object_key", json!(null)),
        ("ct_sha256", json!("0".repeat(63))),
        ("commitment", json!(null)),
        ("call", json!("model")),
        ("kind", json!("action")),
        ("kind", json!("erasure")),
        ("action_type", json!("chat")),
        ("part", json!("input")),
        ("repeat", json!(1)),
        ("prompt", json!("a column that nobody knows")),
    ] {
        let mut bad = good.clone();
        bad[key] = value.clone();
        assert!(!broken(&bad).is_empty(), "{key} = {value}");
    }
    for key in ["v", "ts", "account", "writer"] {
        let mut bad = good.clone();
        bad.as_object_mut().expect("a line").remove(key);
        assert!(!broken(&bad).is_empty(), "without {key}");
    }
}
