//! [`Outlet`]: delivers the spool's records to one exporter: reads ahead, merges small batches, splits large ones,
//! sends several at once, and retries without end. An exporter only makes single attempts.
//! A record is marked done only after the back end's result. Its clearance is checked against the exporter's current
//! configuration; a record that is not cleared stays in the spool and is counted. With [`OutletSettings::waits_for`] no
//! record is sent before the named consumers have finished the records before it.
//! A parked parcel takes no slot from other signals and accounts, and usually no room in the window. No request mixes
//! accounts or signals. Memory is bounded by the window and the requests in flight. Protocols are in the crate
//! `exporters`, durability is in `spool/`, tasks are in `crates/command/src/tasks.rs`.

mod backoff;
mod deliver;
mod evidence;
mod gather;
mod lanes;
mod outlet_metrics;
mod quarantine;
mod slots;
#[cfg(test)]
pub(crate) mod tests;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::sync::watch;

use kernel::clock::{Clock, UnixNanos};
use kernel::rng::Rng;
use telemetry::Meter;

use self::deliver::DeliveryEnd;
use self::gather::{ParcelGroup, ReadIntake};
use self::lanes::ReadLanes;
use self::outlet_metrics::OutletMetrics;
use self::slots::{ParkingMode, SendSlots};
use super::clearance::Trust;
use super::component::Exporter;
use super::delivery::{DeliveryTracker, MemoryQueue};
use super::offload::{Offload, offload};
use super::outcome::Reason;
use super::plan::{AckMode, OutletSettings};
pub use super::spool::QUARANTINE;
use super::spool::{RecordSeq, Spool, SpoolReadError};

const MAX_RECORDS_PER_READ: usize = 256;
/// Wait after a failed read of the spool.
const READ_RETRY: Duration = Duration::from_secs(5);
/// Data committed longer ago than this is backlog, for which new data need not wait.
const BACKLOG_AGE: Duration = Duration::from_secs(30);
/// Interval at which the progress of `waits_for` consumers is checked.
const WAITS_FOR_INTERVAL: Duration = Duration::from_millis(500);

/// Dependencies that all outlets share.
#[derive(Clone)]
pub struct OutletContext {
    pub(crate) spool: Arc<Spool>,
    /// Runs disk and CPU work off the async threads.
    pub(crate) offload: Arc<dyn Offload>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) rng: Arc<dyn Rng>,
    pub(crate) meter: Meter,
    /// Receives the back ends' results.
    pub(crate) delivery: Arc<DeliveryTracker>,
}

/// Serves one exporter.
pub struct Outlet {
    exporter: Arc<dyn Exporter>,
    settings: OutletSettings,
    shared: OutletContext,
    metrics: OutletMetrics,
    condition: Arc<Mutex<BackendCondition>>,
    /// Time (monotonic) of the last log line about missing room for refused items.
    no_room_logged_at: Mutex<Option<Duration>>,
    /// The queue that this outlet sends from. `None`: it sends from the spool.
    memory: Option<Arc<MemoryQueue>>,
}

/// State of the back end after the last attempt, so that each change is logged once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum BackendCondition {
    Healthy,
    Failing,
    Denied,
}

/// State of [`Outlet::run`].
struct OutletRun {
    lanes: ReadLanes,
    /// Records that are not cleared for this exporter.
    uncleared: u64,
    stopping: bool,
    /// The outlet is stopping, and the back end accepts nothing.
    backend_down: bool,
    /// The read in progress: id of its lane, and its result (`None`: the offloaded work ended without one).
    reading: OptionalWait<(u64, Option<Result<ReadIntake, SpoolReadError>>)>,
    /// Wait until small parcels are sent.
    linger: OptionalWait<()>,
    /// Wait until the spool is read again.
    pause: OptionalWait<()>,
    /// The question whether the back end would take data.
    check: OptionalWait<()>,
    /// Records were moved: the lanes start again once no read is in progress.
    must_restart: bool,
}

