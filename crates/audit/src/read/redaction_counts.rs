//! [`RedactionCounts`]: counts the parts of a session's content that the redaction rules hide from back ends, by
//! placeholder, so that a reader of the vault knows how much the back ends did not get.
//!
//! Only counts are kept, never text. The rules are deterministic, so they find the same parts as in the gateway. Text
//! that was hidden because it repeats stripped content (an echo) is not counted. Neighbour: the crate `redaction`.

use serde_json::Value;

use super::session::{RedactionCounts, ReplayedSession};
use vault::document::DocumentItem;

/// Returns the placeholders that a text below a key ("" for none) would get.
pub type PlaceholderFinder<'f> = dyn FnMut(&str, &str) -> Vec<String> + 'f;

fn count_redactions(item: &DocumentItem, find: &mut PlaceholderFinder<'_>) -> RedactionCounts {
    let mut counts = RedactionCounts::new();
    for piece in &item.content {
        let key = piece.key.as_deref().unwrap_or_default();
        let placeholders = match &piece.value {
            Value::String(text) => find(key, text),
            value => find(key, &value.to_string()),
        };
        for placeholder in placeholders {
            *counts.entry(placeholder).or_default() += 1;
        }
    }
    counts
}

/// The counts as text; `None` if nothing is hidden.
pub(super) fn format_counts(counts: &RedactionCounts) -> Option<String> {
    let texts: Vec<String> = counts.iter().map(|(placeholder, count)| format!("{count} {placeholder}")).collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

impl ReplayedSession {
    /// Applies a gateway's rules to all opened content; text and JSON output then include the counts.
    pub fn apply_redaction_rules(&mut self, find: &mut PlaceholderFinder<'_>) {
        for entry in &mut self.entries {
            entry.redaction_counts = entry.item.as_ref().map(|item| count_redactions(item, find));
        }
    }
}
