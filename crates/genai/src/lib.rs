//! The GenAI vocabulary. [`Vocabulary`] holds the attribute names of every instrumentation dialect as data;
//! [`read_facts`] reads one payload with it, so that normalize, cost, runs and vault agree on what an item is.
//!
//! This crate only reads payloads, it never edits them. A new dialect is a change of `config/dialects.yaml`, not of
//! code. Prices live in the crate `rates`; `processors/vault` strips content.

mod address;
mod announcements;
mod attribute_types;
mod caller_supplied;
mod chat_evidence;
mod claims;
mod closed_items;
mod content;
mod detect;
mod error_texts;
pub mod facts;
mod item_facts;
mod item_reader;
mod json_body;
mod key_shapes;
mod keys;
mod label_shape;
mod nested_content;
mod opaque;
mod owners;
mod pattern;
mod provider_names;
mod request_facts;
mod required_attributes;
mod schema;
mod sources;
mod statements;
pub mod structured_text;
pub mod usage;
mod usage_words;
mod value_paths;
mod vaulted_texts;
mod vocabulary;
mod words;
mod wrapped_lines;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::sync::Arc;

use otlp::Payload;

use content::{ContentFinder, SharedNodes};
use item_reader::ItemReader;
use request_facts::ItemWithDialect;

pub use address::{is_plain_name, is_route};
pub use claims::{CLAIMED_PREFIX, OwnerKey, VERIFIED_IDS};
pub use closed_items::{
    ClosedItemPolicy, DeclaredAgents, EarlierAgentServices, ServiceIdentity, StatementPolicy, UnlistedTextPolicy,
};
pub use detect::DialectReason;
pub use facts::{
    BillingBasis, BillingStatus, CallCost, CallTokenBuckets, ContentBasis, ContentLocation, ContentPart, ContentPlace,
    CostCorrection, EmbeddedContent, EmbeddedContentEdit, EmbeddedContentPart, Facts, ItemFacts, ItemRole, LatePrice,
    PriceContext, TokenUsage,
};
pub use item_facts::response_id_kind;
pub use item_reader::bounded_id;
pub use keys::KeyRole;
pub use opaque::is_number;
pub use owners::{KnownOwner, Owner, RunAddress, adopt_owners};
pub use required_attributes::missing_required_attributes;
pub use vaulted_texts::VaultedTexts;
pub use vocabulary::{Vocabulary, VocabularyError};
pub use words::{fits_words, is_identifier, is_name, split_words};

/// Reads the facts of a payload of no particular account, in time linear in the payload's size.
pub fn read_facts(vocabulary: &Vocabulary, payload: &Payload) -> Facts {
    read_account_facts(vocabulary, "", payload)
}

fn read_account_facts(vocabulary: &Vocabulary, account: &str, payload: &Payload) -> Facts {
    let mut reader = ItemReader::new(vocabulary, account, payload);
    let finder = ContentFinder::new(vocabulary, payload);
    let mut shared = SharedNodes::default();
    let mut entries = Vec::with_capacity(payload.item_count());
    for (at, node) in payload.items().enumerate() {
        reader.enter_item(node);
        let choice = item_facts::choose_dialect(&reader);
        let dialect = choice.as_ref().map(|choice| choice.dialect);
        let mut facts = item_facts::read_item(&reader, node, choice);
        let tool = dialect.is_some_and(|dialect| item_facts::is_tool(&reader, &facts, dialect));
        finder.find_in_item(&mut reader, dialect, tool, &mut facts);
        shared.register_item(&reader, at, &facts);
        entries.push(ItemWithDialect { facts, dialect });
    }
    request_facts::settle_request_facts(payload, &mut entries);
    let mut items: Vec<ItemFacts> = entries.into_iter().map(|entry| entry.facts).collect();
    finder.find_in_shared_nodes(&mut reader, shared, &mut items);
    let has_agent_items = items.iter().any(|item| item.agent);
    Facts { items, has_agent_items, late_prices: Vec::new() }
}

/// Explains for each item of a payload why its dialect was chosen. For diagnostics only; [`read_facts`] does not use
/// it.
pub fn explain_dialects(vocabulary: &Vocabulary, payload: &Payload) -> Vec<DialectReason> {
    let mut reader = ItemReader::new(vocabulary, "", payload);
    let reasons = payload.items().map(|node| {
        reader.enter_item(node);
        detect::explain_dialect(&reader, item_facts::choose_dialect(&reader).map(|choice| choice.dialect))
    });
    reasons.collect()
}

/// The facts of a batch, cached beside its payload for the next step. Type-erased, because the engine carries the cache
/// without knowing this crate.
pub type CachedFacts = Option<Arc<dyn Any + Send + Sync>>;

/// The facts that an earlier step read; `None` if no step did.
pub fn known_facts(cache: &CachedFacts) -> Option<Arc<Facts>> {
    cache.clone()?.downcast::<Facts>().ok()
}

/// Returns the facts cached in `cache`; on the first call, reads the account's payload and fills the cache.
pub fn cached_facts(vocabulary: &Vocabulary, account: &str, payload: &Payload, cache: &mut CachedFacts) -> Arc<Facts> {
    if let Some(facts) = known_facts(cache) {
        return facts;
    }
    let facts = Arc::new(read_account_facts(vocabulary, account, payload));
    *cache = Some(Arc::<Facts>::clone(&facts));
    facts
}
