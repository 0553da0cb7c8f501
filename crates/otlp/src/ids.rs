//! Handles of a payload's elements and their kinds. `payload` and `index` resolve them.

/// Handle of one element of a payload. Valid only for the payload that it came from and its clones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub(super) u32);

/// The kind of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NodeKind {
    /// One ResourceSpans, ResourceMetrics or ResourceLogs, with the Resource in it.
    Resource,
    /// One ScopeSpans, ScopeMetrics or ScopeLogs, with the InstrumentationScope in it.
    Scope,
    /// A span.
    Span,
    /// An event of a span.
    Event,
    /// A link of a span.
    Link,
    /// A log record.
    LogRecord,
    /// A metric; its attributes are the `metadata`.
    Metric,
    /// A data point of any of the five kinds of metric.
    DataPoint,
    /// An exemplar; its attributes are the `filtered_attributes`.
    Exemplar,
}

/// Handle of one attribute occurrence, including those added by edits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttrId(pub(super) u32);

impl AttrId {
    /// Its number among the attributes of the request, those added later included.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A singular text field of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TextField {
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

/// Identifies a fixed-width text that is filled in after encoding. Chosen by the caller, unique in its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SlotId(pub u32);
