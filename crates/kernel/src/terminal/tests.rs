//! Tests of counts with nouns.

use super::{escape_json, escape_unsafe, format_count};

/// Only the count one takes the singular.
#[test]
fn one_thing_is_no_plural() {
    assert_eq!(
        [0_u64, 1, 2].map(|count| format_count(count, "index line")),
        ["0 index lines", "1 index line", "2 index lines"]
    );
}

/// An invisible character beyond the first plane must stay JSON: two units, not five digits.
#[test]
fn json_escapes_stay_json() {
    let text = "\"a\u{e0041}b\u{200b}c\"";
    let shown = escape_json(text);
    assert_eq!(shown, r#""a\udb40\udc41b\u200bc""#);
    assert_eq!(escape_unsafe("x\u{feff}y"), r"x\u{feff}y");
}
