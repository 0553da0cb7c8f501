//! The `filter` processor: drops items by rules, drops known noise of some clients, and samples traces. Back ends
//! charge by the event, and one agent turn can produce hundreds of uninformative spans.
//!
//! It runs after `redact` (checked in `config/graph`), so vault, cost and runs see everything. Dropped items are
//! counted by rule after their batch is committed. Sampling keeps or drops a trace as a whole. Conditions are in
//! `matching`.

pub mod config;
mod matching;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use otlp::{NodeId, OwnedValue, Payload, Signal};
use pipeline::{Batch, Effect, Processor, Reason};
use telemetry::{Meter, names};

use crate::spec::{BuiltProcessor, ItemFilter, ProcessorBuildResult, ProcessorDeps, ProcessorSpec};

pub use config::{FilterConfig, FilterSettings};
use config::{FilterRule, SAMPLING_RULE};

/// Attribute that holds the sampling ratio on items that were kept.
const RATIO_ATTRIBUTE: &str = "tollgate.sample.ratio";
/// Metric label for a rule named by a stored effect but missing in this configuration.
const OTHER_RULE: &str = "other";

pub struct FilterProcessor {
    id: Arc<str>,
    settings: FilterSettings,
    meter: Meter,
}

impl FilterProcessor {
    pub fn new(id: Arc<str>, settings: FilterSettings, meter: &Meter) -> Self {
        Self { id, settings, meter: meter.clone() }
    }

    fn rule_label<'l>(&self, rule: &'l str) -> &'l str {
        let is_known = rule == SAMPLING_RULE || self.settings.rules.iter().any(|known| known.name == rule);
        if is_known { rule } else { OTHER_RULE }
    }
}

impl ItemFilter for FilterProcessor {
    fn dropping_rules(&self, payload: &mut Payload) -> Vec<Option<&str>> {
        let signal = payload.signal();
        let rules: Vec<&FilterRule> = self.settings.rules.iter().filter(|rule| rule.applies_to(signal)).collect();
        let ratio = self.settings.ratio.filter(|_| signal != Signal::Metrics);
        if rules.is_empty() && ratio.is_none() {
            return Vec::new();
        }
        let items: Vec<NodeId> = payload.items().collect();
        let dropping_rule = |item: NodeId| {
            let rule =
                rules.iter().find(|rule| matching::is_dropped_by(rule, payload, item)).map(|rule| rule.name.as_str());
            if rule.is_some() {
                return rule;
            }
            let ratio = ratio?;
            if !matching::is_sampled(payload.trace_id(item), ratio) {
                return Some(SAMPLING_RULE);
            }
            if !payload.trace_id(item).is_empty() {
                payload.set(item, RATIO_ATTRIBUTE, OwnedValue::Double(ratio));
            }
            None
        };
        items.into_iter().map(dropping_rule).collect()
    }
}

impl ProcessorSpec for FilterSettings {
    fn build(&self, id: &Arc<str>, _: &[Signal], deps: &ProcessorDeps) -> ProcessorBuildResult {
        let filter = Arc::new(FilterProcessor::new(Arc::clone(id), self.clone(), &deps.services.meter));
        let processor = Arc::clone(&filter) as Arc<dyn Processor>;
        Ok(BuiltProcessor { filter: Some(filter), ..BuiltProcessor::new(processor) })
    }
}

impl Processor for FilterProcessor {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let payload = &mut batch.payload;
        let signal = payload.signal();
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let items: Vec<NodeId> = payload.items().collect();
        for (item, rule) in items.into_iter().zip(self.dropping_rules(payload)) {
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
        let decoded: Result<(Signal, BTreeMap<String, u64>), _> = serde_json::from_slice(&effect.body);
        let Ok((signal, counts)) = decoded else { return };
        for (rule, items) in counts {
            let labels = [("processor", &*self.id), ("rule", self.rule_label(&rule)), ("signal", signal.as_str())];
            self.meter.counter(&names::FILTERED_ITEMS, &labels).increment(items);
        }
    }
}
