//! [`FingerprintCache`] keeps the fingerprints of content from earlier batches by session, because an error can arrive
//! a batch later than the prompt it quotes. It holds at most [`MAX_BYTES`] in all, and [`MAX_SESSION_BYTES`] per
//! session. The cache is never stored, so a restart empties it. The vault step fills it with an effect after the
//! commit.

use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use super::fingerprints::{ContentFingerprints, FingerprintKey, RUN_LENGTH};
use kernel::bounded_map::{AccountHash, BoundedMap};
use kernel::rng::Rng;

/// Limit for the fingerprints of all texts, with their overhead. Fingerprints that two sessions share count twice.
pub(super) const MAX_BYTES: usize = 64 << 20;
/// Limit for one session: enough for 2 MiB of distinct content.
pub(super) const MAX_SESSION_BYTES: usize = 1 << 20;
/// A new text is compared with so many recent texts of its session: each call sends the conversation again, extended.
const COMPARED_TEXTS: usize = 16;
/// Bytes that a text takes besides its fingerprints.
const TEXT_OVERHEAD: usize = 96;
/// A text is halved only if at least so many fingerprints remain; otherwise it is dropped.
const MIN_HALF_LENGTH: usize = 4096;
/// Fingerprints at the end of a text that may differ in its extended version, because of its closing bracket.
const MAX_CHANGED_TAIL: usize = RUN_LENGTH - 1;

/// Hashes of an account and of a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SessionKey {
    account: AccountHash,
    session: u64,
}

/// Fingerprints of stripped content by session, within fixed limits.
pub struct FingerprintCache {
    key: FingerprintKey,
    hasher: RandomState,
    /// A session weighs its bytes.
    pub(super) sessions: Mutex<BoundedMap<SessionKey, CachedSession>>,
}

#[derive(Default)]
pub(super) struct CachedSession {
    texts: VecDeque<Arc<[u16]>>,
    bytes: usize,
}

impl FingerprintCache {
    /// Creates an empty cache with a new random key.
    pub fn new(rng: &dyn Rng) -> Self {
        Self::with_limit(rng, MAX_BYTES)
    }

    pub(super) fn with_limit(rng: &dyn Rng, limit: usize) -> Self {
        let sessions = Mutex::new(BoundedMap::new(limit));
        Self { key: FingerprintKey::new(rng), hasher: RandomState::new(), sessions }
    }

    /// The fingerprint key of this process.
    pub fn key(&self) -> &FingerprintKey {
        &self.key
    }

    /// Hashes a session; `session` is its id, or the trace id if it has none.
    pub fn session_key(&self, account: &str, session: &[u8]) -> SessionKey {
        SessionKey { account: account.into(), session: self.hasher.hash_one((account, session)) }
    }

    /// Adds content to a session, and evicts what exceeds the limits.
    pub fn add_session_content(&self, session: SessionKey, fingerprints: &ContentFingerprints) {
        let mut texts = fingerprints.shared_texts().filter(|text| text.len() >= RUN_LENGTH).peekable();
        // a session without a text would take no bytes by our count, and would never be evicted
        if texts.peek().is_none() {
            return;
        }
        let mut sessions = self.sessions.lock();
        let mut cached = sessions.remove(&session).unwrap_or_default();
        texts.for_each(|text| cached.add_text(text));
        while cached.bytes > MAX_SESSION_BYTES && cached.shrink_oldest_text() {}
        let bytes = cached.bytes;
        sessions.insert_for(session.account, session, cached, bytes);
    }

    pub fn session_texts(&self, session: SessionKey) -> Vec<Arc<[u16]>> {
        let sessions = self.sessions.lock();
        sessions.get(&session).map(|cached| cached.texts.iter().cloned().collect()).unwrap_or_default()
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.sessions.lock().weight()
    }
}

impl CachedSession {
    /// Adds a text of at least [`RUN_LENGTH`] fingerprints. If it extends or repeats a recent one, only the longer of
    /// the two is kept.
    fn add_text(&mut self, text: &Arc<[u16]>) {
        let recent = (0..self.texts.len()).rev().take(COMPARED_TEXTS);
        let other_version = recent.into_iter().find(|at| {
            let Some(known) = self.texts.get(*at) else { return false };
            let (same, shorter) = (common_prefix_len(known, text), known.len().min(text.len()));
            same >= RUN_LENGTH && same + MAX_CHANGED_TAIL >= shorter
        });
        if let Some(at) = other_version
            && let Some(known) = self.texts.remove(at)
        {
            self.bytes = self.bytes.saturating_sub(text_size(&known));
            let longer = if known.len() > text.len() { known } else { Arc::clone(text) };
            return self.push_text(longer);
        }
        self.push_text(Arc::clone(text));
    }

    fn push_text(&mut self, text: Arc<[u16]>) {
        self.bytes += text_size(&text);
        self.texts.push_back(text);
    }

    /// Halves the oldest text, or drops it if it is short. So a text that exceeds the limit by itself keeps its
    /// beginning. Returns whether there was a text.
    fn shrink_oldest_text(&mut self) -> bool {
        let Some(oldest) = self.texts.pop_front() else { return false };
        self.bytes = self.bytes.saturating_sub(text_size(&oldest));
        if let Some((first_half, _)) = oldest.split_at_checked(oldest.len() / 2)
            && first_half.len() >= MIN_HALF_LENGTH
        {
            self.bytes += text_size(first_half);
            self.texts.push_front(first_half.into());
        }
        true
    }
}

fn text_size(text: &[u16]) -> usize {
    size_of_val(text) + TEXT_OVERHEAD
}

fn common_prefix_len(first: &[u16], second: &[u16]) -> usize {
    first.iter().zip(second).take_while(|(first, second)| first == second).count()
}
