//! Validates KeyValues and AnyValues of received requests. A value that passes can be read without errors afterwards,
//! and its depth is bounded. Common shapes are validated in one pass over the bytes. `index_builder` validates the
//! messages around them.

use super::malformed::MalformedOtlp;
use super::schema::{FieldRule, MessageType};
use super::value::MAX_DEPTH;
use super::wire::{self, ByteRange, FieldCursor, LEN, RawField, VARINT};

/// Findings of the validation of a nested message.
#[derive(Clone, Copy, Default)]
pub(super) struct ValueFindings {
    /// It has fields that the schema does not define.
    pub(super) unknown: bool,
    /// A singular field or a oneof occurs more than once, at this level or below.
    pub(super) repeated: bool,
}

/// The shape of a KeyValue's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyValueShape {
    /// A key, then a value with one string, nothing else.
    Text,
    /// A key, then a value with one number or boolean, nothing else.
    Number,
    /// Anything else.
    Any,
}

/// The ranges of a KeyValue's parts.
#[derive(Clone, Copy)]
pub(super) struct KeyValueParts {
    pub(super) key: ByteRange,
    /// The body of the AnyValue.
    pub(super) value: ByteRange,
    pub(super) shape: KeyValueShape,
}

impl ValueFindings {
    fn add(&mut self, other: Self) {
        self.unknown |= other.unknown;
        self.repeated |= other.repeated;
    }
}

/// The parts of a KeyValue of a common shape, and the range of its text (empty for a number); UTF-8 is not validated.
#[inline(always)]
pub(super) fn read_common_key_value(buffer: &[u8], span: ByteRange) -> Option<(KeyValueParts, ByteRange)> {
    let body = span.slice(buffer);
    let (key_start, key_end) = wire::len_field_range(body, 0, 0x0a)?;
    let (value_start, value_end) = wire::len_field_range(body, key_end, 0x12)?;
    if value_end != body.len() {
        return None;
    }
    let in_buffer =
        |start: usize, end: usize| ByteRange { start: span.start + start as u32, end: span.start + end as u32 };
    // The tags of AnyValue's members: string, boolean or integer, double.
    let (shape, text) = match *body.get(value_start)? {
        0x0a => {
            let text = wire::len_field_range(body, value_start, 0x0a).filter(|(_, end)| *end == value_end)?;
            (KeyValueShape::Text, text)
        }
        0x10 | 0x18 => {
            wire::read_varint(body, value_start + 1).filter(|(_, end)| *end == value_end)?;
            (KeyValueShape::Number, (value_end, value_end))
        }
        0x21 if value_end - value_start == 9 => (KeyValueShape::Number, (value_end, value_end)),
        _ => return None,
    };
    let parts = KeyValueParts { key: in_buffer(key_start, key_end), value: in_buffer(value_start, value_end), shape };
    Some((parts, in_buffer(text.0, text.1)))
}

/// The parts of a received KeyValue of a common shape, validated. `None`: use the general check.
#[inline(always)]
pub(super) fn check_common_key_value(buffer: &[u8], span: ByteRange) -> Option<KeyValueParts> {
    let (parts, text) = read_common_key_value(buffer, span)?;
    // Tags and short lengths are ASCII too, so one check usually covers key, tags and text.
    let usually_ascii = if parts.shape == KeyValueShape::Text { span } else { parts.key };
    let is_utf8 = usually_ascii.slice(buffer).is_ascii()
        || (wire::is_text(parts.key.slice(buffer)) && wire::is_text(text.slice(buffer)));
    is_utf8.then_some(parts)
}

/// Validates a received KeyValue and finds its parts. `depth` is that of the enclosing value.
pub(super) fn check_key_value(
    buffer: &[u8],
    span: ByteRange,
    depth: usize,
) -> Result<(KeyValueParts, ValueFindings), MalformedOtlp> {
    match check_common_key_value(buffer, span) {
        Some(parts) if depth < MAX_DEPTH => Ok((parts, ValueFindings::default())),
        _ => check_any_key_value(buffer, span, depth),
    }
}

