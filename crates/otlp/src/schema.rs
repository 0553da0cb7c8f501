//! The OTLP schema: one table with number, JSON name, type, cardinality and role of each field of each message. It
//! drives the index walk, the text visits, the dropping of unknown fields, and JSON in both directions, so none of them
//! can miss a field. Equal to the protocol (a test compares every field with the descriptors); a field that is not
//! listed is unknown. `index_builder`, `patch`, `json/encode` and `json/decode` read fields.

use super::ids::{NodeKind, TextField};
use super::signal::Signal;
use super::wire::{FIXED32, FIXED64, LEN, VARINT};

/// A field of a message.
pub(super) struct FieldSchema {
    /// Its lowerCamelCase name, the only one that OTLP/JSON allows.
    pub(super) name: &'static str,
    pub(super) number: u32,
    /// Type of its value, or of each of its values.
    pub(super) kind: ProtoType,
    pub(super) cardinality: FieldCardinality,
    pub(super) role: FieldRole,
}

/// How often a field may occur, and when it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProtoType {
    String,
    /// A trace or span id of this many bytes: hexadecimal in JSON.
    Id(usize),
    /// Base64 in JSON.
    Bytes,
    Bool,
    Double,
    Fixed64,
    SFixed64,
    Fixed32,
    UInt64,
    UInt32,
    Int64,
    Int32,
    SInt32,
    /// An integer in OTLP/JSON, never a name.
    Enum,
    Message(MessageType),
}

impl ProtoType {
    /// The wire type of one value.
    pub(super) const fn wire_type(self) -> u8 {
        match self {
            Self::String | Self::Id(_) | Self::Bytes | Self::Message(_) => LEN,
            Self::Double | Self::Fixed64 | Self::SFixed64 => FIXED64,
            Self::Fixed32 => FIXED32,
            Self::Bool | Self::UInt64 | Self::UInt32 | Self::Int64 | Self::Int32 | Self::SInt32 | Self::Enum => VARINT,
        }
    }
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

/// The use that the data plane makes of a field, beyond its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FieldRole {
    None,
    /// It has a reader.
    Read(IndexedField),
    /// Its messages are nodes (for Resource and Scope, the envelopes).
    Node(NodeKind),
    /// The attributes of the node.
    Attribute,
    /// The key of a KeyValue.
    Key,
    /// The string member of an AnyValue.
    ValueText,
}

/// What the data plane does with a field: its type and role together.
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
    /// A message that is a node.
    Node(MessageType, NodeKind),
}

impl FieldSchema {
    const fn rule(&self) -> FieldRule {
        match (self.kind, self.role) {
            (ProtoType::String, FieldRole::Key) => FieldRule::Key,
            (ProtoType::String, FieldRole::ValueText) => FieldRule::ValueText,
            (ProtoType::String, FieldRole::Read(field)) => FieldRule::Text(field),
            (ProtoType::String, _) => FieldRule::Text(IndexedField::Other),
            (ProtoType::Id(length), FieldRole::Read(field)) => FieldRule::Id(field, length),
            (ProtoType::Id(_) | ProtoType::Bytes, _) => FieldRule::ValueBytes,
            (ProtoType::Message(message), FieldRole::Node(kind)) => FieldRule::Node(message, kind),
            (ProtoType::Message(_), FieldRole::Attribute) => FieldRule::Attribute,
            (ProtoType::Message(MessageType::AnyValue), _) => FieldRule::Value,
            (ProtoType::Message(message), _) => FieldRule::Nested(message),
            (number, FieldRole::Read(field)) => FieldRule::Read(field, number.wire_type()),
            (number, _) if matches!(self.cardinality, FieldCardinality::Repeated) => {
                FieldRule::Numbers(number.wire_type())
            }
            (number, _) => FieldRule::Number(number.wire_type()),
        }
    }
}

