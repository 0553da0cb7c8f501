//! [`ErasureInbox`]: passes the newest erasures from the admin port to the uploader, whose digests include them. A
//! report is confirmed only after it is synced to disk with the chains' positions. Neighbours: `chain/erasures`
//! (signatures), `chain_handling` (saving).

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use crate::chain::erasures::ErasureHead;

/// Limit for waiting reports.
const MAX_WAITING: usize = 64;

/// Queue of reported erasures (see the module).
#[derive(Default)]
pub struct ErasureInbox {
    waiting: Mutex<Vec<(ErasureHead, oneshot::Sender<()>)>>,
    arrived: Notify,
}

impl ErasureInbox {
    /// Queues a head. The receiver resolves once the head is on disk, and fails if the gateway stops before. `None` if
    /// too many reports are waiting.
    pub fn report(&self, head: ErasureHead) -> Option<oneshot::Receiver<()>> {
        let (confirm, confirmed) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.len() >= MAX_WAITING {
            return None;
        }
        waiting.push((head, confirm));
        drop(waiting);
        self.arrived.notify_one();
        Some(confirmed)
    }

    /// Takes the waiting reports, each with the sender to notify once the report is on disk.
    pub(super) fn take(&self) -> Vec<(ErasureHead, oneshot::Sender<()>)> {
        std::mem::take(&mut *self.waiting.lock())
    }

    /// Resolves when a report is waiting.
    pub(super) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}
