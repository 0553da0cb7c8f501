//! Unusual starts and ends: hung volumes, signals at the wrong time, panics.

use tokio::sync::{Notify, oneshot};

use super::super::GatewayOutcome;
use super::*;
use command::error::StopSignal;
use pipeline::{Batch, ExportRequest};

/// How long a hanging thread may keep a test's runtime.
const MOMENT: Duration = Duration::from_millis(10);

/// A gate for threads that hang in the operating system: closed while the test holds its lock.
type Gate = Arc<Mutex<()>>;

/// A processor whose checkpoint hangs, as on a hung volume.
struct Hung(Arc<str>, Gate);

impl Processor for Hung {
    fn id(&self) -> &Arc<str> {
        &self.0
    }

    fn process(&self, _: &mut Batch) -> Result<(), Reason> {
        Ok(())
    }

    fn save(&self, _: &mut Vec<u8>) {
        drop(self.1.lock());
    }
}

/// A gateway must end if it is stopped while the spool is still being read.
#[test]
fn a_start_can_be_interrupted() {
    let (folder, sink, gate) = (tempfile::tempdir().unwrap(), Sink::open("x", Trust::Internal), Gate::default());
    // Its preparation hangs, like a spool that takes minutes to read.
    let (closed, hanging) = (gate.lock(), Arc::clone(&gate));
    let slow = background_task("slow", move || drop(hanging.lock()), |_| ready(()));
    let extras = Extras { companions: vec![slow], ..Extras::default() };
    let live = RunningGateway::run_until_stopped(
        blueprint(folder.path(), &sink, extras),
        GatewayDeps::system(),
        |_| (),
        ready(()),
        std::future::pending(),
    );
    // A runtime that waited for the thread would hang here.
    let life = command::tasks::run_to_end(command::tasks::build_runtime(2).unwrap(), MOMENT, live);
    assert_eq!(life.unwrap(), GatewayOutcome::StoppedBeforeReady);
    drop(closed);
}

/// After a second signal a gateway must not wait for an ongoing shutdown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_word_ends_it_at_once() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::open("x", Trust::Internal));
    let (begun, ending) = (Notify::new(), Arc::new(Notify::new()));
    let notify = Arc::clone(&ending);
    let run = |mut stop: watch::Receiver<bool>| async move {
        let _ = stop.wait_for(|stop| *stop).await;
        notify.notify_one();
        std::future::pending().await
    };
    let extras = Extras { companions: vec![background_task("endless", || (), run)], ..Extras::default() };
    let mut blueprint = blueprint(folder.path(), &sink, extras);
    blueprint.settings.drain_outlets = Duration::from_secs(86_400);
    let life = RunningGateway::run_until_stopped(
        blueprint,
        GatewayDeps::system(),
        |_| begun.notify_one(),
        begun.notified(),
        async {
            ending.notified().await;
            StopSignal::Interrupt
        },
    );
    assert_eq!(life.await.unwrap(), GatewayOutcome::Aborted(StopSignal::Interrupt));
}

/// A hung volume must not keep a gateway from ending, because it has to be restarted.
#[test]
fn a_hung_volume_does_not_hold_up_the_end() {
    let (folder, sink, gate) = (tempfile::tempdir().unwrap(), Sink::open("x", Trust::Internal), Gate::default());
    let extras = Extras { processors: vec![Arc::new(Hung("hung".into(), Arc::clone(&gate)))], ..Extras::default() };
    let closed = gate.lock();
    let mut blueprint = blueprint(folder.path(), &sink, extras);
    blueprint.settings.drain_requests = MOMENT;
    let begun = Notify::new();
    let live = RunningGateway::run_until_stopped(
        blueprint,
        GatewayDeps::system(),
        |_| begun.notify_one(),
        begun.notified(),
        std::future::pending(),
    );
    let life = command::tasks::run_to_end(command::tasks::build_runtime(2).unwrap(), MOMENT, live);
    assert_eq!(life.unwrap(), GatewayOutcome::Completed(ShutdownReport { failed: None, records_left: 0 }));
    drop(closed);
}

/// The usual gateway with another exporter.
fn with_exporter(
    folder: &Path,
    make: impl FnOnce(&GatewayResources) -> Arc<dyn Exporter> + Send + 'static,
) -> GatewayBlueprint {
    let usual = blueprint(folder, &Sink::open("x", Trust::Internal), Extras::default());
    let build = usual.build;
    let build = move |site: &GatewayResources| {
        let mut built = build(site)?;
        built.plan.pipelines[0].exporters = vec![make(site)];
        Ok(built)
    };
    GatewayBlueprint { build: Box::new(build), ..usual }
}

/// An exporter that runs a function when asked for its size.
struct Odd(Arc<Sink>, Box<dyn Fn() + Send + Sync>);

impl Exporter for Odd {
    fn id(&self) -> &Arc<str> {
        self.0.id()
    }

    fn trust(&self) -> Trust {
        Trust::Internal
    }

    fn max_request_bytes(&self) -> usize {
        (self.1)();
        1 << 20
    }

    fn send<'a>(&'a self, request: &'a ExportRequest) -> BoxFuture<'a, Outcome> {
        self.0.send(request)
    }
}

