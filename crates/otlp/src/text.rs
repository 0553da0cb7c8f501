//! [`Payload::edit_text`]: shows every text of a request to a visitor, which may replace it. The schema decides which
//! texts are visited, not the caller, so redaction cannot miss one.
//! Visited are: every string field, key and string value, and the UTF-8 parts of bytes values, at every level and
//! every occurrence, added ones included. Slots, empty texts, numbers and ids are not visited. Entries of maps and
//! bytes that are not text are visited as such. `processors/redact` decides what is replaced.

use super::check::KeyValueShape;
use super::ids::{AttrId, NodeId, TextField};
use super::index::{AttrRec, NodeRec, StorageState};
use super::pair_table::VerdictBit;
use super::patch::{self, TextEdit, ValuePart};
use super::payload::Payload;
use super::schema::{IndexedField, MessageType};
use super::value::OwnedValue;
use super::value::put_key_value;
use super::wire::{self, ByteRange, FieldCursor};

/// The position of a text, for rules that depend on it.
pub struct TextPlace<'a> {
    /// The node that it belongs to.
    pub node: NodeId,
    /// Its kind.
    pub kind: TextPlaceKind,
    /// The attribute occurrence that contains it (a node may have one key several times). `None` for fields and
    /// bodies.
    pub attribute: Option<AttrId>,
    /// Top-level attribute key ("" for fields and bodies), as it was before this visit, even if the visitor has just
    /// replaced it. Keys of nested maps are in `path_key`.
    pub key: &'a str,
    /// Innermost key: for values in nested maps the entry's key, otherwise equal to `key`.
    pub path_key: &'a str,
    /// The bytes of a [`TextPlaceKind::Binary`]; otherwise empty.
    pub bytes: &'a [u8],
    /// Whether it is the key or the text of an attribute whose pair may have a verdict.
    pub may_have_verdict: bool,
}

/// The kind of a text place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextPlaceKind {
    /// An attribute's key (or a nested map's key).
    Key,
    /// A string value of an attribute or nested value.
    Value,
    /// A bytes value (of an attribute or body, nested too) that is text, or a run of text in it.
    BytesValue,
    /// A bytes value that is not text (not UTF-8, or with control characters); the text is empty. If the visitor keeps
    /// it, its runs of text are visited.
    Binary,
    /// An entry of a map inside a value, visited before its contents; the text is empty. Only entries can be removed.
    Entry {
        /// Whether the entry contains a number or boolean.
        number: bool,
    },
    /// A string in a log body (nested too).
    Body,
    /// A text field.
    Field(TextField),
    /// Any other string of the schema: those of EntityRef.
    Other,
}

/// The kind and the binary bytes of a place inside a value; `text_kind` is the kind of its strings.
fn place_kind(part: ValuePart<'_>, text_kind: TextPlaceKind) -> (TextPlaceKind, &[u8]) {
    match part {
        ValuePart::Key => (TextPlaceKind::Key, &[]),
        ValuePart::Text => (text_kind, &[]),
        ValuePart::Bytes => (TextPlaceKind::BytesValue, &[]),
        ValuePart::Binary(bytes) => (TextPlaceKind::Binary, bytes),
        ValuePart::Entry { number } => (TextPlaceKind::Entry { number }, &[]),
        // Not reached: these patchers visit texts only.
        ValuePart::Number(_) => (TextPlaceKind::Other, &[]),
    }
}

