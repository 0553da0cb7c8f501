//! [`Payload::edit_numbers`]: shows each integer and double of attributes and bodies to a visitor, which may replace
//! it with a text. A card number is just as private when a client sends it as an integer.
//! Values at every level and every occurrence are visited; measurements, times and ids of the schema are not. Nothing
//! is allocated unless something changes. `text` visits texts; `processors/redact` decides which numbers are private.

use super::check::KeyValueShape;
use super::ids::{AttrId, NodeId};
use super::index::StorageState;
use super::patch::TextEdit;
use super::patch::{self, NumberValue, ValuePart, ValuePatcher};
use super::payload::Payload;
use super::schema::{IndexedField, MessageType};
use super::value::{OwnedValue, Value};
use super::wire::{ByteRange, FieldCursor};

/// A number and its position.
pub struct NumberOccurrence<'a> {
    /// The node that it belongs to.
    pub node: NodeId,
    /// Its innermost key; items of a list have the key of the list.
    pub key: &'a str,
    /// [`Value::Int`] or [`Value::Double`].
    pub value: Value<'a>,
}

impl Payload {
    /// Visits every integer and double of attributes and bodies; `visit` returns the text that replaces it, if any.
    pub fn edit_numbers<F>(&mut self, mut visit: F)
    where
        F: FnMut(&NumberOccurrence<'_>) -> Option<String>,
    {
        for node in 0..self.index.nodes.len() as u32 {
            if self.index.node(node).removed {
                continue;
            }
            let mut field = self.index.node(node).fields.first;
            while let Some(record) = self.index.fields.get(field as usize) {
                let next = record.next;
                if record.kind == IndexedField::Body && record.state != StorageState::Removed {
                    self.edit_numbers_of_body(field, &mut visit);
                }
                field = next;
            }
            let mut attr = self.index.node(node).attributes.first;
            while let Some(record) = self.index.attrs.get(attr as usize) {
                let (next, shape) = (record.next, record.shape);
                if record.state != StorageState::Removed && !record.slot && shape != KeyValueShape::Text {
                    self.edit_numbers_of_attribute(attr, shape, &mut visit);
                }
                attr = next;
            }
        }
    }

    fn edit_numbers_of_body<F>(&mut self, index: u32, visit: &mut F)
    where
        F: FnMut(&NumberOccurrence<'_>) -> Option<String>,
    {
        let Some(field) = self.index.fields.get(index as usize) else { return };
        let node = NodeId(field.node);
        let body = self.bytes(field.state, field.body);
        let span = ByteRange::new(0, body.len());
        let mut patcher = ValuePatcher::for_numbers(body, |part, key, _: &str| visit_number(part, node, key, visit));
        patcher.walk_message(MessageType::AnyValue, span, "");
        if !patcher.patches.is_empty() {
            let mut new = Vec::with_capacity(body.len() + 16);
            patch::apply_patches(body, span, &patcher.patches, &mut new);
            self.index.store_field(index, &new);
        }
    }

    fn edit_numbers_of_attribute<F>(&mut self, index: u32, shape: KeyValueShape, visit: &mut F)
    where
        F: FnMut(&NumberOccurrence<'_>) -> Option<String>,
    {
        let Some(attr) = self.index.attrs.get(index as usize).copied() else { return };
        let node = NodeId(attr.node);
        if shape == KeyValueShape::Number {
            let (key, value) = self.key_and_value(&attr);
            if !matches!(value, Value::Int(_) | Value::Double(_)) {
                return;
            }
            if let Some(new) = visit(&NumberOccurrence { node, key, value }) {
                self.replace_attribute(AttrId(index), OwnedValue::Str(new));
            }
            return;
        }
        let field = self.bytes(attr.state, if attr.state == StorageState::Wire { attr.wire } else { attr.arena });
        let Some(pair) = FieldCursor::new(field, 0, field.len()).next().ok().flatten() else { return };
        let mut patcher = ValuePatcher::for_numbers(field, |part, key, _: &str| visit_number(part, node, key, visit));
        patcher.walk_message(MessageType::KeyValue, pair.span(), "");
        if patcher.patches.is_empty() {
            return;
        }
        let mut new = Vec::with_capacity(field.len() + 16);
        patch::apply_patches(field, pair.span(), &patcher.patches, &mut new);
        let (mut attr, number) = (attr, u32::from(self.index.node(attr.node).attributes_number));
        self.index.store_attribute(&mut attr, number, &new);
        self.index.put_attr(&self.request, index, attr);
    }
}

fn visit_number<F>(part: ValuePart<'_>, node: NodeId, key: &str, visit: &mut F) -> TextEdit
where
    F: FnMut(&NumberOccurrence<'_>) -> Option<String>,
{
    let value = match part {
        ValuePart::Number(NumberValue::Int(number)) => Value::Int(number),
        ValuePart::Number(NumberValue::Double(bits)) => Value::Double(f64::from_bits(bits)),
        _ => return TextEdit::Keep,
    };
    visit(&NumberOccurrence { node, key, value }).map_or(TextEdit::Keep, TextEdit::Replace)
}
