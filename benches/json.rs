//! OTLP/JSON: time per byte and per span of reading and writing. It is constant over the sizes unless something is
//! quadratic.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use otlp::{Signal, json};

const LOGS: &str = include_str!("../tests/recordings/claude-code/detailed/002-logs.json");

/// `spans` spans, each with 20 short attributes and one of `long` bytes in escaped JSON.
fn traces(spans: usize, long: usize) -> String {
    let attribute = |key: &str, value: &str| format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#);
    let mut attributes: Vec<String> =
        (0..20).map(|i| attribute(&format!("gen_ai.attribute.{i}"), "a short value")).collect();
    let message = r#"{\"role\":\"user\",\"content\":\"a line\\nand another\"},"#;
    attributes.push(attribute("gen_ai.input.messages", &message.repeat(long / message.len())));
    let span = format!(
        r#"{{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174","name":"chat","kind":3,"startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","attributes":[{}],"status":{{}}}}"#,
        attributes.join(",")
    );
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, vec![span; spans].join(","))
}

fn both(c: &mut Criterion, group: &str, inputs: &[(String, Signal, String)]) {
    let mut decode = c.benchmark_group(format!("json_decode/{group}"));
    for (name, signal, text) in inputs {
        decode.throughput(Throughput::Bytes(text.len() as u64));
        decode.bench_with_input(BenchmarkId::from_parameter(name), text, |b, text| {
            b.iter(|| json::decode(*signal, black_box(text.as_bytes())).unwrap());
        });
    }
    decode.finish();
    let mut encode = c.benchmark_group(format!("json_encode/{group}"));
    for (name, signal, text) in inputs {
        let wire = json::decode(*signal, text.as_bytes()).unwrap();
        encode.throughput(Throughput::Bytes(wire.len() as u64));
        let mut out = String::new();
        encode.bench_with_input(BenchmarkId::from_parameter(name), &wire, |b, wire| {
            b.iter(|| {
                out.clear();
                json::encode(*signal, black_box(wire), &mut out).unwrap();
            });
        });
    }
    encode.finish();
}

fn benches(c: &mut Criterion) {
    both(c, "recorded", &[("claude_code_logs".to_owned(), Signal::Logs, LOGS.to_owned())]);
    let spans = [100, 1_000, 10_000].map(|count| (count.to_string(), Signal::Traces, traces(count, 0)));
    both(c, "spans", &spans);
    let sizes = [16, 64, 256, 1024].map(|kib| (format!("{kib}KiB"), Signal::Traces, traces(8, kib << 10)));
    both(c, "attribute", &sizes);
}

criterion_group!(json_benches, benches);
criterion_main!(json_benches);
