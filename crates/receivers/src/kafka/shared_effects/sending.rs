//! [`EffectsSender`]: writes this worker's effects to the topic, from its spool.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::told_effects::{ACCOUNT, SharedEffects};
use ::kafka::{
    BrokerClient, BrokerError, BrokerFault, KeptProducer, RecordContent, RecordHead, RecordSealer, durability_problem,
};
use kernel::clock::with_timeout;
use net::SharedServices;
use net::spawn::run_blocking;
use pipeline::spool::{RecordSeq, Spool, SpoolReadError};
use pipeline::{Processor, effects};
use telemetry::{Counter, names};

/// How long effects wait for others, so that few records are written.
const LINGER: Duration = Duration::from_millis(200);
/// Bytes and records of the spool in one record of the topic.
const RECORD_BYTES: usize = 512 << 10;
const RECORD_COUNT: usize = 512;
/// Bytes that may wait for a topic that can't be written, in a spool that is less than half full. More are dropped,
/// oldest first: the fleet's view is worth less than room for data.
const MAX_WAITING: u64 = 64 << 20;
/// How long the topic may take for a record, and the wait after a failure.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
const RETRY_WAIT: Duration = Duration::from_secs(1);
/// How long the last effects may take at the end.
const END_WAIT: Duration = Duration::from_secs(5);

/// What a sender runs with.
pub struct EffectsSenderParts {
    pub spool: Arc<Spool>,
    pub services: SharedServices,
}

/// See the module.
pub struct EffectsSender {
    receiver: Arc<str>,
    consumer: Arc<str>,
    topic: Arc<str>,
    shared: Arc<SharedEffects>,
    sealer: RecordSealer,
    client: Arc<dyn BrokerClient>,
    producer: KeptProducer,
    /// Number of the topic's partitions; 0: not known.
    partitions: AtomicU32,
    parts: EffectsSenderParts,
    sent: Counter,
    dropped: Counter,
}

/// A part of the spool as the body of a record.
struct ReadEffects {
    /// `None`: nothing in it is shared.
    body: Option<Vec<u8>>,
    last: RecordSeq,
    records: usize,
}

impl EffectsSender {
    pub(crate) fn new(
        receiver: Arc<str>,
        topic: Arc<str>,
        shared: Arc<SharedEffects>,
        sealer: RecordSealer,
        client: Arc<dyn BrokerClient>,
        parts: EffectsSenderParts,
    ) -> Self {
        let count = |outcome| {
            let labels = [("receiver", &*receiver), ("outcome", outcome)];
            parts.services.meter.counter(&names::KAFKA_EFFECTS, &labels)
        };
        Self {
            sent: count("sent"),
            dropped: count("dropped"),
            consumer: Arc::clone(Processor::id(&*shared)),
            producer: KeptProducer::new(Arc::clone(&client), SEND_TIMEOUT),
            partitions: AtomicU32::new(0),
            receiver,
            topic,
            shared,
            sealer,
            client,
            parts,
        }
    }

