//! A simulation of the whole engine on one thread: clients that send again, a disk that loses what was not synced, a
//! process that is killed at any operation, back ends that fail. Seeds are printed; `TOLLGATE_SIM_SEEDS` takes more, from
//! `TOLLGATE_SIM_SEED` on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::watch;

use super::*;
use crate::clock::ManualClock;
use crate::clock::UnixNanos;
use crate::pipeline::{Exporter, Outcome, Processor, Reason, Trust};
use crate::rng::SeededRng;
use crate::testing::drive::drive;
use crate::testing::engine::{Drafter, REFERENCE, Sink, Step, Tally, names_with, spans};
use crate::testing::rig::{Parts, Rig};
use crate::testing::sim_disk::SimDisk;

/// One client's batch: sent until it is answered for good.
struct Sent {
    names: Vec<String>,
    answer: Option<BoxFuture<'static, Outcome>>,
    accepted: Option<Outcome>,
}

/// What does not end with the process.
struct World {
    disk: SimDisk,
    clock: Arc<ManualClock>,
    rng: Arc<SeededRng>,
    sinks: Vec<Arc<Sink>>,
    sick: Arc<AtomicBool>,
    sent: Vec<Sent>,
    lives: u64,
    loses_unsynced: bool,
}

/// What ends with the process.
struct Life {
    rig: Rig,
    tally: Arc<Tally>,
    outlets: BoxFuture<'static, ()>,
    _stop: watch::Sender<bool>,
}

impl World {
    fn new(seed: u64) -> Self {
        let (rng, sick) = (Arc::new(SeededRng::new(seed)), Arc::new(AtomicBool::new(true)));
        let clock = ManualClock::at(UnixNanos(1_700_000_000_000_000_000));
        let sink = |id: &str, limit| {
            let (rng, sick) = (Arc::clone(&rng), Arc::clone(&sick));
            let sink = Sink::new(id, Trust::ThirdParty, limit, move |_| {
                let wait = Duration::from_millis(rng.next() % 3_000);
                match rng.next() % 6 {
                    0 | 1 if sick.load(Ordering::SeqCst) => {
                        (wait, Outcome::Retry { after: None, reason: Reason::Unavailable })
                    }
                    2 if sick.load(Ordering::SeqCst) => (wait, Outcome::Refused { reason: Reason::Denied }),
                    _ => (wait, Outcome::Accepted),
                }
            });
            let _ = sink.clock.set(clock.clone());
            sink
        };
        let sinks = vec![sink("x", 400), sink("y", 1 << 20)];
        Self { disk: SimDisk::new(), clock, rng, sinks, sick, sent: Vec::new(), lives: 0, loses_unsynced: false }
    }

    fn pick(&self, below: u64) -> u64 {
        self.rng.next() % below
    }

    fn start(&mut self) -> Life {
        self.lives += 1;
        let tally = Tally::new("tally");
        let vault = Drafter::after("vault", self.lives * 1_000_000);
        let processors: Vec<Arc<dyn Processor>> =
            vec![tally.clone(), vault, Step::picky("picky"), Step::clear("clear")];
        let exporters = self.sinks.iter().map(|sink| Arc::clone(sink) as Arc<dyn Exporter>).collect();
        let mut parts = Parts::new(processors, exporters);
        parts.disk = Arc::new(self.disk.clone());
        parts.clock = Arc::clone(&self.clock);
        parts.seed = self.rng.next();
        let rig = parts.open(Path::new("/sim"));
        let stop = watch::Sender::new(false);
        let outlets: Vec<_> = rig.engine.outlets.iter().map(|one| Arc::clone(one).run(stop.subscribe())).collect();
        Life { rig, tally, outlets: join_all(outlets).map(|_| ()).boxed(), _stop: stop }
    }

    fn send_new(&mut self, life: &Life) {
        let batch = self.sent.len();
        let names = (0..1 + self.pick(6)).map(|n| {
            let poison = if self.pick(12) == 0 { "poison" } else { "item" };
            format!("{poison}-{batch}-{n}")
        });
        let names: Vec<String> = names.collect();
        let answer = Some(life.rig.submit(spans(&names)));
        self.sent.push(Sent { names, answer, accepted: None });
    }

