//! [`FailedSpanRecorder`]: a step at the end of each pipeline that records failed spans for the nightly report. It sees
//! only stripped and redacted spans and changes nothing; a span that did not fail costs a check of three fields.
//! Records count once the batch is committed and are never stored in the spool. The step has no configuration: it
//! exists wherever the admin port does.

use std::collections::HashMap;
use std::sync::Arc;

use super::failures::{BatchFailures, FailedSpans, FailureKey, FailureSample};
use kernel::hex;
use otlp::{NodeId, NodeKind, Payload, Signal, TextField, Value};
use pipeline::{Batch, Effect, Processor, Reason, Trust};

/// Id of the step, which no component can have.
const ID: &str = "(failures)";
/// The span at the end of a turn that failed.
const STOP_FAILURE: &str = "claude_code.turn.stop_failure";
/// Maximum samples per batch.
const MAX_SAMPLES: usize = 50;
/// Maximum kinds per batch.
const MAX_KINDS: usize = 1000;
/// Maximum attributes of a sample, and bytes of one.
const MAX_ATTRIBUTES: usize = 48;
const MAX_VALUE: usize = 400;
/// Maximum bytes of a grouping value.
const MAX_WORD: usize = 120;
/// Status code ERROR.
const ERROR: i32 = 2;
/// Prefixes of vault references and statements about content, whose values are not fixed yet at this step.
const REFERENCE_PREFIXES: [&str; 3] = ["gen_ai.payload.", "tollgate.content.", "tollgate.context."];
/// Suffix of a reference to one part.
const REFERENCE_SUFFIX: &str = "_ref";

/// See the module.
pub struct FailedSpanRecorder {
    id: Arc<str>,
    failures: Arc<FailedSpans>,
}

impl FailedSpanRecorder {
    /// A step that records into `failures`.
    pub fn new(failures: Arc<FailedSpans>) -> Self {
        Self { id: ID.into(), failures }
    }
}

impl Processor for FailedSpanRecorder {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let cleared = batch.clearance.allows(Trust::ThirdParty);
        if batch.payload.signal() != Signal::Traces || !cleared || batch.origin.repeat {
            return Ok(());
        }
        let at = batch.origin.received.0;
        let (mut counts, mut samples) = (HashMap::new(), Vec::new());
        for span in batch.payload.items().filter(|span| is_failed_span(&batch.payload, *span)) {
            let key = failure_key(&batch.payload, span);
            if samples.len() < MAX_SAMPLES {
                let account = Arc::clone(&batch.origin.account);
                samples.push(build_sample(&batch.payload, span, account, &key, at));
            }
            if counts.len() < MAX_KINDS || counts.contains_key(&key) {
                *counts.entry(key).or_insert(0) += 1;
            }
        }
        if !counts.is_empty() {
            let account = Arc::clone(&batch.origin.account);
            let noticed = BatchFailures { account, batch: batch.origin.id, at, counts, samples };
            batch.effects.push(Effect {
                processor: self.id.clone(),
                body: Vec::new(),
                unstored: Some(Arc::new(noticed)),
            });
        }
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        let noticed = effect.unstored.as_ref().and_then(|aside| aside.downcast_ref::<BatchFailures>());
        noticed.into_iter().for_each(|noticed| self.failures.add_batch(noticed));
    }
}

/// `name = "claude_code.turn.stop_failure" OR error = true`; an ERROR status counts as the latter.
fn is_failed_span(payload: &Payload, span: NodeId) -> bool {
    payload.status_code(span) == ERROR
        || payload.text(span, TextField::Name) == STOP_FAILURE
        || payload.get(span, "error").and_then(|value| value.as_bool()) == Some(true)
}

/// Values of [`super::BY`].
fn failure_key(payload: &Payload, span: NodeId) -> FailureKey {
    let resource = payload.resource(span);
    let event = |name: &str| {
        let events = payload.children(span).filter(|child| payload.kind(*child) == NodeKind::Event);
        events.filter_map(|event| payload.get_str(event, name)).next()
    };
    let own = |name: &str| payload.get_str(span, name).or_else(|| payload.get_str(resource, name));
    let word = |text: Option<&str>| Arc::from(truncate(text.unwrap_or(""), MAX_WORD));
    [
        word(own("exception.slug").or_else(|| event("exception.slug"))),
        word(own("build.commit_sha")),
        word(own("service.name")),
        word(own("error.type").or_else(|| own("exception.type")).or_else(|| event("exception.type"))),
        word(Some(payload.text(span, TextField::Name))),
        word(own("tenant.id").or_else(|| own("tenant"))),
        word(own("work_tracker.issue_id")),
    ]
}

fn build_sample(payload: &Payload, span: NodeId, account: Arc<str>, key: &FailureKey, at: u64) -> FailureSample {
    let events = payload.children(span).filter(|child| payload.kind(*child) == NodeKind::Event);
    let nodes = std::iter::once(span).chain(events);
    let attributes = nodes.flat_map(|node| payload.attributes(node)).filter(|one| !is_slot(one.key));
    FailureSample {
        account,
        key: key.clone(),
        at,
        trace: hex::encode(payload.trace_id(span)).into(),
        span: hex::encode(payload.span_id(span)).into(),
        duration: payload.end_time(span).saturating_sub(payload.time(span)),
        status: truncate(payload.text(span, TextField::StatusMessage), MAX_VALUE).into(),
        attributes: (attributes.take(MAX_ATTRIBUTES))
            .map(|one| (Box::from(truncate(one.key, MAX_WORD)), value_text(one.value).into_boxed_str()))
            .collect(),
    }
}

/// Whether the attribute is a text of the vault step that is filled in later.
pub(super) fn is_slot(key: &str) -> bool {
    REFERENCE_PREFIXES.iter().any(|begin| key.starts_with(begin))
        || (key.starts_with("gen_ai.") && key.ends_with(REFERENCE_SUFFIX))
}

fn value_text(value: Value<'_>) -> String {
    match value {
        Value::Str(text) => truncate(text, MAX_VALUE).to_owned(),
        value => {
            let mut json = String::new();
            value.write_json(&mut json);
            truncate(&json, MAX_VALUE).to_owned()
        }
    }
}

/// At most `most` bytes, whole characters.
pub(super) fn truncate(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}
