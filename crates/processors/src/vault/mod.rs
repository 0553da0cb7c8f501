//! **What**: the processor that moves content into the vault. **Why**: prompts, completions and tool payloads leave
//! the telemetry entirely; a reference stays.
//! **Invariants**: pure; content is removed only together with a draft that holds it sealed (or with `store: none`);
//! if sealing fails the batch is kept back. **Not here**: numbers and names (`vault/`), what content is (`genai/`).

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

/// What keeps content; without it content is dropped (`store: none`).
pub struct Store {
    /// Makes session keys.
    pub sealer: Arc<dyn Sealer>,
    /// Numbers objects and leaves.
    pub writer: Arc<Writer>,
    /// Start of references.
    pub uri: UriBase,
    /// Exporters wait until keys and fragments are put.
    pub awaited: bool,
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
    /// What becomes of text of an agent's items whose key is on no list.
    pub unlisted: Unlisted,
    /// Services that are an agent's whatever they sent.
    pub agents: Declared,
    /// Which short texts under unlisted keys may leave.
    pub labels: LabelPolicy,
    /// How much leaves of names, error texts and log bodies.
    pub privacy: Privacy,
    /// For texts that repeat content.
    pub echoing: Echoing,
}

/// See the module.
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

/// First byte of a checkpoint: traces, services and labels, each behind its length (8 bytes, little-endian).
const CHECKPOINT: u8 = 4;
/// That of a version that knew no labels.
const WITHOUT_LABELS: u8 = 3;

/// What a batch adds to the memories, once it is committed; never stored.
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
    /// Makes the processor.
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

    /// The batch's facts, with items of traces and services that are known as an agent's, and what takes the place of
    /// texts outside attributes. What is new about traces, services and labels is an effect.
    fn facts(&self, batch: &mut Batch) -> (Arc<Facts>, Vec<Replaced>) {
        let mut facts = facts_of(&self.vocabulary, &batch.payload, &mut batch.facts);
        if !batch.drafts.is_empty() {
            // a vault before this one has moved most of what the facts call content
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

    /// The facts without what may leave and with what may not, if that changes them; and what takes the place of texts
    /// outside attributes. What was seen is an effect.
    fn labelled(&self, batch: &mut Batch, facts: &Facts) -> (Option<Facts>, Vec<Replaced>) {
        let origin = (&*batch.origin.account, batch.origin.received);
        let mut asking = self.labels.ask(&*self.ids, origin, (&batch.payload, facts));
        let mut changed = asking.attributes();
        let replaced = match (self.leave, self.privacy) {
            // whoever wants to read texts, redacted, wants to read names, too
            (Leave::Redacted, Privacy::Standard) => Vec::new(),
            _ => outside::judge(self.privacy, &self.vocabulary, &mut asking, &batch.payload, facts),
        };
        if !replaced.is_empty() {
            outside::add(changed.get_or_insert_with(|| Facts::clone(facts)), &replaced);
        }
        batch.effects.extend(asking.effect().map(|body| Effect::new(self.id.clone(), body)));
        (changed, replaced.into_iter().map(|(_, replaced)| replaced).collect())
    }

    /// What has to be done while the content is inside: finds texts that repeat it and who asked for a tool call. Gives
    /// the facts with the error texts that the vault keeps whole.
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
            // what stays, redacted, need not be hidden where it is quoted
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
        // references beside drafts are those of a vault before this one
        if batch.origin.trust == Trust::ThirdParty && batch.drafts.is_empty() {
            self.metrics.references.increment(arrival::clean(&mut batch.payload));
        }
        let (facts, replaced) = self.facts(batch);
        let kept = self.listen(batch, &facts);
        match &self.keeper {
            None => self.metrics.dropped.increment(stamp::mark_dropped(&mut batch.payload, &facts)),
            Some(keeper) => {
                // nothing may go on unsealed: the client keeps it
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
            // of a version without labels: behind the traces all that is left is services
            Some((&WITHOUT_LABELS, mut rest)) => {
                self.traces.apply(&part(&mut rest));
                self.services.apply(rest);
            }
            // of a version that knew traces alone
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