/// An outlet that panics must restart and deliver; the panic is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outlet_that_panics_begins_again() {
    let (folder, sink, first) =
        (tempfile::tempdir().unwrap(), Sink::open("odd", Trust::Internal), AtomicBool::new(true));
    let odd = Odd(Arc::clone(&sink), Box::new(move || assert!(!first.swap(false, Ordering::SeqCst), "in an outlet")));
    let app =
        RunningGateway::start(with_exporter(folder.path(), |_| Arc::new(odd)), GatewayDeps::system()).await.unwrap();
    assert_eq!(submit(&app.engine().inlet, spans(&["a"])).await, Outcome::Accepted);
    until(|| app.spool().status().consumers.iter().all(|consumer| consumer.records == 0)).await;
    assert_eq!(sink.all(), ["a"]);
    let metrics = app.deps.meter.render();
    assert!(metrics.contains("tollgate_panics_total{place=\"outlet\"} 1"), "{metrics}");
    app.shutdown().await;
}

/// A companion that panicked must make the gateway unready, under its name, because nothing else does its work.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_companion_that_panics_is_told() {
    let (folder, sink) = (tempfile::tempdir().unwrap(), Sink::open("x", Trust::Internal));
    let broken = background_task("broken", || (), async |_| panic!("in a companion"));
    let extras = Extras { companions: vec![broken], ..Extras::default() };
    let app = start(folder.path(), &sink, extras).await;
    until(|| !app.deps.health.troubles().is_empty()).await;
    assert_eq!((app.deps.health.troubles()[0].0.as_str(), app.deps.health.is_ready()), ("broken", false));
    assert!(app.deps.meter.render().contains("tollgate_panics_total{place=\"broken\"} 1"));
    let seams = app.deps.clone();
    app.shutdown().await;
    // The next round, as after a reload, is built anew and works.
    let app = RunningGateway::start(blueprint(folder.path(), &sink, Extras::default()), seams).await.unwrap();
    assert!(app.deps.health.is_ready(), "{:?}", app.deps.health.troubles());
    app.shutdown().await;
}

/// Resources that live as long as their exporter (pooled connections) must be gone when shutdown waits for the last
/// tasks.
// With a single thread, a resource released after the last wait can't have ended before the test checks.
#[tokio::test]
async fn exporters_go_before_the_last_wait() {
    let folder = tempfile::tempdir().unwrap();
    let make = |site: &GatewayResources| {
        let (held, gone) = oneshot::channel::<()>();
        site.tasks.spawn("pool", Box::pin(async move { drop(gone.await) }));
        let hold = move || assert!(!held.is_closed());
        Arc::new(Odd(Sink::open("pooled", Trust::Internal), Box::new(hold))) as Arc<dyn Exporter>
    };
    let app = RunningGateway::start(with_exporter(folder.path(), make), GatewayDeps::system()).await.unwrap();
    let tasks = Arc::clone(&app.tasks);
    app.shutdown().await;
    assert!(tasks.all().is_empty());
}

/// Missing certificates must be reported at start, not at each upload.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_ca_file_is_told_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let text = "
receivers: { otlp: }
processors:
  vault:
    recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
    store: { s3: { bucket: audit-logs, key_bucket: audit-keys, region: eu-west-1, ca_file: /no/such/ca.pem,
      object_lock: { mode: compliance, retention: 400d } } }
exporters: { debug: { trust: internal } }
service: { pipelines: { logs: { receivers: [otlp], processors: [vault], exporters: [debug] } } }
";
    let deps = GatewayDeps::system();
    let error = RunningGateway::start(blueprint_of(text, folder.path(), &deps).await, deps).await.err().unwrap();
    assert!(error.text.contains("ca_file") && error.text.contains("/no/such/ca.pem"), "{error}");
}

/// An idle connection must not keep a probe out of the health port for long.
#[tokio::test]
async fn a_page_port_closes_who_rests() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let router = telemetry::admin::health_router(Health::new(), "/");
    let endpoint = config::Endpoint::parse("127.0.0.1:0").unwrap();
    let web = listeners::WebListener {
        name: "health_check",
        endpoint,
        router,
        idle_timeout: MOMENT * 50,
        sockets: None,
        tls: None,
    };
    let bound = web.listen().await.unwrap();
    let address = bound.addresses[0].1;
    let (folder, sink, seams) = (tempfile::tempdir().unwrap(), Sink::open("x", Trust::Internal), GatewayDeps::system());
    let app = start(folder.path(), &sink, Extras::default()).await;
    let serve = ListenerResources {
        inlet: Arc::clone(&app.engine().inlet),
        tasks: Tasks::new(&seams.meter),
        meter: seams.meter.clone(),
        health: seams.health.clone(),
    };
    let drain = (bound.serve)(serve).await;
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    socket.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut answer = [0; 4096];
    assert!(socket.read(&mut answer).await.unwrap() > 0);
    let closed = tokio::time::timeout(Duration::from_secs(60), socket.read_to_end(&mut Vec::new())).await;
    assert!(closed.is_ok(), "it may rest for as long as at a receiver");
    drain(Duration::ZERO).await;
    app.shutdown().await;
}
