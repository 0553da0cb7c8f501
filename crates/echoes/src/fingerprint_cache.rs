//! [`FingerprintCache`] keeps the fingerprints of content from earlier batches by session, because an error can arrive
//! a batch later than the prompt it quotes. It holds at most [`LIMIT`] bytes, and [`SESSION`] bytes a session; the
//! least recently used session is evicted first. It is never stored, so a restart empties it. The vault step fills it
//! with an effect after the commit.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use super::fingerprints::{ContentFingerprints, FingerprintKey, RUN};
use kernel::rng::Rng;

/// Most bytes of all fingerprints with their overhead. Fingerprints that two sessions share count twice.
pub(super) const LIMIT: usize = 64 << 20;
/// Most bytes for one session: enough for twice as many bytes of distinct content.
pub(super) const SESSION: usize = 1 << 20;
/// Number of recent texts in a session that a new one is compared with: each call sends the conversation again,
/// extended.
const COMPARED: usize = 16;
/// Bytes that a text or a session takes besides its fingerprints.
const OVERHEAD: usize = 96;
/// A text with fewer fingerprints is dropped whole instead of halved.
const SHORT: usize = 4096;
/// Fingerprints at the end of a text that may differ in its extended version, because of its closing bracket.
const TAIL: usize = RUN - 1;

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
    /// Sessions by the time of last use, oldest first.
    by_last_use: BTreeMap<u64, SessionKey>,
    clock: u64,
    bytes: usize,
}

#[derive(Default)]
struct CachedSession {
    texts: VecDeque<Arc<[u16]>>,
    bytes: usize,
    last_used: u64,
}

impl FingerprintCache {
    /// Creates an empty memory with a new random key.
    pub fn new(rng: &dyn Rng) -> Self {
        Self::with_limit(rng, LIMIT)
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
    pub fn add_session_content(&self, session: SessionKey, prints: &ContentFingerprints) {
        if prints.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        let CacheState { sessions, by_last_use: order, clock, bytes } = &mut *state;
        *clock += 1;
        let entry = sessions.entry(session).or_default();
        order.remove(&entry.last_used);
        order.insert(*clock, session);
        entry.last_used = *clock;
        let before = entry.bytes;
        prints.shared_texts().for_each(|text| entry.add(text));
        while entry.bytes > SESSION && entry.drop_oldest() {}
        *bytes = (*bytes + entry.bytes).saturating_sub(before);
        while *bytes > self.limit
            && let Some((_, oldest)) = order.pop_first()
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

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

impl CachedSession {
    fn add(&mut self, text: &Arc<[u16]>) {
        if text.len() < RUN {
            return;
        }
        let recent = (0..self.texts.len()).rev().take(COMPARED);
        let grown = recent.into_iter().find(|at| {
            let Some(known) = self.texts.get(*at) else { return false };
            let (same, shorter) = (common_prefix_len(known, text), known.len().min(text.len()));
            same >= RUN && same + TAIL >= shorter
        });
        if let Some(at) = grown
            && let Some(known) = self.texts.remove(at)
        {
            self.bytes = self.bytes.saturating_sub(text_size(&known));
            let longer = if known.len() > text.len() { known } else { Arc::clone(text) };
            return self.push(longer);
        }
        self.push(Arc::clone(text));
    }

    fn push(&mut self, text: Arc<[u16]>) {
        self.bytes += text_size(&text);
        self.texts.push_back(text);
    }

    /// Halves the oldest text, or drops it if it is short. So a text that exceeds the limit by itself keeps its
    /// beginning.
    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.texts.pop_front() else { return false };
        self.bytes = self.bytes.saturating_sub(text_size(&oldest));
        if let Some((first, _)) = oldest.split_at_checked(oldest.len() / 2)
            && first.len() >= SHORT
        {
            self.bytes += text_size(first);
            self.texts.push_front(first.into());
        }
        true
    }
}

fn text_size(text: &[u16]) -> usize {
    size_of_val(text) + OVERHEAD
}

/// Length of the common prefix.
fn common_prefix_len(one: &[u16], other: &[u16]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}
