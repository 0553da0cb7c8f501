//! [`DeliveryTracker`]: exporters with `ack: delivered` (the client waits for the back end's result), `ack: offered`
//! (memory only) or `max_pending` (module `bounds`). A late answer is for data that is committed already, so a client
//! that retries gets the result of its first request. Every wait ends after `LONGEST_WAIT`, holds no bytes of the
//! budget, and is one of at most `MAX_WAITING_ANSWERS`. Requests are sent in `outlet/`, commits are ordered in
//! `sequencer`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use kernel::clock::Clock;
use telemetry::{Gauge, Meter, names};

use super::outcome::{Outcome, Reason};
use super::plan::{AckMode, OutletSettings};
use super::receipt::Receipt;
use super::route::BatchProduct;
use super::spool::{RecordSeq, Spool};

mod bounds;
mod offers;
#[cfg(test)]
mod tests;

use bounds::PendingBound;
pub use offers::OfferQueue;

/// Longest wait for a back end's result. Much less would end before most clients' own deadline, much more would hold
/// memory.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Answers that may wait at once; each is a few kilobytes of a connection, a stream and an entry here. Beyond it a
/// client is asked to retry at once, as after `LONGEST_WAIT`.
const MAX_WAITING_ANSWERS: usize = 4096;
/// Bytes of memory for one exporter with `ack: offered` and no `max_pending`.
const DEFAULT_OFFER_BYTES: u64 = 64 << 20;

/// Exporter and spool position whose result a client waits for.
type AwaitedRecord = (Arc<str>, u64);

/// See the module.
pub struct DeliveryTracker {
    delivered: HashSet<Arc<str>>,
    bounds: Vec<PendingBound>,
    offers: HashMap<Arc<str>, Arc<OfferQueue>>,
    clock: Arc<dyn Clock>,
    meter: Meter,
    waiting: Gauge,
    inner: Mutex<DeliveryState>,
}

#[derive(Default)]
struct DeliveryState {
    /// [`DeliveryTracker::register_commit`] was called for positions up to here.
    committed_through: u64,
    /// Results of later positions: an outlet may finish before the committer's callback runs.
    early: HashMap<AwaitedRecord, Outcome>,
    entry_of: HashMap<AwaitedRecord, u64>,
    entries: HashMap<u64, WaitingAnswer>,
    next: u64,
}

/// An answer that waits for exporters.
struct WaitingAnswer {
    pending_exporters: usize,
    items: u64,
    /// Outcome of the engine itself.
    answer: Outcome,
    /// Joined results of the exporters that have finished.
    joined_result: Option<Outcome>,
    receipt: Receipt,
    /// Deadline, monotonic.
    deadline: Duration,
}

impl DeliveryTracker {
    /// Delivery for exporters with these settings. Positions before `first` belong to earlier runs: no client waits for
    /// them.
    pub fn new(
        outlets: &HashMap<Arc<str>, OutletSettings>,
        first: RecordSeq,
        clock: Arc<dyn Clock>,
        meter: &Meter,
    ) -> Self {
        let of = |wanted: AckMode| outlets.iter().filter(move |(_, outlet)| outlet.ack == wanted);
        let bound = |(id, outlet): (&Arc<str>, &OutletSettings)| {
            Some(PendingBound::new(id, outlet.max_pending?, outlet.on_full, meter))
        };
        let offers = of(AckMode::Offered).map(|(id, outlet)| {
            (Arc::clone(id), Arc::new(OfferQueue::new(outlet.max_pending.unwrap_or(DEFAULT_OFFER_BYTES), meter, id)))
        });
        Self {
            delivered: of(AckMode::Delivered).map(|(id, _)| Arc::clone(id)).collect(),
            bounds: outlets.iter().filter(|(_, outlet)| outlet.ack != AckMode::Offered).filter_map(bound).collect(),
            offers: offers.collect(),
            clock,
            meter: meter.clone(),
            waiting: meter.gauge(&names::ANSWERS_WAITING, &[]),
            inner: Mutex::new(DeliveryState {
                committed_through: first.0.saturating_sub(1),
                ..DeliveryState::default()
            }),
        }
    }

    /// The queue of an exporter with `ack: offered`.
    pub fn offers(&self, exporter: &str) -> Option<&Arc<OfferQueue>> {
        self.offers.get(exporter)
    }

    /// Why a batch can't be admitted: `max_pending` of one of its exporters is reached.
    pub fn refusal_reason(&self, spool: &Spool, product: &BatchProduct) -> Option<Reason> {
        let holds = |bound: &&PendingBound| product.copies.iter().any(|copy| copy.holders.contains(&bound.exporter));
        let now = self.clock.monotonic();
        self.refusing_bounds().filter(holds).find_map(|bound| bound.check_bound(spool, now))
    }

    fn refusing_bounds(&self) -> impl Iterator<Item = &PendingBound> {
        self.bounds.iter().filter(|bound| bound.is_refusing())
    }

    /// Checks the bounds of all exporters, so that the end of a full state is noticed even without traffic.
    pub fn check_bounds(&self, spool: &Spool) {
        let now = self.clock.monotonic();
        for bound in self.refusing_bounds() {
            bound.check_bound(spool, now);
        }
    }

    /// Exporters whose `max_pending` refuses clients, and whether it is reached.
    pub fn bound_states(&self) -> impl Iterator<Item = (&Arc<str>, bool)> {
        self.refusing_bounds().map(|bound| (&bound.exporter, bound.is_reached()))
    }

