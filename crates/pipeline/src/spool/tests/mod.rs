use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use super::*;
use crate::Reason;
use crate::disk::{Disk, RealDisk};
use ::config::ByteSize;
use kernel::clock::{ManualClock, SystemClock, UnixNanos};
use kernel::rng::SeededRng;
use kernel::secret::Secret;
use telemetry::Meter;

mod damage;
mod faults;
mod formats;
mod repack;
mod simulation;
mod volumes;

const STEP: Duration = Duration::ZERO;

fn key(n: u8) -> SpoolKey {
    SpoolKey::from_bytes([n; 32])
}

fn record(kind: RecordKind, holders: &[&str], body: impl Into<Bytes>) -> SpoolRecord {
    SpoolRecord { kind, holders: holders.iter().map(|name| Arc::from(*name)).collect(), body: body.into() }
}

fn open(path: &Path, max_size: u64, keys: &[SpoolKey]) -> Result<(Arc<Spool>, Committer), SpoolOpenError> {
    let settings = SpoolSettings::new(path.to_owned(), max_size);
    let clock = Arc::new(SystemClock::new());
    Spool::open(Arc::new(RealDisk), &settings, keys, clock, Arc::new(kernel::rng::SystemRng), &Meter::new())
}

/// Queues a transaction; its result arrives in the returned slot.
fn send(spool: &Arc<Spool>, account: &str, records: Vec<SpoolRecord>) -> Result<Answer, Reason> {
    let bytes = records.iter().map(|record| record.body.len() as u64).sum();
    let reservation = spool.reserve(bytes_to_reserve(records.len(), bytes))?;
    let answer = Answer::default();
    let slot = Arc::clone(&answer);
    let on_commit: OnCommit = Box::new(move |result| *slot.lock() = Some(result.map(<[RecordSeq]>::to_vec)));
    spool.enqueue(Transaction { account: Arc::from(account), records }, reservation, on_commit);
    Ok(answer)
}

type Answer = Arc<Mutex<Option<Result<Vec<RecordSeq>, Reason>>>>;

fn seqs(answer: &Answer) -> Vec<RecordSeq> {
    answer.lock().clone().expect("an answer").expect("committed")
}

fn bodies(spool: &Spool, consumer: &str) -> Vec<String> {
    let stored = spool.read(consumer, None, usize::MAX, usize::MAX).unwrap();
    stored.into_iter().map(|stored| String::from_utf8(stored.body.to_vec()).unwrap()).collect()
}

/// Committed records are announced to their holders, and nothing of them can be read in the files. Who gets which
/// records, also after restarts, is in `simulation`.
#[test]
fn records_are_announced_and_sealed() {
    let scratch = tempfile::tempdir().unwrap();
    let (spool, mut committer) = open(scratch.path(), 4 << 20, &[key(1)]).unwrap();
    let changed = spool.changed("vault");
    let fragment = record(RecordKind::Fragment, &["vault"], "fragment-canary");
    let forward = record(RecordKind::Forward, &["otlp/a", "file"], "forward-canary");
    let answer = send(&spool, "acme", vec![fragment, forward, record(RecordKind::Effects, &[], "nobody")]).unwrap();
    assert!(!changed.has_changed().unwrap());
    assert_eq!(committer.step(STEP).committed, 1);
    assert!(changed.has_changed().unwrap());
    assert_eq!(seqs(&answer).len(), 3);
    assert_eq!((bodies(&spool, "vault"), bodies(&spool, "checkpoint")), (vec!["fragment-canary".to_owned()], vec![]));
    drop((spool, committer));
    for file in std::fs::read_dir(scratch.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"canary" || window == b"otlp/a"), "sealed");
    }
}

/// A finished delivery is written to the progress file before the committer's next step, so that a kill in between
/// repeats nothing. (With `done` alone the record is pending again.)
#[test]
fn what_is_done_outlives_a_kill_at_once() {
    let scratch = tempfile::tempdir().unwrap();
    let (spool, mut committer) = open(scratch.path(), 4 << 20, &[key(1)]).unwrap();
    let records = vec![record(RecordKind::Forward, &["a", "b"], "one"), record(RecordKind::Forward, &["a"], "two")];
    let answer = send(&spool, "acme", records).unwrap();
    committer.step(STEP);
    spool.mark_done_and_write("a", &seqs(&answer)[..1]);
    drop(committer);
    spool.mark_done_and_write("a", &seqs(&answer));
    drop(spool);
    let (spool, _committer) = open(scratch.path(), 4 << 20, &[key(1)]).unwrap();
    assert_eq!(bodies(&spool, "a"), ["two"], "what was done after the lock was given back is not told");
    assert_eq!(bodies(&spool, "b"), ["one"]);
}

