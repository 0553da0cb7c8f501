//! The rules of OTLP/JSON and of the protobuf JSON mapping, one by one.

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, metric::Data};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::super::{JsonError, decode};
use crate::Signal;

fn span_request(span: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#)
}

fn span(text: &str) -> Result<Span, JsonError> {
    let wire = decode(Signal::Traces, span_request(text).as_bytes())?;
    let mut request = ExportTraceServiceRequest::decode(wire.as_slice()).unwrap();
    Ok(request.resource_spans.remove(0).scope_spans.remove(0).spans.remove(0))
}

fn what(text: &str) -> &'static str {
    span(text).expect_err("must be refused").message
}

fn record(text: &str) -> Result<LogRecord, JsonError> {
    let text = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{text}]}}]}}]}}"#);
    let wire = decode(Signal::Logs, text.as_bytes())?;
    let mut request = ExportLogsServiceRequest::decode(wire.as_slice()).unwrap();
    Ok(request.resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0))
}

fn value(text: &str) -> Result<Option<Value>, JsonError> {
    Ok(record(&format!(r#"{{"body":{text}}}"#))?.body.and_then(|AnyValue { value }| value))
}

fn histogram(text: &str) -> Result<HistogramDataPoint, JsonError> {
    let text = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{text}]}}}}]}}]}}]}}"#
    );
    let wire = decode(Signal::Metrics, text.as_bytes())?;
    let mut request = ExportMetricsServiceRequest::decode(wire.as_slice()).unwrap();
    match request.resource_metrics.remove(0).scope_metrics.remove(0).metrics.remove(0).data {
        Some(Data::Histogram(mut histogram)) => Ok(histogram.data_points.remove(0)),
        _ => panic!("not a histogram"),
    }
}

/// `{}` is an empty request; an empty body, other values, a byte order mark and trailing text are refused.
#[test]
fn whole_texts() {
    for text in ["{}", " \t\r\n{ } \n", r#"{"resourceSpans":[]}"#, r#"{"resourceSpans":null}"#] {
        assert_eq!(decode(Signal::Traces, text.as_bytes()), Ok(Vec::new()), "{text}");
    }
    for text in
        ["", " ", "null", "[]", "\"\"", "1", "{", "{}{}", "{} x", "{},", "\u{feff}{}", "{\"a\":1,}", "{,}", "{a:1}"]
    {
        assert!(decode(Signal::Traces, text.as_bytes()).is_err(), "{text}");
    }
    let error = decode(Signal::Traces, b"{} x").unwrap_err();
    assert_eq!(error, JsonError { message: "text after the end of the request", at: 3 });
    assert_eq!(decode(Signal::Logs, b"{\"\xff\":1}").unwrap_err(), JsonError { message: "not UTF-8", at: 2 });
}

