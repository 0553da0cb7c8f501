//! [`ProcessorSpec`]: everything that the gateway needs to know about a processor before it runs, and its wiring. A
//! gateway and a dry run call the same `build` with different [`ProcessorDeps`]. A processor names only those
//! properties ([`ProcessorProfile`]) that differ from most. `src/components.rs` lists the processors;
//! `pipeline::Processor` is a running one.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use echoes::FingerprintCache;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use ::vault::chain::digest::GatewayIdentity;
use ::vault::chain::note::{SigningKey, VerifyKey};
use ::vault::store::spec::StoreUnusable;
use ::vault::uploader::ErasureInbox;
use config::FieldProblem;
use genai::{ClosedItemPolicy, Vocabulary};
use kernel::pseudonym::IdPolicy;
use net::{SharedServices, TlsError};
use otlp::{Payload, Signal};
use pipeline::Processor;
use pipeline::spool::Spool;
use rates::{ActiveRates, RatesError, SeatSums};
use redaction::Detector;
use tracker::RunTracker;

/// Why a processor can't be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum ProcessorUnusable {
    /// A rate table can't be read or is invalid.
    #[error("{error}")]
    Rates {
        /// The setting that names the table.
        field: String,
        /// The error, which begins with the table's path.
        error: RatesError,
    },
    /// There are no root certificates to verify the source of newer rate tables with.
    #[error(transparent)]
    RatesRefresh(TlsError),
    /// The client of a recogniser can't be built.
    #[error(transparent)]
    Recogniser(TlsError),
    /// The store of content can't be used on this machine.
    #[error(transparent)]
    Store(#[from] StoreUnusable),
}

impl ProcessorUnusable {
    pub fn field(&self) -> &str {
        match self {
            Self::Rates { field, .. } => field,
            Self::RatesRefresh(_) => "refresh",
            Self::Recogniser(_) => "recogniser",
            Self::Store(_) => "store",
        }
    }
}

/// What processors are built with.
#[derive(Clone)]
pub struct ProcessorDeps {
    pub vocabulary: Arc<Vocabulary>,
    /// The policy for ids, shared so that an id has one form everywhere.
    pub ids: Arc<dyn IdPolicy>,
    pub fingerprints: Arc<FingerprintCache>,
    /// The length of error text, in bytes, that every `redact` processor leaves uncut.
    pub max_error_text: usize,
    /// The length of text, in bytes, that every `redact` processor searches.
    pub max_scan: usize,
    pub services: SharedServices,
    /// Where a gateway stores; `None` in a dry run, which writes nothing and fetches nothing.
    pub storage: Option<ProcessorStorage>,
}

/// The storage of a running gateway.
#[derive(Clone)]
pub struct ProcessorStorage {
    pub spool: Arc<Spool>,
    /// The keys that sign digests, by processor.
    pub signers: HashMap<Arc<str>, Arc<SigningKey>>,
    /// The gateway's entry in its digests.
    pub made_by: GatewayIdentity,
}

/// What the gateway needs to know about any processor.
#[derive(Default)]
pub struct ProcessorProfile<'s> {
    /// Notes on valid settings that the user should see.
    pub notes: &'s [FieldProblem],
    /// How the processor redacts text, if it does.
    pub redaction: Option<RedactionProfile<'s>>,
    /// The privacy profile, if the processor removes content.
    pub privacy: Option<&'static str>,
    /// Which items are agents', and what stays of them, if the processor removes content.
    pub closed_items: Option<&'s ClosedItemPolicy>,
    pub calls_recogniser: bool,
    /// The providers whose calls are counted and priced like another's, and that provider.
    pub providers: Option<&'s BTreeMap<String, String>>,
}

/// How a processor redacts text.
pub struct RedactionProfile<'s> {
    pub detector: &'s Arc<Detector>,
    pub max_error_text: usize,
    pub max_scan: usize,
    /// Whether findings are only counted.
    pub is_audit_only: bool,
    /// Whether content may pass.
    pub allows_content: bool,
}

/// A processor and its parts that the gateway runs or registers.
pub struct BuiltProcessor {
    pub processor: Arc<dyn Processor>,
    /// Shows the rules that drop items, if the processor drops some.
    pub filter: Option<Arc<dyn ItemFilter>>,
    /// The rules by which the processor redacts text, if it does.
    pub rules: Option<Arc<Detector>>,
    pub tracker: Option<Arc<RunTracker>>,
    /// The rate tables in use, by which trackers of the same pipeline identify models.
    pub rate_tables: Option<Arc<ActiveRates>>,
    /// The use of the seats of `cost.plans`.
    pub seats: Option<Arc<SeatSums>>,
    /// Slot for the tracker of the pipeline's `runs` step. The `cost` step asks the tracker for the tenant, feature and
    /// user of known runs.
    pub tracker_slot: Option<Arc<OnceLock<Arc<RunTracker>>>>,
    /// Names under which the processor's tasks read records of the spool.
    pub consumers: Vec<Arc<str>>,
    /// With `forward: after_put`: the spool consumer that exporters of the same pipelines wait for.
    pub put_holder: Option<Arc<str>>,
    pub erasure_target: Option<Arc<ErasureReportTarget>>,
    /// Runs beside the pipelines.
    pub task: Option<ProcessorTask>,
    /// Warnings about settings, each with the setting's name.
    pub warnings: Vec<FieldProblem>,
}

impl BuiltProcessor {
    /// A processor without other parts.
    pub fn new(processor: Arc<dyn Processor>) -> Self {
        Self {
            processor,
            filter: None,
            rules: None,
            tracker: None,
            rate_tables: None,
            seats: None,
            tracker_slot: None,
            consumers: Vec::new(),
            put_holder: None,
            erasure_target: None,
            task: None,
            warnings: Vec::new(),
        }
    }
}

pub type ProcessorBuildResult = Result<BuiltProcessor, ProcessorUnusable>;

/// Shows which items a processor drops, without dropping them.
pub trait ItemFilter: Send + Sync {
    /// For each item, in order, the rule that drops it; empty if nothing can be dropped. Items that sampling keeps are
    /// stamped with the ratio.
    fn dropping_rules(&self, payload: &mut Payload) -> Vec<Option<&str>>;
}

/// Accepts reports of erasures for one store.
pub struct ErasureReportTarget {
    /// Keys whose signatures are accepted.
    pub keys: Vec<VerifyKey>,
    pub inbox: Arc<ErasureInbox>,
}

/// A task that runs beside the pipelines for as long as the gateway does.
pub struct ProcessorTask {
    pub name: &'static str,
    /// Called once, off the async threads, before `run`.
    pub prepare: Box<dyn Fn() + Send + Sync>,
    /// Runs until the value turns true, then should end soon.
    pub run: Box<RunTask>,
}

pub type RunTask = dyn FnOnce(watch::Receiver<bool>) -> BoxFuture<'static, ()> + Send;

/// A processor's settings, as the gateway uses them.
pub trait ProcessorSpec {
    /// The properties that the gateway asks for before it builds anything.
    fn profile(&self) -> ProcessorProfile<'_> {
        ProcessorProfile::default()
    }
    /// Builds the processor for pipelines of `signals`. It reads files, and connects to nothing.
    ///
    /// # Errors
    /// See [`ProcessorUnusable`].
    fn build(&self, id: &Arc<str>, signals: &[Signal], deps: &ProcessorDeps) -> ProcessorBuildResult;
}
