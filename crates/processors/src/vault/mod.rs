//! The `vault` processor: moves content (prompts, completions, tool payloads) into the vault and leaves a reference in
//! the telemetry.
//!
//! Pure. Content is removed only together with a draft that holds it sealed (or with `store: none`); if sealing fails,
//! the batch is held back. Object numbers and names are assigned in the crate `vault`; `genai` decides what content is.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;

use echoes::Echoes;
use genai::{Facts, Known, Service, Unlisted, Vocabulary, adopt, agent_services, agent_traces, facts_of};
use kernel::clock::UnixNanos;
use kernel::pseudonym::IdPolicy;
use kernel::rng::Rng;
use otlp::{OwnedValue, Signal};
use pipeline::{Batch, Content, Draft, Effect, Origin, Processor, Quarantine, Reason, Ticketer, Trust};
use telemetry::{Counter, Gauge, Meter, names as metric};
use vault::books::Writer;
use vault::keys::{KeyRing, LIMIT};
use vault::seal::Sealer;
use vault::ticket::{UriBase, VaultDraft, VaultTicketer};

mod arrival;
mod bases;
mod build;
pub mod config;
mod content;
mod echo;
mod gather;
mod items;
mod labels;
mod late;
mod moved;
mod options;
mod outside;
mod requests;
mod row;
mod services;
mod shape;
mod stamp;
mod traces;
mod weigh;

pub use build::{Built, Site, build, processor};
pub use config::{Config, Leave, Settings, StoreSettings};
pub use echo::Echoing;
pub use labels::LabelPolicy;
pub use options::{Directory, Forward};
pub use outside::Privacy;
pub use services::Declared;

use bases::{Bases, Learnt as Told};
use echo::Remembered;
use gather::{Compressors, Keeper, Kept};
use labels::Labels;
use moved::Moved;
use outside::Replaced;
use requests::{Asked, Requests};
use services::Services;
use traces::Traces;

#[cfg(test)]
mod tests;

/// The store for content. Without one, content is dropped (`store: none`).
pub struct Store {
    /// Creates session keys and seals fragments.
    pub sealer: Arc<dyn Sealer>,
    /// Assigns objects and leaves.
    pub writer: Arc<Writer>,
    /// Base of the reference URIs.
    pub uri: UriBase,
    /// Exporters wait until keys and fragments are stored.
    pub awaited: bool,
}

/// The parts that the processor is built from.
pub struct Parts {
    /// Component id, e.g. `vault`. Also the name under which the spool keeps its records.
    pub id: Arc<str>,
    /// The dialects.
    pub vocabulary: Arc<Vocabulary>,
    /// Decides how ids may be shown.
    pub ids: Arc<dyn IdPolicy>,
    /// Randomness for fragment ids and salts.
    pub rng: Arc<dyn Rng>,
    /// The destination of content. `None`: content is dropped.
    pub store: Option<Store>,
    /// The content left in the telemetry.
    pub leave: Leave,
    /// Treatment of text on agent items under keys that no list names.
    pub unlisted: Unlisted,
    /// Services declared as agents' services.
    pub agents: Declared,
    /// Policy for short texts under unlisted keys.
    pub labels: LabelPolicy,
    /// Policy for names, error texts and log bodies.
    pub privacy: Privacy,
    /// Finds texts that repeat content.
    pub echoing: Echoing,
}

/// The `vault` processor.
pub struct VaultProcessor {
    id: Arc<str>,
    vocabulary: Arc<Vocabulary>,
    leave: Leave,
    unlisted: Unlisted,
    echoing: Echoing,
    requests: Requests,
    keeper: Option<Keeper>,
    traces: Traces,
    services: Services,
    ids: Arc<dyn IdPolicy>,
    labels: Labels,
    privacy: Privacy,
    moved: Moved,
    metrics: Metrics,
}

/// First byte of a checkpoint that holds traces, services and labels, each with its length in front (8 bytes,
/// little-endian).
const CHECKPOINT: u8 = 4;
/// First byte of a checkpoint from a version without labels.
const WITHOUT_LABELS: u8 = 3;

