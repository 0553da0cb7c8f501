//! The `vault` processor: moves content (prompts, completions, tool payloads) into the vault and leaves a reference in
//! the telemetry.
//!
//! Content is removed only together with a draft that holds it sealed (or with `store: none`); if sealing fails, the
//! client must retry the batch. Knowledge from a batch is added after its commit, as effects. Object numbers and names
//! are assigned in the crate `vault`; `genai` decides what content is.

use std::any::Any;
use std::sync::Arc;

use bytes::Bytes;

use echoes::EchoReplacements;
use genai::{ContentBasis, ContentLocation, Facts, Vocabulary, cached_facts};
use kernel::bounded_map::AccountHash;
use kernel::clock::UnixNanos;
use kernel::compression::CompressorPool;
use kernel::pseudonym::IdPolicy;
use kernel::rng::Rng;
use otlp::{NodeId, OwnedValue, Payload, Signal};
use pipeline::{Batch, BatchOrigin, ContentState, Effect, Processor, Reason, RecordDraft, Ticketer, Trust};
use telemetry::{Counter, Gauge, Meter, names as metric};
use vault::key_ring::{KeyRing, MAX_KEYS};
use vault::seal::{SealFailed, SessionKeyGenerator};
use vault::ticket::{VaultDraft, VaultTicketer};
use vault::vault_writer::VaultWriter;

/// The methods of a serde visitor of JSON for which numbers, booleans and nulls are `$value`.
macro_rules! visit_scalars_as {
    ($value:expr) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok($value)
        }
        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok($value)
        }
    };
}

mod build;
mod client_references;
pub mod config;
mod content;
mod context_bases;
mod earlier_agents;
mod echo;
mod input_shares;
mod item_texts;
mod moved_values;
mod options;
mod recipients;
mod row;
mod sealing;
mod session_items;
mod shape;
mod stamp;
mod tool_requests;
mod undeclared_agents;

pub use build::{build, build_processor};
pub use config::{LeftContent, VaultConfig, VaultSettings};
pub use earlier_agents::EarlierAgents;
pub use echo::EchoFinder;
pub use item_texts::PrivacyProfile;
pub use options::ForwardPolicy;
pub use recipients::{RecipientConfig, RecipientsConfig};

use crate::removed_texts::RemovedTexts;
use context_bases::{ContextBases, LearnedContexts};
use echo::{RememberedPrints, SessionPrints};
use item_texts::TextReplacement;
use moved_values::MovedValueCounters;
use sealing::{ContentSealer, SealedBatch};
use tool_requests::{RequestedToolCalls, ToolCallRequests};
use undeclared_agents::UndeclaredAgents;

#[cfg(test)]
mod tests;

/// The store for content. Without one, content is dropped (`store: none`).
pub struct ContentStore {
    /// Creates session keys and seals fragments.
    pub sealer: Arc<dyn SessionKeyGenerator>,
    /// Assigns objects and leaves.
    pub writer: Arc<VaultWriter>,
    /// The part of references before objects' names.
    pub uri: Arc<str>,
    /// The address of the sessions' pages, for links.
    pub content_url: Option<Arc<str>>,
    /// Exporters wait until keys and fragments are stored.
    pub forward_after_put: bool,
}

pub struct VaultProcessorParts {
    /// Component id, e.g. `vault`. Also the name under which the spool keeps its records.
    pub id: Arc<str>,
    pub vocabulary: Arc<Vocabulary>,
    /// Decides how ids may be shown.
    pub ids: Arc<dyn IdPolicy>,
    /// Randomness for fragment ids and salts.
    pub rng: Arc<dyn Rng>,
    /// The destination of content. `None`: content is dropped.
    pub store: Option<ContentStore>,
    /// The content left in the telemetry.
    pub leave: LeftContent,
    /// Policy for names, error texts and log bodies.
    pub privacy: PrivacyProfile,
    /// Finds texts that repeat content.
    pub echo_finder: EchoFinder,
}

pub struct VaultProcessor {
    id: Arc<str>,
    vocabulary: Arc<Vocabulary>,
    leave: LeftContent,
    echo_finder: EchoFinder,
    tool_requests: ToolCallRequests,
    sealer: Option<ContentSealer>,
    privacy: PrivacyProfile,
    moved_values: MovedValueCounters,
    earlier_agents: Option<Arc<EarlierAgents>>,
    undeclared_agents: UndeclaredAgents,
    metrics: VaultMetrics,
}

