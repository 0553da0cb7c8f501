//! Delivery of one parcel: merge, send, wait, split, quarantine (module `quarantine`); then its records are marked
//! done. It ends with a result for every item, or if the records were released meanwhile (expired, dropped, moved), or
//! if the gateway stops: then nothing is marked done, and the whole parcel is delivered again after the next start.
//! A refused item is in the spool's quarantine before its record is done, and the other items are delivered. If the
//! back end seems to accept nothing at all, or finding each refused item would delay later records too long
//! (`evidence`), refused pieces are no longer split, and go to the quarantine whole.

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
use otlp::{MergedRequest, Payload, Signal, UnknownFields, count_items, split};

use super::backoff::Backoff;
use super::evidence::{RefusalEvidence, RequestPiece};
use super::gather::{Parcel, ParcelGroup, ReadIntake};
use super::slots::SendSlot;
use super::{BackendCondition, Outlet, READ_RETRY};

/// Upper bound of one attempt, for an exporter that ignores its own, shorter timeout.
const MAX_ATTEMPT_TIME: Duration = Duration::from_secs(300);
/// How long a single item is retried if the answer means either "too large" or "no room" (gRPC has one code for both)
/// and nothing else of the parcel was accepted: the back end may be overloaded. After that, the item counts as too
/// large.
const TOO_LARGE_RETRY: Duration = Duration::from_secs(300);
/// The same if no other request of its signal and account can be sent meanwhile, which would show that there is room.
const TOO_LARGE_RETRY_ALONE: Duration = Duration::from_secs(30);

/// The end of a delivery.
pub(super) struct DeliveryEnd {
    /// Group of the parcel.
    pub(super) group: ParcelGroup,
    /// First position of the parcel.
    pub(super) first: RecordSeq,
    /// Some data was not delivered because the gateway stops.
    pub(super) is_undelivered: bool,
}

/// A parcel that is being delivered.
pub(super) struct ParcelDelivery {
    pub(super) parcel: Parcel,
    /// Pieces still to be sent.
    pub(super) pieces: VecDeque<RequestPiece>,
    /// Refused pieces for which the quarantine had no room; they are sent again later.
    pub(super) unquarantined: Vec<RequestPiece>,
    pub(super) evidence: RefusalEvidence,
    /// There was a result for a piece, so the pieces can't be replaced by reading the parcel's records again: that
    /// would undo the split, or send accepted items twice.
    pub(super) must_keep_pieces: bool,
    /// A part was accepted or quarantined.
    pub(super) is_partly_settled: bool,
    too_large_retry: Option<TooLargeRetry>,
    /// Backoff of the wait for room in the quarantine.
    pub(super) quarantine_backoff: Option<Backoff>,
    /// Number of accepted requests of the group when the quarantine first had no room.
    accepted_at_no_room: Option<u64>,
}

/// State of the retries of an item that was refused as too large or for want of room.
struct TooLargeRetry {
    backoff: Backoff,
    /// After this time (monotonic) the item counts as too large.
    until: Duration,
    /// Number of accepted requests of the group at the first refusal. If more are accepted later, the back end has
    /// room, so the item is too large.
    accepted_at_start: u64,
}

/// The parcel's records can't be read again at the moment.
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

/// Decision about a single item that was refused as too large or for want of room.
enum RoomDecision {
    /// Send the item again: there may be room now.
    Retry,
    /// The item is too large.
    TooLarge,
    /// The gateway stops.
    Stopping,
}

impl ParcelDelivery {
    fn new(parcel: Parcel, pieces: VecDeque<RequestPiece>, ordered: bool) -> Self {
        Self {
            parcel,
            pieces,
            unquarantined: Vec::new(),
            evidence: RefusalEvidence::new(ordered),
            must_keep_pieces: false,
            is_partly_settled: false,
            too_large_retry: None,
            quarantine_backoff: None,
            accepted_at_no_room: None,
        }
    }

    /// Bytes of all pieces that are left.
    fn bytes(&self) -> usize {
        self.pieces.iter().chain(&self.unquarantined).map(|piece| piece.body.len()).sum()
    }

    /// Takes the next piece. With `ordered`, no piece overtakes one that waits for the quarantine.
    fn take_next_piece(&mut self) -> Option<RequestPiece> {
        let must_wait = self.evidence.ordered && !self.unquarantined.is_empty();
        if must_wait { None } else { self.evidence.take_next_piece(&mut self.pieces) }
    }

    fn drop_bytes(&mut self) {
        self.pieces = VecDeque::new();
        self.parcel.drop_bytes();
    }
}

