//! Failing disks, limits, many senders.

use super::damage::seeded;
use super::*;
use crate::testing::sim_disk::{Fault, Op, SimDisk};

pub(super) struct Rig {
    pub(super) disk: SimDisk,
    pub(super) clock: Arc<ManualClock>,
    pub(super) meter: Meter,
    pub(super) spool: Arc<Spool>,
    pub(super) committer: Committer,
}

pub(super) fn rig(max_size: u64, prepare: impl FnOnce(&SimDisk)) -> Rig {
    let disk = SimDisk::new();
    prepare(&disk);
    let clock = ManualClock::at(UnixNanos(1_700_000_000_000_000_000));
    let meter = Meter::new();
    let settings = SpoolSettings::new("/spool".into(), max_size);
    let rng = Arc::new(SeededRng::new(3));
    let opened = Spool::open(Arc::new(disk.clone()), &settings, &[key(1)], Arc::clone(&clock) as _, rng, &meter);
    let (spool, committer) = opened.unwrap();
    Rig { disk, clock, meter, spool, committer }
}

pub(super) fn body(len: usize) -> Vec<SpoolRecord> {
    vec![record(RecordKind::Forward, &["a"], vec![7; len])]
}

/// All waiting transactions must share one write and one sync, and be answered in order.
#[test]
fn a_group_shares_one_sync() {
    let Rig { spool, mut committer, disk, meter, .. } = rig(4 << 20, |_| {});
    send(&spool, "first", body(10)).unwrap();
    committer.step(STEP);
    let order = Arc::new(Mutex::new(Vec::new()));
    for number in 0..10 {
        let order = Arc::clone(&order);
        let transaction = Transaction { account: "acme".into(), records: body(100) };
        let on_commit: OnCommit = Box::new(move |result| order.lock().push((number, result.unwrap()[0])));
        spool.enqueue(transaction, spool.reserve(1000).unwrap(), on_commit);
    }
    let syncs = Arc::new(Mutex::new(0));
    let count = Arc::clone(&syncs);
    disk.set_faults(Some(Box::new(move |op| {
        *count.lock() += usize::from(op == Op::Sync);
        None
    })));
    assert_eq!(committer.step(STEP), CommitStep { committed: 10, failed: 0, waiting: 0, poisoned: None });
    assert_eq!(*syncs.lock(), 1);
    let order = order.lock();
    assert!(order.iter().map(|(number, _)| *number).eq(0..10));
    assert!(order.windows(2).all(|pair| pair[0].1 < pair[1].1));
    assert!(meter.render().contains("tollgate_spool_commits_total 2"), "{}", meter.render());
}

/// After a failed sync nothing may be acknowledged, and unacknowledged data must not reappear.
#[test]
fn a_failed_sync_poisons() {
    let Rig { spool, mut committer, disk, meter, .. } = rig(4 << 20, |_| {});
    let before = send(&spool, "acme", body(100)).unwrap();
    committer.step(STEP);
    seqs(&before);
    disk.set_faults(Some(Box::new(|op| (op == Op::Sync).then_some(Fault::Io))));
    let (one, two) = (send(&spool, "acme", body(100)).unwrap(), send(&spool, "acme", body(100)).unwrap());
    let step = committer.step(STEP);
    assert_eq!((step.committed, step.failed, step.poisoned), (0, 2, Some(Reason::SpoolFailed)));
    for answer in [one, two] {
        assert!(matches!(*answer.lock(), Some(Err(Reason::SpoolFailed))));
    }
    disk.set_faults(None);
    assert_eq!(spool.reserve(1).map(|_| ()), Err(Reason::SpoolFailed));
    assert_eq!(committer.step(STEP).poisoned, Some(Reason::SpoolFailed), "a later sync that succeeds proves nothing");
    assert_eq!(spool.status().poisoned, Some(Reason::SpoolFailed));
    assert!(meter.render().contains("tollgate_spool_poisoned 1"));
    assert!(!committer.close());
    drop(spool);
    disk.kill();
    let again = seeded(&disk, &SpoolSettings::new("/spool".into(), 4 << 20), &[key(1)], 4);
    assert_eq!(again.unwrap().0.read("a", None, usize::MAX, 9).unwrap().len(), 1);
}

