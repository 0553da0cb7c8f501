//! Rewrites inside one value (KeyValue, AnyValue and what they contain): replaces texts and drops unknown fields.
//! The visitor sees every key, string and text-like bytes value, at every level and every occurrence. Unchanged ranges
//! are copied. Nothing is allocated unless something changes. `text` and `encode` choose the attributes and fields.

use super::schema::{FieldRule, MessageType};
use super::value::{Value, key_value_ranges};
use super::wire::{self, ByteRange, FieldCursor, RawField};

/// Shorter runs of text between invalid bytes are not shown to the visitor.
const MIN_TEXT_RUN: usize = 4;

/// The result of visiting a text.
pub enum TextEdit {
    /// Leaves the text.
    Keep,
    /// Leaves the text because of its key and text alone, so that later visits may skip it.
    KeepAlways,
    /// Replaces the text.
    Replace(String),
    /// Removes an entry of a map with everything in it. For any other place: removes the text.
    Remove,
}

/// A place inside a value.
#[derive(Clone, Copy)]
pub(super) enum ValuePart<'a> {
    Key,
    Text,
    Bytes,
    /// Bytes that are not text.
    Binary(&'a [u8]),
    /// An entry of a map, before its contents.
    Entry {
        /// Whether it contains a number or boolean.
        number: bool,
    },
    /// An integer or double.
    Number(Value<'a>),
}

/// One change of the buffer; patches are in order and do not overlap.
struct BytePatch {
    at: usize,
    end: usize,
    new: PatchReplacement,
}

enum PatchReplacement {
    Nothing,
    /// The length of a message whose contents change.
    Length(usize),
    /// A LEN field with this number and text.
    Text(u32, Vec<u8>),
}

/// Collects the patches of one value.
struct ValuePatcher<'a, V> {
    buffer: &'a [u8],
    /// Visit only numbers.
    numbers_only: bool,
    /// Drop unknown fields, and count them.
    drop_unknown: bool,
    /// Called with each place, its innermost key and its text.
    visit: V,
    patches: Vec<BytePatch>,
    unknown_dropped: u64,
}

