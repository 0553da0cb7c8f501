use std::io::Write as _;
use std::path::Path;

use super::*;
use crate::spool::{SpoolRecord, Transaction};
use crate::testing::engine::{Sink, Tally, spans};
use crate::testing::rig::{Parts, Rig};
use crate::testing::sim_disk::{Fault, Op, SimDisk};
use crate::{Exporter, Trust};

fn open(folder: &Path) -> (Rig, Arc<Tally>) {
    open_with(folder, &[3])
}

/// As [`open`], with these keys.
fn open_with(folder: &Path, keys: &[u8]) -> (Rig, Arc<Tally>) {
    let tally = Tally::new("tally");
    let parts = Parts::new(vec![tally.clone()], vec![Sink::open("x", Trust::Internal) as Arc<dyn Exporter>]);
    let keys = keys.iter().map(|key| SpoolKey::from_bytes([*key; 32])).collect();
    (Parts { keys, ..parts }.open(folder), tally)
}

fn counted(tally: &Tally) -> String {
    tally.counted().iter().map(|(name, count)| format!("{name}={count}")).collect::<Vec<_>>().join(" ")
}

/// After a crash, an idle gateway must release the effects that its checkpoint covers: otherwise they would keep their
/// segments for ever, and look like an ageing backlog.
#[test]
fn an_idle_start_gives_up_what_the_checkpoint_covers() {
    let folder = tempfile::tempdir().unwrap();
    let (mut rig, _) = open(folder.path());
    for name in ["a", "b", "c"] {
        rig.put(spans(&[name]));
    }
    rig.checkpoints.write().unwrap();
    // Killed before the committer wrote its progress.
    drop(rig);
    let (mut rig, tally) = open(folder.path());
    assert_eq!(counted(&tally), "a=1 b=1 c=1");
    rig.checkpoints.write().unwrap();
    rig.commit();
    assert!(rig.waiting(CHECKPOINT).is_empty(), "nothing to do, and nothing held");
    let held = rig.spool.status().consumers.into_iter().find(|consumer| &*consumer.name == CHECKPOINT).unwrap();
    assert_eq!((held.records, held.oldest), (0, None));
}

/// A file that can't be read at the moment must stop the start: counts that start at zero would overwrite it.
#[test]
fn a_file_that_can_not_be_read_now_is_not_given_up() {
    let disk = SimDisk::new();
    let mut parts = Parts::new(vec![Tally::new("tally")], vec![Sink::open("x", Trust::Internal)]);
    parts.disk = Arc::new(disk.clone());
    let mut rig = parts.open(Path::new("/sim"));
    rig.put(spans(&["a"]));
    rig.checkpoints.write().unwrap();
    disk.set_faults(Some(Box::new(|op| (op == Op::Other).then_some(Fault::Io))));
    let failed = rig.checkpoints.restore().unwrap_err().to_string();
    assert!(failed.contains(FILE), "{failed}");
    disk.set_faults(None);
    assert!(rig.checkpoints.restore().unwrap().file);
}

