//! [`EnginePlan`]: the pipelines, limits and settings that the engine is built from. All choices are made by the
//! configuration, none by the engine.
//! Component objects are shared by pointer: two pipelines that name one processor hold the same object. The crate
//! `config` reads the configuration; `src/components.rs` names the components.

use std::sync::Arc;
use std::time::Duration;

use otlp::Signal;

use super::component::{Exporter, Processor};
use super::sampling::rules::{RunSampleStates, SampleRules};
use super::{accounts, repeats};

/// One pipeline.
#[derive(Clone)]
pub struct PipelinePlan {
    /// Id from the configuration: `traces`, `logs/agents` …
    pub id: Arc<str>,
    /// Signal that the pipeline takes.
    pub signal: Signal,
    /// Ids of the receivers that feed it.
    pub receivers: Vec<Arc<str>>,
    /// The processors, in the order in which they run.
    pub processors: Vec<Arc<dyn Processor>>,
    /// The exporters; every one of them gets every batch.
    pub exporters: Vec<Arc<dyn Exporter>>,
}

kernel::with_defaults! {
    /// Bounds of the engine.
    #[derive(Clone, Debug)]
    pub struct EngineLimits {
        /// Memory for requests in flight, in bytes: while they arrive and while they are processed.
        pub in_flight_bytes: usize = 768 << 20,
        /// How long a request waits for room before the client is asked to retry.
        pub admission_wait: Duration = Duration::from_secs(2),
        /// Attempts to find the poison items of one batch.
        pub bisect_tries: usize = 200,
        /// Bounds of the tables that recognise repeated requests.
        pub repeats: repeats::RepeatLimits,
        /// Largest span, log record or data point, in bytes. Larger ones are refused individually.
        pub max_item_bytes: usize = 32 << 20,
        /// Rate limits of the accounts.
        pub accounts: accounts::RateLimits,
    }
}

/// Memory that decompressing one request takes besides the result, in bytes: a zstd window and one step of output.
pub const INFLATE_BYTES: u64 = 9 << 20;

/// Bytes of memory per byte of a request while it is processed, because several forms exist at once: received, joined,
/// indexed and edited, encoded, fragments, sealed records. Measured growth of peak resident memory over one request (a
/// release build with all steps), per byte: 4.6 for agent traces of 8 to 32 MiB in 50 spans, 5.2 in 4,000 spans, 4.0
/// for logs.
pub const WORKING_FACTOR: usize = 5;

/// Longest wait for a back end's result, unless an exporter has a shorter one. A much shorter one would end before most
/// clients' own deadlines, a much longer one would hold memory.
pub const LONGEST_ANSWER_WAIT: Duration = Duration::from_secs(60);

/// Answers that may wait at once for committed data, and for each exporter's data in memory; each is a few kilobytes of
/// a connection, a stream and an entry. Beyond it a client is asked to retry at once, as after the wait.
pub const MAX_WAITING_ANSWERS: usize = 4096;

kernel::with_defaults! {
    /// Delivery settings of one exporter.
    #[derive(Clone, Debug)]
    pub struct OutletSettings {
        /// Concurrent requests to the back end.
        pub consumers: usize = 4,
        /// How long a small batch waits to be merged with others.
        pub linger: Duration = Duration::from_millis(200),
        /// Upper bound of a merged request, in bytes; the exporter's own limit applies as well.
        pub merge_bytes: usize = 4 << 20,
        /// Maximum bytes read ahead from the spool, but at least one batch.
        pub window_bytes: usize = 16 << 20,
        /// Wait after the first failed attempt.
        pub retry_initial: Duration = Duration::from_secs(5),
        /// Longest wait between attempts. A back end may ask for a longer one.
        pub retry_max: Duration = Duration::from_secs(30),
        /// The guarantee behind a client's OK.
        pub ack: AckMode,
        /// With [`AckMode::Delivered`]: how long a client waits for the back end's result before it is asked to retry.
        pub answer_wait: Duration = LONGEST_ANSWER_WAIT,
        /// With [`AckMode::Delivered`]: a batch for this exporter alone, of which no step stores anything, waits in
        /// memory instead of in the spool. For a back end that is itself a durable log.
        pub in_memory: bool,
        /// Bytes that may be pending for this exporter. `None`: no limit of its own.
        pub max_pending: Option<u64>,
        /// Action when `max_pending` is reached.
        pub on_full: OnFullAction,
        /// Sends one request at a time, in order of arrival within each signal and account.
        pub ordered: bool,
        /// Which spans and log records are sent. `None`: all.
        pub sample: Option<Arc<SampleRules>>,
        /// Consumers that must have finished every earlier record before a record is sent.
        pub waits_for: Vec<Arc<str>>,
    }
}

/// The guarantee behind a client's OK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AckMode {
    /// The data is in the spool: no crash loses it.
    #[default]
    Spooled,
    /// The back end has accepted or refused the data. Until then the data is in the spool. The exporter `kafka` keeps
    /// data in memory instead if it is the data's only exporter, and no processor stores anything of it.
    Delivered,
    /// No guarantee. The data is held in memory, up to `max_pending` plus what is read ahead, and lost in a crash.
    /// Dropped data is counted.
    Offered,
}

/// Action when more data is pending than `max_pending` allows, or a folder has reached its `max_size`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFullAction {
    /// Clients are asked to retry.
    #[default]
    Refuse,
    /// The oldest data is dropped and counted.
    Expire,
}

/// Everything that the engine runs.
pub struct EnginePlan {
    /// Every pipeline.
    pub pipelines: Vec<PipelinePlan>,
    /// Bounds of the engine.
    pub limits: EngineLimits,
    /// Parts outside of pipelines that have state: their effects are applied, and they are part of checkpoints. Their
    /// [`Processor::process`] is never called.
    pub other_state: Vec<Arc<dyn Processor>>,
    /// Consumers of the spool that send shared effects ([`Processor::shares_effects`]) to other replicas; none outside
    /// of a fleet.
    pub effects_consumers: Vec<Arc<str>>,
    /// Knows the runs by which exporters with [`OutletSettings::sample`] sample.
    pub sample_states: Option<Arc<dyn RunSampleStates>>,
}

impl EnginePlan {
    /// Each processor once, in order of first use, and the other parts that have state.
    pub fn processors(&self) -> Vec<Arc<dyn Processor>> {
        let mut processors: Vec<Arc<dyn Processor>> = Vec::new();
        let of_pipelines = self.pipelines.iter().flat_map(|pipeline| &pipeline.processors);
        for processor in of_pipelines.chain(&self.other_state) {
            if !processors.iter().any(|known| known.id() == processor.id()) {
                processors.push(Arc::clone(processor));
            }
        }
        processors
    }

    /// Each exporter once, in order of first use.
    pub fn exporters(&self) -> Vec<Arc<dyn Exporter>> {
        let mut exporters: Vec<Arc<dyn Exporter>> = Vec::new();
        for exporter in self.pipelines.iter().flat_map(|pipeline| &pipeline.exporters) {
            if !exporters.iter().any(|known| known.id() == exporter.id()) {
                exporters.push(Arc::clone(exporter));
            }
        }
        exporters
    }
}
