//! Stamps the known run on each item, and a run's totals on its root. The state is only read: the batch is added to
//! copies of its groups. Totals that a client set itself are kept. `crates/processors/src/normalize` removes stamps
//! that clients may not set.

use std::collections::hash_map::Entry;
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _, HashSet};

use genai::{Facts, ItemFacts, ItemRole, VaultedTexts, fits_words};
use otlp::{OwnedValue, Payload};
use pipeline::{Batch, Trust};
use runs::{RunOwner, StepKind};

use super::continuations::{Continuations, SessionNews};
use super::group::{ItemGroup, LifecycleMark, TracePosition};
use super::metrics::usd;
use super::observation::{
    BatchObservation, ObservedItem, ObservedKey, first_nonzero, flag, is_observed, key_kind, mark, numbered,
    session_of_trace, trouble,
};
use super::resolve::ResolvedRuns;
use super::run::Run;
use super::run_calls::AggregationContext;
use super::store::{GroupStore, KeyId, KeyedBatch};

pub(super) const RUN_ID_ATTRIBUTE: &str = "tollgate.run.id";
const CONTINUES_ATTRIBUTE: &str = "tollgate.session.continues";
const TURN_ATTRIBUTE: &str = "tollgate.run.turn";
const ITERATION_ATTRIBUTE: &str = "tollgate.run.iteration";

/// A longer feature may be text, so it is not written as an agent's name.
const MAX_NAME_WORDS: usize = 3;
const MAX_NAME_BYTES: usize = 64;

/// Groups of at most this weight are read as a whole.
const MAX_WHOLE_WEIGHT: usize = 2_000;
/// Largest weight that a batch without the root of a trace reads.
const MAX_WEIGHT: usize = 8_000;

/// The attributes to write on one item.
struct ItemStamp {
    /// Value of [`RUN_ID_ATTRIBUTE`].
    run: Option<String>,
    /// Further attributes, written only if the item lacks them.
    totals: Vec<(&'static str, OwnedValue)>,
}

pub(super) struct GroupCopies {
    pub(super) store: GroupStore,
    /// No group was left out.
    pub(super) is_complete: bool,
    pub(super) context: AggregationContext,
}

/// Whether the state must be read: for totals, for fallbacks, and if earlier items may have named the run of an item
/// that names none.
pub(super) fn is_state_needed(batch: &KeyedBatch<'_>, store: &GroupStore) -> bool {
    let KeyedBatch { observation, ids } = batch;
    let is_invocation_or_turn_end =
        |item: &ObservedItem| matches!(item.mark, mark::AGENT | mark::TURN_END) && item.flags & flag::SPAN != 0;
    if observation.items.iter().any(is_invocation_or_turn_end) || has_possible_fallback(batch, store) {
        return true;
    }
    let has_named_runs = |id: &KeyId| {
        let group = store.find_key(id).and_then(|(group, _)| store.get(group));
        group.is_some_and(|group| group.named_runs != 0)
    };
    let has_unnamed_item = observation.items.iter().any(|item| item.run == 0);
    let mut traces = ids.iter().zip(&observation.keys).filter(|(_, key)| key.kind == key_kind::TRACE);
    has_unnamed_item && traces.any(|(id, _)| has_named_runs(id))
}

/// Whether a call of the batch reports trouble or a fallback, or may follow a call that did.
fn has_possible_fallback(KeyedBatch { observation, ids }: &KeyedBatch<'_>, store: &GroupStore) -> bool {
    let mut calls = observation.items.iter().filter_map(|item| item.call.as_ref()).peekable();
    if calls.peek().is_none() {
        return false;
    }
    let is_after_trouble = || {
        let keys = ids.iter().zip(&observation.keys).filter(|(_, key)| key.kind != key_kind::SESSION);
        let mut groups = keys.filter_map(|(id, _)| store.get(store.find_key(id)?.0));
        groups.any(|group| group.has_trouble)
    };
    calls.any(|call| call.trouble != trouble::NONE || call.fallback != trouble::NONE) || is_after_trouble()
}

/// Copies what the batch's stamps depend on: whole groups while they are small, otherwise the batch's own traces and
/// runs. A trace with very many items is read only for its first root.
pub(super) fn copy_groups(
    batch: &KeyedBatch<'_>,
    groups: Vec<Arc<ItemGroup>>,
    context: &AggregationContext,
) -> GroupCopies {
    let is_root = |item: &ObservedItem| item.mark == mark::AGENT && item.parent == 0 && item.flags & flag::SPAN != 0;
    let has_root = batch.observation.items.iter().any(is_root);
    let mut copies =
        GroupCopies { store: GroupStore::new(usize::MAX), is_complete: true, context: context.without_window() };
    for group in groups {
        let copy = if group.weight() <= MAX_WHOLE_WEIGHT { group } else { Arc::new(group.part_of(&batch.ids)) };
        if copy.weight() <= MAX_WEIGHT || (has_root && !copy.has_root()) {
            copies.store.insert(copy);
        } else {
            copies.is_complete = false;
        }
    }
    copies
}

impl ItemGroup {
    /// Whether an agent without a parent was seen.
    fn has_root(&self) -> bool {
        let is_root = |mark: &&LifecycleMark| mark.kind == mark::AGENT && mark.position.is_own_span;
        let mut agents = self.marks.values().filter(is_root);
        agents.any(|agent| self.nodes.get(agent.position.node).is_some_and(|node| node.parent == 0))
    }

