//! The world of a simulation: everything that outlives the process (clients, clock, disk, back ends, the vault's
//! store), and one life of the process in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::watch;

use crate::back_end::BackEnd;
use kernel::clock::{Clock, ManualClock, UnixNanos};
use kernel::rng::SeededRng;
use otlp::Signal;
use pipeline::outlet::QUARANTINE;
use pipeline::testing::drive::drive;
use pipeline::testing::engine::{Drafter, Step, Tally, logs, spans};
use pipeline::testing::rig::{Parts, Rig};
use pipeline::testing::sim_disk::{Fault, Op, SimDisk};
use pipeline::{AckMode, Exporter, OnFullAction, Outcome, OutletSettings, PipelinePlan, Processor};

/// Maximum number of steps in one life.
const STEPS: u64 = 50;
/// Size limit of the spool, in bytes.
const SPOOL: u64 = 512 << 10;

/// A client's batch, sent until it gets a final answer.
pub(super) struct Sent {
    pub(super) names: Vec<String>,
    pub(super) account: &'static str,
    signal: Signal,
    pub(super) wire: Bytes,
    pub(super) answer: Option<BoxFuture<'static, Outcome>>,
    /// The final answer: any outcome but a retry.
    pub(super) told: Option<Outcome>,
}

/// The simulated world; see the module.
pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) clock: Arc<ManualClock>,
    pub(super) rng: Arc<SeededRng>,
    pub(super) back_ends: Vec<Arc<BackEnd>>,
    pub(super) sent: Vec<Sent>,
    /// Texts that the vault's uploader has stored.
    pub(super) stored: BTreeSet<String>,
    pub(super) lives: u64,
    /// Whether a crash loses everything that was not synced.
    pub(super) loses_unsynced: bool,
    pub(super) settings: OutletSettings,
    /// Outlet settings of exporters that differ from `settings`.
    pub(super) others: HashMap<Arc<str>, OutletSettings>,
    /// Whether clients also send logs.
    logs: bool,
    pub(super) wrong: Vec<String>,
    /// How often each event happened.
    pub(super) seen: BTreeMap<&'static str, u64>,
}

