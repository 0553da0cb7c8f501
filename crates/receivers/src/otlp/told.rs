//! **What**: [`Told`]: when a refusal is a line of the log. **Why**: whoever wonders why nothing arrives looks there; a
//! client that can't be made to stop must not fill the disk. **Invariants**: a line a minute for each reason, with the
//! number of those left out since; reasons are a finite set. **Not here**: what the line says (`meters`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use kernel::clock::Clock;

/// From one line of a reason to its next.
const PAUSE: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Told {
    clock: Arc<dyn Clock>,
    /// When a reason was told, and how often it came since then.
    reasons: Mutex<HashMap<&'static str, (Duration, u64)>>,
}

impl Told {
    /// Nothing was told yet.
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, reasons: Mutex::default() }
    }

    /// Whether one more is told, and how many were not since the last that was.
    pub(super) fn tells(&self, reason: &'static str) -> Option<u64> {
        let now = self.clock.monotonic();
        let mut reasons = self.reasons.lock();
        let Some((told, untold)) = reasons.get_mut(reason) else {
            reasons.insert(reason, (now, 0));
            return Some(0);
        };
        if now.saturating_sub(*told) < PAUSE {
            *untold = untold.saturating_add(1);
            return None;
        }
        *told = now;
        Some(std::mem::take(untold))
    }
}

#[cfg(test)]
mod tests;
