//! [`Dry`] runs one request through the processors of a configuration outside a gateway, so that `explain` shows the
//! steps a gateway would take. It opens no spool, writes nothing, and connects only to a configured recogniser. Missing
//! keys are generated and discarded. Effects are applied at once, as if each request had been committed. `cli/explain`
//! shows the result.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::app::build::Seams;
use crate::app::keyfile::random_key;
use crate::app::keys;
use crate::app::resolve::{Placed, Valid};
use crate::app::start_error::StartError;
use crate::app::tasks::{self, Tasks};
use crate::components::{ProcessorSettings, id_text};
use config::file::Pipeline;
use config::{ComponentId, env};
use echoes::Memory;
use genai::{Facts, Vocabulary};
use kernel::pseudonym::Pseudonymizer;
use net::{Proxies, ProxyError, TlsError};
use otlp::{Malformed, Payload, Signal, SlotId, UnknownFields};
use pipeline::{Answer, Batch, Origin, Processor, Reason, Ticketer, Trust};
use processors::attributes::Attributes;
use processors::cost::Cost;
use processors::filter::Filter;
use processors::normalize::Normalize;
use processors::redact::Redact;
use processors::resource::ResourceAttributes;
use processors::vault::{self, Echoing};
use rates::RatesError;
use recogniser::{self, Answers, Presidio};
use redaction::{Detector, Ids};
use tracker::Runs;

use super::assemble::{detectors, error_text, scan};

/// One step of a pipeline.
#[derive(Clone)]
enum Step {
    Does(Arc<dyn Processor>),
    /// A filter. Its items stay, with the rule that drops them, so that items before and after can be compared one by
    /// one.
    Drops(Arc<str>, Arc<Filter>),
}

impl Step {
    fn id(&self) -> &Arc<str> {
        match self {
            Self::Does(step) => step.id(),
            Self::Drops(id, _) => id,
        }
    }
}

/// The reason that an item is dropped.
#[derive(Clone)]
pub struct Verdict {
    /// The id of the filter.
    pub by: Arc<str>,
    /// The filter's rule.
    pub rule: String,
}

/// One pipeline.
struct Line {
    id: Arc<str>,
    signal: Signal,
    steps: Vec<Step>,
    /// The rules of the pipeline's `redact` step.
    rules: Option<Arc<Detector>>,
}

/// The processors of a configuration, ready to process requests.
pub struct Dry {
    lines: Vec<Line>,
    tickets: HashMap<Arc<str>, Box<dyn Ticketer>>,
    vocabulary: Arc<Vocabulary>,
    seams: Seams,
    /// Whether pseudonyms use a key generated for this run, because the gateway's key was not found.
    pub strange_pseudonyms: bool,
    /// The runtime for requests to a recogniser, if one is configured.
    outside: Option<Runtime>,
}

