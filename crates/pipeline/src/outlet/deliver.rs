//! **What**: the delivery of one parcel: merge, attempt, wait, halve, set aside (`refused`); then its records are done.
//! **Invariants**: ends only with a verdict for every item, or because the gateway stops (then nothing is done, and all
//! of it is delivered again after the start). A refused item is kept in the spool's quarantine before its record is
//! done; those beside it are delivered, unless it looks as if the back end took nothing at all, or to find them all
//! would hold up what waits behind the parcel (`evidence`): then what is left goes in the pieces it is in.

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

/// Exporters have their own, shorter limits; this is the net below them.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(300);
/// A back end that takes nothing of a parcel, not even one item alone, and says that it is the size or that it has no
/// room (gRPC has one word for both), may be overloaded: so long it is asked again before the size is believed.
const LONGEST_PATIENCE: Duration = Duration::from_secs(300);
/// The same where nothing else of its signal and account can go meanwhile.
const LONGEST_PATIENCE_ALONE: Duration = Duration::from_secs(30);

/// How a delivery ended.
pub(super) struct Delivered {
    /// Whose it was.
    pub(super) group: Group,
    /// What it was of them.
    pub(super) range: (Seq, Seq),
    /// Something was left because the gateway stops.
    pub(super) left: bool,
}

/// A parcel on its way.
pub(super) struct Load {
    pub(super) parcel: Parcel,
    /// What is left of it.
    pub(super) pieces: VecDeque<Piece>,
    /// Refused, and there was no room to set them aside: they are asked for again later.
    pub(super) unplaced: Vec<Piece>,
    pub(super) evidence: Evidence,
    /// There was a verdict on some of it: it is not in the pieces that the spool has any more.
    pub(super) touched: bool,
    /// Some of it was taken or set aside: it is not all that the spool has any more.
    pub(super) settled: bool,
    patience: Option<Patience>,
    /// How long it waits for room to set refused items aside.
    pub(super) places: Option<Backoff>,
    /// How many requests of its group had been taken when it first had no room.
    refused_at: Option<u64>,
}

/// How long an item is asked for that was refused for its size, or for want of room.
struct Patience {
    backoff: Backoff,
    /// Then it is the size.
    until: Duration,
    /// Requests of the group that were taken before; one more, and there is room.
    taken: u64,
}

/// What waits can't be read again now.
struct Unread;

/// How a wait ended.
pub(super) enum Waited {
    /// It may ask again.
    Over,
    /// Nobody needs it any more: it was given up meanwhile.
    Gone,
    /// The gateway stops.
    Left,
}

/// What becomes of an item that was refused for its size, or for want of room.
enum Room {
    /// It is asked again.
    Perhaps,
    /// It is the size.
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

    /// Bytes of what is left.
    fn bytes(&self) -> usize {
        self.pieces.iter().chain(&self.unplaced).map(|piece| piece.body.len()).sum()
    }

    /// The next piece; in order nothing comes before what has no place.
    fn next(&mut self) -> Option<Piece> {
        let waits = self.evidence.in_order() && !self.unplaced.is_empty();
        if waits { None } else { self.evidence.next(&mut self.pieces) }
    }

    fn lighten(&mut self) {
        self.pieces = VecDeque::new();
        self.parcel.lighten();
    }
}

/// How one piece ended.
enum Verdict {
    /// But for so many items.
    Taken(Option<(u64, Reason)>),
    /// Why; whether it may be for want of room only.
    Refused(Reason, bool),
    /// Nobody needs it any more: it was given up meanwhile.
    Gone,
    /// The gateway stops.
    Left,
}

/// What became of a piece that was refused.
enum Refusal {
    /// It is asked for again, as it is or in halves, or waits for a place.
    GoesOn,
    /// So many items are set aside.
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
            // What is too large by our own measure costs no attempt; what is above the limit still could not be split.
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

    /// What becomes of a piece that was refused: its halves are asked for, or it once more, or it is set aside.
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
        // what was taken before says nothing of a back end that takes nothing any more
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

    /// What was offered is lost with its parcel; all else stays in the spool.
    fn left(&self, parcel: &Parcel, delivered: Delivered) -> Delivered {
        if let Some(offers) = &self.offers {
            offers.lost(parcel.seqs.len() as u64);
        }
        delivered
    }

    /// What goes in one request each, last first; only they hold the parcel's bytes then.
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
        // Work that vanished must not make a parcel vanish.
        pieces.unwrap_or_else(|| [Piece { body: merge(&bodies), items }].into())
    }

    /// Attempts until there is a verdict, and on what: while all of the parcel is to come again, and stands aside, it
    /// holds no bytes.
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

    /// Waits, aside if there is a place: then others may ask meanwhile, and a load of which nothing was settled holds
    /// no bytes: it is read again.
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

    /// One item alone was refused for its size, or because the back end has no room, and it took nothing else of the
    /// parcel: unless it takes others of the group meanwhile, it is asked again for a while before it is said to be the
    /// size.
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

    /// The parcel's bytes again, from the spool; false if nobody needs them any more.
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

    /// What an answer says of a piece; `Err`: it is to come again, after what time, and why.
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
        // Checked when it was read; the last look before it leaves costs nothing.
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

    /// Two pieces with half of the items each; `None` if there is only one, or it can't be read.
    async fn halve(&self, signal: Signal, body: Bytes) -> Option<(Piece, Piece)> {
        let work = move || {
            let payload = Payload::parse(signal, body).ok()?;
            let count = payload.item_count();
            let middle = count / 2;
            let half = |keep: &dyn Fn(usize) -> bool, items: usize| {
                // What had to be dropped is gone already.
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

    /// Remembers how the back end does, and says so once when that changes.
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

    /// False: the gateway stops, and the time was not waited for.
    pub(super) async fn pause(&self, wait: Duration, stop: &mut watch::Receiver<bool>) -> bool {
        if *stop.borrow() {
            return false;
        }
        tokio::select! {
            biased;
            () = self.shared.clock.sleep(wait) => true,
            // The sender's end is a stop too.
            _ = stop.wait_for(|stopped| *stopped) => false,
        }
    }
}