/// The state that ends with the process.
pub(super) struct Life {
    pub(super) rig: Rig,
    pub(super) tally: Arc<Tally>,
    outlets: BoxFuture<'static, ()>,
    stop: watch::Sender<bool>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let rng = Arc::new(SeededRng::new(seed));
        let clock = ManualClock::at(UnixNanos(1_700_000_000_000_000_000));
        let back_ends = vec![BackEnd::new("x", false, &clock, &rng), BackEnd::new("y", true, &clock, &rng)];
        let pick = |below: usize| usize::try_from(rng.next()).unwrap() % below;
        let settings = OutletSettings {
            consumers: 1 + pick(4),
            linger: Duration::from_millis(pick(300) as u64),
            merge_bytes: 1 + pick(2_000),
            window_bytes: 1 + pick(10_000),
            retry_initial: Duration::from_secs(1 + pick(5) as u64),
            ack: if pick(4) == 0 { AckMode::Delivered } else { AckMode::Spooled },
            ordered: pick(4) == 0,
            ..OutletSettings::default()
        };
        let mut world = Self {
            disk: SimDisk::new(),
            clock,
            back_ends,
            sent: Vec::new(),
            stored: BTreeSet::new(),
            lives: 0,
            loses_unsynced: false,
            settings,
            others: HashMap::new(),
            logs: false,
            wrong: Vec::new(),
            seen: BTreeMap::new(),
            rng,
        };
        // three seeds of five; the other seeds keep the worlds that they had before this was added
        if matches!(seed % 5, 1..=3) {
            world.widen(&SeededRng::new(seed.rotate_left(20)));
        }
        world
    }

    /// Adds logs beside traces, a back end that refuses one signal, one exporter with `ack: offered`, and one with a
    /// limit on pending bytes.
    fn widen(&mut self, dice: &SeededRng) {
        let pick = |below: u64| dice.next() % below;
        self.logs = pick(4) > 0;
        if self.logs && pick(2) == 0 {
            let signal = if pick(2) == 0 { Signal::Logs } else { Signal::Traces };
            self.back_ends[usize::try_from(pick(2)).unwrap()].refuse(signal);
            self.count("a back end without a signal");
        }
        if pick(2) == 0 {
            let one = BackEnd::new("z", pick(2) == 0, &self.clock, &self.rng);
            let (ack, max_pending) = (AckMode::Offered, Some(500 + pick(20_000)));
            let settings = OutletSettings { ack, max_pending, ..self.settings.clone() };
            self.others.insert(Arc::clone(one.id()), settings);
            self.back_ends.push(one);
            self.count("an exporter that is offered");
        }
        if pick(2) == 0 {
            let (max_pending, refuses) = (Some(500 + pick(40_000)), pick(2) == 0);
            let on_full = if refuses { OnFullAction::Refuse } else { OnFullAction::Expire };
            let settings = OutletSettings { max_pending, on_full, ..self.settings.clone() };
            self.others.insert("y".into(), settings);
            self.count(if refuses { "a bound that refuses" } else { "a bound that gives up" });
        }
    }

    /// The outlet settings of an exporter.
    pub(super) fn served(&self, id: &str) -> &OutletSettings {
        self.others.get(id).unwrap_or(&self.settings)
    }

    pub(super) fn pick(&self, below: u64) -> u64 {
        self.rng.next() % below
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn heal_disk(&self) {
        self.disk.crash_at(None);
        self.disk.set_faults(None);
        self.disk.set_capacity(u64::MAX / 2);
    }

    /// Starts the process; on a failing disk it is restarted until the disk is healed.
    pub(super) fn start(&mut self) -> Option<Life> {
        for attempt in 0..4 {
            if attempt == 3 || self.pick(2) == 0 {
                self.heal_disk();
            }
            self.lives += 1;
            match self.open() {
                Ok(life) => return Some(life),
                Err(_) => {
                    self.count("did not start on a sick disk");
                    self.power(self.disk.crashed());
                }
            }
        }
        self.wrong.push("does not start on a healthy disk".to_owned());
        None
    }

    fn open(&self) -> Result<Life, String> {
        let tally = Tally::new("tally");
        let vault = Drafter::after("vault", self.lives * 1_000_000);
        let processors: Vec<Arc<dyn Processor>> =
            vec![tally.clone(), vault, Step::picky("picky"), Step::clear("clear")];
        let exporters = self.back_ends.iter().map(|one| Arc::clone(one) as Arc<dyn Exporter>).collect();
        let mut parts = Parts::new(processors, exporters);
        parts.disk = Arc::new(self.disk.clone());
        parts.clock = Arc::clone(&self.clock);
        parts.seed = self.rng.next();
        parts.outlets = self.settings.clone();
        parts.others = self.others.clone();
        let traces = parts.pipelines[0].clone();
        parts.pipelines.push(PipelinePlan { id: "logs".into(), signal: Signal::Logs, ..traces });
        parts.spool_bytes = SPOOL;
        let rig = parts.try_open(Path::new("/sim"))?;
        let stop = watch::Sender::new(false);
        let outlets: Vec<_> = rig.engine.outlets.iter().map(|one| Arc::clone(one).run(stop.subscribe())).collect();
        Ok(Life { rig, tally, outlets: join_all(outlets).map(|_| ()).boxed(), stop })
    }

    fn send_new(&mut self, life: &Life) {
        let batch = self.sent.len();
        let names = (0..1 + self.pick(6)).map(|n| {
            let kind = match self.pick(60) {
                0 => "poison",
                1..=3 => "sour",
                4..=5 => "fat",
                _ => "item",
            };
            format!("{kind}-{batch}-{n}")
        });
        let names: Vec<String> = names.collect();
        let account = if self.pick(5) == 0 { "acme" } else { "default" };
        let log = self.logs && self.pick(3) == 0;
        let (signal, wire) = if log { (Signal::Logs, logs(&names)) } else { (Signal::Traces, spans(&names)) };
        let answer = Some(life.rig.submit_signal(account, signal, wire.clone()));
        self.sent.push(Sent { names, account, signal, wire, answer, told: None });
    }

    /// A client without an answer sends the same bytes again.
    fn send_again(&mut self, life: &Life) {
        let open: Vec<usize> = (0..self.sent.len()).filter(|at| self.sent[*at].told.is_none()).collect();
        if let Some(at) = open.get(usize::try_from(self.pick(open.len().max(1) as u64)).unwrap()) {
            let one = &mut self.sent[*at];
            one.answer = Some(life.rig.submit_signal(one.account, one.signal, one.wire.clone()));
        }
    }

    /// Clients read their answers.
    fn listen(&mut self) {
        let mut heard = Vec::new();
        for one in &mut self.sent {
            let Some(outcome) = one.answer.as_mut().and_then(FutureExt::now_or_never) else { continue };
            one.answer = None;
            if let Outcome::Retry { reason, .. } = outcome {
                heard.push(reason.label());
            } else {
                one.told = Some(outcome);
            }
        }
        heard.into_iter().for_each(|label| self.count(label));
    }

    /// The vault's uploader stores its waiting records.
    fn upload(&mut self, life: &Life) {
        let Ok(waiting) = life.rig.spool.read("vault", None, 20_000, 20) else { return };
        let texts = waiting.iter().map(|one| String::from_utf8(one.body.to_vec()).unwrap());
        self.stored.extend(texts);
        life.rig.spool.mark_done("vault", &waiting.iter().map(|one| one.seq).collect::<Vec<_>>());
    }

    /// Advances time, with or without letting the committer run.
    fn pass(&self, life: &mut Life, span: Duration) {
        let commits = self.pick(2) == 0;
        let Life { rig, outlets, .. } = life;
        drive(&self.clock, span, outlets, || commits && rig.commit().committed > 0);
    }

    /// Makes the disk fail in some way, or heals it.
    fn disk_trouble(&mut self) {
        match self.pick(6) {
            0 => {
                let rng = Arc::new(SeededRng::new(self.rng.next()));
                let one_in = 20 + self.pick(100);
                self.disk.set_faults(Some(Box::new(move |op| {
                    if !rng.next().is_multiple_of(one_in) || op == Op::Read {
                        return None;
                    }
                    Some([Fault::Io, Fault::Full, Fault::Short][usize::try_from(rng.next() % 3).unwrap()])
                })));
                self.count("a failing disk");
            }
            1 | 2 => {
                self.disk.set_capacity(self.disk.used() + self.pick(60_000));
                self.count("a full disk");
            }
            _ => self.heal_disk(),
        }
    }

    /// Makes the wall clock jump.
    fn clock_jumps(&mut self) {
        let by = Duration::from_secs(self.pick(3 * 86_400));
        if self.pick(2) == 0 {
            self.clock.set_back(by)
        } else {
            self.clock.set_forward(by)
        }
        self.count("a clock jump");
    }

    fn act(&mut self, life: &mut Life) {
        match self.pick(40) {
            0..=11 => self.send_new(life),
            12..=14 => self.send_again(life),
            15 => {
                // A client disconnects.
                let at = usize::try_from(self.pick(self.sent.len().max(1) as u64)).unwrap();
                if let Some(one) = self.sent.get_mut(at) {
                    one.answer = None;
                }
            }
            16..=24 => {
                life.rig.commit();
            }
            25..=31 => self.pass(life, Duration::from_millis(self.pick(20_000))),
            32 => self.pass(life, Duration::from_secs(self.pick(3 * 3_600))),
            33 | 34 => self.upload(life),
            35 => drop(life.rig.checkpoints.write()),
            36 => self.disk_trouble(),
            37 if self.pick(3) == 0 => self.clock_jumps(),
            _ => life.rig.engine.tick(),
        }
        self.listen();
        self.bounded(life);
    }

    /// Checks everything that must stay within a limit.
    fn bounded(&mut self, life: &Life) {
        let status = life.rig.spool.status();
        if status.bytes > status.limit {
            self.wrong.push(format!("the spool takes {} of {} bytes", status.bytes, status.limit));
        }
        let most = if self.settings.ordered { 1 } else { self.settings.consumers };
        for one in &self.back_ends {
            let peak = one.peak.load(std::sync::atomic::Ordering::SeqCst);
            if peak > most {
                self.wrong.push(format!("{peak} requests at once to {}, at most {most}", one.id()));
            }
            let (served, held) = (self.served(one.id()), life.rig.engine.delivery.offers(one.id()));
            let most = served.max_pending.unwrap_or(u64::MAX);
            let offered = held.map_or(0, |offers| offers.bytes());
            if offered > most {
                self.wrong.push(format!("{offered} bytes are offered to {}, at most {most}", one.id()));
            }
        }
    }

    /// Simulates a power cut, or only the end of the process; later writes of the dead process reach no disk.
    fn power(&mut self, fails: bool) {
        if self.loses_unsynced {
            self.disk.kill();
            self.disk.reboot(|| false);
        } else if fails || self.pick(3) == 0 {
            self.count("a power cut");
            let rng = Arc::clone(&self.rng);
            self.disk.reboot(|| rng.next().is_multiple_of(2));
        } else {
            self.disk.kill();
        }
        self.sent.iter_mut().for_each(|one| one.answer = None);
    }

    /// Runs one life: some steps, then a clean end, a kill, a power cut at any operation, or a poisoned spool.
    pub(super) fn live(&mut self, mut life: Life) {
        let crash_at = self.disk.ops() + self.pick(2_000);
        if self.pick(3) == 0 {
            self.disk.crash_at(Some(crash_at));
        }
        for _ in 0..self.pick(STEPS) {
            self.act(&mut life);
            if self.disk.crashed() {
                drop(life);
                return self.power(true);
            }
            if life.rig.spool.poisoned().is_some() {
                self.count("a poisoned spool");
                drop(life);
                return self.power(false);
            }
        }
        if self.pick(3) == 0 {
            self.close(life);
        } else {
            self.count("a kill");
            drop(life);
            self.power(false);
        }
    }

    /// SIGTERM: requests that succeed at the first attempt are delivered, and everything that was accepted is
    /// committed.
    fn close(&mut self, mut life: Life) {
        life.rig.commit();
        life.stop.send_replace(true);
        let Life { rig, outlets, .. } = &mut life;
        let ended = drive(&self.clock, Duration::from_secs(40), outlets, || rig.commit().committed > 0);
        self.count(if ended.is_some() { "a clean end" } else { "an end by deadline" });
        life.rig.engine.delivery.close();
        let _ = life.rig.checkpoints.write();
        self.listen();
        let Life { rig, .. } = life;
        let crashed = self.disk.crashed();
        rig.committer.close();
        self.listen();
        self.power(crashed);
    }

    /// The last start, after which everything settles. A process whose spool was poisoned during its start ends and is
    /// started again.
    pub(super) fn start_for_good(&mut self) -> Option<Life> {
        let life = self.start()?;
        if life.rig.spool.poisoned().is_none() {
            return Some(life);
        }
        self.count("a spool poisoned by its start");
        drop(life);
        self.power(false);
        self.heal_disk();
        self.start()
    }

    /// Everything is healthy from now on: clients send until they are answered, and back ends accept everything.
    pub(super) fn settle(&mut self, life: &mut Life) {
        self.heal_disk();
        self.back_ends.iter().for_each(|one| one.heal());
        for _ in 0..60 {
            life.rig.commit();
            self.listen();
            for one in self.sent.iter_mut().filter(|one| one.told.is_none() && one.answer.is_none()) {
                one.answer = Some(life.rig.submit_signal(one.account, one.signal, one.wire.clone()));
            }
            let Life { rig, outlets, .. } = &mut *life;
            drive(&self.clock, Duration::from_secs(60), outlets, || rig.commit().committed > 0);
            life.rig.engine.tick();
            self.listen();
            self.upload(life);
            self.bounded(life);
            for (id, served) in self.others.iter().filter(|(_, served)| served.on_full == OnFullAction::Expire) {
                let pending = life.rig.spool.pending_bytes(id);
                if pending > served.max_pending.unwrap_or(u64::MAX) {
                    self.wrong.push(format!("{pending} bytes wait for {id}"));
                }
            }
            let offered = |name: &str| life.rig.engine.delivery.offers(name).is_some_and(|offers| offers.bytes() > 0);
            let waiting = |name: &str| life.rig.spool.pending_bytes(name) > 0 || offered(name);
            let left = waiting("vault") || self.back_ends.iter().any(|one| waiting(one.id()));
            if !left && self.sent.iter().all(|one| one.told.is_some()) {
                return;
            }
        }
        let open = self.sent.iter().filter(|one| one.told.is_none()).count();
        let left: Vec<u64> = self.back_ends.iter().map(|one| life.rig.spool.pending_bytes(one.id())).collect();
        self.wrong.push(format!("it does not end: {open} clients wait, {left:?} bytes for back ends"));
    }

    /// Names of quarantined items with the reason, by exporter.
    pub(super) fn quarantine(life: &Life) -> BTreeMap<String, BTreeSet<(String, &'static str)>> {
        let mut kept: BTreeMap<String, BTreeSet<(String, &'static str)>> = BTreeMap::new();
        for record in life.rig.waiting(QUARANTINE) {
            let (label, body) = pipeline::forward_label::ForwardLabel::split(&record.body).unwrap();
            let (exporter, reason) = label.refused.unwrap();
            let names = pipeline::testing::engine::names(&body);
            assert_eq!(label.items, names.len() as u64);
            kept.entry(exporter).or_default().extend(names.into_iter().map(|name| (name, reason.label())));
        }
        kept
    }

    /// The monotonic time at the end of the simulation.
    pub(super) fn age(&self) -> Duration {
        self.clock.monotonic()
    }
}
