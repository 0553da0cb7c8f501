//! The power fails at every single step of a short life.

use super::*;

/// A short life: commits, deliveries, several segments, reclaiming, an orderly restart.
fn script(sim: &mut Sim) {
    if sim.open().is_err() {
        return;
    }
    for round in 0..14_usize {
        sim.send(&[(900, &[0]), (1_500, &[1, 2]), (30, &[3])]);
        if round % 3 == 0 {
            sim.send(&[(2_000, &[0, 1])]);
        }
        sim.step();
        sim.clock.advance(Duration::from_millis(700));
        if round % 4 == 3 {
            for consumer in 0..CONSUMERS.len() {
                let found = sim.waiting(consumer);
                let Some((spool, _)) = &sim.running else { return };
                let done: Vec<_> = found.into_iter().filter(|(_, id)| id % 5 != consumer || round > 8).collect();
                spool.mark_done(CONSUMERS[consumer], &done.iter().map(|(seq, _)| *seq).collect::<Vec<_>>());
                sim.model.done.extend(done.iter().map(|(_, id)| (consumer, *id)));
            }
            sim.step();
        }
        if round == 9 {
            sim.close();
            if sim.disk.crashed() || sim.open().is_err() {
                return;
            }
        }
    }
}

/// Runs the script once for each operation, with the power failing just before it; returns (runs, losses).
fn at_every_step(prepare: impl Fn(&SimDisk)) -> (u64, usize) {
    let mut whole = Sim::new(1);
    prepare(&whole.disk);
    script(&mut whole);
    assert!(!whole.disk.crashed() && whole.model.acked.len() > 40);
    let ops = whole.disk.ops();
    let (mut runs, mut losses) = (0, 0);
    for op in 0..=ops {
        for keep in [0, 2, 4] {
            let mut sim = Sim::new(op);
            prepare(&sim.disk);
            sim.disk.crash_at(Some(op));
            script(&mut sim);
            sim.collect();
            sim.reboot(keep);
            // Then another failure, somewhere in the recovery.
            if op % 3 == 0 {
                sim.disk.crash_at(Some(sim.disk.ops() + op % 31));
                let _ = sim.open();
                sim.reboot(keep);
            }
            let looked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match sim.open() {
                Ok(()) => sim.check(),
                Err(error) => sim.losses.push(error),
            }));
            if looked.is_err() {
                sim.losses.push("what came back is wrong".to_owned());
            }
            runs += 1;
            losses += usize::from(!sim.losses.is_empty());
        }
    }
    (runs, losses)
}

/// The power fails at every single step: no acknowledged record may be lost.
#[test]
fn power_failure_at_every_step_loses_nothing() {
    let (runs, losses) = at_every_step(|_| {});
    println!("{runs} power failures, {losses} losses");
    assert_eq!(losses, 0);
}

/// Proves that the simulation detects losses: without the fsync of a file, or of the directory, data is lost.
#[test]
fn without_a_sync_data_is_lost() {
    let forgets: [fn(&SimDisk, bool); 2] = [SimDisk::set_ignore_sync_data, SimDisk::set_ignore_sync_dir];
    for forget in forgets {
        let (runs, losses) = at_every_step(|disk| forget(disk, true));
        println!("{runs} power failures, {losses} losses");
        assert!(losses > 20, "{losses}");
    }
}
