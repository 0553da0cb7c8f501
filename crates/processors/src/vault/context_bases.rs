//! [`ContextBases`] remembers the contexts of each session, so that the next turn, which repeats the whole
//! conversation, can be stored relative to one of them (its base).
//!
//! A base belongs to the same batch or to a committed one. It lies in the object that is currently open, and that
//! object stays open until everything that refers to it is placed ([`ObjectPin`]). So an object never depends on
//! another object, and a batch that fails or arrives out of order does not invalidate another batch's base. Changed
//! only by effects; holds hashes, not text. Beyond the memory limit another session is evicted, and its next turn
//! is stored in full. `vault/delta` expresses content relative to a base.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use kernel::bounded_map::{AccountHash, BoundedMap};
use kernel::sha256::Sha256;
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
/// Contexts of a batch, newest last, each with the fragment and item number of the context that it continues.
type NewContexts = Vec<(Arc<ItemFingerprints>, Option<(Arc<str>, u32)>)>;

struct SessionContexts {
    /// Number of the object that holds the contexts.
    object: u64,
    contexts: Vec<Arc<ItemFingerprints>>,
}

/// See the module documentation. A session weighs its bytes.
#[derive(Default)]
pub(super) struct ContextBases(Mutex<BoundedMap<SessionHash, SessionContexts, MEMORY_LIMIT>>);

/// The contexts added by a batch, applied after its commit.
pub(super) struct LearnedContexts {
    account: AccountHash,
    session: SessionHash,
    /// Number of the batch's object, if that object is still open for more.
    open_object: Arc<OnceLock<u64>>,
    contexts: NewContexts,
}

/// Finds bases for the contexts of one fragment.
pub(super) struct BaseLookup {
    account: AccountHash,
    session: SessionHash,
    pin: Option<ObjectPin>,
    /// Possible bases: of committed batches and of this fragment.
    candidates: Vec<Arc<ItemFingerprints>>,
    new_contexts: NewContexts,
    fragment: Arc<str>,
    /// Other fragments that this one refers to.
    referenced: BTreeSet<Arc<str>>,
}

impl ContextBases {
    #[cfg(test)]
    pub(super) fn new(limit: usize) -> Self {
        Self(Mutex::new(BoundedMap::new(limit)))
    }

    /// The bases that a new fragment of `scope` may refer to.
    pub(super) fn lookup(
        &self,
        writer: &Arc<VaultWriter>,
        scope: &FragmentScope,
        object_prefix: &Arc<str>,
        fragment: &str,
    ) -> BaseLookup {
        let session = Sha256::digest(scope.path()).first_chunk::<16>().copied().unwrap_or_default();
        let known = self.0.lock().get(&session).map(|known| (known.object, known.contexts.clone()));
        let pinned = known.and_then(|(object, contexts)| {
            Some((writer.pin_object(object_prefix).filter(|pin| pin.number == object)?, contexts))
        });
        let (pin, candidates) = pinned.unzip();
        BaseLookup {
            account: AccountHash::from(&*scope.account),
            session,
            pin,
            candidates: candidates.unwrap_or_default(),
            new_contexts: Vec::new(),
            fragment: fragment.into(),
            referenced: BTreeSet::new(),
        }
    }

    /// Adds the contexts of a committed batch.
    pub(super) fn remember(&self, learned: &LearnedContexts) {
        let mut sessions = self.0.lock();
        let previous = sessions.remove(&learned.session);
        // A closed object takes no more fragments, so nothing can refer to its contexts.
        let Some(object) = learned.open_object.get().copied() else { return };
        let mut contexts =
            previous.filter(|known| known.object == object).map_or_else(Vec::new, |known| known.contexts);
        for (context, base) in &learned.contexts {
            contexts.retain(|old| base.as_ref().is_none_or(|(fragment, item)| old.location() != (fragment, *item)));
            if context.size() <= MAX_CONTEXT_BYTES {
                contexts.push(Arc::clone(context));
            }
        }
        let excess = contexts.len().saturating_sub(MAX_CONTEXTS);
        contexts.drain(..excess);
        let bytes = SESSION_OVERHEAD + contexts.iter().map(|context| context.size()).sum::<usize>();
        if !contexts.is_empty() {
            sessions.insert_for(learned.account, learned.session, SessionContexts { object, contexts }, bytes);
        }
    }

    /// Removes sessions whose objects are closed.
    pub(super) fn remove_closed(&self, writer: &VaultWriter) {
        let open = writer.open_numbers();
        self.0.lock().retain(|_, known| open.contains(&known.object));
    }

    /// Number of sessions, and their size in bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        let sessions = self.0.lock();
        (sessions.len(), sessions.weight())
    }
}

impl BaseLookup {
    /// Plans how to store the content of item number `position`: in full, or relative to the base that saves most.
    pub(super) fn plan_content(&mut self, content: &mut ItemContent<'_>, position: u32) -> DeltaPlan {
        let (mut plan, mut base_index) = (DeltaPlan::whole(content.fingerprints.len()), None);
        if !content.is_context() {
            return plan;
        }
        for (index, base) in self.candidates.iter().enumerate().rev() {
            let candidate = DeltaPlan::relative_to(&content.fingerprints, base);
            if candidate.saved > plan.saved {
                (plan, base_index) = (candidate, Some(index));
            }
        }
        let base = base_index.and_then(|index| self.candidates.get(index).cloned());
        if base.is_some() {
            let others = plan.sources().filter(|fragment| **fragment != self.fragment);
            self.referenced.extend(others.cloned());
        }
        let context = Arc::new(ItemFingerprints::new(
            &self.fragment,
            position,
            std::mem::take(&mut content.fingerprints),
            &plan,
            base.as_deref(),
        ));
        let base = base.map(|base| (Arc::clone(base.location().0), base.location().1));
        match base_index.and_then(|index| self.candidates.get_mut(index)) {
            Some(continued) => *continued = Arc::clone(&context),
            None => {
                let excess = (self.candidates.len() + 1).saturating_sub(MAX_CONTEXTS);
                self.candidates.drain(..excess);
                self.candidates.push(Arc::clone(&context));
            }
        }
        // A context of this batch that was continued is not a base any more.
        self.new_contexts
            .retain(|(old, _)| base.as_ref().is_none_or(|(fragment, item)| old.location() != (fragment, *item)));
        self.new_contexts.push((context, base));
        let excess = self.new_contexts.len().saturating_sub(2 * MAX_CONTEXTS);
        self.new_contexts.drain(..excess);
        plan
    }

    /// Returns the pin (if anything of an earlier batch is referred to), the fragments referred to, and the new
    /// contexts.
    pub(super) fn finish(self, open_object: &Arc<OnceLock<u64>>) -> (Option<ObjectPin>, Vec<String>, LearnedContexts) {
        let Self { account, session, pin, new_contexts: contexts, referenced, .. } = self;
        let pin = pin.filter(|_| !referenced.is_empty());
        let referenced = referenced.iter().map(ToString::to_string).collect();
        (pin, referenced, LearnedContexts { account, session, open_object: Arc::clone(open_object), contexts })
    }
}
