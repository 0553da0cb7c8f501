//! [`PipelineRoute`]: the pipelines that take one signal of a receiver, as a tree whose common steps run once, so that
//! an item in two pipelines is priced, tracked and vaulted once. At a fork, the payload is cloned, effects and drafts
//! are not. A copy for third parties is encoded without unknown fields. Each copy carries its clearance. Panics and
//! poison items are handled in `worker`, storage in `sequencer`.

use std::collections::HashMap;
use std::sync::Arc;

use otlp::{MalformedOtlp, Signal, SlotRange, UnknownFields};
use telemetry::{Counter, Meter, names};

use super::batch::{Batch, Effect, RecordDraft};
use super::clearance::Trust;
use super::component::Processor;
use super::forward_label::ForwardLabel;
use super::outcome::Reason;
use super::plan::{EnginePlan, PipelinePlan};
use super::sampling::rules::waiting_consumer;

#[cfg(test)]
mod tests;
mod walk;

pub use walk::RouteExecution;

/// Consumer ids of the spool that need a copy.
pub type HolderIds = Arc<[Arc<str>]>;

/// The routes of a plan.
pub struct PipelineRoutes {
    by_receiver: HashMap<Arc<str>, HashMap<Signal, Arc<PipelineRoute>>>,
}

/// A part of the tree: the steps that all its pipelines share, the pipelines that end after these steps, and the
/// branches of the others.
#[derive(Default)]
pub struct PipelineRoute {
    steps: Vec<RouteStep>,
    ends: Vec<PipelineEnd>,
    forks: Vec<Arc<PipelineRoute>>,
}

/// A step, with counters of the items that enter and leave it.
struct RouteStep {
    processor: Arc<dyn Processor>,
    incoming: Counter,
    outgoing: Counter,
}

impl RouteStep {
    fn new(processor: Arc<dyn Processor>, signal: Signal, meter: &Meter) -> Self {
        let labels = [("processor", &**processor.id()), ("otel_signal", signal.as_str())];
        let (incoming, outgoing) =
            (meter.counter(&names::PROCESSOR_INCOMING, &labels), meter.counter(&names::PROCESSOR_OUTGOING, &labels));
        Self { processor, incoming, outgoing }
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        self.incoming.increment(batch.payload.item_count() as u64);
        self.processor.process(batch)?;
        self.outgoing.increment(batch.payload.item_count() as u64);
        Ok(())
    }
}

/// The end of a pipeline: its exporters by trust.
struct PipelineEnd {
    pipeline: Arc<str>,
    third_parties: HolderIds,
    internal: HolderIds,
}

/// The result of processing a batch.
#[derive(Default)]
pub struct BatchProduct {
    /// Effects to apply after the commit.
    pub(crate) effects: Vec<Effect>,
    /// Drafts for the ticketers.
    pub(crate) drafts: Vec<RecordDraft>,
    /// Forward copies for the exporters.
    pub(crate) copies: Vec<ForwardCopy>,
    /// Number of unknown fields left out of copies for third parties.
    pub(crate) unknown_dropped: u64,
}

/// One forward copy: OTLP bytes and label.
pub struct ForwardCopy {
    pub(crate) holders: HolderIds,
    /// OTLP bytes, then the label.
    pub(crate) body: Vec<u8>,
    /// Byte ranges whose texts are filled in after the ticket.
    pub(crate) slots: Vec<SlotRange>,
    pub(crate) signal: Signal,
    pub(crate) items: u64,
}

/// Why a batch was not processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteFailure {
    /// A processor keeps the batch back.
    ProcessorRefused(Reason),
    /// The payload can't be encoded.
    Encode,
}

impl From<MalformedOtlp> for RouteFailure {
    fn from(_: MalformedOtlp) -> Self {
        Self::Encode
    }
}

impl PipelineRoutes {
    /// The routes of `plan`. Spans and log records of the exporters `sampled` go to a sampler.
    pub fn new(plan: &EnginePlan, sampled: &[Arc<str>], meter: &Meter) -> Self {
        let mut grouped: HashMap<Arc<str>, HashMap<Signal, Vec<&PipelinePlan>>> = HashMap::new();
        for pipeline in &plan.pipelines {
            for receiver in &pipeline.receivers {
                let signals = grouped.entry(Arc::clone(receiver)).or_default();
                signals.entry(pipeline.signal).or_default().push(pipeline);
            }
        }
        let build_route = |(signal, pipelines): (Signal, Vec<&PipelinePlan>)| {
            (signal, Arc::new(PipelineRoute::new(&pipelines, 0, (signal, sampled, meter))))
        };
        let by_receiver = grouped
            .into_iter()
            .map(|(receiver, signals)| (receiver, signals.into_iter().map(build_route).collect()))
            .collect();
        Self { by_receiver }
    }

    /// The route for this receiver and signal, if a pipeline takes them.
    pub fn find(&self, receiver: &str, signal: Signal) -> Option<&Arc<PipelineRoute>> {
        self.by_receiver.get(receiver)?.get(&signal)
    }
}

