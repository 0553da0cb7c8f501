//! `AnyValue` and `KeyValue`: views for reading, owned values for writing. Views borrow the request; values nest at
//! most [`MAX_DEPTH`] deep; reading never fails, because received values were validated. `check` validates,
//! `value_json` writes JSON text, `patch` replaces texts inside values.

use super::wire::{self, ByteRange, FIXED64, FieldCursor, RawField, VARINT};

/// Maximum nesting depth: the value of an attribute is level 1, an element of a list in it level 2.
pub const MAX_DEPTH: usize = 64;

/// A view of an `AnyValue`. [`Value::items`] and [`Value::entries`] iterate over `List` and `Map`.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// No member is set.
    Empty,
    /// A string.
    Str(&'a str),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// Bytes.
    Bytes(&'a [u8]),
    /// An ArrayValue message.
    List(NestedValue<'a>),
    /// A KeyValueList message.
    Map(NestedValue<'a>),
}

/// The wire bytes of a nested value.
#[derive(Clone, Copy)]
pub struct NestedValue<'a>(pub(super) &'a [u8]);

/// A value to write.
#[derive(Clone)]
pub enum OwnedValue {
    /// A string.
    Str(String),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// A list of strings.
    StrList(Vec<String>),
    /// A nested value, made by [`OwnedValue::from_json`].
    Structure(Vec<u8>),
}

impl<'a> Value<'a> {
    /// Reads the body of an `AnyValue` message. The last member wins, as in every protobuf decoder.
    pub(super) fn read(body: &'a [u8]) -> Self {
        if let Some((start, end)) = wire::len_field_range(body, 0, 0x0a).filter(|(_, end)| *end == body.len()) {
            return Self::Str(wire::text_or_empty(body.get(start..end).unwrap_or_default()));
        }
        let mut cursor = FieldCursor::new(body, 0, body.len());
        let mut value = Self::Empty;
        while let Ok(Some(field)) = cursor.next() {
            let bytes = field.span().slice(body);
            let number = || wire::read_varint(bytes, 0).map_or(0, |(number, _)| number);
            value = match field.number {
                1 => Self::Str(wire::text_or_empty(bytes)),
                2 => Self::Bool(number() != 0),
                3 => Self::Int(number() as i64),
                4 => Self::Double(f64::from_bits(wire::read_fixed64(bytes))),
                5 => Self::List(NestedValue(bytes)),
                6 => Self::Map(NestedValue(bytes)),
                7 => Self::Bytes(bytes),
                8 => Self::Empty,
                _ => value,
            };
        }
        value
    }

    /// The text of a string value.
    pub fn as_str(&self) -> Option<&'a str> {
        match *self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }

    /// Reads an integer from Int, integral Double or decimal Str ("1234"); otherwise `None`.
    pub fn as_count(&self) -> Option<i64> {
        match *self {
            Self::Int(number) => Some(number),
            // The constant is 2^63, which is exact as a double; every smaller magnitude fits `i64`.
            Self::Double(number) if number.fract() == 0.0 && number.abs() < 9_223_372_036_854_775_808.0 => {
                Some(number as i64)
            }
            Self::Str(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Reads a boolean from Bool or the strings "true" and "false"; otherwise `None`.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(flag) => Some(flag),
            Self::Str("true") => Some(true),
            Self::Str("false") => Some(false),
            _ => None,
        }
    }

    /// Returns true if `is` holds for any value in this one that is neither a List nor a Map.
    pub fn any_leaf(self, is: &mut impl FnMut(Value<'a>) -> bool) -> bool {
        match self {
            Self::List(_) => self.items().any(|item| item.any_leaf(is)),
            Self::Map(_) => self.entries().any(|(_, entry)| entry.any_leaf(is)),
            leaf => is(leaf),
        }
    }

    /// Elements of a List; empty otherwise.
    pub fn items(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let body = match *self {
            Self::List(NestedValue(body)) => body,
            _ => &[],
        };
        iter_fields(body).filter(|field| field.number == 1).map(move |field| Value::read(field.span().slice(body)))
    }

    /// Entries of a Map, in wire order, duplicates included; empty otherwise.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let body = match *self {
            Self::Map(NestedValue(body)) => body,
            _ => &[],
        };
        iter_fields(body).filter(|field| field.number == 1).map(move |field| {
            let (key, value) = key_value_ranges(body, field.span());
            (wire::text_or_empty(key.slice(body)), Value::read(value.slice(body)))
        })
    }
}

/// The fields of a validated message.
pub(super) fn iter_fields(body: &[u8]) -> impl Iterator<Item = RawField> {
    let mut cursor = FieldCursor::new(body, 0, body.len());
    std::iter::from_fn(move || cursor.next().ok().flatten())
}

/// The ranges of key and value in a validated KeyValue.
pub(super) fn key_value_ranges(buffer: &[u8], span: ByteRange) -> (ByteRange, ByteRange) {
    let mut cursor = FieldCursor::over_range(buffer, span);
    let (mut key, mut value) = (ByteRange::default(), ByteRange::default());
    while let Ok(Some(field)) = cursor.next() {
        match field.number {
            1 => key = field.span(),
            2 => value = field.span(),
            _ => {}
        }
    }
    (key, value)
}

impl OwnedValue {
    /// Number of bytes that [`OwnedValue::put`] appends.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Str(text) => wire::field_len(1, text.len()),
            Self::Bool(_) => 2,
            Self::Int(number) => 1 + wire::varint_len(*number as u64),
            Self::Double(_) => 9,
            Self::StrList(texts) => wire::field_len(5, texts.iter().map(|text| list_item_len(text)).sum()),
            Self::Structure(body) => body.len(),
        }
    }

    /// Converts JSON. Integers that do not fit `i64` become doubles.
    pub fn from_json(value: &serde_json::Value) -> Self {
        let mut body = Vec::new();
        put_json(value, &mut body);
        Self::Structure(body)
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Str(text) => wire::put_bytes(out, 1, text.as_bytes()),
            Self::Bool(flag) => {
                wire::put_tag(out, 2, VARINT);
                out.push(u8::from(*flag));
            }
            Self::Int(number) => {
                wire::put_tag(out, 3, VARINT);
                wire::put_varint(out, *number as u64);
            }
            Self::Double(number) => {
                wire::put_tag(out, 4, FIXED64);
                out.extend_from_slice(&number.to_bits().to_le_bytes());
            }
            Self::StrList(texts) => {
                wire::put_head(out, 5, texts.iter().map(|text| list_item_len(text)).sum());
                for text in texts {
                    wire::put_head(out, 1, wire::field_len(1, text.len()));
                    wire::put_bytes(out, 1, text.as_bytes());
                }
            }
            Self::Structure(body) => out.extend_from_slice(body),
        }
    }
}

