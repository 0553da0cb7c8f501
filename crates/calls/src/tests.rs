//! Whatever the order, batching and repetition of records, and whichever batches are lost, the charges add up to what
//! the calls cost.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use kernel::rng::SeededRng;
use kernel::sha256::Sha256;

use super::*;

/// No two ledgers get their first batch at one time.
static ARRIVALS: AtomicU64 = AtomicU64::new(1);

/// Atto USD of a token of each kind.
const PRICES: [i128; 4] = [3, 15, 1, 4];

fn priced(units: [u64; 4]) -> Money {
    let mut parts = [0; 5];
    for ((part, count), price) in parts.iter_mut().zip(units).zip(PRICES) {
        *part = i128::from(count) * price;
    }
    Money(parts, [2, 3].map(|unit| i128::from(units[unit]) * (PRICES[0] - PRICES[unit])))
}

/// The amount and what caching saved, as one number.
fn worth(money: Money) -> i128 {
    money.total() + (money.saved() << 64)
}

fn record(trace: u8, [span, parent]: [u8; 2], units: [u64; 4]) -> CallRecord {
    let total = units[0] + units[2] + units[3];
    CallRecord {
        id: Sha256::short_list(&[&[trace, span]]),
        trace: [trace; 16],
        span: [span; 8],
        parent: [parent; 8],
        traits: traits::SPAN,
        counts: CallTokenCounts { input: [Some(total), Some(total), Some(units[0])], output: Some(units[1]) },
        models: [7, 7],
        start: u64::from(span),
        units,
        price: Some(priced(units)),
        ..CallRecord::default()
    }
}

fn total(trace: u8, ids: [u8; 2], units: [u64; 4]) -> CallRecord {
    let agent = record(trace, ids, units);
    CallRecord { traits: agent.traits | traits::TOTAL | traits::BOUNDARY, ..agent }
}

/// A record or a span that is none.
#[derive(Clone)]
enum Item {
    Record(Box<CallRecord>),
    Link(SpanLink),
}

fn link(trace: u8, [span, parent]: [u8; 2], is_boundary: bool) -> Item {
    Item::Link(SpanLink { trace: [trace; 16], span: [span; 8], parent: [parent; 8], is_boundary })
}

fn item(record: CallRecord) -> Item {
    Item::Record(Box::new(record))
}

/// Bills one batch; returns it with the sum of its stamps.
fn bill(ledger: &mut Ledger, id: u8, items: &[Item], with_carrier: bool) -> (LedgerBatch, i128) {
    let key = BatchKey { id: [id; 16], account: 1_u64.into(), arrived: ARRIVALS.fetch_add(1, Relaxed) };
    let records: Vec<CallRecord> = items
        .iter()
        .filter_map(|item| match item {
            Item::Record(record) => Some((**record).clone()),
            Item::Link(_) => None,
        })
        .collect();
    let links = items.iter().filter_map(|item| match item {
        Item::Link(link) => Some(*link),
        Item::Record(_) => None,
    });
    let (mut out, mut carried) = (LedgerBatch::default(), 0);
    let mut carry = |correction: &Correction, carrier: CorrectionCarrier| {
        let is_carried = with_carrier && carrier == CorrectionCarrier::Other;
        carried += if is_carried { worth(correction.money) } else { 0 };
        is_carried
    };
    let verdicts = ledger.bill(&key, &records, links, &mut carry, &mut out);
    let stamped = verdicts.iter().map(|verdict| match verdict {
        Verdict::Charged { money, counted_by: None, .. } => worth(*money),
        _ => 0,
    });
    let stamped: i128 = stamped.sum();
    (out, stamped + carried)
}

