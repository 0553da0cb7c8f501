//! **What**: [`Delivery`]: exporters that ask for more than the spool's word (`ack: delivered`), for less
//! (`ack: offered`), or that may have only so much waiting (`max_pending`, `bounds`). **Why**: some owners want to hear
//! of a back end's refusal, others must not be held up by one back end. **Invariants**: what is answered late is
//! committed already, so that a client that comes again is answered by its first request's end; whoever waits has an
//! end, holds no bytes of the budget, and is one of `MOST_WAITING` at most; memory of offers is bounded. **Not here**:
//! sending (`outlet/`), order of commits (`sequencer`).

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

/// Longest wait for a verdict: shorter than most clients' own deadline would be of no use, much longer holds memory.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// Answers that wait at once. Each is a few kilobytes of a connection, a stream and an entry here; one more is told to
/// come again at once, as those are that waited for too long.
const MOST_WAITING: usize = 4096;
/// Memory of offers of one exporter without `max_pending`, bytes.
const OFFERS: u64 = 64 << 20;

/// Who wants to hear of one record's end.
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
    /// Positions up to here were told by [`Delivery::committed`].
    told: u64,
    /// Verdicts on positions behind it: an outlet may be quicker than the committer's word.
    early: HashMap<Awaited, Outcome>,
    entry_of: HashMap<Awaited, u64>,
    entries: HashMap<u64, Entry>,
    next: u64,
}

/// An answer that waits.
struct Entry {
    left: usize,
    items: u64,
    /// What the engine itself says.
    answer: Outcome,
    /// What the exporters that have one said together.
    verdict: Option<Outcome>,
    receipt: Receipt,
    /// Monotonic.
    due: Duration,
}

impl Delivery {
    /// For exporters with these settings. What stands before `first` in the spool is of earlier runs: nobody waits for
    /// it.
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

    /// The memory of an exporter that is offered only.
    pub fn offers(&self, exporter: &str) -> Option<&Arc<Offers>> {
        self.offers.get(exporter)
    }

    /// Why a batch can't be taken in: more waits for one of its exporters than may.
    pub fn full(&self, spool: &Spool, product: &Product) -> Option<Reason> {
        let holds = |bound: &&Bound| product.copies.iter().any(|copy| copy.holders.contains(&bound.exporter));
        let now = self.clock.monotonic();
        self.refusing().filter(holds).find_map(|bound| bound.look(spool, now))
    }

    fn refusing(&self) -> impl Iterator<Item = &Bound> {
        self.bounds.iter().filter(|bound| bound.refuses())
    }

    /// Sees which exporters have as much waiting as may, also while nobody asks.
    pub fn look(&self, spool: &Spool) {
        let now = self.clock.monotonic();
        for bound in self.refusing() {
            bound.look(spool, now);
        }
    }

    /// Exporters for whose sake clients can be refused, and whether they are.
    pub fn crowded(&self) -> impl Iterator<Item = (&Arc<str>, bool)> {
        self.refusing().map(|bound| (&bound.exporter, bound.is_reached()))
    }

    /// Gives up the oldest of what waits beyond its bound.
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

    /// Whether a client's answer waits for this exporter's verdict.
    pub fn awaits(&self, exporter: &str) -> bool {
        self.delivered.contains(exporter)
    }

    /// A batch was committed at `seqs`: its receipt is answered when all of `awaited` (places among `seqs`) have a
    /// verdict.
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

    /// `exporter` is done with these, with this verdict on each.
    pub fn settle(&self, exporter: &Arc<str>, seqs: &[Seq], verdict: &Outcome) {
        if !self.awaits(exporter) {
            return;
        }
        let mut ended = Vec::new();
        let mut inner = self.inner.lock();
        for seq in seqs {
            let key = (Arc::clone(exporter), seq.0);
            let Some(id) = inner.entry_of.remove(&key) else {
                // Older ones are of an earlier run, or were answered at their deadline.
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

    /// Answers whose time is over: the data is safe, and who comes again is told so.
    pub fn tick(&self) {
        let now = self.clock.monotonic();
        self.give_up(|entry| entry.due <= now, Reason::TimedOut);
    }

    /// Answers all that wait: the gateway stops.
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

/// The verdicts of two exporters; the first one's alone where there is no other.
fn both(known: Option<Outcome>, verdict: Outcome, items: u64) -> Outcome {
    match known {
        None => verdict,
        Some(known) => known.join(verdict, items),
    }
}

/// What the client is told: the engine's word where it has one to say, and the exporters'.
fn whole(answer: Outcome, verdict: Option<Outcome>, items: u64) -> Outcome {
    match (answer, verdict) {
        (answer, None) => answer,
        (Outcome::Accepted, Some(verdict)) => verdict,
        (answer, Some(verdict)) => answer.join(verdict, items),
    }
}
