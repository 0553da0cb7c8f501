//! [`UploadSpeedMeter`]: measures how fast a body arrives, because a slow upload can hold memory and a connection that
//! others wait for. A body is ended only while another client waits, and only after an interval of
//! [`TICKS_PER_INTERVAL`] ticks in which less than [`MIN_INTERVAL_BYTES`] bytes arrived. Time in which tollgate does
//! not read is not counted; time is counted in ticks, never read from a clock. `collect` has the limits on pauses and
//! total time.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use super::slow_uploads::{SlowUploadGuard, SlowUploads};

const TICK: Duration = Duration::from_millis(100);
/// Ticks in a measuring interval: two seconds.
const TICKS_PER_INTERVAL: u32 = 20;
/// Minimum bytes in an interval for a body that is not slow: 64 KiB a second.
const MIN_INTERVAL_BYTES: usize = 128 * 1024;

/// The speed of one body; see the module.
pub(super) struct UploadSpeedMeter<'a> {
    ticker: Interval,
    ticks: u32,
    /// Bytes that arrived in the current interval.
    bytes: usize,
    slow_uploads: &'a SlowUploads,
    /// Registered as slow, if the last interval was slow.
    slow: Option<SlowUploadGuard<'a>>,
}

impl<'a> UploadSpeedMeter<'a> {
    /// Starts to measure a body at the port of `slow_uploads`.
    pub(super) fn begin(slow_uploads: &'a SlowUploads) -> Self {
        let mut ticker = tokio::time::interval(TICK);
        // A delayed tick counts once: the delay is ours, not the client's.
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticker.reset();
        Self { ticker, ticks: 0, bytes: 0, slow_uploads, slow: None }
    }

    /// Counts bytes that arrived.
    pub(super) fn count_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= MIN_INTERVAL_BYTES {
            self.slow = None;
        }
    }

    /// Runs `work`; if it has to wait, the current tick starts again afterwards.
    pub(super) async fn run_uncounted<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        if let Poll::Ready(output) = futures_util::poll!(work.as_mut()) {
            return output;
        }
        let output = work.await;
        self.ticker.reset();
        output
    }

    /// Waits for `next`; `None` if the body is slow and another client waits for its bytes or its connection.
    pub(super) async fn wait_unless_slow<F: Future>(
        &mut self,
        next: F,
        crowded: impl Fn() -> bool,
    ) -> Option<F::Output> {
        let mut next = pin!(next);
        loop {
            tokio::select! {
                biased;
                output = next.as_mut() => return Some(output),
                _ = self.ticker.tick() => {}
            }
            self.ticks += 1;
            if self.ticks == TICKS_PER_INTERVAL {
                let is_slow = self.bytes < MIN_INTERVAL_BYTES;
                self.slow =
                    if is_slow { self.slow.take().or_else(|| Some(self.slow_uploads.register_slow())) } else { None };
                (self.ticks, self.bytes) = (0, 0);
            }
            if self.slow.as_ref().is_some_and(|guard| crowded() || guard.must_end()) {
                return None;
            }
        }
    }
}
