//! [`Sampler`]: decides which spans and log records one exporter gets: all of the runs that a rule keeps, and a share
//! of the others, whose items say how many they stand for. Items wait in the spool, for a consumer of their own, until
//! their run is decided: at once if a rule keeps it, otherwise when the run is over, at the latest after the `wait`
//! of [`SampleRules`]. What is sent is committed again for the exporter, and only then leaves the waiting records; a
//! crash between the two sends it twice. A batch with several runs is split first, so that none waits for another.
//! The wait is measured by the monotonic clock from when a record is read, less the age that it has by the wall clock.
//! Whose runs there are is known to the crate `history`; metrics never wait; `route` makes the waiting copies.

mod decide;
pub mod rules;
#[cfg(test)]
mod tests;
mod unit;

use std::collections::{BTreeMap, BTreeSet};
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
use super::outcome::Reason;
use super::outlet::OutletContext;
use super::spool::{
    RecordKind, RecordSeq, Spool, SpoolReadError, SpoolRecord, StoredRecord, Transaction, bytes_to_reserve,
};

use decide::{Decision, Lot};
use rules::{RunFates, SampleRules, SampleUnit, waiting_consumer};
use unit::{bucket, units_of};

/// A run is taken to be over when its end was seen and nothing of it came for this long: late items may change it.
const SETTLE: Duration = Duration::from_secs(30);
/// Shortest time between two rounds of decisions. A round that takes long is followed by a longer pause.
const ROUND_INTERVAL: Duration = Duration::from_secs(1);
const PAUSE_FACTOR: u32 = 20;
/// Maximum number of units that wait, about 60 MB: beyond it the oldest are decided by what is known.
const MAX_UNITS: usize = 250_000;
/// Maximum number and bytes of records in memory.
const MAX_RECORDS: usize = 256;
const MAX_BYTES: usize = 8 << 20;

/// See the module.
pub struct Sampler {
    exporter: Arc<str>,
    waiting: Arc<str>,
    rules: Arc<SampleRules>,
    runs: Arc<dyn RunFates>,
    spool: Arc<Spool>,
    offload: Arc<dyn Offload>,
    clock: Arc<dyn Clock>,
    /// Items of kept runs, of the share, and left out.
    counters: [Counter; 3],
    read_failures: Counter,
    room: Mutex<WaitingRoom>,
}

/// The waiting records, and of which runs they are.
#[derive(Default)]
struct WaitingRoom {
    /// Position of the last record read.
    read: Option<RecordSeq>,
    records: BTreeMap<RecordSeq, WaitingRecord>,
    /// By unit, the number of its records and when the latest was read, monotonic.
    units: HashMap<Arc<SampleUnit>, (usize, Duration)>,
}

struct WaitingRecord {
    units: Vec<Arc<SampleUnit>>,
    items: u64,
    bytes: usize,
    committed: UnixNanos,
    /// When its items are decided at the latest, monotonic.
    deadline: Duration,
}

impl WaitingRoom {
    fn add(&mut self, seq: RecordSeq, record: WaitingRecord, units: BTreeSet<SampleUnit>, now: Duration) {
        let shared = units.into_iter().map(|unit| {
            let known = self.units.get_key_value(&unit).map(|(known, _)| Arc::clone(known));
            let unit = known.unwrap_or_else(|| Arc::new(unit));
            let (records, latest) = self.units.entry(Arc::clone(&unit)).or_default();
            (*records, *latest) = (*records + 1, now);
            unit
        });
        let units = shared.collect();
        self.records.insert(seq, WaitingRecord { units, ..record });
    }

    fn is_full(&self) -> bool {
        self.units.len() > MAX_UNITS
    }

    /// Lets the oldest records wait no longer, as many as are too many.
    fn expire_excess(&mut self, now: Duration) {
        let mut excess = self.units.len().saturating_sub(MAX_UNITS);
        for record in self.records.values_mut() {
            if excess == 0 {
                return;
            }
            excess = excess.saturating_sub(record.units.len());
            record.deadline = record.deadline.min(now);
        }
    }

