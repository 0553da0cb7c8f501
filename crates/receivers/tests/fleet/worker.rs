//! [`Worker`]: a volume and, if it runs, the process on it. Everything but clock, disk, broker, back end and the
//! vault's uploader is the product's code. Its parts are put together as in `src/app/running.rs`.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::store::{Outside, SINK, Sink, VAULT, VolumeId};
use echoes::FingerprintCache;
use genai::testing::builtin::vocabulary;
use kafka_fakes::{MemoryBroker, ProcessTasks, SimulatedMachine};
use kernel::clock::Clock;
use kernel::pseudonym::{PlainIds, Pseudonymizer};
use kernel::rng::{Rng, SeededRng};
use kernel::secret::Secret;
use net::{SharedServices, Spawn};
use otlp::Signal;
use pipeline::engine::Engine;
use pipeline::spool::{Committer, Spool, SpoolKey};
use pipeline::testing::rig::{Parts, Rig};
use pipeline::testing::sim_disk::SimDisk;
use pipeline::{Exporter, OutletSettings, PipelinePlan, Processor};
use processors::cost::{CostConfig, CostProcessor};
use processors::normalize::{NormalizeConfig, NormalizeProcessor};
use processors::spec::ProcessorDeps;
use processors::vault::{RecipientConfig, RecipientsConfig, VaultConfig, VaultSettings};
use receivers::kafka::{
    EffectsSenderParts, KafkaReceiver, KafkaReceiverConfig, KafkaReceiverContext, KafkaReceiverSettings,
    RunningKafkaReceiver,
};
use telemetry::Meter;
use tracker::RunTracker;

/// Size limit of the spool, in bytes.
const SPOOL: u64 = 2 << 20;
/// Public key of an auditor.
const AUDITOR: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
/// How long a process may take to end in order.
const GRACE: Duration = Duration::from_secs(60);

/// The key of the fleet's records.
pub(super) fn key() -> SpoolKey {
    SpoolKey::from_bytes([1; 32])
}

/// Expensive parts that are the same for all workers of all seeds.
struct Common {
    ids: Arc<PlainIds>,
    vault: VaultSettings,
    /// Keeps the parsed rate table, which steps share, in memory.
    _prices: CostProcessor,
}

fn common() -> &'static Common {
    static COMMON: OnceLock<Common> = OnceLock::new();
    COMMON.get_or_init(|| {
        let config = VaultConfig {
            recipients: RecipientsConfig::Each(vec![RecipientConfig::Key(AUDITOR.to_owned())]),
            store: Some(vault::store::kinds::StoreConfig::Directory(vault::store::settings::DirectoryConfig::Path(
                Path::new("/sim/vault").to_path_buf(),
            ))),
            writer: Some("worker".to_owned()),
            ..VaultConfig::default()
        };
        Common {
            ids: Arc::new(PlainIds(Pseudonymizer::new(&Secret::new("the fleet's".to_owned())))),
            vault: config.settings().unwrap_or_else(|problems| panic!("{problems:?}")),
            _prices: cost(&Meter::new()),
        }
    })
}

fn cost(meter: &Meter) -> CostProcessor {
    let mut settings = CostConfig::default().settings().unwrap_or_else(|_| panic!("valid"));
    settings.signals = vec![Signal::Logs, Signal::Traces];
    CostProcessor::new("cost".into(), &settings, vocabulary(), meter).unwrap_or_else(|error| panic!("{}", error.0))
}

/// The steps of a worker's pipelines, in order, and one of them.
fn steps(name: &str, clock: &Arc<dyn Clock>, rng: &Arc<SeededRng>) -> (Vec<Arc<dyn Processor>>, Arc<RunTracker>) {
    let (common, meter) = (common(), Meter::new());
    let normalize = NormalizeConfig::default().settings().unwrap_or_else(|_| panic!("valid"));
    let normalize = NormalizeProcessor::new("normalize".into(), &normalize, vocabulary(), &meter);
    let cost = cost(&meter);
    let runs = tracker::Config::default().settings().unwrap_or_else(|_| panic!("valid"));
    let tracker = Arc::new(RunTracker::new("runs".into(), runs, vocabulary(), common.ids.clone(), &meter));
    tracker.set_rate_tables(cost.shelf());
    runs::RunSource::enable_history(&*tracker);
    let deps = ProcessorDeps {
        vocabulary: vocabulary(),
        ids: common.ids.clone(),
        fingerprints: Arc::new(FingerprintCache::new(&**rng)),
        max_error_text: 8 << 10,
        max_scan: 8 << 20,
        services: SharedServices {
            clock: Arc::clone(clock),
            rng: Arc::clone(rng) as Arc<dyn Rng>,
            meter,
            ..net::testing::services()
        },
        storage: None,
    };
    let mut settings = common.vault.clone();
    settings.writer = name.to_owned();
    let vault = processors::vault::build_processor(&VAULT.into(), &settings, &deps);
    (vec![Arc::new(normalize), Arc::new(cost), Arc::clone(&tracker) as Arc<dyn Processor>, Arc::new(vault)], tracker)
}

