//! Calls whose model or provider is on an ancestor span in another batch. They wait in [`WaitingCalls`] until that
//! batch arrives and `deferred_calls` prices them. Models of ancestors that arrived first are remembered there too.
//! [`BatchSpans`] finds the ancestors of an item within one batch.
//!
//! [`WaitingCalls`] is bounded, and changes only when a batch is committed or an entry expires. `ledger` counts a call
//! that waited too long as unpriced.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use genai::usage::PriceBasis;
use genai::{Facts, ItemFacts};
use kernel::bounded_map::{AccountHash, BoundedMap};
use kernel::sha256::Sha256;
use otlp::{NodeId, NodeKind, Payload, Signal};

/// Maximum number of waiting calls (a further call gets no price) and of entries in each [`LedgerMap`].
pub(super) const MAX_WAITING: usize = 50_000;
/// Maximum number of parents that are followed from one item within a batch.
const MAX_STEPS: usize = 64;

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct WaitingCall {
    pub(super) call_key: String,
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    pub(super) parent: [u8; 8],
    pub(super) session: Option<String>,
    pub(super) tenant: Option<String>,
    #[serde(with = "as_json")]
    pub(super) basis: PriceBasis,
    /// What the ledger knows of the call.
    pub(super) record: calls::CallRecord,
    /// End of the waiting time, Unix ns.
    pub(super) until: u64,
}

impl WaitingCall {
    /// `None` if the item is not a span with ids, has no call key or no price basis, does not inherit, or has model and
    /// provider already.
    pub(super) fn from_item(
        payload: &Payload,
        item: &ItemFacts,
        record: &calls::CallRecord,
        until: u64,
    ) -> Option<Self> {
        let node = item.node;
        let has_model = item.request_model.is_some() || item.response_model.is_some();
        if !item.inherits_model || (has_model && item.provider.is_some()) || payload.signal() != Signal::Traces {
            return None;
        }
        Some(Self {
            call_key: item.call_key.clone()?,
            trace: payload.trace_id(node).try_into().ok()?,
            span: payload.span_id(node).try_into().ok()?,
            parent: payload.parent_span_id(node).try_into().unwrap_or_default(),
            session: item.session.clone(),
            tenant: item.tenant.clone(),
            basis: PriceBasis::from_facts(item, payload.time(node))?,
            record: record.clone(),
            until,
        })
    }
}

/// A value as JSON within a form that does not describe itself.
mod as_json {
    use serde::de::{DeserializeOwned, Error as _};
    use serde::ser::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<V: Serialize, S: Serializer>(value: &V, out: S) -> Result<S::Ok, S::Error> {
        serde_json::to_string(value).map_err(S::Error::custom)?.serialize(out)
    }

    pub(crate) fn deserialize<'de, V: DeserializeOwned, D: Deserializer<'de>>(input: D) -> Result<V, D::Error> {
        serde_json::from_str(&String::deserialize(input)?).map_err(D::Error::custom)
    }
}

/// Model and provider that a span passes on to the spans below it.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct InheritedModel {
    pub(super) model: Option<String>,
    pub(super) provider: Option<String>,
    /// Time after which the entry is dropped, Unix ns.
    pub(super) until: u64,
}

/// Key of the ledger's entries: a hash of the account and of the ids of a span, an answer or a session.
pub(super) type LedgerKey = [u8; 16];

/// What the ledger remembers by key.
pub(super) type LedgerMap<V> = BoundedMap<LedgerKey, V, MAX_WAITING>;

/// An entry in a checkpoint.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedEntry<V>(pub(super) LedgerKey, pub(super) V, pub(super) AccountHash);

/// All entries of a map, oldest first, for a checkpoint.
pub(super) fn entries<V: Clone>(map: &LedgerMap<V>) -> Vec<SavedEntry<V>> {
    map.entries().map(|(account, key, value)| SavedEntry(*key, value.clone(), account)).collect()
}

/// Calls that wait for a span, and spans whose models later calls may inherit.
#[derive(Default)]
pub(super) struct WaitingCalls {
    /// By the span that the calls wait for, then by call key.
    calls: HashMap<LedgerKey, BTreeMap<String, WaitingCall>>,
    ancestors: LedgerMap<InheritedModel>,
    call_count: usize,
}

pub(super) fn span_key(account: &str, trace: &[u8], span: &[u8]) -> LedgerKey {
    Sha256::short_list(&[b"awaits", account.as_bytes(), trace, span])
}

impl WaitingCalls {
    pub(super) fn is_empty(&self) -> bool {
        self.call_count == 0
    }

    pub(super) fn calls_for(&self, ancestor: &LedgerKey) -> impl Iterator<Item = &WaitingCall> {
        self.calls.get(ancestor).into_iter().flat_map(BTreeMap::values)
    }

