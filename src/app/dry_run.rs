//! [`DryRun`] runs one request through the processors of a configuration outside a gateway, so that `explain` shows the
//! steps a gateway would take. It opens no spool, writes nothing, and connects only to a configured recogniser. Missing
//! keys are generated and discarded. Effects are applied at once, as if each request had been committed. `cli/explain`
//! shows the result.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::app::build::GatewayDeps;
use crate::app::gateway_keys;
use crate::app::keyfile::random_key;
use crate::app::resolve::{ConfiguredComponent, ValidSettings};
use crate::app::start_error::StartError;
use crate::app::tasks::{self, Tasks};
use crate::components::{ProcessorSettings, id_text};
use config::file::PipelineConfig;
use config::{ComponentId, env};
use echoes::FingerprintCache;
use genai::{Facts, Vocabulary};
use kernel::pseudonym::Pseudonymizer;
use net::{ProxyError, ProxyRules, TlsError};
use otlp::{MalformedOtlp, Payload, Signal, SlotId, UnknownFields};
use pipeline::item_refusal::refusal_reason;
use pipeline::{Batch, BatchOrigin, InquiryAnswer, Processor, Reason, Ticketer, Trust};
use processors::attributes::AttributesProcessor;
use processors::cost::CostProcessor;
use processors::filter::FilterProcessor;
use processors::normalize::NormalizeProcessor;
use processors::redact::RedactProcessor;
use processors::resource::ResourceProcessor;
use processors::vault::{self, EchoFinder};
use rates::{ActiveRates, RatesError};
use recogniser::{self, PresidioClient, RecogniserAnswers};
use redaction::{Detector, RedactionIdPolicy};
use tracker::RunTracker;

use super::assemble::{collect_detectors, min_error_text_len, min_scan_len};

/// One step of a pipeline.
#[derive(Clone)]
enum DryRunStep {
    Process(Arc<dyn Processor>),
    /// A filter. Its items stay, with the rule that drops them, so that items before and after can be compared one by
    /// one.
    Filter(Arc<str>, Arc<FilterProcessor>),
}

impl DryRunStep {
    fn id(&self) -> &Arc<str> {
        match self {
            Self::Process(step) => step.id(),
            Self::Filter(id, _) => id,
        }
    }

    fn ticketer(&self) -> Option<Box<dyn Ticketer>> {
        match self {
            Self::Process(step) => step.ticketer(),
            Self::Filter(..) => None,
        }
    }
}

/// The reason that an item is dropped.
#[derive(Clone)]
pub struct DropReason {
    /// The id of the filter.
    pub filter: Arc<str>,
    /// The filter's rule.
    pub rule: String,
}

/// One pipeline.
struct DryRunPipeline {
    id: Arc<str>,
    signal: Signal,
    steps: Vec<DryRunStep>,
    /// The rules of the pipeline's `redact` step.
    rules: Option<Arc<Detector>>,
}

/// The processors of a configuration, ready to process requests.
pub struct DryRun {
    pipelines: Vec<DryRunPipeline>,
    ticketers: HashMap<Arc<str>, Box<dyn Ticketer>>,
    vocabulary: Arc<Vocabulary>,
    deps: GatewayDeps,
    max_item_bytes: usize,
    /// The rate tables of a `cost` processor, if there is one.
    rate_tables: Option<Arc<ActiveRates>>,
    /// Whether pseudonyms use a key generated for this run, because the gateway's key was not found.
    pub temporary_pseudonyms: bool,
    /// The runtime for requests to a recogniser, if one is configured.
    recogniser_runtime: Option<Runtime>,
}

/// The result of one request.
pub struct DryRunResult {
    /// The pipeline's id.
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
    /// The answers of the recogniser.
    pub answers: Option<Arc<RecogniserAnswers>>,
}

