//! Edits of attributes, fields, bodies and nodes of a [`Payload`], pending until it is encoded.
//! An edited field is stored whole, in wire format, in the arena; the request's bytes never change. An edit of a key
//! or field applies to all its occurrences. Edits through an invalid handle do nothing. `text` edits all texts,
//! `encode` writes the result.

use super::check::{self, KeyValueShape};
use super::ids::{AttrId, NodeId, NodeKind, SlotId, TextField};
use super::index::{AttrRec, FieldRec, NONE, PayloadIndex, SlotRec, StorageState, is_item};
use super::payload::Payload;
use super::schema::{IndexedField, field_location};
use super::value::{self, OwnedValue, put_key_value};
use super::wire::{self, ByteRange};

impl PayloadIndex {
    pub(super) fn bytes<'a>(&'a self, request: &'a [u8], state: StorageState, span: ByteRange) -> &'a [u8] {
        match state {
            StorageState::Wire => span.slice(request),
            StorageState::Arena => span.slice(&self.arena),
            StorageState::Removed => &[],
        }
    }

    /// Appends a LEN field to the arena; returns the ranges of the whole field and of its payload.
    fn store(&mut self, number: u32, body: &[u8]) -> (ByteRange, ByteRange) {
        self.edited = true;
        let start = self.arena.len();
        wire::put_bytes(&mut self.arena, number, body);
        let end = self.arena.len();
        (ByteRange::new(start, end), ByteRange::new(end - body.len(), end))
    }

    /// Stores `body`, a KeyValue, as the new form of `attr`.
    pub(super) fn store_attribute(&mut self, attr: &mut AttrRec, number: u32, body: &[u8]) {
        let (field, body) = self.store(number, body);
        self.point_to_arena(attr, field, body);
    }

    /// Stores a key and a value as the new form of `attr`.
    fn write_attribute(&mut self, attr: &mut AttrRec, number: u32, key: &[u8], value: &OwnedValue) {
        self.edited = true;
        let start = self.arena.len();
        let key_len = if key.is_empty() { 0 } else { wire::field_len(1, key.len()) };
        wire::put_head(&mut self.arena, number, key_len + wire::field_len(2, value.len()));
        let body_start = self.arena.len();
        if !key.is_empty() {
            wire::put_bytes(&mut self.arena, 1, key);
        }
        wire::put_head(&mut self.arena, 2, value.len());
        value.put(&mut self.arena);
        let end = self.arena.len();
        attr.unknown = false;
        self.point_to_arena(attr, ByteRange::new(start, end), ByteRange::new(body_start, end));
    }

    /// Points `attr` at its new form in the arena: `field` is the whole field, `body` the KeyValue in it.
    fn point_to_arena(&self, attr: &mut AttrRec, field: ByteRange, body: ByteRange) {
        (attr.key, attr.value, attr.shape) = match check::read_common_key_value(&self.arena, body) {
            Some((parts, _)) => (parts.key, parts.value, parts.shape),
            None => {
                let (key, value) = value::key_value_ranges(&self.arena, body);
                (key, value, KeyValueShape::Any)
            }
        };
        attr.arena = field;
        attr.state = StorageState::Arena;
    }

    /// Stores `body` as the new form of field `index`.
    pub(super) fn store_field(&mut self, index: u32, body: &[u8]) {
        let Some(mut field) = self.fields.get(index as usize).copied() else { return };
        (field.arena, field.body) = self.store(u32::from(field.number), body);
        field.state = StorageState::Arena;
        if let Some(stored) = self.fields.get_mut(index as usize) {
            *stored = field;
        }
    }

    pub(super) fn remove_field(&mut self, index: u32) {
        if let Some(field) = self.fields.get_mut(index as usize) {
            field.state = StorageState::Removed;
            self.edited = true;
        }
    }

