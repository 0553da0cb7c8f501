//! [`Worker`]: processes one request: recognises repeats, parses, runs the processors, encodes, and hands the result to
//! the sequencer. All CPU work of a request is on one thread at a time; a processor that asks a question ends the turn,
//! and another turn resumes with the answer.
//! Data that a processor refuses or panics on is never forwarded. A panic costs only the items that cause it: they are
//! sealed to the auditors of their pipelines' vault, or dropped and counted. The search for these items leaves no
//! claims. Commits are ordered in `sequencer`, the queue of jobs is in `workers`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use bytes::Bytes;
use zeroize::Zeroizing;

use kernel::clock::{Clock, UnixNanos};
use kernel::rng::{Rng, SystemRng};
use kernel::sha256::Sha256;
use otlp::{Payload, Signal, UnknownFields};
use telemetry::{Counter, Gauge, Histogram, Meter, names};

use super::batch::{Batch, BatchOrigin, Effect};
use super::bisect;
use super::clearance::Clearance;
use super::effects::Applier;
use super::identity::ClientIdentity;
use super::inlet::{BytePermit, InternalInput, SourceRecord, Submission};
use super::inquiry::ErrandRunner;
use super::outcome::{Outcome, Reason};
use super::receipt::{OpenRequest, Receipt, RequestRegistry};
use super::repeats::{AnswerSender, RepeatCheck, RequestFingerprint};
use super::route::{BatchProduct, PipelineRoute, PipelineRoutes, RouteExecution, RouteFailure};
use super::sequencer::{FinishedBatch, Sequencer};
use super::workers::Workers;

mod parked;
mod refused_items;
#[cfg(test)]
mod tests;

/// Dependencies of all worker threads, shared by them.
pub struct Worker {
    pub(crate) routes: PipelineRoutes,
    pub(crate) sequencer: Arc<Sequencer>,
    /// Releases claims of batches that are not committed.
    pub(crate) applier: Arc<Applier>,
    pub(crate) registry: Arc<RequestRegistry>,
    /// Runs the turns of suspended requests.
    pub(crate) workers: Arc<dyn Workers>,
    pub(crate) errands: Arc<dyn ErrandRunner>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Source of batch ids.
    pub(crate) rng: Arc<dyn Rng>,
    /// Attempts to find the poison items of one batch.
    pub(crate) bisect_tries: usize,
    /// Largest span, log record or data point, in bytes.
    pub(crate) max_item_bytes: usize,
    pub(crate) metrics: WorkerMetrics,
}

/// The workers' metrics.
pub struct WorkerMetrics {
    meter: Meter,
    joined: Counter,
    repeats: Counter,
    panics: Counter,
    seconds: Histogram,
    /// Requests that wait for an answer from outside.
    waiting: Gauge,
}

impl WorkerMetrics {
    /// Registers the metrics.
    pub fn new(meter: &Meter) -> Self {
        Self {
            meter: meter.clone(),
            joined: meter.counter(&names::REPEATS, &[("kind", "joined")]),
            repeats: meter.counter(&names::REPEATS, &[("kind", "repeat")]),
            panics: meter.counter(&names::PANICS, &[("place", "process")]),
            seconds: meter.histogram(&names::WORK_SECONDS, &[]),
            waiting: meter.gauge(&names::WORK_PARKED, &[]),
        }
    }
}

/// A request that was admitted.
pub struct AdmittedRequest {
    pub(crate) submission: Submission,
    pub(crate) received: UnixNanos,
    /// Channel to the client, which may be gone.
    pub(crate) waiter: AnswerSender,
    /// Counts the request as open until dropped.
    pub(crate) open: OpenRequest,
    /// Effects and clearance, if tollgate itself made the request.
    pub(crate) internal: Option<InternalInput>,
}

