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
use crate::spool::Seq;
use kernel::clock::within;
use otlp::{Payload, Signal, UnknownFields, count_items, merge, split};

use super::backoff::Backoff;
use super::evidence::{Evidence, Piece};
use super::gather::{Group, Intake, Parcel};
use super::slots::Slot;
use super::{Condition, Outlet, READ_RETRY};

/// Upper bound of one attempt, for an exporter that ignores its own, shorter timeout.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(300);
/// A back end that accepts nothing of a parcel, not even a single item, with an answer that means either "too large" or
/// "no room" (gRPC has one code for both), may be overloaded. The item is retried for this long before it counts as too
/// large.
const LONGEST_PATIENCE: Duration = Duration::from_secs(300);
/// The same if no other request of its signal and account can be sent meanwhile.
const LONGEST_PATIENCE_ALONE: Duration = Duration::from_secs(30);

/// The end of a delivery.
pub(super) struct Delivered {
    /// Group of the parcel.
    pub(super) group: Group,
    /// Range of the parcel.
    pub(super) range: (Seq, Seq),
    /// Some data was not delivered because the gateway stops.
    pub(super) left: bool,
}

/// A parcel that is being delivered.
pub(super) struct Load {
    pub(super) parcel: Parcel,
    /// Pieces still to be sent.
    pub(super) pieces: VecDeque<Piece>,
    /// Refused pieces for which the quarantine had no room; they are sent again later.
    pub(super) unplaced: Vec<Piece>,
    pub(super) evidence: Evidence,
    /// The back end gave a result for a part, so the pieces no longer match the records in the spool.
    pub(super) touched: bool,
    /// A part was accepted or quarantined, so what is left is less than the records in the spool.
    pub(super) settled: bool,
    patience: Option<Patience>,
    /// Backoff of the wait for room in the quarantine.
    pub(super) places: Option<Backoff>,
    /// Number of accepted requests of the group when the quarantine first had no room.
    refused_at: Option<u64>,
}

/// State of the retries of an item that was refused as too large or for want of room.
struct Patience {
    backoff: Backoff,
    /// After this time (monotonic) the item counts as too large.
    until: Duration,
    /// Accepted requests of the group at the first refusal. If more are accepted later, the back end has room, so the
    /// item is too large.
    taken: u64,
}

/// The parcel's records can't be read again now.
struct Unread;

/// The end of a wait.
pub(super) enum Waited {
    /// The parcel may be sent again.
    Over,
    /// The records were released meanwhile (expired or dropped): nothing is left to send.
    Gone,
    /// The gateway stops.
    Left,
}

/// Decision about an item that was refused as too large or for want of room.
enum Room {
    /// Send it again: there may be room now.
    Perhaps,
    /// The item is too large.
    Never,
    /// The gateway stops.
    Left,
}

impl Load {
    fn new(parcel: Parcel, pieces: VecDeque<Piece>, ordered: bool) -> Self {
        let evidence = Evidence::new(ordered);
        let (unplaced, patience, places, refused_at) = (Vec::new(), None, None, None);
        Self { parcel, pieces, unplaced, evidence, touched: false, settled: false, patience, places, refused_at }
    }

    /// Bytes of all pieces that are left.
    fn bytes(&self) -> usize {
        self.pieces.iter().chain(&self.unplaced).map(|piece| piece.body.len()).sum()
    }

    /// The next piece. With `ordered`, nothing is sent before a piece that waits for the quarantine.
    fn next(&mut self) -> Option<Piece> {
        let waits = self.evidence.in_order() && !self.unplaced.is_empty();
        if waits { None } else { self.evidence.next(&mut self.pieces) }
    }

    fn lighten(&mut self) {
        self.pieces = VecDeque::new();
        self.parcel.lighten();
    }
}

/// Result of one piece.
enum Verdict {
    /// Accepted, except for this many items.
    Taken(Option<(u64, Reason)>),
    /// Refused, with the reason, and whether only room may be missing.
    Refused(Reason, bool),
    /// The records were released meanwhile.
    Gone,
    /// The gateway stops.
    Left,
}

/// Handling of a refused piece.
enum Refusal {
    /// It is sent again, whole or split, or waits for room in the quarantine.
    GoesOn,
    /// This many items are in the quarantine.
    Aside(u64),
    /// The gateway stops.
    Left,
}

