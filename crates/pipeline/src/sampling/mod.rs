//! [`Sampler`]: decides which spans and log records an exporter gets: all items of runs that a rule keeps, and a
//! weighted share of the rest. Undecided items are spool records of a separate consumer. A run is decided when a rule
//! keeps it, when it is over, or after `wait`. Invariant: a sampler commits a record for the exporter before it marks
//! the waiting record as done, so a crash duplicates items and never loses them. Batches of several runs are split
//! first. Deadlines use the monotonic clock, less the record's age when it is read. Run states come from the crate
//! `history`; `route` gives records to the waiting consumer.

mod decide;
pub mod rules;
#[cfg(test)]
mod tests;
mod undecided;
mod unit;
mod weight;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foldhash::HashMap;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use kernel::clock::{Clock, UnixNanos};
use otlp::{Payload, UnknownFields};
use telemetry::{Counter, names};

use super::forward_label::ForwardLabel;
use super::offload::{Offload, offload};
use super::outlet::OutletContext;
use super::spool::{
    RecordKind, RecordSeq, Spool, SpoolReadError, SpoolRecord, StoredRecord, Transaction, bytes_to_reserve,
};

use decide::{Decision, UnitState};
use rules::{KeepRule, RunSampleStates, SampleRules, SampleUnit, waiting_consumer};
use undecided::{DecidedRecord, UndecidedRecords, UnitRecords, WaitingRecord};
use unit::ItemUnits;

/// Shortest and longest time between two rounds of decisions. If states of runs take long to find, it is longer.
const ROUND_INTERVAL: Duration = Duration::from_secs(2);
const MAX_PAUSE: Duration = Duration::from_secs(10);
const PAUSE_FACTOR: u32 = 20;
/// A batch with more items is not split: each part takes time for all items.
const MAX_SPLIT_ITEMS: usize = 16_384;
/// Maximum number and bytes of records in one read or one round of commits.
const MAX_RECORDS: usize = 256;
const MAX_BYTES: usize = 8 << 20;

/// See the module.
pub struct Sampler {
    exporter: Arc<str>,
    waiting: Arc<str>,
    rules: Arc<SampleRules>,
    runs: Arc<dyn RunSampleStates>,
    spool: Arc<Spool>,
    offload: Arc<dyn Offload>,
    clock: Arc<dyn Clock>,
    /// Items of kept runs, of the share, and left out.
    counters: [Counter; 3],
    failures: Counter,
    undecided: Mutex<UndecidedRecords>,
}

/// The records that replace a waiting one; none if all its items are left out.
struct Replacement {
    of: RecordSeq,
    account: Arc<str>,
    records: Vec<SpoolRecord>,
    /// What to count then: items of kept runs, of the share, and left out.
    counts: [u64; 3],
}

impl Sampler {
    /// The sampler of an exporter.
    pub fn new(
        exporter: &Arc<str>,
        rules: Arc<SampleRules>,
        runs: Arc<dyn RunSampleStates>,
        context: &OutletContext,
    ) -> Arc<Self> {
        let count =
            |decision| context.meter.counter(&names::SAMPLED_ITEMS, &[("exporter", exporter), ("decision", decision)]);
        Arc::new(Self {
            exporter: Arc::clone(exporter),
            waiting: waiting_consumer(exporter),
            rules,
            runs,
            spool: Arc::clone(&context.spool),
            offload: Arc::clone(&context.offload),
            clock: Arc::clone(&context.clock),
            counters: ["kept", "share", "left_out"].map(count),
            failures: context.meter.counter(&names::READ_FAILURES, &[("exporter", exporter)]),
            undecided: Mutex::default(),
        })
    }

    /// The exporter's id.
    pub fn id(&self) -> &Arc<str> {
        &self.exporter
    }

    /// The longest time that an item waits if nothing is wrong.
    pub fn longest_wait(&self) -> Duration {
        self.rules.wait + self.settle() + MAX_PAUSE
    }

