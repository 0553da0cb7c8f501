//! Deserialises typed values from a [`TreeNode`] tree. After an error the offending entry is pruned and the value is
//! read again, so that all errors are reported at once. An error has the position of its node and never quotes a value,
//! which may be a misplaced secret. YAML is parsed in `load`; each component's `config` checks the meaning.

use std::collections::HashSet;
use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::problem::{Problem, SourcePosition, find_nearest};
use super::tree::{MapKey, NodeValue, TreeNode};

/// The number of errors after which reading stops.
const MAX_ERRORS: usize = 50;
/// The name under which a type asks for a value that may be on another machine: it then gets nothing
/// ([`Visitor::visit_none`]) in place of the text of the `${…}`. `kernel::key_source` has the same name.
const MAY_BE_UNKNOWN: &str = "MayBeUnknown";
/// The number of keys that a remedy lists.
const MAX_NAMED_FIELDS: usize = 8;

/// Reads `node` as a `T`. `path` is the node's path in the configuration. Returns every problem, each with its position
/// and the nearest valid key, and the value without its invalid entries, so that other checks can go on.
pub fn deserialize_partial<T: DeserializeOwned>(node: &TreeNode, path: &str) -> (Option<T>, Vec<Problem>) {
    let mut pruned = HashSet::new();
    let mut problems: Vec<Problem> = Vec::new();
    for _ in 0..MAX_ERRORS {
        let error = match T::deserialize(NodeDeserializer { node, pruned: &pruned }) {
            Ok(value) => return (Some(value), problems),
            Err(error) => error,
        };
        let is_missing_field = matches!(error.0.kind, TypeErrorKind::MissingField(_));
        let prune_offset = error.0.prune_offset;
        // A field can be missing because its invalid value was pruned. That is not reported again; its map is pruned
        // too.
        if !is_missing_field || problems.is_empty() {
            problems.push(error.into_problem(node, path));
        }
        match prune_offset {
            Some(offset) if pruned.insert(offset) => {}
            _ => break,
        }
    }
    (None, problems)
}

#[derive(Debug)]
enum TypeErrorKind {
    UnknownName { what: &'static str, name: String, expected: &'static [&'static str] },
    MissingField(&'static str),
    Other { what: String, hint: String },
}

/// A typing error on its way up. It is boxed because every level of every component passes the `Result` on.
#[derive(Debug)]
pub struct TypeError(Box<TypeErrorDetails>);

#[derive(Debug)]
struct TypeErrorDetails {
    kind: TypeErrorKind,
    at: Option<SourcePosition>,
    /// Offset of the key or element of the innermost entry, which is pruned before the next attempt.
    prune_offset: Option<usize>,
    path: Vec<String>,
}

impl TypeError {
    fn new(kind: TypeErrorKind) -> Self {
        Self(Box::new(TypeErrorDetails { kind, at: None, prune_offset: None, path: Vec::new() }))
    }

    fn other(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(TypeErrorKind::Other { what: what.into(), hint: hint.into() })
    }

    fn with_context(mut self, at: SourcePosition, prune_offset: usize, name: Option<&str>) -> Self {
        self.0.at.get_or_insert(at);
        self.0.prune_offset.get_or_insert(prune_offset);
        if let Some(name) = name {
            self.0.path.push(name.to_owned());
        }
        self
    }

    fn into_problem(self, node: &TreeNode, path: &str) -> Problem {
        let mut full_path = path.to_owned();
        for part in self.0.path.iter().rev() {
            if !full_path.is_empty() && !part.starts_with('[') {
                full_path.push('.');
            }
            full_path.push_str(part);
        }
        let at = Some(self.0.at.unwrap_or(node.at));
        match self.0.kind {
            TypeErrorKind::UnknownName { what, name, expected } => {
                // An alias may be the empty text, which is no useful suggestion.
                let expected: Vec<&str> = expected.iter().copied().filter(|name| !name.is_empty()).collect();
                let near = find_nearest(&name, expected.iter().copied());
                let hint = match near {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if expected.is_empty() => String::new(),
                    None => format!("expected one of: {}", expected.join(", ")),
                };
                // A key is shown. A value may be a misplaced secret, unless it nearly is one of the expected words.
                let what = match (what, near) {
                    ("key", _) | (_, Some(_)) => format!("unknown {what} `{name}`"),
                    _ => format!("unknown {what}"),
                };
                Problem::error(at, full_path, what).with_hint(hint)
            }
            TypeErrorKind::MissingField(field) => {
                Problem::error(at, full_path, format!("`{field}` is missing")).with_hint(format!("add `{field}: …`"))
            }
            TypeErrorKind::Other { what, hint } => Problem::error(at, full_path, what).with_hint(hint),
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
                "`tollgate print-config --comments` shows how to write each key, `tollgate schema` shows all its forms";
            return Self::other("the value has none of the forms allowed for this key", hint);
        }
        Self::other(what, "")
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
            Unexpected::UnitVariant => "a word alone",
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
            "newtype variant" | "struct variant" => ("a map with this word as its key", ""),
            map if map == "a map" || map.starts_with("struct ") => ("a map", "write a map, such as `{ key: value }`"),
            other => (other, ""),
        };
        Self::other(format!("expected {expected}, found {found}"), hint)
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = expected.to_string();
        let expected = match expected.as_str() {
            "u8" => "a whole number from 0 to 255",
            "u16" => "a whole number from 0 to 65535",
            "u32" | "u64" | "usize" => "a whole number of at least 0",
            other => other,
        };
        Self::other(format!("not a valid value: expected {expected}"), "")
    }

    fn unknown_field(name: &str, expected: &'static [&'static str]) -> Self {
        Self::new(TypeErrorKind::UnknownName { what: "key", name: name.to_owned(), expected })
    }

    fn unknown_variant(name: &str, expected: &'static [&'static str]) -> Self {
        Self::new(TypeErrorKind::UnknownName { what: "value", name: name.to_owned(), expected })
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(TypeErrorKind::MissingField(field))
    }
}

