//! [`Ledger`]: finds the case of each record, bills what is due and not yet charged, and keeps a bounded number of
//! records with their charges.
//!
//! A batch's records and charges count at once, so that batches processed at the same time see each other. They become
//! permanent with the batch's commit, and are taken back if there is none. Ledgers of a fleet exchange the committed
//! batches. Each has a number, made from its first batch. If several charged one call, the one with the largest number
//! corrects; if it has not within one to two minutes, another one does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashMapExt as _, HashSet, HashSetExt as _};
use kernel::bounded_map::{AccountHash, BoundedMap};
use kernel::sha256::Sha256;
use serde::{Deserialize, Serialize};

use super::billing::{Billing, CallAccount, CorrectionSink, Verdict};
use super::case::{BatchEntries, Case, Charge, MAX_RECORDS, TraceSpan, amounts_mut};
use super::decide::{UnchargedReason, decide};
use super::kept_case::{self, KeptCase};
use super::money::Money;
use super::record::{CallRecord, SpanLink, traits};

/// Limit on what is remembered: a record counts 1, and so do four other spans of a case.
const MAX_REMEMBERED: usize = 100_000;
/// How long a case is kept after its last change, ns.
const KEEP: u64 = 2 * 3_600_000_000_000;
/// Maximum number of cases that come to rest in a second without batches.
const RESTS_PER_SECOND: usize = 1024;
/// How long a case must not have changed to come to rest, ns: most records of a call come within seconds.
const REST_AFTER: u64 = 2_000_000_000;
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

impl LedgerBatch {
    /// All amounts.
    pub fn amounts_mut(&mut self) -> impl Iterator<Item = &mut Money> {
        self.entries.iter_mut().flat_map(|(record, charge)| amounts_mut(record, charge))
    }
}

/// See the module.
pub struct Ledger {
    /// Tells this ledger's charges from those of other workers; 0 before the first batch.
    worker: u64,
    hasher: RandomState,
    cases: Vec<Option<KeptCase>>,
    /// Cases in use, each once; the first one is the next that may come to rest.
    in_use: VecDeque<u32>,
    free: Vec<u32>,
    /// Oldest first, fair to accounts.
    order: BoundedMap<u32, (), MAX_REMEMBERED>,
    keys: HashMap<u64, u32>,
    in_flight: HashMap<[u8; 16], InFlight>,
    /// Cases that may owe a correction which no batch could carry yet.
    unsettled: BTreeSet<(AccountHash, u32)>,
    /// By account: where its next batch goes on with them.
    next_unsettled: BTreeMap<AccountHash, u32>,
    /// How often [`Ledger::bill`] ran; tells the branches of one batch apart.
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
            in_use: VecDeque::new(),
            free: Vec::new(),
            order: BoundedMap::default(),
            keys: HashMap::new(),
            in_flight: HashMap::new(),
            unsettled: BTreeSet::new(),
            next_unsettled: BTreeMap::new(),
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

