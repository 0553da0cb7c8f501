//! [`RecordLoop`]: polls, gives each record a task, commits what is done, and pauses while too much is under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Mutex, watch};

use super::config::KafkaReceiverSettings;
use super::decode::{RecordReader, RecordRequest, UnusableRecord};
use super::ownership::{BegunRecord, OwnedPartitions};
use super::stored_positions::StoredPositions;
use ::kafka::{
    BrokerClient, BrokerError, BrokerFault, IncomingRecord, OutgoingRecord, PartitionOwner, RecordConsumer,
    RecordProducer, SubscriptionSettings,
};
use kernel::clock::{Clock, with_timeout};
use net::Spawn;
use pipeline::{Admission, BytePermit, Outcome, Reason, Submission};
use telemetry::{Meter, names};

/// Longest wait of one poll. It bounds how late a commit is, so that a crash repeats little.
const POLL_WAIT: Duration = Duration::from_millis(50);
/// Bytes of one fetch.
const FETCH_BYTES: usize = 8 << 20;
/// Wait before a record that can't be processed at the moment is tried again: at first, and at most.
const RETRY_WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// Wait before the brokers are asked again.
const RECONNECT_WAIT: Duration = Duration::from_secs(2);
/// How long polls may fail before the client is made anew.
const MAX_FAILING: Duration = Duration::from_secs(60);
/// How often the lag is measured.
const LAG_INTERVAL: Duration = Duration::from_secs(5);
/// How long the dead topic may take.
const DEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long records may take at the end. The gateway's own limit is in `RunningKafkaReceiver::drain`.
const END_WAIT: Duration = Duration::from_secs(600);

/// What a receiver runs with.
pub struct KafkaReceiverContext {
    /// The engine's entry.
    pub admission: Arc<dyn Admission>,
    /// Spawns the tasks of records.
    pub tasks: Arc<dyn Spawn>,
    /// Source of time.
    pub clock: Arc<dyn Clock>,
    /// Registry of the metrics.
    pub meter: Meter,
}

/// See the module.
pub(super) struct RecordLoop {
    id: Arc<str>,
    settings: KafkaReceiverSettings,
    client: Arc<dyn BrokerClient>,
    positions: Arc<StoredPositions>,
    owned: Arc<OwnedPartitions>,
    reader: RecordReader,
    context: KafkaReceiverContext,
    /// Bytes of records under way.
    in_flight: AtomicUsize,
    dead_letters: Mutex<Option<Arc<dyn RecordProducer>>>,
    /// Ends the tasks that wait.
    stopping: watch::Sender<bool>,
}

impl RecordLoop {
    pub(super) fn new(
        id: Arc<str>,
        settings: KafkaReceiverSettings,
        client: Arc<dyn BrokerClient>,
        positions: Arc<StoredPositions>,
        context: KafkaReceiverContext,
    ) -> Self {
        let clock = Arc::clone(&context.clock);
        let owned = OwnedPartitions::new(Arc::clone(&id), Arc::clone(&positions), clock, context.meter.clone());
        Self {
            reader: RecordReader::new(settings.clone()),
            owned: Arc::new(owned),
            id,
            settings,
            client,
            positions,
            context,
            in_flight: AtomicUsize::new(0),
            dead_letters: Mutex::default(),
            stopping: watch::Sender::new(false),
        }
    }

    /// Reads until `stop` turns true, and then finishes what is under way.
    pub(super) async fn run(self: &Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut last_error: Option<BrokerError> = None;
        while !*stop.borrow() {
            let Err(error) = self.read_as_member(&mut stop).await else { return };
            if last_error.as_ref() != Some(&error) {
                let (why, remedy) = (error.text.as_str(), error.fault.remedy());
                tracing::error!(receiver = &*self.id, why, remedy, "Kafka can't be read; it is tried again");
                last_error = Some(error);
            }
            let _ = with_timeout(&*self.context.clock, RECONNECT_WAIT, stop.wait_for(|stop| *stop)).await;
        }
    }

