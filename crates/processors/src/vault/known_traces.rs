//! [`KnownTraces`] knows the agents' traces from committed batches. An item of such a trace is an agent item even if
//! nothing in its own request shows it (`docs/decisions/0001-agent-items-and-content.md`), so its unlisted text is
//! content.
//!
//! Changed only by effects; holds digests, not ids; at most [`LIMIT`] traces in two generations: when the younger one
//! is full it replaces the older one. Best effort: an item whose trace was forgotten, or is not known yet, is judged by
//! its own request. `genai/known_agents` draws the conclusions for an item.

use std::collections::HashSet;

use parking_lot::Mutex;

use pipeline::claims::ClaimKey;

/// Maximum number of traces remembered.
pub(super) const LIMIT: usize = 131_072;
/// Size of a digest, bytes.
const DIGEST_BYTES: usize = 16;
/// First byte of an effect's body. Effects of services and labels begin with other values.
const EFFECT_VERSION: u8 = 1;

/// See the module documentation.
pub(super) struct KnownTraces {
    limit: usize,
    generations: Mutex<TraceGenerations>,
}

#[derive(Default)]
struct TraceGenerations {
    young: HashSet<[u8; DIGEST_BYTES]>,
    old: HashSet<[u8; DIGEST_BYTES]>,
}

impl Default for KnownTraces {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

fn digest(account: &str, trace: &[u8]) -> [u8; DIGEST_BYTES] {
    ClaimKey::from_parts(&[account.as_bytes(), trace]).to_bytes()
}

impl KnownTraces {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, generations: Mutex::default() }
    }

    /// Returns true if `trace` is an agent's.
    pub(super) fn is_agent_trace(&self, account: &str, trace: &[u8]) -> bool {
        let digest = digest(account, trace);
        let generations = self.generations.lock();
        generations.young.contains(&digest) || generations.old.contains(&digest)
    }

    /// The effect's body for an agent's traces. `None` if it would change nothing.
    pub(super) fn effect(&self, account: &str, traces: &[&[u8]]) -> Option<Vec<u8>> {
        let digests: Vec<_> = traces.iter().map(|trace| digest(account, trace)).collect();
        let generations = self.generations.lock();
        let mut body = vec![EFFECT_VERSION];
        digests
            .iter()
            .filter(|digest| !generations.young.contains(*digest))
            .for_each(|digest| body.extend_from_slice(digest));
        (body.len() > 1).then_some(body)
    }

    /// Applies an effect, or the result of [`KnownTraces::save`].
    pub(super) fn apply(&self, body: &[u8]) -> bool {
        let Some((&EFFECT_VERSION, digests)) = body.split_first() else { return false };
        let mut generations = self.generations.lock();
        for digest in digests.as_chunks::<DIGEST_BYTES>().0 {
            if generations.young.len() >= (self.limit / 2).max(1) {
                generations.old = std::mem::take(&mut generations.young);
            }
            generations.young.insert(*digest);
            generations.old.remove(digest);
        }
        true
    }

    /// All entries for the checkpoint, older ones first.
    pub(super) fn save(&self) -> Vec<u8> {
        let generations = self.generations.lock();
        let mut out = Vec::with_capacity(1 + (generations.young.len() + generations.old.len()) * DIGEST_BYTES);
        out.push(EFFECT_VERSION);
        generations.old.iter().chain(&generations.young).for_each(|digest| out.extend_from_slice(digest));
        out
    }

    /// Number of traces remembered.
    pub(super) fn len(&self) -> usize {
        let generations = self.generations.lock();
        generations.young.len() + generations.old.len()
    }
}
