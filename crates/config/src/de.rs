//! Deserialises typed values from a [`Node`] tree. After an error the offending entry is pruned and the value is read
//! again, so that all errors are reported at once. An error has the position of its node and never quotes a value,
//! which may be a misplaced secret. YAML is parsed in `load`; each component's `config` checks the meaning.

use std::collections::HashSet;
use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::problem::{At, Problem, nearest};
use super::tree::{Key, Node, Val};

/// The number of errors after which reading stops.
const MAX_ERRORS: usize = 50;

/// Reads `node` as a `T`. `path` is the node's path in the configuration.
///
/// # Errors
/// Every problem, each with its position and the nearest valid key.
pub fn typed<T: DeserializeOwned>(node: &Node, path: &str) -> Result<T, Vec<Problem>> {
    match partly(node, path) {
        (Some(value), problems) if problems.is_empty() => Ok(value),
        (_, problems) => Err(problems),
    }
}

/// Returns every problem, and the value without its invalid entries, so that other checks can go on.
pub fn partly<T: DeserializeOwned>(node: &Node, path: &str) -> (Option<T>, Vec<Problem>) {
    let mut pruned = HashSet::new();
    let mut problems: Vec<Problem> = Vec::new();
    for _ in 0..MAX_ERRORS {
        let error = match T::deserialize(Reader { node, pruned: &pruned }) {
            Ok(value) => return (Some(value), problems),
            Err(error) => error,
        };
        let missing = matches!(error.0.kind, Kind::Missing(_));
        let prune = error.0.prune;
        // A field can be missing because its invalid value was pruned. That is not reported again; its map is pruned
        // too.
        if !missing || problems.is_empty() {
            problems.push(error.into_problem(node, path));
        }
        match prune {
            Some(offset) if pruned.insert(offset) => {}
            _ => break,
        }
    }
    (None, problems)
}

