//! Calls whose model or provider is on an ancestor span in another batch. They wait in [`WaitingCalls`] and are priced
//! when the ancestor arrives.
//!
//! Bounded; each call is priced once; changed only after a commit. A call that waits too long is counted as unpriced.
//! Totals are in `ledger`.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use genai::usage::PriceBasis;
use genai::{Facts, ItemFacts};
use otlp::{NodeId, NodeKind, Payload, Signal};
use pipeline::ClaimKey;

/// Maximum number of waiting calls (a call beyond it gets no price) and of remembered ancestors (one beyond it evicts
/// the oldest).
pub(super) const MAX_WAITING: usize = 50_000;
/// Maximum number of steps to an ancestor within a batch.
const MAX_STEPS: usize = 64;

/// A call that waits for an ancestor.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct WaitingCall {
    pub(super) call_key: String,
    pub(super) trace: [u8; 16],
    pub(super) span: [u8; 8],
    pub(super) parent: [u8; 8],
    pub(super) session: Option<String>,
    pub(super) tenant: Option<String>,
    pub(super) basis: PriceBasis,
    /// End of the waiting time, Unix ns.
    pub(super) until: u64,
}

/// Model and provider that a span passes on to the spans below it.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct InheritedModel {
    pub(super) model: Option<String>,
    pub(super) provider: Option<String>,
    /// Time after which the entry is dropped, Unix ns.
    pub(super) until: u64,
}

/// Key of a span or another unit: a hash that includes the account (for spans: account, trace and span).
pub(super) type UnitKey = [u8; 16];

/// Values with their keys.
pub(super) type KeyedValues<T> = Vec<(UnitKey, T)>;

/// Waiting calls, by the span that they wait for.
#[derive(Default)]
pub(super) struct WaitingCalls {
    /// By span, then by call key.
    calls: HashMap<UnitKey, BTreeMap<String, WaitingCall>>,
    ancestors: HashMap<UnitKey, InheritedModel>,
    /// Remembered ancestors, oldest first, each with its expiry time when it was added.
    order: VecDeque<(UnitKey, u64)>,
    count: usize,
}

/// The key of a span.
pub(super) fn span_key(account: &str, trace: &[u8], span: &[u8]) -> UnitKey {
    ClaimKey::from_parts(&[b"awaits", account.as_bytes(), trace, span]).to_bytes()
}

impl WaitingCalls {
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn calls_for(&self, place: &UnitKey) -> impl Iterator<Item = &WaitingCall> {
        self.calls.get(place).into_iter().flat_map(BTreeMap::values)
    }

    pub(super) fn inherited_from(&self, place: &UnitKey) -> Option<&InheritedModel> {
        self.ancestors.get(place)
    }

    /// Returns true if no further call can wait, with `more` calls already about to be added.
    pub(super) fn is_full(&self, more: usize) -> bool {
        self.count.saturating_add(more) >= MAX_WAITING
    }

    /// Adds a waiting call. Returns it if there is no room.
    pub(super) fn add_call(&mut self, place: UnitKey, late: WaitingCall) -> Option<WaitingCall> {
        if self.count >= MAX_WAITING {
            return Some(late);
        }
        if self.calls.entry(place).or_default().insert(late.call_key.clone(), late).is_none() {
            self.count += 1;
        }
        None
    }

    /// Remembers an ancestor. Returns the number of evicted ancestors.
    pub(super) fn remember_ancestor(&mut self, place: UnitKey, above: InheritedModel) -> u64 {
        let mut forgotten = 0;
        self.order.push_back((place, above.until));
        self.ancestors.insert(place, above);
        while self.ancestors.len() > MAX_WAITING || self.order.len() > 2 * MAX_WAITING {
            let Some((oldest, until)) = self.order.pop_front() else { break };
            // An ancestor that was remembered again since has another expiry time and stays.
            if self.ancestors.get(&oldest).is_some_and(|above| above.until == until) {
                self.ancestors.remove(&oldest);
                forgotten += 1;
            }
        }
        forgotten
    }

    /// Removes one waiting call.
    pub(super) fn remove_call(&mut self, place: &UnitKey, call_key: &str) -> Option<WaitingCall> {
        let calls = self.calls.get_mut(place)?;
        let late = calls.remove(call_key)?;
        self.count -= 1;
        if calls.is_empty() {
            self.calls.remove(place);
        }
        Some(late)
    }