fn settings(name: &str, shares: bool) -> KafkaReceiverSettings {
    let config = KafkaReceiverConfig {
        brokers: vec!["localhost:9092".to_owned()],
        topic: Some("in".to_owned()),
        dead_topic: "dead".to_owned(),
        keys: vec![serde_json::from_str(&format!("\"{}\"", "01".repeat(32))).unwrap()],
        group_instance_id: Some(name.to_owned()),
        effects_topic: shares.then(|| "effects".to_owned()),
        ..KafkaReceiverConfig::default()
    };
    let mut settings = config.settings().unwrap_or_else(|problems| panic!("{problems:?}"));
    settings.keys = vec![key().into()];
    settings
}

/// What a process runs with.
#[derive(Clone)]
pub(super) struct Site {
    pub(super) machine: SimulatedMachine,
    pub(super) broker: MemoryBroker,
    pub(super) outside: Arc<Outside>,
    /// Whether workers share effects.
    pub(super) shares: bool,
}

/// See the module.
pub(super) struct Worker {
    pub(super) volume: VolumeId,
    pub(super) disk: SimDisk,
    pub(super) process: Option<WorkerProcess>,
}

/// A running process.
pub(super) struct WorkerProcess {
    tasks: Arc<ProcessTasks>,
    running: RunningKafkaReceiver,
    /// Tells outlets and the sender of effects to finish, and how many of them run.
    stop: watch::Sender<bool>,
    finishing: Arc<AtomicUsize>,
    committer: Arc<Mutex<Option<Committer>>>,
    engine: Arc<Engine>,
    checkpoints: Arc<pipeline::checkpoint::CheckpointStore>,
    pub(super) spool: Arc<Spool>,
    pub(super) tracker: Arc<RunTracker>,
}

impl Worker {
    pub(super) fn new(name: &'static str) -> Self {
        Self { volume: (name, 0), disk: SimDisk::new(), process: None }
    }

    /// Starts the process.
    pub(super) fn start(&mut self, site: &Site, seed: u64) {
        self.process = Some(WorkerProcess::start(self.volume, &self.disk, site, seed));
    }

    /// SIGKILL: nothing that was under way goes on, and nothing of it reaches the volume.
    pub(super) fn kill(&mut self) {
        let Some(process) = self.process.take() else { return };
        process.tasks.kill();
        self.disk.kill();
    }

    /// SIGKILL, and the volume is gone.
    pub(super) fn lose_volume(&mut self) {
        self.kill();
        (self.disk, self.volume.1) = (SimDisk::new(), self.volume.1 + 1);
    }

    /// SIGTERM, in the order of `src/app/shutdown.rs`.
    pub(super) async fn end(&mut self, site: &Site) {
        let Some(process) = self.process.take() else { return };
        let WorkerProcess { tasks, running, stop, finishing, committer, engine, checkpoints, .. } = process;
        running.drain(GRACE).await;
        engine.inlet.close();
        stop.send_replace(true);
        site.machine.until("outlets and sender end", || finishing.load(Ordering::SeqCst) == 0).await;
        let _ = checkpoints.write();
        if let Some(committer) = committer.lock().take() {
            committer.close();
        }
        tasks.kill();
        self.disk.kill();
    }
}

