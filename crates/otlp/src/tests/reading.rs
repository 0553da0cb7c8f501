//! Values read equal those that prost decodes.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};
use proptest::prelude::*;
use prost::Message;

use super::strategies::{attributes, logs, metrics, traces, value};
use super::{parse, within};
use crate::wire::{put_bytes, put_tag, put_varint};
use crate::{NodeId, NodeKind, Payload, Signal, TextField, UnknownFields, Value};

/// A view as prost's struct.
pub(super) fn owned(value: Value<'_>) -> AnyValue {
    let entry =
        |(key, value): (&str, Value<'_>)| KeyValue { key: key.to_owned(), value: Some(owned(value)), key_strindex: 0 };
    let value = match value {
        Value::Empty => None,
        Value::Str(text) => Some(Any::StringValue(text.to_owned())),
        Value::Bool(flag) => Some(Any::BoolValue(flag)),
        Value::Int(number) => Some(Any::IntValue(number)),
        Value::Double(number) => Some(Any::DoubleValue(number)),
        Value::Bytes(bytes) => Some(Any::BytesValue(bytes.to_vec())),
        Value::List(_) => Some(Any::ArrayValue(ArrayValue { values: value.items().map(owned).collect() })),
        Value::Map(_) => Some(Any::KvlistValue(KeyValueList { values: value.entries().map(entry).collect() })),
    };
    AnyValue { value }
}

/// prost's struct with absent values replaced by empty ones: the difference has no meaning, and views do not show it.
fn plain(value: Option<&AnyValue>) -> AnyValue {
    let Some(AnyValue { value: Some(value) }) = value else { return AnyValue { value: None } };
    let entry = |entry: &KeyValue| KeyValue { value: Some(plain(entry.value.as_ref())), ..entry.clone() };
    let value = match value {
        Any::ArrayValue(list) => {
            Any::ArrayValue(ArrayValue { values: list.values.iter().map(|value| plain(Some(value))).collect() })
        }
        Any::KvlistValue(map) => Any::KvlistValue(KeyValueList { values: map.values.iter().map(entry).collect() }),
        other => other.clone(),
    };
    AnyValue { value: Some(value) }
}

fn seen(payload: &Payload, node: NodeId) -> Vec<(String, AnyValue)> {
    payload.attributes(node).map(|attribute| (attribute.key.to_owned(), owned(attribute.value))).collect()
}

fn expected(attributes: &[KeyValue]) -> Vec<(String, AnyValue)> {
    attributes.iter().map(|attribute| (attribute.key.clone(), plain(attribute.value.as_ref()))).collect()
}

/// One span with one attribute whose KeyValue has this body.
fn request_with(key_value: &[u8]) -> Vec<u8> {
    within(&[9, 2, 2, 1], key_value.to_vec())
}

fn first_attributes(bytes: &[u8]) -> Vec<KeyValue> {
    let request = ExportTraceServiceRequest::decode(bytes).expect("decodes");
    request.resource_spans[0].scope_spans[0].spans[0].attributes.clone()
}

proptest! {
    /// Every node of a trace request, in order, with all its fields.
    #[test]
    fn trace_nodes(request in traces()) {
        let payload = parse(Signal::Traces, &request.encode_to_vec());
        let mut nodes = payload.nodes();
        let mut next = |kind: NodeKind| {
            let node = nodes.next().expect("another node");
            assert_eq!(payload.kind(node), kind);
            node
        };
        for resource in &request.resource_spans {
            let resource_node = next(NodeKind::Resource);
            prop_assert_eq!(payload.text(resource_node, TextField::SchemaUrl), &resource.schema_url);
            let own = resource.resource.clone().unwrap_or_default();
            prop_assert!(seen(&payload, resource_node) == expected(&own.attributes));
            for scope in &resource.scope_spans {
                let scope_node = next(NodeKind::Scope);
                let own = scope.scope.clone().unwrap_or_default();
                prop_assert_eq!(payload.text(scope_node, TextField::Name), &own.name);
                prop_assert_eq!(payload.text(scope_node, TextField::Version), &own.version);
                prop_assert!(seen(&payload, scope_node) == expected(&own.attributes));
                for span in &scope.spans {
                    let node = next(NodeKind::Span);
                    prop_assert_eq!(payload.text(node, TextField::Name), &span.name);
                    prop_assert_eq!(payload.text(node, TextField::TraceState), &span.trace_state);
                    prop_assert_eq!(payload.trace_id(node), &span.trace_id);
                    prop_assert_eq!(payload.span_id(node), &span.span_id);
                    prop_assert_eq!(payload.parent_span_id(node), &span.parent_span_id);
                    prop_assert_eq!(payload.time(node), span.start_time_unix_nano);
                    prop_assert_eq!(payload.end_time(node), span.end_time_unix_nano);
                    let status = span.status.clone().unwrap_or_default();
                    prop_assert_eq!(payload.status_code(node), status.code);
                    prop_assert_eq!(payload.text(node, TextField::StatusMessage), &status.message);
                    prop_assert!(seen(&payload, node) == expected(&span.attributes));
                    prop_assert_eq!(payload.scope(node), scope_node);
                    prop_assert_eq!(payload.resource(node), resource_node);
                    prop_assert_eq!(payload.children(node).count(), span.events.len() + span.links.len());
                    for event in &span.events {
                        let child = next(NodeKind::Event);
                        prop_assert_eq!(payload.text(child, TextField::Name), &event.name);
                        prop_assert_eq!(payload.time(child), event.time_unix_nano);
                        prop_assert!(seen(&payload, child) == expected(&event.attributes));
                        prop_assert_eq!(payload.parent(child), Some(node));
                    }
                    for link in &span.links {
                        let child = next(NodeKind::Link);
                        prop_assert_eq!(payload.trace_id(child), &link.trace_id);
                        prop_assert!(seen(&payload, child) == expected(&link.attributes));
                    }
                }
            }
        }
    }

    /// Log records with bodies and times.
    #[test]
    fn log_records(request in logs()) {
        let payload = parse(Signal::Logs, &request.encode_to_vec());
        let mut items = payload.items();
        for record in request.resource_logs.iter().flat_map(|r| &r.scope_logs).flat_map(|s| &s.log_records) {
            let node = items.next().expect("another record");
            prop_assert!(payload.body(node).map(owned) == record.body.as_ref().map(|body| plain(Some(body))));
            prop_assert_eq!(payload.severity_number(node), record.severity_number);
            prop_assert_eq!(payload.text(node, TextField::SeverityText), &record.severity_text);
            prop_assert_eq!(payload.text(node, TextField::EventName), &record.event_name);
            let time = if record.time_unix_nano == 0 { record.observed_time_unix_nano } else { record.time_unix_nano };
            prop_assert_eq!(payload.time(node), time);
            prop_assert_eq!(payload.trace_id(node), &record.trace_id);
            prop_assert!(seen(&payload, node) == expected(&record.attributes));
        }
        prop_assert!(items.next().is_none());
    }

    /// Points of all five kinds are children of their metric, exemplars of their point.
    #[test]
    fn points(request in metrics()) {
        use opentelemetry_proto::tonic::metrics::v1::metric::Data;
        let payload = parse(Signal::Metrics, &request.encode_to_vec());
        let mut found = payload.nodes().filter(|node| payload.kind(*node) == NodeKind::Metric);
        for metric in request.resource_metrics.iter().flat_map(|r| &r.scope_metrics).flat_map(|s| &s.metrics) {
            let node = found.next().expect("another metric");
            prop_assert_eq!(payload.text(node, TextField::Unit), &metric.unit);
            prop_assert_eq!(payload.text(node, TextField::Description), &metric.description);
            let points: Vec<_> = match &metric.data {
                None => Vec::new(),
                Some(Data::Gauge(d)) => d.data_points.iter().map(|p| (&p.attributes, p.exemplars.len())).collect(),
                Some(Data::Sum(d)) => d.data_points.iter().map(|p| (&p.attributes, p.exemplars.len())).collect(),
                Some(Data::Histogram(d)) => d.data_points.iter().map(|p| (&p.attributes, p.exemplars.len())).collect(),
                Some(Data::ExponentialHistogram(d)) => {
                    d.data_points.iter().map(|p| (&p.attributes, p.exemplars.len())).collect()
                }
                Some(Data::Summary(d)) => d.data_points.iter().map(|p| (&p.attributes, 0)).collect(),
            };
            let nodes: Vec<_> = payload.children(node).collect();
            prop_assert_eq!(nodes.len(), points.len());
            for (node, (attributes, exemplars)) in nodes.into_iter().zip(points) {
                prop_assert_eq!(payload.kind(node), NodeKind::DataPoint);
                prop_assert!(seen(&payload, node) == expected(attributes));
                prop_assert_eq!(payload.children(node).count(), exemplars);
            }
        }
    }

    /// A KeyValue with repeated fields, and values with several members, are read and encoded as prost merges them.
    #[test]
    fn merged(one in attributes(), other in attributes(), extra in value()) {
        for (one, other) in one.iter().zip(&other) {
            let mut body = one.encode_to_vec();
            body.extend(other.encode_to_vec());
            if let Some(extra) = &extra {
                put_bytes(&mut body, 2, &extra.encode_to_vec());
                // The same again within a list, so that the repetition is nested.
                let mut list = Vec::new();
                put_bytes(&mut list, 1, &[extra.encode_to_vec(), extra.encode_to_vec()].concat());
                let mut any = Vec::new();
                put_bytes(&mut any, 5, &list);
                put_bytes(&mut body, 2, &any);
            }
            let request = request_with(&body);
            let payload = parse(Signal::Traces, &request);
            let right = first_attributes(&request);
            let node = payload.items().next().expect("the span");
            prop_assert!(seen(&payload, node) == expected(&right));
            for unknown in [UnknownFields::Keep, UnknownFields::Drop] {
                let bytes = payload.encode(unknown).expect("encodes").bytes;
                prop_assert!(first_attributes(&bytes) == right);
                // Once merged, it stays unchanged.
                let again = parse(Signal::Traces, &bytes);
                prop_assert!(!again.index.edited);
            }
        }
    }
}

/// Key after value, unknown fields between, non-minimal lengths: all legal, all read.
#[test]
fn unusual_but_legal() {
    let mut any = Vec::new();
    put_bytes(&mut any, 1, b"text");
    let mut body = Vec::new();
    put_bytes(&mut body, 2, &any);
    put_tag(&mut body, 40, 0);
    put_varint(&mut body, 7);
    // A key whose length takes three bytes.
    body.extend_from_slice(&[0x0a, 0x83, 0x80, 0x00, b'k', b'e', b'y']);
    let payload = parse(Signal::Traces, &request_with(&body));
    let node = payload.items().next().expect("the span");
    assert_eq!(payload.get_str(node, "key"), Some("text"));
    let bytes = payload.encode(UnknownFields::Drop).expect("encodes");
    assert_eq!(bytes.unknown_dropped, 1);
    assert_eq!(first_attributes(&bytes.bytes)[0].key, "key");
}

/// Counts are read from integers, integral doubles and decimal strings, and from nothing else.
#[test]
fn counts() {
    let cases = [
        (Value::Int(-3), Some(-3)),
        (Value::Double(12.0), Some(12)),
        (Value::Double(12.5), None),
        (Value::Double(f64::NAN), None),
        (Value::Double(f64::INFINITY), None),
        (Value::Double(9.3e18), None),
        (Value::Str("1234"), Some(1234)),
        (Value::Str("1234.0"), None),
        (Value::Str(" 1"), None),
        (Value::Bool(true), None),
        (Value::Empty, None),
    ];
    for (value, count) in cases {
        assert_eq!(value.as_count(), count);
    }
    assert_eq!(Value::Str("true").as_bool(), Some(true));
    assert_eq!(Value::Int(1).as_bool(), None);
}

/// Values as JSON: compact, base64, non-finite numbers as strings, entries in order.
#[test]
fn json() {
    let texts = ["a\"b\\\n\u{1}é".to_owned(), String::new()];
    let list = texts.iter().map(|text| AnyValue { value: Some(Any::StringValue(text.clone())) }).collect();
    let map = vec![
        ("list", Some(Any::ArrayValue(ArrayValue { values: list }))),
        ("bytes", Some(Any::BytesValue(vec![0xff, 0xfe]))),
        ("nan", Some(Any::DoubleValue(f64::NAN))),
        ("inf", Some(Any::DoubleValue(f64::NEG_INFINITY))),
        ("one", Some(Any::DoubleValue(1.0))),
        ("int", Some(Any::IntValue(i64::MIN))),
        ("none", None),
        ("bool", Some(Any::BoolValue(false))),
    ];
    let values = map
        .into_iter()
        .map(|(key, value)| KeyValue { key: key.into(), value: Some(AnyValue { value }), key_strindex: 0 })
        .collect();
    let body = AnyValue { value: Some(Any::KvlistValue(KeyValueList { values })) }.encode_to_vec();
    let mut out = String::new();
    Value::read(&body).write_json(&mut out);
    assert_eq!(
        out,
        concat!(
            r#"{"list":["a\"b\\\n\u0001é",""],"bytes":"//4=","nan":"NaN","inf":"-Infinity","#,
            r#""one":1.0,"int":-9223372036854775808,"none":null,"bool":false}"#
        )
    );
    assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok());
}

proptest! {
    /// JSON of any value is valid JSON.
    #[test]
    fn json_is_valid(value in value()) {
        let body = value.unwrap_or_default().encode_to_vec();
        let mut out = String::new();
        Value::read(&body).write_json(&mut out);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok());
    }
}
