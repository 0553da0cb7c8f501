//! No text is missed: every place where the protocol allows text, according to the official descriptors, is tested.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost_types::field_descriptor_proto::Type;

use crate::schema::{FieldCardinality, FieldRule, MessageType, ProtoType};
use crate::testing::fields::{Path, ProtoField, allowed, name, paths, reachable, wrap};
use crate::wire::{FIXED32, FIXED64, VARINT, put_bytes, put_tag, put_varint};
use crate::{EncodedRequest, OwnedValue, Payload, Signal, TextEdit, TextPlaceKind, UnknownFields};

const CANARY: &str = "canary-7f3a91";

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn parse(signal: Signal, bytes: &[u8], path: &Path<'_>) -> Payload {
    Payload::parse(signal, Bytes::copy_from_slice(bytes)).unwrap_or_else(|error| panic!("{}: {error}", name(path)))
}

fn encode(payload: &Payload, unknown: UnknownFields) -> EncodedRequest {
    payload.encode(unknown).expect("encodes")
}

/// Replaces the canary wherever it is visited; returns the kinds of these places.
fn replace(payload: &mut Payload) -> Vec<TextPlaceKind> {
    let mut seen = Vec::new();
    payload.edit_text(|place, text| {
        if text.contains(CANARY) {
            seen.push(place.kind);
            TextEdit::Replace("[REDACTED]".into())
        } else {
            TextEdit::Keep
        }
    });
    seen
}

/// The message of the table with the protocol's name.
fn msg(name: &str) -> MessageType {
    let found = MessageType::ALL.iter().find(|(own, _)| *own == name);
    found.unwrap_or_else(|| panic!("a message that the table does not have: {name}")).1
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap().to_owned();
    words.fold(first, |all, word| all + &word[..1].to_uppercase() + &word[1..])
}

/// The type that the table must give to a field.
fn kind(field: &ProtoField) -> ProtoType {
    match field.kind() {
        Type::String => ProtoType::String,
        Type::Bytes => allowed(&field.name()).map_or(ProtoType::Bytes, ProtoType::Id),
        Type::Bool => ProtoType::Bool,
        Type::Double => ProtoType::Double,
        Type::Fixed64 => ProtoType::Fixed64,
        Type::Sfixed64 => ProtoType::SFixed64,
        Type::Fixed32 => ProtoType::Fixed32,
        Type::Uint64 => ProtoType::UInt64,
        Type::Uint32 => ProtoType::UInt32,
        Type::Int64 => ProtoType::Int64,
        Type::Int32 => ProtoType::Int32,
        Type::Sint32 => ProtoType::SInt32,
        Type::Enum => ProtoType::Enum,
        Type::Message => ProtoType::Message(msg(field.field.type_name())),
        other => panic!("a type that the table does not have: {other:?}"),
    }
}

fn cardinality(field: &ProtoField) -> FieldCardinality {
    let optional = field.field.proto3_optional();
    match field.field.oneof_index {
        _ if field.repeated() => FieldCardinality::Repeated,
        Some(_) if !optional => FieldCardinality::OneOf,
        _ if optional || field.kind() == Type::Message => FieldCardinality::Explicit,
        _ => FieldCardinality::Implicit,
    }
}

/// Whether the data plane's rule keeps the type's guarantees: every text is visited, numbers have their wire type.
fn fits(rule: FieldRule, field: &ProtoField) -> bool {
    let own = kind(field);
    match (own, rule) {
        (ProtoType::String, FieldRule::Text(_) | FieldRule::Key | FieldRule::ValueText) => true,
        (ProtoType::Id(length), FieldRule::Id(_, checked)) => length == checked,
        (ProtoType::Bytes, FieldRule::ValueBytes) => true,
        (ProtoType::Message(own), FieldRule::Nested(inner) | FieldRule::Node(inner, _)) => inner == own,
        (ProtoType::Message(own), FieldRule::Attribute) => own == MessageType::KeyValue && field.repeated(),
        (ProtoType::Message(own), FieldRule::Value) => own == MessageType::AnyValue,
        (ProtoType::String | ProtoType::Id(_) | ProtoType::Bytes | ProtoType::Message(_), _) => false,
        (_, FieldRule::Number(wire) | FieldRule::Read(_, wire)) => wire == own.wire_type() && !field.repeated(),
        (_, FieldRule::Numbers(wire)) => wire == own.wire_type() && field.repeated(),
        _ => false,
    }
}

