//! [`Rig`]: a whole engine on one thread, with a spool in a temporary folder; the test triggers commits.

#![allow(missing_docs, reason = "test support")]

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt};

use tokio::sync::watch;

use crate::checkpoint::CheckpointStore;
use crate::engine::{Engine, EngineContext};
use crate::forward_label::ForwardLabel;
use crate::inquiry::ErrandRunner;
use crate::sampling::rules::RunSampleStates;
use crate::spool::{CommitStep, Committer, Spool, SpoolKey, SpoolSettings, StoredRecord};
use crate::{
    BytePermit, ClientIdentity, Disk, EngineLimits, EnginePlan, Exporter, Outcome, OutletSettings, PipelinePlan,
    Processor, RealDisk, Submission, Trust, inquiry, offload, workers,
};
use kernel::clock::{ManualClock, UnixNanos};
use kernel::rng::SeededRng;
use otlp::Signal;
use telemetry::Meter;

use super::drive::drive;
use super::engine::names;

/// See the module.
pub struct Rig {
    pub engine: Engine,
    pub spool: Arc<Spool>,
    pub committer: Committer,
    pub clock: Arc<ManualClock>,
    pub meter: Meter,
    pub checkpoints: CheckpointStore,
}

/// Parameters of a [`Rig`].
pub struct Parts {
    pub disk: Arc<dyn Disk>,
    pub clock: Arc<ManualClock>,
    pub seed: u64,
    pub pipelines: Vec<PipelinePlan>,
    /// Settings of all exporters that are not in `others`.
    pub outlets: OutletSettings,
    pub others: HashMap<Arc<str>, OutletSettings>,
    pub spool_bytes: u64,
    /// Bound of the quarantine, if not the default.
    pub quarantine_bytes: Option<u64>,
    pub errands: Arc<dyn ErrandRunner>,
    /// The spool's keys.
    pub keys: Vec<SpoolKey>,
    /// See [`EnginePlan::other_state`] and [`EnginePlan::effects_consumers`].
    pub other_state: Vec<Arc<dyn Processor>>,
    pub effects_consumers: Vec<Arc<str>>,
    /// See [`EnginePlan::sample_states`].
    pub sample_states: Option<Arc<dyn RunSampleStates>>,
}

impl Parts {
    /// One traces pipeline from `otlp` on the real disk.
    pub fn new(processors: Vec<Arc<dyn Processor>>, exporters: Vec<Arc<dyn Exporter>>) -> Self {
        let pipeline = PipelinePlan {
            id: "traces".into(),
            signal: Signal::Traces,
            receivers: vec!["otlp".into()],
            processors,
            exporters,
        };
        Self {
            disk: Arc::new(RealDisk),
            clock: ManualClock::at(UnixNanos(1_700_000_000_000_000_000)),
            seed: 1,
            pipelines: vec![pipeline],
            outlets: OutletSettings::default(),
            others: HashMap::new(),
            spool_bytes: 16 << 20,
            quarantine_bytes: None,
            errands: Arc::new(inquiry::InlineErrands),
            keys: vec![SpoolKey::from_bytes([3; 32])],
            other_state: Vec::new(),
            effects_consumers: Vec::new(),
            sample_states: None,
        }
    }

    /// Opens the spool in `folder`, puts the engine together and restores its state.
    pub fn open(self, folder: &Path) -> Rig {
        self.try_open(folder).unwrap()
    }