/// Makes [`MessageType`] of rows `number jsonName: type, cardinality => role;`, the most frequent field first: JSON is
/// written in this order. Rules are computed at compile time, so that a look-up is one jump.
macro_rules! messages {
    ($($message:ident = $proto:literal { $($number:literal $name:ident: $kind:ident $(($of:tt))?, $cardinality:ident
        $(=> $role:ident $(($target:ident))?)?;)* })*) => {
        /// The messages reachable from the export requests.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum MessageType { $($message),* }

        impl MessageType {
            /// The fields, the most frequent first.
            pub(super) const fn fields(self) -> &'static [FieldSchema] {
                match self {
                    $(Self::$message => &[$(messages!(@field $number $name ($kind $($of)?) $cardinality
                        ($($role $($target)?)?))),*],)*
                }
            }

            /// The rule of field `number`.
            #[inline]
            pub(super) fn rule(self, number: u32) -> FieldRule {
                match self {
                    $(Self::$message => match number {
                        $($number => const {
                            messages!(@field $number $name ($kind $($of)?) $cardinality ($($role $($target)?)?)).rule()
                        },)*
                        _ => FieldRule::Unknown,
                    },)*
                }
            }

            /// Every message with its protobuf name.
            #[cfg(test)]
            pub(super) const ALL: &[(&str, Self)] =
                &[$((concat!(".opentelemetry.proto.", $proto), Self::$message)),*];
        }
    };
    (@field $number:literal $name:ident ($($kind:tt)*) $cardinality:ident ($($role:tt)*)) => {
        FieldSchema {
            name: stringify!($name),
            number: $number,
            kind: messages!(@kind $($kind)*),
            cardinality: FieldCardinality::$cardinality,
            role: messages!(@role $($role)*),
        }
    };
    (@kind Message $message:ident) => { ProtoType::Message(MessageType::$message) };
    (@kind Id $length:literal) => { ProtoType::Id($length) };
    (@kind $kind:ident) => { ProtoType::$kind };
    (@role) => { FieldRole::None };
    (@role Text $field:ident) => { FieldRole::Read(IndexedField::Text(TextField::$field)) };
    (@role Read $field:ident) => { FieldRole::Read(IndexedField::$field) };
    (@role Node $kind:ident) => { FieldRole::Node(NodeKind::$kind) };
    (@role $role:ident) => { FieldRole::$role };
}

