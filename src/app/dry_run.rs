//! [`DryRun`] runs one request through the processors of a configuration outside a gateway, so that `explain` shows the
//! steps a gateway would take. It opens no spool, writes nothing, and connects only to a configured recogniser. Missing
//! keys are generated and discarded. Effects are applied at once, as if each request had been committed. `cli/explain`
//! shows the result.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use tokio::runtime::Runtime;

use crate::app::build::GatewayDeps;
use crate::app::processors::{BuiltProcessors, dry_run_deps};
use crate::app::resolve::ValidSettings;
use crate::components::id_text;
use command::error::CommandError;
use command::tasks;
use config::ComponentId;
use config::file::PipelineConfig;
use genai::{Facts, Vocabulary};
use otlp::{Payload, Signal, SlotId, UnknownFields};
use pipeline::item_refusal::refusal_reason;
use pipeline::{Batch, BatchOrigin, InquiryAnswer, Reason, Ticketer, Trust};
use processors::spec::{BuiltProcessor, ProcessorDeps};
use rates::ActiveRates;
use recogniser::RecogniserAnswers;
use redaction::Detector;

/// The filter and rule that drop an item.
#[derive(Clone, Serialize)]
pub struct DropReason {
    pub filter: String,
    pub rule: String,
}

/// The processors of a configuration, ready to process requests.
pub struct DryRun {
    pipelines: Vec<PipelineConfig>,
    processors: BuiltProcessors,
    ticketers: HashMap<Arc<str>, Box<Ticketer>>,
    deps: ProcessorDeps,
    max_item_bytes: usize,
    /// The rate tables of a `cost` processor, if there is one.
    rate_tables: Option<Arc<ActiveRates>>,
    /// The trust of the receiver of the next request.
    pub trust: Trust,
    /// Whether pseudonyms use a key generated for this run, because the gateway's key was not found.
    pub temporary_pseudonyms: bool,
    /// The runtime for requests to a recogniser, if one is configured.
    recogniser_runtime: Option<Runtime>,
}

pub struct DryRunResult {
    pub pipeline: Arc<str>,
    /// The ids of the pipeline's processors.
    pub steps: Vec<Arc<str>>,
    /// The request as received.
    pub before: Payload,
    /// The request after all steps; dropped items are still in it.
    pub after: Payload,
    /// For each item in order, the reason that the gateway refuses it.
    pub refused: Vec<Option<Reason>>,
    /// For each item in order, the reason that it is dropped. May be empty if nothing is dropped.
    pub dropped: Vec<Option<DropReason>>,
    /// The facts read from the request, with prices.
    pub facts: Option<Arc<Facts>>,
    /// The redaction rules that were applied.
    pub rules: Option<Arc<Detector>>,
    pub answers: Option<Arc<RecogniserAnswers>>,
}

impl DryRun {
    /// Builds the processors of `valid`.
    ///
    /// # Errors
    /// A rate table or word list can't be read, or a recogniser's client can't be built.
    pub fn new(valid: &ValidSettings, deps: &GatewayDeps) -> Result<Self, CommandError> {
        let (deps, temporary_pseudonyms) = dry_run_deps(valid, deps)?;
        let processors = BuiltProcessors::build(valid, &deps)?;
        let has_recogniser = valid.processors.iter().any(|component| component.value.spec().profile().calls_recogniser);
        let recogniser_runtime = has_recogniser.then(|| tasks::build_runtime(1)).transpose();
        let ticketer = |built: &BuiltProcessor| Some((built.processor.id().clone(), built.processor.ticketer()?));
        let ticketers = processors.all().filter_map(ticketer).collect();
        let rate_tables = processors.all().find_map(|built| built.rate_tables.clone());
        Ok(Self {
            pipelines: valid.pipelines.clone(),
            ticketers,
            deps,
            max_item_bytes: usize::try_from(valid.limits.max_item_size.0).unwrap_or(usize::MAX),
            rate_tables,
            processors,
            trust: Trust::ThirdParty,
            temporary_pseudonyms,
            recogniser_runtime: recogniser_runtime.map_err(|error| format!("can't start threads: {}", error.kind()))?,
        })
    }

