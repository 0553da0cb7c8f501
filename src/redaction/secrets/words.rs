//! **What**: [`Words`], a set of short words. **Why**: lists of words are data that grows; a search in order costs a
//! few comparisons. **Invariants**: ASCII case does not count; no allocation in a look-up. **Not here**: the lists.

/// Longest word of a set.
const LONGEST: usize = 24;

/// A set of words.
pub(super) struct Words {
    sorted: Vec<&'static [u8]>,
    /// Lengths of words by the lowest five bits of their first letter: most words are refused by that.
    lengths: [u32; 32],
}

impl Words {
    /// The words of `list`, which blanks part, in lower case.
    pub(super) fn new(list: &'static str) -> Self {
        let mut words: Vec<&[u8]> = list.split_ascii_whitespace().map(str::as_bytes).collect();
        words.sort_unstable();
        let mut lengths = [0_u32; 32];
        for word in &words {
            if let Some(slot) = word.first().and_then(|first| lengths.get_mut(usize::from(first & 31))) {
                *slot |= 1 << word.len().min(31);
            }
        }
        Self { sorted: words, lengths }
    }

    /// Whether `word` is one of them.
    pub(super) fn has(&self, word: &[u8]) -> bool {
        let slot = word.first().and_then(|first| self.lengths.get(usize::from(first & 31))).copied().unwrap_or(0);
        if slot >> word.len().min(31) & 1 == 0 {
            return false;
        }
        let mut lower = [0_u8; LONGEST];
        lower.iter_mut().zip(word).for_each(|(to, from)| *to = from.to_ascii_lowercase());
        lower.get(..word.len()).is_some_and(|lower| self.sorted.binary_search(&lower).is_ok())
    }
}
