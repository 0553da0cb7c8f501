//! Tests of `tap`: the counting of requests, and the output on a terminal.

use super::{escape_for_terminal, is_json, is_request_start};

/// Only first lines of requests count for `--limit`.
#[test]
fn requests_are_counted() {
    let lines = [
        "2026-11-20T10:00:00Z traces/a account=default 3 spans",
        "  name: x account=default",
        "-- 3 requests left out: more passes than is read here",
        r#"{"account":"default","items":1,"request":{}}"#,
        r#"{"left_out":3,"withheld":0}"#,
    ];
    assert_eq!(lines.map(is_request_start), [true, false, false, true, false]);
}

/// JSON printed on a terminal is equivalent, and moves no cursor.
#[test]
fn a_terminal_obeys_no_client() {
    let json = "{\"body\":\"\u{9b}31m \u{202e}\"}\n";
    let shown = escape_for_terminal(json, true);
    assert!(!shown.contains(['\u{9b}', '\u{202e}']) && shown.ends_with('\n'), "{shown}");
    let same = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    assert_eq!(same(&shown), same(json));
    assert_eq!(escape_for_terminal(json, false), json);
}

/// A person gets the tree, and a script gets JSON, unless the options say otherwise.
#[test]
fn the_form_follows_the_reader() {
    let of = |json, pretty| [is_json(json, pretty, true), is_json(json, pretty, false)];
    assert_eq!([of(false, false), of(false, true), of(true, false)], [[false, true], [false, false], [true, true]]);
}
