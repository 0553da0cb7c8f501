//! **What**: [`Places`]: which uploads of a port trickle in, and how many of them are to give up their places. **Why**:
//! a port has so many places for connections; clients that send a byte now and then must not keep all of them.
//! **Invariants**: only a body that was judged slow gives up its place, only while somebody waits for one, and no more
//! of them at a time than are asked. **Not here**: what is slow (`pace`), who waits (`listen`).

use std::sync::atomic::{AtomicUsize, Ordering};

/// Uploads that are asked at once, at most.
const ASKED: usize = 32;

/// See the module. One for each port.
#[derive(Debug, Default)]
pub struct Places {
    slow: AtomicUsize,
    asked: AtomicUsize,
}

impl Places {
    /// Asks an eighth of the slow ones. False: none is slow.
    pub(super) fn ask(&self) -> bool {
        let slow = self.slow.load(Ordering::Relaxed);
        self.asked.store((slow / 8).clamp(1, ASKED).min(slow), Ordering::Relaxed);
        slow > 0
    }

    /// Nobody waits any more.
    pub(super) fn ask_nobody(&self) {
        self.asked.store(0, Ordering::Relaxed);
    }

    /// One more is slow, until what is given back is dropped.
    pub(super) fn slow(&self) -> Slow<'_> {
        self.slow.fetch_add(1, Ordering::Relaxed);
        Slow(self)
    }
}

/// An upload that is slow.
pub(super) struct Slow<'a>(&'a Places);

impl Slow<'_> {
    /// Whether it is one of those that are asked.
    pub(super) fn is_asked(&self) -> bool {
        let one_less = |asked: usize| asked.checked_sub(1);
        self.0.asked.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    }
}

impl Drop for Slow<'_> {
    fn drop(&mut self) {
        self.0.slow.fetch_sub(1, Ordering::Relaxed);
    }
}