impl PipelineRoute {
    /// The part of the tree for these pipelines, whose first `depth` steps are in the parts above.
    fn new(pipelines: &[&PipelinePlan], mut depth: usize, context: (Signal, &[Arc<str>], &Meter)) -> Self {
        let (signal, sampled, meter) = context;
        let mut route = Self::default();
        while let Some(step) = common_step(pipelines, depth) {
            route.steps.push(RouteStep::new(step, signal, meter));
            depth += 1;
        }
        let mut groups: Vec<(&Arc<dyn Processor>, Vec<&PipelinePlan>)> = Vec::new();
        for pipeline in pipelines {
            match pipeline.processors.get(depth) {
                None => route.ends.push(PipelineEnd::new(pipeline, sampled)),
                Some(step) => match groups.iter_mut().find(|(known, _)| known.id() == step.id()) {
                    Some((_, group)) => group.push(pipeline),
                    None => groups.push((step, vec![pipeline])),
                },
            }
        }
        route.forks = groups.into_iter().map(|(_, group)| Arc::new(Self::new(&group, depth, context))).collect();
        route
    }

    /// The vault of one of these pipelines, which seals their quarantined items. Pipelines that share a receiver and a
    /// signal share their vault (`config/src/graph.rs`). `None`: no pipeline of the route has a vault.
    pub fn quarantine(&self) -> Option<&dyn Processor> {
        let own_sealer = self.steps.iter().map(|step| &*step.processor).find(|step| step.seals_quarantine());
        own_sealer.or_else(|| self.forks.iter().find_map(|fork| fork.quarantine()))
    }
}

/// The processor that all pipelines have at `depth`.
fn common_step(pipelines: &[&PipelinePlan], depth: usize) -> Option<Arc<dyn Processor>> {
    let (first, others) = pipelines.split_first()?;
    let step = first.processors.get(depth)?;
    let has_step = |other: &&PipelinePlan| other.processors.get(depth).is_some_and(|known| known.id() == step.id());
    others.iter().all(has_step).then(|| Arc::clone(step))
}

fn fork_batch(batch: &Batch) -> Batch {
    Batch {
        clearance: batch.clearance,
        facts: batch.facts.clone(),
        echoes: batch.echoes.clone(),
        ..Batch::new(Arc::clone(&batch.origin), batch.payload.clone())
    }
}

impl PipelineEnd {
    fn new(pipeline: &PipelinePlan, sampled: &[Arc<str>]) -> Self {
        let waits = |id: &Arc<str>| pipeline.signal != Signal::Metrics && sampled.contains(id);
        let holder = |id: &Arc<str>| if waits(id) { waiting_consumer(id) } else { Arc::clone(id) };
        let with_trust = |trust: Trust| -> HolderIds {
            let exporters = pipeline.exporters.iter().filter(|exporter| exporter.trust() == trust);
            exporters.map(|exporter| holder(exporter.id())).collect()
        };
        Self {
            pipeline: Arc::clone(&pipeline.id),
            third_parties: with_trust(Trust::ThirdParty),
            internal: with_trust(Trust::Internal),
        }
    }

    fn encode_copies(&self, batch: &Batch, product: &mut BatchProduct) -> Result<(), RouteFailure> {
        let items = batch.payload.item_count() as u64;
        if items == 0 {
            return Ok(());
        }
        let mut is_shared = false;
        if !self.third_parties.is_empty() {
            let encoded = batch.payload.encode(UnknownFields::Drop)?;
            product.unknown_dropped += encoded.unknown_dropped;
            // If no field was dropped, one copy serves all exporters.
            is_shared = encoded.unknown_dropped == 0;
            let holders = if is_shared && !self.internal.is_empty() {
                self.third_parties.iter().chain(self.internal.iter()).cloned().collect()
            } else {
                Arc::clone(&self.third_parties)
            };
            let label = self.label(batch, UnknownFields::Drop, items);
            product.copies.push(ForwardCopy::new(holders, encoded, &label));
        }
        if !self.internal.is_empty() && !is_shared {
            let encoded = batch.payload.encode(UnknownFields::Keep)?;
            let label = self.label(batch, UnknownFields::Keep, items);
            product.copies.push(ForwardCopy::new(Arc::clone(&self.internal), encoded, &label));
        }
        Ok(())
    }

    fn label(&self, batch: &Batch, unknown: UnknownFields, items: u64) -> ForwardLabel {
        ForwardLabel {
            signal: batch.payload.signal(),
            clearance: batch.clearance,
            unknown,
            items,
            pipeline: self.pipeline.as_ref().to_owned(),
            refused: None,
        }
    }
}

impl ForwardCopy {
    fn new(holders: HolderIds, encoded: otlp::EncodedRequest, label: &ForwardLabel) -> Self {
        let body = label.attach_to(encoded.bytes);
        Self { holders, body, slots: encoded.slots, signal: label.signal, items: label.items }
    }

    /// Fills the ticket's texts into the slots. Returns the number of slots for which there was no text of their width.
    pub fn fill_slots(&mut self, texts: &HashMap<otlp::SlotId, String>) -> u64 {
        let mut unfilled = 0;
        for slot in &self.slots {
            let bytes = self.body.get_mut(slot.range.clone());
            match (bytes, texts.get(&slot.slot)) {
                (Some(bytes), Some(text)) if bytes.len() == text.len() => bytes.copy_from_slice(text.as_bytes()),
                _ => unfilled += 1,
            }
        }
        unfilled
    }
}
