//! [`RunningGateway`]: a running gateway; its start and its tasks, in the order that the head of `app` gives. Its end
//! is in `shutdown`, its whole life in `lifecycle`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use kernel::clock::Clock;
use net::Spawn;
use net::spawn::run_blocking;
use pipeline::Reason;
use pipeline::checkpoint::{self, CheckpointStore};
use pipeline::engine::{Engine, EngineContext};
use pipeline::spool::{Committer, Spool};
use pipeline::workers::{JobQueue, Workers};
use telemetry::{GATEWAY, logging, names};

use super::build::{
    BackgroundTask, BoundListener, GatewayBlueprint, GatewayResources, GatewaySettings, Listener, ListenerResources,
    ServingListener,
};
use super::destinations::{self, ExporterDestination};
use super::gateway_deps::GatewayDeps;
use super::start_error::{StartError, StartFault};
use super::tasks::{TaskGroup, TaskMember, Tasks};
use super::{memory, process};

/// Name of the folder of checkpoints in the spool's folder.
const CHECKPOINT_FOLDER: &str = "state";
/// Pause before a failed checkpoint is retried.
const CHECKPOINT_RETRY: Duration = Duration::from_secs(1);
/// How long the committer waits for work at a time.
const COMMIT_IDLE: Duration = Duration::from_secs(1);
/// The `/readyz` message about an exporter whose full backlog makes the gateway refuse clients.
const BACKLOG_FULL: &str = "the backlog has reached its `max_pending`";

/// A running gateway. Dropping it without [`RunningGateway::shutdown`] is equivalent to a crash: no accepted data is
/// lost.
pub struct RunningGateway {
    pub(super) seams: GatewayDeps,
    pub(super) settings: GatewaySettings,
    pub(super) tasks: Arc<Tasks>,
    pub(super) spool: Arc<Spool>,
    pub(super) engine: Arc<Engine>,
    pub(super) checkpoints: Arc<CheckpointStore>,
    pub(super) queue: Arc<JobQueue>,
    pub(super) workers: Vec<JoinHandle<()>>,
    pub(super) committer: Option<JoinHandle<()>>,
    /// Makes the committer end.
    pub(super) end_committer: Arc<AtomicBool>,
    pub(super) receivers: Vec<Box<dyn ServingListener>>,
    pub(super) lasting_listeners: Vec<Box<dyn ServingListener>>,
    pub(super) addresses: Vec<(String, SocketAddr)>,
    pub(super) stops: ShutdownSignals,
    /// Outlets and companions.
    pub(super) finishing_tasks: TaskGroup,
}

/// The stop signals, in the order in which they are sent.
pub(super) struct ShutdownSignals {
    /// Makes outlets and companions finish.
    pub(super) finish: watch::Sender<bool>,
    /// Ends all remaining tasks.
    pub(super) end: watch::Sender<bool>,
}

impl RunningGateway {
    /// Starts everything. Call it in a runtime.
    ///
    /// # Errors
    /// The gateway can't start; no task is left running.
    pub async fn start(blueprint: GatewayBlueprint, seams: GatewayDeps) -> Result<Self, StartError> {
        let GatewayBlueprint { spool: spool_settings, keys, settings, build } = blueprint;
        let tasks = Tasks::new(&seams.meter);
        // The first round sets the start time, so that totals continue over reloads.
        seams.meter.began(seams.clock.now());
        seams.health.begin_round();
        let spawn: Arc<dyn Spawn> = Arc::<Tasks>::clone(&tasks);
        let (spool, mut committer) = {
            let (seams, settings, keys) = (seams.clone(), spool_settings.clone(), keys.clone());
            let open = move || {
                Spool::open(seams.disk, &settings, &keys, seams.clock, seams.rng, &seams.meter).map_err(|error| {
                    let fault = if error.exit_code() == 78 { StartFault::Configuration } else { StartFault::Machine };
                    StartError::new(error.to_string()).with_fault(fault)
                })
            };
            run_start_step(&spawn, open).await??
        };
        let site = GatewayResources { seams: seams.clone(), spool: Arc::clone(&spool), tasks: Arc::clone(&spawn) };
        let built = build(&site)?;
        let pointed = Arc::new(built.destinations);
        let queue = Arc::new(JobQueue::new(settings.worker_queue));
        let workers: Arc<dyn Workers> = Arc::<JobQueue>::clone(&queue);
        let GatewayDeps { clock, rng, meter, disk, .. } = seams.clone();
        let (offload, errands) = (Arc::<Tasks>::clone(&tasks), Arc::<Tasks>::clone(&tasks));
        let context = EngineContext { spool: Arc::clone(&spool), clock, rng, meter, offload, workers, errands };
        let engine = Arc::new(Engine::new(&built.plan, &built.outlets, &built.consumers, context));
        // Only set here, since there is one engine.
        drop(built.inlet.set(Arc::clone(&engine.inlet)));
        let checkpoint_seams = checkpoint::CheckpointContext {
            disk,
            clock: Arc::clone(&seams.clock),
            rng: Arc::clone(&seams.rng),
            meter: seams.meter.clone(),
        };
        let checkpoints = CheckpointStore::open(
            &checkpoint_seams,
            &spool_settings.directory.join(CHECKPOINT_FOLDER),
            &keys,
            Arc::clone(&spool),
            Arc::clone(&engine.applier),
        )
        .map_err(|error| StartError::new(format!("the folder of checkpoints can't be opened: {error}")))?;
        let checkpoints = Arc::new(checkpoints);
        restore_state(&spawn, &checkpoints, &built.background_tasks).await?;
        let bound = bind_listeners(built.listeners).await?;
        // This comes after the last step that can refuse the start: a round that never ran must leave the spool
        // unchanged for the previous one, which runs again.
        let committer = {
            let (spool, pointed) = (Arc::clone(&spool), Arc::clone(&pointed));
            let settle =
                move || destinations::update_destinations(&spool, &mut committer, &pointed).map(|()| committer);
            run_start_step(&spawn, settle).await??
        };
        warn_of_orphans(&spool, &pointed);
        let app = Self {
            addresses: bound.iter().flat_map(|listener| listener.addresses()).collect(),
            seams,
            settings,
            tasks,
            spool,
            engine,
            checkpoints,
            queue,
            workers: Vec::new(),
            committer: None,
            end_committer: Arc::default(),
            receivers: Vec::new(),
            lasting_listeners: Vec::new(),
            stops: ShutdownSignals { finish: watch::Sender::new(false), end: watch::Sender::new(false) },
            finishing_tasks: TaskGroup::new(),
        };
        app.run(committer, built.background_tasks, bound).await
    }

