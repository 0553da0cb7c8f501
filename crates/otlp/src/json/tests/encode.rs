//! Protobuf to JSON: the format, repeated occurrences, round trips, also of the official types' JSON where it is right.
//! `tests/fuzz.rs` mutates requests.

use opentelemetry_proto::tonic::collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use proptest::prelude::*;
use prost::Message;

use super::super::{decode, encode};
use crate::tests::{strategies, within};
use crate::{MalformedOtlp, Signal};

fn json(signal: Signal, wire: &[u8]) -> Result<String, MalformedOtlp> {
    let mut out = String::new();
    encode(signal, wire, &mut out)?;
    Ok(out)
}

/// Our JSON is valid; it and the JSON of the official types decode to the same request, in canonical bytes.
fn round_trip<M: Message + Default + PartialEq + std::fmt::Debug + serde::Serialize>(signal: Signal, message: &M) {
    let ours = json(signal, &message.encode_to_vec()).unwrap();
    serde_json::from_str::<serde_json::Value>(&ours).unwrap();
    for text in [ours, serde_json::to_string(message).unwrap()] {
        let wire = decode(signal, text.as_bytes()).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(wire.len(), message.encoded_len(), "canonical: as long as prost's own bytes");
        assert_eq!(&M::decode(wire.as_slice()).unwrap(), message);
    }
}

fn logs(record: LogRecord) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
}

fn body(value: Value) -> String {
    let record = LogRecord { body: Some(AnyValue { value: Some(value) }), ..LogRecord::default() };
    let text = json(Signal::Logs, &logs(record).encode_to_vec()).unwrap();
    let start = text.find("\"body\":").unwrap() + 7;
    text[start..text.len() - "}]}]}]}".len()].to_owned()
}