/// How to write a map with these fields in place of a scalar. A switch alone becomes the first field, if that is a
/// switch.
fn describe_fields(value: &NodeValue, fields: &[&str]) -> String {
    let switch_state = match value {
        NodeValue::Bool(on) => Some(*on),
        NodeValue::Str(text) => match text.trim().to_ascii_lowercase().as_str() {
            "on" | "yes" | "true" => Some(true),
            "off" | "no" | "false" => Some(false),
            _ => None,
        },
        _ => None,
    };
    match (fields.first(), switch_state) {
        (Some(field @ (&"on" | &"enabled")), Some(on)) => format!("write `{{ {field}: {on} }}`"),
        (Some(field), _) => {
            let shown: Vec<&str> = fields.iter().copied().take(MAX_NAMED_FIELDS).collect();
            let more = if fields.len() > shown.len() { ", …" } else { "" };
            format!("write a map, such as `{{ {field}: … }}`; its keys: {}{more}", shown.join(", "))
        }
        (None, _) => "write `{}`".to_owned(),
    }
}

#[derive(Clone, Copy)]
struct NodeDeserializer<'t> {
    node: &'t TreeNode,
    pruned: &'t HashSet<usize>,
}

impl<'t> NodeDeserializer<'t> {
    fn text(self) -> Option<&'t str> {
        match (&self.node.value, &self.node.raw) {
            (NodeValue::Str(text), _) => Some(text),
            (NodeValue::Bool(_) | NodeValue::Int(_) | NodeValue::UInt(_) | NodeValue::Float(_), Some(raw)) => Some(raw),
            _ => None,
        }
    }

    /// Visits a number or boolean that is written as text, as values from the environment are.
    fn visit_retyped<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        if let NodeValue::Str(text) = &self.node.value {
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
            if let Ok(flag) = text.parse::<bool>() {
                return visitor.visit_bool(flag);
            }
        }
        self.deserialize_any(visitor)
    }
}