    /// The bound addresses, with labels.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    /// The engine of this gateway.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// The open spool.
    pub fn spool(&self) -> &Arc<Spool> {
        &self.spool
    }

    /// Spawns all tasks, then opens the listeners.
    async fn run(
        mut self,
        committer: Committer,
        companions: Vec<Arc<dyn BackgroundTask>>,
        bound: Vec<Box<dyn BoundListener>>,
    ) -> Result<Self, StartError> {
        let thread = |error: std::io::Error| StartError::new(format!("can't start a thread: {error}"));
        let (last, engine) = (Arc::clone(&self.end_committer), Arc::clone(&self.engine));
        let commit = move || run_committer(committer, &last, &engine);
        self.committer = Some(self.tasks.spawn_thread("commit", commit).map_err(thread)?);
        for _ in 0..self.settings.workers.max(1) {
            let queue = Arc::clone(&self.queue);
            self.workers.push(self.tasks.spawn_thread("worker", move || queue.run_jobs()).map_err(thread)?);
        }
        self.spawn_supervised(companions);
        self.spawn_until_end(
            "tick",
            run_every_second(Arc::clone(&self.engine), Arc::clone(&self.spool), self.seams.clone()),
            None,
        );
        if let Some(limit) = self.settings.memory.clone() {
            let pressure = Arc::clone(self.engine.inlet.budget().pressure());
            self.spawn_until_end("memory", memory::watch_memory(limit, pressure, self.seams.clone()), None);
        }
        let spawn: Arc<dyn Spawn> = Arc::<Tasks>::clone(&self.tasks);
        let every = self.settings.checkpoint_interval;
        let clock = Arc::clone(&self.seams.clock);
        self.spawn_until_end("checkpoint", run_checkpoints(Arc::clone(&self.checkpoints), clock, spawn, every), None);
        let spawn: Arc<dyn Spawn> = Arc::<Tasks>::clone(&self.tasks);
        let serve = ListenerResources {
            inlet: Arc::clone(&self.engine.inlet),
            tasks: spawn,
            meter: self.seams.meter.clone(),
            health: self.seams.health.clone(),
        };
        for listener in bound {
            let lasts = listener.stays_until_end();
            let serving = listener.serve(serve.clone()).await;
            if lasts { self.lasting_listeners.push(serving) } else { self.receivers.push(serving) }
        }
        self.seams.health.set(GATEWAY, None);
        Ok(self)
    }

    /// Spawns `task`; it runs until it ends or the final stop signal comes.
    pub(super) fn spawn_until_end(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
        member: Option<TaskMember>,
    ) {
        let mut end = self.stops.end.subscribe();
        let task = async move {
            let _member = member;
            tokio::select! {
                () = task => {}
                _ = end.wait_for(|end| *end) => {}
            }
        };
        self.tasks.spawn(name, Box::pin(task));
    }
}

async fn run_start_step<T: Send + 'static>(
    spawn: &Arc<dyn Spawn>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StartError> {
    run_blocking(&**spawn, "start", work).await.ok_or_else(|| StartError::new("the start was interrupted"))
}

