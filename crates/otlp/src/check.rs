//! Validates KeyValues and AnyValues of received requests. A value that passes can be read without errors afterwards,
//! and its depth is bounded. Common shapes are validated in one pass over the bytes. `walk` validates the messages
//! around them.

use super::malformed::Malformed;
use super::schema::{Msg, Rule};
use super::value::MAX_DEPTH;
use super::wire::{self, Cursor, LEN, RawField, Span, VARINT};

/// Findings of the validation of a nested message.
#[derive(Clone, Copy, Default)]
pub(super) struct Found {
    /// It has fields that the schema does not define.
    pub(super) unknown: bool,
    /// A singular field or a oneof occurs more than once, at this level or below.
    pub(super) repeated: bool,
}

/// The shape of a KeyValue's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A key, then a value with one string, nothing else.
    Text,
    /// A key, then a value with one number or boolean, nothing else.
    Number,
    /// Anything else.
    Any,
}

/// The ranges of a KeyValue's parts.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    pub(super) key: Span,
    /// The body of the AnyValue.
    pub(super) value: Span,
    pub(super) shape: Shape,
}

impl Found {
    fn add(&mut self, other: Self) {
        self.unknown |= other.unknown;
        self.repeated |= other.repeated;
    }
}

/// The parts of a KeyValue of a common shape, and the range of its text; UTF-8 is not validated.
#[inline(always)]
pub(super) fn plain(buffer: &[u8], span: Span) -> Option<(Parts, Span)> {
    let body = span.of(buffer);
    let (key_start, key_end) = wire::field_of(body, 0, 0x0a)?;
    let (start, end) = wire::field_of(body, key_end, 0x12)?;
    if end != body.len() {
        return None;
    }
    let part = |start: usize, end: usize| Span { start: span.start + start as u32, end: span.start + end as u32 };
    let (shape, text) = match *body.get(start)? {
        0x0a => (Shape::Text, wire::field_of(body, start, 0x0a).filter(|(_, text_end)| *text_end == end)?),
        0x10 | 0x18 => {
            wire::varint(body, start + 1).filter(|(_, after)| *after == end)?;
            (Shape::Number, (end, end))
        }
        0x21 if end - start == 9 => (Shape::Number, (end, end)),
        _ => return None,
    };
    Some((Parts { key: part(key_start, key_end), value: part(start, end), shape }, part(text.0, text.1)))
}

/// The parts of a received KeyValue of a common shape, validated. `None`: use the general check.
#[inline(always)]
pub(super) fn plain_key_value(buffer: &[u8], span: Span) -> Option<Parts> {
    let (parts, text) = plain(buffer, span)?;
    // Tags and short lengths are ASCII too, so one check usually covers key, tags and text.
    let one = if parts.shape == Shape::Text { span } else { parts.key };
    let good = one.of(buffer).is_ascii() || (wire::is_text(parts.key.of(buffer)) && wire::is_text(text.of(buffer)));
    good.then_some(parts)
}

/// Validates a received KeyValue and finds its parts. `depth` is that of the enclosing value.
pub(super) fn key_value(buffer: &[u8], span: Span, depth: usize) -> Result<(Parts, Found), Malformed> {
    match plain_key_value(buffer, span) {
        Some(parts) if depth < MAX_DEPTH => Ok((parts, Found::default())),
        _ => any_key_value(buffer, span, depth),
    }
}

fn any_key_value(buffer: &[u8], span: Span, depth: usize) -> Result<(Parts, Found), Malformed> {
    let mut cursor = Cursor::over(buffer, span);
    let (mut key, mut value) = (None, None);
    let mut found = Found::default();
    while let Some(field) = cursor.next()? {
        match field.number {
            1 => {
                text(buffer, &field)?;
                found.repeated |= key.replace(field.span()).is_some();
            }
            2 => {
                expect(&field, LEN)?;
                found.add(any_value(buffer, &field, depth + 1)?);
                found.repeated |= value.replace(field.span()).is_some();
            }
            3 => expect(&field, VARINT)?,
            _ => found.unknown = true,
        }
    }
    Ok((Parts { key: key.unwrap_or_default(), value: value.unwrap_or_default(), shape: Shape::Any }, found))
}

/// Validates a received AnyValue.
#[inline]
pub(super) fn any_value(buffer: &[u8], at: &RawField, depth: usize) -> Result<Found, Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed { what: "values nest too deep", at: at.at });
    }
    let mut cursor = Cursor::new(buffer, at.body, at.end);
    let mut found = Found::default();
    let mut members = 0_u32;
    while let Some(field) = cursor.next()? {
        members += 1;
        match Msg::AnyValue.rule(field.number) {
            Rule::ValueText => text(buffer, &field)?,
            Rule::ValueBytes => expect(&field, LEN)?,
            Rule::Number(wire) => expect(&field, wire)?,
            Rule::Inner(Msg::ArrayValue) => {
                found.add(elements(buffer, &field, |value| any_value(buffer, value, depth + 1))?);
            }
            Rule::Inner(_) => {
                found.add(elements(buffer, &field, |pair| Ok(key_value(buffer, pair.span(), depth)?.1))?);
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

/// Validates the elements of a list or map with `element`; they are field 1 of either.
fn elements(
    buffer: &[u8],
    at: &RawField,
    element: impl Fn(&RawField) -> Result<Found, Malformed>,
) -> Result<Found, Malformed> {
    expect(at, LEN)?;
    let mut cursor = Cursor::new(buffer, at.body, at.end);
    let mut found = Found::default();
    while let Some(field) = cursor.next()? {
        if field.number == 1 {
            expect(&field, LEN)?;
            found.add(element(&field)?);
        } else {
            found.unknown = true;
        }
    }
    Ok(found)
}

/// Fails if the wire type is not the one in the schema.
#[inline]
pub(super) fn expect(field: &RawField, wire: u8) -> Result<(), Malformed> {
    if field.wire == wire { Ok(()) } else { Err(Malformed { what: "wrong wire type", at: field.at }) }
}

/// Fails if the field is not a string of valid UTF-8.
#[inline]
pub(super) fn text(buffer: &[u8], field: &RawField) -> Result<(), Malformed> {
    expect(field, LEN)?;
    if wire::is_text(field.span().of(buffer)) {
        Ok(())
    } else {
        Err(Malformed { what: "text is not UTF-8", at: field.at })
    }
}
