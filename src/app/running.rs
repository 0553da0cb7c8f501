//! [`App`]: a running gateway; its start and its tasks, in the order that the head of `app` gives. Its end is in
//! `shutdown`, its whole life in `life`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

use kernel::clock::Clock;
use net::Spawn;
use net::spawn::blocking;
use pipeline::Reason;
use pipeline::checkpoint::{self, Checkpoints};
use pipeline::engine::{Context, Engine};
use pipeline::spool::{Committer, Spool};
use pipeline::workers::{Queue, Workers};
use telemetry::{GATEWAY, logging, names};

use super::build::{Blueprint, BoundListener, Companion, Listener, Serve, ServingListener, Settings, Site};
use super::destinations::{self, Pointed};
use super::seams::Seams;
use super::start_error::{Fault, StartError};
use super::tasks::{Group, Member, Tasks};
use super::{memory, process};

/// Name of the folder of checkpoints in the spool's folder.
const STATE: &str = "state";
/// Pause before a failed checkpoint is retried.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How long the committer waits for work at a time.
const COMMIT_IDLE: Duration = Duration::from_secs(1);
/// The `/readyz` message about an exporter whose full backlog makes the gateway refuse clients.
const CROWDED: &str = "as much waits as its `max_pending` allows";

/// A running gateway. Dropping it without [`App::shutdown`] is equivalent to a crash: no accepted data is lost.
pub struct App {
    pub(super) seams: Seams,
    pub(super) settings: Settings,
    pub(super) tasks: Arc<Tasks>,
    pub(super) spool: Arc<Spool>,
    pub(super) engine: Arc<Engine>,
    pub(super) checkpoints: Arc<Checkpoints>,
    pub(super) queue: Arc<Queue>,
    pub(super) workers: Vec<JoinHandle<()>>,
    pub(super) committer: Option<JoinHandle<()>>,
    /// Makes the committer end.
    pub(super) last_commit: Arc<AtomicBool>,
    pub(super) receivers: Vec<Box<dyn ServingListener>>,
    pub(super) lasting: Vec<Box<dyn ServingListener>>,
    pub(super) addresses: Vec<(String, SocketAddr)>,
    pub(super) stops: Stops,
    /// Outlets and companions.
    pub(super) finishing: Group,
}

/// The stop signals, in the order in which they are sent.
pub(super) struct Stops {
    /// Makes outlets and companions finish.
    pub(super) finish: watch::Sender<bool>,
    /// Ends all remaining tasks.
    pub(super) end: watch::Sender<bool>,
}

