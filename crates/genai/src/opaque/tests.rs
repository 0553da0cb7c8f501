//! Tests of the values forwarded at once under an unlisted key: `tests/cases/opaque.yaml`.

use crate::testing::request::case_file;

use super::{OpaqueKind, is_opaque, opaque_kind};

fn cases() -> serde_json::Value {
    case_file("tests/cases/opaque.yaml")
}

fn texts(list: &serde_json::Value) -> impl Iterator<Item = &str> {
    list.as_array().unwrap().iter().map(|text| text.as_str().unwrap_or_else(|| panic!("{text} is no text: quote it")))
}

/// Must not regress: numbers, dates, versions, hashes and generated ids are forwarded at once, with the right kind.
#[test]
fn numbers_and_ids_leave() {
    let cases = cases();
    for (name, expected) in [("word", OpaqueKind::Word), ("number", OpaqueKind::Number), ("id", OpaqueKind::Id)] {
        for text in texts(&cases["leave"][name]) {
            assert!(is_opaque(text), "{text} has to repeat");
            assert!(
                text.is_empty() || text.starts_with('[') || opaque_kind(text) == Some(expected),
                "{text}: {:?}",
                opaque_kind(text)
            );
        }
    }
}

/// Must not regress: names with a number, text in another alphabet and encoded letters have to repeat.
#[test]
fn names_and_codes_repeat() {
    for text in texts(&cases()["repeat"]) {
        assert!(!is_opaque(text), "{text} leaves at once as {:?}", opaque_kind(text));
    }
}
