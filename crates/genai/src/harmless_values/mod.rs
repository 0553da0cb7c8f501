//! [`HarmlessValues`] remembers short texts in which no content was found. Most attributes of ordinary spans hold one
//! of a few values (a method, a host, a route), and judging a text costs far more than finding it again. A remembered
//! text is compared byte by byte, with all that its judgement depends on; a forgotten one is only judged again.

use std::hash::Hash;

use kernel::bounded_map::{BoundedMap, Equivalent};

/// What a judgement depends on besides the text: the key, as the id of its class, and the rules for the node.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct JudgedUnder<R> {
    pub(super) class: u64,
    pub(super) rules: R,
}

/// Hashes like the owned pair.
#[derive(Hash)]
struct BorrowedValue<'t, R>(&'t JudgedUnder<R>, &'t str);

impl<R: Eq> Equivalent<(JudgedUnder<R>, Box<str>)> for BorrowedValue<'_, R> {
    fn equivalent(&self, (under, text): &(JudgedUnder<R>, Box<str>)) -> bool {
        *self.1 == **text && self.0 == under
    }
}

/// Maximum number of remembered texts, and maximum size of one, bytes.
const MAX_TEXTS: usize = 4096;
pub(super) const MAX_TEXT_BYTES: usize = 256;

/// Texts without content.
#[derive(Default)]
pub(super) struct HarmlessValues<R: Eq + Hash>(BoundedMap<(JudgedUnder<R>, Box<str>), (), MAX_TEXTS>);

impl<R: Eq + Hash> HarmlessValues<R> {
    /// Returns true if no content was found in `text` when it was judged under the same conditions.
    pub(super) fn contains(&self, under: &JudgedUnder<R>, text: &str) -> bool {
        self.0.contains_key(&BorrowedValue(under, text))
    }

    /// Remembers `text`.
    pub(super) fn insert(&mut self, under: JudgedUnder<R>, text: &str) {
        self.0.insert((under, text.into()), ());
    }
}

#[cfg(test)]
mod tests;
