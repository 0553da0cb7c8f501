//! Items that a back end refused for good are kept in the spool's quarantine; if it has no room, their parcel waits.
//! Such a parcel gives its slot to others (except with `ordered`), because it could block the very records whose
//! delivery makes room. Later its items are sent again, because the back end may have recovered.
//! Refused items leave half of the spool's last room free, for records that release older ones. The quarantine has its
//! own bound; items deleted for it are counted. `deliver` finds the refused items.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;

use crate::forward_label::ForwardLabel;
use crate::outcome::Reason;
use crate::spool::{RecordKind, SpoolRecord, Transaction, bytes_to_reserve};

use super::backoff::Backoff;
use super::deliver::{ParcelDelivery, ParcelWait};
use super::evidence::RequestPiece;
use super::gather::Parcel;
use super::slots::SendSlot;
use super::{Outlet, QUARANTINE};

/// Interval of the log line about missing room for refused items.
const LOG_INTERVAL: Duration = Duration::from_secs(600);

impl Outlet {
    /// Stores a refused piece in the spool's quarantine; if its data is only in memory, counts it instead, and logs it
    /// if a client waits. Returns false if there is no room. `accepts_others`: the back end accepts other data, so the
    /// items are the cause, not the back end.
    pub(super) async fn quarantine_piece(
        &self,
        parcel: &Parcel,
        piece: &RequestPiece,
        reason: Reason,
        accepts_others: bool,
    ) -> bool {
        if let Some(memory) = &self.memory {
            self.metrics.count_failed(parcel.signal, piece.items);
            if memory.has_clients() {
                let (exporter, items, reason) = (&**self.id(), piece.items, reason.label());
                tracing::error!(
                    exporter,
                    items,
                    reason,
                    "the exporter refused items; they are not in the quarantine, because their clients are told"
                );
            }
            return true;
        }
        let label = ForwardLabel {
            signal: parcel.signal,
            clearance: parcel.clearance,
            unknown: parcel.unknown,
            items: piece.items,
            pipeline: parcel.pipeline.clone(),
            refused: Some((self.id().to_string(), reason)),
        };
        let body = label.attach_to(piece.body.parts().concat());
        if !self.store_body(&parcel.account, body.into(), accepts_others).await {
            return false;
        }
        self.metrics.count_failed(parcel.signal, piece.items);
        self.metrics.quarantined.increment(piece.items);
        self.log_quarantined(piece.items, reason);
        true
    }

    fn log_quarantined(&self, items: u64, reason: Reason) {
        let exporter = &**self.id();
        if reason == Reason::AboveLimit {
            tracing::error!(
                exporter,
                items,
                "items exceed this exporter's `max_request_size`; they were not sent and are in the spool's quarantine"
            );
            return;
        }
        let reason = reason.label();
        tracing::error!(
            exporter,
            items,
            reason,
            "the back end permanently refused items; they are in the spool's quarantine"
        );
    }

    async fn store_body(&self, account: &Arc<str>, body: Bytes, accepts_others: bool) -> bool {
        let bytes = bytes_to_reserve(1, body.len() as u64);
        // Room that new data may not take: a full spool must not keep the item at the head of the queue.
        let Ok(reservation) = self.shared.spool.reserve_to_prepare(bytes) else { return false };
        if !self.enforce_quarantine_limit(bytes, accepts_others) {
            return false;
        }
        let record = SpoolRecord { kind: RecordKind::Forward, holders: Arc::new([QUARANTINE.into()]), body };
        let transaction = Transaction { account: Arc::clone(account), records: vec![record] };
        self.shared.spool.enqueue_awaited(transaction, reservation).await.unwrap_or(false)
    }

    /// Whether the quarantine may take `added` more bytes. If the back end accepts other data, the oldest items are
    /// deleted to make room, at most about twice what is needed. A back end that accepts nothing may recover, so its
    /// refused items stay in the exporter's queue. With `ordered` no other data can be accepted meanwhile, so nothing
    /// is deleted, and the quarantine may exceed its bound.
    fn enforce_quarantine_limit(&self, added: u64, accepts_others: bool) -> bool {
        let spool = &self.shared.spool;
        let (limit, present) = (spool.settings().quarantine, spool.pending_bytes(QUARANTINE));
        if present.saturating_add(added) <= limit || self.settings.ordered {
            return true;
        }
        if !accepts_others {
            return false;
        }
        let keep = limit.saturating_sub(added).max(present.saturating_sub(added.saturating_mul(2)));
        let records = spool.expire(QUARANTINE, keep);
        if records > 0 {
            self.metrics.quarantine_expired.increment(records);
            tracing::error!(records, "the quarantine is full: its oldest records were deleted");
        }
        true
    }

    /// Waits because the quarantine had no room; then everything that is left is sent again.
    pub(super) async fn wait_for_quarantine(
        &self,
        delivery: &mut ParcelDelivery,
        slot: &mut SendSlot,
        stop: &mut watch::Receiver<bool>,
    ) -> ParcelWait {
        self.metrics.count_retry(Reason::SpoolFull);
        self.log_no_room();
        let pieces = delivery.unquarantined.drain(..).rev();
        delivery.pieces.extend(pieces);
        // If no part is settled, the split is not worth keeping: the back end may have recovered.
        delivery.must_keep_pieces = delivery.is_partly_settled;
        delivery.evidence.reset();
        let backoff = delivery.quarantine_backoff.get_or_insert_with(|| Backoff::new(&self.settings));
        let wait = backoff.next_wait(None, &*self.shared.rng);
        self.wait_parked(delivery, wait, (slot, stop)).await
    }

    fn log_no_room(&self) {
        let now = self.shared.clock.monotonic();
        let mut logged_at = self.no_room_logged_at.lock();
        if logged_at.is_some_and(|logged_at| now.saturating_sub(logged_at) < LOG_INTERVAL) {
            return;
        }
        *logged_at = Some(now);
        tracing::error!(
            exporter = &**self.id(),
            "the back end permanently refuses items, and the spool's quarantine has no room for them; tollgate keeps retrying"
        );
    }
}
