//! Edits equal the same edits made on prost's structs.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use proptest::prelude::*;
use prost::Message;

use super::parse;
use super::strategies::{key, logs, metrics, text, traces};
use crate::otlp::{Field, NodeKind, OwnedValue, Payload, Signal, TextEdit, UnknownFields};

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
    /// Without edits the bytes come out as they went in, whatever becomes of unknown fields.
    #[test]
    fn identity(traces in traces(), logs in logs(), metrics in metrics()) {
        let requests =
            [(Signal::Traces, traces.encode_to_vec()), (Signal::Logs, logs.encode_to_vec()), (Signal::Metrics, metrics.encode_to_vec())];
        for (signal, bytes) in requests {
            let payload = parse(signal, &bytes);
            prop_assert_eq!(encode(&payload), bytes.clone());
            let mut payload = payload;
            payload.edit_text(|_, _| TextEdit::Keep);
            prop_assert!(!payload.is_edited());
            // The same text put in its place changes nothing either.
            payload.edit_text(|_, text| TextEdit::Replace(text.to_owned()));
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
                payload.set_text(node, Field::Name, &third);
                payload.set_text(node, Field::StatusMessage, "broken");
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
        // And it reads back as what the edited payload said.
        let again = parse(Signal::Traces, &bytes);
        let texts = |payload: &Payload| -> Vec<String> {
            payload.nodes().map(|node| payload.get_str(node, &one).unwrap_or("-").to_owned()).collect()
        };
        prop_assert_eq!(texts(&payload), texts(&again));
        prop_assert_eq!(encode(&again), bytes);
    }

    /// Removed spans go, and so do scopes and resources that lose their last one.
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
    }

    /// Bodies are set and removed as on prost's structs.
    #[test]
    fn bodies(mut request in logs(), mask in any::<u8>()) {
        let mut payload = parse(Signal::Logs, &request.encode_to_vec());
        let items: Vec<_> = payload.items().collect();
        for (position, node) in items.into_iter().enumerate() {
            match mask >> (position % 4) & 3 {
                0 => payload.remove_body(node),
                1 => payload.set_body(node, OwnedValue::StrList(vec!["a".into(), String::new()])),
                _ => {}
            }
        }
        let records = request.resource_logs.iter_mut().flat_map(|r| &mut r.scope_logs).flat_map(|s| &mut s.log_records);
        for (position, record) in records.enumerate() {
            match mask >> (position % 4) & 3 {
                0 => record.body = None,
                1 => {
                    let values = ["a", ""].iter().map(|text| text_value(text).unwrap()).collect();
                    let list = opentelemetry_proto::tonic::common::v1::ArrayValue { values };
                    record.body = Some(AnyValue { value: Some(Any::ArrayValue(list)) });
                }
                _ => {}
            }
        }
        prop_assert!(ExportLogsServiceRequest::decode(encode(&payload).as_slice()).unwrap() == request);
    }
}
