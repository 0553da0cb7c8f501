//! Every field of the protocol from the official descriptors, and requests with a text in one of them.

use std::collections::BTreeMap;

use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use crate::Signal;
use crate::wire::put_bytes;

/// The fields from a request down to a message or field.
pub type Path<'a> = Vec<&'a ProtoField>;

/// Fields of type string or bytes that `edit_text` does not visit, with the length of the id. An id of that length is
/// not text, and one of another length is dropped like an unknown field.
const IDS: [(&str, usize); 9] = [
    ("trace.v1.Span.trace_id", 16),
    ("trace.v1.Span.span_id", 8),
    ("trace.v1.Span.parent_span_id", 8),
    ("trace.v1.Span.Link.trace_id", 16),
    ("trace.v1.Span.Link.span_id", 8),
    ("logs.v1.LogRecord.trace_id", 16),
    ("logs.v1.LogRecord.span_id", 8),
    ("metrics.v1.Exemplar.span_id", 8),
    ("metrics.v1.Exemplar.trace_id", 16),
];

/// The length of the id if the field `name` is one.
pub fn allowed(name: &str) -> Option<usize> {
    IDS.iter().find(|(field, _)| *field == name).map(|(_, length)| *length)
}

/// The paths to every field, with values nested twice.
pub fn paths(messages: &BTreeMap<String, Vec<ProtoField>>) -> Vec<(Signal, Path<'_>)> {
    let mut all = Vec::new();
    for (signal, name) in [
        (Signal::Traces, "trace.v1.ExportTrace"),
        (Signal::Metrics, "metrics.v1.ExportMetrics"),
        (Signal::Logs, "logs.v1.ExportLogs"),
    ] {
        descend(
            messages,
            &format!(".opentelemetry.proto.collector.{name}ServiceRequest"),
            signal,
            &mut Vec::new(),
            &mut all,
        );
    }
    assert!(all.len() > 1000, "{}", all.len());
    all
}

/// Appends the path to every field below the message `name`, which `path` leads to.
fn descend<'a>(
    messages: &'a BTreeMap<String, Vec<ProtoField>>,
    name: &str,
    signal: Signal,
    path: &mut Path<'a>,
    all: &mut Vec<(Signal, Path<'a>)>,
) {
    if path.iter().filter(|field| field.message == name && name.ends_with(".AnyValue")).count() > 1 {
        return;
    }
    for field in &messages[name] {
        path.push(field);
        all.push((signal, path.clone()));
        if field.kind() == Type::Message {
            descend(messages, field.field.type_name(), signal, path, all);
        }
        path.pop();
    }
}

/// Every request with `payload` in one field of type string or bytes: its signal, the field's full name, the path to
/// it, and the bytes. Id fields are left out.
pub fn requests_with(payload: &[u8]) -> Vec<(Signal, String, String, Vec<u8>)> {
    let messages = reachable();
    let texts = paths(&messages).into_iter().filter_map(|(signal, path)| {
        let field = path.last()?;
        let is_text = matches!(field.kind(), Type::String | Type::Bytes) && allowed(&field.name()).is_none();
        is_text.then(|| (signal, field.name(), name(&path), wrap(&path, payload, &|_| Vec::new())))
    });
    texts.collect()
}

/// A request with `payload` in the last field of `path`, followed by `beside(level)` in each message on the path.
pub fn wrap(path: &Path<'_>, payload: &[u8], beside: &dyn Fn(usize) -> Vec<u8>) -> Vec<u8> {
    let mut bytes = payload.to_vec();
    for (level, field) in path.iter().enumerate().rev() {
        let mut outer = Vec::new();
        put_bytes(&mut outer, field.field.number() as u32, &bytes);
        outer.extend(beside(level));
        bytes = outer;
    }
    bytes
}

pub fn name(path: &Path<'_>) -> String {
    path.iter().map(|field| field.field.name()).collect::<Vec<_>>().join("/")
}

/// The descriptors of the crate `opentelemetry-proto`, without profiles and the Collector's own.
pub fn official() -> FileDescriptorSet {
    let mut set = FileDescriptorSet::decode(opentelemetry_proto::DESCRIPTORS).expect("descriptors");
    set.file.retain(|file| !file.name().contains("profiles") && !file.name().contains("tracez"));
    set
}

/// One field of a message that the export requests can contain.
pub struct ProtoField {
    /// Message type, e.g. `.opentelemetry.proto.trace.v1.Span`.
    pub message: String,
    pub field: FieldDescriptorProto,
}

impl ProtoField {
    pub fn repeated(&self) -> bool {
        self.field.label() == Label::Repeated
    }

    pub fn kind(&self) -> Type {
        self.field.r#type()
    }

    pub fn name(&self) -> String {
        format!("{}.{}", self.message.trim_start_matches(".opentelemetry.proto."), self.field.name())
    }
}

/// Every field of every message reachable from the three export requests, by message type.
pub fn reachable() -> BTreeMap<String, Vec<ProtoField>> {
    let set = official();
    let mut messages = BTreeMap::new();
    for file in &set.file {
        for message in &file.message_type {
            collect(&format!(".{}", file.package()), message, &mut messages);
        }
    }
    let mut found = BTreeMap::new();
    let mut open: Vec<String> = ["trace.v1.ExportTrace", "metrics.v1.ExportMetrics", "logs.v1.ExportLogs"]
        .map(|name| format!(".opentelemetry.proto.collector.{name}ServiceRequest"))
        .to_vec();
    while let Some(name) = open.pop() {
        if found.contains_key(&name) {
            continue;
        }
        let fields: Vec<ProtoField> = messages[&name]
            .field
            .iter()
            .map(|field| ProtoField { message: name.clone(), field: field.clone() })
            .collect();
        let inner = fields.iter().filter(|field| field.kind() == Type::Message);
        open.extend(inner.map(|field| field.field.type_name().to_owned()));
        found.insert(name, fields);
    }
    found
}

fn collect(prefix: &str, message: &DescriptorProto, all: &mut BTreeMap<String, DescriptorProto>) {
    let name = format!("{prefix}.{}", message.name());
    message.nested_type.iter().for_each(|inner| collect(&name, inner, all));
    all.insert(name, message.clone());
}
