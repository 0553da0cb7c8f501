use super::*;

fn topic(replication_factor: usize, min_insync_replicas: Option<usize>) -> TopicDescription {
    TopicDescription {
        topic_id: [0; 16],
        partitions: 64,
        replication_factor,
        min_insync_replicas,
        max_message_bytes: None,
        granted: None,
    }
}

/// A topic is refused exactly if one broker can lose what it acknowledged, and the refusal names the command.
#[test]
fn one_copy_is_refused() {
    assert!(
        durability_problem("in", &topic(1, Some(1)))
            .unwrap()
            .to_string()
            .contains("kafka-topics.sh --create --topic in")
    );
    assert!(durability_problem("in", &topic(3, Some(1))).unwrap().to_string().contains("min.insync.replicas=2"));
    assert_eq!(durability_problem("in", &topic(3, Some(2))), None);
    // What can't be known is not taken for safe.
    assert!(durability_problem("in", &topic(3, None)).unwrap().to_string().contains("DescribeConfigs"));
}
