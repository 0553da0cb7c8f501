//! [`Moved`] counts by key the values that went to the vault although no list names them as content, so that users who
//! miss a value can find its key.
//!
//! Counting a known key costs one lookup and no allocation. Label values are bounded by the meter and hold only names.
//! `labels` and `outside` decide what moves; `telemetry/moved` shows the counts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;

use genai::{Basis, ContentAt, Facts, is_short_name};
use otlp::{Node, Payload};
use telemetry::labels::Values;
use telemetry::{Counter, Meter, names as metric};

use super::labels::{BODY, LabelPolicy};
use super::outside::Replaced;

/// Maximum number of cached counters. The meter shows fewer keys.
const MOST: usize = 512;

/// See the module documentation.
pub(super) struct Moved {
    meter: Meter,
    processor: Arc<str>,
    values: Arc<Values>,
    /// Counters by key: for the label policy, and for the privacy profile.
    known: [RwLock<HashMap<Box<str>, Counter>>; 2],
}

impl Moved {
    pub(super) fn new(processor: Arc<str>, meter: &Meter) -> Self {
        Self { meter: meter.clone(), processor, values: meter.label("key"), known: Default::default() }
    }

    /// Counts the values about to be removed. Keys in `labels.never` are left out, because the user listed them.
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
        // A key that is prose is counted without its name.
        let name = |key: &&str| key.bytes().all(|byte| byte.is_ascii_graphic()) && is_short_name(key, 1);
        let label = self.values.value(account, Some(key).filter(name).or(Some("other")));
        let counter = self
            .meter
            .counter(&metric::VAULT_MOVED_VALUES, &[("processor", &self.processor), ("key", label), ("rule", rule)]);
        counter.increment(1);
        let mut known = known.write();
        // `other` is not cached: if a key is frequent, the meter shows it in the end.
        if label == key && known.len() < MOST {
            known.insert(key.into(), counter);
        }
    }
}
