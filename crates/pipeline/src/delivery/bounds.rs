//! **What**: [`Bound`]: how much may wait for one exporter (`max_pending`), and whether that much does. **Why**:
//! clients are refused for it while everything else is well: whoever is on call must see which exporter it is.
//! **Invariants**: that it began and that it ended is said once each, however often data comes and goes at the bound;
//! it is over only after a rest below it. **Not here**: what is refused or given up for it (the parent).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::outcome::Full;
use crate::outcome::Reason;
use crate::plan::OnFull;
use crate::spool::Spool;
use telemetry::{Gauge, Meter, names};

/// Below the bound for so long, and it is over: those who were told to come again have come.
const REST: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Bound {
    pub(super) exporter: Arc<str>,
    pub(super) limit: u64,
    pub(super) on_full: OnFull,
    full: Full,
    gauge: Option<Gauge>,
    /// When as much waited as may (monotonic); `None`: it is over.
    reached: Mutex<Option<Duration>>,
}

impl Bound {
    /// Not reached yet.
    pub(super) fn new(exporter: &Arc<str>, limit: u64, on_full: OnFull, meter: &Meter) -> Self {
        let gauge = meter.gauge(&names::PENDING_FULL, &[("exporter", exporter)]);
        // of the round before
        gauge.set(0.0);
        Self {
            exporter: Arc::clone(exporter),
            limit,
            on_full,
            full: Full::of(exporter),
            gauge: (on_full == OnFull::Refuse).then_some(gauge),
            reached: Mutex::default(),
        }
    }

    /// Whether clients are refused beyond it.
    pub(super) fn refuses(&self) -> bool {
        self.on_full == OnFull::Refuse
    }

    /// Why a batch that is for this exporter, too, can't be taken in now.
    pub(super) fn look(&self, spool: &Spool, now: Duration) -> Option<Reason> {
        let bytes = spool.pending_bytes(&self.exporter);
        let is_full = bytes >= self.limit;
        let mut reached = self.reached.lock();
        let (began, over) = match *reached {
            before if is_full => {
                *reached = Some(now);
                (before.is_none(), false)
            }
            Some(then) if now.saturating_sub(then) >= REST => {
                *reached = None;
                (false, true)
            }
            _ => (false, false),
        };
        let (exporter, limit) = (&*self.exporter, self.limit);
        if began {
            tracing::warn!(exporter, bytes, limit, "new data is refused: as much waits for it as `max_pending` allows");
        }
        if over {
            tracing::info!(
                exporter,
                bytes,
                limit,
                "new data is taken again: less waits for it than `max_pending` allows"
            );
        }
        if let Some(gauge) = self.gauge.as_ref().filter(|_| began || over) {
            gauge.set(f64::from(u8::from(began)));
        }
        drop(reached);
        is_full.then_some(Reason::PendingFull(self.full))
    }

    /// Whether it was reached a moment ago.
    pub(super) fn is_reached(&self) -> bool {
        self.reached.lock().is_some()
    }
}
