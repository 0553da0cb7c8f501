//! [`KrafkaClient`]: the interfaces of `client`, by the library krafka (pure Rust, pinned to one version). Everything
//! that depends on the library is in this file. Its errors are translated to our own words, because a broker's text
//! has no place in a log.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use krafka::admin::{
    ConfigResource, ConsumerGroupMember, DescribeConfigsOptions, DescribeConsumerGroupsOptions, DescribeTopicsOptions,
    ListConsumerGroupOffsetsOptions, ListOffsetsOptions, OffsetSpec,
};
use krafka::auth::{AuthConfig, TlsConfig};
use krafka::consumer::{
    AutoOffsetReset, Consumer, ConsumerRebalanceListener, ConsumerRecord, OffsetAndMetadata,
    PartitionAssignmentStrategy, TopicPartition,
};
use krafka::error::ErrorCode;
use krafka::producer::Producer;
use krafka::{CloseOptions, GroupMembershipOperation, Kafka, KrafkaError, ProtocolErrorKind, Record};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::access_rights::GrantedRights;
use crate::client::{
    BrokerClient, BrokerError, BrokerFault, CommittedOffset, GroupDescription, GroupExit, GroupMember, IncomingRecord,
    OutgoingRecord, PartitionBounds, PartitionId, PartitionOffsets, PartitionOwner, RecordConsumer, RecordProducer,
    SubscriptionSettings, TopicDescription,
};
use crate::settings::{BrokerSettings, KafkaTlsConfig, SaslSettings};

/// Memory for records that wait for a broker, in bytes: several requests of the largest size.
const PRODUCER_MEMORY: usize = 64 << 20;
/// Largest request to a broker, in bytes; the topic's own limit is lower.
const MAX_REQUEST: usize = 100 << 20;
/// How long a record waits for others of its partition, and how many bytes are sent without a wait. Several clients'
/// records then share a request to the broker, which costs more than the bytes do.
const LINGER: Duration = Duration::from_millis(2);
const BATCH_BYTES: usize = 256 << 10;
/// Records of one poll. Few, because what is under way when a worker dies is read again by the next one.
const MAX_POLL_RECORDS: i32 = 32;
/// The most bytes that one fetch takes from a partition, unless its first record is larger. While a record of it is
/// kept, because its partition is paused, the whole answer of its broker stays in memory.
const PARTITION_FETCH_BYTES: i32 = 1 << 20;
/// Longest time between two polls. The loop polls all the time, so a longer pause means that the process hangs.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(60);
/// Longest time between two heartbeats, by which a member learns that the group deals partitions anew.
const MAX_HEARTBEAT: Duration = Duration::from_secs(3);
/// How old the list of brokers and leaders may be: less than the time between two calls of [`RecordConsumer::lag`],
/// which read it again.
const METADATA_AGE: Duration = Duration::from_secs(4);
/// How long reading the list again may take.
const METADATA_WAIT: Duration = Duration::from_secs(2);
/// How long reading the first record that waits in each partition may take.
const OLDEST_WAIT: Duration = Duration::from_secs(5);
/// Bytes of one fetch of such records, from one partition and from all.
const OLDEST_FETCH: (i32, i32) = (64 << 10, 4 << 20);

/// A client of one cluster. It connects with the first call.
pub(crate) struct KrafkaClient {
    settings: BrokerSettings,
    kafka: OnceCell<Kafka>,
    /// Partitions of each topic, as last described.
    partitions: Mutex<HashMap<String, i32>>,
}

impl KrafkaClient {
    pub(crate) fn new(settings: BrokerSettings) -> Self {
        Self { settings, kafka: OnceCell::new(), partitions: Mutex::default() }
    }

    async fn connected(&self) -> Result<&Kafka, BrokerError> {
        let connect = || async {
            let builder = Kafka::builder(self.settings.brokers.join(","))
                .client_id(&self.settings.client_id)
                .security(security(&self.settings))
                .request_timeout(self.settings.request_timeout)
                .connect_timeout(self.settings.request_timeout)
                .metadata_max_age(METADATA_AGE);
            Ok::<_, BrokerError>(builder.connect().await?)
        };
        self.kafka.get_or_try_init(connect).await
    }