impl Outlet {
    pub(super) async fn deliver(
        self: Arc<Self>,
        mut parcel: Parcel,
        mut slot: Slot,
        mut stop: watch::Receiver<bool>,
    ) -> Delivered {
        let limit = self.exporter.max_request_bytes();
        slot.serve(parcel.group());
        let end = {
            let (group, range) = (parcel.group(), parcel.range);
            move |left| Delivered { group: group.clone(), range, left }
        };
        let pieces = self.pieces(&mut parcel, limit).await;
        let mut load = Load::new(parcel, pieces, self.settings.ordered);
        let mut rejected: Option<(u64, Reason)> = None;
        let mut reject = |items: u64, reason| {
            rejected = Some((rejected.map_or(0, |(known, _)| known).saturating_add(items), reason));
        };
        loop {
            let Some(piece) = load.next() else {
                if load.unplaced.is_empty() {
                    break;
                }
                match self.wait_for_place(&mut load, &mut slot, &mut stop).await {
                    Waited::Over => continue,
                    Waited::Gone => return end(false),
                    Waited::Left => return self.left(&load.parcel, end(true)),
                }
            };
            // A piece above our own limit costs no attempt; a piece that is still too large here could not be split.
            let fits = piece.body.len() <= self.exporter.max_item_bytes();
            let (piece, verdict) = if fits {
                self.send(&mut load, piece, (&mut slot, &mut stop)).await
            } else {
                (piece, Verdict::Refused(Reason::AboveLimit, false))
            };
            load.touched = true;
            let (reason, room) = match verdict {
                Verdict::Taken(but) => {
                    load.settled = true;
                    but.into_iter().for_each(|(items, reason)| reject(items, reason));
                    continue;
                }
                Verdict::Left => return self.left(&load.parcel, end(true)),
                Verdict::Gone => return end(false),
                Verdict::Refused(reason, room) => (reason, room),
            };
            match self.refused(&mut load, piece, (reason, room), (&mut slot, &mut stop)).await {
                Refusal::Aside(items) => reject(items, reason),
                Refusal::GoesOn => {}
                Refusal::Left => return self.left(&load.parcel, end(true)),
            }
        }
        let parcel = load.parcel;
        if self.offers.is_none() {
            self.done(&parcel.seqs).await;
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
    async fn refused(
        &self,
        load: &mut Load,
        piece: Piece,
        (reason, room): (Reason, bool),
        (slot, stop): (&mut Slot, &mut watch::Receiver<bool>),
    ) -> Refusal {
        let asked = reason != Reason::AboveLimit;
        if !asked || load.evidence.halves() {
            if let Some((first, second)) = self.halve(load.parcel.signal, piece.body.clone()).await {
                load.pieces.extend([second, first]);
                return Refusal::GoesOn;
            }
            if room {
                match self.wait_for_room(load, slot, stop).await {
                    Room::Perhaps => {
                        load.pieces.push_back(piece);
                        return Refusal::GoesOn;
                    }
                    Room::Left => return Refusal::Left,
                    Room::Never => {}
                }
            }
            load.evidence.alone(asked);
        }
        // Data accepted earlier says nothing about a back end that has stopped accepting.
        let others_go = load.evidence.taken || load.refused_at.is_some_and(|taken| slot.taken() != taken);
        if !self.set_aside(&load.parcel, &piece, reason, others_go).await {
            load.refused_at.get_or_insert_with(|| slot.taken());
            load.unplaced.push(piece);
            return Refusal::GoesOn;
        }
        load.settled = true;
        Refusal::Aside(piece.items)
    }

    async fn done(&self, seqs: &[Seq]) {
        let (spool, id, theirs) = (Arc::clone(&self.shared.spool), Arc::clone(self.id()), seqs.to_vec());
        let work = move || spool.done_and_kept(&id, &theirs);
        if offload(&*self.shared.offload, "done", work).await.is_none() {
            self.shared.spool.done(self.id(), seqs);
        }
    }

    /// Data of an exporter with `ack: offered` is lost with its parcel; all other data stays in the spool.
    fn left(&self, parcel: &Parcel, delivered: Delivered) -> Delivered {
        if let Some(offers) = &self.offers {
            offers.lost(parcel.seqs.len() as u64);
        }
        delivered
    }

    /// Splits the parcel into one piece per request, last piece first. Afterwards only the pieces hold the bytes.
    async fn pieces(&self, parcel: &mut Parcel, limit: usize) -> VecDeque<Piece> {
        let (signal, items, bodies) = (parcel.signal, parcel.items, std::mem::take(&mut parcel.bodies));
        if parcel.bytes <= limit {
            return [Piece { body: merge(&bodies), items }].into();
        }
        let theirs = bodies.clone();
        let work = move || {
            let whole = merge(&theirs);
            let Ok(mut parts) = split(signal, &whole, limit) else { return [Piece { body: whole, items }].into() };
            parts.reverse();
            parts.into_iter().map(|body| Piece { items: count_items(signal, &body).unwrap_or(0), body }).collect()
        };
        let pieces = offload(&*self.shared.offload, "split", work).await;
        // If the offloaded work disappears, the parcel is sent whole instead.
        pieces.unwrap_or_else(|| [Piece { body: merge(&bodies), items }].into())
    }

    /// Sends until there is a result. Returns it with the piece it is about: while the parcel is parked it may be read
    /// again, into other pieces.
    async fn send(
        &self,
        load: &mut Load,
        mut piece: Piece,
        (slot, stop): (&mut Slot, &mut watch::Receiver<bool>),
    ) -> (Piece, Verdict) {
        let mut backoff = Backoff::new(&self.settings);
        loop {
            let began = self.shared.clock.monotonic();
            let outcome = self.attempt(&load.parcel, &piece).await;
            let (wish, reason) = match self.verdict(&load.parcel, &piece, outcome) {
                Ok(verdict) => {
                    let taken = matches!(verdict, Verdict::Taken(_));
                    let now = self.shared.clock.monotonic();
                    load.evidence.asked(taken, now.saturating_sub(began));
                    slot.heard(taken);
                    return (piece, verdict);
                }
                Err(again) => again,
            };
            self.gauges.retry(reason);
            let denied = reason == Reason::Denied;
            self.is(if denied { Condition::Denied } else { Condition::Failing }, Some(reason));
            let wait = backoff.wait(wish, &*self.shared.rng);
            load.pieces.push_back(piece);
            let again = match self.wait_aside(load, wait, (&mut *slot, &mut *stop)).await {
                Waited::Over => load.evidence.next(&mut load.pieces),
                Waited::Gone => None,
                Waited::Left => return (Piece::empty(), Verdict::Left),
            };
            let Some(again) = again else { return (Piece::empty(), Verdict::Gone) };
            piece = again;
        }
    }

    /// Waits, parked if possible: other parcels may send meanwhile, and a load without any result yet drops its bytes
    /// and is read again afterwards.
    pub(super) async fn wait_aside(
        &self,
        load: &mut Load,
        mut wait: Duration,
        (slot, stop): (&mut Slot, &mut watch::Receiver<bool>),
    ) -> Waited {
        let aside = slot.stand_aside() && self.offers.is_none();
        let light = aside && !load.touched;
        if light {
            load.lighten();
        } else if aside {
            let uncounted = slot.waits_begun();
            load.parcel.held.set(if uncounted { 0 } else { load.bytes() });
        }
        loop {
            if !self.pause(wait, stop).await {
                return Waited::Left;
            }
            slot.come_back().await;
            if !light {
                load.parcel.held.set(load.bytes());
                return Waited::Over;
            }
            match self.reload(load).await {
                Ok(true) => return Waited::Over,
                Ok(false) => return Waited::Gone,
                Err(Unread) => {
                    slot.stand_aside();
                    wait = READ_RETRY;
                }
            }
        }
    }

    /// A single item was refused as too large or for want of room, and nothing else of the parcel was accepted. Unless
    /// the back end accepts other data of the group meanwhile, the item is retried for a while before it counts as too
    /// large.
    async fn wait_for_room(&self, load: &mut Load, slot: &mut Slot, stop: &mut watch::Receiver<bool>) -> Room {
        let (now, taken) = (self.shared.clock.monotonic(), slot.taken());
        let patience = load.patience.get_or_insert_with(|| {
            let most = if slot.is_the_only_one() { LONGEST_PATIENCE_ALONE } else { LONGEST_PATIENCE };
            Patience { backoff: Backoff::new(&self.settings), until: now + most, taken }
        });
        if load.evidence.taken || now >= patience.until || taken != patience.taken {
            return Room::Never;
        }
        self.gauges.retry(Reason::TooLarge);
        self.is(Condition::Failing, Some(Reason::TooLarge));
        let wait = patience.backoff.wait(None, &*self.shared.rng);
        slot.stand_aside();
        if !self.pause(wait, stop).await {
            return Room::Left;
        }
        slot.come_back().await;
        Room::Perhaps
    }

    /// Reads the parcel again from the spool. Returns false if all of its records were released.
    async fn reload(&self, load: &mut Load) -> Result<bool, Unread> {
        let (spool, id, seqs) = (Arc::clone(&self.shared.spool), Arc::clone(self.id()), load.parcel.seqs.clone());
        let trust = self.exporter.trust();
        let work = move || spool.read_these(&id, &seqs).map(|records| Intake::sort(records, trust));
        let intake = match offload(&*self.shared.offload, "spool-read", work).await {
            Some(Ok(intake)) => intake,
            failed => {
                if let Some(Err(error)) = failed {
                    tracing::error!(exporter = &**self.id(), %error, "what waits can't be read again");
                }
                self.gauges.read_failed();
                return Err(Unread);
            }
        };
        if !load.parcel.fill(intake.parts) {
            return Ok(false);
        }
        load.pieces = self.pieces(&mut load.parcel, self.exporter.max_request_bytes()).await;
        Ok(true)
    }

    /// Interprets the outcome of a piece. `Err`: send it again, after this wait, for this reason.
    fn verdict(&self, parcel: &Parcel, piece: &Piece, outcome: Outcome) -> Result<Verdict, (Option<Duration>, Reason)> {
        match outcome {
            Outcome::Accepted => {
                self.gauges.sent(parcel.signal, piece.items);
                self.is(Condition::Well, None);
                Ok(Verdict::Taken(None))
            }
            Outcome::Partial { rejected, reason } => {
                let rejected = rejected.min(piece.items);
                self.gauges.sent(parcel.signal, piece.items - rejected);
                self.gauges.failed(parcel.signal, rejected);
                self.is(Condition::Well, None);
                tracing::warn!(exporter = &**self.id(), rejected, reason = reason.label(), "items were refused");
                Ok(Verdict::Taken((rejected > 0).then_some((rejected, reason))))
            }
            Outcome::Refused { reason: reason @ (Reason::BadData | Reason::TooLarge | Reason::Malformed) } => {
                Ok(Verdict::Refused(reason, false))
            }
            Outcome::Retry { reason: reason @ Reason::TooLarge, .. } => Ok(Verdict::Refused(reason, true)),
            Outcome::Refused { reason } => Err((None, reason)),
            Outcome::Retry { after, reason } => Err((after, reason)),
        }
    }

    async fn attempt(&self, parcel: &Parcel, piece: &Piece) -> Outcome {
        // Checked already when the record was read; a last check costs nothing.
        if !parcel.clearance.allows(self.exporter.trust()) {
            return Outcome::Retry { after: None, reason: Reason::NotCleared };
        }
        self.gauges.attempt(piece.items, piece.body.len());
        let request = ExportRequest {
            signal: parcel.signal,
            account: Arc::clone(&parcel.account),
            body: piece.body.clone(),
            items: piece.items,
        };
        let send = AssertUnwindSafe(async { self.exporter.send(&request).await }).catch_unwind();
        match within(&*self.shared.clock, LONGEST_ATTEMPT, send).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) => Outcome::Retry { after: None, reason: Reason::Lost },
            None => Outcome::Retry { after: None, reason: Reason::TimedOut },
        }
    }

