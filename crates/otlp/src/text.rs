//! **What**: [`Payload::edit_text`]: every text of a request shown to a visitor that may replace it.
//! **Why**: redaction must not be able to forget a place; the schema decides what is visited, not the caller.
//! **Invariants**: every string field, key, string value and what is UTF-8 of a bytes value, at every level, every
//! occurrence, added ones too; slots and empty texts are left out; numbers and ids are not text. Entries of maps and
//! bytes that are no text are shown as such.
//! **Not here**: what is replaced (`processors/redact`).

use super::check::Shape;
use super::ids::{AttrId, Field, Node};
use super::index::{AttrRec, State};
use super::patch::TextEdit;
use super::patch::{self, Inside, Patcher};
use super::payload::Payload;
use super::schema::{Msg, Slot};
use super::value::OwnedValue;
use super::value::put_key_value;
use super::wire::{self, Cursor, Span};

/// Where a text stands, for rules that depend on it.
pub struct Place<'a> {
    /// The node it belongs to.
    pub node: Node,
    /// What it is.
    pub kind: PlaceKind,
    /// The occurrence of an attribute that it stands in: a node may hold one key several times. None for fields and
    /// bodies.
    pub attribute: Option<AttrId>,
    /// Top-level attribute key (or "" for fields and bodies); nested map keys are in `path_key`. The key as it was
    /// before this visit, also when the visitor has just replaced it.
    pub key: &'a str,
    /// Innermost key: for nested map values the map entry's key, else equal to `key`.
    pub path_key: &'a str,
    /// The bytes of a [`PlaceKind::Binary`]; else empty.
    pub bytes: &'a [u8],
}

/// The kind of text place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlaceKind {
    /// An attribute's key (or a nested map's key).
    Key,
    /// A string value of an attribute or nested value.
    Value,
    /// A bytes value (of an attribute or body, nested too) that is text, or a stretch of it that is.
    BytesValue,
    /// A bytes value that is no text (not UTF-8, or with control characters); the text is empty. Kept, its stretches
    /// of text are shown.
    Binary,
    /// An entry of a map inside a value, before what it holds; the text is empty. Only it can be removed.
    Entry {
        /// It holds a number or boolean.
        number: bool,
    },
    /// A string in a log body (nested too).
    Body,
    /// A text field.
    Field(Field),
    /// Any other string of the schema: those of EntityRef.
    Other,
}

/// What a text inside a value is; `text` is what its strings are.
fn kind_of(inside: Inside<'_>, text: PlaceKind) -> (PlaceKind, &[u8]) {
    match inside {
        Inside::Key => (PlaceKind::Key, &[]),
        Inside::Text => (text, &[]),
        Inside::Bytes => (PlaceKind::BytesValue, &[]),
        Inside::Binary(bytes) => (PlaceKind::Binary, bytes),
        Inside::Entry(number) => (PlaceKind::Entry { number }, &[]),
        // texts alone are shown here
        Inside::Number(_) => (PlaceKind::Other, &[]),
    }
}

