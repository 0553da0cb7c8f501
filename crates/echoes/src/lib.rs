//! **What**: finds text that repeats stripped content (an error message that quotes the prompt), and takes it out.
//! **Why**: error texts, status messages, span names and log bodies go on; what they quote must not. **Invariants**:
//! content is kept as keyed fingerprints only, under a key that lives as long as the process; a stretch of at least 24
//! characters (a run of white space is one; letters of scripts without blanks are two) and 4 words never survives;
//! paths, ids, known names, frames and exception types stay; linear in the texts and in the content, whatever is in
//! them. **Not here**: which places are searched (`processors/vault`), where the result is written
//! (`processors/redact`).
//!
//! Content is folded once, to one form of all escapes and white space, and has a fingerprint for every four bytes of
//! that; texts have one at every byte: a stretch of 23 bytes holds at least five neighbouring fingerprints of the
//! content, wherever it begins.
//!
//! | question | file |
//! |---|---|
//! | what is a fingerprint | `prints` |
//! | which white space, escapes and case make no difference | `fold` |
//! | where in content that needs a look | `marks` |
//! | what is kept of earlier batches, and for how long | `memory` |
//! | where in a text a folded byte stands | `forms` |
//! | how are they found | `search` |
//! | what of it becomes `[CONTENT]` | `mend`, `words` |
//! | what is a line of a stack trace | `frames` |

mod fold;
mod forms;
pub mod frames;
mod json_strings;
mod marks;
mod memory;
mod mend;
mod prints;
mod search;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashMap;

pub use memory::{Memory, SessionKey};
pub use prints::{Key, Prints};
pub use words::MARK;
pub use words::may_quote;

use search::Search;

/// What becomes of texts that repeat content: each such text, and what goes on in its place. No `Debug`.
#[derive(Default)]
pub struct Echoes(HashMap<Box<str>, Box<str>>);

impl Echoes {
    /// Looks for the content behind `prints` in `texts`. `labels` are names and ids that stay.
    pub fn find<'p>(key: &Key, texts: &[&str], labels: &[&str], prints: impl Iterator<Item = &'p [u16]>) -> Self {
        let mut search = Search::new(key, texts);
        prints.for_each(|text| search.scan(text));
        let covered = search.covered();
        let mended = texts.iter().zip(covered).filter_map(|(text, covered)| {
            let mended = mend::mend(text, &covered, labels)?;
            Some((Box::from(*text), mended.into_boxed_str()))
        });
        Self(mended.collect())
    }

    /// What goes on in place of `text`, if it repeats content.
    pub fn of(&self, text: &str) -> Option<&str> {
        self.0.get(text).map(|mended| &**mended)
    }

    /// Whether no text does.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Number of texts that do.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
