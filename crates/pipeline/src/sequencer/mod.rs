//! [`Sequencer`]: gives a processed batch its ticket, its place in the spool and, after the commit, its answer. Object,
//! offset, leaf and record numbers must follow the order of commits, across all workers.
//! Room is reserved before the ticket. Tickets and appends happen in one order, under one lock, and between them only
//! I/O can fail. Effects are applied in commit order before the client gets its *OK*. After a failed commit nothing is
//! accepted any more. A processor's ticketer assigns the numbers; `spool/` writes the records.

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use kernel::clock::Clock;
use otlp::{Signal, SlotId};
use telemetry::{Counter, Histogram, Meter, names};

use super::batch::{BatchOrigin, Effect};
use super::component::{Processor, Ticketer};
use super::delivery::{BatchInMemory, DeliveryTracker, MemoryQueue};
use super::effects::{self, Applier};
use super::outcome::{Outcome, Reason};
use super::receipt::Receipt;
use super::route::{BatchProduct, ForwardCopy, HolderIds};
use super::sampling::rules::exporter_of;
use super::spool::{MAX_HOLDERS, OnCommit, RecordKind, RecordSeq, Spool, SpoolRecord, Transaction, bytes_to_reserve};
use super::tap::Tap;

#[cfg(test)]
mod tests;

/// Consumer name of effects in the spool.
pub const CHECKPOINT: &str = "checkpoint";

/// A batch that went through its pipelines.
pub struct FinishedBatch {
    pub(crate) origin: Arc<BatchOrigin>,
    /// Effects, drafts and forward copies, from which the records are made.
    pub(crate) product: BatchProduct,
    /// The client's answer if the batch is committed.
    pub(crate) answer: Outcome,
    pub(crate) receipt: Receipt,
}

type TicketerMap = HashMap<Arc<str>, Box<Ticketer>>;

/// See the module.
pub struct Sequencer {
    spool: Arc<Spool>,
    applier: Arc<Applier>,
    delivery: Arc<DeliveryTracker>,
    clock: Arc<dyn Clock>,
    /// Holders of effects records.
    effects_holders: HolderIds,
    /// Holders of effects records that are also sent to other replicas, and the processors that make such effects.
    shared_holders: HolderIds,
    sharing_processors: HashSet<Arc<str>>,
    ticketers: Mutex<TicketerMap>,
    /// Processors with a ticketer, readable without the lock.
    drafting_processors: HashSet<Arc<str>>,
    /// Set once, when commits have become impossible.
    failure: watch::Sender<Option<Reason>>,
    /// Shows committed data.
    pub tap: Tap,
    meter: Meter,
    unfilled_slots: Counter,
    commit_seconds: Histogram,
}

impl Sequencer {
    /// A sequencer that takes its tickets from these processors' ticketers. The consumers hold the effects that are
    /// sent to other replicas.
    pub fn new(
        spool: Arc<Spool>,
        applier: Arc<Applier>,
        (processors, effects_consumers): (&[Arc<dyn Processor>], &[Arc<str>]),
        delivery: Arc<DeliveryTracker>,
        clock: Arc<dyn Clock>,
        meter: &Meter,
    ) -> Arc<Self> {
        let ticketers: TicketerMap =
            processors.iter().filter_map(|step| Some((Arc::clone(step.id()), step.ticketer()?))).collect();
        Arc::new(Self {
            spool,
            applier,
            delivery,
            clock,
            effects_holders: Arc::new([CHECKPOINT.into()]),
            shared_holders: std::iter::once(CHECKPOINT.into()).chain(effects_consumers.iter().cloned()).collect(),
            sharing_processors: (processors.iter())
                .filter(|step| !effects_consumers.is_empty() && step.shares_effects())
                .map(|step| Arc::clone(step.id()))
                .collect(),
            drafting_processors: ticketers.keys().cloned().collect(),
            ticketers: Mutex::new(ticketers),
            failure: watch::Sender::new(None),
            tap: Tap::new(meter),
            meter: meter.clone(),
            unfilled_slots: meter.counter(&names::SLOTS_UNFILLED, &[]),
            commit_seconds: meter.histogram(&names::COMMIT_SECONDS, &[]),
        })
    }