    /// A client that has no answer sends again: the same bytes.
    fn send_again(&mut self, life: &Life) {
        let open: Vec<usize> = (0..self.sent.len()).filter(|n| self.sent[*n].accepted.is_none()).collect();
        if open.is_empty() {
            return;
        }
        let one = &mut self.sent[open[usize::try_from(self.rng.next()).unwrap_or(0) % open.len()]];
        one.answer = Some(life.rig.submit(spans(&one.names)));
    }

    /// Clients look for answers.
    fn listen(&mut self) {
        for one in &mut self.sent {
            let Some(outcome) = one.answer.as_mut().and_then(FutureExt::now_or_never) else { continue };
            one.answer = None;
            if matches!(outcome, Outcome::Accepted | Outcome::Partial { .. }) {
                one.accepted = Some(outcome);
            }
        }
    }

    fn step(&mut self, life: &mut Life) {
        match self.pick(20) {
            0..=5 => self.send_new(life),
            6..=7 => self.send_again(life),
            8 => {
                // A client goes away.
                let at = usize::try_from(self.rng.next()).unwrap_or(0);
                let count = self.sent.len().max(1);
                if let Some(one) = self.sent.get_mut(at % count) {
                    one.answer = None;
                }
            }
            9..=13 => {
                life.rig.commit();
            }
            14..=17 => {
                let span = Duration::from_millis(self.pick(20_000));
                drive(&self.clock, span, &mut life.outlets, || false);
            }
            18 => {
                let _ = life.rig.checkpoints.write();
            }
            _ => life.rig.engine.tick(),
        }
        self.listen();
    }

    /// Ends the process, at once or at one of the next operations of its disk.
    fn crash(&mut self, mut life: Life) {
        if self.pick(2) == 0 {
            self.disk.crash_at(Some(self.disk.ops() + self.pick(40)));
            for _ in 0..30 {
                self.step(&mut life);
            }
        }
        for one in &mut self.sent {
            one.answer = None;
        }
        // What the dead process still does reaches no disk.
        self.disk.kill();
        drop(life);
        if self.loses_unsynced {
            self.disk.reboot(|| false);
        } else if self.pick(2) == 0 {
            let rng = Arc::clone(&self.rng);
            self.disk.reboot(|| rng.next().is_multiple_of(2));
        }
    }

    /// Everything is well from now on: clients send until they are answered, back ends take everything.
    fn settle(&mut self, life: &mut Life) {
        self.sick.store(false, Ordering::SeqCst);
        for _ in 0..100 {
            life.rig.commit();
            self.listen();
            for at in 0..self.sent.len() {
                if self.sent[at].accepted.is_none() && self.sent[at].answer.is_none() {
                    self.sent[at].answer = Some(life.rig.submit(spans(&self.sent[at].names)));
                }
            }
            let (clock, rig) = (Arc::clone(&self.clock), &mut life.rig);
            drive(&clock, Duration::from_secs(60), &mut life.outlets, || rig.commit().committed > 0);
            self.listen();
            let waiting = self.sinks.iter().any(|sink| !life.rig.waiting(sink_id(sink)).is_empty());
            if !waiting && self.sent.iter().all(|one| one.accepted.is_some()) {
                return;
            }
        }
    }
}

fn sink_id(sink: &Arc<Sink>) -> &str {
    Exporter::id(&**sink)
}

