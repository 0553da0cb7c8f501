//! Reads numbers and ids inside a value: structure, JSON text, or the text of a Python dict. Some emitters report them
//! only inside content, and the content goes to the vault.
//!
//! Bounded in bytes and depth; unreadable text yields nothing. `json_body` reads the entries of log bodies.

use memchr::memmem;
use serde_json::Value as Json;

use kernel::notation::{Notation, Token, Tokens, push_escaped, unescape};
use otlp::Value;

use super::pattern::KeyPattern;

/// Maximum size of a text that is parsed, bytes.
const MAX_BYTES: usize = 1 << 20;
/// Maximum number of list elements searched.
const MAX_ELEMENTS: usize = 64;

/// Parses the structure of a value, if it has one.
pub(super) fn parse(value: Value<'_>) -> Option<Json> {
    match value {
        Value::Str(text) if text.len() <= MAX_BYTES => serde_json::from_str(text).ok().or_else(|| parse_python(text)),
        Value::Map(_) | Value::List(_) => serde_json::from_str(&value.to_json()).ok(),
        _ => None,
    }
}

/// Returns false if `path` leads nowhere in structure written as `text`, which has no escaped letter
/// ([`has_escaped_letter`]): its last key does not occur. Parsing content only to find that out would cost more than
/// all other facts together.
pub(super) fn may_lead_somewhere(text: &str, path: &[KeyPattern]) -> bool {
    let Some(key) = path.iter().rev().find_map(KeyPattern::literal) else { return true };
    let key = key.trim_start_matches('~').as_bytes();
    // A number as the key of a Python dict may be written in other digits.
    let is_word = key.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte))
        && key.iter().any(|byte| byte.is_ascii_alphabetic() && *byte != b'e');
    !is_word || memmem::find(text.as_bytes(), key).is_some()
}

/// Returns true if an escape, in JSON or in Python's notation, may stand for a letter or digit. False for a text that
/// is too long to be parsed.
pub(super) fn has_escaped_letter(text: &str) -> bool {
    let mut text = if text.len() > MAX_BYTES { &[] } else { text.as_bytes() };
    while let Some(at) = memchr::memchr(b'\\', text) {
        let Some([escaped, rest @ ..]) = text.get(at + 1..) else { return false };
        if !b"nt\"'\\/".contains(escaped) {
            return true;
        }
        text = rest;
    }
    false
}

/// The scalar at `path`. Where several keys match a step, the first one below which the rest of the path resolves is
/// used. A last step `~name` reads `name=123` from a Python `repr` of an answer, after the last `usage=`.
pub(super) fn scalar_at_path(json: &Json, path: &[KeyPattern]) -> Option<Json> {
    let Some((step, rest)) = path.split_first() else {
        return (json.is_number() || json.is_string()).then(|| json.clone());
    };
    match (json, step.literal()) {
        (Json::Object(map), Some(key)) => scalar_at_path(map.get(key)?, rest),
        (Json::Object(map), None) => {
            map.iter().filter(|(key, _)| step.matches(key)).find_map(|(_, below)| scalar_at_path(below, rest))
        }
        // A star also matches any list element.
        (Json::Array(list), None) => list.iter().take(MAX_ELEMENTS).find_map(|below| scalar_at_path(below, rest)),
        (Json::String(text), Some(key)) if rest.is_empty() => number_in_repr(text, key.strip_prefix('~')?),
        _ => None,
    }
}

/// The whole number after `words` at the start of one of the first lines: the header that a client puts before a tool's
/// output. Later lines are the tool's own output and may say anything.
pub(super) fn header_number(text: &str, words: &str) -> Option<Json> {
    const MAX_HEADER_LINES: usize = 4;
    let number = text.lines().take(MAX_HEADER_LINES).find_map(|line| line.strip_prefix(words))?;
    number.trim().parse::<i64>().ok().map(Json::from)
}

/// Reads a whole number that `repr` wrote as `name=123`.
fn number_in_repr(text: &str, name: &str) -> Option<Json> {
    let usage = text.rsplit_once("usage=")?.1;
    let mut found = usage.match_indices(name).map(|(at, _)| usage.split_at(at));
    let value = found.find_map(|(before, from)| {
        let is_whole_name = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        from.strip_prefix(name)?.strip_prefix('=').filter(|_| is_whole_name)
    })?;
    let digits = value.split(|c: char| !c.is_ascii_digit()).next().filter(|digits| !digits.is_empty())?;
    digits.parse::<u64>().ok().map(Json::from)
}

/// A scalar as text.
pub(super) fn scalar_text(json: &Json) -> Option<String> {
    match json {
        Json::String(text) if !text.is_empty() => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Reads a whole number, also from a decimal or a text.
pub(super) fn whole_number(json: &Json) -> Option<i64> {
    match json {
        Json::Number(number) => {
            number.as_i64().or_else(|| number.as_f64().and_then(|value| Value::Double(value).as_count()))
        }
        Json::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// Parses `{'a': 1, "b": None, 'c': [True, (1, 2)]}`, as Python's `str` writes dicts and lists, by writing it as JSON.
/// Fails on a call like `Decimal('1')`.
fn parse_python(text: &str) -> Option<Json> {
    let mut tokens = Tokens::new(text, Notation::Python).peekable();
    if !matches!(tokens.peek(), Some(Token::Open(_))) {
        return None;
    }
    let mut json = String::new();
    while let Some(token) = tokens.next() {
        let next = tokens.peek();
        match token {
            Token::Open(b'{') => json.push('{'),
            Token::Open(_) => json.push('['),
            Token::Close(b'}') => json.push('}'),
            Token::Close(_) => json.push(']'),
            Token::Colon => json.push(':'),
            Token::Comma if matches!(next, Some(Token::Close(_))) => {}
            Token::Comma => json.push(','),
            Token::Text { is_closed: false, .. } => return None,
            Token::Text { range, .. } => push_escaped(&unescape(text.get(range)?), '"', &mut json),
            Token::Word(range) => match text.get(range)? {
                "None" => json.push_str("null"),
                "True" => json.push_str("true"),
                "False" => json.push_str("false"),
                word => {
                    let number = serde_json::from_str::<serde_json::Number>(word).ok()?.to_string();
                    let is_key = next == Some(&Token::Colon);
                    if is_key { push_escaped(&number, '"', &mut json) } else { json.push_str(&number) }
                }
            },
        }
    }
    serde_json::from_str(&json).ok()
}

#[cfg(test)]
mod tests;