    /// Becomes `Some` when commits have become impossible; the process must then end.
    pub fn watch_failure(&self) -> watch::Receiver<Option<Reason>> {
        self.failure.subscribe()
    }

    /// Records that commits have become impossible.
    pub fn report_failure(&self, reason: Reason) {
        self.failure.send_if_modified(|failure| failure.replace(reason).is_none());
    }

    /// Queues the batch for its commit. Its receipt is answered after the commit, or at once if nothing is to be
    /// committed or the batch is refused.
    pub fn commit(self: &Arc<Self>, finished: FinishedBatch) {
        let FinishedBatch { origin, mut product, answer, receipt } = finished;
        let effects = std::mem::take(&mut product.effects);
        let effects_body = if effects.is_empty() { Bytes::new() } else { effects::encode(&effects).into() };
        if product.copies.is_empty() && product.drafts.is_empty() && effects.is_empty() {
            return receipt.resolve(&answer, true);
        }
        let failure = *self.failure.borrow();
        if let Some(reason) = failure {
            return self.refuse_batch(&origin, receipt, reason);
        }
        if product.drafts.iter().any(|draft| !self.drafting_processors.contains(&draft.processor)) {
            // Without a ticketer nothing would store this draft, and an incomplete plan must not lose content.
            return self.refuse_batch(&origin, receipt, Reason::Lost);
        }
        let offered = self.take_offers(&mut product);
        if product.copies.is_empty() && product.drafts.is_empty() && effects.is_empty() {
            self.offer_copies(&origin, offered, &HashMap::new());
            return receipt.resolve(&answer, false);
        }
        if let Some(reason) = self.delivery.refusal_reason(&self.spool, &product) {
            self.count_unqueued(&product);
            return self.refuse_batch(&origin, receipt, reason);
        }
        if offered.is_empty()
            && let Some(queue) = self.delivery.find_memory_queue(&product, &effects)
        {
            return self.enqueue_in_memory(&origin, (product, effects), queue, (answer, receipt));
        }
        let reservation = match self.spool.reserve(bytes_needed(&product, &effects_body)) {
            Ok(reservation) => reservation,
            Err(reason) => {
                self.count_unqueued(&product);
                return self.refuse_batch(&origin, receipt, reason);
            }
        };
        let items = product.copies.iter().map(|copy| copy.items).max().unwrap_or(0);
        let began = self.clock.monotonic();
        let mut pending = PendingCommit {
            effects,
            answer,
            receipt,
            began,
            effects_index: None,
            awaited: Vec::new(),
            items,
            tap_bodies: Vec::new(),
        };
        // Held until the transaction is queued, so that the queue has the order of the tickets.
        let mut ticketers = self.ticketers.lock();
        let ticket = catch_unwind(AssertUnwindSafe(|| self.issue_ticket(&mut ticketers, product)));
        let Ok((mut records, texts)) = ticket else {
            // Numbers may have been assigned that will never be committed.
            self.report_failure(Reason::SpoolFailed);
            drop(ticketers);
            return self.refuse_batch(&origin, pending.receipt, Reason::SpoolFailed);
        };
        if !effects_body.is_empty() {
            pending.effects_index = Some(records.len());
            let is_shared = pending.effects.iter().any(|effect| self.sharing_processors.contains(&effect.processor));
            let holders = Arc::clone(if is_shared { &self.shared_holders } else { &self.effects_holders });
            records.push(SpoolRecord { kind: RecordKind::Effects, holders, body: effects_body });
        }
        pending.awaited = self.awaited_exporters(&records);
        let offers: Vec<_> = offered.into_iter().map(|copy| self.patch_copy(copy, &texts)).collect();
        if self.tap.has_clients() {
            let forward = records.iter().filter(|record| record.kind == RecordKind::Forward).map(|record| &record.body);
            pending.tap_bodies = forward.chain(offers.iter().map(|(_, body)| body)).cloned().collect();
        }
        let transaction = Transaction { account: Arc::clone(&origin.account), records };
        self.spool.enqueue(transaction, reservation, self.on_commit(origin, pending, offers));
    }

