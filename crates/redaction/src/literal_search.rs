//! Finds the first words of users' patterns anywhere in a text, because a user's pattern may match within words, and a
//! hundred of them must still be cheap. A pattern with known prefixes is tried at every occurrence of one, also where
//! several overlap. Built-in rules use `stems`.

use aho_corasick::AhoCorasick;

/// Most bytes of a word that are searched.
const MAX_WORD_LEN: usize = 8;
/// Shortest word that is searched.
pub(super) const SHORTEST: usize = 3;

/// The first words of users' patterns: their search, and the rule of each word.
#[derive(Default)]
pub(super) struct LiteralSearch(Option<(AhoCorasick, Vec<u16>)>);

impl LiteralSearch {
    /// Builds the search; empty if there are no words, or too many for one search.
    pub(super) fn new(mut words: Vec<(Vec<u8>, u16)>) -> Self {
        words.iter_mut().for_each(|(word, _)| word.truncate(MAX_WORD_LEN));
        words.sort();
        words.dedup();
        let searcher = if words.is_empty() { None } else { AhoCorasick::new(words.iter().map(|(word, _)| word)).ok() };
        Self(searcher.map(|searcher| (searcher, words.into_iter().map(|(_, rule)| rule).collect())))
    }

    /// Whether there are no words.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Each position of a word, and the rule to try there.
    pub(super) fn find_in(&self, text: &str) -> impl Iterator<Item = (usize, u16)> {
        self.0.iter().flat_map(move |(searcher, rules)| {
            let found = searcher.find_overlapping_iter(text);
            found.filter_map(|found| Some((found.start(), *rules.get(found.pattern().as_usize())?)))
        })
    }
}
