//! **What**: the delivery of one parcel: merge, attempt, wait, halve, set aside; then its records are done.
//! **Invariants**: ends only with a verdict for every item, or because the gateway stops (then nothing is done, and all
//! of it is delivered again after the start). A refused item is kept in the spool's quarantine before its record is done; those beside
//! it are delivered, unless it looks as if the back end took nothing at all ([`ALL_REFUSED`]), or to find them all would hold up
//! what waits behind the parcel ([`MOST_REFUSALS`], [`LONGEST_SEARCH`]): then what is left goes in the pieces it is in.

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
use super::gather::{Group, Parcel};
use super::slots::Slot;
use super::{Condition, Outlet, QUARANTINE};

/// Exporters have their own, shorter limits; this is the net below them.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(300);
/// So many items of a parcel, from all over it, refused one by one, and nothing taken: the back end refuses everything, and what is left
/// is set aside in the pieces it is in. While anything is taken refused pieces are halved down to the item.
const ALL_REFUSED: usize = 16;
/// The same where items stay in their order: all are from the parcel's beginning, which says less of its end.
const ALL_REFUSED_IN_ORDER: usize = 128;
/// So many refused requests of a parcel, or so much time in its requests since the first of them (but see [`FEW_REFUSALS`]), and no piece is halved any more: one
/// parcel of many tiny items must not keep the exporter from everybody else's for hours. (As many again are taken, at most.)
const MOST_REFUSALS: usize = 1_000;
const LONGEST_SEARCH: Duration = Duration::from_secs(60);
/// So many refused requests are always allowed, however slow the answers: a few items, or one among thousands, are found with them.
const FEW_REFUSALS: usize = 64;

/// How a delivery ended.
pub(super) struct Delivered {
    /// Which lane it came by.
    pub(super) lane: u64,
    /// Whose it was.
    pub(super) group: Group,
    /// Bytes it held of the window.
    pub(super) bytes: usize,
    /// Something was left because the gateway stops.
    pub(super) left: bool,
}

/// A part of a parcel that goes in one request.
struct Piece {
    body: Bytes,
    items: u64,
}

/// What is known of a back end that refuses a parcel's pieces.
#[derive(Default)]
struct Evidence {
    /// The order of items is kept.
    ordered: bool,
    /// It took something of this parcel.
    taken: bool,
    /// Items that it refused one by one.
    refused: usize,
    /// The last piece was such an item.
    elsewhere: bool,
    /// Requests that it refused.
    refusals: usize,
    /// In requests with a verdict, from the first refused one on; pauses and outages do not count.
    spent: Duration,
}

impl Evidence {
    /// The next piece: the last one, so that halves of halves come first; while nothing was taken, after each refused item one of the
    /// largest, so that the next refused item lies elsewhere.
    fn next(&mut self, pieces: &mut VecDeque<Piece>) -> Option<Piece> {
        let elsewhere = std::mem::take(&mut self.elsewhere) && !self.taken && !self.ordered;
        if elsewhere { pieces.pop_front() } else { pieces.pop_back() }
    }

    /// Whether a refused piece is worth the requests for its halves.
    fn halves(&self) -> bool {
        let all = if self.ordered { ALL_REFUSED_IN_ORDER } else { ALL_REFUSED };
        let goes_on = match self.refusals {
            ..FEW_REFUSALS => true,
            FEW_REFUSALS..MOST_REFUSALS => self.spent < LONGEST_SEARCH,
            _ => false,
        };
        (self.taken || self.refused < all) && goes_on
    }

    /// A request had a verdict after this time.
    fn asked(&mut self, verdict: &Verdict, took: Duration) {
        self.refusals += usize::from(matches!(verdict, Verdict::Refused(_)));
        self.taken |= matches!(verdict, Verdict::Taken(_));
        if self.refusals > 0 {
            self.spent = self.spent.saturating_add(took);
        }
    }

    /// A piece can't be halved; `asked`: by the back end's word, not our own measure.
    fn alone(&mut self, asked: bool) {
        self.refused += usize::from(asked);
        self.elsewhere = asked;
    }
}