/// The result of one request.
pub struct Passed {
    /// The pipeline's id.
    pub pipeline: Arc<str>,
    /// The ids of the pipeline's processors.
    pub steps: Vec<Arc<str>>,
    /// The request as received.
    pub before: Payload,
    /// The request after all steps; dropped items are still in it.
    pub after: Payload,
    /// For each item in order, the reason that it is dropped. May be empty if nothing is dropped.
    pub dropped: Vec<Option<Verdict>>,
    /// The facts read from the request, with prices.
    pub facts: Option<Arc<Facts>>,
    /// The redaction rules that were applied.
    pub rules: Option<Arc<Detector>>,
    /// The answers of the recogniser.
    pub answers: Option<Arc<Answers>>,
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
    #[error("no threads: {0}")]
    NoThreads(std::io::ErrorKind),
    /// The configuration has no pipeline for this signal.
    #[error("no pipeline takes {0}")]
    NoPipeline(&'static str),
    /// The request is malformed.
    #[error(transparent)]
    Payload(#[from] Malformed),
    /// A processor refuses the request; its id and reason.
    #[error("`{0}` keeps it back: {1}")]
    Refused(Arc<str>, &'static str),
}

/// The pipelines with their steps and rules.
fn lines(
    pipelines: &[Pipeline],
    made: &HashMap<ComponentId, Step>,
    rules: &HashMap<ComponentId, Arc<Detector>>,
) -> Vec<Line> {
    let line = |line: &Pipeline| Line {
        id: id_text(&line.id),
        signal: line.signal,
        steps: line.processors.iter().filter_map(|(id, _)| made.get(id).cloned()).collect(),
        rules: line.processors.iter().find_map(|(id, _)| rules.get(id).cloned()),
    };
    pipelines.iter().map(line).collect()
}

impl Dry {
    /// Builds the processors of `valid`.
    ///
    /// # Errors
    /// A rate table or word list can't be read, or a recogniser's client can't be built.
    pub fn new(valid: Valid, seams: Seams) -> Result<Self, DryRunError> {
        let vocabulary = Arc::new(Vocabulary::builtin().map_err(|error| DryRunError::Vocabulary(error.0))?);
        let key = keys::pseudonym_key(&valid);
        let strange_pseudonyms = key.is_none();
        let pseudonyms = Pseudonymizer::new(&key.unwrap_or_else(|| random_key(&*seams.rng)));
        let ids = Arc::new(Ids::new(detectors(&valid)?, pseudonyms));
        let echoing =
            Echoing { memory: Arc::new(Memory::new(&*seams.rng)), error_text: error_text(&valid), scan: scan(&valid) };
        let mut outside = None;
        let mut made: HashMap<ComponentId, Step> = HashMap::new();
        let (mut runs, mut shelf) = (Vec::<Arc<Runs>>::new(), None);
        let mut rules: HashMap<ComponentId, Arc<Detector>> = HashMap::new();
        for Placed { id, what } in valid.processors {
            let (name, meter, words) = (id_text(&id), &seams.meter, Arc::clone(&vocabulary));
            let processor: Arc<dyn Processor> = match what {
                ProcessorSettings::Normalize(settings) => Arc::new(Normalize::new(name, &settings, words, meter)),
                ProcessorSettings::Cost(mut settings) => {
                    let holders =
                        valid.pipelines.iter().filter(|line| line.processors.iter().any(|(held, _)| *held == id));
                    settings.signals = holders.map(|line| line.signal).collect();
                    let cost = Cost::new(name, &settings, words, meter)?;
                    shelf.get_or_insert_with(|| cost.shelf());
                    Arc::new(cost)
                }
                ProcessorSettings::Runs(settings) => {
                    let tracker = Arc::new(Runs::new(name, settings, words, ids.clone(), meter));
                    runs.push(Arc::clone(&tracker));
                    tracker
                }
                ProcessorSettings::Vault(settings) => {
                    let site = vault::Site {
                        vocabulary: words,
                        ids: ids.clone(),
                        clock: Arc::clone(&seams.clock),
                        rng: Arc::clone(&seams.rng),
                        meter: meter.clone(),
                        echoing: echoing.clone(),
                    };
                    Arc::new(vault::processor(&name, &settings, &site))
                }
                ProcessorSettings::Attributes(settings) => Arc::new(Attributes::new(name, settings)),
                ProcessorSettings::Resource(settings) => Arc::new(ResourceAttributes::new(name, settings)),
                ProcessorSettings::Filter(settings) => {
                    let filter = Filter::new(Arc::clone(&name), settings, meter);
                    made.insert(id, Step::Drops(name, Arc::new(filter)));
                    continue;
                }
                ProcessorSettings::Redact(settings) => {
                    rules.insert(id.clone(), Arc::clone(&settings.detector));
                    let asks = settings.recogniser.clone();
                    let redact = Redact::new(Arc::clone(&name), settings, words, ids.clone(), meter);
                    match asks {
                        None => Arc::new(redact),
                        Some(asks) => {
                            let presidio = recogniser(name, asks, &seams, &mut outside)?;
                            Arc::new(redact.with_recogniser(Arc::new(presidio), meter))
                        }
                    }
                }
            };
            made.insert(id, Step::Does(processor));
        }
        // With several rate tables any will do, since only one request is shown.
        runs.iter().for_each(|runs| shelf.iter().for_each(|shelf| runs.price_by(Arc::clone(shelf))));
        let lines = lines(&valid.pipelines, &made, &rules);
        let ticketer = |step: &Step| match step {
            Step::Does(step) => step.ticketer(),
            Step::Drops(..) => None,
        };
        let tickets = made.values().filter_map(|step| Some((Arc::clone(step.id()), ticketer(step)?))).collect();
        Ok(Self { lines, tickets, vocabulary, seams, strange_pseudonyms, outside })
    }

    /// The vocabulary that reads the requests.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Processes one protobuf request with `pipeline`, or with the first pipeline of its signal that has processors.
    ///
    /// # Errors
    /// No pipeline takes the signal, or a step refuses the request. Messages hold no payload.
    pub fn pass(&mut self, signal: Signal, wire: Bytes, pipeline: Option<&str>) -> Result<Passed, DryRunError> {
        let fits = |line: &&Line| line.signal == signal && pipeline.is_none_or(|id| *line.id == *id);
        let found = self.lines.iter().filter(fits);
        let line = found.max_by_key(|line| (!line.steps.is_empty(), std::cmp::Reverse(&line.id)));
        let line = line.ok_or(DryRunError::NoPipeline(signal.as_str()))?;
        let payload = Payload::parse(signal, wire)?;
        let origin = Origin {
            account: "default".into(),
            receiver: "explain".into(),
            trust: Trust::ThirdParty,
            received: self.seams.clock.now(),
            id: self.seams.rng.id(),
            repeat: false,
        };
        let mut batch = Batch::new(Arc::new(origin), payload.clone());
        let mut answers: Option<Answer> = None;
        let mut dropped: Vec<Option<Verdict>> = Vec::new();
        for step in &line.steps {
            let step = match step {
                Step::Does(step) => step,
                Step::Drops(id, filter) => {
                    note(&mut dropped, id, &filter.verdicts(&mut batch.payload));
                    continue;
                }
            };
            let kept_back = |reason: Reason| DryRunError::Refused(Arc::clone(step.id()), reason.text());
            if let Some(outside) = &self.outside
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
                    Step::Does(step) if *step.id() == effect.processor => step.apply(effect),
                    _ => {}
                }
            }
        }
        let mut slots: HashMap<SlotId, String> = HashMap::new();
        for draft in batch.drafts {
            if let Some(ticketer) = self.tickets.get_mut(&draft.processor) {
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
        Ok(Passed {
            pipeline: Arc::clone(&line.id),
            steps: line.steps.iter().map(|step| Arc::clone(step.id())).collect(),
            before: payload,
            after,
            dropped,
            rules: line.rules.clone(),
            answers: answers.and_then(|answers| answers.downcast::<Answers>().ok()),
            facts: batch.facts.and_then(|facts| facts.downcast::<Facts>().ok()),
        })
    }
}

/// Adds the items that a filter drops. Items that an earlier filter dropped keep their first verdict.
fn note(dropped: &mut Vec<Option<Verdict>>, by: &Arc<str>, verdicts: &[Option<&str>]) {
    dropped.resize(dropped.len().max(verdicts.len()), None);
    for (one, rule) in dropped.iter_mut().zip(verdicts) {
        if let (None, Some(rule)) = (&one, rule) {
            *one = Some(Verdict { by: Arc::clone(by), rule: (*rule).to_owned() });
        }
    }
}

/// Builds a recogniser's client, and the runtime for its requests if there is none yet.
///
/// # Errors
/// TLS settings, a proxy of the environment, or threads.
pub fn recogniser(
    id: Arc<str>,
    settings: recogniser::Settings,
    seams: &Seams,
    outside: &mut Option<Runtime>,
) -> Result<Presidio, DryRunError> {
    if outside.is_none() {
        *outside = Some(tasks::runtime(1).map_err(|error| DryRunError::NoThreads(error.kind()))?);
    }
    let deps = recogniser::Deps {
        tasks: Tasks::new(&seams.meter),
        clock: Arc::clone(&seams.clock),
        proxies: Arc::new(Proxies::from_env(&env::var)?),
        meter: seams.meter.clone(),
    };
    Ok(Presidio::build(id, settings, deps)?)
}
