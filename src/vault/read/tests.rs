//! What must not drive an auditor's terminal.

use super::{clean, escaped};

/// No control character of any plane reaches the terminal; JSON stays the same JSON.
#[test]
fn nothing_drives_the_terminal() {
    let hostile = "a\u{1b}[31m\u{9b}2J\u{7f}\u{202e}b\tc é 漢 😀";
    assert_eq!(clean(hostile), "a\\u{1b}[31m\\u{9b}2J\\u{7f}\\u{202e}b\tc é 漢 😀");
    let json = serde_json::json!({ "k": hostile }).to_string();
    let shown = escaped(&json);
    assert!(!shown.chars().any(|c| c.is_control() || c == '\u{202e}'), "{shown:?}");
    assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).ok(), serde_json::from_str(&json).ok());
}
