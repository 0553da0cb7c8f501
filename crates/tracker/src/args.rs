//! The keyed digest of a tool call's arguments, used to detect identical calls. Arguments are content, so the digest
//! is keyed: it must not confirm an outsider's guess.
//! Invariants: key order and white space of JSON do not matter, up to 8 KiB; larger texts are compared byte by byte;
//! the digest of arguments is never 0, as 0 means that the item has none.

use std::collections::hash_map::DefaultHasher;
use std::hash::Hasher;

use serde_json::Value as Json;

use genai::{ContentLocation, ContentPart, ItemFacts};
use kernel::pseudonym::IdPolicy;
use otlp::{Payload, Value};

/// Longest JSON text that is parsed, bytes.
const MAX_PARSED_BYTES: usize = 8 << 10;
/// Parts of an attribute that are nested deeper are ignored.
const MAX_DEPTH: usize = 32;
/// Hashes of an empty map and of an empty list.
const EMPTY_MAP_HASH: u64 = 1;
const EMPTY_LIST_HASH: u64 = 2;

/// The digest of an item's arguments; 0 = none.
pub(super) fn arguments_digest(ids: &dyn IdPolicy, account: &str, payload: &Payload, item: &ItemFacts) -> u64 {
    let mut sum = 0_u64;
    for content in item.content.iter().filter(|content| content.part == ContentPart::ToolArgs) {
        sum = sum.wrapping_add(match content.at {
            ContentLocation::Attribute(id) => {
                payload.attribute(id).map_or(0, |attribute| hash_entry(attribute.key, hash_value(attribute.value, 0)))
            }
            ContentLocation::Body => payload.body(content.node).map_or(0, |body| hash_value(body, 0)),
            ContentLocation::Embedded(index) => {
                let part = item.embedded.as_ref().and_then(|embedded| embedded.parts.get(index as usize));
                part.map_or(0, |part| hash_entry(&part.key, hash_text(&part.value)))
            }
            ContentLocation::Status | ContentLocation::Name => 0,
        });
    }
    if sum == 0 { 0 } else { keyed_digest(ids, account, sum) }
}

fn keyed_digest(ids: &dyn IdPolicy, account: &str, sum: u64) -> u64 {
    let pseudonym = ids.pseudonym(account, &format!("tool arguments {sum:016x}"));
    let digits = pseudonym.get(pseudonym.len().saturating_sub(16)..).unwrap_or("");
    u64::from_str_radix(digits, 16).unwrap_or(1).max(1)
}

fn hash_entry(key: &str, value: u64) -> u64 {
    let mut hash = DefaultHasher::new();
    hash.write(key.as_bytes());
    hash.write_u64(value);
    hash.finish()
}

fn hash_leaf(kind: u8, bytes: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    hash.write_u8(kind);
    hash.write(bytes);
    hash.finish()
}

fn hash_text(text: &str) -> u64 {
    let text = text.trim();
    if text.len() <= MAX_PARSED_BYTES
        && text.starts_with(['{', '['])
        && let Ok(value) = serde_json::from_str::<Json>(text)
    {
        return hash_json(&value);
    }
    hash_leaf(b's', text.as_bytes())
}

fn hash_value(value: Value<'_>, depth: usize) -> u64 {
    if depth > MAX_DEPTH {
        return 0;
    }
    match value {
        Value::Str(text) => hash_text(text),
        Value::Bool(flag) => hash_leaf(b'b', &[u8::from(flag)]),
        Value::Int(number) => hash_number(number as f64),
        Value::Double(number) => hash_number(number),
        Value::Bytes(bytes) => hash_leaf(b'y', bytes),
        Value::Empty => hash_leaf(b'0', &[]),
        Value::Map(_) => {
            let entries = value.entries().map(|(key, value)| hash_entry(key, hash_value(value, depth + 1)));
            entries.fold(EMPTY_MAP_HASH, u64::wrapping_add)
        }
        Value::List(_) => {
            value.items().fold(EMPTY_LIST_HASH, |hash, item| chain_hashes(hash, hash_value(item, depth + 1)))
        }
    }
}

fn hash_number(number: f64) -> u64 {
    hash_leaf(b'n', &number.to_bits().to_le_bytes())
}

fn chain_hashes(hash: u64, next: u64) -> u64 {
    hash.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ next
}

fn hash_json(value: &Json) -> u64 {
    match value {
        Json::String(text) => hash_leaf(b's', text.as_bytes()),
        Json::Bool(flag) => hash_leaf(b'b', &[u8::from(*flag)]),
        Json::Number(number) => hash_number(number.as_f64().unwrap_or(0.0)),
        Json::Null => hash_leaf(b'0', &[]),
        Json::Object(map) => {
            let entries = map.iter().map(|(key, value)| hash_entry(key, hash_json(value)));
            entries.fold(EMPTY_MAP_HASH, u64::wrapping_add)
        }
        Json::Array(list) => list.iter().fold(EMPTY_LIST_HASH, |hash, item| chain_hashes(hash, hash_json(item))),
    }
}
