//! Tests of key rules: positions of keys and values, accepted values, and keys of attributes.

use crate::tests::{detector, redact};
use crate::{SearchScratch, replace_hits};

/// Everything that looks like JSON is read, and its siblings count: Python, JS, after prose, escaped as a whole, nested
/// in strings, truncated.
#[test]
fn structures_are_read() {
    for text in [
        r#"{"name":"Quillon Exemplar","email":1}"#,
        r#"said: {"name" : "Quillon Exemplar", "email": 1} and left"#,
        "{'name': 'Quillon Exemplar', 'email': 1}",
        r#"{name: "Quillon Exemplar", email: 1}"#,
        r#"{\"name\": \"Quillon Exemplar\", \"email\": 1}"#,
        r#"{\\\"name\\\": \\\"Quillon Exemplar\\\", \\\"email\\\": 1}"#,
        r#"{\n  \"name\": \"Quillon Exemplar\",\n  \"email\": 1\n}"#,
        "fn main() { let x = 3; } {\"name\": \"Quillon Exemplar\", \"email\": 1}",
        r#"{"name" => "Quillon Exemplar", "email": 1}"#,
        r#"{"customer":{"name":"Quillon Exemplar"#,
        r#"{"customers":[{"name":"x","id":1},{"id":2,"name":"Quillon Exemplar"}]}"#,
        r#"{"arguments": "{\"customer\": {\"name\": \"Quillon Exemplar\"}}"}"#,
    ] {
        assert!(redact(detector(), text).contains("[PERSON]"), "{text}");
    }
}

/// Keys with letters beyond ASCII in any of their words are found.
#[test]
fn keys_of_other_alphabets_are_read() {
    for (text, wanted) in [
        (r#"{"姓名": "张伟"}"#, r#"{"姓名": "[PERSON]"}"#),
        (r#"{"doğum_tarihi": "4.5.1990", "n": 1}"#, r#"{"doğum_tarihi": "[DATE_OF_BIRTH]", "n": 1}"#),
        (r#"{"rodné_číslo": "AB12345"}"#, r#"{"rodné_číslo": "[NATIONAL_ID]"}"#),
        ("年収：650万円\n", "年収：[SALARY]\n"),
    ] {
        assert_eq!(redact(detector(), text), wanted);
    }
}

/// The content of a message is not the value of its role, and not a name because its first words look like one.
#[test]
fn messages_are_no_names() {
    for text in [
        r#"{"role":"user","content":"Hi, Tom here. Give me the report."}"#,
        r#"{"role": "user", "content": "Finally, Elizabeth seeks to finalize her purchase."}"#,
        r#"{"role":"user","content":"No, Bill says the total is 12.50 and not what we told the customer."}"#,
        r#"{"customer_name":"Finally, Elizabeth seeks to finalize her purchase with all that is in her cart."}"#,
        r#"{"user":"Ok, Mark as done all that is older than a week"}"#,
        "role: user\ncontent: Please, Grant access to the folder",
    ] {
        let got = redact(detector(), text);
        assert!(!got.contains("\"[PERSON]\"") && !got.contains(": [PERSON]"), "{got}");
    }
}

/// Keys of attributes: whole values, never ids, never placeholders again.
#[test]
fn attribute_keys() {
    let under = |key: &str, text: &str| {
        let mut scratch = SearchScratch::new();
        let hits = detector().find_for_key(key, text, &mut scratch).to_vec();
        replace_hits(text, &hits, &mut |hit, _, out| out.push_str(detector().placeholder(hit)))
    };
    assert_eq!(under("user.full_name", "zorblatt quux"), "[PERSON]");
    assert_eq!(under("enduser.name", "Li"), "[PERSON]");
    assert_eq!(under("customer.name", "zorblatt"), "[PERSON]");
    assert_eq!(under("user.email", "jane@intranet"), "[EMAIL]");
    assert_eq!(under("app.shippingAddress", "The Old Mill 3"), "[ADDRESS]");
    for (key, text) in [
        ("user.id", "zorblatt"),
        ("session.id", "12345678"),
        ("enduser.id", "zorblatt quux"),
        ("service.name", "Emma"),
        ("gen_ai.agent.name", "Weather Agent"),
        ("gen_ai.tool.name", "Emma"),
        ("user.full_name", "[PERSON]"),
        ("user.full_name", "null"),
        ("server.address", "10.0.0.1"),
        ("", "zorblatt"),
    ] {
        assert_eq!(under(key, text), text, "{key}");
    }
    assert_eq!(under("note", "mail bob@example.com"), "mail [EMAIL]");
}

/// An id is found behind keys without one, at any position, although the absence of digits is cached for other keys.
#[test]
fn an_id_behind_keys_without_one_is_found() {
    for keys in (0..90).chain([400, 2000]) {
        for (id, joint) in [("A48K2913", "\n"), ("XXXAB82", "\nx: "), ("A48K2913", "dob ")] {
            let got = redact(detector(), &format!("{}{joint}mrn: {id}\n{0}", "mrn: ".repeat(keys)));
            assert!(!got.contains(id), "{id} behind {keys}: {got}");
        }
    }
}
