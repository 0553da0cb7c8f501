//! [`refusal_reason`]: why a single item is refused. `worker` removes such items from requests; `tollgate explain`
//! shows the reason.

use crate::outcome::Reason;
use otlp::{NodeId, Payload};

/// Why the item `node` is refused, if it is: [`Reason::ItemTooLarge`] or [`Reason::BadIds`].
pub fn refusal_reason(payload: &Payload, node: NodeId, max_item_bytes: usize) -> Option<Reason> {
    if payload.item_len(node) > max_item_bytes {
        return Some(Reason::ItemTooLarge);
    }
    payload.has_bad_ids(node).then_some(Reason::BadIds)
}
