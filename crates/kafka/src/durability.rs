//! Whether a topic can lose a record that it has acknowledged: it can if one broker's disk is the only copy.

use crate::client::TopicDescription;

/// Copies that an acknowledged record must have.
const LEAST_COPIES: usize = 2;

/// Why the topic can lose a record that it has acknowledged, with the command that changes it. `None`: it can't.
pub fn durability_problem(topic: &str, found: &TopicDescription) -> Option<String> {
    if found.replication_factor < LEAST_COPIES {
        return Some(format!(
            "the topic `{topic}` has {} replica(s), so the loss of one broker loses acknowledged records: create it \
             with `kafka-topics.sh --create --topic {topic} --partitions {} --replication-factor 3 --config \
             min.insync.replicas=2`, or set `allow_weak_durability: true`",
            found.replication_factor, found.partitions
        ));
    }
    let Some(in_sync) = found.min_insync_replicas else {
        return Some(format!(
            "`min.insync.replicas` of the topic `{topic}` can't be read, so it may acknowledge what one broker has: \
             grant this client DescribeConfigs on the topic, or set `allow_weak_durability: true`"
        ));
    };
    if in_sync >= LEAST_COPIES {
        return None;
    }
    Some(format!(
        "the topic `{topic}` acknowledges a record that only {in_sync} replica has: `kafka-configs.sh --alter \
         --entity-type topics --entity-name {topic} --add-config min.insync.replicas=2`, or set \
         `allow_weak_durability: true`"
    ))
}

#[cfg(test)]
mod tests;