/// Appends JSON as the body of an AnyValue.
fn put_json(value: &serde_json::Value, out: &mut Vec<u8>) {
    use serde_json::Value as Json;
    let mut inner = Vec::new();
    match value {
        Json::Null => {}
        Json::Bool(flag) => OwnedValue::Bool(*flag).put(out),
        Json::String(text) => wire::put_bytes(out, 1, text.as_bytes()),
        Json::Number(number) => match number.as_i64() {
            Some(number) => OwnedValue::Int(number).put(out),
            None => OwnedValue::Double(number.as_f64().unwrap_or_default()).put(out),
        },
        Json::Array(list) => {
            for item in list {
                let mut any = Vec::new();
                put_json(item, &mut any);
                wire::put_bytes(&mut inner, 1, &any);
            }
            wire::put_bytes(out, 5, &inner);
        }
        Json::Object(map) => {
            for (key, entry) in map {
                let (mut any, mut pair) = (Vec::new(), Vec::new());
                put_json(entry, &mut any);
                put_key_value(&mut pair, key.as_bytes(), Some(&any));
                wire::put_bytes(&mut inner, 1, &pair);
            }
            wire::put_bytes(out, 6, &inner);
        }
    }
}

/// Size of a string as an element of an ArrayValue.
fn list_item_len(text: &str) -> usize {
    wire::field_len(1, wire::field_len(1, text.len()))
}

/// Appends the body of a KeyValue with the AnyValue body `value`; `None` omits the value.
pub(super) fn put_key_value(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    if !key.is_empty() {
        wire::put_bytes(out, 1, key);
    }
    if let Some(value) = value {
        wire::put_bytes(out, 2, value);
    }
}
