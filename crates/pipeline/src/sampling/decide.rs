//! The decision about a unit. An item's weight is the inverse of its chance to be sent, so that sums over what is sent
//! are right on average: an item of a kept run stands for itself, one of the share for as many as the share says. The
//! lot depends on the run alone, never on what happens in it.

use otlp::{NodeId, OwnedValue, Payload};

use super::rules::{RunFate, SampleUnit};

/// The attributes that say for how many items one stands. Honeycomb reads the first that is there.
const WEIGHT_ATTRIBUTES: [&str; 2] = ["sampleRate", "SampleRate"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Keep,
    Share,
    LeaveOut,
}

/// What is known of a unit.
pub(super) struct Lot {
    is_kept: bool,
    is_over: bool,
    number: u64,
}

impl Lot {
    /// `is_settled`: nothing of the unit came for a while. What belongs to no run is then over.
    pub(super) fn new(unit: &SampleUnit, fate: Option<&RunFate>, is_settled: bool) -> Self {
        match fate {
            Some(fate) => Self { is_kept: fate.is_kept, is_over: fate.is_over && is_settled, number: fate.lot },
            None => Self { is_kept: false, is_over: is_settled, number: unit.lot() },
        }
    }

    /// `None`: not decided yet. `is_late`: the items can't wait any longer. `others`: one in this many, 0 for none.
    pub(super) fn decide(&self, others: u32, is_late: bool) -> Option<Decision> {
        if self.is_kept || others == 1 {
            return Some(Decision::Keep);
        }
        let is_drawn = self.number.checked_rem(others.into()) == Some(0);
        (self.is_over || is_late).then_some(if is_drawn { Decision::Share } else { Decision::LeaveOut })
    }
}

/// Writes for how many items one stands; one that an application sampled already stands for more.
pub(super) fn stamp_weight(payload: &mut Payload, node: NodeId, others: u32) {
    let rate = |key: &&'static str| Some((*key, payload.get(node, key)?.as_count()?.max(1)));
    let (key, before) = WEIGHT_ATTRIBUTES.iter().find_map(rate).unwrap_or((WEIGHT_ATTRIBUTES[1], 1));
    payload.set(node, key, OwnedValue::Int(before.saturating_mul(others.into())));
}
