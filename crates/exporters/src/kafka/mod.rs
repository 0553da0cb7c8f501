//! The `kafka` exporter: writes requests to a topic, and accepts them when all replicas in sync have them. At the edge
//! of a fleet it seals them and sorts them by session (crate `kafka`); `encoding: otlp_proto` writes plain requests for
//! other consumers. A topic that can lose acknowledged records is refused, before each use, and at the edge at the
//! start too. If only some partitions acknowledge a request, a retry writes the others alone, with the ids that the
//! first attempt gave them: a record whose acknowledgement was lost is in the topic twice then, and the worker knows
//! it. `pipeline/outlet` retries, and so do clients.

mod config;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, watch};

pub use config::{KafkaExporterConfig, KafkaExporterSettings, RecordEncoding, RecordTarget, SignalTopicConfig};

use crate::spec::{BuildError, ExportTarget, ExporterDeps, ExporterProfile, ExporterSpec};
use ::config::ComponentId;
use ::kafka::{
    BrokerClient, BrokerError, BrokerFault, KeptProducer, OutgoingRecord, RecordContent, RecordHead, RecordId,
    RecordSealer, durability_problem,
};
use kernel::bounded_map::BoundedMap;
use kernel::clock::with_timeout;
use kernel::rng::{Rng as _, SystemRng};
use net::spawn::run_blocking;
use otlp::Signal;
use pipeline::repeats::RequestFingerprint;
use pipeline::worker::fingerprint;
use pipeline::{AttemptFailure, ClientIdentity, ExportRequest, Exporter, Outcome, Reason, Trust};
use telemetry::names;

#[cfg(test)]
mod tests;

/// How long a topic's description is used before it is read again.
const DESCRIPTION_AGE: Duration = Duration::from_secs(60);
/// Maximum number of requests that failed and are remembered until they succeed.
const MAX_FAILED: usize = 8192;

pub struct KafkaExporter {
    id: Arc<str>,
    settings: KafkaExporterSettings,
    client: Arc<dyn BrokerClient>,
    sealer: Option<Arc<RecordSealer>>,
    deps: ExporterDeps,
    producer: KeptProducer,
    topics: AsyncMutex<HashMap<Arc<str>, KnownTopic>>,
    failed: Mutex<FailedRequests>,
    last_failure: Mutex<Option<AttemptFailure>>,
    /// Dropped with the exporter, which ends [`KafkaExporter::watch_brokers`].
    watching: watch::Sender<()>,
}

/// What earlier attempts leave for the next one of the same request.
#[derive(Default)]
struct WriteAttempt {
    /// From which the ids of its records are made.
    salt: u128,
    /// Partitions that have acknowledged their part.
    acknowledged: Vec<i32>,
}

/// An attempt under way. Unless it is done, the next one knows it, also if it ends by being dropped.
struct RunningAttempt<'a> {
    failed: &'a Mutex<FailedRequests>,
    request: RecordsOf<'a>,
    known: WriteAttempt,
    is_done: bool,
}

impl Drop for RunningAttempt<'_> {
    fn drop(&mut self) {
        if !self.is_done {
            let known = std::mem::take(&mut self.known);
            let id = self.request.id();
            self.failed.lock().insert_for(&*self.request.request.account, id, known, 1);
        }
    }
}

/// What decides which records a request becomes: its bytes, and how many partitions the topic has.
#[derive(Clone, Copy)]
struct RecordsOf<'a> {
    request: &'a ExportRequest,
    topic: &'a str,
    partitions: i32,
}

impl RecordsOf<'_> {
    /// Reads all bytes, so it is called only when an attempt has failed, or one that did is remembered.
    fn id(&self) -> RecordsId {
        let ExportRequest { account, signal, body, .. } = self.request;
        (fingerprint((account, &ClientIdentity::Unverified), self.topic, *signal, &body.joined()), self.partitions)
    }
}

type FailedRequests = BoundedMap<RecordsId, WriteAttempt, MAX_FAILED>;

/// See [`RecordsOf`].
type RecordsId = (RequestFingerprint, i32);

