use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::told_effects::PeerRecord;
use super::*;
use crate::kafka::tests::{Process, Volume, broker, config, key, run};
use crate::kafka::{EffectsSenderParts, KafkaReceiver};
use ::kafka::{OutgoingRecord, RecordProducer};
use kafka_fakes::{MemoryBroker, ProcessTasks};
use kernel::clock::Clock;
use kernel::compression::CompressorPool;
use kernel::rng::SeededRng;
use net::Spawn;
use pipeline::spool::{Committer, RecordKind, Spool, SpoolRecord, SpoolSettings, Transaction};
use pipeline::{Batch, Effect, Processor, RealDisk, Reason};
use telemetry::Meter;
use tokio::sync::watch;

/// A processor that notes what other replicas tell it.
struct Listening {
    id: Arc<str>,
    shares: bool,
    heard: Mutex<Vec<(String, Vec<u8>)>>,
}

impl Listening {
    fn new(id: &str, shares: bool) -> Arc<Self> {
        Arc::new(Self { id: id.into(), shares, heard: Mutex::default() })
    }
}

impl Processor for Listening {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, _: &mut Batch) -> Result<(), Reason> {
        Ok(())
    }

    fn shares_effects(&self) -> bool {
        self.shares
    }

    fn apply_shared(&self, effect: &Effect, replica: &Arc<str>) {
        self.heard.lock().push((replica.to_string(), effect.body.clone()));
    }
}

fn effect(processor: &str, body: &[u8]) -> Effect {
    Effect::new(processor.into(), body.to_vec())
}

fn shared(replica: &str, processors: &[Arc<Listening>], seed: u64) -> SharedEffects {
    let processors: Vec<_> = processors.iter().map(|one| Arc::clone(one) as Arc<dyn Processor>).collect();
    SharedEffects::new("kafka.effects".into(), replica.into(), &processors, &SeededRng::new(seed))
}

/// A worker tells the effects of processors that share them and no others; a worker knows its own records, also after a
/// restart, and a damaged body changes nothing.
#[test]
fn only_shared_effects_are_told() {
    let (runs, private) = (Listening::new("runs", true), Listening::new("vault", false));
    let told = shared("worker-0", &[runs.clone(), private.clone()], 1);
    assert!(told.encode(vec![effect("vault", b"secret"), effect("kafka", b"4")]).is_none());
    let body = told.encode(vec![effect("vault", b"secret"), effect("runs", b"one")]).unwrap();
    assert!(!body.windows(6).any(|window| window == b"secret"));
    let other = shared("worker-1", std::slice::from_ref(&runs), 2);
    assert_eq!((told.is_own(&body), other.is_own(&body)), (Some(true), Some(false)));
    other.restore(&told.checkpoint().unwrap());
    assert_eq!(other.is_own(&body), Some(false), "a copy of a volume is another worker's");
    let again = shared("worker-0", std::slice::from_ref(&runs), 3);
    assert_eq!(again.is_own(&body), Some(false), "a new volume of the same worker reads what it told before");
    again.restore(&told.checkpoint().unwrap());
    assert_eq!(again.is_own(&body), Some(true), "a volume keeps its life");
    let zstd = CompressorPool::new(1);
    let compressed = zstd.compress(&body).unwrap();
    let arrives = |body: &[u8]| {
        let compressed = zstd.compress(body).unwrap();
        other.apply(&other.effect(PeerRecord { compressed, body: bytes::Bytes::copy_from_slice(body) }));
    };
    let is_read_after_restart = |compressed: &[u8]| other.apply(&effect("kafka.effects", compressed));
    (0..body.len()).for_each(|length| arrives(&body[..length]));
    (0..compressed.len()).for_each(|length| is_read_after_restart(&compressed[..length]));
    assert!(runs.heard.lock().is_empty());
    arrives(&body);
    is_read_after_restart(&compressed);
    let told = ("worker-0".to_owned(), b"one".to_vec());
    assert_eq!(*runs.heard.lock(), [told.clone(), told]);
}

/// The spool of a worker with effects that wait for the topic.
fn spool(folder: &std::path::Path, clock: &Arc<dyn Clock>) -> (Arc<Spool>, Committer) {
    let settings = SpoolSettings::new(folder.join("spool"), 16 << 20);
    let rng = Arc::new(SeededRng::new(5));
    let (disk, clock) = (Arc::new(RealDisk), Arc::clone(clock));
    let (spool, committer) = Spool::open(disk, &settings, &[key(3)], clock, rng, &Meter::new()).unwrap();
    spool.set_configured_consumers(&["kafka.effects".into()]);
    (spool, committer)
}

