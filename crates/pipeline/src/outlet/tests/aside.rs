//! A group that the back end does not accept does not block others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::testing::sim_disk::SimDisk;
use kernel::rng::SeededRng;

use super::*;

/// A back end that accepts data of accounts whose names begin with `bad` only once `mended` is set.
fn accepts_good(mended: &Arc<AtomicBool>) -> Arc<Sink> {
    let mended = Arc::clone(mended);
    Sink::new("x", Trust::ThirdParty, 1 << 20, move |request| {
        let bad = request.account.starts_with("bad") && !mended.load(Ordering::SeqCst);
        (Duration::ZERO, if bad { retry(None, Reason::Denied) } else { Outcome::Accepted })
    })
}

/// Each of so many items was accepted, once.
fn assert_each_once(sink: &Sink, count: usize) {
    let all = sink.all();
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (count, count), "{all:?}");
}

/// An account whose data must always be retried must not occupy the slots of others; with `ordered` nothing overtakes
/// it. In the end each batch is sent once. (Before the fix the four slots were taken, and nothing of the other account
/// was sent.)
#[test]
fn an_account_that_is_not_taken_holds_up_no_other() {
    for ordered in [false, true] {
        let mended = Arc::new(AtomicBool::new(false));
        let sink = accepts_good(&mended);
        let settings = OutletSettings { merge_bytes: 1, linger: Duration::ZERO, ordered, ..OutletSettings::default() };
        let (mut rig, _folder) = with(&sink, vec![Step::clear("clear")], settings);
        fill(&mut rig, "bad", 0..10);
        let good = fill(&mut rig, "good", 0..10);
        rig.run_outlet(60 * SECOND, &going());
        assert_eq!(sorted(sink.all()), if ordered { Vec::new() } else { good });
        let tried: BTreeSet<String> =
            sink.requests.lock().iter().flat_map(|request| names(&request.body.joined())).collect();
        let bad = tried.iter().filter(|name| name.starts_with("bad")).count();
        assert_eq!(bad, if ordered { 1 } else { 4 }, "no more of one account than may go at once: {tried:?}");
        mended.store(true, Ordering::SeqCst);
        rig.run_outlet(120 * SECOND, &going());
        assert_each_once(&sink, 20);
        assert!(rig.waiting("x").is_empty());
    }
}

/// Hands in this many batches of an account, and commits them together.
fn fill(rig: &mut Rig, account: &str, numbers: std::ops::Range<usize>) -> Vec<String> {
    let names: Vec<String> = numbers.map(|n| format!("{account}-{n}")).collect();
    names.iter().for_each(|name| drop(rig.submit_as(account, padded(&[name], 60))));
    rig.commit();
    names
}

/// Thousands of batches that must always be retried, of one account or of forty, exceed the window and the number of
/// parked parcels. Another account's data behind them must be sent within seconds, and keep being sent; memory must not
/// grow; the spool must be read once for each batch, and once more when it is sent, however attempts fail; each item
/// arrives once. (Before the fix nothing of the other account was sent.)
#[test]
fn who_is_not_taken_does_not_fill_the_window() {
    for accounts in [1, 40] {
        let mended = Arc::new(AtomicBool::new(false));
        let sink = accepts_good(&mended);
        let (disk, folder) = (SimDisk::new(), tempfile::tempdir().unwrap());
        let mut parts = Parts::new(vec![Step::clear("clear")], vec![sink.clone()]);
        parts.disk = Arc::new(disk.clone());
        parts.outlets = OutletSettings { window_bytes: 20_000, merge_bytes: 2_000, ..OutletSettings::default() };
        let _ = sink.clock.set(parts.clock.clone());
        let mut rig = parts.open(folder.path());
        let mut all = Vec::new();
        for n in 0..accounts {
            all.extend(fill(&mut rig, &format!("bad{n}"), 0..4_000 / accounts));
        }
        let good =
            |sink: &Sink| sink.all().into_iter().filter(|name| name.starts_with("good")).collect::<BTreeSet<_>>();
        let (outlet, stop) = (Arc::clone(&rig.engine.outlets[0]), going());
        let mut run = Box::pin(outlet.run(stop.subscribe()));
        let mut wanted = BTreeSet::new();
        let before = disk.ops();
        for round in 0..30 {
            let names = fill(&mut rig, "good", round * 10..round * 10 + 10);
            fill(&mut rig, "bad0", 10_000 + round * 10..10_010 + round * 10);
            wanted.extend(names);
            rig.run(20 * SECOND, &mut run);
            assert_eq!(good(&sink), wanted, "round {round} of {accounts}");
        }
        let reads = disk.ops() - before;
        // Four parcels of an account are read again for each attempt.
        let most = 3 * 4_600 + accounts as u64 * 4_000;
        assert!(reads < most, "{reads} operations for {accounts} accounts");
        assert!(sink.all().iter().all(|name| name.starts_with("good")));
        mended.store(true, Ordering::SeqCst);
        rig.run(600 * SECOND, &mut run);
        assert!(rig.waiting("x").is_empty());
        assert_each_once(&sink, 4_000 + 300 + 300);
        let reads = disk.ops() - before;
        assert!(reads < most + 3 * 4_600, "{reads} operations for {accounts} accounts in the end");
    }
}