    /// A copy to resolve runs with: the items in the traces of these keys and the items that name the runs of these
    /// keys. The numbers of keys and names stay the same.
    fn part_of(&self, ids: &[KeyId]) -> Self {
        let wanted: HashSet<&KeyId> = ids.iter().collect();
        let is_wanted: Vec<bool> = self.keys.iter().map(|key| wanted.contains(&key.id)).collect();
        let has_key = |number: u32| numbered(&is_wanted, number).is_some_and(|is_wanted| *is_wanted);
        let is_needed = |trace: u32, run: u32| has_key(trace) || has_key(run);
        Self {
            account: self.account.clone(),
            keys: self.keys.clone(),
            names: self.names.clone(),
            nodes: self.nodes.filter(|node| is_needed(node.trace, node.run)),
            calls: self.calls.filter(|call| is_needed(call.position.trace, call.run)),
            tools: self.tools.filter(|tool| is_needed(tool.position.trace, tool.run)),
            marks: self.marks.filter(|mark| is_needed(mark.position.trace, mark.run)),
            summed: self.summed.filter(|sum| is_needed(sum.position.trace, sum.run)),
            ..Self::default()
        }
    }
}

/// The observed items of a batch, whose observations come first, in the same order.
fn observed_items<'f>(
    facts: &'f Facts,
    observation: &'f BatchObservation,
) -> impl Iterator<Item = (&'f ItemFacts, &'f ObservedItem)> {
    facts.items.iter().filter(|item| is_observed(item)).zip(&observation.items)
}

/// Stamps a batch. Texts in `vaulted` are not written: facts were read before these stamps, so the vault step would
/// not recognise content in them.
pub(super) fn stamp_batch(
    batch: &mut Batch,
    facts: &Facts,
    vaulted: &VaultedTexts,
    keyed: &KeyedBatch<'_>,
    copies: Option<GroupCopies>,
    continued: &HashMap<u32, String>,
) {
    let stamps = copies.map_or_else(Vec::new, |mut copies| {
        copies.store.apply(keyed, (&RunOwner::Here, u64::MAX));
        resolve_stamps(keyed, &copies)
    });
    let stamps = stamps.into_iter().chain(std::iter::repeat_with(|| None));
    let keeps_own_stamps = batch.origin.trust == Trust::Internal;
    let unless_vaulted = |text: Option<String>| text.filter(|text| !vaulted.contains(text)).map(OwnedValue::Str);
    let payload = &mut batch.payload;
    for ((item, observed), stamp) in
        observed_items(facts, keyed.observation).zip(stamps).filter(|((item, _), _)| item.agent)
    {
        let ItemStamp { run, totals } = stamp.unwrap_or_else(|| ItemStamp {
            // the run id that the item itself names, otherwise its trace id
            run: keyed.observation.key_text(first_nonzero(observed.run, observed.trace)).map(str::to_owned),
            totals: Vec::new(),
        });
        let run_attributes = [
            (RUN_ID_ATTRIBUTE, unless_vaulted(run)),
            (CONTINUES_ATTRIBUTE, unless_vaulted(continued.get(&observed.session).cloned())),
            (TURN_ATTRIBUTE, unless_vaulted(item.turn.clone())),
            (ITERATION_ATTRIBUTE, item.iteration.map(OwnedValue::Int)),
        ];
        let run_attributes =
            run_attributes.into_iter().filter_map(|(key, value)| Some((key, value?, keeps_own_stamps)));
        let totals = totals.into_iter().map(|(key, value)| (key, value, true));
        for (key, value, keeps_own) in run_attributes.chain(totals) {
            if !keeps_own || payload.get(item.node, key).is_none() {
                payload.set(item.node, key, value);
            }
        }
    }
}

