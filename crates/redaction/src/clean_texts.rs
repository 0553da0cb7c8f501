//! [`CleanTexts`] remembers short texts in which no rule found anything: methods, routes, hosts and attribute keys are
//! on every span. Findings depend on the text and its key alone, so an equal pair is not searched again. Texts are
//! compared in full, never by a hash.

use foldhash::HashSet;

/// Maximum size of a remembered text and its key together, bytes.
const MAX_PAIR_BYTES: usize = 160;
/// Maximum number of pairs. A full memory is cleared, so that texts that never repeat do not use it for long.
const MAX_PAIRS: usize = 4096;

/// See the module documentation.
#[derive(Default)]
pub struct CleanTexts {
    pairs: HashSet<Box<str>>,
    /// The pair that is looked up: its key, a zero byte, its text.
    pair: String,
}

impl CleanTexts {
    /// Whether `text` under `key` was searched before without a finding.
    pub fn contains(&mut self, key: &str, text: &str) -> bool {
        self.set_pair(key, text) && self.pairs.contains(self.pair.as_str())
    }

    /// Remembers that `text` under `key` has no finding.
    pub fn insert(&mut self, key: &str, text: &str) {
        if self.set_pair(key, text) {
            if self.pairs.len() >= MAX_PAIRS {
                self.pairs.clear();
            }
            self.pairs.insert(self.pair.as_str().into());
        }
    }

    /// Returns false for a pair that is not remembered: too long, or a key with a zero byte, which could be read in two
    /// ways.
    fn set_pair(&mut self, key: &str, text: &str) -> bool {
        let is_short = key.len() + text.len() < MAX_PAIR_BYTES && !key.contains('\0');
        if is_short {
            self.pair.clear();
            self.pair.push_str(key);
            self.pair.push('\0');
            self.pair.push_str(text);
        }
        is_short
    }
}

#[cfg(test)]
mod tests;
