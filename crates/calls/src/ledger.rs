//! [`Ledger`]: finds the case of each record, bills what is due and not yet charged, and keeps a bounded memory of
//! both.
//!
//! A batch's records and charges count at once, so that batches processed at the same time see each other. They become
//! permanent with the batch's commit, and are taken back if there is none. Ledgers of a fleet exchange the committed
//! batches: a call that two of them charged is corrected by the one whose charge has the larger number, and by any other
//! if that one got no batch for some minutes.

use std::collections::BTreeSet;
use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use kernel::bounded_map::{AccountHash, BoundedMap};
use kernel::sha256::Sha256;
use serde::{Deserialize, Serialize};

use super::case::{Case, Charge, ChargeKind, MAX_RECORDS, TraceSpan};
use super::decide::{CallRole, CopyKind, DecidedCall, Decision, decide};
use super::money::Money;
use super::record::{CallRecord, SpanLink, traits};

/// Maximum number of records and of groups of four spans that are remembered.
const MAX_REMEMBERED: usize = 100_000;
/// How long a case is kept after its last change, ns.
const KEEP: u64 = 2 * 3_600_000_000_000;
/// How long after a case's last change another worker makes a correction that one owes which gets no batches, ns: from
/// one to two times this, so that the workers don't do it at once.
const TAKE_OVER: u64 = 60_000_000_000;
/// Maximum number of unsettled cases that one batch looks at.
const MAX_WAITING_CASES: usize = 8;
/// First byte of a checkpoint.
const SAVED_VERSION: u8 = 1;

/// Which batch records belong to.
#[derive(Clone, Copy)]
pub struct BatchKey {
    pub id: [u8; 16],
    pub account: AccountHash,
    /// When it arrived, Unix ns.
    pub arrived: u64,
}

/// What the ledger says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is charged this amount.
    Charged {
        kind: ChargeKind,
        money: Money,
        /// What changed for other calls is part of the amount.
        is_netted: bool,
        /// Of a difference and of a total: the units that others account for.
        before: Option<[u64; 4]>,
        /// What the call itself costs by now, 1e-18 USD.
        call_usd: i128,
        /// A batch of this id charged it before: a branch of this gateway, or another worker (`true`).
        counted_by: Option<bool>,
        /// The response id is also that of another call.
        is_id_reused: bool,
    },
    /// Nothing is charged for it.
    Copy {
        kind: CopyKind,
        /// What the call costs if its charge is netted to nothing, 1e-18 USD.
        call_usd: Option<i128>,
    },
}

/// A change of what an earlier record was charged.
#[derive(Clone, Debug)]
pub struct Correction {
    pub record: CallRecord,
    pub money: Money,
    /// It changes stamps, index and metrics. Runs see by themselves that the records of a trace are one call
    /// ([`super::decide_roles`]), so they ignore it.
    pub is_known_to_runs: bool,
}

/// Takes a correction. `true`: an item carries it.
pub type CorrectionSink<'a> = dyn FnMut(&Correction, CorrectionCarrier) -> bool + 'a;

/// What carries a correction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CorrectionCarrier {
    /// An item of its tenant that is no record, if there is one.
    Other,
    /// The batch's record of this index: its amount contains the correction.
    Record(usize),
}

/// What a batch changed, to be stored with its commit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct LedgerBatch {
    pub worker: u64,
    pub id: [u8; 16],
    pub account: u64,
    pub arrived: u64,
    pub entries: BatchEntries,
    pub spans: Vec<SpanLink>,
}

/// Records with what the batch charged for them.
pub type BatchEntries = Vec<(CallRecord, Option<Charge>)>;

/// See the module.
pub struct Ledger {
    /// Tells this ledger's charges from those of other workers; 0 before the first batch.
    worker: u64,
    hasher: RandomState,
    cases: Vec<Option<Case>>,
    free: Vec<u32>,
    /// Oldest first, fair to accounts.
    order: BoundedMap<u32, (), MAX_REMEMBERED>,
    keys: HashMap<u64, u32>,
    in_flight: HashMap<[u8; 16], InFlight>,
    /// Cases that may owe a correction which no batch could carry yet.
    unsettled: BTreeSet<(AccountHash, u32)>,
    /// Where the next batch goes on with them.
    next_unsettled: u32,
    /// Number of calls of [`Ledger::bill`].
    parts: u32,
    forgotten: u64,
}

/// What a batch changed that is not committed yet.
#[derive(Default)]
struct InFlight {
    account: AccountHash,
    /// A key of each case.
    cases: Vec<u64>,
    /// Trace and span of the spans that it added.
    spans: Vec<TraceSpan>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            worker: 0,
            hasher: RandomState::default(),
            cases: Vec::new(),
            free: Vec::new(),
            order: BoundedMap::default(),
            keys: HashMap::new(),
            in_flight: HashMap::new(),
            unsettled: BTreeSet::new(),
            next_unsettled: 0,
            parts: 0,
            forgotten: 0,
        }
    }
}