/// Result of one piece.
enum PieceResult {
    /// Accepted, except for this many items if any.
    Accepted(Option<(u64, Reason)>),
    Refused(PieceRefusal),
    /// The records were released meanwhile, or the parcel in memory was given up.
    Released,
    /// The gateway stops.
    Stopping,
}

/// Why a piece was refused.
#[derive(Clone, Copy)]
struct PieceRefusal {
    reason: Reason,
    /// The back end may only have no room at the moment.
    may_lack_room: bool,
}

/// The back end's answer to a request that must be sent again.
struct RetryAnswer {
    /// The wait that the back end asked for.
    after: Option<Duration>,
    reason: Reason,
}

/// Handling of a refused piece.
enum RefusalHandling {
    /// The piece is sent again, whole or split, or waits for room in the quarantine.
    Retried,
    /// The piece, with this many items, is in the quarantine.
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
        slot.group = Some(parcel.group());
        let end = {
            let (group, first) = (parcel.group(), parcel.first);
            move |is_undelivered| DeliveryEnd { group: group.clone(), first, is_undelivered }
        };
        let pieces = self.split_parcel(&mut parcel, limit).await;
        let mut delivery = ParcelDelivery::new(parcel, pieces, self.settings.ordered);
        let mut rejected: Option<(u64, Reason)> = None;
        let mut reject = |items: u64, reason| {
            rejected = Some((rejected.map_or(0, |(earlier, _)| earlier).saturating_add(items), reason));
        };
        loop {
            let Some(piece) = delivery.take_next_piece() else {
                if delivery.unquarantined.is_empty() {
                    break;
                }
                match self.wait_for_quarantine(&mut delivery, &mut slot, &mut stop).await {
                    ParcelWait::Elapsed => continue,
                    ParcelWait::Released => return end(false),
                    ParcelWait::Stopping => return self.stop_delivery(&delivery.parcel, end(true)),
                }
            };
            // A piece above the exporter's own limit is not sent; the parcel was split already, so it is rarely more
            // than one item.
            let (piece, result) = if piece.body.len() <= self.exporter.max_item_bytes() {
                self.send(&mut delivery, piece, (&mut slot, &mut stop)).await
            } else {
                (piece, PieceResult::Refused(PieceRefusal { reason: Reason::AboveLimit, may_lack_room: false }))
            };
            delivery.must_keep_pieces = true;
            let refusal = match result {
                PieceResult::Accepted(rejection) => {
                    delivery.is_partly_settled = true;
                    rejection.into_iter().for_each(|(items, reason)| reject(items, reason));
                    continue;
                }
                PieceResult::Stopping => return self.stop_delivery(&delivery.parcel, end(true)),
                PieceResult::Released => return end(false),
                PieceResult::Refused(refusal) => refusal,
            };
            match self.handle_refusal(&mut delivery, piece, refusal, (&mut slot, &mut stop)).await {
                RefusalHandling::Quarantined(items) => reject(items, refusal.reason),
                RefusalHandling::Retried => {}
                RefusalHandling::Stopping => return self.stop_delivery(&delivery.parcel, end(true)),
            }
        }
        let parcel = delivery.parcel;
        let result = match rejected {
            None => Outcome::Accepted,
            Some((items, reason)) if items >= parcel.items => Outcome::Refused { reason },
            Some((rejected, reason)) => Outcome::Partial { rejected, reason },
        };
        match &self.memory {
            Some(memory) => memory.settle(&parcel.seqs, &result),
            None => {
                self.mark_done(&parcel.seqs).await;
                self.shared.delivery.settle(self.id(), &parcel.seqs, &result);
            }
        }
        end(false)
    }

    /// Handles a refused piece: splits it, sends it again, or puts it into the quarantine.
    async fn handle_refusal(
        &self,
        delivery: &mut ParcelDelivery,
        piece: RequestPiece,
        PieceRefusal { reason, may_lack_room }: PieceRefusal,
        (slot, stop): (&mut SendSlot, &mut watch::Receiver<bool>),
    ) -> RefusalHandling {
        let was_sent = reason != Reason::AboveLimit;
        if !was_sent || delivery.evidence.should_split() {
            if let Some((first, second)) = self.halve(delivery.parcel.signal, piece.body.clone()).await {
                delivery.pieces.extend([second, first]);
                return RefusalHandling::Retried;
            }
            if may_lack_room {
                match self.retry_too_large(delivery, slot, stop).await {
                    RoomDecision::Retry => {
                        delivery.pieces.push_back(piece);
                        return RefusalHandling::Retried;
                    }
                    RoomDecision::Stopping => return RefusalHandling::Stopping,
                    RoomDecision::TooLarge => {}
                }
            }
            delivery.evidence.record_single_item(was_sent);
        }
        // Counts only data of this attempt, or accepted since the quarantine had no room: what the back end accepted
        // before does not show that it still accepts data.
        let accepts_others = delivery.evidence.any_accepted
            || delivery.accepted_at_no_room.is_some_and(|accepted| slot.accepted_requests() != accepted);
        if !self.quarantine_piece(&delivery.parcel, &piece, reason, accepts_others).await {
            delivery.accepted_at_no_room.get_or_insert_with(|| slot.accepted_requests());
            delivery.unquarantined.push(piece);
            return RefusalHandling::Retried;
        }
        delivery.is_partly_settled = true;
        RefusalHandling::Quarantined(piece.items)
    }

    async fn mark_done(&self, seqs: &[RecordSeq]) {
        let (spool, id, owned_seqs) = (Arc::clone(&self.shared.spool), Arc::clone(self.id()), seqs.to_vec());
        let work = move || spool.mark_done_and_write(&id, &owned_seqs);
        if offload(&*self.shared.offload, "done", work).await.is_none() {
            self.shared.spool.mark_done(self.id(), seqs);
        }
    }

    /// Gives the parcel up if its data is only in memory, and returns `end`.
    fn stop_delivery(&self, parcel: &Parcel, end: DeliveryEnd) -> DeliveryEnd {
        self.memory.iter().for_each(|memory| memory.abandon(&parcel.seqs, Reason::ShuttingDown));
        end
    }

    /// Splits the parcel into pieces of at most `limit` bytes where possible, last piece first. Afterwards only the
    /// pieces hold the bytes.
    async fn split_parcel(&self, parcel: &mut Parcel, limit: usize) -> VecDeque<RequestPiece> {
        let (signal, items) = (parcel.signal, parcel.items);
        let merged = MergedRequest::new(std::mem::take(&mut parcel.bodies));
        let whole = |body| VecDeque::from([RequestPiece { body, items }]);
        if parcel.bytes <= limit {
            return whole(merged);
        }
        let to_split = merged.clone();
        let work = move || {
            let parts = split(signal, &to_split.joined(), limit).ok()?.into_iter().rev();
            let piece =
                |body: Bytes| RequestPiece { items: count_items(signal, &body).unwrap_or(0), body: body.into() };
            Some(parts.map(piece).collect())
        };
        let pieces = offload(&*self.shared.offload, "split", work).await.flatten();
        // A request that can't be split is sent whole, as if the offloaded work disappears.
        pieces.unwrap_or_else(|| whole(merged))
    }

    /// Sends `piece` until there is a result. Returns the result with its piece, which may be another one: a parked
    /// parcel may be read again, into new pieces.
    async fn send(
        &self,
        delivery: &mut ParcelDelivery,
        mut piece: RequestPiece,
        (slot, stop): (&mut SendSlot, &mut watch::Receiver<bool>),
    ) -> (RequestPiece, PieceResult) {
        let mut backoff = Backoff::new(&self.settings);
        loop {
            let began = self.shared.clock.monotonic();
            if self.give_up_if_too_late(delivery, began) {
                return (RequestPiece::empty(), PieceResult::Released);
            }
            let outcome = self.attempt_request(&delivery.parcel, &piece).await;
            let RetryAnswer { after, reason } = match self.interpret_outcome(&delivery.parcel, &piece, outcome) {
                Ok(result) => {
                    let is_accepted = matches!(result, PieceResult::Accepted(_));
                    let now = self.shared.clock.monotonic();
                    delivery.evidence.record_result(is_accepted, now.saturating_sub(began));
                    slot.record_result(is_accepted);
                    return (piece, result);
                }
                Err(answer) => answer,
            };
            self.metrics.count_retry(reason);
            self.set_failing(reason);
            let wait = backoff.next_wait(after, &*self.shared.rng);
            if self.give_up_if_too_late(delivery, self.shared.clock.monotonic() + wait) {
                return (RequestPiece::empty(), PieceResult::Released);
            }
            delivery.pieces.push_back(piece);
            let next_piece = match self.wait_parked(delivery, wait, (&mut *slot, &mut *stop)).await {
                ParcelWait::Elapsed => delivery.evidence.take_next_piece(&mut delivery.pieces),
                ParcelWait::Released => None,
                ParcelWait::Stopping => return (RequestPiece::empty(), PieceResult::Stopping),
            };
            let Some(next_piece) = next_piece else { return (RequestPiece::empty(), PieceResult::Released) };
            piece = next_piece;
        }
    }

    /// If the next attempt would begin after a client's deadline, asks the parcel's clients to retry, and returns true.
    /// Never for a parcel of which a part has a result: a retry would send an accepted part again.
    fn give_up_if_too_late(&self, delivery: &ParcelDelivery, next_attempt: Duration) -> bool {
        let seqs = &delivery.parcel.seqs;
        let memory =
            self.memory.as_ref().filter(|memory| !delivery.is_partly_settled && memory.is_too_late(seqs, next_attempt));
        memory.inspect(|memory| memory.abandon(seqs, Reason::TimedOut)).is_some()
    }

    /// Waits, parked if possible, so that other parcels can send meanwhile. A parked parcel without any result yet
    /// drops its bytes, and is read again afterwards.
    pub(super) async fn wait_parked(
        &self,
        delivery: &mut ParcelDelivery,
        mut wait: Duration,
        (slot, stop): (&mut SendSlot, &mut watch::Receiver<bool>),
    ) -> ParcelWait {
        let is_parked_in_spool = slot.park() && self.memory.is_none();
        let drops_bytes = is_parked_in_spool && !delivery.must_keep_pieces;
        if drops_bytes {
            delivery.drop_bytes();
        } else if is_parked_in_spool {
            let window_bytes = if slot.leave_window() { 0 } else { delivery.bytes() };
            delivery.parcel.window_bytes.set_bytes(window_bytes);
        }
        loop {
            if !self.wait_unless_stopped(wait, stop).await {
                return ParcelWait::Stopping;
            }
            slot.reacquire().await;
            if !drops_bytes {
                delivery.parcel.window_bytes.set_bytes(delivery.bytes());
                let (spool, seqs) = (&self.shared.spool, &delivery.parcel.seqs);
                let is_left = self.memory.is_some() || spool.is_any_pending(self.id(), seqs);
                return if is_left { ParcelWait::Elapsed } else { ParcelWait::Released };
            }
            match self.reread_parcel(delivery).await {
                Ok(true) => return ParcelWait::Elapsed,
                Ok(false) => return ParcelWait::Released,
                Err(RereadError) => {
                    slot.park();
                    wait = READ_RETRY;
                }
            }
        }
    }

    /// Decides about a single item that was refused as too large or for want of room, and waits before a retry. The
    /// item is retried for a while, but counts as too large as soon as the back end accepts other data of the parcel or
    /// group.
    async fn retry_too_large(
        &self,
        delivery: &mut ParcelDelivery,
        slot: &mut SendSlot,
        stop: &mut watch::Receiver<bool>,
    ) -> RoomDecision {
        let (now, accepted) = (self.shared.clock.monotonic(), slot.accepted_requests());
        let retry = delivery.too_large_retry.get_or_insert_with(|| {
            let duration = if slot.slots.max_in_flight == 1 { TOO_LARGE_RETRY_ALONE } else { TOO_LARGE_RETRY };
            TooLargeRetry { backoff: Backoff::new(&self.settings), until: now + duration, accepted_at_start: accepted }
        });
        if delivery.evidence.any_accepted || now >= retry.until || accepted != retry.accepted_at_start {
            return RoomDecision::TooLarge;
        }
        self.metrics.count_retry(Reason::TooLarge);
        self.set_condition(BackendCondition::Failing, Some(Reason::TooLarge));
        let wait = retry.backoff.next_wait(None, &*self.shared.rng);
        slot.park();
        if !self.wait_unless_stopped(wait, stop).await {
            return RoomDecision::Stopping;
        }
        slot.reacquire().await;
        RoomDecision::Retry
    }

    /// Reads the parcel again from the spool. Returns false if all of its records were released.
    async fn reread_parcel(&self, delivery: &mut ParcelDelivery) -> Result<bool, RereadError> {
        let (spool, id, seqs) = (Arc::clone(&self.shared.spool), Arc::clone(self.id()), delivery.parcel.seqs.clone());
        let trust = self.exporter.trust();
        let work = move || spool.read_positions(&id, &seqs).map(|records| ReadIntake::from_records(records, trust));
        let intake = match offload(&*self.shared.offload, "spool-read", work).await {
            Some(Ok(intake)) => intake,
            failure => {
                if let Some(Err(error)) = failure {
                    tracing::error!(exporter = &**self.id(), %error, "parked records can't be read from the spool; tollgate will retry");
                }
                self.metrics.read_failures.increment(1);
                return Err(RereadError);
            }
        };
        if !delivery.parcel.refill_parts(intake.parts) {
            return Ok(false);
        }
        delivery.pieces = self.split_parcel(&mut delivery.parcel, self.exporter.max_request_bytes()).await;
        Ok(true)
    }

    /// Interprets the outcome of an attempt. `Err`: the piece must be sent again.
    fn interpret_outcome(
        &self,
        parcel: &Parcel,
        piece: &RequestPiece,
        outcome: Outcome,
    ) -> Result<PieceResult, RetryAnswer> {
        match outcome {
            Outcome::Accepted => {
                self.metrics.count_sent(parcel.signal, piece.items);
                self.set_condition(BackendCondition::Healthy, None);
                Ok(PieceResult::Accepted(None))
            }
            Outcome::Partial { rejected, reason } => {
                let rejected = rejected.min(piece.items);
                self.metrics.count_sent(parcel.signal, piece.items - rejected);
                self.metrics.count_failed(parcel.signal, rejected);
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
                Ok(PieceResult::Refused(PieceRefusal { reason, may_lack_room: false }))
            }
            Outcome::Retry { reason: reason @ Reason::TooLarge, .. } => {
                Ok(PieceResult::Refused(PieceRefusal { reason, may_lack_room: true }))
            }
            Outcome::Refused { reason } => Err(RetryAnswer { after: None, reason }),
            Outcome::Retry { after, reason } => Err(RetryAnswer { after, reason }),
        }
    }

    async fn attempt_request(&self, parcel: &Parcel, piece: &RequestPiece) -> Outcome {
        // Checked already when the record was read; a last check costs nothing.
        if !parcel.clearance.allows(self.exporter.trust()) {
            return Outcome::Retry { after: None, reason: Reason::NotCleared };
        }
        self.metrics.record_attempt(piece.items, piece.body.len());
        let request = ExportRequest {
            signal: parcel.signal,
            account: Arc::clone(&parcel.account),
            body: piece.body.clone(),
            items: piece.items,
        };
        let send = AssertUnwindSafe(async { self.exporter.send(&request).await }).catch_unwind();
        let began = self.shared.clock.monotonic();
        let outcome = match with_timeout(&*self.shared.clock, MAX_ATTEMPT_TIME, send).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Outcome::Retry { after: None, reason: Reason::Lost },
            None => Outcome::Retry { after: None, reason: Reason::TimedOut },
        };
        self.metrics.record_outcome(&outcome, self.shared.clock.monotonic().saturating_sub(began));
        outcome
    }

    /// Two pieces with half of the items each; `None` if there is only one item, or the body can't be parsed.
    async fn halve(&self, signal: Signal, body: MergedRequest) -> Option<(RequestPiece, RequestPiece)> {
        let work = move || {
            let payload = Payload::parse(signal, body.joined()).ok()?;
            let count = payload.item_count();
            let middle = count / 2;
            let make_piece = |keep: &dyn Fn(usize) -> bool, items: usize| {
                // Unknown fields that must not be sent were dropped already.
                let encoded = payload.subset(keep).encode(UnknownFields::Keep).ok()?;
                Some(RequestPiece { body: encoded.bytes.into(), items: items as u64 })
            };
            if middle == 0 {
                return None;
            }
            Some((make_piece(&|item| item < middle, middle)?, make_piece(&|item| item >= middle, count - middle)?))
        };
        offload(&*self.shared.offload, "halve", work).await?
    }

    /// Asks the back end whether it would take data until it says yes, and shows a refusal like that of a request.
    pub(super) async fn check_back_end(self: Arc<Self>) {
        let (mut backoff, mut has_failed) = (Backoff::new(&self.settings), false);
        while let Err(reason) = self.exporter.check_back_end().await {
            has_failed = true;
            self.set_failing(reason);
            self.shared.clock.sleep(backoff.next_wait(None, &*self.shared.rng)).await;
        }
        // What requests found meanwhile is not overwritten by a check that never failed.
        if has_failed {
            self.set_condition(BackendCondition::Healthy, None);
        }
    }

    /// Stores that the back end takes nothing.
    fn set_failing(&self, reason: Reason) {
        let is_denied = reason == Reason::Denied;
        self.set_condition(if is_denied { BackendCondition::Denied } else { BackendCondition::Failing }, Some(reason));
    }

    /// Stores the condition of the back end, and logs it if it changed.
    fn set_condition(&self, now: BackendCondition, reason: Option<Reason>) {
        let before = std::mem::replace(&mut *self.condition.lock(), now);
        if before == now {
            return;
        }
        self.metrics.denied.set(f64::from(u8::from(now == BackendCondition::Denied)));
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
