//! [`ContextBases`] holds the contexts that the next turns of a session may refer to, because each turn repeats the
//! whole conversation.
//!
//! A base belongs to the same batch or to a committed one. It lies in the object that is currently open, and that
//! object stays open until everything that refers to it is placed ([`vault::books::Pin`]). So an object never depends
//! on another object, and a batch that fails or arrives out of order does not invalidate another batch's base. Changed
//! only by effects; holds hashes, not text. When the memory limit is reached, further sessions are not remembered and
//! their turns are stored in full. `vault/delta` expresses content relative to a base.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use vault::delta::{DeltaPlan, ItemFingerprints};
use vault::document::ItemContent;
use vault::object_names::FragmentScope;
use vault::vault_writer::{ObjectPin, VaultWriter};

/// Memory limit for all sessions, bytes.
pub(super) const MEMORY_LIMIT: usize = 64 << 20;
/// Maximum number of contexts remembered per session: an agent and its sub-agents take turns.
const MAX_CONTEXTS: usize = 4;
/// Maximum size of one context, bytes.
const MAX_CONTEXT_BYTES: usize = 1 << 18;
/// Approximate size of a session without its contexts, bytes.
const SESSION_OVERHEAD: usize = 160;

type SessionHash = [u8; 16];
/// Contexts of a batch, newest last, each with the fragment and item of the context that it continues.
type NewContexts = Vec<(Arc<ItemFingerprints>, Option<(Arc<str>, u32)>)>;

struct SessionContexts {
    object: u64,
    contexts: Vec<Arc<ItemFingerprints>>,
    bytes: usize,
}

#[derive(Default)]
struct ContextBasesState {
    sessions: HashMap<SessionHash, SessionContexts>,
    bytes: usize,
}

/// See the module documentation.
pub(super) struct ContextBases {
    limit: usize,
    state: Mutex<ContextBasesState>,
}

impl Default for ContextBases {
    fn default() -> Self {
        Self::new(MEMORY_LIMIT)
    }
}

/// The contexts added by a batch, applied after its commit.
pub(super) struct LearnedContexts {
    key: SessionHash,
    /// Number of the batch's object, if that object is still open for more.
    open_object: Arc<OnceLock<u64>>,
    contexts: NewContexts,
}

/// Finds bases for the contexts of one fragment.
pub(super) struct BaseLookup {
    key: SessionHash,
    pin: Option<ObjectPin>,
    known_contexts: Vec<Arc<ItemFingerprints>>,
    new_contexts: NewContexts,
    fragment: Arc<str>,
    referenced: BTreeSet<Arc<str>>,
}

fn session_hash(scope: &FragmentScope) -> SessionHash {
    Sha256::digest(scope.path()).first_chunk::<16>().copied().unwrap_or_default()
}

impl ContextBases {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    /// The bases that a new fragment of `scope` may refer to.
    pub(super) fn lookup(
        &self,
        writer: &Arc<VaultWriter>,
        scope: &FragmentScope,
        spot: &Arc<str>,
        fragment: &str,
    ) -> BaseLookup {
        let key = session_hash(scope);
        let (mut pin, mut streams) = (None, Vec::new());
        let known = self.state.lock().sessions.get(&key).map(|known| (known.object, known.contexts.clone()));
        if let Some((object, told)) = known {
            pin = writer.pin_object(spot).filter(|pin| pin.object() == object);
            streams = pin.as_ref().map_or_else(Vec::new, |_| told);
        }
        BaseLookup {
            key,
            pin,
            known_contexts: streams,
            new_contexts: Vec::new(),
            fragment: fragment.into(),
            referenced: BTreeSet::new(),
        }
    }