/// Items of some traces, and what their calls cost.
fn any_traces(rng: &SeededRng, with_layers: bool) -> (Vec<Item>, i128) {
    let below = |most: u64| rng.next() % most;
    let (mut items, mut truth) = (Vec::new(), 0);
    for trace in 1..=3_u8 {
        let mut sum = [0; 4];
        for n in 0..below(5) as u8 {
            let base = 16 + n * 8;
            let units = [100 + below(900), 10 + below(90), below(3) * 50, below(2) * 20];
            truth += worth(priced(units));
            sum.iter_mut().zip(units).for_each(|(sum, more)| *sum += more);
            let mut call = record(trace, [base, 2], units);
            call.answer = Sha256::short_list(&[b"answer", &[trace, n]]);
            call.answer_kind = 1;
            match below(5) {
                // a log of the call outside of any trace
                0 => {
                    let id = Sha256::short_list(&[b"log", &[trace, n]]);
                    let none = [0; 8];
                    let log = CallRecord { id, trace: [0; 16], span: none, parent: none, traits: 0, ..call.clone() };
                    items.push(item(log));
                }
                // a log in the span, without an id
                1 => {
                    let (id, answer) = (Sha256::short_list(&[b"in", &[trace, n]]), [0; 16]);
                    let log = CallRecord { id, parent: [0; 8], traits: 0, answer, answer_kind: 0, ..call.clone() };
                    items.push(item(log));
                }
                // an instrumentation's span around it, with a span without tokens between
                2 if with_layers => {
                    call.parent = [base + 1; 8];
                    items.push(link(trace, [base + 1, base + 2], false));
                    items.push(item(record(trace, [base + 2, 2], units)));
                }
                // a snapshot of the answer with less output
                3 => {
                    let less = [units[0], units[1] / 2, units[2], units[3]];
                    let (answer, answer_kind) = (call.answer, call.answer_kind);
                    items.push(item(CallRecord { answer, answer_kind, ..record(trace, [base + 3, 2], less) }));
                }
                _ => {}
            }
            items.push(item(call));
        }
        match below(4) {
            // the agent reports the tokens of its calls, and some that no call reports
            0 => {
                let extra = [below(2) * 70, below(2) * 7, below(2) * 30, below(2) * 40];
                truth += worth(priced(extra));
                sum.iter_mut().zip(extra).for_each(|(sum, more)| *sum += more);
                items.push(item(total(trace, [2, 1], sum)));
            }
            _ => items.push(link(trace, [2, 1], true)),
        }
        items.push(link(trace, [1, 0], true));
    }
    (items, truth)
}

/// Shuffles the items, which are taken from the end. The spans of a trace of which no record is known are not
/// remembered, so they come after one.
fn shuffle(rng: &SeededRng, items: &mut [Item]) {
    for at in (1..items.len()).rev() {
        items.swap(at, (rng.next() % (at as u64 + 1)) as usize);
    }
    let trace = |item: &Item| match item {
        Item::Record(record) => (record.trace[0], true),
        Item::Link(link) => (link.trace[0], false),
    };
    for at in (0..items.len()).rev() {
        let (own, is_record) = trace(&items[at]);
        let is_first = !is_record && !items[at + 1..].iter().any(|item| trace(item) == (own, true));
        if is_first && let Some(record) = items[..at].iter().rposition(|item| trace(item) == (own, true)) {
            items.swap(at, record);
        }
    }
}

/// Must not regress: any order, batching and repetition, lost batches, cases at rest and restarts give the sum that the
/// calls cost.
#[test]
fn charges_add_up_to_the_truth() {
    for seed in fixtures::seeds(0, 3_000) {
        let rng = SeededRng::new(seed);
        let (mut items, truth) = any_traces(&rng, true);
        let again = items.clone().into_iter().step_by(3);
        items.extend(again);
        shuffle(&rng, &mut items);
        let (mut ledger, mut stamped, mut batch) = (Ledger::default(), 0, 0);
        while !items.is_empty() {
            let size = 1 + (rng.next() % 6) as usize;
            let together: Vec<Item> = items.split_off(items.len() - size.min(items.len()));
            batch += 1;
            let (changes, sum) = bill(&mut ledger, batch, &together, true);
            if rng.next().is_multiple_of(5) {
                // the batch is lost; the client sends it again
                ledger.discard(&[batch; 16]);
                items.extend(together);
                continue;
            }
            ledger.commit(&changes, true);
            stamped += sum;
            ledger.put_to_rest(u64::MAX, (rng.next() % 3) as usize);
            if rng.next().is_multiple_of(7) {
                let mut saved = Vec::new();
                ledger.save(&mut saved);
                let mut restored = Ledger::default();
                assert!(restored.load(&saved));
                ledger = restored;
            }
        }
        let (_, rest) = bill(&mut ledger, 255, &[], true);
        assert_eq!(stamped + rest, truth, "TOLLGATE_SEED={seed} TOLLGATE_SEEDS=1");
    }
}

