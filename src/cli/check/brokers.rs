//! Asks Kafka's brokers about the topics that exporters write and receivers read: whether they exist, and whether they
//! can lose an acknowledged record. Nothing is written or read.

use std::sync::Arc;

use super::check_result::CheckResult;
use crate::app::resolve::ValidSettings;
use crate::components::ReceiverSettings;
use exporters::spec::ExportTarget;
use kafka::{BrokerClient, BrokerSettings, TopicDescription, durability_problem};
use receivers::kafka::KafkaReceiverSettings;

/// Checks every topic.
pub(super) async fn check_brokers(valid: &ValidSettings) -> Vec<CheckResult> {
    let mut results = Vec::new();
    for placed in &valid.exporters {
        if let ExportTarget::Brokers { brokers, topics, allow_weak_durability } = placed.value.spec().profile().target {
            let id = placed.id.to_string();
            results.extend(check_topics(&id, brokers, &topics, !allow_weak_durability).await);
        }
    }
    for placed in &valid.receivers {
        if let ReceiverSettings::Kafka(settings) = &placed.value {
            let id = placed.id.to_string();
            let mut topics = settings.topics();
            topics.push(Arc::clone(&settings.dead_topic));
            topics.extend(settings.effects_topic.clone());
            results.extend(check_topics(&id, &settings.brokers, &topics, true).await);
            results.extend(check_groups(&id, settings).await.unwrap_or_default());
        }
    }
    results
}

/// Whether this worker may use its groups.
async fn check_groups(id: &str, settings: &KafkaReceiverSettings) -> Option<Vec<CheckResult>> {
    let client = kafka::build_client(&settings.brokers).ok()?;
    let groups = std::iter::once(settings.group.clone()).chain(settings.effects_group());
    let mut results = Vec::new();
    for group in groups {
        let found = client.describe_group(&group, &settings.topics()).await;
        let what = match &found {
            Ok(found) => format!("has {} members", found.members.len()),
            Err(_) => "can be used".to_owned(),
        };
        let result = found.map(drop).map_err(|why| (why.text, why.fault.remedy().to_owned()));
        results.push(CheckResult::new(format!("`{id}`: the group `{group}` {what}"), result));
    }
    Some(results)
}

async fn check_topics(id: &str, brokers: &BrokerSettings, topics: &[Arc<str>], is_durable: bool) -> Vec<CheckResult> {
    let client = match kafka::build_client(brokers) {
        Ok(client) => client,
        Err(why) => {
            let remedy = why.fault.remedy().to_owned();
            return vec![CheckResult::new(format!("`{id}` can be built"), Err((why.text, remedy)))];
        }
    };
    let mut results = Vec::new();
    for topic in topics {
        let (what, result) = check_topic(&*client, topic, is_durable).await;
        results.push(CheckResult::new(format!("`{id}`: the topic `{topic}` {what}"), result));
    }
    results
}

async fn check_topic(
    client: &dyn BrokerClient,
    topic: &str,
    must_be_durable: bool,
) -> (String, Result<(), (String, String)>) {
    match client.describe_topic(topic).await {
        Ok(found) => {
            let problem = durability_problem(topic, &found).filter(|_| must_be_durable);
            (describe(&found), problem.map_or(Ok(()), |problem| Err((problem.why, problem.remedy))))
        }
        Err(why) => ("can be used".to_owned(), Err((why.text, why.fault.remedy().to_owned()))),
    }
}

fn describe(found: &TopicDescription) -> String {
    let TopicDescription { partitions, replication_factor, min_insync_replicas, .. } = found;
    let in_sync = min_insync_replicas.map_or_else(String::new, |least| format!(", min.insync.replicas {least}"));
    format!("has {partitions} partitions, {replication_factor} replicas{in_sync}")
}
