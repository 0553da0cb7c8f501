use otlp::Value;

use super::{has_escaped_letter, may_lead_somewhere, parse, scalar_at_path};
use crate::pattern::KeyPattern;

fn path(text: &str) -> Vec<KeyPattern> {
    text.split('.').map(KeyPattern::new).collect()
}

#[test]
fn every_path_that_leads_to_a_scalar_is_followed() {
    let cases = [
        (r#"{"usage": {"total_tokens": 7}}"#, "usage.total_tokens"),
        (r#"{"usage": {"total\u005ftokens": 7}}"#, "usage.total_tokens"),
        (r#"[{"a\"b\\": "\n", "finish_reason": "stop"}]"#, "*.finish_reason"),
        ("{'usage': {'total_\\bytes': 7}}", "usage.total_bytes"),
        ("{1.50: 'x'}", "*"),
        ("{10: 'x'}", "10"),
        ("{1e1: 'x'}", "10{i}"),
        (r#"{"answer": "usage=Usage(input=3)"}"#, "answer.~input"),
        (r#"{"answer": "usage=Usage(inp\u0075t=3)"}"#, "answer.~input"),
    ];
    for (text, steps) in cases {
        let steps = path(steps);
        let found = parse(Value::Str(text)).and_then(|json| scalar_at_path(&json, &steps));
        let is_parsed = has_escaped_letter(text) || may_lead_somewhere(text, &steps);
        assert!(found.is_none() || is_parsed, "{text}");
    }
}

#[test]
fn text_without_the_last_key_is_not_parsed() {
    for text in ["", "{}", r#"{"usage": {"total": "a \"b\" \\ c\n\t"}}"#, r#"{"tokens": "\/"}"#] {
        assert!(!has_escaped_letter(text) && !may_lead_somewhere(text, &path("usage.total_tokens")), "{text}");
    }
    assert!(has_escaped_letter(r#"{"a": "\u0041"}"#));
    assert!(!has_escaped_letter(&r"\u0041".repeat(1 << 18)), "too long to be parsed");
}
