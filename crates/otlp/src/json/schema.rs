//! The OTLP messages as tables: JSON name, number, type and cardinality of each field. One description drives JSON
//! input and output.
//! A test compares the tables with the official descriptors, field by field. A message has at most 32 fields and one
//! oneof. `otlp/schema` is the table for the data plane.

use crate::signal::Signal;
use crate::wire::{FIXED32, FIXED64, LEN, VARINT};

/// A message type.
pub(super) struct MessageSchema {
    /// Its fields, the most frequent first.
    pub(super) fields: &'static [FieldSchema],
    /// Whether this is `AnyValue`, the only type that can contain itself.
    pub(super) any_value: bool,
}

/// A field of a message.
pub(super) struct FieldSchema {
    /// Its lowerCamelCase name, the only one that OTLP/JSON allows.
    pub(super) name: &'static str,
    /// Its field number.
    pub(super) number: u32,
    /// Type of its value, or of each of its values.
    pub(super) kind: ProtoType,
    /// Cardinality, and when the field is written.
    pub(super) rule: FieldCardinality,
}

/// How often a field may occur, and when it is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FieldCardinality {
    /// Once; a zero value is omitted.
    Implicit,
    /// Once; a zero value is written too.
    Explicit,
    /// A member of the message's only oneof.
    OneOf,
    /// A list; numbers are packed.
    Repeated,
}

/// The type of a value, as in the `.proto` files.
#[derive(Clone, Copy)]
pub(super) enum ProtoType {
    /// UTF-8 text.
    String,
    /// A trace or span id of this many bytes: hexadecimal in JSON.
    Id(usize),
    /// Base64 in JSON.
    Bytes,
    /// `true` or `false`.
    Bool,
    /// IEEE 754 binary64.
    Double,
    /// Eight bytes, unsigned.
    Fixed64,
    /// Eight bytes, two's complement.
    SFixed64,
    /// Four bytes, unsigned.
    Fixed32,
    /// Varint, unsigned, 64 bits.
    UInt64,
    /// Varint, unsigned, 32 bits.
    UInt32,
    /// Varint, two's complement, 64 bits.
    Int64,
    /// Varint, two's complement, 32 bits.
    Int32,
    /// Varint, zigzag, 32 bits.
    SInt32,
    /// An enum: an integer in OTLP/JSON, never a name.
    Enum,
    /// A nested message.
    Message(&'static MessageSchema),
}

impl ProtoType {
    /// The wire type of one value.
    pub(super) fn wire_type(self) -> u8 {
        match self {
            Self::String | Self::Id(_) | Self::Bytes | Self::Message(_) => LEN,
            Self::Double | Self::Fixed64 | Self::SFixed64 => FIXED64,
            Self::Fixed32 => FIXED32,
            Self::Bool | Self::UInt64 | Self::UInt32 | Self::Int64 | Self::Int32 | Self::SInt32 | Self::Enum => VARINT,
        }
    }
}

/// The export request of a signal.
pub(super) fn request_schema(signal: Signal) -> &'static MessageSchema {
    match signal {
        Signal::Traces => &TRACES_REQUEST,
        Signal::Metrics => &METRICS_REQUEST,
        Signal::Logs => &LOGS_REQUEST,
    }
}

