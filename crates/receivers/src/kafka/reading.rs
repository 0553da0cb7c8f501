//! [`RecordLoop`]: polls, gives each record a task, commits what is done, and pauses while too much is under way.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::config::KafkaReceiverSettings;
use super::decode::UnusableRecord;
use super::hand_over::PartitionHandOver;
use super::ownership::{BegunRecord, OwnedPartitions};
use super::sink::RecordSink;
use super::stored_positions::StoredPositions;
use ::kafka::{
    BrokerClient, BrokerError, GroupExit, IncomingRecord, KeptProducer, OutgoingRecord, PartitionId, PartitionOwner,
    RECORD_HEADERS, RecordConsumer, RecordId, SubscriptionSettings, durability_problem,
};
use kernel::clock::with_timeout;
use net::SharedServices;
use pipeline::{Outcome, Reason, ReceiverInlet};
use telemetry::names;

/// Longest wait of one poll. It bounds how late a commit is, so that a crash repeats little.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// Bytes of one fetch from a broker. They are in memory, in plain topics also inflated, before any budget counts them.
const FETCH_BYTES: usize = 2 << 20;
/// Wait before a record that can't be processed at the moment is tried again: at first, and at most.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Wait before the brokers are asked again.
const RECONNECT_WAIT: Duration = Duration::from_secs(2);
/// How often the same error is logged.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// How long polls may fail before the client is made anew.
const MAX_FAILING: Duration = Duration::from_secs(60);
/// How often the topics are looked at for new partitions, which the group deals out only when a member joins.
const TOPICS_INTERVAL: Duration = Duration::from_secs(60);
/// How often the lag is measured.
const LAG_INTERVAL: Duration = Duration::from_secs(5);
/// How long the dead topic may take.
const DEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long records may take before a member leaves to join again; what is not done then is read once more.
const LEAVE_WAIT: Duration = Duration::from_secs(10);
/// How long records may take at the end. The gateway's own limit is in `RunningKafkaReceiver::drain`.
const END_WAIT: Duration = Duration::from_secs(600);

/// Records that may be under way: many more than are processed at the same time, and few enough that little is read
/// again when a worker dies and its partitions move.
const MAX_UNDER_WAY: usize = 128;
/// Bytes that a record under way takes beside its own: its task and its headers' list.
const RECORD_OVERHEAD: usize = 4096;

/// How much is under way.
#[derive(Default)]
struct UnderWay {
    records: AtomicUsize,
    bytes: AtomicUsize,
}

/// Counts a record as under way, until dropped.
struct RecordInFlight {
    total: Arc<UnderWay>,
    bytes: usize,
}

impl RecordInFlight {
    fn new(total: &Arc<UnderWay>, record: &IncomingRecord) -> Self {
        let headers: usize = record.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let [key, value] = [&record.key, &record.value].map(|part| part.as_ref().map_or(0, Bytes::len));
        let bytes = key.saturating_add(value).saturating_add(headers).saturating_add(RECORD_OVERHEAD);
        total.bytes.fetch_add(bytes, Ordering::Relaxed);
        total.records.fetch_add(1, Ordering::Relaxed);
        Self { total: Arc::clone(total), bytes }
    }
}

impl Drop for RecordInFlight {
    fn drop(&mut self) {
        self.total.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.total.records.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Notes that a record with this id is being stored, until dropped.
struct StoringId<'a> {
    storing: &'a Mutex<HashSet<RecordId>>,
    id: RecordId,
}

impl<'a> StoringId<'a> {
    /// `None`: another one with this id is being stored.
    fn begin(storing: &'a Mutex<HashSet<RecordId>>, id: RecordId) -> Option<Self> {
        let is_free = storing.lock().insert(id);
        is_free.then(|| Self { storing, id })
    }
}

impl Drop for StoringId<'_> {
    fn drop(&mut self) {
        self.storing.lock().remove(&self.id);
    }
}

/// What a receiver runs with.
#[derive(Clone)]
pub struct KafkaReceiverContext {
    /// The engine's entry.
    pub inlet: ReceiverInlet,
    pub services: SharedServices,
}

/// Why a membership ended without an error.
enum MembershipEnd {
    /// The gateway stops, or the partitions are handed over.
    Stopped,
    /// A topic has other partitions than when the member joined.
    TopicsGrew,
}