/// If another process fills the volume to the last byte, the checkpoint fails, is counted, leaves no file behind and
/// covers nothing; deliveries meanwhile are remembered; with the first free room everything continues. (Without the
/// removal in `replace` half of a draft remains.)
#[test]
fn a_volume_filled_by_others_is_outlived() {
    let disk = SimDisk::new();
    let (tally, sink) = (Tally::new("tally"), Sink::open("x", Trust::Internal));
    let mut parts = Parts::new(vec![tally.clone()], vec![sink.clone()]);
    let _ = sink.clock.set(parts.clock.clone());
    parts.disk = Arc::new(disk.clone());
    let mut rig = parts.open(Path::new("/sim"));
    rig.put(spans(&["a"]));
    // Enough room to start a draft, but not to finish it.
    disk.set_capacity(disk.used() + 20);
    assert_eq!(rig.checkpoints.write().unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(!disk.names().iter().any(|name| name == DRAFT_FILE), "{:?}", disk.names());
    assert!(rig.meter.render().contains("tollgate_checkpoint_failures_total{step=\"write\"} 1"));
    assert_eq!(rig.waiting(CHECKPOINT).len(), 1, "its effects are still there");
    disk.set_capacity(disk.used());
    assert!(rig.checkpoints.write().is_err());
    rig.run_outlet(std::time::Duration::from_secs(1), &tokio::sync::watch::Sender::new(false));
    assert_eq!(sink.all(), ["a"]);
    drop(rig);
    disk.kill();
    let again = |disk: &SimDisk| {
        let mut parts = Parts::new(vec![tally.clone()], vec![sink.clone() as Arc<dyn Exporter>]);
        parts.disk = Arc::new(disk.clone());
        parts.open(Path::new("/sim"))
    };
    let mut rig = again(&disk);
    assert!(rig.waiting("x").is_empty(), "delivered on the full volume, and known after a kill");
    assert_eq!(rig.waiting(CHECKPOINT).len(), 1);
    disk.set_capacity(u64::MAX);
    rig.checkpoints.write().unwrap();
    rig.commit();
    assert!(rig.waiting(CHECKPOINT).is_empty());
    assert_eq!(rig.put(spans(&["b"])), crate::Outcome::Accepted);
}

/// Effects of another version can't be counted; they must not be kept for ever.
#[test]
fn effects_of_another_version_are_passed_by() {
    let folder = tempfile::tempdir().unwrap();
    let (mut rig, _) = open(folder.path());
    let record =
        SpoolRecord { kind: RecordKind::Effects, holders: Arc::new([CHECKPOINT.into()]), body: vec![255, 1].into() };
    let reservation = rig.spool.reserve(1000).unwrap();
    let transaction = Transaction { account: "default".into(), records: vec![record] };
    rig.spool.enqueue(transaction, reservation, Box::new(|_| {}));
    rig.commit();
    drop(rig);
    let (rig, _) = open(folder.path());
    assert!(rig.meter.render().contains("tollgate_checkpoint_failures_total{step=\"read\"} 1"));
    assert_eq!(rig.waiting(CHECKPOINT).len(), 1);
    rig.checkpoints.write().unwrap();
    assert!(rig.waiting(CHECKPOINT).is_empty());
}

/// After a rotation the state is sealed with the new key, also by a gateway that has nothing new to save: otherwise the
/// counts would be lost when the old key is taken away. (Before, only a change of the state wrote the file.) A
/// checkpoint without changes costs nothing.
#[test]
fn an_idle_gateway_seals_its_state_with_the_new_key() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spool/state").join(FILE);
    let (mut rig, _) = open_with(folder.path(), &[3]);
    rig.checkpoints.write().unwrap();
    assert!(!file.exists(), "without a change nothing is written");
    rig.put(spans(&["a", "b"]));
    rig.checkpoints.write().unwrap();
    rig.commit();
    drop(rig);
    let (mut rig, tally) = open_with(folder.path(), &[4, 3]);
    assert_eq!(counted(&tally), "a=1 b=1");
    rig.checkpoints.write().unwrap();
    rig.commit();
    let sealed = std::fs::read(&file).unwrap();
    rig.checkpoints.write().unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), sealed, "once is enough: the salt would differ");
    assert!(file::open(&[SpoolKey::from_bytes([4; 32])], sealed.clone()).is_some());
    assert!(file::open(&[SpoolKey::from_bytes([3; 32])], sealed).is_none());
}