    /// The model and provider of a remembered span.
    pub(super) fn inherited_from(&self, ancestor: &LedgerKey) -> Option<&InheritedModel> {
        self.ancestors.get(ancestor)
    }

    /// Returns true if no further call can wait once `pending` calls are added.
    pub(super) fn is_full(&self, pending: usize) -> bool {
        self.call_count.saturating_add(pending) >= MAX_WAITING
    }

    /// Adds a waiting call. Returns it if there is no room.
    pub(super) fn add_call(&mut self, ancestor: LedgerKey, call: WaitingCall) -> Option<WaitingCall> {
        if self.call_count >= MAX_WAITING {
            return Some(call);
        }
        if self.calls.entry(ancestor).or_default().insert(call.call_key.clone(), call).is_none() {
            self.call_count += 1;
        }
        None
    }

    /// Remembers an ancestor. Returns the number of evicted ancestors.
    pub(super) fn remember_ancestor(
        &mut self,
        SavedEntry(ancestor, inherited, account): SavedEntry<InheritedModel>,
    ) -> u64 {
        self.ancestors.insert_for(account, ancestor, inherited, 1).len() as u64
    }

    pub(super) fn remove_call(&mut self, ancestor: &LedgerKey, call_key: &str) -> Option<WaitingCall> {
        let calls = self.calls.get_mut(ancestor)?;
        let call = calls.remove(call_key)?;
        self.call_count -= 1;
        if calls.is_empty() {
            self.calls.remove(ancestor);
        }
        Some(call)
    }

    /// Drops expired ancestors and returns the calls whose waiting time is over.
    pub(super) fn expire(&mut self, now: u64) -> Vec<WaitingCall> {
        self.ancestors.retain(|_, inherited| inherited.until > now);
        let mut expired = Vec::new();
        self.calls.retain(|_, calls| {
            expired.extend(calls.extract_if(.., |_, call| call.until <= now).map(|(_, call)| call));
            !calls.is_empty()
        });
        self.call_count -= expired.len();
        expired
    }

    pub(super) fn entries(&self) -> (Vec<(LedgerKey, WaitingCall)>, Vec<SavedEntry<InheritedModel>>) {
        let calls = self.calls.iter().flat_map(|(span, calls)| calls.values().map(|call| (*span, call.clone())));
        (calls.collect(), entries(&self.ancestors))
    }
}

pub(super) type TraceSpanId = ([u8; 16], [u8; 8]);

/// The spans of a batch, for walks to ancestors.
pub(super) struct BatchSpans {
    by_id: foldhash::HashMap<TraceSpanId, usize>,
    parents: Vec<Option<TraceSpanId>>,
}

/// A span's own id. `None` for other items and for ids of the wrong length.
pub(super) fn own_span_id(payload: &Payload, node: NodeId) -> Option<TraceSpanId> {
    if payload.kind(node) != NodeKind::Span {
        return None;
    }
    Some((payload.trace_id(node).try_into().ok()?, payload.span_id(node).try_into().ok()?))
}

impl BatchSpans {
    /// Reads the ids of all spans and their parents.
    pub(super) fn from_payload(payload: &Payload) -> Self {
        let (mut by_id, mut parents) = (foldhash::HashMap::default(), Vec::with_capacity(payload.item_count()));
        for (index, node) in payload.items().enumerate() {
            let own_id = own_span_id(payload, node);
            let parent = own_id.and_then(|(trace, span)| {
                let parent = <[u8; 8]>::try_from(payload.parent_span_id(node)).ok()?;
                (parent != [0; 8] && parent != span).then_some((trace, parent))
            });
            parents.push(parent);
            if let Some(id) = own_id {
                by_id.insert(id, index);
            }
        }
        Self { by_id, parents }
    }

    fn parent(&self, index: usize) -> Option<TraceSpanId> {
        self.parents.get(index).copied().flatten()
    }

    /// The first ancestor of an item that is missing from the batch.
    pub(super) fn missing_ancestor(&self, mut index: usize) -> Option<TraceSpanId> {
        for _ in 0..MAX_STEPS {
            let parent = self.parent(index)?;
            match self.by_id.get(&parent) {
                Some(next) => index = *next,
                None => return Some(parent),
            }
        }
        None
    }

    /// Model and provider that a span and its ancestors in the batch report; the nearest one applies.
    pub(super) fn inherited_model(&self, facts: &Facts, index: usize) -> InheritedModel {
        let (mut inherited, mut next) = (InheritedModel::default(), Some(index));
        for _ in 0..MAX_STEPS {
            let Some(index) = next else { break };
            if let Some(item) = facts.items.get(index) {
                inherited.model = inherited.model.or_else(|| item.request_model.clone());
                inherited.provider = inherited.provider.or_else(|| item.provider.clone());
            }
            next = self.parent(index).and_then(|parent| self.by_id.get(&parent).copied());
        }
        inherited
    }
}
