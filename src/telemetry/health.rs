//! **What**: what `/readyz` and `grpc.health.v1` answer. **Invariants**: speaks of this process only (listening,
//! spool writable, within its limits), never of back ends or S3: those have metrics, the page and `check`.
//! **Not here**: the HTTP answer (`admin`).

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

/// Shared readiness. Clones share it.
#[derive(Clone)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, Option<&'static str>>>>,
    ready: Arc<watch::Sender<bool>>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Nothing is expected yet: not ready until [`Health::set`] said so of at least one part.
    pub fn new() -> Self {
        Self { parts: Arc::default(), ready: Arc::new(watch::Sender::new(false)) }
    }

    /// A part is fine (`None`) or is not, with a fixed reason.
    pub fn set(&self, part: &str, trouble: Option<&'static str>) {
        let mut parts = self.parts.lock();
        parts.insert(part.to_owned(), trouble);
        let ready = parts.values().all(Option::is_none);
        drop(parts);
        self.ready.send_if_modified(|now| std::mem::replace(now, ready) != ready);
    }

    /// Parts that are not fine, with their reasons.
    pub fn troubles(&self) -> Vec<(String, &'static str)> {
        let parts = self.parts.lock();
        parts.iter().filter_map(|(part, trouble)| trouble.map(|why| (part.clone(), why))).collect()
    }

    /// Whether all parts are fine.
    pub fn ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Follows readiness.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }
}