/// Which kind of evidence a key stands for.
#[derive(Hash)]
enum KeyKind {
    Record,
    Trace,
    /// The id of an answer, of a record outside of any trace.
    AnswerAlone,
    /// The id of an answer, of a record in a trace.
    AnswerInTrace,
    SizedAnswer,
    Twin,
    /// The size of a call in a vendor SDK's span, or in another one.
    SdkSize,
    OtherSize,
}

impl Ledger {
    /// Number of records that were dropped, by age or for room.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Bills the records of a batch: a verdict for each, in order. `spans`: the batch's other spans. Corrections that
    /// the batch's records do not contain go to `carry`, which returns whether it has a carrier for that tenant.
    pub fn bill(
        &mut self,
        key: &BatchKey,
        records: &[CallRecord],
        spans: impl Iterator<Item = SpanLink>,
        carry: &mut CorrectionSink<'_>,
        out: &mut LedgerBatch,
    ) -> Vec<Verdict> {
        let batch = batch_number(&key.id);
        if self.worker == 0 {
            // the first batch and its time here: another worker may get the same batch, but later
            let id = Sha256::short_list(&[b"ledger", &key.id, &key.arrived.to_le_bytes()]);
            self.worker = batch_number(&id) | 1;
        }
        (out.worker, out.id, out.account, out.arrived) =
            (self.worker, key.id, u64::from_le_bytes(key.account.to_le_bytes()), key.arrived);
        let (mut changed, mut is_listed): (Vec<u32>, HashSet<u32>) = (Vec::new(), HashSet::new());
        let mut reused = vec![false; records.len()];
        // A record that says nothing new needs not be stored.
        let mut is_new = vec![true; records.len()];
        for ((record, is_reused), is_new) in records.iter().zip(&mut reused).zip(&mut is_new) {
            let case;
            (case, *is_reused) = self.case_for(record, key);
            changed.extend(is_listed.insert(case).then_some(case));
            if let Some(known) = self.case_mut(case) {
                let is_known = known.has_committed(record);
                let index = known.add_record(record);
                if let Some(entry) = known.entry_mut(index) {
                    let is_pending = entry.pending.contains(&batch);
                    *is_new = !is_known && !is_pending;
                    entry.pending.extend((!is_pending && !entry.is_committed).then_some(batch));
                }
            }
        }
        let mut flight: Vec<u64> = records.iter().map(|record| self.key(KeyKind::Record, &record.id)).collect();
        for link in spans {
            let trace = self.key(KeyKind::Trace, &(key.account, link.trace));
            let Some(case) = self.case_of_span(trace, key, link.is_boundary) else { continue };
            if let Some(known) = self.case_mut(case)
                && known.node(link.trace, link.span).is_none()
                && known.add_span(&link)
            {
                out.spans.push(link);
                if is_listed.insert(case) {
                    changed.push(case);
                    flight.push(trace);
                }
            }
        }
        let mut by_case: HashMap<u32, Vec<usize>> = HashMap::new();
        for (index, place) in flight.iter().take(records.len()).enumerate() {
            if let Some(case) = self.keys.get(place) {
                by_case.entry(*case).or_default().push(index);
            }
        }
        self.parts = self.parts.wrapping_add(1);
        let mut billing = Billing {
            worker: self.worker,
            batch,
            arrived: key.arrived,
            part: self.parts,
            records,
            reused,
            verdicts: vec![Verdict::Copy { kind: CopyKind::Record, call_usd: None }; records.len()],
            charges: vec![None; records.len()],
            carry,
            out,
        };
        let waiting = self.waiting_cases(key.account, &is_listed);
        for (case, is_changed) in
            changed.iter().map(|case| (*case, true)).chain(waiting.iter().map(|case| (*case, false)))
        {
            let fresh = by_case.remove(&case).unwrap_or_default();
            let Some(known) = self.case_mut(case) else { continue };
            let is_settled = billing.settle(known, &fresh);
            if is_changed {
                known.touched = known.touched.max(key.arrived);
            }
            flight.extend(known.keys.first());
            match is_settled {
                true => self.unsettled.remove(&(key.account, case)),
                false => self.unsettled.insert((key.account, case)),
            };
        }
        // after all are settled, because the oldest ones may have to go
        for case in changed {
            let weight = self.case_mut(case).map(|known| known.weight());
            weight.into_iter().for_each(|weight| self.place(case, key.account, weight));
        }
        let Billing { verdicts, charges, .. } = billing;
        let entries = records.iter().zip(charges).zip(is_new);
        let changed = entries.filter(|((_, charge), is_new)| *is_new || charge.is_some());
        out.entries.extend(changed.map(|((record, charge), _)| (record.clone(), charge)));
        // a batch without news leaves nothing to take back, and may not be committed here
        if !out.entries.is_empty() || !out.spans.is_empty() {
            let known = self.in_flight.entry(key.id).or_default();
            known.account = key.account;
            known.cases.extend(flight);
            known.spans.extend(out.spans.iter().map(|link| (link.trace, link.span)));
        }
        verdicts
    }

