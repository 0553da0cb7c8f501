//! Checks of one request, shared with `tests/fuzz`: against prost, and of the data plane against itself.

use bytes::Bytes;
use prost::Message;

use otlp::{NodeId, NodeKind, OwnedValue, Payload, Signal, SlotId, TextEdit, TextField, UnknownFields};

/// Parses, reads, edits and encodes; compares with prost.
pub(crate) fn against_prost<M: Message + Default>(signal: Signal, bytes: &[u8]) {
    let official = M::decode(bytes);
    let payload = match Payload::parse(signal, Bytes::copy_from_slice(bytes)) {
        Ok(payload) => payload,
        Err(error) => {
            // The data plane refuses what prost refuses, and also groups, too deep values and too frequent fields.
            let own = ["groups are not allowed", "values nest too deep", "a field is repeated too often"];
            let stricter = own.contains(&error.message);
            assert!(official.is_err() || stricter, "{error}");
            return;
        }
    };
    // prost limits the depth to 100 messages, which is fewer than 64 values.
    let Ok(official) = official else {
        assert!(deep(&payload), "prost refuses what we take");
        return;
    };
    let encoded = payload.encode(UnknownFields::Keep).expect("encodes").bytes;
    // Compared as bytes, because a NaN does not equal itself.
    assert!(M::decode(encoded.as_slice()).expect("decodes").encode_to_vec() == official.encode_to_vec());
    // Parsing and encoding the result again changes nothing.
    for unknown in [UnknownFields::Keep, UnknownFields::Drop] {
        let once = payload.encode(unknown).expect("encodes").bytes;
        let again = Payload::parse(signal, once.clone().into()).expect("parses");
        let twice = again.encode(unknown).expect("encodes");
        assert!(twice.bytes == once);
        assert!(unknown == UnknownFields::Keep || twice.unknown_dropped == 0);
        assert!(!again.index.edited, "what leaves is unambiguous");
    }
}

fn deep(payload: &Payload) -> bool {
    let mut json = String::new();
    for node in payload.nodes() {
        payload.attributes(node).for_each(|attribute| attribute.value.write_json(&mut json));
        payload.body(node).iter().for_each(|body| body.write_json(&mut json));
    }
    json.matches(['[', '{']).count() > 20
}

/// One edit, made of random bytes: operation, node, key, argument.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step(pub(crate) [u8; 4]);

const KEYS: [&str; 6] = ["a", "b", "c", "d", "a long key of sixteen more", ""];
const FIELDS: [TextField; 9] = [
    TextField::Name,
    TextField::Version,
    TextField::StatusMessage,
    TextField::TraceState,
    TextField::EventName,
    TextField::SeverityText,
    TextField::Description,
    TextField::Unit,
    TextField::SchemaUrl,
];

fn value(more: u8) -> OwnedValue {
    match more % 6 {
        0 => OwnedValue::Str("x".repeat(usize::from(more))),
        1 => OwnedValue::Bool(more > 100),
        2 => OwnedValue::Int(-i64::from(more)),
        3 => OwnedValue::Double(f64::from(more) / 3.0),
        4 => OwnedValue::StrList(vec![String::new(), "y".repeat(usize::from(more))]),
        _ => OwnedValue::Str(String::new()),
    }
}

