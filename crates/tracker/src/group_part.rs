//! Parts of an [`ItemGroup`]: copies with the items in some traces and those that name some runs. The numbers of keys
//! and names stay the same. [`separate_part`] gives a batch the same stamps as the whole group: a session may last for
//! hundreds of traces, and resolving all of them for each batch would take quadratic time. `read_quota` limits what
//! may be read.

use foldhash::{HashMap, HashMapExt as _};

use super::compact_map::CompactMap;
use super::group::{
    AttributionTags, GroupKey, ItemGroup, LifecycleMark, ModelCallRecord, SpanNode, ToolCallRecord, TracePosition,
    mark_key,
};
use super::observation::{BatchObservation, ObservedItem, flag, key_kind, mark};
use super::run::all_items;
use super::store::KeyId;

/// Runs that share traces with other runs are followed over this many steps.
const MAX_STEPS: usize = 4;

/// A set of numbers of keys; never holds 0.
#[derive(Clone)]
struct KeySet(Vec<bool>);

impl KeySet {
    fn new(keys: usize) -> Self {
        Self(vec![false; keys])
    }

    fn contains(&self, number: u32) -> bool {
        (number as usize).checked_sub(1).and_then(|index| self.0.get(index)).is_some_and(|is_in| *is_in)
    }

    /// Returns whether the number is new.
    fn insert(&mut self, number: u32) -> bool {
        let entry = (number as usize).checked_sub(1).and_then(|index| self.0.get_mut(index));
        entry.is_some_and(|is_in| !std::mem::replace(is_in, true))
    }

    fn is_empty(&self) -> bool {
        !self.0.contains(&true)
    }
}

/// The part of a group that gives a batch the same stamps as the whole group. `None` if there is none: items whose
/// trace has no run may belong to any run of their session, and the end of a session ends all its runs.
pub(super) fn separate_part(group: &ItemGroup, observation: &BatchObservation, ids: &[KeyId]) -> Option<ItemGroup> {
    // the search for a part reads the whole batch, which may have many small groups
    if group.weight() < observation.items.len() {
        return None;
    }
    let numbers = numbers_in_group(group, ids);
    let mut kept = named_keys(group, &numbers);
    keep_merged_items(&mut kept, group, observation);
    let mut steps = 0;
    while group.named_runs != 0 && follow_shared_runs(&mut kept, group) {
        steps += 1;
        if steps == MAX_STEPS {
            return None;
        }
    }
    is_separate(group, &kept, observation, &numbers).then(|| copy_part(group, &kept, &numbers))
}

/// A copy with the items in the traces of these keys and the items that name the runs of these keys.
pub(super) fn narrow_group(group: &ItemGroup, ids: &[KeyId]) -> ItemGroup {
    let numbers = numbers_in_group(group, ids);
    copy_part(group, &named_keys(group, &numbers), &numbers)
}

/// The number of each id's key in the group; 0 = none.
fn numbers_in_group(group: &ItemGroup, ids: &[KeyId]) -> Vec<u32> {
    let mut places: HashMap<&KeyId, usize> = HashMap::with_capacity(ids.len());
    places.extend(ids.iter().zip(0..));
    let mut numbers = vec![0; ids.len()];
    for (number, key) in (1..).zip(&group.keys) {
        if let Some(known) = places.get(&key.id).and_then(|place| numbers.get_mut(*place)) {
            *known = number;
        }
    }
    numbers
}

/// The traces and runs among these keys.
fn named_keys(group: &ItemGroup, numbers: &[u32]) -> KeySet {
    let mut kept = KeySet::new(group.keys.len());
    let is_trace_or_run =
        |number: u32| group.key(number).is_some_and(|key| matches!(key.kind, key_kind::TRACE | key_kind::RUN));
    numbers.iter().filter(|number| is_trace_or_run(**number)).for_each(|number| _ = kept.insert(*number));
    kept
}

/// Trace, session and run of all nodes and items.
fn item_keys(group: &ItemGroup) -> impl Iterator<Item = [u32; 3]> {
    group.nodes.values().map(|node| [node.trace, 0, node.run]).chain(counted_item_keys(group))
}

/// The same without nodes.
fn counted_item_keys(group: &ItemGroup) -> impl Iterator<Item = [u32; 3]> {
    all_items(group).map(|item| [item.position.trace, item.session, item.named_run])
}

/// An item of the batch may report a call that is known in another trace.
fn keep_merged_items(kept: &mut KeySet, group: &ItemGroup, observation: &BatchObservation) {
    for item in &observation.items {
        let node = group.nodes.get(item.node).map(|node| [node.trace, node.run]);
        let call = item.call.as_ref().and_then(|call| group.calls.get(call.key));
        let tool = item.tool.as_ref().and_then(|tool| group.tools.get(tool.key));
        let event = group.marks.get(mark_key(item)).filter(|_| item.mark != mark::NONE);
        let marks =
            [event, group.marks.get(item.sub_agent)].map(|mark| mark.map(|mark| [mark.position.trace, mark.run]));
        let calls =
            [call.map(|call| [call.position.trace, call.run]), tool.map(|tool| [tool.position.trace, tool.run])];
        let keys = [node].into_iter().chain(calls).chain(marks).flatten().flatten();
        keys.for_each(|number| _ = kept.insert(number));
    }
}

