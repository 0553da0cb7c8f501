//! [`Turns`] limits concurrent calls and schedules them fairly, so that an account with slow texts does not delay the
//! others until their deadlines. An account without a running call never waits (up to [`MOST_CALLS`]); free places go
//! to accounts in turn; a place is returned however its call ends. `client` handles deadlines and calls.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::config::MOST_CALLS;

/// A fair limit of concurrent calls.
pub(super) struct Turns {
    places: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    taken: usize,
    /// Accounts with running or waiting calls; the first is served next.
    accounts: VecDeque<Account>,
}

struct Account {
    name: Arc<str>,
    taken: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// Permission for one call, returned on drop.
pub(super) struct Turn {
    turns: Arc<Turns>,
    account: Arc<str>,
}

impl Turns {
    pub(super) fn new(places: usize) -> Arc<Self> {
        Arc::new(Self { places, state: Mutex::default() })
    }

    /// Waits for a place. `None`: the waiting entry was dropped.
    pub(super) async fn take(self: &Arc<Self>, account: &Arc<str>) -> Option<Turn> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.state.lock();
            match state.accounts.iter_mut().find(|known| known.name == *account) {
                Some(known) => known.waiting.push_back(sender),
                None => {
                    let waiting = VecDeque::from([sender]);
                    state.accounts.push_back(Account { name: Arc::clone(account), taken: 0, waiting });
                }
            }
        }
        self.give();
        receiver.await.ok()
    }

    /// Hands free places to waiting calls.
    fn give(self: &Arc<Self>) {
        while let Some((account, sender)) = self.next() {
            // If the receiver was dropped, the turn is dropped with it, which returns the place
            drop(sender.send(Turn { turns: Arc::clone(self), account }));
        }
    }

    fn next(&self) -> Option<(Arc<str>, oneshot::Sender<Turn>)> {
        let state = &mut *self.state.lock();
        let free = state.taken < self.places;
        let more = state.taken < MOST_CALLS;
        let may = |account: &Account| !account.waiting.is_empty() && (free || (account.taken == 0 && more));
        loop {
            let at = state.accounts.iter().position(may)?;
            let mut account = state.accounts.remove(at)?;
            // Skips calls that no longer wait
            while account.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                account.waiting.pop_front();
            }
            let (name, sender) = (Arc::clone(&account.name), account.waiting.pop_front());
            account.taken += usize::from(sender.is_some());
            state.taken += usize::from(sender.is_some());
            if account.taken > 0 {
                state.accounts.push_back(account);
            }
            if let Some(sender) = sender {
                return Some((name, sender));
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut state = self.turns.state.lock();
            state.taken = state.taken.saturating_sub(1);
            if let Some(account) = state.accounts.iter_mut().find(|known| known.name == self.account) {
                account.taken = account.taken.saturating_sub(1);
            }
            state.accounts.retain(|account| account.taken > 0 || !account.waiting.is_empty());
        }
        self.turns.give();
    }
}