    /// As [`Parts::open`], on a disk that may fail.
    pub fn try_open(self, folder: &Path) -> Result<Rig, String> {
        let (meter, rng) = (Meter::new(), Arc::new(SeededRng::new(self.seed)));
        let mut settings = SpoolSettings::new(folder.join("spool"), self.spool_bytes);
        settings.quarantine = self.quarantine_bytes.unwrap_or(settings.quarantine);
        let keys = self.keys;
        let opened = Spool::open(Arc::clone(&self.disk), &settings, &keys, self.clock.clone(), rng.clone(), &meter);
        let (spool, committer) = opened.map_err(|error| error.to_string())?;
        let plan = EnginePlan {
            pipelines: self.pipelines,
            limits: EngineLimits::default(),
            other_state: self.other_state,
            effects_consumers: self.effects_consumers,
            sample_states: self.sample_states,
        };
        let exporters = plan.exporters();
        let mut outlets: HashMap<_, _> =
            exporters.iter().map(|exporter| (Arc::clone(exporter.id()), self.outlets.clone())).collect();
        outlets.extend(self.others);
        let context = EngineContext {
            spool: Arc::clone(&spool),
            clock: self.clock.clone(),
            rng,
            meter: meter.clone(),
            offload: Arc::new(offload::InlineOffload),
            workers: Arc::new(workers::InlineWorkers),
            errands: self.errands,
        };
        let engine = Engine::new(&plan, &outlets, &["vault".into()], context.clone());
        let applier = Arc::clone(&engine.applier);
        let state = folder.join("spool/state");
        let checkpoints = CheckpointStore::open(&context, &*self.disk, &state, &keys, applier);
        let checkpoints = checkpoints.map_err(|error| error.to_string())?;
        checkpoints.restore().map_err(|error| error.to_string())?;
        Ok(Rig { engine, spool, committer, clock: self.clock, meter, checkpoints })
    }
}

/// A trace request as the receiver `otlp` hands it in, with its bytes of the budget.
pub fn submission(wire: Bytes, permit: BytePermit) -> Submission {
    Submission {
        signal: Signal::Traces,
        wire,
        permit,
        account: "default".into(),
        identity: ClientIdentity::Unverified,
        receiver: "otlp".into(),
        trust: Trust::ThirdParty,
        effects: Vec::new(),
        source_record: None,
    }
}

impl Rig {
    /// Hands in a trace request; the answer needs a commit.
    pub fn submit(&self, wire: Bytes) -> BoxFuture<'static, Outcome> {
        self.submit_as("default", wire)
    }

    /// As [`Rig::submit`], for an account.
    pub fn submit_as(&self, account: &str, wire: Bytes) -> BoxFuture<'static, Outcome> {
        self.submit_signal(account, Signal::Traces, wire)
    }

    /// As [`Rig::submit_as`], for any signal.
    pub fn submit_signal(&self, account: &str, signal: Signal, wire: Bytes) -> BoxFuture<'static, Outcome> {
        let submission = Submission { account: account.into(), signal, ..submission(wire, BytePermit::new()) };
        self.engine.inlet.for_receiver("otlp").submit(submission)
    }

    /// Hands in a trace request, commits, and returns the answer.
    pub fn put(&mut self, wire: Bytes) -> Outcome {
        let answer = self.submit(wire);
        self.commit();
        answer.now_or_never().unwrap()
    }

    /// Runs the first outlet for up to `time`, committing while the outlet waits. Returns whether it ended.
    pub fn run_outlet(&mut self, time: Duration, stop: &watch::Sender<bool>) -> bool {
        let outlet = Arc::clone(&self.engine.outlets[0]);
        let run = outlet.run(stop.subscribe());
        self.run(time, run)
    }

    /// Runs a future as [`Rig::run_outlet`] does.
    pub fn run(&mut self, time: Duration, future: impl Future<Output = ()>) -> bool {
        let clock = Arc::clone(&self.clock);
        drive(&clock, time, future, || self.commit().committed > 0).is_some()
    }

    /// Records that wait for a consumer.
    pub fn waiting(&self, consumer: &str) -> Vec<StoredRecord> {
        self.spool.read(consumer, None, usize::MAX, usize::MAX).unwrap()
    }

    /// Names of the items that wait for an exporter.
    pub fn forwarded(&self, exporter: &str) -> Vec<String> {
        let copies = self.waiting(exporter);
        copies.iter().flat_map(|copy| names(&ForwardLabel::split(&copy.body).unwrap().1)).collect()
    }

    /// Runs one step of the committer.
    pub fn commit(&mut self) -> CommitStep {
        self.committer.step(Duration::ZERO)
    }
}
