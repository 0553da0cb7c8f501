//! [`MemoryBroker`]: a broker in memory for tests. One process, any number of groups, and the faults that
//! a test asks for: a broker that is away, a commit that fails or meets a rebalance, a member that is fenced, callbacks
//! in reversed order.
//! It keeps the promises that the real one keeps: offsets without gaps, one owner per partition, `revoked` before a
//! partition moves, and nothing committed for a member that was removed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use kafka::{
    BrokerClient, BrokerError, BrokerFault, CommittedOffset, GroupDescription, GroupExit, GroupMember, IncomingRecord,
    OutgoingRecord, PartitionBounds, PartitionId, PartitionOffsets, PartitionOwner, RecordConsumer, RecordProducer,
    SubscriptionSettings, TopicDescription,
};
use kernel::clock::Clock;

/// How long a fetch with records takes.
const ROUND_TRIP: Duration = Duration::from_millis(1);
/// Records of a partition that one poll returns at most.
const POLL_RECORDS: usize = 16;

/// A broker in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryBroker {
    state: Arc<Mutex<BrokerState>>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct BrokerState {
    topics: BTreeMap<Arc<str>, MemoryTopic>,
    committed: HashMap<(String, PartitionId), i64>,
    members: Vec<Arc<MemberState>>,
    next_member: u64,
    /// Number of topics that were created.
    created: u64,
    is_away: bool,
    is_silent: bool,
    failing_commits: u32,
    /// Commits that meet a rebalance, from now on.
    rebalancing_commits: u32,
    /// Whether every group has one more member, which owns its share and reads nothing.
    has_silent_member: bool,
    /// Whether members are told of new partitions before those that they lose.
    is_reversed: bool,
    /// A partition without a leader.
    without_leader: Option<i32>,
    is_lossy: bool,
    /// Members whose next poll fails for good.
    fenced: Vec<u64>,
}

struct MemoryTopic {
    partitions: Vec<Vec<StoredRecord>>,
    /// How many partitions the groups know: new ones are dealt out only when a member joins, as by Kafka.
    dealt: i32,
    description: TopicDescription,
}

#[derive(Clone)]
struct StoredRecord {
    timestamp_ms: i64,
    key: Option<Bytes>,
    value: Option<Bytes>,
    headers: Vec<(String, Bytes)>,
}

struct MemberState {
    id: u64,
    group: String,
    /// Its name over restarts.
    instance: Option<String>,
    topics: Vec<Arc<str>>,
    /// Next offset to read, by owned partition.
    owned: Mutex<BTreeMap<PartitionId, MemberPartition>>,
    is_removed: Mutex<bool>,
}

#[derive(Clone, Copy, Default)]
struct MemberPartition {
    next: i64,
    is_paused: bool,
}

