//! Rewrites inside one value (KeyValue, AnyValue and what they contain): replaces texts and drops unknown fields.
//! The visitor sees every key, string and text-like bytes value, at every level and every occurrence. Unchanged ranges
//! are copied. Nothing is allocated unless something changes. `text` and `encode` choose the attributes and fields.

use super::schema::{Msg, Rule};
use super::value::{Value, key_value};
use super::wire::{self, Cursor, LEN, RawField, Span};

/// Shorter runs of text between invalid bytes are not shown to the visitor.
const SHORTEST: usize = 4;

/// The result of visiting a text.
pub enum TextEdit {
    /// Leaves the text.
    Keep,
    /// Replaces the text.
    Replace(String),
    /// Removes an entry of a map with everything in it. For any other place: removes the text.
    Remove,
}

/// A place inside a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside<'a> {
    Key,
    Text,
    Bytes,
    /// Bytes that are not text.
    Binary(&'a [u8]),
    /// An entry of a map, before its contents; whether it contains a number.
    Entry(bool),
    /// An integer or double.
    Number(Digits),
}

/// The value of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Digits {
    Int(i64),
    /// The bits of a double.
    Double(u64),
}

/// One change of the buffer; patches are in order and do not overlap.
pub(super) struct Patch {
    at: usize,
    end: usize,
    new: New,
}

enum New {
    Nothing,
    /// The length of a message whose contents change.
    Length(usize),
    Text(u32, Vec<u8>),
}

/// Collects the patches of one value.
pub(super) struct Patcher<'a, V> {
    buffer: &'a [u8],
    /// Visit only numbers.
    numbers: bool,
    /// Drop unknown fields, and count them.
    drop_unknown: bool,
    /// Called with each place, its innermost key and its text.
    visit: V,
    pub(super) patches: Vec<Patch>,
    pub(super) dropped: u64,
}

