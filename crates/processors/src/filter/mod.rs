//! **What**: the `filter` processor: drops items by rules, noise of known clients, and a part of all traces. **Why**:
//! back ends are paid by the event, and one turn of an agent is hundreds of spans that say nothing. **Invariants**:
//! stands after `redact` (`config/graph`): vault, cost and runs see everything; drops are counted by rule, once their
//! batch is committed; a trace is kept whole or not at all by sampling. **Not here**: conditions (`matching`), presets
//! (`presets`).

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

/// What kept items say where others were not.
const RATIO: &str = "tollgate.sample.ratio";
/// The label of a rule that an effect on disk names and this configuration does not have.
const OTHER: &str = "other";

/// The processor.
pub struct Filter {
    id: Arc<str>,
    settings: Settings,
    meter: Meter,
}

impl Filter {
    /// Builds it.
    pub fn new(id: Arc<str>, settings: Settings, meter: &Meter) -> Self {
        Self { id, settings, meter: meter.clone() }
    }

    fn label<'l>(&self, rule: &'l str) -> &'l str {
        let known = rule == SAMPLED || self.settings.rules.iter().any(|known| known.name == rule);
        if known { rule } else { OTHER }
    }

    /// For each item, in order, the rule that drops it; those that stay of a sampled part say so.
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