impl MemoryBroker {
    /// A broker without topics.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { state: Arc::default(), clock }
    }

    /// Creates a topic with safe settings.
    pub fn create_topic(&self, name: &str, partitions: i32) {
        let description = TopicDescription {
            topic_id: [0; 16],
            partitions,
            replication_factor: 3,
            min_insync_replicas: Some(2),
            max_message_bytes: Some(1 << 20),
            granted: None,
        };
        self.create_topic_as(name, description);
    }

    /// Creates a topic that is described so.
    pub fn create_topic_as(&self, name: &str, description: TopicDescription) {
        let count = usize::try_from(description.partitions).unwrap_or(0);
        let mut state = self.state.lock();
        state.created += 1;
        let mut topic_id = [0; 16];
        for (to, from) in topic_id.iter_mut().zip(state.created.to_le_bytes()) {
            *to = from;
        }
        let description = TopicDescription { topic_id, ..description };
        state.committed.retain(|(_, partition), _| *partition.topic != *name);
        state.topics.insert(
            name.into(),
            MemoryTopic { partitions: vec![Vec::new(); count], dealt: description.partitions, description },
        );
    }

    pub fn grow_topic(&self, name: &str, partitions: i32) {
        let mut state = self.state.lock();
        if let Some(topic) = state.topics.get_mut(name) {
            topic.partitions.resize(usize::try_from(partitions).unwrap_or(0), Vec::new());
            topic.description.partitions = partitions;
        }
    }

    /// Lets every call fail as if no broker were there, or ends that.
    pub fn set_away(&self, is_away: bool) {
        self.state.lock().is_away = is_away;
    }

    /// Lets questions about topics go without an answer.
    pub fn set_silent(&self) {
        self.state.lock().is_silent = true;
    }

    /// Lets the next `count` commits fail.
    pub fn fail_commits(&self, count: u32) {
        self.state.lock().failing_commits = count;
    }

    /// Lets the next `count` commits meet a rebalance: a silent member joins or leaves the groups meanwhile, in turn,
    /// and the commit is answered with an error. When it leaves, the offsets were committed all the same. 0 ends that,
    /// and removes the silent member.
    pub fn set_rebalancing_commits(&self, count: u32) {
        let mut state = self.state.lock();
        state.rebalancing_commits = count;
        state.has_silent_member &= count > 0;
    }

    /// Tells members of the partitions that they get before those that they give back or have lost, or ends that. No
    /// partition is in both calls.
    pub fn set_reversed(&self, is_reversed: bool) {
        self.state.lock().is_reversed = is_reversed;
    }

    /// Lets writes to this partition of every topic fail, or to none.
    pub fn set_without_leader(&self, number: Option<i32>) {
        self.state.lock().without_leader = number;
    }

    /// Lets writes be stored and their acknowledgements be lost, or ends that.
    pub fn set_lossy(&self, is_lossy: bool) {
        self.state.lock().is_lossy = is_lossy;
    }

    /// Sets the offset of every group for a partition, as an operator's tool does.
    pub fn set_committed(&self, topic: &str, number: i32, next: i64) {
        let mut state = self.state.lock();
        let of_partition = state.committed.iter_mut().filter(|((_, id), _)| *id.topic == *topic && id.number == number);
        of_partition.for_each(|(_, committed)| *committed = next);
    }

    pub fn record_count(&self, topic: &str) -> usize {
        let state = self.state.lock();
        state.topics.get(topic).map_or(0, |topic| topic.partitions.iter().map(Vec::len).sum())
    }

    /// Every record of a topic, by partition and offset.
    pub fn records(&self, topic: &str) -> Vec<IncomingRecord> {
        let state = self.state.lock();
        let Some((name, found)) = state.topics.get_key_value(topic) else { return Vec::new() };
        let numbered = (0..).zip(&found.partitions);
        numbered
            .flat_map(|(number, records)| {
                (0..).zip(records).map(move |(offset, record)| to_incoming(name, number, offset, record))
            })
            .collect()
    }

    /// The offset that a group committed of a partition.
    pub fn committed_offset(&self, topic: &str, number: i32) -> Option<i64> {
        let state = self.state.lock();
        let found = state.committed.iter().find(|((_, id), _)| *id.topic == *topic && id.number == number);
        found.map(|(_, next)| *next)
    }

    /// Removes the members of the group as an expired session would; they are told that they lost their partitions
    /// with their next poll.
    pub fn expire_members(&self) {
        self.expire_members_of(|_| true);
    }

    /// As [`MemoryBroker::expire_members`], for the members with this name over restarts.
    pub fn expire_instance(&self, instance: &str) {
        self.expire_members_of(|member| member.instance.as_deref() == Some(instance));
    }

    fn expire_members_of(&self, is_meant: impl Fn(&MemberState) -> bool) {
        self.state.lock().members.retain(|member| {
            let is_expired = is_meant(member);
            *member.is_removed.lock() |= is_expired;
            !is_expired
        });
    }

    /// Removes the members for good: their polls fail from now on.
    pub fn fence_members(&self) {
        let mut state = self.state.lock();
        let members: Vec<u64> = state.members.drain(..).map(|member| member.id).collect();
        state.fenced.extend(members);
    }

    fn answers(&self) -> Result<(), BrokerError> {
        let is_away = self.state.lock().is_away;
        if is_away { Err(BrokerError::new(BrokerFault::Unavailable, "no broker can be reached")) } else { Ok(()) }
    }
}

fn to_incoming(topic: &Arc<str>, number: i32, offset: i64, record: &StoredRecord) -> IncomingRecord {
    let StoredRecord { timestamp_ms, key, value, headers } = record.clone();
    let partition = PartitionId { topic: Arc::clone(topic), number };
    IncomingRecord { partition, offset, timestamp_ms, key, value, headers }
}

fn no_topic() -> BrokerError {
    BrokerError::new(BrokerFault::NoTopic, "the topic does not exist")
}

