//! [`RefusalLogLimiter`]: limits how often a refusal is logged. An operator looks in the log for why no data arrives,
//! but a client that keeps sending bad requests must not fill the disk. Each reason is logged at most once a minute,
//! with the number of refusals left out since; reasons are a finite set. Receivers and the admin port write the lines.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use kernel::clock::Clock;

/// Minimum time between two log lines of one reason.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A rate limiter for log lines, one budget per reason.
pub struct RefusalLogLimiter {
    clock: Arc<dyn Clock>,
    /// When a reason was last logged, and how many refusals were left out since.
    reasons: Mutex<HashMap<&'static str, (Duration, u64)>>,
}

impl RefusalLogLimiter {
    /// A limiter that has logged nothing yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, reasons: Mutex::default() }
    }

    /// Counts a refusal. `Some` if it is to be logged, with the number left out since the last logged one.
    pub fn count_refusal(&self, reason: &'static str) -> Option<u64> {
        let now = self.clock.monotonic();
        let mut reasons = self.reasons.lock();
        let Some((logged_at, left_out)) = reasons.get_mut(reason) else {
            reasons.insert(reason, (now, 0));
            return Some(0);
        };
        if now.saturating_sub(*logged_at) < LOG_INTERVAL {
            *left_out = left_out.saturating_add(1);
            return None;
        }
        *logged_at = now;
        Some(std::mem::take(left_out))
    }
}

#[cfg(test)]
mod tests;