    /// The vocabulary that reads the requests.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.deps.vocabulary
    }

    /// The listed model id that is closest to a model without a price.
    pub fn nearest_model(&self, provider: Option<&str>, model: &str) -> Option<String> {
        self.rate_tables.as_ref()?.rates().common().nearest_id(provider, model)
    }

    /// For an unknown provider: the `provider/id` of a listed provider that sells this model.
    pub fn find_seller(&self, provider: &str, model: &str) -> Option<String> {
        self.rate_tables.as_ref()?.rates().common().find_seller(provider, model)
    }

    /// Why no pipeline was found for a request of `signal`.
    fn missing_pipeline(&self, signal: Signal, pipeline: Option<&str>) -> String {
        let signal = signal.as_str();
        let Some(wanted) = pipeline else { return format!("no pipeline accepts {signal}") };
        if self.pipelines.iter().any(|known| known.id.to_string() == wanted) {
            return format!("the pipeline `{wanted}` does not accept {signal}");
        }
        let known_ids: Vec<String> = self.pipelines.iter().map(|known| format!("`{}`", known.id)).collect();
        let wanted = wanted.escape_default();
        format!("there is no pipeline `{wanted}`; the configuration has: {}", known_ids.join(", "))
    }

    /// Processes one protobuf request with the pipeline `wanted_id`, or with the first one of its signal by id,
    /// preferably one that has processors.
    ///
    /// # Errors
    /// No pipeline takes the signal, or a step refuses the request. Messages hold no payload.
    pub fn process_request(
        &mut self,
        signal: Signal,
        wire: Bytes,
        wanted_id: Option<&str>,
    ) -> Result<DryRunResult, CommandError> {
        let is_wanted = |id: &ComponentId| wanted_id.is_none_or(|wanted| id.to_string() == wanted);
        let candidates = self.pipelines.iter().filter(|known| known.signal == signal && is_wanted(&known.id));
        let rank = |known: &&PipelineConfig| (!known.processors.is_empty(), Reverse(known.id.to_string()));
        let pipeline = candidates.max_by_key(rank).ok_or_else(|| self.missing_pipeline(signal, wanted_id))?;
        let steps: Vec<&BuiltProcessor> = self.processors.steps(pipeline).collect();
        let payload = Payload::parse(signal, wire).map_err(|error| error.to_string())?;
        let refused = payload.items().map(|item| refusal_reason(&payload, item, self.max_item_bytes)).collect();
        let origin = BatchOrigin {
            account: "default".into(),
            identity: pipeline::ClientIdentity::Unverified,
            receiver: "explain".into(),
            trust: self.trust,
            received: self.deps.services.clock.now(),
            id: self.deps.services.rng.id(),
            repeat: false,
            source_record: None,
        };
        let mut batch = Batch::new(Arc::new(origin), payload.clone());
        let mut answers: Option<InquiryAnswer> = None;
        let mut dropped: Vec<Option<DropReason>> = Vec::new();
        for BuiltProcessor { processor: step, filter, .. } in &steps {
            if let Some(filter) = filter {
                record_dropped(&mut dropped, step.id(), &filter.dropping_rules(&mut batch.payload));
                continue;
            }
            let refusal = |reason: Reason| format!("`{}` refuses the request: {}", step.id(), reason.text());
            if let Some(runtime) = &self.recogniser_runtime
                && let Some(inquiry) = step.inquire(&mut batch)
            {
                batch.answer = Some(runtime.block_on(inquiry).map_err(refusal)?);
                answers.clone_from(&batch.answer);
            }
            step.process(&mut batch).map_err(refusal)?;
        }
        for effect in &batch.effects {
            let steps = steps.iter().map(|step| &step.processor);
            steps.filter(|step| *step.id() == effect.processor).for_each(|step| step.apply(effect));
        }
        let mut slots: HashMap<SlotId, String> = HashMap::new();
        for draft in batch.drafts {
            if let Some(ticketer) = self.ticketers.get_mut(&draft.processor) {
                slots.extend(ticketer(draft.body).slots);
            }
        }
        let mut encoded = batch.payload.encode(UnknownFields::Drop).map_err(|error| error.to_string())?;
        for slot in &encoded.slots {
            if let (Some(to), Some(text)) = (encoded.bytes.get_mut(slot.range.clone()), slots.get(&slot.slot))
                && to.len() == text.len()
            {
                to.copy_from_slice(text.as_bytes());
            }
        }
        let after = Payload::parse(signal, Bytes::from(encoded.bytes)).map_err(|error| error.to_string())?;
        Ok(DryRunResult {
            pipeline: id_text(&pipeline.id),
            steps: steps.iter().map(|step| Arc::clone(step.processor.id())).collect(),
            refused,
            before: payload,
            after,
            dropped,
            rules: steps.iter().find_map(|step| step.rules.clone()),
            answers: answers.and_then(|answers| answers.downcast::<RecogniserAnswers>().ok()),
            facts: batch.facts.and_then(|facts| facts.downcast::<Facts>().ok()),
        })
    }
}

/// Adds the items that `filter` drops. Items that an earlier filter dropped keep their first reason.
fn record_dropped(dropped: &mut Vec<Option<DropReason>>, filter: &Arc<str>, verdicts: &[Option<&str>]) {
    dropped.resize(dropped.len().max(verdicts.len()), None);
    for (reason, rule) in dropped.iter_mut().zip(verdicts) {
        if let (None, Some(rule)) = (&reason, rule) {
            *reason = Some(DropReason { filter: filter.to_string(), rule: (*rule).to_owned() });
        }
    }
}
