//! [`ReadQuota`]: limits how much of a group one batch may read to compute its stamps. Without a limit, a batch of one
//! span in a session of a hundred thousand would cost as much as megabytes of input. Invariants: all batches together
//! read at most [`MAX_WEIGHT_MULTIPLE`] times the group's weight, with a quota for batches with a trace root and
//! another for the others; reads of up to [`FREE_UNITS`] units are not counted; a partial copy holds everything that
//! can belong to the runs of the batch; the table is bounded. `stamp` writes the stamps.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::group::ItemGroup;
use super::group_part::{narrow_group, separate_part};
use super::observation::{BatchObservation, key_kind};
use super::store::{BatchGroup, KeyId};

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
    /// Returns the group, or the part of it that the batch needs; `None` if the batch may not read it. `has_root`: the
    /// batch has the root of a trace.
    pub(super) fn readable_part(
        &self,
        BatchGroup { group, is_joined }: BatchGroup,
        observation: &BatchObservation,
        ids: &[KeyId],
        has_root: bool,
    ) -> Option<Arc<ItemGroup>> {
        let (weight, max_units) = (group.weight(), if has_root { MAX_UNITS_AT_ROOT } else { MAX_UNITS });
        if weight <= MAX_UNITS && self.spend(&group, weight, has_root) {
            return Some(group_or_part(group, is_joined, observation, ids));
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

/// The part of a group that gives the batch the same stamps, or the group. Groups that the batch joins are not cut: one
/// call may be in both, known better in the part of one that would be cut off.
pub(super) fn group_or_part(
    group: Arc<ItemGroup>,
    is_joined: bool,
    observation: &BatchObservation,
    ids: &[KeyId],
) -> Arc<ItemGroup> {
    let part = if is_joined { None } else { separate_part(&group, observation, ids) };
    part.map_or(group, Arc::new)
}