/// See the module.
pub(super) struct RecordLoop {
    id: Arc<str>,
    settings: KafkaReceiverSettings,
    client: Arc<dyn BrokerClient>,
    positions: Arc<StoredPositions>,
    owned: Arc<OwnedPartitions>,
    sink: Box<dyn RecordSink>,
    context: KafkaReceiverContext,
    in_flight: Arc<UnderWay>,
    /// Ids of the records that are being stored.
    storing: Mutex<HashSet<RecordId>>,
    dead_letters: KeptProducer,
    /// Ends the tasks that wait.
    stopping: watch::Sender<bool>,
}

impl RecordLoop {
    pub(super) fn new(
        id: Arc<str>,
        settings: KafkaReceiverSettings,
        client: Arc<dyn BrokerClient>,
        positions: Arc<StoredPositions>,
        sink: Box<dyn RecordSink>,
        context: KafkaReceiverContext,
    ) -> Self {
        let clock = Arc::clone(&context.services.clock);
        let owned = OwnedPartitions::new(
            Arc::clone(&id),
            (Arc::clone(&positions), sink.ignores_group()),
            clock,
            context.services.meter.clone(),
        );
        Self {
            dead_letters: KeptProducer::new(Arc::clone(&client), DEAD_TIMEOUT),
            sink,
            owned: Arc::new(owned),
            id,
            settings,
            client,
            positions,
            context,
            in_flight: Arc::default(),
            storing: Mutex::default(),
            stopping: watch::Sender::new(false),
        }
    }

    /// The partitions that it owns.
    pub(super) fn owned(&self) -> Arc<OwnedPartitions> {
        Arc::clone(&self.owned)
    }

    /// Reads until `stop` turns true or the partitions are to be handed over, and then finishes what is under way.
    pub(super) async fn run(self: &Arc<Self>, mut stop: watch::Receiver<bool>, hand_over: PartitionHandOver) {
        let mut last_error: Option<(BrokerError, Duration)> = None;
        while !*stop.borrow() && !hand_over.is_asked() {
            let error = match self.read_as_member(&stop, &hand_over).await {
                Ok(MembershipEnd::Stopped) => break,
                Ok(MembershipEnd::TopicsGrew) => continue,
                Err(error) => error,
            };
            let now = self.context.services.clock.monotonic();
            let is_known = |(known, at): &(BrokerError, Duration)| *known == error && now < *at + REPORT_INTERVAL;
            if !last_error.as_ref().is_some_and(is_known) {
                let (why, remedy) = (error.text.as_str(), error.fault.remedy());
                tracing::error!(receiver = &*self.id, why, remedy, "Kafka can't be read; it is tried again");
                last_error = Some((error, now));
            }
            let _ = with_timeout(&*self.context.services.clock, RECONNECT_WAIT, stop.wait_for(|stop| *stop)).await;
        }
        self.owned.set_ended();
        if hand_over.is_asked() {
            hand_over.set_done();
            tracing::info!(receiver = &*self.id, "the partitions are handed over; nothing more is read");
        }
    }

