//! **What**: what a running gateway is made from: [`Blueprint`], and what it gives its makers ([`Site`]).
//! **Why**: configuration decides which components there are; starting and stopping them is the same for all.
//! **Invariants**: building opens clients and files at most; it neither spawns nor binds.
//! **Not here**: configuration (`config/`), the table of components (`components`), starting (`app`).

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

pub use super::seams::Seams;
use crate::app::destinations::Pointed;
use crate::app::memory::Limit;
use crate::app::start_error::StartError;
use net::Spawn;
use pipeline::spool::{self, Spool, SpoolKey};
use pipeline::{EnginePlan, Inlet, OutletSettings};
use telemetry::{Health, Meter};

/// What builders may use.
#[derive(Clone)]
pub struct Site {
    /// Seams.
    pub seams: Seams,
    /// The open spool.
    pub spool: Arc<Spool>,
    /// For exporters and companions that need tasks once they run.
    pub tasks: Arc<dyn Spawn>,
}

/// How a gateway runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Worker threads for requests.
    pub workers: usize,
    /// Requests that may wait for a worker.
    pub worker_queue: usize,
    /// Least time between two checkpoints.
    pub checkpoint_every: Duration,
    /// Time a shutdown may take for requests in hand.
    pub drain_requests: Duration,
    /// Time a shutdown may take for exporters and companions.
    pub drain_outlets: Duration,
    /// What memory it may take; None: nobody looks.
    pub memory: Option<Limit>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            worker_queue: 4096,
            checkpoint_every: Duration::from_secs(10),
            drain_requests: Duration::from_secs(10),
            drain_outlets: Duration::from_secs(10),
            memory: None,
        }
    }
}

/// Makes the components once the spool is open.
pub type Build = Box<dyn FnOnce(&Site) -> Result<Built, StartError> + Send>;

/// Everything that is known before anything is opened.
pub struct Blueprint {
    /// Where and how large.
    pub spool: spool::Settings,
    /// The first seals, all open.
    pub keys: Vec<SpoolKey>,
    /// How it runs.
    pub settings: Settings,
    /// Makes the components.
    pub build: Build,
}

/// The engine's door, there once the engine is.
pub type Way = Arc<OnceLock<Arc<Inlet>>>;

/// The components.
pub struct Built {
    /// Pipelines and limits.
    pub plan: EnginePlan,
    /// Settings of outlets by exporter id; others get the defaults.
    pub outlets: HashMap<Arc<str>, OutletSettings>,
    /// Consumers of the spool besides exporters, e.g. `vault`.
    pub consumers: Vec<Arc<str>>,
    /// Where exporters point.
    pub pointed: Vec<Pointed>,
    /// What runs beside the pipelines, e.g. the vault's uploader.
    pub companions: Vec<Arc<dyn Companion>>,
    /// What listens: receivers, admin.
    pub listeners: Vec<Box<dyn Listener>>,
    /// Where those that are no receivers find the engine's door.
    pub way: Way,
}

/// Something that runs beside the pipelines for as long as the gateway does.
pub trait Companion: Send + Sync {
    /// A fixed word for logs.
    fn name(&self) -> &'static str;
    /// Called off the async threads after the spool was recovered and before anything is admitted.
    ///
    /// # Errors
    /// The gateway does not start.
    fn prepare(&self) -> Result<(), StartError> {
        Ok(())
    }
    /// Works until `stop` turns true, then ends in good order and soon; it is dropped at the deadline.
    fn run(self: Arc<Self>, stop: watch::Receiver<bool>) -> BoxFuture<'static, ()>;
}

/// What a listener serves into.
#[derive(Clone)]
pub struct Serve {
    /// The engine's door.
    pub inlet: Arc<Inlet>,
    /// Makes its tasks.
    pub tasks: Arc<dyn Spawn>,
    /// Metrics.
    pub meter: Meter,
    /// Readiness of the whole gateway.
    pub health: Health,
}

/// Something that listens, not bound yet.
pub trait Listener: Send {
    /// Takes its ports; nothing is accepted yet.
    fn bind(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn BoundListener>, StartError>>;
}

/// A listener that holds its ports. Dropping it gives them back.
pub trait BoundListener: Send {
    /// What it listens on: a label such as `otlp grpc`, and the address.
    fn addresses(&self) -> Vec<(String, SocketAddr)>;
    /// Starts to accept.
    fn serve(self: Box<Self>, serve: Serve) -> BoxFuture<'static, Box<dyn ServingListener>>;
    /// Whether it stays open until the very end (admin), rather than being drained first (receivers).
    fn lasts(&self) -> bool {
        false
    }
}

/// A listener in service.
pub trait ServingListener: Send {
    /// Stops accepting, lets what is in hand be answered for up to `grace`, closes the rest.
    fn drain(self: Box<Self>, grace: Duration) -> BoxFuture<'static, ()>;
}
