//! Finds text that repeats stripped content, such as an error message that quotes the prompt, and removes the quote.
//! Error texts, status messages, span names and log bodies are forwarded; the content that they quote must not be.
//!
//! Content is stored only as fingerprints, keyed with a key that is random in each process. No quote of at least 24
//! characters and 4 words survives (a run of white space counts as one character, a letter of a script without blanks
//! as two). Paths, ids, known names, stack frames and exception types stay. Time is linear in texts and content, for
//! any input.
//!
//! Content is folded once (escapes decoded, white space normalised) and gets one fingerprint for every four bytes;
//! texts get one at every byte. So any range of 23 bytes contains at least five consecutive fingerprints of the
//! content, wherever it begins.
//!
//! `processors/vault` chooses the texts to search; `processors/redact` writes the result.
//!
//! | topic | file |
//! |---|---|
//! | fingerprints | `fingerprints` |
//! | folding of white space, escapes and case | `fold` |
//! | finding the bytes of content that need folding | `block_marks` |
//! | fingerprints of earlier batches, and their limits | `fingerprint_cache` |
//! | mapping folded bytes back to the text | `folded_forms` |
//! | matching | `search` |
//! | the ranges that become `[CONTENT]` | `replacement`, `words` |
//! | lines of a stack trace | `stack_frames` |

mod block_marks;
mod fingerprint_cache;
mod fingerprints;
mod fold;
mod folded_forms;
mod json_strings;
mod replacement;
mod search;
pub mod stack_frames;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashMap;

pub use fingerprint_cache::{FingerprintCache, SessionKey};
pub use fingerprints::{ContentFingerprints, FingerprintKey};
pub use words::CONTENT_PLACEHOLDER;
pub use words::may_quote;

use search::ContentSearch;

/// Texts that repeat content, each with its replacement. Has no `Debug`, because it holds telemetry text.
#[derive(Default)]
pub struct EchoReplacements(HashMap<Box<str>, Box<str>>);

impl EchoReplacements {
    /// Searches `texts` for the content behind `prints`. `labels` are names and ids that may stay.
    pub fn find<'p>(
        key: &FingerprintKey,
        texts: &[&str],
        labels: &[&str],
        prints: impl Iterator<Item = &'p [u16]>,
    ) -> Self {
        let mut search = ContentSearch::new(key, texts);
        prints.for_each(|text| search.scan(text));
        let covered = search.covered_ranges();
        let mended = texts.iter().zip(covered).filter_map(|(text, covered)| {
            let mended = replacement::replace_quotes(text, &covered, labels)?;
            Some((Box::from(*text), mended.into_boxed_str()))
        });
        Self(mended.collect())
    }

    /// Returns the replacement for `text`, if it repeats content.
    pub fn replacement_for(&self, text: &str) -> Option<&str> {
        self.0.get(text).map(|mended| &**mended)
    }

    /// Whether no text repeats content.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of texts that repeat content.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