impl WorkerProcess {
    fn start(volume: VolumeId, disk: &SimDisk, site: &Site, seed: u64) -> Self {
        let (name, _) = volume;
        let (rng, clock) = (Arc::new(SeededRng::new(seed)), Arc::clone(&site.machine.clock) as Arc<dyn Clock>);
        let (steps, tracker) = steps(name, &clock, &rng);
        let receiver = KafkaReceiver::build("kafka".into(), settings(name, site.shares), Arc::new(site.broker.clone()));
        let receiver = receiver.with_shared_effects(&steps, &*rng);
        let sink = Sink {
            id: SINK.into(),
            outside: Arc::clone(&site.outside),
            clock: Arc::clone(&site.machine.clock),
            rng: SeededRng::new(rng.next()),
        };
        let mut parts = Parts::new(steps, vec![Arc::new(sink) as Arc<dyn Exporter>]);
        parts.pipelines[0].receivers = vec!["kafka".into()];
        let traces = parts.pipelines[0].clone();
        parts.pipelines.push(PipelinePlan { id: "logs".into(), signal: Signal::Logs, ..traces });
        (parts.disk, parts.clock, parts.seed) = (Arc::new(disk.clone()), Arc::clone(&site.machine.clock), rng.next());
        let retry_initial = Duration::from_millis(200);
        parts.outlets = OutletSettings { retry_initial, retry_max: retry_initial, ..OutletSettings::default() };
        parts.spool_bytes = SPOOL;
        parts.other_state = receiver.state();
        parts.effects_consumers = receiver.effects_consumer().into_iter().collect();
        let Rig { engine, spool, committer, checkpoints, meter, .. } = parts.open(Path::new("/sim"));
        let mut process = ProcessStart {
            tasks: Arc::new(ProcessTasks::new(&site.machine)),
            clock: Arc::clone(&clock),
            rng,
            stop: watch::Sender::new(false),
            finishing: Arc::default(),
        };
        let services = SharedServices {
            tasks: Arc::clone(&process.tasks) as Arc<dyn Spawn>,
            clock: Arc::clone(&clock),
            rng: Arc::clone(&process.rng) as Arc<dyn Rng>,
            meter,
            ..net::testing::services()
        };
        let parts = EffectsSenderParts { spool: Arc::clone(&spool), services: services.clone() };
        if let Some(sender) = receiver.effects_sender(parts) {
            let stop = process.stop.subscribe();
            process.spawn_finishing(Box::pin(async move { sender.run(stop).await }));
        }
        for outlet in &engine.outlets {
            let run = Arc::clone(outlet).run(process.stop.subscribe());
            process.spawn_finishing(Box::pin(run));
        }
        let (engine, checkpoints) = (Arc::new(engine), Arc::new(checkpoints));
        let committer = Arc::new(Mutex::new(Some(committer)));
        process.repeat(40, {
            let (committer, engine) = (Arc::clone(&committer), Arc::clone(&engine));
            move || {
                let step = committer.lock().as_mut().map(|committer| committer.step(Duration::ZERO));
                if let Some(reason) = step.and_then(|step| step.poisoned) {
                    engine.sequencer.report_failure(reason);
                }
            }
        });
        process.repeat(1000, {
            let engine = Arc::clone(&engine);
            move || engine.tick()
        });
        process.repeat(1500, {
            let checkpoints = Arc::clone(&checkpoints);
            move || drop(checkpoints.write())
        });
        process.repeat(600, {
            let (outside, spool) = (Arc::clone(&site.outside), Arc::clone(&spool));
            move || outside.upload(volume, &spool)
        });
        engine.tick();
        let inlet = engine.inlet.for_receiver("kafka");
        let running = receiver.serve(KafkaReceiverContext { inlet, services });
        let ProcessStart { tasks, stop, finishing, .. } = process;
        Self { tasks, running, stop, finishing, committer, engine, checkpoints, spool, tracker }
    }

    /// Whether nothing waits in the spool for a consumer.
    pub(super) fn is_drained(&self) -> bool {
        [VAULT, SINK, "kafka.effects"].iter().all(|consumer| self.spool.pending_bytes(consumer) == 0)
    }
}

/// A process while its tasks start.
struct ProcessStart {
    tasks: Arc<ProcessTasks>,
    clock: Arc<dyn Clock>,
    rng: Arc<SeededRng>,
    stop: watch::Sender<bool>,
    finishing: Arc<AtomicUsize>,
}

impl ProcessStart {
    fn spawn_finishing(&mut self, task: BoxFuture<'static, ()>) {
        let finishing = Arc::clone(&self.finishing);
        finishing.fetch_add(1, Ordering::SeqCst);
        let task = async move {
            task.await;
            finishing.fetch_sub(1, Ordering::SeqCst);
        };
        self.tasks.spawn("finishing", Box::pin(task));
    }

    /// Does `work` again and again, with waits of up to `most` milliseconds, in nanoseconds.
    fn repeat(&self, most: u64, work: impl Fn() + Send + Sync + 'static) {
        let (clock, rng) = (Arc::clone(&self.clock), SeededRng::new(self.rng.next()));
        let task = async move {
            loop {
                clock.sleep(Duration::from_nanos(1 + rng.next() % (most * 1_000_000))).await;
                work();
            }
        };
        self.tasks.spawn("repeat", Box::pin(task));
    }
}