impl Payload {
    /// Visits every text of the request and every occurrence (edits applied, slots and empty texts excluded). `visit`
    /// gets the place and the text and returns the edit.
    pub fn edit_text(&mut self, visit: impl FnMut(&TextPlace<'_>, &str) -> TextEdit) {
        self.edit_text_skipping(None, visit);
    }

    /// The same, but skips the attributes whose pairs have this verdict. An attribute whose key and text `visit` always
    /// keeps gives its pair the verdict.
    pub fn edit_text_skipping(
        &mut self,
        verdict: Option<VerdictBit>,
        mut visit: impl FnMut(&TextPlace<'_>, &str) -> TextEdit,
    ) {
        self.for_each_element(&mut visit, Self::edit_field, |payload, index, visit| {
            if verdict.is_none_or(|verdict| !payload.has_verdict(AttrId(index), verdict)) {
                payload.edit_attribute(index, verdict, visit);
            }
        });
    }

    /// The same for one attribute.
    pub fn edit_attribute_text(&mut self, id: AttrId, mut visit: impl FnMut(&TextPlace<'_>, &str) -> TextEdit) {
        self.edit_attribute(id.0, None, &mut visit);
    }

    /// The same for the body of one log record.
    pub fn edit_body_text(&mut self, node: NodeId, mut visit: impl FnMut(&TextPlace<'_>, &str) -> TextEdit) {
        let bodies: Vec<u32> = (self.index.node_fields(node.0))
            .filter(|(_, field)| field.kind == IndexedField::Body && field.state != StorageState::Removed)
            .map(|(index, _)| index)
            .collect();
        bodies.into_iter().for_each(|index| self.edit_field(index, &mut visit));
    }

    /// Calls `edit_field` and `edit_attribute` with the index of each field and attribute of the nodes that are not
    /// removed. Two functions, because each is inlined where it is called once.
    pub(super) fn for_each_element<V>(
        &mut self,
        visit: &mut V,
        edit_field: impl Fn(&mut Self, u32, &mut V),
        edit_attribute: impl Fn(&mut Self, u32, &mut V),
    ) {
        for node in 0..self.index.nodes.len() as u32 {
            let NodeRec { removed, fields, repeated_texts, attributes, .. } = *self.index.node(node);
            if removed {
                continue;
            }
            for chain in [fields, repeated_texts] {
                let mut index = chain.first;
                while let Some(field) = self.index.fields.get(index as usize) {
                    let next = field.next;
                    edit_field(self, index, visit);
                    index = next;
                }
            }
            let mut index = attributes.first;
            while let Some(attr) = self.index.attrs.get(index as usize) {
                let next = attr.next;
                edit_attribute(self, index, visit);
                index = next;
            }
        }
    }

    fn edit_field(&mut self, index: u32, visit: &mut impl FnMut(&TextPlace<'_>, &str) -> TextEdit) {
        let Some(field) = self.index.fields.get(index as usize).filter(|field| field.state != StorageState::Removed)
        else {
            return;
        };
        let node = NodeId(field.node);
        let kind = match field.kind {
            IndexedField::Text(field) => TextPlaceKind::Field(field),
            IndexedField::Other => TextPlaceKind::Other,
            IndexedField::Body => {
                return self.rewrite_body(index, false, |part, path_key, text| {
                    let (kind, bytes) = place_kind(part, TextPlaceKind::Body);
                    visit(
                        &TextPlace { node, kind, attribute: None, key: "", path_key, bytes, may_have_verdict: false },
                        text,
                    )
                });
            }
            _ => return,
        };
        let text = wire::text_or_empty(self.bytes(field.state, field.body));
        if text.is_empty() {
            return;
        }
        let edit = visit(
            &TextPlace { node, kind, attribute: None, key: "", path_key: "", bytes: &[], may_have_verdict: false },
            text,
        );
        match edit {
            TextEdit::Keep | TextEdit::KeepAlways => {}
            TextEdit::Replace(new) => self.index.store_field(index, new.as_bytes()),
            TextEdit::Remove => self.index.store_field(index, &[]),
        }
    }

    fn edit_attribute(
        &mut self,
        index: u32,
        verdict: Option<VerdictBit>,
        visit: &mut impl FnMut(&TextPlace<'_>, &str) -> TextEdit,
    ) {
        let Some(attr) = self.index.attrs.get(index as usize) else { return };
        if attr.state == StorageState::Removed || attr.slot {
            return;
        }
        let attr = *attr;
        let new = match attr.shape {
            KeyValueShape::Any => {
                let (node, attribute) = (NodeId(attr.node), Some(AttrId(index)));
                let key = wire::text_or_empty(self.bytes(attr.state, attr.key));
                self.rewrite_attribute(&attr, false, |part, path_key, text| {
                    let (kind, bytes) = place_kind(part, TextPlaceKind::Value);
                    visit(&TextPlace { node, kind, attribute, key, path_key, bytes, may_have_verdict: false }, text)
                })
            }
            KeyValueShape::Text | KeyValueShape::Number => {
                self.rewrite_common_attribute(AttrId(index), &attr, verdict, visit)
            }
        };
        if let Some(new) = new {
            self.store_key_value(index, attr, &new);
        }
    }

    /// The new KeyValue of an attribute of a common shape; `None` if nothing changes.
    fn rewrite_common_attribute(
        &self,
        id: AttrId,
        attr: &AttrRec,
        verdict: Option<VerdictBit>,
        visit: &mut impl FnMut(&TextPlace<'_>, &str) -> TextEdit,
    ) -> Option<Vec<u8>> {
        let (key, value) = self.key_and_value(attr);
        let mut visit_text = |kind: TextPlaceKind, text: &str| {
            let place = TextPlace {
                node: NodeId(attr.node),
                kind,
                attribute: Some(id),
                key,
                path_key: key,
                bytes: &[],
                may_have_verdict: self.pair_bytes(attr).is_some(),
            };
            if text.is_empty() { TextEdit::Keep } else { visit(&place, text) }
        };
        let new_key = visit_text(TextPlaceKind::Key, key);
        let new_text = visit_text(TextPlaceKind::Value, value.as_str().unwrap_or_default());
        if let (Some(verdict), TextEdit::KeepAlways, TextEdit::KeepAlways) = (verdict, &new_key, &new_text) {
            self.give_verdict(id, verdict);
        }
        let key = match &new_key {
            TextEdit::Keep | TextEdit::KeepAlways => key,
            TextEdit::Replace(new) => new,
            TextEdit::Remove => "",
        };
        let mut new_value = Vec::new();
        let value = match new_text {
            TextEdit::Keep | TextEdit::KeepAlways if matches!(new_key, TextEdit::Keep | TextEdit::KeepAlways) => {
                return None;
            }
            TextEdit::Keep | TextEdit::KeepAlways => self.bytes(attr.state, attr.value),
            TextEdit::Replace(text) => {
                OwnedValue::Str(text).put(&mut new_value);
                &new_value
            }
            TextEdit::Remove => &new_value,
        };
        let mut new = Vec::with_capacity(key.len() + value.len() + 16);
        put_key_value(&mut new, key.as_bytes(), Some(value));
        Some(new)
    }

    /// The new KeyValue of any attribute; `None` if nothing changes.
    pub(super) fn rewrite_attribute(
        &self,
        attr: &AttrRec,
        numbers_only: bool,
        visit: impl FnMut(ValuePart<'_>, &str, &str) -> TextEdit,
    ) -> Option<Vec<u8>> {
        let field = self.bytes(attr.state, if attr.state == StorageState::Wire { attr.wire } else { attr.arena });
        let pair = FieldCursor::new(field, 0, field.len()).next().ok().flatten()?;
        patch::rewrite_message(field, MessageType::KeyValue, pair.span(), numbers_only, visit)
    }

    /// Stores a rewritten KeyValue as the new form of an attribute.
    pub(super) fn store_key_value(&mut self, index: u32, mut attr: AttrRec, new: &[u8]) {
        let number = u32::from(self.index.node(attr.node).attributes_number);
        self.index.store_attribute(&mut attr, number, new);
        self.index.put_attr(&self.request, index, attr);
    }

    pub(super) fn rewrite_body(
        &mut self,
        index: u32,
        numbers_only: bool,
        visit: impl FnMut(ValuePart<'_>, &str, &str) -> TextEdit,
    ) {
        let Some(field) = self.index.fields.get(index as usize) else { return };
        let body = self.bytes(field.state, field.body);
        let span = ByteRange::new(0, body.len());
        if let Some(new) = patch::rewrite_message(body, MessageType::AnyValue, span, numbers_only, visit) {
            self.index.store_field(index, &new);
        }
    }
}
