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

#[derive(PartialEq, Eq, Hash)]
struct HarmlessValue<R> {
    under: JudgedUnder<R>,
    text: Box<str>,
}

/// Hashes like the [`HarmlessValue`] of the same conditions and text.
#[derive(Hash)]
struct HarmlessValueRef<'t, R> {
    under: &'t JudgedUnder<R>,
    text: &'t str,
}

impl<R: Eq> Equivalent<HarmlessValue<R>> for HarmlessValueRef<'_, R> {
    fn equivalent(&self, other: &HarmlessValue<R>) -> bool {
        *self.text == *other.text && *self.under == other.under
    }
}

/// Maximum number of remembered texts, and maximum size of one, bytes.
const MAX_TEXTS: usize = 4096;
pub(super) const MAX_TEXT_BYTES: usize = 256;

/// Texts without content.
pub(super) struct HarmlessValues<R>(BoundedMap<HarmlessValue<R>, (), MAX_TEXTS>);

impl<R: Eq + Hash> Default for HarmlessValues<R> {
    fn default() -> Self {
        Self(BoundedMap::default())
    }
}

impl<R: Eq + Hash> HarmlessValues<R> {
    /// Returns true if no content was found in `text` when it was judged under the same conditions.
    pub(super) fn contains(&self, under: &JudgedUnder<R>, text: &str) -> bool {
        self.0.contains_key(&HarmlessValueRef { under, text })
    }

    /// Remembers `text`.
    pub(super) fn insert(&mut self, under: JudgedUnder<R>, text: &str) {
        self.0.insert(HarmlessValue { under, text: text.into() }, ());
    }
}

#[cfg(test)]
mod tests;