/// A request that this worker must answer.
struct RequestWork {
    origin: Arc<BatchOrigin>,
    signal: Signal,
    /// Bytes as received, for another attempt.
    wire: Bytes,
    route: Arc<PipelineRoute>,
    receipt: Receipt,
    /// Time spent in earlier turns.
    earlier_turns: Duration,
    /// Start of this turn, monotonic.
    turn_began: Duration,
    poisoned: Option<PoisonedRequest>,
    /// Effects that were handed in with the request.
    effects: Vec<Effect>,
    /// Clearance of the bytes as handed in.
    clearance: Clearance,
    /// Number of items that were refused individually, and the reason.
    refused: Option<(u64, Reason)>,
}

/// A request with items that can't be processed.
struct PoisonedRequest {
    /// The whole request.
    payload: Payload,
    /// True for each poison item.
    items: Vec<bool>,
}

impl Worker {
    /// Processes the request up to its commit or to a question. The client is answered after the commit.
    pub fn process_request(self: &Arc<Self>, request: AdmittedRequest) {
        let turn_began = self.clock.monotonic();
        let AdmittedRequest { submission, received, waiter, open, internal } = request;
        let Submission { signal, wire, permit, account, identity, receiver, trust, mut effects, source_record, .. } =
            submission;
        // Requests that tollgate makes are never repeats: each has its own effects.
        let own_id = internal.as_ref().map(|_| self.rng.id());
        let bytes = own_id.as_ref().map_or(&*wire, |id| id.as_slice());
        let fingerprint = fingerprint((&account, &identity), &receiver, signal, bytes);
        let is_only_effects = internal.is_some() && wire.is_empty();
        let clearance = internal.map_or(Clearance::RECEIVED, |input| {
            effects.extend(input.effects);
            input.clearance
        });
        let request = (&*account, fingerprint);
        let Some((receipt, repeat)) = self.register_request(request, waiter, permit, open, received) else {
            return;
        };
        let route = match self.routes.find(&receiver, signal) {
            Some(route) => Arc::clone(route),
            None if is_only_effects => Arc::default(),
            None => return receipt.resolve(&Reason::NoPipeline.outcome(), false),
        };
        let record = source_record.as_ref().map(|record| record_batch_id(&account, &receiver, record));
        let (id, source_record) =
            (record.unwrap_or_else(|| self.rng.id()), source_record.map(|record| record.position));
        let origin = Arc::new(BatchOrigin { account, identity, receiver, trust, received, id, repeat, source_record });
        let payload = self.parse(signal, wire.clone());
        let mut work = RequestWork {
            origin,
            signal,
            wire,
            route,
            receipt,
            earlier_turns: Duration::ZERO,
            turn_began,
            poisoned: None,
            effects,
            clearance,
            refused: None,
        };
        match payload.and_then(|payload| self.remove_refused_items(&mut work, payload)) {
            Ok(payload) if payload.item_count() == 0 => self.commit_request(work, BatchProduct::default()),
            Ok(payload) => {
                let walk = work.start_route(payload);
                self.run_turn(work, walk);
            }
            Err(reason) => self.reject_request(work, reason),
        }
    }

    /// Runs one turn: steps until one asks a question or fails, or all are done.
    fn run_turn(self: &Arc<Self>, mut work: RequestWork, mut walk: RouteExecution) {
        loop {
            match catch_unwind(AssertUnwindSafe(|| walk.run_steps(true))) {
                Ok(Ok(None)) => return self.commit_request(work, walk.product),
                Ok(Ok(Some(inquiry))) => return self.park(work, walk, inquiry),
                Ok(Err(RouteFailure::ProcessorRefused(reason))) => return self.reject_request(work, reason),
                Ok(Err(RouteFailure::Encode)) => {}
                Err(_) => self.metrics.panics.increment(1),
            }
            // Processing changed the payload, so start again from the bytes.
            match self.isolate_poison(&mut work) {
                Ok(Some(new_walk)) => walk = new_walk,
                Ok(None) => return self.commit_request(work, BatchProduct::default()),
                Err(reason) => return self.reject_request(work, reason),
            }
        }
    }

