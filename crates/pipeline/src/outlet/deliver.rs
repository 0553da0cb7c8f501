//! Delivery of one parcel: merge, send, wait, split, quarantine (`refused`); then its records are done.
//! It ends only with a result for every item, or because the gateway stops; in that case nothing is marked done, and
//! the whole parcel is delivered again after the start. A refused item is in the spool's quarantine before its record
//! is done, and the other items are delivered. If the back end seems to accept nothing at all, or finding every refused
//! item would delay the records behind the parcel too long (`evidence`), the remaining pieces are no longer split and
//! go to the quarantine whole if refused.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::watch;

use crate::component::ExportRequest;
use crate::offload::offload;
use crate::outcome::{Outcome, Reason};
use crate::spool::RecordSeq;
use kernel::clock::with_timeout;
use otlp::{Payload, Signal, UnknownFields, count_items, merge, split};

use super::backoff::Backoff;
use super::evidence::{RefusalEvidence, RequestPiece};
use super::gather::{Parcel, ParcelGroup, ReadIntake};
use super::slots::SendSlot;
use super::{BackendCondition, Outlet, READ_RETRY};

/// Upper bound of one attempt, for an exporter that ignores its own, shorter timeout.
const MAX_ATTEMPT_TIME: Duration = Duration::from_secs(300);
/// A back end that accepts nothing of a parcel, not even a single item, with an answer that means either "too large" or
/// "no room" (gRPC has one code for both), may be overloaded. The item is retried for this long before it counts as too
/// large.
const TOO_LARGE_RETRY: Duration = Duration::from_secs(300);
/// The same if no other request of its signal and account can be sent meanwhile.
const TOO_LARGE_RETRY_ALONE: Duration = Duration::from_secs(30);

/// The end of a delivery.
pub(super) struct DeliveryEnd {
    /// Group of the parcel.
    pub(super) group: ParcelGroup,
    /// Range of the parcel.
    pub(super) range: (RecordSeq, RecordSeq),
    /// Some data was not delivered because the gateway stops.
    pub(super) undelivered: bool,
}

/// A parcel that is being delivered.
pub(super) struct ParcelDelivery {
    pub(super) parcel: Parcel,
    /// Pieces still to be sent.
    pub(super) pieces: VecDeque<RequestPiece>,
    /// Refused pieces for which the quarantine had no room; they are sent again later.
    pub(super) unquarantined: Vec<RequestPiece>,
    pub(super) evidence: RefusalEvidence,
    /// The back end gave a result for a part, so the pieces no longer match the records in the spool.
    pub(super) has_result: bool,
    /// A part was accepted or quarantined, so what is left is less than the records in the spool.
    pub(super) settled: bool,
    too_large_retry: Option<TooLargeRetry>,
    /// Backoff of the wait for room in the quarantine.
    pub(super) quarantine_backoff: Option<Backoff>,
    /// Number of accepted requests of the group when the quarantine first had no room.
    refused_at: Option<u64>,
}

/// State of the retries of an item that was refused as too large or for want of room.
struct TooLargeRetry {
    backoff: Backoff,
    /// After this time (monotonic) the item counts as too large.
    until: Duration,
    /// Accepted requests of the group at the first refusal. If more are accepted later, the back end has room, so the
    /// item is too large.
    accepted_before: u64,
}

/// The parcel's records can't be read again now.
struct RereadError;

/// The end of a wait.
pub(super) enum ParcelWait {
    /// The parcel may be sent again.
    Elapsed,
    /// The records were released meanwhile (expired or dropped): nothing is left to send.
    Released,
    /// The gateway stops.
    Stopping,
}

/// Decision about an item that was refused as too large or for want of room.
enum RoomDecision {
    /// Send it again: there may be room now.
    Retry,
    /// The item is too large.
    TooLarge,
    /// The gateway stops.
    Stopping,
}

impl ParcelDelivery {
    fn new(parcel: Parcel, pieces: VecDeque<RequestPiece>, ordered: bool) -> Self {
        let evidence = RefusalEvidence::new(ordered);
        let (unplaced, patience, places, refused_at) = (Vec::new(), None, None, None);
        Self {
            parcel,
            pieces,
            unquarantined: unplaced,
            evidence,
            has_result: false,
            settled: false,
            too_large_retry: patience,
            quarantine_backoff: places,
            refused_at,
        }
    }