    /// Writes effects until `stop` turns true, and then what is left.
    pub async fn run(&self, mut stop: watch::Receiver<bool>) {
        let clock = &*self.parts.services.clock;
        let mut changed = self.parts.spool.changed(&self.consumer);
        let mut last_error: Option<BrokerError> = None;
        while !*stop.borrow() {
            changed.borrow_and_update();
            let sent = tokio::select! {
                sent = self.send_waiting() => sent,
                // What was not acknowledged yet is sent again below.
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let wait = match sent {
                Ok(()) => {
                    last_error = None;
                    tokio::select! {
                        _ = changed.changed() => {}
                        _ = stop.wait_for(|stop| *stop) => {}
                    }
                    LINGER
                }
                Err(error) => {
                    self.report_failure(&mut last_error, error);
                    RETRY_WAIT
                }
            };
            let _ = with_timeout(clock, wait, stop.wait_for(|stop| *stop)).await;
        }
        if !matches!(with_timeout(clock, END_WAIT, self.send_waiting()).await, Some(Ok(()))) {
            tracing::warn!(
                receiver = &*self.receiver,
                "the last updates of runs are sent to the other workers at the next start"
            );
        }
    }

    fn report_failure(&self, last_error: &mut Option<BrokerError>, error: BrokerError) {
        // The topic may be another one meanwhile.
        self.partitions.store(0, Ordering::Relaxed);
        // Records that wait keep whole segments of the spool, so in one that fills up none may wait.
        let status = self.parts.spool.status();
        let is_filling = status.bytes > status.limit / 2;
        let keep = if is_filling { 0 } else { MAX_WAITING.min(status.limit / 8) };
        let dropped = self.parts.spool.expire(&self.consumer, keep);
        self.dropped.increment(dropped);
        if last_error.as_ref() == Some(&error) {
            return;
        }
        let (why, remedy, topic) = (error.text.as_str(), error.fault.remedy(), &*self.topic);
        tracing::error!(
            receiver = &*self.receiver,
            topic,
            why,
            remedy,
            "updates of runs can't be sent to the other workers"
        );
        *last_error = Some(error);
    }

    /// Writes everything that waits.
    async fn send_waiting(&self) -> Result<(), BrokerError> {
        let partition = self.partition().await?;
        let mut most = RECORD_COUNT;
        while let Some(read) = self.read(most).await? {
            match self.send(partition, read).await {
                Ok(()) => most = RECORD_COUNT,
                // Several are tried one by one; one alone is dropped in `send`.
                Err(error) if error.fault == BrokerFault::TooLarge && most > 1 => most = 1,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The partition that this worker writes to; which one it is does not matter.
    async fn partition(&self) -> Result<i32, BrokerError> {
        if self.partitions.load(Ordering::Relaxed) == 0 {
            let found = self.client.describe_topic(&self.topic).await;
            let found = found.map_err(|error| error.about_topic(&self.topic))?;
            if let Some(problem) = durability_problem(&self.topic, &found) {
                let why = problem.to_string();
                tracing::warn!(why, "what workers tell each other may be lost with one broker");
            }
            self.partitions.store(u32::try_from(found.partitions).unwrap_or(0).max(1), Ordering::Relaxed);
        }
        let name = self.shared.replica.bytes();
        let number = name.fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        Ok(i32::try_from(number % self.partitions.load(Ordering::Relaxed).max(1)).unwrap_or(0))
    }

    async fn send(&self, partition: i32, read: ReadEffects) -> Result<(), BrokerError> {
        if let Some(body) = read.body {
            let head = RecordHead { account: ACCOUNT.into(), content: RecordContent::Effects, id: None };
            let record = self.sealer.seal(&self.topic, partition, &head, &body).ok_or_else(sealing_failed)?;
            match self.producer.send(record).await {
                Ok(()) => self.sent.increment(1),
                Err(error) if error.fault == BrokerFault::TooLarge && read.records == 1 => {
                    self.dropped.increment(1);
                    let (topic, why) = (&*self.topic, error.text.as_str());
                    tracing::error!(topic, why, "the runs of one request are too large for the topic: raise its limit");
                }
                Err(error) => return Err(error),
            }
        }
        self.parts.spool.drop_pending(&self.consumer, Some(read.last));
        Ok(())
    }

    /// The next effects that wait; `None`: there are none.
    async fn read(&self, most: usize) -> Result<Option<ReadEffects>, BrokerError> {
        let (spool, consumer, shared) =
            (Arc::clone(&self.parts.spool), Arc::clone(&self.consumer), Arc::clone(&self.shared));
        let read = move || {
            let records = match spool.read(&consumer, None, RECORD_BYTES, most) {
                Ok(records) => records,
                Err(SpoolReadError::Damaged(last)) => {
                    tracing::error!(
                        record = last.0,
                        "an effects record in the spool is damaged; other workers will not receive it"
                    );
                    return Ok(Some(ReadEffects { body: None, last, records: 1 }));
                }
                Err(error) => return Err(BrokerError::new(BrokerFault::Unavailable, format!("the spool: {error}"))),
            };
            let Some(last) = records.last().map(|record| record.seq) else { return Ok(None) };
            let effects = records.iter().filter_map(|record| effects::decode(&record.body)).flatten().collect();
            Ok(Some(ReadEffects { body: shared.encode(effects), last, records: records.len() }))
        };
        let read = run_blocking(&*self.parts.services.tasks, "shared effects", read).await;
        read.unwrap_or_else(|| Err(BrokerError::new(BrokerFault::Unavailable, "reading the spool failed")))
    }
}

fn sealing_failed() -> BrokerError {
    BrokerError::new(BrokerFault::ClientFailed, "effects can't be sealed")
}