    /// Reads as a member of the group, until `stop` or an error that needs a new member: one that the group has removed
    /// for good, or one that has failed for too long.
    async fn read_as_member(self: &Arc<Self>, stop: &mut watch::Receiver<bool>) -> Result<(), BrokerError> {
        for topic in self.settings.topics() {
            self.client.describe_topic(&topic).await?;
        }
        let subscription = SubscriptionSettings {
            group: self.settings.group.clone(),
            topics: self.settings.topics(),
            instance: self.settings.instance.clone(),
            session_timeout: self.settings.session_timeout,
            fetch_bytes: FETCH_BYTES,
        };
        let owner = Arc::clone(&self.owned) as Arc<dyn PartitionOwner>;
        let consumer = self.client.open_consumer(subscription, owner).await?;
        let (mut is_paused, mut lag_read) = (false, None);
        let (mut last_error, mut failing_since): (Option<BrokerError>, Option<Duration>) = (None, None);
        while !*stop.borrow() {
            match consumer.poll(POLL_WAIT).await {
                Ok(records) => {
                    (last_error, failing_since) = (None, None);
                    for record in records {
                        self.begin(record);
                    }
                }
                Err(error) => {
                    let now = self.context.clock.monotonic();
                    let failing = now.saturating_sub(*failing_since.get_or_insert(now));
                    if matches!(error.fault, BrokerFault::Denied | BrokerFault::Fenced) || failing > MAX_FAILING {
                        // Nothing of this membership may be committed by the next one.
                        self.owned.lost(self.owned.ids()).await;
                        consumer.close().await;
                        return Err(error);
                    }
                    if last_error.as_ref() != Some(&error) {
                        let (why, remedy) = (error.text.as_str(), error.fault.remedy());
                        tracing::warn!(receiver = &*self.id, why, remedy, "Kafka does not answer; it is tried again");
                        last_error = Some(error);
                    }
                    self.context.clock.sleep(RETRY_WAITS.0).await;
                }
            }
            self.owned.commit(&*consumer, None).await;
            is_paused = self.apply_backpressure(&*consumer, is_paused).await;
            self.measure_lag(&*consumer, &mut lag_read).await;
        }
        self.stopping.send_replace(true);
        let owned = self.owned.ids();
        consumer.pause(&owned).await;
        self.owned.set_leaving(&owned);
        self.owned.wait_finished(&owned, END_WAIT).await;
        self.owned.commit(&*consumer, None).await;
        consumer.close().await;
        Ok(())
    }

    /// Pauses while more is under way than may be, and goes on when half of it is done. Returns whether it is paused.
    async fn apply_backpressure(&self, consumer: &dyn RecordConsumer, is_paused: bool) -> bool {
        let under_way = self.in_flight.load(Ordering::Relaxed);
        let most = self.settings.max_in_flight;
        if under_way > most {
            // Also partitions that were assigned meanwhile.
            consumer.pause(&self.owned.ids()).await;
            return true;
        }
        if is_paused && under_way <= most / 2 {
            consumer.resume(&self.owned.ids()).await;
            return false;
        }
        is_paused
    }

    async fn measure_lag(&self, consumer: &dyn RecordConsumer, read_at: &mut Option<Duration>) {
        let now = self.context.clock.monotonic();
        if read_at.is_some_and(|at| now.saturating_sub(at) < LAG_INTERVAL) {
            return;
        }
        *read_at = Some(now);
        for (partition, records) in consumer.lag().await {
            let number = partition.number.to_string();
            let labels = [("receiver", &*self.id), ("topic", &*partition.topic), ("partition", number.as_str())];
            self.context.meter.gauge(&names::KAFKA_LAG, &labels).set(records as f64);
        }
    }

    /// Gives a record its task, unless the spool has it already.
    fn begin(self: &Arc<Self>, record: IncomingRecord) {
        let (partition, offset) = (record.partition.clone(), record.offset);
        let Some(begun) = self.owned.begin(&partition, offset) else { return };
        if begun.missing > 0 {
            self.owned.report_missing(&partition, begun.missing);
        }
        if self.positions.is_stored(&partition, offset) {
            self.count("stored_before");
            self.owned.finish(&partition, begun.generation, offset);
            return;
        }
        let size = record.value.as_ref().map_or(0, Bytes::len);
        self.in_flight.fetch_add(size, Ordering::Relaxed);
        let this = Arc::clone(self);
        let task = async move {
            let is_done = this.process(&record, &begun).await;
            this.in_flight.fetch_sub(size, Ordering::Relaxed);
            // A record that is not done stays open, so that nothing behind it is committed.
            if is_done {
                this.owned.finish(&partition, begun.generation, offset);
            }
        };
        self.context.tasks.spawn("kafka record", Box::pin(task));
    }

