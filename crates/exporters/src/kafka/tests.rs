use std::collections::BTreeSet;

use futures_util::FutureExt as _;

use super::*;
use crate::tests::deps;
use ::kafka::{RecordContent, RecordOpener, TopicDescription};
use kafka_fakes::MemoryBroker;
use kernel::clock::{Clock, ManualClock, UnixNanos};
use otlp::{Payload, json};
use pipeline::AckMode;
use pipeline::spool::SpoolKey;

const PARTITIONS: i32 = 8;

fn config(text: &str) -> Result<KafkaExporterSettings, Vec<String>> {
    let config: KafkaExporterConfig = serde_json::from_str(text).unwrap();
    config.settings().map_err(|problems| problems.into_iter().map(|problem| problem.path).collect())
}

fn sealed() -> KafkaExporterSettings {
    let text = format!(r#"{{"brokers": ["localhost:9092"], "topic": "in", "keys": ["{}"]}}"#, "01".repeat(32));
    config(&text).unwrap_or_else(|problems| panic!("{problems:?}"))
}

struct Rig {
    broker: MemoryBroker,
    clock: Arc<ManualClock>,
    exporter: KafkaExporter,
}

fn rig(settings: KafkaExporterSettings) -> Rig {
    let clock = ManualClock::at(UnixNanos(1));
    let broker = MemoryBroker::new(Arc::clone(&clock) as Arc<dyn Clock>);
    broker.create_topic("in", PARTITIONS);
    let mut deps = deps(&[]);
    deps.services.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let exporter = KafkaExporter::build("kafka".into(), settings, Arc::new(broker.clone()), deps)
        .unwrap_or_else(|why| panic!("{why}"));
    Rig { broker, clock, exporter }
}

/// An edge without requests shows that its brokers are away, until it is gone.
#[test]
fn an_outage_is_shown_without_requests() {
    kafka_fakes::SimulatedMachine::run(UnixNanos(1), async |machine| {
        let broker = MemoryBroker::new(Arc::clone(&machine.clock) as Arc<dyn Clock>);
        broker.create_topic("in", PARTITIONS);
        let tasks = Arc::new(kafka_fakes::ProcessTasks::new(&machine));
        let mut deps = deps(&[]);
        deps.services.clock = Arc::clone(&machine.clock) as Arc<dyn Clock>;
        deps.services.tasks = tasks;
        let meter = deps.services.meter.clone();
        let Ok(exporter) = KafkaExporter::build("kafka".into(), sealed(), Arc::new(broker.clone()), deps) else {
            panic!("an exporter")
        };
        exporter.watch_brokers();
        let shows = |value: u8| {
            meter.render().contains(&format!("\ntollgate_kafka_brokers_reachable{{exporter=\"kafka\"}} {value}\n"))
        };
        machine.until("an answer", || shows(1)).await;
        broker.set_away(true);
        machine.until("the outage", || shows(0)).await;
        broker.set_away(false);
        machine.until("the end of it", || shows(1)).await;
        drop(exporter);
        machine.until("no series", || !meter.render().contains("brokers_reachable")).await;
    });
}

fn description(replication_factor: usize, min_insync_replicas: Option<usize>) -> TopicDescription {
    TopicDescription {
        topic_id: [0; 16],
        partitions: PARTITIONS,
        replication_factor,
        min_insync_replicas,
        max_message_bytes: Some(1 << 20),
        granted: None,
    }
}

/// A request with a span of each of these sessions.
fn request(sessions: impl Iterator<Item = usize>) -> ExportRequest {
    let spans: Vec<_> = sessions
        .map(|number| {
            serde_json::json!({
                "spanId": format!("{:016x}", number + 1),
                "attributes": [{"key": "session.id", "value": {"stringValue": format!("s-{number}")}}],
            })
        })
        .collect();
    let items = spans.len() as u64;
    let text = serde_json::json!({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}).to_string();
    let body = json::decode(Signal::Traces, text.as_bytes()).unwrap().into();
    ExportRequest { signal: Signal::Traces, account: "acme".into(), body, items }
}

/// The sessions in a topic, each with its partition, and how many spans there are.
fn sessions_in(broker: &MemoryBroker) -> (BTreeSet<(String, i32)>, usize) {
    let opener = RecordOpener::new(&[SpoolKey::from_bytes([1; 32])], 1 << 20);
    let (mut sessions, mut spans) = (BTreeSet::new(), 0);
    for record in broker.records("in") {
        let (head, body) = opener.open(&record).unwrap();
        assert_eq!((&*head.account, head.content), ("acme", RecordContent::Request(Signal::Traces)));
        let payload = Payload::parse(Signal::Traces, body).unwrap();
        spans += payload.item_count();
        for item in payload.items() {
            sessions.insert((payload.get_str(item, "session.id").unwrap().to_owned(), record.partition.number));
        }
    }
    (sessions, spans)
}

/// The ids of the records in the topic.
fn record_ids(broker: &MemoryBroker) -> Vec<u128> {
    broker.records("in").iter().map(|record| RecordOpener::id_of(record).unwrap().0).collect()
}

/// A request is accepted when the topic has all of it, each session in one partition.
#[tokio::test]
async fn a_request_is_sorted_and_sealed() {
    let rig = rig(sealed());
    for _ in 0..3 {
        assert_eq!(rig.exporter.send(&request(0..50)).await, Outcome::Accepted);
    }
    let (sessions, spans) = sessions_in(&rig.broker);
    assert_eq!((sessions.len(), spans), (50, 150));
    assert!(rig.broker.record_count("in") <= 3 * PARTITIONS as usize);
    assert_eq!(rig.exporter.last_failure(), None);
}

/// When one partition can't be written, the request waits, and the others are not written twice.
#[tokio::test]
async fn a_retry_writes_only_what_is_missing() {
    let rig = rig(sealed());
    rig.broker.set_without_leader(Some(3));
    for _ in 0..3 {
        let outcome = rig.exporter.send(&request(0..50)).await;
        assert_eq!(outcome, Outcome::Retry { after: None, reason: Reason::Unavailable });
    }
    assert_eq!(rig.broker.record_count("in"), PARTITIONS as usize - 1);
    rig.broker.set_without_leader(None);
    assert_eq!(rig.exporter.send(&request(0..50)).await, Outcome::Accepted);
    assert_eq!(sessions_in(&rig.broker).1, 50);
    // A retry after a lost acknowledgement has the ids of the first attempt; another request has others.
    let first: BTreeSet<u128> = record_ids(&rig.broker).into_iter().collect();
    rig.broker.set_lossy(true);
    assert!(matches!(rig.exporter.send(&request(0..50)).await, Outcome::Retry { .. }));
    rig.broker.set_lossy(false);
    assert_eq!(rig.exporter.send(&request(0..50)).await, Outcome::Accepted);
    let mut second = record_ids(&rig.broker);
    second.retain(|id| !first.contains(id));
    let different: BTreeSet<u128> = second.iter().copied().collect();
    assert_eq!((first.len(), second.len(), different.len()), (8, 16, 8));
    // What one account has written says nothing of another's equal bytes, which are written as a whole.
    rig.broker.set_without_leader(Some(3));
    let of = |account: &str| ExportRequest { account: account.into(), ..request(0..50) };
    assert!(matches!(rig.exporter.send(&of("first")).await, Outcome::Retry { .. }));
    rig.broker.set_without_leader(None);
    let before = rig.broker.record_count("in");
    assert_eq!(rig.exporter.send(&of("second")).await, Outcome::Accepted);
    assert_eq!(rig.broker.record_count("in") - before, PARTITIONS as usize);
    let rig = self::rig(sealed());
    assert_eq!(rig.exporter.send(&request(0..50)).await, Outcome::Accepted);
    // The same bytes are a new request afterwards.
    assert_eq!(rig.exporter.send(&request(0..50)).await, Outcome::Accepted);
    assert_eq!(sessions_in(&rig.broker).1, 100);
}

/// An attempt that is dropped before it ended is known to the next one, so that both write the same ids; one that is
/// done is not.
#[test]
fn a_dropped_attempt_is_known() {
    let rig = rig(sealed());
    let request = &request(0..1);
    let request = RecordsOf { request, topic: "in", partitions: PARTITIONS };
    let salt = rig.exporter.begin_attempt(request).known.salt;
    let mut again = rig.exporter.begin_attempt(request);
    assert_eq!(again.known.salt, salt);
    again.is_done = true;
    drop(again);
    assert_ne!(rig.exporter.begin_attempt(request).known.salt, salt);
}

/// Nothing is written to a topic that can lose acknowledged records, and the message names the command that changes it.
/// Such a topic is known before the first request, and so is an absent broker.
#[tokio::test]
async fn a_weak_topic_is_refused() {
    for description in [description(1, Some(1)), description(3, Some(1))] {
        let rig = rig(sealed());
        rig.broker.set_away(true);
        assert_eq!(rig.exporter.check_back_end().await, Err(Reason::Unavailable));
        rig.broker.set_away(false);
        rig.broker.create_topic_as("in", description.clone());
        assert_eq!(rig.exporter.check_back_end().await, Err(Reason::Denied));
        let outcome = rig.exporter.send(&request(0..1)).await;
        assert_eq!(outcome, Outcome::Retry { after: None, reason: Reason::Denied });
        assert!(rig.exporter.last_failure().unwrap().reason.contains("kafka-"));
        assert_eq!(rig.broker.record_count("in"), 0);
        // As soon as the topic is safe, the data goes out.
        rig.broker.create_topic("in", PARTITIONS);
        assert_eq!((rig.exporter.check_back_end().await, rig.exporter.last_failure()), (Ok(()), None));
        assert_eq!(rig.exporter.send(&request(0..1)).await, Outcome::Accepted);
        let allowing = KafkaExporterSettings { allow_weak_durability: true, ..sealed() };
        let rig = self::rig(allowing);
        rig.broker.create_topic_as("in", description);
        assert_eq!(rig.exporter.send(&request(0..1)).await, Outcome::Accepted);
    }
}

/// A missing topic raises the alarm, an absent broker only waits; each says what to do.
#[tokio::test]
async fn failures_are_told_apart() {
    let rig = rig(KafkaExporterSettings {
        target: RecordTarget::Sealed("elsewhere".into(), SpoolKey::from_bytes([1; 32]).into()),
        ..sealed()
    });
    assert_eq!(rig.exporter.check_back_end().await, Err(Reason::Denied));
    let outcome = rig.exporter.send(&request(0..1)).await;
    assert_eq!(outcome, Outcome::Retry { after: None, reason: Reason::Denied });
    rig.broker.create_topic("elsewhere", 1);
    assert_eq!(rig.exporter.send(&request(0..1)).await, Outcome::Accepted);
    rig.broker.set_away(true);
    let outcome = rig.exporter.send(&request(0..1)).await;
    assert_eq!(outcome, Outcome::Retry { after: None, reason: Reason::Unavailable });
    assert!(!rig.exporter.last_failure().unwrap().remedy.is_empty());
    // An old description serves while the brokers are away; with them back, a new one is read.
    rig.clock.advance(DESCRIPTION_AGE * 2);
    assert!(matches!(rig.exporter.send(&request(0..1)).await, Outcome::Retry { reason: Reason::Unavailable, .. }));
    rig.broker.set_away(false);
    assert_eq!(rig.exporter.send(&request(0..1)).await, Outcome::Accepted);
}

/// What the topic does not take is refused before it is written, so that the outlet splits it and the client hears of
/// a single item. If the limit is unknown, records are sent, and the broker decides.
#[tokio::test]
async fn too_large_is_refused() {
    let rig = rig(sealed());
    let safe = description(3, Some(2));
    let tiny = TopicDescription { max_message_bytes: Some(config::RECORD_OVERHEAD + 200), ..safe.clone() };
    rig.broker.create_topic_as("in", tiny);
    assert_eq!(rig.exporter.send(&request(0..2000)).await, Outcome::Refused { reason: Reason::TooLarge });
    assert_eq!(rig.exporter.send(&request(0..1)).await, Outcome::Accepted);
    let rig = self::rig(sealed());
    rig.broker.create_topic_as("in", TopicDescription { max_message_bytes: None, ..safe });
    assert_eq!(rig.exporter.send(&request(0..50)).await, Outcome::Accepted);
}

/// Plain records are the request itself, a topic for each signal, as the Collector's receiver reads them.
#[tokio::test]
async fn plain_records_are_requests() {
    let plain = config(r#"{"brokers": ["localhost:9092"], "encoding": "otlp_proto"}"#)
        .unwrap_or_else(|found| panic!("{found:?}"));
    assert_eq!(plain.trust, Trust::ThirdParty);
    let rig = rig(plain);
    assert_eq!(rig.exporter.check_back_end().await, Ok(()), "a plain topic may be missing");
    rig.broker.create_topic("otlp_spans", 2);
    let sent = request(0..3);
    assert_eq!(rig.exporter.send(&sent).await, Outcome::Accepted);
    let records = rig.broker.records("otlp_spans");
    assert!(
        records.len() == 1 && records[0].value.as_ref() == Some(&sent.body.joined()) && records[0].headers.is_empty()
    );
}

/// Sealed records need a key and may hold everything; mixed keys of both encodings are named.
#[test]
fn the_stanza_is_checked() {
    let settings = sealed();
    assert_eq!((settings.trust, settings.outlet.ack), (Trust::Internal, AckMode::Delivered));
    assert_eq!(config(r#"{"brokers": ["localhost:9092"]}"#).err().unwrap(), ["keys"]);
    let cases = [
        (r#""keys": ["short"]"#, "keys[0]"),
        (r#""encoding": "otlp_proto", "topic": "in""#, "topic"),
        (r#""traces": {"topic": "spans"}"#, "traces"),
        (r#""timeout": "0s""#, "timeout"),
        (r#""max_request_size": "1KiB""#, "max_request_size"),
    ];
    for (text, path) in cases {
        let key = format!(r#", "keys": ["{}"]"#, "01".repeat(32));
        let key = if text.contains("keys") || text.contains("otlp_proto") { "" } else { &key };
        let found = config(&format!(r#"{{"brokers": ["localhost:9092"], {text}{key}}}"#)).err().unwrap();
        assert_eq!(found, [path], "{text}");
    }
}

/// An attempt ends within `timeout` and one second whatever the brokers do not answer, so that its client is answered.
/// (Without the limit around the whole attempt only the write ends in time.)
#[test]
fn an_attempt_ends_in_time() {
    let Rig { broker, clock, exporter } = rig(sealed());
    broker.set_silent();
    let request = request(0..1);
    let mut sent = exporter.send(&request);
    clock.advance(Duration::from_secs(10));
    assert_eq!((&mut sent).now_or_never(), None);
    clock.advance(Duration::from_secs(12));
    assert_eq!(sent.now_or_never(), Some(Outcome::Retry { after: None, reason: Reason::Unavailable }));
}
