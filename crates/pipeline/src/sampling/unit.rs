//! The units of a payload's items.

use std::sync::Arc;

use kernel::hex;
use otlp::Payload;

use super::rules::SampleUnit;

/// The id of the run, which the step `runs` writes on items.
const RUN_ATTRIBUTE: &str = "tollgate.run.id";
/// A batch is split into at most this many records, so that few of its runs wait for each other.
const BUCKETS: u64 = 64;

/// Which record of a split batch the unit's items are in.
pub(super) fn bucket(unit: &SampleUnit) -> usize {
    usize::try_from(unit.hash() % BUCKETS).unwrap_or(0)
}

/// The unit of each item.
pub(super) fn units_of(account: &Arc<str>, payload: &Payload) -> Vec<SampleUnit> {
    let unit = |node| SampleUnit {
        account: Arc::clone(account),
        run: payload.get_str(node, RUN_ATTRIBUTE).unwrap_or_default().into(),
        trace: hex::encode(payload.trace_id(node)).into(),
    };
    payload.items().map(unit).collect()
}
