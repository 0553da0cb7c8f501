//! **What**: [`Worker`]: what happens to one request on a worker: seen before? parse, processors, encode; then the
//! sequencer. **Why**: all CPU work of a request is in one place and on one thread.
//! **Invariants**: what a processor refuses or panics on is never forwarded; a panic costs only the items that cause it,
//! and those are sealed to the auditors of their pipelines' vault or dropped and counted; tries to find them leave no claims behind.
//! **Not here**: the order of commits (`sequencer`), threads (`workers`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::clock::{Clock, UnixNanos};
use crate::otlp::{Payload, Signal, UnknownFields};
use crate::rng::Rng;
use crate::telemetry::{Counter, Histogram, Meter, names};

use super::bisect;
use super::effects::Applier;
use super::receipt::{Desk, Open, Receipt};
use super::repeats::{Entered, Fingerprint, Waiter};
use super::route::{Failure, Product, Route, Routes};
use super::sequencer::{Finished, Sequencer};
use super::{Batch, BytePermit, Origin, Outcome, Reason, Submission};

#[cfg(test)]
mod tests;

/// What a worker needs. Shared by all.
pub struct Worker {
    /// Which pipelines take what.
    pub routes: Routes,
    /// Orders commits.
    pub sequencer: Arc<Sequencer>,
    /// Frees claims.
    pub applier: Arc<Applier>,
    /// Answers.
    pub desk: Arc<Desk>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Ids of batches.
    pub rng: Arc<dyn Rng>,
    /// Tries to find the poison items of one batch.
    pub bisect_tries: usize,
    /// Counters.
    pub metrics: Metrics,
}

/// What a worker counts.
pub struct Metrics {
    meter: Meter,
    joined: Counter,
    repeats: Counter,
    panics: Counter,
    seconds: Histogram,
}

impl Metrics {
    /// Registers them.
    pub fn new(meter: &Meter) -> Self {
        Self {
            meter: meter.clone(),
            joined: meter.counter(&names::REPEATS, &[("kind", "joined")]),
            repeats: meter.counter(&names::REPEATS, &[("kind", "repeat")]),
            panics: meter.counter(&names::PANICS, &[("place", "process")]),
            seconds: meter.histogram(&names::WORK_SECONDS, &[]),
        }
    }
}

/// A request that was admitted.
pub struct Request {
    /// As handed in.
    pub submission: Submission,
    /// When.
    pub received: UnixNanos,
    /// Who hears the answer, maybe.
    pub waiter: Waiter,
    /// Counts it as open.
    pub open: Open,
}

/// What became of the items of one request.
struct Processed {
    product: Product,
    /// Items that were kept back.
    rejected: u64,
}

impl Worker {
    /// Does everything up to the commit; the answer follows that.
    pub fn work(&self, request: Request) {
        let began = self.clock.monotonic();
        let Request { submission, received, waiter, open } = request;
        let Submission { signal, wire, permit, account, receiver, trust, .. } = submission;
        let fingerprint = fingerprint(&account, &receiver, signal, &wire);
        let Some((receipt, repeat)) = self.enter(fingerprint, waiter, permit, open, received) else { return };
        let Some(route) = self.routes.find(&receiver, signal) else {
            return receipt.resolve(&Reason::NoPipeline.outcome(), false);
        };
        let origin = Arc::new(Origin { account, receiver, trust, received, id: self.rng.id(), repeat });
        match self.process(route, &origin, signal, wire) {
            Ok(Processed { product, rejected }) => {
                if product.unknown_dropped > 0 {
                    let unknown = self.metrics.meter.counter(&names::UNKNOWN_DROPPED, &[("signal", signal.as_str())]);
                    unknown.increment(product.unknown_dropped);
                }
                let answer = match rejected {
                    0 => Outcome::Accepted,
                    _ => Outcome::Partial { rejected, reason: Reason::Quarantined },
                };
                self.metrics.seconds.record(self.clock.monotonic().saturating_sub(began).as_secs_f64());
                self.sequencer.commit(Finished { origin, product, answer, receipt });
            }
            Err(reason) => {
                self.applier.discard(&origin.id);
                receipt.resolve(&reason.outcome(), false);
            }
        }
    }

    /// `None`: another request answers.
    fn enter(
        &self,
        fingerprint: Fingerprint,
        waiter: Waiter,
        permit: BytePermit,
        open: Open,
        now: UnixNanos,
    ) -> Option<(Receipt, bool)> {
        match self.desk.repeats().enter(fingerprint, waiter, now) {
            Entered::First { repeat } => {
                self.metrics.repeats.increment(u64::from(repeat));
                Some((Receipt::new(&self.desk, fingerprint, permit, open), repeat))
            }
            Entered::Joined => {
                self.metrics.joined.increment(1);
                None
            }
        }
    }

