//! [`MemoryQueue`]: batches that wait in memory for one exporter.
//! - `ack: offered`: no client waits. When the memory is full, the oldest batch is dropped and counted.
//! - `ack: delivered` with `in_memory`: a client waits for each batch, and is asked to retry at its deadline at the
//!   latest. No attempt begins after the deadline, unless a part of the batch was accepted before. A retry that arrives
//!   while the batch is still being sent joins it, so nothing is sent twice.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::outcome::{Outcome, Reason, final_answer};
use crate::plan::MAX_WAITING_ANSWERS;
use crate::receipt::Receipt;
use crate::spool::{RecordKind, RecordSeq, StoredRecord};
use kernel::clock::UnixNanos;
use telemetry::Counter;

#[cfg(test)]
mod tests;

/// See the module.
pub struct MemoryQueue {
    /// Limit in bytes. `ack: offered`: of the waiting batches. With clients: of the waiting batches and those being
    /// sent, which the last one may exceed.
    limit: u64,
    /// Counts batches that were dropped because the queue was full. `None`: clients wait, and new batches are refused.
    dropped: Option<Counter>,
    state: Mutex<MemoryQueueState>,
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct MemoryQueueState {
    waiting: VecDeque<StoredRecord>,
    bytes: u64,
    last_seq: u64,
    /// Clients of batches that wait or are being sent, by the batch's position.
    clients: HashMap<u64, WaitingClient>,
    /// Bytes of these batches.
    client_bytes: u64,
}

/// A client that waits for the result of its batch.
pub struct WaitingClient {
    pub(crate) receipt: Receipt,
    pub(crate) engine_outcome: Outcome,
    pub(crate) items: u64,
    /// No attempt begins after this time, monotonic.
    pub(crate) deadline: Duration,
    /// When those who wait are asked to retry, monotonic: at the deadline, and then after each further `wait`, for
    /// retries that have joined.
    pub(crate) next_answer: Duration,
    pub(crate) wait: Duration,
    pub(crate) bytes: u64,
    /// Called once the exporter has accepted something of it.
    pub(crate) on_delivered: Box<dyn FnOnce() + Send>,
}

impl MemoryQueue {
    /// An empty queue. Beyond `limit` bytes it drops the oldest batches and counts them, or refuses new ones.
    pub fn new(limit: u64, dropped: Option<Counter>) -> Self {
        Self { limit, dropped, state: Mutex::default(), changed: watch::Sender::new(0) }
    }

    /// Adds a forward copy, and drops the oldest copies until the rest fits.
    pub fn push(&self, account: Arc<str>, committed: UnixNanos, body: Bytes) {
        let mut state = self.state.lock();
        state.add(account, committed, body);
        let mut dropped = 0;
        while state.bytes > self.limit
            && let Some(oldest) = state.waiting.pop_front()
        {
            state.bytes = state.bytes.saturating_sub(oldest.body.len() as u64);
            dropped += 1;
        }
        drop(state);
        self.count_dropped(dropped);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Adds a batch that a client waits for.
    ///
    /// # Errors
    /// There is no room; the client is given back.
    pub fn push_awaited(
        &self,
        account: Arc<str>,
        committed: UnixNanos,
        body: Bytes,
        client: WaitingClient,
    ) -> Result<(), Box<WaitingClient>> {
        let mut state = self.state.lock();
        if state.client_bytes >= self.limit || state.clients.len() >= MAX_WAITING_ANSWERS {
            return Err(Box::new(client));
        }
        state.client_bytes = state.client_bytes.saturating_add(client.bytes);
        let seq = state.add(account, committed, body);
        state.clients.insert(seq.0, client);
        drop(state);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
        Ok(())
    }

    /// Takes waiting batches, oldest first, up to `max_bytes` bytes; the first one is taken even if it is larger.
    pub fn take(&self, max_bytes: usize) -> Vec<StoredRecord> {
        let mut state = self.state.lock();
        let (mut batches, mut bytes_left) = (Vec::new(), max_bytes);
        while let Some(next) = state.waiting.pop_front_if(|next| batches.is_empty() || next.body.len() <= bytes_left) {
            bytes_left = bytes_left.saturating_sub(next.body.len());
            state.bytes = state.bytes.saturating_sub(next.body.len() as u64);
            batches.push(next);
        }
        batches
    }

    /// Bytes that wait for the outlet.
    pub fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }

    /// Number of clients that wait, and bytes of their batches.
    pub fn clients(&self) -> (usize, u64) {
        let state = self.state.lock();
        (state.clients.len(), state.client_bytes)
    }

    /// Whether a client waits for each batch.
    pub fn has_clients(&self) -> bool {
        self.dropped.is_none()
    }

    /// Whether the next attempt, at this time (monotonic), would be after the deadline of one of these batches.
    pub fn is_too_late(&self, seqs: &[RecordSeq], next_attempt: Duration) -> bool {
        let state = self.state.lock();
        seqs.iter().filter_map(|seq| state.clients.get(&seq.0)).any(|client| client.deadline <= next_attempt)
    }

    /// Answers the clients of these batches with the exporter's result.
    pub fn settle(&self, seqs: &[RecordSeq], result: &Outcome) {
        // Refused data is not stored, so the same bytes must be tried again if a client sends them again.
        let is_refused = matches!(result, Outcome::Refused { .. });
        for WaitingClient { receipt, engine_outcome, items, on_delivered, .. } in self.take_clients(seqs) {
            if !is_refused {
                on_delivered();
            }
            receipt.resolve(&final_answer(engine_outcome, Some(result.clone()), items), !is_refused);
        }
    }

    /// Gives up undelivered batches: counts them as dropped (`ack: offered`), or asks their clients to retry.
    pub fn abandon(&self, seqs: &[RecordSeq], reason: Reason) {
        self.count_dropped(seqs.len() as u64);
        for client in self.take_clients(seqs) {
            // The data is nowhere else, so a retry is a new request.
            client.receipt.resolve(&Outcome::Retry { after: None, reason }, false);
        }
    }

    /// Asks clients whose deadline has passed to retry, and removes their batches unless an outlet has taken them.
    pub fn expire(&self, now: Duration) {
        let mut state = self.state.lock();
        for client in state.clients.values_mut().filter(|client| client.next_answer <= now) {
            client.next_answer = now + client.wait;
            client.receipt.answer_waiters(&Outcome::Retry { after: None, reason: Reason::TimedOut });
        }
        let is_late = |seq: &RecordSeq| state.clients.get(&seq.0).is_some_and(|client| client.deadline <= now);
        let late: Vec<RecordSeq> = state.waiting.iter().map(|batch| batch.seq).filter(is_late).collect();
        if late.is_empty() {
            return;
        }
        state.waiting.retain(|batch| late.binary_search(&batch.seq).is_err());
        state.bytes = state.waiting.iter().map(|batch| batch.body.len() as u64).sum();
        drop(state);
        self.abandon(&late, Reason::TimedOut);
    }

    /// Asks the clients to retry whose batches were taken by an outlet that has ended.
    pub fn abandon_taken(&self) {
        let state = self.state.lock();
        let is_waiting = |seq: &u64| state.waiting.binary_search_by_key(seq, |batch| batch.seq.0).is_ok();
        let taken: Vec<RecordSeq> =
            state.clients.keys().filter(|seq| !is_waiting(seq)).copied().map(RecordSeq).collect();
        drop(state);
        self.abandon(&taken, Reason::Lost);
    }

    fn take_clients(&self, seqs: &[RecordSeq]) -> Vec<WaitingClient> {
        let mut state = self.state.lock();
        let clients: Vec<WaitingClient> = seqs.iter().filter_map(|seq| state.clients.remove(&seq.0)).collect();
        let bytes = clients.iter().map(|client| client.bytes).sum();
        state.client_bytes = state.client_bytes.saturating_sub(bytes);
        clients
    }

    fn count_dropped(&self, batches: u64) {
        self.dropped.iter().for_each(|counter| counter.increment(batches));
    }

    /// Changes with every added batch.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

impl MemoryQueueState {
    fn add(&mut self, account: Arc<str>, committed: UnixNanos, body: Bytes) -> RecordSeq {
        self.last_seq += 1;
        self.bytes = self.bytes.saturating_add(body.len() as u64);
        let seq = RecordSeq(self.last_seq);
        self.waiting.push_back(StoredRecord { seq, kind: RecordKind::Forward, account, committed, body });
        seq
    }
}
