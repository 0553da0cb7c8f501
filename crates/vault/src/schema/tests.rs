//! The published schema matches the lines, and detects a line that violates it.

use serde_json::json;

use super::schema_text;
use crate::index_row::{IndexRow, RowKind, RowTail};
use crate::testing::schema::broken;

/// `docs/index-schema.json` is the output of `vault schema`. To regenerate it: `TOLLGATE_UPDATE=1 cargo test -p vault
/// schema`.
#[test]
fn the_published_schema_is_current() {
    let path = genai::testing::request::at("docs/index-schema.json");
    if config::env::var("TOLLGATE_UPDATE").is_some() {
        std::fs::write(&path, schema_text()).expect("written");
    }
    let published = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(published == schema_text(), "docs/index-schema.json is out of date: run with TOLLGATE_UPDATE=1");
}

/// Each rule can be violated.
#[test]
fn a_wrong_line_is_found() {
    let tail = RowTail {
        kind: Some(RowKind::Payload),
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
        ..RowTail::default()
    };
    let row = IndexRow { v: 1, leaf: 0, object_key: Some("x.agev".to_owned()), off: Some(0), of: None, tail };
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
