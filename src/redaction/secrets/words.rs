//! **What**: [`Words`], a set of short words. **Why**: lists of words are data that grows; a search in order costs a
//! few comparisons. **Invariants**: ASCII case does not count; no allocation in a look-up. **Not here**: the lists.

/// Longest word of a set.
const LONGEST: usize = 24;

/// A set of words.
pub(super) struct Words(Vec<&'static [u8]>);

impl Words {
    /// The words of `list`, which blanks part, in lower case.
    pub(super) fn new(list: &'static str) -> Self {
        let mut words: Vec<&[u8]> = list.split_ascii_whitespace().map(str::as_bytes).collect();
        words.sort_unstable();
        Self(words)
    }

    /// Whether `word` is one of them.
    pub(super) fn has(&self, word: &[u8]) -> bool {
        let mut lower = [0_u8; LONGEST];
        lower.iter_mut().zip(word).for_each(|(to, from)| *to = from.to_ascii_lowercase());
        lower.get(..word.len()).is_some_and(|lower| self.0.binary_search(&lower).is_ok())
    }
}
