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
    /// It has no run, and a rule keeps it for a failed span.
    fails_alone: bool,
    hash: u64,
}

impl UnitState {
    /// `is_settled`: no item of the unit was read for a while; a unit without a run then counts as over. `is_failed`: a
    /// failed span keeps it if it has no run: an ordinary request, or a trace of a session with too many items.
    pub(super) fn new(found: RunSampleState, is_settled: bool, is_failed: bool) -> Self {
        let is_over = is_settled && (found.is_over || !found.is_known);
        let fails_alone = is_failed && !found.is_known;
        Self { is_kept: found.is_kept, is_over, fails_alone, hash: found.hash }
    }

    /// The state of items that name neither run nor trace: they are decided by their record.
    pub(super) fn of_record(position: u64) -> Self {
        Self { is_kept: false, is_over: true, fails_alone: false, hash: hash_names(&[&position.to_string()]) }
    }

    /// `None`: not decided yet. `is_late`: the items can't wait any longer. `others`: one in this many, 0 for none.
    pub(super) fn decide(&self, others: u32, is_late: bool) -> Option<Decision> {
        if self.is_kept || others == 1 {
            return Some(Decision::Keep);
        }
        (self.is_over || is_late).then(|| match self.hash.checked_rem(others.into()) {
            _ if self.fails_alone => Decision::Keep,
            Some(0) => Decision::Share,
            _ => Decision::LeaveOut,
        })
    }
}
