//! **What**: [`Outlet`]: serves one exporter from the spool: reads ahead, merges small batches, splits large ones,
//! sends several at once, retries without end. **Why**: exporters only know one attempt; what is lost or doubled is
//! decided here. **Invariants**: a record is done only after its back end's verdict; its clearance is checked against
//! the exporter as it is configured now; where it waits for others ([`OutletSettings::waits_for`]), nothing goes before
//! they are done with what stands before it; what waits for another attempt takes no slot from other signals and
//! accounts, and (unless all is kept in order, or in memory alone) no place in the window; no request mixes accounts or
//! signals; memory is bounded by the window and what is on its way; a record that may not go is held and counted, never
//! dropped. **Not here**: protocols (`exporters/`), durability (`spool/`), tasks (`app/tasks`).

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
/// What was committed longer ago is old: what comes now need not wait for it.
const BEHIND: Duration = Duration::from_secs(30);
/// How often it is looked whether those are done that records wait for.
const WAIT: Duration = Duration::from_millis(500);

/// What outlets share.
#[derive(Clone)]
pub struct Shared {
    /// Where records come from.
    pub spool: Arc<Spool>,
    /// Runs disk and CPU work off the async threads.
    pub offload: Arc<dyn Offload>,
    /// Timers.
    pub clock: Arc<dyn Clock>,
    /// Jitter.
    pub rng: Arc<dyn Rng>,
    /// Metrics.
    pub meter: Meter,
    /// Who hears of verdicts.
    pub delivery: Arc<Delivery>,
}

/// Serves one exporter.
pub struct Outlet {
    exporter: Arc<dyn Exporter>,
    settings: OutletSettings,
    shared: Shared,
    gauges: Gauges,
    condition: Mutex<Condition>,
    /// When it was last said that there is no room for refused items.
    said_no_room: Mutex<Option<Duration>>,
    /// What waits in memory, for an exporter that is offered only; else it waits in the spool.
    offers: Option<Arc<Offers>>,
}

/// Whether the back end took the last attempt; for one log line a change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Well,
    Failing,
    Denied,
}

/// What is going on in [`Outlet::run`].
struct Run {
    lanes: Lanes,
    /// Records that may not go.
    held: u64,
    stopping: bool,
    /// Stopping, and the back end takes nothing.
    given_up: bool,
    reading: Waiting<(u64, Option<Result<Intake, ReadError>>)>,
    linger: Waiting<()>,
    /// Until the spool is read again after a failure.
    pause: Waiting<()>,
}

/// At most one future at a time. Waiting for none takes for ever; dropping the wait loses nothing.
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

    /// Delivers until `stop` turns true; then sends what still goes through at the first try, and ends when nothing
    /// more does. What is left stays in the spool. Dropping the future ends it at once.
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

    /// Up to so many bytes go together. Where clients wait for verdicts each batch goes alone, so that each has its
    /// own.
    fn merge_target(&self) -> usize {
        if self.settings.ack == Ack::Delivered {
            return 1;
        }
        self.settings.merge_bytes.min(self.exporter.max_request_bytes())
    }

    /// Where parcels wait for their next attempt.
    fn aside(&self) -> Aside {
        match (self.settings.ordered, &self.offers) {
            (true, _) => Aside::Never,
            (false, Some(_)) => Aside::InMemory,
            (false, None) => Aside::InSpool,
        }
    }

    fn read_ahead(&self, run: &mut Run, slots: &Slots) {
        let free = !run.reading.busy() && !run.pause.busy() && !run.given_up;
        // what is in memory alone can't be read again
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
                    // after the read: whoever stands before a record that is seen is seen too
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

    /// What was offered is in memory alone: with the outlet it is gone.
    fn forget_offers(&self) {
        if let Some(offers) = &self.offers {
            offers.lost(offers.take(usize::MAX).len() as u64);
        }
    }

    /// After an outage what waits must not hold up what comes: both go, turn by turn.
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
                // before what was read is known to be read
                intake.parts.into_iter().for_each(|part| run.lanes.add(lane, part));
                if intake.waits {
                    // no end: there is more to read
                    run.lanes.failed(lane);
                    run.given_up |= run.stopping && intake.last.is_none();
                    run.pause.begin(self.shared.clock.sleep(WAIT));
                }
                if !intake.waits || intake.last.is_some() {
                    run.lanes.read(lane, intake.last);
                }
                // what is read again was held before
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
                // It stays where it is; those behind it must not wait for it.
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