    /// Bytes of all pieces that are left.
    fn bytes(&self) -> usize {
        self.pieces.iter().chain(&self.unquarantined).map(|piece| piece.body.len()).sum()
    }

    /// The next piece. With `ordered`, nothing is sent before a piece that waits for the quarantine.
    fn next(&mut self) -> Option<RequestPiece> {
        let waits = self.evidence.is_ordered() && !self.unquarantined.is_empty();
        if waits { None } else { self.evidence.next(&mut self.pieces) }
    }

    fn drop_bytes(&mut self) {
        self.pieces = VecDeque::new();
        self.parcel.drop_bytes();
    }
}

/// Result of one piece.
enum PieceResult {
    /// Accepted, except for this many items.
    Accepted(Option<(u64, Reason)>),
    /// Refused, with the reason, and whether only room may be missing.
    Refused(Reason, bool),
    /// The records were released meanwhile.
    Released,
    /// The gateway stops.
    Stopping,
}

/// Handling of a refused piece.
enum RefusalHandling {
    /// It is sent again, whole or split, or waits for room in the quarantine.
    Retried,
    /// This many items are in the quarantine.
    Quarantined(u64),
    /// The gateway stops.
    Stopping,
}

impl Outlet {
    pub(super) async fn deliver(
        self: Arc<Self>,
        mut parcel: Parcel,
        mut slot: SendSlot,
        mut stop: watch::Receiver<bool>,
    ) -> DeliveryEnd {
        let limit = self.exporter.max_request_bytes();
        slot.set_group(parcel.group());
        let end = {
            let (group, range) = (parcel.group(), parcel.range);
            move |left| DeliveryEnd { group: group.clone(), range, undelivered: left }
        };
        let pieces = self.split_parcel(&mut parcel, limit).await;
        let mut load = ParcelDelivery::new(parcel, pieces, self.settings.ordered);
        let mut rejected: Option<(u64, Reason)> = None;
        let mut reject = |items: u64, reason| {
            rejected = Some((rejected.map_or(0, |(known, _)| known).saturating_add(items), reason));
        };
        loop {
            let Some(piece) = load.next() else {
                if load.unquarantined.is_empty() {
                    break;
                }
                match self.wait_for_quarantine(&mut load, &mut slot, &mut stop).await {
                    ParcelWait::Elapsed => continue,
                    ParcelWait::Released => return end(false),
                    ParcelWait::Stopping => return self.stop_delivery(&load.parcel, end(true)),
                }
            };
            // A piece above our own limit costs no attempt; a piece that is still too large here could not be split.
            let fits = piece.body.len() <= self.exporter.max_item_bytes();
            let (piece, verdict) = if fits {
                self.send(&mut load, piece, (&mut slot, &mut stop)).await
            } else {
                (piece, PieceResult::Refused(Reason::AboveLimit, false))
            };
            load.has_result = true;
            let (reason, room) = match verdict {
                PieceResult::Accepted(but) => {
                    load.settled = true;
                    but.into_iter().for_each(|(items, reason)| reject(items, reason));
                    continue;
                }
                PieceResult::Stopping => return self.stop_delivery(&load.parcel, end(true)),
                PieceResult::Released => return end(false),
                PieceResult::Refused(reason, room) => (reason, room),
            };
            match self.handle_refusal(&mut load, piece, (reason, room), (&mut slot, &mut stop)).await {
                RefusalHandling::Quarantined(items) => reject(items, reason),
                RefusalHandling::Retried => {}
                RefusalHandling::Stopping => return self.stop_delivery(&load.parcel, end(true)),
            }
        }
        let parcel = load.parcel;
        if self.offers.is_none() {
            self.mark_done(&parcel.seqs).await;
        }
        let verdict = match rejected {
            None => Outcome::Accepted,
            Some((items, reason)) if items >= parcel.items => Outcome::Refused { reason },
            Some((rejected, reason)) => Outcome::Partial { rejected, reason },
        };
        self.shared.delivery.settle(self.id(), &parcel.seqs, &verdict);
        end(false)
    }