/// How one piece ended.
enum Verdict {
    /// But for so many items.
    Taken(Option<(u64, Reason)>),
    Refused(Reason),
    /// The gateway stops.
    Left,
}

impl Outlet {
    pub(super) async fn deliver(
        self: Arc<Self>,
        parcel: Parcel,
        mut slot: Slot,
        mut stop: watch::Receiver<bool>,
    ) -> Delivered {
        let limit = self.exporter.max_request_bytes();
        let mut pieces = self.pieces(&parcel, limit).await;
        let mut evidence = Evidence { ordered: self.settings.ordered, ..Evidence::default() };
        let end = |left| Delivered { lane: parcel.lane, group: parcel.group(), bytes: parcel.bytes, left };
        let mut rejected: Option<(u64, Reason)> = None;
        let mut reject = |items: u64, reason| {
            rejected = Some((rejected.map_or(0, |(known, _)| known).saturating_add(items), reason));
        };
        while let Some(piece) = evidence.next(&mut pieces) {
            // What is too large by our own measure costs no attempt.
            let fits = piece.body.len() <= limit;
            let verdict = if fits {
                self.send(&parcel, &piece, &mut evidence, (&mut slot, &mut stop)).await
            } else {
                Verdict::Refused(Reason::TooLarge)
            };
            let reason = match verdict {
                Verdict::Taken(but) => {
                    but.into_iter().for_each(|(items, reason)| reject(items, reason));
                    continue;
                }
                Verdict::Left => return self.left(&parcel, end(true)),
                Verdict::Refused(reason) => reason,
            };
            if !fits || evidence.halves() {
                if let Some((first, second)) = self.halve(parcel.signal, piece.body.clone()).await {
                    pieces.extend([second, first]);
                    continue;
                }
                evidence.alone(fits);
            }
            reject(piece.items, reason);
            if !self.set_aside(&parcel, piece, reason, &mut stop).await {
                return self.left(&parcel, end(true));
            }
        }
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

    /// What goes in one request each, last first.
    async fn pieces(&self, parcel: &Parcel, limit: usize) -> VecDeque<Piece> {
        let (signal, items, bodies) = (parcel.signal, parcel.items, parcel.bodies.clone());
        if parcel.bytes <= limit {
            return [Piece { body: merge(&bodies), items }].into();
        }
        let work = move || {
            let whole = merge(&bodies);
            let Ok(mut parts) = split(signal, &whole, limit) else { return [Piece { body: whole, items }].into() };
            parts.reverse();
            parts.into_iter().map(|body| Piece { items: count_items(signal, &body).unwrap_or(0), body }).collect()
        };
        let pieces = offload(&*self.shared.offload, "split", work).await;
        // Work that vanished must not make a parcel vanish.
        pieces.unwrap_or_else(|| [Piece { body: merge(&parcel.bodies), items }].into())
    }

    /// Attempts until there is a verdict.
    async fn send(
        &self,
        parcel: &Parcel,
        piece: &Piece,
        evidence: &mut Evidence,
        (slot, stop): (&mut Slot, &mut watch::Receiver<bool>),
    ) -> Verdict {
        let mut backoff = Backoff::new(&self.settings);
        loop {
            let began = self.shared.clock.monotonic();
            let outcome = self.attempt(parcel, piece).await;
            let (wish, reason) = match self.verdict(parcel, piece, outcome) {
                Ok(verdict) => {
                    evidence.asked(&verdict, self.shared.clock.monotonic().saturating_sub(began));
                    return verdict;
                }
                Err(again) => again,
            };
            self.gauges.retry(reason);
            let denied = reason == Reason::Denied;
            self.is(if denied { Condition::Denied } else { Condition::Failing }, Some(reason));
            let wait = backoff.wait(wish, &*self.shared.rng);
            slot.stand_aside();
            if !self.pause(wait, stop).await {
                return Verdict::Left;
            }
            slot.come_back().await;
        }
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
                Ok(Verdict::Refused(reason))
            }
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