    fn commit_request(&self, work: RequestWork, mut product: BatchProduct) {
        let RequestWork { origin, signal, route, receipt, poisoned, mut effects, refused, .. } = work;
        product.effects.append(&mut effects);
        let mut answer = refused.map_or(Outcome::Accepted, |(rejected, reason)| Outcome::Partial { rejected, reason });
        if let Some(PoisonedRequest { payload, items }) = poisoned {
            let poison_count = items.iter().filter(|is_poison| **is_poison).count() as u64;
            let poison = payload.subset(&|item| items.get(item) != Some(&false));
            self.quarantine_items(&route, &origin, &poison, poison_count, &mut product);
            if poison_count > 0 {
                let rejected = poison_count.saturating_add(refused.map_or(0, |(refused, _)| refused));
                answer = Outcome::Partial { rejected, reason: Reason::Quarantined };
            }
        }
        if product.unknown_dropped > 0 {
            let counter = self.metrics.meter.counter(&names::UNKNOWN_DROPPED, &[("signal", signal.as_str())]);
            counter.increment(product.unknown_dropped);
        }
        let busy = work.earlier_turns + self.clock.monotonic().saturating_sub(work.turn_began);
        self.metrics.seconds.record(busy.as_secs_f64());
        self.sequencer.commit(FinishedBatch { origin, product, answer, receipt });
    }

    fn reject_request(&self, work: RequestWork, reason: Reason) {
        self.applier.discard(&work.origin.id);
        work.receipt.resolve(&reason.outcome(), false);
    }

    /// The receipt, and whether the request is a repeat. `None`: the request joined another one with equal bytes.
    fn register_request(
        &self,
        (account, fingerprint): (&str, RequestFingerprint),
        waiter: AnswerSender,
        permit: BytePermit,
        open: OpenRequest,
        now: UnixNanos,
    ) -> Option<(Receipt, bool)> {
        match self.registry.repeats.register_request(account, fingerprint, waiter, now) {
            RepeatCheck::First { repeat } => {
                self.metrics.repeats.increment(u64::from(repeat));
                Some((Receipt::new(&self.registry, fingerprint, permit, open), repeat))
            }
            RepeatCheck::Joined => {
                self.metrics.joined.increment(1);
                None
            }
        }
    }

    fn parse(&self, signal: Signal, wire: Bytes) -> Result<Payload, Reason> {
        match catch_unwind(AssertUnwindSafe(|| Payload::parse(signal, wire))) {
            Ok(parsed) => parsed.map_err(|_| Reason::Malformed),
            Err(_) => {
                // Bytes that can't be parsed have no items to bisect, and a retry would fail in the same way.
                self.metrics.panics.increment(1);
                Err(Reason::Malformed)
            }
        }
    }

    /// Whether the processors panic on `payload`, or it can't be encoded. `Err`: a processor keeps it back.
    fn fails_processing(&self, work: &RequestWork, payload: Payload) -> Result<bool, Reason> {
        let walk = work.start_route(payload);
        match catch_unwind(AssertUnwindSafe(|| walk.run_to_end())) {
            Ok(Ok(_)) => Ok(false),
            Ok(Err(RouteFailure::ProcessorRefused(reason))) => Err(reason),
            Ok(Err(RouteFailure::Encode)) => Ok(true),
            Err(_) => {
                self.metrics.panics.increment(1);
                Ok(true)
            }
        }
    }

    /// Finds the items that can't be processed. Returns a new walk for the other items, if there are any.
    fn isolate_poison(&self, work: &mut RequestWork) -> Result<Option<RouteExecution>, Reason> {
        self.applier.discard(&work.origin.id);
        if let Some(poisoned) = &mut work.poisoned {
            // The items that passed the search fail together, so none of them is known to be good.
            poisoned.items.fill(true);
            return Ok(None);
        }
        let payload = self.parse(work.signal, work.wire.clone())?;
        let mut kept_back = None;
        let items = bisect::find_poison_items(payload.item_count(), self.bisect_tries, |from, to| {
            let fails = self.fails_processing(work, payload.subset(&|item| (from..to).contains(&item)));
            self.applier.discard(&work.origin.id);
            fails.unwrap_or_else(|reason| {
                kept_back = Some(reason);
                true
            })
        });
        if let Some(reason) = kept_back {
            return Err(reason);
        }
        let others = items.contains(&false).then(|| payload.subset(&|item| items.get(item) == Some(&false)));
        work.poisoned = Some(PoisonedRequest { payload, items });
        Ok(others.map(|others| work.start_route(others)))
    }

