//! [`EffectsSink`]: stores what other workers tell. A record that can't be used never holds its partition: it is
//! counted and skipped, because what it tells is worth less than what is told after it.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::told_effects::{MAX_RECORD, PeerRecord, SharedEffects};
use crate::kafka::decode::UnusableRecord;
use crate::kafka::sink::{RecordGate, RecordSink};
use ::kafka::{IncomingRecord, RecordContent, RecordOpener, inflate};
use pipeline::spool::SpoolKey;
use pipeline::{Effect, Outcome};
use telemetry::{Counter, Meter, names};

/// See the module.
pub(crate) struct EffectsSink {
    receiver: Arc<str>,
    shared: Arc<SharedEffects>,
    opener: Arc<RecordOpener>,
    gate: RecordGate,
    received: Counter,
    unusable: Counter,
}

impl EffectsSink {
    pub(crate) fn new(
        receiver: Arc<str>,
        shared: Arc<SharedEffects>,
        keys: &[SpoolKey],
        gate: RecordGate,
        meter: &Meter,
    ) -> Self {
        let count = |outcome| meter.counter(&names::KAFKA_EFFECTS, &[("receiver", &receiver), ("outcome", outcome)]);
        Self {
            received: count("received"),
            unusable: count("unusable"),
            opener: Arc::new(RecordOpener::new(keys, MAX_RECORD)),
            receiver,
            shared,
            gate,
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
            let (opener, shared, sealed) = (Arc::clone(&self.opener), Arc::clone(&self.shared), record.clone());
            let open = move || another_workers(&opener, &shared, &sealed);
            let opened = self
                .gate
                .open(open, |opened: &Option<PeerRecord>| opened.as_ref().map_or(0, |peer| peer.body.len()))
                .await;
            let (peer, permit) = match opened {
                // The position of an own record is committed to the group alone: reading it again costs nothing.
                Ok(Ok((None, _))) => return Ok(Outcome::Accepted),
                Ok(Ok((Some(peer), permit))) => (peer, permit),
                Ok(Err(why)) => return Ok(self.skip(record, &why)),
                Err(outcome) => return Ok(outcome),
            };
            let effects = vec![position, self.shared.effect(peer)];
            let outcome = self.gate.inlet().submit_effects(effects, permit).await;
            self.received.increment(u64::from(outcome == Outcome::Accepted));
            Ok(outcome)
        })
    }

    fn store_position(&self, position: Effect) -> BoxFuture<'_, Outcome> {
        self.gate.store_position(position)
    }

    fn ignores_group(&self) -> bool {
        true
    }
}

/// The record, if another worker wrote it; `None`: it is this worker's own.
///
/// # Errors
/// Why the record can't be used.
fn another_workers(
    opener: &RecordOpener,
    shared: &SharedEffects,
    record: &IncomingRecord,
) -> Result<Option<PeerRecord>, String> {
    let (head, compressed) = opener.open_compressed(record).map_err(|why| why.to_string())?;
    let body = inflate(&compressed, MAX_RECORD).map_err(|why| why.to_string())?;
    let is_own = shared.is_own(&body).filter(|_| head.content == RecordContent::Effects);
    let is_own = is_own.ok_or("it holds no effects, or those of a later version")?;
    Ok((!is_own).then_some(PeerRecord { compressed, body }))
}