    /// Drops expired ancestors and returns the calls whose waiting time is over.
    pub(super) fn expire(&mut self, now: u64) -> Vec<WaitingCall> {
        self.ancestors.retain(|_, above| above.until > now);
        self.order.retain(|(_, until)| *until > now);
        let mut out = Vec::new();
        self.calls.retain(|_, calls| {
            let all = std::mem::take(calls).into_iter();
            let (over, left): (BTreeMap<_, _>, BTreeMap<_, _>) = all.partition(|(_, late)| late.until <= now);
            *calls = left;
            out.extend(over.into_values());
            !calls.is_empty()
        });
        self.count -= out.len();
        out
    }

    /// All entries, for a checkpoint.
    pub(super) fn entries(&self) -> (KeyedValues<WaitingCall>, KeyedValues<InheritedModel>) {
        let calls = self.calls.iter().flat_map(|(place, calls)| calls.values().map(|late| (*place, late.clone())));
        (calls.collect(), self.ancestors.iter().map(|(place, above)| (*place, above.clone())).collect())
    }
}

/// Trace id and span id.
pub(super) type TraceSpanId = ([u8; 16], [u8; 8]);

/// The spans of a batch, for walks to ancestors.
pub(super) struct BatchSpans {
    by_id: HashMap<TraceSpanId, usize>,
    /// By item.
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
    pub(super) fn from_payload(payload: &Payload) -> Self {
        let (mut by_id, mut parents) = (HashMap::new(), Vec::with_capacity(payload.item_count()));
        for (at, node) in payload.items().enumerate() {
            let own = own_span_id(payload, node);
            let parent = own.and_then(|(trace, span)| {
                let parent = <[u8; 8]>::try_from(payload.parent_span_id(node)).ok()?;
                (parent != [0; 8] && parent != span).then_some((trace, parent))
            });
            parents.push(parent);
            if let Some(own) = own {
                by_id.insert(own, at);
            }
        }
        Self { by_id, parents }
    }

    fn parent(&self, at: usize) -> Option<TraceSpanId> {
        self.parents.get(at).copied().flatten()
    }

    /// The spans above an item, nearest first, up to and including the first that has tokens (`told`) or is not in the
    /// batch.
    pub(super) fn ancestors_to_tokens(&self, at: usize, told: &[bool]) -> Vec<TraceSpanId> {
        let (mut at, mut above) = (at, Vec::new());
        for _ in 0..MAX_STEPS {
            let Some(parent) = self.parent(at) else { break };
            above.push(parent);
            match self.by_id.get(&parent) {
                Some(next) if told.get(*next) == Some(&false) => at = *next,
                _ => break,
            }
        }
        above
    }

    /// The nearest ancestor of an item that is not in the batch.
    pub(super) fn missing_ancestor(&self, at: usize) -> Option<TraceSpanId> {
        let mut at = at;
        for _ in 0..MAX_STEPS {
            let parent = self.parent(at)?;
            match self.by_id.get(&parent) {
                Some(above) => at = *above,
                None => return Some(parent),
            }
        }
        None
    }

    /// The item of a span.
    pub(super) fn item_of(&self, id: &TraceSpanId) -> Option<usize> {
        self.by_id.get(id).copied()
    }

    /// Model and provider reported by a span and its ancestors in the batch.
    pub(super) fn inherited_model(&self, facts: &Facts, at: usize) -> InheritedModel {
        let (mut told, mut at) = (InheritedModel::default(), Some(at));
        for _ in 0..MAX_STEPS {
            let Some(here) = at else { break };
            if let Some(item) = facts.items.get(here) {
                told.model = told.model.or_else(|| item.request_model.clone());
                told.provider = told.provider.or_else(|| item.provider.clone());
            }
            at = self.parent(here).and_then(|parent| self.item_of(&parent));
        }
        told
    }
}

/// The call in its waiting form. `None` if it does not inherit, or already has model and provider.
pub(super) fn waiting_call(payload: &Payload, item: &ItemFacts, until: u64) -> Option<WaitingCall> {
    let node = item.node;
    let told = item.request_model.is_some() || item.response_model.is_some();
    if !item.inherits_model || (told && item.provider.is_some()) || payload.signal() != Signal::Traces {
        return None;
    }
    Some(WaitingCall {
        call_key: item.call_key.clone()?,
        trace: payload.trace_id(node).try_into().ok()?,
        span: payload.span_id(node).try_into().ok()?,
        parent: payload.parent_span_id(node).try_into().unwrap_or_default(),
        session: item.session.clone(),
        tenant: item.tenant.clone(),
        basis: PriceBasis::from_facts(item, payload.time(node))?,
        until,
    })
}
