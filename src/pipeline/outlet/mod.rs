//! **What**: [`Outlet`]: serves one exporter from the spool: reads ahead, merges small batches, splits large ones, sends
//! several at once, retries without end. **Why**: exporters only know one attempt; what is lost or doubled is decided
//! here. **Invariants**: a record is done only after its back end's verdict; its clearance is checked against the
//! exporter as it is configured now; no request mixes accounts or signals; memory is bounded by the window; a record
//! that may not go is held and counted, never dropped.
//! **Not here**: protocols (`exporters/`), durability (`spool/`), tasks (`app/tasks`).

mod backoff;
mod deliver;
mod gather;
mod gauges;
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

use crate::clock::Clock;
use crate::rng::Rng;
use crate::telemetry::Meter;

use self::deliver::Delivered;
use self::gather::{Gatherer, Intake};
use self::gauges::Gauges;
use super::offload::{Offload, offload};
use super::spool::{ReadError, Seq, Spool};
use super::{Exporter, OutletSettings};

/// Consumer name of what back ends refused for good.
pub const QUARANTINE: &str = "quarantine";

const RECORDS_AT_ONCE: usize = 256;
const READ_RETRY: Duration = Duration::from_secs(5);

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
}

/// Serves one exporter.
pub struct Outlet {
    exporter: Arc<dyn Exporter>,
    settings: OutletSettings,
    shared: Shared,
    gauges: Gauges,
    condition: Mutex<Condition>,
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
    gatherer: Gatherer,
    /// Read up to here.
    after: Option<Seq>,
    /// Whether the spool may have more behind `after`.
    more: bool,
    /// Bytes gathered and on their way.
    bytes: usize,
    /// Records that may not go.
    held: u64,
    stopping: bool,
    /// Stopping, and the back end takes nothing.
    given_up: bool,
    reading: Waiting<Option<Result<Intake, ReadError>>>,
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
        Arc::new(Self { exporter, settings, shared, gauges, condition: Mutex::new(Condition::Well) })
    }

    /// The exporter's id.
    pub fn id(&self) -> &Arc<str> {
        self.exporter.id()
    }

    /// Delivers until `stop` turns true; then sends what still goes through at the first try, and ends when nothing
    /// more does. What is left stays in the spool. Dropping the future ends it at once.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut changed = self.shared.spool.changed(self.id());
        let mut sending = FuturesUnordered::new();
        let mut run = Run {
            gatherer: Gatherer::new(self.settings.merge_bytes.min(self.exporter.max_request_bytes())),
            after: None,
            more: true,
            bytes: 0,
            held: 0,
            stopping: *stop.borrow(),
            given_up: false,
            reading: Waiting(None),
            linger: Waiting(None),
            pause: Waiting(None),
        };
        loop {
            while sending.len() < self.settings.consumers.max(1) && !run.given_up {
                let Some(parcel) = run.gatherer.take(run.stopping) else { break };
                sending.push(Arc::clone(&self).deliver(parcel, stop.clone()));
            }
            self.gauges.in_flight(sending.len());
            self.read_ahead(&mut run);
            let idle = sending.is_empty() && !run.reading.busy();
            if run.stopping && idle && (run.given_up || (!run.more && run.gatherer.is_empty())) {
                return;
            }
            tokio::select! {
                biased;
                Some(delivered) = sending.next(), if !sending.is_empty() => run.delivered(&delivered),
                read = run.reading.end() => self.take_in(&mut run, read),
                () = run.linger.end() => run.gatherer.force(),
                () = run.pause.end() => run.more = true,
                _ = changed.changed() => run.more = true,
                _ = stop.changed(), if !run.stopping => run.stopping = true,
            }
        }
    }

    fn read_ahead(&self, run: &mut Run) {
        let room = self.settings.window_bytes.max(1).saturating_sub(run.bytes);
        if run.more && room > 0 && !run.reading.busy() && !run.pause.busy() && !run.given_up {
            let (spool, exporter, after) = (Arc::clone(&self.shared.spool), Arc::clone(&self.exporter), run.after);
            let threads = Arc::clone(&self.shared.offload);
            run.more = false;
            run.reading.begin(async move {
                let read = move || {
                    let records = spool.read(exporter.id(), after, room, RECORDS_AT_ONCE)?;
                    Ok(Intake::sort(records, exporter.trust()))
                };
                offload(&*threads, "spool-read", read).await
            });
        }
        if !run.linger.busy() && !run.gatherer.is_empty() {
            run.linger.begin(self.shared.clock.sleep(self.settings.linger));
        }
    }

    fn take_in(&self, run: &mut Run, read: Option<Result<Intake, ReadError>>) {
        match read {
            Some(Ok(intake)) => {
                // The end is known only from an empty read.
                run.more |= intake.last.is_some();
                run.after = intake.last.or(run.after);
                if intake.held > 0 {
                    run.held += intake.held;
                    self.gauges.held(run.held);
                    tracing::error!(
                        exporter = &**self.id(),
                        batches = intake.held,
                        "batches may not go to this exporter"
                    );
                }
                for part in intake.parts {
                    run.bytes += part.body.len();
                    run.gatherer.add(part);
                }
                return;
            }
            Some(Err(ReadError::Damaged(seq))) => {
                // It stays where it is; those behind it must not wait for it.
                run.after = Some(seq);
                run.more = true;
                tracing::error!(exporter = &**self.id(), record = seq.0, "a record of the spool is damaged");
            }
            Some(Err(ReadError::Io(error))) => {
                tracing::error!(exporter = &**self.id(), kind = %error.kind(), "the spool can't be read");
                run.pause.begin(self.shared.clock.sleep(READ_RETRY));
            }
            None => run.pause.begin(self.shared.clock.sleep(READ_RETRY)),
        }
        self.gauges.read_failed();
    }
}

impl Run {
    fn delivered(&mut self, delivered: &Delivered) {
        self.bytes = self.bytes.saturating_sub(delivered.bytes);
        self.given_up |= self.stopping && delivered.left;
    }
}
