//! Refused items when the quarantine has no room.

use futures_util::future::join_all;

use crate::spool::{RecordKind, SpoolRecord, Transaction, bytes_to_reserve};
use crate::testing::sim_disk::SimDisk;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// State of the back end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mind {
    Away,
    RefusesAll,
    RefusesBad,
    Well,
}

/// A back end in this state, which can be changed.
fn of_mind(mind: &Arc<Mutex<Mind>>, reason: Reason) -> Arc<Sink> {
    let mind = Arc::clone(mind);
    Sink::new("x", Trust::ThirdParty, 1 << 20, move |request: &ExportRequest| {
        let outcome = match *mind.lock() {
            Mind::Away => retry(None, Reason::Unavailable),
            Mind::RefusesAll => Outcome::Refused { reason },
            Mind::RefusesBad => refuse_bad(request, reason),
            Mind::Well => Outcome::Accepted,
        };
        (Duration::ZERO, outcome)
    })
}

/// A small spool on a simulated disk, with these exporters.
fn small(sinks: &[&Arc<Sink>], outlets: OutletSettings) -> (Rig, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let exporters = sinks.iter().map(|sink| Arc::clone(*sink) as Arc<dyn crate::Exporter>).collect();
    let mut parts = Parts::new(vec![Step::clear("clear")], exporters);
    parts.disk = Arc::new(SimDisk::new());
    parts.spool_bytes = 512 << 10;
    parts.outlets = outlets;
    sinks.iter().for_each(|sink| drop(sink.clock.set(parts.clock.clone())));
    (parts.open(folder.path()), folder)
}

/// Hands in a batch, some of them with a bad item; returns the names and the answer.
fn send(rig: &mut Rig, run: &mut (impl Future<Output = ()> + Unpin), n: usize) -> (Vec<String>, Outcome) {
    let names = named(&n.to_string(), if n.is_multiple_of(25) { "bad" } else { "good" });
    let answer = rig.submit(padded(&names, 1_000));
    rig.run(SECOND, run);
    (names, answer.now_or_never().unwrap())
}

fn named(of: &str, second: &str) -> Vec<String> {
    ["good", second, "good"].iter().enumerate().map(|(at, kind)| format!("{kind}-{of}-{at}")).collect()
}

/// A back end is down until the spool is full, and then refuses everything for an hour. The other exporter gets all
/// accepted data; the refusing one keeps being retried with its backoff. Once it recovers, entirely or except for some
/// items, it gets everything it accepts, once each; the rest is in the quarantine, and clients are served again.
/// (Before the fix sending and reclaiming stopped for good.)
#[test]
fn a_full_spool_and_refusals_drain() {
    let mut cases = Vec::new();
    for ordered in [false, true] {
        for reason in [Reason::BadData, Reason::TooLarge] {
            cases.extend([1, 2_000, 1 << 20].map(|merge_bytes| (ordered, reason, Mind::Well, merge_bytes)));
        }
        cases.extend([1, 2_000].map(|merge_bytes| (ordered, Reason::BadData, Mind::RefusesBad, merge_bytes)));
    }
    for case in cases {
        let (ordered, reason, then, merge_bytes) = case;
        let mind = Arc::new(Mutex::new(Mind::Away));
        let (sick, well) = (of_mind(&mind, reason), Sink::open("well", Trust::ThirdParty));
        let outlets = OutletSettings { ordered, merge_bytes, ..OutletSettings::default() };
        let (mut rig, _folder) = small(&[&sick, &well], outlets);
        let stop = going();
        let all: Vec<_> = rig.engine.outlets.iter().map(|one| Arc::clone(one).run(stop.subscribe())).collect();
        let mut run = Box::pin(async move { drop(join_all(all).await) });
        let mut accepted = Vec::new();
        loop {
            let (names, answer) = send(&mut rig, &mut run, accepted.len());
            if answer != Outcome::Accepted {
                assert!(matches!(answer, Outcome::Retry { reason: Reason::SpoolFull, .. }), "{answer:?}");
                break;
            }
            accepted.push(names);
            assert!(accepted.len() < 1_000);
        }
        assert!(accepted.len() > 80, "{} {case:?}", accepted.len());
        *mind.lock() = Mind::RefusesAll;
        for _ in 0..10 {
            let before = sick.requests.lock().len();
            rig.run(6 * MINUTE, &mut run);
            let asked = sick.requests.lock().len() - before;
            assert!((4..2_000).contains(&asked), "asked {asked} times in six minutes: {case:?}");
        }
        assert_eq!(well.all().len(), 3 * accepted.len(), "{case:?}");
        assert!(rig.spool.pending_bytes("x") > 100_000, "{case:?}");
        assert!(rig.meter.render().contains("reason=\"spool_full\""));
        *mind.lock() = then;
        rig.run(10 * MINUTE, &mut run);
        assert_eq!(rig.spool.pending_bytes("x"), 0, "it drains: {case:?}");
        let aside: Vec<String> = quarantined(&rig).into_iter().flat_map(|(_, names)| names).collect();
        assert_eq!(sorted([sick.all(), aside].concat()), sorted(accepted.concat()), "{case:?}");
        assert_eq!(send(&mut rig, &mut run, accepted.len()).1, Outcome::Accepted, "{case:?}");
    }
}

/// Takes the remaining room, for the vault.
fn crowd(rig: &mut Rig) {
    let holders: Arc<[Arc<str>]> = Arc::new(["vault".into()]);
    for bytes in [8_000, 1_000, 100, 1] {
        while let Ok(room) = rig.spool.reserve_to_prepare(bytes_to_reserve(1, bytes as u64)) {
            let records = vec![SpoolRecord {
                kind: RecordKind::Fragment,
                holders: Arc::clone(&holders),
                body: vec![7_u8; bytes].into(),
            }];
            rig.spool.enqueue(Transaction { account: "default".into(), records }, room, Box::new(|_| {}));
            rig.commit();
        }
    }
}

