//! The whole engine on one thread and in simulated time: clients that resend, back ends in any weather, a disk that
//! fails, fills up and loses unsynced data, clocks that jump, and a process that stops, is killed or gives up at any
//! moment.
//! `TOLLGATE_SEEDS` sets the number of seeds, `TOLLGATE_SEED` the first one. Seeds that once found a fault are listed
//! in `regressions.txt` and run first.

#![expect(clippy::print_stdout, reason = "figures, shown on request")]

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::world::{Life, World};
use crate::back_end::BackEnd;
use pipeline::{AckMode, Exporter, OnFullAction, OutletSettings, Reason};

/// One line each: `reason seed`.
const REGRESSIONS: &str = include_str!("regressions.txt");
/// Number of test functions that share the seeds, so that the runner can use several threads.
const PARTS: u64 = 4;

/// The result of one simulation.
#[derive(Default, PartialEq, Eq, Debug)]
struct Found {
    wrong: Vec<String>,
    items: u64,
    deliveries: u64,
    twice: u64,
    hours: u64,
    seen: BTreeMap<String, u64>,
}

impl Found {
    fn add(&mut self, other: Self) {
        self.items += other.items;
        self.deliveries += other.deliveries;
        self.twice += other.twice;
        self.hours += other.hours;
        for (what, times) in other.seen {
            *self.seen.entry(what).or_default() += times;
        }
    }
}

/// Checks that the processors handled every accepted item correctly.
fn judge_inside(world: &mut World, life: &Life) {
    let by_number: BTreeMap<&str, &str> = world.stored.iter().filter_map(|text| text.split_once(':')).collect();
    let mut wrong = Vec::new();
    if by_number.len() != world.stored.len() {
        wrong.push("a ticket's number was given twice".to_owned());
    }
    let sealed: BTreeSet<&str> = (world.stored.iter())
        .filter_map(|text| text.split_once("quarantine ")?.1.split_once(": "))
        .flat_map(|(_, names)| names.split(','))
        .collect();
    let counted = life.tally.counted();
    for name in world.sent.iter().filter(|one| one.told.is_some()).flat_map(|one| &one.names) {
        let poison = name.starts_with("poison");
        if poison && !sealed.contains(name.as_str()) {
            wrong.push(format!("{name} was answered and is not sealed"));
        }
        if !poison && counted.get(name) != Some(&1) {
            wrong.push(format!("{name} was counted {:?} times", counted.get(name)));
        }
    }
    for (name, reference) in world.back_ends.iter().flat_map(|one| one.references()) {
        let named = by_number.get(reference.as_str()).is_some_and(|names| names.split(',').any(|one| one == name));
        if !named {
            wrong.push(format!("{name} was sent with the reference {reference} of another"));
        }
    }
    world.wrong.append(&mut wrong);
}

