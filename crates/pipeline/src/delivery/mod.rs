//! [`DeliveryTracker`]: exporters with `ack: delivered` (the client waits for the back end's result), `ack: offered`
//! (memory only) or `max_pending` (module `bounds`). Normally a client waits for data that is committed already, so its
//! retry gets the result of the first request. With `in_memory` nothing of the batch is stored (module `memory_queue`).
//! Every wait ends after the exporter's `answer_wait` and holds no bytes of the budget. `MAX_WAITING_ANSWERS` limits
//! the waits for committed data, `memory_queue` those in memory. `outlet/` sends, `sequencer` orders the commits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use kernel::clock::Clock;
use telemetry::{Gauge, Meter, names};

use super::batch::Effect;
use super::outcome::{Outcome, PendingFullText, Reason, final_answer, join_results};
use super::plan::{AckMode, LONGEST_ANSWER_WAIT, MAX_WAITING_ANSWERS, OutletSettings};
use super::receipt::Receipt;
use super::route::BatchProduct;
use super::sampling::rules::exporter_of;
use super::spool::{RecordSeq, Spool};

mod bounds;
mod memory_queue;
#[cfg(test)]
mod tests;

use bounds::PendingBound;
pub use memory_queue::MemoryQueue;
use memory_queue::WaitingClient;

/// Bytes of memory for one exporter whose data waits there, if it has no `max_pending`.
const DEFAULT_MEMORY_BYTES: u64 = 64 << 20;

/// Exporter and spool position whose result a client waits for.
type AwaitedRecord = (Arc<str>, u64);

/// See the module.
pub struct DeliveryTracker {
    /// Exporters with `ack: delivered`, and how long a client waits for each.
    awaited_exporters: HashMap<Arc<str>, Duration>,
    bounds: Vec<PendingBound>,
    offers: HashMap<Arc<str>, Arc<MemoryQueue>>,
    /// Of exporters with `in_memory`.
    memory_queues: HashMap<Arc<str>, Arc<MemoryQueue>>,
    clock: Arc<dyn Clock>,
    meter: Meter,
    waiting_gauge: Gauge,
    state: Mutex<DeliveryState>,
}

#[derive(Default)]
struct DeliveryState {
    /// Highest position for which [`DeliveryTracker::register_commit`] was called.
    committed_through: u64,
    /// Results of later positions: an outlet may finish before the committer's callback runs.
    early_results: HashMap<AwaitedRecord, Outcome>,
    /// Ids of the answers that wait for each record.
    answer_ids: HashMap<AwaitedRecord, u64>,
    answers: HashMap<u64, WaitingAnswer>,
    next_id: u64,
}

/// A batch of which nothing is stored, for [`DeliveryTracker::add_to_memory`].
pub struct BatchInMemory {
    /// Its forward copy.
    pub(crate) body: Bytes,
    pub(crate) items: u64,
    pub(crate) engine_outcome: Outcome,
    pub(crate) receipt: Receipt,
    /// Called once the exporter has accepted it, or a part of it.
    pub(crate) on_delivered: Box<dyn FnOnce() + Send>,
}

/// Bytes that may wait in memory for an exporter.
fn memory_limit(outlet: &OutletSettings) -> u64 {
    outlet.max_pending.unwrap_or(DEFAULT_MEMORY_BYTES)
}

