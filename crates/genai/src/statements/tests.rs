//! Tests of which parts of cache statements stay.

use super::{is_cache_statement, shorten_statement};

/// Commands stay, keys and values are removed; what the client masked itself stays, and a second pass changes nothing.
#[test]
fn commands_stay() {
    for (text, left) in [
        ("SET chat:1 hello", "SET […]"),
        ("GET chat:1", "GET […]"),
        ("SET ? ?", "SET ? ?"),
        ("set [2 other arguments]", "set [2 other arguments]"),
        ("set mine [1 other arguments]", "set […]"),
        ("JSON.GET k $.a", "JSON.GET […]"),
        ("MARIA.HUBER hat", "[…]"),
        ("JSON.MARIAHATHIV k", "[…]"),
        ("PING", "PING"),
        ("FT.SEARCH idx word", "FT.SEARCH […]"),
        ("GET a\nSET b c", "GET […]\nSET […]"),
        ("what is it", "[…]"),
        ("Maria", "[…]"),
        ("SET k hello\nMaria has it", "SET […]\n[…]"),
        ("SET ? [text other arguments]", "SET […]"),
        ("{\"role\": \"user\"}", "[…]"),
        ("", ""),
    ] {
        assert_eq!(shorten_statement(text).as_deref().unwrap_or(text), left, "{text}");
        assert_eq!(shorten_statement(left), None, "a second pass changes {left}");
    }
    let many = shorten_statement(&"GET a\n".repeat(10_000)).expect("it is cut");
    assert!(many.lines().count() == 65 && shorten_statement(&many).is_none_or(|again| again.len() <= many.len()));
}

/// Must not regress: if the system is not named, arguments of cache commands are removed and SQL stays.
#[test]
fn statements_to_nobody() {
    for text in ["SET chat:1 hello", "hset s k v", "GET chat:1", "JSON.SET k $ {}", "SETEX k 1 v"] {
        assert!(is_cache_statement(text), "{text}");
    }
    for text in
        ["SELECT a FROM b", "DELETE FROM b", "SET search_path TO x", "set @a = 1", "INSERT INTO a VALUES (?)", ""]
    {
        assert!(!is_cache_statement(text), "{text}");
    }
}