impl App {
    /// Starts everything. Call it in a runtime.
    ///
    /// # Errors
    /// The gateway can't start; no task is left running.
    pub async fn start(blueprint: Blueprint, seams: Seams) -> Result<Self, StartError> {
        let Blueprint { spool: spool_settings, keys, settings, build } = blueprint;
        let tasks = Tasks::new(&seams.meter);
        // The first round sets the start time, so that totals continue over reloads.
        seams.meter.began(seams.clock.now());
        seams.health.begin();
        let spawn: Arc<dyn Spawn> = Arc::<Tasks>::clone(&tasks);
        let (spool, mut committer) = {
            let (seams, settings, keys) = (seams.clone(), spool_settings.clone(), keys.clone());
            let open = move || {
                Spool::open(seams.disk, &settings, &keys, seams.clock, seams.rng, &seams.meter).map_err(|error| {
                    let fault = if error.exit_code() == 78 { Fault::Configuration } else { Fault::Machine };
                    StartError::new(error.to_string()).of(fault)
                })
            };
            off_thread(&spawn, open).await??
        };
        let site = Site { seams: seams.clone(), spool: Arc::clone(&spool), tasks: Arc::clone(&spawn) };
        let built = build(&site)?;
        let pointed = Arc::new(built.pointed);
        let queue = Arc::new(Queue::new(settings.worker_queue));
        let workers: Arc<dyn Workers> = Arc::<Queue>::clone(&queue);
        let Seams { clock, rng, meter, disk, .. } = seams.clone();
        let (offload, errands) = (Arc::<Tasks>::clone(&tasks), Arc::<Tasks>::clone(&tasks));
        let context = Context { spool: Arc::clone(&spool), clock, rng, meter, offload, workers, errands };
        let engine = Arc::new(Engine::new(&built.plan, &built.outlets, &built.consumers, context));
        // Only set here, since there is one engine.
        drop(built.way.set(Arc::clone(&engine.inlet)));
        let checkpoint_seams = checkpoint::Seams {
            disk,
            clock: Arc::clone(&seams.clock),
            rng: Arc::clone(&seams.rng),
            meter: seams.meter.clone(),
        };
        let checkpoints = Checkpoints::open(
            &checkpoint_seams,
            &spool_settings.directory.join(STATE),
            &keys,
            Arc::clone(&spool),
            Arc::clone(&engine.applier),
        )
        .map_err(|error| StartError::new(format!("the folder of checkpoints can't be opened: {error}")))?;
        let checkpoints = Arc::new(checkpoints);
        prepare(&spawn, &checkpoints, &built.companions).await?;
        let bound = bind(built.listeners).await?;
        // This comes after the last step that can refuse the start: a round that never ran must leave the spool
        // unchanged for the previous one, which runs again.
        let committer = {
            let (spool, pointed) = (Arc::clone(&spool), Arc::clone(&pointed));
            let settle = move || destinations::settle(&spool, &mut committer, &pointed).map(|()| committer);
            off_thread(&spawn, settle).await??
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
            last_commit: Arc::default(),
            receivers: Vec::new(),
            lasting: Vec::new(),
            stops: Stops { finish: watch::Sender::new(false), end: watch::Sender::new(false) },
            finishing: Group::new(),
        };
        app.run(committer, built.companions, bound).await
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
        companions: Vec<Arc<dyn Companion>>,
        bound: Vec<Box<dyn BoundListener>>,
    ) -> Result<Self, StartError> {
        let thread = |error: std::io::Error| StartError::new(format!("a thread can't be made: {error}"));
        let (last, engine) = (Arc::clone(&self.last_commit), Arc::clone(&self.engine));
        let commit = move || commit_until(committer, &last, &engine);
        self.committer = Some(self.tasks.thread("commit", commit).map_err(thread)?);
        for _ in 0..self.settings.workers.max(1) {
            let queue = Arc::clone(&self.queue);
            self.workers.push(self.tasks.thread("worker", move || queue.serve()).map_err(thread)?);
        }
        self.attend(companions);
        self.until_end("tick", tick(Arc::clone(&self.engine), Arc::clone(&self.spool), self.seams.clone()), None);
        if let Some(limit) = self.settings.memory.clone() {
            let pressure = Arc::clone(self.engine.inlet.budget().pressure());
            self.until_end("memory", memory::watch(limit, pressure, self.seams.clone()), None);
        }
        let spawn: Arc<dyn Spawn> = Arc::<Tasks>::clone(&self.tasks);
        let every = self.settings.checkpoint_every;
        let clock = Arc::clone(&self.seams.clock);
        self.until_end("checkpoint", save(Arc::clone(&self.checkpoints), clock, spawn, every), None);
        let spawn: Arc<dyn Spawn> = Arc::<Tasks>::clone(&self.tasks);
        let serve = Serve {
            inlet: Arc::clone(&self.engine.inlet),
            tasks: spawn,
            meter: self.seams.meter.clone(),
            health: self.seams.health.clone(),
        };
        for listener in bound {
            let lasts = listener.lasts();
            let serving = listener.serve(serve.clone()).await;
            if lasts { self.lasting.push(serving) } else { self.receivers.push(serving) }
        }
        self.seams.health.set(GATEWAY, None);
        Ok(self)
    }

