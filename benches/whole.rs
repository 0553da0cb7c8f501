//! What a gateway costs as a whole: gateway, sender and back end as three processes on one machine, and the gateway's
//! processor time per span, from a request's first byte until the back end and the vault have everything. Each row
//! adds a processor to the row before. Ratios are the result; absolute times belong to one machine.
//!
//! ```text
//! whole [--gateway PATH] [--collector PATH] [--rotel PATH] [--load NAME] [--seconds N] [--rounds N] [--json FILE]
//!       [--only ROW,…] [--rate SPANS] [--gates]
//!             runs all rows, prints a table; --rate sends so many spans a second instead of as many as answers allow;
//!             --gates fails if a limit is passed
//! whole sink  starts a back end that answers 200; prints its port
//! whole send PORT LOAD SECONDS CONNECTIONS [RATE]
//!             sends over gRPC, at RATE requests a second or as fast as answers come; prints a line of JSON
//! ```
//! `TOLLGATE_BENCH_DIR` chooses the volume of spool and vault (default: the system's temporary directory).

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a bench"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use benches::back_end;
use benches::load::{LOADS, Load, REQUESTS_PER_SESSION, Template};
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use serde_json::{Value, json};

/// Different requests that a sender has ready.
const RING: usize = 48;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["sink"] => back_end::serve(),
        ["send", port, load, seconds, connections, ref rate @ ..] => {
            let rate = rate.first().map(|rate| rate.parse().unwrap());
            send(
                port.parse().unwrap(),
                Load::named(load),
                seconds.parse().unwrap(),
                connections.parse().unwrap(),
                rate,
            );
        }
        _ => run(&Options::of(&words)),
    }
}

// --- the sender ---

/// The state that a sender's connections share.
struct Sender {
    templates: Vec<Template>,
    sent: AtomicU64,
    refused: AtomicU64,
    latencies: Mutex<Vec<f64>>,
    began: Instant,
    end: Instant,
    rate: Option<f64>,
    /// Distinguishes the ids of two processes.
    salt: u64,
}

impl Sender {
    /// The body of the gRPC message with this number: a flag, the length, the request.
    fn body(&self, number: u64) -> Bytes {
        let count = self.templates.len() as u64;
        let (slot, lap) = (number % count, number / count);
        let mut template = self.templates[slot as usize].clone();
        let session = (lap / REQUESTS_PER_SESSION) * count + slot;
        template.renew(self.salt + number, self.salt + session);
        let mut out = BytesMut::with_capacity(template.bytes.len() + 5);
        out.put_u8(0);
        out.put_u32(template.bytes.len() as u32);
        out.put_slice(&template.bytes);
        out.freeze()
    }

