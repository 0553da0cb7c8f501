//! The GenAI vocabulary. [`Vocabulary`] holds the attribute names of every instrumentation dialect as data; [`facts()`]
//! reads one payload with it, so that normalize, cost, runs and vault agree on what an item is.
//!
//! This crate only reads payloads, it never edits them. A new dialect is a change of `config/dialects.yaml`, not of
//! code. Prices live in the crate `rates`; content is stripped in `processors/vault`.

mod address;
mod adopt;
mod announced;
mod cache;
mod calls;
mod content;
mod detect;
pub mod facts;
mod inside;
mod item;
mod json_body;
mod keys;
mod layers;
mod messages;
mod named;
mod nested;
mod opaque;
mod pattern;
mod quoted;
mod read;
mod required;
mod schema;
mod shape;
mod sources;
pub mod texts;
mod typed;
pub mod usage;
mod vaulted;
mod vocabulary;
mod wrapped;

#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::sync::Arc;

use otlp::{Payload, Signal};

use calls::Entry;
use content::{Finder, Found, Shared};
use item::Reader;

pub use address::{is_route, words};
pub use adopt::{Known, Service, adopt, agent_services, agent_traces};
pub use content::Unlisted;
pub use facts::{
    Basis, Billing, Buckets, Call, ContentAt, ContentPlace, Cost, Facts, Inside, InsideEdit, InsidePart, ItemFacts,
    LatePrice, Part, PriceContext, Usage,
};
pub use item::carried_id;
pub use keys::Role;
pub use layers::{Counts, stem};
pub use opaque::is_number;
pub use read::id_kind;
pub use required::missing;
pub use shape::is_short_name;
pub use vaulted::Vaulted;
pub use vocabulary::{Fact, Vocabulary, VocabularyError};

/// Reads the facts of a payload, in time linear in the payload's size.
pub fn facts(vocabulary: &Vocabulary, payload: &Payload) -> Facts {
    let mut reader = Reader::new(vocabulary, payload);
    let finder = Finder::new(vocabulary, payload, Unlisted::Text);
    let mut entries = Vec::with_capacity(payload.item_count());
    for node in payload.items() {
        reader.enter(node);
        let dialect = detect::dialect(&reader).and_then(|at| vocabulary.dialects.get(at));
        let mut facts = read::item(&reader, node, dialect);
        if let Some(dialect) = dialect.filter(|_| payload.signal() != Signal::Metrics) {
            let tool = read::is_tool(&reader, &facts, dialect);
            finder.item(&mut reader, node, Some(dialect), (true, tool)).give(&mut facts, false);
        }
        entries.push(Entry { facts, dialect });
    }
    calls::settle(payload, &mut entries);
    if payload.signal() != Signal::Metrics {
        rest(&mut reader, &finder, &mut entries);
    }
    let agent = entries.iter().any(|entry| entry.facts.agent);
    Facts { items: entries.into_iter().map(|entry| entry.facts).collect(), agent, late: Vec::new() }
}

/// Finds content in items without a dialect, and in resources and scopes.
fn rest<'v, 'p>(reader: &mut Reader<'v, 'p>, finder: &Finder<'v, 'p>, entries: &mut [Entry<'v>]) {
    let payload = reader.payload;
    let mut shared = Shared::new();
    for (at, entry) in entries.iter_mut().enumerate() {
        let (node, agent) = (entry.facts.node, entry.facts.is_agents());
        shared.tell(payload, at, node, agent);
        if entry.dialect.is_none() {
            reader.enter(node);
            finder.item(reader, node, None, (agent, false)).give(&mut entry.facts, false);
        }
    }
    for (node, at, agent) in shared.owners().rev() {
        let found: Found = finder.shared(&mut reader.memo, node, agent);
        if let Some(entry) = entries.get_mut(at) {
            found.give(&mut entry.facts, true);
        }
    }
}

/// The reason why an item was assigned its dialect.
pub struct Why {
    /// The dialect, if any matched.
    pub dialect: Option<&'static str>,
    /// The conditions of the matching clause with the values that satisfied them. The values come from the payload, so
    /// they are not safe to log.
    pub because: Vec<String>,
}

/// Explains for each item of a payload why its dialect was chosen. For diagnostics only; [`facts()`] does not use it.
pub fn why(vocabulary: &Vocabulary, payload: &Payload) -> Vec<Why> {
    let mut reader = Reader::new(vocabulary, payload);
    let each = payload.items().map(|node| {
        reader.enter(node);
        detect::why(&reader)
    });
    each.collect()
}

/// The facts of a batch, cached beside its payload for the next step. Type-erased, because the engine carries the cache
/// without knowing this crate.
pub type KeptFacts = Option<Arc<dyn Any + Send + Sync>>;

/// Returns the facts cached in `kept`; on the first call, reads the payload and fills the cache.
pub fn facts_of(vocabulary: &Vocabulary, payload: &Payload, kept: &mut KeptFacts) -> Arc<Facts> {
    if let Some(facts) = kept.clone().and_then(|facts| facts.downcast::<Facts>().ok()) {
        return facts;
    }
    let facts = Arc::new(facts(vocabulary, payload));
    *kept = Some(Arc::<Facts>::clone(&facts));
    facts
}
