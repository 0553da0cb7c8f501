//! The keyed digest of a tool call's arguments, used to detect identical calls. Arguments are content, so the digest
//! is keyed: it must not confirm an outsider's guess.
//! Invariants: key order and white space of JSON objects do not matter, up to 8 KiB; larger arguments are compared
//! byte by byte; the digest of arguments is never 0, as 0 means that the item has none.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::Hasher;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use genai::{ContentAt, ItemFacts, Part};
use kernel::pseudonym::IdPolicy;
use otlp::{Payload, Value};

/// Longest JSON text that is parsed, bytes.
const LONGEST: usize = 8 << 10;

/// The digest of an item's arguments; 0 = none.
pub(super) fn digest(ids: &dyn IdPolicy, account: &str, payload: &Payload, item: &ItemFacts) -> u64 {
    let mut sum = 0_u64;
    for place in item.content.iter().filter(|place| place.part == Part::ToolArgs) {
        sum = sum.wrapping_add(match place.at {
            ContentAt::Attribute(id) => payload.attribute(id).map_or(0, |one| entry(one.key, of_value(one.value, 0))),
            ContentAt::Body => payload.body(place.node).map_or(0, |body| of_value(body, 0)),
            ContentAt::Inside(at) => {
                let part = item.inside.as_ref().and_then(|inside| inside.parts.get(at as usize));
                part.map_or(0, |part| entry(&part.key, of_text(&part.value)))
            }
            ContentAt::Status | ContentAt::Name => 0,
        });
    }
    if sum == 0 { 0 } else { keyed(ids, account, sum) }
}

fn keyed(ids: &dyn IdPolicy, account: &str, sum: u64) -> u64 {
    let text = ids.pseudonym(account, &format!("tool arguments {sum:016x}"));
    let digits = text.get(text.len().saturating_sub(16)..).unwrap_or("");
    u64::from_str_radix(digits, 16).unwrap_or(1).max(1)
}

fn entry(key: &str, value: u64) -> u64 {
    let mut hash = DefaultHasher::new();
    hash.write(key.as_bytes());
    hash.write_u64(value);
    hash.finish()
}

fn leaf(kind: u8, bytes: &[u8]) -> u64 {
    let mut hash = DefaultHasher::new();
    hash.write_u8(kind);
    hash.write(bytes);
    hash.finish()
}

fn of_text(text: &str) -> u64 {
    let text = text.trim();
    if text.len() <= LONGEST
        && text.starts_with(['{', '['])
        && let Ok(Canonical(hash)) = serde_json::from_str(text)
    {
        return hash;
    }
    leaf(b's', text.as_bytes())
}

fn of_value(value: Value<'_>, depth: usize) -> u64 {
    if depth > 32 {
        return 0;
    }
    match value {
        Value::Str(text) => of_text(text),
        Value::Bool(truth) => leaf(b'b', &[u8::from(truth)]),
        Value::Int(number) => leaf(b'n', &(number as f64).to_bits().to_le_bytes()),
        Value::Double(number) => leaf(b'n', &number.to_bits().to_le_bytes()),
        Value::Bytes(bytes) => leaf(b'y', bytes),
        Value::Empty => leaf(b'0', &[]),
        Value::Map(_) => {
            let entries = value.entries().map(|(key, value)| entry(key, of_value(value, depth + 1)));
            entries.fold(1, u64::wrapping_add)
        }
        Value::List(_) => value.items().fold(2, |hash, item| chain(hash, of_value(item, depth + 1))),
    }
}

fn chain(hash: u64, next: u64) -> u64 {
    hash.rotate_left(5).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ next
}

/// The digest of a JSON text, computed while parsing.
struct Canonical(u64);

impl<'de> Deserialize<'de> for Canonical {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, truth: bool) -> Result<u64, E> {
        Ok(leaf(b'b', &[u8::from(truth)]))
    }

    fn visit_i64<E>(self, number: i64) -> Result<u64, E> {
        Ok(leaf(b'n', &(number as f64).to_bits().to_le_bytes()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<u64, E> {
        Ok(leaf(b'n', &(number as f64).to_bits().to_le_bytes()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<u64, E> {
        Ok(leaf(b'n', &number.to_bits().to_le_bytes()))
    }

    fn visit_str<E>(self, text: &str) -> Result<u64, E> {
        Ok(leaf(b's', text.as_bytes()))
    }

    fn visit_unit<E>(self) -> Result<u64, E> {
        Ok(leaf(b'0', &[]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<u64, A::Error> {
        let mut hash = 2;
        while let Some(Canonical(item)) = list.next_element()? {
            hash = chain(hash, item);
        }
        Ok(hash)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<u64, A::Error> {
        let mut hash = 1_u64;
        while let Some((key, Canonical(value))) = map.next_entry::<std::borrow::Cow<'de, str>, _>()? {
            hash = hash.wrapping_add(entry(&key, value));
        }
        Ok(hash)
    }
}