/// Must not regress: workers that charged the same batch, or batches of one trace, correct it once they know each other.
#[test]
fn workers_agree() {
    for seed in fixtures::seeds(0, 3_000) {
        let rng = SeededRng::new(seed);
        // a worker doesn't remember spans of traces that it hears of later
        let (mut items, truth) = any_traces(&rng, false);
        shuffle(&rng, &mut items);
        let mut workers = [Ledger::default(), Ledger::default()];
        let (mut stamped, mut batch) = (0, 0);
        let mut untold: [Vec<LedgerBatch>; 2] = [Vec::new(), Vec::new()];
        while !items.is_empty() {
            let size = 1 + (rng.next() % 4) as usize;
            let together: Vec<Item> = items.split_off(items.len() - size.min(items.len()));
            batch += 1;
            let first = (rng.next() % 2) as usize;
            let is_moved = rng.next().is_multiple_of(4);
            for at in [first, 1 - first].into_iter().take(if is_moved { 2 } else { 1 }) {
                let (changes, sum) = bill(&mut workers[at], batch, &together, true);
                workers[at].commit(&changes, true);
                workers[at].put_to_rest(u64::MAX, (rng.next() % 3) as usize);
                stamped += sum;
                untold[1 - at].push(changes);
            }
            for at in 0..2 {
                if rng.next().is_multiple_of(3) {
                    let told: Vec<LedgerBatch> = untold[at].drain(..).collect();
                    told.iter().for_each(|changes| workers[at].commit(changes, false));
                }
            }
        }
        for round in 0..40_u8 {
            for at in 0..2 {
                let told: Vec<LedgerBatch> = untold[at].drain(..).collect();
                told.iter().for_each(|changes| workers[at].commit(changes, false));
                let (changes, sum) = bill(&mut workers[at], 200 + round, &[], true);
                workers[at].commit(&changes, true);
                stamped += sum;
                untold[1 - at].push(changes);
            }
        }
        assert_eq!(stamped, truth, "TOLLGATE_SEED={seed} TOLLGATE_SEEDS=1");
    }
}

/// What is not committed is in no checkpoint.
#[test]
fn checkpoints_hold_what_is_committed() {
    let mut ledger = Ledger::default();
    let call = item(record(1, [16, 2], [100, 10, 0, 0]));
    let _ = bill(&mut ledger, 1, std::slice::from_ref(&call), true);
    let mut saved = Vec::new();
    ledger.save(&mut saved);
    let mut restored = Ledger::default();
    assert!(restored.load(&saved));
    let (_, sum) = bill(&mut restored, 2, &[call], true);
    assert_eq!(sum, 450);
    assert!(!restored.load(&saved[..saved.len() - 1]) && !restored.load(&[9]));
}