    /// Reads as a member of the group, until `stop`, a hand-over, or an error that needs a new member: one that the
    /// group has removed for good, or one that has failed for too long.
    async fn read_as_member(
        self: &Arc<Self>,
        stop: &watch::Receiver<bool>,
        hand_over: &PartitionHandOver,
    ) -> Result<MembershipEnd, BrokerError> {
        let topics = self.note_topics().await?;
        self.show_dead_topic();
        self.owned.set_exit(GroupExit::ForGood);
        let mut topics_read = self.context.services.clock.monotonic();
        let subscription = SubscriptionSettings {
            group: self.settings.group.clone(),
            topics: self.settings.topics(),
            instance: self.settings.instance.clone(),
            session_timeout: self.settings.session_timeout,
            fetch_bytes: FETCH_BYTES,
        };
        let owner = Arc::clone(&self.owned) as Arc<dyn PartitionOwner>;
        let consumer = self.client.open_consumer(subscription, owner).await?;
        let (mut paused, mut lag_read) = (BTreeMap::new(), None);
        let (mut last_error, mut failing_since): (Option<BrokerError>, Option<Duration>) = (None, None);
        while !*stop.borrow() && !hand_over.is_asked() {
            match consumer.poll(POLL_WAIT).await {
                Ok(records) => {
                    (last_error, failing_since) = (None, None);
                    for record in records {
                        self.begin(record);
                    }
                }
                Err(error) => {
                    let now = self.context.services.clock.monotonic();
                    let failing = now.saturating_sub(*failing_since.get_or_insert(now));
                    if error.fault.is_final() || failing > MAX_FAILING {
                        self.leave_group(&*consumer, exit_for(hand_over)).await;
                        return Err(error);
                    }
                    if last_error.as_ref() != Some(&error) {
                        let (why, remedy) = (error.text.as_str(), error.fault.remedy());
                        tracing::warn!(receiver = &*self.id, why, remedy, "Kafka does not answer; it is tried again");
                        last_error = Some(error);
                    }
                    self.context.services.clock.sleep(RETRY_WAITS.0).await;
                }
            }
            if let Err(error) = self.owned.commit(&*consumer, None).await {
                self.leave_group(&*consumer, exit_for(hand_over)).await;
                return Err(error);
            }
            self.pause_and_resume(&*consumer, &mut paused).await;
            self.measure_lag(&*consumer, &mut lag_read).await;
            let now = self.context.services.clock.monotonic();
            if now.saturating_sub(topics_read) >= TOPICS_INTERVAL {
                topics_read = now;
                self.show_dead_topic();
                if self.read_topics().await.is_ok_and(|found| found != topics) {
                    tracing::warn!(
                        receiver = &*self.id,
                        "a topic has other partitions than before, or was made anew: the group deals them out again"
                    );
                    self.finish_records(&*consumer, LEAVE_WAIT).await;
                    // It comes back at once, so what it knows of its partitions is kept; but a static member that only
                    // restarts would get its old partitions without a new deal.
                    self.owned.set_exit(GroupExit::ForRestart);
                    consumer.close(GroupExit::ForGood).await;
                    return Ok(MembershipEnd::TopicsGrew);
                }
            }
        }
        self.stopping.send_replace(true);
        self.finish_records(&*consumer, END_WAIT).await;
        let exit = exit_for(hand_over);
        self.owned.set_exit(exit);
        consumer.close(exit).await;
        Ok(MembershipEnd::Stopped)
    }

    /// Begins no more records, waits for those under way, at most `wait`, and commits what is done.
    async fn finish_records(&self, consumer: &dyn RecordConsumer, wait: Duration) {
        let owned = self.owned.ids();
        consumer.pause(&owned).await;
        self.owned.set_leaving(&owned);
        self.owned.wait_finished(&owned, wait).await;
        let _ = self.owned.commit(consumer, None).await;
    }

    /// Each topic that is read, with its number of partitions and its id.
    async fn read_topics(&self) -> Result<Vec<(Arc<str>, i32, [u8; 16])>, BrokerError> {
        let mut topics = Vec::new();
        for topic in self.settings.topics() {
            let found = self.client.describe_topic(&topic).await.map_err(|error| error.about_topic(&topic))?;
            topics.push((topic, found.partitions, found.topic_id));
        }
        Ok(topics)
    }

    /// Tells the topics' ids to the stored positions, and looks whether the dead topic is there. Only while no record
    /// is being stored: its position would be taken for one of the new topic.
    async fn note_topics(&self) -> Result<Vec<(Arc<str>, i32, [u8; 16])>, BrokerError> {
        let topics = self.read_topics().await?;
        for (topic, _, id) in &topics {
            if self.positions.set_topic_id(topic, *id) {
                let topic = &**topic;
                tracing::error!(receiver = &*self.id, topic, "the topic was made anew, and is read from its start");
            }
        }
        let dead = &self.settings.dead_topic;
        let found = self.client.describe_topic(dead).await.map_err(|error| error.about_topic(dead))?;
        if let Some(problem) = durability_problem(dead, &found) {
            let why = problem.to_string();
            tracing::warn!(receiver = &*self.id, why, "records that can't be read may be lost with one broker");
        }
        Ok(topics)
    }

    /// Shows how many records the dead topic has; nothing while the brokers can't be asked. In a task, because the
    /// brokers take several requests for it, during which the loop must poll.
    fn show_dead_topic(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let task = async move {
            let (meter, labels) = (&this.context.services.meter, [("receiver", &*this.id)]);
            let topics = [Arc::clone(&this.settings.dead_topic)];
            let Ok(found) = this.client.describe_group(&this.settings.group, &topics).await else {
                return meter.remove(&names::KAFKA_DEAD_TOPIC, &labels);
            };
            let records = found.partitions.iter().map(|one| one.bounds.end.saturating_sub(one.bounds.first));
            meter.gauge(&names::KAFKA_DEAD_TOPIC, &labels).set(records.fold(0, i64::saturating_add) as f64);
        };
        self.context.services.tasks.spawn("kafka dead topic", Box::pin(task));
    }

