//! [`Payload::edit_numbers`]: shows every integer and double of attributes and bodies to a visitor, which may replace
//! it by a text. A card number is just as private when a client sends it as an integer.
//! Values at every level and every occurrence are visited; measurements, times and ids of the schema are not. Nothing
//! is allocated unless something changes. `text` visits texts; `processors/redact` decides which numbers are private.

use super::check::Shape;
use super::ids::{AttrId, Node};
use super::index::State;
use super::patch::TextEdit;
use super::patch::{self, Digits, Inside, Patcher};
use super::payload::Payload;
use super::schema::{Msg, Slot};
use super::value::{OwnedValue, Value};
use super::wire::{Cursor, Span};

/// A number and its position.
pub struct NumberAt<'a> {
    /// The node that it belongs to.
    pub node: Node,
    /// Its innermost key; items of a list have the key of the list.
    pub key: &'a str,
    /// [`Value::Int`] or [`Value::Double`].
    pub value: Value<'a>,
}

impl Payload {
    /// Visits every integer and double of attributes and bodies; `visit` returns the text that replaces it, if any.
    pub fn edit_numbers<F>(&mut self, mut visit: F)
    where
        F: FnMut(&NumberAt<'_>) -> Option<String>,
    {
        for node in 0..self.index.nodes.len() as u32 {
            if self.index.node(node).dead {
                continue;
            }
            let mut field = self.index.node(node).fields.first;
            while let Some(record) = self.index.fields.get(field as usize) {
                let next = record.next;
                if record.slot == Slot::Body && record.state != State::Removed {
                    self.edit_numbers_of_body(field, &mut visit);
                }
                field = next;
            }
            let mut attr = self.index.node(node).attrs.first;
            while let Some(record) = self.index.attrs.get(attr as usize) {
                let (next, shape) = (record.next, record.shape);
                if record.state != State::Removed && !record.slot && shape != Shape::Text {
                    self.edit_numbers_of_attribute(attr, shape, &mut visit);
                }
                attr = next;
            }
        }
    }

    fn edit_numbers_of_body<F>(&mut self, index: u32, visit: &mut F)
    where
        F: FnMut(&NumberAt<'_>) -> Option<String>,
    {
        let Some(field) = self.index.fields.get(index as usize) else { return };
        let node = Node(field.node);
        let body = self.bytes(field.state, field.body);
        let span = Span::new(0, body.len());
        let mut patcher = Patcher::of_numbers(body, |inside, key, _: &str| shown(inside, node, key, visit));
        patcher.message(Msg::AnyValue, span, "");
        if !patcher.patches.is_empty() {
            let mut new = Vec::with_capacity(body.len() + 16);
            patch::apply(body, span, &patcher.patches, &mut new);
            self.index.store_field(index, &new);
        }
    }

    fn edit_numbers_of_attribute<F>(&mut self, index: u32, shape: Shape, visit: &mut F)
    where
        F: FnMut(&NumberAt<'_>) -> Option<String>,
    {
        let Some(attr) = self.index.attrs.get(index as usize).copied() else { return };
        let node = Node(attr.node);
        if shape == Shape::Number {
            let (key, value) = self.key_and_value(&attr);
            if !matches!(value, Value::Int(_) | Value::Double(_)) {
                return;
            }
            if let Some(new) = visit(&NumberAt { node, key, value }) {
                self.replace_attribute(AttrId(index), OwnedValue::Str(new));
            }
            return;
        }
        let field = self.bytes(attr.state, if attr.state == State::Wire { attr.wire } else { attr.arena });
        let Some(head) = Cursor::new(field, 0, field.len()).next().ok().flatten() else { return };
        let mut patcher = Patcher::of_numbers(field, |inside, key, _: &str| shown(inside, node, key, visit));
        patcher.message(Msg::KeyValue, head.span(), "");
        if patcher.patches.is_empty() {
            return;
        }
        let mut new = Vec::with_capacity(field.len() + 16);
        patch::apply(field, head.span(), &patcher.patches, &mut new);
        let (mut attr, number) = (attr, u32::from(self.index.node(attr.node).attributes_number));
        self.index.store_attribute(&mut attr, number, &new);
        self.index.put_attr(&self.request, index, attr);
    }
}

fn shown<F>(inside: Inside<'_>, node: Node, key: &str, visit: &mut F) -> TextEdit
where
    F: FnMut(&NumberAt<'_>) -> Option<String>,
{
    let value = match inside {
        Inside::Number(Digits::Int(number)) => Value::Int(number),
        Inside::Number(Digits::Double(bits)) => Value::Double(f64::from_bits(bits)),
        _ => return TextEdit::Keep,
    };
    visit(&NumberAt { node, key, value }).map_or(TextEdit::Keep, TextEdit::Replace)
}