#[derive(Debug)]
enum Kind {
    Unknown { what: &'static str, name: String, expected: &'static [&'static str] },
    Missing(&'static str),
    Other { what: String, hint: &'static str },
}

/// A typing error on its way up. It is boxed because every level of every component passes the `Result` on.
#[derive(Debug)]
pub struct TypeError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    at: Option<At>,
    /// Offset of the key or element of the innermost entry, which is pruned before the next attempt.
    prune: Option<usize>,
    path: Vec<String>,
}

impl TypeError {
    fn new(kind: Kind) -> Self {
        Self(Box::new(Inner { kind, at: None, prune: None, path: Vec::new() }))
    }

    fn under(mut self, at: At, prune: usize, name: Option<&str>) -> Self {
        self.0.at.get_or_insert(at);
        self.0.prune.get_or_insert(prune);
        if let Some(name) = name {
            self.0.path.push(name.to_owned());
        }
        self
    }

    fn into_problem(self, node: &Node, path: &str) -> Problem {
        let mut full = path.to_owned();
        for part in self.0.path.iter().rev() {
            if !full.is_empty() && !part.starts_with('[') {
                full.push('.');
            }
            full.push_str(part);
        }
        let at = Some(self.0.at.unwrap_or(node.at));
        match self.0.kind {
            Kind::Unknown { what, name, expected } => {
                let hint = nearest(&name, expected.iter().copied()).map_or_else(
                    || {
                        if expected.is_empty() {
                            String::new()
                        } else {
                            // An alias may be the empty text, which is no useful suggestion.
                            let expected: Vec<&str> = expected.iter().copied().filter(|one| !one.is_empty()).collect();
                            format!("expected one of: {}", expected.join(", "))
                        }
                    },
                    |near| format!("did you mean `{near}`?"),
                );
                // A key is shown; a value may be a misplaced secret and is not.
                let what = if what == "key" { format!("unknown key `{name}`") } else { "unknown value".to_owned() };
                Problem::error(at, full, what).with_hint(hint)
            }
            Kind::Missing(field) => Problem::error(at, full, format!("`{field}` is missing")),
            Kind::Other { what, hint } => Problem::error(at, full, what).with_hint(hint),
        }
    }
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the wrong type")
    }
}

impl std::error::Error for TypeError {}

impl de::Error for TypeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let what = message.to_string();
        // serde's message for types that accept one of several forms
        if what.starts_with("data did not match any variant of untagged enum") {
            let hint =
                "`tollgate print-config --comments` shows how each key is written, `tollgate schema` all its forms";
            return Self::new(Kind::Other { what: "none of the forms that this key takes".to_owned(), hint });
        }
        Self::new(Kind::Other { what, hint: "" })
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
            Unexpected::Float(_) => "a number",
            Unexpected::Str(_) | Unexpected::Char(_) | Unexpected::Bytes(_) => "text",
            Unexpected::Unit | Unexpected::Option => "nothing",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a map",
            _ => "something else",
        };
        let expected = expected.to_string();
        let (expected, hint) = match expected.as_str() {
            "u8" | "u16" | "u32" | "u64" | "usize" | "i8" | "i16" | "i32" | "i64" => {
                ("a whole number", "write a whole number, such as `5`")
            }
            "f32" | "f64" => ("a number", "write a number, such as `0.5`"),
            "a boolean" => ("true or false", "write `true` or `false`"),
            "a string" => ("text", "write text, such as `name`"),
            "a sequence" => ("a list", "write a list, such as `[a, b]`"),
            map if map == "a map" || map.starts_with("struct ") => ("a map", "write a map, such as `{ key: value }`"),
            other => (other, ""),
        };
        Self::new(Kind::Other { what: format!("expected {expected}, found {found}"), hint })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = expected.to_string();
        let expected = match expected.as_str() {
            "u8" => "a whole number from 0 to 255",
            "u16" => "a whole number from 0 to 65535",
            "u32" | "u64" | "usize" => "a whole number of at least 0",
            other => other,
        };
        Self::new(Kind::Other { what: format!("not a valid value: expected {expected}"), hint: "" })
    }

    fn unknown_field(name: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Kind::Unknown { what: "key", name: name.to_owned(), expected })
    }

    fn unknown_variant(name: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Kind::Unknown { what: "value", name: name.to_owned(), expected })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Kind::Missing(field))
    }
}

#[derive(Clone, Copy)]
struct Reader<'t> {
    node: &'t Node,
    pruned: &'t HashSet<usize>,
}

impl<'t> Reader<'t> {
    fn text(self) -> Option<&'t str> {
        match (&self.node.value, &self.node.raw) {
            (Val::Str(text), _) => Some(text),
            (Val::Bool(_) | Val::Int(_) | Val::UInt(_) | Val::Float(_), Some(raw)) => Some(raw),
            _ => None,
        }
    }

    /// Visits a number or boolean that is written as text, as values from the environment are.
    fn retyped<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        if let Val::Str(text) = &self.node.value {
            let text = text.trim();
            if let Ok(number) = text.parse::<u64>() {
                return visitor.visit_u64(number);
            }
            if let Ok(number) = text.parse::<i64>() {
                return visitor.visit_i64(number);
            }
            if let Ok(number) = text.parse::<f64>() {
                return visitor.visit_f64(number);
            }
            if let Ok(truth) = text.parse::<bool>() {
                return visitor.visit_bool(truth);
            }
        }
        self.deserialize_any(visitor)
    }
}

