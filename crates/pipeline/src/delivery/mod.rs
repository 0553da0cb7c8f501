//! [`Delivery`]: exporters with `ack: delivered` (the client waits for the back end's result), `ack: offered` (memory
//! only) or `max_pending` (module `bounds`).
//! A late answer is for data that is committed already, so a client that retries gets the result of its first request.
//! Every wait ends after `LONGEST_WAIT`, holds no bytes of the budget, and is one of at most `MOST_WAITING`. Requests
//! are sent in `outlet/`, commits are ordered in `sequencer`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use kernel::clock::Clock;
use telemetry::{Gauge, Meter, names};

use super::outcome::{Outcome, Reason};
use super::plan::{Ack, OutletSettings};
use super::receipt::Receipt;
use super::route::Product;
use super::spool::{Seq, Spool};

mod bounds;
mod offers;
#[cfg(test)]
mod tests;

use bounds::Bound;
pub use offers::Offers;

/// Longest wait for a back end's result. Much less would end before most clients' own deadline, much more would hold
/// memory.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Answers that may wait at once; each is a few kilobytes of a connection, a stream and an entry here. Beyond it a
/// client is asked to retry at once, as after `LONGEST_WAIT`.
const MOST_WAITING: usize = 4096;
/// Bytes of memory for one exporter with `ack: offered` and no `max_pending`.
const OFFERS: u64 = 64 << 20;

/// Exporter and spool position whose result a client waits for.
type Awaited = (Arc<str>, u64);

/// See the module.
pub struct Delivery {
    delivered: HashSet<Arc<str>>,
    bounds: Vec<Bound>,
    offers: HashMap<Arc<str>, Arc<Offers>>,
    clock: Arc<dyn Clock>,
    meter: Meter,
    waiting: Gauge,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// [`Delivery::committed`] was called for positions up to here.
    told: u64,
    /// Results of later positions: an outlet may finish before the committer's callback runs.
    early: HashMap<Awaited, Outcome>,
    entry_of: HashMap<Awaited, u64>,
    entries: HashMap<u64, Entry>,
    next: u64,
}

/// An answer that waits for exporters.
struct Entry {
    left: usize,
    items: u64,
    /// Outcome of the engine itself.
    answer: Outcome,
    /// Joined results of the exporters that have finished.
    verdict: Option<Outcome>,
    receipt: Receipt,
    /// Deadline, monotonic.
    due: Duration,
}

impl Delivery {
    /// Delivery for exporters with these settings. Positions before `first` belong to earlier runs: no client waits for
    /// them.
    pub fn new(outlets: &HashMap<Arc<str>, OutletSettings>, first: Seq, clock: Arc<dyn Clock>, meter: &Meter) -> Self {
        let of = |wanted: Ack| outlets.iter().filter(move |(_, outlet)| outlet.ack == wanted);
        let bound = |(id, outlet): (&Arc<str>, &OutletSettings)| {
            Some(Bound::new(id, outlet.max_pending?, outlet.on_full, meter))
        };
        let offers = of(Ack::Offered).map(|(id, outlet)| {
            (Arc::clone(id), Arc::new(Offers::new(outlet.max_pending.unwrap_or(OFFERS), meter, id)))
        });
        Self {
            delivered: of(Ack::Delivered).map(|(id, _)| Arc::clone(id)).collect(),
            bounds: outlets.iter().filter(|(_, outlet)| outlet.ack != Ack::Offered).filter_map(bound).collect(),
            offers: offers.collect(),
            clock,
            meter: meter.clone(),
            waiting: meter.gauge(&names::ANSWERS_WAITING, &[]),
            inner: Mutex::new(Inner { told: first.0.saturating_sub(1), ..Inner::default() }),
        }
    }

    /// The queue of an exporter with `ack: offered`.
    pub fn offers(&self, exporter: &str) -> Option<&Arc<Offers>> {
        self.offers.get(exporter)
    }

    /// Why a batch can't be admitted: `max_pending` of one of its exporters is reached.
    pub fn full(&self, spool: &Spool, product: &Product) -> Option<Reason> {
        let holds = |bound: &&Bound| product.copies.iter().any(|copy| copy.holders.contains(&bound.exporter));
        let now = self.clock.monotonic();
        self.refusing().filter(holds).find_map(|bound| bound.look(spool, now))
    }

    fn refusing(&self) -> impl Iterator<Item = &Bound> {
        self.bounds.iter().filter(|bound| bound.refuses())
    }

    /// Checks the bounds of all exporters, so that the end of a full state is noticed even without traffic.
    pub fn look(&self, spool: &Spool) {
        let now = self.clock.monotonic();
        for bound in self.refusing() {
            bound.look(spool, now);
        }
    }

    /// Exporters whose `max_pending` refuses clients, and whether it is reached.
    pub fn crowded(&self) -> impl Iterator<Item = (&Arc<str>, bool)> {
        self.refusing().map(|bound| (&bound.exporter, bound.is_reached()))
    }

