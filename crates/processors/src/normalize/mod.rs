//! **What**: the processor that writes today's `gen_ai.*` names beside what came. **Why**: back ends and the steps
//! after it find one vocabulary, whatever the client's instrumentation. **Invariants**: nothing is renamed or removed
//! but `tollgate.*` attributes of untrusted clients (and, if configured, the originals); a value that is there stays
//! unless its type is wrong; content is never copied. **Not here**: what a key means (`genai/`), content and references
//! (`processors/vault`).

pub mod config;
mod ids;
mod names;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use genai::{Vaulted, Vocabulary, facts_of, missing};
use otlp::{AttrId, Payload, Signal};
use pipeline::{Batch, Effect, Processor, Reason, Trust};
use telemetry::{Counter, Meter, names as metrics};

pub use config::{Config, Semconv, Settings};
use names::Names;

/// What clients may not stamp.
const STAMPS: &str = "tollgate.";
/// The label of items that no dialect recognised.
const NO_DIALECT: &str = "none";
/// The label of what an effect on disk names and this version does not know.
const OTHER: &str = "other";

/// The processor.
pub struct Normalize {
    id: Arc<str>,
    vocabulary: Arc<Vocabulary>,
    names: Names,
    meter: Meter,
    stamps: Counter,
    /// Handles by dialect and signal; dialects are few.
    items: Mutex<BTreeMap<(String, Signal), Counter>>,
}

impl Normalize {
    /// Builds it.
    pub fn new(id: Arc<str>, settings: &Settings, vocabulary: Arc<Vocabulary>, meter: &Meter) -> Self {
        let stamps = meter.counter(&metrics::CLIENT_STAMPS, &[("processor", &id)]);
        let names = Names::new(settings, &vocabulary);
        Self { id, vocabulary, names, meter: meter.clone(), stamps, items: Mutex::new(BTreeMap::new()) }
    }

    /// The label of a dialect: effects on disk may be of another version.
    fn known<'d>(&self, dialect: &'d str) -> &'d str {
        if self.vocabulary.dialects().any(|name| name == dialect) { dialect } else { NO_DIALECT }
    }

    fn count(&self, signal: Signal, dialect: &str, items: u64) {
        let mut handles = self.items.lock();
        let dialect = self.known(dialect);
        let handle = handles.entry((dialect.to_owned(), signal)).or_insert_with(|| {
            self.meter.counter(&metrics::DIALECT_ITEMS, &[("dialect", dialect), ("signal", signal.as_str())])
        });
        handle.increment(items);
    }
}

impl Processor for Normalize {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let stamps = if batch.origin.trust == Trust::Internal { 0 } else { remove_stamps(&mut batch.payload) };
        let mut facts = facts_of(&self.vocabulary, &batch.payload, &mut batch.facts);
        if ids::fill(&mut batch.payload, &facts) {
            batch.facts = None;
            facts = facts_of(&self.vocabulary, &batch.payload, &mut batch.facts);
        }
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut lacks: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
        let vaulted = Vaulted::of(&batch.payload, &facts);
        for item in &facts.items {
            *counts.entry(item.dialect.unwrap_or(NO_DIALECT)).or_default() += 1;
            if batch.payload.signal() != Signal::Metrics {
                self.names.write(&mut batch.payload, item, &vaulted);
            }
            for attribute in missing(&batch.payload, item.node, item).into_iter().filter(|name| self.names.has(name)) {
                *lacks.entry((item.dialect.unwrap_or(NO_DIALECT), attribute)).or_default() += 1;
            }
        }
        let body = encode(batch.payload.signal(), stamps, &counts, &lacks);
        batch.effects.push(Effect::new(self.id.clone(), body));
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        let Some((signal, stamps, counts, lacks)) = decode(&effect.body) else { return };
        self.stamps.increment(stamps);
        for (dialect, items) in counts {
            self.count(signal, &dialect, items);
        }
        for ((dialect, attribute), items) in lacks {
            let attribute = if self.names.has(&attribute) { attribute.as_str() } else { OTHER };
            let labels = [("dialect", self.known(&dialect)), ("attribute", attribute)];
            self.meter.counter(&metrics::MISSING_ATTRIBUTES, &labels).increment(items);
        }
    }
}

/// Removes what only tollgate may stamp, on every node; returns how many attributes.
fn remove_stamps(payload: &mut Payload) -> u64 {
    let stamped: Vec<AttrId> = payload
        .nodes()
        .flat_map(|node| payload.attributes(node))
        .filter(|attribute| attribute.key.starts_with(STAMPS))
        .map(|attribute| attribute.id)
        .collect();
    for id in &stamped {
        payload.remove_attribute(*id);
    }
    stamped.len() as u64
}

type Counts = Vec<(String, u64)>;

type Lacks = Vec<((String, String), u64)>;

fn encode(
    signal: Signal,
    stamps: u64,
    counts: &BTreeMap<&'static str, u64>,
    lacks: &BTreeMap<(&'static str, &'static str), u64>,
) -> Vec<u8> {
    let counts: Vec<(&&str, &u64)> = counts.iter().collect();
    let lacks: Vec<(&(&str, &str), &u64)> = lacks.iter().collect();
    serde_json::to_vec(&(signal, stamps, counts, lacks)).unwrap_or_default()
}

fn decode(body: &[u8]) -> Option<(Signal, u64, Counts, Lacks)> {
    serde_json::from_slice(body).ok()
}