    fn process(&self, route: &Route, origin: &Arc<Origin>, signal: Signal, wire: Bytes) -> Result<Processed, Reason> {
        let payload = self.parse(signal, wire.clone())?;
        if payload.item_count() == 0 {
            return Ok(Processed { product: Product::default(), rejected: 0 });
        }
        match self.attempt(route, origin, payload)? {
            Some(product) => Ok(Processed { product, rejected: 0 }),
            // Processing changed the payload: begin again from the bytes.
            None => self.without_poison(route, origin, self.parse(signal, wire)?),
        }
    }

    fn parse(&self, signal: Signal, wire: Bytes) -> Result<Payload, Reason> {
        match catch_unwind(AssertUnwindSafe(|| Payload::parse(signal, wire))) {
            Ok(parsed) => parsed.map_err(|_| Reason::Malformed),
            Err(_) => {
                // Bytes that can't be read have no items to tell apart; sent again they would do the same.
                self.metrics.panics.increment(1);
                Err(Reason::Malformed)
            }
        }
    }

    /// Runs the processors. `Ok(None)`: they failed on something inside.
    fn attempt(&self, route: &Route, origin: &Arc<Origin>, payload: Payload) -> Result<Option<Product>, Reason> {
        let mut product = Product::default();
        let batch = Batch::new(Arc::clone(origin), payload);
        match catch_unwind(AssertUnwindSafe(|| route.run(batch, &mut product))) {
            Ok(Ok(())) => Ok(Some(product)),
            Ok(Err(Failure::Kept(reason))) => Err(reason),
            Ok(Err(Failure::Encode)) => Ok(None),
            Err(_) => {
                self.metrics.panics.increment(1);
                Ok(None)
            }
        }
    }

    /// Finds the items that can't be processed, keeps them back and processes the rest as one batch.
    fn without_poison(&self, route: &Route, origin: &Arc<Origin>, payload: Payload) -> Result<Processed, Reason> {
        let count = payload.item_count();
        self.applier.discard(&origin.id);
        let mut kept_back = None;
        let mut poison = bisect::poison(count, self.bisect_tries, |from, to| {
            let attempt = self.attempt(route, origin, payload.subset(&|item| (from..to).contains(&item)));
            self.applier.discard(&origin.id);
            match attempt {
                Ok(product) => product.is_none(),
                Err(reason) => {
                    kept_back = Some(reason);
                    true
                }
            }
        });
        if let Some(reason) = kept_back {
            return Err(reason);
        }
        let is_good = |poison: &[bool], item: usize| poison.get(item) == Some(&false);
        let mut product = Product::default();
        if poison.contains(&false) {
            match self.attempt(route, origin, payload.subset(&|item| is_good(&poison, item)))? {
                Some(done) => product = done,
                None => {
                    // Good ones apart and poison together: nothing is known to be good.
                    self.applier.discard(&origin.id);
                    poison.fill(true);
                }
            }
        }
        let rejected = poison.iter().filter(|poison| **poison).count() as u64;
        let bad = payload.subset(&|item| !is_good(&poison, item));
        self.set_aside(route, origin, &bad, rejected, &mut product);
        Ok(Processed { product, rejected })
    }

    fn set_aside(&self, route: &Route, origin: &Origin, bad: &Payload, items: u64, product: &mut Product) {
        let signal = bad.signal().as_str();
        let sealed = route.quarantine().map(|quarantine| {
            catch_unwind(AssertUnwindSafe(|| {
                let request = Bytes::from(bad.encode(UnknownFields::Keep).ok()?.bytes);
                quarantine.seal(origin, bad.signal(), &request, items)
            }))
        });
        let meter = &self.metrics.meter;
        let (counter, became) = match sealed {
            Some(Ok(Some(draft))) => {
                product.drafts.push(draft);
                (meter.counter(&names::QUARANTINED_ITEMS, &[("signal", signal)]), "sealed to the auditors")
            }
            // Another pipeline's auditors are not these items' auditors.
            None => (dropped(meter, signal, "no_vault"), "dropped: their pipelines have no vault that keeps anything"),
            Some(_) => (dropped(meter, signal, "not_sealed"), "dropped: they can't be sealed"),
        };
        counter.increment(items);
        tracing::error!(signal, items, became, "items could not be processed and were kept back");
    }
}

fn dropped(meter: &Meter, signal: &str, reason: &str) -> Counter {
    meter.counter(&names::DROPPED_ITEMS, &[("signal", signal), ("reason", reason)])
}

/// Requests are equal when these are.
pub fn fingerprint(account: &str, receiver: &str, signal: Signal, wire: &[u8]) -> Fingerprint {
    let mut hash = Sha256::new();
    for part in [account.as_bytes(), receiver.as_bytes(), signal.as_str().as_bytes(), wire] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut fingerprint = [0; 16];
    for (to, from) in fingerprint.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    fingerprint
}
