//! Reads the plain entries of a JSON object in text, and of objects inside it, without copying. Lists and strings with
//! escapes are skipped; text that is not a whole JSON object yields nothing.

use serde::de::IgnoredAny;

use kernel::notation::{Notation, Token, Tokens};
use otlp::Value;

/// Maximum number of entries read.
pub(super) const MAX_ENTRIES: usize = 256;

/// Entries of one object whose value is a string without escapes, a number or a boolean.
type ScalarEntries<'a> = Vec<(&'a str, Value<'a>)>;

/// The entries of the top-level object and of objects up to `levels` below it, in order.
pub(super) fn collect_maps(text: &str, levels: usize) -> Vec<ScalarEntries<'_>> {
    let mut maps: Vec<ScalarEntries<'_>> = Vec::new();
    if serde_json::from_str::<IgnoredAny>(text).is_err() {
        return maps;
    }
    // For each open bracket the number of its map; `None` for lists, maps in lists, and maps below `levels`.
    let mut open: Vec<Option<usize>> = Vec::new();
    let (mut key, mut is_value, mut entries_left) = (None, false, MAX_ENTRIES);
    for token in Tokens::new(text, Notation::Json) {
        let scalar = match token {
            Token::Text { range, .. } => text.get(range).filter(|text| !text.contains('\\')).map(Value::Str),
            Token::Word(range) => text.get(range).and_then(read_word),
            mark => {
                is_value = mark == Token::Colon;
                if let Token::Open(bracket) = mark {
                    let is_read = bracket == b'{' && open.len() <= levels && open.iter().all(Option::is_some);
                    open.push(is_read.then_some(maps.len()));
                    maps.extend(is_read.then(Vec::new));
                } else if matches!(mark, Token::Close(_)) {
                    open.pop();
                }
                continue;
            }
        };
        if !is_value {
            key = scalar.and_then(|key| key.as_str());
            continue;
        }
        let map = open.last().copied().flatten().and_then(|map| maps.get_mut(map));
        if let (Some(map), Some(key), Some(value), true) = (map, key, scalar, entries_left > 0) {
            entries_left -= 1;
            map.push((key, value));
        }
    }
    maps
}

fn read_word(word: &str) -> Option<Value<'_>> {
    match word {
        "true" => Some(Value::Bool(true)),
        "false" => Some(Value::Bool(false)),
        _ => word.parse().map(Value::Int).or_else(|_| word.parse().map(Value::Double)).ok(),
    }
}
