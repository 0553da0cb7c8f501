//! **What**: [`ErasureInbox`]: where the admin port hands newest erasures to the uploader, whose digests name them. **Invariants**: a
//! report is confirmed only after it is synced to disk with the positions of the chains. **Not here**: signatures (`chain/erasures`).

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::Uploader;
use crate::chain::erasures::ErasureHead;

/// Reports that wait at a time.
const MAX_WAITING: usize = 64;

/// See the module.
#[derive(Default)]
pub struct ErasureInbox {
    waiting: Mutex<Vec<(ErasureHead, oneshot::Sender<()>)>>,
    arrived: Notify,
}

impl ErasureInbox {
    /// Hands over a head. The receiver resolves once the head is on disk; it fails if the gateway stops before. `None`: too many wait.
    pub fn report(&self, head: ErasureHead) -> Option<oneshot::Receiver<()>> {
        let (kept, confirmed) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_WAITING {
            return None;
        }
        waiting.push((head, kept));
        drop(waiting);
        self.arrived.notify_one();
        Some(confirmed)
    }

    /// Resolves when a report waits.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

impl Uploader {
    /// Where newest erasures are reported.
    pub fn erasure_inbox(&self) -> Arc<ErasureInbox> {
        Arc::clone(&self.inbox)
    }

    /// Takes the reports that wait; they are confirmed by the next save.
    pub(super) fn take_erasures(&mut self) {
        for (head, kept) in std::mem::take(&mut *self.inbox.waiting.lock()) {
            // a known one may be known only in memory: it is saved, too
            self.chains.erasures.add(&head);
            self.chains.unsaved.dirty = true;
            self.unconfirmed.push(kept);
        }
    }

    /// What was taken is on disk.
    pub(super) fn confirm_erasures(&mut self) {
        for kept in self.unconfirmed.drain(..) {
            let _gone = kept.send(()); // whoever asked may not wait any more
        }
    }
}