    async fn connection(self: Arc<Self>, port: u16) {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut client, connection) = hyper::client::conn::http2::Builder::new(executor)
            .initial_stream_window_size(1 << 20)
            .handshake::<_, Full<Bytes>>(hyper_util::rt::TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        let mut mine = Vec::new();
        loop {
            let number = self.sent.fetch_add(1, Ordering::Relaxed);
            let due =
                self.rate.map_or_else(Instant::now, |rate| self.began + Duration::from_secs_f64(number as f64 / rate));
            if due >= self.end {
                self.sent.fetch_sub(1, Ordering::Relaxed);
                break;
            }
            let body = self.body(number);
            tokio::time::sleep_until(due.into()).await;
            let request =
                hyper::Request::post("http://gateway/opentelemetry.proto.collector.trace.v1.TraceService/Export")
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
                    .body(Full::new(body))
                    .unwrap();
            let response = client.send_request(request).await.unwrap();
            let in_head = response.headers().get("grpc-status").cloned();
            let answer = response.into_body().collect().await.unwrap();
            let status = in_head.or_else(|| answer.trailers().and_then(|all| all.get("grpc-status")).cloned());
            if status.is_none_or(|status| status != "0") {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            // from the due time: waiting for a free connection counts as the gateway's time
            mine.push(due.elapsed().as_secs_f64() * 1e3);
        }
        self.latencies.lock().unwrap().append(&mut mine);
    }
}

fn send(port: u16, load: Load, seconds: f64, connections: usize, rate: Option<f64>) {
    let templates = load.templates(RING);
    let bytes = templates.iter().map(|template| template.bytes.len()).sum::<usize>() / templates.len();
    let salt = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let began = Instant::now();
    let sender = Arc::new(Sender {
        templates,
        sent: AtomicU64::new(0),
        refused: AtomicU64::new(0),
        latencies: Mutex::default(),
        began,
        end: began + Duration::from_secs_f64(seconds),
        rate,
        salt,
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let all: Vec<_> = (0..connections).map(|_| tokio::spawn(Arc::clone(&sender).connection(port))).collect();
        for one in all {
            one.await.unwrap();
        }
    });
    let took = began.elapsed().as_secs_f64();
    let mut latencies = sender.latencies.lock().unwrap();
    latencies.sort_by(f64::total_cmp);
    let at = |share: usize| latencies.get((latencies.len() * share / 1000).min(latencies.len().saturating_sub(1)));
    let requests = sender.sent.load(Ordering::Relaxed);
    let line = json!({
        "requests": requests, "refused": sender.refused.load(Ordering::Relaxed), "spans": requests * load.spans as u64,
        "bytes": requests * bytes as u64, "seconds": took, "p50_ms": at(500), "p99_ms": at(990), "max_ms": latencies.last(),
    });
    println!("{line}");
}

// --- the rows ---

struct Options {
    gateway: PathBuf,
    collector: Option<PathBuf>,
    rotel: Option<PathBuf>,
    load: Load,
    seconds: f64,
    rounds: usize,
    json: Option<PathBuf>,
    only: Vec<String>,
    /// Spans a second; `None`: as fast as answers come.
    rate: Option<f64>,
    gates: bool,
}

impl Options {
    fn of(words: &[&str]) -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.join("target"), PathBuf::from);
        let compared = repository.join("target/compared");
        let mut options = Self {
            gateway: target.join("release/tollgate"),
            collector: Some(compared.join("collector/collector")).filter(|path| path.is_file()),
            rotel: Some(compared.join("rotel/rotel/rotel-agent")).filter(|path| path.is_file()),
            load: LOADS[0],
            seconds: 8.0,
            rounds: 3,
            json: None,
            only: Vec::new(),
            rate: None,
            gates: false,
        };
        let mut left = words.iter();
        while let Some(word) = left.next() {
            let mut value = || left.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match *word {
                "--gateway" => options.gateway = value().into(),
                "--collector" => options.collector = Some(value().into()),
                "--rotel" => options.rotel = Some(value().into()),
                "--load" => options.load = Load::named(value()),
                "--seconds" => options.seconds = value().parse().expect("--seconds takes a number"),
                "--rounds" => options.rounds = value().parse().expect("--rounds takes a number"),
                "--json" => options.json = Some(value().into()),
                "--only" => options.only = value().split(',').map(str::to_owned).collect(),
                "--rate" => options.rate = Some(value().parse().expect("--rate takes a number")),
                "--gates" => options.gates = true,
                other => panic!("unknown option {other}"),
            }
        }
        assert!(
            options.gateway.is_file(),
            "{} is missing: run `cargo build --release --locked --bin tollgate`, or name a binary by --gateway",
            options.gateway.display()
        );
        options
    }
}

/// The processors of the default pipeline, in order.
const PROCESSORS: [&str; 5] = ["normalize", "cost", "runs", "vault", "redact"];

enum Program {
    Tollgate { processors: &'static [&'static str], ack: &'static str, content: &'static str, sample: bool },
    Collector { processors: bool },
    Rotel,
}

struct RowKind {
    name: &'static str,
    program: Program,
}