impl BrokerClient for MemoryBroker {
    fn describe_topic<'a>(&'a self, topic: &'a str) -> BoxFuture<'a, Result<TopicDescription, BrokerError>> {
        Box::pin(async move {
            self.answers()?;
            if self.state.lock().is_silent {
                std::future::pending::<()>().await;
            }
            let state = self.state.lock();
            state.topics.get(topic).map(|topic| topic.description.clone()).ok_or_else(no_topic)
        })
    }

    fn describe_group<'a>(
        &'a self,
        group: &'a str,
        topics: &'a [Arc<str>],
    ) -> BoxFuture<'a, Result<GroupDescription, BrokerError>> {
        Box::pin(async move {
            self.answers()?;
            let state = self.state.lock();
            let of_group = state.members.iter().filter(|member| member.group == group);
            let members = of_group.map(|member| GroupMember {
                name: format!("member-{}", member.id),
                host: "memory".to_owned(),
                partitions: member.owned.lock().keys().cloned().collect(),
            });
            let mut partitions = Vec::new();
            for topic in topics {
                for (number, records) in (0..).zip(&state.topics.get(topic).ok_or_else(no_topic)?.partitions) {
                    let partition = PartitionId { topic: Arc::clone(topic), number };
                    let end = i64::try_from(records.len()).unwrap_or(i64::MAX);
                    let committed = state.committed.get(&(group.to_owned(), partition.clone())).copied();
                    partitions.push(PartitionOffsets {
                        partition,
                        bounds: PartitionBounds { first: 0, end },
                        committed,
                    });
                }
            }
            Ok(GroupDescription { members: members.collect(), partitions, granted: None })
        })
    }

    fn read_oldest<'a>(
        &'a self,
        partitions: &'a [PartitionOffsets],
    ) -> BoxFuture<'a, Result<BTreeMap<PartitionId, i64>, BrokerError>> {
        Box::pin(async move {
            let state = self.state.lock();
            let oldest = partitions.iter().filter_map(|one| {
                let topic = state.topics.get(&one.partition.topic)?;
                let records = topic.partitions.get(usize::try_from(one.partition.number).ok()?)?;
                let first = records.get(usize::try_from(one.first_waiting()).ok()?)?;
                Some((one.partition.clone(), first.timestamp_ms))
            });
            Ok(oldest.collect())
        })
    }

    fn open_producer(&self, _: Duration) -> BoxFuture<'_, Result<Arc<dyn RecordProducer>, BrokerError>> {
        Box::pin(async move {
            self.answers()?;
            Ok(Arc::new(self.clone()) as Arc<dyn RecordProducer>)
        })
    }

    fn open_consumer(
        &self,
        subscription: SubscriptionSettings,
        owner: Arc<dyn PartitionOwner>,
    ) -> BoxFuture<'_, Result<Arc<dyn RecordConsumer>, BrokerError>> {
        Box::pin(async move {
            self.answers()?;
            let mut state = self.state.lock();
            state.next_member += 1;
            let member = Arc::new(MemberState {
                id: state.next_member,
                group: subscription.group,
                instance: subscription.instance,
                topics: subscription.topics,
                owned: Mutex::default(),
                is_removed: Mutex::new(false),
            });
            state.members.push(Arc::clone(&member));
            state.topics.values_mut().for_each(|topic| topic.dealt = topic.description.partitions);
            Ok(Arc::new(MemoryConsumer { broker: self.clone(), member, owner }) as Arc<dyn RecordConsumer>)
        })
    }
}

impl RecordProducer for MemoryBroker {
    fn send(&self, record: OutgoingRecord) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            self.answers()?;
            let mut state = self.state.lock();
            if record.partition.is_some() && record.partition == state.without_leader {
                return Err(BrokerError::new(BrokerFault::Unavailable, "the partition has no leader"));
            }
            let topic = state.topics.get_mut(&record.topic).ok_or_else(no_topic)?;
            if topic.description.max_message_bytes.is_some_and(|most| record.value.len() as u64 > most) {
                return Err(BrokerError::new(BrokerFault::TooLarge, "the record is too large"));
            }
            let number = usize::try_from(record.partition.unwrap_or(0)).unwrap_or(usize::MAX);
            let partition = topic.partitions.get_mut(number).ok_or_else(no_topic)?;
            let headers = record.headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            let timestamp_ms = i64::try_from(self.clock.now().0 / 1_000_000).unwrap_or(i64::MAX);
            partition.push(StoredRecord { timestamp_ms, key: record.key, value: Some(record.value), headers });
            if state.is_lossy {
                return Err(BrokerError::new(BrokerFault::Unavailable, "no acknowledgement came"));
            }
            Ok(())
        })
    }
}