fn check_any_key_value(
    buffer: &[u8],
    span: ByteRange,
    depth: usize,
) -> Result<(KeyValueParts, ValueFindings), MalformedOtlp> {
    let mut cursor = FieldCursor::over_range(buffer, span);
    let (mut key, mut value) = (None, None);
    let mut found = ValueFindings::default();
    while let Some(field) = cursor.next()? {
        match field.number {
            1 => {
                check_text(buffer, &field)?;
                found.repeated |= key.replace(field.span()).is_some();
            }
            2 => {
                expect_wire_type(&field, LEN)?;
                found.add(check_any_value(buffer, &field, depth + 1)?);
                found.repeated |= value.replace(field.span()).is_some();
            }
            3 => expect_wire_type(&field, VARINT)?,
            _ => found.unknown = true,
        }
    }
    Ok((
        KeyValueParts { key: key.unwrap_or_default(), value: value.unwrap_or_default(), shape: KeyValueShape::Any },
        found,
    ))
}

/// Validates a received AnyValue.
#[inline]
pub(super) fn check_any_value(buffer: &[u8], value: &RawField, depth: usize) -> Result<ValueFindings, MalformedOtlp> {
    if depth > MAX_DEPTH {
        return Err(MalformedOtlp { message: "values nest too deep", at: value.at });
    }
    let mut cursor = FieldCursor::new(buffer, value.body, value.end);
    let mut found = ValueFindings::default();
    let mut members = 0_u32;
    while let Some(field) = cursor.next()? {
        members += 1;
        match MessageType::AnyValue.rule(field.number) {
            FieldRule::ValueText => check_text(buffer, &field)?,
            FieldRule::ValueBytes => expect_wire_type(&field, LEN)?,
            FieldRule::Number(wire) => expect_wire_type(&field, wire)?,
            FieldRule::Nested(MessageType::ArrayValue) => {
                found.add(check_elements(buffer, &field, |element| check_any_value(buffer, element, depth + 1))?);
            }
            FieldRule::Nested(_) => {
                found.add(check_elements(buffer, &field, |pair| Ok(check_key_value(buffer, pair.span(), depth)?.1))?);
            }
            _ => {
                members -= 1;
                found.unknown = true;
            }
        }
    }
    found.repeated |= members > 1;
    Ok(found)
}

/// Validates each element of a list or map with `check_element`; elements are field 1 of both messages.
fn check_elements(
    buffer: &[u8],
    container: &RawField,
    check_element: impl Fn(&RawField) -> Result<ValueFindings, MalformedOtlp>,
) -> Result<ValueFindings, MalformedOtlp> {
    expect_wire_type(container, LEN)?;
    let mut cursor = FieldCursor::new(buffer, container.body, container.end);
    let mut found = ValueFindings::default();
    while let Some(field) = cursor.next()? {
        if field.number == 1 {
            expect_wire_type(&field, LEN)?;
            found.add(check_element(&field)?);
        } else {
            found.unknown = true;
        }
    }
    Ok(found)
}

/// Fails if the wire type is not the one in the schema.
#[inline]
pub(super) fn expect_wire_type(field: &RawField, wire: u8) -> Result<(), MalformedOtlp> {
    if field.wire == wire { Ok(()) } else { Err(MalformedOtlp { message: "wrong wire type", at: field.at }) }
}

/// Fails if the field is not a string of valid UTF-8.
#[inline]
pub(super) fn check_text(buffer: &[u8], field: &RawField) -> Result<(), MalformedOtlp> {
    expect_wire_type(field, LEN)?;
    if wire::is_text(field.span().slice(buffer)) {
        Ok(())
    } else {
        Err(MalformedOtlp { message: "text is not UTF-8", at: field.at })
    }
}
