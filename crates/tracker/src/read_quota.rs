//! [`ReadQuota`]: limits how much of a group one batch may read to compute its stamps. Without a limit, a batch of one
//! span in a session of a hundred thousand would cost as much as megabytes of input. Invariants: all batches together
//! read at most [`MAX_WEIGHT_MULTIPLE`] times the group's weight, with a quota for batches with a trace root and
//! another for the others; reads of up to [`FREE_UNITS`] units are not counted; a partial copy holds everything that
//! can belong to the runs of the batch; the table is bounded. `stamp` writes the stamps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::compact_map::CompactMap;
use super::group::{
    AttributionTags, GroupKey, ItemGroup, LifecycleMark, ModelCallRecord, SpanNode, ToolCallRecord, TracePosition,
};
use super::observation::key_kind;
use super::store::KeyId;

/// Units of [`ItemGroup::weight`] that every batch may read: this takes less than a millisecond.
const FREE_UNITS: usize = 1_000;
/// Largest number of units for a batch with the root of a trace (which comes once), and for other batches.
const MAX_UNITS_AT_ROOT: usize = 100_000;
const MAX_UNITS: usize = 8_000;
/// Total units that may be read, as a multiple of the group's weight.
const MAX_WEIGHT_MULTIPLE: usize = 8;
/// Skipping this many units while filtering costs as much as reading one.
const SKIPPED_PER_UNIT: usize = 64;
/// Maximum number of groups whose reads are remembered; only large groups need it.
const MAX_GROUPS: usize = 4096;

/// See the module documentation.
#[derive(Default)]
pub(super) struct ReadQuota {
    /// Units read by batches with a root and by others; by the first key of a group.
    units_read: Mutex<HashMap<KeyId, [usize; 2]>>,
}

impl ReadQuota {
    /// Returns the group, or the part of it that these keys need; `None` if the batch may not read it. `has_root`: the
    /// batch has the root of a trace.
    pub(super) fn readable_part(&self, group: Arc<ItemGroup>, ids: &[KeyId], has_root: bool) -> Option<Arc<ItemGroup>> {
        let (weight, max_units) = (group.weight(), if has_root { MAX_UNITS_AT_ROOT } else { MAX_UNITS });
        if weight <= MAX_UNITS && self.spend(&group, weight, has_root) {
            return Some(group);
        }
        if !self.spend(&group, weight / SKIPPED_PER_UNIT, has_root) {
            return None;
        }
        let part = narrow_group(&group, ids);
        let blank_keys = part.keys.iter().filter(|key| key.kind == key_kind::NONE).count();
        let units = part.weight().saturating_sub(5 * blank_keys);
        (units <= max_units && self.spend(&group, units, has_root)).then(|| Arc::new(part))
    }

    /// Takes units from the group's quota; false if too few are left.
    fn spend(&self, group: &ItemGroup, units: usize, has_root: bool) -> bool {
        let Some(first) = group.keys.first().filter(|_| units > FREE_UNITS) else { return true };
        let mut units_read = self.units_read.lock();
        if units_read.len() >= MAX_GROUPS && !units_read.contains_key(&first.id) {
            units_read.clear();
        }
        let [with_root, without_root] = units_read.entry(first.id).or_default();
        let spent = if has_root { with_root } else { without_root };
        let total = spent.saturating_add(units);
        let is_enough = total <= group.weight().saturating_mul(MAX_WEIGHT_MULTIPLE);
        if is_enough {
            *spent = total;
        }
        is_enough
    }
}

/// A copy with the items in the traces of these keys and the items that name the runs of these keys. The numbers of
/// keys and names stay the same.
fn narrow_group(group: &ItemGroup, ids: &[KeyId]) -> ItemGroup {
    let ids: HashSet<&KeyId> = ids.iter().collect();
    let mut kept_keys: HashSet<u32> =
        (1..).zip(&group.keys).filter(|(_, key)| ids.contains(&key.id)).map(|(number, _)| number).collect();
    let kind_of = |number: u32| group.key(number).map_or(key_kind::NONE, |key| key.kind);
    let of_kind = |wanted: u8| -> HashSet<u32> {
        kept_keys.iter().copied().filter(|number| kind_of(*number) == wanted).collect()
    };
    let (traces, runs) = (of_kind(key_kind::TRACE), of_kind(key_kind::RUN));
    let is_needed = |trace: u32, run: u32| traces.contains(&trace) || runs.contains(&run);
    let is_needed_at = |position: &TracePosition, run: u32| is_needed(position.trace, run);
    let mut part = ItemGroup::new(&group.account);
    part.nodes = filter_values(&group.nodes, |node: &SpanNode| is_needed(node.trace, node.run));
    part.calls = filter_values(&group.calls, |call: &ModelCallRecord| is_needed_at(&call.position, call.run));
    part.tools = filter_values(&group.tools, |tool: &ToolCallRecord| is_needed_at(&tool.position, tool.run));
    part.marks = filter_values(&group.marks, |mark: &LifecycleMark| is_needed_at(&mark.position, mark.run));
    kept_keys.extend(part.nodes.values().flat_map(|node| [node.trace, node.run]));
    kept_keys.extend(part.calls.values().flat_map(|call| [call.position.trace, call.session, call.run]));
    kept_keys.extend(part.tools.values().flat_map(|tool| [tool.position.trace, tool.session, tool.run]));
    kept_keys.extend(part.marks.values().flat_map(|mark| [mark.position.trace, mark.session, mark.run]));
    let sessions: Vec<u32> = kept_keys.iter().filter_map(|number| group.key(*number)).map(|key| key.session).collect();
    kept_keys.extend(sessions);
    let keys =
        (1..).zip(&group.keys).map(|(number, key)| if kept_keys.contains(&number) { key.clone() } else { blank_key() });
    part.keys = keys.collect();
    part.names = group.names.clone();
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
