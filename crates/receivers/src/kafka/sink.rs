//! [`RecordSink`]: what a loop does with a record. [`RequestSink`] hands requests to the engine.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::config::KafkaReceiverSettings;
use super::decode::{RecordReader, RecordRequest, UnusableRecord};
use ::kafka::IncomingRecord;
use net::Spawn;
use net::spawn::run_blocking;
use pipeline::{Admission, BytePermit, Effect, Outcome, Reason, Submission, Trust};

/// Records that may be open and not charged to the byte budget yet.
const MAX_OPENING: usize = 4;

/// Stores what a record holds.
pub(super) trait RecordSink: Send + Sync {
    /// Stores it, in one transaction with the effect that names the record's offset.
    ///
    /// # Errors
    /// See [`UnusableRecord`].
    fn store<'a>(
        &'a self,
        record: &'a IncomingRecord,
        position: Effect,
    ) -> BoxFuture<'a, Result<Outcome, UnusableRecord>>;
}

/// Hands in the requests of records.
pub(super) struct RequestSink {
    receiver: Arc<str>,
    trust: Trust,
    reader: Arc<RecordReader>,
    /// Few records are open and not charged at a time, so that what a small record inflates to is bounded too.
    opening: Semaphore,
    admission: Arc<dyn Admission>,
    tasks: Arc<dyn Spawn>,
}

impl RequestSink {
    pub(super) fn new(
        receiver: Arc<str>,
        settings: &KafkaReceiverSettings,
        admission: Arc<dyn Admission>,
        tasks: Arc<dyn Spawn>,
    ) -> Self {
        let (trust, reader) = (settings.trust, Arc::new(RecordReader::new(settings.clone())));
        Self { receiver, trust, reader, opening: Semaphore::new(MAX_OPENING), admission, tasks }
    }
}

impl RecordSink for RequestSink {
    fn store<'a>(
        &'a self,
        record: &'a IncomingRecord,
        position: Effect,
    ) -> BoxFuture<'a, Result<Outcome, UnusableRecord>> {
        Box::pin(async move {
            let (mut permit, opening) = (BytePermit::new(), self.opening.acquire().await);
            let (reader, sealed) = (Arc::clone(&self.reader), record.clone());
            let read = run_blocking(&*self.tasks, "kafka record", move || reader.read(&sealed)).await;
            let Some(read) = read else { return Ok(Reason::Lost.outcome()) };
            let RecordRequest { account, signal, body } = read?;
            if let Err(outcome) = self.admission.charge(&mut permit, body.len()).await {
                return Ok(outcome);
            }
            drop(opening);
            let submission = Submission {
                signal,
                wire: body,
                permit,
                account,
                receiver: Arc::clone(&self.receiver),
                transport: "kafka",
                trust: self.trust,
                effects: vec![position],
            };
            Ok(self.admission.submit(submission).await)
        })
    }
}