    /// Some of the account's unsettled cases, each time the next ones.
    fn waiting_cases(&mut self, account: AccountHash, except: &HashSet<u32>) -> Vec<u32> {
        let (first, next) = ((account, 0), (account, self.next_unsettled));
        let waiting: Vec<u32> = self
            .unsettled
            .range(next..=(account, u32::MAX))
            .chain(self.unsettled.range(first..next))
            .map(|(_, case)| *case)
            .filter(|case| !except.contains(case))
            .take(MAX_WAITING_CASES)
            .collect();
        self.next_unsettled = waiting.last().map_or(0, |last| last.wrapping_add(1));
        waiting
    }

    /// Makes a committed batch's changes permanent: of a batch of this ledger (`is_own`), also one that is replayed, or
    /// of another worker.
    pub fn commit(&mut self, committed: &LedgerBatch, is_own: bool) {
        let key = BatchKey { id: committed.id, account: committed.account.into(), arrived: committed.arrived };
        let batch = batch_number(&key.id);
        let mut is_known = !is_own;
        if is_own && committed.worker != 0 {
            self.worker = committed.worker;
            is_known = self.in_flight.remove(&key.id).is_some();
        }
        let mut changed = BTreeSet::new();
        for (record, charge) in &committed.entries {
            let (number, _) = self.case_for(record, &key);
            changed.insert(self.key(KeyKind::Record, &record.id));
            let Some(case) = self.case_mut(number) else { continue };
            let at = case.add_record(record);
            if let Some(entry) = case.entry_mut(at) {
                entry.is_committed = true;
                entry.pending.retain(|pending| *pending != batch || !is_own);
            }
            if let Some(charge) = charge {
                let (worker, is_committed) = (committed.worker, true);
                case.add_charge(at, Charge { worker, batch, is_committed, ..*charge });
            }
        }
        for link in &committed.spans {
            let trace = self.key(KeyKind::Trace, &(key.account, link.trace));
            if let Some(number) = self.case_of_span(trace, &key, link.is_boundary)
                && let Some(case) = self.case_mut(number)
            {
                case.add_span(link);
                changed.insert(trace);
            }
        }
        let changed: BTreeSet<u32> = changed.iter().filter_map(|key| self.keys.get(key)).copied().collect();
        for number in changed {
            let Some(case) = self.case_mut(number) else { continue };
            case.touched = case.touched.max(key.arrived);
            let weight = case.weight();
            // the batch itself settled what it brought, but for one that is replayed or another worker's
            if (!is_own || !is_known) && self.owes(number) {
                self.unsettled.insert((key.account, number));
            }
            self.place(number, key.account, weight);
        }
    }

    /// Takes back what a batch that was not committed changed.
    pub fn discard(&mut self, batch: &[u8; 16]) {
        let (worker, number) = (self.worker, batch_number(batch));
        let InFlight { account, cases, spans } = self.in_flight.remove(batch).unwrap_or_default();
        for span in spans {
            let case = self.keys.get(&self.key(KeyKind::Trace, &(account, span.0))).copied();
            case.and_then(|case| self.case_mut(case)).into_iter().for_each(|case| case.remove_span(&span));
        }
        let cases: BTreeSet<u32> = cases.iter().filter_map(|key| self.keys.get(key)).copied().collect();
        for case in cases {
            if let Some(known) = self.case_mut(case) {
                known.forget_batch(number, worker);
                // what it charged or took back is open again
                self.unsettled.insert((account, case));
            }
        }
    }

    /// The case of a trace. A tool or an agent begins one: its calls may come later.
    fn case_of_span(&mut self, trace: u64, batch: &BatchKey, begins: bool) -> Option<u32> {
        if let Some(case) = self.keys.get(&trace) {
            return Some(*case);
        }
        let case = begins.then(|| self.new_case(batch.account, batch.arrived))?;
        self.keys.insert(trace, case);
        self.case_mut(case).into_iter().for_each(|known| known.keys.push(trace));
        Some(case)
    }

    /// Whether the call of this record was charged, or counted as unpriced.
    pub fn is_counted(&self, id: &[u8; 16]) -> bool {
        let number = self.keys.get(&self.key(KeyKind::Record, id));
        let Some(case) = number.and_then(|number| self.cases.get(*number as usize)?.as_ref()) else { return false };
        let Some(own) = case.position(id).and_then(|at| case.entries().get(at)) else { return false };
        // without a decision, because many may ask at once: records of its answer, or of its size
        let is_same = |other: &CallRecord| {
            other.id == *id || own.record.is_same_answer(other) || (other.has_twin() && other.twin == own.record.twin)
        };
        case.entries().iter().any(|entry| !entry.charges.is_empty() && is_same(&entry.record))
    }

