//! [`Outlet`]: delivers the spool's records to one exporter: reads ahead, merges small batches, splits large ones,
//! sends several at once, and retries without end. An exporter only knows single attempts; loss and duplication are
//! decided here.
//! A record is done only after the back end's result. Its clearance is checked against the exporter's present
//! configuration; a record that is not cleared is held and counted, never dropped. With [`OutletSettings::waits_for`]
//! no record is sent before the named consumers have finished the records before it.
//! A parked parcel takes no slot from other signals and accounts, and (except with `ordered` or memory-only data) no
//! room in the window. No request mixes accounts or signals. Memory is bounded by the window and the requests in
//! flight. Protocols are in `exporters/`, durability is in `spool/`, tasks are in `app/tasks`.

mod backoff;
mod deliver;
mod evidence;
mod gather;
mod gauges;
mod lanes;
mod refused;
mod slots;
#[cfg(test)]
mod tests;

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::watch;

use kernel::clock::{Clock, UnixNanos};
use kernel::rng::Rng;
use telemetry::Meter;

use self::deliver::Delivered;
use self::gather::{Group, Intake};
use self::gauges::Gauges;
use self::lanes::Lanes;
use self::slots::{Aside, Slots};
use super::component::Exporter;
use super::delivery::{Delivery, Offers};
use super::offload::{Offload, offload};
use super::plan::{Ack, OutletSettings};
pub use super::spool::QUARANTINE;
use super::spool::{ReadError, Spool};

const RECORDS_AT_ONCE: usize = 256;
const READ_RETRY: Duration = Duration::from_secs(5);
/// Data committed longer ago than this is backlog, and new data need not wait for it.
const BEHIND: Duration = Duration::from_secs(30);
/// Interval at which the progress of `waits_for` consumers is checked.
const WAIT: Duration = Duration::from_millis(500);

/// Dependencies that all outlets share.
#[derive(Clone)]
pub struct Shared {
    /// Source of the records.
    pub spool: Arc<Spool>,
    /// Runs disk and CPU work off the async threads.
    pub offload: Arc<dyn Offload>,
    /// Timers.
    pub clock: Arc<dyn Clock>,
    /// Source of jitter.
    pub rng: Arc<dyn Rng>,
    /// Registry of the metrics.
    pub meter: Meter,
    /// Receives the back ends' results.
    pub delivery: Arc<Delivery>,
}

/// Serves one exporter.
pub struct Outlet {
    exporter: Arc<dyn Exporter>,
    settings: OutletSettings,
    shared: Shared,
    gauges: Gauges,
    condition: Mutex<Condition>,
    /// Time (monotonic) of the last log line about missing room for refused items.
    said_no_room: Mutex<Option<Duration>>,
    /// Queue in memory of an exporter with `ack: offered`; the others read from the spool.
    offers: Option<Arc<Offers>>,
}

/// Result of the last attempt, so that each change is logged once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Well,
    Failing,
    Denied,
}

/// State of [`Outlet::run`].
struct Run {
    lanes: Lanes,
    /// Records that are not cleared for this exporter.
    held: u64,
    stopping: bool,
    /// The outlet is stopping, and the back end accepts nothing.
    given_up: bool,
    reading: Waiting<(u64, Option<Result<Intake, ReadError>>)>,
    linger: Waiting<()>,
    /// Runs until the spool is read again after a failure.
    pause: Waiting<()>,
}

