//! **What**: [`Memory`]: fingerprints of content that went away with earlier batches, by session. **Why**: the error
//! comes a batch later than the prompt it quotes. **Invariants**: at most [`LIMIT`] bytes, at most [`SESSION`] a
//! session; the session used longest ago goes first; never stored, so a restart forgets. **Not here**: when it is
//! filled (an effect of the vault step, after the commit).

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use parking_lot::Mutex;

use super::prints::{Key, Prints, RUN};
use kernel::rng::Rng;

/// Bytes of all fingerprints with what they hang on; what two sessions share counts for each.
pub(super) const LIMIT: usize = 64 << 20;
/// Bytes of one session: twice as many bytes of different content.
pub(super) const SESSION: usize = 1 << 20;
/// Texts of a session that a new one is compared with: a conversation is sent again with each call, and grows.
const COMPARED: usize = 16;
/// What a text or a session takes besides its fingerprints.
const OVERHEAD: usize = 96;
/// Fingerprints of a text that is dropped as a whole.
const SHORT: usize = 4096;
/// Fingerprints at the end of a text that may differ when the next one goes on behind it: its closing bracket.
const TAIL: usize = RUN - 1;

/// A session of an account, hashed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SessionKey(u64);

/// See the module.
pub struct Memory {
    key: Key,
    hasher: RandomState,
    limit: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sessions: HashMap<SessionKey, Session>,
    /// When each session was used, oldest first.
    order: BTreeMap<u64, SessionKey>,
    clock: u64,
    bytes: usize,
}

#[derive(Default)]
struct Session {
    texts: VecDeque<Arc<[u16]>>,
    bytes: usize,
    used: u64,
}

impl Memory {
    /// An empty one.
    pub fn new(rng: &dyn Rng) -> Self {
        Self::with_limit(rng, LIMIT)
    }

    pub(super) fn with_limit(rng: &dyn Rng, limit: usize) -> Self {
        Self { key: Key::new(rng), hasher: RandomState::new(), limit, state: Mutex::default() }
    }

    /// The key of this process.
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The name of a session; `session` is its id, or the trace's where there is none.
    pub fn session(&self, account: &str, session: &[u8]) -> SessionKey {
        SessionKey(self.hasher.hash_one((account, session)))
    }

    /// Adds content of a session.
    pub fn remember(&self, session: SessionKey, prints: &Prints) {
        if prints.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        let State { sessions, order, clock, bytes } = &mut *state;
        *clock += 1;
        let entry = sessions.entry(session).or_default();
        order.remove(&entry.used);
        order.insert(*clock, session);
        entry.used = *clock;
        let before = entry.bytes;
        prints.shared().for_each(|text| entry.add(text));
        while entry.bytes > SESSION && entry.drop_oldest() {}
        *bytes = (*bytes + entry.bytes).saturating_sub(before);
        while *bytes > self.limit
            && let Some((_, oldest)) = order.pop_first()
        {
            let freed = sessions.remove(&oldest).map_or(0, |session| session.bytes);
            *bytes = bytes.saturating_sub(freed);
        }
    }

    /// The content of a session.
    pub fn of(&self, session: SessionKey) -> Vec<Arc<[u16]>> {
        self.state
            .lock()
            .sessions
            .get(&session)
            .map(|session| session.texts.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }
}

impl Session {
    fn add(&mut self, text: &Arc<[u16]>) {
        if text.len() < RUN {
            return;
        }
        let recent = (0..self.texts.len()).rev().take(COMPARED);
        let grown = recent.into_iter().find(|at| {
            let Some(known) = self.texts.get(*at) else { return false };
            let (same, shorter) = (common(known, text), known.len().min(text.len()));
            same >= RUN && same + TAIL >= shorter
        });
        if let Some(at) = grown
            && let Some(known) = self.texts.remove(at)
        {
            self.bytes = self.bytes.saturating_sub(size(&known));
            let longer = if known.len() > text.len() { known } else { Arc::clone(text) };
            return self.push(longer);
        }
        self.push(Arc::clone(text));
    }

    fn push(&mut self, text: Arc<[u16]>) {
        self.bytes += size(&text);
        self.texts.push_back(text);
    }

    /// Halves the oldest text, and drops it once it is short: of a text that is longer than all room its beginning
    /// stays.
    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.texts.pop_front() else { return false };
        self.bytes = self.bytes.saturating_sub(size(&oldest));
        if let Some((first, _)) = oldest.split_at_checked(oldest.len() / 2)
            && first.len() >= SHORT
        {
            self.bytes += size(first);
            self.texts.push_front(first.into());
        }
        true
    }
}

fn size(text: &[u16]) -> usize {
    size_of_val(text) + OVERHEAD
}

/// Length of the common beginning.
fn common(one: &[u16], other: &[u16]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}
