//! **What**: what becomes of items that a back end refused for good: they are kept in the spool's quarantine, or, where that has no room,
//! wait. **Why**: whoever waits for room where it stands may hold the very records whose end would make it: nothing would ever go on.
//! **Invariants**: who waits for room gives its slot to others (unless all is kept in order), and asks the back end again: it may be well;
//! half of the spool's last room stays for what lets data go by itself.
//! **Not here**: which items these are (`deliver`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use crate::pipeline::Reason;
use crate::pipeline::forward::Label;
use crate::pipeline::spool::{Record, RecordKind, Transaction, room_for};

use super::backoff::Backoff;
use super::deliver::{Load, Waited};
use super::evidence::Piece;
use super::gather::Parcel;
use super::slots::Slot;
use super::{Outlet, QUARANTINE};

/// How often it is said that there is no room for refused items.
const SAY_EVERY: Duration = Duration::from_secs(600);

impl Outlet {
    /// Keeps a refused piece in the spool's quarantine; what was offered only is counted. False: there is no room.
    pub(super) async fn set_aside(&self, parcel: &Parcel, piece: &Piece, reason: Reason) -> bool {
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
        if !self.store(&parcel.account, body.into()).await {
            return false;
        }
        self.gauges.failed(parcel.signal, piece.items);
        self.gauges.set_aside(piece.items);
        tracing::error!(
            exporter = &**self.id(),
            items = piece.items,
            reason = reason.label(),
            "the back end refused items for good; they are kept in the spool's quarantine"
        );
        true
    }

    async fn store(&self, account: &Arc<str>, body: Bytes) -> bool {
        let room = room_for(1, body.len() as u64);
        // A full spool must not keep the item at the head of the line, nor the item the last room from what lets older data go.
        let Ok(reservation) = self.shared.spool.reserve_to_prepare(room) else { return false };
        let record = Record { kind: RecordKind::Forward, holders: Arc::new([QUARANTINE.into()]), body };
        let transaction = Transaction { account: Arc::clone(account), records: vec![record] };
        let (tell, committed) = oneshot::channel();
        let on_commit = Box::new(move |result: Result<&[_], Reason>| {
            let _ = tell.send(result.is_ok());
        });
        self.shared.spool.enqueue(transaction, reservation, on_commit);
        committed.await.unwrap_or(false)
    }

    /// There was no room for what was refused: later all that is left is asked for again.
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
        // in what pieces it is says nothing later
        load.touched = load.settled;
        load.evidence.again();
        let backoff = load.places.get_or_insert_with(|| Backoff::new(&self.settings));
        let wait = backoff.wait(None, &*self.shared.rng);
        self.wait_aside(load, wait, (slot, stop)).await
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