    /// Makes decisions until `stop` turns true. Undecided records stay in the spool.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        *self.undecided.lock() = UndecidedRecords::default();
        while !*stop.borrow() {
            let looked_up = self.do_round(&stop).await;
            tokio::select! {
                biased;
                // A dropped sender also means stop.
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.clock.sleep((looked_up * PAUSE_FACTOR).clamp(ROUND_INTERVAL, MAX_PAUSE)) => {}
            }
        }
    }

    /// Reads new records, then decides about all that wait. Returns how long the states of runs took to find.
    async fn do_round(self: &Arc<Self>, stop: &watch::Receiver<bool>) -> Duration {
        let is_going = || !*stop.borrow();
        while is_going()
            && !self.undecided.lock().is_full()
            && let Some(splits) = self.offload(Self::read_new).await.flatten()
        {
            self.commit_all(splits).await;
        }
        let Some((ready, looked_up)) = self.offload(Self::find_ready).await else { return Duration::ZERO };
        // Those that need no room come first: they make room for the others.
        let Some(mut mixed) = self.offload(move |sampler| sampler.settle_whole(ready)).await else { return looked_up };
        while !mixed.is_empty() && is_going() {
            let mut bytes = 0;
            let is_within = |decided: &&DecidedRecord| {
                let is_within = bytes == 0 || bytes + decided.bytes <= MAX_BYTES;
                bytes += decided.bytes;
                is_within
            };
            let rest = mixed.split_off(mixed.iter().take(MAX_RECORDS).take_while(is_within).count());
            let part = std::mem::replace(&mut mixed, rest);
            let replacements = self.offload(move |sampler| sampler.replace_all(part)).await;
            self.commit_all(replacements.unwrap_or_default()).await;
        }
        looked_up
    }

    /// Does disk and CPU work. `None`: it ended without a result, and is repeated in the next round.
    async fn offload<T: Send + 'static>(self: &Arc<Self>, work: impl FnOnce(&Self) -> T + Send + 'static) -> Option<T> {
        let sampler = Arc::clone(self);
        let done = offload(&*self.offload, "sample", move || work(&sampler)).await;
        if done.is_none() {
            self.failures.increment(1);
        }
        done
    }

    /// Commits replacements, and then marks the replaced records as done. The other records wait for the next round.
    async fn commit_all(self: &Arc<Self>, replacements: Vec<Replacement>) {
        let commits: Vec<_> = replacements.into_iter().filter_map(|replacement| self.commit(replacement)).collect();
        let mut done = Vec::new();
        for (of, counts, committed) in commits {
            if committed.await.unwrap_or(false) {
                self.count(counts);
                done.push(of);
            }
        }
        if !done.is_empty() {
            self.offload(move |sampler| sampler.finish(&done)).await;
        }
    }

    fn count(&self, items: [u64; 3]) {
        self.counters.iter().zip(items).for_each(|(counter, items)| counter.increment(items));
    }

    /// Marks waiting records as done.
    fn finish(&self, seqs: &[RecordSeq]) {
        self.spool.mark_done_and_write(&self.waiting, seqs);
        let mut undecided = self.undecided.lock();
        seqs.iter().for_each(|seq| undecided.remove(*seq));
    }

    /// Reads new records. Returns the replacements of those that must be split; `None`: there are no new ones.
    fn read_new(&self) -> Option<Vec<Replacement>> {
        let after = self.undecided.lock().read;
        let records = match self.spool.read(&self.waiting, after, MAX_BYTES, MAX_RECORDS) {
            Ok(records) if records.is_empty() => return None,
            Ok(records) => records,
            Err(error) => {
                self.report(&error);
                let SpoolReadError::Damaged(seq) = error else { return None };
                self.undecided.lock().read = Some(seq);
                return Some(Vec::new());
            }
        };
        let mut splits = Vec::new();
        for record in records {
            let (seq, now) = (record.seq, self.clock.monotonic());
            let age = self.clock.now().since(record.committed);
            let mut undecided = self.undecided.lock();
            undecided.read = Some(seq);
            let Some((label, payload)) = parse(&record.body) else {
                drop(undecided);
                self.report(&"a waiting record can't be parsed; it stays in the spool until it is dropped");
                continue;
            };
            let units = ItemUnits::new(&record.account, &payload);
            splits.extend(self.split(&record, (&label, &payload), &units));
            let waiting = WaitingRecord {
                units: Vec::new(),
                items: payload.item_count() as u64,
                bytes: record.body.len(),
                committed: record.committed,
                deadline: now + self.rules.wait.saturating_sub(age).max(self.settle()),
            };
            undecided.add(seq, waiting, units.units, now);
        }
        Some(splits)
    }

    /// The parts of a record whose units are to wait apart. `None`: it stays whole, because there is one part only, or
    /// because what the parts repeat (resources, scopes) would take too much room.
    fn split(
        &self,
        record: &StoredRecord,
        (label, payload): (&ForwardLabel, &Payload),
        units: &ItemUnits,
    ) -> Option<Replacement> {
        let of_units = units.buckets();
        let buckets: BTreeSet<usize> = of_units.iter().copied().collect();
        if buckets.len() < 2 || units.of_items.len() > MAX_SPLIT_ITEMS {
            return None;
        }
        let (mut records, mut bytes) = (Vec::new(), 0);
        for bucket in buckets {
            let part = payload.subset(&|item| units.of_item(&of_units, item) == Some(&bucket));
            let part = forward_record(&self.waiting, label, &part)?;
            bytes += part.body.len();
            if bytes > record.body.len().saturating_mul(2) {
                return None;
            }
            records.push(part);
        }
        let account = Arc::clone(&record.account);
        Some(Replacement { of: record.seq, account, records, counts: [0; 3] })
    }

    /// How long no item of a unit must be read before its run counts as over.
    fn settle(&self) -> Duration {
        self.runs.settle().min(self.rules.wait)
    }

    /// All records whose units are decided, and how long the states of runs took to find.
    fn find_ready(&self) -> (Vec<DecidedRecord>, Duration) {
        let (oldest, units) = self.undecided.lock().snapshot();
        let Some(oldest) = oldest else { return Default::default() };
        let began = self.clock.monotonic();
        // A part of a split record has the time of the split.
        let settle = self.settle();
        let margin = u64::try_from((self.rules.wait + settle).as_nanos()).unwrap_or(u64::MAX);
        let (units, records): (Vec<_>, Vec<_>) = units.into_iter().unzip();
        let found = self.runs.find_states(&units, &self.rules.keep, UnixNanos(oldest.0.saturating_sub(margin)));
        let now = self.clock.monotonic();
        let keeps_errors = self.rules.keep.contains(&KeepRule::Errors);
        let state = |records: UnitRecords, found| {
            UnitState::new(found, now.saturating_sub(records.latest) >= settle, keeps_errors && records.is_failed)
        };
        let states = records.into_iter().zip(found).map(|(records, found)| state(records, found));
        let states: HashMap<Arc<SampleUnit>, UnitState> = units.into_iter().zip(states).collect();
        (self.undecided.lock().find_decided(&states, self.rules.others, now), now.saturating_sub(began))
    }

    /// Drops the records all of whose items are left out, and gives the exporter those all of whose items are kept.
    /// Neither is read again, and neither needs room. Returns the others.
    fn settle_whole(&self, decided: Vec<DecidedRecord>) -> Vec<DecidedRecord> {
        let (mut left_out, mut mixed, mut is_any_moved) = (Vec::new(), Vec::new(), false);
        for record in decided {
            if record.is_all(Decision::LeaveOut) {
                self.count([0, 0, record.items]);
                left_out.push(record.seq);
            } else if !record.is_all(Decision::Keep) {
                mixed.push(record);
            } else {
                // `false`: an operator dropped or moved it meanwhile.
                let is_moved = self.spool.transfer_record(&self.waiting, &self.exporter, record.seq);
                self.count([if is_moved { record.items } else { 0 }, 0, 0]);
                is_any_moved |= is_moved;
                self.undecided.lock().remove(record.seq);
            }
        }
        self.finish(&left_out);
        if is_any_moved {
            self.spool.announce_moves(&self.exporter);
        }
        mixed
    }

    /// The replacements of decided records.
    fn replace_all(&self, decided: Vec<DecidedRecord>) -> Vec<Replacement> {
        let seqs: Vec<RecordSeq> = decided.iter().map(|decided| decided.seq).collect();
        let records = match self.spool.read_positions(&self.waiting, &seqs) {
            Ok(records) => records,
            Err(error) => {
                self.report(&error);
                return Vec::new();
            }
        };
        let mut decided: HashMap<RecordSeq, DecidedRecord> =
            decided.into_iter().map(|decided| (decided.seq, decided)).collect();
        let mut replacements = Vec::new();
        for record in records {
            let decided = decided.remove(&record.seq);
            replacements.extend(decided.and_then(|decided| self.replace(&record, &decided.decisions)));
        }
        // An operator dropped or moved the others meanwhile.
        let mut undecided = self.undecided.lock();
        decided.into_keys().for_each(|seq| undecided.remove(seq));
        replacements
    }

    /// The replacement of a decided record.
    fn replace(&self, record: &StoredRecord, decisions: &HashMap<Arc<SampleUnit>, Decision>) -> Option<Replacement> {
        let (label, payload) = parse(&record.body)?;
        let units = ItemUnits::new(&record.account, &payload);
        let decide = |unit: &SampleUnit| decisions.get(unit).copied().unwrap_or(Decision::LeaveOut);
        let of_units: Vec<Decision> = units.units.iter().map(|(unit, _)| decide(unit)).collect();
        let of_item = |item: usize| units.of_item(&of_units, item).copied().unwrap_or(Decision::LeaveOut);
        let decisions: Vec<Decision> = (0..units.of_items.len()).map(of_item).collect();
        let count = |wanted: Decision| decisions.iter().filter(|decision| **decision == wanted).count() as u64;
        let counts = [Decision::Keep, Decision::Share, Decision::LeaveOut].map(count);
        let mut sent = payload.subset(&|item| decisions.get(item).is_some_and(|it| *it != Decision::LeaveOut));
        for (node, _) in payload.items().zip(&decisions).filter(|(_, decision)| **decision == Decision::Share) {
            weight::multiply(&mut sent, node, self.rules.others);
        }
        let records = vec![forward_record(&self.exporter, &label, &sent)?];
        Some(Replacement { of: record.seq, account: Arc::clone(&record.account), records, counts })
    }

    /// Queues a replacement; the receiver says whether it was committed. `None`: the spool is full, and the record
    /// waits for the next round. Room that new data may not take belongs to the vault.
    fn commit(&self, replacement: Replacement) -> Option<(RecordSeq, [u64; 3], oneshot::Receiver<bool>)> {
        let Replacement { of, account, records, counts } = replacement;
        let bytes: usize = records.iter().map(|record| record.body.len()).sum();
        let reservation = self.spool.reserve(bytes_to_reserve(records.len(), bytes as u64)).ok()?;
        Some((of, counts, self.spool.enqueue_awaited(Transaction { account, records }, reservation)))
    }

    fn report(&self, problem: &dyn std::fmt::Display) {
        self.failures.increment(1);
        let exporter = &*self.exporter;
        tracing::error!(exporter, %problem, "what waits for the decision of `sample` can't be read");
    }
}

/// A forward record of this payload.
fn forward_record(holder: &Arc<str>, label: &ForwardLabel, payload: &Payload) -> Option<SpoolRecord> {
    // Unknown fields that must not be sent were dropped when the copy was made.
    let otlp = payload.encode(UnknownFields::Keep).ok()?.bytes;
    let label = ForwardLabel { items: payload.item_count() as u64, ..label.clone() };
    let body = label.attach_to(otlp).into();
    Some(SpoolRecord { kind: RecordKind::Forward, holders: Arc::new([Arc::clone(holder)]), body })
}

fn parse(body: &Bytes) -> Option<(ForwardLabel, Payload)> {
    let (label, otlp) = ForwardLabel::split(body)?;
    let payload = Payload::parse(label.signal, otlp).ok()?;
    Some((label, payload))
}
