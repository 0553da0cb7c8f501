//! [`ItemUnits`]: the units of a payload's items.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt};
use kernel::hex;
use otlp::Payload;

use super::rules::SampleUnit;

/// The id of the run, which the step `runs` writes on items.
const RUN_ATTRIBUTE: &str = "tollgate.run.id";
/// A batch is split into at most this many records, so that few of its runs wait for each other.
const BUCKETS: u64 = 64;
/// The status code of a span that failed (opentelemetry-proto, `Status.StatusCode`).
const STATUS_ERROR: i32 = 2;

/// See the module.
pub(super) struct ItemUnits {
    /// Each unit once, and whether a span of it has the status ERROR.
    pub(super) units: Vec<(SampleUnit, bool)>,
    /// For each item the position of its unit.
    pub(super) of_items: Vec<usize>,
}

impl ItemUnits {
    pub(super) fn new(account: &Arc<str>, payload: &Payload) -> Self {
        let (mut units, mut known) = (Vec::new(), HashMap::new());
        let of_items = payload.items().map(|node| {
            let (run, trace) = (payload.get_str(node, RUN_ATTRIBUTE).unwrap_or_default(), payload.trace_id(node));
            let unit = *known.entry((run, trace)).or_insert_with(|| {
                let (account, run) = (Arc::clone(account), run.into());
                units.push((SampleUnit { account, run, trace: hex::encode(trace).into() }, false));
                units.len() - 1
            });
            if payload.status_code(node) == STATUS_ERROR
                && let Some((_, is_failed)) = units.get_mut(unit)
            {
                *is_failed = true;
            }
            unit
        });
        let of_items = of_items.collect();
        Self { units, of_items }
    }

    /// What an item has, given what each unit has.
    pub(super) fn of_item<'t, T>(&self, of_units: &'t [T], item: usize) -> Option<&'t T> {
        of_units.get(*self.of_items.get(item)?)
    }

    /// For each unit, which record of a split batch its items are in.
    pub(super) fn buckets(&self) -> Vec<usize> {
        self.units.iter().map(|(unit, _)| usize::try_from(unit.hash() % BUCKETS).unwrap_or(0)).collect()
    }
}