    /// Drops the oldest data beyond the bound of each exporter with `on_full: expire`.
    pub fn expire(&self, spool: &Spool) {
        for PendingBound { exporter, limit, .. } in self.bounds.iter().filter(|bound| !bound.is_refusing()) {
            let expired = spool.expire(exporter, *limit);
            if expired > 0 {
                self.meter.counter(&names::EXPIRED, &[("exporter", exporter)]).increment(expired);
                tracing::warn!(
                    exporter = &**exporter,
                    batches = expired,
                    "pending data exceeded `max_pending`: the oldest batches were dropped"
                );
            }
        }
    }

    /// Whether a client's answer waits for this exporter's result.
    pub fn is_awaited(&self, exporter: &str) -> bool {
        self.delivered.contains(exporter)
    }

    /// Called after a batch was committed at `seqs`: answers its receipt once all of `awaited` (indexes into `seqs`)
    /// have a result.
    pub fn register_commit(
        &self,
        seqs: &[RecordSeq],
        awaited: Vec<(usize, Arc<str>)>,
        items: u64,
        answer: Outcome,
        mut receipt: Receipt,
    ) {
        receipt.release();
        let mut inner = self.inner.lock();
        inner.committed_through =
            seqs.last().map_or(inner.committed_through, |last| inner.committed_through.max(last.0));
        let (mut known, mut open) = (None, Vec::new());
        for (at, exporter) in awaited {
            let Some(seq) = seqs.get(at) else { continue };
            let key = (exporter, seq.0);
            match inner.early.remove(&key) {
                Some(verdict) => known = Some(join_results(known, verdict, items)),
                None => open.push(key),
            }
        }
        let told = inner.committed_through;
        inner.early.retain(|(_, seq), _| *seq > told);
        if open.is_empty() {
            drop(inner);
            return receipt.resolve(&final_answer(answer, known, items), true);
        }
        if inner.entries.len() >= MAX_WAITING_ANSWERS {
            drop(inner);
            return receipt.resolve(&Outcome::Retry { after: None, reason: Reason::Overloaded }, true);
        }
        let (id, left) = (inner.next, open.len());
        inner.next = id.wrapping_add(1);
        inner.entry_of.extend(open.into_iter().map(|key| (key, id)));
        let due = self.clock.monotonic() + LONGEST_WAIT;
        inner.entries.insert(
            id,
            WaitingAnswer { pending_exporters: left, items, answer, joined_result: known, receipt, deadline: due },
        );
        self.waiting.set(inner.entries.len() as f64);
    }

    /// Records that `exporter` has finished these positions, all with this result.
    pub fn settle(&self, exporter: &Arc<str>, seqs: &[RecordSeq], verdict: &Outcome) {
        if !self.is_awaited(exporter) {
            return;
        }
        let mut ended = Vec::new();
        let mut inner = self.inner.lock();
        for seq in seqs {
            let key = (Arc::clone(exporter), seq.0);
            let Some(id) = inner.entry_of.remove(&key) else {
                // Older positions are of an earlier run, or their client was answered at the deadline.
                if seq.0 > inner.committed_through {
                    inner.early.insert(key, verdict.clone());
                }
                continue;
            };
            let Some(entry) = inner.entries.get_mut(&id) else { continue };
            entry.joined_result = Some(join_results(entry.joined_result.take(), verdict.clone(), entry.items));
            entry.pending_exporters = entry.pending_exporters.saturating_sub(1);
            if entry.pending_exporters == 0 {
                ended.extend(inner.entries.remove(&id));
            }
        }
        self.waiting.set(inner.entries.len() as f64);
        drop(inner);
        for WaitingAnswer { answer, joined_result: verdict, receipt, items, .. } in ended {
            receipt.resolve(&final_answer(answer, verdict, items), true);
        }
    }

    /// Answers clients whose deadline has passed. The data is safe, so a retry is answered with its result.
    pub fn answer_expired(&self) {
        let now = self.clock.monotonic();
        self.answer_with_retry(|entry| entry.deadline <= now, Reason::TimedOut);
    }

    /// Answers all waiting clients, because the gateway stops.
    pub fn close(&self) {
        self.answer_with_retry(|_| true, Reason::ShuttingDown);
    }

    fn answer_with_retry(&self, over: impl Fn(&WaitingAnswer) -> bool, reason: Reason) {
        let mut inner = self.inner.lock();
        let ids: HashSet<u64> = inner.entries.iter().filter(|(_, entry)| over(entry)).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return;
        }
        inner.entry_of.retain(|_, id| !ids.contains(id));
        let ended: Vec<WaitingAnswer> = ids.iter().filter_map(|id| inner.entries.remove(id)).collect();
        self.waiting.set(inner.entries.len() as f64);
        drop(inner);
        let answer = Outcome::Retry { after: None, reason };
        ended.into_iter().for_each(|entry| entry.receipt.resolve(&answer, true));
    }
}

/// Joins the results of two exporters; if there is only one, returns it.
fn join_results(known: Option<Outcome>, verdict: Outcome, items: u64) -> Outcome {
    match known {
        None => verdict,
        Some(known) => known.join(verdict, items),
    }
}

/// The client's answer: the exporters' result joined with the engine's own outcome, if that is not `Accepted`.
fn final_answer(answer: Outcome, verdict: Option<Outcome>, items: u64) -> Outcome {
    match (answer, verdict) {
        (answer, None) => answer,
        (Outcome::Accepted, Some(verdict)) => verdict,
        (answer, Some(verdict)) => answer.join(verdict, items),
    }
}