/// An answer that waits for exporters.
struct WaitingAnswer {
    pending_exporters: usize,
    items: u64,
    /// Outcome of the engine itself.
    engine_outcome: Outcome,
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
        let with_ack = |ack: AckMode| outlets.iter().filter(move |(_, outlet)| outlet.ack == ack);
        // With `waits_for`, data must stay in the spool until those consumers have finished.
        let memory_queues = with_ack(AckMode::Delivered)
            .filter(|(_, outlet)| outlet.in_memory && outlet.waits_for.is_empty())
            .map(|(id, outlet)| (Arc::clone(id), Arc::new(MemoryQueue::new(memory_limit(outlet), None))));
        let to_bound = |(id, outlet): (&Arc<str>, &OutletSettings)| {
            Some(PendingBound::new(id, outlet.max_pending?, outlet.on_full, meter))
        };
        let offers = with_ack(AckMode::Offered).map(|(id, outlet)| {
            let dropped = meter.counter(&names::OFFERED_DROPPED, &[("exporter", id)]);
            (Arc::clone(id), Arc::new(MemoryQueue::new(memory_limit(outlet), Some(dropped))))
        });
        Self {
            awaited_exporters: with_ack(AckMode::Delivered)
                .map(|(id, outlet)| (Arc::clone(id), outlet.answer_wait.min(LONGEST_ANSWER_WAIT)))
                .collect(),
            bounds: outlets.iter().filter(|(_, outlet)| outlet.ack != AckMode::Offered).filter_map(to_bound).collect(),
            offers: offers.collect(),
            memory_queues: memory_queues.collect(),
            clock,
            meter: meter.clone(),
            waiting_gauge: meter.gauge(&names::ANSWERS_WAITING, &[]),
            state: Mutex::new(DeliveryState {
                committed_through: first.0.saturating_sub(1),
                ..DeliveryState::default()
            }),
        }
    }

    /// The queue of an exporter with `ack: offered`.
    pub fn offers(&self, exporter: &str) -> Option<&Arc<MemoryQueue>> {
        self.offers.get(exporter)
    }

    /// The memory queue of an exporter with `in_memory` and without `waits_for`.
    pub fn memory_queue(&self, exporter: &str) -> Option<&Arc<MemoryQueue>> {
        self.memory_queues.get(exporter)
    }

    /// The queue in which a batch waits instead of in the spool: its only copy is for an exporter with `in_memory`, and
    /// no step stores anything of it.
    pub fn find_memory_queue(&self, product: &BatchProduct, effects: &[Effect]) -> Option<&Arc<MemoryQueue>> {
        let is_stored = |effect: &Effect| effect.unstored.is_none() || !effect.body.is_empty();
        match product.copies.as_slice() {
            [copy] if product.drafts.is_empty() && !effects.iter().any(is_stored) => match &*copy.holders {
                [holder] => self.memory_queue(holder),
                _ => None,
            },
            _ => None,
        }
    }

    /// Adds a batch for `exporter` to its queue. Its client is answered with the result, or after the exporter's
    /// `answer_wait`.
    pub fn add_to_memory(&self, queue: &MemoryQueue, exporter: &Arc<str>, account: &Arc<str>, batch: BatchInMemory) {
        let BatchInMemory { body, items, engine_outcome, mut receipt, on_delivered } = batch;
        receipt.release();
        let wait = self.awaited_exporters.get(exporter).copied().unwrap_or(LONGEST_ANSWER_WAIT);
        let (deadline, bytes) = (self.clock.monotonic() + wait, body.len() as u64);
        let next_answer = deadline;
        let client = WaitingClient { receipt, engine_outcome, items, deadline, next_answer, wait, bytes, on_delivered };
        if let Err(refused) = queue.push_awaited(Arc::clone(account), self.clock.now(), body, client) {
            let reason = Reason::PendingFull(PendingFullText::for_exporter(exporter));
            refused.receipt.resolve(&reason.outcome(), false);
        }
    }

    /// Why a batch can't be admitted: `max_pending` of one of its exporters is reached.
    pub fn refusal_reason(&self, spool: &Spool, product: &BatchProduct) -> Option<Reason> {
        let is_holder = |bound: &&PendingBound| {
            let mut holders = product.copies.iter().flat_map(|copy| copy.holders.iter());
            holders.any(|holder| exporter_of(holder) == &*bound.exporter)
        };
        let now = self.clock.monotonic();
        self.refusing_bounds().filter(is_holder).find_map(|bound| bound.check_bound(spool, now))
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
        for PendingBound { exporter, undecided, limit, .. } in self.bounds.iter().filter(|bound| !bound.is_refusing()) {
            let undecided_limit = limit.saturating_sub(spool.pending_bytes(exporter));
            let expired = spool.expire(exporter, *limit) + spool.expire(undecided, undecided_limit);
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

    /// Shows how many answers wait: those for committed data, and those for data in memory.
    fn show_waiting(&self, committed: usize) {
        let in_memory: usize = self.memory_queues.values().map(|queue| queue.clients().0).sum();
        self.waiting_gauge.set((committed + in_memory) as f64);
    }

    /// Whether a client's answer waits for this exporter's result.
    pub fn is_awaited(&self, exporter: &str) -> bool {
        self.awaited_exporters.contains_key(exporter)
    }

    /// Called after a batch was committed at `seqs`: answers its receipt once every exporter in `awaited` has a result
    /// for its record (an index into `seqs`).
    pub fn register_commit(
        &self,
        seqs: &[RecordSeq],
        awaited: Vec<(usize, Arc<str>)>,
        items: u64,
        engine_outcome: Outcome,
        mut receipt: Receipt,
    ) {
        receipt.release();
        let mut state = self.state.lock();
        state.committed_through =
            seqs.last().map_or(state.committed_through, |last| state.committed_through.max(last.0));
        let (mut joined_result, mut pending) = (None, Vec::new());
        let waits = awaited.iter().filter_map(|(_, exporter)| self.awaited_exporters.get(exporter).copied());
        let wait = waits.min().unwrap_or(LONGEST_ANSWER_WAIT);
        for (index, exporter) in awaited {
            let Some(seq) = seqs.get(index) else { continue };
            let record = (exporter, seq.0);
            match state.early_results.remove(&record) {
                Some(result) => joined_result = Some(join_results(joined_result, result, items)),
                None => pending.push(record),
            }
        }
        let committed_through = state.committed_through;
        state.early_results.retain(|(_, seq), _| *seq > committed_through);
        if pending.is_empty() {
            drop(state);
            return receipt.resolve(&final_answer(engine_outcome, joined_result, items), true);
        }
        if state.answers.len() >= MAX_WAITING_ANSWERS {
            drop(state);
            return receipt.resolve(&Outcome::Retry { after: None, reason: Reason::Overloaded }, true);
        }
        let (id, pending_exporters) = (state.next_id, pending.len());
        state.next_id = id.wrapping_add(1);
        state.answer_ids.extend(pending.into_iter().map(|record| (record, id)));
        let deadline = self.clock.monotonic() + wait;
        let answer = WaitingAnswer { pending_exporters, items, engine_outcome, joined_result, receipt, deadline };
        state.answers.insert(id, answer);
        self.show_waiting(state.answers.len());
    }

    /// Records that `exporter` has finished these positions, all with this result.
    pub fn settle(&self, exporter: &Arc<str>, seqs: &[RecordSeq], result: &Outcome) {
        if !self.is_awaited(exporter) {
            return;
        }
        let mut complete = Vec::new();
        let mut state = self.state.lock();
        for seq in seqs {
            let record = (Arc::clone(exporter), seq.0);
            let Some(id) = state.answer_ids.remove(&record) else {
                // For an older position no client waits any more: the position is of an earlier run of the process, or
                // its client was answered at the deadline.
                if seq.0 > state.committed_through {
                    state.early_results.insert(record, result.clone());
                }
                continue;
            };
            let Some(answer) = state.answers.get_mut(&id) else { continue };
            answer.joined_result = Some(join_results(answer.joined_result.take(), result.clone(), answer.items));
            answer.pending_exporters = answer.pending_exporters.saturating_sub(1);
            if answer.pending_exporters == 0 {
                complete.extend(state.answers.remove(&id));
            }
        }
        self.show_waiting(state.answers.len());
        drop(state);
        for WaitingAnswer { engine_outcome, joined_result, receipt, items, .. } in complete {
            receipt.resolve(&final_answer(engine_outcome, joined_result, items), true);
        }
    }

    /// Asks clients whose deadline has passed to retry. Their data is safe, so the retry is answered with its result.
    pub fn answer_expired(&self) {
        let now = self.clock.monotonic();
        self.answer_with_retry(|answer| answer.deadline <= now, Reason::TimedOut);
        self.memory_queues.values().for_each(|queue| queue.expire(now));
        self.show_waiting(self.state.lock().answers.len());
    }

    /// Answers all waiting clients, because the gateway stops.
    pub fn close(&self) {
        self.answer_with_retry(|_| true, Reason::ShuttingDown);
    }

    /// Asks the clients that `select` selects to retry.
    fn answer_with_retry(&self, select: impl Fn(&WaitingAnswer) -> bool, reason: Reason) {
        let mut state = self.state.lock();
        let ids: HashSet<u64> = state.answers.iter().filter(|(_, answer)| select(answer)).map(|(id, _)| *id).collect();
        if ids.is_empty() {
            return;
        }
        state.answer_ids.retain(|_, id| !ids.contains(id));
        let selected: Vec<WaitingAnswer> = ids.iter().filter_map(|id| state.answers.remove(id)).collect();
        self.show_waiting(state.answers.len());
        drop(state);
        let retry = Outcome::Retry { after: None, reason };
        selected.into_iter().for_each(|answer| answer.receipt.resolve(&retry, true));
    }
}