macro_rules! retyped {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
            self.visit_retyped(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for NodeDeserializer<'_> {
    type Error = TypeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match &self.node.value {
            NodeValue::Null => visitor.visit_unit(),
            NodeValue::Bool(value) => visitor.visit_bool(*value),
            NodeValue::Int(value) => visitor.visit_i64(*value),
            NodeValue::UInt(value) => visitor.visit_u64(*value),
            NodeValue::Float(value) => visitor.visit_f64(*value),
            NodeValue::Str(value) => visitor.visit_str(value),
            NodeValue::Seq(items) => {
                let items = items.iter().enumerate().filter(|(_, item)| !self.pruned.contains(&item.at.offset));
                visitor.visit_seq(ListItems { items: items.collect::<Vec<_>>().into_iter(), pruned: self.pruned })
            }
            NodeValue::Map(entries) => visitor.visit_map(MapEntries::new(entries, self.pruned)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.node.value {
            NodeValue::Null => visitor.visit_none(),
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
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        match &self.node.value {
            NodeValue::Null | NodeValue::Map(_) | NodeValue::Seq(_) => self.deserialize_map(visitor),
            value => self.deserialize_map(visitor).map_err(|mut error| {
                if let TypeErrorKind::Other { hint, .. } = &mut error.0.kind {
                    *hint = describe_fields(value, fields);
                }
                error
            }),
        }
    }

    /// A key without a body (`otlp:`) is an empty map.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, TypeError> {
        match self.node.value {
            NodeValue::Null => visitor.visit_map(MapEntries::new(&[], self.pruned)),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        match &self.node.value {
            NodeValue::Map(entries) => match entries.as_slice() {
                [(key, node)] => visitor.visit_enum(EnumEntry { key, node, pruned: self.pruned }),
                _ => {
                    let hint = format!("write only one of these keys: {}", variants.join(", "));
                    Err(TypeError::other("expected a map with one key", hint))
                }
            },
            _ => match self.text() {
                // An error other than an unknown name means that the name is known, so that it can be shown.
                Some(text) => visitor.visit_enum(text.into_deserializer()).map_err(|mut error: TypeError| {
                    if let TypeErrorKind::Other { hint, .. } = &mut error.0.kind {
                        *hint = format!("write `{{ {text}: … }}`");
                    }
                    error
                }),
                None => self.deserialize_any(visitor),
            },
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, TypeError> {
        match self.node.is_unknown && name == MAY_BE_UNKNOWN {
            true => visitor.visit_none(),
            false => visitor.visit_newtype_struct(self),
        }
    }

    retyped! { deserialize_bool deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_i8
    deserialize_i16 deserialize_i32 deserialize_i64 deserialize_f32 deserialize_f64 }

    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct seq tuple tuple_struct identifier ignored_any
    }
}

struct MapEntries<'t> {
    entries: std::slice::Iter<'t, (MapKey, TreeNode)>,
    /// The entry whose key was read and whose value follows.
    current: Option<&'t (MapKey, TreeNode)>,
    pruned: &'t HashSet<usize>,
}

impl<'t> MapEntries<'t> {
    fn new(entries: &'t [(MapKey, TreeNode)], pruned: &'t HashSet<usize>) -> Self {
        Self { entries: entries.iter(), current: None, pruned }
    }
}

impl<'de> MapAccess<'de> for MapEntries<'_> {
    type Error = TypeError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, TypeError> {
        let pruned = self.pruned;
        let Some(entry) = self.entries.find(|(key, _)| !pruned.contains(&key.at.offset)) else { return Ok(None) };
        self.current = Some(entry);
        let key = &entry.0;
        let name: de::value::StrDeserializer<'_, TypeError> = key.name.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|error| error.with_context(key.at, key.at.offset, None))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, TypeError> {
        let Some((key, node)) = self.current.take() else { return Err(de::Error::custom("a value without its key")) };
        let at = if node.at.len > 0 && node.entries().is_empty() { node.at } else { key.at };
        seed.deserialize(NodeDeserializer { node, pruned: self.pruned })
            .map_err(|error| error.with_context(at, key.at.offset, Some(&key.name)))
    }
}

struct ListItems<'t> {
    items: std::vec::IntoIter<(usize, &'t TreeNode)>,
    pruned: &'t HashSet<usize>,
}

impl<'de> SeqAccess<'de> for ListItems<'_> {
    type Error = TypeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, TypeError> {
        let Some((index, node)) = self.items.next() else { return Ok(None) };
        seed.deserialize(NodeDeserializer { node, pruned: self.pruned })
            .map(Some)
            .map_err(|error| error.with_context(node.at, node.at.offset, Some(&format!("[{index}]"))))
    }
}

struct EnumEntry<'t> {
    key: &'t MapKey,
    node: &'t TreeNode,
    pruned: &'t HashSet<usize>,
}

impl<'de> EnumAccess<'de> for EnumEntry<'_> {
    type Error = TypeError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), TypeError> {
        let name: de::value::StrDeserializer<'_, TypeError> = self.key.name.as_str().into_deserializer();
        let value =
            seed.deserialize(name).map_err(|error| error.with_context(self.key.at, self.key.at.offset, None))?;
        Ok((value, self))
    }
}

impl<'de> VariantAccess<'de> for EnumEntry<'_> {
    type Error = TypeError;

    fn unit_variant(self) -> Result<(), TypeError> {
        match self.node.value {
            NodeValue::Null => Ok(()),
            _ => {
                let hint = format!("write only the word `{}`", self.key.name);
                Err(TypeError::other("must not have a value", hint))
            }
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, TypeError> {
        seed.deserialize(NodeDeserializer { node: self.node, pruned: self.pruned })
            .map_err(|error| error.with_context(self.key.at, self.key.at.offset, Some(&self.key.name)))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, TypeError> {
        NodeDeserializer { node: self.node, pruned: self.pruned }.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, TypeError> {
        NodeDeserializer { node: self.node, pruned: self.pruned }
            .deserialize_map(visitor)
            .map_err(|error| error.with_context(self.key.at, self.key.at.offset, Some(&self.key.name)))
    }
}