/// Warns about records of consumers that are no longer configured, because such records would wait forever.
fn warn_of_orphans(spool: &Spool, pointed: &[ExporterDestination]) {
    for consumer in spool.status().consumers {
        if !consumer.configured && consumer.records > 0 && !destinations::log_held_data(&consumer, pointed) {
            tracing::warn!(
                consumer = &*consumer.name,
                records = consumer.records,
                "the spool holds records of a component that is no longer configured; configure it again, or drop them with `spool drop`"
            );
        }
    }
}

/// Rebuilds state up to the end of the spool.
async fn restore_state(
    spawn: &Arc<dyn Spawn>,
    checkpoints: &Arc<CheckpointStore>,
    companions: &[Arc<dyn BackgroundTask>],
) -> Result<(), StartError> {
    let (checkpoints, companions) = (Arc::clone(checkpoints), companions.to_vec());
    let work = move || {
        let restored = checkpoints.restore().map_err(|error| StartError::new(error.to_string()))?;
        tracing::info!(checkpoint = restored.file, replayed = restored.replayed, "state rebuilt");
        companions.iter().try_for_each(|companion| companion.prepare())
    };
    run_start_step(spawn, work).await?
}

async fn bind_listeners(listeners: Vec<Box<dyn Listener>>) -> Result<Vec<Box<dyn BoundListener>>, StartError> {
    let mut bound = Vec::new();
    for listener in listeners {
        bound.push(listener.bind().await.map_err(|error| error.with_fault(StartFault::Port))?);
    }
    Ok(bound)
}

/// Fails the engine if the committer panics, because no client would get an answer any more.
struct FailOnPanic<'a>(&'a Engine);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.sequencer.report_failure(Reason::SpoolFailed);
        }
    }
}

/// The main loop of the committer thread.
fn run_committer(mut committer: Committer, last: &AtomicBool, engine: &Engine) {
    let _fail = FailOnPanic(engine);
    let mut idle_steps = 0;
    loop {
        let ending = last.load(Ordering::SeqCst);
        if ending {
            committer.stop_repacking();
        }
        let step = committer.step(if ending { Duration::ZERO } else { COMMIT_IDLE });
        if let Some(reason) = step.poisoned {
            engine.sequencer.report_failure(reason);
        }
        let progress = step.committed + step.failed > 0;
        idle_steps = if ending && !progress { idle_steps + 1 } else { 0 };
        // With a full disk, transactions may never be committed; their clients are asked to retry.
        if ending && (step.waiting == 0 || idle_steps > 2) && !progress {
            if !committer.close() {
                tracing::warn!("the spool's progress is not durable; some records may be delivered again");
            }
            return;
        }
    }
}

/// Every second: timers of processors, gauges, readiness.
async fn run_every_second(engine: Arc<Engine>, spool: Arc<Spool>, seams: GatewayDeps) {
    let began = seams.clock.monotonic();
    let cpu = seams.meter.gauge(&names::CPU, &[]);
    let (rss, uptime) = (seams.meter.gauge(&names::RSS, &[]), seams.meter.gauge(&names::UPTIME, &[]));
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        engine.tick();
        rss.set(process::resident_bytes().unwrap_or(0) as f64);
        cpu.set(process::cpu_seconds().unwrap_or(0.0));
        logging::report_left_out();
        uptime.set(seams.clock.monotonic().saturating_sub(began).as_secs_f64());
        let status = spool.status();
        let trouble = status.poisoned.or(status.refusing).map(Reason::text);
        seams.health.set("spool", trouble);
        for (exporter, crowded) in engine.delivery.bound_states() {
            seams.health.set(&format!("exporter {exporter}"), crowded.then_some(BACKLOG_FULL));
        }
    }
}

/// Writes checkpoints, the first one at once, so that the replay does not grow over starts that each end within
/// seconds. The longer a checkpoint takes, the rarer they become. A failed one is retried soon, because the effects
/// keep segments of the spool until then.
async fn run_checkpoints(
    checkpoints: Arc<CheckpointStore>,
    clock: Arc<dyn Clock>,
    tasks: Arc<dyn Spawn>,
    every: Duration,
) {
    let (mut rest, mut failing) = (Duration::ZERO, false);
    loop {
        tokio::time::sleep(rest).await;
        let began = clock.monotonic();
        let checkpoints = Arc::clone(&checkpoints);
        let written = run_blocking(&*tasks, "checkpoint", move || checkpoints.write()).await;
        let before = std::mem::replace(&mut failing, matches!(written, Some(Err(_))));
        match written {
            Some(Err(error)) if !before => tracing::error!(
                kind = %error.kind(),
                "the checkpoint can't be written; retrying every second; until it succeeds, the spool keeps the records that the checkpoint would replace"
            ),
            Some(Ok(())) if before => tracing::info!("the checkpoint is written again"),
            _ => {}
        }
        rest = if failing { every.min(CHECKPOINT_RETRY) } else { every };
        rest = rest.max(clock.monotonic().saturating_sub(began) * 20);
    }
}