messages! {
    // --- common, resource ---
    AnyValue = "common.v1.AnyValue" {
        1 stringValue: String, OneOf => ValueText;
        3 intValue: Int64, OneOf;
        2 boolValue: Bool, OneOf;
        4 doubleValue: Double, OneOf;
        5 arrayValue: Message(ArrayValue), OneOf;
        6 kvlistValue: Message(KeyValueList), OneOf;
        7 bytesValue: Bytes, OneOf;
        8 stringValueStrindex: Int32, OneOf;
    }
    ArrayValue = "common.v1.ArrayValue" {
        1 values: Message(AnyValue), Repeated;
    }
    KeyValueList = "common.v1.KeyValueList" {
        1 values: Message(KeyValue), Repeated;
    }
    KeyValue = "common.v1.KeyValue" {
        1 key: String, Implicit => Key;
        2 value: Message(AnyValue), Explicit;
        3 keyStrindex: Int32, Implicit;
    }
    Scope = "common.v1.InstrumentationScope" {
        1 name: String, Implicit => Text(Name);
        2 version: String, Implicit => Text(Version);
        3 attributes: Message(KeyValue), Repeated => Attribute;
        4 droppedAttributesCount: UInt32, Implicit;
    }
    EntityRef = "common.v1.EntityRef" {
        1 schemaUrl: String, Implicit;
        2 type: String, Implicit;
        3 idKeys: String, Repeated;
        4 descriptionKeys: String, Repeated;
    }
    Resource = "resource.v1.Resource" {
        1 attributes: Message(KeyValue), Repeated => Attribute;
        2 droppedAttributesCount: UInt32, Implicit;
        3 entityRefs: Message(EntityRef), Repeated;
    }
    // --- traces ---
    TraceRequest = "collector.trace.v1.ExportTraceServiceRequest" {
        1 resourceSpans: Message(ResourceSpans), Repeated => Node(Resource);
    }
    ResourceSpans = "trace.v1.ResourceSpans" {
        1 resource: Message(Resource), Explicit;
        2 scopeSpans: Message(ScopeSpans), Repeated => Node(Scope);
        3 schemaUrl: String, Implicit => Text(SchemaUrl);
    }
    ScopeSpans = "trace.v1.ScopeSpans" {
        1 scope: Message(Scope), Explicit;
        2 spans: Message(Span), Repeated => Node(Span);
        3 schemaUrl: String, Implicit => Text(SchemaUrl);
    }
    Span = "trace.v1.Span" {
        1 traceId: Id(16), Implicit => Read(TraceId);
        2 spanId: Id(8), Implicit => Read(SpanId);
        3 traceState: String, Implicit => Text(TraceState);
        4 parentSpanId: Id(8), Implicit => Read(ParentSpanId);
        16 flags: Fixed32, Implicit;
        5 name: String, Implicit => Text(Name);
        6 kind: Enum, Implicit;
        7 startTimeUnixNano: Fixed64, Implicit => Read(Time);
        8 endTimeUnixNano: Fixed64, Implicit => Read(EndTime);
        9 attributes: Message(KeyValue), Repeated => Attribute;
        10 droppedAttributesCount: UInt32, Implicit;
        11 events: Message(Event), Repeated => Node(Event);
        12 droppedEventsCount: UInt32, Implicit;
        13 links: Message(Link), Repeated => Node(Link);
        14 droppedLinksCount: UInt32, Implicit;
        15 status: Message(Status), Explicit;
    }
    Event = "trace.v1.Span.Event" {
        1 timeUnixNano: Fixed64, Implicit => Read(Time);
        2 name: String, Implicit => Text(Name);
        3 attributes: Message(KeyValue), Repeated => Attribute;
        4 droppedAttributesCount: UInt32, Implicit;
    }
    Link = "trace.v1.Span.Link" {
        1 traceId: Id(16), Implicit => Read(TraceId);
        2 spanId: Id(8), Implicit => Read(SpanId);
        3 traceState: String, Implicit => Text(TraceState);
        4 attributes: Message(KeyValue), Repeated => Attribute;
        5 droppedAttributesCount: UInt32, Implicit;
        6 flags: Fixed32, Implicit;
    }
    Status = "trace.v1.Status" {
        2 message: String, Implicit => Text(StatusMessage);
        3 code: Enum, Implicit => Read(StatusCode);
    }
    // --- logs ---
    LogsRequest = "collector.logs.v1.ExportLogsServiceRequest" {
        1 resourceLogs: Message(ResourceLogs), Repeated => Node(Resource);
    }
    ResourceLogs = "logs.v1.ResourceLogs" {
        1 resource: Message(Resource), Explicit;
        2 scopeLogs: Message(ScopeLogs), Repeated => Node(Scope);
        3 schemaUrl: String, Implicit => Text(SchemaUrl);
    }
    ScopeLogs = "logs.v1.ScopeLogs" {
        1 scope: Message(Scope), Explicit;
        2 logRecords: Message(LogRecord), Repeated => Node(LogRecord);
        3 schemaUrl: String, Implicit => Text(SchemaUrl);
    }
    LogRecord = "logs.v1.LogRecord" {
        1 timeUnixNano: Fixed64, Implicit => Read(Time);
        11 observedTimeUnixNano: Fixed64, Implicit => Read(ObservedTime);
        2 severityNumber: Enum, Implicit => Read(Severity);
        3 severityText: String, Implicit => Text(SeverityText);
        12 eventName: String, Implicit => Text(EventName);
        5 body: Message(AnyValue), Explicit => Read(Body);
        6 attributes: Message(KeyValue), Repeated => Attribute;
        7 droppedAttributesCount: UInt32, Implicit;
        8 flags: Fixed32, Implicit;
        9 traceId: Id(16), Implicit => Read(TraceId);
        10 spanId: Id(8), Implicit => Read(SpanId);
    }
    // --- metrics ---
    MetricsRequest = "collector.metrics.v1.ExportMetricsServiceRequest" {
        1 resourceMetrics: Message(ResourceMetrics), Repeated => Node(Resource);
    }
    ResourceMetrics = "metrics.v1.ResourceMetrics" {
        1 resource: Message(Resource), Explicit;
        2 scopeMetrics: Message(ScopeMetrics), Repeated => Node(Scope);
        3 schemaUrl: String, Implicit => Text(SchemaUrl);
    }
    ScopeMetrics = "metrics.v1.ScopeMetrics" {
        1 scope: Message(Scope), Explicit;
        2 metrics: Message(Metric), Repeated => Node(Metric);
        3 schemaUrl: String, Implicit => Text(SchemaUrl);
    }
    Metric = "metrics.v1.Metric" {
        1 name: String, Implicit => Text(Name);
        2 description: String, Implicit => Text(Description);
        3 unit: String, Implicit => Text(Unit);
        5 gauge: Message(Gauge), OneOf;
        7 sum: Message(Sum), OneOf;
        9 histogram: Message(Histogram), OneOf;
        10 exponentialHistogram: Message(ExponentialHistogram), OneOf;
        11 summary: Message(Summary), OneOf;
        12 metadata: Message(KeyValue), Repeated => Attribute;
    }
    Gauge = "metrics.v1.Gauge" {
        1 dataPoints: Message(NumberPoint), Repeated => Node(DataPoint);
    }
    Sum = "metrics.v1.Sum" {
        1 dataPoints: Message(NumberPoint), Repeated => Node(DataPoint);
        2 aggregationTemporality: Enum, Implicit;
        3 isMonotonic: Bool, Implicit;
    }
    Histogram = "metrics.v1.Histogram" {
        1 dataPoints: Message(HistogramPoint), Repeated => Node(DataPoint);
        2 aggregationTemporality: Enum, Implicit;
    }
    ExponentialHistogram = "metrics.v1.ExponentialHistogram" {
        1 dataPoints: Message(ExponentialPoint), Repeated => Node(DataPoint);
        2 aggregationTemporality: Enum, Implicit;
    }
    Summary = "metrics.v1.Summary" {
        1 dataPoints: Message(SummaryPoint), Repeated => Node(DataPoint);
    }
    NumberPoint = "metrics.v1.NumberDataPoint" {
        7 attributes: Message(KeyValue), Repeated => Attribute;
        2 startTimeUnixNano: Fixed64, Implicit;
        3 timeUnixNano: Fixed64, Implicit => Read(Time);
        4 asDouble: Double, OneOf;
        6 asInt: SFixed64, OneOf;
        5 exemplars: Message(Exemplar), Repeated => Node(Exemplar);
        8 flags: UInt32, Implicit;
    }
    HistogramPoint = "metrics.v1.HistogramDataPoint" {
        9 attributes: Message(KeyValue), Repeated => Attribute;
        2 startTimeUnixNano: Fixed64, Implicit;
        3 timeUnixNano: Fixed64, Implicit => Read(Time);
        4 count: Fixed64, Implicit;
        5 sum: Double, Explicit;
        6 bucketCounts: Fixed64, Repeated;
        7 explicitBounds: Double, Repeated;
        8 exemplars: Message(Exemplar), Repeated => Node(Exemplar);
        10 flags: UInt32, Implicit;
        11 min: Double, Explicit;
        12 max: Double, Explicit;
    }
    ExponentialPoint = "metrics.v1.ExponentialHistogramDataPoint" {
        1 attributes: Message(KeyValue), Repeated => Attribute;
        2 startTimeUnixNano: Fixed64, Implicit;
        3 timeUnixNano: Fixed64, Implicit => Read(Time);
        4 count: Fixed64, Implicit;
        5 sum: Double, Explicit;
        6 scale: SInt32, Implicit;
        7 zeroCount: Fixed64, Implicit;
        8 positive: Message(Buckets), Explicit;
        9 negative: Message(Buckets), Explicit;
        10 flags: UInt32, Implicit;
        11 exemplars: Message(Exemplar), Repeated => Node(Exemplar);
        12 min: Double, Explicit;
        13 max: Double, Explicit;
        14 zeroThreshold: Double, Implicit;
    }
    Buckets = "metrics.v1.ExponentialHistogramDataPoint.Buckets" {
        1 offset: SInt32, Implicit;
        2 bucketCounts: UInt64, Repeated;
    }
    SummaryPoint = "metrics.v1.SummaryDataPoint" {
        7 attributes: Message(KeyValue), Repeated => Attribute;
        2 startTimeUnixNano: Fixed64, Implicit;
        3 timeUnixNano: Fixed64, Implicit => Read(Time);
        4 count: Fixed64, Implicit;
        5 sum: Double, Implicit;
        6 quantileValues: Message(Quantile), Repeated;
        8 flags: UInt32, Implicit;
    }
    Quantile = "metrics.v1.SummaryDataPoint.ValueAtQuantile" {
        1 quantile: Double, Implicit;
        2 value: Double, Implicit;
    }
    Exemplar = "metrics.v1.Exemplar" {
        7 filteredAttributes: Message(KeyValue), Repeated => Attribute;
        2 timeUnixNano: Fixed64, Implicit => Read(Time);
        3 asDouble: Double, OneOf;
        6 asInt: SFixed64, OneOf;
        4 spanId: Id(8), Implicit => Read(SpanId);
        5 traceId: Id(16), Implicit => Read(TraceId);
    }
}

