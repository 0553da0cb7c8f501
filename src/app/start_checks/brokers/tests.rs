use super::*;
use kafka::{GroupMember, PartitionBounds, PartitionId, PartitionOffsets};
use vault::store::probe::ProbeVerdict;

fn topic(max_message_bytes: Option<u64>, granted: Option<GrantedRights>) -> TopicDescription {
    TopicDescription {
        topic_id: [1; 16],
        partitions: 2,
        replication_factor: 3,
        min_insync_replicas: None,
        max_message_bytes,
        granted,
    }
}

fn written(max_record: u64) -> TopicUse<'static> {
    TopicUse { topic: "in", needed: TO_WRITE, is_durable: true, max_record: Some(max_record) }
}

/// A missing right is told as such, also where it hides something else; a broker that tells no rights leaves that.
#[test]
fn a_missing_right_is_told_first() {
    let denied = BrokerError::new(BrokerFault::Unauthorized, "the broker answered");
    for found in [Ok(&topic(None, Some(GrantedRights::NONE))), Err(&denied)] {
        let (why, remedy) = find_fault(&written(1), found).unwrap();
        assert!(why.contains("Write, Describe, DescribeConfigs"), "{why}");
        assert!(remedy.contains("kafka-acls.sh --add") && remedy.contains("--topic in"), "{remedy}");
    }
    assert!(find_fault(&written(1), Ok(&topic(None, None))).unwrap().0.contains("min.insync.replicas"));
    let away = BrokerError::new(BrokerFault::Unavailable, "no broker can be reached");
    assert!(find_fault(&written(1), Err(&away)).unwrap().1.contains("brokers"));
    let group = check_group("kafka", "workers", Err(&denied));
    assert!(group.remedy.contains("--operation Read --group workers"), "{}", group.remedy);
    let mut found = GroupDescription { granted: Some(GrantedRights::NONE), ..GroupDescription::default() };
    assert_eq!(check_group("kafka", "workers", Ok(&found)).verdict, ProbeVerdict::Fails);
    found.granted = None;
    assert_eq!(check_group("kafka", "workers", Ok(&found)).verdict, ProbeVerdict::Holds);
}

/// A record that just fits is no warning; one byte more is, with the number to set.
#[test]
fn a_small_limit_is_told() {
    assert_eq!(find_small_limit(&written(100), &topic(Some(100), None)), None);
    assert_eq!(find_small_limit(&written(100), &topic(None, None)), None);
    let (why, remedy) = find_small_limit(&written(101), &topic(Some(100), None)).unwrap();
    assert!(why.contains("101") && why.contains("100") && remedy.contains("max.message.bytes=101"), "{why} {remedy}");
}

/// Workers without a partition are told, not an equal number of both.
#[test]
fn idle_workers_are_told() {
    let partition = PartitionId { topic: "in".into(), number: 0 };
    let offsets = PartitionOffsets { partition, bounds: PartitionBounds { first: 0, end: 0 }, committed: None };
    let member = GroupMember { name: "w".into(), host: "h".into(), partitions: Vec::new() };
    let mut found = GroupDescription { members: vec![member; 2], partitions: vec![offsets; 2], granted: None };
    assert!(warn_of_idle_workers("kafka", "workers", &["in".into()], &found).is_none());
    found.partitions.truncate(1);
    let result = warn_of_idle_workers("kafka", "workers", &["in".into()], &found).unwrap();
    assert_eq!(result.verdict, ProbeVerdict::Weak);
    let (why, remedy) = (result.answer, result.remedy);
    assert!(why.contains("2 workers share 1 partition") && remedy.contains("--alter --topic in --partitions 8"));
}
