//! The OTLP schema for the data plane: the rule of each field of each message. One table drives the index walk, the
//! text visits and the dropping of unknown fields, so none of them can miss a field. Equal to `proto/` (a test compares
//! every field with the descriptors); a field that is not listed is unknown. `index_builder` and `text` read fields.

use super::ids::{NodeKind, TextField};
use super::signal::Signal;

/// The messages reachable from the export requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MessageType {
    TraceRequest,
    MetricsRequest,
    LogsRequest,
    ResourceSpans,
    ResourceMetrics,
    ResourceLogs,
    ScopeSpans,
    ScopeMetrics,
    ScopeLogs,
    Resource,
    EntityRef,
    Scope,
    Span,
    Event,
    Link,
    Status,
    LogRecord,
    Metric,
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
    Summary,
    NumberPoint,
    HistogramPoint,
    ExponentialPoint,
    Buckets,
    SummaryPoint,
    Quantile,
    Exemplar,
    KeyValue,
    AnyValue,
    ArrayValue,
    KeyValueList,
}

/// Contents of an indexed singular field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IndexedField {
    Text(TextField),
    /// Text without an accessor of its own.
    Other,
    Body,
    TraceId,
    SpanId,
    ParentSpanId,
    Time,
    ObservedTime,
    EndTime,
    StatusCode,
    Severity,
}

/// The meaning of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldRule {
    /// Not in the schema.
    Unknown,
    /// A string.
    Text(IndexedField),
    /// The key of a KeyValue.
    Key,
    /// The string member of an AnyValue.
    ValueText,
    /// The bytes member of an AnyValue.
    ValueBytes,
    /// An id of exactly this many bytes; one of another length counts as unknown, because it could contain text.
    Id(IndexedField, usize),
    /// A number without a reader; its wire type.
    Number(u8),
    /// Repeated numbers, packed or not; wire type of one.
    Numbers(u8),
    /// A number with a reader; its wire type.
    Read(IndexedField, u8),
    /// An attribute of the node.
    Attribute,
    /// An AnyValue: a log body, an attribute's value, an element.
    Value,
    /// A message that belongs to the enclosing node.
    Nested(MessageType),
    /// A message that is a node (for Resource and Scope, the envelope).
    Node(MessageType, NodeKind),
}

use super::wire::{FIXED32, FIXED64, VARINT};
use FieldRule::{Attribute, Id, Nested, Node, Number, Numbers, Read, Text, Unknown};

const fn text_rule(field: TextField) -> FieldRule {
    Text(IndexedField::Text(field))
}

const TIME: FieldRule = Read(IndexedField::Time, FIXED64);
const F64: FieldRule = Number(FIXED64);
const INT: FieldRule = Number(VARINT);

impl MessageType {
    /// The request message of a signal.
    pub(super) fn request(signal: Signal) -> Self {
        match signal {
            Signal::Traces => Self::TraceRequest,
            Signal::Metrics => Self::MetricsRequest,
            Signal::Logs => Self::LogsRequest,
        }
    }

    /// The rule of field `number` of this message.
    #[inline]
    pub(super) fn rule(self, number: u32) -> FieldRule {
        match self {
            Self::TraceRequest | Self::MetricsRequest | Self::LogsRequest => self.request_rule(number),
            Self::ResourceSpans | Self::ResourceMetrics | Self::ResourceLogs => self.resource_envelope_rule(number),
            Self::ScopeSpans | Self::ScopeMetrics | Self::ScopeLogs => self.scope_envelope_rule(number),
            Self::Resource | Self::EntityRef | Self::Scope => self.origin_rule(number),
            Self::Span | Self::Event | Self::Link | Self::Status => self.trace_rule(number),
            Self::LogRecord => log_record_rule(number),
            Self::Metric | Self::Gauge | Self::Sum | Self::Histogram | Self::ExponentialHistogram | Self::Summary => {
                self.metric_rule(number)
            }
            Self::NumberPoint | Self::HistogramPoint | Self::ExponentialPoint | Self::Buckets => {
                self.point_rule(number)
            }
            Self::SummaryPoint | Self::Quantile | Self::Exemplar => self.point_rule(number),
            Self::KeyValue | Self::AnyValue | Self::ArrayValue | Self::KeyValueList => self.value_rule(number),
        }
    }

    fn request_rule(self, number: u32) -> FieldRule {
        match (self, number) {
            (Self::TraceRequest, 1) => Node(Self::ResourceSpans, NodeKind::Resource),
            (Self::MetricsRequest, 1) => Node(Self::ResourceMetrics, NodeKind::Resource),
            (Self::LogsRequest, 1) => Node(Self::ResourceLogs, NodeKind::Resource),
            _ => Unknown,
        }
    }