impl MessageType {
    /// The request message of a signal.
    pub(super) fn request(signal: Signal) -> Self {
        match signal {
            Signal::Traces => Self::TraceRequest,
            Signal::Metrics => Self::MetricsRequest,
            Signal::Logs => Self::LogsRequest,
        }
    }

    /// Whether texts or attributes of the enclosing node are in this message.
    pub(super) fn is_inner(self) -> bool {
        matches!(self, Self::Resource | Self::Scope | Self::Status)
    }

    /// Field number of the node's attributes in this message, or for an envelope in the Resource or Scope in it; 0 if
    /// it has none.
    pub(super) fn attributes_number(self) -> u32 {
        let holder = match self {
            Self::ResourceSpans | Self::ResourceMetrics | Self::ResourceLogs => Self::Resource,
            Self::ScopeSpans | Self::ScopeMetrics | Self::ScopeLogs => Self::Scope,
            other => other,
        };
        holder.number_of(FieldRole::Attribute).unwrap_or(0)
    }

    fn number_of(self, role: FieldRole) -> Option<u32> {
        self.fields().iter().find(|field| field.role == role).map(|field| field.number)
    }
}

/// Where a field is written if it is absent.
pub(super) struct FieldLocation {
    /// In the Resource, Scope or Status message of the node.
    pub(super) is_inner: bool,
    pub(super) number: u32,
}

/// The home of `field` on a node of `kind`; `None` if that kind has no such field.
pub(super) fn field_location(kind: NodeKind, field: IndexedField) -> Option<FieldLocation> {
    // The envelopes of all signals, and the points of all metrics, have the same fields with a reader.
    let message = match kind {
        NodeKind::Resource => MessageType::ResourceSpans,
        NodeKind::Scope => MessageType::ScopeSpans,
        NodeKind::Span => MessageType::Span,
        NodeKind::Event => MessageType::Event,
        NodeKind::Link => MessageType::Link,
        NodeKind::LogRecord => MessageType::LogRecord,
        NodeKind::Metric => MessageType::Metric,
        NodeKind::DataPoint => MessageType::NumberPoint,
        NodeKind::Exemplar => MessageType::Exemplar,
    };
    let role = FieldRole::Read(field);
    if let Some(number) = message.number_of(role) {
        return Some(FieldLocation { is_inner: false, number });
    }
    let inner = message.fields().iter().filter_map(|outer| match outer.kind {
        ProtoType::Message(inner) if inner.is_inner() => inner.number_of(role),
        _ => None,
    });
    inner.map(|number| FieldLocation { is_inner: true, number }).next()
}
