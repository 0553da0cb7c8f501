//! [`PendingBound`]: the `max_pending` of one exporter, and whether it is reached. Clients may then be refused while
//! everything else is healthy, so the log and a gauge must show operators which exporter is the cause. The beginning
//! and the end of this state are logged once each, however often data arrives and leaves at the bound: the state ends
//! only after [`CLEAR_AFTER`] below the bound. Refusing and expiring are in the parent module.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::outcome::PendingFullText;
use crate::outcome::Reason;
use crate::plan::OnFullAction;
use crate::sampling::rules::waiting_consumer;
use crate::spool::Spool;
use telemetry::{Gauge, Meter, names};

/// The bound counts as reached until the pending data has been below it for this long: by then the refused clients have
/// retried.
const CLEAR_AFTER: Duration = Duration::from_secs(10);

/// The `max_pending` of one exporter.
pub(super) struct PendingBound {
    pub(super) exporter: Arc<str>,
    /// The consumer that holds what waits for the exporter's sampler.
    pub(super) undecided: Arc<str>,
    pub(super) limit: u64,
    pub(super) on_full: OnFullAction,
    refusal_text: PendingFullText,
    /// Only if clients are refused.
    gauge: Option<Gauge>,
    /// Time (monotonic) of the last check that found the bound reached. `None`: the bound does not count as reached.
    last_reached: Mutex<Option<Duration>>,
}

impl PendingBound {
    /// A bound that is not reached yet.
    pub(super) fn new(exporter: &Arc<str>, limit: u64, on_full: OnFullAction, meter: &Meter) -> Self {
        let gauge = meter.gauge(&names::PENDING_FULL, &[("exporter", exporter)]);
        // Clears a value that an earlier configuration of this process left.
        gauge.set(0.0);
        Self {
            exporter: Arc::clone(exporter),
            undecided: waiting_consumer(exporter),
            limit,
            on_full,
            refusal_text: PendingFullText::for_exporter(exporter),
            gauge: (on_full == OnFullAction::Refuse).then_some(gauge),
            last_reached: Mutex::default(),
        }
    }

    /// Whether clients are refused when the bound is reached.
    pub(super) fn is_refusing(&self) -> bool {
        self.on_full == OnFullAction::Refuse
    }

    /// Compares the pending bytes with the bound, and logs if the state begins or ends. Returns the reason to refuse a
    /// batch for this exporter, if there is one.
    pub(super) fn check_bound(&self, spool: &Spool, now: Duration) -> Option<Reason> {
        let bytes = spool.pending_bytes(&self.exporter) + spool.pending_bytes(&self.undecided);
        let is_full = bytes >= self.limit;
        let mut last_reached = self.last_reached.lock();
        let (begins, ends) = match *last_reached {
            before if is_full => {
                *last_reached = Some(now);
                (before.is_none(), false)
            }
            Some(last) if now.saturating_sub(last) >= CLEAR_AFTER => {
                *last_reached = None;
                (false, true)
            }
            _ => (false, false),
        };
        let (exporter, limit) = (&*self.exporter, self.limit);
        if begins {
            tracing::warn!(
                exporter,
                bytes,
                limit,
                "new data for this exporter is refused: its pending data has reached `max_pending`"
            );
        }
        if ends {
            tracing::info!(
                exporter,
                bytes,
                limit,
                "new data for this exporter is accepted again: its pending data is below `max_pending`"
            );
        }
        if let Some(gauge) = self.gauge.as_ref().filter(|_| begins || ends) {
            gauge.set(f64::from(u8::from(begins)));
        }
        drop(last_reached);
        is_full.then_some(Reason::PendingFull(self.refusal_text))
    }

    /// Whether the bound counts as reached.
    pub(super) fn is_reached(&self) -> bool {
        self.last_reached.lock().is_some()
    }
}