    fn resource_envelope_rule(self, number: u32) -> FieldRule {
        match (number, self) {
            (1, _) => Nested(Self::Resource),
            (2, Self::ResourceSpans) => Node(Self::ScopeSpans, NodeKind::Scope),
            (2, Self::ResourceMetrics) => Node(Self::ScopeMetrics, NodeKind::Scope),
            (2, _) => Node(Self::ScopeLogs, NodeKind::Scope),
            (3, _) => text_rule(TextField::SchemaUrl),
            _ => Unknown,
        }
    }

    fn scope_envelope_rule(self, number: u32) -> FieldRule {
        match (number, self) {
            (1, _) => Nested(Self::Scope),
            (2, Self::ScopeSpans) => Node(Self::Span, NodeKind::Span),
            (2, Self::ScopeMetrics) => Node(Self::Metric, NodeKind::Metric),
            (2, _) => Node(Self::LogRecord, NodeKind::LogRecord),
            (3, _) => text_rule(TextField::SchemaUrl),
            _ => Unknown,
        }
    }

    fn origin_rule(self, number: u32) -> FieldRule {
        match (self, number) {
            (Self::Resource, 1) | (Self::Scope, 3) => Attribute,
            (Self::Resource, 2) | (Self::Scope, 4) => INT,
            (Self::Resource, 3) => Nested(Self::EntityRef),
            (Self::Scope, 1) => text_rule(TextField::Name),
            (Self::Scope, 2) => text_rule(TextField::Version),
            (Self::EntityRef, 1..=4) => Text(IndexedField::Other),
            _ => Unknown,
        }
    }

    fn trace_rule(self, number: u32) -> FieldRule {
        match (self, number) {
            (Self::Span | Self::Link, 1) => Id(IndexedField::TraceId, 16),
            (Self::Span | Self::Link, 2) => Id(IndexedField::SpanId, 8),
            (Self::Span | Self::Link, 3) => text_rule(TextField::TraceState),
            (Self::Span, 4) => Id(IndexedField::ParentSpanId, 8),
            (Self::Span, 5) | (Self::Event, 2) => text_rule(TextField::Name),
            (Self::Span, 6 | 10 | 12 | 14) | (Self::Event, 4) | (Self::Link, 5) => INT,
            (Self::Span, 7) | (Self::Event, 1) => TIME,
            (Self::Span, 8) => Read(IndexedField::EndTime, FIXED64),
            (Self::Span, 9) | (Self::Event, 3) | (Self::Link, 4) => Attribute,
            (Self::Span, 11) => Node(Self::Event, NodeKind::Event),
            (Self::Span, 13) => Node(Self::Link, NodeKind::Link),
            (Self::Span, 15) => Nested(Self::Status),
            (Self::Span, 16) | (Self::Link, 6) => Number(FIXED32),
            (Self::Status, 2) => text_rule(TextField::StatusMessage),
            (Self::Status, 3) => Read(IndexedField::StatusCode, VARINT),
            _ => Unknown,
        }
    }

    fn metric_rule(self, number: u32) -> FieldRule {
        match (self, number) {
            (Self::Metric, 1) => text_rule(TextField::Name),
            (Self::Metric, 2) => text_rule(TextField::Description),
            (Self::Metric, 3) => text_rule(TextField::Unit),
            (Self::Metric, 5) => Nested(Self::Gauge),
            (Self::Metric, 7) => Nested(Self::Sum),
            (Self::Metric, 9) => Nested(Self::Histogram),
            (Self::Metric, 10) => Nested(Self::ExponentialHistogram),
            (Self::Metric, 11) => Nested(Self::Summary),
            (Self::Metric, 12) => Attribute,
            (Self::Gauge | Self::Sum, 1) => Node(Self::NumberPoint, NodeKind::DataPoint),
            (Self::Histogram, 1) => Node(Self::HistogramPoint, NodeKind::DataPoint),
            (Self::ExponentialHistogram, 1) => Node(Self::ExponentialPoint, NodeKind::DataPoint),
            (Self::Summary, 1) => Node(Self::SummaryPoint, NodeKind::DataPoint),
            (Self::Sum | Self::Histogram | Self::ExponentialHistogram, 2) | (Self::Sum, 3) => INT,
            _ => Unknown,
        }
    }

