//! **What**: the processor that writes today's `gen_ai.*` names beside what came. **Why**: back ends and the steps after
//! it find one vocabulary, whatever the client's instrumentation.
//! **Invariants**: nothing is renamed or removed but `tollgate.*` attributes of untrusted clients; a value that is there
//! stays unless its type is wrong; content is never copied. **Not here**: what a key means (`genai/`), content and
//! references (`processors/vault`).

pub mod config;
mod names;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::genai::{Vaulted, Vocabulary, facts_of};
use crate::otlp::{AttrId, Payload, Signal};
use crate::pipeline::{Batch, Effect, Processor, Reason, Trust};
use crate::telemetry::{Counter, Meter, names as metrics};

pub use config::{Config, Settings};

/// What clients may not stamp.
const STAMPS: &str = "tollgate.";
/// The label of items that no dialect recognised.
const NO_DIALECT: &str = "none";

/// The processor.
pub struct Normalize {
    id: Arc<str>,
    vocabulary: Arc<Vocabulary>,
    meter: Meter,
    stamps: Counter,
    /// Handles by dialect and signal; dialects are few.
    items: Mutex<BTreeMap<(String, Signal), Counter>>,
}

impl Normalize {
    /// Builds it.
    pub fn new(id: Arc<str>, _settings: &Settings, vocabulary: Arc<Vocabulary>, meter: &Meter) -> Self {
        let stamps = meter.counter(&metrics::CLIENT_STAMPS, &[("processor", &id)]);
        Self { id, vocabulary, meter: meter.clone(), stamps, items: Mutex::new(BTreeMap::new()) }
    }

    fn count(&self, signal: Signal, dialect: &str, items: u64) {
        let mut handles = self.items.lock();
        let known = dialect == NO_DIALECT || self.vocabulary.dialects().any(|name| name == dialect);
        let dialect = if known { dialect } else { NO_DIALECT };
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
        let facts = facts_of(&self.vocabulary, batch);
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
        let vaulted = Vaulted::of(&batch.payload, &facts);
        for item in &facts.items {
            *counts.entry(item.dialect.unwrap_or(NO_DIALECT)).or_default() += 1;
            if batch.payload.signal() != Signal::Metrics {
                names::write(&mut batch.payload, item, &vaulted);
            }
        }
        let body = encode(batch.payload.signal(), stamps, &counts);
        batch.effects.push(Effect::new(self.id.clone(), body));
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        let Some((signal, stamps, counts)) = decode(&effect.body) else { return };
        self.stamps.increment(stamps);
        for (dialect, items) in counts {
            self.count(signal, &dialect, items);
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

fn encode(signal: Signal, stamps: u64, counts: &BTreeMap<&'static str, u64>) -> Vec<u8> {
    let counts: Vec<(&&str, &u64)> = counts.iter().collect();
    serde_json::to_vec(&(signal, stamps, counts)).unwrap_or_default()
}

fn decode(body: &[u8]) -> Option<(Signal, u64, Counts)> {
    serde_json::from_slice(body).ok()
}