/// The sessions of the batch that continue others, with the ids of these.
pub(super) fn continued_sessions(
    observation: &BatchObservation,
    known: &Continuations,
    news: &SessionNews,
) -> HashMap<u32, String> {
    let continued = |(number, key): (u32, &ObservedKey)| {
        let known = || known.predecessor_of(&observation.account, &key.text);
        Some((number, news.predecessor_of(&key.text).or_else(known)?.to_owned()))
    };
    let keys = (1..).zip(&observation.keys);
    keys.filter(|(_, key)| key.kind == key_kind::SESSION).filter_map(continued).collect()
}

/// The sessions of traces, by their key in the batch, if some items do not name theirs: as the batch says, else as
/// earlier ones said. Empty for a trace of which the batch names several.
pub(super) fn sessions_of_traces(batch: &KeyedBatch<'_>, store: &GroupStore) -> HashMap<u32, String> {
    let observation = batch.observation;
    let mut sessions: HashMap<u32, String> = HashMap::new();
    let items = observation.items.iter().filter(|item| item.trace != 0);
    let is_named = |item: &&ObservedItem| item.session != 0;
    if items.clone().all(|item| is_named(&item)) {
        return sessions;
    }
    for item in items.clone().filter(is_named) {
        let session = observation.key_text(item.session).unwrap_or_default();
        let known = sessions.entry(item.trace).or_insert_with(|| session.to_owned());
        if known != session {
            known.clear();
        }
    }
    for item in items.filter(|item| !is_named(item)) {
        let Entry::Vacant(entry) = sessions.entry(item.trace) else { continue };
        let group = store.place_of(batch, item.trace).and_then(|(group, number)| Some((store.get(group)?, number)));
        let session = group.and_then(|(group, number)| Some(group.key_text(group.key(number)?.session)));
        if let Some(session) = session.filter(|session| !session.is_empty()) {
            entry.insert(session.to_owned());
        }
    }
    sessions
}

/// Writes whose call an item is, where it does not say so: back ends group the calls of agents by these attributes.
pub(super) fn write_agent_attributes(
    payload: &mut Payload,
    facts: &Facts,
    vaulted: &VaultedTexts,
    observation: &BatchObservation,
    sessions: &HashMap<u32, String>,
) {
    let is_named = |item: &ItemFacts| item.agent && item.call != ItemRole::Other;
    for (item, observed) in observed_items(facts, observation).filter(|(item, _)| is_named(item)) {
        let of_trace = || observation.key_text(observed.trace).map(session_of_trace);
        let session = match item.session {
            Some(_) => None,
            None => sessions.get(&observed.trace).cloned().or_else(of_trace).filter(|session| !session.is_empty()),
        };
        let feature = item.feature.clone().filter(|feature| fits_words(feature, MAX_NAME_WORDS, MAX_NAME_BYTES));
        let agent = feature.or_else(|| item.dialect.map(str::to_owned));
        for (key, text) in [("gen_ai.agent.name", agent), ("gen_ai.conversation.id", session)] {
            if let Some(text) = text.filter(|text| payload.get(item.node, key).is_none() && !vaulted.contains(text)) {
                payload.set(item.node, key, OwnedValue::Str(text));
            }
        }
    }
}

