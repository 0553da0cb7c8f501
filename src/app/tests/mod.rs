mod ends;
mod fleet_role;
mod keys;

use std::collections::HashMap;
use std::future::ready;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::build::{
    BackgroundTask, BoundListener, DrainListener, GatewayBlueprint, GatewayComponents, GatewayDeps, GatewayResources,
    GatewaySettings, Listener, ListenerResources, background_task,
};
use super::*;
use command::tasks::Tasks;
use fixtures::until::until;
use kernel::rng::SystemRng;
use net::Spawn;
use otlp::Signal;
use pipeline::spool::Spool;
use pipeline::testing::engine::{Sink, Step, Tally, spans};
use pipeline::{
    BytePermit, EngineLimits, EnginePlan, Exporter, Inlet, Outcome, OutletSettings, PipelinePlan, Processor, Reason,
    Submission, Trust, spool,
};
use telemetry::{Health, Meter};

mod notify;
mod remember;

/// Additions of a test to the gateway.
#[derive(Default)]
struct Extras {
    processors: Vec<Arc<dyn Processor>>,
    companions: Vec<BackgroundTask>,
    listeners: Vec<Listener>,
    outlets: HashMap<Arc<str>, OutletSettings>,
    fails: Option<&'static str>,
}

fn blueprint(folder: &Path, sink: &Arc<Sink>, extras: Extras) -> GatewayBlueprint {
    let sink = Arc::clone(sink);
    let build = move |_: &GatewayResources| {
        if let Some(fails) = extras.fails {
            return Err(StartError::new(fails));
        }
        let pipeline = PipelinePlan {
            id: "traces".into(),
            signal: Signal::Traces,
            receivers: vec!["otlp".into()],
            processors: extras.processors,
            exporters: vec![sink as Arc<dyn Exporter>],
        };
        Ok(GatewayComponents {
            plan: EnginePlan {
                pipelines: vec![pipeline],
                limits: EngineLimits::default(),
                other_state: Vec::new(),
                effects_consumers: Vec::new(),
                sample_states: None,
            },
            outlets: extras.outlets,
            consumers: Vec::new(),
            destinations: Vec::new(),
            background_tasks: extras.companions,
            listeners: extras.listeners,
            inlet: super::build::InletCell::default(),
        })
    };
    GatewayBlueprint {
        spool: spool::SpoolSettings::new(folder.join("spool"), 64 << 20),
        keys: vec![spool::SpoolKey::from_bytes([5; 32])],
        settings: GatewaySettings { workers: 2, drain_outlets: Duration::from_secs(2), ..GatewaySettings::default() },
        build: Box::new(build),
    }
}

fn submit(inlet: &Arc<Inlet>, wire: Bytes) -> BoxFuture<'static, Outcome> {
    inlet.for_receiver("otlp").submit(Submission {
        signal: Signal::Traces,
        wire,
        permit: BytePermit::new(),
        account: "default".into(),
        identity: pipeline::ClientIdentity::Unverified,
        receiver: "otlp".into(),
        trust: Trust::ThirdParty,
        effects: Vec::new(),
        source_record: None,
    })
}

async fn start(folder: &Path, sink: &Arc<Sink>, extras: Extras) -> RunningGateway {
    RunningGateway::start(blueprint(folder, sink, extras), GatewayDeps::system()).await.unwrap()
}

/// A gateway that is dropped, like one that is killed, must not lose accepted data. The next start writes a checkpoint
/// of the replayed records at once, so that they are replayed only once even if that gateway is killed soon.
#[test]
fn a_crash_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let retry = Outcome::Retry { after: None, reason: Reason::Unavailable };
    let dead = Sink::new("x", Trust::Internal, 1 << 20, move |_| (Duration::ZERO, retry.clone()));
    let runtime = command::tasks::build_runtime(1).unwrap();
    let counts = || Extras { processors: vec![Tally::new("tally")], ..Extras::default() };
    let app = runtime.block_on(start(folder.path(), &dead, counts()));
    let answer = submit(&app.engine().inlet, spans(&["a"]));
    assert_eq!(runtime.block_on(answer), Outcome::Accepted);
    // Nothing is closed or saved; only the lock is released, as the system does for a killed process.
    let copy = tempfile::tempdir().unwrap();
    copy_files(&folder.path().join("spool"), &copy.path().join("spool"));
    let sink = Sink::open("x", Trust::Internal);
    let mut blueprint = blueprint(copy.path(), &sink, counts());
    blueprint.settings.checkpoint_interval = Duration::from_secs(86_400);
    let second = runtime.block_on(RunningGateway::start(blueprint, GatewayDeps::system())).unwrap();
    runtime.block_on(until(|| copy.path().join("spool/state/checkpoint").exists()));
    assert_eq!(runtime.block_on(second.shutdown()).records_left, 0);
    assert_eq!(sink.all(), ["a"]);
    runtime.block_on(app.shutdown());
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// The events of a start, in order.
type Log = Arc<Mutex<Vec<&'static str>>>;

