//! `tollgate fleet status`: which worker owns which partitions, how far and how long each is behind, and how many
//! records are dead. It asks only the brokers, with the configuration of any worker, and writes nothing. `drain`
//! empties a worker.

mod drain;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::common::CommonArgs;
use super::config_loading::{FileAccess, load_config};
use crate::app::configured_component::kafka_receivers;
use command::error::{CommandError, ExitStatus};
use command::output::print_result;
use command::runtime::block_on;
use kafka::{BrokerError, GroupDescription, PartitionId, PartitionOffsets};
use kernel::clock::{Clock, SystemClock, UnixNanos};
use kernel::terminal::{escape_unsafe, format_count};
use receivers::kafka::KafkaReceiverSettings;
use runs::amounts::format_seconds;

pub(super) use drain::parse_timeout;

#[cfg(test)]
mod tests;

/// Subcommands of `fleet`.
#[derive(Subcommand)]
pub(super) enum FleetCommand {
    /// Shows which worker owns which partitions, how many records wait and since when, and what is in the dead topic.
    Status {
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
    /// Empties a worker: its partitions go to the others, and the command waits until everything is delivered.
    ///
    /// Afterwards its volume holds nothing that is needed: end it with SIGTERM and delete the volume. It must run on
    /// the worker's machine or use the credentials of the admin port. A restart or a reload makes the worker read
    /// again.
    Drain(drain::DrainArgs),
}

pub(super) fn run(common: &CommonArgs, command: &FleetCommand) -> Result<ExitStatus, CommandError> {
    match command {
        FleetCommand::Status { json } => show_status(common, *json),
        FleetCommand::Drain(options) => drain::run(common, options),
    }
}

fn show_status(common: &CommonArgs, json: bool) -> Result<ExitStatus, CommandError> {
    let loaded = load_config(common, FileAccess::Read)?;
    let receivers: Vec<_> =
        kafka_receivers(&loaded.valid.receivers).map(|(id, settings)| (id.to_string(), settings)).collect();
    if receivers.is_empty() {
        return Err(CommandError::Failed(
            "the configuration has no `kafka` receiver: give that of a worker with --config".to_owned(),
        ));
    }
    let mut shown = String::new();
    for (id, settings) in receivers {
        let described = block_on(async { Ok(describe(settings, SystemClock::new().now()).await) })?;
        let described =
            described.map_err(|why| CommandError::Failed(format!("`{id}`: {}; {}", why.text, why.fault.remedy())))?;
        match json {
            true => shown.push_str(&format!("{}\n", as_json(&id, settings, &described))),
            false => shown.push_str(&as_text(&id, settings, &described)),
        }
    }
    print_result(&shown)
}

/// A group, and how old its oldest records are.
struct GroupStatus {
    group: GroupDescription,
    /// Age of the first record that waits in each partition.
    ages: BTreeMap<PartitionId, Duration>,
}

async fn describe(settings: &KafkaReceiverSettings, now: UnixNanos) -> Result<GroupStatus, BrokerError> {
    let mut topics = settings.topics();
    topics.push(Arc::clone(&settings.dead_topic));
    let client = kafka::build_client(&settings.brokers)?;
    let group = client.describe_group(&settings.group, &topics).await?;
    // A worker may not read the dead topic.
    let read: Vec<PartitionOffsets> = split(settings, &group).0.into_iter().cloned().collect();
    let now_ms = i64::try_from(now.0 / 1_000_000).unwrap_or(i64::MAX);
    let age = |written: i64| Duration::from_millis(u64::try_from(now_ms.saturating_sub(written)).unwrap_or(0));
    let ages = client.read_oldest(&read).await?.into_iter().map(|(partition, written)| (partition, age(written)));
    Ok(GroupStatus { ages: ages.collect(), group })
}

/// The partitions that are read, and the number of records in the dead topic.
fn split<'g>(settings: &KafkaReceiverSettings, group: &'g GroupDescription) -> (Vec<&'g PartitionOffsets>, u64) {
    let is_dead = |one: &&PartitionOffsets| one.partition.topic == settings.dead_topic;
    let (dead, read): (Vec<_>, Vec<_>) = group.partitions.iter().partition(is_dead);
    let count = dead.iter().map(|one| one.bounds.end.saturating_sub(one.bounds.first)).sum::<i64>();
    (read, u64::try_from(count).unwrap_or(0))
}