    /// Handles a refused piece: splits it, sends it again, or puts it into the quarantine.
    async fn handle_refusal(
        &self,
        load: &mut ParcelDelivery,
        piece: RequestPiece,
        (reason, room): (Reason, bool),
        (slot, stop): (&mut SendSlot, &mut watch::Receiver<bool>),
    ) -> RefusalHandling {
        let asked = reason != Reason::AboveLimit;
        if !asked || load.evidence.should_split() {
            if let Some((first, second)) = self.halve(load.parcel.signal, piece.body.clone()).await {
                load.pieces.extend([second, first]);
                return RefusalHandling::Retried;
            }
            if room {
                match self.retry_too_large(load, slot, stop).await {
                    RoomDecision::Retry => {
                        load.pieces.push_back(piece);
                        return RefusalHandling::Retried;
                    }
                    RoomDecision::Stopping => return RefusalHandling::Stopping,
                    RoomDecision::TooLarge => {}
                }
            }
            load.evidence.record_single_item(asked);
        }
        // Data accepted earlier says nothing about a back end that has stopped accepting.
        let others_go =
            load.evidence.any_accepted || load.refused_at.is_some_and(|taken| slot.accepted_requests() != taken);
        if !self.quarantine_piece(&load.parcel, &piece, reason, others_go).await {
            load.refused_at.get_or_insert_with(|| slot.accepted_requests());
            load.unquarantined.push(piece);
            return RefusalHandling::Retried;
        }
        load.settled = true;
        RefusalHandling::Quarantined(piece.items)
    }

    async fn mark_done(&self, seqs: &[RecordSeq]) {
        let (spool, id, theirs) = (Arc::clone(&self.shared.spool), Arc::clone(self.id()), seqs.to_vec());
        let work = move || spool.mark_done_and_write(&id, &theirs);
        if offload(&*self.shared.offload, "done", work).await.is_none() {
            self.shared.spool.mark_done(self.id(), seqs);
        }
    }

    /// Data of an exporter with `ack: offered` is lost with its parcel; all other data stays in the spool.
    fn stop_delivery(&self, parcel: &Parcel, delivered: DeliveryEnd) -> DeliveryEnd {
        if let Some(offers) = &self.offers {
            offers.count_dropped(parcel.seqs.len() as u64);
        }
        delivered
    }

    /// Splits the parcel into one piece per request, last piece first. Afterwards only the pieces hold the bytes.
    async fn split_parcel(&self, parcel: &mut Parcel, limit: usize) -> VecDeque<RequestPiece> {
        let (signal, items, bodies) = (parcel.signal, parcel.items, std::mem::take(&mut parcel.bodies));
        if parcel.bytes <= limit {
            return [RequestPiece { body: merge(&bodies), items }].into();
        }
        let theirs = bodies.clone();
        let work = move || {
            let whole = merge(&theirs);
            let Ok(mut parts) = split(signal, &whole, limit) else {
                return [RequestPiece { body: whole, items }].into();
            };
            parts.reverse();
            parts
                .into_iter()
                .map(|body| RequestPiece { items: count_items(signal, &body).unwrap_or(0), body })
                .collect()
        };
        let pieces = offload(&*self.shared.offload, "split", work).await;
        // If the offloaded work disappears, the parcel is sent whole instead.
        pieces.unwrap_or_else(|| [RequestPiece { body: merge(&bodies), items }].into())
    }

    /// Sends until there is a result. Returns it with the piece it is about: while the parcel is parked it may be read
    /// again, into other pieces.
    async fn send(
        &self,
        load: &mut ParcelDelivery,
        mut piece: RequestPiece,
        (slot, stop): (&mut SendSlot, &mut watch::Receiver<bool>),
    ) -> (RequestPiece, PieceResult) {
        let mut backoff = Backoff::new(&self.settings);
        loop {
            let began = self.shared.clock.monotonic();
            let outcome = self.attempt_request(&load.parcel, &piece).await;
            let (wish, reason) = match self.interpret_outcome(&load.parcel, &piece, outcome) {
                Ok(verdict) => {
                    let taken = matches!(verdict, PieceResult::Accepted(_));
                    let now = self.shared.clock.monotonic();
                    load.evidence.record_result(taken, now.saturating_sub(began));
                    slot.record_result(taken);
                    return (piece, verdict);
                }
                Err(again) => again,
            };
            self.gauges.count_retry(reason);
            let denied = reason == Reason::Denied;
            self.set_condition(if denied { BackendCondition::Denied } else { BackendCondition::Failing }, Some(reason));
            let wait = backoff.next_wait(wish, &*self.shared.rng);
            load.pieces.push_back(piece);
            let again = match self.wait_parked(load, wait, (&mut *slot, &mut *stop)).await {
                ParcelWait::Elapsed => load.evidence.next(&mut load.pieces),
                ParcelWait::Released => None,
                ParcelWait::Stopping => return (RequestPiece::empty(), PieceResult::Stopping),
            };
            let Some(again) = again else { return (RequestPiece::empty(), PieceResult::Released) };
            piece = again;
        }
    }

