//! **What**: the `filter` processor: drops items by rules, noise of known clients, and a part of all traces. **Why**: back ends are
//! paid by the event, and one turn of an agent is hundreds of spans that say nothing. **Invariants**: stands after
//! `redact` (`config/graph`): vault, cost and runs see everything; drops are counted by rule, once their batch is
//! committed; a trace is kept whole or not at all by sampling. **Not here**: conditions (`matching`), presets (`presets`).

pub mod config;
mod matching;
pub mod presets;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::otlp::{Node, OwnedValue, Signal};
use crate::pipeline::{Batch, Effect, Processor, Reason};
use crate::telemetry::{Meter, names};

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
}

impl Processor for Filter {
    fn id(&self) -> &Arc<str> {
        &self.id
    }

    fn process(&self, batch: &mut Batch) -> Result<(), Reason> {
        let payload = &mut batch.payload;
        let signal = payload.signal();
        let rules: Vec<&Rule> = self.settings.rules.iter().filter(|rule| rule.of(signal)).collect();
        let ratio = self.settings.ratio.filter(|_| signal != Signal::Metrics);
        if rules.is_empty() && ratio.is_none() {
            return Ok(());
        }
        let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
        let items: Vec<Node> = payload.items().collect();
        for item in items {
            let rule = rules.iter().find(|rule| matching::drops(rule, payload, item)).map(|rule| rule.name.as_str());
            let rule = rule.or_else(|| {
                let out = ratio.is_some_and(|ratio| !matching::sampled(payload.trace_id(item), ratio));
                out.then_some(SAMPLED)
            });
            match (rule, ratio) {
                (Some(rule), _) => {
                    payload.remove_node(item);
                    *counts.entry(rule).or_default() += 1;
                }
                (None, Some(ratio)) if !payload.trace_id(item).is_empty() => {
                    payload.set(item, RATIO, OwnedValue::Double(ratio));
                }
                _ => {}
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
