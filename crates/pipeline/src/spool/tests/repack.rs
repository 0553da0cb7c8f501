//! Quarantined items, spread over many segments, must not use up the spool.

use super::*;
use crate::testing::engine::sorted;
use crate::testing::sim_disk::SimDisk;
use kernel::clock::Clock;

const LIMIT: u64 = 512 << 10;

struct Small {
    clock: Arc<ManualClock>,
    disk: SimDisk,
    spool: Arc<Spool>,
    committer: Committer,
    /// Transactions waiting after the last step, which can only be repacked ones.
    on_its_way: usize,
    /// A round ends as soon as there are any.
    halts: bool,
    /// Bodies that the quarantine must have.
    kept: Vec<String>,
}

fn opened(disk: &SimDisk, clock: &Arc<ManualClock>) -> Result<(Arc<Spool>, Committer), SpoolOpenError> {
    let settings = SpoolSettings { segment_size: 16 << 10, ..SpoolSettings::new("/spool".into(), LIMIT) };
    let rng = Arc::new(SeededRng::new(3));
    Spool::open(Arc::new(disk.clone()), &settings, &[key(1)], Arc::clone(clock) as Arc<dyn Clock>, rng, &Meter::new())
}

impl Small {
    fn new() -> Self {
        let (disk, clock) = (SimDisk::new(), ManualClock::at(UnixNanos(1_700_000_000_000_000_000)));
        let (spool, committer) = opened(&disk, &clock).expect("opened");
        Self { clock, disk, spool, committer, on_its_way: 0, halts: false, kept: Vec::new() }
    }

    fn step(&mut self) -> CommitStep {
        self.clock.advance(Duration::from_millis(300));
        let step = self.committer.step(STEP);
        self.on_its_way = step.waiting;
        step
    }

    /// One refused item among much data that is delivered. Returns false if there was no room.
    fn round(&mut self, round: usize) -> bool {
        let account = ["a", "b"][round / 3 % 2];
        let body = format!("kept {round} {}", "k".repeat(round % 40));
        let Ok(answer) = send(&self.spool, account, vec![record(RecordKind::Forward, &["quarantine"], body.clone())])
        else {
            return false;
        };
        self.step();
        if !matches!(&*answer.lock(), Some(Ok(_))) {
            return false;
        }
        self.kept.push(body);
        for _ in 0..4 {
            let Ok(sent) = send(&self.spool, "a", vec![record(RecordKind::Forward, &["x"], vec![b'z'; 5_000])]) else {
                return false;
            };
            self.step();
            let Some(Ok(seqs)) = sent.lock().clone() else { return false };
            self.spool.mark_done("x", &seqs);
            if self.halts && self.on_its_way > 0 {
                break;
            }
        }
        true
    }

    fn found(&self) -> Vec<String> {
        bodies(&self.spool, "quarantine")
    }
}

/// With a refused item in each segment, ten times the spool's size passes through: all of it is accepted, and each
/// refused item is there once, in order except for repacked ones, also after a restart. (Without repacking the spool is
/// full after some thirty items.)
#[test]
fn some_kept_items_do_not_hold_the_spool() {
    let mut small = Small::new();
    for round in 0..300 {
        assert!(small.round(round), "no room in round {round}");
        assert!(small.spool.pending_bytes("quarantine") < 64 << 10, "nothing counts twice");
    }
    let status = small.spool.status();
    assert!(status.segments < 24 && status.bytes < LIMIT * 3 / 4, "{} segments", status.segments);
    let kept = sorted(small.kept.clone());
    assert!(sorted(small.found()) == kept, "{} of {}", small.found().len(), kept.len());
    assert!(small.committer.close());
    let (spool, _committer) = opened(&small.disk, &small.clock).expect("opened");
    assert!(sorted(bodies(&spool, "quarantine")) == kept, "after a restart");
    let stored = spool.read("quarantine", None, usize::MAX, usize::MAX).unwrap();
    assert!(["a", "b"].iter().all(|account| stored.iter().any(|stored| *stored.account == **account)));
}

/// A spool is full of data for a back end that is down, with refused items in every segment, and no room left to
/// prepare records. Once the back end has accepted everything, there is room again, also after a restart. (Without the
/// room kept for draining, or if a start loses it, the spool refused for good.)
#[test]
fn a_full_spool_makes_room_for_itself() {
    for restarts in [false, true] {
        full_spool(restarts);
    }
}

