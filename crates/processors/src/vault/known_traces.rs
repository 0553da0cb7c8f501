//! [`KnownTraces`] knows the agents' traces from committed batches. An item of such a trace is an agent item even if
//! nothing in its own request shows it (`docs/decisions/0001-agent-items-and-content.md`), so its unlisted text is
//! content.
//!
//! Changed only by effects; holds digests, not ids; at most [`LIMIT`] traces. Best effort: an item whose trace was
//! forgotten, or is not known yet, is judged by its own request. `genai/known_agents` draws the conclusions for it.

use parking_lot::Mutex;

use kernel::bounded_map::BoundedMap;
use pipeline::claims::ClaimKey;

/// Maximum number of traces remembered.
pub(super) const LIMIT: usize = 131_072;
/// Size of a digest, bytes.
const DIGEST_BYTES: usize = 16;
/// First byte of an effect's body. Effects of services and labels begin with other values.
const EFFECT_VERSION: u8 = 1;

/// See the module documentation.
pub(super) struct KnownTraces {
    /// An effect remembers a trace again after so many others, so that it is not forgotten while it goes on.
    refresh_after: u64,
    traces: Mutex<BoundedMap<[u8; DIGEST_BYTES], ()>>,
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
        Self { refresh_after: limit as u64 / 2, traces: Mutex::new(BoundedMap::new(limit)) }
    }

    /// Returns true if `trace` is an agent's.
    pub(super) fn is_agent_trace(&self, account: &str, trace: &[u8]) -> bool {
        self.traces.lock().contains_key(&digest(account, trace))
    }

    /// The effect's body for an agent's traces. `None` if it would change nothing.
    pub(super) fn effect(&self, account: &str, traces: &[&[u8]]) -> Option<Vec<u8>> {
        let digests: Vec<_> = traces.iter().map(|trace| digest(account, trace)).collect();
        let known = self.traces.lock();
        let mut body = vec![EFFECT_VERSION];
        for digest in digests {
            if known.writes_since(&digest).is_none_or(|writes| writes >= self.refresh_after) {
                body.extend_from_slice(&digest);
            }
        }
        (body.len() > 1).then_some(body)
    }

    /// Applies an effect, or the result of [`KnownTraces::save`].
    pub(super) fn apply(&self, body: &[u8]) -> bool {
        let Some((&EFFECT_VERSION, digests)) = body.split_first() else { return false };
        let mut traces = self.traces.lock();
        digests.as_chunks().0.iter().for_each(|digest| drop(traces.insert(*digest, ())));
        true
    }

    /// All entries for the checkpoint, older ones first.
    pub(super) fn save(&self) -> Vec<u8> {
        let digests: Vec<_> = self.traces.lock().iter().map(|(digest, ())| *digest).collect();
        [&[EFFECT_VERSION], digests.as_flattened()].concat()
    }

    /// Number of traces remembered.
    pub(super) fn len(&self) -> usize {
        self.traces.lock().len()
    }
}
