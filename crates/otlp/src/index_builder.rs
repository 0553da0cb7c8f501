//! The one pass over a request that validates it and fills the index. `schema` decides how each field is indexed; every
//! field is visited once. Recursion follows the schema and values, whose depth is bounded; nothing is allocated per
//! attribute. `payload` reads the index, `edit` edits it.

use super::check::{self, ValueFindings, expect_wire_type};
use super::ids::NodeKind;
use super::index::{
    AttrRec, FieldRec, MessageFrame, NO_NODE, NONE, NodeRec, PayloadIndex, StorageState, UnknownRec, is_item,
};
use super::malformed::MalformedOtlp;
use super::merge_repeated;
use super::schema::{FieldRule, IndexedField, MessageType};
use super::signal::Signal;
use super::wire::{self, ByteRange, FieldCursor, LEN, RawField};

/// Maximum number of spans, records or points in one request: the data kept about each takes far more memory than the
/// two bytes it may have on the wire.
const MAX_ITEMS: usize = 1 << 18;
/// Maximum number of nodes, attributes, fields and messages in one request, for the same reason.
const MAX_ELEMENTS: usize = 1 << 22;

/// Maximum number of singular fields of a node, repetitions included; the schema has at most eight.
const MAX_FIELDS: u8 = 64;

/// Indexes `request`.
pub(super) fn index_request(signal: Signal, request: &[u8]) -> Result<PayloadIndex, MalformedOtlp> {
    if request.len() >= u32::MAX as usize {
        return Err(MalformedOtlp { message: "request too large", at: 0 });
    }
    let mut indexer = RequestIndexer { request, index: PayloadIndex::default(), bodies_seen: 0, body_repeated: false };
    indexer.index.frames.push(MessageFrame { parent: NONE, at: 0, body: ByteRange::new(0, request.len()) });
    indexer.index_message(
        IndexingPosition { msg: MessageType::request(signal), node: NONE, frame: 0 },
        ByteRange::new(0, request.len()),
    )?;
    indexer.index.fill_lookup(request);
    Ok(indexer.index)
}

struct RequestIndexer<'a> {
    request: &'a [u8],
    index: PayloadIndex,
    /// Bodies seen in the current log record.
    bodies_seen: usize,
    /// Whether the current log record repeats its body or a member in it, so that the bodies have to be merged.
    body_repeated: bool,
}

/// The message that is being walked.
#[derive(Clone, Copy)]
struct IndexingPosition {
    msg: MessageType,
    node: u32,
    frame: u32,
}

/// The fields of one message that may stand there once. Readers take the last of several values, and look at that one
/// alone, so an earlier value would pass unseen.
#[derive(Default)]
struct SeenFields(u64);

impl SeenFields {
    fn add(&mut self, field: &RawField) -> Result<(), MalformedOtlp> {
        let bit = 1_u64.checked_shl(field.number).unwrap_or(0);
        if self.0 & bit != 0 {
            return Err(MalformedOtlp { message: "a field is repeated too often", at: field.at });
        }
        self.0 |= bit;
        Ok(())
    }
}