    /// Forgets what is too old. To be called about once a second.
    pub fn expire(&mut self, now: u64) {
        let cases = &self.cases;
        let mut old = Vec::new();
        self.order.expire(|number, ()| {
            let touched = cases.get(*number as usize).and_then(Option::as_ref).map_or(0, |case| case.touched);
            let is_old = touched.saturating_add(KEEP) <= now;
            if is_old {
                old.push(*number);
            }
            is_old
        });
        old.into_iter().for_each(|number| self.drop_case(number));
    }

    /// The committed state, for a checkpoint.
    pub fn save(&self, out: &mut Vec<u8>) {
        out.push(SAVED_VERSION);
        out.extend_from_slice(&self.worker.to_le_bytes());
        for (account, number, ()) in self.order.entries() {
            let case = self.cases.get(*number as usize).and_then(Option::as_ref).and_then(Case::committed_part);
            // one at a time, so that a checkpoint holds no second copy of the ledger
            let account = u64::from_le_bytes(account.to_le_bytes());
            let saved = case.and_then(|case| postcard::to_allocvec(&(account, case)).ok()).unwrap_or_default();
            out.extend_from_slice(&u32::try_from(saved.len()).unwrap_or(0).to_le_bytes());
            out.extend_from_slice(&saved);
        }
    }

