//! **What**: `AnyValue` and `KeyValue`: views for reading, owned values for writing, the checks made on arrival.
//! **Invariants**: views borrow the request; values nest at most [`MAX_DEPTH`] deep; reading never fails (what is read
//! was checked when it came in).
//! **Not here**: JSON text of a value (`value_json`), replacing texts inside values (`patch`).

use super::Malformed;
use super::schema::{Msg, Rule};
use super::wire::{self, Cursor, FIXED64, LEN, RawField, Span, VARINT};

/// How deep values may nest: the value of an attribute is level 1, an element of a list in it level 2.
pub const MAX_DEPTH: usize = 64;

/// An `AnyValue`, as a view. `List` and `Map` are walked with [`Value::items`] / [`Value::entries`].
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
    List(Nested<'a>),
    /// A KeyValueList message.
    Map(Nested<'a>),
}

/// The wire bytes of a nested value (private representation).
#[derive(Clone, Copy)]
pub struct Nested<'a>(pub(super) &'a [u8]);

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
}

impl<'a> Value<'a> {
    /// Reads the body of an `AnyValue` message. The last member wins, as for every protobuf decoder.
    pub(super) fn read(body: &'a [u8]) -> Self {
        let mut cursor = Cursor::new(body, 0, body.len());
        let mut value = Self::Empty;
        while let Ok(Some(field)) = cursor.next() {
            let bytes = field.span().of(body);
            let number = || wire::varint(bytes, 0).map_or(0, |(number, _)| number);
            value = match field.number {
                1 => Self::Str(wire::text(bytes)),
                2 => Self::Bool(number() != 0),
                3 => Self::Int(number() as i64),
                4 => Self::Double(f64::from_bits(wire::fixed64(bytes))),
                5 => Self::List(Nested(bytes)),
                6 => Self::Map(Nested(bytes)),
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

    /// Integer reading: Int, integral Double, decimal Str ("1234"); else None.
    pub fn as_count(&self) -> Option<i64> {
        match *self {
            Self::Int(number) => Some(number),
            // 2^63 is exact as a double; everything below it in magnitude fits.
            Self::Double(number) if number.fract() == 0.0 && number.abs() < 9_223_372_036_854_775_808.0 => {
                Some(number as i64)
            }
            Self::Str(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// Boolean reading: Bool, or the strings "true" and "false"; else None.
    pub fn as_bool(&self) -> Option<bool> {
        match *self {
            Self::Bool(flag) => Some(flag),
            Self::Str("true") => Some(true),
            Self::Str("false") => Some(false),
            _ => None,
        }
    }

    /// Elements of a List; empty otherwise.
    pub fn items(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        let body = match *self {
            Self::List(Nested(body)) => body,
            _ => &[],
        };
        fields(body).filter(|field| field.number == 1).map(move |field| Value::read(field.span().of(body)))
    }

    /// Entries of a Map, in wire order, duplicates included; empty otherwise.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let body = match *self {
            Self::Map(Nested(body)) => body,
            _ => &[],
        };
        fields(body).filter(|field| field.number == 1).map(move |field| {
            let (key, value) = key_value(body, field.span());
            (wire::text(key.of(body)), Value::read(value.of(body)))
        })
    }
}

/// The fields of a message that was checked before.
fn fields(body: &[u8]) -> impl Iterator<Item = RawField> {
    let mut cursor = Cursor::new(body, 0, body.len());
    std::iter::from_fn(move || cursor.next().ok().flatten())
}

/// Key and value ranges of a checked KeyValue.
pub(super) fn key_value(buffer: &[u8], span: Span) -> (Span, Span) {
    let mut cursor = Cursor::over(buffer, span);
    let (mut key, mut value) = (Span::default(), Span::default());
    while let Ok(Some(field)) = cursor.next() {
        match field.number {
            1 => key = field.span(),
            2 => value = field.span(),
            _ => {}
        }
    }
    (key, value)
}

/// What the check of a nested message found.
#[derive(Clone, Copy, Default)]
pub(super) struct Found {
    /// Fields that the schema does not know.
    pub(super) unknown: bool,
    /// A singular field or a oneof occurs more than once, here or below.
    pub(super) repeated: bool,
}

impl Found {
    fn add(&mut self, other: Self) {
        self.unknown |= other.unknown;
        self.repeated |= other.repeated;
    }
}

/// Checks a KeyValue that came from outside and finds its parts.
#[inline]
pub(super) fn check_key_value(buffer: &[u8], span: Span, depth: usize) -> Result<(Span, Span, Found), Malformed> {
    let mut cursor = Cursor::over(buffer, span);
    let (mut key, mut value) = (None, None);
    let mut found = Found::default();
    while let Some(field) = cursor.next()? {
        match field.number {
            1 => {
                check_text(buffer, &field)?;
                found.repeated |= key.replace(field.span()).is_some();
            }
            2 => {
                expect(&field, LEN)?;
                found.add(check_value(buffer, &field, depth + 1)?);
                found.repeated |= value.replace(field.span()).is_some();
            }
            3 => expect(&field, VARINT)?,
            _ => found.unknown = true,
        }
    }
    Ok((key.unwrap_or_default(), value.unwrap_or_default(), found))
}

/// Checks an AnyValue that came from outside.
#[inline]
pub(super) fn check_value(buffer: &[u8], at: &RawField, depth: usize) -> Result<Found, Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed { what: "values nest too deep", at: at.at });
    }
    let mut cursor = Cursor::new(buffer, at.body, at.end);
    let mut found = Found::default();
    let mut members = 0_u32;
    while let Some(field) = cursor.next()? {
        members += 1;
        match Msg::AnyValue.rule(field.number) {
            Rule::ValueText => check_text(buffer, &field)?,
            Rule::ValueBytes => expect(&field, LEN)?,
            Rule::Number(wire) => expect(&field, wire)?,
            Rule::Inner(Msg::ArrayValue) => found.add(check_list(buffer, &field, depth)?),
            Rule::Inner(_) => found.add(check_map(buffer, &field, depth)?),
            _ => {
                members -= 1;
                found.unknown = true;
            }
        }
    }
    found.repeated |= members > 1;
    Ok(found)
}

fn check_list(buffer: &[u8], at: &RawField, depth: usize) -> Result<Found, Malformed> {
    expect(at, LEN)?;
    let mut cursor = Cursor::new(buffer, at.body, at.end);
    let mut found = Found::default();
    while let Some(field) = cursor.next()? {
        if field.number == 1 {
            expect(&field, LEN)?;
            found.add(check_value(buffer, &field, depth + 1)?);
        } else {
            found.unknown = true;
        }
    }
    Ok(found)
}

fn check_map(buffer: &[u8], at: &RawField, depth: usize) -> Result<Found, Malformed> {
    expect(at, LEN)?;
    let mut cursor = Cursor::new(buffer, at.body, at.end);
    let mut found = Found::default();
    while let Some(field) = cursor.next()? {
        if field.number == 1 {
            expect(&field, LEN)?;
            let (_, _, inner) = check_key_value(buffer, field.span(), depth)?;
            found.add(inner);
        } else {
            found.unknown = true;
        }
    }
    Ok(found)
}

/// The wire type must be the one that the schema says.
#[inline]
pub(super) fn expect(field: &RawField, wire: u8) -> Result<(), Malformed> {
    if field.wire == wire { Ok(()) } else { Err(Malformed { what: "wrong wire type", at: field.at }) }
}

/// The field must be a string of valid UTF-8.
#[inline]
pub(super) fn check_text(buffer: &[u8], field: &RawField) -> Result<(), Malformed> {
    expect(field, LEN)?;
    match simdutf8::basic::from_utf8(field.span().of(buffer)) {
        Ok(_) => Ok(()),
        Err(_) => Err(Malformed { what: "text is not UTF-8", at: field.at }),
    }
}

impl OwnedValue {
    /// Appends the body of an `AnyValue` message.
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
                let element = |text: &String| wire::field_len(1, text.len());
                wire::put_head(out, 5, texts.iter().map(|text| wire::field_len(1, element(text))).sum());
                for text in texts {
                    wire::put_head(out, 1, element(text));
                    wire::put_bytes(out, 1, text.as_bytes());
                }
            }
        }
    }
}

