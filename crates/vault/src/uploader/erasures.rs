//! **What**: [`ErasureInbox`]: where the admin port hands newest erasures to the uploader, whose digests name them.
//! **Invariants**: a report is confirmed only after it is synced to disk with the positions of the chains. **Not
//! here**: signatures (`chain/erasures`), saving (`keeping`).

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

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
    /// Hands over a head. The receiver resolves once the head is on disk; it fails if the gateway stops before. `None`:
    /// too many wait.
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

    /// What waits, and who is to be told once it is on disk.
    pub(super) fn take(&self) -> Vec<(ErasureHead, oneshot::Sender<()>)> {
        std::mem::take(&mut *self.waiting.lock())
    }

    /// Resolves when a report waits.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}
