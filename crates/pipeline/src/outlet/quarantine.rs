//! Items that a back end refused for good are kept in the spool's quarantine; if it has no room, they wait. A parcel
//! that waited for room in its slot could block the very records whose delivery would make the room.
//! So a parcel that waits for room gives its slot to others (except with `ordered`), and later asks the back end again,
//! which may have recovered. Half of the spool's last room is reserved for work that lets data go by itself. The
//! quarantine has its own bound; items deleted for it are counted. `deliver` finds the refused items.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

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
    /// Stores a refused piece in the spool's quarantine, or only counts it if the exporter has `ack: offered`. Returns
    /// false if there is no room. `others_go`: the back end has accepted other data since, so the items are the cause,
    /// not the back end.
    pub(super) async fn quarantine_piece(
        &self,
        parcel: &Parcel,
        piece: &RequestPiece,
        reason: Reason,
        others_go: bool,
    ) -> bool {
        if self.offers.is_some() {
            self.gauges.count_failed(parcel.signal, piece.items);
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
        let mut body = Vec::with_capacity(piece.body.len() + ForwardLabel::max_size(&label.pipeline));
        body.extend_from_slice(&piece.body);
        label.append_to(&mut body);
        if !self.store(&parcel.account, body.into(), others_go).await {
            return false;
        }
        self.gauges.count_failed(parcel.signal, piece.items);
        self.gauges.count_quarantined(piece.items);
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

    async fn store(&self, account: &Arc<str>, body: Bytes, others_go: bool) -> bool {
        let room = bytes_to_reserve(1, body.len() as u64);
        // A full spool must not keep the item at the head of the queue, and the item must not take the last room from
        // work that lets older data go.
        let Ok(reservation) = self.shared.spool.reserve_to_prepare(room) else { return false };
        if !self.enforce_quarantine_limit(room, others_go) {
            return false;
        }
        let record = SpoolRecord { kind: RecordKind::Forward, holders: Arc::new([QUARANTINE.into()]), body };
        let transaction = Transaction { account: Arc::clone(account), records: vec![record] };
        let (tell, committed) = oneshot::channel();
        let on_commit = Box::new(move |result: Result<&[_], Reason>| {
            let _ = tell.send(result.is_ok());
        });
        self.shared.spool.enqueue(transaction, reservation, on_commit);
        committed.await.unwrap_or(false)
    }

    /// Whether the quarantine may take `room` more bytes. If the back end has accepted other data since, the oldest
    /// items are deleted to make room, at most about twice what is needed. A back end that accepts nothing may recover,
    /// so its refused items stay with the exporter. With `ordered` no other data could be accepted, so the quarantine
    /// may exceed its bound and nothing is deleted.
    fn enforce_quarantine_limit(&self, room: u64, others_go: bool) -> bool {
        let spool = &self.shared.spool;
        let (bound, held) = (spool.settings().quarantine, spool.pending_bytes(QUARANTINE));
        if held.saturating_add(room) <= bound || self.settings.ordered {
            return true;
        }
        if !others_go {
            return false;
        }
        let keep = bound.saturating_sub(room).max(held.saturating_sub(room.saturating_mul(2)));
        let records = spool.expire(QUARANTINE, keep);
        if records > 0 {
            self.gauges.count_quarantine_expired(records);
            tracing::error!(records, "the quarantine is full: its oldest records were deleted");
        }
        true
    }

    /// Waits after the quarantine had no room; then everything that is left is sent again.
    pub(super) async fn wait_for_quarantine(
        &self,
        load: &mut ParcelDelivery,
        slot: &mut SendSlot,
        stop: &mut watch::Receiver<bool>,
    ) -> ParcelWait {
        self.gauges.count_retry(Reason::SpoolFull);
        self.log_no_room();
        let pieces = load.unquarantined.drain(..).rev();
        load.pieces.extend(pieces);
        // The split into pieces proves nothing about a later attempt.
        load.has_result = load.settled;
        load.evidence.reset();
        let backoff = load.quarantine_backoff.get_or_insert_with(|| Backoff::new(&self.settings));
        let wait = backoff.next_wait(None, &*self.shared.rng);
        match self.wait_parked(load, wait, (slot, stop)).await {
            ParcelWait::Elapsed if !self.shared.spool.is_any_pending(self.id(), &load.parcel.seqs) => {
                ParcelWait::Released
            }
            waited => waited,
        }
    }

    fn log_no_room(&self) {
        let now = self.shared.clock.monotonic();
        let mut said = self.no_room_logged_at.lock();
        if said.is_some_and(|said| now.saturating_sub(said) < LOG_INTERVAL) {
            return;
        }
        *said = Some(now);
        tracing::error!(
            exporter = &**self.id(),
            "the back end permanently refuses items, and the spool's quarantine has no room for them; tollgate keeps retrying"
        );
    }
}
