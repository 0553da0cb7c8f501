//! Asks Kafka's brokers about the topics that exporters write and receivers read, and about the groups: whether they
//! exist, can lose an acknowledged record, are large enough, and may be used by this client. Nothing is written or
//! read.

use std::sync::Arc;

use crate::app::configured_component::kafka_receivers;
use crate::app::valid_settings::ValidSettings;
use exporters::spec::ExportTarget;
use kafka::{
    AccessRight, AclResource, BrokerClient, BrokerError, BrokerFault, BrokerSettings, GrantedRights, GroupDescription,
    TopicDescription, durability_problem, missing_rights,
};
use receivers::kafka::KafkaReceiverSettings;
use vault::store::probe::ProbeCheck;

#[cfg(test)]
mod tests;

/// Partitions for each worker, as `docs/how-to/fleet.md` advises.
const PARTITIONS_PER_WORKER: usize = 4;

/// A fault or a warning, and its remedy.
type Finding = (String, String);

/// What a component does with a topic.
struct TopicUse<'t> {
    topic: &'t str,
    needed: &'static [AccessRight],
    /// Whether the topic must not lose an acknowledged record.
    is_durable: bool,
    /// Largest record that it may write, in bytes.
    max_record: Option<u64>,
}

/// Rights to write. `allow_weak_durability` needs no DescribeConfigs, because the topic's durability is not checked.
const TO_WRITE: &[AccessRight] = &[AccessRight::Write, AccessRight::Describe, AccessRight::DescribeConfigs];
const TO_WRITE_ONLY: &[AccessRight] = &[AccessRight::Write, AccessRight::Describe];
const TO_READ: &[AccessRight] = &[AccessRight::Read, AccessRight::Describe, AccessRight::DescribeConfigs];
const TO_SHARE: &[AccessRight] =
    &[AccessRight::Read, AccessRight::Write, AccessRight::Describe, AccessRight::DescribeConfigs];

/// Checks every topic and group.
pub(super) async fn check_brokers(valid: &ValidSettings) -> Vec<ProbeCheck> {
    let mut results = Vec::new();
    for placed in &valid.exporters {
        let target = placed.value.spec().profile().target;
        if let ExportTarget::Brokers { brokers, topics, allow_weak_durability, max_record } = target {
            let (needed, is_durable) = if allow_weak_durability { (TO_WRITE_ONLY, false) } else { (TO_WRITE, true) };
            let to_use = |topic| TopicUse { topic, needed, is_durable, max_record: Some(max_record) };
            let uses: Vec<TopicUse> = topics.iter().map(|topic| to_use(topic)).collect();
            let id = placed.id.to_string();
            match build_client(&id, brokers) {
                Ok(client) => drop(check_topics(&id, &*client, &uses, &mut results).await),
                Err(failed) => results.push(failed),
            }
        }
    }
    for (id, settings) in kafka_receivers(&valid.receivers) {
        let id = id.to_string();
        match build_client(&id, &settings.brokers) {
            Ok(client) => check_receiver(&id, &*client, settings, &mut results).await,
            Err(failed) => results.push(failed),
        }
    }
    results
}

fn build_client(id: &str, brokers: &BrokerSettings) -> Result<Arc<dyn BrokerClient>, ProbeCheck> {
    kafka::build_client(brokers).map_err(|why| ProbeCheck::new(format!("`{id}` can be built"), Err(to_finding(why))))
}

fn to_finding(why: BrokerError) -> Finding {
    (why.text, why.fault.remedy().to_owned())
}

async fn check_receiver(
    id: &str,
    client: &dyn BrokerClient,
    settings: &KafkaReceiverSettings,
    results: &mut Vec<ProbeCheck>,
) {
    let to_use = |topic, needed| TopicUse { topic, needed, is_durable: true, max_record: None };
    let topics = settings.topics();
    let read: Vec<TopicUse> = topics.iter().map(|topic| to_use(topic, TO_READ)).collect();
    let described = check_topics(id, client, &read, results).await;
    let mut others = vec![to_use(&settings.dead_topic, TO_WRITE)];
    others.extend(settings.effects_topic.iter().map(|topic| to_use(topic, TO_SHARE)));
    check_topics(id, client, &others, results).await;
    // A group can't be described without its topics, whose faults are reported already.
    if described.len() < topics.len() {
        return;
    }
    for group in std::iter::once(settings.group.clone()).chain(settings.effects_group()) {
        let found = client.describe_group(&group, &topics).await;
        results.push(check_group(id, &group, found.as_ref()));
        let crowd = found.ok().filter(|_| group == settings.group);
        results.extend(crowd.and_then(|found| warn_of_idle_workers(id, &group, &topics, &found)));
    }
}

