//! [`HarmlessValues`] remembers short texts in which no content was found. Most attributes of ordinary spans hold one
//! of a few values (a method, a host, a route, a statement), and judging a text costs far more than finding it again.
//!
//! A remembered text is compared byte by byte, with everything else that its judgement depends on. The number and size
//! of the texts are bounded: a new text takes the place of another one.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;

/// What a judgement depends on besides the text: the key, as the id of its class, and the rules for the node.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct JudgedUnder<R> {
    pub(super) class: u64,
    pub(super) rules: R,
}

struct HarmlessValue<R> {
    under: JudgedUnder<R>,
    text: String,
}

/// Maximum number of remembered texts, and maximum size of one, bytes.
const MAX_TEXTS: usize = 4096;
pub(super) const MAX_TEXT_BYTES: usize = 256;

/// Texts without content. A text has one possible place, which follows from a hash with random seeds.
pub(super) struct HarmlessValues<R> {
    hasher: RandomState,
    places: Vec<Option<HarmlessValue<R>>>,
}

impl<R> Default for HarmlessValues<R> {
    fn default() -> Self {
        Self { hasher: RandomState::default(), places: Vec::new() }
    }
}

impl<R: Copy + Eq + std::hash::Hash> HarmlessValues<R> {
    fn place(&self, under: &JudgedUnder<R>, text: &str) -> usize {
        self.hasher.hash_one((under, text)) as usize % MAX_TEXTS
    }

    /// Returns true if no content was found in `text` when it was judged under the same conditions.
    pub(super) fn contains(&self, under: &JudgedUnder<R>, text: &str) -> bool {
        let known = self.places.get(self.place(under, text)).and_then(Option::as_ref);
        known.is_some_and(|known| known.text == text && known.under == *under)
    }

    /// Remembers `text`.
    pub(super) fn insert(&mut self, under: JudgedUnder<R>, text: &str) {
        if self.places.is_empty() {
            self.places.resize_with(MAX_TEXTS, || None);
        }
        let place = self.place(&under, text);
        match self.places.get_mut(place) {
            Some(Some(known)) => {
                known.under = under;
                known.text.clear();
                known.text.push_str(text);
            }
            Some(place) => *place = Some(HarmlessValue { under, text: text.to_owned() }),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
