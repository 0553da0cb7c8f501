//! [`RunningGateway`]: a running gateway; its start and its tasks, in the order that `app/mod.rs` describes. Its end
//! and its whole life are in `shutdown`.

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
use pipeline::checkpoint::CheckpointStore;
use pipeline::engine::{Engine, EngineContext};
use pipeline::spool::{Committer, Spool};
use pipeline::workers::{JobQueue, Workers};
use telemetry::admin::mark_durations;
use telemetry::{GATEWAY, logging, names};

use super::build::{
    BackgroundTask, BoundListener, DrainListener, GatewayBlueprint, GatewayResources, GatewaySettings, Listener,
    ListenerResources,
};
use super::destinations::{self, ExporterDestination};
use super::gateway_deps::GatewayDeps;
use super::memory;
use super::start_error::{StartError, StartFault};
use super::volume;
use command::os;
use command::tasks::{TaskGroup, TaskMember, Tasks};

/// Name of the folder of checkpoints in the spool's folder.
const CHECKPOINT_FOLDER: &str = "state";
/// Pause before a failed checkpoint is retried.
const CHECKPOINT_RETRY: Duration = Duration::from_secs(1);
/// How long the committer waits for work at a time.
const COMMIT_IDLE: Duration = Duration::from_secs(1);
/// Half of the time that the page's times cover.
const DURATIONS_INTERVAL: Duration = Duration::from_secs(150);
/// The `/readyz` message about an exporter whose full backlog makes the gateway refuse clients.
const BACKLOG_FULL: &str = "the backlog has reached its `max_pending`";

/// A running gateway. Dropping it without [`RunningGateway::shutdown`] is equivalent to a crash: no accepted data is
/// lost.
pub struct RunningGateway {
    pub(super) deps: GatewayDeps,
    pub(super) settings: GatewaySettings,
    pub(super) tasks: Arc<Tasks>,
    pub(super) spool: Arc<Spool>,
    pub(super) engine: Arc<Engine>,
    pub(super) checkpoints: Arc<CheckpointStore>,
    pub(super) queue: Arc<JobQueue>,
    pub(super) workers: Vec<JoinHandle<()>>,
    pub(super) committer: Option<JoinHandle<()>>,
    pub(super) end_committer: Arc<AtomicBool>,
    pub(super) receivers: Vec<DrainListener>,
    pub(super) lasting_listeners: Vec<DrainListener>,
    pub(super) addresses: Vec<(String, SocketAddr)>,
    pub(super) stops: ShutdownSignals,
    /// Outlets and background tasks.
    pub(super) finishing_tasks: TaskGroup,
}

/// The stop signals, in the order in which they are sent.
pub(super) struct ShutdownSignals {
    /// Makes outlets and background tasks finish.
    pub(super) finish: watch::Sender<bool>,
    /// Ends all remaining tasks.
    pub(super) end: watch::Sender<bool>,
}

