//! Full volumes.

use super::faults::{Rig, body, rig};
use super::*;

/// `left` is what new data can take: limited by the volume if that is smaller than the limit, so that the estimated
/// time reaches 0 before anything is refused. A volume that is small compared to a spool file is used nevertheless.
/// (With `limit - bytes`, 20 GiB were left.)
#[test]
fn what_is_left_counts_the_volume() {
    for volume in [40 << 20, 100 << 20, 400 << 20] {
        for no_room_ahead in [false, true] {
            let Rig { spool, mut committer, clock, .. } = rig(20 << 30, |disk| {
                disk.set_no_room_ahead(no_room_ahead);
                disk.set_capacity(volume);
            });
            committer.step(STEP);
            let before = spool.status().available;
            assert!(before > volume / 2 && before < volume, "{volume} {before}");
            assert!(spool.settings().segment_size >= volume / 16, "not so small that there would be thousands");
            let mut sent = 0;
            while send(&spool, "acme", body(500_000)).is_ok() {
                clock.advance(Duration::from_millis(300));
                assert_eq!(committer.step(STEP).committed, 1);
                sent += 500_000;
            }
            assert_eq!(spool.status().available, 0, "it refuses");
            assert!(
                sent > volume / 2 && sent.abs_diff(before) < volume / 4,
                "{volume}: {before} were left, {sent} taken"
            );
        }
    }
}

/// New data leaves room for other files: otherwise a checkpoint could never be written again, and the effects it covers
/// would fill the volume for ever. (Without `leaves_enough` no room is left.)
#[test]
fn a_volume_is_never_filled_to_the_last_byte() {
    let Rig { spool, mut committer, disk, clock, .. } = rig(64 << 20, |disk| disk.set_capacity(24 << 20));
    spool.reserve_free_space("checkpoint", 5 << 20);
    while send(&spool, "acme", body(300_000)).is_ok() {
        clock.advance(Duration::from_millis(300));
        assert_eq!(committer.step(STEP).committed, 1, "what was reserved has room");
    }
    let left = (24 << 20) - disk.used();
    assert!(left >= 5 << 20, "{left}");
    disk.set_capacity(32 << 20);
    clock.advance(Duration::from_millis(300));
    assert!(send(&spool, "acme", body(300_000)).is_ok(), "there is more");
}

/// A process is killed on a full volume, before its first checkpoint: the effects that this checkpoint will cover have
/// room, and so have the records that are needed before data can go. (Without `grown` the checkpoint has no room,
/// without `file_to_drain` the rest has none.)
#[test]
fn a_full_volume_that_is_killed_drains() {
    for (no_room_ahead, effects, more) in
        (0..48).map(|round| (round % 2 == 0, if round % 4 < 2 { 4_000 } else { 200 }, round * 200_000))
    {
        let Rig { spool, mut committer, disk, clock, .. } = rig(64 << 20, |disk| {
            disk.set_no_room_ahead(no_room_ahead);
            disk.set_capacity((20 << 20) + more);
        });
        spool.reserve_free_space("checkpoint", 0);
        let both = || [body(16_000), vec![record(RecordKind::Effects, &["checkpoint"], vec![5; effects])]].concat();
        while send(&spool, "acme", both()).is_ok() {
            clock.advance(Duration::from_millis(300));
            assert_eq!(committer.step(STEP).committed, 1, "what was reserved has room");
        }
        drop((spool, committer));
        disk.kill();
        let (settings, rng) = (SpoolSettings::new("/spool".into(), 64 << 20), Arc::new(SeededRng::new(more)));
        let opened =
            Spool::open(Arc::new(disk.clone()), &settings, &[key(1)], Arc::clone(&clock) as _, rng, &Meter::new());
        let (spool, mut committer) = opened.unwrap();
        spool.reserve_free_space("checkpoint", 0);
        committer.step(STEP);
        for _ in 0..20 {
            // New data keeps trying, and prevents nothing else from trying.
            while send(&spool, "acme", both()).is_ok() {
                committer.step(STEP);
            }
            let reservation = spool.reserve_to_prepare(bytes_to_reserve(1, 1_000)).expect("room to prepare");
            let seal = vec![record(RecordKind::Seal, &["a"], vec![1; 1_000])];
            spool.enqueue(Transaction { account: "acme".into(), records: seal }, reservation, Box::new(|_| {}));
            assert_eq!(committer.step(STEP).committed, 1);
        }
        let state = disk.directory(Path::new("/spool/state")).unwrap();
        let (checkpoint, _) = state.create("checkpoint", 0).unwrap();
        let bytes = usize::try_from(spool.pending_bytes("checkpoint")).unwrap();
        assert_eq!(checkpoint.write_at(0, &vec![3; bytes]).unwrap(), bytes, "the checkpoint has room: {more}");
        spool.reserve_free_space("checkpoint", bytes as u64);
        spool.drop_pending("checkpoint", None);
        spool.drop_pending("a", None);
        for _ in 0..10 {
            clock.advance(Duration::from_millis(300));
            committer.step(STEP);
        }
        assert!(send(&spool, "acme", both()).is_ok(), "{no_room_ahead} {more} {:?} {}", spool.status(), disk.used());
    }
}
