//! [`FingerprintCache`] keeps the fingerprints of content from earlier batches by session, because an error can arrive
//! a batch later than the prompt it quotes. It holds at most [`MAX_BYTES`] in all, and [`MAX_SESSION_BYTES`] per
//! session; the session that got no content for the longest time is evicted first. The cache is never stored, so a
//! restart empties it. The vault step fills it with an effect after the commit.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use super::fingerprints::{ContentFingerprints, FingerprintKey, RUN_LENGTH};
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

/// Hash of an account and a session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SessionKey(u64);

/// Fingerprints of stripped content by session, within fixed limits.
pub struct FingerprintCache {
    key: FingerprintKey,
    hasher: RandomState,
    limit: usize,
    state: Mutex<CacheState>,
}

#[derive(Default)]
struct CacheState {
    sessions: HashMap<SessionKey, CachedSession>,
    /// Sessions by their last addition, oldest first.
    by_last_addition: BTreeMap<u64, SessionKey>,
    /// Number of additions so far; serves as the time.
    additions: u64,
    bytes: usize,
}

#[derive(Default)]
struct CachedSession {
    texts: VecDeque<Arc<[u16]>>,
    bytes: usize,
    last_addition: u64,
}

impl FingerprintCache {
    /// Creates an empty cache with a new random key.
    pub fn new(rng: &dyn Rng) -> Self {
        Self::with_limit(rng, MAX_BYTES)
    }

    pub(super) fn with_limit(rng: &dyn Rng, limit: usize) -> Self {
        Self { key: FingerprintKey::new(rng), hasher: RandomState::new(), limit, state: Mutex::default() }
    }

    /// The fingerprint key of this process.
    pub fn key(&self) -> &FingerprintKey {
        &self.key
    }

    /// Hashes a session; `session` is its id, or the trace id if it has none.
    pub fn session_key(&self, account: &str, session: &[u8]) -> SessionKey {
        SessionKey(self.hasher.hash_one((account, session)))
    }

    /// Adds content to a session, and evicts what exceeds the limits.
    pub fn add_session_content(&self, session: SessionKey, fingerprints: &ContentFingerprints) {
        let mut texts = fingerprints.shared_texts().filter(|text| text.len() >= RUN_LENGTH).peekable();
        // a session without a text would take no bytes by our count, and would never be evicted
        if texts.peek().is_none() {
            return;
        }
        let mut state = self.state.lock();
        let CacheState { sessions, by_last_addition, additions, bytes } = &mut *state;
        *additions += 1;
        let entry = sessions.entry(session).or_default();
        by_last_addition.remove(&entry.last_addition);
        by_last_addition.insert(*additions, session);
        entry.last_addition = *additions;
        let bytes_before = entry.bytes;
        texts.for_each(|text| entry.add_text(text));
        while entry.bytes > MAX_SESSION_BYTES && entry.shrink_oldest_text() {}
        *bytes = (*bytes + entry.bytes).saturating_sub(bytes_before);
        while *bytes > self.limit
            && let Some((_, oldest)) = by_last_addition.pop_first()
        {
            let freed = sessions.remove(&oldest).map_or(0, |session| session.bytes);
            *bytes = bytes.saturating_sub(freed);
        }
    }

    /// Returns the fingerprints of a session's texts.
    pub fn session_texts(&self, session: SessionKey) -> Vec<Arc<[u16]>> {
        self.state
            .lock()
            .sessions
            .get(&session)
            .map(|session| session.texts.iter().cloned().collect())
            .unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn session_count(&self) -> usize {
        self.state.lock().sessions.len()
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
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