/// The message `buffer[span]` of type `msg` with the edits of `visit`, which gets each text, or with `numbers_only`
/// each integer and double; `None` if nothing changes.
pub(super) fn rewrite_message(
    buffer: &[u8],
    msg: MessageType,
    span: ByteRange,
    numbers_only: bool,
    visit: impl FnMut(ValuePart<'_>, &str, &str) -> TextEdit,
) -> Option<Vec<u8>> {
    let mut patcher =
        ValuePatcher { buffer, numbers_only, drop_unknown: false, visit, patches: Vec::new(), unknown_dropped: 0 };
    patcher.walk_message(msg, span, "");
    (!patcher.patches.is_empty()).then(|| patcher.apply(span))
}

/// The message `buffer[span]` without unknown fields at any level; adds their number to `dropped`.
pub(super) fn strip_unknown(buffer: &[u8], msg: MessageType, span: ByteRange, dropped: &mut u64) -> Vec<u8> {
    let visit = |_: ValuePart<'_>, _: &str, _: &str| TextEdit::Keep;
    let mut patcher = ValuePatcher {
        buffer,
        numbers_only: false,
        drop_unknown: true,
        visit,
        patches: Vec::new(),
        unknown_dropped: 0,
    };
    patcher.walk_message(msg, span, "");
    *dropped += patcher.unknown_dropped;
    patcher.apply(span)
}

impl<'a, V: FnMut(ValuePart<'_>, &str, &str) -> TextEdit> ValuePatcher<'a, V> {
    /// Walks the body of a message of type `msg`, whose innermost enclosing key is `key`; returns its growth in bytes.
    fn walk_message(&mut self, msg: MessageType, span: ByteRange, key: &'a str) -> isize {
        let key = match msg {
            MessageType::KeyValue => wire::text_or_empty(key_value_ranges(self.buffer, span).0.slice(self.buffer)),
            _ => key,
        };
        let mut cursor = FieldCursor::over_range(self.buffer, span);
        let mut delta = 0;
        while let Ok(Some(field)) = cursor.next() {
            delta += match msg.rule(field.number) {
                FieldRule::Number(_) if self.numbers_only => self.patch_number(msg, &field, key),
                FieldRule::Key | FieldRule::ValueText | FieldRule::ValueBytes if self.numbers_only => 0,
                FieldRule::Nested(inner) if self.numbers_only => self.patch_inner(inner, &field, key),
                FieldRule::Key => self.patch_text(ValuePart::Key, &field, key),
                FieldRule::ValueText => self.patch_text(ValuePart::Text, &field, key),
                FieldRule::ValueBytes => self.patch_text(ValuePart::Bytes, &field, key),
                FieldRule::Value => self.patch_inner(MessageType::AnyValue, &field, key),
                FieldRule::Nested(MessageType::KeyValue) if self.is_removed(&field) => self.remove_range(&field),
                FieldRule::Nested(inner) => self.patch_inner(inner, &field, key),
                FieldRule::Unknown if self.drop_unknown => self.drop_field(&field),
                _ => 0,
            };
        }
        delta
    }

    fn patch_inner(&mut self, msg: MessageType, field: &RawField, key: &'a str) -> isize {
        let length_patch = self.patches.len();
        let length_at = wire::read_varint(self.buffer, field.at).map_or(field.body, |(_, pos)| pos);
        self.patches.push(BytePatch { at: length_at, end: field.body, new: PatchReplacement::Nothing });
        let delta = self.walk_message(msg, field.span(), key);
        if self.patches.len() == length_patch + 1 {
            self.patches.pop();
            return 0;
        }
        let length = field.span().len().saturating_add_signed(delta);
        if let Some(patch) = self.patches.get_mut(length_patch) {
            patch.new = PatchReplacement::Length(length);
        }
        delta + wire::varint_len(length as u64) as isize - (field.body - length_at) as isize
    }

    /// Whether the visitor removes this entry of a map.
    fn is_removed(&mut self, field: &RawField) -> bool {
        let (key, value) = key_value_ranges(self.buffer, field.span());
        let number = matches!(Value::read(value.slice(self.buffer)), Value::Bool(_) | Value::Int(_) | Value::Double(_));
        let key = wire::text_or_empty(key.slice(self.buffer));
        matches!((self.visit)(ValuePart::Entry { number }, key, ""), TextEdit::Remove)
    }

    fn patch_text(&mut self, part: ValuePart<'_>, field: &RawField, key: &str) -> isize {
        let bytes = field.span().slice(self.buffer);
        let is_bytes = matches!(part, ValuePart::Bytes);
        let new = match simdutf8::basic::from_utf8(bytes) {
            Ok("") => None,
            Ok(text) if !is_bytes || !has_controls(bytes) => match (self.visit)(part, key, text) {
                TextEdit::Keep | TextEdit::KeepAlways => None,
                TextEdit::Replace(new) => Some(new.into_bytes()),
                TextEdit::Remove => Some(Vec::new()),
            },
            _ if is_bytes => match (self.visit)(ValuePart::Binary(bytes), key, "") {
                TextEdit::Keep | TextEdit::KeepAlways => self.patch_broken_text(part, bytes, key),
                TextEdit::Replace(new) => Some(new.into_bytes()),
                TextEdit::Remove => Some(Vec::new()),
            },
            _ => self.patch_broken_text(part, bytes, key),
        };
        let Some(new) = new else { return 0 };
        let delta = wire::field_len(field.number, new.len()) as isize - (field.end - field.at) as isize;
        self.patches.push(BytePatch { at: field.at, end: field.end, new: PatchReplacement::Text(field.number, new) });
        delta
    }

    /// Visits the valid runs of bytes that are not all UTF-8, so that one invalid byte cannot hide text.
    #[cold]
    fn patch_broken_text(&mut self, part: ValuePart<'_>, bytes: &[u8], key: &str) -> Option<Vec<u8>> {
        let (mut out, mut changed) = (Vec::new(), false);
        for chunk in bytes.utf8_chunks() {
            let valid = chunk.valid();
            let edit = if valid.len() < MIN_TEXT_RUN { TextEdit::Keep } else { (self.visit)(part, key, valid) };
            match edit {
                TextEdit::Keep | TextEdit::KeepAlways => out.extend_from_slice(valid.as_bytes()),
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
    fn patch_number(&mut self, msg: MessageType, field: &RawField, key: &str) -> isize {
        let number = match msg {
            MessageType::AnyValue => Value::read(ByteRange::new(field.at, field.end).slice(self.buffer)),
            _ => return 0,
        };
        if !matches!(number, Value::Int(_) | Value::Double(_)) {
            return 0;
        }
        let TextEdit::Replace(new) = (self.visit)(ValuePart::Number(number), key, "") else { return 0 };
        let delta = wire::field_len(1, new.len()) as isize - (field.end - field.at) as isize;
        self.patches.push(BytePatch { at: field.at, end: field.end, new: PatchReplacement::Text(1, new.into_bytes()) });
        delta
    }

    fn drop_field(&mut self, field: &RawField) -> isize {
        self.unknown_dropped += 1;
        self.remove_range(field)
    }

    fn remove_range(&mut self, field: &RawField) -> isize {
        self.patches.push(BytePatch { at: field.at, end: field.end, new: PatchReplacement::Nothing });
        -((field.end - field.at) as isize)
    }

    /// `buffer[span]` with the patches applied.
    fn apply(&self, span: ByteRange) -> Vec<u8> {
        let mut out = Vec::with_capacity(span.len());
        let mut pos = span.start as usize;
        for patch in &self.patches {
            out.extend_from_slice(self.buffer.get(pos..patch.at).unwrap_or_default());
            match &patch.new {
                PatchReplacement::Nothing => {}
                PatchReplacement::Length(length) => wire::put_varint(&mut out, *length as u64),
                PatchReplacement::Text(number, text) => wire::put_bytes(&mut out, *number, text),
            }
            pos = patch.end;
        }
        out.extend_from_slice(self.buffer.get(pos..span.end as usize).unwrap_or_default());
        out
    }
}

/// Whether bytes contain control characters that text does not: UTF-16 of English is valid UTF-8, with zeros in it.
fn has_controls(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x08 | 0x0b | 0x0c | 0x1b))
}
