//! **What**: the processor that moves content into the vault. **Why**: prompts, completions and tool payloads leave
//! the telemetry entirely; a reference stays.
//! **Invariants**: pure; content is removed only together with a draft that holds it sealed (or with `store: none`);
//! if sealing fails the batch is kept back. **Not here**: numbers and names (`vault/`), what content is (`genai/`).

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;

use crate::clock::UnixNanos;
use crate::genai::{Facts, Vocabulary, adopt, agent_traces, facts_of, keep_facts};
use crate::otlp::Signal;
use crate::pipeline::{Batch, Content, Draft, Effect, Origin, Processor, Quarantine, Reason, Ticketer, Trust};
use crate::pseudonym::IdPolicy;
use crate::rng::Rng;
use crate::telemetry::{Counter, Gauge, Meter, names as metric};
use crate::vault::books::Writer;
use crate::vault::keys::{KeyRing, LIMIT};
use crate::vault::seal::Sealer;
use crate::vault::ticket::{UriBase, VaultDraft, VaultTicketer};

mod arrival;
mod build;
pub mod config;
mod gather;
mod late;
mod row;
mod shape;
mod stamp;
mod traces;

pub use build::{Built, Site, build};
pub use config::{Config, Leave, Settings, StoreSettings};

use gather::{Compressors, Keeper};
use traces::Traces;

#[cfg(test)]
mod tests;

/// What keeps content; without it content is dropped (`store: none`).
pub struct Store {
    /// Makes session keys.
    pub sealer: Arc<dyn Sealer>,
    /// Numbers objects and leaves.
    pub writer: Arc<Writer>,
    /// Start of references.
    pub uri: UriBase,
}

/// What the processor is made of.
pub struct Parts {
    /// Component id, e.g. `vault`; also the name under which the spool keeps its records.
    pub id: Arc<str>,
    /// The vocabulary.
    pub vocabulary: Arc<Vocabulary>,
    /// How ids may be shown.
    pub ids: Arc<dyn IdPolicy>,
    /// For fragment ids and salts.
    pub rng: Arc<dyn Rng>,
    /// Where content goes.
    pub store: Option<Store>,
    /// What stays in the telemetry.
    pub leave: Leave,
}

/// See the module.
pub struct VaultProcessor {
    id: Arc<str>,
    vocabulary: Arc<Vocabulary>,
    leave: Leave,
    keeper: Option<Keeper>,
    traces: Traces,
    metrics: Metrics,
}

struct Metrics {
    fragments: Counter,
    plain_bytes: Counter,
    dropped: Counter,
    references: Counter,
    traces: Gauge,
}

impl VaultProcessor {
    /// Makes the processor.
    pub fn new(parts: Parts, meter: &Meter) -> Self {
        let Parts { id, vocabulary, ids, rng, store, leave } = parts;
        let labels: &[(&'static str, &str)] = &[("processor", &id)];
        let metrics = Metrics {
            fragments: meter.counter(&metric::VAULT_FRAGMENTS, labels),
            plain_bytes: meter.counter(&metric::VAULT_CONTENT_BYTES, labels),
            dropped: meter.counter(&metric::VAULT_DROPPED_ITEMS, labels),
            references: meter.counter(&metric::VAULT_FORGED_REFERENCES, labels),
            traces: meter.gauge(&metric::VAULT_AGENT_TRACES, labels),
        };
        let slot_base = slot_base(&id);
        let keeper = store.map(|store| Keeper {
            ids,
            rng,
            keys: KeyRing::new(store.sealer, LIMIT),
            writer: store.writer,
            uri: store.uri,
            slot_base,
            zstd: Compressors::default(),
        });
        Self { id, vocabulary, leave, keeper, traces: Traces::default(), metrics }
    }

    /// The batch's facts, with items of traces that are known as an agent's; what is new about traces is an effect.
    fn facts(&self, batch: &mut Batch) -> Arc<Facts> {
        let mut facts = facts_of(&self.vocabulary, batch);
        let account = Arc::clone(&batch.origin.account);
        let known = |trace: &[u8]| self.traces.holds(&account, trace);
        if let Some(adopted) = adopt(&self.vocabulary, &batch.payload, &facts, known) {
            facts = Arc::new(adopted);
            keep_facts(batch, Arc::clone(&facts));
        }
        if facts.agent {
            let news = self.traces.effect(&account, &agent_traces(&batch.payload, &facts));
            batch.effects.extend(news.map(|body| Effect::new(self.id.clone(), body)));
        }
        facts
    }

    fn draft(&self, keeper: &Keeper, draft: VaultDraft) -> Draft {
        let bytes = draft.bytes(keeper.writer.names());
        self.metrics.fragments.increment(draft.groups.iter().filter(|group| group.fragment.is_some()).count() as u64);
        Draft { processor: self.id.clone(), bytes, body: Box::new(draft) as Box<dyn Any + Send> }
    }
}

/// Where a processor's slot numbers begin: two vaults of one request must not share slots.
fn slot_base(id: &str) -> u32 {
    match id.split_once('/') {
        None => 0,
        Some((_, name)) => {
            name.bytes().fold(0x811c_9dc5, |hash: u32, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
        }
    }
}

impl Processor for VaultProcessor {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        if batch.origin.trust == Trust::ThirdParty {
            self.metrics.references.increment(arrival::clean(&mut batch.payload));
        }
        let facts = self.facts(batch);
        match &self.keeper {
            None => self.metrics.dropped.increment(stamp::mark_dropped(&mut batch.payload, &facts)),
            Some(keeper) => {
                // nothing may go on unsealed: the client keeps it
                let kept = keeper.keep(&batch.origin, &batch.payload, &facts).map_err(|_| Reason::Lost)?;
                if let Some((draft, stamps)) = kept {
                    stamp::stamp(&mut batch.payload, &stamps);
                    self.metrics.plain_bytes.increment(stamps.iter().map(|stamp| stamp.bytes).sum());
                    batch.drafts.push(self.draft(keeper, draft));
                }
            }
        }
        match self.leave {
            Leave::Nothing => stamp::strip(&mut batch.payload, &facts),
            Leave::Redacted => stamp::strip_structure(&mut batch.payload, &facts),
        }
        batch.clearance.content = Content::Stripped;
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        self.traces.apply(&effect.body);
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        Some(self.traces.save())
    }

    fn restore(&self, checkpoint: &[u8]) {
        self.traces.apply(checkpoint);
    }

    fn tick(&self, now: UnixNanos) {
        self.metrics.traces.set(self.traces.len() as f64);
        if let Some(keeper) = &self.keeper {
            keeper.keys.sweep(now);
        }
    }

    fn ticketer(&self) -> Option<Box<dyn Ticketer>> {
        let keeper = self.keeper.as_ref()?;
        Some(Box::new(VaultTicketer::new(keeper.writer.clone(), keeper.uri.clone(), self.id.clone())))
    }

    fn quarantine(&self) -> Option<&dyn Quarantine> {
        self.keeper.as_ref().map(|_| self as &dyn Quarantine)
    }
}

impl Quarantine for VaultProcessor {
    fn seal(&self, origin: &Origin, signal: Signal, request: &Bytes, items: u64) -> Option<Draft> {
        let keeper = self.keeper.as_ref()?;
        let draft = keeper.quarantine(origin, signal, request, items).ok()?;
        Some(self.draft(keeper, draft))
    }
}
