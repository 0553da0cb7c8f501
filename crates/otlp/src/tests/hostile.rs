//! Crafted requests: refused, or read in linear time. `fuzz.rs` compares mutated ones with prost.

use bytes::Bytes;

use super::within;
use crate::wire::put_bytes;
use crate::{MAX_DEPTH, OwnedValue, Payload, Signal, TextEdit, UnknownFields};

/// `any_value` in an attribute of a span.
fn in_attribute(any_value: &[u8]) -> Vec<u8> {
    within(&[2, 9, 2, 2, 1], any_value.to_vec())
}

fn error(bytes: &[u8]) -> &'static str {
    Payload::parse(Signal::Traces, Bytes::copy_from_slice(bytes)).map(|_| "taken").unwrap_or_else(|error| error.message)
}

/// Each kind of damage has its own error, and none quotes the bytes.
#[test]
fn refusals() {
    let cases: [(&[u8], &str); 13] = [
        (&[0x0a], "bad length"),
        (&[0x0a, 5, 0], "field is longer than its message"),
        (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "bad length"),
        (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "field is longer than its message"),
        (&[0x02, 0], "bad field number"),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0], "bad field number"),
        (&[0x80], "bad field tag"),
        (&[0x0b, 0x0c], "groups are not allowed"),
        (&[0x0e], "bad wire type"),
        (&[0x08, 1], "wrong wire type"),
        (&[0x19, 1, 2], "field is truncated"),
        (&[0x15, 1, 2], "field is truncated"),
        (&[0x10, 0x80], "bad varint"),
    ];
    for (bytes, what) in cases {
        assert_eq!(error(bytes), what, "{bytes:?}");
    }
    assert_eq!(error(&in_attribute(&[0x0a, 2, 0xc3, 0x28])), "text is not UTF-8");
    // Bytes need not be text.
    assert_eq!(error(&in_attribute(&[0x3a, 2, 0xc3, 0x28])), "taken");
}

/// Lists and maps may nest up to the limit, and no deeper; very deep nesting does not exhaust the stack.
#[test]
fn depth() {
    let nest = |levels: usize| {
        let mut value = vec![0x10, 1];
        for level in 1..levels {
            let mut list = Vec::new();
            if level % 2 == 0 {
                put_bytes(&mut list, 1, &value);
            } else {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 2, &value);
                put_bytes(&mut list, 1, &entry);
            }
            value.clear();
            put_bytes(&mut value, if level % 2 == 0 { 5 } else { 6 }, &list);
        }
        in_attribute(&value)
    };
    assert_eq!(error(&nest(MAX_DEPTH)), "taken");
    assert_eq!(error(&nest(MAX_DEPTH + 1)), "values nest too deep");
    assert_eq!(error(&nest(20_000)), "values nest too deep");
    let mut payload = Payload::parse(Signal::Traces, nest(MAX_DEPTH).into()).expect("parses");
    payload.edit_text(|_, text| TextEdit::Replace(text.to_owned()));
    assert_eq!(payload.encode(UnknownFields::Drop).expect("encodes").bytes, nest(MAX_DEPTH));
}

/// A request with this log record.
fn record(record: Vec<u8>) -> Bytes {
    within(&[2, 2, 1], record).into()
}

/// Many repeated keys and values in one attribute are merged in linear time.
#[test]
fn repetition_is_linear() {
    let mut element = Vec::new();
    put_bytes(&mut element, 1, b"\x0a\x01x");
    let mut list = Vec::new();
    put_bytes(&mut list, 5, &element);
    let (mut body, mut key_value) = (Vec::new(), Vec::new());
    for count in 0..100_000 {
        if count < 50 {
            put_bytes(&mut body, 5, &list);
        }
        put_bytes(&mut key_value, 2, &list);
        put_bytes(&mut key_value, 1, b"key");
    }
    put_bytes(&mut body, 6, &key_value);
    let payload = Payload::parse(Signal::Logs, record(body)).expect("parses");
    let node = payload.items().next().expect("the record");
    assert_eq!(payload.body(node).expect("a body").items().count(), 50);
    assert_eq!(payload.get(node, "key").expect("a value").items().count(), 100_000);
    assert!(payload.encode(UnknownFields::Drop).expect("encodes").bytes.len() < 100_000 * 12);
}

