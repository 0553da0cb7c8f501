//! [`Backoff`]: how long to wait before the next attempt. `deliver` decides what is retried.

use std::time::Duration;

use crate::outcome::MAX_RETRY_AFTER;
use crate::plan::OutletSettings;
use kernel::rng::Rng;

const MIN_WAIT: Duration = Duration::from_millis(100);
/// A back end's wish for a shorter wait (`Retry-After: 0`, or a date in the past) is ignored: its clock may be slow.
const MIN_RETRY_AFTER: Duration = Duration::from_secs(1);

/// Waits that grow by half from attempt to attempt, up to a maximum, with a quarter of jitter either way.
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) fn new(settings: &OutletSettings) -> Self {
        Self { next: settings.retry_initial, max: settings.retry_max }
    }

    /// The next wait. `retry_after`: the wait that the back end asked for. It takes precedence unless it is too short,
    /// and jitter only makes it longer.
    pub(super) fn next_wait(&mut self, retry_after: Option<Duration>, rng: &dyn Rng) -> Duration {
        let mut bytes = [0; 2];
        rng.fill(&mut bytes);
        let random = f64::from(u16::from_le_bytes(bytes)) / 65_536.0;
        let own_wait = self.next.min(self.max);
        self.next = own_wait.mul_f64(1.5).min(self.max);
        let wait = match retry_after.filter(|wait| *wait >= MIN_RETRY_AFTER) {
            Some(wait) => wait.min(MAX_RETRY_AFTER).mul_f64(1.0 + random / 10.0),
            None => own_wait.mul_f64(0.75 + random / 2.0),
        };
        wait.max(MIN_WAIT)
    }
}
