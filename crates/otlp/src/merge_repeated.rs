//! Rewrites KeyValues and AnyValues that repeat singular fields or set several members of a oneof into the form in
//! which every protobuf decoder reads them: the last one wins, messages merge. Otherwise text could hide in an
//! occurrence that is not read.
//! Decoders read the same value before and after; unknown fields stay; each level takes linear time. `check` finds
//! values that need this.

use super::schema::{FieldRule, MessageType};
use super::value::iter_fields;
use super::wire::{self, ByteRange, RawField};

/// Appends the normalised body of a `KeyValue`: repeated singular fields are merged, and oneof members that a later
/// one replaced are dropped. Unknown fields stay.
pub(super) fn put_merged_key_value(out: &mut Vec<u8>, body: &[u8]) {
    let (mut key, mut index, mut value) = (None, None, None::<Vec<u8>>);
    for field in iter_fields(body) {
        match field.number {
            1 => key = Some(field),
            2 => value.get_or_insert_default().extend_from_slice(field.span().slice(body)),
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

/// The same for the body of an `AnyValue`, or several bodies in a row.
pub(super) fn put_merged_value(out: &mut Vec<u8>, body: &[u8]) {
    let is_member = |field: &RawField| MessageType::AnyValue.rule(field.number) != FieldRule::Unknown;
    iter_fields(body).filter(|field| !is_member(field)).for_each(|field| put_raw(out, body, &field));
    let Some(last) = iter_fields(body).filter(is_member).last() else { return };
    let put_element: fn(&mut Vec<u8>, &[u8]) = match MessageType::AnyValue.rule(last.number) {
        FieldRule::Nested(MessageType::ArrayValue) => put_merged_value,
        FieldRule::Nested(_) => put_merged_key_value,
        _ => return put_raw(out, body, &last),
    };
    let mut elements = Vec::new();
    for field in iter_fields(body).filter(is_member) {
        if field.number != last.number {
            elements.clear();
            continue;
        }
        let container = field.span().slice(body);
        for entry in iter_fields(container) {
            if entry.number != 1 {
                put_raw(&mut elements, container, &entry);
                continue;
            }
            let mut merged = Vec::new();
            put_element(&mut merged, entry.span().slice(container));
            wire::put_bytes(&mut elements, 1, &merged);
        }
    }
    wire::put_bytes(out, last.number, &elements);
}

fn put_raw(out: &mut Vec<u8>, body: &[u8], field: &RawField) {
    out.extend_from_slice(ByteRange::new(field.at, field.end).slice(body));
}