/// The table has every message and field of the protocol with its name, number, type and presence, and no other one.
#[test]
fn schema_is_the_protocol() {
    let messages = reachable();
    assert_eq!(messages.len(), MessageType::ALL.len());
    for (message, fields) in &messages {
        let (name, message) = (message, msg(message));
        assert!(message.fields().len() <= 16, "{name}: the JSON encoder has room for so many fields");
        assert_eq!(message.fields().len(), fields.len(), "{name}");
        let oneofs = fields.iter().filter(|field| cardinality(field) == FieldCardinality::OneOf);
        let oneofs: BTreeSet<_> = oneofs.map(|field| field.field.oneof_index).collect();
        assert!(oneofs.len() <= 1, "{name}: one oneof");
        let known: BTreeMap<u32, &ProtoField> =
            fields.iter().map(|field| (field.field.number() as u32, field)).collect();
        for number in 1..2000 {
            let rule = message.rule(number);
            match known.get(&number) {
                Some(field) => assert!(fits(rule, field), "{}: {rule:?}", field.name()),
                None => assert_eq!(rule, FieldRule::Unknown, "{name} {number}"),
            }
        }
        for field in fields {
            let own = message.fields().iter().find(|own| own.number == field.field.number() as u32).unwrap();
            let expected = (camel_case(field.field.name()), kind(field), cardinality(field));
            assert_eq!((own.name.to_owned(), own.kind, own.cardinality), expected, "{}", field.name());
        }
        let attributes = fields.iter().find(|field| message.rule(field.field.number() as u32) == FieldRule::Attribute);
        if let Some(field) = attributes {
            assert_eq!(message.attributes_number(), field.field.number() as u32, "{name}");
        }
    }
}

/// Every string and bytes field is visited, as the right kind of place, or is on the list of exceptions; replaced text
/// is gone.
#[test]
fn every_text_is_visited() {
    let messages = reachable();
    for (signal, path) in paths(&messages) {
        let field = path.last().expect("a field");
        if !matches!(field.kind(), Type::String | Type::Bytes) {
            continue;
        }
        let request = wrap(&path, CANARY.as_bytes(), &|_| Vec::new());
        let mut payload = parse(signal, &request, &path);
        if let Some(length) = allowed(&field.name()) {
            // With the right length it is an id; with another it could be text, so it is not forwarded.
            let encoded = encode(&payload, UnknownFields::Drop);
            assert!(!contains(&encoded.bytes, CANARY) && encoded.unknown_dropped == 1, "{}", name(&path));
            assert_eq!(encode(&payload, UnknownFields::Keep).bytes, request);
            let id = parse(signal, &wrap(&path, &CANARY.repeat(2).as_bytes()[..length], &|_| Vec::new()), &path);
            assert_eq!(encode(&id, UnknownFields::Drop).unknown_dropped, 0);
            continue;
        }
        let body = path.iter().any(|field| field.name() == "logs.v1.LogRecord.body");
        let kinds = replace(&mut payload);
        let right = kinds.len() == 1
            && match (field.name().as_str(), kinds[0]) {
                ("common.v1.KeyValue.key", kind) => kind == TextPlaceKind::Key,
                ("common.v1.AnyValue.string_value", kind) if body => kind == TextPlaceKind::Body,
                ("common.v1.AnyValue.string_value", kind) => kind == TextPlaceKind::Value,
                ("common.v1.AnyValue.bytes_value", kind) => kind == TextPlaceKind::BytesValue,
                (name, TextPlaceKind::Other) => name.starts_with("common.v1.EntityRef."),
                (_, kind) => matches!(kind, TextPlaceKind::Field(_)),
            };
        assert!(right, "{}: {kinds:?}", name(&path));
        for unknown in [UnknownFields::Drop, UnknownFields::Keep] {
            let bytes = encode(&payload, unknown).bytes;
            assert!(!contains(&bytes, CANARY), "{}", name(&path));
            assert_eq!(bytes, wrap(&path, b"[REDACTED]", &|_| Vec::new()), "{}", name(&path));
        }
    }
}