fn beside(log: &Log) -> BackgroundTask {
    let (prepared, log) = (Arc::clone(log), Arc::clone(log));
    let run = |mut stop: watch::Receiver<bool>| async move {
        log.lock().push("run");
        let _ = stop.wait_for(|stop| *stop).await;
        log.lock().push("finished");
    };
    background_task("beside", move || prepared.lock().push("prepare"), run)
}

fn port(log: &Log, fails: Option<&'static str>) -> Listener {
    let log = Arc::clone(log);
    Box::pin(async move {
        log.lock().push("bind");
        fails.map_or(Ok(()), |fails| Err(StartError::new(fails)))?;
        let addresses = vec![("port".to_owned(), SocketAddr::from(([127, 0, 0, 1], 9)))];
        let serve = move |_| {
            log.lock().push("serve");
            let drain = move |_| {
                log.lock().push("drain");
                Box::pin(ready(())) as BoxFuture<'static, ()>
            };
            Box::pin(ready(Box::new(drain) as DrainListener)) as BoxFuture<'static, DrainListener>
        };
        Ok(BoundListener { addresses, stays_until_end: false, serve: Box::new(serve) })
    })
}

/// State must be rebuilt before ports are bound, all parts must run before ports serve, and listeners must end first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_start_and_stop_in_order() {
    let (folder, sink, log) = (tempfile::tempdir().unwrap(), Sink::open("x", Trust::Internal), Log::default());
    let extras = Extras { companions: vec![beside(&log)], listeners: vec![port(&log, None)], ..Extras::default() };
    let app = start(folder.path(), &sink, extras).await;
    assert_eq!(app.addresses()[0].0, "port");
    let tasks = Arc::clone(&app.tasks);
    app.shutdown().await;
    let log = log.lock().clone();
    let at = |word| log.iter().position(|known| *known == word).unwrap_or_else(|| panic!("{word} is not in {log:?}"));
    assert!(at("prepare") < at("bind") && at("bind") < at("serve") && at("serve") < at("drain"), "{log:?}");
    assert!(at("drain") < at("finished"), "{log:?}");
    assert!(tasks.all().is_empty());
}

/// A failed start must give its reason in one line and leave nothing running.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_start_leaves_nothing() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::open("x", Trust::Internal));
    let port = |fails| port(&Log::default(), fails);
    let cases = [
        Extras { fails: Some("no such file"), ..Extras::default() },
        Extras { listeners: vec![port(None), port(Some("the port is in use"))], ..Extras::default() },
    ];
    for (extras, wanted) in cases.into_iter().zip(["no such file", "the port is in use"]) {
        let failed =
            RunningGateway::start(blueprint(folder.path(), &sink, extras), GatewayDeps::system()).await.err().unwrap();
        assert_eq!(failed.text, wanted);
        assert_ne!(failed.fault, StartFault::Configuration);
        assert_eq!(
            failed.fault == StartFault::Port,
            wanted.contains("port"),
            "only a port that is taken may be tried elsewhere"
        );
    }
    let app = start(folder.path(), &sink, Extras::default()).await;
    let second = RunningGateway::start(blueprint(folder.path(), &sink, Extras::default()), GatewayDeps::system())
        .await
        .err()
        .unwrap();
    assert!(!second.text.contains('\n') && !second.text.is_empty(), "{second}");
    app.shutdown().await;
}

/// If nothing can be committed any more, the gateway must end with an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_spool_ends_the_gateway() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::open("x", Trust::Internal));
    let app = start(folder.path(), &sink, Extras::default()).await;
    app.engine().sequencer.report_failure(Reason::SpoolFailed);
    let ended = app.run_until(std::future::pending()).await;
    assert_eq!(ended.failed, Some(Reason::SpoolFailed));
}

