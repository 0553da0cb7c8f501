//! [`EffectsSink`]: stores what other workers tell. A record that can't be used never holds its partition: it is
//! counted and skipped, because what it tells is worth less than what is told after it.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::told_effects::SharedEffects;
use crate::kafka::decode::UnusableRecord;
use crate::kafka::sink::RecordSink;
use ::kafka::{IncomingRecord, RecordContent, RecordOpener};
use net::Spawn;
use net::spawn::run_blocking;
use pipeline::spool::SpoolKey;
use pipeline::{Admission, BytePermit, Effect, Outcome, Reason};
use telemetry::{Counter, Meter, names};

/// Largest record, inflated, in bytes. Senders stay far below it, whatever a receiver's limit for requests is.
const MAX_RECORD: usize = 16 << 20;
/// Records that may be open and not charged to the byte budget yet.
const MAX_OPENING: usize = 4;

/// See the module.
pub(crate) struct EffectsSink {
    receiver: Arc<str>,
    shared: Arc<SharedEffects>,
    opener: Arc<RecordOpener>,
    opening: Semaphore,
    admission: Arc<dyn Admission>,
    tasks: Arc<dyn Spawn>,
    received: Counter,
    unusable: Counter,
}

impl EffectsSink {
    pub(crate) fn new(
        receiver: Arc<str>,
        shared: Arc<SharedEffects>,
        keys: &[SpoolKey],
        (admission, tasks): (Arc<dyn Admission>, Arc<dyn Spawn>),
        meter: &Meter,
    ) -> Self {
        let count = |outcome| meter.counter(&names::KAFKA_EFFECTS, &[("receiver", &receiver), ("outcome", outcome)]);
        Self {
            received: count("received"),
            unusable: count("unusable"),
            opener: Arc::new(RecordOpener::new(keys, MAX_RECORD)),
            opening: Semaphore::new(MAX_OPENING),
            receiver,
            shared,
            admission,
            tasks,
        }
    }

    fn skip(&self, record: &IncomingRecord, why: &str) -> Outcome {
        self.unusable.increment(1);
        tracing::error!(
            receiver = &*self.receiver,
            topic = &*record.partition.topic,
            partition = record.partition.number,
            offset = record.offset,
            why,
            "updates of another worker's runs can't be read and are skipped: its runs may be incomplete here"
        );
        Outcome::Accepted
    }
}

impl RecordSink for EffectsSink {
    fn store<'a>(
        &'a self,
        record: &'a IncomingRecord,
        position: Effect,
    ) -> BoxFuture<'a, Result<Outcome, UnusableRecord>> {
        Box::pin(async move {
            let opening = self.opening.acquire().await;
            let (opener, sealed) = (Arc::clone(&self.opener), record.clone());
            let opened = run_blocking(&*self.tasks, "kafka effects", move || opener.open(&sealed)).await;
            let (head, body) = match opened {
                None => return Ok(Reason::Lost.outcome()),
                Some(Ok(opened)) => opened,
                Some(Err(why)) => return Ok(self.skip(record, &why.to_string())),
            };
            let is_effects = head.content == RecordContent::Effects;
            match self.shared.is_own(&body).filter(|_| is_effects) {
                None => return Ok(self.skip(record, "it holds no effects, or those of a later version")),
                // Its position is committed to the group alone: reading it again costs nothing.
                Some(true) => return Ok(Outcome::Accepted),
                Some(false) => {}
            }
            let mut permit = BytePermit::new();
            if let Err(outcome) = self.admission.charge(&mut permit, body.len()).await {
                return Ok(outcome);
            }
            drop(opening);
            let effects = vec![position, self.shared.effect(body.into())];
            let outcome = self.admission.submit_effects(effects, permit).await;
            self.received.increment(u64::from(outcome == Outcome::Accepted));
            Ok(outcome)
        })
    }
}
