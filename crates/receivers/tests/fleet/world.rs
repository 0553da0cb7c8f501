//! [`World`]: an edge, a broker and three workers, with what happens to them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use kafka::{
    BrokerClient as _, OutgoingRecord, RECORD_HEADERS, RecordContent, RecordHead, RecordId, RecordProducer as _,
};
use kafka::{IncomingRecord, RecordSealer};
use kafka_fakes::{MemoryBroker, SimulatedMachine};
use kernel::clock::Clock as _;
use kernel::rng::SeededRng;

use crate::recordings::{EdgeRequest, PARTITIONS, carriers, recordings};
use crate::store::Outside;
use crate::worker::{Site, Worker, key};

const NAMES: [&str; 3] = ["worker-0", "worker-1", "worker-2"];
/// The consumer group of the workers.
const GROUP: &str = "tollgate";
/// Checks, 50 ms apart, until a fleet that is not done fails the test.
const MAX_CHECKS: usize = 20_000;

fn broker(machine: &SimulatedMachine) -> MemoryBroker {
    let broker = MemoryBroker::new(Arc::clone(&machine.clock) as Arc<dyn kernel::clock::Clock>);
    [("in", PARTITIONS), ("dead", 1), ("effects", 2)]
        .iter()
        .for_each(|(name, count)| broker.create_topic(name, *count));
    broker
}