fn commit(spool: &Spool, committer: &mut Committer, effects: &[Effect]) {
    let body: bytes::Bytes = pipeline::effects::encode(effects).into();
    let room = spool.reserve(body.len() as u64 + 4096).unwrap();
    let holders: Arc<[Arc<str>]> = Arc::new(["kafka.effects".into()]);
    let records = vec![SpoolRecord { kind: RecordKind::Effects, holders, body }];
    spool.enqueue(Transaction { account: "default".into(), records }, room, Box::new(|_| {}));
    committer.step(Duration::ZERO);
}

fn worker(name: &str) -> crate::kafka::KafkaReceiverSettings {
    let key = "01".repeat(32);
    config(&format!(
        r#"{{"brokers": ["localhost:9092"], "topic": "in", "dead_topic": "dead", "keys": ["{key}"],
            "effects_topic": "effects", "group_instance_id": "{name}"}}"#
    ))
}

/// What one worker committed reaches the other one, also if the brokers were away; nothing waits in its spool then, and
/// the worker itself hears nothing.
#[test]
fn workers_hear_of_each_other() {
    run(async |machine| {
        let (broker, folder) = (broker(&machine), tempfile::tempdir().unwrap());
        broker.create_topic("effects", 3);
        let clock = Arc::clone(&machine.clock) as Arc<dyn Clock>;
        let (spool, mut committer) = spool(folder.path(), &clock);
        let runs = [0, 1].map(|_| Listening::new("runs", true));
        let [speaking, listening] = [0, 1].map(|number| {
            let processors = [Arc::clone(&runs[number]) as Arc<dyn Processor>];
            let client = Arc::new(MemoryBroker::clone(&broker));
            let receiver = KafkaReceiver::build("kafka".into(), worker(&format!("worker-{number}")), client);
            receiver.with_shared_effects(&processors, &SeededRng::new(number as u64))
        });
        assert_eq!(speaking.effects_consumer().as_deref(), Some("kafka.effects"));
        let tasks = Arc::new(ProcessTasks::new(&machine));
        let parts = EffectsSenderParts {
            spool: Arc::clone(&spool),
            tasks: Arc::clone(&tasks) as Arc<dyn Spawn>,
            clock: Arc::clone(&clock),
            meter: Meter::new(),
        };
        let sender = speaking.effects_sender(parts, &SeededRng::new(9)).unwrap();
        let (stop, stopping) = watch::channel(false);
        let volumes = [0, 1].map(|_| Volume::default());
        let processes = [(speaking, 0), (listening, 1)]
            .map(|(receiver, number)| Process::serve(&machine, receiver, &volumes[number], number as u64));
        tasks.spawn("sender", Box::pin(async move { sender.run(stopping).await }));
        broker.set_away(true);
        commit(&spool, &mut committer, &[effect("runs", b"first"), effect("vault", b"secret")]);
        machine.clock.sleep(Duration::from_secs(20)).await;
        assert!(runs[1].heard.lock().is_empty());
        broker.set_away(false);
        machine.until("the other worker hears it", || runs[1].heard.lock().len() == 1).await;
        commit(&spool, &mut committer, &[effect("runs", b"last")]);
        stop.send_replace(true);
        machine.until("the last is told at the end", || runs[1].heard.lock().len() == 2).await;
        assert_eq!(runs[1].heard.lock()[0], ("worker-0".to_owned(), b"first".to_vec()));
        machine.until("nothing waits", || spool.pending_bytes("kafka.effects") == 0).await;
        let read = r#"tollgate_kafka_records_total{receiver="kafka.effects",outcome="accepted"} 2"#;
        machine.until("the speaker has read its own records", || processes[0].counts(read)).await;
        assert!(runs[0].heard.lock().is_empty(), "a worker skips its own records");
        for process in processes {
            process.kill();
        }
        broker.expire_members();
        // a worker with a new volume and an old name, and a record that no worker wrote
        let listening = Listening::new("runs", true);
        let client = Arc::new(MemoryBroker::clone(&broker));
        let foreign = OutgoingRecord {
            topic: "effects".into(),
            partition: Some(0),
            key: None,
            value: "anybody's".into(),
            headers: vec![],
        };
        broker.send(foreign).await.unwrap();
        let receiver = KafkaReceiver::build("kafka".into(), worker("worker-1"), client);
        let processors = [Arc::clone(&listening) as Arc<dyn Processor>];
        let receiver = receiver.with_shared_effects(&processors, &SeededRng::new(77));
        let process = Process::serve(&machine, receiver, &Volume::default(), 5);
        machine
            .until("it reads from the start, whatever its name committed", || listening.heard.lock().len() == 2)
            .await;
        let skipped = r#"tollgate_kafka_effects_total{receiver="kafka",outcome="unusable"} 1"#;
        machine.until("a foreign record is skipped", || process.counts(skipped)).await;
        process.kill();
    });
}