    /// Waits, parked if possible: other parcels may send meanwhile, and a load without any result yet drops its bytes
    /// and is read again afterwards.
    pub(super) async fn wait_parked(
        &self,
        load: &mut ParcelDelivery,
        mut wait: Duration,
        (slot, stop): (&mut SendSlot, &mut watch::Receiver<bool>),
    ) -> ParcelWait {
        let aside = slot.park() && self.offers.is_none();
        let light = aside && !load.has_result;
        if light {
            load.drop_bytes();
        } else if aside {
            let uncounted = slot.reserve_partial();
            load.parcel.window_bytes.set_bytes(if uncounted { 0 } else { load.bytes() });
        }
        loop {
            if !self.wait_unless_stopped(wait, stop).await {
                return ParcelWait::Stopping;
            }
            slot.reacquire().await;
            if !light {
                load.parcel.window_bytes.set_bytes(load.bytes());
                return ParcelWait::Elapsed;
            }
            match self.reload(load).await {
                Ok(true) => return ParcelWait::Elapsed,
                Ok(false) => return ParcelWait::Released,
                Err(RereadError) => {
                    slot.park();
                    wait = READ_RETRY;
                }
            }
        }
    }

    /// A single item was refused as too large or for want of room, and nothing else of the parcel was accepted. Unless
    /// the back end accepts other data of the group meanwhile, the item is retried for a while before it counts as too
    /// large.
    async fn retry_too_large(
        &self,
        load: &mut ParcelDelivery,
        slot: &mut SendSlot,
        stop: &mut watch::Receiver<bool>,
    ) -> RoomDecision {
        let (now, taken) = (self.shared.clock.monotonic(), slot.accepted_requests());
        let patience = load.too_large_retry.get_or_insert_with(|| {
            let most = if slot.is_only_slot() { TOO_LARGE_RETRY_ALONE } else { TOO_LARGE_RETRY };
            TooLargeRetry { backoff: Backoff::new(&self.settings), until: now + most, accepted_before: taken }
        });
        if load.evidence.any_accepted || now >= patience.until || taken != patience.accepted_before {
            return RoomDecision::TooLarge;
        }
        self.gauges.count_retry(Reason::TooLarge);
        self.set_condition(BackendCondition::Failing, Some(Reason::TooLarge));
        let wait = patience.backoff.next_wait(None, &*self.shared.rng);
        slot.park();
        if !self.wait_unless_stopped(wait, stop).await {
            return RoomDecision::Stopping;
        }
        slot.reacquire().await;
        RoomDecision::Retry
    }

    /// Reads the parcel again from the spool. Returns false if all of its records were released.
    async fn reload(&self, load: &mut ParcelDelivery) -> Result<bool, RereadError> {
        let (spool, id, seqs) = (Arc::clone(&self.shared.spool), Arc::clone(self.id()), load.parcel.seqs.clone());
        let trust = self.exporter.trust();
        let work = move || spool.read_positions(&id, &seqs).map(|records| ReadIntake::from_records(records, trust));
        let intake = match offload(&*self.shared.offload, "spool-read", work).await {
            Some(Ok(intake)) => intake,
            failed => {
                if let Some(Err(error)) = failed {
                    tracing::error!(exporter = &**self.id(), %error, "parked records can't be read from the spool; tollgate will retry");
                }
                self.gauges.count_read_failure();
                return Err(RereadError);
            }
        };
        if !load.parcel.refill_parts(intake.parts) {
            return Ok(false);
        }
        load.pieces = self.split_parcel(&mut load.parcel, self.exporter.max_request_bytes()).await;
        Ok(true)
    }

