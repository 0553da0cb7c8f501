//! Items that are refused individually: spans with invalid ids, and items above the size limit. OTLP has
//! `partial_success` for this, so that the other items are not affected.
//! Refused items are counted, reported to the client and not forwarded; the rest is processed as a request of its own.
//! Items on which processors fail are handled in the parent module.

use bytes::Bytes;

use crate::item_refusal::refusal_reason;
use crate::outcome::Reason;
use otlp::{Payload, Signal};

use super::{RequestWork, Worker, dropped_items_counter};

impl Worker {
    /// Returns the payload without refused items. Stores in `work` the number of refused items and the bytes of the
    /// others.
    pub(super) fn remove_refused_items(&self, work: &mut RequestWork, payload: Payload) -> Result<Payload, Reason> {
        // Only spans are refused for their ids, and no item is larger than its request.
        if work.signal != Signal::Traces && work.wire.len() <= self.max_item_bytes {
            return Ok(payload);
        }
        let reason_of = |node| refusal_reason(&payload, node, self.max_item_bytes);
        let reasons: Vec<Option<Reason>> = payload.items().map(reason_of).collect();
        let count = |wanted| reasons.iter().filter(|reason| **reason == Some(wanted)).count() as u64;
        let (bad_ids, too_large) = (count(Reason::BadIds), count(Reason::ItemTooLarge));
        let reason = match (bad_ids, too_large) {
            (0, 0) => return Ok(payload),
            (_, 0) => Reason::BadIds,
            (0, _) => Reason::ItemTooLarge,
            _ => Reason::BadItems,
        };
        for (items, reason) in [(bad_ids, Reason::BadIds), (too_large, Reason::ItemTooLarge)] {
            if items > 0 {
                dropped_items_counter(&self.metrics.meter, work.signal.as_str(), reason.label()).increment(items);
            }
        }
        let others = payload.encode_items(&|item| matches!(reasons.get(item), Some(None)));
        // From here on the request consists of the remaining items.
        work.wire = Bytes::from(others.map_err(|_| Reason::Malformed)?);
        work.refused = Some((bad_ids.saturating_add(too_large), reason));
        self.parse(work.signal, work.wire.clone())
    }
}
