//! **What**: [`Pace`]: how fast a body comes. **Why**: one that trickles in holds memory and a place that others wait
//! for, for as long as a whole body may take. **Invariants**: ended only while somebody waits, and only after [`LOOKS`]
//! looks in which less than [`LEAST`] came; time in which we take nothing is not counted; time is counted in looks,
//! never read from a clock. **Not here**: the limits of silence and of a whole body (`collect`).

use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use super::places::{Places, Slow};

/// How often a body that does not come is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Looks after which it is judged: two seconds.
const LOOKS: u32 = 20;
/// Bytes that come in them at least: 64 KiB a second.
const LEAST: usize = 128 * 1024;

/// See the module.
pub(super) struct Pace<'a> {
    look: Interval,
    looks: u32,
    /// Since it was judged last.
    bytes: usize,
    places: &'a Places,
    /// What was found then.
    slow: Option<Slow<'a>>,
}

impl<'a> Pace<'a> {
    /// Of a body that begins now, at a port with `places`.
    pub(super) fn begin(places: &'a Places) -> Self {
        let mut look = tokio::time::interval(LOOK);
        // A look that comes late is one look: what held us up is not the client's.
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        Self { look, looks: 0, bytes: 0, places, slow: None }
    }

    /// Bytes came.
    pub(super) fn came(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes >= LEAST {
            self.slow = None;
        }
    }

    /// Does `work`; if it has to wait, looks begin anew after it.
    pub(super) async fn stands<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        if let Poll::Ready(done) = futures_util::poll!(work.as_mut()) {
            return done;
        }
        let done = work.await;
        self.look.reset();
        done
    }

    /// Waits for `next`; None: the body is slow, and somebody waits for its room or its place.
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