/// A text, resource, scope or status that stands twice is refused: steps look at the last one, and the first would pass
/// unseen. (Before the fix a prompt in the first of two names reached third parties.) Of numbers, dozens are refused,
/// which serve only to slow down every access.
#[test]
fn a_field_that_stands_too_often() {
    let parse = |bytes: Bytes| Payload::parse(Signal::Logs, bytes).map(|_| ()).map_err(|error| error.message);
    let refused = Err("a field is repeated too often");
    let names = |count: usize| record([0x62, 1, b'n'].repeat(count));
    let numbers = |count: usize| record([0x10, 1].repeat(count));
    assert_eq!([parse(names(1)), parse(names(2))], [Ok(()), refused]);
    assert_eq!([parse(numbers(2)), parse(numbers(65))], [Ok(()), refused]);
    let resources = |count: usize| Bytes::from([&[0x0a, 2 * count as u8][..], &[0x0a, 0].repeat(count)].concat());
    assert_eq!([parse(resources(1)), parse(resources(2))], [Ok(()), refused]);
}

/// A node with very many attributes behaves like one with few, also when each attribute is read, set, renamed and
/// removed: in linear time.
#[test]
fn many_attributes() {
    const MANY: u32 = 100_000;
    let mut body = Vec::new();
    for number in 0..MANY {
        let mut key_value = Vec::new();
        put_bytes(&mut key_value, 1, format!("key.{}", number % (MANY - 10)).as_bytes());
        put_bytes(&mut key_value, 2, &[0x18, 1]);
        put_bytes(&mut body, 6, &key_value);
    }
    let mut payload = Payload::parse(Signal::Logs, record(body)).expect("parses");
    let node = payload.items().next().expect("the record");
    let key = |number: u32| format!("key.{number}");
    for number in 0..MANY - 10 {
        assert!(payload.get(node, &key(number)).is_some());
    }
    assert!(payload.get(node, &key(MANY)).is_none());
    // The first ten keys occur twice.
    assert_eq!(payload.remove(node, &key(3)), 2);
    payload.set(node, &key(4), OwnedValue::Int(4));
    assert_eq!(payload.remove(node, &key(4)), 1);
    payload.set(node, &key(4), OwnedValue::Int(5));
    assert_eq!(payload.get(node, &key(4)).and_then(|value| value.as_count()), Some(5));
    let id = payload.attributes(node).map(|attribute| attribute.id).nth(50_000).expect("an attribute");
    let old = payload.attribute(id).expect("it").key.to_owned();
    for name in ["new", &old, "new"] {
        payload.rename_attribute(id, name);
        assert!(payload.get(node, name).is_some());
    }
    assert!(payload.get(node, &old).is_none());
    assert_eq!(payload.remove(node, "new"), 1);
    // All keys become equal; every attribute is still found once.
    payload.edit_text(|_, _| TextEdit::Replace("[EMAIL]".into()));
    assert!(payload.get(node, "[EMAIL]").is_some() && payload.get(node, &key(9)).is_none());
    let left = payload.attributes(node).count();
    assert_eq!(payload.clone().remove(node, "[EMAIL]"), left);
    let bytes = payload.encode(UnknownFields::Drop).expect("encodes").bytes;
    let again = Payload::parse(Signal::Logs, bytes.into()).expect("parses");
    assert_eq!(again.attributes(node).count(), left);
}

/// Two bytes on the wire make a span, but the index keeps far more about each, so their number is limited.
#[test]
fn a_flood_of_empty_items_is_refused() {
    let parse = |count| Payload::parse(Signal::Traces, within(&[2, 1], [0x12, 0].repeat(count)).into());
    assert_eq!(parse(100_000).map(|payload| payload.item_count()).map_err(|error| error.message), Ok(100_000));
    assert!(parse(300_000).is_err());
}
