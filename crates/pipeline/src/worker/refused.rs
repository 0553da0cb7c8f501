//! **What**: items that are refused one by one: spans that no back end could place, items over the limit. **Why**: OTLP
//! has `partial_success` for this, so that the rest of a batch needs not suffer. **Invariants**: what is refused is
//! counted, told to the client and goes nowhere; the rest is processed as if it had come alone. **Not here**: items on
//! which processors fail (`worker`), requests that can't be read at all.

use bytes::Bytes;

use crate::outcome::Reason;
use otlp::{Payload, Signal, UnknownFields};

use super::{Work, Worker, dropped};

impl Worker {
    /// The payload without what is refused; `work` keeps how much that is, and the bytes of the rest.
    pub(super) fn without_refused(&self, work: &mut Work, payload: Payload) -> Result<Payload, Reason> {
        let large = payload_may_hold(work.wire.len(), self.max_item_bytes);
        if work.signal != Signal::Traces && !large {
            return Ok(payload);
        }
        let reason_of = |node| match (payload.has_bad_ids(node), large && payload.item_len(node) > self.max_item_bytes)
        {
            (_, true) => Some(Reason::ItemTooLarge),
            (true, false) => Some(Reason::BadIds),
            (false, false) => None,
        };
        let reasons: Vec<Option<Reason>> = payload.items().map(reason_of).collect();
        let count = |wanted| reasons.iter().filter(|reason| **reason == Some(wanted)).count() as u64;
        let (ids, size) = (count(Reason::BadIds), count(Reason::ItemTooLarge));
        let reason = match (ids, size) {
            (0, 0) => return Ok(payload),
            (_, 0) => Reason::BadIds,
            (0, _) => Reason::ItemTooLarge,
            _ => Reason::BadItems,
        };
        for (items, why) in
            [(ids, Reason::BadIds), (size, Reason::ItemTooLarge)].into_iter().filter(|(items, _)| *items > 0)
        {
            dropped(&self.metrics.meter, work.signal.as_str(), why.label()).increment(items);
        }
        let rest = payload.subset(&|item| matches!(reasons.get(item), Some(None)));
        let encoded = rest.encode(UnknownFields::Keep).map_err(|_| Reason::Malformed)?;
        // From now on the request is what is left of it.
        work.wire = Bytes::from(encoded.bytes);
        work.refused = Some((ids.saturating_add(size), reason));
        self.parse(work.signal, work.wire.clone())
    }
}

/// Whether a request of `wire` bytes can have an item over `limit`.
fn payload_may_hold(wire: usize, limit: usize) -> bool {
    wire > limit
}
