//! [`FailedSpanRecorder`]: a step at the end of each pipeline that records failed spans for the nightly report. It sees
//! only stripped and redacted spans and changes nothing; a span that did not fail costs a check of three fields. Failed
//! spans count once their batch is committed; the effect that carries them is never stored in the spool. The step has
//! no configuration: it exists wherever the admin port does.

use std::collections::HashMap;
use std::sync::Arc;

use super::failures::{BatchFailures, FailedSpans, FailureKey, FailureSample};
use genai::known_facts;
use kernel::hex;
use kernel::pseudonym::IdPolicy;
use otlp::{NodeId, NodeKind, Payload, Signal, TextField, Value};
use pipeline::{Batch, Effect, Processor, Reason, Trust};

/// Id of the step, which no component can have.
const STEP_ID: &str = "(failures)";
/// Name of the span at the end of a turn that failed.
const STOP_FAILURE: &str = "claude_code.turn.stop_failure";
/// Maximum samples per batch.
const MAX_SAMPLES: usize = 50;
/// Maximum kinds per batch.
const MAX_KINDS: usize = 1000;
/// Maximum attributes of a sample.
const MAX_ATTRIBUTES: usize = 48;
/// Maximum bytes of an attribute's value and of the status message.
const MAX_VALUE_BYTES: usize = 400;
/// Maximum bytes of a grouping value and of an attribute's key.
const MAX_NAME_BYTES: usize = 120;
/// OTLP status code of a failed span.
const STATUS_ERROR: i32 = 2;
/// Prefixes of vault references and statements about content, whose values are not fixed yet at this step.
const REFERENCE_PREFIXES: [&str; 3] = ["gen_ai.payload.", "tollgate.content.", "tollgate.context."];
const REFERENCE_SUFFIX: &str = "_ref";

/// See the module.
pub struct FailedSpanRecorder {
    id: Arc<str>,
    failures: Arc<FailedSpans>,
    ids: Arc<dyn IdPolicy>,
}

impl FailedSpanRecorder {
    /// A step that records into `failures`. `ids` decides how tenants appear there.
    pub fn new(failures: Arc<FailedSpans>, ids: Arc<dyn IdPolicy>) -> Self {
        Self { id: STEP_ID.into(), failures, ids }
    }
}

impl Processor for FailedSpanRecorder {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let is_cleared = batch.clearance.allows(Trust::ThirdParty);
        if batch.payload.signal() != Signal::Traces || !is_cleared || batch.origin.repeat {
            return Ok(());
        }
        let received = batch.origin.received.0;
        let (mut counts, mut samples) = (HashMap::new(), Vec::new());
        let facts = known_facts(&batch.facts);
        let tenant = |at: usize, span: NodeId| {
            let item = facts.as_ref()?.items.get(at).filter(|item| item.node == span)?;
            Some(self.ids.shown_id(&batch.origin.account, item.tenant.as_deref()?))
        };
        for (at, span) in batch.payload.items().enumerate().filter(|(_, span)| is_failed_span(&batch.payload, *span)) {
            let key = failure_key(&batch.payload, span, tenant(at, span).as_deref());
            if samples.len() < MAX_SAMPLES {
                let account = Arc::clone(&batch.origin.account);
                samples.push(build_sample(&batch.payload, span, account, &key, received));
            }
            if counts.len() < MAX_KINDS || counts.contains_key(&key) {
                *counts.entry(key).or_insert(0) += 1;
            }
        }
        if !counts.is_empty() {
            let account = Arc::clone(&batch.origin.account);
            let failures = BatchFailures { account, batch: batch.origin.id, received, counts, samples };
            batch.effects.push(Effect {
                processor: self.id.clone(),
                body: Vec::new(),
                unstored: Some(Arc::new(failures)),
            });
        }
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        let failures = effect.unstored.as_ref().and_then(|unstored| unstored.downcast_ref::<BatchFailures>());
        failures.into_iter().for_each(|failures| self.failures.add_batch(failures));
    }
}

/// `name = "claude_code.turn.stop_failure" OR error = true`; an ERROR status counts as the latter.
fn is_failed_span(payload: &Payload, span: NodeId) -> bool {
    payload.status_code(span) == STATUS_ERROR
        || payload.text(span, TextField::Name) == STOP_FAILURE
        || payload.get(span, "error").and_then(|value| value.as_bool()) == Some(true)
}

/// The span's values of [`super::GROUPINGS`].
fn failure_key(payload: &Payload, span: NodeId, tenant: Option<&str>) -> FailureKey {
    let resource = payload.resource(span);
    let event_value = |key: &str| {
        let events = payload.children(span).filter(|child| payload.kind(*child) == NodeKind::Event);
        events.filter_map(|event| payload.get_str(event, key)).next()
    };
    let value = |key: &str| payload.get_str(span, key).or_else(|| payload.get_str(resource, key));
    let name = |text: Option<&str>| Arc::from(truncate(text.unwrap_or(""), MAX_NAME_BYTES));
    [
        name(value("exception.slug").or_else(|| event_value("exception.slug"))),
        name(value("build.commit_sha")),
        name(value("service.name")),
        name(value("error.type").or_else(|| value("exception.type")).or_else(|| event_value("exception.type"))),
        name(Some(payload.text(span, TextField::Name))),
        name(tenant),
        name(value("work_tracker.issue_id")),
    ]
}

fn build_sample(payload: &Payload, span: NodeId, account: Arc<str>, key: &FailureKey, received: u64) -> FailureSample {
    let events = payload.children(span).filter(|child| payload.kind(*child) == NodeKind::Event);
    let nodes = std::iter::once(span).chain(events);
    let attributes = nodes.flat_map(|node| payload.attributes(node)).filter(|attribute| !is_slot(attribute.key));
    FailureSample {
        account,
        key: key.clone(),
        at: received,
        trace: hex::encode(payload.trace_id(span)).into(),
        span: hex::encode(payload.span_id(span)).into(),
        duration: payload.end_time(span).saturating_sub(payload.time(span)),
        status: truncate(payload.text(span, TextField::StatusMessage), MAX_VALUE_BYTES).into(),
        attributes: (attributes.take(MAX_ATTRIBUTES))
            .map(|attribute| {
                (Box::from(truncate(attribute.key, MAX_NAME_BYTES)), value_text(attribute.value).into_boxed_str())
            })
            .collect(),
    }
}

/// Whether the attribute's text is a slot of the vault step, which is filled in later.
pub(super) fn is_slot(key: &str) -> bool {
    REFERENCE_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
        || (key.starts_with("gen_ai.") && key.ends_with(REFERENCE_SUFFIX))
}

fn value_text(value: Value<'_>) -> String {
    match value {
        Value::Str(text) => truncate(text, MAX_VALUE_BYTES).to_owned(),
        value => truncate(&value.to_json(), MAX_VALUE_BYTES).to_owned(),
    }
}

/// At most `max_bytes`, whole characters.
pub(super) fn truncate(text: &str, max_bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(max_bytes)).unwrap_or(text)
}
