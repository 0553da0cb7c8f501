//! [`RepeatedRequests`]: recognises requests whose bytes were seen before. A client that received no answer sends its
//! request again, which must neither lose nor duplicate data. Equal bytes join an earlier request only while that
//! request is in flight, or if it was committed but its answer reached no client. Once an answer was delivered, equal
//! bytes are a new request, marked as a repeat. Each table is bounded. `claims` decides which calls of a repeat are
//! counted; `worker` makes the fingerprint.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use kernel::clock::UnixNanos;

use super::outcome::{Outcome, Reason};

#[cfg(test)]
mod tests;

/// Digest of account, receiver, signal and body.
pub type RequestFingerprint = [u8; 16];

/// Channel to a client that waits for an answer.
pub type AnswerSender = oneshot::Sender<Outcome>;

/// Bounds of the tables.
#[derive(Clone, Copy, Debug)]
pub struct RepeatLimits {
    /// Minimum time for which an answered request is remembered, if there is room.
    pub keep: Duration,
    /// Maximum number of answered requests remembered.
    pub answered: usize,
    /// Maximum number of committed requests remembered whose answer reached no client.
    pub undelivered: usize,
    /// Maximum number of requests that wait for one in flight.
    pub waiters: usize,
}

impl Default for RepeatLimits {
    fn default() -> Self {
        Self { keep: Duration::from_secs(3600), answered: 1_000_000, undelivered: 100_000, waiters: 64 }
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

#[derive(Default)]
struct RepeatTables {
    in_flight: HashMap<RequestFingerprint, Vec<AnswerSender>>,
    undelivered: Generations<HashMap<RequestFingerprint, Outcome>>,
    answered: Generations<HashSet<RequestFingerprint>>,
}

/// New entries go into `young`. When `young` is full or too old, it replaces `old`, whose entries are forgotten.
#[derive(Default)]
struct Generations<T> {
    young: T,
    old: T,
    /// Time at which `young` was begun.
    young_since: Option<UnixNanos>,
}

impl<T: Default> Generations<T> {
    fn rotate_if_due(&mut self, now: UnixNanos, keep: Duration, is_full: bool) {
        let age = self.young_since.map_or(Duration::ZERO, |since| now.since(since));
        if is_full || age >= keep {
            self.old = std::mem::take(&mut self.young);
            self.young_since = Some(now);
        }
        if age >= keep.saturating_mul(2) {
            self.old = T::default();
        }
        self.young_since.get_or_insert(now);
    }
}

impl RepeatedRequests {
    /// Empty tables.
    pub fn new(limits: RepeatLimits) -> Self {
        Self { limits, tables: Mutex::new(RepeatTables::default()) }
    }

    /// Registers an arriving request; `waiter` gets its answer at once or later.
    pub fn register_request(
        &self,
        fingerprint: RequestFingerprint,
        waiter: AnswerSender,
        now: UnixNanos,
    ) -> RepeatCheck {
        let mut tables = self.tables.lock();
        if let Some(waiters) = tables.in_flight.get_mut(&fingerprint) {
            if waiters.len() < self.limits.waiters {
                waiters.push(waiter);
            } else {
                let _ = waiter.send(Outcome::Retry { after: None, reason: Reason::Overloaded });
            }
            return RepeatCheck::Joined;
        }
        tables.undelivered.rotate_if_due(now, self.limits.keep, false);
        tables.answered.rotate_if_due(now, self.limits.keep, false);
        let undelivered =
            tables.undelivered.young.remove(&fingerprint).or_else(|| tables.undelivered.old.remove(&fingerprint));
        if let Some(outcome) = undelivered {
            let is_delivered = waiter.send(outcome.clone()).is_ok();
            tables.remember(fingerprint, outcome, is_delivered, now, &self.limits);
            return RepeatCheck::Joined;
        }
        let repeat = tables.answered.young.contains(&fingerprint) || tables.answered.old.contains(&fingerprint);
        tables.in_flight.insert(fingerprint, vec![waiter]);
        RepeatCheck::First { repeat }
    }

    /// Ends a request. `committed`: its data is safe, whatever the outcome says.
    pub fn finish(&self, fingerprint: RequestFingerprint, outcome: &Outcome, committed: bool, now: UnixNanos) {
        let mut tables = self.tables.lock();
        let waiters = tables.in_flight.remove(&fingerprint).unwrap_or_default();
        // A fold rather than `any`, which would stop at the first waiter that is still connected.
        let is_sent = waiters.into_iter().map(|waiter| waiter.send(outcome.clone()).is_ok()).fold(false, |a, b| a | b);
        if committed {
            // The data is safe although the client was asked to retry, so the retry will be answered `Accepted`.
            let is_retry = matches!(outcome, Outcome::Retry { .. });
            let final_outcome = if is_retry { Outcome::Accepted } else { outcome.clone() };
            tables.remember(fingerprint, final_outcome, is_sent && !is_retry, now, &self.limits);
        }
    }

    /// Sends `outcome` to all who wait for a request in flight, which stays in flight.
    pub fn answer_waiters(&self, fingerprint: &RequestFingerprint, outcome: &Outcome) {
        let waiters = self.tables.lock().in_flight.get_mut(fingerprint).map(std::mem::take).unwrap_or_default();
        waiters.into_iter().for_each(|waiter| drop(waiter.send(outcome.clone())));
    }

    /// Number of requests in flight.
    pub fn in_flight(&self) -> usize {
        self.tables.lock().in_flight.len()
    }
}

impl RepeatTables {
    fn remember(
        &mut self,
        fingerprint: RequestFingerprint,
        outcome: Outcome,
        is_delivered: bool,
        now: UnixNanos,
        limits: &RepeatLimits,
    ) {
        if is_delivered {
            let is_full = self.answered.young.len() >= limits.answered / 2;
            self.answered.rotate_if_due(now, limits.keep, is_full);
            self.answered.young.insert(fingerprint);
        } else {
            let is_full = self.undelivered.young.len() >= limits.undelivered / 2;
            self.undelivered.rotate_if_due(now, limits.keep, is_full);
            self.undelivered.young.insert(fingerprint, outcome);
        }
    }
}