/// Open requests must be answered at a shutdown, even if processing them takes a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_in_hand_are_answered() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::open("x", Trust::Internal));
    let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (count, open) = (Arc::clone(&begun), Arc::clone(&gate));
    let slow = Step::new("slow", move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        while !open.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        Ok(())
    });
    let app = start(folder.path(), &sink, Extras { processors: vec![slow], ..Extras::default() }).await;
    let answers: Vec<_> = (0..4).map(|n| submit(&app.engine().inlet, spans(&[format!("item{n}")]))).collect();
    until(|| begun.load(Ordering::SeqCst) >= 2).await;
    let shutdown = app.shutdown();
    gate.store(true, Ordering::SeqCst);
    assert_eq!(shutdown.await.records_left, 0);
    for answer in answers {
        assert_eq!(answer.await, Outcome::Accepted);
    }
    assert_eq!(sink.all().len(), 4);
}

/// A panicking task must be counted, and must not be waited for.
#[tokio::test]
async fn a_panic_in_a_task_is_counted() {
    let meter = Meter::new();
    let tasks = Tasks::new(&meter);
    tasks.spawn("odd", Box::pin(async { panic!("in a task") }));
    tasks.spawn_blocking("even", Box::new(|| panic!("in a thread")));
    assert!(tasks.all().wait_until_empty(Duration::from_secs(10)).await);
    let metrics = meter.render();
    assert!(metrics.contains("tollgate_panics_total{place=\"odd\"} 1") && metrics.contains("{place=\"even\"} 1"));
    tasks.spawn_thread("third", || panic!("in our own thread")).unwrap().join().unwrap();
}

