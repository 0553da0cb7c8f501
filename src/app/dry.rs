//! **What**: [`Dry`]: the processors of a configuration's pipelines over one request, by themselves. **Why**: `explain` shows
//! what a gateway would do, with the gateway's own steps. **Invariants**: no spool, no socket, nothing written: keys that are
//! not configured are made up and forgotten; effects are applied at once, as if each request had been committed.
//! **Not here**: what is shown (`cli/explain`).

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::app::build::Seams;
use crate::app::keyfile::random_key;
use crate::app::resolve::{Placed, Valid};
use crate::components::{ProcessorSettings, id_text};
use crate::config::ComponentId;
use crate::echoes::Memory;
use crate::genai::{Facts, Vocabulary};
use crate::otlp::{Payload, Signal, SlotId, UnknownFields};
use crate::pipeline::{Batch, Origin, Processor, Ticketer, Trust};
use crate::processors::cost::Cost;
use crate::processors::normalize::Normalize;
use crate::processors::redact::Redact;
use crate::processors::runs::Runs;
use crate::processors::vault::{self, Echoing};
use crate::pseudonym::Pseudonymizer;
use crate::redaction::{Detector, Ids};

use super::assemble::{detectors, error_text};

/// One pipeline.
struct Line {
    id: Arc<str>,
    signal: Signal,
    steps: Vec<Arc<dyn Processor>>,
    /// The rules of its `redact` step.
    rules: Option<Arc<Detector>>,
}

/// See the module.
pub struct Dry {
    lines: Vec<Line>,
    tickets: HashMap<Arc<str>, Box<dyn Ticketer>>,
    vocabulary: Arc<Vocabulary>,
    seams: Seams,
}

/// What became of a request.
pub struct Passed {
    /// The pipeline's id.
    pub pipeline: Arc<str>,
    /// Its processors' ids.
    pub steps: Vec<Arc<str>>,
    /// As it came.
    pub before: Payload,
    /// As it goes on.
    pub after: Payload,
    /// What was read in it, with prices.
    pub facts: Option<Arc<Facts>>,
    /// The rules that texts went through.
    pub rules: Option<Arc<Detector>>,
}

impl Dry {
    /// Builds the processors of `valid`.
    ///
    /// # Errors
    /// One line: a rate table that can't be read.
    pub fn new(valid: Valid, seams: Seams) -> Result<Self, String> {
        let vocabulary = Arc::new(Vocabulary::builtin().map_err(|error| error.0)?);
        let key = valid.pseudonym_key.clone().unwrap_or_else(|| random_key(&*seams.rng));
        let pseudonyms = Pseudonymizer::new(&key);
        let ids = Arc::new(Ids::new(detectors(&valid)?, pseudonyms));
        let echoing = Echoing { memory: Arc::new(Memory::new(&*seams.rng)), error_text: error_text(&valid) };
        let mut made: HashMap<ComponentId, Arc<dyn Processor>> = HashMap::new();
        let mut rules: HashMap<ComponentId, Arc<Detector>> = HashMap::new();
        for Placed { id, what } in valid.processors {
            let (name, meter, words) = (id_text(&id), &seams.meter, Arc::clone(&vocabulary));
            let processor: Arc<dyn Processor> = match what {
                ProcessorSettings::Normalize(settings) => Arc::new(Normalize::new(name, &settings, words, meter)),
                ProcessorSettings::Cost(mut settings) => {
                    let holders =
                        valid.pipelines.iter().filter(|line| line.processors.iter().any(|(held, _)| *held == id));
                    settings.signals = holders.map(|line| line.signal).collect();
                    Arc::new(Cost::new(name, &settings, words, meter).map_err(|error| error.0)?)
                }
                ProcessorSettings::Runs(settings) => Arc::new(Runs::new(name, settings, words, ids.clone(), meter)),
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
                ProcessorSettings::Redact(settings) => {
                    rules.insert(id.clone(), Arc::clone(&settings.detector));
                    Arc::new(Redact::new(name, settings, words, ids.clone(), meter))
                }
            };
            made.insert(id, processor);
        }
        let lines: Vec<Line> = (valid.pipelines.iter())
            .map(|line| Line {
                id: id_text(&line.id),
                signal: line.signal,
                steps: line.processors.iter().filter_map(|(id, _)| made.get(id).cloned()).collect(),
                rules: line.processors.iter().find_map(|(id, _)| rules.get(id).cloned()),
            })
            .collect();
        let tickets = made.values().filter_map(|step| Some((Arc::clone(step.id()), step.ticketer()?))).collect();
        Ok(Self { lines, tickets, vocabulary, seams })
    }

    /// The vocabulary in use.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Sends one request (protobuf) through `pipeline`, else through the first of its signal with processors.
    ///
    /// # Errors
    /// One line, without payload.
    pub fn pass(&mut self, signal: Signal, wire: Bytes, pipeline: Option<&str>) -> Result<Passed, String> {
        let fits = |line: &&Line| line.signal == signal && pipeline.is_none_or(|id| *line.id == *id);
        let found = self.lines.iter().filter(fits);
        let line = found.max_by_key(|line| (!line.steps.is_empty(), std::cmp::Reverse(&line.id)));
        let line = line.ok_or_else(|| format!("no pipeline takes {}", signal.as_str()))?;
        let payload = Payload::parse(signal, wire).map_err(|error| error.to_string())?;
        let origin = Origin {
            account: "default".into(),
            receiver: "explain".into(),
            trust: Trust::ThirdParty,
            received: self.seams.clock.now(),
            id: self.seams.rng.id(),
            repeat: false,
        };
        let mut batch = Batch::new(Arc::new(origin), payload.clone());
        for step in &line.steps {
            step.process(&mut batch).map_err(|reason| format!("`{}` keeps it back: {}", step.id(), reason.text()))?;
        }
        for effect in &batch.effects {
            line.steps.iter().filter(|step| *step.id() == effect.processor).for_each(|step| step.apply(effect));
        }
        let mut slots: HashMap<SlotId, String> = HashMap::new();
        for draft in batch.drafts {
            if let Some(ticketer) = self.tickets.get_mut(&draft.processor) {
                slots.extend(ticketer.ticket(draft.body).slots);
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
        Ok(Passed {
            pipeline: Arc::clone(&line.id),
            steps: line.steps.iter().map(|step| Arc::clone(step.id())).collect(),
            before: payload,
            after,
            rules: line.rules.clone(),
            facts: batch.facts.and_then(|facts| facts.downcast::<Facts>().ok()),
        })
    }
}