fn full_spool(restarts: bool) {
    let mut small = Small::new();
    let kept = |len: usize| vec![record(RecordKind::Forward, &["quarantine"], vec![b'k'; len])];
    while send(&small.spool, "a", kept(100)).is_ok()
        && send(&small.spool, "a", vec![record(RecordKind::Forward, &["x"], vec![b'z'; 5_000])]).is_ok()
    {
        small.step();
    }
    small.step();
    while let Ok(reservation) = small.spool.reserve_to_prepare(bytes_to_reserve(1, 500)) {
        let transaction = Transaction { account: Arc::from("b"), records: kept(500) };
        small.spool.enqueue(transaction, reservation, Box::new(|_| {}));
        small.step();
    }
    if restarts {
        let Small { clock, disk, spool, committer, .. } = small;
        assert!(committer.close());
        drop(spool);
        let (spool, committer) = opened(&disk, &clock).expect("opened");
        small = Small { clock, disk, spool, committer, on_its_way: 0, halts: false, kept: Vec::new() };
        let full = send(&small.spool, "a", vec![record(RecordKind::Forward, &["x"], vec![b'z'; 5_000])]);
        assert!(full.is_err(), "new data takes none of it");
        assert!(small.spool.reserve_to_drain(bytes_to_reserve(1, 200)).is_ok(), "what lets data go has room");
    }
    let there = small.found().len();
    let waiting = small.spool.read("x", None, usize::MAX, usize::MAX).expect("read");
    small.spool.mark_done("x", &waiting.iter().map(|stored| stored.seq).collect::<Vec<_>>());
    for _ in 0..100 {
        small.step();
    }
    let sent = send(&small.spool, "a", vec![record(RecordKind::Forward, &["x"], vec![b'z'; 5_000])]);
    let status = small.spool.status();
    assert!(sent.is_ok(), "restarts {restarts}: {} segments, {} bytes", status.segments, status.bytes);
    assert_eq!(small.found().len(), there);
    assert!(there > 30 && status.bytes < LIMIT * 3 / 4, "{there} kept in {} bytes", status.bytes);
}

/// A record that is dropped or transferred while it is repacked must not reappear.
#[test]
fn what_goes_meanwhile_stays_away() {
    let mut small = Small::new();
    let (quarantine, x): (Arc<str>, Arc<str>) = ("quarantine".into(), "x".into());
    small.halts = true;
    assert!((0..30).any(|round| small.round(round) && small.on_its_way > 0), "something is on its way");
    let before = small.spool.read("quarantine", None, usize::MAX, usize::MAX).unwrap();
    assert!(small.spool.transfer_record(&quarantine, &x, before[0].seq));
    small.spool.mark_done("quarantine", &[before[1].seq]);
    small.step();
    let expected = small.kept.split_off(2);
    assert_eq!(sorted(small.found()), sorted(expected));
    assert_eq!(bodies(&small.spool, "x"), [small.kept[0].clone()]);
}

/// The power fails at every single step: no quarantined record is lost; those being repacked may exist twice.
#[test]
fn a_power_failure_loses_nothing_that_is_kept() {
    let life = |small: &mut Small| {
        for round in 0..45 {
            if !small.round(round) {
                return;
            }
        }
    };
    let mut whole = Small::new();
    let begin = whole.disk.ops();
    life(&mut whole);
    assert_eq!(whole.kept.len(), 45);
    assert!(whole.found().iter().any(|body| body.starts_with("kept 0 ")));
    assert_ne!(whole.found(), whole.kept, "something was stored anew");
    let mut at = begin;
    while at < whole.disk.ops() {
        let mut small = Small::new();
        small.disk.crash_at(Some(at));
        life(&mut small);
        drop((small.spool, small.committer));
        let coin = SeededRng::new(at);
        small.disk.reboot(|| coin.next().is_multiple_of(2));
        let (spool, _committer) =
            opened(&small.disk, &small.clock).unwrap_or_else(|error| panic!("step {at}: {error}"));
        let found = bodies(&spool, "quarantine");
        for kept in &small.kept {
            let times = found.iter().filter(|found| *found == kept).count();
            assert!(times > 0, "step {at}: {kept} is lost");
            assert!(times < 3, "step {at}: {kept} is there {times} times");
        }
        // In the last steps something is repacked.
        at += if at + 400 < whole.disk.ops() { 7 } else { 1 };
    }
}
