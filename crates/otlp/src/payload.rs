//! [`Payload`]: one OTLP export request as wire bytes, index and pending edits, with its readers. Processors work with
//! nodes, attributes and texts, never with the representation.
//! Every reader sees pending edits. Handles are plain numbers; an invalid one reads as empty. No `Debug`, because it
//! holds telemetry text. `edit` and `text` edit, `encode` writes.

use std::sync::OnceLock;

use bytes::Bytes;

use super::check::KeyValueShape;
use super::ids::{AttrId, NodeId, NodeKind, TextField};
use super::index::{AttrRec, FieldRec, NONE, PayloadIndex, StorageState, is_item};
use super::index_builder;
use super::malformed::MalformedOtlp;
use super::pair_table::FoundPairs;
use super::schema::IndexedField;
use super::signal::Signal;
use super::value::Value;
use super::wire::{self, ByteRange};

/// One attribute, with pending edits applied.
#[derive(Clone, Copy)]
pub struct Attribute<'a> {
    /// Its handle.
    pub id: AttrId,
    /// Its key.
    pub key: &'a str,
    /// Its value.
    pub value: Value<'a>,
}

/// One attribute that is not decoded yet. Most walks over attributes want few of them: they choose by key or size, then
/// call [`EncodedAttribute::decode`].
#[derive(Clone, Copy)]
pub struct EncodedAttribute<'a> {
    /// Its handle.
    pub id: AttrId,
    payload: &'a Payload,
    record: &'a AttrRec,
}

impl<'a> EncodedAttribute<'a> {
    /// Its key, UTF-8.
    pub fn key_bytes(&self) -> &'a [u8] {
        self.payload.bytes(self.record.state, self.record.key)
    }

    /// Its key.
    pub fn key(&self) -> &'a str {
        wire::text_or_empty(self.key_bytes())
    }

    /// Size of its value as protobuf, bytes: no less than the size of any text in it.
    pub fn value_len(&self) -> usize {
        self.record.value.len()
    }

    /// Whether its value is a number or a boolean. False means that the value may be of any type.
    pub fn is_number(&self) -> bool {
        self.record.shape == KeyValueShape::Number
    }

    /// Whether its value is a string. False means that the value may be of any type.
    pub fn is_text(&self) -> bool {
        self.record.shape == KeyValueShape::Text
    }

    /// Its key and value.
    pub fn decode(&self) -> Attribute<'a> {
        let (key, value) = self.payload.key_and_value(self.record);
        Attribute { id: self.id, key, value }
    }
}

/// One OTLP export request of one signal. A clone shares the request's bytes and has its own edits.
#[derive(Clone)]
pub struct Payload {
    pub(super) signal: Signal,
    pub(super) request: Bytes,
    pub(super) index: PayloadIndex,
    pub(super) pairs: OnceLock<FoundPairs>,
}

impl Payload {
    /// Indexes `wire` (an ExportTrace/Metrics/LogsServiceRequest). Validates the structure, UTF-8 of texts, and that
    /// values nest at most [`super::MAX_DEPTH`] deep.
    ///
    /// An attribute or log body that repeats a singular field, or sets several members of a oneof, is rewritten to the
    /// value that every protobuf decoder reads (the last one wins, messages merge), so that no text hides in an unread
    /// occurrence.
    ///
    /// # Errors
    /// [`MalformedOtlp`] if the bytes are not such a request.
    pub fn parse(signal: Signal, wire: Bytes) -> Result<Self, MalformedOtlp> {
        let index = index_builder::index_request(signal, &wire)?;
        Ok(Self { signal, request: wire, index, pairs: OnceLock::new() })
    }

    /// The signal.
    pub fn signal(&self) -> Signal {
        self.signal
    }

    /// Number of spans, log records or data points that are not removed.
    pub fn item_count(&self) -> usize {
        self.index.items
    }

    /// Spans, log records or data points in wire order, without removed ones.
    pub fn items(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes().filter(|node| is_item(self.kind(*node)))
    }