    /// Leaves the group. Nothing of this membership may be committed by the next one.
    async fn leave_group(&self, consumer: &dyn RecordConsumer, exit: GroupExit) {
        self.owned.lost(self.owned.ids()).await;
        consumer.close(exit).await;
    }

    /// Pauses partitions with a record that waits, and all of them while more is under way than may be; resumes the
    /// others, when half of it is done. `paused` has the partitions that are, by the number of their ownership.
    async fn pause_and_resume(&self, consumer: &dyn RecordConsumer, paused: &mut BTreeMap<PartitionId, u64>) {
        let part = if paused.is_empty() { 1 } else { 2 };
        let is_full = self.in_flight.bytes.load(Ordering::Relaxed) > self.settings.max_in_flight / part
            || self.in_flight.records.load(Ordering::Relaxed) > MAX_UNDER_WAY / part;
        let (mut to_pause, mut to_resume) = (Vec::new(), Vec::new());
        let owned = self.owned.waiting();
        // A partition that was given back and came again is not paused.
        paused.retain(|partition, generation| owned.iter().any(|(id, now, _)| id == partition && now == generation));
        for (partition, generation, is_waiting) in owned {
            match (is_full || is_waiting, paused.contains_key(&partition)) {
                (true, false) => {
                    to_pause.push(partition.clone());
                    paused.insert(partition, generation);
                }
                (false, true) => {
                    paused.remove(&partition);
                    to_resume.push(partition);
                }
                _ => {}
            }
        }
        if !to_pause.is_empty() {
            consumer.pause(&to_pause).await;
        }
        if !to_resume.is_empty() {
            consumer.resume(&to_resume).await;
        }
    }

    async fn measure_lag(&self, consumer: &dyn RecordConsumer, read_at: &mut Option<Duration>) {
        let now = self.context.services.clock.monotonic();
        if read_at.is_some_and(|at| now.saturating_sub(at) < LAG_INTERVAL) {
            return;
        }
        *read_at = Some(now);
        for (partition, records) in consumer.lag().await {
            self.owned.show_lag(&partition, records);
        }
    }

    /// Gives a record its task, unless the spool has it already.
    fn begin(self: &Arc<Self>, record: IncomingRecord) {
        let (partition, offset) = (record.partition.clone(), record.offset);
        let Some(begun) = self.owned.begin(&record) else { return };
        if begun.missing > 0 {
            self.owned.report_missing(&partition, begun.missing);
        }
        if self.positions.is_stored(&partition, offset) {
            self.count("stored_before");
            self.owned.finish(&partition, begun.generation, offset);
            return;
        }
        let this = Arc::clone(self);
        let size = RecordInFlight::new(&self.in_flight, &record);
        let task = async move {
            let is_done = this.process(&record, &begun).await;
            drop(size);
            // A record that is not done stays open, so that nothing behind it is committed.
            if is_done {
                this.owned.finish(&partition, begun.generation, offset);
            }
        };
        self.context.services.tasks.spawn("kafka record", Box::pin(task));
    }

    /// Processes a record until it is stored or copied to the dead topic. `false`: the gateway ends, or the partition
    /// is another member's.
    async fn process(&self, record: &IncomingRecord, begun: &BegunRecord) -> bool {
        let mut wait = RETRY_WAITS.0;
        loop {
            // `Err`: the record is not done, and why it is held, if it is.
            let result = match self.store(record, begun).await {
                Ok(Outcome::Accepted | Outcome::Partial { .. }) => Ok(()),
                // Only a change of the configuration helps, so it is shown.
                Ok(Outcome::Retry { reason: reason @ Reason::NoRecipient, .. }) => Err(Some(reason.text().to_owned())),
                Ok(Outcome::Retry { after, .. }) => {
                    wait = wait.max(after.unwrap_or_default()).min(RETRY_WAITS.1);
                    Err(None)
                }
                Ok(Outcome::Refused { reason: Reason::NoPipeline }) => {
                    Err(Some("no pipeline takes records of this signal from the receiver".to_owned()))
                }
                Ok(Outcome::Refused { reason }) => self.copy_to_dead_topic(record, reason.label()).await.map_err(Some),
                Err(UnusableRecord::Held(why)) => Err(Some(why)),
                Err(UnusableRecord::Dead(why)) => self.copy_to_dead_topic(record, &why).await.map_err(Some),
            };
            let Err(hold) = result else { return true };
            if let Some(why) = hold {
                self.report_held(record, begun.generation, why);
                wait = RETRY_WAITS.1;
            }
            self.owned.set_waiting(&record.partition, begun.generation, record.offset);
            let mut stopping = self.stopping.subscribe();
            if with_timeout(&*self.context.services.clock, wait, stopping.wait_for(|stop| *stop)).await.is_some()
                || !self.owned.try_again(&record.partition, begun.generation, record.offset)
            {
                return false;
            }
            wait = (wait * 2).min(RETRY_WAITS.1);
        }
    }