/// What caching saved is at the end of the stored forms of a case and of a batch, after which earlier forms end: a call
/// that grows owes the rest of its savings, after a restart too.
#[test]
fn savings_survive_a_restart() {
    let mut ledger = Ledger::default();
    let (call, grown) = (record(1, [16, 2], [100, 10, 500, 40]), record(1, [16, 2], [100, 30, 500, 60]));
    let whole = priced(grown.units);
    assert_eq!(whole.1, [1000, -60], "reads saved, writes cost more");
    let (mut first, _) = bill(&mut ledger, 1, &[item(call)], true);
    let list = listed_savings(first.amounts_mut());
    let mut stored: LedgerBatch = postcard::from_bytes(&postcard::to_allocvec(&first).unwrap()).unwrap();
    set_savings(stored.amounts_mut(), list);
    let mut others = Ledger::default();
    for ledger in [&mut ledger, &mut others] {
        ledger.commit(&stored, true);
        let mut saved = Vec::new();
        ledger.save(&mut saved);
        assert!(ledger.load(&saved));
        let (_, owed) = bill(ledger, 2, &[item(grown.clone())], true);
        assert_eq!(owed, worth(whole.minus(priced([100, 10, 500, 40]))));
    }
    // the batch of an earlier version
    let mut earlier = Ledger::default();
    earlier.commit(&postcard::from_bytes(&postcard::to_allocvec(&first).unwrap()).unwrap(), true);
    let (_, owed) = bill(&mut earlier, 2, &[item(grown)], true);
    assert_eq!(owed, worth(whole.minus(Money(priced([100, 10, 500, 40]).0, [0; 2]))));
    let mut none = LedgerBatch { entries: vec![(record(1, [1, 0], [1, 1, 0, 0]), None)], ..LedgerBatch::default() };
    assert!(listed_savings(none.amounts_mut()).is_empty());
}

/// A correction waits until an item can carry it.
#[test]
fn corrections_wait_for_a_carrier() {
    let mut ledger = Ledger::default();
    let (call, agent) = (record(1, [16, 2], [100, 10, 0, 0]), total(1, [2, 0], [100, 10, 0, 0]));
    let mut of_other_tenant = call;
    of_other_tenant.tenant = 9;
    let (first, sum) = bill(&mut ledger, 1, &[item(agent)], true);
    ledger.commit(&first, true);
    assert_eq!(sum, 450);
    let (second, sum) = bill(&mut ledger, 2, &[item(of_other_tenant)], false);
    ledger.commit(&second, true);
    assert_eq!(sum, 450, "both are charged as yet");
    let mut saved = Vec::new();
    ledger.save(&mut saved);
    assert!(ledger.load(&saved));
    let (third, sum) = bill(&mut ledger, 3, &[], true);
    ledger.commit(&third, true);
    assert_eq!(sum, -450, "also after a restart");
    assert_eq!(bill(&mut ledger, 4, &[], true).1, 0, "once");
}

/// Agents beside each other, whose parent never comes, are no totals of each other; a call below one is below it alone.
#[test]
fn agents_without_their_root() {
    let mut ledger = Ledger::default();
    let agents = [total(1, [2, 9], [100, 10, 0, 0]), total(1, [3, 9], [100, 10, 0, 0])];
    let [first, second] = agents.map(item);
    let (one, sum) = bill(&mut ledger, 1, &[first], true);
    ledger.commit(&one, true);
    let (two, more) = bill(&mut ledger, 2, &[second, item(record(1, [4, 3], [60, 5, 0, 0]))], true);
    ledger.commit(&two, true);
    assert_eq!(sum + more, 900);
}

/// Accounts share no case, even if they share a trace.
#[test]
fn accounts_are_apart() {
    let mut ledger = Ledger::default();
    let (call, agent) = (record(1, [4, 2], [100, 10, 0, 0]), total(1, [2, 0], [100, 10, 0, 0]));
    assert_eq!(bill(&mut ledger, 1, &[item(call)], true).1, 450);
    let key = BatchKey { id: [2; 16], account: 2_u64.into(), arrived: 1 };
    let mut out = LedgerBatch::default();
    let verdicts = ledger.bill(&key, &[agent], std::iter::empty(), &mut |_, _| true, &mut out);
    assert!(matches!(verdicts[..], [Verdict::Charged { kind: ChargeKind::Whole, .. }]), "{verdicts:?}");
}

/// A copy that is committed while the batch that was charged is refused is charged itself, on the next item.
#[test]
fn a_copy_beside_a_lost_batch_is_charged() {
    let mut ledger = Ledger::default();
    let mut call = record(1, [16, 2], [100, 10, 0, 0]);
    call.answer = [7; 16];
    let copy = CallRecord { id: [9; 16], trace: [0; 16], span: [0; 8], parent: [0; 8], traits: 0, ..call.clone() };
    assert_eq!(bill(&mut ledger, 1, &[item(call)], true).1, 450);
    let (second, sum) = bill(&mut ledger, 2, &[item(copy)], true);
    assert_eq!(sum, 0);
    ledger.commit(&second, true);
    ledger.discard(&[1; 16]);
    assert_eq!(bill(&mut ledger, 3, &[], true).1, 450);
}