    /// Replaces the state by the output of [`Ledger::save`]. `false`: it can't be read, and the ledger is empty.
    pub fn load(&mut self, saved: &[u8]) -> bool {
        *self = Self { forgotten: self.forgotten, ..Self::default() };
        let Some((&SAVED_VERSION, body)) = saved.split_first() else { return false };
        let Some((worker, mut body)) = body.split_first_chunk::<8>() else { return false };
        self.worker = u64::from_le_bytes(*worker);
        let mut is_whole = body.is_empty();
        while let Some((length, rest)) = body.split_first_chunk::<4>() {
            let Some((case, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else { break };
            body = rest;
            is_whole = body.is_empty();
            if case.is_empty() {
                continue;
            }
            let Ok((account, case)) = postcard::from_bytes::<(u64, Case)>(case) else {
                is_whole = false;
                break;
            };
            let (touched, weight) = (case.touched, case.weight());
            let number = self.new_case(account.into(), touched);
            for entry in case.entries() {
                self.add_keys(&entry.record, number, account.into());
            }
            for trace in case.traces() {
                let key = self.key(KeyKind::Trace, &(AccountHash::from(account), trace));
                self.keys.entry(key).or_insert(number);
            }
            if let Some(known) = self.case_mut(number) {
                known.absorb(case);
            }
            if self.owes(number) {
                self.unsettled.insert((account.into(), number));
            }
            self.place(number, account.into(), weight);
        }
        if !is_whole {
            *self = Self { forgotten: self.forgotten, ..Self::default() };
        }
        is_whole
    }

    /// Whether this ledger has to correct a charge of the case.
    fn owes(&self, number: u32) -> bool {
        let Some(case) = self.cases.get(number as usize).and_then(Option::as_ref) else { return false };
        let decision = decide(case);
        let accounts = CallAccount::of_case(case, &decision);
        decision
            .calls
            .iter()
            .zip(&accounts)
            .any(|(call, account)| account.is_counted && call.due.is_some_and(|due| due != account.paid))
    }

    /// The case of a record, and whether its response id was known from another case. Cases that the record connects
    /// become one.
    fn case_for(&mut self, record: &CallRecord, batch: &BatchKey) -> (u32, bool) {
        let mut found: Vec<u32> = Vec::new();
        let mut look = |key: u64| {
            let case = self.keys.get(&key).copied();
            found.extend(case.filter(|case| !found.contains(case)));
            case
        };
        let own = look(self.key(KeyKind::Record, &record.id));
        let (mut with_id, mut of_trace) = (None, None);
        if own.is_none() {
            if record.is_in_trace() {
                of_trace = look(self.key(KeyKind::Trace, &(batch.account, record.trace)));
            }
            if record.has_answer() {
                look(self.key(KeyKind::AnswerAlone, &record.answer));
                let in_trace = self.key(KeyKind::AnswerInTrace, &record.answer);
                with_id = self.keys.get(&in_trace).copied();
                match record.is_in_trace() {
                    true => self.sized_answers(record).for_each(|key| _ = look(key)),
                    false => _ = look(in_trace),
                }
            }
            if record.has_twin() {
                look(self.key(KeyKind::Twin, &record.twin));
            }
            if let Some([_, other]) = self.size_keys(record, batch.account) {
                let case = self.keys.get(&other).copied();
                let is_beside = |case: &u32| {
                    let known = self.cases.get(*case as usize).and_then(Option::as_ref);
                    known.is_some_and(|known| known.entries().iter().any(|entry| record.is_beside(&entry.record)))
                };
                case.filter(is_beside).into_iter().for_each(|_| _ = look(other));
            }
        }
        let is_full = |number: &u32| {
            let case = self.cases.get(*number as usize).and_then(Option::as_ref);
            case.is_none_or(|case| case.entries().len() >= MAX_RECORDS)
        };
        if own.is_none() {
            found.retain(|number| !is_full(number));
        }
        let case = match *found.as_slice() {
            [] => {
                let case = self.new_case(batch.account, batch.arrived);
                if let Some(known) = self.case_mut(case) {
                    known.is_partial = of_trace.is_some();
                }
                case
            }
            [only] => only,
            _ => self.merge(&found, of_trace),
        };
        if own.is_none() {
            self.add_keys(record, case, batch.account);
        }
        (case, with_id.is_some_and(|known| known != case))
    }

    /// Keys of a response id with each form of the call's size.
    fn sized_answers(&self, record: &CallRecord) -> impl Iterator<Item = u64> {
        let inputs = record.counts.input;
        let is_new =
            move |at: usize| inputs.get(at).is_some_and(|input| !inputs.iter().take(at).any(|one| one == input));
        let sizes = (0..inputs.len()).filter(move |at| is_new(*at)).filter_map(move |at| *inputs.get(at)?);
        let (answer, output, model) = (record.answer, record.counts.output, record.model());
        sizes.map(move |input| self.key(KeyKind::SizedAnswer, &(answer, input, output, model)))
    }

    /// The key of a span's size, and the one under which a span beside it is found.
    fn size_keys(&self, record: &CallRecord, account: AccountHash) -> Option<[u64; 2]> {
        if !record.has(traits::SPAN) || record.has(traits::TOTAL) || record.is_without_tokens() {
            return None;
        }
        let size = (account, record.size());
        let [sdk, other] = [self.key(KeyKind::SdkSize, &size), self.key(KeyKind::OtherSize, &size)];
        Some(if record.has(traits::VENDOR_SDK) { [sdk, other] } else { [other, sdk] })
    }

    /// Makes a case known under the keys of a record. The latest case stands for a key that several have.
    fn add_keys(&mut self, record: &CallRecord, case: u32, account: AccountHash) {
        let mut keys: Vec<u64> = vec![self.key(KeyKind::Record, &record.id)];
        keys.extend(record.is_in_trace().then(|| self.key(KeyKind::Trace, &(account, record.trace))));
        if record.has_answer() {
            match record.is_in_trace() {
                true => {
                    keys.extend(self.sized_answers(record));
                    keys.push(self.key(KeyKind::AnswerInTrace, &record.answer));
                }
                false => keys.push(self.key(KeyKind::AnswerAlone, &record.answer)),
            }
        }
        keys.extend(record.has_twin().then(|| self.key(KeyKind::Twin, &record.twin)));
        keys.extend(self.size_keys(record, account).map(|[own, _]| own));
        for key in keys {
            if self.keys.insert(key, case) != Some(case)
                && let Some(known) = self.case_mut(case)
            {
                known.keys.push(key);
            }
        }
    }

    fn key<V: std::hash::Hash>(&self, kind: KeyKind, value: &V) -> u64 {
        self.hasher.hash_one((kind, value))
    }

    fn new_case(&mut self, account: AccountHash, now: u64) -> u32 {
        let number = self.free.pop().unwrap_or(u32::try_from(self.cases.len()).unwrap_or(u32::MAX));
        let mut case = Case::default();
        (case.account, case.touched) = (account, now);
        match self.cases.get_mut(number as usize) {
            Some(slot) => *slot = Some(case),
            None => self.cases.push(Some(case)),
        }
        number
    }

    /// Merges cases into that of the record's trace, else the largest one, as far as there is room in it.
    fn merge(&mut self, found: &[u32], of_trace: Option<u32>) -> u32 {
        let size =
            |number: u32| self.cases.get(number as usize).and_then(Option::as_ref).map_or(0, |c| c.entries().len());
        let largest = found.iter().copied().max_by_key(|number| (size(*number), std::cmp::Reverse(*number)));
        let target = of_trace.filter(|case| found.contains(case)).or(largest).unwrap_or(0);
        let mut total = size(target);
        let others: Vec<u32> = found
            .iter()
            .copied()
            .filter(|number| {
                let is_taken = *number != target && total + size(*number) <= MAX_RECORDS;
                total += if is_taken { size(*number) } else { 0 };
                is_taken
            })
            .collect();
        for number in others {
            let Some(case) = self.cases.get_mut(number as usize).and_then(Option::take) else { continue };
            for key in &case.keys {
                // a newer case may stand for it by now
                self.keys.entry(*key).and_modify(|known| *known = if *known == number { target } else { *known });
            }
            self.order.remove(&number);
            self.free.push(number);
            self.unsettled.remove(&(case.account, number));
            if let Some(known) = self.case_mut(target) {
                known.absorb(case);
            }
        }
        target
    }

    fn case_mut(&mut self, number: u32) -> Option<&mut Case> {
        self.cases.get_mut(number as usize)?.as_mut()
    }

    /// Records that a case changed, and drops the oldest ones of the largest account if there are too many.
    fn place(&mut self, number: u32, account: AccountHash, weight: usize) {
        for (evicted, ()) in self.order.insert_for(account, number, (), weight) {
            self.drop_case(evicted);
        }
    }

    fn drop_case(&mut self, number: u32) {
        let Some(case) = self.cases.get_mut(number as usize).and_then(Option::take) else { return };
        for key in &case.keys {
            if self.keys.get(key) == Some(&number) {
                self.keys.remove(key);
            }
        }
        self.forgotten += case.entries().len() as u64;
        self.free.push(number);
        self.unsettled.remove(&(case.account, number));
    }
}

/// Bills one batch.
struct Billing<'a> {
    worker: u64,
    batch: u64,
    /// When it arrived, Unix ns.
    arrived: u64,
    part: u32,
    records: &'a [CallRecord],
    /// By record: its response id was known from another case.
    reused: Vec<bool>,
    verdicts: Vec<Verdict>,
    /// By record: what is charged for it.
    charges: Vec<Option<Charge>>,
    carry: &'a mut CorrectionSink<'a>,
    out: &'a mut LedgerBatch,
}

/// A record of the batch that takes what is due for its call.
struct Target {
    call: usize,
    /// Its index in the case, and among the batch's records.
    at: usize,
    index: usize,
    kind: ChargeKind,
    /// What was charged before.
    paid: Money,
    money: Money,
    /// What is stamped: the charge with those of other calls.
    stamped: Money,
}

/// A change of what a call without a record in the batch was charged.
#[derive(Clone, Copy)]
struct Change {
    call: usize,
    /// The ledger that makes it.
    last_worker: u64,
    kind: ChargeKind,
    money: Money,
}

impl Billing<'_> {
    /// Bills what is due in a case and not charged. `fresh`: the indices of the batch's records in it. Returns false if
    /// a correction found no carrier.
    fn settle(&mut self, case: &mut Case, fresh: &[usize]) -> bool {
        let decision = decide(case);
        let mut accounts = CallAccount::of_case(case, &decision);
        let mut targets: Vec<Target> = Vec::new();
        for index in fresh {
            let Some(at) = self.records.get(*index).and_then(|record| case.position(&record.id)) else { continue };
            let Some(call) = decision.call_of.get(at).copied() else { continue };
            let Some(decided) = decision.calls.get(call) else { continue };
            let verdict = match self.own_charge(case, at) {
                // the batch came again: branches of this gateway are committed together
                Some(charge) if charge.worker == self.worker && charge.is_committed => {
                    Verdict::Copy { kind: decided.copy_kind(), call_usd: None }
                }
                Some(charge) => {
                    let counted_by = Some(charge.worker != self.worker);
                    let before = units_before(case, &decision, call, at);
                    let once = |account: &CallAccount| account.paid.minus(account.duplicate);
                    let paid = accounts.get(call).map_or(Money::ZERO, once).minus(charge.money);
                    Verdict::charged(&charge, (before, paid), counted_by, decided.copy_kind())
                }
                None => {
                    let is_known_form = self.records.get(*index) == case.entries().get(at).map(|entry| &entry.record);
                    let is_winner = decided.winner == at && is_known_form;
                    match targets.iter_mut().find(|target| target.call == call) {
                        Some(target) if is_winner => (target.at, target.index) = (at, *index),
                        Some(_) => {}
                        None => {
                            let (kind, money, stamped) = (ChargeKind::Whole, Money::ZERO, Money::ZERO);
                            let paid = Money::ZERO;
                            targets.push(Target { call, at, index: *index, kind, paid, money, stamped });
                        }
                    }
                    Verdict::Copy { kind: decided.copy_kind(), call_usd: None }
                }
            };
            self.verdicts.get_mut(*index).into_iter().for_each(|known| *known = verdict);
        }
        targets.retain_mut(|target| {
            let decided = decision.calls.get(target.call);
            let (Some(decided), Some(account)) = (decided, accounts.get_mut(target.call)) else { return false };
            let is_first = !account.is_counted;
            let Some(due) = decided.due else {
                let waits = self.records.get(target.index).is_some_and(|record| record.has(traits::WAITS));
                account.is_counted |= !waits;
                target.kind = ChargeKind::Unpriced;
                return is_first && !waits;
            };
            target.paid = account.paid.minus(account.duplicate);
            target.money = due.minus(target.paid);
            target.stamped = target.money;
            (account.paid, account.is_counted) = (due.plus(account.duplicate), true);
            // a charge of nothing says who corrects it later
            let is_whole = is_first && (decided.role == CallRole::Call || !target.money.is_zero());
            target.kind = if is_whole { ChargeKind::Whole } else { ChargeKind::Difference };
            !target.money.is_zero() || is_first || !account.has_committed
        });
        let mut is_settled = true;
        for (call, account) in accounts.iter().enumerate().filter(|(_, account)| account.is_counted) {
            let due = decision.calls.get(call).and_then(|decided| decided.due);
            let twice = Money::ZERO.minus(account.duplicate);
            let open = due.map_or(Money::ZERO, |due| due.minus(account.paid).minus(twice));
            for (kind, open) in [(ChargeKind::Duplicate, twice), (ChargeKind::Correction, open)] {
                if !open.is_zero() {
                    let change = Change { call, last_worker: account.last_worker, kind, money: open };
                    is_settled &= self.correct(case, &change, &decision, &mut targets);
                }
            }
        }
        for Target { call, at, index, kind, paid, money, stamped } in targets {
            let before = units_before(case, &decision, call, at);
            let (worker, batch, netted) = (self.worker, self.batch, (stamped != money).then_some(stamped));
            let is_id_reused = self.is_id_reused(case, &decision, index, at);
            let part = self.part;
            let charge = Charge { worker, batch, part, kind, money, netted, is_id_reused, is_committed: false };
            case.add_charge(at, charge);
            self.charges.get_mut(index).into_iter().for_each(|known| *known = Some(charge));
            if let Some(verdict) = self.verdicts.get_mut(index) {
                let copy = decision.calls.get(call).map_or(CopyKind::Record, DecidedCall::copy_kind);
                let of_call = Verdict::charged(&charge, (before, paid), None, copy);
                *verdict = if matches!(of_call, Verdict::Copy { call_usd: None, .. }) { *verdict } else { of_call };
            }
        }
        is_settled
    }

