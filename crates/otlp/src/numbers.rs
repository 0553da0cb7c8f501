//! [`Payload::edit_numbers`]: shows each integer and double of attributes and bodies to a visitor, which may replace
//! it with a text. A card number is just as private when a client sends it as an integer.
//! Values at every level and every occurrence are visited; measurements, times and ids of the schema are not. Nothing
//! is allocated unless something changes. `text` visits texts; `processors/redact` decides which numbers are private.

use super::check::KeyValueShape;
use super::ids::{AttrId, NodeId};
use super::index::StorageState;
use super::patch::{TextEdit, ValuePart};
use super::payload::Payload;
use super::schema::IndexedField;
use super::value::{OwnedValue, Value};

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
    pub fn edit_numbers(&mut self, mut visit: impl FnMut(&NumberOccurrence<'_>) -> Option<String>) {
        self.for_each_element(&mut visit, Self::edit_numbers_of_body, Self::edit_numbers_of_attribute);
    }

    fn edit_numbers_of_body(&mut self, index: u32, visit: &mut impl FnMut(&NumberOccurrence<'_>) -> Option<String>) {
        let Some(field) = self.index.fields.get(index as usize) else { return };
        if field.kind != IndexedField::Body || field.state == StorageState::Removed {
            return;
        }
        let node = NodeId(field.node);
        self.rewrite_body(index, true, |part, key, _| visit_number(part, node, key, visit));
    }

    fn edit_numbers_of_attribute(
        &mut self,
        index: u32,
        visit: &mut impl FnMut(&NumberOccurrence<'_>) -> Option<String>,
    ) {
        let Some(attr) = self.index.attrs.get(index as usize).copied() else { return };
        if attr.state == StorageState::Removed || attr.slot || attr.shape == KeyValueShape::Text {
            return;
        }
        let node = NodeId(attr.node);
        if attr.shape == KeyValueShape::Number {
            let (key, value) = self.key_and_value(&attr);
            if let Value::Int(_) | Value::Double(_) = value
                && let Some(new) = visit(&NumberOccurrence { node, key, value })
            {
                self.replace_attribute(AttrId(index), OwnedValue::Str(new));
            }
        } else if let Some(new) =
            self.rewrite_attribute(&attr, true, |part, key, _| visit_number(part, node, key, visit))
        {
            self.store_key_value(index, attr, &new);
        }
    }
}

fn visit_number(
    part: ValuePart<'_>,
    node: NodeId,
    key: &str,
    visit: &mut impl FnMut(&NumberOccurrence<'_>) -> Option<String>,
) -> TextEdit {
    let ValuePart::Number(value) = part else { return TextEdit::Keep };
    visit(&NumberOccurrence { node, key, value }).map_or(TextEdit::Keep, TextEdit::Replace)
}
