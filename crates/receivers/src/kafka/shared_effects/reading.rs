//! [`EffectsSink`]: stores what other workers tell.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::told_effects::{SharedEffects, is_newer};
use crate::kafka::decode::{UnusableRecord, unusable};
use crate::kafka::sink::RecordSink;
use ::kafka::{IncomingRecord, RecordContent, RecordOpener};
use net::Spawn;
use net::spawn::run_blocking;
use pipeline::{Admission, BytePermit, Effect, Outcome, Reason};
use telemetry::Counter;

/// See the module.
pub(crate) struct EffectsSink {
    pub(crate) shared: Arc<SharedEffects>,
    pub(crate) opener: Arc<RecordOpener>,
    pub(crate) admission: Arc<dyn Admission>,
    pub(crate) tasks: Arc<dyn Spawn>,
    pub(crate) received: Counter,
}

impl RecordSink for EffectsSink {
    fn store<'a>(
        &'a self,
        record: &'a IncomingRecord,
        position: Effect,
    ) -> BoxFuture<'a, Result<Outcome, UnusableRecord>> {
        Box::pin(async move {
            let (opener, sealed) = (Arc::clone(&self.opener), record.clone());
            let opened = run_blocking(&*self.tasks, "kafka effects", move || opener.open(&sealed)).await;
            let Some(opened) = opened else { return Ok(Reason::Lost.outcome()) };
            let (head, body) = opened.map_err(unusable)?;
            if head.content == RecordContent::Effects && is_newer(&body) {
                return Err(UnusableRecord::Held("the effects have a later version: update this worker".to_owned()));
            }
            let is_own = Some(head.content).filter(|content| *content == RecordContent::Effects);
            let is_own = is_own.and_then(|_| self.shared.is_own(&body));
            let is_own = is_own.ok_or_else(|| UnusableRecord::Dead("the record holds no effects".to_owned()))?;
            // The position of an own record is committed to the group alone: reading it again costs nothing.
            if is_own {
                return Ok(Outcome::Accepted);
            }
            let mut permit = BytePermit::new();
            if let Err(outcome) = self.admission.charge(&mut permit, body.len()).await {
                return Ok(outcome);
            }
            let effects = vec![position, self.shared.effect(body.into())];
            let outcome = self.admission.submit_effects(effects, permit).await;
            self.received.increment(u64::from(outcome == Outcome::Accepted));
            Ok(outcome)
        })
    }
}
