//! [`MovedValueCounters`] counts by key the values that went to the vault although no list names them as content, so
//! that users who miss a value can find its key.
//!
//! Counting a known key costs one lookup and no allocation. Label values are bounded by the meter and hold only names.
//! `genai` and `item_texts` decide what moves; `telemetry/moved_keys` shows the counts.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::RwLock;

use genai::{ClosedItemPolicy, ContentBasis, ContentLocation, Facts, is_identifier};
use kernel::pseudonym::IdPolicy;
use otlp::{NodeId, Payload};
use telemetry::labels::LabelValues;
use telemetry::{Counter, Meter, names as metric};

use super::item_texts::TextReplacement;

/// Maximum number of cached counters per rule. The meter shows fewer keys.
const MAX_COUNTERS: usize = 512;
/// Maximum size of a key that is counted by its name.
const MAX_KEY_WORDS: usize = 8;
const MAX_KEY_BYTES: usize = 256;

/// See the module documentation.
pub(super) struct MovedValueCounters {
    meter: Meter,
    processor: Arc<str>,
    key_labels: Arc<LabelValues>,
    ids: Arc<dyn IdPolicy>,
    /// By rule and key.
    counters: RwLock<HashMap<&'static str, HashMap<Box<str>, Counter>>>,
}

impl MovedValueCounters {
    pub(super) fn new(processor: Arc<str>, ids: Arc<dyn IdPolicy>, meter: &Meter) -> Self {
        let key_labels = meter.label("key");
        Self { meter: meter.clone(), processor, ids, key_labels, counters: RwLock::default() }
    }

    /// Counts the values about to be removed. Keys in `labels.never` are left out, because the user listed them.
    pub(super) fn count(
        &self,
        account: &str,
        payload: &Payload,
        facts: &Facts,
        replacements: &[TextReplacement],
        policy: &ClosedItemPolicy,
    ) {
        let moved_by_profile: HashSet<(NodeId, ContentLocation)> =
            replacements.iter().map(TextReplacement::location).collect();
        let places = facts.items.iter().flat_map(|item| &item.content);
        for place in places {
            let rule = match place.basis {
                ContentBasis::Listed | ContentBasis::Key => continue,
                _ if moved_by_profile.contains(&(place.node, place.at)) => "privacy",
                ContentBasis::Guessed => "guess",
                ContentBasis::LongLabel | ContentBasis::Unlisted => "labels",
            };
            if let Some(key) = place.at.key(payload).filter(|key| !policy.never.contains(*key)) {
                self.count_value(account, key, rule);
            }
        }
    }

    pub(super) fn count_value(&self, account: &str, key: &str, rule: &'static str) {
        if let Some(counter) = self.counters.read().get(rule).and_then(|counters| counters.get(key)) {
            counter.increment(1);
            return;
        }
        // A key that is prose is counted without its name.
        // So is one that the redaction rules would change: a map may have tokens or numbers of people as its keys.
        let is_name = |key: &&str| {
            key.bytes().all(|byte| byte.is_ascii_graphic())
                && is_identifier(key, MAX_KEY_WORDS, MAX_KEY_BYTES)
                && *self.ids.redact_column(account, key) == **key
        };
        let label = self.key_labels.value(account, Some(key).filter(is_name).or(Some("other")));
        let counter = self
            .meter
            .counter(&metric::VAULT_MOVED_VALUES, &[("processor", &self.processor), ("key", label), ("rule", rule)]);
        counter.increment(1);
        let mut counters = self.counters.write();
        let counters = counters.entry(rule).or_default();
        // A key counted as `other` is not cached, because the meter may show it by name later, if it is frequent.
        if label == key && counters.len() < MAX_COUNTERS {
            counters.insert(key.into(), counter);
        }
    }
}