/// The additions of a batch to the in-memory caches, applied after the commit. Never written to disk.
struct Learnt {
    content: Remembered,
    asked: Asked,
}

struct Metrics {
    fragments: Counter,
    plain_bytes: Counter,
    dropped: Counter,
    references: Counter,
    traces: Gauge,
    services: Gauge,
    labels: Gauge,
    echo_bytes: Gauge,
    context_bytes: Gauge,
}

impl VaultProcessor {
    /// Creates the processor.
    pub fn new(parts: Parts, meter: &Meter) -> Self {
        let Parts { id, vocabulary, ids, rng, store, leave, unlisted, agents, labels: policy, privacy, echoing } =
            parts;
        let labels: &[(&'static str, &str)] = &[("processor", &id)];
        let metrics = Metrics {
            fragments: meter.counter(&metric::VAULT_FRAGMENTS, labels),
            plain_bytes: meter.counter(&metric::VAULT_CONTENT_BYTES, labels),
            dropped: meter.counter(&metric::VAULT_DROPPED_ITEMS, labels),
            references: meter.counter(&metric::VAULT_FORGED_REFERENCES, labels),
            traces: meter.gauge(&metric::VAULT_AGENT_TRACES, labels),
            services: meter.gauge(&metric::VAULT_AGENT_SERVICES, labels),
            labels: meter.gauge(&metric::VAULT_LABELS, labels),
            echo_bytes: meter.gauge(&metric::ECHO_MEMORY_BYTES, &[]),
            context_bytes: meter.gauge(&metric::VAULT_CONTEXT_BYTES, labels),
        };
        for profile in [Privacy::Standard, Privacy::Strict] {
            let labels: &[(&'static str, &str)] = &[("processor", &id), ("profile", profile.name())];
            meter.gauge(&metric::VAULT_PRIVACY, labels).set(u8::from(profile == privacy).into());
        }
        let slot_base = slot_base(&id);
        let keeper = store.map(|store| Keeper {
            ids: Arc::clone(&ids),
            rng,
            keys: KeyRing::new(store.sealer, LIMIT),
            writer: store.writer,
            uri: store.uri,
            awaited: store.awaited,
            slot_base,
            zstd: Compressors::default(),
            bases: Bases::default(),
        });
        Self {
            moved: Moved::new(Arc::clone(&id), meter),
            id,
            vocabulary,
            leave,
            unlisted,
            echoing,
            requests: Requests::default(),
            keeper,
            traces: Traces::default(),
            services: Services::new(agents, services::LIMIT),
            ids,
            labels: Labels::new(policy, labels::LIMITS),
            privacy,
            metrics,
        }
    }

    /// The batch's facts, including items adopted because their trace or service is known as an agent's, and the
    /// replacements for texts outside attributes. New knowledge about traces, services and labels is added as effects.
    fn facts(&self, batch: &mut Batch) -> (Arc<Facts>, Vec<Replaced>) {
        let mut facts = facts_of(&self.vocabulary, &batch.payload, &mut batch.facts);
        if !batch.drafts.is_empty() {
            // A previous vault step has already moved most of what the facts list as content.
            let mut left = Facts::clone(&facts);
            for item in &mut left.items {
                let operation = item.operation.as_deref();
                item.content.retain(|place| content::is_left(&batch.payload, place, operation));
            }
            facts = Arc::new(left);
        }
        let account = Arc::clone(&batch.origin.account);
        let now = batch.origin.received;
        let known = Known {
            trace: &|trace: &[u8]| self.traces.holds(&account, trace),
            service: &|service: Option<&Service<'_>>| self.services.holds(&account, service, now),
        };
        if let Some(adopted) = adopt(&self.vocabulary, &batch.payload, &facts, self.unlisted, &known) {
            facts = Arc::new(adopted);
            batch.facts = Some(Arc::<Facts>::clone(&facts));
        }
        let (changed, replaced) = match batch.payload.signal() {
            Signal::Metrics => (None, Vec::new()),
            _ => self.labelled(batch, &facts),
        };
        if let Some(changed) = changed {
            facts = Arc::new(changed);
            batch.facts = Some(Arc::<Facts>::clone(&facts));
        }
        if facts.agent {
            let traces = self.traces.effect(&account, &agent_traces(&batch.payload, &facts));
            let services = self.services.effect(&account, &agent_services(&batch.payload, &facts), now);
            let news = traces.into_iter().chain(services);
            batch.effects.extend(news.map(|body| Effect::new(self.id.clone(), body)));
        }
        (facts, replaced)
    }

    /// Applies the label and privacy policies. Returns changed facts (`None` if nothing changes) and the replacements
    /// for texts outside attributes. Newly seen texts are added as an effect.
    fn labelled(&self, batch: &mut Batch, facts: &Facts) -> (Option<Facts>, Vec<Replaced>) {
        let origin = (&*batch.origin.account, batch.origin.received);
        let mut asking = self.labels.ask(&*self.ids, origin, (&batch.payload, facts));
        let mut changed = asking.attributes();
        let replaced = match (self.leave, self.privacy) {
            // With `leave: redacted` the user wants to read redacted texts, so names stay too.
            (Leave::Redacted, Privacy::Standard) => Vec::new(),
            _ => outside::judge(self.privacy, &self.vocabulary, &mut asking, &batch.payload, facts),
        };
        if !replaced.is_empty() {
            outside::add(changed.get_or_insert_with(|| Facts::clone(facts)), &replaced);
        }
        batch.effects.extend(asking.effect().map(|body| Effect::new(self.id.clone(), body)));
        (changed, replaced.into_iter().map(|(_, replaced)| replaced).collect())
    }

    /// Does the work that needs the content before it is removed: finds texts that repeat it, and links tool calls to
    /// the model calls that requested them. Returns the facts, with error texts that the vault keeps in full.
    fn listen(&self, batch: &mut Batch, facts: &Arc<Facts>) -> Arc<Facts> {
        if batch.payload.signal() == Signal::Metrics {
            return Arc::clone(facts);
        }
        let (asked, answers) = self.requests.of(&batch.origin.account, &batch.payload, facts);
        for (tool, by) in answers {
            batch.payload.set(tool, requests::REQUESTED_BY, OwnedValue::Str(kernel::hex::encode(&by)));
        }
        let heard = match self.leave {
            Leave::Nothing => self.echoing.hear(&batch.origin.account, &batch.payload, facts, &self.vocabulary),
            // Content that stays, redacted, need not be hidden where it is quoted.
            Leave::Redacted => self.echoing.hear_nothing(&batch.payload, facts),
        };
        if !heard.echoes.is_empty() {
            batch.echoes = Some(Arc::new(heard.echoes));
        }
        let learnt = Learnt { content: heard.remembered, asked };
        if !(learnt.content.is_empty() && learnt.asked.is_empty()) {
            let aside: Arc<dyn Any + Send + Sync> = Arc::new(learnt);
            batch.effects.push(Effect { aside: Some(aside), ..Effect::new(self.id.clone(), Vec::new()) });
        }
        if heard.cut.is_empty() {
            return Arc::clone(facts);
        }
        let mut facts = Facts::clone(facts);
        for (at, place) in heard.cut {
            if let Some(item) = facts.items.get_mut(at) {
                item.content.push(place);
            }
        }
        Arc::new(facts)
    }

    fn draft(&self, keeper: &Keeper, draft: VaultDraft) -> Draft {
        let bytes = draft.bytes(keeper.writer.names());
        self.metrics.fragments.increment(draft.groups.iter().filter(|group| group.fragment.is_some()).count() as u64);
        Draft { processor: self.id.clone(), bytes, body: Box::new(draft) as Box<dyn Any + Send> }
    }
}

/// The first slot number of a processor. Two vault steps in one request must not share slots.
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
        // Next to drafts, references come from a previous vault step, not from the client.
        if batch.origin.trust == Trust::ThirdParty && batch.drafts.is_empty() {
            self.metrics.references.increment(arrival::clean(&mut batch.payload));
        }
        let (facts, replaced) = self.facts(batch);
        let kept = self.listen(batch, &facts);
        match &self.keeper {
            None => self.metrics.dropped.increment(stamp::mark_dropped(&mut batch.payload, &facts)),
            Some(keeper) => {
                // If sealing fails, the batch is rejected, so that nothing is forwarded unsealed and the client
                // retries.
                let echoes = batch.echoes.clone().and_then(|echoes| echoes.downcast::<Echoes>().ok());
                let kept = keeper.keep(&batch.origin, &batch.payload, &kept, echoes.as_deref());
                let kept = kept.map_err(|_| Reason::Lost)?;
                if let Some(Kept { draft, stamps, learnt }) = kept {
                    if !learnt.is_empty() {
                        let aside: Arc<dyn Any + Send + Sync> = Arc::new(learnt);
                        batch.effects.push(Effect { aside: Some(aside), ..Effect::new(self.id.clone(), Vec::new()) });
                    }
                    stamp::stamp(&mut batch.payload, &stamps);
                    self.metrics.plain_bytes.increment(stamps.iter().map(|stamp| stamp.bytes).sum());
                    batch.drafts.push(self.draft(keeper, draft));
                }
            }
        }
        match self.leave {
            Leave::Nothing => {
                self.moved.count(&batch.origin.account, &batch.payload, &facts, &replaced, self.labels.policy());
                stamp::strip(&mut batch.payload, &facts);
            }
            Leave::Redacted => stamp::strip_structure(&mut batch.payload, &facts),
        }
        outside::replace(&mut batch.payload, replaced);
        batch.clearance.content = Content::Stripped;
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        self.traces.apply(&effect.body);
        self.services.apply(&effect.body);
        self.labels.apply(&effect.body);
        let Some(aside) = &effect.aside else { return };
        if let (Some(told), Some(keeper)) = (aside.downcast_ref::<Vec<Told>>(), &self.keeper) {
            told.iter().for_each(|told| keeper.bases.remember(told));
        }
        let Some(learnt) = aside.downcast_ref::<Learnt>() else { return };
        for said in &learnt.content {
            said.keys.iter().flatten().for_each(|key| self.echoing.memory.remember(*key, &said.prints));
        }
        self.requests.remember(&learnt.asked);
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        let mut out = vec![CHECKPOINT];
        for part in [self.traces.save(), self.services.save(), self.labels.save()] {
            out.extend_from_slice(&(part.len() as u64).to_le_bytes());
            out.extend_from_slice(&part);
        }
        Some(out)
    }

    fn restore(&self, checkpoint: &[u8]) {
        let part = |from: &mut &[u8]| -> Vec<u8> {
            let Some((len, rest)) = from.split_first_chunk::<8>() else { return Vec::new() };
            let len = usize::try_from(u64::from_le_bytes(*len)).unwrap_or(usize::MAX).min(rest.len());
            let (part, rest) = rest.split_at(len);
            *from = rest;
            part.to_vec()
        };
        match checkpoint.split_first() {
            Some((&CHECKPOINT, mut rest)) => {
                self.traces.apply(&part(&mut rest));
                self.services.apply(&part(&mut rest));
                self.labels.apply(&part(&mut rest));
            }
            // Checkpoint of a version without labels: services take up the rest after the traces.
            Some((&WITHOUT_LABELS, mut rest)) => {
                self.traces.apply(&part(&mut rest));
                self.services.apply(rest);
            }
            // Checkpoint of a version that only knew traces.
            _ => self.traces.apply(checkpoint),
        }
    }

    fn tick(&self, now: UnixNanos) {
        self.metrics.traces.set(self.traces.len() as f64);
        self.metrics.services.set(self.services.len() as f64);
        self.metrics.labels.set(self.labels.len() as f64);
        self.metrics.echo_bytes.set(self.echoing.memory.bytes() as f64);
        if let Some(keeper) = &self.keeper {
            keeper.keys.sweep(now);
            keeper.bases.sweep(&keeper.writer);
            self.metrics.context_bytes.set(keeper.bases.size().1 as f64);
        }
    }

    fn ticketer(&self) -> Option<Box<dyn Ticketer>> {
        let keeper = self.keeper.as_ref()?;
        let ticketer = VaultTicketer::new(keeper.writer.clone(), keeper.uri.clone(), self.id.clone());
        Some(Box::new(if keeper.awaited { ticketer.awaited() } else { ticketer }))
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
