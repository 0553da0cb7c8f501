//! [`RecordSink`]: what a loop does with a record. [`RequestSink`] hands requests to the engine.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::config::KafkaReceiverSettings;
use super::decode::{RecordReader, RecordRequest, UnusableRecord};
use ::kafka::{IncomingRecord, PartitionId};
use net::Spawn;
use net::spawn::run_blocking;
use pipeline::{BytePermit, Effect, Outcome, Reason, ReceiverInlet, SourceRecord, Submission, Trust};

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
    /// Stores only the effect that names the offset: the record's data is stored already.
    fn store_position(&self, position: Effect) -> BoxFuture<'_, Outcome>;
    /// Whether partitions begin where this volume ends, whatever the group has committed: a lost volume of the same
    /// name may have committed more.
    fn ignores_group(&self) -> bool {
        false
    }
}

/// Opens records: few are open and not charged to the byte budget at a time, so that what a small record inflates to is
/// bounded too.
pub(super) struct RecordGate {
    opening: Semaphore,
    inlet: ReceiverInlet,
    tasks: Arc<dyn Spawn>,
}

impl RecordGate {
    pub(super) fn new(inlet: ReceiverInlet, tasks: Arc<dyn Spawn>) -> Self {
        Self { opening: Semaphore::new(MAX_OPENING), inlet, tasks }
    }

    /// The engine's entry.
    pub(super) fn inlet(&self) -> &ReceiverInlet {
        &self.inlet
    }

    /// See [`RecordSink::store_position`].
    pub(super) fn store_position(&self, position: Effect) -> BoxFuture<'static, Outcome> {
        self.inlet.submit_effects(vec![position], BytePermit::new())
    }

    /// Opens a record off the async threads with `open`, and charges as many bytes as `size` tells.
    ///
    /// # Errors
    /// What the budget answers, or that opening failed. What `open` finds wrong is its own result, without a charge.
    pub(super) async fn open<T: Send + 'static, E: Send + 'static>(
        &self,
        open: impl FnOnce() -> Result<T, E> + Send + 'static,
        size: impl Fn(&T) -> usize,
    ) -> Result<Result<(T, BytePermit), E>, Outcome> {
        let _opening = self.opening.acquire().await;
        let opened = run_blocking(&*self.tasks, "kafka record", open).await;
        match opened.ok_or_else(|| Reason::Lost.outcome())? {
            Ok(opened) => {
                let mut permit = BytePermit::new();
                self.inlet.charge(&mut permit, size(&opened)).await?;
                Ok(Ok((opened, permit)))
            }
            Err(why) => Ok(Err(why)),
        }
    }
}

pub(super) struct RequestSink {
    receiver: Arc<str>,
    trust: Trust,
    reader: Arc<RecordReader>,
    gate: RecordGate,
}

impl RequestSink {
    pub(super) fn new(receiver: Arc<str>, settings: &KafkaReceiverSettings, gate: RecordGate) -> Self {
        let (trust, reader) = (settings.trust, Arc::new(RecordReader::new(settings.clone())));
        Self { receiver, trust, reader, gate }
    }
}

impl RecordSink for RequestSink {
    fn store<'a>(
        &'a self,
        record: &'a IncomingRecord,
        position: Effect,
    ) -> BoxFuture<'a, Result<Outcome, UnusableRecord>> {
        Box::pin(async move {
            let (reader, sealed) = (Arc::clone(&self.reader), record.clone());
            let opened = self.gate.open(move || reader.read(&sealed), |request: &RecordRequest| request.body.len());
            let (RecordRequest { account, identity, signal, body, id }, permit) = match opened.await {
                Ok(opened) => opened?,
                Err(outcome) => return Ok(outcome),
            };
            let PartitionId { topic, number } = &record.partition;
            let position_text = format!("{topic}/{number}/{}", record.offset).into();
            let submission = Submission {
                signal,
                wire: body,
                permit,
                account,
                identity,
                receiver: Arc::clone(&self.receiver),
                trust: self.trust,
                effects: vec![position],
                source_record: Some(SourceRecord { position: position_text, id: id.map(|id| id.0.to_le_bytes()) }),
            };
            Ok(self.gate.inlet().submit(submission).await)
        })
    }

    fn store_position(&self, position: Effect) -> BoxFuture<'_, Outcome> {
        self.gate.store_position(position)
    }
}
