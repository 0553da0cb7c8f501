//! [`RepeatedRequests`]: recognises requests whose bytes were seen before. A client that received no answer sends
//! again; that must neither lose nor duplicate data. Equal bytes join an earlier request only while that request is in
//! flight, or if it was committed but its answer reached no client. Once an answer was delivered, equal bytes are a new
//! request, marked as a repeat. Each table is bounded. `claims` decides which calls of a repeat are counted; the hash
//! is made in `worker`.

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
    /// Do not process the request: another request with equal bytes answers the waiter, now or later.
    Joined,
}

/// Requests in flight, and remembered ones.
pub struct RepeatedRequests {
    limits: RepeatLimits,
    inner: Mutex<RepeatTables>,
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
    since: Option<UnixNanos>,
}

impl<T: Default> Generations<T> {
    fn rotate_if_due(&mut self, now: UnixNanos, keep: Duration, full: bool) {
        let age = self.since.map_or(Duration::ZERO, |since| now.since(since));
        if full || age >= keep {
            self.old = std::mem::take(&mut self.young);
            self.since = Some(now);
        }
        if age >= keep.saturating_mul(2) {
            self.old = T::default();
        }
        self.since.get_or_insert(now);
    }
}

impl RepeatedRequests {
    /// Empty tables.
    pub fn new(limits: RepeatLimits) -> Self {
        Self { limits, inner: Mutex::new(RepeatTables::default()) }
    }

    /// Registers an arriving request; `waiter` gets its answer at once or later.
    pub fn register_request(
        &self,
        fingerprint: RequestFingerprint,
        waiter: AnswerSender,
        now: UnixNanos,
    ) -> RepeatCheck {
        let mut inner = self.inner.lock();
        if let Some(waiters) = inner.in_flight.get_mut(&fingerprint) {
            if waiters.len() < self.limits.waiters {
                waiters.push(waiter);
            } else {
                let _ = waiter.send(Outcome::Retry { after: None, reason: Reason::Overloaded });
            }
            return RepeatCheck::Joined;
        }
        inner.undelivered.rotate_if_due(now, self.limits.keep, false);
        inner.answered.rotate_if_due(now, self.limits.keep, false);
        let unheard =
            inner.undelivered.young.remove(&fingerprint).or_else(|| inner.undelivered.old.remove(&fingerprint));
        if let Some(outcome) = unheard {
            let heard = waiter.send(outcome.clone()).is_ok();
            inner.remember(fingerprint, outcome, heard, now, &self.limits);
            return RepeatCheck::Joined;
        }
        let repeat = inner.answered.young.contains(&fingerprint) || inner.answered.old.contains(&fingerprint);
        inner.in_flight.insert(fingerprint, vec![waiter]);
        RepeatCheck::First { repeat }
    }

    /// Ends a request. `committed`: its data is safe, whatever the outcome says.
    pub fn finish(&self, fingerprint: RequestFingerprint, outcome: &Outcome, committed: bool, now: UnixNanos) {
        let mut inner = self.inner.lock();
        let waiters = inner.in_flight.remove(&fingerprint).unwrap_or_default();
        // A fold rather than `any`, which would stop at the first waiter that is still connected.
        let heard = waiters.into_iter().map(|waiter| waiter.send(outcome.clone()).is_ok()).fold(false, |a, b| a | b);
        if committed {
            let heard = heard && !matches!(outcome, Outcome::Retry { .. });
            let kept = if matches!(outcome, Outcome::Retry { .. }) { Outcome::Accepted } else { outcome.clone() };
            inner.remember(fingerprint, kept, heard, now, &self.limits);
        }
    }

    /// Number of requests in flight.
    pub fn in_flight(&self) -> usize {
        self.inner.lock().in_flight.len()
    }
}

impl RepeatTables {
    fn remember(
        &mut self,
        fingerprint: RequestFingerprint,
        outcome: Outcome,
        heard: bool,
        now: UnixNanos,
        limits: &RepeatLimits,
    ) {
        if heard {
            let full = self.answered.young.len() >= limits.answered / 2;
            self.answered.rotate_if_due(now, limits.keep, full);
            self.answered.young.insert(fingerprint);
        } else {
            let full = self.undelivered.young.len() >= limits.undelivered / 2;
            self.undelivered.rotate_if_due(now, limits.keep, full);
            self.undelivered.young.insert(fingerprint, outcome);
        }
    }
}
