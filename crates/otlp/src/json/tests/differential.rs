//! Differential tests against opentelemetry-proto where its JSON is right: random messages, its JSON, our bytes, read
//! by prost.

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use proptest::prelude::*;
use prost::Message;

use super::super::{decode, encode};
use crate::Signal;
use crate::tests::strategies;

fn official<M: Message + Default + serde::Serialize>(signal: Signal, message: &M) -> M {
    let json = serde_json::to_vec(message).unwrap();
    let wire = decode(signal, &json).unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&json)));
    assert_eq!(wire.len(), message.encoded_len(), "canonical: as long as prost's own bytes");
    M::decode(wire.as_slice()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// JSON written by the official types decodes to the same traces.
    #[test]
    fn official_json_of_traces(message in strategies::traces()) {
        prop_assert_eq!(official::<ExportTraceServiceRequest>(Signal::Traces, &message), message);
    }

    /// JSON written by the official types decodes to the same logs.
    #[test]
    fn official_json_of_logs(message in prop_oneof![4 => strategies::logs(), 1 => strategies::indexed()]) {
        prop_assert_eq!(official::<ExportLogsServiceRequest>(Signal::Logs, &message), message);
    }

    /// JSON written by the official types decodes to the same metrics.
    #[test]
    fn official_json_of_metrics(message in strategies::metrics()) {
        prop_assert_eq!(official::<ExportMetricsServiceRequest>(Signal::Metrics, &message), message);
    }
}

/// The official types' reading of a text, written as our JSON.
fn theirs(signal: Signal, text: &str) -> Result<String, ()> {
    let wire = match signal {
        Signal::Traces => serde_json::from_str::<ExportTraceServiceRequest>(text).map(|m| m.encode_to_vec()),
        Signal::Metrics => serde_json::from_str::<ExportMetricsServiceRequest>(text).map(|m| m.encode_to_vec()),
        Signal::Logs => serde_json::from_str::<ExportLogsServiceRequest>(text).map(|m| m.encode_to_vec()),
    };
    let mut out = String::new();
    encode(signal, &wire.map_err(|_| ())?, &mut out).unwrap();
    Ok(out)
}

fn ours(signal: Signal, text: &str) -> Result<String, &'static str> {
    let wire = decode(signal, text.as_bytes()).map_err(|e| e.message)?;
    let mut out = String::new();
    encode(signal, &wire, &mut out).unwrap();
    Ok(out)
}

