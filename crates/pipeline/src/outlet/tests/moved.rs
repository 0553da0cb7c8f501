//! Records that are moved from one running outlet to another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use kernel::rng::SeededRng;

use super::*;

/// While the outlets of a failing and a slow back end run, records move part by part from the first to the second, also
/// to positions that the second has passed. All arrive without a restart, and a request in flight is not interrupted:
/// the second gets each item once. (Verified to fail if a move drops the requests in flight.)
#[test]
fn what_is_moved_between_running_outlets_arrives() {
    let (mut moved_records, mut twice) = (0, 0);
    for seed in 0..60 {
        let dice = Arc::new(SeededRng::new(seed));
        let pick = |below: u64| dice.next() % below;
        let (fails, salt, slowness) = (Arc::new(AtomicBool::new(true)), dice.next(), pick(40));
        let failing = Arc::clone(&fails);
        let old = Sink::new("x", Trust::ThirdParty, 1 << 20, move |request| {
            let is_down = failing.load(Ordering::SeqCst) && (salt ^ request.items) & 3 != 0;
            (SECOND, if is_down { retry(None, Reason::Unavailable) } else { Outcome::Accepted })
        });
        let new = Sink::new("y", Trust::ThirdParty, 1 << 20, move |_| {
            (SECOND * u32::try_from(slowness).unwrap(), Outcome::Accepted)
        });
        let folder = tempfile::tempdir().unwrap();
        let mut parts = Parts::new(vec![Step::clear("clear")], vec![old.clone()]);
        let pipeline = |signal, exporter: &Arc<Sink>| PipelinePlan {
            id: "p".into(),
            signal,
            receivers: vec!["otlp".into()],
            processors: vec![Step::clear("clear")],
            exporters: vec![exporter.clone()],
        };
        parts.pipelines = vec![pipeline(Signal::Traces, &old), pipeline(Signal::Logs, &new)];
        parts.outlets = OutletSettings { merge_bytes: 300, window_bytes: 1_000, ..OutletSettings::default() };
        [&old, &new].into_iter().for_each(|sink| drop(sink.clock.set(parts.clock.clone())));
        let (mut rig, stop) = (parts.open(folder.path()), going());
        let outlets = rig.engine.outlets.clone();
        let runs = outlets.into_iter().map(|outlet| outlet.run(stop.subscribe()));
        let mut both = Box::pin(async move { drop(futures_util::future::join_all(runs).await) });
        let mut sent = Vec::new();
        let [x, y]: [Arc<str>; 2] = ["x".into(), "y".into()];
        for round in 0..12 {
            for n in 0..pick(6) {
                sent.push(format!("{round}-{n}"));
                let (signal, wire) = match pick(2) {
                    0 => (Signal::Traces, spans(&sent[sent.len() - 1..])),
                    _ => (Signal::Logs, logs(&sent[sent.len() - 1..])),
                };
                drop(rig.submit_signal(["one", "two"][usize::try_from(pick(2)).unwrap()], signal, wire));
            }
            rig.run(SECOND * u32::try_from(pick(20)).unwrap(), &mut both);
            if pick(3) == 0 {
                for part in rig.waiting("x").chunks(2) {
                    moved_records += part.iter().filter(|record| rig.spool.transfer_record(&x, &y, record.seq)).count();
                    ["x", "y"].iter().for_each(|consumer| rig.spool.announce_moves(consumer));
                    rig.run(SECOND * u32::try_from(pick(15)).unwrap(), &mut both);
                }
            }
        }
        fails.store(false, Ordering::SeqCst);
        rig.run(600 * SECOND, &mut both);
        let mut arrived = BTreeMap::new();
        for name in [old.all(), new.all()].concat() {
            *arrived.entry(name).or_insert(0) += 1;
        }
        assert_eq!(arrived.keys().cloned().collect::<Vec<_>>(), sorted(sent), "seed {seed}");
        assert!(arrived.values().all(|count| *count <= 2), "seed {seed}: {arrived:?}");
        let of_new: Vec<_> = new.requests.lock().iter().flat_map(|request| names(&request.body.joined())).collect();
        assert_eq!(of_new.iter().collect::<BTreeSet<_>>().len(), of_new.len(), "seed {seed}: {of_new:?}");
        twice += arrived.values().filter(|count| **count == 2).count();
        assert!(rig.waiting("x").is_empty() && rig.waiting("y").is_empty(), "seed {seed}");
    }
    assert!(moved_records > 100 && twice * 4 < moved_records, "{moved_records} moved, {twice} sent twice");
}

/// A parcel of which a piece was accepted waits for its next attempt while others' records move: the accepted piece is
/// not sent again, also if its records move away and back. (Verified to fail if a move drops parcels.)
#[test]
fn a_move_does_not_repeat_accepted_pieces() {
    let fails = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails);
    let sink = Sink::new("x", Trust::ThirdParty, 300, move |request| {
        let is_first = names(&request.body.joined()).iter().any(|name| name.starts_with('a'));
        let is_down = !is_first && failing.load(Ordering::SeqCst);
        (Duration::ZERO, if is_down { retry(None, Reason::Unavailable) } else { Outcome::Accepted })
    });
    let (mut rig, _folder) = with(&sink, vec![Step::clear("clear")], OutletSettings::default());
    drop(rig.submit(padded(&["a", "b"], 200)));
    drop(rig.submit_as("other", padded(&["b2"], 60)));
    rig.commit();
    let stop = going();
    let outlet = Arc::clone(&rig.engine.outlets[0]);
    let mut running = Box::pin(outlet.run(stop.subscribe()));
    rig.run(SECOND, &mut running);
    assert_eq!(sink.all(), ["a"]);
    let [x, y]: [Arc<str>; 2] = ["x".into(), "y".into()];
    for (from, to) in [(&x, &y), (&y, &x)] {
        rig.waiting(from).iter().for_each(|record| assert!(rig.spool.transfer_record(from, to, record.seq)));
        rig.spool.announce_moves("x");
        rig.run(SECOND, &mut running);
    }
    fails.store(false, Ordering::SeqCst);
    rig.run(120 * SECOND, &mut running);
    assert_eq!(sorted(sink.all()), ["a", "b", "b2"]);
    assert!(rig.waiting("x").is_empty());
}

/// Data that is dropped while it waits for its next attempt in memory, as with `ordered`, is not sent any more.
#[test]
fn what_is_dropped_while_it_waits_is_not_sent() {
    let fails = Arc::new(AtomicBool::new(true));
    let failing = Arc::clone(&fails);
    let sink = Sink::new("x", Trust::ThirdParty, 1 << 20, move |_| {
        let is_down = failing.load(Ordering::SeqCst);
        (Duration::ZERO, if is_down { retry(None, Reason::Unavailable) } else { Outcome::Accepted })
    });
    let settings = OutletSettings { ordered: true, ..OutletSettings::default() };
    let (mut rig, _folder) = with(&sink, vec![Step::clear("clear")], settings);
    drop(rig.submit(spans(&["old"])));
    rig.commit();
    let stop = going();
    let outlet = Arc::clone(&rig.engine.outlets[0]);
    let mut running = Box::pin(outlet.run(stop.subscribe()));
    rig.run(SECOND, &mut running);
    assert_eq!(rig.spool.drop_pending("x", None), 1);
    rig.spool.announce_moves("x");
    fails.store(false, Ordering::SeqCst);
    drop(rig.submit(spans(&["new"])));
    rig.run(120 * SECOND, &mut running);
    assert_eq!(sink.all(), ["new"]);
}
