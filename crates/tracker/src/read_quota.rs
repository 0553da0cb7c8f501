//! [`ReadQuota`]: limits how much of a group one batch may read to compute its stamps. Without it, a batch of one span
//! in a session of a hundred thousand would cost as much as megabytes of input. Invariants: beyond [`FREE_UNITS`]
//! units, all batches together read at most [`MAX_WEIGHT_MULTIPLE`] the group's weight, once for batches with a trace
//! root and once for the others; a partial copy holds everything that can belong to the runs of the batch; the table is
//! bounded. `stamp` writes the stamps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::compact_map::CompactMap;
use super::group::{
    AttributionTags, GroupKey, ItemGroup, LifecycleMark, ModelCallRecord, SpanNode, ToolCallRecord, TracePosition,
};
use super::observation::key_kind;
use super::store::KeyId;

/// Units that every batch may read: takes less than a millisecond.
const FREE_UNITS: usize = 1_000;
/// Largest number of units for a batch with the root of a trace (which comes once), and for other batches.
const MAX_UNITS_AT_ROOT: usize = 100_000;
const MAX_UNITS: usize = 8_000;
/// Total units that may be read, as a multiple of the group's weight.
const MAX_WEIGHT_MULTIPLE: usize = 8;
/// Skipping this many units while filtering costs as much as reading one.
const SKIPPED_PER_UNIT: usize = 64;
/// Maximum number of groups with a remembered credit; only large ones need it.
const MAX_GROUPS: usize = 4096;

/// See the module documentation.
#[derive(Default)]
pub(super) struct ReadQuota {
    /// Units read by batches with a root and by others; by the first key of a group.
    units_read: Mutex<HashMap<KeyId, [usize; 2]>>,
}

impl ReadQuota {
    /// Returns the group, or the part of it that these keys need; `None` if the batch may not read it.
    pub(super) fn readable_part(&self, group: Arc<ItemGroup>, ids: &[KeyId], root: bool) -> Option<Arc<ItemGroup>> {
        let (weight, most) = (group.weight(), if root { MAX_UNITS_AT_ROOT } else { MAX_UNITS });
        if weight <= MAX_UNITS && self.spend(&group, weight, root) {
            return Some(group);
        }
        if !self.spend(&group, weight / SKIPPED_PER_UNIT, root) {
            return None;
        }
        let part = narrow_group(&group, ids);
        let weight =
            part.weight().saturating_sub(5 * part.keys.iter().filter(|key| key.kind == key_kind::NONE).count());
        (weight <= most && self.spend(&group, weight, root)).then(|| Arc::new(part))
    }

    fn spend(&self, group: &ItemGroup, units: usize, root: bool) -> bool {
        let Some(first) = group.keys.first().filter(|_| units > FREE_UNITS) else { return true };
        let mut spent = self.units_read.lock();
        if spent.len() >= MAX_GROUPS && !spent.contains_key(&first.id) {
            spent.clear();
        }
        let [of_roots, of_others] = spent.entry(first.id).or_default();
        let spent = if root { of_roots } else { of_others };
        let after = spent.saturating_add(units);
        let enough = after <= group.weight().saturating_mul(MAX_WEIGHT_MULTIPLE);
        if enough {
            *spent = after;
        }
        enough
    }
}

/// Keeps the items in the traces of these keys and those of the runs they name. Key and name numbers stay the same.
fn narrow_group(group: &ItemGroup, ids: &[KeyId]) -> ItemGroup {
    let ids: HashSet<&KeyId> = ids.iter().collect();
    let mut kept: HashSet<u32> =
        (1..).zip(&group.keys).filter(|(_, key)| ids.contains(&key.id)).map(|(at, _)| at).collect();
    let kind_of = |at: u32| group.key(at).map_or(key_kind::NONE, |key| key.kind);
    let of_kind = |wanted: u8| -> HashSet<u32> { kept.iter().copied().filter(|at| kind_of(*at) == wanted).collect() };
    let (traces, runs) = (of_kind(key_kind::TRACE), of_kind(key_kind::RUN));
    let stands = |trace: u32, run: u32| traces.contains(&trace) || runs.contains(&run);
    let here = |spot: &TracePosition, run: u32| stands(spot.trace, run);
    let mut part = ItemGroup::new(&group.account);
    part.nodes = filter_table(&group.nodes, |node: &SpanNode| stands(node.trace, node.run));
    part.calls = filter_table(&group.calls, |call: &ModelCallRecord| here(&call.position, call.run));
    part.tools = filter_table(&group.tools, |tool: &ToolCallRecord| here(&tool.position, tool.run));
    part.marks = filter_table(&group.marks, |mark: &LifecycleMark| here(&mark.position, mark.run));
    kept.extend(part.nodes.values().flat_map(|node| [node.trace, node.run]));
    kept.extend(part.calls.values().flat_map(|call| [call.position.trace, call.session, call.run]));
    kept.extend(part.tools.values().flat_map(|tool| [tool.position.trace, tool.session, tool.run]));
    kept.extend(part.marks.values().flat_map(|mark| [mark.position.trace, mark.session, mark.run]));
    let within: Vec<u32> = kept.iter().filter_map(|at| group.key(*at)).map(|key| key.session).collect();
    kept.extend(within);
    let keys = (1..).zip(&group.keys).map(|(at, key)| if kept.contains(&at) { key.clone() } else { blank_key() });
    part.keys = keys.collect();
    part.names = group.names.clone();
    (part.received, part.touched, part.batch, part.named_runs) =
        (group.received, group.touched, group.batch, group.named_runs);
    part
}

fn filter_table<T: Clone>(table: &CompactMap<T>, keep: impl Fn(&T) -> bool) -> CompactMap<T> {
    let mut part = CompactMap::default();
    table.iter().filter(|(_, value)| keep(value)).for_each(|(key, value)| part.insert(key, value.clone()));
    part
}

fn blank_key() -> GroupKey {
    let (text, tags) = (Box::default(), AttributionTags::default());
    GroupKey { id: [0; 16], kind: key_kind::NONE, text, session: 0, first: 0, last: 0, touched: 0, tags }
}