    /// All live nodes in wire order (parents before children).
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes_in(0, self.index.nodes.len() as u32)
    }

    fn nodes_in(&self, start: u32, end: u32) -> impl Iterator<Item = NodeId> + '_ {
        let nodes = self.index.nodes.get(start as usize..end as usize).unwrap_or_default();
        (start..).zip(nodes).filter(|(_, node)| !node.removed).map(|(index, _)| NodeId(index))
    }

    /// The kind of `node`.
    pub fn kind(&self, node: NodeId) -> NodeKind {
        self.index.node(node.0).kind
    }

    /// The parent: Scope of a span, record or metric; Resource of a scope; Span of an event or link; Metric of a
    /// point; point of an exemplar. `None` for a resource.
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        Some(self.index.node(node.0).parent).filter(|parent| *parent != NONE).map(NodeId)
    }

    /// The Resource node above, or `node` itself if it is one. The node exists even if the request has no Resource
    /// message on the wire.
    pub fn resource(&self, node: NodeId) -> NodeId {
        self.ancestor(node, NodeKind::Resource)
    }

    /// The Scope node above, or `node` itself if it is one; for a resource, the resource itself.
    pub fn scope(&self, node: NodeId) -> NodeId {
        self.ancestor(node, NodeKind::Scope)
    }

    fn ancestor(&self, node: NodeId, kind: NodeKind) -> NodeId {
        let mut ancestor = node;
        while self.kind(ancestor) != kind
            && let Some(parent) = self.parent(ancestor)
        {
            ancestor = parent;
        }
        ancestor
    }

    /// Live events and links of a span, exemplars of a point, or points of a metric, in wire order.
    pub fn children(&self, node: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        let end = self.index.node(node.0).end;
        self.nodes_in(node.0.saturating_add(1), end).filter(move |child| self.index.node(child.0).parent == node.0)
    }

    /// The attributes of `node` in wire order, added ones last, duplicates of a key included.
    pub fn attributes(&self, node: NodeId) -> impl Iterator<Item = Attribute<'_>> + '_ {
        self.encoded_attributes(node).map(|attribute| attribute.decode())
    }

    /// The same attributes, not decoded.
    pub fn encoded_attributes(&self, node: NodeId) -> impl Iterator<Item = EncodedAttribute<'_>> + '_ {
        let records = self.index.attr_ids(node.0).map(AttrId);
        records.filter_map(|id| Some(EncodedAttribute { id, payload: self, record: self.live_attribute(id)? }))
    }

    /// One attribute; `None` if it was removed.
    pub fn attribute(&self, id: AttrId) -> Option<Attribute<'_>> {
        let (key, value) = self.key_and_value(self.live_attribute(id)?);
        Some(Attribute { id, key, value })
    }

    pub(super) fn key_and_value(&self, attr: &AttrRec) -> (&str, Value<'_>) {
        if attr.shape == KeyValueShape::Text
            && attr.value.len() < 0x80
            && let Some((key, text)) = self.key_and_text(attr)
        {
            return (key, Value::Str(text));
        }
        (wire::text_or_empty(self.bytes(attr.state, attr.key)), self.attribute_value(attr))
    }

    /// Key and text of an attribute of shape `Text`, whose UTF-8 is validated in one pass: between them are only tags
    /// and lengths, which are ASCII too if the text is short.
    fn key_and_text(&self, attr: &AttrRec) -> Option<(&str, &str)> {
        let span = ByteRange { start: attr.key.start, end: attr.value.end };
        let key_and_value = simdutf8::basic::from_utf8(self.bytes(attr.state, span)).ok()?;
        let (key, rest) = key_and_value.split_at_checked(attr.key.len())?;
        // The tag and length of the value and those of the text take one byte each.
        let text = rest.get(4..)?;
        (text.len() + 2 == attr.value.len()).then_some((key, text))
    }

    /// The value of the last live occurrence of `key`.
    pub fn get(&self, node: NodeId, key: &str) -> Option<Value<'_>> {
        self.index.find_last(&self.request, node.0, key.as_bytes()).map(|attr| self.attribute_value(attr))
    }

    /// The text of the last live occurrence of `key`, if it is a string.
    pub fn get_str(&self, node: NodeId, key: &str) -> Option<&str> {
        self.get(node, key)?.as_str()
    }

    pub(super) fn live_attribute(&self, id: AttrId) -> Option<&AttrRec> {
        self.index.attrs.get(id.0 as usize).filter(|attr| attr.state != StorageState::Removed)
    }

    fn attribute_value(&self, attr: &AttrRec) -> Value<'_> {
        Value::read(self.bytes(attr.state, attr.value))
    }

    pub(super) fn bytes(&self, state: StorageState, span: ByteRange) -> &[u8] {
        self.index.bytes(&self.request, state, span)
    }

    /// The last live occurrence of a field.
    fn field_bytes(&self, node: NodeId, kind: IndexedField) -> Option<&[u8]> {
        let is_live = |field: &FieldRec| field.kind == kind && field.state != StorageState::Removed;
        let (_, field) = self.index.node_fields(node.0).filter(|(_, field)| is_live(field)).last()?;
        Some(self.bytes(field.state, field.body))
    }

    /// The current value of a text field; "" if absent.
    pub fn text(&self, node: NodeId, field: TextField) -> &str {
        wire::text_or_empty(self.field_bytes(node, IndexedField::Text(field)).unwrap_or_default())
    }

    /// The field with the name of a node. A log record has the name of its event.
    pub fn name_field(&self, node: NodeId) -> TextField {
        if self.kind(node) == NodeKind::LogRecord { TextField::EventName } else { TextField::Name }
    }

    /// 16 bytes, or empty if absent or of another length. Spans, links, log records, exemplars.
    pub fn trace_id(&self, node: NodeId) -> &[u8] {
        self.field_bytes(node, IndexedField::TraceId).unwrap_or_default()
    }

    /// 8 bytes, or empty. Spans, links, log records, exemplars.
    pub fn span_id(&self, node: NodeId) -> &[u8] {
        self.field_bytes(node, IndexedField::SpanId).unwrap_or_default()
    }

    /// Whether `node` is a span whose own trace or span id has the wrong length or is all zero, so that no back end
    /// can use it. (According to OTLP, a log record with an invalid trace id belongs to no trace.)
    pub fn has_bad_ids(&self, node: NodeId) -> bool {
        let is_zero = |id: &[u8]| !id.is_empty() && id.iter().all(|byte| *byte == 0);
        self.kind(node) == NodeKind::Span
            && (self.index.bad_ids.binary_search(&node.0).is_ok()
                || is_zero(self.trace_id(node))
                || is_zero(self.span_id(node)))
    }

    /// Size of a node on the wire as received, contents included, bytes.
    pub fn item_len(&self, node: NodeId) -> usize {
        let frame = self.index.node(node.0).frame;
        self.index.frames.get(frame as usize).map_or(0, |frame| frame.body.len())
    }

    /// 8 bytes, or empty. Spans.
    pub fn parent_span_id(&self, node: NodeId) -> &[u8] {
        self.field_bytes(node, IndexedField::ParentSpanId).unwrap_or_default()
    }

    /// Span start, event time, record time (observed time if zero), point time, exemplar time; unix ns, 0 if unset.
    pub fn time(&self, node: NodeId) -> u64 {
        let time = wire::read_fixed64(self.field_bytes(node, IndexedField::Time).unwrap_or_default());
        if time == 0 {
            wire::read_fixed64(self.field_bytes(node, IndexedField::ObservedTime).unwrap_or_default())
        } else {
            time
        }
    }

    /// Span end, unix ns; 0 for other nodes.
    pub fn end_time(&self, node: NodeId) -> u64 {
        wire::read_fixed64(self.field_bytes(node, IndexedField::EndTime).unwrap_or_default())
    }

    /// Span status code (0 unset, 1 ok, 2 error).
    pub fn status_code(&self, node: NodeId) -> i32 {
        self.int_field(node, IndexedField::StatusCode)
    }

    /// Severity of a log record (0 unspecified, 1–24).
    pub fn severity_number(&self, node: NodeId) -> i32 {
        self.int_field(node, IndexedField::Severity)
    }

    /// Whether a span has a parent in another process: its kind is SERVER or CONSUMER, or its flags say so. Read from
    /// the request's bytes, because few spans are asked for it.
    pub fn has_remote_parent(&self, span: NodeId) -> bool {
        const KIND: u32 = 6;
        const FLAGS: u32 = 16;
        const SERVER_OR_CONSUMER: [u64; 2] = [2, 5];
        /// `SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK`.
        const IS_REMOTE: u32 = 0x200;
        if self.kind(span) != NodeKind::Span || self.parent_span_id(span).is_empty() {
            return false;
        }
        let Some(frame) = self.index.frames.get(self.index.node(span.0).frame as usize) else { return false };
        let mut fields = wire::FieldCursor::over_range(&self.request, frame.body);
        while let Ok(Some(field)) = fields.next() {
            let body = field.span().slice(&self.request);
            let is_remote = match field.number {
                KIND => wire::read_varint(body, 0).is_some_and(|(kind, _)| SERVER_OR_CONSUMER.contains(&kind)),
                FLAGS => body.first_chunk::<4>().is_some_and(|flags| u32::from_le_bytes(*flags) & IS_REMOTE != 0),
                _ => false,
            };
            if is_remote {
                return true;
            }
        }
        false
    }

    fn int_field(&self, node: NodeId, kind: IndexedField) -> i32 {
        wire::read_varint(self.field_bytes(node, kind).unwrap_or_default(), 0).map_or(0, |(number, _)| number as i32)
    }

    /// A log record's body, if it has one.
    pub fn body(&self, node: NodeId) -> Option<Value<'_>> {
        self.field_bytes(node, IndexedField::Body).map(Value::read)
    }

    /// Number of occurrences of a log record's body on the wire. Protobuf allows a field to be repeated;
    /// [`Payload::body`] returns the last one.
    pub fn body_count(&self, node: NodeId) -> usize {
        let is_live = |field: &FieldRec| field.kind == IndexedField::Body && field.state != StorageState::Removed;
        self.index.node_fields(node.0).filter(|(_, field)| is_live(field)).count()
    }
}
