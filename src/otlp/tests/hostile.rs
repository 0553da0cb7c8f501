//! Bytes that are wrong, by chance or on purpose: refused, or the same to us as to prost.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use super::strategies::{logs, metrics, traces};
use crate::otlp::wire::put_bytes;
use crate::otlp::{Field, MAX_DEPTH, OwnedValue, Payload, Signal, TextEdit, UnknownFields};

/// One change of some bytes.
#[derive(Clone, Debug)]
enum Change {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Insert(prop::sample::Index, Vec<u8>),
    Repeat(prop::sample::Index, prop::sample::Index),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = any::<prop::sample::Index>;
    let one = prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, bits)| Change::Flip(at, bits)),
        1 => at().prop_map(Change::Cut),
        2 => (at(), vec(any::<u8>(), 1..5)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        2 => (at(), at()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ];
    vec(one, 1..4)
}

fn change(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        match change {
            Change::Flip(at, bits) => {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
            }
            Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
            Change::Insert(at, new) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, new.iter().copied());
            }
            Change::Repeat(from, to) => {
                let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
                let part = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(from..from, part);
            }
        }
    }
    bytes
}

/// Parses, reads, edits and encodes; compares with prost where both take it.
fn check<M: Message + Default + PartialEq>(signal: Signal, bytes: &[u8]) {
    let official = M::decode(bytes);
    let payload = match Payload::parse(signal, Bytes::copy_from_slice(bytes)) {
        Ok(payload) => payload,
        Err(error) => {
            // We refuse what prost refuses, and groups, and values that nest too deep.
            let stricter = ["groups are not allowed", "values nest too deep"].contains(&error.what);
            assert!(official.is_err() || stricter, "{error}");
            return;
        }
    };
    let official = official.expect("prost takes what we take");
    let encoded = payload.encode(UnknownFields::Keep).expect("encodes").bytes;
    assert!(M::decode(encoded.as_slice()).expect("decodes") == official);
    // Encoding what was parsed from an encoding changes nothing more.
    for unknown in [UnknownFields::Keep, UnknownFields::Drop] {
        let once = payload.encode(unknown).expect("encodes").bytes;
        let again = Payload::parse(signal, once.clone().into()).expect("parses");
        let twice = again.encode(unknown).expect("encodes");
        assert!(twice.bytes == once);
        assert!(twice.unknown_dropped == 0);
    }
    busy(payload);
}

/// All that can be called is called; the result must still be a request.
fn busy(mut payload: Payload) {
    let nodes: Vec<_> = payload.nodes().collect();
    for (position, node) in nodes.iter().enumerate() {
        let mut json = String::new();
        payload.attributes(*node).for_each(|attribute| attribute.value.write_json(&mut json));
        let _ = (payload.time(*node), payload.trace_id(*node).len(), payload.body(*node).is_some());
        match position % 5 {
            0 => payload.set(*node, "a", OwnedValue::Int(1)),
            1 => payload.set_text(*node, Field::Name, "name"),
            2 => drop(payload.remove(*node, "b")),
            3 => payload.set_body(*node, OwnedValue::Str("body".into())),
            _ => payload.remove_node(*node),
        }
    }
    payload.edit_text(|place, text| match (place.path_key.len() + text.len()) % 3 {
        0 => TextEdit::Replace(String::new()),
        1 => TextEdit::Replace(format!("<{text}>")),
        _ => TextEdit::Keep,
    });
    let part = payload.subset(&|position| position % 2 == 0);
    for payload in [payload, part] {
        let bytes = payload.encode(UnknownFields::Drop).expect("encodes").bytes;
        let again = Payload::parse(payload.signal(), bytes.into()).expect("parses");
        assert_eq!(again.item_count(), payload.item_count());
        assert!(!again.is_edited(), "what leaves is unambiguous");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Traces, changed at random.
    #[test]
    fn changed_traces(request in traces(), changes in changes()) {
        check::<ExportTraceServiceRequest>(Signal::Traces, &change(request.encode_to_vec(), &changes));
    }

    /// Logs, changed at random.
    #[test]
    fn changed_logs(request in logs(), changes in changes()) {
        check::<ExportLogsServiceRequest>(Signal::Logs, &change(request.encode_to_vec(), &changes));
    }

    /// Metrics, changed at random.
    #[test]
    fn changed_metrics(request in metrics(), changes in changes()) {
        check::<ExportMetricsServiceRequest>(Signal::Metrics, &change(request.encode_to_vec(), &changes));
    }

    /// Noise.
    #[test]
    fn noise(bytes in vec(any::<u8>(), 0..40)) {
        check::<ExportTraceServiceRequest>(Signal::Traces, &bytes);
        check::<ExportLogsServiceRequest>(Signal::Logs, &bytes);
        check::<ExportMetricsServiceRequest>(Signal::Metrics, &bytes);
    }
}

/// `body` in the attribute of a span.
fn in_attribute(any_value: &[u8]) -> Vec<u8> {
    [2, 9, 2, 2, 1].iter().fold(any_value.to_vec(), |inner, number| {
        let mut outer = Vec::new();
        put_bytes(&mut outer, *number, &inner);
        outer
    })
}

fn error(bytes: &[u8]) -> &'static str {
    Payload::parse(Signal::Traces, Bytes::copy_from_slice(bytes)).map(|_| "taken").unwrap_or_else(|error| error.what)
}

