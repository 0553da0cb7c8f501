//! **What**: what the engine is built from: [`EnginePlan`]. **Why**: configuration decides, the engine only runs it.
//! **Invariants**: component objects are shared by pointer: two pipelines that name one processor hold one object.
//! **Not here**: reading configuration (`config/`), naming components (`components`).

use std::sync::Arc;
use std::time::Duration;

use otlp::Signal;

use super::component::{Exporter, Processor};
use super::{accounts, repeats};

/// One pipeline.
#[derive(Clone)]
pub struct PipelinePlan {
    /// `traces`, `logs/agents` …
    pub id: Arc<str>,
    /// Its signal.
    pub signal: Signal,
    /// Ids of the receivers that feed it.
    pub receivers: Vec<Arc<str>>,
    /// In order.
    pub processors: Vec<Arc<dyn Processor>>,
    /// All get every batch.
    pub exporters: Vec<Arc<dyn Exporter>>,
}

/// Bounds of the engine.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Memory that requests in flight may take, bytes: what they hold while they arrive and while they are worked on.
    pub in_flight_bytes: usize,
    /// How long a request waits for room before it is told to come back.
    pub admission_wait: Duration,
    /// Tries to find the poison items of one batch.
    pub bisect_tries: usize,
    /// Memory of repeats.
    pub repeats: repeats::Limits,
    /// Largest span, record or point, bytes; larger ones are refused one by one.
    pub max_item_bytes: usize,
    /// What accounts may send.
    pub accounts: accounts::Rates,
}

/// Memory that inflating one request takes beside what comes of it, bytes: a zstd window and a stride.
pub const INFLATING: u64 = 9 << 20;

/// A request of `n` bytes takes about this many times `n` while it is worked on: as received, joined, indexed and
/// edited, encoded, as fragments, as sealed records. Measured as the growth of peak resident memory over one request of
/// a release build with all steps, per byte: 4.6 between 8 and 32 MiB of agent traces in 50 spans, 5.2 in 4,000 spans,
/// 4.0 of logs.
pub const WORKING_FACTOR: usize = 5;

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_bytes: 768 << 20,
            admission_wait: Duration::from_secs(2),
            bisect_tries: 200,
            repeats: repeats::Limits::default(),
            max_item_bytes: 32 << 20,
            accounts: accounts::Rates::default(),
        }
    }
}

/// How one exporter is served.
#[derive(Clone, Debug)]
pub struct OutletSettings {
    /// Requests on their way at once.
    pub consumers: usize,
    /// How long a small batch waits for others to go with.
    pub linger: Duration,
    /// Merge at most to this size, bytes (the exporter's own limit holds too).
    pub merge_bytes: usize,
    /// Bytes read ahead from the spool, at least one batch.
    pub window_bytes: usize,
    /// First wait after a failed attempt.
    pub retry_initial: Duration,
    /// Longest wait between attempts (a back end's own wish may be longer).
    pub retry_max: Duration,
    /// What a client's OK stands for.
    pub ack: Ack,
    /// Bytes that may wait for it; no bound of its own without.
    pub max_pending: Option<u64>,
    /// What happens beyond.
    pub on_full: OnFull,
    /// One request at a time, in the order of arrival (of each signal and account).
    pub ordered: bool,
    /// Consumers who must be done with everything before a record before it goes.
    pub waits_for: Vec<Arc<str>>,
}

/// What a client's OK stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ack {
    /// It is in the spool: no crash loses it.
    #[default]
    Spooled,
    /// It is in the spool, and the back end has given its verdict.
    Delivered,
    /// Nothing: it is held in memory, up to `max_pending` and what is read ahead, and lost at a crash; what is dropped
    /// is counted.
    Offered,
}

/// What happens when more waits than may.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFull {
    /// Clients are told to come again.
    #[default]
    Refuse,
    /// The oldest goes, and is counted.
    Expire,
}

impl Default for OutletSettings {
    fn default() -> Self {
        Self {
            consumers: 4,
            linger: Duration::from_millis(200),
            merge_bytes: 4 << 20,
            window_bytes: 16 << 20,
            retry_initial: Duration::from_secs(5),
            retry_max: Duration::from_secs(30),
            ack: Ack::default(),
            max_pending: None,
            on_full: OnFull::default(),
            ordered: false,
            waits_for: Vec::new(),
        }
    }
}

/// What runs.
pub struct EnginePlan {
    /// Every pipeline.
    pub pipelines: Vec<PipelinePlan>,
    /// Bounds.
    pub limits: Limits,
}

impl EnginePlan {
    /// Each processor once, in order of first use.
    pub fn processors(&self) -> Vec<Arc<dyn Processor>> {
        let mut found: Vec<Arc<dyn Processor>> = Vec::new();
        for processor in self.pipelines.iter().flat_map(|pipeline| &pipeline.processors) {
            if !found.iter().any(|known| known.id() == processor.id()) {
                found.push(Arc::clone(processor));
            }
        }
        found
    }

    /// Each exporter once, in order of first use.
    pub fn exporters(&self) -> Vec<Arc<dyn Exporter>> {
        let mut found: Vec<Arc<dyn Exporter>> = Vec::new();
        for exporter in self.pipelines.iter().flat_map(|pipeline| &pipeline.exporters) {
            if !found.iter().any(|known| known.id() == exporter.id()) {
                found.push(Arc::clone(exporter));
            }
        }
        found
    }
}