fn step(payload: &mut Payload, Step([what, place, key, more]): Step) {
    let nodes: Vec<NodeId> = payload.nodes().collect();
    let Some(node) = nodes.get(usize::from(place) % nodes.len().max(1)).copied() else { return };
    let key = KEYS[usize::from(key) % KEYS.len()];
    let ids: Vec<_> = payload.attributes(node).map(|attribute| attribute.id).collect();
    let id = ids.get(usize::from(more) % ids.len().max(1)).copied();
    match (what % 12, id) {
        (0, _) => payload.set(node, key, value(more)),
        (1, _) => drop(payload.remove(node, key)),
        (2, Some(id)) => payload.rename_attribute(id, key),
        (3, Some(id)) => payload.replace_attribute(id, value(more)),
        (4, Some(id)) => payload.remove_attribute(id),
        (5, _) => payload.set_slot(node, key, SlotId(u32::from(more)), usize::from(more)),
        (6, _) => payload.set_text(node, FIELDS[usize::from(more) % FIELDS.len()], key),
        (7, _) => payload.set_body(node, value(more)),
        (9, _) if more % 4 == 0 => payload.remove_node(node),
        (10, _) => {
            let mut at = 0_u8;
            payload.edit_text(|_, text| {
                at = at.wrapping_add(more);
                match at % 4 {
                    0 => TextEdit::Replace(String::new()),
                    1 => TextEdit::Replace(format!("<{text}>")),
                    _ => TextEdit::Keep,
                }
            });
        }
        (11, _) if more % 4 == 0 => *payload = payload.subset(&|position| position as u8 & more != 4),
        _ => {}
    }
}

/// Applies the steps to `bytes`, if they are a request; afterwards the payload must read the same as its encoded
/// bytes.
pub(crate) fn edited(signal: Signal, bytes: &[u8], steps: &[Step]) {
    let Ok(mut payload) = Payload::parse(signal, Bytes::copy_from_slice(bytes)) else { return };
    for one in steps {
        step(&mut payload, *one);
    }
    for unknown in [UnknownFields::Keep, UnknownFields::Drop] {
        let encoded = payload.encode(unknown).expect("encodes");
        let again = Payload::parse(signal, encoded.bytes.clone().into()).expect("parses");
        agree(&payload, &again);
        assert!(encoded.slots.iter().all(|slot| encoded.bytes[slot.range.clone()].iter().all(|byte| *byte == b'0')));
        let once = again.encode(unknown).expect("encodes");
        assert!(once.bytes == encoded.bytes && (unknown == UnknownFields::Keep || once.unknown_dropped == 0));
    }
}

/// Asserts that both agree on every item, its contents and its ancestors.
fn agree(payload: &Payload, again: &Payload) {
    assert_eq!(payload.item_count(), payload.items().count());
    assert_eq!(payload.item_count(), again.item_count());
    for (node, other) in payload.items().zip(again.items()) {
        let (mut at, mut beside) = (Some(node), Some(other));
        while let (Some(one), Some(two)) = (at, beside) {
            same(payload, one, again, two);
            (at, beside) = (payload.parent(one), again.parent(two));
        }
        assert!(at.is_none() && beside.is_none());
        assert_eq!(payload.children(node).count(), again.children(other).count());
        payload.children(node).zip(again.children(other)).for_each(|(one, two)| same(payload, one, again, two));
    }
}

fn same(payload: &Payload, node: NodeId, again: &Payload, other: NodeId) {
    let attributes = |payload: &Payload, node: NodeId| -> Vec<(String, String)> {
        let json = |attribute: otlp::Attribute<'_>| {
            let mut out = String::new();
            attribute.value.write_json(&mut out);
            (attribute.key.to_owned(), out)
        };
        payload.attributes(node).map(json).collect()
    };
    assert_eq!(payload.kind(node), again.kind(other));
    assert!(attributes(payload, node) == attributes(again, other));
    assert!(FIELDS.iter().all(|field| payload.text(node, *field) == again.text(other, *field)));
    assert_eq!(payload.trace_id(node), again.trace_id(other));
    assert_eq!(payload.span_id(node), again.span_id(other));
    assert_eq!((payload.time(node), payload.end_time(node)), (again.time(other), again.end_time(other)));
    assert_eq!(payload.status_code(node), again.status_code(other));
    let body = |payload: &Payload, node: NodeId| {
        let mut out = String::new();
        payload.body(node).iter().for_each(|body| body.write_json(&mut out));
        (payload.kind(node) == NodeKind::LogRecord).then_some(out)
    };
    assert!(body(payload, node) == body(again, other));
}