/// After a failed sync, data that exists only in the page cache must not count as durable in the next process: it is
/// written again, so that it survives a later power failure.
#[test]
fn recovery_does_not_trust_the_page_cache() {
    let Rig { spool, mut committer, disk, .. } = rig(4 << 20, |_| {});
    send(&spool, "acme", body(100)).unwrap();
    committer.step(STEP);
    send(&spool, "acme", body(200)).unwrap();
    // The sync fails, and the process is killed before it can truncate the file.
    disk.set_faults(Some(Box::new(|op| matches!(op, Op::Sync | Op::SetLen).then_some(Fault::Io))));
    committer.step(STEP);
    drop((spool, committer));
    disk.set_faults(None);
    disk.kill();
    let settings = SpoolSettings::new("/spool".into(), 4 << 20);
    let open = || seeded(&disk, &settings, &[key(1)], 4).unwrap();
    let (spool, committer) = open();
    assert_eq!(spool.read("a", None, usize::MAX, 9).unwrap().len(), 2);
    drop((spool, committer));
    disk.reboot(|| false);
    let (spool, _committer) = open();
    assert_eq!(spool.read("a", None, usize::MAX, 9).unwrap().len(), 2);
}

/// If the disk is unexpectedly full, transactions must wait in order, not fail, and continue once there is room.
#[test]
fn transactions_wait_for_room() {
    let Rig { spool, mut committer, disk, clock, .. } = rig(4 << 20, |disk| disk.set_no_room_ahead(true));
    send(&spool, "acme", body(100)).unwrap();
    committer.step(STEP);
    let (one, two) = (send(&spool, "acme", body(5000)).unwrap(), send(&spool, "acme", body(50)).unwrap());
    disk.set_capacity(disk.used());
    for _ in 0..5 {
        let step = committer.step(STEP);
        assert_eq!((step.committed, step.failed, step.waiting, step.poisoned), (0, 0, 2, None));
        clock.advance(Duration::from_secs(1));
    }
    assert!(one.lock().is_none());
    disk.set_capacity(64 << 20);
    assert_eq!(committer.step(STEP).committed, 2);
    assert!(seqs(&one)[0] < seqs(&two)[0]);
    assert!(disk.rule_breaks().is_empty(), "{:?}", disk.rule_breaks());
    assert_eq!(spool.read("a", None, usize::MAX, 9).unwrap().len(), 3, "what failed half way does not count");
}

/// A process that has no file handles for a while must not poison its spool; one that can never continue must.
#[test]
fn files_that_can_not_be_made() {
    for heals in [true, false] {
        let Rig { spool, mut committer, disk, clock, .. } = rig(4 << 20, |_| {});
        send(&spool, "acme", body(100)).unwrap();
        committer.step(STEP);
        let answer = send(&spool, "acme", body(100)).unwrap();
        // Writes are short until no file is left, and new ones can't be created.
        let mut short = 3;
        disk.set_faults(Some(Box::new(move |op| match op {
            Op::Write if short > 0 => {
                short -= 1;
                Some(Fault::Short)
            }
            Op::Create => Some(Fault::Io),
            _ => None,
        })));
        for steps in 1.. {
            let step = committer.step(STEP);
            clock.advance(Duration::from_millis(300));
            if steps == 8 {
                assert!(step.poisoned.is_none() && step.waiting == 1, "{step:?}");
                if heals {
                    disk.set_faults(None);
                }
            }
            if step.waiting == 0 {
                assert_eq!(step.poisoned.is_some(), !heals);
                break;
            }
        }
        assert_eq!(answer.lock().as_ref().unwrap().is_ok(), heals);
        assert!(disk.rule_breaks().is_empty(), "{:?}", disk.rule_breaks());
    }
}

