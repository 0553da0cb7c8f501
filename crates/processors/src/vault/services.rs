//! **What**: [`Services`]: which services are an agent's: those that agents' items came from within a day, and those
//! that the configuration declares. **Why**: a child's HTTP or retrieval span is exported before its agent's span, and
//! in traces of its own; its service is already known (`docs/decisions/0001-agent-items-and-content.md`).
//! **Invariants**: changes by effects alone; holds digests, no names; at most [`LIMIT`] services, the least recently
//! seen go first. **Not here**: what follows for an item (`genai::adopt`), traces (`traces`).

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;

use genai::Service;
use kernel::clock::UnixNanos;
use pipeline::claims::ClaimKey;

#[cfg(test)]
mod tests;

/// Services that are known at most.
pub(super) const LIMIT: usize = 16_384;
/// A service is an agent's for so long after its last agent's item, ns.
const HELD: u64 = 24 * HOUR;
/// A service that is known is told of again after so long, ns.
const AGAIN: u64 = HOUR;
const HOUR: u64 = 3_600_000_000_000;
/// Bytes of a digest, and of the time behind it.
const DIGEST: usize = 16;
const ENTRY: usize = DIGEST + 8;
/// First byte of an effect's body; those of traces begin otherwise.
const VERSION: u8 = 2;

/// Services that are an agent's whatever they sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Declared {
    /// Those of these names (`service.name`).
    Named(HashSet<String>),
    /// Every one.
    All,
    /// None is declared: they are learnt from agents' items.
    #[default]
    Learnt,
}

/// See the module.
pub(super) struct Services {
    declared: Declared,
    limit: usize,
    /// When an agent's item of it came last, ns.
    seen: Mutex<HashMap<[u8; DIGEST], u64>>,
}

fn digest(account: &str, service: &Service<'_>) -> [u8; DIGEST] {
    ClaimKey::of(&[account.as_bytes(), service.name.as_bytes(), service.instance.as_bytes()]).to_bytes()
}

impl Services {
    pub(super) fn new(declared: Declared, limit: usize) -> Self {
        Self { declared, limit, seen: Mutex::default() }
    }

    /// Whether `service` is an agent's. None: a resource that names none.
    pub(super) fn holds(&self, account: &str, service: Option<&Service<'_>>, now: UnixNanos) -> bool {
        match &self.declared {
            Declared::All => return true,
            Declared::Named(names) if service.is_some_and(|service| names.contains(service.name)) => return true,
            Declared::Named(_) | Declared::Learnt => {}
        }
        let seen = service.and_then(|service| self.seen.lock().get(&digest(account, service)).copied());
        seen.is_some_and(|seen| now.0.saturating_sub(seen) < HELD)
    }

    /// The effect's body for services that agents' items came from; None when it would change nothing.
    pub(super) fn effect(&self, account: &str, services: &[Service<'_>], now: UnixNanos) -> Option<Vec<u8>> {
        let seen = self.seen.lock();
        let mut body = vec![VERSION];
        for digest in services.iter().map(|service| digest(account, service)) {
            if seen.get(&digest).is_none_or(|seen| now.0.saturating_sub(*seen) >= AGAIN) {
                body.extend_from_slice(&digest);
                body.extend_from_slice(&now.0.to_le_bytes());
            }
        }
        (body.len() > 1).then_some(body)
    }

    /// Applies an effect, or adds what [`Services::save`] gave.
    pub(super) fn apply(&self, body: &[u8]) {
        let Some((&VERSION, entries)) = body.split_first() else { return };
        let mut seen = self.seen.lock();
        for entry in entries.as_chunks::<ENTRY>().0 {
            let Some((digest, time)) = entry.split_first_chunk::<DIGEST>() else { continue };
            let time = u64::from_le_bytes(time.try_into().unwrap_or_default());
            let known = seen.entry(*digest).or_default();
            *known = time.max(*known);
        }
        if seen.len() > self.limit {
            // a quarter at once: the next ones find room
            let mut order: Vec<(u64, [u8; DIGEST])> = seen.iter().map(|(digest, time)| (*time, *digest)).collect();
            let many = seen.len() - self.limit + self.limit / 4;
            let (oldest, ..) = order.select_nth_unstable(many);
            oldest.iter().for_each(|(_, digest)| {
                seen.remove(digest);
            });
        }
    }

    /// Everything, for the checkpoint.
    pub(super) fn save(&self) -> Vec<u8> {
        let seen = self.seen.lock();
        let mut out = Vec::with_capacity(1 + seen.len() * ENTRY);
        out.push(VERSION);
        for (digest, time) in &*seen {
            out.extend_from_slice(digest);
            out.extend_from_slice(&time.to_le_bytes());
        }
        out
    }

    /// How many are known.
    pub(super) fn len(&self) -> usize {
        self.seen.lock().len()
    }
}
