//! The parts of a running gateway: [`GatewayBlueprint`], and the [`GatewayResources`] that builders use. The
//! configuration decides which components exist; starting and stopping is the same for all. Building may open clients
//! and files, but neither spawns nor binds. `assemble` makes the blueprint, `running` starts it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

pub use super::gateway_deps::GatewayDeps;
use crate::app::destinations::ExporterDestination;
use crate::app::memory::MemoryLimit;
use crate::app::start_error::StartError;
use genai::Vocabulary;
use net::{RetainedSockets, Spawn};
use pipeline::spool::{self, Spool, SpoolKey};
use pipeline::{EnginePlan, Inlet, OutletSettings};
use processors::spec::ProcessorTask;
use telemetry::{Health, Meter};

/// The resources that builders of components use.
#[derive(Clone)]
pub struct GatewayResources {
    /// Clock, randomness, disk, metrics and health.
    pub deps: GatewayDeps,
    pub spool: Arc<Spool>,
    /// Spawns tasks, for exporters and background tasks once they run.
    pub tasks: Arc<dyn Spawn>,
}

/// Resources that a process keeps when it reloads its configuration. A round is the time between two reloads.
#[derive(Clone, Default)]
pub struct ReloadResources {
    /// The ports held over from the previous round.
    pub sockets: Option<RetainedSockets>,
    /// Notified when a reload is requested through the admin port.
    pub reload_requested: Option<Arc<Notify>>,
    /// The built-in vocabulary, for the first round: it was built while the configuration was loaded.
    pub vocabulary: Arc<Mutex<Option<Vocabulary>>>,
}

kernel::with_defaults! {
    /// Operating parameters of a gateway.
    #[derive(Clone, Debug)]
    pub struct GatewaySettings {
        /// Number of worker threads for requests.
        pub workers: usize = std::thread::available_parallelism().map_or(2, usize::from),
        /// Number of requests that may wait for a worker.
        pub worker_queue: usize = 4096,
        /// The least time between two checkpoints.
        pub checkpoint_interval: Duration = Duration::from_secs(10),
        /// How long an end still accepts requests after readiness failed, unless a reload ends the round.
        pub shutdown_delay: Duration = Duration::ZERO,
        /// How long a shutdown waits for open requests.
        pub drain_requests: Duration = Duration::from_secs(10),
        /// How long a shutdown waits for exporters and background tasks.
        pub drain_outlets: Duration = Duration::from_secs(10),
        /// The memory limit; with `None`, memory is not watched.
        pub memory: Option<MemoryLimit>,
        /// Folders whose volumes are watched, with their labels.
        pub volumes: Vec<(String, PathBuf)>,
    }
}

/// Makes the components once the spool is open.
pub type BuildComponents = Box<dyn FnOnce(&GatewayResources) -> Result<GatewayComponents, StartError> + Send>;

/// Everything that is known before anything is opened.
pub struct GatewayBlueprint {
    pub spool: spool::SpoolSettings,
    /// The spool's keys: the first one seals, all of them open.
    pub keys: Vec<SpoolKey>,
    /// Operating parameters.
    pub settings: GatewaySettings,
    pub build: BuildComponents,
}

/// The engine's inlet, set once the engine exists.
pub type InletCell = Arc<OnceLock<Arc<Inlet>>>;

pub struct GatewayComponents {
    /// Pipelines and limits.
    pub plan: EnginePlan,
    /// Settings of outlets by exporter id; an exporter without an entry gets the defaults.
    pub outlets: HashMap<Arc<str>, OutletSettings>,
    /// Consumers of the spool besides exporters, such as `vault`.
    pub consumers: Vec<Arc<str>>,
    pub destinations: Vec<ExporterDestination>,
    /// Background tasks beside the pipelines, such as the vault's uploader.
    pub background_tasks: Vec<BackgroundTask>,
    /// Listeners to bind: receivers and web ports.
    pub listeners: Vec<Listener>,
    /// Filled with the engine's inlet at start, for components that are not receivers.
    pub inlet: InletCell,
}

/// Runs beside the pipelines for as long as the gateway does. It is prepared after the spool was recovered and before
/// anything is admitted, and is dropped at the deadline of the shutdown.
pub type BackgroundTask = ProcessorTask;

pub(super) fn background_task<F: Future<Output = ()> + Send + 'static>(
    name: &'static str,
    prepare: impl Fn() + Send + Sync + 'static,
    run: impl FnOnce(watch::Receiver<bool>) -> F + Send + 'static,
) -> BackgroundTask {
    BackgroundTask { name, prepare: Box::new(prepare), run: Box::new(|stop| Box::pin(run(stop))) }
}

#[derive(Clone)]
pub struct ListenerResources {
    pub inlet: Arc<Inlet>,
    pub tasks: Arc<dyn Spawn>,
    /// The metrics registry.
    pub meter: Meter,
    /// Readiness of the whole gateway.
    pub health: Health,
}

/// A listener that is not bound yet. When awaited, it binds its ports; nothing is accepted yet.
pub type Listener = BoxFuture<'static, Result<BoundListener, StartError>>;

/// A listener that has bound its ports. Dropping it releases them.
pub struct BoundListener {
    /// The bound addresses, each with a label such as `otlp grpc`.
    pub addresses: Vec<(String, SocketAddr)>,
    /// Whether the listener stays open until the end of the shutdown (admin) or is drained first (receivers).
    pub stays_until_end: bool,
    /// Starts to accept connections.
    pub serve: Box<dyn FnOnce(ListenerResources) -> BoxFuture<'static, DrainListener> + Send>,
}

/// Stops a listener: it accepts nothing more, waits up to this time for open requests, then closes the rest.
pub type DrainListener = Box<dyn FnOnce(Duration) -> BoxFuture<'static, ()> + Send>;
