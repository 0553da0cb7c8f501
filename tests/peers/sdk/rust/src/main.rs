//! Sends gen_ai telemetry with the official Rust SDK and prints each item that the receiver acknowledged. `send.py`
//! documents arguments and output. With `--shutdown`, the SDK's own batch processors send when their providers end.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::future::Future;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::exit;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord, Logger, LoggerProvider, Severity};
use opentelemetry::metrics::{Counter, MeterProvider};
use opentelemetry::trace::{Span, Tracer, TracerProvider};
use opentelemetry::{Array, Context, InstrumentationScope, Key, KeyValue, StringValue, Value};
use opentelemetry_otlp::{
    Compression, LogExporter, MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig, WithTonicConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter as _, LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{
    InstrumentKind, ManualReader, PeriodicReader, Pipeline, SdkMeterProvider, Stream, Temporality,
};
use opentelemetry_sdk::trace::{
    SdkTracer, SdkTracerProvider, Span as SdkSpan, SpanData, SpanExporter as _, SpanProcessor,
};
use tokio::runtime::Runtime;

const SESSIONS: usize = 4;
const MODEL: &str = "claude-sonnet-4-5";

struct Arguments {
    endpoint: String,
    grpc: bool,
    gzip: bool,
    signals: Vec<String>,
    prefix: String,
    count: usize,
    batch: usize,
    timeout: Duration,
    shutdown: bool,
}

fn arguments() -> Arguments {
    let mut given = HashMap::new();
    let mut all = std::env::args().skip(1);
    while let Some(name) = all.next() {
        let value = if name == "--shutdown" { String::new() } else { all.next().unwrap_or_default() };
        given.insert(name, value);
    }
    let mut take = |name: &str, default: &str| given.remove(name).unwrap_or_else(|| default.to_owned());
    let out = Arguments {
        endpoint: take("--endpoint", "").trim_end_matches('/').to_owned(),
        grpc: take("--protocol", "grpc") == "grpc",
        gzip: take("--compression", "none") == "gzip",
        signals: take("--signals", "traces").split(',').map(str::to_owned).collect(),
        prefix: take("--prefix", "rust"),
        count: take("--count", "10").parse().expect("--count is a number"),
        batch: take("--batch", "10").parse().expect("--batch is a number"),
        timeout: Duration::from_secs_f64(take("--timeout", "10").parse().expect("--timeout is a number of seconds")),
        shutdown: take("--shutdown", "no").is_empty(),
    };
    if let Some(unknown) = given.keys().next() {
        eprintln!("unknown argument {unknown}");
        exit(2);
    }
    out
}

struct Line {
    id: String,
    signal: &'static str,
    trace_id: String,
    span_id: String,
    canary: String,
}

fn canary(id: &str, place: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (id, place).hash(&mut hasher);
    format!("CANARY-{place}-{:016x}", hasher.finish())
}

fn messages(role: &str, content: &str) -> String {
    format!(r#"[{{"role": "{role}", "parts": [{{"type": "text", "content": "{content}"}}]}}]"#)
}

/// A chat span in the form of the semantic conventions; every fourth is a tool span. Returns (name, attributes, canary).
fn attributes(id: &str, n: usize, prefix: &str) -> (&'static str, Vec<KeyValue>, String) {
    let mut out = vec![
        KeyValue::new("test.case.name", id.to_owned()),
        KeyValue::new("tenant.id", "acme"),
        KeyValue::new("gen_ai.conversation.id", format!("{prefix}-session-{}", n % SESSIONS)),
    ];
    if n % 4 == 3 {
        let own = canary(id, "toolargs");
        out.extend([
            KeyValue::new("gen_ai.operation.name", "execute_tool"),
            KeyValue::new("gen_ai.tool.name", "lookup"),
            KeyValue::new("gen_ai.tool.type", "function"),
            KeyValue::new("gen_ai.tool.call.id", format!("call_{id}")),
            KeyValue::new("gen_ai.tool.call.arguments", format!(r#"{{"key": "{own}"}}"#)),
            KeyValue::new("gen_ai.tool.call.result", format!("found {}", canary(id, "toolresult"))),
        ]);
        return ("execute_tool lookup", out, own);
    }
    let own = canary(id, "prompt");
    let reasons = Value::Array(Array::String(vec![StringValue::from("end_turn")]));
    let answer = messages("assistant", &format!("Answer {}", canary(id, "completion")));
    out.extend([
        KeyValue::new("gen_ai.operation.name", "chat"),
        KeyValue::new("gen_ai.provider.name", "anthropic"),
        KeyValue::new("gen_ai.request.model", MODEL),
        KeyValue::new("gen_ai.response.model", MODEL),
        KeyValue::new("gen_ai.response.id", format!("msg_{id}")),
        KeyValue::new("gen_ai.usage.input_tokens", (100 + n % 7) as i64),
        KeyValue::new("gen_ai.usage.output_tokens", (20 + n % 5) as i64),
        KeyValue::new("gen_ai.response.finish_reasons", reasons),
        KeyValue::new("gen_ai.input.messages", messages("user", &format!("Ask {own}"))),
        KeyValue::new("gen_ai.output.messages", answer),
    ]);
    ("chat claude-sonnet-4-5", out, own)
}

fn resource() -> Resource {
    let attributes = [
        KeyValue::new("service.version", "1.0.0"),
        KeyValue::new("deploy.environment", "test"),
        KeyValue::new("tenant.id", "acme"),
    ];
    Resource::builder().with_service_name("peer-rust").with_attributes(attributes).build()
}

/// Holds what ended, so that a batch can be given to the exporter by hand and its answer read.
#[derive(Debug, Clone)]
struct Keep<T>(Arc<Mutex<Vec<T>>>);

impl<T> Keep<T> {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn push(&self, item: T) {
        self.0.lock().expect("no thread panicked").push(item);
    }

    fn take(&self) -> Vec<T> {
        std::mem::take(&mut *self.0.lock().expect("no thread panicked"))
    }
}

impl SpanProcessor for Keep<SpanData> {
    fn on_start(&self, _: &mut SdkSpan, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.push(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl LogProcessor for Keep<(SdkLogRecord, InstrumentationScope)> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.push((record.clone(), scope.clone()));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// A reader that both the provider and this program hold.
#[derive(Debug, Clone)]
struct Reader(Arc<ManualReader>);

impl MetricReader for Reader {
    fn register_pipeline(&self, pipeline: std::sync::Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

/// Builds an exporter of either protocol with the SDK's defaults, except for endpoint, timeout and compression.
macro_rules! exporter {
    ($builder:expr, $arguments:expr, $signal:literal) => {{
        let arguments: &Arguments = $arguments;
        if arguments.grpc {
            let builder = $builder.with_tonic().with_endpoint(&arguments.endpoint).with_timeout(arguments.timeout);
            if arguments.gzip { builder.with_compression(Compression::Gzip).build() } else { builder.build() }
        } else {
            let endpoint = format!("{}/v1/{}", arguments.endpoint, $signal);
            let builder = $builder.with_http().with_endpoint(endpoint).with_timeout(arguments.timeout);
            if arguments.gzip { builder.with_compression(Compression::Gzip).build() } else { builder.build() }
        }
        .expect("the exporter is built")
    }};
}

/// The blocking HTTP client panics on a runtime, and tonic needs one.
fn wait<T>(runtime: &Runtime, grpc: bool, future: impl Future<Output = T>) -> T {
    if grpc { runtime.block_on(future) } else { futures_executor::block_on(future) }
}

/// One signal: how an item is made, how a batch is sent, how its provider ends.
trait Signal {
    fn make(&mut self, id: String, n: usize, prefix: &str) -> Line;
    fn send(&mut self, runtime: &Runtime, grpc: bool) -> OTelSdkResult;
    fn shutdown(&mut self) -> OTelSdkResult;
}

struct Traces {
    keep: Keep<SpanData>,
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    exporter: Option<SpanExporter>,
}

impl Traces {
    fn new(arguments: &Arguments) -> Self {
        let keep = Keep::new();
        let mut exporter = exporter!(SpanExporter::builder(), arguments, "traces");
        exporter.set_resource(&resource());
        let builder = SdkTracerProvider::builder().with_resource(resource());
        let (provider, exporter) = if arguments.shutdown {
            (builder.with_batch_exporter(exporter).build(), None)
        } else {
            (builder.with_span_processor(keep.clone()).build(), Some(exporter))
        };
        let tracer = provider.tracer("peer");
        Self { keep, provider, tracer, exporter }
    }
}

impl Signal for Traces {
    fn make(&mut self, id: String, n: usize, prefix: &str) -> Line {
        let (name, attributes, canary) = attributes(&id, n, prefix);
        let mut span = self.tracer.start(name);
        span.set_attributes(attributes);
        span.add_event("gen_ai.request.attempt", vec![KeyValue::new("attempt", 1)]);
        span.end();
        let context = span.span_context();
        let (trace_id, span_id) = (context.trace_id().to_string(), context.span_id().to_string());
        Line { id, signal: "traces", trace_id, span_id, canary }
    }

    fn send(&mut self, runtime: &Runtime, grpc: bool) -> OTelSdkResult {
        let exporter = self.exporter.as_ref().expect("only without --shutdown");
        wait(runtime, grpc, exporter.export(self.keep.take()))
    }

    fn shutdown(&mut self) -> OTelSdkResult {
        self.provider.shutdown()
    }
}

struct Logs {
    keep: Keep<(SdkLogRecord, InstrumentationScope)>,
    provider: SdkLoggerProvider,
    logger: SdkLogger,
    exporter: Option<LogExporter>,
}

impl Logs {
    fn new(arguments: &Arguments) -> Self {
        let keep = Keep::new();
        let mut exporter = exporter!(LogExporter::builder(), arguments, "logs");
        exporter.set_resource(&resource());
        let builder = SdkLoggerProvider::builder().with_resource(resource());
        let (provider, exporter) = if arguments.shutdown {
            (builder.with_batch_exporter(exporter).build(), None)
        } else {
            (builder.with_log_processor(keep.clone()).build(), Some(exporter))
        };
        let logger = provider.logger("peer");
        Self { keep, provider, logger, exporter }
    }
}

fn as_log_value(value: Value) -> AnyValue {
    match value {
        Value::I64(number) => AnyValue::Int(number),
        Value::Array(Array::String(texts)) => {
            AnyValue::ListAny(Box::new(texts.into_iter().map(AnyValue::String).collect()))
        }
        other => AnyValue::from(other.as_str().into_owned()),
    }
}

impl Signal for Logs {
    fn make(&mut self, id: String, n: usize, prefix: &str) -> Line {
        let (_, attributes, canary) = attributes(&id, n / 4 * 4, prefix);
        let mut record = self.logger.create_log_record();
        record.set_timestamp(SystemTime::now());
        record.set_severity_number(Severity::Info);
        record.set_event_name("gen_ai.client.inference.operation.details");
        let body = HashMap::from([(Key::new("content"), AnyValue::from(canary.clone()))]);
        record.set_body(AnyValue::Map(Box::new(body)));
        record.add_attributes(attributes.into_iter().map(|pair| (pair.key, as_log_value(pair.value))));
        self.logger.emit(record);
        Line { id, signal: "logs", trace_id: String::new(), span_id: String::new(), canary }
    }

    fn send(&mut self, runtime: &Runtime, grpc: bool) -> OTelSdkResult {
        let kept = self.keep.take();
        let borrowed: Vec<_> = kept.iter().map(|(record, scope)| (record, scope)).collect();
        let exporter = self.exporter.as_ref().expect("only without --shutdown");
        wait(runtime, grpc, exporter.export(LogBatch::new(&borrowed)))
    }

    fn shutdown(&mut self) -> OTelSdkResult {
        self.provider.shutdown()
    }
}

struct Metrics {
    reader: Reader,
    provider: SdkMeterProvider,
    counter: Counter<u64>,
    exporter: Option<MetricExporter>,
}

impl Metrics {
    fn new(arguments: &Arguments) -> Self {
        let manual = ManualReader::builder().with_temporality(Temporality::Delta).build();
        let reader = Reader(Arc::new(manual));
        let builder = MetricExporter::builder().with_temporality(Temporality::Delta);
        let exporter = exporter!(builder, arguments, "metrics");
        let builder = SdkMeterProvider::builder().with_resource(resource());
        // each item is a series of its own
        let builder = builder.with_view(|_: &_| Stream::builder().with_cardinality_limit(1_000_000).build().ok());
        let (provider, exporter) = if arguments.shutdown {
            (builder.with_reader(PeriodicReader::builder(exporter).build()).build(), None)
        } else {
            (builder.with_reader(reader.clone()).build(), Some(exporter))
        };
        let counter = provider.meter("peer").u64_counter("gen_ai.client.calls").build();
        Self { reader, provider, counter, exporter }
    }
}

impl Signal for Metrics {
    fn make(&mut self, id: String, _: usize, _: &str) -> Line {
        let canary = canary(&id, "metric");
        let attributes = [
            KeyValue::new("test.case.name", id.clone()),
            KeyValue::new("gen_ai.request.model", MODEL),
            KeyValue::new("gen_ai.prompt", canary.clone()),
        ];
        self.counter.add(1, &attributes);
        Line { id, signal: "metrics", trace_id: String::new(), span_id: String::new(), canary }
    }

    fn send(&mut self, runtime: &Runtime, grpc: bool) -> OTelSdkResult {
        let mut collected = ResourceMetrics::default();
        self.reader.collect(&mut collected)?;
        let exporter = self.exporter.as_ref().expect("only without --shutdown");
        wait(runtime, grpc, exporter.export(&collected))
    }

    fn shutdown(&mut self) -> OTelSdkResult {
        self.provider.shutdown()
    }
}

fn print(lines: &[Line]) {
    let mut out = String::new();
    for Line { id, signal, trace_id, span_id, canary } in lines {
        let _ = writeln!(
            out,
            r#"{{"id": "{id}", "signal": "{signal}", "trace_id": "{trace_id}", "span_id": "{span_id}", "canary": "{canary}"}}"#
        );
    }
    print!("{out}");
}

fn main() {
    let arguments = arguments();
    let runtime = Runtime::new().expect("the runtime starts");
    let _entered = arguments.grpc.then(|| runtime.enter());
    let began = Instant::now();
    let (mut sent, mut ok) = (0, 0);
    let mut answered = |result: OTelSdkResult, lines: &[Line]| {
        sent += lines.len();
        match result {
            Ok(()) => {
                ok += lines.len();
                print(lines);
            }
            Err(error) => eprintln!("{error}"),
        }
    };
    let mut ending = Vec::new();
    for name in &arguments.signals {
        let mut signal: Box<dyn Signal> = match name.as_str() {
            "traces" => Box::new(Traces::new(&arguments)),
            "logs" => Box::new(Logs::new(&arguments)),
            _ => Box::new(Metrics::new(&arguments)),
        };
        let mut lines = Vec::new();
        for n in 0..arguments.count {
            lines.push(signal.make(format!("{}-{name}-{n:06}", arguments.prefix), n, &arguments.prefix));
            if !arguments.shutdown && (lines.len() == arguments.batch || n + 1 == arguments.count) {
                answered(signal.send(&runtime, arguments.grpc), &lines);
                lines.clear();
            }
        }
        ending.push((signal, lines));
    }
    for (mut signal, lines) in ending {
        if arguments.shutdown {
            answered(signal.shutdown(), &lines);
        }
    }
    let (failed, seconds) = (sent - ok, began.elapsed().as_secs_f64());
    println!(r#"{{"done": true, "sent": {sent}, "ok": {ok}, "failed": {failed}, "seconds": {seconds:.3}}}"#);
    exit(i32::from(failed > 0));
}
