//! Items that a back end refused for good are kept in the spool's quarantine; if it has no room, they wait. A parcel
//! that waited for room in its slot could block the very records whose delivery would make the room.
//! So a parcel that waits for room gives its slot to others (except with `ordered`), and later asks the back end again,
//! which may have recovered. Half of the spool's last room is reserved for work that lets data go by itself. The
//! quarantine has its own bound; items deleted for it are counted. `deliver` finds the refused items.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::forward::Label;
use crate::outcome::Reason;
use crate::spool::{Record, RecordKind, Transaction, room_for};

use super::backoff::Backoff;
use super::deliver::{Load, Waited};
use super::evidence::Piece;
use super::gather::Parcel;
use super::slots::Slot;
use super::{Outlet, QUARANTINE};

/// Interval of the log line about missing room for refused items.
const SAY_EVERY: Duration = Duration::from_secs(600);

impl Outlet {
    /// Stores a refused piece in the spool's quarantine, or only counts it if the exporter has `ack: offered`. Returns
    /// false if there is no room. `others_go`: the back end has accepted other data since, so the items are the cause,
    /// not the back end.
    pub(super) async fn set_aside(&self, parcel: &Parcel, piece: &Piece, reason: Reason, others_go: bool) -> bool {
        if self.offers.is_some() {
            self.gauges.failed(parcel.signal, piece.items);
            return true;
        }
        let label = Label {
            signal: parcel.signal,
            clearance: parcel.clearance,
            unknown: parcel.unknown,
            items: piece.items,
            pipeline: parcel.pipeline.clone(),
            refused: Some((self.id().to_string(), reason)),
        };
        let mut body = Vec::with_capacity(piece.body.len() + Label::room(&label.pipeline));
        body.extend_from_slice(&piece.body);
        label.append_to(&mut body);
        if !self.store(&parcel.account, body.into(), others_go).await {
            return false;
        }
        self.gauges.failed(parcel.signal, piece.items);
        self.gauges.set_aside(piece.items);
        self.say_set_aside(piece.items, reason);
        true
    }

    fn say_set_aside(&self, items: u64, reason: Reason) {
        let exporter = &**self.id();
        if reason == Reason::AboveLimit {
            tracing::error!(
                exporter,
                items,
                "items are too large for this exporter's `max_request_size`; they are kept, unsent, in the spool's quarantine"
            );
            return;
        }
        let reason = reason.label();
        tracing::error!(
            exporter,
            items,
            reason,
            "the back end refused items for good; they are kept in the spool's quarantine"
        );
    }

    async fn store(&self, account: &Arc<str>, body: Bytes, others_go: bool) -> bool {
        let room = room_for(1, body.len() as u64);
        // A full spool must not keep the item at the head of the queue, and the item must not take the last room from
        // work that lets older data go.
        let Ok(reservation) = self.shared.spool.reserve_to_prepare(room) else { return false };
        if !self.keep_the_bound(room, others_go) {
            return false;
        }
        let record = Record { kind: RecordKind::Forward, holders: Arc::new([QUARANTINE.into()]), body };
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
    fn keep_the_bound(&self, room: u64, others_go: bool) -> bool {
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
            self.gauges.quarantine_expired(records);
            tracing::error!(
                records,
                "the quarantine is full: the oldest of what back ends refused for good was given up"
            );
        }
        true
    }

    /// Waits after the quarantine had no room; then everything that is left is sent again.
    pub(super) async fn wait_for_place(
        &self,
        load: &mut Load,
        slot: &mut Slot,
        stop: &mut watch::Receiver<bool>,
    ) -> Waited {
        self.gauges.retry(Reason::SpoolFull);
        self.say_no_room();
        let pieces = load.unplaced.drain(..).rev();
        load.pieces.extend(pieces);
        // The split into pieces proves nothing about a later attempt.
        load.touched = load.settled;
        load.evidence.again();
        let backoff = load.places.get_or_insert_with(|| Backoff::new(&self.settings));
        let wait = backoff.wait(None, &*self.shared.rng);
        match self.wait_aside(load, wait, (slot, stop)).await {
            Waited::Over if !self.shared.spool.any_waits(self.id(), &load.parcel.seqs) => Waited::Gone,
            waited => waited,
        }
    }

    fn say_no_room(&self) {
        let now = self.shared.clock.monotonic();
        let mut said = self.said_no_room.lock();
        if said.is_some_and(|said| now.saturating_sub(said) < SAY_EVERY) {
            return;
        }
        *said = Some(now);
        tracing::error!(
            exporter = &**self.id(),
            "the back end refuses items for good, and the spool has no room to set them aside: they stay, and are tried again"
        );
    }
}