/// Adds the runs of the traces in the set, and the traces of its runs. Returns whether there were any.
fn follow_shared_runs(kept: &mut KeySet, group: &ItemGroup) -> bool {
    let mut has_grown = false;
    for [trace, _, run] in item_keys(group) {
        if kept.contains(trace) || kept.contains(run) {
            has_grown |= kept.insert(trace) | kept.insert(run);
        }
    }
    has_grown
}

/// Whether each item, in the group and in the batch, names a run or lies in a trace with a run, so that no item of one
/// trace can belong to a run of another.
fn is_separate(group: &ItemGroup, kept: &KeySet, observation: &BatchObservation, numbers: &[u32]) -> bool {
    let number = |key: u32| (key as usize).checked_sub(1).and_then(|index| numbers.get(index)).copied().unwrap_or(0);
    let (mut with_run, mut with_run_in_batch) = (KeySet::new(group.keys.len()), KeySet::new(numbers.len()));
    for item in observation.items.iter().filter(|item| (item.run != 0 && leaves_trace(item)) || is_agent_span(item)) {
        with_run.insert(number(item.trace));
        with_run_in_batch.insert(item.trace);
    }
    for node in group.nodes.values().filter(|node| node.agent || node.run != 0) {
        with_run.insert(node.trace);
    }
    for [trace, ..] in counted_item_keys(group).filter(|[.., run]| *run != 0) {
        with_run.insert(trace);
    }
    // a call below an unseen parent opens a run of its trace; in a trace of the batch, the parent may have arrived
    for call in group.calls.values().filter(|call| call.position.is_own_span) {
        let trace = call.position.trace;
        if !with_run.contains(trace) && !kept.contains(trace) {
            let parent = group.nodes.get(call.position.node).map_or(0, |node| node.parent);
            let is_orphan = parent != 0 && group.nodes.get(parent).is_none();
            with_run.insert(if is_orphan { trace } else { 0 });
        }
    }
    let has_run = |[trace, _, run]: [u32; 3]| run != 0 || with_run.contains(trace);
    let can_be_stamped = |item: &ObservedItem| {
        let is_in_group = item.session == 0 || number(item.session) != 0;
        item.run != 0 || with_run_in_batch.contains(item.trace) || with_run.contains(number(item.trace)) || !is_in_group
    };
    let is_kept = |mark: &LifecycleMark| kept.contains(mark.position.trace) || kept.contains(mark.run);
    counted_item_keys(group).all(has_run)
        && observation.items.iter().all(can_be_stamped)
        && group.marks.values().all(|mark| mark.kind != mark::SESSION_END || is_kept(mark))
}

/// Whether a group keeps something of the item besides its keys, so that its trace has the run that it names.
fn leaves_trace(item: &ObservedItem) -> bool {
    item.node != 0 || item.call.is_some() || item.tool.is_some() || item.mark != mark::NONE || item.sub_agent != 0
}

fn is_agent_span(item: &ObservedItem) -> bool {
    item.node != 0 && item.mark == mark::AGENT && item.flags & (flag::SPAN | flag::SUB_AGENT) == flag::SPAN
}

/// A copy with the items in the kept traces, those that name the kept runs, and the keys with these numbers.
fn copy_part(group: &ItemGroup, kept: &KeySet, numbers: &[u32]) -> ItemGroup {
    let is_needed = |trace: u32, run: u32| kept.contains(trace) || kept.contains(run);
    let is_needed_at = |position: &TracePosition, run: u32| is_needed(position.trace, run);
    let mut part = ItemGroup::new(&group.account);
    if !kept.is_empty() {
        part.nodes = filter_values(&group.nodes, |node: &SpanNode| is_needed(node.trace, node.run));
        part.calls = filter_values(&group.calls, |call: &ModelCallRecord| is_needed_at(&call.position, call.run));
        part.tools = filter_values(&group.tools, |tool: &ToolCallRecord| is_needed_at(&tool.position, tool.run));
        part.marks = filter_values(&group.marks, |mark: &LifecycleMark| is_needed_at(&mark.position, mark.run));
    }
    let mut keys = kept.clone();
    item_keys(&part).flatten().chain(numbers.iter().copied()).for_each(|number| _ = keys.insert(number));
    for (number, key) in (1..).zip(&group.keys) {
        if keys.contains(number) {
            keys.insert(key.session);
        }
    }
    let copy = |(number, key): (u32, &GroupKey)| if keys.contains(number) { key.clone() } else { blank_key() };
    part.keys = (1..).zip(&group.keys).map(copy).collect();
    part.names = group.names.clone();
    part.owner = group.owner.clone();
    (part.received, part.touched, part.batch, part.named_runs) =
        (group.received, group.touched, group.batch, group.named_runs);
    part
}

fn filter_values<T: Clone>(map: &CompactMap<T>, keep: impl Fn(&T) -> bool) -> CompactMap<T> {
    let mut part = CompactMap::default();
    map.iter().filter(|(_, value)| keep(value)).for_each(|(key, value)| part.insert(key, value.clone()));
    part
}

fn blank_key() -> GroupKey {
    let (text, tags) = (Box::default(), AttributionTags::default());
    GroupKey { id: [0; 16], kind: key_kind::NONE, text, session: 0, first: 0, last: 0, touched: 0, tags }
}
