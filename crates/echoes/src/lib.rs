//! Finds echoes and replaces them with `[CONTENT]`. An *echo* is a part of a forwarded text (an error text, status
//! message, span name or log body) that repeats stripped content, such as an error message that quotes the prompt.
//!
//! A repetition counts only if it has at least 24 characters, 4 words and 2 tokens (parts between white space or data
//! punctuation). A run of white space counts as one character. In scripts without blanks between words, such as
//! Chinese, each letter counts as two characters and as one word. Paths, ids, known names, stack frames and exception
//! types stay. Time is linear in texts and content, for any input.
//!
//! Content is kept only as fingerprints, under a random key of this process. It is folded first (escapes decoded, white
//! space normalised). A content fingerprint covers four bytes, and the next one the four bytes after them. The searched
//! texts have a fingerprint of four bytes at each byte. So a text that repeats 23 bytes of content contains at least
//! five consecutive content fingerprints, wherever the repetition begins.
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

mod block_marks;
mod fingerprint_cache;
mod fingerprints;
mod fold;
mod folded_forms;
mod json_strings;
mod replacement;
mod search;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashMap;

pub use fingerprint_cache::{FingerprintCache, SessionKey};
pub use fingerprints::{ContentFingerprints, FingerprintKey};
pub use words::CONTENT_PLACEHOLDER;
pub use words::may_quote;

use search::ContentSearch;

/// The texts that contain echoes, each with its replacement. Has no `Debug`, because it holds telemetry text.
#[derive(Default)]
pub struct EchoReplacements(HashMap<Box<str>, Box<str>>);

impl EchoReplacements {
    /// Searches `texts` for content, given the fingerprints of each content text. `labels` are names and ids that may
    /// stay.
    pub fn find<'p>(
        key: &FingerprintKey,
        texts: &[&str],
        labels: &[&str],
        content_fingerprints: impl Iterator<Item = &'p [u16]>,
    ) -> Self {
        let mut search = ContentSearch::new(key, texts);
        content_fingerprints.for_each(|content| search.scan(content));
        let replacements = texts.iter().zip(search.repeated_ranges()).filter_map(|(text, repeated)| {
            let replacement = replacement::replace_echoes(text, &repeated, labels)?;
            Some((Box::from(*text), replacement.into_boxed_str()))
        });
        Self(replacements.collect())
    }

    /// Returns the replacement for `text`, if it contains an echo.
    pub fn replacement_for(&self, text: &str) -> Option<&str> {
        self.0.get(text).map(|replacement| &**replacement)
    }

    /// Whether no text contains an echo.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