    /// What this batch charged for a record before: in another branch of this gateway, or by another worker.
    fn own_charge(&self, case: &Case, at: usize) -> Option<Charge> {
        let charges = case.entries().get(at)?.charges.iter();
        let of_batch = charges.filter(|charge| charge.batch == self.batch && charge.is_for_record());
        of_batch.max_by_key(|charge| charge.worker == self.worker).copied()
    }

    /// Charges what changed for a call without a record in this batch. It is netted with a charge of the batch for the
    /// same tenant, or carried by another item. Returns false if there is none.
    fn correct(&mut self, case: &mut Case, change: &Change, decision: &Decision, targets: &mut [Target]) -> bool {
        let of_call = (0..case.entries().len()).filter(|at| decision.call_of.get(*at) == Some(&change.call));
        let entry = |at: &usize| case.entries().get(*at);
        let charged = of_call.filter(|at| entry(at).is_some_and(|entry| !entry.charges.is_empty()));
        let Some((at, record)) = charged.max().and_then(|at| Some((at, entry(&at)?.record.clone()))) else {
            return true;
        };
        let decided = decision.calls.get(change.call);
        let is_total = decided.is_some_and(|call| call.role == CallRole::Total);
        let instead = decided.map(|call| call.billed_instead.as_slice()).unwrap_or_default();
        // Runs decide about the records of a trace as the ledger does, and take one price of each call. They need the
        // changes of totals, and of calls that lie in several traces or have no price yet.
        let concerned = || {
            let records = case.entries().iter().zip(&decision.call_of);
            records.filter(|(_, call)| **call == change.call || instead.contains(call)).map(|(entry, _)| entry)
        };
        let is_price = |charge: &Charge| charge.is_for_record() && !charge.money.is_zero();
        let mut of_call = case.entries().iter().zip(&decision.call_of).filter(|(_, call)| **call == change.call);
        let is_priced = of_call.any(|(entry, _)| entry.charges.iter().any(is_price));
        let mut traces = concerned().map(|entry| entry.record.trace).filter(|trace| *trace != [0; 16]);
        let is_of_one_trace = traces.next().is_none_or(|first| traces.all(|trace| trace == first));
        let is_known_to_runs = change.kind == ChargeKind::Duplicate || (!is_total && is_priced && is_of_one_trace);
        let correction = Correction { record: record.clone(), money: change.money, is_known_to_runs };
        let is_netted = |target: &&mut Target| {
            let tenant = case.entries().get(target.at).map(|entry| entry.record.tenant);
            let takes_over = || decided.is_some_and(|call| call.billed_instead.contains(&target.call));
            change.kind != ChargeKind::Duplicate
                && target.kind != ChargeKind::Unpriced
                && tenant == Some(record.tenant)
                && (is_total || takes_over())
        };
        if let Some(target) = targets.iter_mut().rev().find(is_netted) {
            target.stamped = target.stamped.plus(change.money);
            let is_negative = target.stamped.total() < 0;
            target.kind = if is_negative { ChargeKind::Correction } else { ChargeKind::Difference };
            (self.carry)(&correction, CorrectionCarrier::Record(target.index));
        } else {
            // the others leave it to one, as long as that one may get a batch
            let own_turn = case.touched.saturating_add(TAKE_OVER + self.worker % TAKE_OVER);
            if change.last_worker != self.worker && self.arrived < own_turn {
                return false;
            }
            if !(self.carry)(&correction, CorrectionCarrier::Other) {
                return false;
            }
        }
        let (worker, batch, Change { kind, money, .. }) = (self.worker, self.batch, *change);
        let (part, netted, is_id_reused, is_committed) = (self.part, None, false, false);
        let charge = Charge { worker, batch, part, kind, money, netted, is_id_reused, is_committed };
        case.add_charge(at, charge);
        self.out.entries.push((record, Some(charge)));
        true
    }

