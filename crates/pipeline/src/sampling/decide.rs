//! The decision about a unit. An item's weight is 1 divided by its probability of being sent, so weighted sums are
//! right on average: 1 for kept runs, N for a share of one in N. The hash depends on the unit's identity alone, so the
//! share is unbiased.

use super::rules::{RunSampleState, hash_names};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Keep,
    Share,
    LeaveOut,
}

/// What a decision about a unit depends on.
pub(super) struct UnitState {
    is_kept: bool,
    is_over: bool,
    hash: u64,
}

impl UnitState {
    /// `is_settled`: no item of the unit was read for a while; a unit without a run then counts as over.
    pub(super) fn new(found: RunSampleState, is_settled: bool) -> Self {
        let is_over = is_settled && (found.is_over || !found.is_known);
        Self { is_kept: found.is_kept, is_over, hash: found.hash }
    }

    /// The state of items that name neither run nor trace: they are decided by their record.
    pub(super) fn of_record(position: u64) -> Self {
        Self { is_kept: false, is_over: true, hash: hash_names(&[&position.to_string()]) }
    }

    /// `None`: not decided yet. `is_late`: the items can't wait any longer. `others`: one in this many, 0 for none.
    pub(super) fn decide(&self, others: u32, is_late: bool) -> Option<Decision> {
        if self.is_kept || others == 1 {
            return Some(Decision::Keep);
        }
        let is_drawn = self.hash.checked_rem(others.into()) == Some(0);
        (self.is_over || is_late).then_some(if is_drawn { Decision::Share } else { Decision::LeaveOut })
    }
}
