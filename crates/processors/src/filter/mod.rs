//! The `filter` processor: drops items by rules, drops known noise of some clients, and samples traces. Back ends
//! charge by the event, and one agent turn can produce hundreds of uninformative spans.
//!
//! It runs after `redact` (checked in `config/graph`), so vault, cost and runs see everything. Dropped items are
//! counted by rule after their batch is committed. Sampling keeps or drops a trace as a whole. Conditions are in
//! `matching`, presets in `presets`.

pub mod config;
mod matching;
pub mod presets;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use otlp::{Node, OwnedValue, Payload, Signal};
use pipeline::{Batch, Effect, Processor, Reason};
use telemetry::{Meter, names};

pub use config::{Config, Settings};
use config::{Rule, SAMPLED};

/// Attribute that holds the sampling ratio on items that were kept.
const RATIO: &str = "tollgate.sample.ratio";
/// Metric label for a rule named by a stored effect but missing in this configuration.
const OTHER: &str = "other";

/// The `filter` processor.
pub struct Filter {
    id: Arc<str>,
    settings: Settings,
    meter: Meter,
}

impl Filter {
    /// Creates the processor.
    pub fn new(id: Arc<str>, settings: Settings, meter: &Meter) -> Self {
        Self { id, settings, meter: meter.clone() }
    }

    fn label<'l>(&self, rule: &'l str) -> &'l str {
        let known = rule == SAMPLED || self.settings.rules.iter().any(|known| known.name == rule);
        if known { rule } else { OTHER }
    }

    /// Returns for each item, in order, the rule that drops it. Items kept by sampling are stamped with the ratio.
    pub fn verdicts(&self, payload: &mut Payload) -> Vec<Option<&str>> {
        let signal = payload.signal();
        let rules: Vec<&Rule> = self.settings.rules.iter().filter(|rule| rule.of(signal)).collect();
        let ratio = self.settings.ratio.filter(|_| signal != Signal::Metrics);
        if rules.is_empty() && ratio.is_none() {
            return Vec::new();
        }
        let items: Vec<Node> = payload.items().collect();
        let verdict = |item: Node| {
            let rule = rules.iter().find(|rule| matching::drops(rule, payload, item)).map(|rule| rule.name.as_str());
            if rule.is_some() {
                return rule;
            }
            let ratio = ratio?;
            if !matching::sampled(payload.trace_id(item), ratio) {
                return Some(SAMPLED);
            }
            if !payload.trace_id(item).is_empty() {
                payload.set(item, RATIO, OwnedValue::Double(ratio));
            }
            None
        };
        items.into_iter().map(verdict).collect()
    }
}

impl Processor for Filter {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let payload = &mut batch.payload;
        let signal = payload.signal();
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let items: Vec<Node> = payload.items().collect();
        for (item, rule) in items.into_iter().zip(self.verdicts(payload)) {
            if let Some(rule) = rule {
                payload.remove_node(item);
                *counts.entry(rule).or_default() += 1;
            }
        }
        if !counts.is_empty() {
            let body = serde_json::to_vec(&(signal, counts)).unwrap_or_default();
            batch.effects.push(Effect::new(Arc::clone(&self.id), body));
        }
        Ok(())
    }

    fn apply(&self, effect: &Effect) {
        let read: Result<(Signal, BTreeMap<String, u64>), _> = serde_json::from_slice(&effect.body);
        let Ok((signal, counts)) = read else { return };
        for (rule, items) in counts {
            let labels = [("processor", &*self.id), ("rule", self.label(&rule)), ("signal", signal.as_str())];
            self.meter.counter(&names::FILTERED_ITEMS, &labels).increment(items);
        }
    }
}
