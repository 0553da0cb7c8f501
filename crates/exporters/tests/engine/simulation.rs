//! The whole engine on one thread and in simulated time: clients that send again, back ends in any weather, a disk that
//! fails, fills up and loses what was not synced, clocks that jump, a process that is stopped, killed or gives up at
//! any moment. `TOLLGATE_SIM_SEEDS` takes so many seeds, from `TOLLGATE_SIM_SEED` on. Seeds that once found something
//! stand in `regressions.txt` and run first.

#![expect(clippy::print_stdout, reason = "figures, shown on request")]

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::world::{Life, World};
use crate::back_end::BackEnd;
use pipeline::{Ack, Exporter, OnFull, OutletSettings, Reason};

/// `reason seed`, one a line.
const REGRESSIONS: &str = include_str!("regressions.txt");
/// Threads of the test runner that share a run.
const PARTS: u64 = 4;

/// What came of a run.
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

/// What the processors must have done with what was accepted.
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

/// What must have become of one item at one back end that is served so, or what is wrong.
fn judge_item(
    name: &str,
    lives: u64,
    (one, served): (&BackEnd, &OutletSettings),
    kept: &BTreeSet<(String, &'static str)>,
) -> Option<String> {
    let fate = one.fate(name);
    let aside: Vec<&str> = kept.iter().filter(|(other, _)| other == name).map(|(_, reason)| *reason).collect();
    let (offered, expires) = (served.ack == Ack::Offered, served.on_full == OnFull::Expire);
    // memory alone has it, or it may be given up
    let may_go = offered || expires;
    // a copy for each life in which it could be committed, each of which may be delivered once in every later one
    let most = if offered { lives } else { lives * (lives + 1) / 2 };
    let said = |what: &str| Some(format!("{name} at {}: {what}: {fate:?}, aside {aside:?}", one.id()));
    match name.split('-').next().unwrap_or_default() {
        "poison" if fate.taken + fate.refused > 0 || !aside.is_empty() => said("a poisoned item went out"),
        "poison" => None,
        "sour" | "fat" if fate.taken + fate.refused > 0 => said("a back end took what it refuses"),
        _ if offered && !aside.is_empty() => said("what was offered only is in the quarantine"),
        "sour" | "fat" if may_go && aside.is_empty() => None,
        "sour" if aside != [Reason::BadData.label()] => said("not in the quarantine with its reason"),
        // with a sour one in the same request the other reason comes first
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

/// One run.
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

fn knob(name: &str, otherwise: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test's own knob")]
    let asked = std::env::var(name).ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(otherwise)
}

/// One of the parts of a run.
fn part(part: u64) {
    let (first, count) = (knob("TOLLGATE_SIM_SEED", 1), knob("TOLLGATE_SIM_SEEDS", 2_000));
    let known = REGRESSIONS.lines().filter_map(|line| line.split_whitespace().last()?.parse().ok());
    let known: Vec<u64> = if part == 0 { known.collect() } else { Vec::new() };
    let mut all = Found::default();
    let seeds = (first..first + count).filter(|seed| seed % PARTS == part);
    for seed in known.into_iter().chain(seeds) {
        let run = catch_unwind(AssertUnwindSafe(|| simulate(seed, |_| ())));
        let found = run.unwrap_or_else(|_| panic!("a panic: TOLLGATE_SIM_SEEDS=1 TOLLGATE_SIM_SEED={seed}"));
        let wrong = found.wrong.get(..found.wrong.len().min(10)).unwrap_or_default();
        assert!(wrong.is_empty(), "TOLLGATE_SIM_SEEDS=1 TOLLGATE_SIM_SEED={seed}: {wrong:#?}");
        all.add(found);
    }
    println!(
        "simulation: part {part} of seeds {first} to {}: {} items, {} deliveries of which {} again, {} hours, 0 lost; {:?}",
        first + count - 1,
        all.items,
        all.deliveries,
        all.twice,
        all.hours,
        all.seen
    );
}

/// Whatever happens when: what was answered reaches every back end (that is not only offered it, or may give up what is
/// too much), or is kept aside with the reason if it is refused for good, or sealed if no step can work on it; is
/// counted exactly once; comes again only where nobody can know better; nothing grows; it ends.
#[test]
fn every_item_is_accounted_for_0() {
    part(0);
}

/// The second part.
#[test]
fn every_item_is_accounted_for_1() {
    part(1);
}

/// The third part.
#[test]
fn every_item_is_accounted_for_2() {
    part(2);
}

/// The last part.
#[test]
fn every_item_is_accounted_for_3() {
    part(3);
}

/// A seed replays: the same world twice.
#[test]
fn a_seed_replays() {
    for seed in 1..20 {
        let (one, other) = (simulate(seed, |_| ()), simulate(seed, |_| ()));
        assert_eq!(one, other, "seed {seed}");
    }
}

/// The simulation must find losses when the disk does not sync: otherwise it proves nothing.
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
