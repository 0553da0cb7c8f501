//! The state behind `/readyz` and `grpc.health.v1`. It covers this process only (listening, spool writable and within
//! its limits and those of `max_pending`), never back ends or S3: metrics, the page and `check` report those. `admin`
//! has the HTTP routes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use config::{Endpoint, FieldProblem};

kernel::with_defaults! {
    /// The `health_check` extension: readiness alone, on a port of its own.
    #[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, default)]
    pub struct HealthCheckConfig {
        /// Address to listen on, `host:port`. Default: `127.0.0.1:13133`.
        pub endpoint: String = "127.0.0.1:13133".to_owned(),
        /// Another path that answers like `/`, for probes that are configured with it.
        pub path: String = "/".to_owned(),
    }
}

#[derive(Clone, Debug)]
pub struct HealthCheckSettings {
    /// Address to listen on.
    pub endpoint: Endpoint,
    /// See [`HealthCheckConfig::path`].
    pub path: String,
}

impl HealthCheckConfig {
    /// Validates the settings.
    ///
    /// # Errors
    /// Every problem, by field.
    pub fn settings(&self) -> Result<HealthCheckSettings, Vec<FieldProblem>> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        let mut problems = Vec::new();
        if !self.path.starts_with('/') || !self.path.bytes().all(is_allowed) {
            problems.push(FieldProblem::new(
                "path",
                "must start with `/` and contain only letters, digits, `/`, `.`, `_` and `-`",
            ));
        }
        match Endpoint::parse(&self.endpoint) {
            Ok(endpoint) if problems.is_empty() => {
                return Ok(HealthCheckSettings { endpoint, path: self.path.clone() });
            }
            Ok(_) => {}
            Err(what) => problems.push(FieldProblem::new("endpoint", what)),
        }
        Err(problems)
    }
}

/// The part that is the gateway as a whole: starting, running or shutting down.
pub const GATEWAY: &str = "gateway";

/// Readiness, by part. Clones share the same state. A round is the time from one (re)load of the configuration to
/// the next.
#[derive(Clone)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, Option<&'static str>>>>,
    ready: Arc<watch::Sender<bool>>,
    /// Whether the round that is ending will be followed by another (a reload).
    next_round: Arc<AtomicBool>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Creates the state without any part. It is not ready until [`Health::set`] reports at least one part.
    pub fn new() -> Self {
        Self { parts: Arc::default(), ready: Arc::new(watch::Sender::new(false)), next_round: Arc::default() }
    }

    /// Sets the state of a part: fine (`None`), or a fixed text that says why not.
    pub fn set(&self, part: &str, trouble: Option<&'static str>) {
        let mut parts = self.parts.lock();
        parts.insert(part.to_owned(), trouble);
        if part == GATEWAY && trouble.is_none() {
            self.next_round.store(false, Ordering::Relaxed);
        }
        let ready = parts.values().all(Option::is_none);
        // Sent under the lock, so that two callers publish their results in the order in which they computed them.
        self.ready.send_if_modified(|published| std::mem::replace(published, ready) != ready);
    }

    /// Begins a new round of the gateway and forgets the troubles of the previous round's parts. Readiness changes
    /// only with the next [`Health::set`].
    pub fn begin_round(&self) {
        self.parts.lock().retain(|part, trouble| trouble.is_none() || part == GATEWAY);
    }

    /// The parts that are not fine, with their reasons.
    pub fn troubles(&self) -> Vec<(String, &'static str)> {
        let parts = self.parts.lock();
        parts.iter().filter_map(|(part, trouble)| trouble.map(|why| (part.clone(), why))).collect()
    }

    /// Declares that another round follows the one that is ending, so the gateway counts as running in between.
    pub fn announce_next_round(&self) {
        self.next_round.store(true, Ordering::Relaxed);
    }

    /// Whether another round follows the one that is ending.
    pub fn has_next_round(&self) -> bool {
        self.next_round.load(Ordering::Relaxed)
    }

    /// Whether the gateway is running: it has started and is not ending, except for a reload. A temporary refusal of
    /// data (such as a full spool) does not count.
    pub fn is_running(&self) -> bool {
        self.next_round.load(Ordering::Relaxed) || self.parts.lock().get(GATEWAY).is_some_and(Option::is_none)
    }

    /// Whether all parts are fine.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    pub fn watch_readiness(&self) -> watch::Receiver<bool> {
        self.ready.subscribe()
    }
}