struct MemoryConsumer {
    broker: MemoryBroker,
    member: Arc<MemberState>,
    owner: Arc<dyn PartitionOwner>,
}

impl MemoryConsumer {
    /// The partitions that this member should own: they are dealt out in turn.
    fn fair_share(&self) -> Vec<PartitionId> {
        let state = self.broker.state.lock();
        let group: Vec<_> = state.members.iter().filter(|member| member.group == self.member.group).collect();
        let Some(place) = group.iter().position(|member| member.id == self.member.id) else {
            return Vec::new();
        };
        let partitions = self.member.topics.iter().flat_map(|name| {
            let count = state.topics.get(name).map_or(0, |topic| topic.dealt);
            (0..count).map(|number| PartitionId { topic: Arc::clone(name), number })
        });
        let shares = group.len() + usize::from(state.has_silent_member);
        let dealt = partitions.enumerate().filter(|(turn, _)| turn % shares == place);
        dealt.map(|(_, partition)| partition).collect()
    }

    fn is_owned_by_another(&self, partition: &PartitionId) -> bool {
        let state = self.broker.state.lock();
        let others = state.members.iter().filter(|member| member.group == self.member.group);
        others.filter(|member| member.id != self.member.id).any(|member| member.owned.lock().contains_key(partition))
    }

    fn committed_offset(&self, partition: &PartitionId) -> Option<i64> {
        let place = (self.member.group.clone(), partition.clone());
        self.broker.state.lock().committed.get(&place).copied()
    }

    async fn apply_assignment(&self) -> Result<(), BrokerError> {
        let mut owned: Vec<PartitionId> = self.member.owned.lock().keys().cloned().collect();
        let is_reversed = self.broker.state.lock().is_reversed;
        if *self.member.is_removed.lock() {
            self.member.owned.lock().clear();
            *self.member.is_removed.lock() = false;
            self.broker.state.lock().members.push(Arc::clone(&self.member));
            if is_reversed {
                self.take_new_share(&[]).await;
                owned.retain(|partition| !self.member.owned.lock().contains_key(partition));
            }
            self.owner.lost(owned).await;
            return Ok(());
        }
        if is_reversed {
            self.take_new_share(&owned).await;
        }
        let share = self.fair_share();
        let leaving: Vec<_> = owned.iter().filter(|partition| !share.contains(partition)).cloned().collect();
        if !leaving.is_empty() {
            self.owner.revoked(self, leaving.clone()).await;
            self.member.owned.lock().retain(|partition, _| !leaving.contains(partition));
        }
        if !is_reversed {
            self.take_new_share(&owned).await;
        }
        Ok(())
    }

    /// Takes what this member should own, is free, and is not among `owned`.
    async fn take_new_share(&self, owned: &[PartitionId]) {
        let new = self.fair_share().into_iter().filter(|partition| !owned.contains(partition));
        let new: Vec<_> = new.filter(|partition| !self.is_owned_by_another(partition)).collect();
        if new.is_empty() {
            return;
        }
        for partition in &new {
            let next = self.committed_offset(partition).unwrap_or(0);
            self.member.owned.lock().insert(partition.clone(), MemberPartition { next, is_paused: false });
        }
        self.owner.assigned(self, new).await;
    }

    /// Whether this commit meets a rebalance, and if so, whether the offsets are committed before it.
    fn begin_rebalance(&self) -> Option<bool> {
        let mut state = self.broker.state.lock();
        state.rebalancing_commits = state.rebalancing_commits.checked_sub(1)?;
        state.has_silent_member = !state.has_silent_member;
        Some(!state.has_silent_member)
    }

    fn read(&self) -> Vec<IncomingRecord> {
        let state = self.broker.state.lock();
        let mut records = Vec::new();
        for (partition, position) in self.member.owned.lock().iter_mut().filter(|(_, position)| !position.is_paused) {
            let stored = state.topics.get(&partition.topic);
            let stored = stored.and_then(|topic| topic.partitions.get(usize::try_from(partition.number).ok()?));
            let from = usize::try_from(position.next).unwrap_or(0);
            for record in stored.into_iter().flatten().skip(from).take(POLL_RECORDS) {
                records.push(to_incoming(&partition.topic, partition.number, position.next, record));
                position.next += 1;
            }
        }
        records
    }
}

