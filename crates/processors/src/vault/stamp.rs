//! Removes content and writes references. References are written into slots, which no text edit visits, so that they
//! pass the redaction step unchanged.
//!
//! Every content place in the facts is removed, and nothing else. The texts of the slots are filled in by
//! `vault/ticket`.

use genai::{ContentBasis, ContentLocation, EmbeddedContentEdit, Facts};
use kernel::CONTENT;
use otlp::{NodeId, OwnedValue, Payload, SlotId, TextEdit, TextField, TextPlace, TextPlaceKind, Value};

use super::content::read_content;
use super::input_shares::{KEYS, billed_input};

pub(super) const S3_URI: &str = "gen_ai.payload.s3_uri";
pub(super) const RANGE: &str = "gen_ai.payload.range";
pub(super) const KEY_ID: &str = "gen_ai.payload.key_id";
pub(super) const LEAF: &str = "gen_ai.payload.leaf";
pub(super) const COMMITMENT: &str = "gen_ai.payload.commitment";
pub(super) const BYTES: &str = "gen_ai.payload.bytes";
pub(super) const DROPPED: &str = "gen_ai.payload.dropped";
pub(super) const SHAPE: &str = "tollgate.content.shape";
/// The page of the session on `vault serve`. It has only ids that are in the reference.
pub(super) const CONTENT_URL: &str = "tollgate.content.url";
/// Fingerprints of what the model was given: everything, the system instructions, the tool definitions. Equal inputs of
/// a tenant have equal fingerprints.
pub(super) const CONTEXT: [&str; 3] = ["tollgate.context.hash", "tollgate.context.system", "tollgate.context.tools"];

/// A text that is filled in after encoding.
#[derive(Clone, Copy)]
pub(super) struct TextSlot {
    pub(super) id: SlotId,
    pub(super) width: usize,
}

pub(super) struct ReferenceStamp {
    pub(super) node: NodeId,
    pub(super) leaf: SlotId,
    /// The attributes with their texts.
    pub(super) slots: Vec<(&'static str, TextSlot)>,
    /// Size of the content as canonical JSON, bytes.
    pub(super) bytes: u64,
    /// The billed input tokens by category.
    pub(super) input_shares: Option<[u64; 5]>,
}

pub(super) fn write_references(payload: &mut Payload, stamps: &[ReferenceStamp]) {
    for stamp in stamps {
        let node = stamp.node;
        for (key, slot) in &stamp.slots {
            payload.set_slot(node, key, slot.id, slot.width);
        }
        payload.set(node, BYTES, OwnedValue::Int(i64::try_from(stamp.bytes).unwrap_or(i64::MAX)));
        write_input_shares(payload, node, stamp.input_shares);
    }
}

fn write_input_shares(payload: &mut Payload, node: NodeId, shares: Option<[u64; 5]>) {
    for (key, tokens) in shares.into_iter().flat_map(|shares| KEYS.into_iter().zip(shares)) {
        payload.set(node, key, OwnedValue::Int(i64::try_from(tokens).unwrap_or(i64::MAX)));
    }
}

/// Removes all content. Log bodies, and values under keys that are not listed as content, are replaced by a mark, so
/// that readers see that they existed.
pub(super) fn strip_content(payload: &mut Payload, facts: &Facts) {
    for place in facts.items.iter().flat_map(|item| &item.content) {
        match place.at {
            ContentLocation::Attribute(id) if matches!(place.basis, ContentBasis::Listed | ContentBasis::Key) => {
                payload.remove_attribute(id);
            }
            ContentLocation::Attribute(id) => payload.replace_attribute(id, OwnedValue::Str(CONTENT.to_owned())),
            ContentLocation::Body => mark_body(payload, place.node),
            ContentLocation::Status => payload.set_text(place.node, TextField::StatusMessage, ""),
            ContentLocation::Name | ContentLocation::Embedded(_) => {}
        }
    }
    for item in &facts.items {
        let Some(embedded) = &item.embedded else { continue };
        embedded.edits.iter().for_each(|edit| remove_listed_parts(payload, edit));
        if let Some(name) = &embedded.name {
            payload.set_text(item.node, TextField::Name, name);
        }
    }
}

/// Replaces a log body by the mark. Empty bodies stay.
fn mark_body(payload: &mut Payload, node: NodeId) {
    if payload.body(node).is_some() {
        payload.set_body(node, OwnedValue::Str(CONTENT.to_owned()));
    }
}

/// Removes the listed parts from a value that stays.
fn remove_listed_parts(payload: &mut Payload, edit: &EmbeddedContentEdit) {
    let change = |place: &TextPlace<'_>, text: &str| match place.kind {
        TextPlaceKind::Entry { .. } if edit.keys.contains(place.path_key) => TextEdit::Remove,
        TextPlaceKind::Value | TextPlaceKind::Body => {
            edit.texts.get(text).map_or(TextEdit::Keep, |rest| TextEdit::Replace(rest.clone()))
        }
        _ => TextEdit::Keep,
    };
    match edit.at {
        ContentLocation::Attribute(id) => payload.edit_attribute_text(id, change),
        ContentLocation::Body => payload.edit_body_text(edit.node, change),
        at => {
            if let Some(field) = at.field(payload, edit.node)
                && let Some(rest) = edit.texts.get(payload.text(edit.node, field))
            {
                payload.set_text(edit.node, field, rest);
            }
        }
    }
}

/// Removes content that redaction cannot read: bytes, numbers, and structure containing bytes.
pub(super) fn strip_structure(payload: &mut Payload, facts: &Facts) {
    for place in facts.items.iter().flat_map(|item| &item.content) {
        let is_unreadable = place.value(payload).is_some_and(|value| !is_readable(value));
        match place.at {
            ContentLocation::Attribute(id) if is_unreadable => payload.remove_attribute(id),
            ContentLocation::Body if is_unreadable => mark_body(payload, place.node),
            _ => {}
        }
    }
}

/// Returns true for text, and for structure without bytes.
fn is_readable(value: Value<'_>) -> bool {
    match value {
        Value::Str(_) => true,
        Value::Map(_) | Value::List(_) => !value.any_leaf(&mut |leaf| matches!(leaf, Value::Bytes(_))),
        _ => false,
    }
}

/// Marks each item whose content is dropped for good, with the content's size and shape. Must run before
/// [`strip_content`]. Returns the number of items.
pub(super) fn mark_dropped(payload: &mut Payload, facts: &Facts) -> u64 {
    let mut count = 0;
    for item in facts.items.iter().filter(|item| !item.content.is_empty()) {
        let (content, shape) = read_content(payload, item);
        let bytes = content.len();
        if content.is_empty() {
            continue;
        }
        count += 1;
        payload.set(item.node, DROPPED, OwnedValue::Bool(true));
        payload.set(item.node, BYTES, OwnedValue::Int(i64::try_from(bytes).unwrap_or(i64::MAX)));
        payload.set(item.node, SHAPE, OwnedValue::Str(shape.render()));
        write_input_shares(payload, item.node, billed_input(item).and_then(|tokens| shape.input.distribute(tokens)));
    }
    count
}
