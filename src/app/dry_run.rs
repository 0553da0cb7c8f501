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
    seams: GatewayDeps,
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
    made: &HashMap<ComponentId, DryRunStep>,
    rules: &HashMap<ComponentId, Arc<Detector>>,
) -> Vec<DryRunPipeline> {
    let line = |line: &PipelineConfig| DryRunPipeline {
        id: id_text(&line.id),
        signal: line.signal,
        steps: line.processors.iter().filter_map(|(id, _)| made.get(id).cloned()).collect(),
        rules: line.processors.iter().find_map(|(id, _)| rules.get(id).cloned()),
    };
    pipelines.iter().map(line).collect()
}

impl DryRun {
    /// Builds the processors of `valid`.
    ///
    /// # Errors
    /// A rate table or word list can't be read, or a recogniser's client can't be built.
    pub fn new(valid: ValidSettings, seams: GatewayDeps) -> Result<Self, DryRunError> {
        let vocabulary = Arc::new(Vocabulary::builtin().map_err(|error| DryRunError::Vocabulary(error.0))?);
        let key = gateway_keys::find_pseudonym_key(&valid);
        let temporary_pseudonyms = key.is_none();
        let max_item_bytes = usize::try_from(valid.limits.max_item_size.0).unwrap_or(usize::MAX);
        let pseudonyms = Pseudonymizer::new(&key.unwrap_or_else(|| random_key(&*seams.rng)));
        let ids = Arc::new(RedactionIdPolicy::new(collect_detectors(&valid)?, pseudonyms));
        let echoing = EchoFinder {
            memory: Arc::new(FingerprintCache::new(&*seams.rng)),
            max_error_text: min_error_text_len(&valid),
            max_scan: min_scan_len(&valid),
        };
        let mut outside = None;
        let mut made: HashMap<ComponentId, DryRunStep> = HashMap::new();
        let (mut runs, mut shelf) = (Vec::<Arc<RunTracker>>::new(), None);
        let mut rules: HashMap<ComponentId, Arc<Detector>> = HashMap::new();
        for ConfiguredComponent { id, value: what } in valid.processors {
            let (name, meter, words) = (id_text(&id), &seams.meter, Arc::clone(&vocabulary));
            let processor: Arc<dyn Processor> = match what {
                ProcessorSettings::Normalize(settings) => {
                    Arc::new(NormalizeProcessor::new(name, &settings, words, meter))
                }
                ProcessorSettings::Cost(mut settings) => {
                    let holders =
                        valid.pipelines.iter().filter(|line| line.processors.iter().any(|(held, _)| *held == id));
                    settings.signals = holders.map(|line| line.signal).collect();
                    let cost = CostProcessor::new(name, &settings, words, meter)?;
                    shelf.get_or_insert_with(|| cost.shelf());
                    Arc::new(cost)
                }
                ProcessorSettings::Runs(settings) => {
                    let tracker = Arc::new(RunTracker::new(name, settings, words, ids.clone(), meter));
                    runs.push(Arc::clone(&tracker));
                    tracker
                }
                ProcessorSettings::Vault(settings) => {
                    let site = vault::VaultServices {
                        vocabulary: words,
                        ids: ids.clone(),
                        clock: Arc::clone(&seams.clock),
                        rng: Arc::clone(&seams.rng),
                        meter: meter.clone(),
                        echo_finder: echoing.clone(),
                    };
                    Arc::new(vault::build_processor(&name, &settings, &site))
                }
                ProcessorSettings::Attributes(settings) => Arc::new(AttributesProcessor::new(name, settings)),
                ProcessorSettings::Resource(settings) => Arc::new(ResourceProcessor::new(name, settings)),
                ProcessorSettings::Filter(settings) => {
                    let filter = FilterProcessor::new(Arc::clone(&name), settings, meter);
                    made.insert(id, DryRunStep::Filter(name, Arc::new(filter)));
                    continue;
                }
                ProcessorSettings::Redact(settings) => {
                    rules.insert(id.clone(), Arc::clone(&settings.detector));
                    let asks = settings.recogniser.clone();
                    let redact = RedactProcessor::new(Arc::clone(&name), settings, words, ids.clone(), meter);
                    match asks {
                        None => Arc::new(redact),
                        Some(asks) => {
                            let presidio = build_recogniser(name, asks, &seams, &mut outside)?;
                            Arc::new(redact.with_recogniser(Arc::new(presidio), meter))
                        }
                    }
                }
            };
            made.insert(id, DryRunStep::Process(processor));
        }
        // With several rate tables any will do, since only one request is shown.
        runs.iter().for_each(|runs| shelf.iter().for_each(|shelf| runs.set_rate_tables(Arc::clone(shelf))));
        let lines = build_pipelines(&valid.pipelines, &made, &rules);
        let ticketer = |step: &DryRunStep| match step {
            DryRunStep::Process(step) => step.ticketer(),
            DryRunStep::Filter(..) => None,
        };
        let tickets = made.values().filter_map(|step| Some((Arc::clone(step.id()), ticketer(step)?))).collect();
        Ok(Self {
            pipelines: lines,
            ticketers: tickets,
            vocabulary,
            seams,
            max_item_bytes,
            rate_tables: shelf,
            temporary_pseudonyms,
            recogniser_runtime: outside,
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
        match self.pipelines.iter().find(|line| *line.id == *wanted) {
            Some(line) => DryRunError::OtherSignal(Arc::clone(&line.id), signal.as_str()),
            None => {
                let known = self.pipelines.iter().map(|line| format!("`{}`", line.id)).collect();
                DryRunError::UnknownPipeline(wanted.to_owned(), known)
            }
        }
    }

    /// Processes one protobuf request with `pipeline`, or with the first pipeline of its signal that has processors.
    ///
    /// # Errors
    /// No pipeline takes the signal, or a step refuses the request. Messages hold no payload.
    pub fn process_request(
        &mut self,
        signal: Signal,
        wire: Bytes,
        pipeline: Option<&str>,
    ) -> Result<DryRunResult, DryRunError> {
        let fits = |line: &&DryRunPipeline| line.signal == signal && pipeline.is_none_or(|id| *line.id == *id);
        let found = self.pipelines.iter().filter(fits);
        let line = found.max_by_key(|line| (!line.steps.is_empty(), std::cmp::Reverse(&line.id)));
        let line = line.ok_or_else(|| self.missing_pipeline(signal, pipeline))?;
        let payload = Payload::parse(signal, wire)?;
        let refused = payload.items().map(|item| refusal_reason(&payload, item, self.max_item_bytes)).collect();
        let origin = BatchOrigin {
            account: "default".into(),
            receiver: "explain".into(),
            trust: Trust::ThirdParty,
            received: self.seams.clock.now(),
            id: self.seams.rng.id(),
            repeat: false,
        };
        let mut batch = Batch::new(Arc::new(origin), payload.clone());
        let mut answers: Option<InquiryAnswer> = None;
        let mut dropped: Vec<Option<DropReason>> = Vec::new();
        for step in &line.steps {
            let step = match step {
                DryRunStep::Process(step) => step,
                DryRunStep::Filter(id, filter) => {
                    record_dropped(&mut dropped, id, &filter.dropping_rules(&mut batch.payload));
                    continue;
                }
            };
            let kept_back = |reason: Reason| DryRunError::Refused(Arc::clone(step.id()), reason.text());
            if let Some(outside) = &self.recogniser_runtime
                && let Some(inquiry) = step.inquire(&mut batch)
            {
                batch.answer = Some(outside.block_on(inquiry).map_err(kept_back)?);
                answers.clone_from(&batch.answer);
            }
            step.process(&mut batch).map_err(kept_back)?;
        }
        for effect in &batch.effects {
            for step in &line.steps {
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
            pipeline: Arc::clone(&line.id),
            steps: line.steps.iter().map(|step| Arc::clone(step.id())).collect(),
            refused,
            before: payload,
            after,
            dropped,
            rules: line.rules.clone(),
            answers: answers.and_then(|answers| answers.downcast::<RecogniserAnswers>().ok()),
            facts: batch.facts.and_then(|facts| facts.downcast::<Facts>().ok()),
        })
    }
}

/// Adds the items that a filter drops. Items that an earlier filter dropped keep their first verdict.
fn record_dropped(dropped: &mut Vec<Option<DropReason>>, by: &Arc<str>, verdicts: &[Option<&str>]) {
    dropped.resize(dropped.len().max(verdicts.len()), None);
    for (one, rule) in dropped.iter_mut().zip(verdicts) {
        if let (None, Some(rule)) = (&one, rule) {
            *one = Some(DropReason { filter: Arc::clone(by), rule: (*rule).to_owned() });
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
    seams: &GatewayDeps,
    outside: &mut Option<Runtime>,
) -> Result<PresidioClient, DryRunError> {
    if outside.is_none() {
        *outside = Some(tasks::build_runtime(1).map_err(|error| DryRunError::NoThreads(error.kind()))?);
    }
    let deps = recogniser::ClientDependencies {
        tasks: Tasks::new(&seams.meter),
        clock: Arc::clone(&seams.clock),
        proxies: Arc::new(ProxyRules::from_env(&env::var)?),
        meter: seams.meter.clone(),
    };
    Ok(PresidioClient::build(id, settings, deps)?)
}
