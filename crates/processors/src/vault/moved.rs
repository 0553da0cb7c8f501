//! **What**: [`Moved`]: counts values that went to the vault under keys that nobody listed, by key. **Why**: whoever
//! misses a value must find out which key moved. **Invariants**: a key that was seen costs a look-up, no allocation;
//! labels are bounded by the meter, and hold nothing but names. **Not here**: what moves (`labels`, `outside`), how it
//! is shown (`telemetry/moved`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;

use genai::{Basis, ContentAt, Facts, is_short_name};
use otlp::{Node, Payload};
use telemetry::labels::Values;
use telemetry::{Counter, Meter, names as metric};

use super::labels::LabelPolicy;
use super::outside::Replaced;

/// Keys whose counters are kept; the meter shows fewer.
const MOST: usize = 512;

/// See the module.
pub(super) struct Moved {
    meter: Meter,
    processor: Arc<str>,
    values: Arc<Values>,
    known: RwLock<HashMap<Box<str>, Counter>>,
}

impl Moved {
    pub(super) fn new(processor: Arc<str>, meter: &Meter) -> Self {
        Self { meter: meter.clone(), processor, values: meter.label("key"), known: RwLock::default() }
    }

    /// Counts what is about to be taken out; keys that are never to leave are no news to who wrote them.
    pub(super) fn count(
        &self,
        account: &str,
        payload: &Payload,
        facts: &Facts,
        replaced: &[Replaced],
        policy: &LabelPolicy,
    ) {
        let strict: HashSet<(Node, ContentAt)> = replaced.iter().map(Replaced::spot).collect();
        let places = facts.items.iter().flat_map(|item| &item.content);
        for place in places.filter(|place| !matches!(place.basis, Basis::Listed | Basis::Key)) {
            let ContentAt::Attribute(id) = place.at else { continue };
            let Some(attribute) = payload.attribute(id) else { continue };
            if !policy.is_never(attribute.key) && !strict.contains(&(place.node, place.at)) {
                self.one(account, attribute.key);
            }
        }
    }

    fn one(&self, account: &str, key: &str) {
        if let Some(counter) = self.known.read().get(key) {
            counter.increment(1);
            return;
        }
        // a key that is words is counted without them
        let name = |key: &&str| key.bytes().all(|byte| byte.is_ascii_graphic()) && is_short_name(key, 1);
        let label = self.values.value(account, Some(key).filter(name).or(Some("other")));
        let counter =
            self.meter.counter(&metric::VAULT_MOVED_VALUES, &[("processor", &self.processor), ("key", label)]);
        counter.increment(1);
        let mut known = self.known.write();
        // `other` is asked again: a key that comes often is shown in the end
        if label == key && known.len() < MOST {
            known.insert(key.into(), counter);
        }
    }
}