macro_rules! retyped {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
            self.retyped(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = TypeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match &self.node.value {
            Val::Null => visitor.visit_unit(),
            Val::Bool(value) => visitor.visit_bool(*value),
            Val::Int(value) => visitor.visit_i64(*value),
            Val::UInt(value) => visitor.visit_u64(*value),
            Val::Float(value) => visitor.visit_f64(*value),
            Val::Str(value) => visitor.visit_str(value),
            Val::Seq(items) => {
                let items = items.iter().enumerate().filter(|(_, item)| !self.pruned.contains(&item.at.offset));
                visitor.visit_seq(Items { items: items.collect::<Vec<_>>().into_iter(), pruned: self.pruned })
            }
            Val::Map(entries) => visitor.visit_map(Entries::new(entries, self.pruned)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.node.value {
            Val::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.text() {
            Some(text) => visitor.visit_str(text),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        self.deserialize_map(visitor)
    }

    /// A key without a body (`otlp:`) is an empty map.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.node.value {
            Val::Null => visitor.visit_map(Entries::new(&[], self.pruned)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        match &self.node.value {
            Val::Map(entries) => match entries.as_slice() {
                [(key, node)] => visitor.visit_enum(Variant { key, node, pruned: self.pruned }),
                _ => Err(de::Error::custom("expected a map with one key")),
            },
            _ => match self.text() {
                Some(text) => visitor.visit_enum(text.into_deserializer()),
                None => self.deserialize_any(visitor),
            },
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, TypeError> {
        visitor.visit_newtype_struct(self)
    }

    retyped! { deserialize_bool deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_i8
    deserialize_i16 deserialize_i32 deserialize_i64 deserialize_f32 deserialize_f64 }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct seq tuple tuple_struct identifier ignored_any
    }
}

struct Entries<'t> {
    entries: std::slice::Iter<'t, (Key, Node)>,
    value: Option<&'t (Key, Node)>,
    pruned: &'t HashSet<usize>,
}

impl<'t> Entries<'t> {
    fn new(entries: &'t [(Key, Node)], pruned: &'t HashSet<usize>) -> Self {
        Self { entries: entries.iter(), value: None, pruned }
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = TypeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TypeError> {
        let pruned = self.pruned;
        let Some(entry) = self.entries.find(|(key, _)| !pruned.contains(&key.at.offset)) else { return Ok(None) };
        self.value = Some(entry);
        let key = &entry.0;
        let name: de::value::StrDeserializer<'_, TypeError> = key.name.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|error| error.under(key.at, key.at.offset, None))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, TypeError> {
        let Some((key, node)) = self.value.take() else { return Err(de::Error::custom("a value without its key")) };
        let at = if node.at.len > 0 && node.entries().is_empty() { node.at } else { key.at };
        seed.deserialize(Reader { node, pruned: self.pruned })
            .map_err(|error| error.under(at, key.at.offset, Some(&key.name)))
    }
}

struct Items<'t> {
    items: std::vec::IntoIter<(usize, &'t Node)>,
    pruned: &'t HashSet<usize>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = TypeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, TypeError> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        seed.deserialize(Reader { node, pruned: self.pruned })
            .map(Some)
            .map_err(|error| error.under(node.at, node.at.offset, Some(&format!("[{index}]"))))
    }
}

struct Variant<'t> {
    key: &'t Key,
    node: &'t Node,
    pruned: &'t HashSet<usize>,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = TypeError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), TypeError> {
        let name: de::value::StrDeserializer<'_, TypeError> = self.key.name.as_str().into_deserializer();
        let value = seed.deserialize(name).map_err(|error| error.under(self.key.at, self.key.at.offset, None))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = TypeError;

    fn unit_variant(self) -> Result<(), TypeError> {
        match self.node.value {
            Val::Null => Ok(()),
            _ => Err(de::Error::custom("takes no value")),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, TypeError> {
        seed.deserialize(Reader { node: self.node, pruned: self.pruned })
            .map_err(|error| error.under(self.key.at, self.key.at.offset, Some(&self.key.name)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, TypeError> {
        Reader { node: self.node, pruned: self.pruned }.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, TypeError> {
        Reader { node: self.node, pruned: self.pruned }
            .deserialize_map(visitor)
            .map_err(|error| error.under(self.key.at, self.key.at.offset, Some(&self.key.name)))
    }
}