/// A topic as described at some time.
#[derive(Clone)]
struct KnownTopic {
    partitions: i32,
    /// Largest record, in bytes.
    max_record: Option<u64>,
    /// Why it is not used.
    refusal: Option<String>,
    /// When it was described, monotonic.
    read_at: Duration,
}

impl KafkaExporter {
    /// Creates the exporter over `client`.
    ///
    /// # Errors
    /// The key was not opened, or the cipher refuses it, for which there is no known cause.
    pub fn build(
        id: Arc<str>,
        settings: KafkaExporterSettings,
        client: Arc<dyn BrokerClient>,
        deps: ExporterDeps,
    ) -> Result<Self, BrokerError> {
        let unusable_key = || BrokerError::new(BrokerFault::Denied, "the key in `keys` was not opened");
        let sealer = match &settings.target {
            RecordTarget::Sealed(_, key) => {
                let sealer = key.get().and_then(|key| RecordSealer::new(key, &SystemRng));
                Some(Arc::new(sealer.ok_or_else(unusable_key)?))
            }
            RecordTarget::Plain(_) => None,
        };
        Ok(Self {
            producer: KeptProducer::new(Arc::clone(&client), settings.timeout),
            id,
            settings,
            client,
            sealer,
            deps,
            topics: AsyncMutex::default(),
            failed: Mutex::default(),
            last_failure: Mutex::default(),
            watching: watch::Sender::new(()),
        })
    }

    /// Shows whether the brokers answer, until this exporter is dropped.
    fn watch_brokers(&self) {
        let Some(topic) = self.settings.target.topics().into_iter().next() else { return };
        let (id, meter, mut watching) =
            (Arc::clone(&self.id), self.deps.services.meter.clone(), self.watching.subscribe());
        let (client, clock) = (Arc::clone(&self.client), Arc::clone(&self.deps.services.clock));
        let watch = async move {
            let labels = [("exporter", &*id)];
            let show = |answers: bool| {
                meter.gauge(&names::KAFKA_REACHABLE, &labels).set(f64::from(u8::from(answers)));
            };
            tokio::select! {
                () = ::kafka::watch_brokers(&*client, &topic, &*clock, show) => {}
                _ = watching.changed() => {}
            }
            meter.remove(&names::KAFKA_REACHABLE, &labels);
        };
        self.deps.services.tasks.spawn("kafka brokers", Box::pin(watch));
    }

    async fn send_once(&self, request: &ExportRequest) -> Outcome {
        let Some(topic) = self.settings.target.topic(request.signal) else {
            return Outcome::Refused { reason: Reason::NoPipeline };
        };
        let known = match self.describe(topic).await {
            Ok(known) => known,
            Err(error) => return self.failed(&error),
        };
        if let Some(refusal) = known.refusal {
            return self.report_refusal(refusal);
        }
        let records_of = RecordsOf { request, topic, partitions: known.partitions };
        let mut attempt = self.begin_attempt(records_of);
        let outcome = match self.make_records(request, topic, known.partitions, attempt.known.salt).await {
            None => Outcome::Refused { reason: Reason::Malformed },
            Some(records) if exceeds(&records, known.max_record) => Outcome::Refused { reason: Reason::TooLarge },
            Some(records) => self.write(&mut attempt.known, records).await,
        };
        attempt.is_done = !matches!(outcome, Outcome::Retry { .. });
        outcome
    }

    /// Begins an attempt, as the next one of an earlier one that failed. While two attempts of equal bytes are under
    /// way, they are two requests.
    fn begin_attempt<'a>(&'a self, request: RecordsOf<'a>) -> RunningAttempt<'a> {
        let has_failed = !self.failed.lock().is_empty();
        let id = has_failed.then(|| request.id());
        let earlier = id.and_then(|id| self.failed.lock().remove(&id));
        let first = || WriteAttempt { salt: u128::from_le_bytes(SystemRng.id()), acknowledged: Vec::new() };
        RunningAttempt { failed: &self.failed, request, known: earlier.unwrap_or_else(first), is_done: false }
    }