    /// Makes producers and consumers know partitions that were added: the library keeps the list that it read first.
    async fn note_partitions(&self, topic: &str, count: i32) -> Result<(), BrokerError> {
        let known = self.partitions.lock().get(topic).copied();
        if known.is_some_and(|known| known != count) {
            let reader = self.connected().await?.consumer_without_group().metrics_push(false).build().await?;
            let read = reader.fetch_metadata(Some(topic)).await;
            let _ = reader.close().await;
            let found = read?.topics.iter().map(|one| one.partitions.len()).max().unwrap_or(0);
            if i32::try_from(found).unwrap_or(i32::MAX) < count {
                // A list of the last seconds, or of a broker that is behind: it is asked again with the next call.
                return Ok(());
            }
        }
        self.partitions.lock().insert(topic.to_owned(), count);
        Ok(())
    }
}

fn security(settings: &BrokerSettings) -> AuthConfig {
    let security = match &settings.sasl {
        None => AuthConfig::plaintext(),
        Some(SaslSettings::Plain(user, password)) => AuthConfig::sasl_plain(user, password.expose()),
        Some(SaslSettings::Scram(user, password, false)) => AuthConfig::sasl_scram_sha256(user, password.expose()),
        Some(SaslSettings::Scram(user, password, true)) => AuthConfig::sasl_scram_sha512(user, password.expose()),
        Some(SaslSettings::Token(token)) => AuthConfig::sasl_oauthbearer(token.expose()),
    };
    match (&settings.tls, &settings.sasl) {
        (None, _) => security,
        (Some(tls), None) => AuthConfig::ssl(tls_config(tls)),
        (Some(tls), Some(_)) => security.with_tls(tls_config(tls)),
    }
}

fn tls_config(settings: &KafkaTlsConfig) -> TlsConfig {
    let mut tls = TlsConfig::new();
    tls = match &settings.ca_file {
        Some(path) => tls.with_ca_cert(path.to_string_lossy()),
        None => tls.with_native_roots(),
    };
    if let (Some(certificate), Some(key)) = (&settings.cert_file, &settings.key_file) {
        tls = tls.with_client_cert(certificate.to_string_lossy(), key.to_string_lossy());
    }
    match &settings.server_name_override {
        Some(name) => tls.with_sni_hostname(name),
        None => tls,
    }
}

impl BrokerClient for KrafkaClient {
    fn describe_topic<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<TopicDescription, BrokerError>> {
        Box::pin(async move {
            let admin = self.connected().await?.admin();
            let described = admin.describe_topics([topic], DescribeTopicsOptions::default()).await;
            let described = described?.remove(topic);
            let described = described.ok_or_else(|| BrokerError::new(BrokerFault::NoTopic, "the topic is unknown"))?;
            let described = described?;
            let resource = ConfigResource::topic(topic);
            let options = DescribeConfigsOptions::default();
            // A client without the right to read the configuration can still write: these limits are then unknown.
            let entries = admin.describe_configs([resource.clone()], options).await.ok();
            let entries = entries.and_then(|mut found| found.remove(&resource)?.ok()).unwrap_or_default();
            let number = |name: &str| {
                let entry = entries.iter().find(|entry| entry.name == name)?;
                entry.config_value().parse::<u64>().ok()
            };
            let partitions = i32::try_from(described.partitions.len()).unwrap_or(i32::MAX);
            self.note_partitions(topic, partitions).await?;
            Ok(TopicDescription {
                topic_id: described.topic_id,
                partitions,
                replication_factor: described.partitions.iter().map(|one| one.replicas.len()).min().unwrap_or(0),
                min_insync_replicas: number("min.insync.replicas").and_then(|least| usize::try_from(least).ok()),
                max_message_bytes: number("max.message.bytes"),
                granted: described.authorized_operations.and_then(GrantedRights::from_protocol),
            })
        })
    }