    /// Whether an earlier call has the response id of this record.
    fn is_id_reused(&self, case: &Case, decision: &Decision, index: usize, at: usize) -> bool {
        let Some(record) = self.records.get(index).filter(|record| record.has_answer()) else { return false };
        let earlier = case.entries().iter().zip(&decision.call_of).take(at);
        let call = decision.call_of.get(at);
        self.reused.get(index) == Some(&true)
            || earlier.into_iter().any(|(entry, other)| entry.record.answer == record.answer && Some(other) != call)
    }
}

impl Verdict {
    fn charged(
        charge: &Charge,
        (before, paid_before): (Option<[u64; 4]>, Money),
        counted_by: Option<bool>,
        copy: CopyKind,
    ) -> Self {
        let call_usd = paid_before.plus(charge.money).total();
        let (kind, is_netted, is_id_reused) = (charge.kind, charge.netted.is_some(), charge.is_id_reused);
        let money = charge.netted.unwrap_or(charge.money);
        let before = before.filter(|_| !is_netted);
        if money.is_zero() && kind != ChargeKind::Whole && kind != ChargeKind::Unpriced {
            return Self::Copy { kind: copy, call_usd: is_netted.then_some(call_usd) };
        }
        Self::Charged { kind, money, is_netted, before, call_usd, counted_by, is_id_reused }
    }
}