    /// Writes the records that an earlier attempt has not written.
    async fn write(&self, attempt: &mut WriteAttempt, records: Vec<OutgoingRecord>) -> Outcome {
        let is_missing =
            |record: &OutgoingRecord| record.partition.is_none_or(|one| !attempt.acknowledged.contains(&one));
        let sends = (records.into_iter().filter(is_missing))
            .map(async |record| (record.partition, self.producer.send(record).await));
        let began = self.deps.services.clock.monotonic();
        let results = join_all(sends).await;
        let Some(error) = results.iter().find_map(|(_, result)| result.as_ref().err()) else {
            let took = self.deps.services.clock.monotonic().saturating_sub(began);
            let seconds = self.deps.services.meter.histogram(&names::KAFKA_PRODUCE_SECONDS, &[("exporter", &self.id)]);
            seconds.record(took.as_secs_f64());
            *self.last_failure.lock() = None;
            return Outcome::Accepted;
        };
        let acknowledged = results.iter().filter(|(_, result)| result.is_ok()).filter_map(|(partition, _)| *partition);
        attempt.acknowledged.extend(acknowledged);
        self.failed(error)
    }

    /// The records of a request. `None`: it is no request of its signal.
    async fn make_records(
        &self,
        request: &ExportRequest,
        topic: &Arc<str>,
        partitions: i32,
        salt: u128,
    ) -> Option<Vec<OutgoingRecord>> {
        let Some(sealer) = self.sealer.clone() else {
            let value = request.body.joined();
            let (topic, headers) = (Arc::clone(topic), Vec::new());
            return Some(vec![OutgoingRecord { topic, partition: None, key: None, value, headers }]);
        };
        let (topic, partitioner) = (Arc::clone(topic), Arc::clone(&self.deps.partitioner));
        let (signal, body) = (request.signal, request.body.joined());
        let account = Arc::clone(&request.account);
        let work = move || {
            let parts = partitioner.split(&account, signal, &body, partitions).ok()?;
            let seal = |(partition, part): (i32, Bytes)| {
                let id = Some(RecordId(salt ^ u128::from(partition.unsigned_abs())));
                let head = RecordHead { account: Arc::clone(&account), content: RecordContent::Request(signal), id };
                sealer.seal(&topic, partition, &head, &part)
            };
            parts.into_iter().map(seal).collect()
        };
        run_blocking(&*self.deps.services.tasks, "seal", work).await.flatten()
    }

    /// Describes the topic, at most once a minute. While no broker answers, the last description is used.
    async fn describe(&self, topic: &Arc<str>) -> Result<KnownTopic, BrokerError> {
        let mut topics = self.topics.lock().await;
        let now = self.deps.services.clock.monotonic();
        let known = topics.get(topic).cloned();
        if let Some(known) = known.as_ref().filter(|known| now.saturating_sub(known.read_at) < DESCRIPTION_AGE) {
            return Ok(known.clone());
        }
        match self.client.describe_topic(topic).await {
            Ok(found) => {
                let refusal = durability_problem(topic, &found).filter(|_| !self.settings.allow_weak_durability);
                let refusal = refusal.map(|problem| problem.to_string());
                let (partitions, max_record) = (found.partitions, found.max_message_bytes);
                let described = KnownTopic { partitions, max_record, refusal, read_at: now };
                if let Some(earlier) = known.filter(|known| known.partitions != partitions) {
                    tracing::warn!(
                        exporter = &*self.id,
                        topic = &**topic,
                        earlier = earlier.partitions,
                        now = partitions,
                        "the topic's number of partitions changed: sessions that are under way are split"
                    );
                }
                // A refused topic is read again with the next attempt, so that a change is noticed at once.
                if described.refusal.is_none() {
                    topics.insert(Arc::clone(topic), described.clone());
                }
                Ok(described)
            }
            Err(error) => match known {
                Some(known) if error.fault == BrokerFault::Unavailable => Ok(known),
                _ => Err(error),
            },
        }
    }

