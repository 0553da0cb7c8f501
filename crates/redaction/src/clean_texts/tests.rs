//! Tests of the memory of clean texts.

use super::*;

/// A text is clean only under the key under which it was searched, and only as a whole.
#[test]
fn only_equal_pairs_are_known() {
    let mut texts = CleanTexts::default();
    texts.insert("http.route", "/v1/ledgers");
    assert!(texts.contains("http.route", "/v1/ledgers"));
    texts.insert("a", "b\0c");
    for (key, text) in [("http.rout", "e/v1/ledgers"), ("", "/v1/ledgers"), ("http.route", "/v1/ledger"), ("a\0b", "c")]
    {
        assert!(!texts.contains(key, text), "{key} {text}");
    }
}

/// Long texts use no memory.
#[test]
fn long_texts_are_not_remembered() {
    let mut texts = CleanTexts::default();
    texts.insert("key", &"x".repeat(MAX_PAIR_BYTES));
    assert!(!texts.contains("key", &"x".repeat(MAX_PAIR_BYTES)) && texts.0.is_empty());
}