    fn remove(&mut self, seq: RecordSeq) {
        for unit in self.records.remove(&seq).into_iter().flat_map(|record| record.units) {
            if let Some((records, _)) = self.units.get_mut(&unit) {
                *records -= 1;
                if *records == 0 {
                    self.units.remove(&unit);
                }
            }
        }
    }
}

/// A record all of whose units are decided.
struct DecidedRecord {
    seq: RecordSeq,
    items: u64,
    bytes: usize,
    decisions: HashMap<Arc<SampleUnit>, Decision>,
}

impl DecidedRecord {
    fn is_left_out(&self) -> bool {
        self.decisions.values().all(|decision| *decision == Decision::LeaveOut)
    }
}

/// What takes the place of a waiting record, once it is committed.
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
        runs: Arc<dyn RunFates>,
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
            read_failures: context.meter.counter(&names::READ_FAILURES, &[("exporter", exporter)]),
            room: Mutex::default(),
        })
    }

    /// The exporter's id.
    pub fn id(&self) -> &Arc<str> {
        &self.exporter
    }

    /// Decides until `stop` turns true; what is undecided then stays in the spool.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        *self.room.lock() = WaitingRoom::default();
        while !*stop.borrow() {
            let began = self.clock.monotonic();
            self.do_round(&stop).await;
            let took = self.clock.monotonic().saturating_sub(began);
            tokio::select! {
                biased;
                // A dropped sender also means stop.
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.clock.sleep(ROUND_INTERVAL.max(took * PAUSE_FACTOR)) => {}
            }
        }
    }

    /// Reads what came since, then decides about all that waits.
    async fn do_round(self: &Arc<Self>, stop: &watch::Receiver<bool>) {
        let is_going = || !*stop.borrow();
        while is_going() && !self.room.lock().is_full() {
            let sampler = Arc::clone(self);
            let read = offload(&*self.offload, "sample", move || sampler.read_new()).await;
            let Some(Some(splits)) = read else { break };
            self.commit_all(splits).await;
        }
        let sampler = Arc::clone(self);
        let ready = offload(&*self.offload, "sample", move || sampler.find_ready()).await;
        let mut ready = ready.unwrap_or_default().into_iter().peekable();
        while ready.peek().is_some() && is_going() {
            let (mut part, mut bytes) = (Vec::new(), 0);
            while part.len() < MAX_RECORDS
                && let Some(decided) = ready.next_if(|next| part.is_empty() || bytes + next.bytes <= MAX_BYTES)
            {
                bytes += decided.bytes;
                part.push(decided);
            }
            let sampler = Arc::clone(self);
            let replace = offload(&*self.offload, "sample", move || sampler.replace_all(part)).await;
            if !self.commit_all(replace.unwrap_or_default()).await {
                return;
            }
        }
    }

    /// Commits replacements, and marks what they replace as done. Returns false if one could not be committed: its
    /// record then waits for another round.
    async fn commit_all(self: &Arc<Self>, replacements: Vec<Replacement>) -> bool {
        let commits: Vec<_> = replacements.into_iter().map(|replacement| self.commit(replacement)).collect();
        let (all, mut done) = (commits.len(), Vec::new());
        for (of, counts, committed) in commits {
            if committed.await.unwrap_or(false) {
                self.counters.iter().zip(counts).for_each(|(counter, items)| counter.increment(items));
                done.push(of);
            }
        }
        let (sampler, seqs) = (Arc::clone(self), done.clone());
        let mark = move || sampler.spool.mark_done_and_write(&sampler.waiting, &seqs);
        if !done.is_empty() && offload(&*self.offload, "done", mark).await.is_none() {
            self.spool.mark_done(&self.waiting, &done);
        }
        let mut room = self.room.lock();
        done.iter().for_each(|seq| room.remove(*seq));
        done.len() == all
    }

    /// Reads records that came since, and splits those with runs that are to wait apart. `None`: there are no more.
    fn read_new(&self) -> Option<Vec<Replacement>> {
        let after = self.room.lock().read;
        let read = self.spool.read(&self.waiting, after, MAX_BYTES, MAX_RECORDS);
        let records = self.or_report(read).filter(|records| !records.is_empty())?;
        let (mut room, mut splits) = (self.room.lock(), Vec::new());
        for StoredRecord { seq, account, body, committed, .. } in records {
            room.read = Some(seq);
            // What can't be read is never sent, as in an outlet, and held until it is dropped.
            let Some((label, payload)) = parse(&body) else { continue };
            let item_units = units_of(&account, &payload);
            let buckets: BTreeSet<usize> = item_units.iter().map(bucket).collect();
            if buckets.len() > 1 {
                let part = |wanted: usize| {
                    let is_wanted = |item: usize| item_units.get(item).is_some_and(|unit| bucket(unit) == wanted);
                    forward_record(&self.waiting, &label, &payload.subset(&is_wanted))
                };
                if let Some(records) = buckets.into_iter().map(part).collect() {
                    splits.push(Replacement { of: seq, account, records, counts: [0; 3] });
                }
            }
            let now = self.clock.monotonic();
            let age = self.clock.now().since(committed).min(self.rules.wait);
            let record = WaitingRecord {
                units: Vec::new(),
                items: payload.item_count() as u64,
                bytes: body.len(),
                committed,
                deadline: now + self.rules.wait.saturating_sub(age),
            };
            room.add(seq, record, item_units.into_iter().collect(), now);
        }
        Some(splits)
    }

    /// All records whose units are decided.
    fn find_ready(&self) -> Vec<DecidedRecord> {
        let (units, latest, oldest) = {
            let room = self.room.lock();
            let units = room.units.iter().map(|(unit, (_, latest))| (Arc::clone(unit), *latest));
            let (units, latest): (Vec<_>, Vec<_>) = units.unzip();
            (units, latest, room.records.values().map(|record| record.committed).min())
        };
        let Some(oldest) = oldest else { return Vec::new() };
        let heard_since = UnixNanos(oldest.0.saturating_sub(SETTLE.as_nanos() as u64));
        let fates = self.runs.fates(&units, &self.rules.keep, heard_since);
        let (now, settle) = (self.clock.monotonic(), SETTLE.min(self.rules.wait));
        let lots: HashMap<Arc<SampleUnit>, Lot> = (units.into_iter().zip(latest).zip(fates))
            .map(|((unit, latest), fate)| {
                let lot = Lot::new(&unit, fate.as_ref(), now.saturating_sub(latest) >= settle);
                (unit, lot)
            })
            .collect();
        let mut room = self.room.lock();
        room.expire_excess(now);
        let decided = room.records.iter().filter_map(|(seq, record)| {
            let decide = |unit: &Arc<SampleUnit>| lots.get(unit)?.decide(self.rules.others, record.deadline <= now);
            let decisions: Option<Vec<Decision>> = record.units.iter().map(decide).collect();
            let decisions = record.units.iter().cloned().zip(decisions?).collect();
            Some(DecidedRecord { seq: *seq, items: record.items, bytes: record.bytes, decisions })
        });
        decided.collect()
    }

    /// What takes the place of decided records. Of those that are left out nothing is read.
    fn replace_all(&self, decided: Vec<DecidedRecord>) -> Vec<Replacement> {
        let (left_out, wanted): (Vec<_>, Vec<_>) = decided.into_iter().partition(DecidedRecord::is_left_out);
        let seqs: Vec<RecordSeq> = wanted.iter().map(|decided| decided.seq).collect();
        let left_out = left_out.into_iter().map(|DecidedRecord { seq, items, .. }| Replacement {
            of: seq,
            account: "".into(),
            records: Vec::new(),
            counts: [0, 0, items],
        });
        let mut replacements: Vec<Replacement> = left_out.collect();
        let Some(records) = self.or_report(self.spool.read_positions(&self.waiting, &seqs)) else {
            return replacements;
        };
        let mut wanted: HashMap<RecordSeq, DecidedRecord> =
            wanted.into_iter().map(|decided| (decided.seq, decided)).collect();
        for record in records {
            let decided = wanted.remove(&record.seq);
            replacements.extend(decided.and_then(|decided| self.replace(&record, &decided.decisions)));
        }
        // An operator dropped or moved the others meanwhile.
        let mut room = self.room.lock();
        wanted.into_keys().for_each(|seq| room.remove(seq));
        replacements
    }

    /// What takes the place of a decided record.
    fn replace(&self, record: &StoredRecord, decisions: &HashMap<Arc<SampleUnit>, Decision>) -> Option<Replacement> {
        let (label, payload) = parse(&record.body)?;
        let of_item = |unit: &SampleUnit| decisions.get(unit).copied().unwrap_or(Decision::LeaveOut);
        let decisions: Vec<Decision> = units_of(&record.account, &payload).iter().map(of_item).collect();
        let count = |wanted: Decision| decisions.iter().filter(|decision| **decision == wanted).count() as u64;
        let counts = [Decision::Keep, Decision::Share, Decision::LeaveOut].map(count);
        let mut sent = payload.subset(&|item| decisions.get(item).is_some_and(|it| *it != Decision::LeaveOut));
        for (node, _) in payload.items().zip(&decisions).filter(|(_, decision)| **decision == Decision::Share) {
            decide::stamp_weight(&mut sent, node, self.rules.others);
        }
        let sent = forward_record(&self.exporter, &label, &sent)?;
        Some(Replacement { of: record.seq, account: Arc::clone(&record.account), records: vec![sent], counts })
    }

    /// Queues a replacement. The last value says whether it was committed.
    fn commit(&self, replacement: Replacement) -> (RecordSeq, [u64; 3], oneshot::Receiver<bool>) {
        let Replacement { of, account, records, counts } = replacement;
        let (sender, committed) = oneshot::channel();
        if records.is_empty() {
            let _ = sender.send(true);
            return (of, counts, committed);
        }
        let bytes: usize = records.iter().map(|record| record.body.len()).sum();
        // Without room the sender is dropped, and the record stays where it is.
        if let Ok(reservation) = self.spool.reserve_to_prepare(bytes_to_reserve(records.len(), bytes as u64)) {
            let on_commit = Box::new(move |result: Result<&[_], Reason>| {
                let _ = sender.send(result.is_ok());
            });
            self.spool.enqueue(Transaction { account, records }, reservation, on_commit);
        }
        (of, counts, committed)
    }

    fn or_report<T>(&self, read: Result<T, SpoolReadError>) -> Option<T> {
        let report = |error: &SpoolReadError| {
            self.read_failures.increment(1);
            let exporter = &*self.exporter;
            tracing::error!(exporter, %error, "waiting records can't be read from the spool; tollgate will retry");
        };
        read.inspect_err(report).ok()
    }
}

/// A forward record of this payload.
fn forward_record(holder: &Arc<str>, label: &ForwardLabel, payload: &Payload) -> Option<SpoolRecord> {
    // Unknown fields that must not be sent were dropped when the copy was made.
    let mut body = payload.encode(UnknownFields::Keep).ok()?.bytes;
    let label = ForwardLabel { items: payload.item_count() as u64, ..label.clone() };
    body.reserve_exact(ForwardLabel::max_size(&label.pipeline));
    label.append_to(&mut body);
    Some(SpoolRecord { kind: RecordKind::Forward, holders: Arc::new([Arc::clone(holder)]), body: body.into() })
}

fn parse(body: &Bytes) -> Option<(ForwardLabel, Payload)> {
    let (label, otlp) = ForwardLabel::split(body)?;
    let payload = Payload::parse(label.signal, otlp).ok()?;
    Some((label, payload))
}
