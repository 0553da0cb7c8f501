//! The whole path of a request. In process: parse, normalize, cost, runs, vault, redact and encode on one thread, with
//! and without sealing; time per byte and per span is constant over the sizes unless something is quadratic. Over
//! sockets: a gateway on loopback with its spool and a vault on a real disk, as a share of what one core does in
//! process. `TOLLGATE_BENCH_DIR` chooses the volume (default: the system's temporary directory). criterion shows wall
//! time; the table at the end adds the thread's processor time, which a busy machine changes less.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a bench"
)]
#![allow(clippy::disallowed_methods, reason = "a bench has clients and a stopwatch of its own")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::{Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::vault::object_names::ObjectNames;
use ::vault::recipients::{Audience, RecipientPolicy};
use ::vault::seal::{NewSessionKey, SealFailed, SessionKeyGenerator};
use ::vault::vault_writer::VaultWriter;
use benches::load::{LOADS, Load, NOW, REQUEST_MARK, Source, Template, marked, number, text};
use bytes::Bytes;
use command::tasks;
use config::env::OtherMachineLookup;
use criterion::{Criterion, SamplingMode, Throughput};
use echoes::{ContentFingerprints, EchoReplacements, FingerprintCache};
use genai::Vocabulary;
use kernel::clock::UnixNanos;
use kernel::pseudonym::Pseudonymizer;
use kernel::rng::{Rng, SystemRng};
use kernel::secret::Secret;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use otlp::{Payload, Signal, UnknownFields};
use pipeline::{Batch, BatchOrigin, ClientIdentity, Effect, Processor, Trust};
use processors::{cost, normalize, redact, vault};
use redaction::RedactionIdPolicy;
use telemetry::Meter;
use tollgate::app::build::GatewayDeps;
use tollgate::app::{RunningGateway, assemble, resolve};

/// The allocator that the binary uses.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Number of requests of each kind that are made before the clock starts; each is new to the gateway.
const RING: u64 = 4;
/// Number of templates of each load.
const LOAD_RING: usize = 16;

// --- requests ---

/// The shape of a request.
#[derive(Clone, Copy)]
struct Shape {
    spans: usize,
    sessions: usize,
    /// Content of one span: minimum and maximum, in bytes.
    content: (usize, usize),
}

/// The batch of an agent: every second span is a model call, the others are tools.
const AGENT: Shape = Shape { spans: 100, sessions: 1, content: (2 << 10, 40 << 10) };

/// A tool's error message of about 300 bytes, with words that are rare in content.
fn failure(source: &mut Source) -> String {
    const PARTS: [&str; 12] = [
        "connection to upstream host timed out after ",
        "expected an integer but received ",
        "permission denied while opening socket ",
        "module could not be resolved from ",
        "assertion left == right, where right: ",
        "deadline exceeded during handshake with ",
        "unexpected token in position ",
        "no such column: ",
        "rate of requests is too high, retry in ",
        "process exited with code ",
        "checksum mismatch for chunk ",
        "cannot borrow as mutable more than once: ",
    ];
    let mut out = String::new();
    while out.len() < 300 {
        let part = PARTS[source.below(PARTS.len())];
        write!(out, "{part}{:x}; ", source.below(1 << 30)).unwrap();
    }
    out
}

fn chat(source: &mut Source, index: usize, content: usize) -> Vec<KeyValue> {
    vec![
        text("gen_ai.operation.name", "chat"),
        text("gen_ai.provider.name", "anthropic"),
        text("gen_ai.request.model", "claude-sonnet-4-5"),
        text("gen_ai.response.model", "claude-sonnet-4-5"),
        text("gen_ai.response.id", marked("msg", index)),
        number("gen_ai.request.max_tokens", 4096),
        number("gen_ai.usage.input_tokens", 1_000 + source.below(50_000)),
        number("gen_ai.usage.output_tokens", 1 + source.below(4_000)),
        text("server.address", "api.example.com"),
        number("server.port", 443),
        text("gen_ai.input.messages", source.messages(&["user", "assistant"], content * 4 / 5)),
        text("gen_ai.output.messages", source.messages(&["assistant"], content / 5)),
    ]
}

