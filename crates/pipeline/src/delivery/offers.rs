//! [`OfferQueue`]: batches that wait in memory for one exporter with `ack: offered`. The memory is bounded; when it is
//! full, the oldest batch is dropped and counted.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::spool::{RecordKind, RecordSeq, StoredRecord};
use kernel::clock::UnixNanos;
use telemetry::{Counter, Meter, names};

/// See the module.
pub struct OfferQueue {
    max_bytes: u64,
    state: Mutex<OfferQueueState>,
    changed: watch::Sender<u64>,
    dropped: Counter,
}

#[derive(Default)]
struct OfferQueueState {
    waiting: VecDeque<StoredRecord>,
    bytes: u64,
    last_seq: u64,
}

impl OfferQueue {
    /// An empty queue of at most `max_bytes` bytes.
    pub fn new(max_bytes: u64, meter: &Meter, exporter: &str) -> Self {
        let dropped = meter.counter(&names::OFFERED_DROPPED, &[("exporter", exporter)]);
        Self { max_bytes, state: Mutex::default(), changed: watch::Sender::new(0), dropped }
    }

    /// Adds a forward copy, then drops the oldest copies until the rest fits.
    pub fn push(&self, account: Arc<str>, committed: UnixNanos, body: Bytes) {
        let mut state = self.state.lock();
        state.last_seq += 1;
        state.bytes = state.bytes.saturating_add(body.len() as u64);
        let seq = RecordSeq(state.last_seq);
        state.waiting.push_back(StoredRecord { seq, kind: RecordKind::Forward, account, committed, body });
        let mut dropped = 0;
        while state.bytes > self.max_bytes
            && let Some(oldest) = state.waiting.pop_front()
        {
            state.bytes = state.bytes.saturating_sub(oldest.body.len() as u64);
            dropped += 1;
        }
        drop(state);
        self.dropped.increment(dropped);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
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

    /// Bytes that wait.
    pub fn bytes(&self) -> u64 {
        self.state.lock().bytes
    }

    /// Counts batches that the outlet dropped after taking them.
    pub fn count_dropped(&self, batches: u64) {
        self.dropped.increment(batches);
    }

    /// Changes with every added batch.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