impl<'a, V: FnMut(Inside<'_>, &str, &str) -> TextEdit> Patcher<'a, V> {
    pub(super) fn new(buffer: &'a [u8], drop_unknown: bool, visit: V) -> Self {
        Self { buffer, numbers: false, drop_unknown, visit, patches: Vec::new(), dropped: 0 }
    }

    /// Visits integers and doubles only.
    pub(super) fn of_numbers(buffer: &'a [u8], visit: V) -> Self {
        Self { numbers: true, ..Self::new(buffer, false, visit) }
    }

    /// Walks the body of a message of type `msg` under the innermost key `path`; returns its growth in bytes.
    pub(super) fn message(&mut self, msg: Msg, span: Span, path: &'a str) -> isize {
        let path = match msg {
            Msg::KeyValue => wire::text(key_value(self.buffer, span).0.of(self.buffer)),
            _ => path,
        };
        let mut cursor = Cursor::over(self.buffer, span);
        let mut delta = 0;
        while let Ok(Some(field)) = cursor.next() {
            delta += match msg.rule(field.number) {
                Rule::Number(_) if self.numbers => self.number(msg, &field, path),
                Rule::Key | Rule::ValueText | Rule::ValueBytes if self.numbers => 0,
                Rule::Inner(inner) if self.numbers => self.inner(inner, &field, path),
                Rule::Key => self.text(Inside::Key, &field, path),
                Rule::ValueText => self.text(Inside::Text, &field, path),
                Rule::ValueBytes => self.text(Inside::Bytes, &field, path),
                Rule::Value => self.inner(Msg::AnyValue, &field, path),
                Rule::Inner(Msg::KeyValue) if self.removes(&field) => self.take_out(&field),
                Rule::Inner(inner) => self.inner(inner, &field, path),
                Rule::Unknown if self.drop_unknown => self.drop_field(&field),
                _ => 0,
            };
        }
        delta
    }

    fn inner(&mut self, msg: Msg, field: &RawField, path: &'a str) -> isize {
        let place = self.patches.len();
        let length_at = wire::varint(self.buffer, field.at).map_or(field.body, |(_, pos)| pos);
        self.patches.push(Patch { at: length_at, end: field.body, new: New::Nothing });
        let delta = self.message(msg, field.span(), path);
        if self.patches.len() == place + 1 {
            self.patches.pop();
            return 0;
        }
        let length = field.span().len().saturating_add_signed(delta);
        if let Some(patch) = self.patches.get_mut(place) {
            patch.new = New::Length(length);
        }
        delta + wire::varint_len(length as u64) as isize - (field.body - length_at) as isize
    }

    /// Whether the visitor removes this entry of a map.
    fn removes(&mut self, field: &RawField) -> bool {
        let (key, value) = key_value(self.buffer, field.span());
        let number = matches!(Value::read(value.of(self.buffer)), Value::Bool(_) | Value::Int(_) | Value::Double(_));
        let key = wire::text(key.of(self.buffer));
        matches!((self.visit)(Inside::Entry(number), key, ""), TextEdit::Remove)
    }

    fn text(&mut self, inside: Inside<'_>, field: &RawField, path: &str) -> isize {
        let bytes = field.span().of(self.buffer);
        let new = match simdutf8::basic::from_utf8(bytes) {
            Ok("") => None,
            Ok(text) if inside != Inside::Bytes || !has_controls(bytes) => match (self.visit)(inside, path, text) {
                TextEdit::Keep => None,
                TextEdit::Replace(new) => Some(new.into_bytes()),
                TextEdit::Remove => Some(Vec::new()),
            },
            _ if inside == Inside::Bytes => match (self.visit)(Inside::Binary(bytes), path, "") {
                TextEdit::Keep => self.broken(inside, bytes, path),
                TextEdit::Replace(new) => Some(new.into_bytes()),
                TextEdit::Remove => Some(Vec::new()),
            },
            _ => self.broken(inside, bytes, path),
        };
        let Some(new) = new else { return 0 };
        let delta = wire::field_len(field.number, new.len()) as isize - (field.end - field.at) as isize;
        self.patches.push(Patch { at: field.at, end: field.end, new: New::Text(field.number, new) });
        delta
    }

    /// Visits the valid runs of bytes that are not all UTF-8, so that one invalid byte cannot hide text.
    #[cold]
    fn broken(&mut self, inside: Inside<'_>, bytes: &[u8], path: &str) -> Option<Vec<u8>> {
        let (mut out, mut changed) = (Vec::new(), false);
        for chunk in bytes.utf8_chunks() {
            let valid = chunk.valid();
            let edit = if valid.len() < SHORTEST { TextEdit::Keep } else { (self.visit)(inside, path, valid) };
            match edit {
                TextEdit::Keep => out.extend_from_slice(valid.as_bytes()),
                TextEdit::Remove => changed = true,
                TextEdit::Replace(new) => {
                    changed = true;
                    out.extend_from_slice(new.as_bytes());
                }
            }
            out.extend_from_slice(chunk.invalid());
        }
        changed.then_some(out)
    }

    /// Visits an integer or double of a value.
    fn number(&mut self, msg: Msg, field: &RawField, path: &str) -> isize {
        let bytes = field.span().of(self.buffer);
        let digits = match (msg, field.number) {
            (Msg::AnyValue, 3) => Digits::Int(wire::varint(bytes, 0).map_or(0, |(number, _)| number) as i64),
            (Msg::AnyValue, 4) => Digits::Double(wire::fixed64(bytes)),
            _ => return 0,
        };
        let TextEdit::Replace(new) = (self.visit)(Inside::Number(digits), path, "") else { return 0 };
        let delta = wire::field_len(1, new.len()) as isize - (field.end - field.at) as isize;
        self.patches.push(Patch { at: field.at, end: field.end, new: New::Text(1, new.into_bytes()) });
        delta
    }

    fn drop_field(&mut self, field: &RawField) -> isize {
        self.dropped += 1;
        self.take_out(field)
    }

    fn take_out(&mut self, field: &RawField) -> isize {
        self.patches.push(Patch { at: field.at, end: field.end, new: New::Nothing });
        -((field.end - field.at) as isize)
    }
}

/// Whether bytes contain control characters that text does not: UTF-16 of English is valid UTF-8, with zeros in it.
fn has_controls(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x08 | 0x0b | 0x0c | 0x1b))
}

/// Appends `buffer[span]` with `patches` applied.
pub(super) fn apply(buffer: &[u8], span: Span, patches: &[Patch], out: &mut Vec<u8>) {
    let mut pos = span.start as usize;
    for patch in patches {
        out.extend_from_slice(buffer.get(pos..patch.at).unwrap_or_default());
        match &patch.new {
            New::Nothing => {}
            New::Length(length) => wire::put_varint(out, *length as u64),
            New::Text(number, text) => {
                wire::put_tag(out, *number, LEN);
                wire::put_varint(out, text.len() as u64);
                out.extend_from_slice(text);
            }
        }
        pos = patch.end;
    }
    out.extend_from_slice(buffer.get(pos..span.end as usize).unwrap_or_default());
}

/// The message `buffer[span]` without unknown fields at any level; adds their number to `dropped`.
pub(super) fn without_unknown(buffer: &[u8], msg: Msg, span: Span, dropped: &mut u64) -> Vec<u8> {
    let mut patcher = Patcher::new(buffer, true, |_, _, _| TextEdit::Keep);
    patcher.message(msg, span, "");
    *dropped += patcher.dropped;
    let mut out = Vec::with_capacity(span.len());
    apply(buffer, span, &patcher.patches, &mut out);
    out
}