    fn describe_group<'a>(
        &'a self,
        group: &'a str,
        topics: &'a [Arc<str>],
    ) -> BoxFuture<'a, Result<GroupDescription, BrokerError>> {
        Box::pin(async move {
            let mut partitions: Vec<PartitionId> = Vec::new();
            for topic in topics {
                let count = self.describe_topic(topic).await.map_err(|error| error.about_topic(topic))?.partitions;
                partitions.extend((0..count).map(|number| PartitionId { topic: Arc::clone(topic), number }));
            }
            let admin = self.connected().await?.admin();
            let options = DescribeConsumerGroupsOptions::default().include_authorized_operations(true);
            let described = admin.describe_consumer_groups([group], options).await;
            let described = match described?.remove(group) {
                // No worker has joined yet.
                Some(Err(KrafkaError::Broker { code: ErrorCode::GroupIdNotFound, .. })) => None,
                other => other.transpose()?,
            };
            let granted = described.as_ref().and_then(|found| found.authorized_operations);
            let granted = granted.and_then(GrantedRights::from_protocol);
            let members = described.into_iter().flat_map(|found| found.members).map(group_member).collect();
            let mut committed =
                admin.list_consumer_group_offsets(group, ListConsumerGroupOffsetsOptions::default()).await?;
            let ask = |spec: fn() -> OffsetSpec| {
                let asked: Vec<_> = partitions.iter().map(|partition| (to_library(partition), spec())).collect();
                admin.list_offsets(asked, ListOffsetsOptions::default())
            };
            let (mut first, mut end) = (ask(|| OffsetSpec::Earliest).await?, ask(|| OffsetSpec::Latest).await?);
            let mut described = Vec::new();
            for partition in &partitions {
                let place = to_library(partition);
                let unknown = || BrokerError::new(BrokerFault::Unavailable, "a partition's offsets are unknown");
                let first = first.remove(&place).ok_or_else(unknown)??.offset;
                let end = end.remove(&place).ok_or_else(unknown)??.offset;
                let committed = committed.remove(&place).transpose()?.and_then(|found| found.offset);
                described.push(PartitionOffsets {
                    partition: partition.clone(),
                    bounds: PartitionBounds { first, end },
                    committed: committed.filter(|offset| *offset >= 0),
                });
            }
            Ok(GroupDescription { members, partitions: described, granted })
        })
    }

    fn read_oldest<'a>(
        &'a self,
        partitions: &'a [PartitionOffsets],
    ) -> BoxFuture<'a, Result<BTreeMap<PartitionId, i64>, BrokerError>> {
        Box::pin(async move {
            let mut missing: Vec<PartitionId> =
                partitions.iter().filter(|one| one.waiting() > 0).map(|one| one.partition.clone()).collect();
            let (from_one, from_all) = OLDEST_FETCH;
            let builder = self.connected().await?.consumer_without_group();
            let builder = builder.max_partition_fetch_bytes(from_one).fetch_max_bytes(from_all).metrics_push(false);
            let consumer = builder.build().await?;
            for (topic, numbers) in by_topic(&missing) {
                consumer.assign(topic, numbers).await?;
            }
            for one in partitions.iter().filter(|one| one.waiting() > 0) {
                consumer.seek(&one.partition.topic, one.partition.number, one.first_waiting()).await?;
            }
            let mut oldest = BTreeMap::new();
            let read = async {
                while !missing.is_empty() {
                    for record in consumer.poll(OLDEST_WAIT).await? {
                        let partition = PartitionId { topic: record.topic, number: record.partition };
                        if let Some(at) = missing.iter().position(|one| *one == partition) {
                            missing.swap_remove(at);
                            consumer.pause(&partition.topic, &[partition.number]).await;
                            oldest.insert(partition, record.timestamp);
                        }
                    }
                }
                Ok::<_, BrokerError>(())
            };
            // Records that were read are returned, also if others could not be read in time.
            let _ = tokio::time::timeout(OLDEST_WAIT, read).await;
            let _ = consumer.close().await;
            oldest.retain(|_, written| *written > 0);
            Ok(oldest)
        })
    }

    fn open_producer(&self, timeout: Duration) -> BoxFuture<'_, Result<Arc<dyn RecordProducer>, BrokerError>> {
        Box::pin(async move {
            let builder = self.connected().await?.producer();
            // Idempotent and `acks=all` by default; written down because the promise depends on it.
            let builder = builder.idempotent(true).acks(krafka::producer::Acks::All);
            let builder = builder.delivery_timeout(timeout).max_block(timeout).linger(LINGER).batch_size(BATCH_BYTES);
            let builder = builder.buffer_memory(PRODUCER_MEMORY).max_request_size(MAX_REQUEST).metrics_push(false);
            let producer = builder.build().await?;
            Ok(Arc::new(KrafkaProducer(producer)) as Arc<dyn RecordProducer>)
        })
    }

    fn open_consumer(
        &self,
        subscription: SubscriptionSettings,
        owner: Arc<dyn PartitionOwner>,
    ) -> BoxFuture<'_, Result<Arc<dyn RecordConsumer>, BrokerError>> {
        Box::pin(async move {
            let fetch = i32::try_from(subscription.fetch_bytes).unwrap_or(i32::MAX);
            let cell = Arc::new(OnceLock::new());
            let listener = OwnerListener { owner, consumer: Arc::clone(&cell) };
            let mut builder = (self.connected().await?.consumer(subscription.group))
                .enable_auto_commit(false)
                .auto_offset_reset(AutoOffsetReset::Earliest)
                .partition_assignment_strategy(PartitionAssignmentStrategy::CooperativeSticky)
                .session_timeout(subscription.session_timeout)
                .heartbeat_interval((subscription.session_timeout / 4).min(MAX_HEARTBEAT))
                .max_poll_interval(MAX_POLL_INTERVAL.max(subscription.session_timeout))
                .max_poll_records(MAX_POLL_RECORDS)
                // The library stops decoding when its buffer is full, and begins with the first broker. With a smaller
                // buffer, a backlog at that broker would keep partitions of other brokers from being read at all.
                .max_buffered_records(i32::MAX)
                .max_partition_fetch_bytes(fetch.min(PARTITION_FETCH_BYTES))
                .fetch_max_bytes(fetch)
                .metrics_push(false)
                .rebalance_listener(listener);
            if let Some(instance) = subscription.instance {
                builder = builder.group_instance_id(instance);
            }
            let consumer = builder.build().await?;
            let consumer = Arc::new(KrafkaConsumer(consumer));
            let _ = cell.set(Arc::downgrade(&consumer));
            consumer.0.subscribe(&subscription.topics).await?;
            Ok(consumer as Arc<dyn RecordConsumer>)
        })
    }
}