/// What was charged for a call.
#[derive(Clone, Default)]
struct CallAccount {
    paid: Money,
    /// It was charged, or counted as unpriced.
    is_counted: bool,
    /// A batch that is committed charged it.
    has_committed: bool,
    /// What two workers charged for one record and batch, beyond one of the charges, and not taken back.
    duplicate: Money,
    /// The ledger with the largest number of those that charged it: it corrects.
    last_worker: u64,
}

impl CallAccount {
    fn of_case(case: &Case, decision: &Decision) -> Vec<Self> {
        let mut accounts = vec![Self::default(); decision.calls.len()];
        for (entry, call) in case.entries().iter().zip(&decision.call_of) {
            let Some(account) = accounts.get_mut(*call) else { continue };
            for charge in &entry.charges {
                account.is_counted = true;
                account.has_committed |= charge.is_committed;
                account.paid = account.paid.plus(charge.money);
                account.last_worker = account.last_worker.max(charge.worker);
                // of the workers that charged one batch, the smallest number stands
                let is_earlier = |other: &Charge| {
                    other.batch == charge.batch && other.worker < charge.worker && other.is_for_record()
                };
                let is_twice = charge.is_for_record() && entry.charges.iter().any(is_earlier);
                if is_twice || charge.kind == ChargeKind::Duplicate {
                    account.duplicate = account.duplicate.plus(charge.money);
                }
            }
        }
        accounts
    }
}

/// The units of the record that was billed for a call before the one at `at`; of a total, those of the calls below it.
fn units_before(case: &Case, decision: &Decision, call: usize, at: usize) -> Option<[u64; 4]> {
    let below = decision.calls.get(call).and_then(|decided| decided.counted_below);
    if below.is_some() {
        return below;
    }
    let billed = case.entries().iter().zip(&decision.call_of).enumerate().filter(|(index, (entry, of_call))| {
        **of_call == call && *index != at && entry.charges.iter().any(|charge| !charge.money.is_zero())
    });
    billed.map(|(_, (entry, _))| &entry.record).max_by_key(|record| record.rank()).map(|record| record.units)
}

fn batch_number(id: &[u8; 16]) -> u64 {
    let number = u128::from_le_bytes(*id);
    ((number >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number as u64
}