    /// Two pieces with half of the items each; `None` if there is only one item, or the body can't be parsed.
    async fn halve(&self, signal: Signal, body: Bytes) -> Option<(Piece, Piece)> {
        let work = move || {
            let payload = Payload::parse(signal, body).ok()?;
            let count = payload.item_count();
            let middle = count / 2;
            let half = |keep: &dyn Fn(usize) -> bool, items: usize| {
                // Unknown fields that must not be sent were dropped before.
                let encoded = payload.subset(keep).encode(UnknownFields::Keep).ok()?;
                Some(Piece { body: encoded.bytes.into(), items: items as u64 })
            };
            if middle == 0 {
                return None;
            }
            Some((half(&|item| item < middle, middle)?, half(&|item| item >= middle, count - middle)?))
        };
        offload(&*self.shared.offload, "halve", work).await?
    }

    /// Stores the condition of the back end, and logs it if it changed.
    fn is(&self, now: Condition, reason: Option<Reason>) {
        let before = std::mem::replace(&mut *self.condition.lock(), now);
        if before == now {
            return;
        }
        self.gauges.denied(now == Condition::Denied);
        let (exporter, reason) = (&**self.id(), reason.map_or("", Reason::label));
        match now {
            Condition::Well => tracing::info!(exporter, "the back end takes data again"),
            Condition::Failing => tracing::warn!(exporter, reason, "the back end takes no data; it is tried again"),
            Condition::Denied => tracing::error!(exporter, reason, "the back end refuses the credential or address"),
        }
    }

    /// Waits. Returns false at once if the gateway stops.
    pub(super) async fn pause(&self, wait: Duration, stop: &mut watch::Receiver<bool>) -> bool {
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