impl RecordConsumer for MemoryConsumer {
    fn poll(&self, wait: Duration) -> BoxFuture<'_, Result<Vec<IncomingRecord>, BrokerError>> {
        Box::pin(async move {
            self.broker.answers()?;
            if self.broker.state.lock().fenced.contains(&self.member.id) {
                return Err(BrokerError::new(BrokerFault::Fenced, "another client has this name"));
            }
            self.apply_assignment().await?;
            let records = self.read();
            self.broker.clock.sleep(if records.is_empty() { wait } else { ROUND_TRIP }).await;
            Ok(records)
        })
    }

    fn commit(&self, offsets: Vec<CommittedOffset>) -> BoxFuture<'_, Result<(), BrokerError>> {
        Box::pin(async move {
            self.broker.answers()?;
            let rebalance = self.begin_rebalance();
            if rebalance.is_some() {
                // The other members go on.
                self.broker.clock.sleep(ROUND_TRIP * 20).await;
            }
            let is_removed = *self.member.is_removed.lock();
            let mut state = self.broker.state.lock();
            if is_removed || !state.members.iter().any(|member| member.id == self.member.id) {
                return Err(BrokerError::new(BrokerFault::Fenced, "the group has removed this member"));
            }
            if state.failing_commits > 0 {
                state.failing_commits -= 1;
                return Err(BrokerError::new(BrokerFault::Unavailable, "the commit failed"));
            }
            if rebalance != Some(false) {
                let group = &self.member.group;
                let offsets = offsets.into_iter().map(|offset| ((group.clone(), offset.partition), offset.next));
                state.committed.extend(offsets);
            }
            let met = || BrokerError::new(BrokerFault::Unavailable, "the group deals its partitions out anew");
            rebalance.map_or(Ok(()), |_| Err(met()))
        })
    }

    fn committed<'a>(&'a self, partition: &'a PartitionId) -> BoxFuture<'a, Result<Option<i64>, BrokerError>> {
        Box::pin(async move { Ok(self.committed_offset(partition)) })
    }

    fn bounds<'a>(&'a self, partition: &'a PartitionId) -> BoxFuture<'a, Result<PartitionBounds, BrokerError>> {
        Box::pin(async move {
            let state = self.broker.state.lock();
            let topic = state.topics.get(&partition.topic).ok_or_else(no_topic)?;
            let records = topic.partitions.get(usize::try_from(partition.number).unwrap_or(usize::MAX));
            let end = records.map_or(0, |records| i64::try_from(records.len()).unwrap_or(i64::MAX));
            Ok(PartitionBounds { first: 0, end })
        })
    }

    fn seek<'a>(&'a self, partition: &'a PartitionId, offset: i64) -> BoxFuture<'a, Result<(), BrokerError>> {
        Box::pin(async move {
            if let Some(position) = self.member.owned.lock().get_mut(partition) {
                position.next = offset;
            }
            Ok(())
        })
    }

    fn pause<'a>(&'a self, partitions: &'a [PartitionId]) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.set_paused(partitions, true) })
    }

    fn resume<'a>(&'a self, partitions: &'a [PartitionId]) -> BoxFuture<'a, ()> {
        Box::pin(async move { self.set_paused(partitions, false) })
    }

    fn lag(&self) -> BoxFuture<'_, Vec<(PartitionId, u64)>> {
        Box::pin(async move {
            let state = self.broker.state.lock();
            let owned = self.member.owned.lock();
            let lag = owned.iter().map(|(partition, position)| {
                let topic = state.topics.get(&partition.topic);
                let records = topic.and_then(|topic| topic.partitions.get(usize::try_from(partition.number).ok()?));
                let end = records.map_or(0, |records| records.len() as u64);
                (partition.clone(), end.saturating_sub(u64::try_from(position.next).unwrap_or(0)))
            });
            lag.collect()
        })
    }

    fn close(&self, _: GroupExit) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let owned: Vec<PartitionId> = self.member.owned.lock().keys().cloned().collect();
            if !owned.is_empty() {
                self.owner.revoked(self, owned).await;
            }
            self.member.owned.lock().clear();
            self.broker.state.lock().members.retain(|member| member.id != self.member.id);
        })
    }
}

impl MemoryConsumer {
    fn set_paused(&self, partitions: &[PartitionId], is_paused: bool) {
        let mut owned = self.member.owned.lock();
        for partition in partitions {
            if let Some(position) = owned.get_mut(partition) {
                position.is_paused = is_paused;
            }
        }
    }
}
