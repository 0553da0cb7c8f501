//! Whether a topic can lose a record that it has acknowledged: it can if one broker's disk is the only copy. The edge
//! refuses such a topic (`exporters/kafka`), `check` and the worker warn.

use crate::client::TopicDescription;

/// Copies that an acknowledged record must have.
const LEAST_COPIES: usize = 2;

/// Why a topic can lose a record that it has acknowledged, and what changes that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}: {remedy}")]
pub struct DurabilityProblem {
    pub why: String,
    /// The command or the setting that changes it.
    pub remedy: String,
}

/// Why the topic can lose a record that it has acknowledged. `None`: it can't.
pub fn durability_problem(topic: &str, found: &TopicDescription) -> Option<DurabilityProblem> {
    let (why, remedy) = match found.min_insync_replicas {
        _ if found.replication_factor < LEAST_COPIES => (
            format!(
                "the topic `{topic}` has {} replica(s), so the loss of one broker loses acknowledged records",
                found.replication_factor
            ),
            format!(
                "create it with `kafka-topics.sh --create --topic {topic} --partitions {} --replication-factor 3 \
                 --config min.insync.replicas=2`",
                found.partitions
            ),
        ),
        None => (
            format!(
                "`min.insync.replicas` of the topic `{topic}` can't be read, so it may acknowledge what one broker has"
            ),
            "grant this client DescribeConfigs on the topic".to_owned(),
        ),
        Some(in_sync) if in_sync < LEAST_COPIES => (
            format!("the topic `{topic}` acknowledges a record that only {in_sync} replica has"),
            format!(
                "`kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config \
                 min.insync.replicas=2`"
            ),
        ),
        Some(_) => return None,
    };
    Some(DurabilityProblem { why, remedy: format!("{remedy}, or set `allow_weak_durability: true`") })
}

#[cfg(test)]
mod tests;