    /// Bills the records of a batch and returns a verdict for each, in order. `spans`: the batch's other spans. `carry`
    /// gets each correction with its carrier: a record whose amount contains it, or any other item of the tenant. It
    /// returns false if the batch has no such item; the correction then waits.
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
                let (index, is_known) = known.add_record(record);
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
            verdicts: vec![Verdict::NotCharged { reason: UnchargedReason::Repeat, call: None }; records.len()],
            charges: vec![None; records.len()],
            carry,
            changes: &mut out.entries,
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
            flight.extend(self.kept(case).and_then(|kept| kept.keys.first()));
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
        self.put_to_rest(key.arrived, 8 + 2 * records.len());
        verdicts
    }

    /// Some of the account's unsettled cases, each time the next ones.
    fn waiting_cases(&mut self, account: AccountHash, except: &HashSet<u32>) -> Vec<u32> {
        let (first, next) = ((account, 0), (account, self.next_unsettled.get(&account).copied().unwrap_or(0)));
        let waiting: Vec<u32> = self
            .unsettled
            .range(next..=(account, u32::MAX))
            .chain(self.unsettled.range(first..next))
            .map(|(_, case)| *case)
            .filter(|case| !except.contains(case))
            .take(MAX_WAITING_CASES)
            .collect();
        match waiting.last() {
            Some(last) => self.next_unsettled.insert(account, last.wrapping_add(1)),
            None => self.next_unsettled.remove(&account),
        };
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
            let (at, _) = case.add_record(record);
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
        self.add_key(trace, case);
        Some(case)
    }

    /// Whether a record of this trace reports tokens.
    pub fn has_tokens_in(&mut self, account: &str, trace: &[u8]) -> bool {
        let Ok(trace) = <[u8; 16]>::try_from(trace) else { return false };
        let number = self.keys.get(&self.key(KeyKind::Trace, &(AccountHash::from(account), trace)));
        let case = number.copied().and_then(|number| self.case_mut(number));
        let has_tokens = |record: &CallRecord| record.trace == trace && record.units.iter().any(|count| *count > 0);
        case.is_some_and(|case| case.entries().iter().any(|entry| has_tokens(&entry.record)))
    }

    /// Whether the call of this record was charged, or counted as unpriced.
    pub fn is_counted(&mut self, id: &[u8; 16]) -> bool {
        let number = self.keys.get(&self.key(KeyKind::Record, id));
        let Some(case) = number.copied().and_then(|number| self.case_mut(number)) else { return false };
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
            let touched = cases.get(*number as usize).and_then(Option::as_ref).map_or(0, |kept| kept.case().touched);
            let is_old = touched.saturating_add(KEEP) <= now;
            if is_old {
                old.push(*number);
            }
            is_old
        });
        old.into_iter().for_each(|number| self.drop_case(number));
        self.put_to_rest(now, RESTS_PER_SECOND);
    }

    /// Puts some cases to rest that did not change for a while.
    pub(crate) fn put_to_rest(&mut self, now: u64, count: usize) {
        for _ in 0..count.min(self.in_use.len()) {
            let Some(number) = self.in_use.pop_front() else { break };
            let kept = self.cases.get_mut(number as usize).and_then(Option::as_mut);
            let Some(kept) = kept.filter(|kept| kept.is_in_use()) else { continue };
            if kept.case().touched.saturating_add(REST_AFTER) <= now {
                kept.rest();
            }
            self.in_use.extend(kept.is_in_use().then_some(number));
        }
    }

    /// Bytes of each case at rest; `None` of one in use.
    #[cfg(test)]
    pub(crate) fn case_sizes(&self) -> Vec<Option<usize>> {
        let size = |kept: &KeptCase| kept.stored().filter(|_| !kept.is_in_use()).map(|stored| stored.len());
        self.cases.iter().flatten().map(size).collect()
    }

    /// The committed state, for a checkpoint. One case at a time, so that it holds no second copy of the ledger.
    pub fn save(&self, out: &mut Vec<u8>) {
        out.push(SAVED_VERSION);
        out.extend_from_slice(&self.worker.to_le_bytes());
        for (number, ()) in self.order.iter() {
            let stored = self.kept(*number).and_then(KeptCase::stored).unwrap_or_default();
            out.extend_from_slice(&u32::try_from(stored.len()).unwrap_or(0).to_le_bytes());
            out.extend_from_slice(&stored);
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
            let Some((account, case)) = kept_case::restore(case) else {
                is_whole = false;
                break;
            };
            let (touched, weight) = (case.touched, case.weight());
            let number = self.new_case(account, touched);
            for entry in case.entries() {
                self.add_keys(&entry.record, number, account);
            }
            for trace in case.traces() {
                let key = self.key(KeyKind::Trace, &(account, trace));
                if !self.keys.contains_key(&key) {
                    self.add_key(key, number);
                }
            }
            if let Some(known) = self.case_mut(number) {
                known.absorb(case);
            }
            if self.owes(number) {
                self.unsettled.insert((account, number));
            }
            self.place(number, account, weight);
        }
        if !is_whole {
            *self = Self { forgotten: self.forgotten, ..Self::default() };
        }
        is_whole
    }

    /// Whether a charge of the case needs a correction, by this worker or another one.
    fn owes(&mut self, number: u32) -> bool {
        let Some(case) = self.case_mut(number) else { return false };
        let decision = decide(case);
        let accounts = CallAccount::of_case(case, &decision);
        decision.calls.iter().zip(&accounts).any(|(call, account)| call.due.is_some_and(|due| due != account.paid))
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
                    let known = self.case_mut(*case);
                    known.is_some_and(|known| known.entries().iter().any(|entry| record.is_beside(&entry.record)))
                };
                let beside = case.filter(is_beside);
                found.extend(beside.filter(|case| !found.contains(case)));
            }
        }
        if own.is_none() {
            found.retain(|number| self.records(*number) < MAX_RECORDS);
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
        keys.into_iter().for_each(|key| self.add_key(key, case));
    }

    fn add_key(&mut self, key: u64, case: u32) {
        if self.keys.insert(key, case) != Some(case)
            && let Some(kept) = self.kept_mut(case)
        {
            kept.keys.push(key);
        }
    }

    fn key<V: std::hash::Hash>(&self, kind: KeyKind, value: &V) -> u64 {
        self.hasher.hash_one((kind, value))
    }

    fn new_case(&mut self, account: AccountHash, now: u64) -> u32 {
        let number = self.free.pop().unwrap_or(u32::try_from(self.cases.len()).unwrap_or(u32::MAX));
        let kept = Some(KeptCase::new(account, now));
        match self.cases.get_mut(number as usize) {
            Some(slot) => *slot = kept,
            None => self.cases.push(kept),
        }
        self.in_use.push_back(number);
        number
    }

    /// Merges cases into that of the record's trace, else the largest one, as far as there is room in it.
    fn merge(&mut self, found: &[u32], of_trace: Option<u32>) -> u32 {
        let size = |number: u32| self.records(number);
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
            let Some(kept) = self.cases.get_mut(number as usize).and_then(Option::take) else { continue };
            for key in &kept.keys {
                // a newer case may stand for it by now
                self.keys.entry(*key).and_modify(|known| *known = if *known == number { target } else { *known });
            }
            self.order.remove(&number);
            self.free.push(number);
            self.unsettled.remove(&(kept.account, number));
            if let Some(known) = self.case_mut(target) {
                known.absorb(kept.case().into_owned());
            }
            self.kept_mut(target).into_iter().for_each(|target| target.keys.extend(&kept.keys));
        }
        target
    }

    fn kept(&self, number: u32) -> Option<&KeptCase> {
        self.cases.get(number as usize)?.as_ref()
    }

    fn kept_mut(&mut self, number: u32) -> Option<&mut KeptCase> {
        self.cases.get_mut(number as usize)?.as_mut()
    }

    /// The case, in use from now on, so that many questions in turn read it once.
    fn case_mut(&mut self, number: u32) -> Option<&mut Case> {
        let kept = self.cases.get_mut(number as usize)?.as_mut()?;
        self.in_use.extend((!kept.is_in_use()).then_some(number));
        kept.in_use()
    }

    /// Number of a case's records.
    fn records(&self, number: u32) -> usize {
        self.kept(number).map_or(0, KeptCase::records)
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
        self.forgotten += case.records() as u64;
        self.free.push(number);
        self.unsettled.remove(&(case.account, number));
    }
}

fn batch_number(id: &[u8; 16]) -> u64 {
    let number = u128::from_le_bytes(*id);
    ((number >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number as u64
}