/// A trace with more records than a case holds is not charged again by its total.
#[test]
fn totals_of_large_traces() {
    let mut ledger = Ledger::default();
    let mut sum = 0;
    for batch in 0..15 {
        let calls: Vec<Item> = (0..100_u16)
            .map(|n| {
                let number = u64::from(batch) * 100 + u64::from(n) + 16;
                let mut call = record(1, [0, 2], [100, 10, 0, 0]);
                (call.id, call.span) = (Sha256::short_list(&[&number.to_le_bytes()]), number.to_be_bytes());
                item(call)
            })
            .collect();
        let (changes, charged) = bill(&mut ledger, batch, &calls, true);
        ledger.commit(&changes, true);
        sum += charged;
    }
    let (changes, charged) = bill(&mut ledger, 99, &[item(total(1, [2, 0], [150_000, 15_000, 0, 0]))], true);
    ledger.commit(&changes, true);
    assert_eq!((sum, charged), (1500 * 450, 0));
}

/// Bills and commits a batch of one account; returns the sum of its stamps and of the corrections that it carries, and
/// what runs are told of these.
fn pass(ledger: &mut Ledger, (account, id): (u64, u64), records: &[CallRecord], carrier: Option<u64>) -> (i128, i128) {
    let mut key = BatchKey { id: [0; 16], account: account.into(), arrived: ARRIVALS.fetch_add(1, Relaxed) };
    key.id[..8].copy_from_slice(&id.to_le_bytes());
    let (mut carried, mut told) = (0, 0);
    let mut carry = |correction: &Correction, by: CorrectionCarrier| {
        let is_carried = by == CorrectionCarrier::Other && Some(correction.record.tenant) == carrier;
        carried += if is_carried { worth(correction.money) } else { 0 };
        told += if correction.is_known_to_runs || !is_carried { 0 } else { worth(correction.money) };
        is_carried
    };
    let mut out = LedgerBatch::default();
    let verdicts = ledger.bill(&key, records, std::iter::empty(), &mut carry, &mut out);
    ledger.commit(&out, true);
    let stamped = verdicts.iter().map(|verdict| match verdict {
        Verdict::Charged { money, counted_by: None, .. } => worth(*money),
        _ => 0,
    });
    (stamped.sum::<i128>() + carried, told)
}

/// A total above more calls than a case holds is charged nothing, after a restart too: some calls below it are not seen.
#[test]
fn totals_above_a_full_case() {
    for (calls, restarts) in [(1100, false), (1100, true), (1024, false)] {
        let mut ledger = Ledger::default();
        for number in 0..calls {
            let mut call = record(1, [0, 2], [100, 10, 0, 0]);
            (call.id, call.span) =
                (Sha256::short_list(&[&number.to_string().into_bytes()]), (number + 16_u64).to_be_bytes());
            assert_eq!(pass(&mut ledger, (1, number), &[call], None).0, 450);
        }
        if restarts {
            let (mut saved, mut restored) = (Vec::new(), Ledger::default());
            ledger.save(&mut saved);
            assert!(restored.load(&saved));
            ledger = restored;
        }
        let agent = total(1, [2, 0], [100 * calls, 10 * calls, 0, 0]);
        assert_eq!(pass(&mut ledger, (1, 9999), &[agent], None).0, 0, "{calls} calls, restarts: {restarts}");
    }
}

