//! Edits equal the same edits made on prost's structs.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::prelude::*;
use prost::Message;

use super::parse;
use super::strategies::{key, logs, metrics, text, traces};
use crate::{NodeId, NodeKind, OwnedValue, Payload, Signal, SlotId, TextEdit, TextField, TextPlaceKind, UnknownFields};

fn encode(payload: &Payload) -> Vec<u8> {
    payload.encode(UnknownFields::Drop).expect("encodes").bytes
}

fn spans(request: &mut ExportTraceServiceRequest) -> impl Iterator<Item = &mut Span> {
    request.resource_spans.iter_mut().flat_map(|r| &mut r.scope_spans).flat_map(|s| &mut s.spans)
}

fn text_value(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Any::StringValue(text.into())) })
}

/// `set` on prost's attributes.
fn set(attributes: &mut Vec<KeyValue>, key: &str, value: &str) {
    match attributes.iter().position(|attribute| attribute.key == key) {
        Some(first) => {
            attributes[first].value = text_value(value);
            let mut at = 0;
            attributes.retain(|attribute| {
                at += 1;
                attribute.key != key || at == first + 1
            });
        }
        None => attributes.push(KeyValue { key: key.into(), value: text_value(value), key_strindex: 0 }),
    }
}

proptest! {
    /// Without edits the bytes stay the same, with either treatment of unknown fields.
    #[test]
    fn identity(traces in traces(), logs in logs(), metrics in metrics()) {
        let requests =
            [(Signal::Traces, traces.encode_to_vec()), (Signal::Logs, logs.encode_to_vec()), (Signal::Metrics, metrics.encode_to_vec())];
        for (signal, bytes) in requests {
            let payload = parse(signal, &bytes);
            prop_assert_eq!(encode(&payload), bytes.clone());
            let mut payload = payload;
            payload.edit_text(|_, _| TextEdit::Keep);
            prop_assert!(!payload.index.edited);
            // Replacing a text by itself changes nothing either.
            payload.edit_text(|place, text| match place.kind {
                TextPlaceKind::Binary | TextPlaceKind::Entry { .. } => TextEdit::Keep,
                _ => TextEdit::Replace(text.to_owned()),
            });
            prop_assert_eq!(encode(&payload), bytes);
        }
    }

    /// Attributes set and removed on every span, event, link, scope and resource equal prost's.
    #[test]
    fn attributes(mut request in traces(), one in key(), other in key(), value in text(), third in text()) {
        let mut payload = parse(Signal::Traces, &request.encode_to_vec());
        let nodes: Vec<_> = payload.nodes().collect();
        for node in nodes {
            payload.remove(node, &other);
            payload.set(node, &one, OwnedValue::Str(value.clone()));
            if payload.kind(node) == NodeKind::Span {
                payload.set_text(node, TextField::Name, &third);
                payload.set_text(node, TextField::StatusMessage, "broken");
            }
        }
        let edit = |attributes: &mut Vec<KeyValue>| {
            attributes.retain(|attribute| attribute.key != other);
            set(attributes, &one, &value);
        };
        for span in spans(&mut request) {
            edit(&mut span.attributes);
            span.events.iter_mut().for_each(|event| edit(&mut event.attributes));
            span.links.iter_mut().for_each(|link| edit(&mut link.attributes));
            span.name = third.clone();
            span.status.get_or_insert_with(Status::default).message = "broken".into();
        }
        for resource in &mut request.resource_spans {
            edit(&mut resource.resource.get_or_insert_with(Resource::default).attributes);
            for scope in &mut resource.scope_spans {
                edit(&mut scope.scope.get_or_insert_with(InstrumentationScope::default).attributes);
            }
        }
        let bytes = encode(&payload);
        prop_assert!(ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap() == request);
        // It also reads back as the edited payload did.
        let again = parse(Signal::Traces, &bytes);
        let texts = |payload: &Payload| -> Vec<String> {
            payload.nodes().map(|node| payload.get_str(node, &one).unwrap_or("-").to_owned()).collect()
        };
        prop_assert_eq!(texts(&payload), texts(&again));
        prop_assert_eq!(encode(&again), bytes);
    }

    /// Removed spans are dropped, and so are scopes and resources that lose their last one.
    #[test]
    fn removed(mut request in traces(), mask in any::<u64>()) {
        let payload = parse(Signal::Traces, &request.encode_to_vec());
        let keep = |position: usize| mask >> (position % 64) & 1 == 1;
        let part = payload.subset(&keep);
        let mut position = 0;
        for resource in &mut request.resource_spans {
            let had = resource.scope_spans.iter().any(|scope| !scope.spans.is_empty());
            resource.scope_spans.retain_mut(|scope| {
                let had = !scope.spans.is_empty();
                scope.spans.retain(|_| { position += 1; keep(position - 1) });
                !had || !scope.spans.is_empty()
            });
            if had && resource.scope_spans.iter().all(|scope| scope.spans.is_empty()) {
                resource.schema_url = "gone".into();
                resource.scope_spans.clear();
            }
        }
        request.resource_spans.retain(|resource| !(resource.schema_url == "gone" && resource.scope_spans.is_empty()));
        let decoded = ExportTraceServiceRequest::decode(encode(&part).as_slice()).unwrap();
        prop_assert!(decoded == request);
        prop_assert_eq!(part.item_count(), part.items().count());
        // Writing only these items does the same without a copy of the index.
        prop_assert_eq!(payload.encode_items(&keep).unwrap(), encode(&part));
        // On a payload from which some are removed already, positions count those that are left.
        let left = |position: usize| position.is_multiple_of(2);
        prop_assert_eq!(part.encode_items(&left).unwrap(), encode(&part.subset(&left)));
    }

    /// Bodies are set as on prost's structs.
    #[test]
    fn bodies(mut request in logs(), mask in any::<u8>()) {
        let mut payload = parse(Signal::Logs, &request.encode_to_vec());
        let items: Vec<_> = payload.items().collect();
        for (position, node) in items.into_iter().enumerate() {
            if mask >> (position % 4) & 3 == 1 {
                payload.set_body(node, OwnedValue::StrList(vec!["a".into(), String::new()]));
            }
        }
        let records = request.resource_logs.iter_mut().flat_map(|r| &mut r.scope_logs).flat_map(|s| &mut s.log_records);
        for (position, record) in records.enumerate() {
            if mask >> (position % 4) & 3 == 1 {
                let values = ["a", ""].iter().map(|text| text_value(text).unwrap()).collect();
                let list = opentelemetry_proto::tonic::common::v1::ArrayValue { values };
                record.body = Some(AnyValue { value: Some(Any::ArrayValue(list)) });
            }
        }
        prop_assert!(ExportLogsServiceRequest::decode(encode(&payload).as_slice()).unwrap() == request);
    }
}

