//! [`Billing`]: the charges of one batch. Its own records are charged what their calls still owe; too high or too low
//! charges of earlier batches are corrected.

use super::case::{BatchEntries, Case, Charge, ChargeKind};
use super::decide::{CallRole, DecidedCall, Decision, UnchargedReason, decide};
use super::money::Money;
use super::record::{CallRecord, traits};

/// How long other workers wait after a case's last change before one of them makes a correction that is still owed, ns.
/// Each waits once to twice this time, by its number, so that they do not act together.
const TAKE_OVER: u64 = 60_000_000_000;

/// What the ledger says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is charged this amount.
    Charged {
        kind: ChargeKind,
        money: Money,
        /// What changed for other calls is part of the amount.
        is_netted: bool,
        /// A sum or layer above it was charged by an earlier batch; that charge is taken back elsewhere.
        is_after_sum: bool,
        /// Of a difference: the units of the record billed earlier. Of a total: those of the calls below it.
        before: Option<[u64; 4]>,
        /// What the call itself costs by now.
        call: Money,
        /// Who already charged it for the same batch.
        counted_by: Option<CountedBy>,
        /// The response id is also that of another call.
        is_id_reused: bool,
    },
    /// Nothing is charged for it.
    NotCharged {
        reason: UnchargedReason,
        /// What the call costs, if its charge and corrections of other calls add up to zero.
        call: Option<Money>,
    },
}

/// Who charged a record before for the same batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CountedBy {
    /// A branch of this gateway's pipelines.
    Branch,
    /// Another worker of the fleet.
    Worker,
}

/// A change of what an earlier record was charged.
#[derive(Clone, Debug)]
pub struct Correction {
    pub record: CallRecord,
    pub money: Money,
    /// Runs find this change by themselves ([`super::decide_roles`]) and ignore it; stamps, index and metrics need it.
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

/// Bills one batch.
pub(crate) struct Billing<'a> {
    pub(crate) worker: u64,
    pub(crate) batch: u64,
    /// When it arrived, Unix ns.
    pub(crate) arrived: u64,
    pub(crate) part: u32,
    pub(crate) records: &'a [CallRecord],
    /// By record: its response id was known from another case.
    pub(crate) reused: Vec<bool>,
    pub(crate) verdicts: Vec<Verdict>,
    /// The charge of each record, if it has one.
    pub(crate) charges: Vec<Option<Charge>>,
    pub(crate) carry: &'a mut CorrectionSink<'a>,
    /// Corrections: records of earlier batches with their new charges.
    pub(crate) changes: &'a mut BatchEntries,
}

/// A record of the batch, chosen to be charged what its call still owes.
struct Target {
    call: usize,
    /// Its index in the case, and among the batch's records.
    at: usize,
    index: usize,
    kind: ChargeKind,
    /// The sum of the call's earlier charges.
    paid: Money,
    /// The charge.
    money: Money,
    /// The amount on the stamp: the charge, and the corrections of other calls that are netted with it.
    stamped: Money,
}

/// A change of what a call without a record in the batch was charged.
#[derive(Clone, Copy)]
struct Change {
    call: usize,
    /// The worker that corrects first.
    owing_worker: u64,
    kind: ChargeKind,
    money: Money,
}

