//! **What**: [`Breaker`]: stops calling a recogniser that can't be reached. **Why**: every batch would wait for its
//! whole deadline, and fill the byte budget meanwhile. **Invariants**: one call at a time finds out whether it is back;
//! what it refuses about one text opens nothing. **Not here**: what callers are told (`client`).

use std::time::Duration;

use parking_lot::Mutex;

/// Failures in a row that open it.
const FAILURES: u32 = 3;
/// Shortest and longest time without calls.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// See the module. Times are monotonic.
#[derive(Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    failures: u32,
    /// No call before.
    until: Option<Duration>,
    /// One call finds out.
    probing: bool,
}

impl Breaker {
    /// Whether a call may be made; it must then be told how it went, or forgotten.
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

    /// It answers. Gives whether it was left alone before.
    pub(super) fn succeeded(&self) -> bool {
        std::mem::take(&mut *self.0.lock()).until.is_some()
    }

    /// It can't be reached, or not in time. Gives whether it is left alone from now on, and was not before.
    pub(super) fn failed(&self, now: Duration) -> bool {
        let mut state = self.0.lock();
        state.failures = state.failures.saturating_add(1);
        state.probing = false;
        let Some(over) = state.failures.checked_sub(FAILURES) else { return false };
        let rest = REST.0.saturating_mul(1 << over.min(8)).min(REST.1);
        state.until.replace(now.saturating_add(rest)).is_none()
    }

    /// A call ended without showing whether it can be reached.
    pub(super) fn forgotten(&self) {
        self.0.lock().probing = false;
    }
}