    /// Forgets the slot of an attribute that gets another value.
    fn remove_slot(&mut self, id: u32) {
        if let Ok(at) = self.slots.binary_search_by_key(&id, |slot| slot.attr) {
            self.slots.remove(at);
        }
    }
}

impl Payload {
    /// Sets `key` on `node`: replaces all occurrences, at the position of the first; otherwise appends.
    pub fn set(&mut self, node: NodeId, key: &str, value: OwnedValue) {
        let found = self.index.find(&self.request, node.0, key.as_bytes());
        match found.split_first() {
            Some((first, rest)) => {
                rest.iter().for_each(|id| self.remove_attribute(AttrId(*id)));
                self.replace_attribute(AttrId(*first), value);
            }
            None => {
                self.append_attribute(node, key, &value);
            }
        }
    }

    /// Sets `key` to a slot: a string of `width` bytes, '0' until filled in. Other occurrences of `key` are removed.
    /// [`Payload::edit_text`] does not visit slots.
    pub fn set_slot(&mut self, node: NodeId, key: &str, slot: SlotId, width: usize) {
        self.remove(node, key);
        let attr = self.append_attribute(node, key, &OwnedValue::Str("0".repeat(width)));
        if let Some(record) = self.index.attrs.get_mut(attr as usize) {
            record.slot = true;
            self.index.slots.push(SlotRec { attr, slot, width: width as u32 });
        }
    }

    fn append_attribute(&mut self, node: NodeId, key: &str, value: &OwnedValue) -> u32 {
        let record = *self.index.node(node.0);
        if record.removed {
            return NONE;
        }
        let frame = if is_in_envelope(record.kind) { record.inner } else { record.frame };
        let mut attr = AttrRec {
            node: node.0,
            next: NONE,
            frame,
            state: StorageState::Arena,
            slot: false,
            unknown: false,
            shape: KeyValueShape::Any,
            wire: ByteRange::default(),
            arena: ByteRange::default(),
            key: ByteRange::default(),
            value: ByteRange::default(),
        };
        self.index.write_attribute(&mut attr, u32::from(record.attributes_number), key.as_bytes(), value);
        let id = self.index.push_attr(attr);
        self.index.add_to_lookup(id, node.0, key.as_bytes());
        id
    }

    fn attributes_number(&self, node: u32) -> u32 {
        u32::from(self.index.node(node).attributes_number)
    }

    fn update_attribute(&mut self, id: AttrId, attr: AttrRec) {
        if attr.slot {
            self.index.remove_slot(id.0);
        }
        self.index.put_attr(&self.request, id.0, AttrRec { slot: false, ..attr });
    }

    /// Removes all occurrences of `key`; returns their number.
    pub fn remove(&mut self, node: NodeId, key: &str) -> usize {
        let found = self.index.find(&self.request, node.0, key.as_bytes());
        found.iter().for_each(|id| self.remove_attribute(AttrId(*id)));
        found.len()
    }

    /// Removes one occurrence.
    pub fn remove_attribute(&mut self, id: AttrId) {
        if let Some(attr) = self.live_attribute(id).copied() {
            self.index.edited = true;
            self.update_attribute(id, AttrRec { state: StorageState::Removed, ..attr });
        }
    }

    /// Replaces the value of one occurrence.
    pub fn replace_attribute(&mut self, id: AttrId, value: OwnedValue) {
        if let Some(mut attr) = self.live_attribute(id).copied() {
            let number = self.attributes_number(attr.node);
            match attr.state {
                StorageState::Wire => {
                    let key = attr.key;
                    self.index.write_attribute(&mut attr, number, key.slice(&self.request), &value);
                }
                _ => {
                    let key = self.bytes(attr.state, attr.key).to_vec();
                    self.index.write_attribute(&mut attr, number, &key, &value);
                }
            }
            self.update_attribute(id, attr);
        }
    }