/// A log that was the copy of a span until another log took its place is charged with a later batch.
#[test]
fn a_copy_that_became_a_call_is_charged() {
    let one = |id: u8, is_span: bool, start: u64| {
        let known = CallRecord { twin: [5; 16], start, ..record(id, [id, 0], [100, 10, 0, 0]) };
        let (trace, span, traits) =
            if is_span { (known.trace, known.span, known.traits) } else { ([0; 16], [0; 8], 0) };
        CallRecord { trace, span, traits, parent: [0; 8], ..known }
    };
    for order in [[1, 2, 3], [1, 3, 2], [2, 3, 1], [3, 1, 2]] {
        let mut ledger = Ledger::default();
        let records = order.map(|id: u8| one(id, id == 1, [0, 10, 30, 20][usize::from(id)]));
        let mut sum = 0;
        for (number, record) in (1..).zip(records) {
            sum += pass(&mut ledger, (1, number), &[record], Some(0)).0;
        }
        ARRIVALS.fetch_add(200_000_000_000, Relaxed);
        sum += pass(&mut ledger, (1, 9), &[], Some(0)).0;
        assert_eq!(sum, 900, "{order:?}");
    }
}

/// What two workers charged for one record runs count once by themselves, also if it came in two batches.
#[test]
fn runs_are_not_told_of_a_record_that_two_workers_charged() {
    let mut workers = [Ledger::default(), Ledger::default()];
    let agent = total(1, [2, 0], [100, 10, 0, 0]);
    let batches: Vec<LedgerBatch> = (1..=2)
        .zip(&mut workers)
        .map(|(id, worker)| {
            let (out, charged) = bill(worker, id, &[item(agent.clone())], true);
            worker.commit(&out, true);
            assert_eq!(charged, 450);
            out
        })
        .collect();
    workers[0].commit(&batches[1], false);
    workers[1].commit(&batches[0], false);
    let later = workers.each_mut().map(|worker| pass(worker, (1, 50), &[], Some(0)));
    let sums = later.iter().fold((0, 0), |sum, more| (sum.0 + more.0, sum.1 + more.1));
    assert_eq!(sums, (-450, 0));
}

/// Corrections that find no carrier don't hold up others of the account, whatever other accounts send.
#[test]
fn waiting_corrections_take_turns() {
    let mut ledger = Ledger::default();
    for number in 0..9_u8 {
        let tenant = if number == 8 { 2 } else { 1 };
        let agent = CallRecord { tenant, ..total(10 + number, [2, 0], [100, 10, 0, 0]) };
        let call = CallRecord { tenant: 3, ..record(10 + number, [16, 2], [100, 10, 0, 0]) };
        pass(&mut ledger, (7, u64::from(number) * 2), &[agent], None);
        pass(&mut ledger, (7, u64::from(number) * 2 + 1), &[call], None);
    }
    let taken_back: i128 = (0..4)
        .map(|round| {
            pass(&mut ledger, (8, 1000 + round), &[], Some(2));
            pass(&mut ledger, (7, 2000 + round), &[], Some(2)).0
        })
        .sum();
    assert_eq!(taken_back, -450);
}

/// A record that grows for hours costs no more memory and time with each batch.
#[test]
fn charges_of_a_record_are_bounded() {
    let mut ledger = Ledger::default();
    let mut sum = 0;
    for number in 0..2000 {
        sum += pass(&mut ledger, (1, number), &[record(1, [2, 0], [100, 10 + number, 0, 0])], None).0;
    }
    let mut saved = Vec::new();
    ledger.save(&mut saved);
    assert_eq!(sum, worth(priced([100, 2009, 0, 0])));
    assert!(saved.len() < 4096, "{}", saved.len());
}

/// A call that is settled is kept in less than 256 bytes, besides the keys that find it: a hundred thousand are
/// remembered.
#[test]
fn remembered_calls_are_small() {
    let mut ledger = Ledger::default();
    let (changes, _) = bill(&mut ledger, 1, &[item(record(1, [16, 2], [100_000, 1000, 5000, 40]))], true);
    ledger.put_to_rest(u64::MAX, 1);
    assert_eq!(ledger.case_sizes(), [None], "it waits for the commit");
    ledger.commit(&changes, true);
    ledger.put_to_rest(u64::MAX, 1);
    let [Some(bytes)] = *ledger.case_sizes() else { panic!("one case at rest") };
    assert!((64..256).contains(&bytes), "{bytes}");
}