impl RequestIndexer<'_> {
    fn index_message(&mut self, position: IndexingPosition, span: ByteRange) -> Result<(), MalformedOtlp> {
        let request = self.request;
        let mut cursor = FieldCursor::over_range(request, span);
        let mut seen = SeenFields::default();
        while let Some(field) = cursor.next()? {
            if self.index.items > MAX_ITEMS || self.index.elements() > MAX_ELEMENTS {
                return Err(MalformedOtlp { message: "too many items or attributes in one request", at: field.at });
            }
            match position.msg.rule(field.number) {
                FieldRule::Attribute => self.index_attribute(position, &field)?,
                FieldRule::Text(kind) => {
                    if matches!(kind, IndexedField::Text(_)) {
                        seen.add(&field)?;
                    }
                    check::check_text(request, &field)?;
                    self.index_field(position, kind, &field)?;
                }
                FieldRule::Id(kind, length) => self.index_id(position, kind, length, &field)?,
                FieldRule::Read(kind, wire) => {
                    expect_wire_type(&field, wire)?;
                    self.index_field(position, kind, &field)?;
                }
                FieldRule::Number(wire) => expect_wire_type(&field, wire)?,
                FieldRule::Numbers(wire) => self.check_numbers(wire, &field)?,
                FieldRule::Value => self.index_body(position, &field)?,
                FieldRule::Nested(msg) => {
                    let frame = self.push_frame(position.frame, &field)?;
                    if msg.is_inner() {
                        seen.add(&field)?;
                        if let Some(node) = self.index.nodes.get_mut(position.node as usize) {
                            node.inner = frame;
                        }
                    }
                    self.index_message(IndexingPosition { msg, node: position.node, frame }, field.span())?;
                }
                FieldRule::Node(msg, kind) => self.index_node(position, msg, kind, &field)?,
                FieldRule::Unknown | FieldRule::Key | FieldRule::ValueText | FieldRule::ValueBytes => {
                    self.record_unknown(position, &field)
                }
            }
        }
        Ok(())
    }

    fn record_unknown(&mut self, position: IndexingPosition, field: &RawField) {
        self.index.unknown.push(UnknownRec { frame: position.frame, wire: ByteRange::new(field.at, field.end) });
    }

    fn push_frame(&mut self, parent: u32, field: &RawField) -> Result<u32, MalformedOtlp> {
        expect_wire_type(field, LEN)?;
        let index = self.index.frames.len() as u32;
        self.index.frames.push(MessageFrame { parent, at: field.at as u32, body: field.span() });
        Ok(index)
    }

    fn index_node(
        &mut self,
        position: IndexingPosition,
        msg: MessageType,
        kind: NodeKind,
        field: &RawField,
    ) -> Result<(), MalformedOtlp> {
        let frame = self.push_frame(position.frame, field)?;
        let index = self.index.nodes.len() as u32;
        self.index.nodes.push(NodeRec {
            kind,
            removed: false,
            attributes_number: msg.attributes_number() as u8,
            parent: position.node,
            frame,
            end: index + 1,
            ..NO_NODE
        });
        self.index.items += usize::from(is_item(kind));
        (self.bodies_seen, self.body_repeated) = (0, false);
        self.index_message(IndexingPosition { msg, node: index, frame }, field.span())?;
        if self.body_repeated {
            self.merge_bodies(index);
            self.body_repeated = false;
        }
        let end = self.index.nodes.len() as u32;
        if let Some(node) = self.index.nodes.get_mut(index as usize) {
            node.end = end;
        }
        Ok(())
    }

    #[inline]
    fn index_attribute(&mut self, position: IndexingPosition, field: &RawField) -> Result<(), MalformedOtlp> {
        expect_wire_type(field, LEN)?;
        let (parts, found) = match check::check_common_key_value(self.request, field.span()) {
            Some(parts) => (parts, ValueFindings::default()),
            None => check::check_key_value(self.request, field.span(), 0)?,
        };
        let index = self.index.push_attr(AttrRec {
            node: position.node,
            next: NONE,
            frame: position.frame,
            state: StorageState::Wire,
            slot: false,
            unknown: found.unknown,
            shape: parts.shape,
            wire: ByteRange::new(field.at, field.end),
            arena: ByteRange::default(),
            key: parts.key,
            value: parts.value,
        });
        if found.repeated {
            self.merge_attribute(index, field);
        }
        Ok(())
    }

    /// Rewrites an attribute that repeats singular fields to the value that every decoder reads, so that no text hides
    /// in an occurrence that another one replaces.
    #[cold]
    fn merge_attribute(&mut self, index: u32, field: &RawField) {
        let Some(mut attr) = self.index.attrs.get(index as usize).copied() else { return };
        let mut merged = Vec::with_capacity(field.span().len());
        merge_repeated::put_merged_key_value(&mut merged, field.span().slice(self.request));
        self.index.store_attribute(&mut attr, field.number, &merged);
        if let Some(stored) = self.index.attrs.get_mut(index as usize) {
            *stored = attr;
        }
    }

    fn index_field(
        &mut self,
        position: IndexingPosition,
        kind: IndexedField,
        field: &RawField,
    ) -> Result<(), MalformedOtlp> {
        if kind != IndexedField::Other
            && let Some(node) = self.index.nodes.get_mut(position.node as usize)
        {
            if node.field_count >= MAX_FIELDS {
                return Err(MalformedOtlp { message: "a field is repeated too often", at: field.at });
            }
            node.field_count += 1;
        }
        self.index.push_field(FieldRec {
            node: position.node,
            next: NONE,
            frame: position.frame,
            kind,
            state: StorageState::Wire,
            unknown: false,
            number: field.number as u8,
            wire: ByteRange::new(field.at, field.end),
            arena: ByteRange::default(),
            body: field.span(),
        });
        Ok(())
    }

    fn index_id(
        &mut self,
        position: IndexingPosition,
        kind: IndexedField,
        length: usize,
        field: &RawField,
    ) -> Result<(), MalformedOtlp> {
        expect_wire_type(field, LEN)?;
        match field.span().len() {
            0 => Ok(()),
            id_length if id_length == length => self.index_field(position, kind, field),
            _ => {
                if matches!(kind, IndexedField::TraceId | IndexedField::SpanId)
                    && self.index.node(position.node).kind == NodeKind::Span
                {
                    self.index.bad_ids.push(position.node);
                }
                self.record_unknown(position, field);
                Ok(())
            }
        }
    }

    /// Validates repeated numbers, packed or not.
    fn check_numbers(&mut self, wire: u8, field: &RawField) -> Result<(), MalformedOtlp> {
        if field.wire != LEN {
            return expect_wire_type(field, wire);
        }
        let malformed = MalformedOtlp { message: "invalid packed numbers", at: field.at };
        if wire == wire::VARINT {
            let body = field.span().slice(self.request);
            let mut pos = 0;
            while pos < body.len() {
                (_, pos) = wire::read_varint(body, pos).ok_or_else(|| malformed.clone())?;
            }
            return Ok(());
        }
        if field.span().len().is_multiple_of(8) { Ok(()) } else { Err(malformed) }
    }

    fn index_body(&mut self, position: IndexingPosition, field: &RawField) -> Result<(), MalformedOtlp> {
        expect_wire_type(field, LEN)?;
        let found = check::check_any_value(self.request, field, 1)?;
        self.index_field(position, IndexedField::Body, field)?;
        if let Some(record) = self.index.fields.last_mut() {
            record.unknown = found.unknown;
        }
        self.bodies_seen += 1;
        self.body_repeated |= found.repeated || self.bodies_seen > 1;
        Ok(())
    }

    /// Merges several bodies of one record, or a body with several members, into the last one, as every decoder does.
    #[cold]
    fn merge_bodies(&mut self, node: u32) {
        let bodies: Vec<(u32, FieldRec)> = (self.index.node_fields(node))
            .filter(|(_, field)| field.kind == IndexedField::Body)
            .map(|(index, field)| (index, *field))
            .collect();
        let mut joined = Vec::new();
        bodies.iter().for_each(|(_, field)| joined.extend_from_slice(field.body.slice(self.request)));
        let mut merged = Vec::with_capacity(joined.len());
        merge_repeated::put_merged_value(&mut merged, &joined);
        let unknown = bodies.iter().any(|(_, field)| field.unknown);
        let Some(((last, _), earlier)) = bodies.split_last() else { return };
        earlier.iter().for_each(|(index, _)| self.index.remove_field(*index));
        self.index.store_field(*last, &merged);
        if let Some(field) = self.index.fields.get_mut(*last as usize) {
            field.unknown = unknown;
        }
    }
}
