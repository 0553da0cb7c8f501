//! Vocabulary, rates and cost: the time of a start and of a batch, and whether time is linear in the number of spans.

#![allow(clippy::panic, clippy::disallowed_methods, clippy::print_stdout, missing_docs, reason = "a bench")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group};
use genai::{self, Vocabulary};
use kernel::clock::UnixNanos;
use otlp::{Payload, Signal, json};
use pipeline::{Batch, BatchOrigin, Processor, Trust};
use processors::cost::{CostConfig, CostProcessor};
use processors::normalize::{self, NormalizeProcessor};
use rates::{CallCircumstances, RateQuery, RateTable, RateTables, TableSource, Unit};
use telemetry::Meter;

/// One agent run: one span in ten is a model call with 4 KiB of content, the others are tools.
fn request(spans: usize) -> Bytes {
    let text = "lorem ipsum ".repeat(340);
    let span = |at: usize| {
        let common = format!(
            r#"{{"key":"session.id","value":{{"stringValue":"s-{}"}}}},{{"key":"tenant.id","value":{{"stringValue":"acme"}}}},
               {{"key":"gen_ai.provider.name","value":{{"stringValue":"anthropic"}}}}"#,
            at / 1000
        );
        let own = if at.is_multiple_of(10) {
            format!(
                r#"{{"key":"gen_ai.operation.name","value":{{"stringValue":"chat"}}}},{{"key":"gen_ai.request.model","value":{{"stringValue":"claude-sonnet-4-5"}}}},
                   {{"key":"gen_ai.response.id","value":{{"stringValue":"msg_{at}"}}}},{{"key":"gen_ai.usage.input_tokens","value":{{"intValue":"1200"}}}},
                   {{"key":"gen_ai.usage.output_tokens","value":{{"intValue":"200"}}}},{{"key":"gen_ai.input.messages","value":{{"stringValue":"{text}"}}}}"#
            )
        } else {
            r#"{"key":"gen_ai.operation.name","value":{"stringValue":"execute_tool"}},{"key":"gen_ai.tool.name","value":{"stringValue":"Bash"}},
               {"key":"gen_ai.tool.call.id","value":{"stringValue":"toolu_1"}},{"key":"duration_ms","value":{"intValue":"12"}},
               {"key":"code.function","value":{"stringValue":"run"}},{"key":"x.label","value":{"stringValue":"some-label"}}"#.to_owned()
        };
        format!(
            r#"{{"traceId":"{:032x}","spanId":"{:016x}","name":"span","startTimeUnixNano":"1795132800000000000","attributes":[{common},{own}]}}"#,
            1,
            at + 1
        )
    };
    let spans: Vec<String> = (0..spans).map(span).collect();
    let text = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}]}}]}}]}}"#, spans.join(","));
    json::decode(Signal::Traces, text.as_bytes()).map(Bytes::from).unwrap_or_else(|error| panic!("{error}"))
}

fn parsed(wire: &Bytes) -> Payload {
    Payload::parse(Signal::Traces, wire.clone()).unwrap_or_else(|error| panic!("{}", error.message))
}

fn batch(payload: Payload) -> Batch {
    let origin = BatchOrigin {
        account: "default".into(),
        identity: pipeline::ClientIdentity::Unverified,
        receiver: "otlp".into(),
        trust: Trust::ThirdParty,
        received: UnixNanos(1),
        id: [1; 16],
        repeat: false,
        source_record: None,
    };
    Batch::new(Arc::new(origin), payload)
}

fn starts(c: &mut Criterion) {
    c.bench_function("start/vocabulary", |b| b.iter(|| black_box(Vocabulary::builtin().is_ok())));
    c.bench_function("start/rates", |b| b.iter(|| black_box(RateTable::builtin().is_ok())));
}

fn batches(c: &mut Criterion) {
    let vocabulary = Arc::new(Vocabulary::builtin().unwrap_or_else(|error| panic!("{}", error.0)));
    let meter = Meter::new();
    let (first, second) = (CostConfig::default().settings(), normalize::NormalizeConfig::default().settings());
    let (Ok(first), Ok(second)) = (first, second) else { return };
    let cost = CostProcessor::new("cost".into(), &first, vocabulary.clone(), &meter)
        .unwrap_or_else(|error| panic!("{}", error.0));
    let normalize = NormalizeProcessor::new("normalize".into(), &second, vocabulary.clone(), &meter);
    let mut group = c.benchmark_group("batch");
    for spans in [100, 1_000, 10_000] {
        let wire = request(spans);
        group.throughput(Throughput::Elements(spans as u64));
        let payload = parsed(&wire);
        group.bench_function(format!("parse/{spans}"), |b| b.iter(|| black_box(parsed(&wire))));
        group.bench_function(format!("facts/{spans}"), |b| {
            b.iter(|| black_box(genai::read_facts(&vocabulary, &payload)))
        });
        group.bench_function(format!("normalize+cost/{spans}"), |b| {
            b.iter(|| {
                let mut batch = batch(payload.clone());
                let done = normalize.process(&mut batch).and_then(|()| cost.process(&mut batch));
                cost.discard(&batch.origin.id);
                black_box((done.is_ok(), batch))
            });
        });
    }
    group.finish();
}

