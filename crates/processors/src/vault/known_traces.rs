//! [`KnownTraces`] knows the agents' traces from committed batches. An item of such a trace is an agent item even if
//! nothing in its own request shows it (`docs/decisions/0001-agent-items-and-content.md`), so its unlisted text is
//! content.
//!
//! Changed only by effects; holds digests, not ids; at most [`LIMIT`] traces. Best effort: an item whose trace was
//! forgotten, or is not known yet, is judged by its own request. `genai/known_agents` draws the conclusions for it.

use parking_lot::Mutex;

use kernel::bounded_map::{AccountHash, BoundedMap};
use pipeline::claims::ClaimKey;

/// Maximum number of traces remembered.
pub(super) const LIMIT: usize = 131_072;
/// Size of a digest, bytes.
const DIGEST_BYTES: usize = 16;
/// Size of an entry of an effect's body, bytes: a digest and the hash of its account.
const ENTRY_BYTES: usize = DIGEST_BYTES + 8;
/// First byte of an effect's body. Effects of services and labels begin with other values.
const EFFECT_VERSION: u8 = 5;
/// First byte of a body whose entries are digests without their accounts.
const NO_ACCOUNTS_VERSION: u8 = 1;

/// See the module documentation.
pub(super) struct KnownTraces {
    /// An effect remembers a trace again after so many others, divided by the number of accounts, so that it is not
    /// forgotten while it goes on.
    refresh_after: u64,
    traces: Mutex<BoundedMap<[u8; DIGEST_BYTES], ()>>,
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
        let (known, account) = (self.traces.lock(), AccountHash::from(account).to_le_bytes());
        let refresh_after = self.refresh_after / known.accounts().max(1) as u64;
        let mut body = vec![EFFECT_VERSION];
        for digest in digests {
            if known.writes_since(&digest).is_none_or(|writes| writes >= refresh_after) {
                body.extend(digest.into_iter().chain(account));
            }
        }
        (body.len() > 1).then_some(body)
    }

    /// Applies an effect, or the result of [`KnownTraces::save`].
    pub(super) fn apply(&self, body: &[u8]) -> bool {
        let (entries, entry_bytes) = match body.split_first() {
            Some((&EFFECT_VERSION, entries)) => (entries, ENTRY_BYTES),
            Some((&NO_ACCOUNTS_VERSION, digests)) => (digests, DIGEST_BYTES),
            _ => return false,
        };
        let mut traces = self.traces.lock();
        for (digest, account) in entries.chunks_exact(entry_bytes).filter_map(<[u8]>::split_first_chunk) {
            traces.insert_for(u64::from_le_bytes(account.try_into().unwrap_or_default()), *digest, (), 1);
        }
        true
    }

    /// All entries for the checkpoint, older ones first.
    pub(super) fn save(&self) -> Vec<u8> {
        let traces = self.traces.lock();
        let entries =
            traces.entries().flat_map(|(account, digest, ())| digest.iter().copied().chain(account.to_le_bytes()));
        [EFFECT_VERSION].into_iter().chain(entries).collect()
    }

    /// Number of traces remembered.
    pub(super) fn len(&self) -> usize {
        self.traces.lock().len()
    }
}