    /// Makes the records of the drafts and copies. Called in ticket order.
    fn issue_ticket(&self, ticketers: &mut TicketerMap, product: BatchProduct) -> (Vec<SpoolRecord>, SlotTexts) {
        let mut records = Vec::new();
        let mut texts = SlotTexts::new();
        for draft in product.drafts {
            let Some(ticketer) = ticketers.get_mut(&draft.processor) else { continue };
            let mut ticket = ticketer(draft.body);
            records.append(&mut ticket.records);
            for (slot, text) in ticket.slots {
                // The first draft wins: a draft of items that were kept back comes last and must not change the copies.
                texts.entry(slot).or_insert(text);
            }
        }
        for copy in product.copies {
            let (holders, body) = self.patch_copy(copy, &texts);
            if holders.len() <= MAX_HOLDERS {
                records.push(SpoolRecord { kind: RecordKind::Forward, holders, body });
                continue;
            }
            for chunk in holders.chunks(MAX_HOLDERS) {
                records.push(SpoolRecord { kind: RecordKind::Forward, holders: chunk.into(), body: body.clone() });
            }
        }
        (records, texts)
    }

    fn patch_copy(&self, mut copy: ForwardCopy, texts: &SlotTexts) -> (HolderIds, Bytes) {
        let unfilled = copy.fill_slots(texts);
        if unfilled > 0 {
            self.unfilled_slots.increment(unfilled);
        }
        (copy.holders, Bytes::from(copy.body))
    }

    /// Hands a batch of which nothing is stored to the outlet of its exporter.
    fn enqueue_in_memory(
        self: &Arc<Self>,
        origin: &BatchOrigin,
        (product, effects): (BatchProduct, Vec<Effect>),
        queue: &MemoryQueue,
        (engine_outcome, receipt): (Outcome, Receipt),
    ) {
        let Some(copy) = product.copies.into_iter().next() else { return };
        let items = copy.items;
        let (holders, body) = self.patch_copy(copy, &SlotTexts::new());
        let Some(exporter) = holders.first() else { return };
        let tap_body = self.tap.has_clients().then(|| body.clone());
        let (sequencer, account) = (Arc::clone(self), Arc::clone(&origin.account));
        let on_delivered = Box::new(move || {
            sequencer.applier.apply(&effects, None);
            tap_body.iter().for_each(|body| sequencer.tap.show_batch(&account, std::slice::from_ref(body)));
        });
        let batch = BatchInMemory { body, items, engine_outcome, receipt, on_delivered };
        self.delivery.add_to_memory(queue, exporter, &origin.account, batch);
    }

    /// Removes from the copies the holders with `ack: offered`, and returns copies for them.
    fn take_offers(&self, product: &mut BatchProduct) -> Vec<ForwardCopy> {
        let is_offered = |id: &Arc<str>| self.delivery.offers(id).is_some();
        let mut offered = Vec::new();
        product.copies.retain_mut(|copy| {
            let (offered_to, spooled_for): (Vec<_>, Vec<_>) = copy.holders.iter().cloned().partition(is_offered);
            if offered_to.is_empty() {
                return true;
            }
            let (body, slots) = match spooled_for.is_empty() {
                true => (std::mem::take(&mut copy.body), std::mem::take(&mut copy.slots)),
                false => (copy.body.clone(), copy.slots.clone()),
            };
            let (holders, signal, items) = (offered_to.into(), copy.signal, copy.items);
            offered.push(ForwardCopy { holders, body, slots, signal, items });
            copy.holders = spooled_for.into();
            !copy.holders.is_empty()
        });
        offered
    }

    fn offer_copies(&self, origin: &BatchOrigin, offered: Vec<ForwardCopy>, texts: &SlotTexts) {
        let patched: Vec<_> = offered.into_iter().map(|copy| self.patch_copy(copy, texts)).collect();
        if self.tap.has_clients() {
            let bodies: Vec<Bytes> = patched.iter().map(|(_, body)| body.clone()).collect();
            self.tap.show_batch(&origin.account, &bodies);
        }
        self.push_offers(origin, patched);
    }