/// A span, metric or attribute value; our reading (`None`: refused); the official types' reading.
type Case = (&'static str, Option<&'static str>, Option<&'static str>);

fn compare(signal: Signal, head: &str, tail: &str, cases: &[Case]) {
    for (text, wanted, official) in cases {
        let whole = |text: &str| format!("{head}{text}{tail}");
        assert_eq!(ours(signal, &whole(text)).ok(), wanted.map(whole), "ours: {text}");
        assert_eq!(theirs(signal, &whole(text)).ok(), official.map(whole), "theirs: {text}");
        assert_ne!(wanted, official, "{text}: belongs to the property tests");
    }
}

/// Metrics where the official types lose data without an error, and our result.
#[test]
fn official_types_lose_metrics() {
    let cases: [Case; 15] = [
        (
            r#""gauge":{"dataPoints":[{"asDouble":"NaN"}]}"#,
            Some(r#""gauge":{"dataPoints":[{"asDouble":"NaN"}]}"#),
            Some(r#""gauge":{"dataPoints":[{}]}"#),
        ),
        (
            r#""gauge":{"dataPoints":[{"asDouble":"1.5"}]}"#,
            Some(r#""gauge":{"dataPoints":[{"asDouble":1.5}]}"#),
            Some(r#""gauge":{"dataPoints":[{}]}"#),
        ),
        (
            r#""gauge":{"dataPoints":[{"asInt":1.0}]}"#,
            Some(r#""gauge":{"dataPoints":[{"asInt":"1"}]}"#),
            Some(r#""gauge":{"dataPoints":[{}]}"#),
        ),
        (r#""gauge":{"dataPoints":[{"asInt":"x"}]}"#, None, Some(r#""gauge":{"dataPoints":[{}]}"#)),
        (
            r#""gauge":{"dataPoints":[{"asDouble":1,"asInt":2}]}"#,
            None,
            Some(r#""gauge":{"dataPoints":[{"asDouble":1.0}]}"#),
        ),
        (r#""gauge":{"dataPoints":null}"#, Some(r#""gauge":{}"#), Some("")),
        (
            r#""gauge":{"dataPoints":[{"timeUnixNano":1e3}]}"#,
            Some(r#""gauge":{"dataPoints":[{"timeUnixNano":"1000"}]}"#),
            Some(""),
        ),
        (r#""gauge":{},"sum":{}"#, None, Some(r#""gauge":{}"#)),
        (r#""sum":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA"}"#, None, Some("")),
        (r#""sum":{"isMonotonic":null,"dataPoints":[{}]}"#, Some(r#""sum":{"dataPoints":[{}]}"#), Some("")),
        (
            r#""histogram":{"dataPoints":[{"sum":"NaN"}]}"#,
            Some(r#""histogram":{"dataPoints":[{"sum":"NaN"}]}"#),
            Some(""),
        ),
        (
            r#""histogram":{"dataPoints":[{"explicitBounds":["Infinity"]}]}"#,
            Some(r#""histogram":{"dataPoints":[{"explicitBounds":["Infinity"]}]}"#),
            Some(""),
        ),
        (
            r#""histogram":{"dataPoints":[{"bucketCounts":[1.0]}]}"#,
            Some(r#""histogram":{"dataPoints":[{"bucketCounts":["1"]}]}"#),
            Some(""),
        ),
        (
            r#""summary":{"dataPoints":[{"sum":"Infinity"}]}"#,
            Some(r#""summary":{"dataPoints":[{"sum":"Infinity"}]}"#),
            Some(""),
        ),
        (
            r#""exponentialHistogram":{"dataPoints":[{"scale":1.0}]}"#,
            Some(r#""exponentialHistogram":{"dataPoints":[{"scale":1}]}"#),
            Some(""),
        ),
    ];
    compare(Signal::Metrics, r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"#, "}]}]}]}", &cases);
}

/// Spans where the official types refuse what the mapping allows, or accept what it forbids.
#[test]
fn official_types_and_spans() {
    let cases: [Case; 10] = [
        (r#""traceId":null,"name":"x""#, Some(r#""name":"x""#), None),
        (r#""kind":null,"attributes":null,"status":null"#, Some(""), None),
        (r#""kind":2.0"#, Some(r#""kind":2"#), None),
        (r#""startTimeUnixNano":1e3"#, Some(r#""startTimeUnixNano":"1000""#), None),
        (r#""startTimeUnixNano":"1.0""#, Some(r#""startTimeUnixNano":"1""#), None),
        (r#""droppedEventsCount":"1""#, Some(r#""droppedEventsCount":1"#), None),
        (r#""flags":1.0"#, Some(r#""flags":1"#), None),
        (r#""attributes":[{"value":{}}]"#, Some(r#""attributes":[{"value":{}}]"#), None),
        (r#""traceId":"0xab""#, None, Some("")),
        (r#""events":[{"timeUnixNano":null}]"#, Some(r#""events":[{}]"#), None),
    ];
    compare(Signal::Traces, r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"#, "}]}]}]}", &cases);
}

/// Values where the official types refuse what the mapping allows, accept what it forbids, or lose data.
#[test]
fn official_types_and_values() {
    let cases: [Case; 9] = [
        (r#""intValue":1.0"#, Some(r#""intValue":"1""#), None),
        (r#""intValue":"1e3""#, Some(r#""intValue":"1000""#), None),
        (r#""doubleValue":"NaN""#, Some(r#""doubleValue":"NaN""#), None),
        (r#""doubleValue":"1.5""#, Some(r#""doubleValue":1.5"#), None),
        (r#""bytesValue":"-_-_-w""#, Some(r#""bytesValue":"+/+/+w==""#), None),
        (r#""arrayValue":{}"#, Some(r#""arrayValue":{}"#), None),
        (r#""kvlistValue":{}"#, Some(r#""kvlistValue":{}"#), None),
        (r#""stringValue":"a","intValue":"1""#, None, Some(r#""intValue":"1""#)),
        (r#""stringValueStrindex":3"#, Some(r#""stringValueStrindex":3"#), Some("")),
    ];
    compare(Signal::Logs, r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"#, "}}]}]}]}", &cases);
}

/// 64 nested values are accepted here; the official types stop at the 128 levels of their JSON library.
#[test]
fn official_types_and_depth() {
    let body = format!("{}{{}}{}", r#"{"arrayValue":{"values":["#.repeat(63), "]}}".repeat(63));
    let text = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{body}}}]}}]}}]}}"#);
    assert_eq!(ours(Signal::Logs, &text), Ok(text.clone()));
    assert_eq!(theirs(Signal::Logs, &text), Err(()));
}