    /// Stores a record, unless one with its id is stored already, and counts it.
    ///
    /// # Errors
    /// See [`UnusableRecord`].
    async fn store(&self, record: &IncomingRecord, begun: &BegunRecord) -> Result<Outcome, UnusableRecord> {
        let _storing = if let Some(id) = begun.stored.id {
            let Some(storing) = StoringId::begin(&self.storing, id) else { return Ok(Reason::Overloaded.outcome()) };
            if self.positions.is_id_stored(&record.partition, &id) {
                let position = self.positions.effect(&record.partition, begun.stored);
                let outcome = self.sink.store_position(position).await;
                if outcome == Outcome::Accepted {
                    self.count("written_again");
                }
                return Ok(outcome);
            }
            Some(storing)
        } else {
            None
        };
        let position = self.positions.effect(&record.partition, begun.stored);
        let outcome = self.sink.store(record, position).await?;
        if matches!(outcome, Outcome::Accepted | Outcome::Partial { .. }) {
            self.count("accepted");
        }
        Ok(outcome)
    }

    fn report_held(&self, record: &IncomingRecord, generation: u64, why: String) {
        if self.owned.set_held(&record.partition, generation, record.offset, why.clone()) {
            tracing::error!(
                receiver = &*self.id,
                topic = &*record.partition.topic,
                partition = record.partition.number,
                offset = record.offset,
                why,
                "a partition is held: nothing behind this record is committed until it can be read"
            );
        }
    }

    /// Copies a record to the dead topic, with the reason in a header.
    ///
    /// # Errors
    /// Why the topic does not have it.
    async fn copy_to_dead_topic(&self, record: &IncomingRecord, why: &str) -> Result<(), String> {
        let number = |number: i64| Bytes::from(number.to_string().into_bytes());
        let mut headers = vec![
            ("tollgate-dead-reason", Bytes::copy_from_slice(why.as_bytes())),
            ("tollgate-dead-topic", Bytes::copy_from_slice(record.partition.topic.as_bytes())),
            ("tollgate-dead-partition", number(i64::from(record.partition.number))),
            ("tollgate-dead-offset", number(record.offset)),
        ];
        for name in RECORD_HEADERS {
            headers.extend(record.header(name).map(|value| (name, value.clone())));
        }
        let (key, value) = (record.key.clone(), record.value.clone().unwrap_or_default());
        let topic = Arc::clone(&self.settings.dead_topic);
        let copy = OutgoingRecord { topic, partition: None, key, value, headers };
        if let Err(error) = self.dead_letters.send(copy).await {
            self.count("dead_topic_failed");
            let dead = &self.settings.dead_topic;
            return Err(format!("{why}; and the dead topic `{dead}` does not take it: {}", error.text));
        }
        self.count("dead");
        tracing::error!(
            receiver = &*self.id,
            topic = &*record.partition.topic,
            partition = record.partition.number,
            offset = record.offset,
            why,
            dead_topic = &*self.settings.dead_topic,
            "a record can't be read; it is kept in the dead topic"
        );
        Ok(())
    }

    fn count(&self, outcome: &'static str) {
        let labels = [("receiver", &*self.id), ("outcome", outcome)];
        self.context.services.meter.counter(&names::KAFKA_RECORDS, &labels).increment(1);
    }
}

/// How a member leaves: for good, if another one is to have its partitions at once.
fn exit_for(hand_over: &PartitionHandOver) -> GroupExit {
    if hand_over.is_asked() { GroupExit::ForGood } else { GroupExit::ForRestart }
}
