//! **What**: [`Offers`]: what waits in memory for one exporter. **Invariants**: bounded; the oldest goes first, and is
//! counted.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::spool::{RecordKind, Seq, Stored};
use kernel::clock::UnixNanos;
use telemetry::{Counter, Meter, names};

/// See the module.
pub struct Offers {
    bound: u64,
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
    dropped: Counter,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Stored>,
    bytes: u64,
    next: u64,
}

impl Offers {
    /// Nothing waits yet; at most `bound` bytes will.
    pub fn new(bound: u64, meter: &Meter, exporter: &str) -> Self {
        let dropped = meter.counter(&names::OFFERED_DROPPED, &[("exporter", exporter)]);
        Self { bound, inner: Mutex::default(), changed: watch::Sender::new(0), dropped }
    }

    /// One more forward copy.
    pub fn push(&self, account: Arc<str>, committed: UnixNanos, body: Bytes) {
        let mut inner = self.inner.lock();
        inner.next += 1;
        inner.bytes = inner.bytes.saturating_add(body.len() as u64);
        let seq = Seq(inner.next);
        inner.waiting.push_back(Stored { seq, kind: RecordKind::Forward, account, committed, body });
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

    /// Takes what waits, oldest first: no more than `room` bytes unless the first alone is larger.
    pub fn take(&self, room: usize) -> Vec<Stored> {
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

    /// Given up by its outlet.
    pub fn lost(&self, batches: u64) {
        self.dropped.increment(batches);
    }

    /// Changes whenever something comes.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