/// Each kind of damage has its own answer, and none quotes what it found.
#[test]
fn refusals() {
    let cases: [(&[u8], &str); 13] = [
        (&[0x0a], "bad length"),
        (&[0x0a, 5, 0], "length beyond the message"),
        (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "bad length"),
        (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], "length beyond the message"),
        (&[0x02, 0], "bad field number"),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0], "bad field number"),
        (&[0x80], "bad field tag"),
        (&[0x0b, 0x0c], "groups are not allowed"),
        (&[0x0e], "bad wire type"),
        (&[0x08, 1], "wrong wire type"),
        (&[0x19, 1, 2], "cut off"),
        (&[0x15, 1, 2], "cut off"),
        (&[0x10, 0x80], "bad varint"),
    ];
    for (bytes, what) in cases {
        assert_eq!(error(bytes), what, "{bytes:?}");
    }
    assert_eq!(error(&in_attribute(&[0x0a, 2, 0xc3, 0x28])), "text is not UTF-8");
    // Bytes need not be text.
    assert_eq!(error(&in_attribute(&[0x3a, 2, 0xc3, 0x28])), "taken");
}

/// Lists and maps nest as deep as the limit says, and no deeper; a very deep one does not use up the stack.
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

/// Many repeated bodies, keys and values in one record are merged in linear time.
#[test]
fn repetition_is_linear() {
    let mut element = Vec::new();
    put_bytes(&mut element, 1, b"\x0a\x01x");
    let mut list = Vec::new();
    put_bytes(&mut list, 5, &element);
    let (mut record, mut key_value) = (Vec::new(), Vec::new());
    for _ in 0..100_000 {
        put_bytes(&mut record, 5, &list);
        put_bytes(&mut key_value, 2, &list);
        put_bytes(&mut key_value, 1, b"key");
    }
    put_bytes(&mut record, 6, &key_value);
    let request = [2, 2, 1].iter().fold(record, |inner, number| {
        let mut outer = Vec::new();
        put_bytes(&mut outer, *number, &inner);
        outer
    });
    let payload = Payload::parse(Signal::Logs, request.into()).expect("parses");
    let node = payload.items().next().expect("the record");
    assert_eq!(payload.body(node).expect("a body").items().count(), 100_000);
    assert_eq!(payload.get(node, "key").expect("a value").items().count(), 100_000);
    assert!(payload.encode(UnknownFields::Drop).expect("encodes").bytes.len() < 100_000 * 12);
}
