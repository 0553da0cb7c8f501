//! **What**: [`Payload`]: one OTLP export request as wire bytes + index + pending edits.
//! CONTRACT FILE: signatures are agreed; the data-plane engineer replaces the bodies (and splits the file).

#![allow(clippy::todo, unused_variables, missing_docs)]

use bytes::Bytes;

use super::Signal;

/// Why bytes are not an OTLP request. Never quotes payload; offsets are byte positions in the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong, a fixed text.
    pub what: &'static str,
    /// Where, in bytes from the start of the request.
    pub at: usize,
}

/// Handle of one element of a payload. Cheap, Copy; valid only for the payload it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node(pub(super) u32);

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    Resource,
    Scope,
    Span,
    Event,
    Link,
    LogRecord,
    Metric,
    DataPoint,
    Exemplar,
}

/// Handle of one attribute occurrence (also those added by edits).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttrId(pub(super) u32);

/// A singular text field of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// Span.name, Event.name, Scope name, Metric.name
    Name,
    /// Scope version
    Version,
    /// Span.status.message
    StatusMessage,
    /// Span / Link trace_state
    TraceState,
    /// LogRecord.event_name
    EventName,
    /// LogRecord.severity_text
    SeverityText,
    /// Metric.description
    Description,
    /// Metric.unit
    Unit,
    /// schema_url of the enclosing Resource*/Scope* message (on Resource and Scope nodes)
    SchemaUrl,
}

/// An `AnyValue`, as a view. `List` and `Map` are walked with [`Value::items`] / [`Value::entries`].
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Empty,
    Str(&'a str),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(&'a [u8]),
    /// An ArrayValue message.
    List(Nested<'a>),
    /// A KeyValueList message.
    Map(Nested<'a>),
}

/// The wire bytes of a nested value (private representation).
#[derive(Clone, Copy)]
pub struct Nested<'a>(pub(super) &'a [u8]);

impl<'a> Value<'a> {
    pub fn as_str(&self) -> Option<&'a str> {
        match *self {
            Self::Str(text) => Some(text),
            _ => None,
        }
    }
    /// Integer reading: Int, integral Double, decimal Str ("1234"); else None.
    pub fn as_count(&self) -> Option<i64> {
        todo!()
    }
    pub fn as_bool(&self) -> Option<bool> {
        todo!()
    }
    /// Elements of a List; empty otherwise.
    pub fn items(&self) -> impl Iterator<Item = Value<'a>> + use<'a> {
        std::iter::empty()
    }
    /// Entries of a Map; empty otherwise.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        std::iter::empty()
    }
    /// Appends this value as compact JSON (bytes as base64, non-finite doubles as strings).
    pub fn write_json(&self, out: &mut String) {
        todo!()
    }
}

/// JSON text made from removed content.
pub type ContentJson = String;

/// A value to write.
#[derive(Clone)]
pub enum OwnedValue {
    Str(String),
    Bool(bool),
    Int(i64),
    Double(f64),
    StrList(Vec<String>),
}

/// One attribute as seen now (with pending edits applied).
#[derive(Clone, Copy)]
pub struct Attribute<'a> {
    pub id: AttrId,
    pub key: &'a str,
    pub value: Value<'a>,
}

/// Identifies a fixed-width text to be filled in after encoding. Chosen by who adds it, unique in its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub u32);

/// Where a slot's text lies in [`Encoded::bytes`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRange {
    pub slot: SlotId,
    pub range: std::ops::Range<usize>,
}

/// The encoded request. The same slot may occur at several places.
pub struct Encoded {
    pub bytes: Vec<u8>,
    pub slots: Vec<SlotRange>,
    /// Unknown fields that were dropped, over all levels.
    pub unknown_dropped: u64,
}

/// What becomes of fields that proto/ does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnknownFields {
    /// Copied through (internal exporters).
    Keep,
    /// Dropped at every level and counted (third parties).
    Drop,
}

/// Where a text stands, for rules that depend on it.
pub struct Place<'a> {
    pub node: Node,
    pub kind: PlaceKind,
    /// Top-level attribute key (or "" for fields); nested map keys are in `path_key`.
    pub key: &'a str,
    /// Innermost key: for nested map values the map entry's key, else equal to `key`.
    pub path_key: &'a str,
}

/// The kind of text place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlaceKind {
    /// An attribute's key (or a nested map's key).
    Key,
    /// A string value of an attribute or nested value.
    Value,
    /// A bytes value that is valid UTF-8.
    BytesValue,
    /// A string in a log body (nested too).
    Body,
    /// A text field.
    Field(Field),
    /// Any other string of the schema (zero-copy list in places.rs), e.g. EntityRef keys.
    Other,
}

/// What a text edit does.
pub enum TextEdit {
    Keep,
    Replace(String),
}

/// One OTLP export request of one signal.
#[derive(Clone)]
pub struct Payload {
    _private: Bytes,
    signal: Signal,
}