/// Appends the body of a KeyValue whose value is the AnyValue body `value`; None leaves the value out.
pub(super) fn put_key_value(out: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    if !key.is_empty() {
        wire::put_bytes(out, 1, key);
    }
    if let Some(value) = value {
        wire::put_bytes(out, 2, value);
    }
}

/// Appends the body of `KeyValue` in the form that every decoder reads it in: repeated singular fields merged, members
/// of a oneof that a later one replaced left out. Unknown fields stay.
pub(super) fn put_merged_key_value(out: &mut Vec<u8>, body: &[u8]) {
    let (mut key, mut index, mut value) = (None, None, None::<Vec<u8>>);
    for field in fields(body) {
        match field.number {
            1 => key = Some(field),
            2 => value.get_or_insert_default().extend_from_slice(field.span().of(body)),
            3 => index = Some(field),
            _ => put_raw(out, body, &field),
        }
    }
    for field in [key, index].iter().flatten() {
        put_raw(out, body, field);
    }
    if let Some(value) = value {
        let mut merged = Vec::with_capacity(value.len());
        put_merged_value(&mut merged, &value);
        wire::put_bytes(out, 2, &merged);
    }
}

/// The same for the body of an `AnyValue`, also for several bodies in a row.
pub(super) fn put_merged_value(out: &mut Vec<u8>, body: &[u8]) {
    let is_member = |field: &RawField| Msg::AnyValue.rule(field.number) != Rule::Unknown;
    fields(body).filter(|field| !is_member(field)).for_each(|field| put_raw(out, body, &field));
    let Some(last) = fields(body).filter(is_member).last() else { return };
    let element: fn(&mut Vec<u8>, &[u8]) = match Msg::AnyValue.rule(last.number) {
        Rule::Inner(Msg::ArrayValue) => put_merged_value,
        Rule::Inner(_) => put_merged_key_value,
        _ => return put_raw(out, body, &last),
    };
    let mut list = Vec::new();
    for field in fields(body).filter(is_member) {
        if field.number != last.number {
            list.clear();
            continue;
        }
        let inner = field.span().of(body);
        for entry in fields(inner) {
            if entry.number != 1 {
                put_raw(&mut list, inner, &entry);
                continue;
            }
            let mut merged = Vec::new();
            element(&mut merged, entry.span().of(inner));
            wire::put_bytes(&mut list, 1, &merged);
        }
    }
    wire::put_bytes(out, last.number, &list);
}

fn put_raw(out: &mut Vec<u8>, body: &[u8], field: &RawField) {
    out.extend_from_slice(Span::new(field.at, field.end).of(body));
}