    /// Renames one occurrence, even if the node already has that key.
    pub fn rename_attribute(&mut self, id: AttrId, key: &str) {
        if let Some(mut attr) = self.live_attribute(id).copied() {
            let mut body = Vec::new();
            let value = (!attr.value.is_empty()).then(|| self.bytes(attr.state, attr.value));
            put_key_value(&mut body, key.as_bytes(), value);
            let number = self.attributes_number(attr.node);
            self.index.store_attribute(&mut attr, number, &body);
            self.update_attribute(id, attr);
        }
    }

    /// Sets a text field and removes its other occurrences; "" removes the field. Does nothing if nodes of this kind
    /// have no such field.
    pub fn set_text(&mut self, node: NodeId, field: TextField, text: &str) {
        self.set_field(node, IndexedField::Text(field), Some(text.as_bytes()).filter(|text| !text.is_empty()));
    }

    /// Sets a log record's body.
    pub fn set_body(&mut self, node: NodeId, value: OwnedValue) {
        let mut body = Vec::new();
        value.put(&mut body);
        self.set_field(node, IndexedField::Body, Some(&body));
    }

    /// Sets a log record's trace and span ids; `None` keeps the present one.
    pub fn set_ids(&mut self, node: NodeId, trace: Option<[u8; 16]>, span: Option<[u8; 8]>) {
        if self.index.node(node.0).kind != NodeKind::LogRecord {
            return;
        }
        if let Some(id) = trace {
            self.set_field(node, IndexedField::TraceId, Some(&id));
        }
        if let Some(id) = span {
            self.set_field(node, IndexedField::SpanId, Some(&id));
        }
    }

    /// Sets the last occurrence of a field to `body` and removes the others; `None` removes all. Does nothing if nodes
    /// of this kind have no such field.
    fn set_field(&mut self, node: NodeId, kind: IndexedField, body: Option<&[u8]>) {
        let record = *self.index.node(node.0);
        let Some(location) = field_location(record.kind, kind).filter(|_| !record.removed) else { return };
        let found: Vec<u32> = (self.index.node_fields(node.0))
            .filter(|(_, field)| field.kind == kind && field.state != StorageState::Removed)
            .map(|(index, _)| index)
            .collect();
        found.iter().for_each(|index| self.index.remove_field(*index));
        let Some(body) = body else { return };
        let target = found.last().copied().unwrap_or_else(|| {
            self.index.push_field(FieldRec {
                node: node.0,
                next: NONE,
                frame: if location.is_inner { record.inner } else { record.frame },
                kind,
                state: StorageState::Removed,
                unknown: false,
                number: location.number as u8,
                wire: ByteRange::default(),
                arena: ByteRange::default(),
                body: ByteRange::default(),
            })
        });
        self.index.store_field(target, body);
        if let Some(field) = self.index.fields.get_mut(target as usize) {
            field.unknown = false;
        }
    }

    /// Removes a node and everything in it: a span, event, link, record, metric, point, exemplar, scope or resource.
    /// Parents whose last item was removed are dropped on encode.
    pub fn remove_node(&mut self, node: NodeId) {
        let end = self.index.node(node.0).end;
        let Some(removed) = self.index.nodes.get_mut(node.0 as usize..end as usize) else { return };
        for record in removed.iter_mut().filter(|record| !record.removed) {
            record.removed = true;
            self.index.items -= usize::from(is_item(record.kind));
        }
        self.index.edited = true;
        self.index.removed_nodes = true;
    }

    /// A request with only these items (by position in [`Payload::items`]), their resources and scopes, with edits
    /// kept. Used for bisection and quarantine.
    pub fn subset(&self, keep: &dyn Fn(usize) -> bool) -> Self {
        let mut part = self.clone();
        for (position, node) in self.items().enumerate() {
            if !keep(position) {
                part.remove_node(node);
            }
        }
        part
    }
}

/// Whether nodes of this kind represent an envelope whose attributes are in an inner message.
fn is_in_envelope(kind: NodeKind) -> bool {
    matches!(kind, NodeKind::Resource | NodeKind::Scope)
}