    /// Drops the oldest data beyond the bound of each exporter with `on_full: expire`.
    pub fn expire(&self, spool: &Spool) {
        for Bound { exporter, limit, .. } in self.bounds.iter().filter(|bound| !bound.refuses()) {
            let expired = spool.expire(exporter, *limit);
            if expired > 0 {
                self.meter.counter(&names::EXPIRED, &[("exporter", exporter)]).increment(expired);
                tracing::warn!(
                    exporter = &**exporter,
                    batches = expired,
                    "more waits than may: the oldest were given up"
                );
            }
        }
    }

    /// Whether a client's answer waits for this exporter's result.
    pub fn awaits(&self, exporter: &str) -> bool {
        self.delivered.contains(exporter)
    }

    /// Called after a batch was committed at `seqs`: answers its receipt once all of `awaited` (indexes into `seqs`)
    /// have a result.
    pub fn committed(
        &self,
        seqs: &[Seq],
        awaited: Vec<(usize, Arc<str>)>,
        items: u64,
        answer: Outcome,
        mut receipt: Receipt,
    ) {
        receipt.release();
        let mut inner = self.inner.lock();
        inner.told = seqs.last().map_or(inner.told, |last| inner.told.max(last.0));
        let (mut known, mut open) = (None, Vec::new());
        for (at, exporter) in awaited {
            let Some(seq) = seqs.get(at) else { continue };
            let key = (exporter, seq.0);
            match inner.early.remove(&key) {
                Some(verdict) => known = Some(both(known, verdict, items)),
                None => open.push(key),
            }
        }
        let told = inner.told;
        inner.early.retain(|(_, seq), _| *seq > told);
        if open.is_empty() {
            drop(inner);
            return receipt.resolve(&whole(answer, known, items), true);
        }
        if inner.entries.len() >= MOST_WAITING {
            drop(inner);
            return receipt.resolve(&Outcome::Retry { after: None, reason: Reason::Overloaded }, true);
        }
        let (id, left) = (inner.next, open.len());
        inner.next = id.wrapping_add(1);
        inner.entry_of.extend(open.into_iter().map(|key| (key, id)));
        let due = self.clock.monotonic() + LONGEST_WAIT;
        inner.entries.insert(id, Entry { left, items, answer, verdict: known, receipt, due });
        self.waiting.set(inner.entries.len() as f64);
    }

    /// Records that `exporter` has finished these positions, all with this result.
    pub fn settle(&self, exporter: &Arc<str>, seqs: &[Seq], verdict: &Outcome) {
        if !self.awaits(exporter) {
            return;
        }
        let mut ended = Vec::new();
        let mut inner = self.inner.lock();
        for seq in seqs {
            let key = (Arc::clone(exporter), seq.0);
            let Some(id) = inner.entry_of.remove(&key) else {
                // Older positions are of an earlier run, or their client was answered at the deadline.
                if seq.0 > inner.told {
                    inner.early.insert(key, verdict.clone());
                }
                continue;
            };
            let Some(entry) = inner.entries.get_mut(&id) else { continue };
            entry.verdict = Some(both(entry.verdict.take(), verdict.clone(), entry.items));
            entry.left = entry.left.saturating_sub(1);
            if entry.left == 0 {
                ended.extend(inner.entries.remove(&id));
            }
        }
        self.waiting.set(inner.entries.len() as f64);
        drop(inner);
        for Entry { answer, verdict, receipt, items, .. } in ended {
            receipt.resolve(&whole(answer, verdict, items), true);
        }
    }

    /// Answers clients whose deadline has passed. The data is safe, so a retry is answered with its result.
    pub fn tick(&self) {
        let now = self.clock.monotonic();
        self.give_up(|entry| entry.due <= now, Reason::TimedOut);
    }

    /// Answers all waiting clients, because the gateway stops.
    pub fn close(&self) {
        self.give_up(|_| true, Reason::ShuttingDown);
    }

    fn give_up(&self, over: impl Fn(&Entry) -> bool, reason: Reason) {
        let mut inner = self.inner.lock();
        let ids: HashSet<u64> = inner.entries.iter().filter(|(_, entry)| over(entry)).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return;
        }
        inner.entry_of.retain(|_, id| !ids.contains(id));
        let ended: Vec<Entry> = ids.iter().filter_map(|id| inner.entries.remove(id)).collect();
        self.waiting.set(inner.entries.len() as f64);
        drop(inner);
        let answer = Outcome::Retry { after: None, reason };
        ended.into_iter().for_each(|entry| entry.receipt.resolve(&answer, true));
    }
}

/// Joins the results of two exporters; if there is only one, returns it.
fn both(known: Option<Outcome>, verdict: Outcome, items: u64) -> Outcome {
    match known {
        None => verdict,
        Some(known) => known.join(verdict, items),
    }
}

/// The client's answer: the exporters' result joined with the engine's own outcome, if that is not `Accepted`.
fn whole(answer: Outcome, verdict: Option<Outcome>, items: u64) -> Outcome {
    match (answer, verdict) {
        (answer, None) => answer,
        (Outcome::Accepted, Some(verdict)) => verdict,
        (answer, Some(verdict)) => answer.join(verdict, items),
    }
}
