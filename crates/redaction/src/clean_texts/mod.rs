//! [`CleanTexts`] remembers short texts in which no rule found anything: attribute keys, names of spans and columns of
//! the index occur again and again. (For attributes of one short text `otlp` remembers verdicts.) Findings depend on
//! the text and its key alone, so an equal pair is not searched again. Texts are compared in full, never by a hash.
//! They have no account: a text that was forgotten is searched again.

use kernel::bounded_map::{BoundedMap, Equivalent};

/// Maximum size of a remembered text and its key together, bytes.
const MAX_PAIR_BYTES: usize = 160;
/// Maximum number of pairs.
const MAX_PAIRS: usize = 4096;

#[derive(PartialEq, Eq, Hash)]
struct CleanText {
    key: Box<str>,
    text: Box<str>,
}

/// Hashes like the [`CleanText`] of the same key and text.
#[derive(Hash)]
struct CleanTextRef<'t> {
    key: &'t str,
    text: &'t str,
}

impl Equivalent<CleanText> for CleanTextRef<'_> {
    fn equivalent(&self, other: &CleanText) -> bool {
        *self.text == *other.text && *self.key == *other.key
    }
}

/// See the module documentation.
#[derive(Default)]
pub struct CleanTexts(BoundedMap<CleanText, (), MAX_PAIRS>);

impl CleanTexts {
    /// Whether `text` under `key` was searched before without a finding.
    pub fn contains(&self, key: &str, text: &str) -> bool {
        is_short(key, text) && self.0.contains_key(&CleanTextRef { key, text })
    }

    /// Remembers that `text` under `key` has no finding.
    pub fn insert(&mut self, key: &str, text: &str) {
        if is_short(key, text) {
            self.0.insert(CleanText { key: key.into(), text: text.into() }, ());
        }
    }
}

fn is_short(key: &str, text: &str) -> bool {
    key.len() + text.len() < MAX_PAIR_BYTES
}

#[cfg(test)]
mod tests;
