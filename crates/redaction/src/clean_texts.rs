//! [`CleanTexts`] remembers short texts in which no rule found anything: methods, routes, hosts and attribute keys are
//! on every span. Findings depend on the text and its key alone, so an equal pair is not searched again. Texts are
//! compared in full, never by a hash.

use std::hash::{Hash, Hasher};

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashSet};

/// Maximum size of a remembered text and its key together, bytes.
const MAX_PAIR_BYTES: usize = 160;
/// Maximum number of pairs. A full memory is cleared, so that texts that never repeat do not use it for long.
const MAX_PAIRS: usize = 4096;

/// See the module documentation.
#[derive(Default)]
pub struct CleanTexts {
    pairs: HashSet<CleanPair, RandomState>,
}

/// A key followed by its text.
#[derive(PartialEq, Eq)]
struct CleanPair {
    key_len: usize,
    key_and_text: Box<str>,
}

impl Hash for CleanPair {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key_and_text.split_at_checked(self.key_len).unwrap_or_default().hash(state);
    }
}

/// A key and a text that are looked up.
#[derive(Hash)]
struct SearchedPair<'a>(&'a str, &'a str);

impl Equivalent<CleanPair> for SearchedPair<'_> {
    fn equivalent(&self, pair: &CleanPair) -> bool {
        pair.key_len == self.0.len() && pair.key_and_text.strip_prefix(self.0) == Some(self.1)
    }
}

impl CleanTexts {
    /// Whether `text` under `key` was searched before without a finding.
    pub fn contains(&self, key: &str, text: &str) -> bool {
        is_short(key, text) && self.pairs.contains(&SearchedPair(key, text))
    }

    /// Remembers that `text` under `key` has no finding.
    pub fn insert(&mut self, key: &str, text: &str) {
        if is_short(key, text) {
            if self.pairs.len() >= MAX_PAIRS {
                self.pairs.clear();
            }
            self.pairs.insert(CleanPair { key_len: key.len(), key_and_text: [key, text].concat().into() });
        }
    }
}

fn is_short(key: &str, text: &str) -> bool {
    key.len() + text.len() < MAX_PAIR_BYTES
}

#[cfg(test)]
mod tests;