/// A request with the id of its record.
type NumberedRequest = (&'static EdgeRequest, RecordId);

/// Records that were not written yet, and those that may be written again.
struct Edge {
    sealer: RecordSealer,
    waiting: VecDeque<NumberedRequest>,
    written: Vec<NumberedRequest>,
}

impl Edge {
    /// Some sessions, each in its order or shuffled, mixed with each other.
    fn new(rng: &SeededRng) -> Self {
        let pick = |below: usize| (rng.next() % below.max(1) as u64) as usize;
        let mut sessions: Vec<usize> = (0..recordings().len()).collect();
        let count = 1 + pick(2);
        let mut queues = Vec::new();
        for _ in 0..count {
            let recording = sessions.swap_remove(pick(sessions.len()));
            let mut requests: Vec<&EdgeRequest> = recordings()[recording].requests.iter().collect();
            if pick(3) == 0 {
                for at in (1..requests.len()).rev() {
                    requests.swap(at, pick(at + 1));
                }
            }
            queues.push(VecDeque::from(requests));
        }
        let mut waiting = VecDeque::new();
        while !queues.is_empty() {
            let at = pick(queues.len());
            if let Some(request) = queues[at].pop_front() {
                let id = RecordId(1 + waiting.len() as u128);
                waiting.push_back((request, id));
            } else {
                queues.swap_remove(at);
            }
        }
        Self { sealer: RecordSealer::new(&key(), rng).unwrap(), waiting, written: Vec::new() }
    }

    /// Writes a record. Returns whether it was acknowledged.
    async fn write(&self, broker: &MemoryBroker, (request, id): NumberedRequest) -> bool {
        let content = RecordContent::Request(request.signal);
        let head = RecordHead { account: "acme".into(), content, id: Some(id) };
        let record = self.sealer.seal(&"in".into(), request.partition, &head, &request.body).unwrap();
        broker.send(record).await.is_ok()
    }

    /// Writes the next record. One without an acknowledgement is written again by the next call.
    async fn write_next(&mut self, broker: &MemoryBroker) {
        if let Some(next) = self.waiting.pop_front() {
            match self.write(broker, next).await {
                true => self.written.push(next),
                false => self.waiting.push_front(next),
            }
        }
    }
}

/// See the module.
pub(super) struct World {
    pub(super) site: Site,
    pub(super) workers: [Worker; 3],
    rng: SeededRng,
    edge: Edge,
    /// Workers only start and end in order, and nothing is written twice, so no record may be stored twice.
    pub(super) is_gentle: bool,
    /// A volume was lost, and the group's offsets must be set back.
    pub(super) has_lost_volume: bool,
    /// How often each event happened.
    pub(super) seen: BTreeMap<&'static str, u64>,
}

impl World {
    pub(super) fn new(machine: &SimulatedMachine, seed: u64) -> Self {
        let (rng, broker) = (SeededRng::new(seed), broker(machine));
        broker.set_reversed(rng.next().is_multiple_of(2));
        let site = Site { machine: machine.clone(), broker, outside: Arc::default(), shares: true };
        let edge = Edge::new(&rng);
        Self {
            site,
            workers: NAMES.map(Worker::new),
            rng,
            edge,
            is_gentle: seed.is_multiple_of(4),
            has_lost_volume: false,
            seen: BTreeMap::new(),
        }
    }

    fn pick(&self, below: u64) -> u64 {
        self.rng.next() % below
    }

    fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Up to so many milliseconds, in nanoseconds: two workers must not do anything at exactly the same time.
    async fn sleep(&self, most: u64) {
        self.site.machine.clock.sleep(Duration::from_nanos(self.pick(most * 1_000_000))).await;
    }

    /// Starts a worker unless it runs. If its earlier group member did not leave, that member expires first.
    async fn start(&mut self, at: usize) {
        self.sleep(1).await;
        if self.workers[at].process.is_none() {
            self.site.broker.expire_instance(NAMES[at]);
            let seed = self.rng.next();
            self.workers[at].start(&self.site, seed);
        }
    }

    /// Something happens while records are written and read.
    pub(super) async fn live(&mut self) {
        for at in 0..=self.pick(3) {
            self.start(at as usize).await;
        }
        while !self.edge.waiting.is_empty() {
            for _ in 0..1 + self.pick(6) {
                self.edge.write_next(&self.site.broker).await;
                self.sleep(20).await;
            }
            self.happen().await;
            self.sleep(150).await;
            self.site.broker.set_away(false);
            self.site.broker.set_lossy(false);
        }
    }

    async fn happen(&mut self) {
        let at = self.pick(NAMES.len() as u64) as usize;
        let what = if self.is_gentle { [6, 18][self.pick(2) as usize] } else { self.pick(20) };
        match what {
            0..=2 => self.kill(at).await,
            3 | 4 => self.cut_power(at).await,
            5 => self.lose_volume(at).await,
            6 | 7 => {
                self.count("an end in order");
                self.workers[at].end(&self.site).await;
            }
            8 => {
                self.count("a silent worker");
                self.site.broker.expire_instance(NAMES[at]);
            }
            9 => {
                self.count("all silent");
                self.site.broker.expire_members();
            }
            10 => {
                self.count("fenced members");
                self.site.broker.fence_members();
            }
            11..=13 => {
                self.count("commits that meet a rebalance");
                self.site.broker.set_rebalancing_commits(self.pick(6) as u32);
            }
            14 => {
                self.count("commits that fail");
                self.site.broker.fail_commits(self.pick(4) as u32);
            }
            15 => {
                self.count("brokers away");
                self.site.broker.set_away(true);
            }
            16 => {
                self.count("lost acknowledgements");
                self.site.broker.set_lossy(true);
                self.edge.write_next(&self.site.broker).await;
            }
            17 if !self.edge.written.is_empty() => {
                self.count("a record written again later");
                let again = self.edge.written[self.pick(self.edge.written.len() as u64) as usize];
                self.edge.write(&self.site.broker, again).await;
            }
            _ => self.start(at).await,
        }
    }

    /// SIGKILL; the session may end before the worker is back.
    async fn kill(&mut self, at: usize) {
        self.count("a kill");
        self.workers[at].kill();
        if self.pick(2) == 0 {
            self.site.broker.expire_instance(NAMES[at]);
            self.sleep(200).await;
        }
        if self.pick(3) > 0 {
            self.start(at).await;
        }
    }

    /// The power fails at any operation of the disk: everything, or a part, of what was not synced is lost.
    async fn cut_power(&mut self, at: usize) {
        self.count("a power cut");
        let disk = self.workers[at].disk.clone();
        disk.crash_at(Some(disk.ops() + self.pick(40)));
        self.sleep(200).await;
        self.workers[at].kill();
        disk.reboot(|| self.rng.next().is_multiple_of(2));
        if self.pick(3) > 0 {
            self.start(at).await;
        }
    }

    async fn lose_volume(&mut self, at: usize) {
        self.count("a lost volume");
        self.workers[at].lose_volume();
        self.has_lost_volume = true;
        if self.pick(2) == 0 {
            self.start(at).await;
        }
    }

    /// All is well from now on, until everything is read, stored and sent. If a volume was lost, the offsets are set
    /// back first, as `docs/how-to/fleet.md` says.
    pub(super) async fn settle(&mut self) {
        let broker = self.site.broker.clone();
        broker.set_rebalancing_commits(0);
        broker.fail_commits(0);
        if self.has_lost_volume {
            for at in 0..NAMES.len() {
                self.workers[at].end(&self.site).await;
            }
            broker.expire_members();
            (0..PARTITIONS).for_each(|number| broker.set_committed("in", number, 0));
        }
        for at in 0..NAMES.len() {
            self.start(at).await;
        }
        self.finish().await;
        // What the workers owe of corrections needs an item of the tenant that carries it. After two minutes any worker
        // may have it; the workers rest until then, because idle ones take most of the simulation's time.
        for at in 0..NAMES.len() {
            self.workers[at].end(&self.site).await;
        }
        self.site.machine.clock.sleep(Duration::from_secs(120)).await;
        for at in 0..NAMES.len() {
            self.start(at).await;
        }
        for number in 0..PARTITIONS {
            let id = RecordId(u128::MAX - number as u128);
            self.edge.write(&broker, (carriers(number), id)).await;
            self.finish().await;
        }
    }

    /// Waits until everything is read, stored and sent.
    async fn finish(&self) {
        for _ in 0..MAX_CHECKS {
            self.site.machine.clock.sleep(Duration::from_millis(50)).await;
            if self.is_settled().await {
                return;
            }
        }
        panic!("the fleet does not settle: {} records are not committed", lag(&self.site.broker, GROUP, "in").await);
    }

    async fn is_settled(&self) -> bool {
        let broker = &self.site.broker;
        if lag(broker, GROUP, "in").await > 0 {
            return false;
        }
        for worker in &self.workers {
            let group = format!("{GROUP}.effects.{}", worker.volume.0);
            if !worker.process.as_ref().unwrap().is_drained() || lag(broker, &group, "effects").await > 0 {
                return false;
            }
        }
        true
    }

    /// One instance reads the same topic, undisturbed.
    pub(super) async fn single(&self) -> (Worker, Arc<Outside>) {
        let machine = &self.site.machine;
        let broker = broker(machine);
        for record in self.site.broker.records("in") {
            broker.send(copy(record)).await.unwrap();
        }
        let site = Site { machine: machine.clone(), broker, outside: Arc::default(), shares: false };
        let mut worker = Worker::new("single");
        worker.start(&site, 1);
        for _ in 0..MAX_CHECKS {
            machine.clock.sleep(Duration::from_millis(50)).await;
            if lag(&site.broker, GROUP, "in").await == 0 && worker.process.as_ref().unwrap().is_drained() {
                return (worker, site.outside);
            }
        }
        panic!("the single instance does not settle");
    }
}

fn copy(record: IncomingRecord) -> OutgoingRecord {
    let headers = RECORD_HEADERS.iter().filter_map(|name| Some((*name, record.header(name)?.clone()))).collect();
    let (topic, partition) = (record.partition.topic, Some(record.partition.number));
    OutgoingRecord { topic, partition, key: record.key, value: record.value.unwrap(), headers }
}

/// Records of a topic that a group has not committed.
async fn lag(broker: &MemoryBroker, group: &str, topic: &str) -> i64 {
    let found = broker.describe_group(group, &[topic.into()]).await.unwrap();
    found.partitions.iter().map(|one| one.bounds.end - one.committed.unwrap_or(0)).sum()
}