/// A table with `models` models of one vendor, each with its own ids.
fn table(models: usize) -> String {
    let model = |n: usize| {
        format!(
            r#"{{"id": "model-{n}", "ids": ["model-{n}", "model-{n}-latest"], "rates": [{{"price": {{"input": "3", "output": "15", "cache_read": "0.3"}}}}]}}"#
        )
    };
    let own = r#"{"id": "claude-sonnet-4-5", "rates": [{"price": {"input": "3", "output": "15"}}]}"#.to_owned();
    let all: Vec<String> = std::iter::once(own).chain((1..models).map(model)).collect();
    format!(
        r#"{{"schema": 1, "version": "b", "currency": "USD", "per_tokens": 1000000, "providers": {{"anthropic": {{"models": [{}]}}}}}}"#,
        all.join(",")
    )
}

/// Maximum extra cost of a batch with a table of 5,000 models, in percent.
const TABLE: f64 = 5.0;

/// Prices a batch of a thousand spans with a small and a large table alternately: `cargo bench -p benches --bench cost
/// -- gates`.
fn gates() -> bool {
    let vocabulary = Arc::new(Vocabulary::builtin().unwrap_or_else(|error| panic!("{}", error.0)));
    let payload = parsed(&request(1_000));
    let chains = [10, 5_000].map(|models| {
        let source = TableSource::parse("bench", &table(models)).unwrap_or_else(|error| panic!("{}", error.0));
        let rates = RateTables::build(&source, &[]).unwrap_or_else(|error| panic!("{}", error.0));
        let settings = CostConfig::default().settings().unwrap_or_else(|_| panic!("valid"));
        let cost = CostProcessor::new("cost".into(), &settings, vocabulary.clone(), &Meter::new());
        let cost = cost.unwrap_or_else(|error| panic!("{}", error.0));
        cost.replace_tables(rates, UnixNanos(1));
        cost
    });
    let once = |cost: &CostProcessor| {
        let mut batch = batch(payload.clone());
        let began = Instant::now();
        let done = cost.process(&mut batch);
        let spent = began.elapsed().as_secs_f64();
        cost.discard(&batch.origin.id);
        black_box((done.is_ok(), batch));
        spent
    };
    let mut seen = [Vec::new(), Vec::new()];
    let began = Instant::now();
    while began.elapsed().as_secs() < 20 {
        for (cost, seen) in chains.iter().zip(&mut seen) {
            seen.push(once(cost));
        }
    }
    let [small, large] = seen.map(|mut all| {
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(f64::NAN)
    });
    let more = (large / small - 1.0) * 100.0;
    let verdict = if more <= TABLE { "ok" } else { "TOO MUCH" };
    println!(
        "cost of 1,000 spans: {:.3} ms with 10 models, {:.3} ms with 5,000   {more:>6.2} % more   limit {TABLE} %   {verdict}",
        small * 1e3,
        large * 1e3
    );
    more <= TABLE
}

/// A single look-up, and a batch priced with tables of different sizes: the time per call must not depend on the
/// table.
fn tables(c: &mut Criterion) {
    let vocabulary = Arc::new(Vocabulary::builtin().unwrap_or_else(|error| panic!("{}", error.0)));
    let payload = parsed(&request(1_000));
    let mut group = c.benchmark_group("table");
    for models in [10, 5_000] {
        let source = TableSource::parse("bench", &table(models)).unwrap_or_else(|error| panic!("{}", error.0));
        let rates = RateTables::build(&source, &[]).unwrap_or_else(|error| panic!("{}", error.0));
        let query = RateQuery {
            provider: Some("anthropic"),
            models: &["claude-sonnet-4-5-20250929", ""],
            time: 1_795_132_800_000_000_000,
            circumstances: CallCircumstances::default(),
        };
        let common = Arc::clone(rates.common());
        group.bench_function(format!("row/{models}"), |b| {
            b.iter(|| black_box(common.row(&query, 1_000).map(|row| row.price(Unit::Input)).is_ok()));
        });
        let Ok(settings) = CostConfig::default().settings() else { return };
        let cost = CostProcessor::new("cost".into(), &settings, vocabulary.clone(), &Meter::new());
        let cost = cost.unwrap_or_else(|error| panic!("{}", error.0));
        cost.replace_tables(rates, UnixNanos(1));
        group.bench_function(format!("cost/{models}"), |b| {
            b.iter(|| {
                let mut batch = batch(payload.clone());
                let done = cost.process(&mut batch);
                cost.discard(&batch.origin.id);
                black_box((done.is_ok(), batch))
            });
        });
    }
    group.finish();
}

criterion_group! { name = all; config = Criterion::default().sample_size(20); targets = starts, batches, tables }

fn main() {
    if std::env::args().skip(1).any(|word| word == "gates") {
        std::process::exit(i32::from(!gates()));
    }
    all();
    Criterion::default().configure_from_args().final_summary();
}
