//! **What**: [`Moved`]: counts values that went to the vault though no list calls them content, by key. **Why**:
//! whoever misses a value must find out which key moved. **Invariants**: a key that was seen costs a look-up, no
//! allocation; labels are bounded by the meter, and hold nothing but names. **Not here**: what moves (`labels`,
//! `outside`), how it is shown (`telemetry/moved`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;

use genai::{Basis, ContentAt, Facts, is_short_name};
use otlp::{Node, Payload};
use telemetry::labels::Values;
use telemetry::{Counter, Meter, names as metric};

use super::labels::{BODY, LabelPolicy};
use super::outside::Replaced;

/// Keys whose counters are kept; the meter shows fewer.
const MOST: usize = 512;

/// See the module.
pub(super) struct Moved {
    meter: Meter,
    processor: Arc<str>,
    values: Arc<Values>,
    /// Of the policy for labels, and of the profile.
    known: [RwLock<HashMap<Box<str>, Counter>>; 2],
}

impl Moved {
    pub(super) fn new(processor: Arc<str>, meter: &Meter) -> Self {
        Self { meter: meter.clone(), processor, values: meter.label("key"), known: Default::default() }
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
        let by_profile: HashSet<(Node, ContentAt)> = replaced.iter().map(Replaced::spot).collect();
        let places = facts.items.iter().flat_map(|item| &item.content);
        for place in places.filter(|place| !matches!(place.basis, Basis::Listed | Basis::Key)) {
            let key = match place.at {
                ContentAt::Attribute(id) => payload.attribute(id).map(|attribute| attribute.key),
                ContentAt::Body => Some(BODY),
                ContentAt::Name => Some("name"),
                ContentAt::Status => Some("status.message"),
                ContentAt::Inside(_) => None,
            };
            if let Some(key) = key.filter(|key| !policy.is_never(key)) {
                self.one(account, key, by_profile.contains(&(place.node, place.at)));
            }
        }
    }

    fn one(&self, account: &str, key: &str, by_profile: bool) {
        let [of_labels, of_profile] = &self.known;
        let (known, rule) = if by_profile { (of_profile, "privacy") } else { (of_labels, "labels") };
        if let Some(counter) = known.read().get(key) {
            counter.increment(1);
            return;
        }
        // a key that is words is counted without them
        let name = |key: &&str| key.bytes().all(|byte| byte.is_ascii_graphic()) && is_short_name(key, 1);
        let label = self.values.value(account, Some(key).filter(name).or(Some("other")));
        let counter = self
            .meter
            .counter(&metric::VAULT_MOVED_VALUES, &[("processor", &self.processor), ("key", label), ("rule", rule)]);
        counter.increment(1);
        let mut known = known.write();
        // `other` is asked again: a key that comes often is shown in the end
        if label == key && known.len() < MOST {
            known.insert(key.into(), counter);
        }
    }
}