/// A part that its processor can't read, perhaps a newer version's, must not be overwritten either. (Before the fix the
/// next checkpoint replaced the file, and going forward again found counts that had begun at zero.)
#[test]
fn a_file_of_which_a_part_can_not_be_read_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (mut rig, _) = open(folder.path());
    rig.put(spans(&["newer\nversion"]));
    rig.checkpoints.write().unwrap();
    rig.commit();
    drop(rig);
    let state = folder.path().join("spool/state");
    let written = std::fs::read(state.join(FILE)).unwrap();
    let (mut rig, tally) = open(folder.path());
    assert_eq!(counted(&tally), "");
    rig.put(spans(&["a"]));
    rig.checkpoints.write().unwrap();
    assert_eq!(std::fs::read(state.join(UNREADABLE_FILE)).unwrap(), written);
    drop(rig);
    let (_, tally) = open(folder.path());
    assert_eq!(counted(&tally), "a=1");
    // A crash after the first of the two renames leaves the draft alone.
    std::fs::rename(state.join(FILE), state.join(DRAFT_FILE)).unwrap();
    let (_, tally) = open(folder.path());
    assert_eq!(counted(&tally), "a=1");
}

/// The file must contain nothing readable. One that can't be read must not be overwritten: it may become readable with
/// its key or after a repair. One such file is kept. (Before the fix the next checkpoint replaced it, and its counts
/// were lost.)
#[test]
fn what_can_not_be_read_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (mut rig, _) = open(folder.path());
    rig.put(spans(&["canary-in-the-state"]));
    rig.checkpoints.write().unwrap();
    rig.commit();
    drop(rig);
    let state = folder.path().join("spool/state");
    let (path, aside) = (state.join(FILE), state.join(UNREADABLE_FILE));
    for round in 0..2 {
        let mut sealed = std::fs::read(&path).unwrap();
        assert!(memchr::memmem::find(&sealed, b"canary").is_none());
        *sealed.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &sealed).unwrap();
        let (mut rig, _) = open(folder.path());
        assert!(rig.meter.render().contains("tollgate_checkpoint_failures_total{step=\"read\"} 1"));
        assert!(!rig.checkpoints.restore().unwrap().file);
        assert_eq!(std::fs::read(&path).unwrap(), sealed, "nothing takes its place before there is something to write");
        rig.put(spans(&["c"]));
        rig.checkpoints.write().unwrap();
        assert_eq!(std::fs::read(&aside).unwrap(), sealed, "round {round}");
        rig.put(spans(&["d"]));
        rig.checkpoints.write().unwrap();
        assert_eq!(std::fs::read(&aside).unwrap(), sealed, "one that can be read is replaced as ever");
        drop(rig);
        let (rig, _) = open(folder.path());
        assert!(rig.checkpoints.restore().unwrap().file);
        assert_eq!(std::fs::read_dir(&state).unwrap().count(), 2);
    }
}

fn snapshot() -> ProcessorSnapshot {
    ProcessorSnapshot {
        applied: Some(RecordSeq(77)),
        states: vec![("cost".into(), "state".into()), ("runs".into(), bytes::Bytes::new())],
    }
}

/// A sealed snapshot must open only with its key, and any changed byte must be detected.
#[test]
fn sealed_snapshots_come_back() {
    let (key, other) = (SpoolKey::from_bytes([1; 32]), SpoolKey::from_bytes([2; 32]));
    let saved = b"\x01\x4d\0\0\0\0\0\0\0\x04\0\0\0cost\x05\0\0\0state\x04\0\0\0runs\0\0\0\0";
    let sealed = file::seal(&key, &[9; 32], 0, |out| out.write_all(saved).ok()).unwrap();
    let read = file::open(&[other.clone(), key.clone()], sealed.clone()).unwrap();
    assert!(read == snapshot());
    assert!(file::open(&[other], sealed.clone()).is_none());
    for at in 0..sealed.len() {
        let mut damaged = sealed.clone();
        damaged[at] ^= 0x40;
        assert!(file::open(std::slice::from_ref(&key), damaged).is_none(), "byte {at}");
        assert!(file::open(std::slice::from_ref(&key), sealed[..at].to_vec()).is_none(), "cut at {at}");
    }
}
