//! Compares the tables with the descriptors of opentelemetry-proto.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use super::super::schema::{FieldCardinality, MessageSchema, ProtoType, request_schema};
use crate::Signal;

fn collect(prefix: &str, message: DescriptorProto, into: &mut BTreeMap<String, DescriptorProto>) {
    let name = format!("{prefix}.{}", message.name());
    for nested in message.nested_type.clone() {
        collect(&name, nested, into);
    }
    into.insert(name, message);
}

fn official() -> BTreeMap<String, DescriptorProto> {
    let files = FileDescriptorSet::decode(opentelemetry_proto::DESCRIPTORS).unwrap();
    let mut messages = BTreeMap::new();
    for file in files.file {
        for message in file.message_type.clone() {
            collect(&format!(".{}", file.package()), message, &mut messages);
        }
    }
    messages
}

fn camel(name: &str) -> String {
    let mut out = String::new();
    let mut upper = false;
    for c in name.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                out.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

fn kind(field: &FieldDescriptorProto) -> &'static str {
    match field.r#type() {
        Type::String => "string",
        Type::Bytes if field.name().ends_with("trace_id") => "id16",
        Type::Bytes if field.name().ends_with("span_id") => "id8",
        Type::Bytes => "bytes",
        Type::Bool => "bool",
        Type::Double => "double",
        Type::Fixed64 => "fixed64",
        Type::Sfixed64 => "sfixed64",
        Type::Fixed32 => "fixed32",
        Type::Uint64 => "uint64",
        Type::Uint32 => "uint32",
        Type::Int64 => "int64",
        Type::Int32 => "int32",
        Type::Sint32 => "sint32",
        Type::Enum => "enum",
        Type::Message => "message",
        other => panic!("a type that the tables do not have: {other:?}"),
    }
}

fn our_kind(kind: ProtoType) -> &'static str {
    match kind {
        ProtoType::String => "string",
        ProtoType::Id(16) => "id16",
        ProtoType::Id(8) => "id8",
        ProtoType::Id(_) => "id of another length",
        ProtoType::Bytes => "bytes",
        ProtoType::Bool => "bool",
        ProtoType::Double => "double",
        ProtoType::Fixed64 => "fixed64",
        ProtoType::SFixed64 => "sfixed64",
        ProtoType::Fixed32 => "fixed32",
        ProtoType::UInt64 => "uint64",
        ProtoType::UInt32 => "uint32",
        ProtoType::Int64 => "int64",
        ProtoType::Int32 => "int32",
        ProtoType::SInt32 => "sint32",
        ProtoType::Enum => "enum",
        ProtoType::Message(_) => "message",
    }
}

fn rule(field: &FieldDescriptorProto) -> FieldCardinality {
    if field.label() == Label::Repeated {
        FieldCardinality::Repeated
    } else if field.oneof_index.is_some() && !field.proto3_optional() {
        FieldCardinality::OneOf
    } else if field.proto3_optional() || field.r#type() == Type::Message {
        FieldCardinality::Explicit
    } else {
        FieldCardinality::Implicit
    }
}

fn compare(
    name: &str,
    ours: &'static MessageSchema,
    all: &BTreeMap<String, DescriptorProto>,
    seen: &mut BTreeSet<String>,
) {
    if !seen.insert(name.to_owned()) {
        return;
    }
    let theirs = &all[name];
    assert_eq!(ours.any_value, name.ends_with(".AnyValue"), "{name}");
    assert!(ours.fields.len() <= 32, "{name}: a field has a bit in a u32");
    assert_eq!(ours.fields.len(), theirs.field.len(), "{name}: number of fields");
    assert!(theirs.oneof_decl.iter().filter(|one| !one.name().starts_with('_')).count() <= 1, "{name}: one oneof");
    for field in &theirs.field {
        let ours = ours.fields.iter().find(|ours| i64::from(ours.number) == i64::from(field.number())).unwrap();
        let at = format!("{name}.{}", field.name());
        assert_eq!(ours.name, camel(field.name()), "{at}");
        assert_eq!(our_kind(ours.kind), kind(field), "{at}");
        assert!(ours.rule == rule(field), "{at}: cardinality");
        if let ProtoType::Message(message) = ours.kind {
            compare(field.type_name(), message, all, seen);
        }
    }
}

/// Every field of every message of the three signals is in the tables with its name, number, type and presence.
#[test]
fn tables_equal_the_official_descriptors() {
    let all = official();
    let mut seen = BTreeSet::new();
    for (signal, word) in [(Signal::Traces, "trace"), (Signal::Metrics, "metrics"), (Signal::Logs, "logs")] {
        let upper = format!("{}{}", word[..1].to_uppercase(), &word[1..]);
        let name = format!(".opentelemetry.proto.collector.{word}.v1.Export{upper}ServiceRequest");
        compare(&name, request_schema(signal), &all, &mut seen);
    }
    assert!(seen.len() >= 30, "{}", seen.len());
}
