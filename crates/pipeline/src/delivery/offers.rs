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
    bound: u64,
    inner: Mutex<OfferQueueState>,
    changed: watch::Sender<u64>,
    dropped: Counter,
}

#[derive(Default)]
struct OfferQueueState {
    waiting: VecDeque<StoredRecord>,
    bytes: u64,
    next: u64,
}

impl OfferQueue {
    /// An empty queue of at most `bound` bytes.
    pub fn new(bound: u64, meter: &Meter, exporter: &str) -> Self {
        let dropped = meter.counter(&names::OFFERED_DROPPED, &[("exporter", exporter)]);
        Self { bound, inner: Mutex::default(), changed: watch::Sender::new(0), dropped }
    }

    /// Adds a forward copy and drops the oldest ones beyond the bound.
    pub fn push(&self, account: Arc<str>, committed: UnixNanos, body: Bytes) {
        let mut inner = self.inner.lock();
        inner.next += 1;
        inner.bytes = inner.bytes.saturating_add(body.len() as u64);
        let seq = RecordSeq(inner.next);
        inner.waiting.push_back(StoredRecord { seq, kind: RecordKind::Forward, account, committed, body });
        let mut gone = 0;
        while inner.bytes > self.bound
            && let Some(oldest) = inner.waiting.pop_front()
        {
            inner.bytes = inner.bytes.saturating_sub(oldest.body.len() as u64);
            gone += 1;
        }
        drop(inner);
        self.dropped.increment(gone);
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Takes waiting batches, oldest first, up to `room` bytes; the first one is taken even if it is larger.
    pub fn take(&self, room: usize) -> Vec<StoredRecord> {
        let mut inner = self.inner.lock();
        let (mut taken, mut left) = (Vec::new(), room);
        while let Some(next) = inner.waiting.pop_front_if(|next| taken.is_empty() || next.body.len() <= left) {
            left = left.saturating_sub(next.body.len());
            inner.bytes = inner.bytes.saturating_sub(next.body.len() as u64);
            taken.push(next);
        }
        taken
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> u64 {
        self.inner.lock().bytes
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