/// An unknown field, in every message at every level, is kept with Keep and dropped with Drop, also next to edits.
#[test]
fn unknown_fields() {
    let messages = reachable();
    for (signal, path) in paths(&messages) {
        if path.last().is_none_or(|field| field.kind() != Type::Message) {
            continue;
        }
        for number in [19, 99, 1000, 536_870_911] {
            let mut inside = Vec::new();
            put_bytes(&mut inside, number, CANARY.as_bytes());
            let request = wrap(&path, &inside, &|_| Vec::new());
            let mut payload = parse(signal, &request, &path);
            assert_eq!(encode(&payload, UnknownFields::Keep).bytes, request, "{}", name(&path));
            let dropped = encode(&payload, UnknownFields::Drop);
            assert!(!contains(&dropped.bytes, CANARY), "{} {number}", name(&path));
            assert_eq!(dropped.unknown_dropped, 1, "{} {number}", name(&path));
            assert_eq!(dropped.bytes, wrap(&path, &[], &|_| Vec::new()), "{}", name(&path));
            let nodes: Vec<_> = payload.nodes().collect();
            nodes.iter().for_each(|node| payload.set(*node, "added", OwnedValue::Bool(true)));
            payload.edit_text(|_, text| TextEdit::Replace(format!("{text}!")));
            let both = encode(&payload, UnknownFields::Drop);
            assert!(!contains(&both.bytes, CANARY) && both.unknown_dropped == 1, "{} {number}", name(&path));
            let kept = encode(&payload, UnknownFields::Keep);
            assert!(contains(&kept.bytes, CANARY) && contains(&kept.bytes, "added!"), "{} {number}", name(&path));
        }
        // numbers, of every wire type
        let mut inside = Vec::new();
        put_tag(&mut inside, 77, VARINT);
        put_varint(&mut inside, u64::MAX);
        put_tag(&mut inside, 78, FIXED64);
        inside.extend_from_slice(b"canary-7");
        put_tag(&mut inside, 79, FIXED32);
        inside.extend_from_slice(b"cana");
        let payload = parse(signal, &wrap(&path, &inside, &|_| Vec::new()), &path);
        let dropped = encode(&payload, UnknownFields::Drop);
        assert_eq!(dropped.bytes, wrap(&path, &[], &|_| Vec::new()), "{}", name(&path));
        assert_eq!(dropped.unknown_dropped, 3);
    }
}

/// A second occurrence of any field on the path, or another member of its oneof, hides nothing: the canary in the
/// first occurrence is replaced or gone, or the request is refused.
#[test]
fn second_occurrences() {
    let messages = reachable();
    for (signal, path) in paths(&messages) {
        let field = path.last().expect("a field");
        if !matches!(field.kind(), Type::String | Type::Bytes) || allowed(&field.name()).is_some() {
            continue;
        }
        for double in 0..path.len() {
            let second = |level: usize| {
                let mut out = Vec::new();
                if level == double {
                    let last = level + 1 == path.len();
                    put_bytes(&mut out, path[level].field.number() as u32, if last { b"second" } else { b"" });
                }
                out
            };
            let member = |level: usize| {
                let mut out = Vec::new();
                if level == double && path[level].message.ends_with(".AnyValue") {
                    put_tag(&mut out, 3, VARINT);
                    put_varint(&mut out, 5);
                }
                out
            };
            for request in [wrap(&path, CANARY.as_bytes(), &second), wrap(&path, CANARY.as_bytes(), &member)] {
                let mut payload = match Payload::parse(signal, request.clone().into()) {
                    Ok(payload) => payload,
                    Err(error) => {
                        assert_eq!(error.message, "a field is repeated too often", "{}", name(&path));
                        continue;
                    }
                };
                replace(&mut payload);
                for unknown in [UnknownFields::Drop, UnknownFields::Keep] {
                    let bytes = encode(&payload, unknown).bytes;
                    assert!(!contains(&bytes, CANARY), "{} doubled at {double}", name(&path));
                }
            }
        }
    }
}