/// Sends one HTTP/1.1 request on its own connection; returns the whole answer.
async fn http(address: SocketAddr, head: &str, body: &[u8]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!("{head}\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Listeners for OTLP over HTTP and the admin port.
fn sockets(seams: &GatewayDeps) -> Vec<Listener> {
    let config: receivers::otlp::OtlpReceiverConfig =
        serde_json::from_str(r#"{"protocols": {"http": {"endpoint": "127.0.0.1:0"}}}"#).unwrap();
    let receiver = receivers::otlp::OtlpReceiver::build("otlp".into(), config.settings().unwrap());
    let (meter, health) = (seams.meter.clone(), seams.health.clone());
    let admin = telemetry::admin::AdminState { meter, health, money: ::runs::amounts::format_dollars };
    let web = listeners::WebListener {
        name: "admin",
        endpoint: config::Endpoint::parse("127.0.0.1:0").unwrap(),
        router: telemetry::admin::router(Arc::new(admin)),
        idle_timeout: listeners::IDLE_TIMEOUT,
        tls: None,
        sockets: None,
    };
    vec![listeners::listen_for_otlp(receiver), web.listen()]
}

/// A client refused because of one exporter's `max_pending`, and `/readyz`, must be given that exporter's name; the
/// gateway keeps running. (Shown to fail: it was "the spool is full", and `/readyz` was fine.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exporter_that_has_too_much_waiting_is_named() {
    let away =
        |_: &pipeline::ExportRequest| (Duration::ZERO, Outcome::Retry { after: None, reason: Reason::Unavailable });
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::new("x", Trust::Internal, 1 << 20, away));
    let seams = GatewayDeps::system();
    let bounded = OutletSettings { max_pending: Some(1), ..OutletSettings::default() };
    let extras =
        Extras { listeners: sockets(&seams), outlets: HashMap::from([("x".into(), bounded)]), ..Extras::default() };
    let app = RunningGateway::start(blueprint(folder.path(), &sink, extras), seams).await.unwrap();
    let (otlp_at, admin_at) = (app.addresses()[0].1, app.addresses()[1].1);
    let head = "POST /v1/traces HTTP/1.1\r\nContent-Type: application/x-protobuf";
    assert!(http(otlp_at, head, &spans(&["a"])).await.starts_with("HTTP/1.1 200"));
    let answer = http(otlp_at, head, &spans(&["b"])).await;
    let told = "the data pending for exporter `x` has reached its `max_pending`";
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(told), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after: 10"), "{answer}");
    until(|| !app.deps.health.is_ready()).await;
    let answer = http(admin_at, "GET /readyz HTTP/1.1", b"").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("exporter x: the backlog has reached its `max_pending`"), "{answer}");
    assert!(!answer.contains("spool"), "{answer}");
    assert!(app.deps.health.is_running(), "no reason to restart it");
    let page = http(admin_at, "GET /metrics HTTP/1.1", b"").await;
    assert!(page.contains(r#"transport="http",reason="pending_full",account="default"} 1"#), "{page}");
    assert!(page.contains(r#"tollgate_exporter_pending_full{exporter="x"} 1"#), "{page}");
    app.shutdown().await;
}

/// Queue and retry settings of a configuration must reach the outlet that serves the exporter.
#[tokio::test]
async fn a_configured_queue_reaches_its_outlet() {
    let folder = tempfile::tempdir().unwrap();
    let text = "
receivers: { otlp: }
exporters:
  otlp/slow: { endpoint: 'http://127.0.0.1:1', trust: internal, sending_queue: { num_consumers: 3 } }
  debug: { trust: internal }
service: { pipelines: { logs: { receivers: [otlp], exporters: [otlp/slow, debug] } } }
";
    let built = build_components(text, folder.path(), &GatewayDeps::system()).await;
    let consumers = |id: &str| built.outlets.get(id).map(|outlet| outlet.consumers);
    assert_eq!((consumers("otlp/slow"), consumers("debug")), (Some(3), None));
}

/// The gateway of a configuration whose data is in `folder`.
async fn blueprint_of(text: &str, folder: &Path, deps: &GatewayDeps) -> GatewayBlueprint {
    let read = resolve::resolve_config("t.yaml", text, &config::env::ProcessLookup, folder);
    let Ok((_, valid)) = read.result else { panic!("not valid") };
    assemble::build_blueprint(valid, deps).await.unwrap()
}

/// The components of such a gateway.
async fn build_components(text: &str, folder: &Path, deps: &GatewayDeps) -> GatewayComponents {
    let GatewayBlueprint { spool, keys, build, .. } = blueprint_of(text, folder, deps).await;
    let GatewayDeps { disk, clock, rng, meter, .. } = deps.clone();
    let (spool, _committer) = Spool::open(disk, &spool, &keys, clock, rng, &meter).unwrap();
    let resources = GatewayResources { tasks: Tasks::new(&meter), deps: deps.clone(), spool };
    build(&resources).map_err(|why| panic!("{why}")).unwrap()
}

/// The saved rate table, of up to 64 MiB, is not read while the gateway is built, which is on an async thread, but when
/// its background tasks are prepared.
#[tokio::test]
async fn saved_rates_are_read_off_the_async_threads() {
    let folder = tempfile::tempdir().unwrap();
    let table = |version: &str| {
        let models = r#"[{"id": "m", "rates": [{"price": {"input": "1"}}]}]"#;
        let head = r#""schema": 1, "currency": "USD", "per_tokens": 1000000"#;
        format!(r#"{{{head}, "version": "{version}", "providers": {{"p": {{"models": {models}}}}}}}"#)
    };
    std::fs::write(folder.path().join("base.json"), table("1")).unwrap();
    for name in ["new.json", "rates-last-good"] {
        std::fs::write(folder.path().join(name), table("2")).unwrap();
    }
    let digest = kernel::hex::encode(&kernel::sha256::Sha256::digest(table("2")));
    let text = format!(
        "
receivers: {{ otlp: }}
processors: {{ cost: {{ rates: '{0}/base.json', refresh: {{ file: '{0}/new.json', sha256: '{digest}' }} }} }}
exporters: {{ debug: {{ trust: internal }} }}
service: {{ pipelines: {{ traces: {{ receivers: [otlp], processors: [cost], exporters: [debug] }} }} }}
",
        folder.path().display()
    );
    let deps = GatewayDeps::system();
    let built = build_components(&text, folder.path(), &deps).await;
    let has_version = |version: &str| {
        let info = format!("tollgate_rates_info{{version=\"{version}\"");
        deps.meter.render().lines().any(|line| line.starts_with(&info) && line.ends_with(" 1"))
    };
    assert!(has_version("1") && !has_version("2"));
    built.background_tasks.iter().for_each(|task| (task.prepare)());
    assert!(has_version("2") && !has_version("1"));
}