    /// Spawns `task`; it runs until it ends or the final stop signal comes.
    pub(super) fn until_end(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
        member: Option<Member>,
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

async fn off_thread<T: Send + 'static>(
    spawn: &Arc<dyn Spawn>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StartError> {
    blocking(&**spawn, "start", work).await.ok_or_else(|| StartError::new("the start was interrupted"))
}

/// Warns about records of consumers that are no longer configured, because such records would wait forever.
fn warn_of_orphans(spool: &Spool, pointed: &[Pointed]) {
    for consumer in spool.status().consumers {
        if !consumer.configured && consumer.records > 0 && !destinations::tell(&consumer, pointed) {
            tracing::warn!(
                consumer = &*consumer.name,
                records = consumer.records,
                "records in the spool wait for what is not configured; configure it again, or drop them"
            );
        }
    }
}

/// Rebuilds state up to the end of the spool.
async fn prepare(
    spawn: &Arc<dyn Spawn>,
    checkpoints: &Arc<Checkpoints>,
    companions: &[Arc<dyn Companion>],
) -> Result<(), StartError> {
    let (checkpoints, companions) = (Arc::clone(checkpoints), companions.to_vec());
    let work = move || {
        let restored = checkpoints.restore().map_err(|error| StartError::new(error.to_string()))?;
        tracing::info!(checkpoint = restored.file, replayed = restored.replayed, "state rebuilt");
        companions.iter().try_for_each(|companion| companion.prepare())
    };
    off_thread(spawn, work).await?
}

async fn bind(listeners: Vec<Box<dyn Listener>>) -> Result<Vec<Box<dyn BoundListener>>, StartError> {
    let mut bound = Vec::new();
    for listener in listeners {
        bound.push(listener.bind().await.map_err(|error| error.of(Fault::Port))?);
    }
    Ok(bound)
}

/// Fails the engine if the committer panics, because no client would get an answer any more.
struct Fail<'a>(&'a Engine);

impl Drop for Fail<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.sequencer.fail(Reason::SpoolFailed);
        }
    }
}

/// The main loop of the committer thread.
fn commit_until(mut committer: Committer, last: &AtomicBool, engine: &Engine) {
    let _fail = Fail(engine);
    let mut idle_steps = 0;
    loop {
        let ending = last.load(Ordering::SeqCst);
        if ending {
            committer.ending();
        }
        let step = committer.step(if ending { Duration::ZERO } else { COMMIT_IDLE });
        if let Some(reason) = step.poisoned {
            engine.sequencer.fail(reason);
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
async fn tick(engine: Arc<Engine>, spool: Arc<Spool>, seams: Seams) {
    let began = seams.clock.monotonic();
    let cpu = seams.meter.gauge(&names::CPU, &[]);
    let (rss, uptime) = (seams.meter.gauge(&names::RSS, &[]), seams.meter.gauge(&names::UPTIME, &[]));
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        engine.tick();
        rss.set(process::resident_bytes().unwrap_or(0) as f64);
        cpu.set(process::cpu_seconds().unwrap_or(0.0));
        logging::upkeep();
        uptime.set(seams.clock.monotonic().saturating_sub(began).as_secs_f64());
        let status = spool.status();
        let trouble = status.poisoned.or(status.refusing).map(Reason::text);
        seams.health.set("spool", trouble);
        for (exporter, crowded) in engine.delivery.crowded() {
            seams.health.set(&format!("exporter {exporter}"), crowded.then_some(CROWDED));
        }
    }
}

/// Writes checkpoints, the first one at once, so that the replay does not grow over starts that each end within
/// seconds. The longer a checkpoint takes, the rarer they become. A failed one is retried soon, because the effects
/// keep segments of the spool until then.
async fn save(checkpoints: Arc<Checkpoints>, clock: Arc<dyn Clock>, tasks: Arc<dyn Spawn>, every: Duration) {
    let (mut rest, mut failing) = (Duration::ZERO, false);
    loop {
        tokio::time::sleep(rest).await;
        let began = clock.monotonic();
        let checkpoints = Arc::clone(&checkpoints);
        let written = blocking(&*tasks, "checkpoint", move || checkpoints.write()).await;
        let before = std::mem::replace(&mut failing, matches!(written, Some(Err(_))));
        match written {
            Some(Err(error)) if !before => tracing::error!(
                kind = %error.kind(),
                "the checkpoint can't be written; it is tried again every second, and until then nothing it would stand for leaves the spool"
            ),
            Some(Ok(())) if before => tracing::info!("the checkpoint is written again"),
            _ => {}
        }
        rest = if failing { every.min(TRY_AGAIN) } else { every };
        rest = rest.max(clock.monotonic().saturating_sub(began) * 20);
    }
}