/// At most one future at a time. Without one, [`OptionalWait::wait`] never completes. It may be dropped and called
/// again.
struct OptionalWait<T>(Option<BoxFuture<'static, T>>);

impl<T> OptionalWait<T> {
    fn begin(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.0 = Some(Box::pin(future));
    }

    fn is_active(&self) -> bool {
        self.0.is_some()
    }

    async fn wait(&mut self) -> T {
        let value = match &mut self.0 {
            Some(future) => future.await,
            None => pending().await,
        };
        self.0 = None;
        value
    }
}

impl Outlet {
    /// An outlet for `exporter`.
    pub fn new(exporter: Arc<dyn Exporter>, settings: OutletSettings, shared: OutletContext) -> Arc<Self> {
        let memory = shared.delivery.offers(exporter.id()).cloned();
        Self::build(exporter, settings, shared, Arc::new(Mutex::new(BackendCondition::Healthy)), memory)
    }

    /// The second outlet of this exporter, which sends from memory. `None`: the exporter has no such queue.
    pub fn create_memory_outlet(&self) -> Option<Arc<Self>> {
        let memory = Arc::clone(self.shared.delivery.memory_queue(self.id())?);
        let (exporter, condition) = (Arc::clone(&self.exporter), Arc::clone(&self.condition));
        Some(Self::build(exporter, self.settings.clone(), self.shared.clone(), condition, Some(memory)))
    }

    fn build(
        exporter: Arc<dyn Exporter>,
        settings: OutletSettings,
        shared: OutletContext,
        condition: Arc<Mutex<BackendCondition>>,
        memory: Option<Arc<MemoryQueue>>,
    ) -> Arc<Self> {
        let metrics = OutletMetrics::new(&shared.meter, exporter.id());
        Arc::new(Self { exporter, settings, shared, metrics, condition, no_room_logged_at: Mutex::default(), memory })
    }

    /// The exporter's id.
    pub fn id(&self) -> &Arc<str> {
        self.exporter.id()
    }

    /// Delivers until `stop` turns true. After that, goes on only as long as first attempts succeed and data is left;
    /// the rest stays in the spool. Dropping the future ends delivery at once.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut moved = self.shared.spool.moves(self.id());
        let mut changed = match &self.memory {
            Some(memory) => memory.changed(),
            None => self.shared.spool.changed(self.id()),
        };
        // Clients of an earlier run, which panicked, still wait.
        self.memory.iter().for_each(|memory| memory.abandon_taken());
        let mut sending = FuturesUnordered::new();
        let max_in_flight = if self.settings.ordered { 1 } else { self.settings.consumers.max(1) };
        let slots = SendSlots::new(max_in_flight, self.parking_mode());
        let mut run = OutletRun {
            lanes: ReadLanes::new(self.merge_target(), self.settings.window_bytes.max(1), max_in_flight),
            uncleared: 0,
            stopping: *stop.borrow(),
            backend_down: false,
            reading: OptionalWait(None),
            linger: OptionalWait(None),
            pause: OptionalWait(None),
            check: OptionalWait((!self.is_memory_outlet()).then(|| Arc::clone(&self).check_back_end().boxed())),
            must_restart: false,
        };
        loop {
            while !run.backend_down
                && let Some(slot) = slots.take()
                && let Some(parcel) = run.lanes.take(run.stopping)
            {
                sending.push(Arc::clone(&self).deliver(parcel, slot, stop.clone()));
            }
            self.metrics.set_in_flight(sending.len());
            // A read in progress ends first. Otherwise a long move, which announces each part, would undo every read.
            if run.must_restart && !run.reading.is_active() {
                (run.must_restart, run.uncleared) = (false, 0);
                self.metrics.uncleared.set(0.0);
                run.lanes.restart();
            }
            self.read_ahead(&mut run, &slots);
            let is_idle = sending.is_empty() && !run.reading.is_active();
            if run.stopping && is_idle && (run.backend_down || run.lanes.is_done()) {
                self.abandon_memory();
                return;
            }
            tokio::select! {
                biased;
                Some(end) = sending.next(), if !sending.is_empty() => {
                    let may_have_moved = self.memory.is_none() && *moved.borrow() > 0;
                    self.finish_parcel(&mut run, &end, may_have_moved);
                }
                () = slots.wait_for_change() => {}
                (lane, result) = run.reading.wait() => self.add_read_records(&mut run, lane, result),
                () = run.linger.wait() => run.lanes.mark_all_due(),
                () = run.pause.wait() => run.lanes.expect_more(),
                () = run.check.wait() => {}
                _ = changed.changed() => run.lanes.expect_more(),
                // A memory outlet's data has no place in the spool, so nothing of it can be moved.
                Ok(()) = moved.changed(), if self.memory.is_none() => run.must_restart = true,
                _ = stop.changed(), if !run.stopping => run.stopping = true,
            }
        }
    }

    /// Whether this is the second outlet of its exporter, which leaves checks and gauges to the first.
    pub fn is_memory_outlet(&self) -> bool {
        self.memory.as_ref().is_some_and(|memory| memory.has_clients())
    }

    /// Upper bound for merging, in bytes. If clients wait for results, each batch is sent alone, so that it gets its
    /// own result.
    fn merge_target(&self) -> usize {
        if self.settings.ack == AckMode::Delivered {
            return 1;
        }
        self.settings.merge_bytes.min(self.exporter.max_request_bytes())
    }

    /// How parcels wait for their next attempt.
    fn parking_mode(&self) -> ParkingMode {
        match (self.settings.ordered, &self.memory) {
            (true, _) => ParkingMode::Never,
            (false, Some(_)) => ParkingMode::InMemory,
            (false, None) => ParkingMode::InSpool,
        }
    }

    fn read_ahead(&self, run: &mut OutletRun, slots: &SendSlots) {
        let may_read = !run.reading.is_active() && !run.pause.is_active() && !run.backend_down;
        // Data that is only in memory gets no separate lane: it could not be read again.
        let is_stuck = |group: &ParcelGroup| self.memory.is_none() && slots.is_stuck(group);
        if may_read && let Some(request) = run.lanes.begin_read(is_stuck) {
            if let Some(memory) = self.memory.clone() {
                let trust = self.exporter.trust();
                return run.reading.begin(async move {
                    (request.lane, Some(Ok(take_from_memory(&memory, request.max_bytes, trust))))
                });
            }
            let (spool, exporter) = (Arc::clone(&self.shared.spool), Arc::clone(&self.exporter));
            let offloader = Arc::clone(&self.shared.offload);
            let waits_for = self.settings.waits_for.clone();
            run.reading.begin(async move {
                let read = move || {
                    let (after, max_bytes, max_records) = (request.after, request.max_bytes, MAX_RECORDS_PER_READ);
                    let account = request.account.as_deref();
                    let mut records = spool.read_account(exporter.id(), account, after, max_bytes, max_records)?;
                    records.retain(|record| request.until.is_none_or(|until| record.seq <= until));
                    // Must follow the read, so that it includes all records that were committed before the read ones.
                    let first_unfinished = spool.first_pending(&waits_for);
                    let read_records = records.len();
                    records.retain(|record| first_unfinished.is_none_or(|first| record.seq < first));
                    let is_blocked = records.len() < read_records;
                    Ok(ReadIntake { is_blocked, ..ReadIntake::from_records(records, exporter.trust()) })
                };
                (request.lane, offload(&*offloader, "spool-read", read).await)
            });
        }
        if !run.linger.is_active() && run.lanes.is_lingering() {
            run.linger.begin(self.shared.clock.sleep(self.settings.linger));
        }
    }

    /// Gives up the batches that are only in memory, because the outlet ends.
    fn abandon_memory(&self) {
        if let Some(memory) = &self.memory {
            let seqs: Vec<RecordSeq> = memory.take(usize::MAX).iter().map(|batch| batch.seq).collect();
            memory.abandon(&seqs, Reason::ShuttingDown);
        }
    }

    /// Separates backlog from new data if the data just read is old, so that new data is not delayed: both are then
    /// sent alternately. `committed`: time at which the last record read was committed.
    fn separate_backlog(&self, run: &mut OutletRun, committed: Option<UnixNanos>) {
        let is_backlog = committed.is_some_and(|then| self.shared.clock.now().since(then) > BACKLOG_AGE);
        if is_backlog && !self.settings.ordered && self.memory.is_none() {
            run.lanes.split_backlog(self.shared.spool.next());
        }
    }

    fn finish_parcel(&self, run: &mut OutletRun, end: &DeliveryEnd, may_have_moved: bool) {
        let seqs = run.lanes.finish_parcel(&end.group, end.first);
        // Records may have been moved away and back while the parcel was open: they wait, though it is delivered.
        run.must_restart |= may_have_moved && !end.is_undelivered && self.shared.spool.is_any_pending(self.id(), &seqs);
        run.backend_down |= run.stopping && end.is_undelivered;
    }

    fn add_read_records(&self, run: &mut OutletRun, lane: u64, result: Option<Result<ReadIntake, SpoolReadError>>) {
        match result {
            Some(Ok(intake)) => {
                let is_common = run.lanes.is_common(lane);
                // Must precede `finish_read`, which may remove separate lanes that cover these records.
                intake.parts.into_iter().for_each(|part| run.lanes.add(lane, part));
                if intake.is_blocked {
                    // There are more records to read, once the other consumers have finished theirs.
                    run.lanes.retry_read(lane);
                    run.backend_down |= run.stopping && intake.last.is_none();
                    run.pause.begin(self.shared.clock.sleep(WAITS_FOR_INTERVAL));
                }
                if !intake.is_blocked || intake.last.is_some() {
                    run.lanes.finish_read(lane, intake.last);
                }
                // A record that a separate lane reads was counted already when a common lane read it.
                if is_common && intake.uncleared > 0 {
                    run.uncleared += intake.uncleared;
                    self.metrics.uncleared.set(run.uncleared as f64);
                    tracing::error!(
                        exporter = &**self.id(),
                        batches = intake.uncleared,
                        "batches are not cleared for this exporter and stay in the spool"
                    );
                }
                if is_common {
                    self.separate_backlog(run, intake.committed);
                }
                return;
            }
            Some(Err(SpoolReadError::Damaged(seq))) => {
                // The record stays in the spool; later ones must not wait for it.
                run.lanes.finish_read(lane, Some(seq));
                tracing::error!(
                    exporter = &**self.id(),
                    record = seq.0,
                    "a record of the spool is damaged and is skipped"
                );
            }
            failure => {
                if let Some(Err(SpoolReadError::Io(error))) = failure {
                    tracing::error!(exporter = &**self.id(), kind = %error.kind(), "the spool can't be read");
                }
                run.lanes.retry_read(lane);
                run.pause.begin(self.shared.clock.sleep(READ_RETRY));
            }
        }
        self.metrics.read_failures.increment(1);
    }
}

/// Takes batches from memory; those that the exporter must not get are given up.
fn take_from_memory(memory: &MemoryQueue, max_bytes: usize, trust: Trust) -> ReadIntake {
    let records = memory.take(max_bytes);
    let taken: Vec<RecordSeq> = records.iter().map(|record| record.seq).collect();
    let intake = ReadIntake::from_records(records, trust);
    if intake.uncleared > 0 {
        let is_kept = |seq: &RecordSeq| intake.parts.iter().any(|part| part.seq == *seq);
        let uncleared: Vec<RecordSeq> = taken.into_iter().filter(|seq| !is_kept(seq)).collect();
        memory.abandon(&uncleared, Reason::NotCleared);
    }
    ReadIntake { uncleared: 0, ..intake }
}
