//! [`Bases`] holds the contexts that the next turns of a session may refer to, because each turn repeats the whole
//! conversation.
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

use vault::books::{Pin, Writer};
use vault::delta::{Plan, Told};
use vault::document::Content;
use vault::names::Scope;

/// Memory limit for all sessions, bytes.
pub(super) const LIMIT: usize = 64 << 20;
/// Maximum number of contexts remembered per session: an agent and its sub-agents take turns.
const STREAMS: usize = 4;
/// Maximum size of one context, bytes.
const MAX_TOLD: usize = 1 << 18;
/// Approximate size of a session without its contexts, bytes.
const ENTRY: usize = 160;

type Key = [u8; 16];
/// Contexts of a batch, newest last, each with the fragment and item of the context that it continues.
type News = Vec<(Arc<Told>, Option<(Arc<str>, u32)>)>;

struct Known {
    object: u64,
    told: Vec<Arc<Told>>,
    bytes: usize,
}

#[derive(Default)]
struct State {
    sessions: HashMap<Key, Known>,
    bytes: usize,
}

/// See the module documentation.
pub(super) struct Bases {
    limit: usize,
    state: Mutex<State>,
}

impl Default for Bases {
    fn default() -> Self {
        Self::new(LIMIT)
    }
}

/// The contexts added by a batch, applied after its commit.
pub(super) struct Learnt {
    key: Key,
    /// Number of the batch's object, if that object is still open for more.
    landed: Arc<OnceLock<u64>>,
    told: News,
}

/// Finds bases for the contexts of one fragment.
pub(super) struct Lookup {
    key: Key,
    pin: Option<Pin>,
    streams: Vec<Arc<Told>>,
    told: News,
    fragment: Arc<str>,
    used: BTreeSet<Arc<str>>,
}

fn key(scope: &Scope) -> Key {
    Sha256::digest(scope.path()).first_chunk::<16>().copied().unwrap_or_default()
}

impl Bases {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    /// The bases that a new fragment of `scope` may refer to.
    pub(super) fn lookup(&self, writer: &Arc<Writer>, scope: &Scope, spot: &Arc<str>, fragment: &str) -> Lookup {
        let key = key(scope);
        let (mut pin, mut streams) = (None, Vec::new());
        let known = self.state.lock().sessions.get(&key).map(|known| (known.object, known.told.clone()));
        if let Some((object, told)) = known {
            pin = writer.pin(spot).filter(|pin| pin.object() == object);
            streams = pin.as_ref().map_or_else(Vec::new, |_| told);
        }
        Lookup { key, pin, streams, told: Vec::new(), fragment: fragment.into(), used: BTreeSet::new() }
    }

    /// Adds the contexts of a committed batch.
    pub(super) fn remember(&self, learnt: &Learnt) {
        let mut state = self.state.lock();
        let before = state.sessions.remove(&learnt.key);
        state.bytes -= before.as_ref().map_or(0, |known| known.bytes);
        // A closed object takes no more fragments, so nothing can refer to its contexts.
        let Some(object) = learnt.landed.get().copied() else { return };
        let mut told = before.filter(|known| known.object == object).map_or_else(Vec::new, |known| known.told);
        for (new, from) in &learnt.told {
            told.retain(|old| from.as_ref().is_none_or(|(fragment, item)| old.at() != (fragment, *item)));
            if new.size() <= MAX_TOLD {
                told.push(Arc::clone(new));
            }
        }
        let more = told.len().saturating_sub(STREAMS);
        told.drain(..more);
        let bytes = ENTRY + told.iter().map(|told| told.size()).sum::<usize>();
        if !told.is_empty() && state.bytes + bytes <= self.limit {
            state.bytes += bytes;
            state.sessions.insert(learnt.key, Known { object, told, bytes });
        }
    }

    /// Removes sessions whose objects are closed.
    pub(super) fn sweep(&self, writer: &Writer) {
        let open = writer.open_numbers();
        let mut state = self.state.lock();
        let State { sessions, bytes } = &mut *state;
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

impl Lookup {
    /// Plans how to store the content of item number `position`: in full, or relative to the base that saves most.
    pub(super) fn say(&mut self, content: &mut Content<'_>, position: u32) -> Plan {
        let mut best = (Plan::whole(content.prints().len()), None);
        for (at, base) in self.streams.iter().enumerate().rev() {
            let plan = Plan::by(content.prints(), base);
            if plan.saved > best.0.saved {
                best = (plan, Some(at));
            }
        }
        let (plan, at) = best;
        let base = at.and_then(|at| self.streams.get(at).cloned());
        if base.is_some() {
            let others = plan.sources().filter(|fragment| **fragment != self.fragment);
            self.used.extend(others.cloned());
        }
        let told = Arc::new(Told::new(&self.fragment, position, content.take_prints(), &plan, base.as_deref()));
        if !told.is_context() {
            return plan;
        }
        let from = base.map(|base| (Arc::clone(base.at().0), base.at().1));
        match at.and_then(|at| self.streams.get_mut(at)) {
            Some(stream) => *stream = Arc::clone(&told),
            None => {
                let more = (self.streams.len() + 1).saturating_sub(STREAMS);
                self.streams.drain(..more);
                self.streams.push(Arc::clone(&told));
            }
        }
        // A context of this batch that was continued is not a base any more.
        self.told.retain(|(old, _)| from.as_ref().is_none_or(|(fragment, item)| old.at() != (fragment, *item)));
        self.told.push((told, from));
        let more = self.told.len().saturating_sub(2 * STREAMS);
        self.told.drain(..more);
        plan
    }

    /// Returns the pin (if anything of an earlier batch is referred to), the fragments referred to, and the new
    /// contexts.
    pub(super) fn finish(self, landed: &Arc<OnceLock<u64>>) -> (Option<Pin>, Vec<String>, Learnt) {
        let Self { key, pin, told, used, .. } = self;
        let pin = pin.filter(|_| !used.is_empty());
        let used = used.iter().map(ToString::to_string).collect();
        (pin, used, Learnt { key, landed: Arc::clone(landed), told })
    }
}