/// At most one future at a time. Without one, waiting takes for ever. Dropping the wait loses nothing.
struct Waiting<T>(Option<BoxFuture<'static, T>>);

impl<T> Waiting<T> {
    fn begin(&mut self, future: impl Future<Output = T> + Send + 'static) {
        self.0 = Some(Box::pin(future));
    }

    fn busy(&self) -> bool {
        self.0.is_some()
    }

    async fn end(&mut self) -> T {
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
    pub fn new(exporter: Arc<dyn Exporter>, settings: OutletSettings, shared: Shared) -> Arc<Self> {
        let gauges = Gauges::new(&shared.meter, exporter.id());
        let offers = shared.delivery.offers(exporter.id()).cloned();
        let condition = Mutex::new(Condition::Well);
        Arc::new(Self { exporter, settings, shared, gauges, condition, said_no_room: Mutex::default(), offers })
    }

    /// The exporter's id.
    pub fn id(&self) -> &Arc<str> {
        self.exporter.id()
    }

    /// Delivers until `stop` turns true; then sends whatever succeeds at the first attempt, and ends when nothing more
    /// does. The rest stays in the spool. Dropping the future ends delivery at once.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut changed = match &self.offers {
            Some(offers) => offers.changed(),
            None => self.shared.spool.changed(self.id()),
        };
        let mut sending = FuturesUnordered::new();
        let at_once = if self.settings.ordered { 1 } else { self.settings.consumers.max(1) };
        let slots = Slots::new(at_once, self.aside());
        let mut run = Run {
            lanes: Lanes::new(self.merge_target(), self.settings.window_bytes.max(1), at_once),
            held: 0,
            stopping: *stop.borrow(),
            given_up: false,
            reading: Waiting(None),
            linger: Waiting(None),
            pause: Waiting(None),
        };
        loop {
            while !run.given_up
                && let Some(slot) = slots.take()
                && let Some(parcel) = run.lanes.take(run.stopping)
            {
                sending.push(Arc::clone(&self).deliver(parcel, slot, stop.clone()));
            }
            self.gauges.in_flight(sending.len());
            self.read_ahead(&mut run, &slots);
            let idle = sending.is_empty() && !run.reading.busy();
            if run.stopping && idle && (run.given_up || run.lanes.is_done()) {
                return self.forget_offers();
            }
            tokio::select! {
                biased;
                Some(delivered) = sending.next(), if !sending.is_empty() => run.delivered(&delivered),
                () = slots.rested() => {}
                (lane, read) = run.reading.end() => self.take_in(&mut run, lane, read),
                () = run.linger.end() => run.lanes.force(),
                () = run.pause.end() => run.lanes.more(),
                _ = changed.changed() => run.lanes.more(),
                _ = stop.changed(), if !run.stopping => run.stopping = true,
            }
        }
    }

    /// Upper bound for merging, in bytes. If clients wait for results, each batch is sent alone, so that it gets its
    /// own.
    fn merge_target(&self) -> usize {
        if self.settings.ack == Ack::Delivered {
            return 1;
        }
        self.settings.merge_bytes.min(self.exporter.max_request_bytes())
    }

    /// How parcels wait for their next attempt.
    fn aside(&self) -> Aside {
        match (self.settings.ordered, &self.offers) {
            (true, _) => Aside::Never,
            (false, Some(_)) => Aside::InMemory,
            (false, None) => Aside::InSpool,
        }
    }

    fn read_ahead(&self, run: &mut Run, slots: &Slots) {
        let free = !run.reading.busy() && !run.pause.busy() && !run.given_up;
        // Data that is only in memory can't be read again.
        let stuck = |group: &Group| self.offers.is_none() && slots.stuck(group);
        if free && let Some(wanted) = run.lanes.wanted(stuck) {
            let (spool, exporter, offers) =
                (Arc::clone(&self.shared.spool), Arc::clone(&self.exporter), self.offers.clone());
            let threads = Arc::clone(&self.shared.offload);
            let waits_for = self.settings.waits_for.clone();
            run.reading.begin(async move {
                let read = move || {
                    let (after, room, most) = (wanted.after, wanted.room, RECORDS_AT_ONCE);
                    let mut records = match (offers, &wanted.account) {
                        (Some(offers), _) => offers.take(room),
                        (None, Some(account)) => spool.read_of(exporter.id(), account, after, room, most)?,
                        (None, None) => spool.read(exporter.id(), after, room, most)?,
                    };
                    records.retain(|record| wanted.until.is_none_or(|until| record.seq <= until));
                    // Must follow the read: a consumer that is behind a record which was read is then certainly visible
                    // here.
                    let first = spool.first_waiting(&waits_for);
                    let all = records.len();
                    records.retain(|record| first.is_none_or(|first| record.seq < first));
                    let waits = records.len() < all;
                    Ok(Intake { waits, ..Intake::sort(records, exporter.trust()) })
                };
                (wanted.lane, offload(&*threads, "spool-read", read).await)
            });
        }
        if !run.linger.busy() && run.lanes.lingers() {
            run.linger.begin(self.shared.clock.sleep(self.settings.linger));
        }
    }

    /// Counts the queue's content as lost: it exists only in memory, and the outlet ends.
    fn forget_offers(&self) {
        if let Some(offers) = &self.offers {
            offers.lost(offers.take(usize::MAX).len() as u64);
        }
    }

    /// Separates backlog from new data after an outage, so that new data is not delayed: both are sent alternately.
    fn part_fresh_from_old(&self, run: &mut Run, committed: Option<UnixNanos>) {
        let behind = committed.is_some_and(|then| self.shared.clock.now().since(then) > BEHIND);
        if behind && !self.settings.ordered && self.offers.is_none() {
            run.lanes.part(self.shared.spool.next());
        }
    }

    fn take_in(&self, run: &mut Run, lane: u64, read: Option<Result<Intake, ReadError>>) {
        match read {
            Some(Ok(intake)) => {
                let common = run.lanes.is_common(lane);
                // Must precede `read`, which marks these records as read.
                intake.parts.into_iter().for_each(|part| run.lanes.add(lane, part));
                if intake.waits {
                    // Not the end: there are more records to read.
                    run.lanes.failed(lane);
                    run.given_up |= run.stopping && intake.last.is_none();
                    run.pause.begin(self.shared.clock.sleep(WAIT));
                }
                if !intake.waits || intake.last.is_some() {
                    run.lanes.read(lane, intake.last);
                }
                // Records that another lane reads again were counted by the common one.
                if common && intake.held > 0 {
                    run.held += intake.held;
                    self.gauges.held(run.held);
                    tracing::error!(
                        exporter = &**self.id(),
                        batches = intake.held,
                        "batches may not go to this exporter"
                    );
                }
                if common {
                    self.part_fresh_from_old(run, intake.committed);
                }
                return;
            }
            Some(Err(ReadError::Damaged(seq))) => {
                // The record stays where it is; later ones must not wait for it.
                run.lanes.read(lane, Some(seq));
                tracing::error!(exporter = &**self.id(), record = seq.0, "a record of the spool is damaged");
            }
            Some(Err(ReadError::Io(error))) => {
                tracing::error!(exporter = &**self.id(), kind = %error.kind(), "the spool can't be read");
                run.lanes.failed(lane);
                run.pause.begin(self.shared.clock.sleep(READ_RETRY));
            }
            None => {
                run.lanes.failed(lane);
                run.pause.begin(self.shared.clock.sleep(READ_RETRY));
            }
        }
        self.gauges.read_failed();
    }
}

impl Run {
    fn delivered(&mut self, delivered: &Delivered) {
        self.lanes.delivered(&delivered.group, delivered.range);
        self.given_up |= self.stopping && delivered.left;
    }
}