struct KrafkaProducer(Producer);

impl RecordProducer for KrafkaProducer {
    fn send(&self, record: OutgoingRecord) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let OutgoingRecord { topic, partition, key, value, headers } = record;
            let mut outgoing = Record::new(&*topic, value);
            if let Some(partition) = partition {
                outgoing = outgoing.partition(partition);
            }
            if let Some(key) = key {
                outgoing = outgoing.key(key);
            }
            for (name, value) in headers {
                outgoing = outgoing.header(name, value);
            }
            Ok(self.0.send(outgoing).await.map(drop)?)
        })
    }
}

struct KrafkaConsumer(Consumer);

fn to_library(partition: &PartitionId) -> TopicPartition {
    TopicPartition::new(partition.topic.to_string(), partition.number)
}

fn partition_id(found: &TopicPartition) -> PartitionId {
    PartitionId { topic: found.topic.as_str().into(), number: found.partition }
}

fn by_topic(partitions: &[PartitionId]) -> Vec<(&str, Vec<i32>)> {
    let mut topics: Vec<(&str, Vec<i32>)> = Vec::new();
    for partition in partitions {
        match topics.iter_mut().find(|(topic, _)| *topic == &*partition.topic) {
            Some((_, numbers)) => numbers.push(partition.number),
            None => topics.push((&partition.topic, vec![partition.number])),
        }
    }
    topics
}

