//! Reads the plain entries of a JSON object in text, and of objects inside it, without copying. Lists and strings with
//! escapes are skipped; text that is not a whole JSON object yields nothing.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use otlp::Value;

/// Maximum number of entries read.
const MAX_ENTRIES: usize = 256;

/// Entries of one object whose value is a string without escapes, a number or a boolean.
type ScalarEntries<'a> = Vec<(&'a str, Value<'a>)>;

/// The entries of the top-level object.
pub(super) fn top_level_entries(text: &str) -> ScalarEntries<'_> {
    collect_maps(text, 0).into_iter().next().unwrap_or_default()
}

/// The entries of the top-level object and of objects up to `levels` below it, in order.
pub(super) fn collect_maps(text: &str, levels: usize) -> Vec<ScalarEntries<'_>> {
    let mut maps = Vec::new();
    let mut entries_left = MAX_ENTRIES;
    let mut json = serde_json::Deserializer::from_str(text);
    let collector = EntryCollector { maps: &mut maps, entries_left: &mut entries_left, levels, is_top_level: true };
    let is_whole = collector.deserialize(&mut json).is_ok() && json.end().is_ok();
    if is_whole { maps } else { Vec::new() }
}

struct EntryCollector<'m, 'a> {
    maps: &'m mut Vec<ScalarEntries<'a>>,
    entries_left: &'m mut usize,
    /// Levels of objects below this value that are read.
    levels: usize,
    is_top_level: bool,
}

impl<'de> DeserializeSeed<'de> for EntryCollector<'_, 'de> {
    type Value = Option<Value<'de>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EntryCollector<'_, 'de> {
    type Value = Option<Value<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Value::Str(text)))
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(Value::Int(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).ok().map(Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Some(Value::Double(value)))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        if !self.is_top_level && self.levels == 0 {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            return Ok(None);
        }
        let map_index = self.maps.len();
        self.maps.push(Vec::new());
        // An object inside the top-level one is one level down.
        let levels = if self.is_top_level { self.levels } else { self.levels - 1 };
        while let Some(EntryKey(key)) = map.next_key()? {
            let inner = EntryCollector {
                maps: &mut *self.maps,
                entries_left: &mut *self.entries_left,
                levels,
                is_top_level: false,
            };
            let value = map.next_value_seed(inner)?;
            if let (Cow::Borrowed(key), Some(value), true) = (key, value, *self.entries_left > 0) {
                *self.entries_left -= 1;
                self.maps.get_mut(map_index).into_iter().for_each(|entries| entries.push((key, value)));
            }
        }
        Ok(None)
    }
}

/// A key, borrowed unless it has escapes.
#[derive(Deserialize)]
struct EntryKey<'a>(#[serde(borrow)] Cow<'a, str>);