/// A transaction that can never fit is refused for good, and room that was reserved and not used is freed.
#[test]
fn what_can_never_fit_is_refused() {
    let Rig { spool, mut committer, .. } = rig(4 << 20, |_| {});
    assert_eq!(spool.reserve(3 << 20).map(|_| ()), Err(Reason::TooLarge));
    let before = spool.status().bytes;
    drop(spool.reserve(1_500_000).unwrap());
    committer.step(STEP);
    committer.step(STEP);
    assert!(spool.status().bytes <= before + 1000, "{} > {before}", spool.status().bytes);
}

/// The index's memory must be bounded: too many records cause a refusal, which is counted and ends when they are
/// reclaimed, also if nobody asks.
#[test]
fn too_many_records_are_refused() {
    let (disk, meter, clock) = (SimDisk::new(), Meter::new(), ManualClock::at(UnixNanos(1)));
    let settings = SpoolSettings { max_records: 1000, ..SpoolSettings::new("/spool".into(), 16 << 20) };
    let rng = Arc::new(SeededRng::new(3));
    let opened = Spool::open(Arc::new(disk), &settings, &[key(1)], Arc::clone(&clock) as _, rng, &meter);
    let (spool, mut committer) = opened.unwrap();
    let many = |count| (0..count).map(|_| record(RecordKind::Leaf, &["a"], "x")).collect::<Vec<_>>();
    while send(&spool, "acme", many(100)).is_ok() {
        committer.step(STEP);
    }
    assert_eq!(spool.status().refusing, Some(Reason::SpoolFull));
    assert!(meter.render().contains("tollgate_spool_refused_total{reason=\"spool_full\"} 1"));
    assert!(spool.status().records < 1200);
    assert!(spool.drop_pending("a", None) > 900);
    clock.advance(Duration::from_secs(1));
    committer.step(STEP);
    committer.step(STEP);
    assert_eq!(spool.status().refusing, None);
    send(&spool, "acme", many(1)).unwrap();
}

/// A record that breaks the rules must stop the spool, not disappear.
#[test]
fn rules_of_enqueue() {
    let Rig { spool, mut committer, .. } = rig(4 << 20, |_| {});
    let answer = send(&spool, "acme", vec![record(RecordKind::Commit, &[], "x")]).unwrap();
    assert_eq!(committer.step(STEP).poisoned, Some(Reason::SpoolFailed));
    assert!(matches!(*answer.lock(), Some(Err(Reason::SpoolFailed))));
}

/// Consumers that are no longer configured must keep their records and be marked in the status.
#[test]
fn orphans_are_listed() {
    let Rig { spool, mut committer, clock, meter, .. } = rig(4 << 20, |_| {});
    spool.set_configured_consumers(&["a".into(), "idle".into()]);
    send(&spool, "acme", vec![record(RecordKind::Forward, &["a", "gone"], "x")]).unwrap();
    committer.step(STEP);
    clock.advance(Duration::from_secs(90));
    send(&spool, "acme", vec![record(RecordKind::Forward, &["gone"], "y")]).unwrap();
    committer.step(STEP);
    let status = spool.status();
    let shown: Vec<_> =
        status.consumers.iter().map(|consumer| (&*consumer.name, consumer.configured, consumer.records)).collect();
    assert_eq!(shown, [("a", true, 1), ("idle", true, 0), ("gone", false, 2)]);
    assert_eq!(status.consumers[2].oldest, Some(UnixNanos(1_700_000_000_000_000_000)));
    let text = meter.render();
    assert!(text.contains("tollgate_spool_pending_records{consumer=\"gone\"} 2"), "{text}");
    assert!(text.contains("tollgate_spool_oldest_seconds 90"), "{text}");
    assert_eq!(spool.drop_pending("gone", status.consumers[2].first), 1);
    assert_eq!(bodies(&spool, "gone"), ["y"]);
}

