//! The data plane: parse, read, edit and encode one request, compared with prost's structs in the same run.
//!
//! `cargo bench -p benches --bench wire`. Compare ratios, not times: `ours` / `prost` of a group; over the portions of
//! `flat` the time should vary by at most 30 %.

#![allow(clippy::expect_used, clippy::indexing_slicing, missing_docs, reason = "a bench")]

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlp::{OwnedValue, Payload, Signal, TextEdit, UnknownFields, split};
use prost::Message;

/// Content attributes of a model span, which the edit removes.
const CONTENT: [&str; 5] = [
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
    "gen_ai.prompt",
];

/// Deterministic numbers.
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    /// Short texts are ASCII and content is not, as in real traffic.
    fn text(&mut self, length: usize) -> String {
        const WORDS: [&str; 8] =
            ["{\"role\":\"user\"", "the quick", "brown fox", "1234", "path/to/file.rs", "fn main()", "mail", "é\\n"];
        let words = if length < 100 { WORDS.len() - 1 } else { WORDS.len() };
        let mut text = String::with_capacity(length + 16);
        while text.len() < length {
            text.push_str(WORDS[self.below(words)]);
            text.push(' ');
        }
        text
    }
}

fn attribute(key: &str, text: String) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(Any::StringValue(text)) }), key_strindex: 0 }
}

fn tool_span(sequence: &mut Sequence) -> Span {
    let attributes = (0..15).map(|n| {
        let length = 10 + sequence.below(50);
        attribute(&format!("app.attribute.number_{n}"), sequence.text(length))
    });
    Span {
        trace_id: vec![7; 16],
        span_id: vec![9; 8],
        name: "execute_tool".into(),
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        attributes: attributes.collect(),
        ..Span::default()
    }
}

fn model_span(sequence: &mut Sequence) -> Span {
    let mut span = tool_span(sequence);
    for key in CONTENT {
        let length = 400 + sequence.below(7_600);
        span.attributes.push(attribute(key, sequence.text(length)));
    }
    span
}

fn request(spans: Vec<Span>) -> Bytes {
    let attributes = vec![attribute("service.name", "agent".into()), attribute("host.name", "one".into())];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

/// Every 250th text is changed.
fn changes(count: &mut u32) -> bool {
    *count += 1;
    count.is_multiple_of(250)
}

/// Parses, visits every text, removes the content, sets three attributes and encodes.
fn ours(bytes: &Bytes) -> usize {
    let mut payload = Payload::parse(Signal::Traces, bytes.clone()).expect("parses");
    let spans: Vec<_> = payload.items().collect();
    let mut removed = 0;
    for span in spans {
        for key in CONTENT {
            if let Some(text) = payload.get_str(span, key) {
                removed += text.len();
                payload.remove(span, key);
            }
        }
        payload.set(span, "gen_ai.usage.cost", OwnedValue::Double(0.25));
        payload.set(span, "tollgate.cost.status", OwnedValue::Str("priced".into()));
        payload.set(span, "tollgate.run.turn", OwnedValue::Int(3));
    }
    let mut count = 0;
    payload.edit_text(|_, text| {
        black_box(text);
        if changes(&mut count) { TextEdit::Replace("[EMAIL]".into()) } else { TextEdit::Keep }
    });
    removed + payload.encode(UnknownFields::Drop).expect("encodes").bytes.len()
}

fn each_text(attributes: &mut [KeyValue], visit: &mut dyn FnMut(&mut String)) {
    for attribute in attributes {
        visit(&mut attribute.key);
        if let Some(AnyValue { value: Some(Any::StringValue(text)) }) = &mut attribute.value {
            visit(text);
        }
    }
}

/// The same with prost's structs.
fn prost(bytes: &Bytes) -> usize {
    let mut request = ExportTraceServiceRequest::decode(bytes.clone()).expect("decodes");
    let mut removed = 0;
    let mut count = 0;
    let mut visit = |text: &mut String| {
        black_box(text.as_str());
        if changes(&mut count) {
            *text = "[EMAIL]".into();
        }
    };
    for resource in &mut request.resource_spans {
        each_text(&mut resource.resource.get_or_insert_default().attributes, &mut visit);
        for span in resource.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
            span.attributes.retain(|attribute| {
                let content = CONTENT.contains(&attribute.key.as_str());
                if let (true, Some(AnyValue { value: Some(Any::StringValue(text)) })) = (content, &attribute.value) {
                    removed += text.len();
                }
                !content
            });
            span.attributes.push(KeyValue {
                key: "gen_ai.usage.cost".into(),
                value: Some(AnyValue { value: Some(Any::DoubleValue(0.25)) }),
                key_strindex: 0,
            });
            span.attributes.push(attribute("tollgate.cost.status", "priced".into()));
            span.attributes.push(KeyValue {
                key: "tollgate.run.turn".into(),
                value: Some(AnyValue { value: Some(Any::IntValue(3)) }),
                key_strindex: 0,
            });
            visit(&mut span.name);
            each_text(&mut span.attributes, &mut visit);
        }
    }
    removed + request.encode_to_vec().len()
}