/// One span with these attributes (key, text), one event and one link.
fn one_span(attributes: &[(&str, &str)]) -> ExportTraceServiceRequest {
    let attributes =
        attributes.iter().map(|(key, text)| KeyValue { key: (*key).into(), value: text_value(text), key_strindex: 0 });
    let event = Event { name: "event".into(), ..Event::default() };
    let link = Link { trace_state: "link".into(), ..Link::default() };
    let span = Span { attributes: attributes.collect(), events: vec![event], links: vec![link], ..Span::default() };
    let scope = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }
}

fn decoded(payload: &Payload) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(encode(payload).as_slice()).expect("decodes")
}

fn present(payload: &Payload, node: NodeId) -> Vec<(&str, &str)> {
    payload.attributes(node).map(|attribute| (attribute.key, attribute.value.as_str().unwrap_or("?"))).collect()
}

/// A slot has the requested width, is found in the output wherever it was set, and is not visited by text edits;
/// setting the key again makes it an ordinary attribute.
#[test]
fn slots() {
    let mut payload = parse(Signal::Traces, &one_span(&[("ref", "old")]).encode_to_vec());
    let nodes: Vec<_> = payload.nodes().collect();
    for node in &nodes {
        payload.set_slot(*node, "ref", SlotId(7), 20);
    }
    let span = payload.items().next().unwrap();
    payload.set_slot(span, "other", SlotId(8), 300);
    payload.set_slot(span, "third", SlotId(9), 5);
    payload.set(span, "third", OwnedValue::Str("plain".into()));
    payload.set(span, "after", OwnedValue::Int(1));
    payload.edit_text(|place, text| {
        assert!(!matches!(place.key, "ref" | "other"), "{}", text.len());
        TextEdit::Keep
    });
    let mut encoded = payload.encode(UnknownFields::Drop).unwrap();
    assert_eq!(encoded.slots.len(), nodes.len() + 1);
    for slot in &encoded.slots {
        let width = if slot.slot == SlotId(7) { 20 } else { 300 };
        assert_eq!(slot.range.len(), width);
        let letter = if slot.slot == SlotId(7) { b'x' } else { b'y' };
        let range = &mut encoded.bytes[slot.range.clone()];
        assert!(range.iter().all(|byte| *byte == b'0'));
        range.fill(letter);
    }
    let again = parse(Signal::Traces, &encoded.bytes);
    assert!(nodes.iter().all(|node| again.get_str(*node, "ref") == Some("x".repeat(20).as_str())));
    assert_eq!(again.get_str(span, "other"), Some("y".repeat(300).as_str()));
    assert_eq!(again.get_str(span, "third"), Some("plain"));
    assert_eq!(again.attributes(span).filter(|attribute| attribute.key == "ref").count(), 1);
}

