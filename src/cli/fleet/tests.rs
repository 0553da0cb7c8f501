use std::sync::Arc;

use super::*;
use kafka::{GroupMember, PartitionBounds, PartitionId};
use receivers::kafka::KafkaReceiverConfig;

fn offsets(topic: &str, number: i32, first: i64, end: i64, committed: Option<i64>) -> PartitionOffsets {
    let partition = PartitionId { topic: topic.into(), number };
    PartitionOffsets { partition, bounds: PartitionBounds { first, end }, committed }
}

fn settings() -> KafkaReceiverSettings {
    let key = "01".repeat(32);
    let config = format!(r#"{{"brokers": ["localhost:9092"], "keys": ["{key}"], "dead_topic": "dead"}}"#);
    let config: KafkaReceiverConfig = serde_json::from_str(&config).unwrap();
    config.settings().unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// What waits is counted from the group's offset, or from the topic's first record; a partition without a worker and
/// the dead records are seen at once.
#[test]
fn partitions_are_summed_by_worker() {
    let member = |name: &str, numbers: &[i32]| GroupMember {
        name: name.into(),
        host: "10.0.0.7".into(),
        partitions: numbers.iter().map(|&number| PartitionId { topic: Arc::from("tollgate.in"), number }).collect(),
    };
    let group = GroupDescription {
        members: vec![member("worker-0", &[0, 1]), member("worker-1", &[])],
        partitions: vec![
            offsets("tollgate.in", 0, 5, 12_345, Some(2_345)),
            offsets("tollgate.in", 1, 40, 100, Some(3)),
            offsets("tollgate.in", 2, 7, 9, None),
            offsets("dead", 0, 1, 4, None),
        ],
        granted: None,
    };
    let place = |number| PartitionId { topic: Arc::from("tollgate.in"), number };
    let ages = BTreeMap::from([(place(0), Duration::from_secs(252)), (place(1), Duration::from_millis(300))]);
    let status = GroupStatus { group, ages };
    let text = as_text("kafka", &settings(), &status);
    insta::assert_snapshot!(text);
    let json = as_json("kafka", &settings(), &status);
    assert_eq!(json["partitions"][0]["oldest_seconds"], json!(252.0));
    assert_eq!((&json["dead_records"], &json["partitions"][1]["waiting"]), (&json!(3), &json!(60)));
    assert_eq!((&json["partitions"][0]["owner"], &json["partitions"][2]["owner"]), (&json!("worker-0"), &Value::Null));
}