/// Keys are given as base64 or hex, have an id, and are never printed.
#[test]
fn keys() {
    let made = SpoolKey::generate(&SeededRng::new(5));
    let text = made.to_secret();
    assert_eq!(SpoolKey::from_secret(&text).unwrap().id(), made.id());
    let hex: String = made.bytes().iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(SpoolKey::from_secret(&Secret::new(format!(" {hex}\n"))).unwrap().id(), made.id());
    assert_eq!(made.id().len(), 16);
    assert_ne!(made.id(), key(1).id());
    for wrong in ["", "short", &"g".repeat(64), &"A".repeat(40)] {
        assert!(SpoolKey::from_secret(&Secret::new(wrong.to_owned())).is_err());
    }
}

/// Impossible numbers must be refused, all at once, without quoting values.
#[test]
fn config_is_checked() {
    let settings = SpoolConfig::default().settings(Path::new("/data/spool")).unwrap();
    assert_eq!((settings.max_size, settings.segment_size), (20 << 30, 64 << 20));
    assert_eq!(settings.directory, Path::new("/data/spool"));
    let config = SpoolConfig {
        directory: Some("".into()),
        max_size: ByteSize(1000),
        segment_size: Some(ByteSize(7)),
        quarantine: config::QuarantineConfig { max_size: Some(ByteSize(2000)) },
        keys: vec![Secret::new("hunter2".to_owned()).into(), key(1).to_secret().into(), key(1).to_secret().into()],
    };
    let problems = config.settings(Path::new("/x")).unwrap_err();
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["max_size", "segment_size", "quarantine.max_size", "directory"]);
    let problems = config.spool_keys().err().unwrap();
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["keys[0]", "keys[2]"]);
    assert!(problems.iter().all(|problem| !problem.message.contains("hunter2")));
    let small =
        SpoolConfig { max_size: ByteSize::mib(1), segment_size: Some(ByteSize(512 << 10)), ..SpoolConfig::default() };
    assert_eq!(small.settings(Path::new("/x")).unwrap_err()[0].path, "segment_size");
}

/// Waiting batches relative to capacity are as full as the spool is, so that an alert on the ratio fires before the
/// spool refuses.
#[test]
fn capacity_follows_the_room_that_is_left() {
    let scratch = tempfile::tempdir().unwrap();
    let (spool, _committer) = open(scratch.path(), 4 << 20, &[key(1)]).unwrap();
    let waiting = |records, bytes| ConsumerStatus {
        name: Arc::from("otlp"),
        configured: true,
        records,
        bytes,
        first: None,
        oldest: None,
    };
    let status = SpoolStatus { bytes: 1000, limit: 4000, available: 3000, max_records: 50, ..spool.status() };
    assert_eq!(status.capacity(None), 50, "as many as can be held");
    assert_eq!(status.capacity(Some(&waiting(0, 0))), 50);
    assert_eq!(status.capacity(Some(&waiting(10, 1000))), 40, "ten of a hundred bytes, and room for thirty");
    assert_eq!(status.capacity(Some(&waiting(40, 1000))), 50, "never more than can be held");
    let full = SpoolStatus { bytes: 4100, available: 0, ..status };
    assert_eq!(full.capacity(Some(&waiting(10, 1000))), 10, "full");
    assert_eq!(spool.status().max_records, SpoolSettings::new(scratch.path().to_owned(), 4 << 20).max_records);
}