/// Every occurrence of a duplicate key is read, replaced and removed; `get` returns the last one.
#[test]
fn doubled_keys() {
    let request = one_span(&[("a", "1"), ("b", "2"), ("a", "3")]);
    let mut payload = parse(Signal::Traces, &request.encode_to_vec());
    let span = payload.items().next().unwrap();
    assert_eq!(payload.get_str(span, "a"), Some("3"));
    assert_eq!(present(&payload, span), [("a", "1"), ("b", "2"), ("a", "3")]);
    let other = payload.clone();
    payload.set(span, "a", OwnedValue::Str("4".into()));
    assert_eq!(present(&payload, span), [("a", "4"), ("b", "2")]);
    assert_eq!(payload.remove(span, "a"), 1);
    payload.set(span, "a", OwnedValue::Str("5".into()));
    assert_eq!(present(&payload, span), [("b", "2"), ("a", "5")]);
    assert_eq!(present(&parse(Signal::Traces, &encode(&payload)), span), [("b", "2"), ("a", "5")]);
    // The clone has its own edits.
    assert_eq!(present(&other, span).len(), 3);
    assert_eq!(encode(&other), request.encode_to_vec());
}

/// One occurrence is renamed, replaced or removed by its handle, and keeps its position and value.
#[test]
fn by_handle() {
    let mut payload = parse(Signal::Traces, &one_span(&[("a", "1"), ("b", "2"), ("c", "3")]).encode_to_vec());
    let span = payload.items().next().unwrap();
    let ids: Vec<_> = payload.attributes(span).map(|attribute| attribute.id).collect();
    payload.rename_attribute(ids[0], "tollgate.reported.a");
    payload.replace_attribute(ids[1], OwnedValue::StrList(vec!["x".into(), "y".into()]));
    payload.remove_attribute(ids[2]);
    assert!(payload.attribute(ids[2]).is_none());
    payload.replace_attribute(ids[2], OwnedValue::Int(1));
    payload.rename_attribute(ids[2], "back");
    payload.edit_text(|place, text| match (place.kind, text) {
        (TextPlaceKind::Value, "y") => TextEdit::Replace("z".into()),
        (TextPlaceKind::Key, "b") => TextEdit::Replace("bb".into()),
        _ => TextEdit::Keep,
    });
    let again = parse(Signal::Traces, &encode(&payload));
    assert_eq!(present(&again, span), [("tollgate.reported.a", "1"), ("bb", "?")]);
    let list = again.get(span, "bb").unwrap();
    assert_eq!(list.items().filter_map(|item| item.as_str()).collect::<Vec<_>>(), ["x", "z"]);
}

/// Texts that were added or edited are visited in their current form; removed ones are not visited.
#[test]
fn texts_of_now() {
    let mut payload = parse(Signal::Traces, &one_span(&[("a", "old"), ("b", "gone")]).encode_to_vec());
    let span = payload.items().next().unwrap();
    payload.set(span, "a", OwnedValue::Str("new".into()));
    payload.remove(span, "b");
    payload.set_text(span, TextField::StatusMessage, "status");
    payload.set_text(payload.scope(span), TextField::Name, "scope");
    payload.set(payload.resource(span), "service.name", OwnedValue::Str("svc".into()));
    let event = payload.children(span).next().unwrap();
    payload.remove_node(event);
    let mut seen = Vec::new();
    payload.edit_text(|_, text| {
        seen.push(text.to_owned());
        TextEdit::Replace(format!("{text}!"))
    });
    assert_eq!(seen, ["service.name", "svc", "scope", "status", "a", "new", "link"]);
    let request = decoded(&payload);
    let resource = &request.resource_spans[0];
    assert_eq!(resource.resource.as_ref().unwrap().attributes[0].key, "service.name!");
    assert_eq!(resource.scope_spans[0].scope.as_ref().unwrap().name, "scope!");
    let span = &resource.scope_spans[0].spans[0];
    assert_eq!(span.status.as_ref().unwrap().message, "status!");
    assert_eq!(span.links[0].trace_state, "link!");
    assert!(span.events.is_empty() && span.attributes.len() == 1);
}

