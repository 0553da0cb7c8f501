//! [`Credit`]: limits how much of a group one batch may read to compute its stamps. Without it, a batch of one span in
//! a session of a hundred thousand would cost as much as megabytes of input.
//! Invariants: beyond [`FREE`] units, all batches together read at most [`TIMES`] the group's weight, once for batches
//! with a trace root and once for the others; a partial copy holds everything that can belong to the runs of the
//! batch; the table is bounded. `stamp` writes the stamps.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;

use super::group::{Call, Group, Key, Mark, Node, Spot, Tags, Tool};
use super::seen::kind;
use super::store::KeyId;
use super::table::Table;

/// Units that every batch may read: takes less than a millisecond.
const FREE: usize = 1_000;
/// Largest number of units for a batch with the root of a trace (which comes once), and for other batches.
const MOST_AT_ROOT: usize = 100_000;
const MOST: usize = 8_000;
/// Total units that may be read, as a multiple of the group's weight.
const TIMES: usize = 8;
/// Skipping this many units while filtering costs as much as reading one.
const PASSED: usize = 64;
/// Maximum number of groups with a remembered credit; only large ones need it.
const GROUPS: usize = 4096;

/// See the module documentation.
#[derive(Default)]
pub(super) struct Credit {
    /// Units read by batches with a root and by others; by the first key of a group.
    spent: Mutex<HashMap<KeyId, [usize; 2]>>,
}

impl Credit {
    /// Returns the group, or the part of it that these keys need; `None` if the batch may not read it.
    pub(super) fn part(&self, group: Arc<Group>, ids: &[KeyId], root: bool) -> Option<Arc<Group>> {
        let (weight, most) = (group.weight(), if root { MOST_AT_ROOT } else { MOST });
        if weight <= MOST && self.take(&group, weight, root) {
            return Some(group);
        }
        if !self.take(&group, weight / PASSED, root) {
            return None;
        }
        let part = narrowed(&group, ids);
        let weight = part.weight().saturating_sub(5 * part.keys.iter().filter(|key| key.kind == kind::NONE).count());
        (weight <= most && self.take(&group, weight, root)).then(|| Arc::new(part))
    }

    fn take(&self, group: &Group, units: usize, root: bool) -> bool {
        let Some(first) = group.keys.first().filter(|_| units > FREE) else { return true };
        let mut spent = self.spent.lock();
        if spent.len() >= GROUPS && !spent.contains_key(&first.id) {
            spent.clear();
        }
        let [of_roots, of_others] = spent.entry(first.id).or_default();
        let spent = if root { of_roots } else { of_others };
        let after = spent.saturating_add(units);
        let enough = after <= group.weight().saturating_mul(TIMES);
        if enough {
            *spent = after;
        }
        enough
    }
}

/// Keeps the items in the traces of these keys and those of the runs they name. Key and name numbers stay the same.
fn narrowed(group: &Group, ids: &[KeyId]) -> Group {
    let ids: HashSet<&KeyId> = ids.iter().collect();
    let mut kept: HashSet<u32> =
        (1..).zip(&group.keys).filter(|(_, key)| ids.contains(&key.id)).map(|(at, _)| at).collect();
    let kind_of = |at: u32| group.key(at).map_or(kind::NONE, |key| key.kind);
    let of_kind = |wanted: u8| -> HashSet<u32> { kept.iter().copied().filter(|at| kind_of(*at) == wanted).collect() };
    let (traces, runs) = (of_kind(kind::TRACE), of_kind(kind::RUN));
    let stands = |trace: u32, run: u32| traces.contains(&trace) || runs.contains(&run);
    let here = |spot: &Spot, run: u32| stands(spot.trace, run);
    let mut part = Group::new(&group.account);
    part.nodes = filtered(&group.nodes, |node: &Node| stands(node.trace, node.run));
    part.calls = filtered(&group.calls, |call: &Call| here(&call.spot, call.run));
    part.tools = filtered(&group.tools, |tool: &Tool| here(&tool.spot, tool.run));
    part.marks = filtered(&group.marks, |mark: &Mark| here(&mark.spot, mark.run));
    kept.extend(part.nodes.values().flat_map(|node| [node.trace, node.run]));
    kept.extend(part.calls.values().flat_map(|call| [call.spot.trace, call.session, call.run]));
    kept.extend(part.tools.values().flat_map(|tool| [tool.spot.trace, tool.session, tool.run]));
    kept.extend(part.marks.values().flat_map(|mark| [mark.spot.trace, mark.session, mark.run]));
    let within: Vec<u32> = kept.iter().filter_map(|at| group.key(*at)).map(|key| key.within).collect();
    kept.extend(within);
    let keys = (1..).zip(&group.keys).map(|(at, key)| if kept.contains(&at) { key.clone() } else { blank() });
    part.keys = keys.collect();
    part.names = group.names.clone();
    (part.received, part.touched, part.batch, part.named) = (group.received, group.touched, group.batch, group.named);
    part
}

fn filtered<T: Clone>(table: &Table<T>, keep: impl Fn(&T) -> bool) -> Table<T> {
    let mut part = Table::default();
    table.iter().filter(|(_, value)| keep(value)).for_each(|(key, value)| part.insert(key, value.clone()));
    part
}

fn blank() -> Key {
    let (text, tags) = (Box::default(), Tags::default());
    Key { id: [0; 16], kind: kind::NONE, text, within: 0, first: 0, last: 0, touched: 0, tags }
}