    /// Adds the contexts of a committed batch.
    pub(super) fn remember(&self, learnt: &LearnedContexts) {
        let mut state = self.state.lock();
        let before = state.sessions.remove(&learnt.key);
        state.bytes -= before.as_ref().map_or(0, |known| known.bytes);
        // A closed object takes no more fragments, so nothing can refer to its contexts.
        let Some(object) = learnt.open_object.get().copied() else { return };
        let mut told = before.filter(|known| known.object == object).map_or_else(Vec::new, |known| known.contexts);
        for (new, from) in &learnt.contexts {
            told.retain(|old| from.as_ref().is_none_or(|(fragment, item)| old.location() != (fragment, *item)));
            if new.size() <= MAX_CONTEXT_BYTES {
                told.push(Arc::clone(new));
            }
        }
        let more = told.len().saturating_sub(MAX_CONTEXTS);
        told.drain(..more);
        let bytes = SESSION_OVERHEAD + told.iter().map(|told| told.size()).sum::<usize>();
        if !told.is_empty() && state.bytes + bytes <= self.limit {
            state.bytes += bytes;
            state.sessions.insert(learnt.key, SessionContexts { object, contexts: told, bytes });
        }
    }

    /// Removes sessions whose objects are closed.
    pub(super) fn remove_closed(&self, writer: &VaultWriter) {
        let open = writer.open_numbers();
        let mut state = self.state.lock();
        let ContextBasesState { sessions, bytes } = &mut *state;
        sessions.retain(|_, known| {
            let keep = open.contains(&known.object);
            *bytes -= if keep { 0 } else { known.bytes };
            keep
        });
    }

    /// Number of sessions, and their size in bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.sessions.len(), state.bytes)
    }
}

impl BaseLookup {
    /// Plans how to store the content of item number `position`: in full, or relative to the base that saves most.
    pub(super) fn plan_content(&mut self, content: &mut ItemContent<'_>, position: u32) -> DeltaPlan {
        let mut best = (DeltaPlan::whole(content.prints().len()), None);
        for (at, base) in self.known_contexts.iter().enumerate().rev() {
            let plan = DeltaPlan::relative_to(content.prints(), base);
            if plan.saved > best.0.saved {
                best = (plan, Some(at));
            }
        }
        let (plan, at) = best;
        let base = at.and_then(|at| self.known_contexts.get(at).cloned());
        if base.is_some() {
            let others = plan.sources().filter(|fragment| **fragment != self.fragment);
            self.referenced.extend(others.cloned());
        }
        let told =
            Arc::new(ItemFingerprints::new(&self.fragment, position, content.take_prints(), &plan, base.as_deref()));
        if !told.is_context() {
            return plan;
        }
        let from = base.map(|base| (Arc::clone(base.location().0), base.location().1));
        match at.and_then(|at| self.known_contexts.get_mut(at)) {
            Some(stream) => *stream = Arc::clone(&told),
            None => {
                let more = (self.known_contexts.len() + 1).saturating_sub(MAX_CONTEXTS);
                self.known_contexts.drain(..more);
                self.known_contexts.push(Arc::clone(&told));
            }
        }
        // A context of this batch that was continued is not a base any more.
        self.new_contexts
            .retain(|(old, _)| from.as_ref().is_none_or(|(fragment, item)| old.location() != (fragment, *item)));
        self.new_contexts.push((told, from));
        let more = self.new_contexts.len().saturating_sub(2 * MAX_CONTEXTS);
        self.new_contexts.drain(..more);
        plan
    }

    /// Returns the pin (if anything of an earlier batch is referred to), the fragments referred to, and the new
    /// contexts.
    pub(super) fn finish(self, landed: &Arc<OnceLock<u64>>) -> (Option<ObjectPin>, Vec<String>, LearnedContexts) {
        let Self { key, pin, new_contexts: told, referenced: used, .. } = self;
        let pin = pin.filter(|_| !used.is_empty());
        let used = used.iter().map(ToString::to_string).collect();
        (pin, used, LearnedContexts { key, open_object: Arc::clone(landed), contexts: told })
    }
}
