//! [`KnownServices`] knows the agents' services: those that sent an agent item within the last day, and those declared
//! in the configuration. A child's HTTP or retrieval span is often exported before its agent's span, and in a separate
//! trace, but its service is already known (`docs/decisions/0001-agent-items-and-content.md`).
//!
//! Changed only by effects; holds digests, not names; at most [`LIMIT`] services. `genai/known_agents` draws the
//! conclusions for an item; traces are in `known_traces`.

use std::collections::HashSet;

use parking_lot::Mutex;

use genai::ServiceIdentity;
use kernel::bounded_map::{AccountHash, BoundedMap};
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
/// Size of a digest, bytes.
const DIGEST_BYTES: usize = 16;
/// Size of an entry of an effect's body, bytes: a digest, a time and the hash of the account.
const ENTRY_BYTES: usize = DIGEST_BYTES + 8 + 8;
/// First byte of an effect's body. Effects of traces and labels begin with other values.
const EFFECT_VERSION: u8 = 6;
/// First byte of a body whose entries lack the account.
const NO_ACCOUNTS_VERSION: u8 = 2;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum DeclaredServices {
    /// The services with these names (`service.name`).
    Named(HashSet<String>),
    All,
    /// None: services are learned from agents' items.
    #[default]
    Learned,
}

/// See the module documentation.
pub(super) struct KnownServices {
    declared: DeclaredServices,
    /// By digest: the time of the last agent item, ns.
    last_seen: Mutex<BoundedMap<[u8; DIGEST_BYTES], u64>>,
}

fn digest(account: &str, service: &ServiceIdentity<'_>) -> [u8; DIGEST_BYTES] {
    ClaimKey::from_parts(&[account.as_bytes(), service.name.as_bytes(), service.instance.as_bytes()]).to_bytes()
}

impl KnownServices {
    pub(super) fn new(declared: DeclaredServices, limit: usize) -> Self {
        Self { declared, last_seen: Mutex::new(BoundedMap::new(limit)) }
    }

    /// Returns true if `service` (`None`: the resource identifies no service) is an agent's.
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
        let last_seen = service.and_then(|service| self.last_seen.lock().get(&digest(account, service)).copied());
        last_seen.is_some_and(|seen| now.0.saturating_sub(seen) < AGENT_SERVICE_TTL)
    }

    /// The effect's body for services that sent agents' items. `None` if it would change nothing.
    pub(super) fn effect(&self, account: &str, services: &[ServiceIdentity<'_>], now: UnixNanos) -> Option<Vec<u8>> {
        let (last_seen, account_hash) = (self.last_seen.lock(), AccountHash::from(account).to_le_bytes());
        let mut body = vec![EFFECT_VERSION];
        for digest in services.iter().map(|service| digest(account, service)) {
            if last_seen.get(&digest).is_none_or(|time| now.0.saturating_sub(*time) >= UPDATE_INTERVAL) {
                body.extend(digest.into_iter().chain(now.0.to_le_bytes()).chain(account_hash));
            }
        }
        (body.len() > 1).then_some(body)
    }

    /// Applies an effect, or the result of [`KnownServices::save`].
    pub(super) fn apply(&self, body: &[u8]) -> bool {
        let (entries, entry_bytes) = match body.split_first() {
            Some((&EFFECT_VERSION, entries)) => (entries, ENTRY_BYTES),
            Some((&NO_ACCOUNTS_VERSION, entries)) => (entries, DIGEST_BYTES + 8),
            _ => return false,
        };
        let mut last_seen = self.last_seen.lock();
        for entry in entries.chunks_exact(entry_bytes) {
            let Some((digest, rest)) = entry.split_first_chunk::<DIGEST_BYTES>() else { continue };
            let Some((time, account)) = rest.split_first_chunk() else { continue };
            let time = u64::from_le_bytes(*time);
            let newest = last_seen.get(digest).map_or(time, |known| time.max(*known));
            last_seen.insert_for(u64::from_le_bytes(account.try_into().unwrap_or_default()), *digest, newest, 1);
        }
        true
    }

    /// All entries, for the checkpoint, older ones first.
    pub(super) fn save(&self) -> Vec<u8> {
        let last_seen = self.last_seen.lock();
        let mut body = Vec::with_capacity(1 + last_seen.len() * ENTRY_BYTES);
        body.push(EFFECT_VERSION);
        for (account, digest, time) in last_seen.entries() {
            body.extend(digest.iter().copied().chain(time.to_le_bytes()).chain(account.to_le_bytes()));
        }
        body
    }

    /// Number of services remembered.
    pub(super) fn len(&self) -> usize {
        self.last_seen.lock().len()
    }
}