macro_rules! message {
    ($(#[$doc:meta])* $ident:ident { $($number:literal $name:literal $kind:expr, $rule:ident;)* }) => {
        message!($(#[$doc])* $ident(false) { $($number $name $kind, $rule;)* });
    };
    ($(#[$doc:meta])* $ident:ident($any:literal) { $($number:literal $name:literal $kind:expr, $rule:ident;)* }) => {
        $(#[$doc])*
        pub(super) static $ident: MessageSchema = MessageSchema {
            fields: &[$(FieldSchema { name: $name, number: $number, kind: $kind, rule: FieldCardinality::$rule },)*],
            any_value: $any,
        };
    };
}

use ProtoType::{
    Bool, Bytes, Double, Enum, Fixed32, Fixed64, Id, Int32, Int64, Message as Msg, SFixed64, SInt32, String as Text,
    UInt32, UInt64,
};

/// The type of trace ids.
const TRACE_ID: ProtoType = Id(16);
/// The type of span ids.
const SPAN_ID: ProtoType = Id(8);

// --- common, resource ---

message! {
    /// `opentelemetry.proto.common.v1.AnyValue`
    ANY_VALUE(true) {
        1 "stringValue" Text, OneOf;
        3 "intValue" Int64, OneOf;
        2 "boolValue" Bool, OneOf;
        4 "doubleValue" Double, OneOf;
        5 "arrayValue" Msg(&ARRAY_VALUE), OneOf;
        6 "kvlistValue" Msg(&KEY_VALUE_LIST), OneOf;
        7 "bytesValue" Bytes, OneOf;
        8 "stringValueStrindex" Int32, OneOf;
    }
}

message! {
    /// `opentelemetry.proto.common.v1.ArrayValue`
    ARRAY_VALUE { 1 "values" Msg(&ANY_VALUE), Repeated; }
}

message! {
    /// `opentelemetry.proto.common.v1.KeyValueList`
    KEY_VALUE_LIST { 1 "values" Msg(&KEY_VALUE), Repeated; }
}

message! {
    /// `opentelemetry.proto.common.v1.KeyValue`
    KEY_VALUE {
        1 "key" Text, Implicit;
        2 "value" Msg(&ANY_VALUE), Explicit;
        3 "keyStrindex" Int32, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.common.v1.InstrumentationScope`
    SCOPE {
        1 "name" Text, Implicit;
        2 "version" Text, Implicit;
        3 "attributes" Msg(&KEY_VALUE), Repeated;
        4 "droppedAttributesCount" UInt32, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.common.v1.EntityRef`
    ENTITY_REF {
        1 "schemaUrl" Text, Implicit;
        2 "type" Text, Implicit;
        3 "idKeys" Text, Repeated;
        4 "descriptionKeys" Text, Repeated;
    }
}

message! {
    /// `opentelemetry.proto.resource.v1.Resource`
    RESOURCE {
        1 "attributes" Msg(&KEY_VALUE), Repeated;
        2 "droppedAttributesCount" UInt32, Implicit;
        3 "entityRefs" Msg(&ENTITY_REF), Repeated;
    }
}

// --- traces ---

message! {
    /// `opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`
    TRACES_REQUEST { 1 "resourceSpans" Msg(&RESOURCE_SPANS), Repeated; }
}

message! {
    /// `opentelemetry.proto.trace.v1.ResourceSpans`
    RESOURCE_SPANS {
        1 "resource" Msg(&RESOURCE), Explicit;
        2 "scopeSpans" Msg(&SCOPE_SPANS), Repeated;
        3 "schemaUrl" Text, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.trace.v1.ScopeSpans`
    SCOPE_SPANS {
        1 "scope" Msg(&SCOPE), Explicit;
        2 "spans" Msg(&SPAN), Repeated;
        3 "schemaUrl" Text, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.trace.v1.Span`
    SPAN {
        1 "traceId" TRACE_ID, Implicit;
        2 "spanId" SPAN_ID, Implicit;
        3 "traceState" Text, Implicit;
        4 "parentSpanId" SPAN_ID, Implicit;
        16 "flags" Fixed32, Implicit;
        5 "name" Text, Implicit;
        6 "kind" Enum, Implicit;
        7 "startTimeUnixNano" Fixed64, Implicit;
        8 "endTimeUnixNano" Fixed64, Implicit;
        9 "attributes" Msg(&KEY_VALUE), Repeated;
        10 "droppedAttributesCount" UInt32, Implicit;
        11 "events" Msg(&EVENT), Repeated;
        12 "droppedEventsCount" UInt32, Implicit;
        13 "links" Msg(&LINK), Repeated;
        14 "droppedLinksCount" UInt32, Implicit;
        15 "status" Msg(&STATUS), Explicit;
    }
}

message! {
    /// `opentelemetry.proto.trace.v1.Span.Event`
    EVENT {
        1 "timeUnixNano" Fixed64, Implicit;
        2 "name" Text, Implicit;
        3 "attributes" Msg(&KEY_VALUE), Repeated;
        4 "droppedAttributesCount" UInt32, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.trace.v1.Span.Link`
    LINK {
        1 "traceId" TRACE_ID, Implicit;
        2 "spanId" SPAN_ID, Implicit;
        3 "traceState" Text, Implicit;
        4 "attributes" Msg(&KEY_VALUE), Repeated;
        5 "droppedAttributesCount" UInt32, Implicit;
        6 "flags" Fixed32, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.trace.v1.Status`
    STATUS {
        2 "message" Text, Implicit;
        3 "code" Enum, Implicit;
    }
}

// --- logs ---

message! {
    /// `opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest`
    LOGS_REQUEST { 1 "resourceLogs" Msg(&RESOURCE_LOGS), Repeated; }
}

message! {
    /// `opentelemetry.proto.logs.v1.ResourceLogs`
    RESOURCE_LOGS {
        1 "resource" Msg(&RESOURCE), Explicit;
        2 "scopeLogs" Msg(&SCOPE_LOGS), Repeated;
        3 "schemaUrl" Text, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.logs.v1.ScopeLogs`
    SCOPE_LOGS {
        1 "scope" Msg(&SCOPE), Explicit;
        2 "logRecords" Msg(&LOG_RECORD), Repeated;
        3 "schemaUrl" Text, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.logs.v1.LogRecord`
    LOG_RECORD {
        1 "timeUnixNano" Fixed64, Implicit;
        11 "observedTimeUnixNano" Fixed64, Implicit;
        2 "severityNumber" Enum, Implicit;
        3 "severityText" Text, Implicit;
        12 "eventName" Text, Implicit;
        5 "body" Msg(&ANY_VALUE), Explicit;
        6 "attributes" Msg(&KEY_VALUE), Repeated;
        7 "droppedAttributesCount" UInt32, Implicit;
        8 "flags" Fixed32, Implicit;
        9 "traceId" TRACE_ID, Implicit;
        10 "spanId" SPAN_ID, Implicit;
    }
}

// --- metrics ---

message! {
    /// `opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest`
    METRICS_REQUEST { 1 "resourceMetrics" Msg(&RESOURCE_METRICS), Repeated; }
}

message! {
    /// `opentelemetry.proto.metrics.v1.ResourceMetrics`
    RESOURCE_METRICS {
        1 "resource" Msg(&RESOURCE), Explicit;
        2 "scopeMetrics" Msg(&SCOPE_METRICS), Repeated;
        3 "schemaUrl" Text, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.metrics.v1.ScopeMetrics`
    SCOPE_METRICS {
        1 "scope" Msg(&SCOPE), Explicit;
        2 "metrics" Msg(&METRIC), Repeated;
        3 "schemaUrl" Text, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.metrics.v1.Metric`
    METRIC {
        1 "name" Text, Implicit;
        2 "description" Text, Implicit;
        3 "unit" Text, Implicit;
        5 "gauge" Msg(&GAUGE), OneOf;
        7 "sum" Msg(&SUM), OneOf;
        9 "histogram" Msg(&HISTOGRAM), OneOf;
        10 "exponentialHistogram" Msg(&EXPONENTIAL_HISTOGRAM), OneOf;
        11 "summary" Msg(&SUMMARY), OneOf;
        12 "metadata" Msg(&KEY_VALUE), Repeated;
    }
}

message! {
    /// `opentelemetry.proto.metrics.v1.Gauge`
    GAUGE { 1 "dataPoints" Msg(&NUMBER_POINT), Repeated; }
}

message! {
    /// `opentelemetry.proto.metrics.v1.Sum`
    SUM {
        1 "dataPoints" Msg(&NUMBER_POINT), Repeated;
        2 "aggregationTemporality" Enum, Implicit;
        3 "isMonotonic" Bool, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.metrics.v1.Histogram`
    HISTOGRAM {
        1 "dataPoints" Msg(&HISTOGRAM_POINT), Repeated;
        2 "aggregationTemporality" Enum, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.metrics.v1.ExponentialHistogram`
    EXPONENTIAL_HISTOGRAM {
        1 "dataPoints" Msg(&EXPONENTIAL_POINT), Repeated;
        2 "aggregationTemporality" Enum, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.metrics.v1.Summary`
    SUMMARY { 1 "dataPoints" Msg(&SUMMARY_POINT), Repeated; }
}

message! {
    /// `opentelemetry.proto.metrics.v1.NumberDataPoint`
    NUMBER_POINT {
        7 "attributes" Msg(&KEY_VALUE), Repeated;
        2 "startTimeUnixNano" Fixed64, Implicit;
        3 "timeUnixNano" Fixed64, Implicit;
        4 "asDouble" Double, OneOf;
        6 "asInt" SFixed64, OneOf;
        5 "exemplars" Msg(&EXEMPLAR), Repeated;
        8 "flags" UInt32, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.metrics.v1.HistogramDataPoint`
    HISTOGRAM_POINT {
        9 "attributes" Msg(&KEY_VALUE), Repeated;
        2 "startTimeUnixNano" Fixed64, Implicit;
        3 "timeUnixNano" Fixed64, Implicit;
        4 "count" Fixed64, Implicit;
        5 "sum" Double, Explicit;
        6 "bucketCounts" Fixed64, Repeated;
        7 "explicitBounds" Double, Repeated;
        8 "exemplars" Msg(&EXEMPLAR), Repeated;
        10 "flags" UInt32, Implicit;
        11 "min" Double, Explicit;
        12 "max" Double, Explicit;
    }
}

message! {
    /// `opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint`
    EXPONENTIAL_POINT {
        1 "attributes" Msg(&KEY_VALUE), Repeated;
        2 "startTimeUnixNano" Fixed64, Implicit;
        3 "timeUnixNano" Fixed64, Implicit;
        4 "count" Fixed64, Implicit;
        5 "sum" Double, Explicit;
        6 "scale" SInt32, Implicit;
        7 "zeroCount" Fixed64, Implicit;
        8 "positive" Msg(&BUCKETS), Explicit;
        9 "negative" Msg(&BUCKETS), Explicit;
        10 "flags" UInt32, Implicit;
        11 "exemplars" Msg(&EXEMPLAR), Repeated;
        12 "min" Double, Explicit;
        13 "max" Double, Explicit;
        14 "zeroThreshold" Double, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.metrics.v1.ExponentialHistogramDataPoint.Buckets`
    BUCKETS {
        1 "offset" SInt32, Implicit;
        2 "bucketCounts" UInt64, Repeated;
    }
}

message! {
    /// `opentelemetry.proto.metrics.v1.SummaryDataPoint`
    SUMMARY_POINT {
        7 "attributes" Msg(&KEY_VALUE), Repeated;
        2 "startTimeUnixNano" Fixed64, Implicit;
        3 "timeUnixNano" Fixed64, Implicit;
        4 "count" Fixed64, Implicit;
        5 "sum" Double, Implicit;
        6 "quantileValues" Msg(&VALUE_AT_QUANTILE), Repeated;
        8 "flags" UInt32, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.metrics.v1.SummaryDataPoint.ValueAtQuantile`
    VALUE_AT_QUANTILE {
        1 "quantile" Double, Implicit;
        2 "value" Double, Implicit;
    }
}

message! {
    /// `opentelemetry.proto.metrics.v1.Exemplar`
    EXEMPLAR {
        7 "filteredAttributes" Msg(&KEY_VALUE), Repeated;
        2 "timeUnixNano" Fixed64, Implicit;
        3 "asDouble" Double, OneOf;
        6 "asInt" SFixed64, OneOf;
        4 "spanId" SPAN_ID, Implicit;
        5 "traceId" TRACE_ID, Implicit;
    }
}
