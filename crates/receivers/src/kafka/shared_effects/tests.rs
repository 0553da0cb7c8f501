use std::sync::Arc;

use parking_lot::Mutex;

use super::told_effects::PeerRecord;
use super::*;
use crate::kafka::KafkaReceiver;
use crate::kafka::tests::{Process, Volume, broker, config, run};
use ::kafka::{OutgoingRecord, RecordProducer};
use kernel::compression::CompressorPool;
use kernel::rng::SeededRng;
use pipeline::{Batch, Effect, Processor, Reason};

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

fn worker(name: &str) -> crate::kafka::KafkaReceiverSettings {
    let key = "01".repeat(32);
    config(&format!(
        r#"{{"brokers": ["localhost:9092"], "topic": "in", "dead_topic": "dead", "keys": ["{key}"],
            "effects_topic": "effects", "group_instance_id": "{name}"}}"#
    ))
}

/// A record that no worker wrote is skipped and counted. What workers tell each other is compared in
/// `crates/receivers/tests/fleet`.
#[test]
fn a_foreign_record_is_skipped() {
    run(async |machine| {
        let (broker, listening) = (broker(&machine), Listening::new("runs", true));
        broker.create_topic("effects", 3);
        let (topic, value) = ("effects".into(), "anybody's".into());
        broker.send(OutgoingRecord { topic, partition: Some(0), key: None, value, headers: vec![] }).await.unwrap();
        let receiver = KafkaReceiver::build("kafka".into(), worker("worker-1"), Arc::new(broker.clone()));
        let processors = [Arc::clone(&listening) as Arc<dyn Processor>];
        let receiver = receiver.with_shared_effects(&processors, &SeededRng::new(77));
        assert_eq!(receiver.effects_consumer().as_deref(), Some("kafka.effects"));
        let process = Process::serve(&machine, receiver, &Volume::default(), 5);
        let skipped = r#"tollgate_kafka_effects_total{receiver="kafka",outcome="unusable"} 1"#;
        machine.until("it is skipped", || process.counts(skipped)).await;
        assert!(listening.heard.lock().is_empty());
        process.kill();
    });
}