    /// Whether every topic may be written. Faults of a plain topic alone don't count before its first request: perhaps
    /// no pipeline has its signal.
    async fn check_topics(&self) -> Outcome {
        let is_plain = matches!(self.settings.target, RecordTarget::Plain(_));
        let is_about_topic = |fault| matches!(fault, BrokerFault::NoTopic | BrokerFault::Unauthorized);
        for topic in self.settings.target.topics() {
            match self.describe(&topic).await {
                Ok(KnownTopic { refusal: Some(refusal), .. }) if !is_plain => return self.report_refusal(refusal),
                Err(error) if !(is_plain && is_about_topic(error.fault)) => return self.failed(&error),
                Ok(_) | Err(_) => {}
            }
        }
        Outcome::Accepted
    }

    fn report_refusal(&self, refusal: String) -> Outcome {
        self.report(refusal, "change the topic as the message says", Reason::Denied)
    }

    fn failed(&self, error: &BrokerError) -> Outcome {
        if error.fault == BrokerFault::TooLarge {
            return Outcome::Refused { reason: Reason::TooLarge };
        }
        let reason = match error.fault {
            BrokerFault::Denied | BrokerFault::Unauthorized | BrokerFault::NoTopic | BrokerFault::NotBuilt => {
                Reason::Denied
            }
            _ => Reason::Unavailable,
        };
        self.report(error.text.clone(), error.fault.remedy(), reason)
    }

    /// Logs a failure, once until another one or a success, and returns the outcome.
    fn report(&self, text: String, remedy: &'static str, reason: Reason) -> Outcome {
        let failure = AttemptFailure { reason: text, remedy };
        let mut last = self.last_failure.lock();
        if last.as_ref() != Some(&failure) {
            tracing::warn!(
                exporter = &*self.id,
                why = failure.reason,
                remedy,
                "Kafka takes no data; it is tried again"
            );
            *last = Some(failure);
        }
        Outcome::Retry { after: None, reason }
    }
}

/// Whether one of these records is larger than the topic takes.
fn exceeds(records: &[OutgoingRecord], max_record: Option<u64>) -> bool {
    let largest = records.iter().map(|record| record.value.len() as u64 + config::RECORD_OVERHEAD).max();
    largest.zip(max_record).is_some_and(|(largest, most)| largest > most)
}

impl ExporterSpec for KafkaExporterSettings {
    fn profile(&self) -> ExporterProfile<'_> {
        ExporterProfile {
            trust: self.trust,
            target: ExportTarget::Brokers {
                brokers: &self.brokers,
                topics: self.target.topics(),
                allow_weak_durability: self.allow_weak_durability,
                max_record: self.max_request_bytes as u64 + config::RECORD_OVERHEAD,
            },
            destination: Some((self.brokers.brokers.join(","), &[])),
            outlet: Some(&self.outlet),
            notes: &self.notes,
        }
    }

    fn accepts_signal(&self, _: Signal) -> bool {
        true
    }

    fn build(&self, id: &ComponentId, deps: ExporterDeps) -> Result<Arc<dyn Exporter>, BuildError> {
        let client = ::kafka::build_client(&self.brokers)?;
        let exporter = KafkaExporter::build(id.to_string().into(), self.clone(), client, deps)?;
        exporter.watch_brokers();
        Ok(Arc::new(exporter))
    }
}

impl Exporter for KafkaExporter {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn trust(&self) -> Trust {
        self.settings.trust
    }

    fn max_request_bytes(&self) -> usize {
        self.settings.max_request_bytes
    }

    fn send<'a>(&'a self, request: &'a ExportRequest) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            // `timeout` covers only the write. This limit also covers the description of the topic, which comes first.
            let limit = self.settings.timeout.saturating_add(config::ANSWER_GRACE);
            let sent = with_timeout(&*self.deps.services.clock, limit, self.send_once(request)).await;
            sent.unwrap_or(Outcome::Retry { after: None, reason: Reason::Unavailable })
        })
    }

    fn check_back_end(&self) -> BoxFuture<'_, Result<(), Reason>> {
        Box::pin(async move {
            match self.check_topics().await {
                Outcome::Retry { reason, .. } | Outcome::Refused { reason } => Err(reason),
                Outcome::Accepted | Outcome::Partial { .. } => {
                    *self.last_failure.lock() = None;
                    Ok(())
                }
            }
        })
    }

    fn last_failure(&self) -> Option<AttemptFailure> {
        self.last_failure.lock().clone()
    }
}