/// The stamps of a batch that was added to copies of its groups.
fn resolve_stamps(batch: &KeyedBatch<'_>, copies: &GroupCopies) -> Vec<Option<ItemStamp>> {
    let found_keys: Vec<Option<(u32, u32)>> = batch.ids.iter().map(|id| copies.store.find_key(id)).collect();
    let find_key = |key: u32| numbered(&found_keys, key).copied().flatten();
    let number_in_group = |key: u32| find_key(key).map_or(0, |(_, number)| number);
    let mut groups: HashMap<u32, (ResolvedRuns<'_>, FallbackIndex)> = HashMap::new();
    let stamp = |item: &ObservedItem| {
        let (group, _) = [item.run, item.trace, item.session].into_iter().find_map(find_key)?;
        if let Entry::Vacant(entry) = groups.entry(group) {
            let resolved = ResolvedRuns::resolve(copies.store.get(group)?, &copies.context);
            let fallbacks = index_fallbacks(&resolved);
            entry.insert((resolved, fallbacks));
        }
        let is_span = item.flags & flag::SPAN != 0;
        let position = TracePosition { is_own_span: is_span, node: item.node, trace: number_in_group(item.trace) };
        let (resolved, fallbacks) = groups.get(&group)?;
        let session = number_in_group(item.session);
        let run = resolved.find_run(number_in_group(item.run), &position, session, item.start)?;
        let is_over = run.ended && item.flags & (flag::ENDED | flag::SUB_AGENT) == flag::ENDED;
        let is_run_end = match item.mark {
            mark::AGENT => run.is_root(item.node),
            kind => kind == mark::TURN_END,
        };
        let has_totals = is_over && is_run_end && copies.is_complete;
        let mut totals = if has_totals { run_total_attributes(run) } else { Vec::new() };
        let call = item.call.as_ref().filter(|_| is_span);
        if let Some(fallback) = call.and_then(|call| fallbacks.get(&call.key)) {
            totals.extend(fallback_attributes(resolved.group, *fallback));
        }
        Some(ItemStamp { run: Some(run.id_text.clone()), totals })
    };
    batch.observation.items.iter().map(stamp).collect()
}

/// Reason, replaced model and replacing model, by the key of the replacing call.
type FallbackIndex = HashMap<u64, (u8, u16, u16)>;

fn index_fallbacks(resolved: &ResolvedRuns<'_>) -> FallbackIndex {
    let calls = resolved.runs.iter().flat_map(|run| &run.calls).filter(|call| call.kind == StepKind::Model);
    calls.filter_map(|call| call.replaced_model.map(|(reason, from)| (call.key, (reason, from, call.name)))).collect()
}

/// The attributes of a span whose model replaced another one.
fn fallback_attributes(
    group: &ItemGroup,
    (reason, from, to): (u8, u16, u16),
) -> impl Iterator<Item = (&'static str, OwnedValue)> {
    let attributes = [
        ("tollgate.fallback.reason", trouble::reason_text(reason)),
        ("tollgate.fallback.from", group.name(from)),
        ("tollgate.fallback.to", group.name(to)),
    ];
    attributes
        .into_iter()
        .filter(|(_, text)| !text.is_empty())
        .map(|(key, text)| (key, OwnedValue::Str(text.to_owned())))
}

/// A run's totals under the documented names. The cost is left out if any call has no price.
fn run_total_attributes(run: &Run) -> Vec<(&'static str, OwnedValue)> {
    let totals = &run.totals;
    let int = |count: u64| OwnedValue::Int(i64::try_from(count).unwrap_or(i64::MAX));
    let mut attributes = vec![
        ("agent.total_input_tokens", int(totals.input_tokens())),
        ("agent.total_output_tokens", int(totals.tokens().output)),
        ("agent.tool_calls_made", int(totals.tool_calls())),
    ];
    if totals.unpriced() == 0 {
        attributes.push(("agent.estimated_cost_usd", OwnedValue::Double(usd(totals.atto_usd()))));
    }
    attributes
}