impl Payload {
    /// Visits every text place of the request (edits applied, slots and empty texts excluded), every occurrence.
    /// `visit` gets the place and the text and says what becomes of it.
    pub fn edit_text<F>(&mut self, mut visit: F)
    where
        F: FnMut(&Place<'_>, &str) -> TextEdit,
    {
        for node in 0..self.index.nodes.len() as u32 {
            if self.index.node(node).dead {
                continue;
            }
            for chain in [self.index.node(node).fields, self.index.node(node).others] {
                let mut field = chain.first;
                while let Some(record) = self.index.fields.get(field as usize) {
                    let next = record.next;
                    self.edit_field(field, &mut visit);
                    field = next;
                }
            }
            let mut attr = self.index.node(node).attrs.first;
            while let Some(record) = self.index.attrs.get(attr as usize) {
                let next = record.next;
                self.edit_attribute(attr, &mut visit);
                attr = next;
            }
        }
    }

    /// The same for one attribute.
    pub fn edit_attribute_text<F>(&mut self, id: AttrId, mut visit: F)
    where
        F: FnMut(&Place<'_>, &str) -> TextEdit,
    {
        self.edit_attribute(id.0, &mut visit);
    }

    /// The same for the body of one log record.
    pub fn edit_body_text<F>(&mut self, node: Node, mut visit: F)
    where
        F: FnMut(&Place<'_>, &str) -> TextEdit,
    {
        let bodies: Vec<u32> = (self.index.node_fields(node.0))
            .filter(|(_, field)| field.slot == Slot::Body && field.state != State::Removed)
            .map(|(index, _)| index)
            .collect();
        bodies.into_iter().for_each(|index| self.edit_field(index, &mut visit));
    }

    fn edit_field<F>(&mut self, index: u32, visit: &mut F)
    where
        F: FnMut(&Place<'_>, &str) -> TextEdit,
    {
        let Some(field) = self.index.fields.get(index as usize).filter(|field| field.state != State::Removed) else {
            return;
        };
        let node = Node(field.node);
        let kind = match field.slot {
            Slot::Text(field) => PlaceKind::Field(field),
            Slot::Other => PlaceKind::Other,
            Slot::Body => return self.edit_body(index, visit),
            _ => return,
        };
        let text = wire::text(self.bytes(field.state, field.body));
        if text.is_empty() {
            return;
        }
        let edit = visit(&Place { node, kind, attribute: None, key: "", path_key: "", bytes: &[] }, text);
        match edit {
            TextEdit::Keep => {}
            TextEdit::Replace(new) => self.index.store_field(index, new.as_bytes()),
            TextEdit::Remove => self.index.store_field(index, &[]),
        }
    }

    fn edit_body<F>(&mut self, index: u32, visit: &mut F)
    where
        F: FnMut(&Place<'_>, &str) -> TextEdit,
    {
        let Some(field) = self.index.fields.get(index as usize) else { return };
        let node = Node(field.node);
        let body = self.bytes(field.state, field.body);
        let span = Span::new(0, body.len());
        let mut patcher = Patcher::new(body, false, |inside, path_key, text: &str| {
            let (kind, bytes) = kind_of(inside, PlaceKind::Body);
            visit(&Place { node, kind, attribute: None, key: "", path_key, bytes }, text)
        });
        patcher.message(Msg::AnyValue, span, "");
        if !patcher.patches.is_empty() {
            let mut new = Vec::with_capacity(body.len());
            patch::apply(body, span, &patcher.patches, &mut new);
            self.index.store_field(index, &new);
        }
    }

    fn edit_attribute<F>(&mut self, index: u32, visit: &mut F)
    where
        F: FnMut(&Place<'_>, &str) -> TextEdit,
    {
        let Some(attr) = self.index.attrs.get(index as usize) else { return };
        if attr.state == State::Removed || attr.slot {
            return;
        }
        let mut attr = *attr;
        let new = match attr.shape {
            Shape::Any => self.rewritten(AttrId(index), &attr, visit),
            Shape::Text | Shape::Number => self.plain_rewritten(AttrId(index), &attr, visit),
        };
        if let Some(new) = new {
            let number = u32::from(self.index.node(attr.node).attributes_number);
            self.index.store_attribute(&mut attr, number, &new);
            self.index.put_attr(&self.request, index, attr);
        }
    }

    /// The new KeyValue of an attribute of a usual shape; None if nothing changes.
    fn plain_rewritten<F>(&self, id: AttrId, attr: &AttrRec, visit: &mut F) -> Option<Vec<u8>>
    where
        F: FnMut(&Place<'_>, &str) -> TextEdit,
    {
        let (key, read) = self.key_and_value(attr);
        let mut show = |kind: PlaceKind, text: &str| {
            let place = Place { node: Node(attr.node), kind, attribute: Some(id), key, path_key: key, bytes: &[] };
            if text.is_empty() { TextEdit::Keep } else { visit(&place, text) }
        };
        let new_key = show(PlaceKind::Key, key);
        let new_text = show(PlaceKind::Value, read.as_str().unwrap_or_default());
        let value = self.bytes(attr.state, attr.value);
        let key = match &new_key {
            TextEdit::Keep => key,
            TextEdit::Replace(new) => new,
            TextEdit::Remove => "",
        };
        let mut any = Vec::new();
        let value = match new_text {
            TextEdit::Keep if matches!(new_key, TextEdit::Keep) => return None,
            TextEdit::Keep => value,
            TextEdit::Replace(text) => {
                OwnedValue::Str(text).put(&mut any);
                &any
            }
            TextEdit::Remove => &any,
        };
        let mut new = Vec::with_capacity(key.len() + value.len() + 16);
        put_key_value(&mut new, key.as_bytes(), Some(value));
        Some(new)
    }

    /// The new KeyValue of any attribute; None if nothing changes.
    fn rewritten<F>(&self, id: AttrId, attr: &AttrRec, visit: &mut F) -> Option<Vec<u8>>
    where
        F: FnMut(&Place<'_>, &str) -> TextEdit,
    {
        let node = Node(attr.node);
        let field = self.bytes(attr.state, if attr.state == State::Wire { attr.wire } else { attr.arena });
        let head = Cursor::new(field, 0, field.len()).next().ok().flatten()?;
        let key = wire::text(self.bytes(attr.state, attr.key));
        let mut patcher = Patcher::new(field, false, |inside, path_key, text: &str| {
            let (kind, bytes) = kind_of(inside, PlaceKind::Value);
            visit(&Place { node, kind, attribute: Some(id), key, path_key, bytes }, text)
        });
        patcher.message(Msg::KeyValue, head.span(), key);
        (!patcher.patches.is_empty()).then(|| {
            let mut new = Vec::with_capacity(field.len());
            patch::apply(field, head.span(), &patcher.patches, &mut new);
            new
        })
    }
}