const fn tollgate(name: &'static str, processors: &'static [&'static str]) -> RowKind {
    RowKind { name, program: Program::Tollgate { processors, ack: "spooled", content: "vault", sample: false } }
}

/// How long the row `sampled` keeps items before it decides.
const SAMPLE_WAIT: Duration = Duration::from_secs(5);

/// The row that all others are divided by.
const PASS_THROUGH: &str = "pass-through";
const WHOLE: &str = "whole";

const ROWS: [RowKind; 11] = [
    tollgate(PASS_THROUGH, &[]),
    RowKind {
        name: "offered",
        program: Program::Tollgate { processors: &[], ack: "offered", content: "vault", sample: false },
    },
    tollgate("normalize+cost", PROCESSORS.split_at(2).0),
    tollgate("+runs", PROCESSORS.split_at(3).0),
    tollgate("+vault", PROCESSORS.split_at(4).0),
    tollgate(WHOLE, &PROCESSORS),
    RowKind {
        name: "content allowed",
        program: Program::Tollgate {
            processors: &["normalize", "cost", "runs", "redact"],
            ack: "spooled",
            content: "allow",
            sample: false,
        },
    },
    RowKind {
        name: "sampled",
        program: Program::Tollgate { processors: &PROCESSORS, ack: "spooled", content: "vault", sample: true },
    },
    RowKind { name: "collector", program: Program::Collector { processors: false } },
    RowKind { name: "collector+work", program: Program::Collector { processors: true } },
    RowKind { name: "rotel", program: Program::Rotel },
];

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Program {
    /// The command that starts this program, or none if its path was not given.
    fn command(&self, options: &Options, folder: &Path, port: u16, sink: u16) -> Option<Command> {
        let config = folder.join("config.yaml");
        let write = |value: Value| std::fs::write(&config, value.to_string()).unwrap();
        let mut command = match self {
            Self::Tollgate { processors, ack, content, sample } => {
                let mut settings = tollgate_config(options, folder, [port, sink], (processors, ack, content));
                if *sample {
                    let wait = format!("{}s", SAMPLE_WAIT.as_secs());
                    settings["exporters"]["otlp_http"]["sample"] =
                        json!({ "keep": ["errors"], "others": 0.1, "wait": wait, "weight": "SampleRate" });
                }
                write(settings);
                let mut command = Command::new(&options.gateway);
                command.arg("run").arg("--config").arg(&config);
                command
            }
            Self::Collector { processors } => {
                write(collector_config(folder, [port, sink], *processors));
                let mut command = Command::new(options.collector.as_ref()?);
                command.arg("--config").arg(&config);
                command
            }
            Self::Rotel => {
                let mut command = Command::new(options.rotel.as_ref()?);
                command.arg("start").arg("--exporter").arg("otlp").arg("--otlp-exporter-protocol").arg("http");
                command.arg("--otlp-exporter-compression").arg("none");
                command.arg("--otlp-exporter-endpoint").arg(format!("http://127.0.0.1:{sink}"));
                command.arg("--otlp-grpc-endpoint").arg(format!("127.0.0.1:{port}"));
                command.arg("--otlp-http-endpoint").arg(format!("127.0.0.1:{}", free_port()));
                command
            }
        };
        let log = File::create(folder.join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Some(command)
    }
}

fn tollgate_config(
    options: &Options,
    folder: &Path,
    [port, sink]: [u16; 2],
    (processors, ack, content): (&[&str], &str, &str),
) -> Value {
    let key = Command::new(&options.gateway)
        .args(["vault", "keygen", "--output"])
        .arg(folder.join("auditor.key"))
        .output()
        .unwrap();
    let printed = [key.stdout, key.stderr].concat();
    let printed = String::from_utf8(printed).unwrap();
    let recipient = printed.split_whitespace().find(|word| word.starts_with("age1")).expect("a public key").to_owned();
    let settings = |name: &str| match name {
        "vault" => json!({ "recipients": [recipient], "store": { "directory": folder.join("vault") } }),
        "redact" => json!({ "content": content }),
        _ => json!({}),
    };
    let processors: Vec<&str> = processors.to_vec();
    std::fs::create_dir_all(folder.join("vault")).unwrap();
    json!({
        "receivers": { "otlp": { "protocols": { "grpc": { "endpoint": format!("127.0.0.1:{port}") } } } },
        "processors": processors.iter().map(|name| (*name, settings(name))).collect::<BTreeMap<_, _>>(),
        "exporters": { "otlp_http": {
            "endpoint": format!("http://127.0.0.1:{sink}"), "compression": "none", "trust": "internal", "ack": ack,
        } },
        "extensions": { "admin": { "endpoint": format!("127.0.0.1:{}", free_port()) } },
        "spool": { "directory": folder.join("spool"), "max_size": "16GiB" },
        "service": {
            "extensions": ["admin"],
            "telemetry": { "logs": { "level": "warn" } },
            "pipelines": { "traces": { "receivers": ["otlp"], "processors": processors, "exporters": ["otlp_http"] } },
        },
    })
}

/// Without `work`, receiver and exporter with a queue in memory. With it, what a team would write to come near tollgate's
/// job: ten patterns, five deletions, one multiplication for the cost, and a queue on disk with fsync.
fn collector_config(folder: &Path, [port, sink]: [u16; 2], work: bool) -> Value {
    const PATTERNS: [&str; 10] = [
        r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}",
        r"\b\d{3}-\d{2}-\d{4}\b",
        r"\b(?:\d[ -]?){13,16}\b",
        r"\bAKIA[0-9A-Z]{16}\b",
        r"\bsk-[A-Za-z0-9]{20,}\b",
        r"\bghp_[A-Za-z0-9]{36}\b",
        r"\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\b",
        r"\b\d{1,3}(?:\.\d{1,3}){3}\b",
        r"\b[A-Z]{2}\d{2}[A-Z0-9]{11,30}\b",
        r"\+\d{1,3}[ -]?\d{3}[ -]?\d{3}[ -]?\d{3,4}\b",
    ];
    let deleted = [
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
        "gen_ai.system_instructions",
    ];
    let queue = folder.join("queue");
    std::fs::create_dir_all(&queue).unwrap();
    let statement = r#"set(span.attributes["cost"], span.attributes["gen_ai.usage.input_tokens"] * 3) where span.attributes["gen_ai.usage.input_tokens"] != nil"#;
    let sending = if work { json!({ "enabled": true, "storage": "file_storage" }) } else { json!({ "enabled": true }) };
    let processors: &[&str] = if work { &["attributes", "transform", "redaction"] } else { &[] };
    json!({
        "receivers": { "otlp": { "protocols": { "grpc": { "endpoint": format!("127.0.0.1:{port}") } } } },
        "processors": if work { json!({
            "attributes": { "actions": deleted.map(|key| json!({ "key": key, "action": "delete" })) },
            "transform": { "trace_statements": [statement] },
            "redaction": { "allow_all_keys": true, "blocked_values": PATTERNS },
        }) } else { json!({}) },
        "exporters": { "otlphttp": {
            "endpoint": format!("http://127.0.0.1:{sink}"), "compression": "none", "sending_queue": sending,
        } },
        "extensions": if work { json!({ "file_storage": { "directory": queue, "fsync": true } }) } else { json!({}) },
        "service": {
            "extensions": if work { json!(["file_storage"]) } else { json!([]) },
            "telemetry": { "logs": { "level": "warn" }, "metrics": { "level": "none" } },
            "pipelines": { "traces": { "receivers": ["otlp"], "processors": processors, "exporters": ["otlphttp"] } },
        },
    })
}

/// A process that is killed when the value is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// The numbers of proc_pid_stat(5) from its third field on, the state.
    fn stat(&self) -> Vec<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id())).expect("the gateway ended");
        let fields = stat.rsplit(") ").next().unwrap().split(' ');
        fields.map(|field| field.parse().unwrap_or(f64::NAN)).collect()
    }

    /// Processor time of user and system in seconds, to 10 ms.
    fn cpu(&self) -> f64 {
        let stat = self.stat();
        // utime and stime, in ticks of 10 ms
        (stat[11] + stat[12]) / 100.0
    }

    /// Page faults without input or output. Each costs up to some microseconds on a virtual machine.
    fn page_faults(&self) -> f64 {
        self.stat()[7]
    }

    /// Resident memory in MiB.
    fn resident(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("the gateway ended");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

/// Figures of one run of one row.
#[derive(Clone, Copy)]
struct Sample {
    /// Microseconds of the gateway's processor time per span.
    cpu: f64,
    page_faults: f64,
    spans: f64,
    seconds: f64,
    resident: f64,
    idle: f64,
    refused: f64,
    p50: f64,
    p99: f64,
}

fn measure(kind: &RowKind, options: &Options) -> Option<Sample> {
    let base = std::env::var_os("TOLLGATE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(base).unwrap();
    let own = std::env::current_exe().unwrap();
    let mut back_end = Running(Command::new(&own).arg("sink").stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(back_end.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let (port, sink) = (free_port(), line.trim().parse().unwrap());
    let gateway = Running(kind.program.command(options, folder.path(), port, sink)?.spawn().unwrap());
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        assert!(began.elapsed() < Duration::from_secs(30), "{} does not listen:\n{}", kind.name, log());
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(500));
    let idle = gateway.resident();
    let sending = |seconds: f64| {
        let output = Command::new(&own)
            .args(["send", &port.to_string(), options.load.name, &seconds.to_string(), "4"])
            .args(options.rate.map(|rate| (rate / options.load.spans as f64).to_string()))
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        let log = || std::fs::read_to_string(folder.path().join("log")).unwrap_or_default();
        assert!(output.status.success(), "the sender failed for {}:\n{}", kind.name, log());
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    // warm: connections, caches, the first sessions
    sending(1.0);
    settle(&gateway);
    let (before, faults_before) = (gateway.cpu(), gateway.page_faults());
    let (done, most) = (AtomicBool::new(false), Mutex::new(0.0_f64));
    let sent = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let mut most = most.lock().unwrap();
                *most = most.max(gateway.resident());
                drop(most);
                thread::sleep(Duration::from_millis(50));
            }
        });
        let sent = sending(options.seconds);
        if matches!(kind.program, Program::Tollgate { sample: true, .. }) {
            thread::sleep(SAMPLE_WAIT * 2);
        }
        settle(&gateway);
        done.store(true, Ordering::Relaxed);
        sent
    });
    let figure = |key: &str| sent[key].as_f64().unwrap_or(f64::NAN);
    let resident = *most.lock().unwrap();
    Some(Sample {
        cpu: (gateway.cpu() - before) * 1e6 / figure("spans"),
        page_faults: (gateway.page_faults() - faults_before) * 1e3 / figure("spans"),
        spans: figure("spans"),
        seconds: figure("seconds"),
        resident,
        idle,
        refused: figure("refused"),
        p50: figure("p50_ms"),
        p99: figure("p99_ms"),
    })
}

