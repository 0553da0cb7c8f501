//! [`RepeatedRequests`]: recognises requests whose bytes were seen before. A client that received no answer sends its
//! request again, which must neither lose nor duplicate data. Equal bytes join an earlier request only while that
//! request is in flight, or if it was committed but its answer reached no client. Once an answer was delivered, equal
//! bytes are a new request, marked as a repeat. Each table is bounded. the `cost` processor decides which calls of a
//! repeat are counted; `worker` makes the fingerprint.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use kernel::bounded_map::{AccountHash, BoundedMap};
use kernel::clock::UnixNanos;

use super::outcome::{Outcome, Reason};

#[cfg(test)]
mod tests;

/// Digest of account, receiver, signal and body.
pub type RequestFingerprint = [u8; 16];

/// Channel to a client that waits for an answer.
pub type AnswerSender = oneshot::Sender<Outcome>;

kernel::with_defaults! {
    /// Bounds of the tables.
    #[derive(Clone, Copy, Debug)]
    pub struct RepeatLimits {
        /// How long a committed request is remembered, if there is room.
        pub keep: Duration = Duration::from_secs(7200),
        /// Maximum number of answered requests remembered.
        pub answered: usize = 1_000_000,
        /// Maximum number of committed requests remembered whose answer reached no client.
        pub undelivered: usize = 100_000,
        /// Maximum number of requests that wait for one in flight.
        pub waiters: usize = 64,
    }
}

/// Decision of [`RepeatedRequests::register_request`].
#[derive(Debug, PartialEq, Eq)]
pub enum RepeatCheck {
    /// Process the request and end it with [`RepeatedRequests::finish`].
    First {
        /// Equal bytes were accepted before.
        repeat: bool,
    },
    /// Do not process the request: the waiter was answered already, or the request in flight with equal bytes will
    /// answer it.
    Joined,
}

/// Requests in flight, and remembered ones.
pub struct RepeatedRequests {
    limits: RepeatLimits,
    tables: Mutex<RepeatTables>,
}

/// Committed requests have the time at which they were answered.
struct RepeatTables {
    /// The account of each, and who waits for its answer.
    in_flight: HashMap<RequestFingerprint, (AccountHash, Vec<AnswerSender>)>,
    undelivered: BoundedMap<RequestFingerprint, (UnixNanos, Outcome)>,
    answered: BoundedMap<RequestFingerprint, UnixNanos>,
}

impl RepeatedRequests {
    /// Empty tables.
    pub fn new(limits: RepeatLimits) -> Self {
        let tables = RepeatTables {
            in_flight: HashMap::new(),
            undelivered: BoundedMap::new(limits.undelivered),
            answered: BoundedMap::new(limits.answered),
        };
        Self { limits, tables: Mutex::new(tables) }
    }

    /// Registers an arriving request; `waiter` gets its answer at once or later.
    pub fn register_request(
        &self,
        account: &str,
        fingerprint: RequestFingerprint,
        waiter: AnswerSender,
        now: UnixNanos,
    ) -> RepeatCheck {
        let mut tables = self.tables.lock();
        if let Some((_, waiters)) = tables.in_flight.get_mut(&fingerprint) {
            if waiters.len() < self.limits.waiters {
                waiters.push(waiter);
            } else {
                let _ = waiter.send(Outcome::Retry { after: None, reason: Reason::Overloaded });
            }
            return RepeatCheck::Joined;
        }
        tables.undelivered.expire(|_, (at, _)| now.since(*at) >= self.limits.keep);
        tables.answered.expire(|_, at| now.since(*at) >= self.limits.keep);
        if let Some((_, outcome)) = tables.undelivered.remove(&fingerprint) {
            let is_delivered = waiter.send(outcome.clone()).is_ok();
            tables.remember(account.into(), fingerprint, (now, outcome), is_delivered);
            return RepeatCheck::Joined;
        }
        let repeat = tables.answered.contains_key(&fingerprint);
        tables.in_flight.insert(fingerprint, (account.into(), vec![waiter]));
        RepeatCheck::First { repeat }
    }

    /// Ends a request. `committed`: its data is safe, whatever the outcome says.
    pub fn finish(&self, fingerprint: RequestFingerprint, outcome: &Outcome, committed: bool, now: UnixNanos) {
        let mut tables = self.tables.lock();
        let (account, waiters) = tables.in_flight.remove(&fingerprint).unwrap_or_default();
        // A fold rather than `any`, which would stop at the first waiter that is still connected.
        let is_sent = waiters.into_iter().map(|waiter| waiter.send(outcome.clone()).is_ok()).fold(false, |a, b| a | b);
        if committed {
            // The data is safe although the client was asked to retry, so the retry will be answered `Accepted`.
            let is_retry = matches!(outcome, Outcome::Retry { .. });
            let final_outcome = if is_retry { Outcome::Accepted } else { outcome.clone() };
            tables.remember(account, fingerprint, (now, final_outcome), is_sent && !is_retry);
        }
    }

    /// Sends `outcome` to all who wait for a request in flight, which stays in flight.
    pub fn answer_waiters(&self, fingerprint: &RequestFingerprint, outcome: &Outcome) {
        let mut tables = self.tables.lock();
        let waiters = tables.in_flight.get_mut(fingerprint).map(|(_, waiters)| std::mem::take(waiters));
        drop(tables);
        waiters.unwrap_or_default().into_iter().for_each(|waiter| drop(waiter.send(outcome.clone())));
    }
}

impl RepeatTables {
    fn remember(
        &mut self,
        account: AccountHash,
        fingerprint: RequestFingerprint,
        answered: (UnixNanos, Outcome),
        is_delivered: bool,
    ) {
        if is_delivered {
            self.answered.insert_for(account, fingerprint, answered.0, 1);
        } else {
            self.undelivered.insert_for(account, fingerprint, answered, 1);
        }
    }
}
