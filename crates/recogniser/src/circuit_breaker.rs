//! [`CircuitBreaker`] stops calls to a recogniser that fails repeatedly, because otherwise every batch would wait for
//! its whole deadline and fill the byte budget. An open breaker lets one probe call through at a time. A refusal of one
//! text does not open the breaker. `client` reports the results.

use std::time::Duration;

use parking_lot::Mutex;

/// Consecutive failures that open the breaker.
const FAILURES_TO_OPEN: u32 = 3;
/// Shortest and longest time that the breaker stays open before a probe. Each failed probe doubles the time.
const MIN_OPEN_TIME: Duration = Duration::from_secs(1);
const MAX_OPEN_TIME: Duration = Duration::from_secs(15);

/// A circuit breaker. Times are monotonic.
#[derive(Default)]
pub(super) struct CircuitBreaker(Mutex<BreakerState>);

#[derive(Default)]
struct BreakerState {
    failures: u32,
    /// `Some` while the breaker is open: no call before this time.
    open_until: Option<Duration>,
    is_probing: bool,
}

impl CircuitBreaker {
    /// Whether a call may be made. The caller must then report its result with one of the `record_…` methods.
    pub(super) fn may_call(&self, now: Duration) -> bool {
        let mut state = self.0.lock();
        match state.open_until {
            None => true,
            Some(until) if now >= until && !state.is_probing => {
                state.is_probing = true;
                true
            }
            Some(_) => false,
        }
    }

    /// Records an answer and closes the breaker. Returns whether it was open.
    pub(super) fn record_success(&self) -> bool {
        std::mem::take(&mut *self.0.lock()).open_until.is_some()
    }

    /// Records that the recogniser was not reached or did not answer in time. Returns whether this opened the breaker.
    pub(super) fn record_failure(&self, now: Duration) -> bool {
        let mut state = self.0.lock();
        state.failures = state.failures.saturating_add(1);
        state.is_probing = false;
        let Some(failed_probes) = state.failures.checked_sub(FAILURES_TO_OPEN) else { return false };
        let open_time = MIN_OPEN_TIME.saturating_mul(1 << failed_probes.min(8)).min(MAX_OPEN_TIME);
        state.open_until.replace(now.saturating_add(open_time)).is_none()
    }

    /// Records a call that ended without showing whether the recogniser can be reached.
    pub(super) fn record_inconclusive(&self) {
        self.0.lock().is_probing = false;
    }
}
