//! The `normalize` processor: adds the current `gen_ai.*` attributes to each item, so that back ends and later steps
//! find one vocabulary whatever the client's instrumentation.
//!
//! Attributes are never renamed, but for a user or tenant that the client's credential does not prove (`identity`), and
//! only `tollgate.*` attributes of untrusted clients are removed (and, if configured, the originals). An existing value
//! stays unless its type is wrong. Content is never copied. The meaning of keys is defined in `genai`; content and
//! references are handled in `processors/vault`.

pub mod config;
mod identity;
mod ids;
mod semconv_names;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use genai::{OwnerKey, VaultedTexts, Vocabulary, cached_facts, missing_required_attributes};
use otlp::{AttrId, Payload, Signal};
use pipeline::{Batch, ClientIdentity, Effect, Processor, Reason, Trust};
use telemetry::{Counter, Meter, names as metrics};

use crate::spec::{BuiltProcessor, ProcessorBuildResult, ProcessorDeps, ProcessorSpec};

pub use config::{NormalizeConfig, SemconvVersion};
use semconv_names::SemconvNames;

/// Prefix of the attributes that clients may not set.
pub const STAMP_PREFIX: &str = "tollgate.";
/// Metric label for items without a dialect.
const NO_DIALECT: &str = "none";
/// Metric label for an attribute named by a stored effect but unknown to this version.
const OTHER_ATTRIBUTE: &str = "other";

/// The counts of a batch: its signal, removed stamps, items by dialect, and items by dialect and missing attribute.
type ItemCounts = (Signal, u64, Vec<(String, u64)>, Vec<((String, String), u64)>);
/// The claims of a batch that moved, by kind: an effect of its own, so that effects of earlier versions stay readable.
type ClaimCounts = [u64; OwnerKey::ALL.len()];

pub struct NormalizeProcessor {
    id: Arc<str>,
    vocabulary: Arc<Vocabulary>,
    names: SemconvNames,
    meter: Meter,
    removed_stamps: Counter,
    claims: [Counter; OwnerKey::ALL.len()],
}

impl NormalizeProcessor {
    pub fn new(id: Arc<str>, settings: &NormalizeConfig, vocabulary: Arc<Vocabulary>, meter: &Meter) -> Self {
        let removed_stamps = meter.counter(&metrics::CLIENT_STAMPS, &[("processor", &id)]);
        let names = SemconvNames::new(settings, &vocabulary);
        let claims = OwnerKey::ALL
            .map(|kind| meter.counter(&metrics::CLAIMED_IDENTITIES, &[("processor", &id), ("kind", kind.as_str())]));
        Self { id, vocabulary, names, meter: meter.clone(), removed_stamps, claims }
    }

    /// The metric label for a dialect. A stored effect may come from another version.
    fn dialect_label<'d>(&self, dialect: &'d str) -> &'d str {
        if self.vocabulary.dialects().any(|name| name == dialect) { dialect } else { NO_DIALECT }
    }
}

impl ProcessorSpec for NormalizeConfig {
    fn build(&self, id: &Arc<str>, _: &[Signal], deps: &ProcessorDeps) -> ProcessorBuildResult {
        Ok(BuiltProcessor::new(Arc::new(NormalizeProcessor::new(
            Arc::clone(id),
            self,
            Arc::clone(&deps.vocabulary),
            &deps.services.meter,
        ))))
    }
}

impl Processor for NormalizeProcessor {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let origin = Arc::clone(&batch.origin);
        let stamps = match origin.trust {
            Trust::Internal => 0,
            Trust::ThirdParty => remove_stamps(&mut batch.payload, &origin.identity),
        };
        if let ClientIdentity::Verified(verified) = &origin.identity {
            let claims: ClaimCounts = identity::write_identity(&mut batch.payload, verified, &self.vocabulary);
            if claims.iter().any(|count| *count > 0) {
                let body = serde_json::to_vec(&claims).unwrap_or_default();
                batch.effects.push(Effect::new(self.id.clone(), body));
            }
        }
        let mut facts = cached_facts(&self.vocabulary, &batch.origin.account, &batch.payload, &mut batch.facts);
        if ids::fill_missing_ids(&mut batch.payload, &facts) {
            batch.facts = None;
            facts = cached_facts(&self.vocabulary, &batch.origin.account, &batch.payload, &mut batch.facts);
        }
        let mut counts: BTreeMap<&'static str, u64> = BTreeMap::new();
        let mut missing: BTreeMap<(&'static str, &'static str), u64> = BTreeMap::new();
        let vaulted = VaultedTexts::collect(&batch.payload, &facts);
        for item in &facts.items {
            *counts.entry(item.dialect.unwrap_or(NO_DIALECT)).or_default() += 1;
            if batch.payload.signal() != Signal::Metrics {
                self.names.write(&mut batch.payload, item, &vaulted, &self.vocabulary);
            }
            for attribute in missing_required_attributes(&batch.payload, item.node, item)
                .into_iter()
                .filter(|name| self.names.is_semconv_name(name))
            {
                *missing.entry((item.dialect.unwrap_or(NO_DIALECT), attribute)).or_default() += 1;
            }
        }
        let (counts, missing): (Vec<_>, Vec<_>) = (counts.into_iter().collect(), missing.into_iter().collect());
        let body = serde_json::to_vec(&(batch.payload.signal(), stamps, counts, missing)).unwrap_or_default();
        batch.effects.push(Effect::new(self.id.clone(), body));
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        if let Ok(claims) = serde_json::from_slice::<ClaimCounts>(&effect.body) {
            self.claims.iter().zip(claims).for_each(|(counter, count)| counter.increment(count));
            return;
        }
        let Ok((signal, stamps, counts, missing)) = serde_json::from_slice::<ItemCounts>(&effect.body) else { return };
        self.removed_stamps.increment(stamps);
        for (dialect, items) in counts {
            let labels = [("dialect", self.dialect_label(&dialect)), ("signal", signal.as_str())];
            self.meter.counter(&metrics::DIALECT_ITEMS, &labels).increment(items);
        }
        for ((dialect, attribute), items) in missing {
            let attribute = if self.names.is_semconv_name(&attribute) { attribute.as_str() } else { OTHER_ATTRIBUTE };
            let labels = [("dialect", self.dialect_label(&dialect)), ("attribute", attribute)];
            self.meter.counter(&metrics::MISSING_ATTRIBUTES, &labels).increment(items);
        }
    }
}

/// Removes the attributes that only tollgate may set from all nodes. Returns their number.
fn remove_stamps(payload: &mut Payload, identity: &ClientIdentity) -> u64 {
    let stamped: Vec<AttrId> = payload
        .nodes()
        .flat_map(|node| payload.attributes(node))
        .filter(|attribute| attribute.key.starts_with(STAMP_PREFIX))
        .filter(|attribute| !identity::is_written_by_edge(identity, attribute.key))
        .map(|attribute| attribute.id)
        .collect();
    for id in &stamped {
        payload.remove_attribute(*id);
    }
    stamped.len() as u64
}