/// Accounts and signals fail and recover at random, over a backlog and new data: nothing is lost, sent twice, or left.
/// With `ordered` each group's items arrive in order.
#[test]
fn whatever_fails_when_all_arrives_once() {
    for seed in 0..150 {
        let dice = Arc::new(SeededRng::new(seed));
        let pick = |below: usize| usize::try_from(dice.next() % below as u64).unwrap();
        let healed = Arc::new(AtomicBool::new(false));
        let (well, salt) = (Arc::clone(&healed), dice.next());
        let clock: Arc<std::sync::OnceLock<Arc<dyn Clock>>> = Arc::default();
        let theirs = Arc::clone(&clock);
        let sink = Sink::new("x", Trust::ThirdParty, 1 << 20, move |request| {
            // Depends on the group's name and the minute.
            let minute = theirs.get().unwrap().monotonic().as_secs() / 60;
            let group = request.account.len() as u64 * 3 + u64::from(request.signal == Signal::Logs);
            let fails =
                !SeededRng::new(salt ^ (group << 40) ^ minute).next().is_multiple_of(3) && !well.load(Ordering::SeqCst);
            let outcome = if fails { retry(None, Reason::Unavailable) } else { Outcome::Accepted };
            (SECOND * u32::try_from(minute % 3).unwrap(), outcome)
        });
        let folder = tempfile::tempdir().unwrap();
        let mut parts = Parts::new(vec![Step::clear("clear")], vec![sink.clone()]);
        let traces = parts.pipelines[0].clone();
        parts.pipelines.push(PipelinePlan { id: "logs".into(), signal: Signal::Logs, ..traces });
        parts.disk = Arc::new(SimDisk::new());
        let ordered = pick(5) == 0;
        parts.outlets = OutletSettings {
            consumers: 1 + pick(4),
            merge_bytes: 1 + pick(1_000),
            window_bytes: 1 + pick(6_000),
            linger: Duration::from_millis(pick(300) as u64),
            ordered,
            ..OutletSettings::default()
        };
        let _ = (sink.clock.set(parts.clock.clone()), clock.set(parts.clock.clone()));
        let mut rig = parts.open(folder.path());
        let (outlet, stop) = (Arc::clone(&rig.engine.outlets[0]), going());
        let mut run = Box::pin(outlet.run(stop.subscribe()));
        let mut wanted: BTreeMap<(&str, bool), Vec<String>> = BTreeMap::new();
        for step in 0..40 {
            for n in 0..pick(40) {
                let (account, log) = (["a", "bb", "ccc"][pick(3)], pick(3) == 0);
                let name = format!("{account}-{step}-{n}");
                let (signal, wire) =
                    if log { (Signal::Logs, logs(&[&name])) } else { (Signal::Traces, spans(&[&name])) };
                drop(rig.submit_signal(account, signal, wire));
                wanted.entry((account, log)).or_default().push(name);
            }
            rig.commit();
            // For half of the seeds with a backlog first.
            if step > 10 || seed % 2 == 0 {
                rig.run(SECOND * u32::try_from(pick(100)).unwrap(), &mut run);
            } else {
                rig.clock.advance(10 * SECOND);
            }
        }
        healed.store(true, Ordering::SeqCst);
        rig.run(3_000 * SECOND, &mut run);
        assert!(rig.waiting("x").is_empty(), "seed {seed}: it does not end");
        let mut found: BTreeMap<(&str, bool), Vec<String>> = BTreeMap::new();
        for names in sink.accepted.lock().iter() {
            for name in names {
                let group = wanted.iter().find(|(_, names)| names.contains(name)).unwrap().0;
                found.entry(*group).or_default().push(name.clone());
            }
        }
        if !ordered {
            found.values_mut().chain(wanted.values_mut()).for_each(|names| names.sort());
        }
        assert_eq!(found, wanted, "seed {seed}");
    }
}
