//! The keyed digest of a tool call's arguments, used to detect identical calls. Arguments are content, so the digest
//! is keyed: it must not confirm an outsider's guess.
//! Invariants: key order and white space of JSON do not matter, up to 8 KiB; larger texts are compared byte by byte;
//! the digest of arguments is never 0, as 0 means that the item has none.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::Hasher;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

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
        && let Ok(JsonDigest(hash)) = serde_json::from_str(text)
    {
        return hash;
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
        Value::Int(number) => hash_leaf(b'n', &(number as f64).to_bits().to_le_bytes()),
        Value::Double(number) => hash_leaf(b'n', &number.to_bits().to_le_bytes()),
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

fn chain_hashes(hash: u64, next: u64) -> u64 {
    hash.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ next
}

/// The digest of a JSON text, computed while parsing.
struct JsonDigest(u64);

impl<'de> Deserialize<'de> for JsonDigest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(JsonDigestVisitor).map(Self)
    }
}

struct JsonDigestVisitor;

impl<'de> Visitor<'de> for JsonDigestVisitor {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<u64, E> {
        Ok(hash_leaf(b'b', &[u8::from(flag)]))
    }

    fn visit_i64<E>(self, number: i64) -> Result<u64, E> {
        Ok(hash_leaf(b'n', &(number as f64).to_bits().to_le_bytes()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
        Ok(hash_leaf(b'n', &(number as f64).to_bits().to_le_bytes()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<u64, E> {
        Ok(hash_leaf(b'n', &number.to_bits().to_le_bytes()))
    }

    fn visit_str<E>(self, text: &str) -> Result<u64, E> {
        Ok(hash_leaf(b's', text.as_bytes()))
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(hash_leaf(b'0', &[]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<u64, A::Error> {
        let mut hash = EMPTY_LIST_HASH;
        while let Some(JsonDigest(item)) = list.next_element()? {
            hash = chain_hashes(hash, item);
        }
        Ok(hash)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let mut hash = EMPTY_MAP_HASH;
        while let Some((key, JsonDigest(value))) = map.next_entry::<std::borrow::Cow<'de, str>, _>()? {
            hash = hash.wrapping_add(hash_entry(&key, value));
        }
        Ok(hash)
    }
}