fn mixed(sequence: &mut Sequence) -> Bytes {
    request((0..100).map(|n| if n % 10 < 3 { model_span(sequence) } else { tool_span(sequence) }).collect())
}

fn small(sequence: &mut Sequence, spans: usize) -> Bytes {
    request((0..spans).map(|_| tool_span(sequence)).collect())
}

fn against_prost(criterion: &mut Criterion) {
    let mut sequence = Sequence(1);
    for (name, bytes) in [("mixed", mixed(&mut sequence)), ("small", small(&mut sequence, 100))] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function("ours", |bencher| bencher.iter(|| ours(black_box(&bytes))));
        group.bench_function("prost", |bencher| bencher.iter(|| prost(black_box(&bytes))));
        group.bench_function("parse", |bencher| {
            bencher.iter(|| Payload::parse(Signal::Traces, black_box(&bytes).clone()).expect("parses").item_count());
        });
        let payload = Payload::parse(Signal::Traces, bytes.clone()).expect("parses");
        group.bench_function("clone", |bencher| bencher.iter(|| black_box(&payload).clone()));
        group.bench_function("encode", |bencher| {
            bencher.iter(|| black_box(&payload).encode(UnknownFields::Drop).expect("encodes").bytes.len());
        });
        group.bench_function("texts", |bencher| {
            bencher.iter_batched_ref(
                || payload.clone(),
                |payload| {
                    let mut bytes = 0;
                    payload.edit_text(|_, text| {
                        bytes += text.len();
                        TextEdit::Keep
                    });
                    bytes
                },
                criterion::BatchSize::LargeInput,
            );
        });
        group.finish();
    }
}

/// The size of a portion, and the requests of that size.
type Portions = Vec<(usize, Vec<Bytes>)>;

/// The same amount of data in different portions: 4 MiB in attributes of 16 KiB to 1 MiB, 10,000 spans in requests of
/// 100 to 10,000. (With one small request repeated, the processor would learn its branches.)
fn portions(sequence: &mut Sequence) -> (Portions, Portions) {
    let attributes = [16, 64, 256, 1024].map(|size| {
        let spans = (0..4096 / size).map(|_| {
            let big = attribute("big", sequence.text(size * 1024));
            Span { attributes: vec![big], ..Span::default() }
        });
        (size, vec![request(spans.collect())])
    });
    let spans = [100, 1_000, 10_000]
        .map(|spans| (spans, (0..10_000 / spans).map(|_| small(sequence, spans)).collect::<Vec<Bytes>>()));
    (attributes.to_vec(), spans.to_vec())
}

fn flat(criterion: &mut Criterion) {
    let (attributes, spans) = portions(&mut Sequence(2));
    for (name, portions) in [("4 MiB in attributes of KiB", attributes), ("10,000 spans in requests of", spans)] {
        let mut group = criterion.benchmark_group(name);
        group.sample_size(20);
        for (size, requests) in portions {
            group.throughput(Throughput::Bytes(requests.iter().map(|bytes| bytes.len() as u64).sum()));
            group.bench_with_input(BenchmarkId::from_parameter(size), &requests, |bencher, requests| {
                bencher.iter(|| requests.iter().map(ours).sum::<usize>());
            });
        }
        group.finish();
    }
}

fn splitting(criterion: &mut Criterion) {
    let bytes = small(&mut Sequence(3), 10_000);
    let mut group = criterion.benchmark_group("split");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("to a tenth", |bencher| {
        bencher.iter(|| split(Signal::Traces, black_box(&bytes), bytes.len() / 10).expect("splits").len());
    });
    group.finish();
}

criterion_group!(benches, against_prost, flat, splitting);
criterion_main!(benches);