/// The format: hexadecimal ids, 64-bit integers as strings, enums as integers, base64, words for non-finite doubles.
#[test]
fn spelling() {
    assert_eq!(json(Signal::Traces, b""), Ok("{}".to_owned()));
    assert_eq!(body(Value::IntValue(-5)), r#"{"intValue":"-5"}"#);
    assert_eq!(body(Value::BoolValue(false)), r#"{"boolValue":false}"#);
    assert_eq!(body(Value::BytesValue(vec![0xfb, 0xff])), r#"{"bytesValue":"+/8="}"#);
    assert_eq!(body(Value::StringValue("a\"\\\n\t\u{1}é🙂/".into())), r#"{"stringValue":"a\"\\\n\t\u0001é🙂/"}"#);
    assert_eq!(body(Value::ArrayValue(ArrayValue::default())), r#"{"arrayValue":{}}"#);
    for (value, text) in [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1.5, "1.5"),
        (100.0, "100.0"),
        (1e300, "1e300"),
        (-2.5e-9, "-2.5e-9"),
        (f64::NAN, "\"NaN\""),
        (f64::INFINITY, "\"Infinity\""),
        (f64::NEG_INFINITY, "\"-Infinity\""),
    ] {
        assert_eq!(body(Value::DoubleValue(value)), format!(r#"{{"doubleValue":{text}}}"#));
    }
    let record = LogRecord {
        time_unix_nano: u64::MAX,
        severity_number: 9,
        trace_id: vec![0xab; 16],
        span_id: vec![0x0c; 8],
        flags: 1,
        ..LogRecord::default()
    };
    assert_eq!(
        json(Signal::Logs, &logs(record).encode_to_vec()).unwrap(),
        concat!(
            r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"18446744073709551615","severityNumber":9,"#,
            r#""flags":1,"traceId":"abababababababababababababababab","spanId":"0c0c0c0c0c0c0c0c"}]}]}]}"#
        )
    );
}

/// An id of a wrong length is dropped: it could contain text, and no reader of OTLP/JSON would accept the request.
#[test]
fn ids_of_a_wrong_length() {
    for length in [1, 7, 9, 16] {
        let record = LogRecord { span_id: vec![b'a'; length], event_name: "e".into(), ..LogRecord::default() };
        let text = json(Signal::Logs, &logs(record).encode_to_vec()).unwrap();
        assert!(text.contains(r#"[{"eventName":"e"}]"#), "{text}");
    }
}

/// An error leaves the output unchanged.
#[test]
fn errors_write_nothing() {
    let mut out = "before".to_owned();
    for bad in [&[0x0a, 5, 1][..], &[0x08, 1], &[0x0b], &[0x07], &[0x80], &[0x0a, 3, 0x1a, 1, 0xff]] {
        assert!(encode(Signal::Logs, bad, &mut out).is_err(), "{bad:?}");
        assert_eq!(out, "before");
    }
}

/// Fields of a later schema are dropped at every level.
#[test]
fn unknown_fields() {
    let mut inner = LogRecord { event_name: "e".into(), ..LogRecord::default() }.encode_to_vec();
    inner.extend([0xa2, 0x06, 3, b'n', b'e', b'w', 0xa8, 0x06, 1]);
    let wrap = |number: u8, bytes: &[u8]| {
        let mut out = vec![number << 3 | 2, bytes.len() as u8];
        out.extend(bytes);
        out.extend([0xad, 0x06, 1, 2, 3, 4]);
        out
    };
    let wire = wrap(1, &wrap(2, &wrap(2, &inner)));
    let text = json(Signal::Logs, &wire).unwrap();
    assert_eq!(text, r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"eventName":"e"}]}]}]}"#);
}

/// Values nested 65 deep are refused, 64 deep written.
#[test]
fn depth() {
    let mut value = AnyValue { value: None };
    for level in 1..=65 {
        let record = LogRecord { body: Some(value.clone()), ..LogRecord::default() };
        let result = json(Signal::Logs, &logs(record).encode_to_vec());
        assert_eq!(result.is_ok(), level <= 64, "{level}");
        value = AnyValue { value: Some(Value::ArrayValue(ArrayValue { values: vec![value] })) };
    }
}

/// Repeated singular fields, oneofs and lists mean the same as in prost.
#[test]
fn repeated_occurrences() {
    let value = |value| AnyValue { value: Some(value) };
    let list = |n| Value::ArrayValue(ArrayValue { values: vec![value(Value::IntValue(n))] });
    let mut all = Vec::new();
    for body in [list(1), Value::StringValue("gone".into()), list(2), list(3)] {
        let attributes = vec![KeyValue { key: "k".into(), value: Some(value(list(4))), key_strindex: 0 }];
        let record = LogRecord { body: Some(value(body)), event_name: "e".into(), attributes, ..LogRecord::default() };
        all.extend(record.encode_to_vec());
    }
    let wanted = LogRecord::decode(all.as_slice()).unwrap();
    let text = json(Signal::Logs, &within(&[2, 2, 1], all)).unwrap();
    assert!(!text.contains("gone"), "{text}");
    let wire = decode(Signal::Logs, text.as_bytes()).unwrap();
    assert_eq!(ExportLogsServiceRequest::decode(wire.as_slice()).unwrap(), logs(wanted));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Requests of all signals survive the round trip.
    #[test]
    fn round_trips(
        traces in strategies::traces(),
        logs in prop_oneof![4 => strategies::logs(), 1 => strategies::indexed()],
        metrics in strategies::metrics(),
    ) {
        round_trip(Signal::Traces, &traces);
        round_trip(Signal::Logs, &logs);
        round_trip(Signal::Metrics, &metrics);
    }

    /// The concatenated bytes of two requests are one request with both, as in protobuf.
    #[test]
    fn concatenated(first in strategies::traces(), second in strategies::traces()) {
        let wire = [first.encode_to_vec(), second.encode_to_vec()].concat();
        let text = json(Signal::Traces, &wire).unwrap();
        let back = ExportTraceServiceRequest::decode(decode(Signal::Traces, text.as_bytes()).unwrap().as_slice()).unwrap();
        prop_assert_eq!(back, ExportTraceServiceRequest::decode(wire.as_slice()).unwrap());
    }
}