/// Checks the fate of one item at one back end with the given outlet settings; returns the fault, if there is one.
fn judge_item(
    name: &str,
    lives: u64,
    (one, served): (&BackEnd, &OutletSettings),
    kept: &BTreeSet<(String, &'static str)>,
) -> Option<String> {
    let fate = one.fate(name);
    let aside: Vec<&str> = kept.iter().filter(|(other, _)| other == name).map(|(_, reason)| *reason).collect();
    let (offered, expires) = (served.ack == AckMode::Offered, served.on_full == OnFullAction::Expire);
    // the item is only in memory, or it may be dropped
    let may_go = offered || expires;
    // a copy for each life in which it could be committed, each of which may be delivered once in every later life
    let most = if offered { lives } else { lives * (lives + 1) / 2 };
    let said = |what: &str| Some(format!("{name} at {}: {what}: {fate:?}, aside {aside:?}", one.id()));
    match name.split('-').next().unwrap_or_default() {
        "poison" if fate.taken + fate.refused > 0 || !aside.is_empty() => said("a poisoned item went out"),
        "poison" => None,
        "sour" | "fat" if fate.taken + fate.refused > 0 => said("a back end took what it refuses"),
        _ if offered && !aside.is_empty() => said("what was offered only is in the quarantine"),
        "sour" | "fat" if may_go && aside.is_empty() => None,
        "sour" if aside != [Reason::BadData.label()] => said("not in the quarantine with its reason"),
        // if the same request contains a sour item, that reason comes first
        "fat" if aside.is_empty() => said("not in the quarantine"),
        "sour" | "fat" => None,
        _ if !aside.is_empty() => said("in the quarantine beside a bad one"),
        _ if fate.taken + fate.refused == 0 && !may_go => said("was answered and did not arrive"),
        _ if fate.taken + fate.refused > most + fate.unheard => said("came too often"),
        _ => None,
    }
}

fn judge(world: &mut World, life: &Life) -> Found {
    judge_inside(world, life);
    let kept = World::quarantine(life);
    let mut found = Found { hours: world.age().as_secs() / 3600, ..Found::default() };
    let mut wrong = Vec::new();
    for one in &world.back_ends {
        let empty = BTreeSet::new();
        let kept = kept.get(&**one.id()).unwrap_or(&empty);
        for name in world.sent.iter().filter(|one| one.told.is_some()).flat_map(|one| &one.names) {
            let fate = one.fate(name);
            found.deliveries += fate.taken;
            found.twice += fate.taken.saturating_sub(1);
            let served = world.served(one.id());
            wrong.extend(judge_item(name, world.lives, (one, served), kept));
        }
        found.seen.extend(one.seen().into_iter().map(|(weather, times)| (format!("{weather:?}"), times)));
    }
    world.wrong.append(&mut wrong);
    let (status, kept) = (life.rig.spool.status(), life.rig.waiting(pipeline::outlet::QUARANTINE).len());
    if status.segments > 4 + kept as u64 {
        world.wrong.push(format!("{} segments stayed for {kept} records", status.segments));
    }
    world.wrong.extend(world.disk.rule_breaks());
    found.items = world.sent.iter().map(|one| one.names.len() as u64).sum();
    found.seen.extend(world.seen.iter().map(|(what, times)| ((*what).to_owned(), *times)));
    found.wrong = std::mem::take(&mut world.wrong);
    found
}

/// Runs one simulation.
fn simulate(seed: u64, prepare: impl FnOnce(&mut World)) -> Found {
    let mut world = World::new(seed);
    prepare(&mut world);
    for _ in 0..world.pick(4) {
        let Some(life) = world.start() else { break };
        world.live(life);
    }
    match world.start_for_good() {
        Some(mut life) => {
            world.settle(&mut life);
            judge(&mut world, &life)
        }
        None => Found { wrong: world.wrong, ..Found::default() },
    }
}

/// Runs one part of the seeds.
fn part(part: u64) {
    let seeds = fixtures::seeds(1, 1_000);
    let known = REGRESSIONS.lines().filter_map(|line| line.split_whitespace().last()?.parse().ok());
    let known: Vec<u64> = if part == 0 { known.collect() } else { Vec::new() };
    let mut all = Found::default();
    for seed in known.into_iter().chain(seeds.clone().filter(|seed| seed % PARTS == part)) {
        let run = catch_unwind(AssertUnwindSafe(|| simulate(seed, |_| ())));
        let found = run.unwrap_or_else(|_| panic!("a panic: TOLLGATE_SEEDS=1 TOLLGATE_SEED={seed}"));
        let wrong = found.wrong.get(..found.wrong.len().min(10)).unwrap_or_default();
        assert!(wrong.is_empty(), "TOLLGATE_SEEDS=1 TOLLGATE_SEED={seed}: {wrong:#?}");
        all.add(found);
    }
    println!(
        "simulation: part {part} of seeds {seeds:?}: {} items, {} deliveries of which {} again, {} hours, 0 lost; {:?}",
        all.items, all.deliveries, all.twice, all.hours, all.seen
    );
}

/// Whatever happens at any time: an acknowledged item reaches every back end (except where it is only offered or may
/// be expired), or is quarantined with its reason if it is refused for good, or is sealed if no step can process it.
/// Each item is counted exactly once and is sent twice only if the gateway can't know better; nothing grows without
/// limit; the run ends.
#[test]
fn every_item_is_accounted_for_0() {
    part(0);
}

#[test]
fn every_item_is_accounted_for_1() {
    part(1);
}

#[test]
fn every_item_is_accounted_for_2() {
    part(2);
}

#[test]
fn every_item_is_accounted_for_3() {
    part(3);
}

/// The same seed gives the same run twice.
#[test]
fn a_seed_replays() {
    for seed in 1..20 {
        let (one, other) = (simulate(seed, |_| ()), simulate(seed, |_| ()));
        assert_eq!(one, other, "seed {seed}");
    }
}

/// The simulation must detect losses on a disk that does not sync; otherwise it proves nothing.
#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    let found = (0..60).any(|seed| {
        let run = AssertUnwindSafe(|| {
            simulate(seed, |world| {
                world.disk.set_ignore_sync_data(true);
                world.loses_unsynced = true;
            })
        });
        !catch_unwind(run).is_ok_and(|found| found.wrong.is_empty())
    });
    assert!(found);
}