impl Billing<'_> {
    /// Charges all that the calls of a case still owe. `fresh`: which of the batch's records are in the case. Returns
    /// false if a correction found no carrier.
    pub(crate) fn settle(&mut self, case: &mut Case, fresh: &[usize]) -> bool {
        let decision = decide(case);
        let mut accounts = CallAccount::of_case(case, &decision);
        let mut targets: Vec<Target> = Vec::new();
        for index in fresh {
            let Some(at) = self.records.get(*index).and_then(|record| case.position(&record.id)) else { continue };
            let Some(call) = decision.call_of.get(at).copied() else { continue };
            let Some(decided) = decision.calls.get(call) else { continue };
            let verdict = match self.own_charge(case, at) {
                // a committed charge of this worker: the batch was delivered again (its branches commit together)
                Some(charge) if charge.worker == self.worker && charge.is_committed => {
                    Verdict::NotCharged { reason: decided.uncharged_reason(case, &decision.call_of, at), call: None }
                }
                Some(charge) => {
                    let is_own = charge.worker == self.worker;
                    let counted_by = Some(if is_own { CountedBy::Branch } else { CountedBy::Worker });
                    self.report_corrected_record(case, &decision, (call, at), &charge, *index);
                    let before = units_before(case, &decision, call, at);
                    let once = |account: &CallAccount| account.paid.minus(account.duplicate);
                    let paid = accounts.get(call).map_or(Money::ZERO, once).minus(charge.money);
                    Verdict::charged(
                        &charge,
                        (before, paid),
                        counted_by,
                        decided.uncharged_reason(case, &decision.call_of, at),
                    )
                }
                None => {
                    let known = case.entries().get(at).map(|entry| &entry.record);
                    let is_form_of = |known: &CallRecord| {
                        self.records.get(*index).is_some_and(|record| record.billed_as(known) == *known)
                    };
                    let is_known_form = known.is_some_and(is_form_of);
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
                    Verdict::NotCharged { reason: decided.uncharged_reason(case, &decision.call_of, at), call: None }
                }
            };
            self.verdicts.get_mut(*index).into_iter().for_each(|known| *known = verdict);
        }
        let after_sums = calls_of_charged_sums(&decision, &accounts);
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
            let is_whole = is_first && (decided.role == CallRole::Call || !target.money.is_zero());
            target.kind = if is_whole { ChargeKind::Whole } else { ChargeKind::Difference };
            // a charge of nothing is kept too: it records which worker corrects the call later
            !target.money.is_zero() || is_first || !account.has_committed
        });
        let mut is_settled = true;
        for (call, account) in accounts.iter().enumerate() {
            let due = decision.calls.get(call).and_then(|decided| decided.due);
            let twice = Money::ZERO.minus(account.duplicate);
            let open = due.map_or(Money::ZERO, |due| due.minus(account.paid).minus(twice));
            for (kind, open) in [(ChargeKind::Duplicate, twice), (ChargeKind::Correction, open)] {
                if !open.is_zero() {
                    let change = Change { call, owing_worker: account.owing_worker, kind, money: open };
                    is_settled &= self.correct(case, &change, &decision, &mut targets);
                }
            }
        }
        for target in targets {
            self.charge(case, &decision, target, &after_sums);
        }
        is_settled
    }

    /// Charges a record, and says so. `after_sums`: the calls of sums that were charged before.
    fn charge(&mut self, case: &mut Case, decision: &Decision, target: Target, after_sums: &[usize]) {
        let Target { call, at, index, kind, paid, money, stamped } = target;
        let before = units_before(case, decision, call, at);
        let (worker, batch, netted) = (self.worker, self.batch, (stamped != money).then_some(stamped));
        let is_id_reused = self.is_id_reused(case, decision, index, at);
        let part = self.part;
        let charge = Charge { worker, batch, part, kind, money, netted, is_id_reused, is_committed: false };
        self.report_corrected_record(case, decision, (call, at), &charge, index);
        // before its own charge, which may be nothing
        let decided = decision.calls.get(call);
        let reason = |decided: &DecidedCall| decided.uncharged_reason(case, &decision.call_of, at);
        let copy = decided.map_or(UnchargedReason::Repeat, reason);
        case.add_charge(at, charge);
        self.charges.get_mut(index).into_iter().for_each(|known| *known = Some(charge));
        if let Some(verdict) = self.verdicts.get_mut(index) {
            let mut of_call = Verdict::charged(&charge, (before, paid), None, copy);
            if let Verdict::Charged { is_netted, is_after_sum, .. } = &mut of_call {
                *is_after_sum = !*is_netted && after_sums.contains(&call);
            }
            *verdict = if matches!(of_call, Verdict::NotCharged { call: None, .. }) { *verdict } else { of_call };
        }
    }

    /// Passes to `carry` which earlier record a difference corrects.
    fn report_corrected_record(
        &mut self,
        case: &Case,
        decision: &Decision,
        (call, at): (usize, usize),
        charge: &Charge,
        index: usize,
    ) {
        if charge.kind == ChargeKind::Whole {
            return;
        }
        // the record itself, if an earlier version of it was charged
        let own = || case.entries().get(at).filter(|entry| !entry.charges.is_empty()).map(|entry| &entry.record);
        let earlier = billed_record(case, decision, call, at).or_else(own);
        if let Some(record) = earlier.cloned() {
            // of several prices of a call, runs take the largest
            let is_known_to_runs = charge.money.total() >= 0;
            let correction = Correction { record, money: charge.money, is_known_to_runs };
            (self.carry)(&correction, CorrectionCarrier::Record(index));
        }
    }

    /// What this batch charged for a record before: in another branch of this gateway, or by another worker.
    fn own_charge(&self, case: &Case, at: usize) -> Option<Charge> {
        let charges = case.entries().get(at)?.charges.iter();
        let of_batch = charges.filter(|charge| charge.batch == self.batch && charge.is_for_record());
        of_batch.max_by_key(|charge| charge.worker == self.worker).copied()
    }

    /// Charges what changed for a call. The change of a total, or of a layer or sum, is netted with a charge of this
    /// batch for the same tenant: any in the case for a total, else one that is billed in its place. Otherwise an item
    /// that is no record carries the change. A duplicate is never netted. Returns false if the change must wait.
    fn correct(&mut self, case: &mut Case, change: &Change, decision: &Decision, targets: &mut [Target]) -> bool {
        let of_call = (0..case.entries().len()).filter(|at| decision.call_of.get(*at) == Some(&change.call));
        let entry = |at: &usize| case.entries().get(*at);
        // a record may be a call only since another one of its size came, and then nothing was charged for it
        let is_left = |at: &usize| entry(at).is_some_and(|entry| entry.is_committed || !entry.charges.is_empty());
        let left = of_call.filter(is_left).map(|at| (entry(&at).is_some_and(|entry| !entry.charges.is_empty()), at));
        let Some((at, record)) = left.max().map(|(_, at)| at).and_then(|at| Some((at, entry(&at)?.record.clone())))
        else {
            return true;
        };
        let decided = decision.calls.get(change.call);
        let is_total = record.has(traits::TOTAL);
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
            let cannot_carry = traits::STAMPED | traits::GONE;
            change.kind != ChargeKind::Duplicate
                && target.kind != ChargeKind::Unpriced
                && self.records.get(target.index).is_some_and(|record| record.traits & cannot_carry == 0)
                && tenant == Some(record.tenant)
                && (is_total || takes_over())
        };
        if let Some(target) = targets.iter_mut().rev().find(is_netted) {
            target.stamped = target.stamped.plus(change.money);
            let is_negative = target.stamped.total() < 0;
            target.kind = if is_negative { ChargeKind::Correction } else { ChargeKind::Difference };
            (self.carry)(&correction, CorrectionCarrier::Record(target.index));
        } else {
            // another worker owes the correction: it is made here only if that one is late
            let own_turn = case.touched.saturating_add(TAKE_OVER + self.worker % TAKE_OVER);
            if change.owing_worker != self.worker && self.arrived < own_turn {
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
        self.changes.push((record, Some(charge)));
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
        counted_by: Option<CountedBy>,
        copy: UnchargedReason,
    ) -> Self {
        let call = paid_before.plus(charge.money);
        let (kind, is_netted, is_id_reused) = (charge.kind, charge.netted.is_some(), charge.is_id_reused);
        let money = charge.netted.unwrap_or(charge.money);
        let before = before.filter(|_| !is_netted);
        if money.is_zero() && kind != ChargeKind::Whole && kind != ChargeKind::Unpriced {
            return Self::NotCharged { reason: copy, call: is_netted.then_some(call) };
        }
        Self::Charged { kind, money, is_netted, is_after_sum: false, before, call, counted_by, is_id_reused }
    }
}