fn incoming(record: ConsumerRecord) -> IncomingRecord {
    let headers = record.headers.into_iter().filter_map(|(name, value)| Some((name, value?)));
    IncomingRecord {
        partition: PartitionId { topic: record.topic, number: record.partition },
        offset: record.offset,
        timestamp_ms: record.timestamp,
        key: record.key,
        value: record.value,
        headers: headers.collect(),
    }
}

impl RecordConsumer for KrafkaConsumer {
    fn poll(&self, wait: Duration) -> BoxFuture<'_, Result<Vec<IncomingRecord>, BrokerError>> {
        Box::pin(async move {
            let records = self.0.poll(wait).await?;
            Ok(records.into_iter().map(incoming).collect())
        })
    }

    fn commit(&self, offsets: Vec<CommittedOffset>) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            let offsets = offsets
                .into_iter()
                .map(|CommittedOffset { partition, next }| (to_library(&partition), OffsetAndMetadata::new(next)));
            let offsets: Vec<_> = offsets.collect();
            Ok(self.0.commit_offsets(offsets).await?)
        })
    }

    fn committed<'a>(&'a self, partition: &'a PartitionId) -> BoxFuture<'a, Result<Option<i64>, BrokerError>> {
        Box::pin(async move {
            let found = self.0.committed(&[(&*partition.topic, partition.number)]).await?;
            Ok(found.into_values().next().map(|position| position.offset))
        })
    }

    fn bounds<'a>(&'a self, partition: &'a PartitionId) -> BoxFuture<'a, Result<PartitionBounds, BrokerError>> {
        Box::pin(async move {
            let (first, end) = self.0.fetch_watermarks(&partition.topic, partition.number).await?;
            Ok(PartitionBounds { first, end })
        })
    }

    fn seek<'a>(&'a self, partition: &'a PartitionId, offset: i64) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move { Ok(self.0.seek(&partition.topic, partition.number, offset).await?) })
    }

    fn pause<'a>(&'a self, partitions: &'a [PartitionId]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for (topic, numbers) in by_topic(partitions) {
                self.0.pause(topic, &numbers).await;
            }
        })
    }

    fn resume<'a>(&'a self, partitions: &'a [PartitionId]) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            for (topic, numbers) in by_topic(partitions) {
                self.0.resume(topic, &numbers).await;
            }
        })
    }

    fn lag(&self) -> BoxFuture<'_, Vec<(PartitionId, u64)>> {
        Box::pin(async move {
            // A poll of the library never reads the list of brokers again because of its age: a partition whose leader
            // was down when the list was read would be silent until something else reads it.
            let topics = self.0.subscription().await;
            let reads = join_all(topics.iter().map(|topic| self.0.fetch_metadata(Some(topic))));
            let _ = tokio::time::timeout(METADATA_WAIT, reads).await;
            let found = self.0.lag().await;
            found.iter().filter_map(|(partition, lag)| Some((partition_id(partition), lag.lag?))).collect()
        })
    }

    fn close(&self, exit: GroupExit) -> BoxFuture<'_, ()> {
        let membership = match exit {
            GroupExit::ForRestart => GroupMembershipOperation::Default,
            GroupExit::ForGood => GroupMembershipOperation::LeaveGroup,
        };
        Box::pin(async move {
            // A failure means that the group has removed this member already, or will when its session ends.
            let _ = self.0.close_with(CloseOptions::new().group_membership_operation(membership)).await;
        })
    }
}

/// Passes the group's changes to the owner.
struct OwnerListener {
    owner: Arc<dyn PartitionOwner>,
    /// Set before the consumer subscribes, so before the first call.
    consumer: Arc<OnceLock<Weak<KrafkaConsumer>>>,
}