/// Everything that must hold at the end. Gives what does not.
fn judge(world: &World, life: &Life) -> Vec<String> {
    let mut wrong = Vec::new();
    let fragments: Vec<String> =
        (life.rig.waiting("vault").iter()).map(|stored| String::from_utf8(stored.body.to_vec()).unwrap()).collect();
    let sealed: BTreeSet<&str> = fragments
        .iter()
        .filter_map(|text| text.split_once("quarantine ")?.1.split_once(": "))
        .flat_map(|(_, names)| names.split(','))
        .collect();
    let by_number: BTreeMap<&str, &str> = fragments.iter().filter_map(|text| text.split_once(':')).collect();
    if by_number.len() != fragments.len() {
        wrong.push("a ticket's number was given twice".to_owned());
    }
    let counted = life.tally.counted();
    for one in world.sent.iter().filter(|one| one.accepted.is_some()) {
        for name in &one.names {
            let poison = name.starts_with("poison");
            if poison && !sealed.contains(name.as_str()) {
                wrong.push(format!("{name} was answered and is not sealed"));
            }
            if !poison && counted.get(name) != Some(&1) {
                wrong.push(format!("{name} was counted {:?} times", counted.get(name)));
            }
        }
    }
    for sink in &world.sinks {
        let mut got = BTreeSet::new();
        for request in &*sink.requests.lock() {
            for (name, reference) in names_with(&request.body, REFERENCE) {
                let named =
                    by_number.get(reference.as_str()).is_some_and(|names| names.split(',').any(|one| one == name));
                if !named {
                    wrong.push(format!("{name} went to {} with the reference {reference} of another", sink_id(sink)));
                }
                if name.starts_with("poison") {
                    wrong.push(format!("{name} was forwarded"));
                }
            }
        }
        got.extend(sink.all());
        for name in world.sent.iter().filter(|one| one.accepted.is_some()).flat_map(|one| &one.names) {
            if !name.starts_with("poison") && !got.contains(name) {
                wrong.push(format!("{name} was answered and did not reach {}", sink_id(sink)));
            }
        }
    }
    wrong
}

/// One run; what went wrong.
fn simulate(seed: u64, prepare: impl FnOnce(&mut World)) -> Vec<String> {
    let mut world = World::new(seed);
    prepare(&mut world);
    for _ in 0..1 + world.pick(4) {
        let mut life = world.start();
        for _ in 0..world.pick(80) {
            world.step(&mut life);
        }
        world.crash(life);
    }
    let mut life = world.start();
    world.settle(&mut life);
    let mut wrong = judge(&world, &life);
    if world.sent.iter().any(|one| one.accepted.is_none()) {
        wrong.push("a client was never answered".to_owned());
    }
    wrong
}

fn knob(name: &str, otherwise: u64) -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test's own knob")]
    let asked = std::env::var(name).ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(otherwise)
}

/// Sixty from the first one; a night's run goes on where the last one stopped.
fn seeds() -> std::ops::Range<u64> {
    let first = knob("TOLLGATE_SIM_SEED", 0);
    first..first + knob("TOLLGATE_SIM_SEEDS", 60)
}

/// Whatever crashes when: what was answered is delivered to every exporter, sealed if poison, and counted exactly once.
#[test]
fn nothing_accepted_is_lost_or_counted_twice() {
    for seed in seeds() {
        let wrong = simulate(seed, |_| ());
        assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    }
}

/// The simulation must find losses when the disk does not sync: otherwise it proves nothing.
#[test]
fn a_disk_that_does_not_sync_is_found_out() {
    let found = (0..40).any(|seed| {
        let run = std::panic::AssertUnwindSafe(|| {
            simulate(seed, |world| {
                world.disk.set_ignore_sync_data(true);
                world.loses_unsynced = true;
            })
        });
        !std::panic::catch_unwind(run).is_ok_and(|wrong| wrong.is_empty())
    });
    assert!(found);
}

/// The time until the spool is full follows how fast it fills, and has a bound where it does not.
#[test]
fn the_time_left_follows_the_rate() {
    let mut trend = super::Trend::default();
    let mut hours = |seconds: u64, bytes: u64| {
        trend.time_left(std::time::Duration::from_secs(seconds), bytes, 1_000_000_000) / 3600.0
    };
    assert_eq!(hours(0, 0), 10_000.0);
    for second in 1..=3600 {
        hours(second, second * 10_000);
    }
    let left = hours(3601, 36_010_000);
    assert!((26.0..28.0).contains(&left), "964 MB at 10 kB a second: {left}");
    for second in 3602..=7300 {
        hours(second, 36_010_000);
    }
    assert_eq!(hours(7301, 36_010_000), 10_000.0);
}