/// A transferred record takes no room, so a full spool does not matter; it is pending for the receiver alone, once, at
/// its position, also after restarts; and it can be done like any other. A consumer that holds or held the record in
/// its own name receives nothing.
#[test]
fn what_is_given_waits_for_another() {
    let scratch = tempfile::tempdir().unwrap();
    let [quarantine, x, y]: [Arc<str>; 3] = ["quarantine".into(), "x".into(), "y".into()];
    let opened = || open(scratch.path(), 1 << 20, &[key(1)]).unwrap();
    let (spool, mut committer) = opened();
    send(&spool, "a", vec![record(RecordKind::Forward, &["x", "quarantine"], "both")]).unwrap();
    let mut bodies_sent = vec!["both".to_owned()];
    while send(&spool, "a", vec![record(RecordKind::Forward, &["quarantine"], vec![b'z'; 9_000])]).is_ok() {
        committer.step(STEP);
        bodies_sent.push("z".repeat(9_000));
    }
    assert_eq!(spool.status().refusing, Some(Reason::SpoolFull));
    let seqs_of = |spool: &Spool, who: &str| -> Vec<RecordSeq> {
        spool.read(who, None, usize::MAX, usize::MAX).unwrap().iter().map(|stored| stored.seq).collect()
    };
    let all = seqs_of(&spool, "quarantine");
    let bytes = spool.pending_bytes("quarantine");
    let given: Vec<bool> = all.iter().map(|seq| spool.transfer_record(&quarantine, &x, *seq)).collect();
    assert!(!given[0] && given[1..].iter().all(|given| *given) && given.len() > 50);
    assert!(!spool.transfer_record(&quarantine, &x, all[1]), "once");
    let check = |spool: &Spool| {
        assert_eq!(bodies(spool, "x"), bodies_sent);
        assert_eq!(seqs_of(spool, "quarantine"), all[..1]);
        let own = spool.pending_bytes("quarantine");
        assert_eq!(spool.pending_bytes("x"), bytes, "each record once, and that which it had itself");
        assert!(own > 0 && own < 1_000);
    };
    check(&spool);
    assert!(committer.close());
    // First as appended to the file, then as the file is rewritten.
    for _ in 0..2 {
        let (spool, committer) = opened();
        check(&spool);
        assert!(committer.close());
    }
    let (spool, committer) = opened();
    for seq in &all[1..] {
        assert!(spool.transfer_record(&x, &y, *seq), "and on to a third");
    }
    assert!(spool.transfer_record(&y, &quarantine, all[1]), "back to whose part it was");
    assert!(spool.transfer_record(&quarantine, &y, all[1]), "and away again");
    spool.mark_done("y", &all[1..3]);
    assert!(committer.close());
    let (spool, mut committer) = opened();
    assert_eq!((seqs_of(&spool, "x"), seqs_of(&spool, "y")), (all[..1].to_vec(), all[3..].to_vec()));
    spool.mark_done("y", &all);
    spool.mark_done("x", &all);
    spool.mark_done("quarantine", &all);
    committer.step(STEP);
    assert!(send(&spool, "a", vec![record(RecordKind::Forward, &["x"], vec![b'z'; 9_000])]).is_ok());
    assert!(committer.close());
}

/// Each member of a record's set can transfer its part and get it back, so two exporters that are redirected at once
/// both have held records. Also after restarts.
#[test]
fn all_members_of_a_set_give_and_take_back() {
    let scratch = tempfile::tempdir().unwrap();
    let [x, y, held_x, held_y]: [Arc<str>; 4] = ["x".into(), "y".into(), "held:x".into(), "held:y".into()];
    let opened = || open(scratch.path(), 1 << 20, &[key(1)]).unwrap();
    let (spool, mut committer) = opened();
    for body in ["one", "two", "three"] {
        send(&spool, "a", vec![record(RecordKind::Forward, &["x", "y"], body)]).unwrap();
        committer.step(STEP);
    }
    assert_eq!((spool.transfer_all(&x, &held_x), spool.transfer_all(&y, &held_y)), (3, 3));
    assert_eq!(spool.transfer_all(&held_x, &held_y), 0, "who has a part of a record gets no other");
    let bytes = spool.pending_bytes("held:x");
    assert!(committer.flush_all());
    drop((spool, committer));
    for _ in 0..2 {
        let (spool, committer) = opened();
        assert!(bodies(&spool, "x").is_empty() && bodies(&spool, "y").is_empty());
        assert_eq!(
            (bodies(&spool, "held:x"), bodies(&spool, "held:y").len()),
            (vec!["one".into(), "two".into(), "three".into()], 3)
        );
        assert_eq!(spool.pending_bytes("held:x"), bytes);
        assert!(committer.close());
    }
    let (spool, committer) = opened();
    assert_eq!(spool.transfer_all(&held_x, &x), 3);
    let first = spool.read("x", None, usize::MAX, 1).unwrap()[0].seq;
    spool.mark_done("x", &[first]);
    assert!(committer.close());
    for _ in 0..2 {
        let (spool, committer) = opened();
        assert_eq!(bodies(&spool, "x"), ["two", "three"], "what was had back is done as before");
        assert!(bodies(&spool, "held:x").is_empty() && bodies(&spool, "y").is_empty());
        assert_eq!(bodies(&spool, "held:y").len(), 3);
        assert!(committer.close());
    }
    let (spool, committer) = opened();
    assert_eq!((spool.drop_pending("x", None), spool.drop_pending("held:y", None)), (2, 3));
    assert!(committer.close());
}
