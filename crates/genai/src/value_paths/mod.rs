//! Reads numbers and ids inside a value: structure, JSON text, or the text of a Python dict. Some emitters report them
//! only inside content, and the content goes to the vault.
//!
//! Bounded in bytes and depth; unreadable text yields nothing. `json_body` reads the entries of log bodies.

use std::iter::Peekable;

use memchr::memmem;
use serde_json::{Map, Value as Json};

use kernel::notation::{Notation, Token, Tokens, unescape};
use otlp::Value;

use super::pattern::KeyPattern;

/// Maximum size of a text that is parsed, bytes.
const MAX_BYTES: usize = 1 << 20;
/// Maximum number of list elements searched.
const MAX_ELEMENTS: usize = 64;
/// Maximum nesting depth of a Python text.
const MAX_DEPTH: usize = 32;

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
    let Some((step, rest)) = path.split_first() else { return Some(json).filter(|json| is_scalar(json)).cloned() };
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

fn is_scalar(json: &Json) -> bool {
    json.is_number() || json.is_string()
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

/// Parses `{'a': 1, "b": None, 'c': [True, (1, 2)]}`, as Python's `str` writes dicts and lists.
fn parse_python(text: &str) -> Option<Json> {
    let mut parser = PythonParser { text, tokens: Tokens::new(text, Notation::Python).peekable() };
    let may_be_python = matches!(parser.tokens.peek(), Some(Token::Open(_)));
    let json = may_be_python.then(|| parser.parse_value(0))??;
    parser.tokens.next().is_none().then_some(json)
}

struct PythonParser<'t> {
    text: &'t str,
    tokens: Peekable<Tokens<'t>>,
}

impl PythonParser<'_> {
    fn parse_value(&mut self, depth: usize) -> Option<Json> {
        match self.tokens.next()? {
            Token::Open(b'{') if depth < MAX_DEPTH => self.parse_collection(b'}', depth + 1),
            Token::Open(b'[') if depth < MAX_DEPTH => self.parse_collection(b']', depth + 1),
            Token::Open(b'(') if depth < MAX_DEPTH => self.parse_collection(b')', depth + 1),
            Token::Text { range, is_closed: true } => Some(Json::String(unescape(self.text.get(range)?).into_owned())),
            Token::Word(range) => match self.text.get(range)? {
                "None" => Some(Json::Null),
                "True" => Some(Json::Bool(true)),
                "False" => Some(Json::Bool(false)),
                number => serde_json::from_str::<serde_json::Number>(number).ok().map(Json::Number),
            },
            _ => None,
        }
    }

    /// Parses the members up to the closing bracket. Fails on a call like `Decimal('1')`.
    fn parse_collection(&mut self, close: u8, depth: usize) -> Option<Json> {
        let (mut map, mut list) = (Map::new(), Vec::new());
        while self.tokens.next_if_eq(&Token::Close(close)).is_none() {
            let value = self.parse_value(depth)?;
            if close == b'}' {
                self.tokens.next_if_eq(&Token::Colon)?;
                map.insert(scalar_text(&value)?, self.parse_value(depth)?);
            } else {
                list.push(value);
            }
            let is_last = self.tokens.next_if_eq(&Token::Comma).is_none();
            if is_last && self.tokens.peek() != Some(&Token::Close(close)) {
                return None;
            }
        }
        Some(if close == b'}' { Json::Object(map) } else { Json::Array(list) })
    }
}

#[cfg(test)]
mod tests;
