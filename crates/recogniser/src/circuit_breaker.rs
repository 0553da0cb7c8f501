//! [`CircuitBreaker`] is a circuit breaker: it stops calls to a recogniser that can't be reached, because otherwise
//! every batch would wait for its whole deadline and fill the byte budget. While open, it lets one probe call through
//! at a time. A refusal of one text does not open it. `client` reports the results.

use std::time::Duration;

use parking_lot::Mutex;

/// Consecutive failures that open it.
const FAILURES: u32 = 3;
/// Shortest and longest time that it stays open before a probe.
const OPEN_PERIOD: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// A circuit breaker. Times are monotonic.
#[derive(Default)]
pub(super) struct CircuitBreaker(Mutex<BreakerState>);

#[derive(Default)]
struct BreakerState {
    failures: u32,
    /// Open: no call before this time.
    until: Option<Duration>,
    /// Whether a probe call is running.
    probing: bool,
}

impl CircuitBreaker {
    /// Whether a call may be made. The caller must then report its result with `succeeded`, `failed` or `forgotten`.
    pub(super) fn may_call(&self, now: Duration) -> bool {
        let mut state = self.0.lock();
        match state.until {
            None => true,
            Some(until) if now >= until && !state.probing => {
                state.probing = true;
                true
            }
            Some(_) => false,
        }
    }

    /// Records an answer and closes the breaker. Returns whether it was open.
    pub(super) fn record_success(&self) -> bool {
        std::mem::take(&mut *self.0.lock()).until.is_some()
    }

    /// Records a failure to reach it in time. Returns whether this opened the breaker.
    pub(super) fn record_failure(&self, now: Duration) -> bool {
        let mut state = self.0.lock();
        state.failures = state.failures.saturating_add(1);
        state.probing = false;
        let Some(over) = state.failures.checked_sub(FAILURES) else { return false };
        let rest = OPEN_PERIOD.0.saturating_mul(1 << over.min(8)).min(OPEN_PERIOD.1);
        state.until.replace(now.saturating_add(rest)).is_none()
    }

    /// Records a call that ended without showing whether the recogniser can be reached.
    pub(super) fn record_inconclusive(&self) {
        self.0.lock().probing = false;
    }
}