/// The partitions by owner; "" has none.
fn by_owner<'g>(
    group: &'g GroupDescription,
    read: &[&'g PartitionOffsets],
) -> BTreeMap<&'g str, Vec<&'g PartitionOffsets>> {
    let mut owners: BTreeMap<&str, Vec<&PartitionOffsets>> =
        group.members.iter().map(|member| (member.name.as_str(), Vec::new())).collect();
    for offsets in read {
        let owner = group.owner(&offsets.partition);
        owners.entry(owner.map_or("", |member| &member.name)).or_default().push(offsets);
    }
    owners
}

fn as_text(id: &str, settings: &KafkaReceiverSettings, status: &GroupStatus) -> String {
    let group = &status.group;
    let (read, dead) = split(settings, group);
    let waiting: u64 = read.iter().map(|one| one.waiting()).sum();
    let (workers, count) = (group.members.len(), read.len());
    let mut out = format!(
        "{id}: group {}, {}, {}, {} waiting\n\n",
        settings.group,
        format_count(workers, "worker"),
        format_count(count, "partition"),
        format_count(waiting, "record")
    );
    let row = |out: &mut String, name: &str, [partitions, waiting, oldest]: [&str; 3], most: &str| {
        let line = format!("{name:<32} {partitions:>10} {waiting:>14} {oldest:>12}  {most}");
        _ = writeln!(out, "{}", line.trim_end());
    };
    row(&mut out, "WORKER", ["PARTITIONS", "WAITING", "OLDEST"], "MOST IN");
    for (owner, partitions) in by_owner(group, &read) {
        let waiting: u64 = partitions.iter().map(|one| one.waiting()).sum();
        let most = partitions.iter().max_by_key(|one| one.waiting()).filter(|one| one.waiting() > 0);
        let most = most.map_or_else(String::new, |one| format!("{}/{}", one.partition.topic, one.partition.number));
        let oldest = partitions.iter().filter_map(|one| status.ages.get(&one.partition)).max();
        let oldest = oldest.map_or_else(String::new, |age| format_seconds(age.as_secs_f64()));
        // anybody who may join the group chooses a name
        let name = if owner.is_empty() { "(no worker)".to_owned() } else { escape_unsafe(owner) };
        row(&mut out, &name, [&partitions.len().to_string(), &waiting.to_string(), &oldest], &most);
    }
    let dead = match dead {
        0 => "the dead topic is empty".to_owned(),
        dead => format!("in the dead topic {}: {}", settings.dead_topic, format_count(dead, "record")),
    };
    _ = writeln!(out, "\n{dead}");
    out
}

fn as_json(id: &str, settings: &KafkaReceiverSettings, status: &GroupStatus) -> Value {
    let group = &status.group;
    let (read, dead) = split(settings, group);
    let owner = |one: &PartitionOffsets| group.owner(&one.partition).map(|member| &member.name);
    let partitions: Vec<Value> = (read.iter())
        .map(|one| {
            let oldest = status.ages.get(&one.partition).map(Duration::as_secs_f64);
            json!({"topic": &*one.partition.topic, "partition": one.partition.number, "owner": owner(one),
                "first": one.bounds.first, "end": one.bounds.end, "committed": one.committed, "waiting": one.waiting(),
                "oldest_seconds": oldest})
        })
        .collect();
    let workers: Vec<Value> =
        group.members.iter().map(|member| json!({"name": member.name, "host": member.host})).collect();
    json!({"receiver": id, "group": settings.group, "workers": workers, "partitions": partitions, "dead_records": dead})
}