/// Data that nothing reads (of a removed exporter, or in the quarantine) has an age of its own, because it would hide the
/// age of newer data. The age is shown no more once an exporter reads the data again or it is dropped.
#[test]
fn unread_data_has_its_own_age() {
    let Rig { spool, mut committer, clock, meter, .. } = rig(4 << 20, |_| {});
    let configured: [Arc<str>; 2] = ["a".into(), QUARANTINE.into()];
    spool.set_configured_consumers(&configured);
    send(&spool, "acme", vec![record(RecordKind::Forward, &["gone"], "x")]).unwrap();
    send(&spool, "acme", vec![record(RecordKind::Forward, &[QUARANTINE], "y")]).unwrap();
    committer.step(STEP);
    clock.advance(Duration::from_secs(90));
    send(&spool, "acme", vec![record(RecordKind::Forward, &["a"], "z")]).unwrap();
    committer.step(STEP);
    clock.advance(Duration::from_secs(10));
    committer.step(STEP);
    let shows = |line: &str| meter.render().contains(&format!("\n{line}\n"));
    let unread =
        |consumer: &str, age: &str| shows(&format!("tollgate_spool_unread_seconds{{consumer=\"{consumer}\"}} {age}"));
    assert!(unread("gone", "100") && unread("quarantine", "100"), "{}", meter.render());
    assert!(shows("tollgate_spool_oldest_seconds 10"), "{}", meter.render());
    assert!(!meter.render().contains("tollgate_spool_unread_seconds{consumer=\"a\"}"));
    spool.set_configured_consumers(&["a".into(), "gone".into()]);
    spool.drop_pending(QUARANTINE, None);
    clock.advance(Duration::from_secs(10));
    committer.step(STEP);
    assert!(!meter.render().contains("tollgate_spool_unread_seconds{"), "{}", meter.render());
    assert!(shows("tollgate_spool_oldest_seconds 110"), "{}", meter.render());
}

/// Many threads on a real disk: every acknowledged record is there, in order, also for a second process.
#[test]
fn many_senders_on_a_real_disk() {
    let scratch = tempfile::tempdir().unwrap();
    let (spool, mut committer) = super::open(scratch.path(), 8 << 20, &[key(1)]).unwrap();
    let taken = super::open(scratch.path(), 8 << 20, &[key(1)]).map(|_| ()).unwrap_err();
    assert!(taken.exit_code == 1 && taken.to_string().contains("in use by another process"), "{taken}");
    let acked = Arc::new(Mutex::new(Vec::new()));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..4)
            .map(|sender| {
                let (spool, acked) = (Arc::clone(&spool), Arc::clone(&acked));
                scope.spawn(move || {
                    for number in 0..100 {
                        let text = format!("{sender}-{number}");
                        let records = vec![record(RecordKind::Forward, &["a"], text.clone())];
                        let acked = Arc::clone(&acked);
                        let on_commit: OnCommit = Box::new(move |result| acked.lock().push((result.unwrap()[0], text)));
                        let reservation = spool.reserve(1000).unwrap();
                        spool.enqueue(Transaction { account: "acme".into(), records }, reservation, on_commit);
                    }
                })
            })
            .collect();
        let stop = &stop;
        let committing = scope.spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                committer.step(Duration::from_millis(50));
            }
            assert!(committer.close());
        });
        for sender in senders {
            sender.join().unwrap();
        }
        stop.store(true, Ordering::SeqCst);
        spool.wake();
        committing.join().unwrap();
    });
    drop(spool);
    let acked = acked.lock();
    assert_eq!(acked.len(), 400);
    assert!(acked.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let (spool, _committer) = super::open(scratch.path(), 8 << 20, &[key(1)]).unwrap();
    assert!(bodies(&spool, "a").iter().eq(acked.iter().map(|(_, text)| text)));
}
