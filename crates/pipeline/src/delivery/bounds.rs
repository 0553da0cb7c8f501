//! [`PendingBound`]: the `max_pending` of one exporter, and whether it is reached. Clients are refused because of it
//! while everything else is healthy, so the log and a gauge must show operators which exporter is the cause. The
//! beginning and the end are logged once each, however often data arrives and leaves at the bound; the end requires a
//! rest below it. Refusing and expiring are in the parent module.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::outcome::PendingFullText;
use crate::outcome::Reason;
use crate::plan::OnFullAction;
use crate::spool::Spool;
use telemetry::{Gauge, Meter, names};

/// How long less than the bound must be pending before it counts as over: by then the refused clients have retried.
const CLEAR_AFTER: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct PendingBound {
    pub(super) exporter: Arc<str>,
    pub(super) limit: u64,
    pub(super) on_full: OnFullAction,
    full: PendingFullText,
    gauge: Option<Gauge>,
    /// When the bound was reached last (monotonic). `None`: not reached, or over.
    reached: Mutex<Option<Duration>>,
}

impl PendingBound {
    /// A bound that is not reached yet.
    pub(super) fn new(exporter: &Arc<str>, limit: u64, on_full: OnFullAction, meter: &Meter) -> Self {
        let gauge = meter.gauge(&names::PENDING_FULL, &[("exporter", exporter)]);
        // Clears a value that an earlier configuration of this process left.
        gauge.set(0.0);
        Self {
            exporter: Arc::clone(exporter),
            limit,
            on_full,
            full: PendingFullText::for_exporter(exporter),
            gauge: (on_full == OnFullAction::Refuse).then_some(gauge),
            reached: Mutex::default(),
        }
    }

    /// Whether clients are refused when it is reached.
    pub(super) fn is_refusing(&self) -> bool {
        self.on_full == OnFullAction::Refuse
    }

    /// Compares the pending bytes with the bound, logs the beginning or the end, and returns the reason to refuse a
    /// batch for this exporter, if there is one.
    pub(super) fn check_bound(&self, spool: &Spool, now: Duration) -> Option<Reason> {
        let bytes = spool.pending_bytes(&self.exporter);
        let is_full = bytes >= self.limit;
        let mut reached = self.reached.lock();
        let (began, over) = match *reached {
            before if is_full => {
                *reached = Some(now);
                (before.is_none(), false)
            }
            Some(then) if now.saturating_sub(then) >= CLEAR_AFTER => {
                *reached = None;
                (false, true)
            }
            _ => (false, false),
        };
        let (exporter, limit) = (&*self.exporter, self.limit);
        if began {
            tracing::warn!(
                exporter,
                bytes,
                limit,
                "new data for this exporter is refused: its pending data has reached `max_pending`"
            );
        }
        if over {
            tracing::info!(
                exporter,
                bytes,
                limit,
                "new data for this exporter is accepted again: its pending data is below `max_pending`"
            );
        }
        if let Some(gauge) = self.gauge.as_ref().filter(|_| began || over) {
            gauge.set(f64::from(u8::from(began)));
        }
        drop(reached);
        is_full.then_some(Reason::PendingFull(self.full))
    }

    /// Whether it was reached within [`REST`] before the last check.
    pub(super) fn is_reached(&self) -> bool {
        self.reached.lock().is_some()
    }
}