/// The earlier charges of a call.
#[derive(Clone, Default)]
pub(crate) struct CallAccount {
    pub(crate) paid: Money,
    /// It was charged, or counted as unpriced.
    pub(crate) is_counted: bool,
    /// A batch that is committed charged it.
    pub(crate) has_committed: bool,
    /// What two workers charged for one record and batch, beyond one of the charges, and not taken back.
    pub(crate) duplicate: Money,
    /// The largest number among the workers that charged it: that worker corrects first.
    pub(crate) owing_worker: u64,
}

impl CallAccount {
    pub(crate) fn of_case(case: &Case, decision: &Decision) -> Vec<Self> {
        let mut accounts = vec![Self::default(); decision.calls.len()];
        for (entry, call) in case.entries().iter().zip(&decision.call_of) {
            let Some(account) = accounts.get_mut(*call) else { continue };
            for charge in &entry.charges {
                account.is_counted = true;
                account.has_committed |= charge.is_committed;
                account.paid = account.paid.plus(charge.money);
                account.owing_worker = account.owing_worker.max(charge.worker);
                // of the workers that charged one batch, or all of one record, the smallest number stands
                let is_same =
                    |other: &Charge| other.batch == charge.batch || [other.kind, charge.kind] == [ChargeKind::Whole; 2];
                let is_earlier =
                    |other: &Charge| other.worker < charge.worker && other.is_for_record() && is_same(other);
                let is_twice = charge.is_for_record() && entry.charges.iter().any(is_earlier);
                if is_twice || charge.kind == ChargeKind::Duplicate {
                    account.duplicate = account.duplicate.plus(charge.money);
                }
            }
        }
        accounts
    }
}

/// The calls whose tokens are part of a sum, or in a layer, that an earlier batch charged.
fn calls_of_charged_sums(decision: &Decision, accounts: &[CallAccount]) -> Vec<usize> {
    let was_charged = |account: &CallAccount| !account.paid.minus(account.duplicate).is_zero();
    let is_sum = |call: &DecidedCall| matches!(call.role, CallRole::Layer | CallRole::Sum);
    let sums = decision.calls.iter().zip(accounts).filter(|(call, account)| is_sum(call) && was_charged(account));
    sums.flat_map(|(call, _)| call.billed_instead.iter().copied()).collect()
}

/// The units of the record that was billed for a call before the one at `at`; of a total, those of the calls below it.
fn units_before(case: &Case, decision: &Decision, call: usize, at: usize) -> Option<[u64; 4]> {
    let below = decision.calls.get(call).and_then(|decided| decided.counted_below);
    below.or_else(|| billed_record(case, decision, call, at).map(|record| record.units))
}

/// The record that was billed for a call before the one at `at`.
fn billed_record<'c>(case: &'c Case, decision: &Decision, call: usize, at: usize) -> Option<&'c CallRecord> {
    let billed = case.entries().iter().zip(&decision.call_of).enumerate().filter(|(index, (entry, of_call))| {
        **of_call == call && *index != at && entry.charges.iter().any(|charge| !charge.money.is_zero())
    });
    billed.map(|(_, (entry, _))| &entry.record).max_by_key(|record| record.rank())
}