fn tool(source: &mut Source, index: usize, content: usize) -> Vec<KeyValue> {
    let (arguments, result) = (source.prose(content / 8), source.prose(content * 7 / 8));
    vec![
        text("gen_ai.operation.name", "execute_tool"),
        text("gen_ai.tool.name", "read_file"),
        text("gen_ai.tool.type", "function"),
        text("gen_ai.tool.call.id", marked("toolu", index)),
        text("gen_ai.tool.call.arguments", format!(r#"{{"path":"{arguments}"}}"#)),
        text("gen_ai.tool.call.result", format!(r#"{{"text":"{result}"}}"#)),
    ]
}

fn span(source: &mut Source, shape: Shape, index: usize) -> Span {
    let session = index % shape.sessions;
    let content = shape.content.0 + source.below(shape.content.1 - shape.content.0 + 1);
    let call = (index / shape.sessions).is_multiple_of(2);
    let mut attributes = if call { chat(source, index, content) } else { tool(source, index, content) };
    attributes.push(text("gen_ai.conversation.id", format!("c1b5ae48-c2c1-5cdf-b390-{session:012}")));
    attributes.push(text("gen_ai.agent.name", "ledger-agent"));
    attributes.push(text("user.id", format!("u-{}", session % 7)));
    let start = NOW + index as u64 * 1_000_000;
    let id = |index: usize| (index as u64 + 1).to_be_bytes().to_vec();
    Span {
        trace_id: [REQUEST_MARK, (session as u64).to_be_bytes()].concat(),
        span_id: id(index),
        parent_span_id: if index == session { Vec::new() } else { id(session) },
        name: if call { "chat claude-sonnet-4-5" } else { "execute_tool read_file" }.to_owned(),
        kind: 3,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 900_000,
        attributes,
        ..Span::default()
    }
}

/// A request of one service.
fn request(spans: Vec<Span>) -> Template {
    let resource = Resource {
        attributes: vec![
            text("service.name", "ledger-agent"),
            text("service.version", "1.2.3"),
            text("telemetry.sdk.language", "python"),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "bench".to_owned(), ..InstrumentationScope::default() };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    Template::of(vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }])
}

fn shaped(shape: Shape) -> Template {
    let mut source = Source(1);
    request((0..shape.spans).map(|index| span(&mut source, shape, index)).collect())
}

fn ring(template: &Template) -> Vec<Bytes> {
    renewed(template, 0)
}

/// Requests of one template; `place` distinguishes templates.
fn renewed(template: &Template, place: u64) -> Vec<Bytes> {
    let mut copy = template.clone();
    let made = (1..=RING).map(|number| {
        copy.renew(place * RING + number, place);
        Bytes::from(copy.bytes.clone())
    });
    made.collect()
}

// --- in process ---

/// A sealer that does not encrypt, so that only the rest of the vault's work is measured.
struct Plain;

impl SessionKeyGenerator for Plain {
    fn new_session(&self, _: &Audience, _: &str) -> Result<NewSessionKey, SealFailed> {
        let seal = |plain: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(plain);
            Ok(())
        };
        let (id, object) = ("0".repeat(16), Bytes::from_static(b"no key\n"));
        Ok(NewSessionKey { id, seal: Box::new(seal), object })
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Vault {
    /// As in production.
    Age,
    /// Everything except encryption.
    Plain,
    /// No vault step: redaction reads the content.
    None,
}

/// The processors of a pipeline.
struct Chain {
    processors: Vec<Arc<dyn Processor>>,
    batches: AtomicU64,
}

impl Chain {
    fn new(vault: Vault) -> Self {
        let (meter, vocabulary) = (Meter::new(), Arc::new(Vocabulary::builtin().ok().unwrap()));
        let pseudonyms = Pseudonymizer::new(&Secret::new("00".repeat(32)));
        let redact = redact::RedactConfig::default().settings().ok().unwrap();
        let ids = Arc::new(RedactionIdPolicy::new(vec![Arc::clone(&redact.detector)], pseudonyms));
        let mut cost = cost::CostConfig::default().settings().ok().unwrap();
        cost.signals = vec![Signal::Traces];
        let runs = tracker::Config::default().settings().ok().unwrap();
        let normalize = normalize::NormalizeConfig::default().settings().ok().unwrap();
        let mut processors: Vec<Arc<dyn Processor>> = vec![
            Arc::new(normalize::NormalizeProcessor::new(
                "normalize".into(),
                &normalize,
                Arc::clone(&vocabulary),
                &meter,
            )),
            Arc::new(cost::CostProcessor::new("cost".into(), &cost, Arc::clone(&vocabulary), &meter).ok().unwrap()),
            Arc::new(tracker::RunTracker::new("runs".into(), runs, Arc::clone(&vocabulary), ids.clone(), &meter)),
        ];
        let sealer: Option<Arc<dyn SessionKeyGenerator>> = match vault {
            Vault::Age => {
                let auditors = [(); 2].map(|()| age::x25519::Identity::generate().to_public());
                Some(Arc::new(RecipientPolicy::unlimited(auditors)))
            }
            Vault::Plain => Some(Arc::new(Plain)),
            Vault::None => None,
        };
        if let Some(sealer) = sealer {
            let writer =
                Arc::new(VaultWriter::new(ObjectNames::new("", "bench", "00000000000000000000000000"), 1 << 20));
            let parts = vault::VaultProcessorParts {
                id: "vault".into(),
                vocabulary: Arc::clone(&vocabulary),
                ids: ids.clone(),
                rng: Arc::new(SystemRng),
                store: Some(vault::ContentStore {
                    sealer,
                    writer,
                    uri: "vault:///".into(),
                    forward_after_put: false,
                    content_url: None,
                }),
                leave: vault::LeftContent::Nothing,
                privacy: vault::PrivacyProfile::Standard,
                echo_finder: vault::EchoFinder {
                    memory: Arc::new(FingerprintCache::new(&SystemRng)),
                    max_error_text: redact::DEFAULT_MAX_ERROR_TEXT,
                    max_scan: redact::DEFAULT_MAX_SCAN,
                },
            };
            processors.push(Arc::new(vault::VaultProcessor::new(parts, &meter)));
        }
        processors.push(Arc::new(redact::RedactProcessor::new("redact".into(), redact, vocabulary, ids, &meter)));
        Self { processors, batches: AtomicU64::new(0) }
    }

    /// Processes one request from bytes to bytes and calls `step` after each step. Nothing is committed and claims are
    /// released, but the work of `runs` after the commit is done, because it is part of the cost of tracking.
    fn request(&self, wire: Bytes, mut step: impl FnMut(&str)) -> usize {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.batches.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        let origin = Arc::new(BatchOrigin {
            account: "default".into(),
            identity: ClientIdentity::Unverified,
            receiver: "otlp".into(),
            trust: Trust::ThirdParty,
            received: UnixNanos(NOW),
            id,
            repeat: false,
            source_record: None,
        });
        let mut batch = Batch::new(origin, Payload::parse(Signal::Traces, wire).ok().unwrap());
        step("parse");
        for processor in &self.processors {
            processor.process(&mut batch).ok().unwrap();
            step(processor.id());
        }
        let encoded = batch.payload.encode(UnknownFields::Drop).ok().unwrap();
        step("encode");
        for processor in self.processors.iter().filter(|one| &**one.id() == "runs") {
            let own = |effect: &&Effect| effect.processor == *processor.id();
            batch.effects.iter().filter(own).for_each(|effect| processor.apply(effect));
        }
        step("runs after the commit");
        for processor in &self.processors {
            processor.discard(&id);
        }
        encoded.bytes.len()
    }
}

/// Processor time of this thread.
fn on_cpu() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// The measurements of one case.
struct Row {
    name: String,
    /// Duration of each sample's requests, in seconds.
    wall: Vec<f64>,
    cpu: Duration,
    requests: u64,
}

#[derive(Default)]
struct Board(Vec<Row>);

impl Board {
    fn median(&self, name: &str) -> Option<f64> {
        self.0.iter().find(|row| row.name == name).map(|row| median(&row.wall))
    }

    /// Processor seconds of a request; wall time if the system does not report processor time.
    fn cpu(&self, name: &str) -> Option<f64> {
        let row = self.0.iter().find(|row| row.name == name)?;
        if row.cpu.is_zero() { self.median(name) } else { Some(row.cpu.as_secs_f64() / row.requests as f64) }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn measure(criterion: &mut Criterion, board: &mut Board, name: &str, vault: Vault, shape: Shape, per: Throughput) {
    measure_ring(criterion, board, name, vault, ring(&shaped(shape)), per);
}

fn measure_ring(
    criterion: &mut Criterion,
    board: &mut Board,
    name: &str,
    vault: Vault,
    ring: Vec<Bytes>,
    per: Throughput,
) {
    let mut group = criterion.benchmark_group("pipeline");
    group.sampling_mode(SamplingMode::Flat).sample_size(10).throughput(per);
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    let mut made = None;
    let mut row = Row { name: name.to_owned(), wall: Vec::new(), cpu: Duration::ZERO, requests: 0 };
    group.bench_function(name, |bencher| {
        let (chain, ring) = made.get_or_insert_with(|| (Chain::new(vault), ring.clone()));
        bencher.iter_custom(|count| {
            let (cpu, began) = (on_cpu(), Instant::now());
            for wire in ring.iter().cycle().take(count as usize) {
                black_box(chain.request(wire.clone(), |_| ()));
            }
            let (cpu, wall) = (on_cpu().zip(cpu), began.elapsed());
            row.cpu += cpu.map_or(Duration::ZERO, |(after, before)| after.saturating_sub(before));
            row.requests += count;
            row.wall.push(wall.as_secs_f64() / count as f64);
            wall
        });
    });
    group.finish();
    if row.requests > 0 {
        board.0.push(row);
    }
}

const CONTENT_SIZES: [usize; 4] = [16, 64, 256, 1024];
const SPAN_COUNTS: [usize; 3] = [100, 1_000, 10_000];
/// Spans in each request of [`CONTENT_SIZES`].
const CONTENT_SPANS: usize = 4;

fn in_process(criterion: &mut Criterion, board: &mut Board) {
    for load in LOADS {
        for (word, vault) in [("age", Vault::Age), ("plain", Vault::Plain), ("no vault", Vault::None)] {
            let ring: Vec<Bytes> =
                load.templates(LOAD_RING).iter().enumerate().flat_map(|(at, one)| renewed(one, at as u64)).collect();
            measure_ring(
                criterion,
                board,
                &format!("load {} {word}", load.name),
                vault,
                ring,
                Throughput::Elements(load.spans as u64),
            );
        }
    }
    for (word, vault) in [("age", Vault::Age), ("plain", Vault::Plain)] {
        for (spans, sessions) in [(1, 1), (100, 1), (100, 20)] {
            let shape = Shape { spans, sessions, ..AGENT };
            let name = format!("agent {spans} spans {sessions} sessions {word}");
            measure(criterion, board, &name, vault, shape, Throughput::Elements(spans as u64));
        }
    }
    for (word, vault) in [("vault", Vault::Plain), ("no vault", Vault::None)] {
        for kib in CONTENT_SIZES {
            let shape = Shape { spans: CONTENT_SPANS, sessions: 1, content: (kib << 10, kib << 10) };
            let bytes = Throughput::Bytes(((CONTENT_SPANS * kib) << 10) as u64);
            measure(criterion, board, &format!("content {kib} KiB {word}"), vault, shape, bytes);
        }
    }
    for spans in SPAN_COUNTS {
        let shape = Shape { spans, sessions: 10, content: (200, 200) };
        let name = format!("{spans} spans");
        measure(criterion, board, &name, Vault::Plain, shape, Throughput::Elements(spans as u64));
    }
}

/// Median milliseconds of each step of the agent's batch.
fn steps(vault: Vault, time: Duration) -> Vec<(String, f64)> {
    let (chain, ring) = (Chain::new(vault), ring(&shaped(AGENT)));
    let mut seen: Vec<(String, Vec<f64>)> = Vec::new();
    let began = Instant::now();
    for wire in ring.iter().cycle() {
        let (mut at, mut last) = (0, Instant::now());
        chain.request(wire.clone(), |step| {
            let spent = last.elapsed().as_secs_f64() * 1e3;
            match seen.get_mut(at) {
                Some((_, all)) => all.push(spent),
                None => seen.push((step.to_owned(), vec![spent])),
            }
            at += 1;
            last = Instant::now();
        });
        if began.elapsed() > time {
            break;
        }
    }
    seen.into_iter().map(|(step, all)| (step, median(&all))).collect()
}

/// The cost of finding texts that repeat content, in the agent's batch: fingerprints of all content, which every batch
/// pays, and the search, which only a batch with a text that could quote pays; as percent of the whole path, and with
/// a full memory.
fn echoes(time: Duration) -> [f64; 3] {
    let template = shaped(AGENT);
    let payload = Payload::parse(Signal::Traces, Bytes::from(template.bytes.clone())).ok().unwrap();
    let keys =
        ["gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.call.arguments", "gen_ai.tool.call.result"];
    let content: Vec<&str> =
        payload.items().flat_map(|node| keys.map(|key| payload.get_str(node, key))).flatten().collect();
    let bytes: usize = content.iter().map(|text| text.len()).sum();
    let memory = FingerprintCache::new(&SystemRng);
    let print = || {
        let mut prints = ContentFingerprints::default();
        content.iter().for_each(|text| prints.add(memory.key(), text));
        prints
    };
    let prints = print();
    // ten different errors, one of which quotes content
    let quote: String = content.first().unwrap().chars().skip(1_000).take(200).collect();
    let mut texts: Vec<String> = (0..9).map(|at| failure(&mut Source(at))).collect();
    texts.push(format!("bad input: {quote}"));
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let session = memory.session_key("default", b"s");
    for index in 0..200 {
        let mut more = ContentFingerprints::default();
        more.add(memory.key(), &Source(index + 100).prose(20_000));
        memory.add_session_content(session, &more);
    }
    let known = memory.session_texts(session);
    let timed = |work: &dyn Fn()| {
        let (began, mut count) = (Instant::now(), 0_u32);
        while began.elapsed() < time / 4 {
            work();
            count += 1;
        }
        began.elapsed().as_secs_f64() / f64::from(count)
    };
    let fingerprints = timed(&|| drop(black_box(print())));
    let search = timed(&|| drop(black_box(EchoReplacements::find(memory.key(), &texts, &[], prints.texts()))));
    let remembered = timed(&|| {
        let all = prints.texts().chain(known.iter().map(|text| &**text));
        drop(black_box(EchoReplacements::find(memory.key(), &texts, &[], all)));
    });
    let whole = reference(&template, time / 4);
    println!(
        "\ntexts that repeat content, agent's batch ({} KiB of content), of its whole way ({:.2} ms)",
        bytes >> 10,
        whole * 1e3
    );
    [
        ("fingerprints of all content", fingerprints),
        ("search in the batch, 10 errors of 300 bytes", search),
        ("the same with a session's memory full (1 MiB)", remembered),
    ]
    .map(|(name, spent)| {
        let share = spent / whole * 100.0;
        println!(
            "  {name:<50} {:>8.3} ms {share:>7.1} %  ({:.2} ns per byte)",
            spent * 1e3,
            spent / bytes as f64 * 1e9
        );
        share
    })
}

// --- runs ---

/// Numbers of live runs.
const LIVE: [u64; 3] = [10, 1_000, 100_000];
/// Spans in one request of one run.
const RUN_SPANS: usize = 10;

/// A request of one run: half model calls, half tools, 200 bytes of content each; each request has another session.
fn run() -> Template {
    let mut source = Source(1);
    let shape = Shape { spans: RUN_SPANS, sessions: 1, content: (200, 200) };
    let mut spans: Vec<Span> = (0..RUN_SPANS).map(|index| span(&mut source, shape, index)).collect();
    for span in &mut spans {
        span.attributes.retain(|one| one.key != "gen_ai.conversation.id");
        span.attributes.push(text("gen_ai.conversation.id", format!("s-{}", kernel::hex::encode(&REQUEST_MARK))));
    }
    request(spans)
}

/// A tracker with a number of live runs, which receive further requests in turn.
struct Tracked {
    chain: Chain,
    template: Template,
    live: u64,
    number: u64,
}

impl Tracked {
    fn new(live: u64) -> Self {
        let mut tracked = Self { chain: Chain::new(Vault::None), template: run(), live, number: 0 };
        for _ in 0..live {
            tracked.step();
        }
        tracked
    }

    /// Nanoseconds of the next request on the worker, and after the commit.
    fn step(&mut self) -> [f64; 2] {
        self.number = self.number % self.live + 1;
        self.template.renew(self.number, self.number);
        let at = self.chain.processors.iter().position(|one| &**one.id() == "runs").unwrap();
        let (before, runs) = (&self.chain.processors[..at], &self.chain.processors[at]);
        let origin = BatchOrigin {
            account: "default".into(),
            identity: ClientIdentity::Unverified,
            receiver: "otlp".into(),
            trust: Trust::ThirdParty,
            received: UnixNanos(NOW),
            id: [0; 16],
            repeat: false,
            source_record: None,
        };
        let wire = Bytes::from(self.template.bytes.clone());
        let mut batch = Batch::new(Arc::new(origin), Payload::parse(Signal::Traces, wire).ok().unwrap());
        before.iter().for_each(|one| one.process(&mut batch).ok().unwrap());
        let began = Instant::now();
        runs.process(&mut batch).ok().unwrap();
        let processed = began.elapsed();
        let began = Instant::now();
        batch.effects.iter().filter(|effect| effect.processor == *runs.id()).for_each(|effect| runs.apply(effect));
        [processed, began.elapsed()].map(|time| time.as_nanos() as f64)
    }

    /// The same per span, as the mean over `time`.
    fn cost(&mut self, time: Duration) -> [f64; 2] {
        let (mut spent, mut spans, began) = ([0.0; 2], 0_usize, Instant::now());
        while began.elapsed() < time {
            let now = self.step();
            spent = [spent[0] + now[0], spent[1] + now[1]];
            spans += RUN_SPANS;
        }
        spent.map(|spent| spent / spans as f64)
    }
}

/// Compares the cost of tracking a span for different numbers of live runs, in alternating rounds: prints a table and
/// returns the last as a multiple of the first. `cargo bench -p benches --bench pipeline -- runs`
fn live_runs() -> f64 {
    let mut tracked = LIVE.map(Tracked::new);
    let mut rounds: [Vec<[f64; 2]>; LIVE.len()] = Default::default();
    for _ in 0..ROUNDS {
        for (one, costs) in tracked.iter_mut().zip(&mut rounds) {
            costs.push(one.cost(Duration::from_secs(1)));
        }
    }
    println!("\ntracking runs, ns a span                       process     apply   against the first; 1 is flat");
    let mut sums = Vec::new();
    for (live, costs) in LIVE.iter().zip(&rounds) {
        let [process, apply] = [0, 1].map(|at| median(&costs.iter().map(|cost| cost[at]).collect::<Vec<f64>>()));
        sums.push(process + apply);
        let against = sums[sums.len() - 1] / sums[0];
        println!("  {:<40} {process:>10.0} {apply:>10.0} {against:>10.2}", format!("{live} live"));
    }
    sums[sums.len() - 1] / sums[0]
}

// --- what must not become slower ---

/// Maximum share of tracking runs in the whole path, on the worker and after the commit, in percent.
const RUNS: f64 = 10.0;
/// Maximum cost of tracking a span with the most live runs, in percent of the cost with the fewest. The part above 100
/// is due to the processor's cache, which holds ten runs but not a hundred thousand; a step that grew with the number
/// of runs would be far above the limit.
const FLAT: f64 = 250.0;

/// Maximum share of `normalize` and `cost` together in the whole path, in percent.
const NORMALIZE_AND_COST: f64 = 10.0;
/// Maximum share of content fingerprints, which every batch pays, in the whole path, in percent.
const FINGERPRINTS: f64 = 5.0;
/// Maximum extra cost of a batch with texts that could quote, in percent. A stream in which every tenth batch has such
/// a text must stay at about the limit of the whole.
const SEARCH: f64 = 3.0;
/// Maximum share of sealing in the whole path, in percent: the extra time of the vault step with age over the step
/// without encryption.
const SEALING: f64 = 25.0;
/// Number of rounds; the median counts, because other load on the machine varies.
const ROUNDS: usize = 5;

/// Prints a figure with its limit and returns whether it is within the limit.
fn gate(what: &str, figures: &[f64], limit: f64) -> bool {
    let figure = median(figures);
    let verdict = if figure <= limit { "ok" } else { "TOO MUCH" };
    println!("{what:<70} {figure:>6.2} %   limit {limit} %   {verdict}");
    figure <= limit
}

/// Checks the shares that have a limit: `cargo bench -p benches --bench pipeline -- gates`.
fn gates() -> bool {
    let mut runs = Vec::new();
    let (mut first, mut second, mut third, mut sealing) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let taken = |vault: Vault| {
            let steps = steps(vault, Duration::from_secs(2));
            move |names: &[&str]| -> f64 {
                let named = |step: &str| names.is_empty() || names.contains(&step);
                steps.iter().filter(|(step, _)| named(step)).map(|(_, ms)| ms).sum()
            }
        };
        let (of, open) = (taken(Vault::Age), taken(Vault::Plain));
        first.push(of(&["normalize", "cost"]) / of(&[]) * 100.0);
        sealing.push((of(&["vault"]) - open(&["vault"])) / of(&[]) * 100.0);
        runs.push(of(&["runs", "runs after the commit"]) / of(&[]) * 100.0);
        let [fingerprints, search, _] = echoes(Duration::from_secs(4));
        second.push(fingerprints);
        third.push(search);
    }
    let flat = live_runs() * 100.0;
    println!("\nlimits, of the agent's batch ({} spans)", AGENT.spans);
    let held = [
        gate("normalize and cost", &first, NORMALIZE_AND_COST),
        gate("sealing (age, to a session's key)", &sealing, SEALING),
        gate("runs, on the worker and after the commit", &runs, RUNS),
        gate("tracking a span with 100,000 live runs, of the same with 10", &[flat], FLAT),
        gate("texts that repeat content: fingerprints", &second, FINGERPRINTS),
        gate("texts that repeat content: search for 10 errors of one batch", &third, SEARCH),
    ];
    held.into_iter().all(|held| held)
}

// --- over sockets ---

fn configuration(folder: &Path) -> String {
    let public = ::vault::keygen::generate_auditor_key(&folder.join("auditor.key")).unwrap();
    let at = |name: &str| folder.join(name).display().to_string();
    let processors = ["normalize", "cost", "runs", "vault", "redact"];
    serde_json::json!({
        "receivers": { "otlp": { "protocols": { "http": { "endpoint": "127.0.0.1:0" } } } },
        "processors": {
            "normalize": {}, "cost": {}, "runs": {}, "redact": {},
            "vault": { "recipients": [public], "store": { "directory": at("vault") }, "writer": "bench" },
        },
        "exporters": { "file": { "path": at("outbound.jsonl") } },
        "spool": { "directory": at("spool"), "max_size": "1GiB" },
        "limits": { "shutdown": "1s" },
        "service": { "pipelines": {
            "traces": { "receivers": ["otlp"], "processors": processors, "exporters": ["file"] },
        } },
    })
    .to_string()
}

async fn gateway(folder: &Path) -> RunningGateway {
    let read = resolve::resolve_config("bench", &configuration(folder), &OtherMachineLookup, folder);
    let (_, valid) = read.result.map_err(|problems| read.source.render(&problems, false)).unwrap();
    let seams = GatewayDeps::system();
    let blueprint = assemble::build_blueprint(valid, &seams).await.unwrap();
    RunningGateway::start(blueprint, seams).await.unwrap()
}

/// Sends a request and returns the status of the response.
fn post(stream: &mut TcpStream, body: &[u8]) -> u16 {
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut part).unwrap();
        assert!(count > 0, "the gateway hung up");
        answer.extend_from_slice(&part[..count]);
        let Some(end) = memchr::memmem::find(&answer, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        if answer.len() >= end + 4 + length.unwrap_or(0) {
            return head.split(' ').nth(1).unwrap().parse().unwrap();
        }
    }
}

/// The clients' measurements.
struct Seen {
    /// Seconds until each acknowledgement, sorted.
    acks: Vec<f64>,
    /// Responses other than 200, after which the sender has to retry.
    refused: u64,
    wall: f64,
}

impl Seen {
    fn per_second(&self) -> f64 {
        self.acks.len() as f64 / self.wall
    }

    fn milliseconds(&self, percent: usize) -> f64 {
        self.acks
            .get((self.acks.len() * percent / 100).min(self.acks.len().saturating_sub(1)))
            .map_or(f64::NAN, |s| s * 1e3)
    }
}

/// Runs `clients` connections, each with one request in progress at a time.
fn load(to: SocketAddr, template: &Template, clients: u64, time: Duration) -> Seen {
    let began = Instant::now();
    let client = |_| {
        let mut request = template.clone();
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(to).unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut acks, mut refused) = (Vec::new(), 0);
            while began.elapsed() < time {
                let id = u64::from_be_bytes(SystemRng.id()[..8].try_into().unwrap());
                request.renew(id, id);
                let sent = Instant::now();
                match post(&mut stream, &request.bytes) {
                    200 => acks.push(sent.elapsed().as_secs_f64()),
                    _ => refused += 1,
                }
            }
            (acks, refused)
        })
    };
    let threads: Vec<_> = (0..clients).map(client).collect();
    let (mut acks, mut refused) = (Vec::new(), 0);
    for thread in threads {
        let (more, no) = thread.join().unwrap();
        acks.extend(more);
        refused += no;
    }
    acks.sort_by(f64::total_cmp);
    Seen { acks, refused, wall: began.elapsed().as_secs_f64() }
}

/// Seconds of one request in process, measured now, because the machine's load may have changed since the other cases.
fn reference(template: &Template, time: Duration) -> f64 {
    let (chain, ring) = (Chain::new(Vault::Age), ring(template));
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < time {
        for wire in &ring {
            chain.request(wire.clone(), |_| ());
        }
        count += ring.len();
    }
    began.elapsed().as_secs_f64() / count as f64
}

fn over_sockets(time: Duration) {
    let root = std::env::var_os("TOLLGATE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let runtime = tasks::build_runtime(2).unwrap();
    println!(
        "\nover sockets (OTLP/HTTP; acknowledged = durable)          req/s  of one core in process   p50 ms   p99 ms  refused"
    );
    for (name, spans) in [("1 span", 1), ("100 spans", AGENT.spans)] {
        let template = shaped(Shape { spans, ..AGENT });
        let one = reference(&template, time / 2);
        let size = template.bytes.len() >> 10;
        for clients in [1, 8] {
            let folder = tempfile::tempdir_in(&root).unwrap();
            let app = runtime.block_on(gateway(folder.path()));
            let to = app.addresses().iter().find(|(what, _)| what == "otlp http").unwrap().1;
            let seen = load(to, &template, clients, time);
            runtime.block_on(app.shutdown());
            println!(
                "  {:<50} {:>10.1} {:>24.2} {:>8.1} {:>8.1} {:>8}",
                format!("{name}, {size} KiB, {clients} at a time"),
                seen.per_second(),
                seen.per_second() * one,
                seen.milliseconds(50),
                seen.milliseconds(99),
                seen.refused
            );
        }
    }
}

// --- the table ---

fn table(board: &Board) {
    println!("\nin process, one request                                   wall ms   cpu ms");
    for row in &board.0 {
        let (wall, cpu) = (median(&row.wall), board.cpu(&row.name).unwrap_or(f64::NAN));
        println!("  {:<50} {:>12.3} {:>8.3}", row.name, wall * 1e3, cpu * 1e3);
    }
    let cpu = |spans: usize, sessions: usize, word: &str| {
        board.cpu(&format!("agent {spans} spans {sessions} sessions {word}"))
    };
    println!("\nof the vault (cpu)");
    for word in ["age", "plain"] {
        if let (Some(one), Some(many)) = (cpu(100, 1, word), cpu(100, 20, word)) {
            println!(
                "  {:<50} {:>12.3} ms",
                format!("a fragment more in a request, {word}"),
                (many - one) / 19.0 * 1e3
            );
        }
    }
    for (spans, sessions) in [(1, 1), (100, 1), (100, 20)] {
        if let (Some(age), Some(plain)) = (cpu(spans, sessions, "age"), cpu(spans, sessions, "plain")) {
            let name = format!("sealed : not, {spans} spans {sessions} sessions");
            println!("  {name:<50} {:>12.2} (+{:.3} ms a request)", age / plain, (age - plain) * 1e3);
        }
    }
    println!("\nflatness (cpu): each against the first; 1 is flat");
    let against = |what: &str, first: Option<f64>, name: &str, units: usize| {
        let Some(each) = board.cpu(name).map(|cpu| cpu / units as f64) else { return first };
        let first = first.unwrap_or(each);
        println!("  {name:<50} {:>12.2}   ({:.2} ns per {what})", each / first, each * 1e9);
        Some(first)
    };
    for word in ["vault", "no vault"] {
        CONTENT_SIZES.iter().fold(None, |first, kib| {
            against("byte of content", first, &format!("content {kib} KiB {word}"), (CONTENT_SPANS * kib) << 10)
        });
    }
    SPAN_COUNTS.iter().fold(None, |first, spans| against("span", first, &format!("{spans} spans"), *spans));
}

/// Processes so many passes over the requests of a load, for counting instructions; prints their number of spans.
/// `pipeline count LOAD PASSES`
fn count(load: &str, passes: u64) {
    let load = Load::named(load);
    let (chain, mut templates, mut spans) = (Chain::new(Vault::Age), load.templates(LOAD_RING), 0);
    for pass in 0..passes {
        for (template, place) in templates.iter_mut().zip(0..) {
            // another number than in any other pass, so that each call is new
            template.renew(pass * LOAD_RING as u64 + place, place);
            black_box(chain.request(Bytes::from(template.bytes.clone()), |_| ()));
            spans += load.spans;
        }
    }
    println!("{spans}");
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, load, passes] = &words[..]
        && mode == "count"
    {
        return count(load, passes.parse().expect("a number of passes"));
    }
    if words.iter().any(|word| word == "gates") {
        std::process::exit(i32::from(!gates()));
    }
    if words.iter().any(|word| word == "runs") {
        live_runs();
        return;
    }
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    let mut board = Board::default();
    in_process(&mut criterion, &mut board);
    criterion.final_summary();
    // The rest needs a complete measuring run: no test, list, profile or selection of cases.
    let whole = words == ["--bench"];
    if !whole {
        return;
    }
    table(&board);
    println!("\nsteps of the agent's batch ({} spans), ms", AGENT.spans);
    for (word, vault) in [("age", Vault::Age), ("plain", Vault::Plain), ("no vault", Vault::None)] {
        let steps: Vec<String> =
            steps(vault, Duration::from_secs(1)).iter().map(|(step, ms)| format!("{step} {ms:.2}")).collect();
        println!("  {word:<10} {}", steps.join("  "));
    }
    live_runs();
    echoes(Duration::from_secs(4));
    over_sockets(Duration::from_secs(2));
}
