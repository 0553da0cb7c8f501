//! **What**: the words that users' patterns begin with, found anywhere in a text. **Why**: a user's pattern matches
//! within words too, and a hundred of them must cost little. **Invariants**: a pattern whose prefixes are known is
//! tried wherever one of them stands, also where several overlap. **Not here**: built-in rules (`stems`).

use aho_corasick::packed::{Config, MatchKind, Searcher};
use aho_corasick::{PatternID, Span};

/// Most words of one searcher: above, it would lose its speed.
const MOST: usize = 64;
/// Bytes of a word that are looked for.
const LONGEST: usize = 8;
/// Shortest word that is worth it.
pub(super) const SHORTEST: usize = 3;

/// Words and the rules that begin with them.
#[derive(Default)]
pub(super) struct Literals {
    searchers: Vec<(Searcher, Vec<Vec<u16>>)>,
}

impl Literals {
    /// A table of words. The rules of those that find no place in it come back: they have to be tried everywhere.
    pub(super) fn new(mut words: Vec<(Vec<u8>, u16)>) -> (Self, Vec<u16>) {
        words.iter_mut().for_each(|(word, _)| word.truncate(LONGEST));
        words.sort();
        words.dedup();
        // a word that begins with another is found by that: one search tells one word a place
        let mut distinct: Vec<(Vec<u8>, Vec<u16>)> = Vec::new();
        for (word, rule) in words {
            match distinct.last_mut() {
                Some((shorter, rules)) if word.starts_with(shorter) => rules.push(rule),
                _ => distinct.push((word, vec![rule])),
            }
        }
        let (mut made, mut left) = (Self::default(), Vec::new());
        for chunk in distinct.chunks(MOST) {
            let mut config = Config::new();
            config.match_kind(MatchKind::LeftmostFirst);
            let searcher = config.builder().extend(chunk.iter().map(|(word, _)| word)).build();
            let rules: Vec<Vec<u16>> = chunk.iter().map(|(_, rules)| rules.clone()).collect();
            match searcher {
                Some(searcher) => made.searchers.push((searcher, rules)),
                None => left.extend(rules.into_iter().flatten()),
            }
        }
        left.sort_unstable();
        left.dedup();
        (made, left)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.searchers.is_empty()
    }

    /// Each place of a word, and the rules to try there.
    pub(super) fn each(&self, text: &str, mut visit: impl FnMut(usize, &[u16])) {
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
