//! Transactions on their way to the committer, in ticket order. The reservation that each of them carries bounds their
//! number. `commit` processes them.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::space::RoomReservation;
use super::transaction::{OnCommit, Transaction};

/// One waiting transaction.
pub(super) struct QueuedTransaction {
    pub(super) transaction: Transaction,
    pub(super) reservation: RoomReservation,
    pub(super) on_commit: OnCommit,
}

#[derive(Default)]
struct TransactionQueueState {
    items: VecDeque<QueuedTransaction>,
    woken: bool,
    closed: bool,
}

/// The queue.
#[derive(Default)]
pub(super) struct TransactionQueue {
    inner: Mutex<TransactionQueueState>,
    changed: Condvar,
}

impl TransactionQueue {
    /// Adds a transaction. If the committer has ended, drops it; its receipt then asks the client to retry.
    pub(super) fn push(&self, queued: QueuedTransaction) {
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

    /// Signals work other than a transaction, which may wait for the next step.
    pub(super) fn notify_work(&self) {
        self.changed.notify_one();
    }

    /// Ends a wait early.
    pub(super) fn wake(&self) {
        self.inner.lock().woken = true;
        self.changed.notify_one();
    }

    /// Waits up to `idle` for a transaction (if `stalled`, only for a wake-up), then moves up to `max` into `to`.
    pub(super) fn take(&self, idle: Duration, stalled: bool, max: usize, to: &mut VecDeque<QueuedTransaction>) {
        let mut inner = self.inner.lock();
        let nothing = (inner.items.is_empty() && to.is_empty()) || stalled;
        if nothing && !inner.woken && !idle.is_zero() {
            self.changed.wait_for(&mut inner, idle);
        }
        inner.woken = false;
        let room = max.saturating_sub(to.len()).min(inner.items.len());
        to.extend(inner.items.drain(..room));
    }

    /// Number of waiting transactions.
    pub(super) fn len(&self) -> usize {
        self.inner.lock().items.len()
    }

    /// Refuses further transactions and drops the waiting ones.
    pub(super) fn close(&self) {
        let items = {
            let mut inner = self.inner.lock();
            inner.closed = true;
            std::mem::take(&mut inner.items)
        };
        drop(items);
    }
}
