//! Finds the first words of users' patterns anywhere in a text, because a user's pattern may match within words, and a
//! hundred of them must still be cheap. A pattern with known prefixes is tried at every occurrence of one, also where
//! several overlap. Built-in rules use `stems`.

use aho_corasick::packed::{Config, MatchKind, Searcher};
use aho_corasick::{PatternID, Span};

/// Most words in one searcher; more would make it slow.
const MAX_WORDS: usize = 64;
/// Most bytes of a word that are searched.
const MAX_WORD_LEN: usize = 8;
/// Shortest word that is searched.
pub(super) const SHORTEST: usize = 3;

/// The first words of users' patterns.
#[derive(Default)]
pub(super) struct LiteralSearch {
    /// Searchers, each with the rules of each of its words.
    searchers: Vec<(Searcher, Vec<Vec<u16>>)>,
}

impl LiteralSearch {
    /// Builds the searchers. Also returns the rules whose words do not fit in one; they have to be tried everywhere.
    pub(super) fn new(mut words: Vec<(Vec<u8>, u16)>) -> (Self, Vec<u16>) {
        words.iter_mut().for_each(|(word, _)| word.truncate(MAX_WORD_LEN));
        words.sort();
        words.dedup();
        // A word that starts with another is found by the shorter one, because a search reports one word per position
        let mut distinct: Vec<(Vec<u8>, Vec<u16>)> = Vec::new();
        for (word, rule) in words {
            match distinct.last_mut() {
                Some((shorter, rules)) if word.starts_with(shorter) => rules.push(rule),
                _ => distinct.push((word, vec![rule])),
            }
        }
        let (mut search, mut unsearched_rules) = (Self::default(), Vec::new());
        for chunk in distinct.chunks(MAX_WORDS) {
            let mut config = Config::new();
            config.match_kind(MatchKind::LeftmostFirst);
            let searcher = config.builder().extend(chunk.iter().map(|(word, _)| word)).build();
            let rules: Vec<Vec<u16>> = chunk.iter().map(|(_, rules)| rules.clone()).collect();
            match searcher {
                Some(searcher) => search.searchers.push((searcher, rules)),
                None => unsearched_rules.extend(rules.into_iter().flatten()),
            }
        }
        unsearched_rules.sort_unstable();
        unsearched_rules.dedup();
        (search, unsearched_rules)
    }

    /// Whether there are no words.
    pub(super) fn is_empty(&self) -> bool {
        self.searchers.is_empty()
    }

    /// Calls `visit` with each position of a word and the rules to try there.
    pub(super) fn for_each_match(&self, text: &str, mut visit: impl FnMut(usize, &[u16])) {
        for (searcher, rules) in &self.searchers {
            let mut from = 0;
            while let Some(found) = searcher.find_in(text.as_bytes(), Span::from(from..text.len())) {
                let id = |id: PatternID| id.as_usize();
                visit(found.start(), rules.get(id(found.pattern())).map_or(&[], Vec::as_slice));
                from = found.start() + 1;
            }
        }
    }
}