impl RunningGateway {
    /// Starts everything. Call it in a runtime.
    ///
    /// # Errors
    /// The gateway can't start; no task is left running.
    pub async fn start(blueprint: GatewayBlueprint, deps: GatewayDeps) -> Result<Self, StartError> {
        let GatewayBlueprint { spool: spool_settings, keys, settings, build } = blueprint;
        let tasks = Tasks::new(&deps.meter);
        // The first round sets the start time, so that totals continue over reloads.
        deps.meter.began(deps.clock.now());
        deps.health.begin_round();
        let spawn: Arc<dyn Spawn> = Arc::<Tasks>::clone(&tasks);
        let (spool, mut committer) = {
            let (deps, settings, keys) = (deps.clone(), spool_settings.clone(), keys.clone());
            let open = move || {
                Spool::open(deps.disk, &settings, &keys, deps.clock, deps.rng, &deps.meter).map_err(|error| {
                    let fault = if error.exit_code == 78 { StartFault::Configuration } else { StartFault::Machine };
                    StartError::new(error.to_string()).with_fault(fault)
                })
            };
            run_start_step(&spawn, open).await??
        };
        let resources = GatewayResources { deps: deps.clone(), spool: Arc::clone(&spool), tasks: Arc::clone(&spawn) };
        let built = build(&resources)?;
        let destinations = Arc::new(built.destinations);
        let queue = Arc::new(JobQueue::new(settings.worker_queue));
        let workers: Arc<dyn Workers> = Arc::<JobQueue>::clone(&queue);
        let GatewayDeps { clock, rng, meter, disk, .. } = deps.clone();
        let (offload, errands) = (Arc::<Tasks>::clone(&tasks), Arc::<Tasks>::clone(&tasks));
        let context = EngineContext { spool: Arc::clone(&spool), clock, rng, meter, offload, workers, errands };
        let engine = Arc::new(Engine::new(&built.plan, &built.outlets, &built.consumers, context.clone()));
        // Nothing else sets it, so this can't fail.
        drop(built.inlet.set(Arc::clone(&engine.inlet)));
        let (folder, applier) = (spool_settings.directory.join(CHECKPOINT_FOLDER), Arc::clone(&engine.applier));
        let checkpoints = CheckpointStore::open(&context, &*disk, &folder, &keys, applier)
            .map_err(|error| StartError::new(format!("the folder of checkpoints can't be opened: {error}")))?;
        let checkpoints = Arc::new(checkpoints);
        let background_tasks = restore_state(&spawn, &checkpoints, built.background_tasks).await?;
        let bound = bind_listeners(built.listeners).await?;
        // This comes after the last step that can refuse the start: a round that never ran must leave the spool
        // unchanged for the previous one, which runs again.
        let committer = {
            let (spool, destinations) = (Arc::clone(&spool), Arc::clone(&destinations));
            let update =
                move || destinations::update_destinations(&spool, &mut committer, &destinations).map(|()| committer);
            run_start_step(&spawn, update).await??
        };
        warn_of_orphans(&spool, &destinations);
        let gateway = Self {
            addresses: bound.iter().flat_map(|listener| listener.addresses.clone()).collect(),
            deps,
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
        gateway.run(committer, background_tasks, bound).await
    }

    /// The bound addresses, with labels.
    pub fn addresses(&self) -> &[(String, SocketAddr)] {
        &self.addresses
    }

    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub fn spool(&self) -> &Arc<Spool> {
        &self.spool
    }

    /// Spawns all tasks, then opens the listeners.
    async fn run(
        mut self,
        committer: Committer,
        background_tasks: Vec<BackgroundTask>,
        bound: Vec<BoundListener>,
    ) -> Result<Self, StartError> {
        let thread_error = |error: std::io::Error| StartError::new(format!("can't start a thread: {error}"));
        let (ending, engine) = (Arc::clone(&self.end_committer), Arc::clone(&self.engine));
        let commit = move || run_committer(committer, &ending, &engine);
        self.committer = Some(self.tasks.spawn_thread("commit", commit).map_err(thread_error)?);
        for _ in 0..self.settings.workers.max(1) {
            let queue = Arc::clone(&self.queue);
            self.workers.push(self.tasks.spawn_thread("worker", move || queue.run_jobs()).map_err(thread_error)?);
        }
        self.engine.release_waiting();
        self.spawn_supervised(background_tasks);
        let tick = run_every_second(Arc::clone(&self.engine), Arc::clone(&self.spool), self.deps.clone());
        self.spawn_until_end("tick", tick, None);
        if let Some(limit) = self.settings.memory.clone() {
            let pressure = Arc::clone(&self.engine.inlet.budget().pressure);
            self.spawn_until_end("memory", memory::watch_memory(limit, pressure, self.deps.clone()), None);
        }
        let spawn: Arc<dyn Spawn> = Arc::<Tasks>::clone(&self.tasks);
        let volumes = std::mem::take(&mut self.settings.volumes);
        let measure = volume::watch_volumes(volumes, Arc::clone(&spawn), self.deps.meter.clone());
        self.spawn_until_end("volumes", measure, None);
        let (clock, interval) = (Arc::clone(&self.deps.clock), self.settings.checkpoint_interval);
        let write = run_checkpoints(Arc::clone(&self.checkpoints), clock, Arc::clone(&spawn), interval);
        self.spawn_until_end("checkpoint", write, None);
        let resources = ListenerResources {
            inlet: Arc::clone(&self.engine.inlet),
            tasks: spawn,
            meter: self.deps.meter.clone(),
            health: self.deps.health.clone(),
        };
        // From the first tick on, effects are new and are counted; those before were restored.
        self.engine.tick();
        for listener in bound {
            let drain = (listener.serve)(resources.clone()).await;
            if listener.stays_until_end { self.lasting_listeners.push(drain) } else { self.receivers.push(drain) }
        }
        self.deps.health.set(GATEWAY, None);
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
fn warn_of_orphans(spool: &Spool, exporters: &[ExporterDestination]) {
    for consumer in spool.status().consumers {
        if !consumer.configured && consumer.records > 0 && !destinations::log_held_data(&consumer, exporters) {
            tracing::warn!(
                consumer = &*consumer.name,
                records = consumer.records,
                "the spool holds records of a component that is no longer configured; configure it again, or drop them with `spool drop`"
            );
        }
    }
}

/// Rebuilds state up to the end of the spool, and prepares the background tasks.
async fn restore_state(
    spawn: &Arc<dyn Spawn>,
    checkpoints: &Arc<CheckpointStore>,
    background_tasks: Vec<BackgroundTask>,
) -> Result<Vec<BackgroundTask>, StartError> {
    let checkpoints = Arc::clone(checkpoints);
    let work = move || {
        let restored = checkpoints.restore().map_err(|error| StartError::new(error.to_string()))?;
        tracing::info!(checkpoint = restored.file, replayed = restored.replayed, "state rebuilt");
        background_tasks.iter().for_each(|task| (task.prepare)());
        Ok(background_tasks)
    };
    run_start_step(spawn, work).await?
}

async fn bind_listeners(listeners: Vec<Listener>) -> Result<Vec<BoundListener>, StartError> {
    let mut bound = Vec::new();
    for listener in listeners {
        bound.push(listener.await.map_err(|error| error.with_fault(StartFault::Port))?);
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
fn run_committer(mut committer: Committer, end: &AtomicBool, engine: &Engine) {
    let _fail_on_panic = FailOnPanic(engine);
    let mut idle_steps = 0;
    loop {
        let is_ending = end.load(Ordering::SeqCst);
        if is_ending {
            committer.stop_repacking();
        }
        let step = committer.step(if is_ending { Duration::ZERO } else { COMMIT_IDLE });
        if let Some(reason) = step.poisoned {
            engine.sequencer.report_failure(reason);
        }
        let has_progress = step.committed + step.failed > 0;
        idle_steps = if is_ending && !has_progress { idle_steps + 1 } else { 0 };
        // With a full disk, transactions may never be committed; their clients are asked to retry.
        if is_ending && (step.waiting == 0 || idle_steps > 2) && !has_progress {
            if !committer.close() {
                tracing::warn!("the spool's progress is not durable; some records may be delivered again");
            }
            return;
        }
    }
}

/// Every second: timers of processors, gauges, readiness.
async fn run_every_second(engine: Arc<Engine>, spool: Arc<Spool>, deps: GatewayDeps) {
    let began = deps.clock.monotonic();
    let mut marked = began;
    let cpu = deps.meter.gauge(&names::CPU, &[]);
    let (rss, uptime) = (deps.meter.gauge(&names::RSS, &[]), deps.meter.gauge(&names::UPTIME, &[]));
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        engine.tick();
        let now = deps.clock.monotonic();
        if now.saturating_sub(marked) >= DURATIONS_INTERVAL {
            marked = now;
            mark_durations(&deps.meter);
        }
        rss.set(os::resident_bytes().unwrap_or(0) as f64);
        cpu.set(os::cpu_seconds().unwrap_or(0.0));
        logging::report_left_out();
        uptime.set(now.saturating_sub(began).as_secs_f64());
        let status = spool.status();
        let problem = status.poisoned.or(status.refusing).map(Reason::text);
        deps.health.set("spool", problem);
        for (exporter, is_full) in engine.delivery.bound_states() {
            deps.health.set(&format!("exporter {exporter}"), is_full.then_some(BACKLOG_FULL));
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
    interval: Duration,
) {
    let (mut pause, mut is_failing) = (Duration::ZERO, false);
    loop {
        tokio::time::sleep(pause).await;
        let began = clock.monotonic();
        let checkpoints = Arc::clone(&checkpoints);
        let written = run_blocking(&*tasks, "checkpoint", move || checkpoints.write()).await;
        let was_failing = std::mem::replace(&mut is_failing, matches!(written, Some(Err(_))));
        match written {
            Some(Err(error)) if !was_failing => tracing::error!(
                kind = %error.kind(),
                "the checkpoint can't be written; retrying every second; until it succeeds, the spool keeps the records that the checkpoint would replace"
            ),
            Some(Ok(())) if was_failing => tracing::info!("the checkpoint is written again"),
            _ => {}
        }
        pause = if is_failing { interval.min(CHECKPOINT_RETRY) } else { interval };
        pause = pause.max(clock.monotonic().saturating_sub(began) * 20);
    }
}