    fn point_rule(self, number: u32) -> FieldRule {
        const EXEMPLAR: FieldRule = Node(MessageType::Exemplar, NodeKind::Exemplar);
        match (self, number) {
            (Self::NumberPoint | Self::SummaryPoint | Self::Exemplar, 7) => Attribute,
            (Self::HistogramPoint, 9) | (Self::ExponentialPoint, 1) => Attribute,
            (Self::NumberPoint, 5) | (Self::HistogramPoint, 8) | (Self::ExponentialPoint, 11) => EXEMPLAR,
            (Self::NumberPoint | Self::HistogramPoint | Self::ExponentialPoint | Self::SummaryPoint, 3) => TIME,
            (Self::NumberPoint, 2 | 4 | 6) | (Self::HistogramPoint, 2 | 4 | 5 | 11 | 12) => F64,
            (Self::ExponentialPoint, 2 | 4 | 5 | 7 | 12..=14) | (Self::SummaryPoint, 2 | 4 | 5) => F64,
            (Self::NumberPoint | Self::SummaryPoint, 8) | (Self::HistogramPoint, 10) => INT,
            (Self::ExponentialPoint, 6 | 10) | (Self::Buckets, 1) => INT,
            (Self::HistogramPoint, 6 | 7) => Numbers(FIXED64),
            (Self::ExponentialPoint, 8 | 9) => Nested(Self::Buckets),
            (Self::Buckets, 2) => Numbers(VARINT),
            (Self::SummaryPoint, 6) => Nested(Self::Quantile),
            (Self::Quantile, 1 | 2) | (Self::Exemplar, 3 | 6) => F64,
            (Self::Exemplar, 2) => TIME,
            (Self::Exemplar, 4) => Id(IndexedField::SpanId, 8),
            (Self::Exemplar, 5) => Id(IndexedField::TraceId, 16),
            _ => Unknown,
        }
    }

    #[inline]
    fn value_rule(self, number: u32) -> FieldRule {
        match (self, number) {
            (Self::KeyValue, 1) => FieldRule::Key,
            (Self::KeyValue, 2) | (Self::ArrayValue, 1) => FieldRule::Value,
            (Self::KeyValueList, 1) => Nested(Self::KeyValue),
            (Self::AnyValue, 1) => FieldRule::ValueText,
            (Self::AnyValue, 2 | 3 | 8) | (Self::KeyValue, 3) => INT,
            (Self::AnyValue, 4) => F64,
            (Self::AnyValue, 5) => Nested(Self::ArrayValue),
            (Self::AnyValue, 6) => Nested(Self::KeyValueList),
            (Self::AnyValue, 7) => FieldRule::ValueBytes,
            _ => Unknown,
        }
    }

    /// Field number of the node's attributes in this message; 0 if it has none.
    pub(super) fn attributes_number(self) -> u32 {
        match self {
            Self::Resource | Self::ResourceSpans | Self::ResourceMetrics | Self::ResourceLogs => 1,
            Self::ExponentialPoint => 1,
            Self::Scope | Self::ScopeSpans | Self::ScopeMetrics | Self::ScopeLogs | Self::Event => 3,
            Self::Link => 4,
            Self::LogRecord => 6,
            Self::NumberPoint | Self::SummaryPoint | Self::Exemplar => 7,
            Self::Span | Self::HistogramPoint => 9,
            Self::Metric => 12,
            _ => 0,
        }
    }
}

fn log_record_rule(number: u32) -> FieldRule {
    match number {
        1 => TIME,
        2 => Read(IndexedField::Severity, VARINT),
        3 => text_rule(TextField::SeverityText),
        5 => FieldRule::Value,
        6 => Attribute,
        7 => INT,
        8 => Number(FIXED32),
        9 => Id(IndexedField::TraceId, 16),
        10 => Id(IndexedField::SpanId, 8),
        11 => Read(IndexedField::ObservedTime, FIXED64),
        12 => text_rule(TextField::EventName),
        _ => Unknown,
    }
}

/// Where a text field is written if it is absent: `number` is its field number, in the node's own message or, if
/// `inner` is set, in the message in that field of the node.
pub(super) struct TextFieldLocation {
    pub(super) inner: Option<u32>,
    pub(super) number: u32,
}

/// The home of `field` on a node of `kind`; `None` if that kind has no such field.
pub(super) fn text_field_location(kind: NodeKind, field: TextField) -> Option<TextFieldLocation> {
    let (inner, number) = match (kind, field) {
        (NodeKind::Resource | NodeKind::Scope, TextField::SchemaUrl) => (None, 3),
        (NodeKind::Scope, TextField::Name) => (Some(1), 1),
        (NodeKind::Scope, TextField::Version) => (Some(1), 2),
        (NodeKind::Span, TextField::Name) => (None, 5),
        (NodeKind::Span | NodeKind::Link, TextField::TraceState) => (None, 3),
        (NodeKind::Span, TextField::StatusMessage) => (Some(15), 2),
        (NodeKind::Event, TextField::Name) => (None, 2),
        (NodeKind::LogRecord, TextField::EventName) => (None, 12),
        (NodeKind::LogRecord, TextField::SeverityText) => (None, 3),
        (NodeKind::Metric, TextField::Name) => (None, 1),
        (NodeKind::Metric, TextField::Description) => (None, 2),
        (NodeKind::Metric, TextField::Unit) => (None, 3),
        _ => return None,
    };
    Some(TextFieldLocation { inner, number })
}