/// Why processors could not be built, or could not process a request, outside a running gateway.
#[derive(Debug, thiserror::Error)]
pub enum DryRunError {
    /// The built-in dialects are damaged.
    #[error("{0}")]
    Vocabulary(String),
    /// A rate table can't be used.
    #[error(transparent)]
    Rates(#[from] RatesError),
    /// A part of the configuration can't be used on this machine.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The TLS settings of a recogniser can't be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A proxy set in the environment can't be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The operating system can't start threads.
    #[error("can't start threads: {0}")]
    NoThreads(std::io::ErrorKind),
    /// The configuration has no pipeline for this signal.
    #[error("no pipeline accepts {0}")]
    NoPipeline(&'static str),
    /// The configuration has no pipeline with the requested id; the ids that it has.
    #[error("there is no pipeline `{}`; the configuration has: {}", .0.escape_default(), .1.join(", "))]
    UnknownPipeline(String, Vec<String>),
    /// The requested pipeline is for another signal; its id and the request's signal.
    #[error("the pipeline `{0}` does not accept {1}")]
    OtherSignal(Arc<str>, &'static str),
    /// The request is malformed.
    #[error(transparent)]
    Payload(#[from] MalformedOtlp),
    /// A processor refuses the request; its id and reason.
    #[error("`{0}` refuses the request: {1}")]
    Refused(Arc<str>, &'static str),
}

/// The pipelines with their steps and rules.
fn build_pipelines(
    pipelines: &[PipelineConfig],
    steps: &HashMap<ComponentId, DryRunStep>,
    rules: &HashMap<ComponentId, Arc<Detector>>,
) -> Vec<DryRunPipeline> {
    let build = |pipeline: &PipelineConfig| DryRunPipeline {
        id: id_text(&pipeline.id),
        signal: pipeline.signal,
        steps: pipeline.processors.iter().filter_map(|(id, _)| steps.get(id).cloned()).collect(),
        rules: pipeline.processors.iter().find_map(|(id, _)| rules.get(id).cloned()),
    };
    pipelines.iter().map(build).collect()
}

impl DryRun {
    /// Builds the processors of `valid`.
    ///
    /// # Errors
    /// A rate table or word list can't be read, or a recogniser's client can't be built.
    pub fn new(valid: ValidSettings, deps: GatewayDeps) -> Result<Self, DryRunError> {
        let vocabulary = Arc::new(Vocabulary::builtin().map_err(|error| DryRunError::Vocabulary(error.0))?);
        let key = gateway_keys::find_pseudonym_key(&valid);
        let temporary_pseudonyms = key.is_none();
        let max_item_bytes = usize::try_from(valid.limits.max_item_size.0).unwrap_or(usize::MAX);
        let pseudonyms = Pseudonymizer::new(&key.unwrap_or_else(|| random_key(&*deps.rng)));
        let pseudonyms = pseudonyms.with_epoch(valid.pseudonym_epoch);
        let ids = Arc::new(RedactionIdPolicy::new(collect_detectors(&valid)?, pseudonyms));
        let echo_finder = EchoFinder {
            memory: Arc::new(FingerprintCache::new(&*deps.rng)),
            max_error_text: min_error_text_len(&valid),
            max_scan: min_scan_len(&valid),
        };
        let mut recogniser_runtime = None;
        let mut steps: HashMap<ComponentId, DryRunStep> = HashMap::new();
        let (mut trackers, mut rate_tables) = (Vec::<Arc<RunTracker>>::new(), None);
        let mut rules: HashMap<ComponentId, Arc<Detector>> = HashMap::new();
        for ConfiguredComponent { id, value } in valid.processors {
            let (name, meter, vocabulary) = (id_text(&id), &deps.meter, Arc::clone(&vocabulary));
            let processor: Arc<dyn Processor> = match value {
                ProcessorSettings::Normalize(settings) => {
                    Arc::new(NormalizeProcessor::new(name, &settings, vocabulary, meter))
                }
                ProcessorSettings::Cost(mut settings) => {
                    let holders = valid
                        .pipelines
                        .iter()
                        .filter(|pipeline| pipeline.processors.iter().any(|(processor_id, _)| *processor_id == id));
                    settings.signals = holders.map(|pipeline| pipeline.signal).collect();
                    let cost = CostProcessor::new(name, &settings, vocabulary, meter)?;
                    rate_tables.get_or_insert_with(|| cost.shelf());
                    Arc::new(cost)
                }
                ProcessorSettings::Runs(settings) => {
                    let tracker = Arc::new(RunTracker::new(name, settings, vocabulary, ids.clone(), meter));
                    trackers.push(Arc::clone(&tracker));
                    tracker
                }
                ProcessorSettings::Vault(settings) => {
                    let services = vault::VaultServices {
                        vocabulary,
                        ids: ids.clone(),
                        clock: Arc::clone(&deps.clock),
                        rng: Arc::clone(&deps.rng),
                        meter: meter.clone(),
                        echo_finder: echo_finder.clone(),
                    };
                    Arc::new(vault::build_processor(&name, &settings, &services))
                }
                ProcessorSettings::Attributes(settings) => Arc::new(AttributesProcessor::new(name, settings)),
                ProcessorSettings::Resource(settings) => Arc::new(ResourceProcessor::new(name, settings)),
                ProcessorSettings::Filter(settings) => {
                    let filter = FilterProcessor::new(Arc::clone(&name), settings, meter);
                    steps.insert(id, DryRunStep::Filter(name, Arc::new(filter)));
                    continue;
                }
                ProcessorSettings::Redact(settings) => {
                    rules.insert(id.clone(), Arc::clone(&settings.detector));
                    let recogniser_settings = settings.recogniser.clone();
                    let redact = RedactProcessor::new(Arc::clone(&name), settings, vocabulary, ids.clone(), meter);
                    match recogniser_settings {
                        None => Arc::new(redact),
                        Some(recogniser_settings) => {
                            let presidio = build_recogniser(name, recogniser_settings, &deps, &mut recogniser_runtime)?;
                            Arc::new(redact.with_recogniser(Arc::new(presidio), meter))
                        }
                    }
                }
            };
            steps.insert(id, DryRunStep::Process(processor));
        }
        // With several rate tables any will do, since only one request is shown.
        if let Some(tables) = &rate_tables {
            trackers.iter().for_each(|tracker| tracker.set_rate_tables(Arc::clone(tables)));
        }
        let pipelines = build_pipelines(&valid.pipelines, &steps, &rules);
        let ticketers = steps.values().filter_map(|step| Some((Arc::clone(step.id()), step.ticketer()?))).collect();
        Ok(Self {
            pipelines,
            ticketers,
            vocabulary,
            deps,
            max_item_bytes,
            rate_tables,
            temporary_pseudonyms,
            recogniser_runtime,
        })
    }

    /// The vocabulary that reads the requests.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The listed model id that is closest to a model without a price.
    pub fn nearest_model(&self, provider: Option<&str>, model: &str) -> Option<String> {
        self.rate_tables.as_ref()?.rates().common().nearest_id(provider, model)
    }

    /// Why no pipeline was found for a request of `signal`.
    fn missing_pipeline(&self, signal: Signal, pipeline: Option<&str>) -> DryRunError {
        let Some(wanted) = pipeline else { return DryRunError::NoPipeline(signal.as_str()) };
        match self.pipelines.iter().find(|known| *known.id == *wanted) {
            Some(known) => DryRunError::OtherSignal(Arc::clone(&known.id), signal.as_str()),
            None => {
                let known_ids = self.pipelines.iter().map(|known| format!("`{}`", known.id)).collect();
                DryRunError::UnknownPipeline(wanted.to_owned(), known_ids)
            }
        }
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
    ) -> Result<DryRunResult, DryRunError> {
        let is_candidate =
            |pipeline: &&DryRunPipeline| pipeline.signal == signal && wanted_id.is_none_or(|id| *pipeline.id == *id);
        let candidates = self.pipelines.iter().filter(is_candidate);
        let pipeline = candidates.max_by_key(|pipeline| (!pipeline.steps.is_empty(), std::cmp::Reverse(&pipeline.id)));
        let pipeline = pipeline.ok_or_else(|| self.missing_pipeline(signal, wanted_id))?;
        let payload = Payload::parse(signal, wire)?;
        let refused = payload.items().map(|item| refusal_reason(&payload, item, self.max_item_bytes)).collect();
        let origin = BatchOrigin {
            account: "default".into(),
            receiver: "explain".into(),
            trust: Trust::ThirdParty,
            received: self.deps.clock.now(),
            id: self.deps.rng.id(),
            repeat: false,
            source_record: None,
        };
        let mut batch = Batch::new(Arc::new(origin), payload.clone());
        let mut answers: Option<InquiryAnswer> = None;
        let mut dropped: Vec<Option<DropReason>> = Vec::new();
        for step in &pipeline.steps {
            let step = match step {
                DryRunStep::Process(step) => step,
                DryRunStep::Filter(id, filter) => {
                    record_dropped(&mut dropped, id, &filter.dropping_rules(&mut batch.payload));
                    continue;
                }
            };
            let refusal = |reason: Reason| DryRunError::Refused(Arc::clone(step.id()), reason.text());
            if let Some(runtime) = &self.recogniser_runtime
                && let Some(inquiry) = step.inquire(&mut batch)
            {
                batch.answer = Some(runtime.block_on(inquiry).map_err(refusal)?);
                answers.clone_from(&batch.answer);
            }
            step.process(&mut batch).map_err(refusal)?;
        }
        for effect in &batch.effects {
            for step in &pipeline.steps {
                match step {
                    DryRunStep::Process(step) if *step.id() == effect.processor => step.apply(effect),
                    _ => {}
                }
            }
        }
        let mut slots: HashMap<SlotId, String> = HashMap::new();
        for draft in batch.drafts {
            if let Some(ticketer) = self.ticketers.get_mut(&draft.processor) {
                slots.extend(ticketer.ticket(draft.body).slots);
            }
        }
        let mut encoded = batch.payload.encode(UnknownFields::Drop)?;
        for slot in &encoded.slots {
            if let (Some(to), Some(text)) = (encoded.bytes.get_mut(slot.range.clone()), slots.get(&slot.slot))
                && to.len() == text.len()
            {
                to.copy_from_slice(text.as_bytes());
            }
        }
        let after = Payload::parse(signal, Bytes::from(encoded.bytes))?;
        Ok(DryRunResult {
            pipeline: Arc::clone(&pipeline.id),
            steps: pipeline.steps.iter().map(|step| Arc::clone(step.id())).collect(),
            refused,
            before: payload,
            after,
            dropped,
            rules: pipeline.rules.clone(),
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
            *reason = Some(DropReason { filter: Arc::clone(filter), rule: (*rule).to_owned() });
        }
    }
}

/// Builds a recogniser's client, and the runtime for its requests if there is none yet.
///
/// # Errors
/// TLS settings, a proxy of the environment, or threads.
pub fn build_recogniser(
    id: Arc<str>,
    settings: recogniser::Settings,
    deps: &GatewayDeps,
    runtime: &mut Option<Runtime>,
) -> Result<PresidioClient, DryRunError> {
    if runtime.is_none() {
        *runtime = Some(tasks::build_runtime(1).map_err(|error| DryRunError::NoThreads(error.kind()))?);
    }
    let client_deps = recogniser::ClientDependencies {
        tasks: Tasks::new(&deps.meter),
        clock: Arc::clone(&deps.clock),
        proxies: Arc::new(ProxyRules::from_env(&env::var)?),
        meter: deps.meter.clone(),
    };
    Ok(PresidioClient::build(id, settings, client_deps)?)
}