/// zstd's level for documents: they are compressed before the client is answered.
const COMPRESSION_LEVEL: i32 = 1;

/// The additions of a batch to the in-memory caches, applied after the commit. Never written to disk.
struct CacheAdditions {
    account: AccountHash,
    prints: RememberedPrints,
    tool_requests: RequestedToolCalls,
}

struct VaultMetrics {
    fragments: Counter,
    plain_bytes: Counter,
    dropped: Counter,
    references: Counter,
    echo_bytes: Gauge,
    context_bytes: Gauge,
}

impl VaultProcessor {
    pub fn new(parts: VaultProcessorParts, meter: &Meter) -> Self {
        let VaultProcessorParts { id, ids, privacy, .. } = parts;
        let labels: &[(&'static str, &str)] = &[("processor", &id)];
        let metrics = VaultMetrics {
            fragments: meter.counter(&metric::VAULT_FRAGMENTS, labels),
            plain_bytes: meter.counter(&metric::VAULT_CONTENT_BYTES, labels),
            dropped: meter.counter(&metric::VAULT_DROPPED_ITEMS, labels),
            references: meter.counter(&metric::VAULT_FORGED_REFERENCES, labels),
            echo_bytes: meter.gauge(&metric::ECHO_MEMORY_BYTES, &[]),
            context_bytes: meter.gauge(&metric::VAULT_CONTEXT_BYTES, labels),
        };
        for profile in [PrivacyProfile::Standard, PrivacyProfile::Strict] {
            let labels: &[(&'static str, &str)] = &[("processor", &id), ("profile", profile.name())];
            meter.gauge(&metric::VAULT_PRIVACY, labels).set(u8::from(profile == privacy).into());
        }
        let slot_base = first_slot(&id);
        let sealer = parts.store.map(|store| ContentSealer {
            ids: Arc::clone(&ids),
            rng: parts.rng,
            keys: KeyRing::new(store.sealer, MAX_KEYS),
            writer: store.writer,
            uri: store.uri,
            content_url: store.content_url,
            forward_after_put: store.forward_after_put,
            slot_base,
            zstd: CompressorPool::new(COMPRESSION_LEVEL),
            bases: ContextBases::default(),
        });
        let earlier = parts.vocabulary.closed_items().earlier_agents.clone();
        Self {
            earlier_agents: earlier.and_then(|earlier| (earlier as Arc<dyn Any + Send + Sync>).downcast().ok()),
            undeclared_agents: UndeclaredAgents::new(Arc::clone(&id), Arc::clone(&ids), meter),
            moved_values: MovedValueCounters::new(Arc::clone(&id), ids, meter),
            id,
            vocabulary: parts.vocabulary,
            leave: parts.leave,
            echo_finder: parts.echo_finder,
            tool_requests: ToolCallRequests::default(),
            sealer,
            privacy,
            metrics,
        }
    }

    /// The batch's facts with the replacements for texts outside attributes, whose places are added to the content.
    fn batch_facts(&self, batch: &mut Batch) -> (Arc<Facts>, Vec<TextReplacement>) {
        let mut facts = cached_facts(&self.vocabulary, &batch.origin.account, &batch.payload, &mut batch.facts);
        if !batch.drafts.is_empty() {
            // A previous vault step has already moved most of the content that the facts list.
            let mut remaining = Facts::clone(&facts);
            for item in &mut remaining.items {
                let operation = item.operation.as_deref();
                item.content.retain(|place| content::is_still_content(&batch.payload, place, operation));
            }
            facts = Arc::new(remaining);
        }
        let replacements = match (self.leave, self.privacy) {
            // With `leave: redacted` the user wants to read redacted texts, so names stay too.
            (LeftContent::Redacted, PrivacyProfile::Standard) => Vec::new(),
            _ => item_texts::judge_texts(self.privacy, &self.vocabulary, &batch.payload, &facts),
        };
        if !replacements.is_empty() {
            let mut changed = Facts::clone(&facts);
            item_texts::add_to_content(&mut changed, &replacements);
            facts = Arc::new(changed);
            batch.facts = Some(Arc::<Facts>::clone(&facts));
        }
        (facts, replacements.into_iter().map(|(_, replacement)| replacement).collect())
    }

    /// Does the work that needs the content before it is removed: finds texts that repeat it, and links tool calls to
    /// the model calls that requested them. Returns the facts, whose content includes values that the vault keeps in
    /// full because redaction cuts them.
    fn find_echoes_and_requests(&self, batch: &mut Batch, facts: &Arc<Facts>) -> Arc<Facts> {
        let (requests, links) = self.tool_requests.link_batch(&batch.origin.account, &batch.payload, facts);
        for (tool, requester) in links {
            let span = OwnedValue::Str(kernel::hex::encode(&requester));
            batch.payload.set(tool, tool_requests::REQUESTED_BY_ATTRIBUTE, span);
        }
        let (echoes, prints, values) = match self.leave {
            LeftContent::Nothing => {
                let account = &batch.origin.account;
                let (echoes, prints) = self.echo_finder.find_echoes(account, &batch.payload, facts, &self.vocabulary);
                (echoes, prints, short_unlisted_values(&batch.payload, facts))
            }
            // Content that stays (redacted) need not be hidden where it is quoted.
            LeftContent::Redacted => (EchoReplacements::default(), Vec::new(), Vec::new()),
        };
        let cut_values = self.echo_finder.find_cut_values(&batch.payload, facts, &echoes);
        if !(echoes.is_empty() && values.is_empty()) {
            batch.echoes = Some(Arc::new(RemovedTexts { echoes, values }));
        }
        let account = AccountHash::from(&*batch.origin.account);
        let additions = CacheAdditions { account, prints, tool_requests: requests };
        if !(additions.prints.is_empty() && additions.tool_requests.is_empty()) {
            batch.effects.push(self.unstored_effect(additions));
        }
        if cut_values.is_empty() {
            return Arc::clone(facts);
        }
        let mut facts = Facts::clone(facts);
        for (index, place) in cut_values {
            if let Some(item) = facts.items.get_mut(index) {
                item.content.push(place);
            }
        }
        Arc::new(facts)
    }

    /// An effect that is applied after the commit but never stored.
    fn unstored_effect(&self, additions: impl Any + Send + Sync) -> Effect {
        let additions: Arc<dyn Any + Send + Sync> = Arc::new(additions);
        Effect { unstored: Some(additions), ..Effect::new(self.id.clone(), Vec::new()) }
    }

    fn to_record_draft(&self, sealer: &ContentSealer, draft: VaultDraft) -> RecordDraft {
        let bytes = draft.max_bytes(sealer.writer.names());
        self.metrics.fragments.increment(draft.groups.iter().filter(|group| group.fragment.is_some()).count() as u64);
        RecordDraft { processor: self.id.clone(), bytes, body: Box::new(draft) as Box<dyn Any + Send> }
    }
}

/// Maximum size of a removed value in which redaction looks for names, bytes.
const MAX_NAMED_BYTES: usize = 128;

/// Maximum number of such values in a batch: each is searched, and searched for.
const MAX_NAMED_VALUES: usize = 256;

/// The short texts that go to the vault although no list names their keys, with node and key.
fn short_unlisted_values(payload: &Payload, facts: &Facts) -> Vec<(NodeId, Box<str>, Box<str>)> {
    let places = facts.items.iter().flat_map(|item| &item.content);
    let unlisted = places.filter(|place| !matches!(place.basis, ContentBasis::Listed | ContentBasis::Key));
    let values = unlisted.filter_map(|place| {
        let ContentLocation::Attribute(id) = place.at else { return None };
        let attribute = payload.attribute(id)?;
        let text = attribute.value.as_str().filter(|text| text.len() <= MAX_NAMED_BYTES)?;
        Some((place.node, attribute.key.into(), text.into()))
    });
    values.take(MAX_NAMED_VALUES).collect()
}

/// The first slot number of a processor. Two vault steps in one request must not share slots.
fn first_slot(id: &str) -> u32 {
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
        // If a previous vault step left drafts, the references are its own, not the client's.
        if batch.origin.trust == Trust::ThirdParty && batch.drafts.is_empty() {
            self.metrics.references.increment(client_references::clean_references(&mut batch.payload));
        }
        if batch.payload.signal() == Signal::Metrics {
            // Content on metrics is not stored; the `redact` step drops it.
            batch.clearance.content = ContentState::Stripped;
            return Ok(());
        }
        let (facts, replacements) = self.batch_facts(batch);
        self.undeclared_agents.observe(&batch.origin.account, &batch.payload, &facts);
        let facts_to_seal = self.find_echoes_and_requests(batch, &facts);
        match &self.sealer {
            None => self.metrics.dropped.increment(stamp::mark_dropped(&mut batch.payload, &facts)),
            Some(sealer) => {
                let removed = RemovedTexts::of_batch(batch);
                // If sealing fails, the batch is rejected, so that nothing is forwarded unsealed and the client
                // retries.
                let sealed = sealer
                    .seal_batch(
                        &batch.origin,
                        &batch.payload,
                        &facts_to_seal,
                        removed.as_deref().map(|removed| &removed.echoes),
                    )
                    .map_err(|failed| match failed {
                        SealFailed::NoRecipient => Reason::NoRecipient,
                        SealFailed::Internal => Reason::Lost,
                    })?;
                if let Some(SealedBatch { draft, stamps, contexts }) = sealed {
                    if !contexts.is_empty() {
                        batch.effects.push(self.unstored_effect(contexts));
                    }
                    stamp::write_references(&mut batch.payload, &stamps);
                    self.metrics.plain_bytes.increment(stamps.iter().map(|stamp| stamp.bytes).sum());
                    batch.drafts.push(self.to_record_draft(sealer, draft));
                }
            }
        }
        match self.leave {
            LeftContent::Nothing => {
                let account = &batch.origin.account;
                self.moved_values.count(account, &batch.payload, &facts, &replacements, self.vocabulary.closed_items());
                stamp::strip_content(&mut batch.payload, &facts);
            }
            LeftContent::Redacted => stamp::strip_structure(&mut batch.payload, &facts),
        }
        item_texts::write_replacements(&mut batch.payload, replacements);
        batch.clearance.content = ContentState::Stripped;
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        if let Some(earlier) = &self.earlier_agents {
            earlier.apply(&effect.body);
        }
        let Some(unstored) = &effect.unstored else { return };
        if let (Some(contexts), Some(sealer)) = (unstored.downcast_ref::<Vec<LearnedContexts>>(), &self.sealer) {
            contexts.iter().for_each(|learned| sealer.bases.remember(learned));
        }
        let Some(additions) = unstored.downcast_ref::<CacheAdditions>() else { return };
        for SessionPrints { keys, prints } in &additions.prints {
            keys.iter().flatten().for_each(|key| self.echo_finder.memory.add_session_content(*key, prints));
        }
        self.tool_requests.remember(additions.account, &additions.tool_requests);
    }

    fn save(&self, checkpoint: &mut Vec<u8>) {
        self.earlier_agents.iter().for_each(|agents| agents.save(checkpoint));
    }

    fn restore(&self, checkpoint: &[u8]) -> bool {
        self.earlier_agents.as_ref().is_none_or(|earlier| earlier.restore(checkpoint))
    }

    fn tick(&self, now: UnixNanos) {
        if let Some(earlier) = &self.earlier_agents {
            self.undeclared_agents.observe_earlier(earlier);
        }
        self.metrics.echo_bytes.set(self.echo_finder.memory.bytes() as f64);
        if let Some(sealer) = &self.sealer {
            sealer.keys.drop_stale(now);
            sealer.bases.remove_closed(&sealer.writer);
            self.metrics.context_bytes.set(sealer.bases.size().1 as f64);
        }
    }

    fn ticketer(&self) -> Option<Box<Ticketer>> {
        let sealer = self.sealer.as_ref()?;
        let ticketer = VaultTicketer::new(sealer.writer.clone(), sealer.uri.clone(), self.id.clone());
        let mut ticketer = if sealer.forward_after_put { ticketer.with_put_holder() } else { ticketer };
        Some(Box::new(move |draft| ticketer.ticket(draft)))
    }

    fn seals_quarantine(&self) -> bool {
        self.sealer.is_some()
    }

    fn quarantine(&self, origin: &BatchOrigin, signal: Signal, request: &Bytes, items: u64) -> Option<RecordDraft> {
        let sealer = self.sealer.as_ref()?;
        let draft = sealer.seal_quarantined(origin, signal, request, items).ok()?;
        Some(self.to_record_draft(sealer, draft))
    }
}