    fn push_offers(&self, origin: &BatchOrigin, offered: Vec<(HolderIds, Bytes)>) {
        let now = self.clock.now();
        for (holders, body) in offered {
            for queue in holders.iter().filter_map(|id| self.delivery.offers(id)) {
                queue.push(Arc::clone(&origin.account), now, body.clone());
            }
        }
    }

    /// Exporters whose results the client waits for, with the index of the record.
    fn awaited_exporters(&self, records: &[SpoolRecord]) -> Vec<(usize, Arc<str>)> {
        let forward = records.iter().enumerate().filter(|(_, record)| record.kind == RecordKind::Forward);
        let holders = forward.flat_map(|(index, record)| record.holders.iter().map(move |holder| (index, holder)));
        holders
            .filter(|(_, holder)| self.delivery.is_awaited(holder))
            .map(|(index, holder)| (index, Arc::clone(holder)))
            .collect()
    }

    fn on_commit(
        self: &Arc<Self>,
        origin: Arc<BatchOrigin>,
        pending: PendingCommit,
        offers: Vec<(HolderIds, Bytes)>,
    ) -> OnCommit {
        let sequencer = Arc::clone(self);
        Box::new(move |result| match result {
            Ok(seqs) => {
                if !pending.tap_bodies.is_empty() {
                    sequencer.tap.show_batch(&origin.account, &pending.tap_bodies);
                }
                sequencer.push_offers(&origin, offers);
                sequencer.finish_commit(pending, seqs);
            }
            Err(reason) => {
                sequencer.report_failure(reason);
                sequencer.refuse_batch(&origin, pending.receipt, reason);
            }
        })
    }

    fn finish_commit(&self, pending: PendingCommit, seqs: &[RecordSeq]) {
        self.commit_seconds.record(self.clock.monotonic().saturating_sub(pending.began).as_secs_f64());
        if let Some(seq) = pending.effects_index.and_then(|index| seqs.get(index)) {
            self.applier.apply(&pending.effects, Some(*seq));
        }
        let PendingCommit { awaited, items, answer, receipt, .. } = pending;
        self.delivery.register_commit(seqs, awaited, items, answer, receipt);
    }

    /// Counts, per exporter, the items that could not be put into the spool.
    fn count_unqueued(&self, product: &BatchProduct) {
        for copy in &product.copies {
            let def = match copy.signal {
                Signal::Traces => &names::NOT_QUEUED_SPANS,
                Signal::Logs => &names::NOT_QUEUED_LOGS,
                Signal::Metrics => &names::NOT_QUEUED_POINTS,
            };
            for holder in copy.holders.iter() {
                self.meter.counter(def, &[("exporter", exporter_of(holder))]).increment(copy.items);
            }
        }
    }

    fn refuse_batch(&self, origin: &BatchOrigin, receipt: Receipt, reason: Reason) {
        self.applier.discard(&origin.id);
        receipt.resolve(&reason.outcome(), false);
    }
}

/// State of a batch between append and commit.
struct PendingCommit {
    effects: Vec<Effect>,
    answer: Outcome,
    receipt: Receipt,
    /// Start of the commit, monotonic.
    began: Duration,
    /// Index of the effects record in the transaction.
    effects_index: Option<usize>,
    /// Exporters whose results the client waits for, with the index of the record in the transaction.
    awaited: Vec<(usize, Arc<str>)>,
    items: u64,
    /// Copies for the tap, if it has clients.
    tap_bodies: Vec<Bytes>,
}

/// Texts for the slots.
type SlotTexts = HashMap<SlotId, String>;

/// Upper bound of the batch's bytes in the spool.
fn bytes_needed(product: &BatchProduct, effects: &Bytes) -> u64 {
    let mut records = usize::from(!effects.is_empty());
    let mut bytes = effects.len() as u64;
    for copy in &product.copies {
        let copies = copy.holders.len().div_ceil(MAX_HOLDERS);
        records += copies;
        bytes = bytes.saturating_add((copy.body.len() as u64).saturating_mul(copies as u64));
    }
    // The bound of a draft includes the headers of its records.
    let drafts = product.drafts.iter().fold(0_u64, |sum, draft| sum.saturating_add(draft.bytes));
    bytes_to_reserve(records, bytes.saturating_add(drafts))
}
