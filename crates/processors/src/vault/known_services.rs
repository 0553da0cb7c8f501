//! [`KnownServices`] knows the agents' services: those that sent an agent item within the last day, and those declared
//! in the configuration. A child's HTTP or retrieval span is often exported before its agent's span, and in a separate
//! trace, but its service is already known (`docs/decisions/0001-agent-items-and-content.md`).
//!
//! Changed only by effects; holds digests, not names; at most [`LIMIT`] services, with the least recently seen evicted
//! first. `genai::adopt` draws the conclusions for an item; traces are in `traces`.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;

use genai::ServiceIdentity;
use kernel::clock::UnixNanos;
use pipeline::claims::ClaimKey;

#[cfg(test)]
mod tests;

/// Maximum number of services remembered.
pub(super) const LIMIT: usize = 16_384;
/// How long a service counts as an agent's after its last agent item, ns.
const AGENT_SERVICE_TTL: u64 = 24 * HOUR;
/// Minimum time between two updates of a known service, ns.
const UPDATE_INTERVAL: u64 = HOUR;
const HOUR: u64 = 3_600_000_000_000;
/// Size of a digest, and of an entry: a digest and a time.
const DIGEST: usize = 16;
const ENTRY: usize = DIGEST + 8;
/// First byte of an effect's body. Trace effects begin with another value.
const VERSION: u8 = 2;

/// Services declared as agents' services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeclaredServices {
    /// The services with these names (`service.name`).
    Named(HashSet<String>),
    /// All services.
    All,
    /// None: services are learned from agents' items.
    #[default]
    Learned,
}

/// See the module documentation.
pub(super) struct KnownServices {
    declared: DeclaredServices,
    limit: usize,
    /// By digest: the time of the last agent item, ns.
    last_seen: Mutex<HashMap<[u8; DIGEST], u64>>,
}

fn digest(account: &str, service: &ServiceIdentity<'_>) -> [u8; DIGEST] {
    ClaimKey::from_parts(&[account.as_bytes(), service.name.as_bytes(), service.instance.as_bytes()]).to_bytes()
}

impl KnownServices {
    pub(super) fn new(declared: DeclaredServices, limit: usize) -> Self {
        Self { declared, limit, last_seen: Mutex::default() }
    }

    /// Returns true if `service` is an agent's. `None`: the resource identifies no service.
    pub(super) fn is_agent_service(
        &self,
        account: &str,
        service: Option<&ServiceIdentity<'_>>,
        now: UnixNanos,
    ) -> bool {
        match &self.declared {
            DeclaredServices::All => return true,
            DeclaredServices::Named(names) if service.is_some_and(|service| names.contains(service.name)) => {
                return true;
            }
            DeclaredServices::Named(_) | DeclaredServices::Learned => {}
        }
        let seen = service.and_then(|service| self.last_seen.lock().get(&digest(account, service)).copied());
        seen.is_some_and(|seen| now.0.saturating_sub(seen) < AGENT_SERVICE_TTL)
    }

    /// The effect's body for services that sent agents' items. `None` if it would change nothing.
    pub(super) fn effect(&self, account: &str, services: &[ServiceIdentity<'_>], now: UnixNanos) -> Option<Vec<u8>> {
        let seen = self.last_seen.lock();
        let mut body = vec![VERSION];
        for digest in services.iter().map(|service| digest(account, service)) {
            if seen.get(&digest).is_none_or(|seen| now.0.saturating_sub(*seen) >= UPDATE_INTERVAL) {
                body.extend_from_slice(&digest);
                body.extend_from_slice(&now.0.to_le_bytes());
            }
        }
        (body.len() > 1).then_some(body)
    }

    /// Applies an effect, or the result of [`KnownServices::save`].
    pub(super) fn apply(&self, body: &[u8]) {
        let Some((&VERSION, entries)) = body.split_first() else { return };
        let mut seen = self.last_seen.lock();
        for entry in entries.as_chunks::<ENTRY>().0 {
            let Some((digest, time)) = entry.split_first_chunk::<DIGEST>() else { continue };
            let time = u64::from_le_bytes(time.try_into().unwrap_or_default());
            let known = seen.entry(*digest).or_default();
            *known = time.max(*known);
        }
        if seen.len() > self.limit {
            // Evict a quarter at once, so that the next services find room.
            let mut order: Vec<(u64, [u8; DIGEST])> = seen.iter().map(|(digest, time)| (*time, *digest)).collect();
            let many = seen.len() - self.limit + self.limit / 4;
            let (oldest, ..) = order.select_nth_unstable(many);
            oldest.iter().for_each(|(_, digest)| {
                seen.remove(digest);
            });
        }
    }

    /// All entries, for the checkpoint.
    pub(super) fn save(&self) -> Vec<u8> {
        let seen = self.last_seen.lock();
        let mut out = Vec::with_capacity(1 + seen.len() * ENTRY);
        out.push(VERSION);
        for (digest, time) in &*seen {
            out.extend_from_slice(digest);
            out.extend_from_slice(&time.to_le_bytes());
        }
        out
    }

    /// Number of services remembered.
    pub(super) fn len(&self) -> usize {
        self.last_seen.lock().len()
    }
}
