//! [`CallScheduler`] limits concurrent calls and schedules them fairly, so that an account with slow texts does not
//! delay the others until their deadlines. An account without a running call never waits (up to [`MAX_CALLS`]); free
//! places go to accounts in turn; a place is returned however its call ends. `client` handles deadlines and calls.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::config::MAX_CALLS;

/// A fair limit of concurrent calls.
pub(super) struct CallScheduler {
    limit: usize,
    state: Mutex<SchedulerState>,
}

#[derive(Default)]
struct SchedulerState {
    running: usize,
    /// Accounts with running or waiting calls; the first is served next.
    accounts: VecDeque<AccountQueue>,
}

struct AccountQueue {
    name: Arc<str>,
    running: usize,
    waiting: VecDeque<oneshot::Sender<CallPermit>>,
}

/// Permission for one call, returned on drop.
pub(super) struct CallPermit {
    scheduler: Arc<CallScheduler>,
    account: Arc<str>,
}

impl CallScheduler {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { limit: places, state: Mutex::default() })
    }

    /// Waits for a place. `None` if the scheduler dropped the waiting call.
    pub(super) async fn acquire(self: &Arc<Self>, account: &Arc<str>) -> Option<CallPermit> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.state.lock();
            match state.accounts.iter_mut().find(|known| known.name == *account) {
                Some(known) => known.waiting.push_back(sender),
                None => {
                    let waiting = VecDeque::from([sender]);
                    state.accounts.push_back(AccountQueue { name: Arc::clone(account), running: 0, waiting });
                }
            }
        }
        self.grant_free_places();
        receiver.await.ok()
    }

    /// Hands free places to waiting calls.
    fn grant_free_places(self: &Arc<Self>) {
        while let Some((account, sender)) = self.take_next_waiting() {
            // If the receiver was dropped, the permit is dropped too, which returns the place.
            drop(sender.send(CallPermit { scheduler: Arc::clone(self), account }));
        }
    }

    /// Takes the next call that may run, and counts it as running.
    fn take_next_waiting(&self) -> Option<(Arc<str>, oneshot::Sender<CallPermit>)> {
        let state = &mut *self.state.lock();
        let has_free_place = state.running < self.limit;
        let is_below_max = state.running < MAX_CALLS;
        let may_run = |account: &AccountQueue| {
            !account.waiting.is_empty() && (has_free_place || (account.running == 0 && is_below_max))
        };
        loop {
            let at = state.accounts.iter().position(may_run)?;
            let mut account = state.accounts.remove(at)?;
            // Skips calls that no longer wait.
            while account.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                account.waiting.pop_front();
            }
            let (name, sender) = (Arc::clone(&account.name), account.waiting.pop_front());
            account.running += usize::from(sender.is_some());
            state.running += usize::from(sender.is_some());
            if account.running > 0 {
                state.accounts.push_back(account);
            }
            if let Some(sender) = sender {
                return Some((name, sender));
            }
        }
    }
}

impl Drop for CallPermit {
    fn drop(&mut self) {
        {
            let mut state = self.scheduler.state.lock();
            state.running = state.running.saturating_sub(1);
            if let Some(account) = state.accounts.iter_mut().find(|known| known.name == self.account) {
                account.running = account.running.saturating_sub(1);
            }
            state.accounts.retain(|account| account.running > 0 || !account.waiting.is_empty());
        }
        self.scheduler.grant_free_places();
    }
}