/// Only lowerCamelCase keys are recognised; unknown keys are ignored, but their values must be JSON.
#[test]
fn unknown_fields() {
    let got =
        span(r#"{"trace_id":"zz","new":{"a":[1,{"b":null}],"c":"\u00e9"},"name":"x","more":[],"x":-0.5e+3}"#).unwrap();
    assert_eq!(got, Span { name: "x".into(), ..Span::default() });
    let values = r#"tru [1,] {"a"} {"a":1,} 01 1. .5 +1 1e NaN "\x" "\ud800" [1} {"a":1] 'a'"#.split(' ');
    for bad in values.map(|value| format!(r#"{{"new":{value}}}"#)) {
        assert!(span(&bad).is_err(), "{bad}");
    }
    for bad in [r#"{"new":}"#, "{\"new\":\"\n\"}", r#"{"new":1 "name":"x"}"#, r#"{"new" 1}"#, r#"{new:1}"#] {
        assert!(span(bad).is_err(), "{bad}");
    }
}

/// A known field that occurs twice could hide a text, so it is refused, also if one is null or its key is escaped;
/// unknown fields may repeat.
#[test]
fn duplicate_keys() {
    assert_eq!(span(r#"{"n\u0061me":"x"}"#).unwrap().name, "x");
    for twice in [
        r#"{"name":"a","name":"b"}"#,
        r#"{"name":null,"name":"b"}"#,
        r#"{"attributes":[],"attributes":[]}"#,
        r#"{"n\u0061me":"x","name":"y"}"#,
    ] {
        assert_eq!(what(twice), "a field occurs twice in an object", "{twice}");
    }
    assert_eq!(span(r#"{"new":1,"new":2,"name":"a"}"#).unwrap().name, "a");
}

/// `null` is an absent field, everywhere except inside lists.
#[test]
fn null() {
    assert_eq!(
        span(r#"{"traceId":null,"name":null,"kind":null,"status":null,"attributes":null}"#).unwrap(),
        Span::default()
    );
    assert_eq!(value("null").unwrap(), None);
    assert_eq!(value(r#"{"stringValue":null}"#).unwrap(), None);
    assert_eq!(value(r#"{"stringValue":null,"intValue":"1"}"#).unwrap(), Some(Value::IntValue(1)));
    assert_eq!(histogram(r#"{"sum":null,"bucketCounts":null}"#).unwrap(), HistogramDataPoint::default());
    assert_eq!(what(r#"{"attributes":[null]}"#), "expected an object");
    assert!(value(r#"{"arrayValue":{"values":[null]}}"#).is_err());
    assert!(histogram(r#"{"bucketCounts":[null]}"#).is_err());
}

/// Ids are hexadecimal in either case; even lengths of up to 128 digits are accepted.
#[test]
fn ids() {
    let got = span(r#"{"traceId":"5B8EFFF798038103d269b633813fc60c","spanId":"EEE19B7EC3C1B174","parentSpanId":""}"#)
        .unwrap();
    assert_eq!(got.trace_id, 0x5b8e_fff7_9803_8103_d269_b633_813f_c60c_u128.to_be_bytes());
    assert_eq!(got.span_id, 0xeee1_9b7e_c3c1_b174_u64.to_be_bytes());
    assert!(got.parent_span_id.is_empty());
    assert_eq!(span(r#"{"spanId":"\u0045EE19B7EC3C1B174"}"#).unwrap().span_id, got.span_id);
    assert_eq!(what(r#"{"traceId":"5B8EFFF798038103D269B633813FC60"}"#), "id has a wrong length");
    let long = format!(r#"{{"spanId":"{}"}}"#, "ab".repeat(65));
    assert_eq!(what(&long), "id has a wrong length");
    // Judged item by item, as in protobuf.
    assert_eq!(span(r#"{"spanId":"abcd"}"#).unwrap().span_id, [0xab, 0xcd]);
    assert_eq!(what(r#"{"spanId":"EEE19B7EC3C1B17g"}"#), "id is not hexadecimal");
    assert_eq!(what(r#"{"spanId":"+EE19B7EC3C1B174"}"#), "id is not hexadecimal");
    assert_eq!(what(r#"{"spanId":1}"#), "expected a string");
    let link =
        span(r#"{"links":[{"traceId":"00000000000000000000000000000001","spanId":"0000000000000002"}]}"#).unwrap();
    assert_eq!((link.links[0].trace_id[15], link.links[0].span_id[7]), (1, 2));
}

/// Enums are integers, including numbers of a later schema; names are refused.
#[test]
fn enums() {
    assert_eq!(span(r#"{"kind":2}"#).unwrap().kind, 2);
    assert_eq!(span(r#"{"kind":2.0}"#).unwrap().kind, 2);
    assert_eq!(span(r#"{"kind":-77}"#).unwrap().kind, -77);
    for bad in [r#"{"kind":"SPAN_KIND_SERVER"}"#, r#"{"kind":"2"}"#, r#"{"status":{"code":"STATUS_CODE_ERROR"}}"#] {
        assert_eq!(what(bad), "enum value must be an integer", "{bad}");
    }
    assert!(span(r#"{"kind":2147483648}"#).is_err());
    assert!(span(r#"{"kind":1.5}"#).is_err());
    assert!(span(r#"{"kind":true}"#).is_err());
}

/// Integers may be numbers or strings; they must be whole and in range.
#[test]
fn integers() {
    for (text, wanted) in [
        ("0", 0),
        ("-0", 0),
        ("1.0", 1),
        ("1e3", 1000),
        ("1E+3", 1000),
        ("1200e-2", 12),
        ("12.50e1", 125),
        ("0.001e3", 1),
        ("0e99999999999999999999", 0),
        ("9223372036854775807", i64::MAX),
        ("-9223372036854775808", i64::MIN),
        ("922337203685477580.7e1", i64::MAX),
        ("1.000000000000000000000000000000000000000000", 1),
    ] {
        for text in [text.to_owned(), format!("\"{text}\"")] {
            assert_eq!(value(&format!(r#"{{"intValue":{text}}}"#)).unwrap(), Some(Value::IntValue(wanted)), "{text}");
        }
    }
    assert_eq!(value(r#"{"intValue":"\u0034\u0032"}"#).unwrap(), Some(Value::IntValue(42)));
    let bad = r#"9223372036854775808 -9223372036854775809 1e19 1e-1 0.5 1.5e0 1e99999999999999999999
        1e-99999999999999999999 99999999999999999999999999999999999999999999 "" "+1" "01" "0x1" "1_0" "NaN" "-" true {} []"#;
    for text in bad.split_whitespace().chain(["\" 1\"", "\"1 \""]) {
        assert!(value(&format!(r#"{{"intValue":{text}}}"#)).is_err(), "{text}");
    }
    let time = |text: &str| span(&format!(r#"{{"startTimeUnixNano":{text}}}"#)).map(|span| span.start_time_unix_nano);
    assert_eq!(time("1544712660300000000"), Ok(1_544_712_660_300_000_000));
    assert_eq!(time("\"18446744073709551615\""), Ok(u64::MAX));
    assert_eq!(time("18446744073709551615"), Ok(u64::MAX));
    assert!(time("18446744073709551616").is_err() && time("-1").is_err());
    let dropped =
        |text: &str| span(&format!(r#"{{"droppedEventsCount":{text}}}"#)).map(|span| span.dropped_events_count);
    assert_eq!((dropped("4294967295"), dropped("\"7\"")), (Ok(u32::MAX), Ok(7)));
    assert!(dropped("4294967296").is_err() && dropped("-1").is_err());
}

/// Doubles may be numbers, numeric strings or the three words; a number that overflows is refused.
#[test]
fn doubles() {
    let double = |text: &str| match value(&format!(r#"{{"doubleValue":{text}}}"#))? {
        Some(Value::DoubleValue(value)) => Ok::<_, JsonError>(value),
        _ => panic!("not a double"),
    };
    for (text, wanted) in [("1", 1.0), ("-1.5e-3", -0.0015), ("\"2.5\"", 2.5), ("1e-400", 0.0), ("5e-324", 5e-324)] {
        assert_eq!(double(text), Ok(wanted), "{text}");
    }
    // To the last bit, because a cost is a double; the reader of the official types is a bit off here.
    for text in "0.0012850000000000001 0.1 2.2250738585072011e-308 9007199254740993 123456789012345680000000".split(' ')
    {
        assert_eq!(double(text), Ok(text.parse().unwrap()), "{text}");
    }
    assert!(double("\"NaN\"").unwrap().is_nan());
    assert_eq!(double("\"Infinity\""), Ok(f64::INFINITY));
    assert_eq!(double("\"-Infinity\""), Ok(f64::NEG_INFINITY));
    assert_eq!(double("-0.0").map(f64::to_bits), Ok((-0.0_f64).to_bits()));
    let bad = r#"1e400 "1e400" "nan" "inf" "+Infinity" NaN Infinity -Infinity "" "0x1p3" "1." true"#;
    for bad in bad.split(' ') {
        assert!(double(bad).is_err(), "{bad}");
    }
    let point =
        histogram(r#"{"sum":0,"min":"NaN","explicitBounds":[0,"Infinity","1e3"],"bucketCounts":["1",2,"3.0"]}"#)
            .unwrap();
    assert_eq!(point.sum, Some(0.0));
    assert!(point.min.unwrap().is_nan());
    assert_eq!(point.explicit_bounds, [0.0, f64::INFINITY, 1000.0]);
    assert_eq!(point.bucket_counts, [1, 2, 3]);
}

/// Bytes are base64, standard or URL-safe, padded or not.
#[test]
fn bytes() {
    for text in ["+/+/+w==", "+/+/+w", "-_-_-w==", "-_-_-w"] {
        let got = value(&format!(r#"{{"bytesValue":"{text}"}}"#)).unwrap();
        assert_eq!(got, Some(Value::BytesValue(vec![0xfb, 0xff, 0xbf, 0xfb])), "{text}");
    }
    assert_eq!(value(r#"{"bytesValue":"AQ\u003d\u003d"}"#).unwrap(), Some(Value::BytesValue(vec![1])));
    assert_eq!(value(r#"{"bytesValue":""}"#).unwrap(), Some(Value::BytesValue(Vec::new())));
    for bad in ["\"A\"", "\"-/AA\"", "\"A A=\"", "\"====\"", "1", "[1]"] {
        assert!(value(&format!(r#"{{"bytesValue":{bad}}}"#)).is_err(), "{bad}");
    }
}

/// Strings: every escape and surrogate pairs; half a pair and control characters are refused.
#[test]
fn strings() {
    let name = |text: &str| span(&format!(r#"{{"name":"{text}"}}"#)).map(|span| span.name);
    assert_eq!(name(r#"\"\\\/\b\f\n\r\t\u0000\u00e9\u20AC\ud83d\ude42é🙂"#).unwrap(), "\"\\/\u{8}\u{c}\n\r\t\0é€🙂é🙂");
    assert_eq!(name(&r"\n".repeat(500)).unwrap(), "\n".repeat(500));
    for bad in [r"\ud83d", r"\ud83dx", r"\ud83d\n", r"\ud83d\ud83d", r"\ude42", r"\ude42\ud83d", r"\ud83d\u0041"] {
        assert_eq!(what(&format!(r#"{{"name":"{bad}"}}"#)), "unpaired surrogate in a string", "{bad}");
    }
    for bad in [r"\u12", r"\u12g4", r"\u+123", r"\x41", r"\"] {
        assert!(name(bad).is_err(), "{bad}");
    }
    for control in ["\0", "\n", "\t", "\u{1f}"] {
        assert_eq!(what(&format!(r#"{{"name":"a{control}"}}"#)), "unescaped control character in a string");
    }
    assert!(span(r#"{"name":1}"#).is_err() && span(r#"{"name":{}}"#).is_err() && span(r#"{"name":true}"#).is_err());
}

/// Two members of a oneof are refused in every message that has one; a oneof without a member has no value.
#[test]
fn oneofs() {
    assert_eq!(value(r#"{"stringValue":"a","intValue":1}"#).unwrap_err().message, "two members of a oneof are set");
    assert_eq!(value("{}").unwrap(), None);
    assert_eq!(value(r#"{"unknownValue":1}"#).unwrap(), None);
    assert_eq!(value(r#"{"boolValue":false}"#).unwrap(), Some(Value::BoolValue(false)));
    assert_eq!(value(r#"{"stringValue":""}"#).unwrap(), Some(Value::StringValue(String::new())));
    assert!(value(r#"{"boolValue":"true"}"#).is_err() && value(r#"{"boolValue":1}"#).is_err());
    let metric = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{},"sum":{}}]}]}]}"#;
    assert_eq!(decode(Signal::Metrics, metric.as_bytes()).unwrap_err().message, "two members of a oneof are set");
}

/// A list in place of a value, and a value in place of a list, are refused.
#[test]
fn shapes() {
    let bad = r#""attributes":{} "attributes":"x" "name":["x"] "status":[] "status":"x" "events":[[]] "events":[1]
        "events":[{},] "events":[{}{}] "events":[,{}]"#;
    for bad in bad.split_whitespace() {
        assert!(span(&format!("{{{bad}}}")).is_err(), "{bad}");
    }
    let got = span(r#"{"status":{},"events":[{},{}],"attributes":[{"key":"a","value":{}},{}]}"#).unwrap();
    assert_eq!((got.status.is_some(), got.events.len(), got.attributes.len()), (true, 2, 2));
}

/// Lengths around the steps of the varint, nested, are encoded canonically.
#[test]
fn lengths() {
    for length in [0, 1, 126, 127, 128, 129, 16_383, 16_384, 16_385, 2_097_151, 2_097_152] {
        for escape in [false, true] {
            let name = if escape { "\\u0061".repeat(length.min(40_000)) } else { "a".repeat(length) };
            let text = format!(r#"{{"name":"{name}","events":[{{"name":"{name}"}}],"attributes":[{{"key":"k"}}]}}"#);
            let wire = decode(Signal::Traces, span_request(&text).as_bytes()).unwrap();
            let request = ExportTraceServiceRequest::decode(wire.as_slice()).unwrap();
            assert_eq!(request.encoded_len(), wire.len(), "{length}");
            let span = &request.resource_spans[0].scope_spans[0].spans[0];
            assert_eq!(span.name.len(), if escape { length.min(40_000) } else { length });
            assert_eq!(span.events[0].name, span.name);
        }
    }
}

/// An error contains an offset and a rule, never a key or a value of the text.
#[test]
fn errors_show_no_payload() {
    let error = span(r#"{"name":"secret","kind":"secret"}"#).unwrap_err();
    assert_eq!(error.to_string(), "enum value must be an integer at byte 67");
    assert!(!format!("{error:?}").contains("secret"));
}
