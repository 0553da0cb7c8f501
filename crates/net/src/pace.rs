//! [`Pace`]: measures how fast a body arrives, because a slow upload can hold memory and a connection that others wait
//! for.
//! A body is ended only while another client waits, and only after an interval of [`LOOKS`] ticks in which less than
//! [`LEAST`] bytes arrived. Time in which tollgate does not read is not counted; time is counted in ticks, never read
//! from a clock. `collect` has the limits on pauses and total time.

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use super::places::{Places, Slow};

/// Length of a tick.
const LOOK: Duration = Duration::from_millis(100);
/// Ticks in a measuring interval: two seconds.
const LOOKS: u32 = 20;
/// Minimum bytes in an interval for a body that is not slow: 64 KiB a second.
const LEAST: usize = 128 * 1024;

/// The speed of one body; see the module.
pub(super) struct Pace<'a> {
    look: Interval,
    looks: u32,
    /// Bytes that arrived in the current interval.
    bytes: usize,
    places: &'a Places,
    /// Registered as slow, if the last interval was slow.
    slow: Option<Slow<'a>>,
}

impl<'a> Pace<'a> {
    /// Starts to measure a body at the port of `places`.
    pub(super) fn begin(places: &'a Places) -> Self {
        let mut look = tokio::time::interval(LOOK);
        // A delayed tick counts once: the delay is ours, not the client's.
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        Self { look, looks: 0, bytes: 0, places, slow: None }
    }

    /// Counts bytes that arrived.
    pub(super) fn came(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= LEAST {
            self.slow = None;
        }
    }

    /// Runs `work`; if it has to wait, the current tick starts again afterwards.
    pub(super) async fn stands<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        if let Poll::Ready(done) = futures_util::poll!(work.as_mut()) {
            return done;
        }
        let done = work.await;
        self.look.reset();
        done
    }

    /// Waits for `next`; `None` if the body is slow and another client waits for its bytes or its connection.
    pub(super) async fn keeps<F: Future>(&mut self, next: F, crowded: impl Fn() -> bool) -> Option<F::Output> {
        let mut next = pin!(next);
        loop {
            tokio::select! {
                biased;
                came = next.as_mut() => return Some(came),
                _ = self.look.tick() => {}
            }
            self.looks += 1;
            if self.looks == LOOKS {
                let slow = self.bytes < LEAST;
                self.slow = if slow { self.slow.take().or_else(|| Some(self.places.slow())) } else { None };
                (self.looks, self.bytes) = (0, 0);
            }
            if self.slow.as_ref().is_some_and(|slow| crowded() || slow.is_asked()) {
                return None;
            }
        }
    }
}
