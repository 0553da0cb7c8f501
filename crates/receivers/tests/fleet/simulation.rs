//! Three workers share a topic while they are killed, lose power or their volume, end and start, fall silent, and while
//! brokers move partitions, refuse commits or are away. In the end the fleet must have what one undisturbed instance
//! makes of the same records: the same index by record and item, the same cost to the last decimal, the same runs with
//! the same numbers on every worker, the same items at the back end. `judge` says where a fleet may differ.
//!
//! Simulated are the clock, the disk (`SimDisk`), the broker (`MemoryBroker`), the back end, the vault's uploader and
//! the edge, whose partitioner and sealer are real. Not simulated: metrics, redaction, threads, a full or failing disk.
//!
//! `TOLLGATE_SEED=n TOLLGATE_SEEDS=1 cargo test --locked -p receivers --test fleet equals` runs seed `n`; more seeds
//! begin there.

#![expect(clippy::print_stdout, reason = "figures, shown on request")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use kafka_fakes::SimulatedMachine;
use kernel::clock::UnixNanos;

use crate::judge::judge;
use crate::world::World;

/// When simulations begin: 2026-11-20 09:30.
const NOW: UnixNanos = UnixNanos(1_795_167_000_000_000_000);
/// Number of test functions that share the seeds, so that the runner can use several threads.
const PARTS: u64 = 2;

/// Runs one simulation; returns what is wrong, and what happened.
fn simulate(seed: u64, prepare: impl FnOnce(&mut World)) -> (Vec<String>, BTreeMap<&'static str, u64>) {
    SimulatedMachine::run(NOW, async |machine| {
        let mut world = World::new(&machine, seed);
        prepare(&mut world);
        world.live().await;
        world.settle().await;
        let (single, outside) = world.single().await;
        let (wrong, several) = judge(&world, (&single, &outside));
        *world.seen.entry("items that several workers stored").or_default() += several;
        (wrong, world.seen)
    })
}

fn part(part: u64) {
    let seeds = fixtures::seeds(1, 200);
    let mut seen = BTreeMap::<&str, u64>::new();
    for seed in seeds.clone().filter(|seed| seed % PARTS == part) {
        let run = catch_unwind(AssertUnwindSafe(|| simulate(seed, |_| ())));
        let (wrong, happened) = run.unwrap_or_else(|_| panic!("a panic: TOLLGATE_SEEDS=1 TOLLGATE_SEED={seed}"));
        assert!(wrong.is_empty(), "TOLLGATE_SEEDS=1 TOLLGATE_SEED={seed}: {happened:?}\n{}", wrong.join("\n"));
        happened.into_iter().for_each(|(what, times)| *seen.entry(what).or_default() += times);
        if (seed - seeds.start) % 1000 / PARTS == 0 {
            println!("fleet: part {part}: seed {seed} of {}", seeds.end - 1);
        }
    }
    println!("fleet: part {part}: {seen:?}");
}

/// The same records through a fleet, whatever happens to it, and through one instance.

#[test]
fn a_fleet_equals_one_instance_0() {
    part(0);
}

#[test]
fn a_fleet_equals_one_instance_1() {
    part(1);
}

/// `may_panic`: a worker that can't open its own files again is a finding, too.
fn is_found_out(may_panic: bool, prepare: impl Fn(&mut World)) -> bool {
    (1..40).any(|seed| {
        let run = catch_unwind(AssertUnwindSafe(|| simulate(seed, &prepare)));
        run.map_or(may_panic, |(wrong, _)| !wrong.is_empty())
    })
}

/// The comparison must see that workers lose what they stored; otherwise it proves nothing.
#[test]
fn disks_that_do_not_sync_are_found_out() {
    assert!(is_found_out(true, |world| world.workers.iter().for_each(|worker| worker.disk.set_ignore_sync_data(true))));
}

/// The comparison must see that workers do not know each other's runs and bills.
#[test]
fn effects_that_are_not_shared_are_found_out() {
    assert!(is_found_out(false, |world| world.site.shares = false));
}