    fn quarantine_items(
        &self,
        route: &PipelineRoute,
        origin: &BatchOrigin,
        poison: &Payload,
        items: u64,
        product: &mut BatchProduct,
    ) {
        let signal = poison.signal().as_str();
        let sealed = route.quarantine().map(|sealer| {
            catch_unwind(AssertUnwindSafe(|| {
                let request = Bytes::from(poison.encode(UnknownFields::Keep).ok()?.bytes);
                sealer.quarantine(origin, poison.signal(), &request, items)
            }))
        });
        let meter = &self.metrics.meter;
        let (counter, became) = match sealed {
            Some(Ok(Some(draft))) => {
                product.drafts.push(draft);
                (meter.counter(&names::QUARANTINED_ITEMS, &[("signal", signal)]), "sealed to the auditors")
            }
            // These items must not be sealed to the auditors of another pipeline.
            None => (
                dropped_items_counter(meter, signal, "no_vault"),
                "dropped: no vault of their pipelines can store them",
            ),
            Some(_) => (dropped_items_counter(meter, signal, "not_sealed"), "dropped: sealing them failed"),
        };
        counter.increment(items);
        tracing::error!(signal, items, became, "items could not be processed and were not forwarded");
    }
}

impl RequestWork {
    fn start_route(&self, payload: Payload) -> RouteExecution {
        let batch = Batch { clearance: self.clearance, ..Batch::new(Arc::clone(&self.origin), payload) };
        RouteExecution::begin(&self.route, batch)
    }
}

fn dropped_items_counter(meter: &Meter, signal: &str, reason: &str) -> Counter {
    meter.counter(&names::DROPPED_ITEMS, &[("signal", signal), ("reason", reason)])
}

/// The id of the batch of a source record. See [`BatchOrigin::id`].
fn record_batch_id(account: &str, receiver: &str, record: &SourceRecord) -> [u8; 16] {
    let (kind, name): (&[u8], &[u8]) = match &record.id {
        Some(id) => (b"record id", id),
        None => (b"source record", record.position.as_bytes()),
    };
    Sha256::short_list(&[kind, account.as_bytes(), receiver.as_bytes(), name])
}

/// The digest by which equal requests are recognised. Their bytes count by GMAC (NIST SP 800-38D), which reads several
/// times as many bytes a second as SHA-256. Key and tags stay in this process, so nobody can make two requests collide.
pub fn fingerprint(
    (account, identity): (&str, &ClientIdentity),
    receiver: &str,
    signal: Signal,
    wire: &[u8],
) -> RequestFingerprint {
    static KEY: LazyLock<Option<LessSafeKey>> = LazyLock::new(|| {
        let mut key = Zeroizing::new([0; 16]);
        SystemRng.fill(&mut *key);
        UnboundKey::new(&AES_128_GCM, &*key).map(LessSafeKey::new).ok()
    });
    let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
    let tag = KEY.as_ref().and_then(|key| key.seal_in_place_separate_tag(nonce, Aad::from(wire), &mut []).ok());
    // no cause is known for which the library refuses
    let digest = tag.map_or_else(|| Sha256::short_list(&[wire]).to_vec(), |tag| tag.as_ref().to_vec());
    let mut parts = vec![account.as_bytes(), receiver.as_bytes(), signal.as_str().as_bytes(), &digest];
    parts.extend(identity.fingerprint_parts());
    Sha256::short_list(&parts)
}