/// Waits until the gateway has delivered everything: for a second it takes less than 3 % of a core.
fn settle(gateway: &Running) {
    let began = Instant::now();
    let (mut quiet, mut last) = (0, gateway.cpu());
    while quiet < 4 && began.elapsed() < Duration::from_secs(60) {
        thread::sleep(Duration::from_millis(250));
        let now = gateway.cpu();
        quiet = if now - last < 0.011 { quiet + 1 } else { 0 };
        last = now;
    }
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let middle = &sorted[sorted.len().saturating_sub(1) / 2..(sorted.len() / 2 + 1).min(sorted.len())];
    middle.iter().sum::<f64>() / middle.len() as f64
}

/// Milliseconds of an append of 256 KB with fdatasync on the bench's volume, the median of 200.
fn fdatasync() -> f64 {
    let base = std::env::var_os("TOLLGATE_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let (file, bytes) = (tempfile::tempfile_in(base).unwrap(), vec![0x5a; 256 << 10]);
    let one = |at: u64| {
        let began = Instant::now();
        file.write_all_at(&bytes, at * bytes.len() as u64).unwrap();
        file.sync_data().unwrap();
        began.elapsed().as_secs_f64() * 1e3
    };
    median((0..200).map(one))
}

/// Largest cost of the whole job, as a multiple of the pass-through: what holds today. The aim is 4.
const WHOLE_LIMIT: f64 = 11.0;
/// Smallest number of spans per processor second of the pass-through, as a multiple of the Collector's.
const COLLECTOR_LIMIT: f64 = 1.1;

fn run(options: &Options) {
    let wanted = |kind: &&RowKind| options.only.is_empty() || options.only.iter().any(|name| name == kind.name);
    let rows: Vec<&RowKind> = ROWS.iter().filter(wanted).collect();
    let mut samples: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    // rows in turn, so that a slow minute of the machine meets all of them
    for round in 1..=options.rounds {
        for kind in &rows {
            if let Some(sample) = measure(kind, options) {
                let Sample { cpu, page_faults, .. } = sample;
                eprintln!(
                    "round {round}: {:<16} {cpu:>7.1} µs per span, {page_faults:.0} page faults per 1,000",
                    kind.name
                );
                samples.entry(kind.name).or_default().push(sample);
            }
        }
    }
    let of = |name: &str, figure: fn(&Sample) -> f64| samples.get(name).map(|all| median(all.iter().map(figure)));
    let base = of(PASS_THROUGH, |sample| sample.cpu).unwrap_or(f64::NAN);
    println!(
        "\nload {}, {} s, {} rounds; fdatasync of 256 KB: {:.2} ms",
        options.load.name,
        options.seconds,
        options.rounds,
        fdatasync()
    );
    println!(
        "row               CPU per span   per pass-through   page faults/1,000   spans a second   resident MiB   idle   \
         p50 ms   p99 ms"
    );
    let mut json_rows = Vec::new();
    for kind in &rows {
        let Some(cpu) = of(kind.name, |sample| sample.cpu) else { continue };
        let figures = [
            of(kind.name, |sample| sample.page_faults),
            of(kind.name, |sample| sample.spans / sample.seconds),
            of(kind.name, |sample| sample.resident),
            of(kind.name, |sample| sample.idle),
            of(kind.name, |sample| sample.p50),
            of(kind.name, |sample| sample.p99),
        ]
        .map(Option::unwrap_or_default);
        let refused: f64 = samples[kind.name].iter().map(|sample| sample.refused).sum();
        let [faults, rate, resident, idle, p50, p99] = figures;
        println!(
            "{:<16} {cpu:>10.1} µs {:>18.2} {faults:>19.0} {rate:>16.0} {resident:>14.0} {idle:>6.0} {p50:>8.1} {p99:>8.1}{}",
            kind.name,
            cpu / base,
            if refused > 0.0 { format!("   {refused} refused") } else { String::new() },
        );
        json_rows.push(json!({ "row": kind.name, "per_pass_through": cpu / base, "refused": refused }));
    }
    if let Some(file) = &options.json {
        let text = json!({ "load": options.load.name, "rounds": options.rounds, "rows": json_rows });
        std::fs::write(file, format!("{text:#}\n")).unwrap();
    }
    if options.gates && !gates(|name| of(name, |sample| sample.cpu)) {
        std::process::exit(1);
    }
}

fn gates(cpu: impl Fn(&str) -> Option<f64>) -> bool {
    let mut passed = true;
    let mut gate = |what: &str, figure: Option<f64>, within: fn(f64) -> bool| {
        let Some(figure) = figure else { return };
        passed &= within(figure);
        println!("{what}: {figure:.2}: {}", if within(figure) { "ok" } else { "NOT MET" });
    };
    let pass = cpu(PASS_THROUGH);
    gate(
        "whole job / pass-through, at most 11 (the aim is 4)",
        cpu(WHOLE).zip(pass).map(|(whole, pass)| whole / pass),
        |ratio| ratio <= WHOLE_LIMIT,
    );
    gate(
        "Collector / pass-through, at least 1.1",
        cpu("collector").zip(pass).map(|(theirs, pass)| theirs / pass),
        |ratio| ratio >= COLLECTOR_LIMIT,
    );
    passed
}
