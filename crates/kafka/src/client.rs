//! The interfaces to a broker: [`BrokerClient`] opens a [`RecordProducer`] or a [`RecordConsumer`]. They are small, so
//! that a test's broker in memory behaves as a real one does. Errors hold texts of ours, never a broker's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::access_rights::GrantedRights;

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PartitionId {
    pub topic: Arc<str>,
    /// Number of the partition, from 0.
    pub number: i32,
}

/// A record to be written. No `Debug`: it may hold telemetry.
pub struct OutgoingRecord {
    pub topic: Arc<str>,
    /// Number of the partition; `None` lets the client choose.
    pub partition: Option<i32>,
    /// The key, if the topic's readers need one.
    pub key: Option<Bytes>,
    pub value: Bytes,
    pub headers: Vec<(&'static str, Bytes)>,
}

/// A record that was read. No `Debug`: it may hold telemetry.
#[derive(Clone)]
pub struct IncomingRecord {
    /// Where it was read.
    pub partition: PartitionId,
    pub offset: i64,
    /// The time that the topic gives it, in milliseconds since 1970.
    pub timestamp_ms: i64,
    pub key: Option<Bytes>,
    /// The value; `None` for a tombstone.
    pub value: Option<Bytes>,
    pub headers: Vec<(String, Bytes)>,
}

impl IncomingRecord {
    /// The first header of this name.
    pub fn header(&self, name: &str) -> Option<&Bytes> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// An offset to commit: that of the first record which is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    pub partition: PartitionId,
    /// The first offset that is not done.
    pub next: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionBounds {
    /// The oldest record's offset; older ones were removed by the topic's retention.
    pub first: i64,
    /// The offset that the next record will get.
    pub end: i64,
}

/// What is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// The topic's id: a topic that is made anew under its name has another one. Zeros if the broker tells none.
    pub topic_id: [u8; 16],
    pub partitions: i32,
    /// Copies of the partition that has the fewest.
    pub replication_factor: usize,
    /// `min.insync.replicas`, if the broker tells it.
    pub min_insync_replicas: Option<usize>,
    /// `max.message.bytes`, if the broker tells it.
    pub max_message_bytes: Option<u64>,
    /// What this client may do with it, if the broker tells it (Kafka 3.7 or later).
    pub granted: Option<GrantedRights>,
}

/// A consumer group and how far it has read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupDescription {
    pub members: Vec<GroupMember>,
    /// Every partition of the topics that were asked for.
    pub partitions: Vec<PartitionOffsets>,
    /// What this client may do with it, if the broker tells it: not for a group that no worker has joined yet.
    pub granted: Option<GrantedRights>,
}

impl GroupDescription {
    /// The member that owns a partition.
    pub fn owner(&self, partition: &PartitionId) -> Option<&GroupMember> {
        self.members.iter().find(|member| member.partitions.contains(partition))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// The name that it keeps over restarts, or else the one that the broker gave it.
    pub name: String,
    /// Where it connects from.
    pub host: String,
    pub partitions: Vec<PartitionId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    pub partition: PartitionId,
    /// What it holds.
    pub bounds: PartitionBounds,
    /// The offset that the group has committed, if any.
    pub committed: Option<i64>,
}

impl PartitionOffsets {
    /// The offset of the first record that the group has not committed, or would have if there were one.
    pub fn first_waiting(&self) -> i64 {
        self.committed.unwrap_or(self.bounds.first).max(self.bounds.first)
    }

    /// Records that the group has not committed.
    pub fn waiting(&self) -> u64 {
        u64::try_from(self.bounds.end.saturating_sub(self.first_waiting())).unwrap_or(0)
    }
}

/// The class of a failure, by which the caller decides what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BrokerFault {
    /// No broker answers, or none can serve at the moment: the call may be repeated.
    Unavailable,
    /// The broker refuses this client's credentials or certificate.
    Denied,
    /// The ACLs do not allow this client the call.
    Unauthorized,
    /// The topic does not exist.
    NoTopic,
    /// The record is larger than the topic takes.
    TooLarge,
    /// The group has given this member's partitions to another.
    Fenced,
    /// A batch of records in the topic is damaged.
    Damaged,
    /// The client can't go on: another one must be made.
    ClientFailed,
    /// The binary was built without a client.
    NotBuilt,
}

impl BrokerFault {
    /// Whether a producer or a consumer that failed so never works again.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Denied | Self::Unauthorized | Self::Fenced | Self::ClientFailed)
    }

    /// What an operator can do about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Unavailable => "check `brokers`, the network, and that enough replicas of the topic are in sync",
            Self::Denied => "check `auth` and `tls`",
            Self::Unauthorized => "check the ACLs of the topic and the group: `tollgate check` names what is missing",
            Self::NoTopic => "create the topic (see `docs/how-to/fleet.md`), or correct its name",
            Self::TooLarge => "raise `max.message.bytes` of the topic, or lower `max_request_size`",
            Self::Fenced => "none, unless it repeats: then two workers have the same `group_instance_id`",
            Self::Damaged => "restore the topic's log from a replica; the partition is held until then",
            Self::ClientFailed => "none, unless it repeats: check `auth`, the ACLs and the brokers' log",
            Self::NotBuilt => "build tollgate with `cargo build --features kafka`",
        }
    }
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct BrokerError {
    pub fault: BrokerFault,
    /// What happened, in our own words.
    pub text: String,
}