/// Whether this worker may use a group.
fn check_group(id: &str, group: &str, found: Result<&GroupDescription, &BrokerError>) -> ProbeCheck {
    let what = found.map_or("can be used".to_owned(), |found| format!("has {} members", found.members.len()));
    let granted = found.map(|found| found.granted);
    let fault = find_missing_rights(AclResource::Group(group), &[AccessRight::Read], granted);
    ProbeCheck::new(format!("`{id}`: the group `{group}` {what}"), fault.map_or(Ok(()), Err))
}

/// What a client may not do with a resource, or why the brokers do not tell.
fn find_missing_rights(
    resource: AclResource<'_>,
    needed: &[AccessRight],
    granted: Result<Option<GrantedRights>, &BrokerError>,
) -> Option<Finding> {
    let granted = match granted {
        Ok(granted) => granted?,
        Err(why) if why.fault == BrokerFault::Unauthorized => GrantedRights::NONE,
        Err(why) => return Some(to_finding(why.clone())),
    };
    missing_rights(resource, needed, granted).map(|missing| (missing.why, missing.remedy))
}

/// A warning if some of a group's workers have no partition to read.
fn warn_of_idle_workers(id: &str, group: &str, topics: &[Arc<str>], found: &GroupDescription) -> Option<ProbeCheck> {
    let (workers, partitions) = (found.members.len(), found.partitions.len());
    let topic = topics.first().filter(|_| workers > partitions)?;
    let enough = workers.saturating_mul(PARTITIONS_PER_WORKER);
    let why = format!("{workers} workers share {partitions} partition(s), so {} read nothing", workers - partitions);
    let remedy = format!(
        "`kafka-topics.sh --alter --topic {topic} --partitions {enough}`: sessions that are under way are split once"
    );
    Some(ProbeCheck::with_warning(format!("`{id}`: the group `{group}` has partitions for all"), (why, remedy)))
}

/// Checks topics; returns those that could be described.
async fn check_topics(
    id: &str,
    client: &dyn BrokerClient,
    uses: &[TopicUse<'_>],
    results: &mut Vec<ProbeCheck>,
) -> Vec<TopicDescription> {
    let mut described = Vec::new();
    for used in uses {
        let found = client.describe_topic(used.topic).await;
        let name = format!("`{id}`: the topic `{}`", used.topic);
        let what = found.as_ref().map_or_else(|_| "can be used".to_owned(), describe);
        results.push(ProbeCheck::new(format!("{name} {what}"), find_fault(used, found.as_ref()).map_or(Ok(()), Err)));
        if let Ok(found) = found {
            let warning = find_small_limit(used, &found);
            results.extend(warning.map(|why| ProbeCheck::with_warning(format!("{name} takes every record"), why)));
            described.push(found);
        }
    }
    described
}

/// Why a topic can't be used.
fn find_fault(used: &TopicUse<'_>, found: Result<&TopicDescription, &BrokerError>) -> Option<Finding> {
    let granted = found.map(|found| found.granted);
    find_missing_rights(AclResource::Topic(used.topic), used.needed, granted).or_else(|| {
        let problem = durability_problem(used.topic, found.ok()?).filter(|_| used.is_durable)?;
        Some((problem.why, problem.remedy))
    })
}

/// A warning if a record of the largest request may be larger than the topic takes: it is refused unless it compresses
/// well.
fn find_small_limit(used: &TopicUse<'_>, found: &TopicDescription) -> Option<Finding> {
    let (record, most) = used.max_record.zip(found.max_message_bytes).filter(|(record, most)| record > most)?;
    let topic = used.topic;
    Some((
        format!("`max_request_size` allows records of {record} bytes, and `max.message.bytes` of the topic is {most}"),
        format!(
            "`kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config \
             max.message.bytes={record}`, or lower `max_request_size`"
        ),
    ))
}

fn describe(found: &TopicDescription) -> String {
    let TopicDescription { partitions, replication_factor, min_insync_replicas, .. } = found;
    let in_sync = min_insync_replicas.map_or_else(String::new, |least| format!(", min.insync.replicas {least}"));
    format!("has {partitions} partitions, {replication_factor} replicas{in_sync}")
}
