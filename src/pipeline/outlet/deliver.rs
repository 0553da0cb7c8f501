//! **What**: the delivery of one parcel: merge, attempt, wait, halve, set aside; then its records are done.
//! **Invariants**: ends only with a verdict for every item, or because the gateway stops (then nothing is done, and all
//! of it is delivered again after the start). A refused item is kept in the spool's quarantine before its record is done; those beside
//! it are delivered, unless it looks as if the back end took nothing at all, or to find them all would hold up
//! what waits behind the parcel (`evidence`): then what is left goes in the pieces it is in.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::{oneshot, watch};

use crate::clock::within;
use crate::otlp::{Payload, Signal, UnknownFields, count_items, merge, split};
use crate::pipeline::forward::Label;
use crate::pipeline::offload::offload;
use crate::pipeline::spool::{Record, RecordKind, Seq, Transaction, room_for};
use crate::pipeline::{ExportRequest, Outcome, Reason};

use super::backoff::Backoff;
use super::evidence::{Evidence, Piece};
use super::gather::{Group, Intake, Parcel};
use super::slots::Slot;
use super::{Condition, Outlet, QUARANTINE, READ_RETRY};

/// Exporters have their own, shorter limits; this is the net below them.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(300);
/// A back end that takes nothing of a parcel, not even one item alone, and says that it is the size or that it has no room (gRPC has one
/// word for both), may be overloaded: so long it is asked again before the size is believed.
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
struct Load {
    parcel: Parcel,
    /// What is left of it.
    pieces: VecDeque<Piece>,
    evidence: Evidence,
    /// There was a verdict on some of it: it is not what the spool has any more.
    touched: bool,
    patience: Option<Patience>,
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
        let evidence = Evidence::new(self.settings.ordered);
        let mut load = Load { parcel, pieces, evidence, touched: false, patience: None };
        let mut rejected: Option<(u64, Reason)> = None;
        let mut reject = |items: u64, reason| {
            rejected = Some((rejected.map_or(0, |(known, _)| known).saturating_add(items), reason));
        };
        while let Some(piece) = load.evidence.next(&mut load.pieces) {
            // What is too large by our own measure costs no attempt.
            let fits = piece.body.len() <= limit;
            let (piece, verdict) = if fits {
                self.send(&mut load, piece, (&mut slot, &mut stop)).await
            } else {
                (piece, Verdict::Refused(Reason::TooLarge, false))
            };
            load.touched = true;
            let (reason, room) = match verdict {
                Verdict::Taken(but) => {
                    but.into_iter().for_each(|(items, reason)| reject(items, reason));
                    continue;
                }
                Verdict::Left => return self.left(&load.parcel, end(true)),
                Verdict::Gone => return end(false),
                Verdict::Refused(reason, room) => (reason, room),
            };
            if !fits || load.evidence.halves() {
                if let Some((first, second)) = self.halve(load.parcel.signal, piece.body.clone()).await {
                    load.pieces.extend([second, first]);
                    continue;
                }
                if room {
                    match self.wait_for_room(&mut load, &mut slot, &mut stop).await {
                        Room::Perhaps => {
                            load.pieces.push_back(piece);
                            continue;
                        }
                        Room::Left => return self.left(&load.parcel, end(true)),
                        Room::Never => {}
                    }
                }
                load.evidence.alone(fits);
            }
            reject(piece.items, reason);
            if !self.set_aside(&load.parcel, piece, reason, &mut stop).await {
                return self.left(&load.parcel, end(true));
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

    /// Attempts until there is a verdict, and on what: while all of the parcel is to come again, and stands aside, it holds no bytes.
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
                    load.evidence.asked(taken, self.shared.clock.monotonic().saturating_sub(began));
                    slot.heard(taken);
                    return (piece, verdict);
                }
                Err(again) => again,
            };
            self.gauges.retry(reason);
            let denied = reason == Reason::Denied;
            self.is(if denied { Condition::Denied } else { Condition::Failing }, Some(reason));
            let mut wait = backoff.wait(wish, &*self.shared.rng);
            let aside = slot.stand_aside();
            let light = aside && !load.touched && self.offers.is_none();
            if light {
                load.lighten();
                piece = Piece { body: Bytes::new(), items: 0 };
            } else if aside && self.offers.is_none() && slot.waits_begun() {
                load.parcel.held.set(0);
            }
            loop {
                if !self.pause(wait, stop).await {
                    return (piece, Verdict::Left);
                }
                slot.come_back().await;
                if !light {
                    load.parcel.held.set(load.parcel.bytes);
                    break;
                }
                match self.reload(load).await {
                    Ok(Some(again)) => {
                        piece = again;
                        break;
                    }
                    Ok(None) => return (piece, Verdict::Gone),
                    Err(Unread) => {
                        slot.stand_aside();
                        wait = READ_RETRY;
                    }
                }
            }
        }
    }

    /// One item alone was refused for its size, or because the back end has no room, and it took nothing else of the parcel: unless it
    /// takes others of the group meanwhile, it is asked again for a while before it is said to be the size.
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

    /// The parcel's bytes again, from the spool: its next piece; none if nobody needs them any more.
    async fn reload(&self, load: &mut Load) -> Result<Option<Piece>, Unread> {
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
            return Ok(None);
        }
        load.pieces = self.pieces(&mut load.parcel, self.exporter.max_request_bytes()).await;
        Ok(load.evidence.next(&mut load.pieces))
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

    /// Keeps a refused piece in the spool's quarantine; what was offered only is counted. False: the gateway stops first.
    async fn set_aside(&self, parcel: &Parcel, piece: Piece, reason: Reason, stop: &mut watch::Receiver<bool>) -> bool {
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
        let body = Bytes::from(body);
        let mut backoff = Backoff::new(&self.settings);
        while !self.store(&parcel.account, body.clone()).await {
            if !self.pause(backoff.wait(None, &*self.shared.rng), stop).await {
                return false;
            }
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
        // A full spool must not keep the item at the head of the line.
        let room = room_for(1, body.len() as u64);
        let Ok(reservation) = self.shared.spool.reserve_to_drain(room) else { return false };
        let record = Record { kind: RecordKind::Forward, holders: Arc::new([QUARANTINE.into()]), body };
        let transaction = Transaction { account: Arc::clone(account), records: vec![record] };
        let (tell, committed) = oneshot::channel();
        let on_commit = Box::new(move |result: Result<&[_], Reason>| {
            let _ = tell.send(result.is_ok());
        });
        self.shared.spool.enqueue(transaction, reservation, on_commit);
        committed.await.unwrap_or(false)
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
    async fn pause(&self, wait: Duration, stop: &mut watch::Receiver<bool>) -> bool {
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