/// Without any room, refused items wait; items beside and behind them, of this account and of others, are sent at once,
/// and once. As soon as there is room the refused items are quarantined, and their records are done. Records that are
/// dropped meanwhile are not sent again.
#[test]
fn without_room_refused_items_wait_alone() {
    for given_up in [false, true] {
        let mind = Arc::new(Mutex::new(Mind::RefusesBad));
        let sink = of_mind(&mind, Reason::BadData);
        let (mut rig, _folder) =
            small(&[&sink], OutletSettings { linger: Duration::ZERO, ..OutletSettings::default() });
        for (account, kind) in [("one", "bad"), ("two", "good"), ("one", "good"), ("one", "bad"), ("one", "good")] {
            for n in 0..4 {
                let names = named(&format!("{account}-{}", rig.spool.next().0 * 10 + n), kind);
                drop(rig.submit_as(account, padded(&names, 300)));
                rig.commit();
            }
        }
        crowd(&mut rig);
        let outlet = Arc::clone(&rig.engine.outlets[0]);
        let stop = going();
        let mut run = Box::pin(outlet.run(stop.subscribe()));
        rig.run(MINUTE, &mut run);
        let taken = sink.all();
        assert_eq!(taken.len(), 60 - 8, "{taken:?}");
        assert!(taken.iter().all(|name| name.starts_with("good")) && quarantined(&rig).is_empty());
        let before = sink.requests.lock().len();
        rig.run(10 * MINUTE, &mut run);
        assert!((10..400).contains(&(sink.requests.lock().len() - before)), "one of them after each wait");
        assert_eq!(sink.all().len(), taken.len(), "nothing twice");
        if given_up {
            rig.spool.drop_pending("x", None);
        }
        let vaults: Vec<_> = rig.waiting("vault").iter().map(|one| one.seq).collect();
        rig.spool.mark_done("vault", &vaults);
        rig.run(2 * MINUTE, &mut run);
        assert_eq!(quarantined(&rig).len(), if given_up { 0 } else { 8 });
        assert!(rig.waiting("x").is_empty());
        assert_eq!(sink.all().len(), taken.len());
    }
}

/// A gateway that stops does not wait for room; everything is delivered again after the start.
#[test]
fn a_stop_does_not_wait_for_room() {
    let mind = Arc::new(Mutex::new(Mind::RefusesBad));
    let sink = of_mind(&mind, Reason::BadData);
    let (mut rig, _folder) = small(&[&sink], OutletSettings::default());
    rig.put(spans(&["a", "bad", "b"]));
    crowd(&mut rig);
    let stop = going();
    stop.send_replace(true);
    assert!(rig.run_outlet(MINUTE, &stop), "it ends by itself");
    assert_eq!(rig.forwarded("x").len(), 3);
}

/// The quarantine must not fill the spool: beyond its bound the oldest items are deleted, counted and logged, if the
/// back end accepts other data. A back end that accepts nothing keeps its refused data pending, and gets it once it
/// recovers. (Before the fix it grew until clients were refused.)
#[test]
fn the_quarantine_keeps_within_its_bound() {
    let mind = Arc::new(Mutex::new(Mind::RefusesBad));
    let sink = of_mind(&mind, Reason::BadData);
    let folder = tempfile::tempdir().unwrap();
    let mut parts = Parts::new(vec![Step::clear("clear")], vec![sink.clone()]);
    parts.quarantine_bytes = Some(20_000);
    let _ = sink.clock.set(parts.clock.clone());
    let mut rig = parts.open(folder.path());
    let expired = |rig: &Rig| {
        let text = rig.meter.render();
        let line =
            text.lines().find(|line| line.starts_with("tollgate_spool_quarantine_expired_records_total")).unwrap();
        line.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
    };
    let (outlet, stop) = (Arc::clone(&rig.engine.outlets[0]), going());
    let mut run = Box::pin(outlet.run(stop.subscribe()));
    for n in 0..60 {
        rig.put(padded(&named(&format!("{n:02}"), "bad"), 1_000));
        rig.run(SECOND, &mut run);
        assert!(rig.spool.pending_bytes(QUARANTINE) <= 20_000);
    }
    let kept: Vec<String> = quarantined(&rig).into_iter().flat_map(|(_, names)| names).collect();
    assert!((10..20).contains(&kept.len()) && kept.last().unwrap() == "bad-59-1", "{kept:?}");
    assert_eq!(expired(&rig), 60 - kept.len());
    assert_eq!((sink.all().len(), rig.spool.pending_bytes("x")), (120, 0));
    // Also if the back end accepted other data just before: that no longer proves anything.
    *mind.lock() = Mind::RefusesAll;
    for n in 60..90 {
        rig.put(padded(&named(&format!("{n:02}"), "bad"), 1_000));
        rig.run(MINUTE, &mut run);
    }
    assert!(expired(&rig) == 60 - kept.len() && rig.spool.pending_bytes("x") > 80_000);
    *mind.lock() = Mind::Well;
    rig.run(5 * MINUTE, &mut run);
    let aside: Vec<String> = quarantined(&rig).into_iter().flat_map(|(_, names)| names).collect();
    assert_eq!(rig.spool.pending_bytes("x"), 0);
    assert_eq!(sink.all().len() + aside.len() - kept.len(), 120 + 90, "each once: taken, or in what room there was");
}
