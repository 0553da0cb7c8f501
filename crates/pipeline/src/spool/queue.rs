//! **What**: transactions on their way to the committer, in ticket order. **Invariants**: bounded by the reservations
//! that each of them carries. **Not here**: what is done with them (`commit`).

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::room::Reservation;
use super::transaction::{OnCommit, Transaction};

/// One transaction that waits.
pub(super) struct Queued {
    pub(super) transaction: Transaction,
    pub(super) reservation: Reservation,
    pub(super) on_commit: OnCommit,
}

#[derive(Default)]
struct Inner {
    items: VecDeque<Queued>,
    woken: bool,
    closed: bool,
}

/// The queue.
#[derive(Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Queue {
    /// Adds one; dropped (a batch without a verdict is to be sent again) when nobody will take it any more.
    pub(super) fn push(&self, queued: Queued) {
        let mut inner = self.inner.lock();
        if inner.closed {
            drop(inner);
            drop(queued);
            return;
        }
        inner.items.push_back(queued);
        drop(inner);
        self.changed.notify_one();
    }

    /// Something other than a transaction came; it may wait for the next step.
    pub(super) fn hint(&self) {
        self.changed.notify_one();
    }

    /// Ends a wait early.
    pub(super) fn wake(&self) {
        self.inner.lock().woken = true;
        self.changed.notify_one();
    }

    /// Waits up to `idle` for something (for a wake-up only, if `stalled`), then moves up to `max` into `to`.
    pub(super) fn take(&self, idle: Duration, stalled: bool, max: usize, to: &mut VecDeque<Queued>) {
        let mut inner = self.inner.lock();
        let nothing = (inner.items.is_empty() && to.is_empty()) || stalled;
        if nothing && !inner.woken && !idle.is_zero() {
            self.changed.wait_for(&mut inner, idle);
        }
        inner.woken = false;
        let room = max.saturating_sub(to.len()).min(inner.items.len());
        to.extend(inner.items.drain(..room));
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.inner.lock().items.len()
    }

    /// Nothing is taken any more.
    pub(super) fn close(&self) {
        let items = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            std::mem::take(&mut inner.items)
        };
        drop(items);
    }
}