    /// Processes a record until it is stored or copied to the dead topic. `false`: the gateway ends, or the partition
    /// is another member's.
    async fn process(&self, record: &IncomingRecord, begun: &BegunRecord) -> bool {
        let mut wait = RETRY_WAITS.0;
        loop {
            let hold = match self.reader.read(record) {
                Ok(request) => match self.submit(record, begun, request).await {
                    Outcome::Accepted | Outcome::Partial { .. } => {
                        self.owned.set_held(&record.partition, None);
                        self.count("accepted");
                        return true;
                    }
                    Outcome::Retry { after, .. } => {
                        wait = wait.max(after.unwrap_or_default()).min(RETRY_WAITS.1);
                        None
                    }
                    Outcome::Refused { reason: Reason::NoPipeline } => {
                        Some("no pipeline takes records of this signal from the receiver".to_owned())
                    }
                    Outcome::Refused { reason } => {
                        if self.copy_to_dead_topic(record, reason.label()).await {
                            return true;
                        }
                        None
                    }
                },
                Err(UnusableRecord::Held(why)) => Some(why),
                Err(UnusableRecord::Dead(why)) => {
                    if self.copy_to_dead_topic(record, &why).await {
                        return true;
                    }
                    None
                }
            };
            if let Some(why) = hold {
                self.report_held(record, why);
                wait = RETRY_WAITS.1;
            }
            self.owned.set_waiting(&record.partition, begun.generation, record.offset);
            let mut stopping = self.stopping.subscribe();
            if with_timeout(&*self.context.clock, wait, stopping.wait_for(|stop| *stop)).await.is_some()
                || !self.owned.try_again(&record.partition, begun.generation, record.offset)
            {
                return false;
            }
            wait = (wait * 2).min(RETRY_WAITS.1);
        }
    }

    async fn submit(&self, record: &IncomingRecord, begun: &BegunRecord, request: RecordRequest) -> Outcome {
        let RecordRequest { account, signal, body } = request;
        let admission = &self.context.admission;
        let mut permit = BytePermit::new();
        if let Err(outcome) = admission.charge(&mut permit, body.len()).await {
            return outcome;
        }
        let effect = self.positions.effect(&record.partition, begun.next, record.offset);
        let submission = Submission {
            signal,
            wire: body,
            permit,
            account,
            receiver: Arc::clone(&self.id),
            transport: "kafka",
            trust: self.settings.trust,
            effects: vec![effect],
        };
        admission.submit(submission).await
    }

    fn report_held(&self, record: &IncomingRecord, why: String) {
        if self.owned.set_held(&record.partition, Some(why.clone())) {
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

    /// Copies a record to the dead topic, with the reason in a header. Returns whether the topic has it.
    async fn copy_to_dead_topic(&self, record: &IncomingRecord, why: &str) -> bool {
        let number = |number: i64| Bytes::from(number.to_string().into_bytes());
        let mut headers = vec![
            ("tollgate-dead-reason", Bytes::copy_from_slice(why.as_bytes())),
            ("tollgate-dead-topic", Bytes::copy_from_slice(record.partition.topic.as_bytes())),
            ("tollgate-dead-partition", number(i64::from(record.partition.number))),
            ("tollgate-dead-offset", number(record.offset)),
        ];
        for name in ["tollgate-version", "tollgate-account", "tollgate-signal", "tollgate-key-id"] {
            headers.extend(record.header(name).map(|value| (name, value.clone())));
        }
        let (key, value) = (record.key.clone(), record.value.clone().unwrap_or_default());
        let topic = Arc::clone(&self.settings.dead_topic);
        let copy = OutgoingRecord { topic, partition: None, key, value, headers };
        let sent = match self.dead_letter_producer().await {
            Ok(producer) => producer.send(copy).await,
            Err(error) => Err(error),
        };
        let outcome = if sent.is_ok() { "dead" } else { "dead_topic_failed" };
        self.count(outcome);
        tracing::error!(
            receiver = &*self.id,
            topic = &*record.partition.topic,
            partition = record.partition.number,
            offset = record.offset,
            why,
            dead_topic = &*self.settings.dead_topic,
            failure = sent.as_ref().err().map(|error| error.text.as_str()),
            "a record can't be read; it is kept in the dead topic"
        );
        sent.is_ok()
    }

    async fn dead_letter_producer(&self) -> Result<Arc<dyn RecordProducer>, BrokerError> {
        let mut open = self.dead_letters.lock().await;
        if let Some(producer) = &*open {
            return Ok(Arc::clone(producer));
        }
        let producer = self.client.open_producer(DEAD_TIMEOUT).await?;
        *open = Some(Arc::clone(&producer));
        Ok(producer)
    }

    fn count(&self, outcome: &'static str) {
        let labels = [("receiver", &*self.id), ("outcome", outcome)];
        self.context.meter.counter(&names::KAFKA_RECORDS, &labels).increment(1);
    }
}