    /// Interprets the outcome of a piece. `Err`: send it again, after this wait, for this reason.
    fn interpret_outcome(
        &self,
        parcel: &Parcel,
        piece: &RequestPiece,
        outcome: Outcome,
    ) -> Result<PieceResult, (Option<Duration>, Reason)> {
        match outcome {
            Outcome::Accepted => {
                self.gauges.count_sent(parcel.signal, piece.items);
                self.set_condition(BackendCondition::Healthy, None);
                Ok(PieceResult::Accepted(None))
            }
            Outcome::Partial { rejected, reason } => {
                let rejected = rejected.min(piece.items);
                self.gauges.count_sent(parcel.signal, piece.items - rejected);
                self.gauges.count_failed(parcel.signal, rejected);
                self.set_condition(BackendCondition::Healthy, None);
                tracing::warn!(
                    exporter = &**self.id(),
                    rejected,
                    reason = reason.label(),
                    "the back end rejected some items of an accepted request"
                );
                Ok(PieceResult::Accepted((rejected > 0).then_some((rejected, reason))))
            }
            Outcome::Refused { reason: reason @ (Reason::BadData | Reason::TooLarge | Reason::Malformed) } => {
                Ok(PieceResult::Refused(reason, false))
            }
            Outcome::Retry { reason: reason @ Reason::TooLarge, .. } => Ok(PieceResult::Refused(reason, true)),
            Outcome::Refused { reason } => Err((None, reason)),
            Outcome::Retry { after, reason } => Err((after, reason)),
        }
    }

    async fn attempt_request(&self, parcel: &Parcel, piece: &RequestPiece) -> Outcome {
        // Checked already when the record was read; a last check costs nothing.
        if !parcel.clearance.allows(self.exporter.trust()) {
            return Outcome::Retry { after: None, reason: Reason::NotCleared };
        }
        self.gauges.record_attempt(piece.items, piece.body.len());
        let request = ExportRequest {
            signal: parcel.signal,
            account: Arc::clone(&parcel.account),
            body: piece.body.clone(),
            items: piece.items,
        };
        let send = AssertUnwindSafe(async { self.exporter.send(&request).await }).catch_unwind();
        match with_timeout(&*self.shared.clock, MAX_ATTEMPT_TIME, send).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Outcome::Retry { after: None, reason: Reason::Lost },
            None => Outcome::Retry { after: None, reason: Reason::TimedOut },
        }
    }

    /// Two pieces with half of the items each; `None` if there is only one item, or the body can't be parsed.
    async fn halve(&self, signal: Signal, body: Bytes) -> Option<(RequestPiece, RequestPiece)> {
        let work = move || {
            let payload = Payload::parse(signal, body).ok()?;
            let count = payload.item_count();
            let middle = count / 2;
            let half = |keep: &dyn Fn(usize) -> bool, items: usize| {
                // Unknown fields that must not be sent were dropped before.
                let encoded = payload.subset(keep).encode(UnknownFields::Keep).ok()?;
                Some(RequestPiece { body: encoded.bytes.into(), items: items as u64 })
            };
            if middle == 0 {
                return None;
            }
            Some((half(&|item| item < middle, middle)?, half(&|item| item >= middle, count - middle)?))
        };
        offload(&*self.shared.offload, "halve", work).await?
    }

    /// Stores the condition of the back end, and logs it if it changed.
    fn set_condition(&self, now: BackendCondition, reason: Option<Reason>) {
        let before = std::mem::replace(&mut *self.condition.lock(), now);
        if before == now {
            return;
        }
        self.gauges.set_denied(now == BackendCondition::Denied);
        let (exporter, reason) = (&**self.id(), reason.map_or("", Reason::label));
        match now {
            BackendCondition::Healthy => tracing::info!(exporter, "the back end accepts data again"),
            BackendCondition::Failing => {
                tracing::warn!(exporter, reason, "the back end accepts no data; tollgate keeps retrying")
            }
            BackendCondition::Denied => tracing::error!(
                exporter,
                reason,
                "the back end refuses the credential or the address; check the exporter's settings"
            ),
        }
    }

    /// Waits. Returns false at once if the gateway stops.
    pub(super) async fn wait_unless_stopped(&self, wait: Duration, stop: &mut watch::Receiver<bool>) -> bool {
        if *stop.borrow() {
            return false;
        }
        tokio::select! {
            biased;
            () = self.shared.clock.sleep(wait) => true,
            // A dropped sender also means stop.
            _ = stop.wait_for(|stopped| *stopped) => false,
        }
    }
}
