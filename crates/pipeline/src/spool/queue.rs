//! [`TransactionQueue`]: transactions on their way to the committer, in ticket order. Each carries a reservation of
//! room, which bounds their number. `commit` processes them.

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
    transactions: VecDeque<QueuedTransaction>,
    is_woken: bool,
    is_closed: bool,
}

/// See the module.
#[derive(Default)]
pub(super) struct TransactionQueue {
    state: Mutex<TransactionQueueState>,
    changed: Condvar,
}

impl TransactionQueue {
    /// Adds a transaction. If the committer has ended, drops it, and its receipt asks the client to retry.
    pub(super) fn push(&self, queued: QueuedTransaction) {
        let mut state = self.state.lock();
        if state.is_closed {
            // The callback of a dropped transaction must not run under the lock.
            drop(state);
            drop(queued);
            return;
        }
        state.transactions.push_back(queued);
        drop(state);
        self.changed.notify_one();
    }

    /// Wakes a committer that waits right now, for work other than a transaction. Work that it misses is done in the
    /// next step.
    pub(super) fn notify_work(&self) {
        self.changed.notify_one();
    }

    /// Ends the committer's present or next wait.
    pub(super) fn wake(&self) {
        self.state.lock().is_woken = true;
        self.changed.notify_one();
    }

    /// Waits up to `max_wait` if there is nothing to do (or the committer is stalled), then fills `backlog` up to `max`
    /// transactions.
    pub(super) fn take(
        &self,
        max_wait: Duration,
        is_stalled: bool,
        max: usize,
        backlog: &mut VecDeque<QueuedTransaction>,
    ) {
        let mut state = self.state.lock();
        let must_wait = (state.transactions.is_empty() && backlog.is_empty()) || is_stalled;
        if must_wait && !state.is_woken && !max_wait.is_zero() {
            self.changed.wait_for(&mut state, max_wait);
        }
        state.is_woken = false;
        let count = max.saturating_sub(backlog.len()).min(state.transactions.len());
        backlog.extend(state.transactions.drain(..count));
    }

    pub(super) fn len(&self) -> usize {
        self.state.lock().transactions.len()
    }

    /// Refuses further transactions and drops the waiting ones.
    pub(super) fn close(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.is_closed = true;
            std::mem::take(&mut state.transactions)
        };
        drop(waiting);
    }
}