impl Payload {
    /// Indexes `wire` (an ExportTrace/Metrics/LogsServiceRequest). Checks structure, UTF-8 of texts, depth ≤ 64.
    pub fn parse(signal: Signal, wire: Bytes) -> Result<Self, Malformed> {
        todo!()
    }
    pub fn signal(&self) -> Signal {
        self.signal
    }
    /// Size of the request as received, bytes.
    pub fn wire_len(&self) -> usize {
        todo!()
    }
    /// Spans, log records or data points that are not removed.
    pub fn item_count(&self) -> usize {
        todo!()
    }
    /// Spans, log records, data points, in wire order, without removed ones.
    pub fn items(&self) -> impl Iterator<Item = Node> + '_ {
        std::iter::empty()
    }
    /// All live nodes in wire order (parents before children).
    pub fn nodes(&self) -> impl Iterator<Item = Node> + '_ {
        std::iter::empty()
    }
    pub fn kind(&self, node: Node) -> NodeKind {
        todo!()
    }
    /// Scope of a span, record or metric; Resource of a scope; Span of an event or link; Metric of a point; point of an exemplar.
    pub fn parent(&self, node: Node) -> Option<Node> {
        todo!()
    }
    /// The Resource node above (a node always exists, even when the request has none on the wire).
    pub fn resource(&self, node: Node) -> Node {
        todo!()
    }
    pub fn scope(&self, node: Node) -> Node {
        todo!()
    }
    /// Live events and links of a span, exemplars of a point.
    pub fn children(&self, node: Node) -> impl Iterator<Item = Node> + '_ {
        std::iter::empty()
    }

    // --- reading, pending edits applied ---
    pub fn attributes(&self, node: Node) -> impl Iterator<Item = Attribute<'_>> + '_ {
        std::iter::empty()
    }
    /// The last live occurrence of `key`.
    pub fn get(&self, node: Node, key: &str) -> Option<Value<'_>> {
        todo!()
    }
    pub fn get_str(&self, node: Node, key: &str) -> Option<&str> {
        todo!()
    }
    pub fn attribute(&self, id: AttrId) -> Option<Attribute<'_>> {
        todo!()
    }
    /// A text field's present value; "" when absent.
    pub fn text(&self, node: Node, field: Field) -> &str {
        todo!()
    }
    /// 16 bytes, or empty when absent or of another length. Spans, links, log records, exemplars.
    pub fn trace_id(&self, node: Node) -> &[u8] {
        todo!()
    }
    /// 8 bytes, or empty.
    pub fn span_id(&self, node: Node) -> &[u8] {
        todo!()
    }
    pub fn parent_span_id(&self, node: Node) -> &[u8] {
        todo!()
    }
    /// Span start, event time, record time (observed time when zero), point time; unix ns.
    pub fn time(&self, node: Node) -> u64 {
        todo!()
    }
    /// Span end; 0 elsewhere.
    pub fn end_time(&self, node: Node) -> u64 {
        todo!()
    }
    /// Span status code (0 unset, 1 ok, 2 error).
    pub fn status_code(&self, node: Node) -> i32 {
        todo!()
    }
    pub fn severity_number(&self, node: Node) -> i32 {
        todo!()
    }
    /// A log record's body.
    pub fn body(&self, node: Node) -> Option<Value<'_>> {
        todo!()
    }

    // --- editing ---
    /// Sets `key` on `node`: replaces all occurrences (one stays), else appends.
    pub fn set(&mut self, node: Node, key: &str, value: OwnedValue) {
        todo!()
    }
    /// Appends an attribute whose string value is a slot of `width` bytes (filled with '0' until patched). Not visited by edit_text.
    pub fn set_slot(&mut self, node: Node, key: &str, slot: SlotId, width: usize) {
        todo!()
    }
    /// Removes all occurrences; returns how many.
    pub fn remove(&mut self, node: Node, key: &str) -> usize {
        todo!()
    }
    pub fn remove_attribute(&mut self, id: AttrId) {
        todo!()
    }
    pub fn replace_attribute(&mut self, id: AttrId, value: OwnedValue) {
        todo!()
    }
    pub fn rename_attribute(&mut self, id: AttrId, key: &str) {
        todo!()
    }
    pub fn set_text(&mut self, node: Node, field: Field, text: &str) {
        todo!()
    }
    pub fn set_body(&mut self, node: Node, value: OwnedValue) {
        todo!()
    }
    pub fn remove_body(&mut self, node: Node) {
        todo!()
    }
    /// Removes a span, event, link, record, point or exemplar; emptied parents go on encode.
    pub fn remove_node(&mut self, node: Node) {
        todo!()
    }
    /// Visits every text place of the request (edits applied, slots and `skip_added` values excluded), every
    /// occurrence. `visit` gets the place and the text and says what becomes of it.
    pub fn edit_text<F>(&mut self, visit: F)
    where
        F: FnMut(&Place<'_>, &str) -> TextEdit,
    {
        todo!()
    }

    /// One encode of original bytes and edits.
    pub fn encode(&self, unknown: UnknownFields) -> Result<Encoded, Malformed> {
        todo!()
    }
    /// A request with only these items (with their resources and scopes), edits kept: for bisection and quarantine.
    pub fn subset(&self, keep: &dyn Fn(usize) -> bool) -> Self {
        todo!()
    }
}
