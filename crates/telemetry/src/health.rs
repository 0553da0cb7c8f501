//! **What**: what `/readyz` and `grpc.health.v1` answer. **Invariants**: speaks of this process only (listening, spool
//! writable, within its limits and those of `max_pending`), never of back ends or S3: those have metrics, the page and
//! `check`. **Not here**: the HTTP answer (`admin`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use config::{Endpoint, FieldProblem};

/// The `health_check` extension: readiness alone, on a port of its own.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where to listen, `host:port`.
    pub endpoint: String,
    /// Another path for what `/` says, for probes that ask there.
    pub path: String,
}

impl Default for Config {
    fn default() -> Self {
        Self { endpoint: "127.0.0.1:13133".to_owned(), path: "/".to_owned() }
    }
}

/// Valid settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen.
    pub endpoint: Endpoint,
    /// See [`Config::path`].
    pub path: String,
}

impl Config {
    /// Checks the address and the path.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<Settings, Vec<FieldProblem>> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        let mut problems = Vec::new();
        if !self.path.starts_with('/') || !self.path.bytes().all(plain) {
            problems.push(FieldProblem::new("path", "begins with `/`, and has letters, digits, `/`, `.`, `_` and `-`"));
        }
        match Endpoint::parse(&self.endpoint) {
            Ok(endpoint) if problems.is_empty() => return Ok(Settings { endpoint, path: self.path.clone() }),
            Ok(_) => {}
            Err(what) => problems.push(FieldProblem::new("endpoint", what)),
        }
        Err(problems)
    }
}

/// The part that is the gateway as a whole: it starts, runs or shuts down.
pub const GATEWAY: &str = "gateway";

/// Shared readiness. Clones share it.
#[derive(Clone)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, Option<&'static str>>>>,
    ready: Arc<watch::Sender<bool>>,
    /// A round ends and another one follows.
    again: Arc<AtomicBool>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Nothing is expected yet: not ready until [`Health::set`] said so of at least one part.
    pub fn new() -> Self {
        Self { parts: Arc::default(), ready: Arc::new(watch::Sender::new(false)), again: Arc::default() }
    }

    /// A part is fine (`None`) or is not, with a fixed reason.
    pub fn set(&self, part: &str, trouble: Option<&'static str>) {
        let mut parts = self.parts.lock();
        parts.insert(part.to_owned(), trouble);
        if part == GATEWAY && trouble.is_none() {
            self.again.store(false, Ordering::Relaxed);
        }
        let ready = parts.values().all(Option::is_none);
        // Still under the lock: what two callers find out must be told in the order in which they found it out.
        self.ready.send_if_modified(|now| std::mem::replace(now, ready) != ready);
    }

    /// A round of the gateway begins, and what was wrong with parts of the one before says nothing of it. Not ready
    /// before the next [`Health::set`].
    pub fn begin(&self) {
        self.parts.lock().retain(|part, trouble| trouble.is_none() || part == GATEWAY);
    }

    /// Parts that are not fine, with their reasons.
    pub fn troubles(&self) -> Vec<(String, &'static str)> {
        let parts = self.parts.lock();
        parts.iter().filter_map(|(part, trouble)| trouble.map(|why| (part.clone(), why))).collect()
    }

    /// The round that ends is not the last: until the next one runs, the gateway is as alive as before.
    pub fn goes_on(&self) {
        self.again.store(true, Ordering::Relaxed);
    }

    /// Whether another round comes after the one that ends.
    pub fn is_again(&self) -> bool {
        self.again.load(Ordering::Relaxed)
    }

    /// Whether it runs: it started, and does not end but for a reload. What keeps it from taking more for a while (a
    /// full spool) is no matter here.
    pub fn runs(&self) -> bool {
        self.again.load(Ordering::Relaxed) || self.parts.lock().get(GATEWAY).is_some_and(Option::is_none)
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