/// A point, a metric or all of them can be removed; an emptied metric is dropped with its envelopes.
#[test]
fn removed_points() {
    let point = |time| NumberDataPoint { time_unix_nano: time, ..NumberDataPoint::default() };
    let metric = |name: &str, times: &[u64]| {
        let data_points = times.iter().map(|time| point(*time)).collect();
        Metric { name: name.into(), data: Some(metric::Data::Gauge(Gauge { data_points })), ..Metric::default() }
    };
    let metrics = vec![metric("one", &[1, 2]), metric("two", &[3]), metric("none", &[])];
    let scope = ScopeMetrics { metrics, ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    let request = ExportMetricsServiceRequest { resource_metrics: vec![resource] };
    let payload = parse(Signal::Metrics, &request.encode_to_vec());
    assert_eq!(payload.item_count(), 3);
    let left = |payload: &Payload| -> Vec<(String, usize)> {
        let again = parse(Signal::Metrics, &encode(payload));
        assert_eq!(again.item_count(), payload.item_count());
        let metrics = again.nodes().filter(|node| again.kind(*node) == NodeKind::Metric);
        metrics.map(|node| (again.text(node, TextField::Name).to_owned(), again.children(node).count())).collect()
    };
    let all = |counts: [usize; 3]| ["one", "two", "none"].map(String::from).into_iter().zip(counts).collect::<Vec<_>>();
    assert_eq!(left(&payload), all([2, 1, 0]));
    assert_eq!(left(&payload.subset(&|position| position != 0)), all([1, 1, 0]));
    assert_eq!(left(&payload.subset(&|position| position != 2)), [("one".into(), 2), ("none".into(), 0)]);
    assert!(encode(&payload.subset(&|_| false)).is_empty());
    let mut payload = payload;
    let two = payload.nodes().filter(|node| payload.kind(*node) == NodeKind::Metric).nth(1).unwrap();
    payload.remove_node(two);
    assert_eq!(left(&payload), [("one".into(), 2), ("none".into(), 0)]);
}

/// Handles of another payload and edits of removed nodes do nothing, and never panic.
#[test]
fn foreign_handles() {
    let big = parse(Signal::Traces, &one_span(&[("a", "1"), ("b", "2")]).encode_to_vec());
    let far = big.nodes().last().unwrap();
    let id = big.attributes(big.items().next().unwrap()).last().unwrap().id;
    let mut empty = parse(Signal::Traces, &[]);
    empty.set(far, "a", OwnedValue::Bool(true));
    empty.set_slot(far, "a", SlotId(1), 4);
    empty.set_text(far, TextField::Name, "x");
    empty.set_body(far, OwnedValue::Bool(true));
    empty.replace_attribute(id, OwnedValue::Int(1));
    empty.rename_attribute(id, "x");
    empty.remove_attribute(id);
    empty.remove_node(far);
    assert_eq!((empty.text(far, TextField::Name), empty.time(far), empty.parent(far)), ("", 0, None));
    assert!(encode(&empty).is_empty());
    let mut payload = big.clone();
    let span = payload.items().next().unwrap();
    payload.remove_node(span);
    payload.set(span, "a", OwnedValue::Bool(true));
    payload.set(span, "new", OwnedValue::Bool(true));
    payload.set_text(span, TextField::Name, "x");
    payload.remove_node(span);
    assert_eq!(payload.item_count(), 0);
    assert!(encode(&payload).is_empty());
}

/// Map entries can be removed at every level, and bytes that are not text replaced; their neighbours stay.
#[test]
fn entries_go_and_bytes_are_replaced() {
    let text = |text: &str| AnyValue { value: Some(Any::StringValue(text.into())) };
    let entry = |key: &str, value: AnyValue| KeyValue { key: key.into(), value: Some(value), key_strindex: 0 };
    let map = |values: Vec<KeyValue>| AnyValue { value: Some(Any::KvlistValue(KeyValueList { values })) };
    let number = || AnyValue { value: Some(Any::IntValue(7)) };
    let bytes = |bytes: &[u8]| AnyValue { value: Some(Any::BytesValue(bytes.to_vec())) };
    let nested = |inner: Vec<KeyValue>, raw: &[u8]| {
        map(vec![entry("a", map(inner)), entry("raw", bytes(raw)), entry("z", text("kept"))])
    };
    let request = |value: AnyValue| {
        let mut request = ExportLogsServiceRequest::default();
        request.resource_logs.push(ResourceLogs {
            resource: Some(Resource { attributes: vec![entry("top", value)], ..Resource::default() }),
            ..ResourceLogs::default()
        });
        request.encode_to_vec()
    };
    let before =
        request(nested(vec![entry("gone", number()), entry("b", number()), entry("gone", text("x"))], b"a\0b\0"));
    let after = request(nested(vec![entry("b", number())], b"[X]"));
    let mut payload = parse(Signal::Logs, &before);
    let mut numbers = Vec::new();
    payload.edit_text(|place, _| match place.kind {
        TextPlaceKind::Entry { number } if place.path_key == "gone" => {
            numbers.push(number);
            TextEdit::Remove
        }
        TextPlaceKind::Binary => {
            assert_eq!((place.bytes, place.path_key, place.key), (&b"a\0b\0"[..], "raw", "top"));
            TextEdit::Replace("[X]".to_owned())
        }
        _ => TextEdit::Keep,
    });
    assert_eq!(numbers, [true, false]);
    assert_eq!(encode(&payload), after);
}