impl BrokerError {
    /// The same error, with the name of the topic that it is about.
    #[must_use]
    pub fn about_topic(self, topic: &str) -> Self {
        Self { text: format!("topic `{topic}`: {}", self.text), ..self }
    }

    /// An error of this class.
    pub fn new(fault: BrokerFault, text: impl Into<String>) -> Self {
        Self { fault, text: text.into() }
    }
}

/// Opens producers and consumers, and answers questions about topics.
pub trait BrokerClient: Send + Sync {
    fn describe_topic<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<TopicDescription, BrokerError>>;
    /// Describes a group, and every partition of these topics.
    fn describe_group<'a>(
        &'a self,
        group: &'a str,
        topics: &'a [Arc<str>],
    ) -> BoxFuture<'a, Result<GroupDescription, BrokerError>>;
    /// When the first record that waits in each of these partitions was written, in ms since the epoch. A partition
    /// where none waits, or whose record can't be read within seconds, is left out.
    fn read_oldest<'a>(
        &'a self,
        partitions: &'a [PartitionOffsets],
    ) -> BoxFuture<'a, Result<BTreeMap<PartitionId, i64>, BrokerError>>;
    /// Opens a producer whose records are acknowledged by all replicas in sync, and written once however often they
    /// are sent again. A record that isn't acknowledged within `timeout` fails.
    fn open_producer(&self, timeout: Duration) -> BoxFuture<'_, Result<Arc<dyn RecordProducer>, BrokerError>>;
    /// Joins a group.
    fn open_consumer(
        &self,
        subscription: SubscriptionSettings,
        owner: Arc<dyn PartitionOwner>,
    ) -> BoxFuture<'_, Result<Arc<dyn RecordConsumer>, BrokerError>>;
}

pub trait RecordProducer: Send + Sync {
    /// Writes a record. Completes when all replicas in sync have it.
    fn send(&self, record: OutgoingRecord) -> BoxFuture<'_, Result<(), BrokerError>>;
}

/// How a consumer joins its group.
#[derive(Clone, Debug)]
pub struct SubscriptionSettings {
    pub group: String,
    pub topics: Vec<Arc<str>>,
    /// A name that this member keeps over restarts, so that a restart moves no partition.
    pub instance: Option<String>,
    /// How long the group waits for a silent member before it gives its partitions to others.
    pub session_timeout: Duration,
    /// Largest amount of data that one fetch returns, in bytes.
    pub fetch_bytes: usize,
}

/// Reads records of the partitions that the group assigns. Nothing is committed unless the caller does it.
pub trait RecordConsumer: Send + Sync {
    /// The next records, or none after `wait`. The group's changes are applied here: [`PartitionOwner`] is called
    /// before the future completes.
    fn poll(&self, wait: Duration) -> BoxFuture<'_, Result<Vec<IncomingRecord>, BrokerError>>;
    fn commit(&self, offsets: Vec<CommittedOffset>) -> BoxFuture<'_, Result<(), BrokerError>>;
    /// The offset that the group has committed for a partition, if any.
    fn committed<'a>(&'a self, partition: &'a PartitionId) -> BoxFuture<'a, Result<Option<i64>, BrokerError>>;
    fn bounds<'a>(&'a self, partition: &'a PartitionId) -> BoxFuture<'a, Result<PartitionBounds, BrokerError>>;
    /// Continues a partition at `offset`.
    fn seek<'a>(&'a self, partition: &'a PartitionId, offset: i64) -> BoxFuture<'a, Result<(), BrokerError>>;
    /// Reads no more from these partitions until they are resumed.
    fn pause<'a>(&'a self, partitions: &'a [PartitionId]) -> BoxFuture<'a, ()>;
    /// Reads from these partitions again.
    fn resume<'a>(&'a self, partitions: &'a [PartitionId]) -> BoxFuture<'a, ()>;
    /// Records in each assigned partition that were not read yet, as far as known.
    fn lag(&self) -> BoxFuture<'_, Vec<(PartitionId, u64)>>;
    /// Leaves the group. Partitions that are still owned are revoked first.
    fn close(&self, exit: GroupExit) -> BoxFuture<'_, ()>;
}

/// How long a member that leaves its group is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupExit {
    /// It comes back: a member with a name keeps its partitions until the session times out.
    ForRestart,
    /// It does not: its partitions go to other members at once.
    ForGood,
}

/// Is told which partitions the group gives to this member and takes from it.
pub trait PartitionOwner: Send + Sync {
    /// These partitions are read from now on. The consumer may be used to seek.
    fn assigned<'a>(&'a self, consumer: &'a dyn RecordConsumer, partitions: Vec<PartitionId>) -> BoxFuture<'a, ()>;
    /// These partitions will go to another member when the future completes. The consumer may be used to commit.
    fn revoked<'a>(&'a self, consumer: &'a dyn RecordConsumer, partitions: Vec<PartitionId>) -> BoxFuture<'a, ()>;
    /// These partitions are already another member's: nothing may be committed.
    fn lost(&self, partitions: Vec<PartitionId>) -> BoxFuture<'_, ()>;
}