impl OwnerListener {
    fn consumer(&self) -> Option<Arc<KrafkaConsumer>> {
        self.consumer.get()?.upgrade()
    }
}

fn partition_ids(found: &[TopicPartition]) -> Vec<PartitionId> {
    found.iter().map(partition_id).collect()
}

impl ConsumerRebalanceListener for OwnerListener {
    async fn on_partitions_assigned(&self, partitions: &[TopicPartition]) {
        if let Some(consumer) = self.consumer() {
            self.owner.assigned(&*consumer, partition_ids(partitions)).await;
        }
    }

    async fn on_partitions_revoked(&self, partitions: &[TopicPartition]) {
        if let Some(consumer) = self.consumer() {
            self.owner.revoked(&*consumer, partition_ids(partitions)).await;
        }
    }

    async fn on_partitions_lost(&self, partitions: &[TopicPartition]) {
        self.owner.lost(partition_ids(partitions)).await;
    }
}

fn group_member(member: ConsumerGroupMember) -> GroupMember {
    let assigned = member.assignment.unwrap_or_default().into_iter().flat_map(|assigned| {
        let topic: Arc<str> = assigned.topic_name.into();
        assigned.partitions.into_iter().map(move |number| PartitionId { topic: Arc::clone(&topic), number })
    });
    let (partitions, host) = (assigned.collect(), member.client_host.trim_start_matches('/').to_owned());
    GroupMember { name: member.instance_id.unwrap_or(member.member_id), host, partitions }
}

impl From<KrafkaError> for BrokerError {
    fn from(error: KrafkaError) -> Self {
        let (fault, text) = match error {
            KrafkaError::Network(error) => {
                (BrokerFault::Unavailable, format!("no broker can be reached: {}", error.kind()))
            }
            KrafkaError::Timeout { .. } => (BrokerFault::Unavailable, "no broker answered in time".to_owned()),
            KrafkaError::DeliveryTimeout { .. } => {
                (BrokerFault::Unavailable, "the record was not acknowledged in time".to_owned())
            }
            KrafkaError::Auth { .. } => {
                (BrokerFault::Denied, "the broker refuses the credentials or certificate".to_owned())
            }
            KrafkaError::Fenced { .. } => (BrokerFault::Fenced, "another client has this name".to_owned()),
            KrafkaError::UnknownTopic { .. } => (BrokerFault::NoTopic, "the topic does not exist".to_owned()),
            KrafkaError::Protocol { kind: ProtocolErrorKind::FrameTooLarge, .. } => {
                (BrokerFault::TooLarge, "the record is too large".to_owned())
            }
            KrafkaError::Protocol { kind: ProtocolErrorKind::CrcMismatch, .. } => {
                (BrokerFault::Damaged, "a batch of records in the topic is damaged".to_owned())
            }
            KrafkaError::Broker { code, .. } => return of_code(code),
            // The library's own words about our settings.
            KrafkaError::Config { message } => {
                (BrokerFault::Unavailable, format!("the client can't be made: {message}"))
            }
            fatal if fatal.is_fatal() => {
                (BrokerFault::ClientFailed, "the client failed; another one is made".to_owned())
            }
            _ => (BrokerFault::Unavailable, "the client failed; it is tried again".to_owned()),
        };
        Self::new(fault, text)
    }
}

fn of_code(code: ErrorCode) -> BrokerError {
    let fault = match code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => BrokerFault::NoTopic,
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => BrokerFault::TooLarge,
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed => BrokerFault::Unauthorized,
        ErrorCode::SaslAuthenticationFailed => BrokerFault::Denied,
        // Not `IllegalGeneration`: a commit that meets a rebalance gets it, and the member goes on after the rebalance.
        ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => BrokerFault::Fenced,
        ErrorCode::CorruptMessage => BrokerFault::Damaged,
        _ => BrokerFault::Unavailable,
    };
    // The variant's name is the library's, not the broker's text.
    BrokerError::new(fault, format!("the broker answered {code:?}"))
}
