//! [`WordScore`]: whether a value is made of words or is random. A trigram (three letters in a row) is usual if
//! the lists of common words and names contain it at least twice. Of the trigrams of words, names and identifiers some
//! nine of ten are usual, of random letters one of four. Digits and marks make a trigram unusual, except a short number
//! after a word.

use std::sync::LazyLock;

use crate::wordlists::{COMMON_WORDS, FAMILY_NAMES, GIVEN_NAMES};

/// A bit for each trigram, 32 numbers a letter.
static USUAL: LazyLock<Box<[u64; 512]>> = LazyLock::new(|| {
    let (mut once, mut twice) = (Box::new([0_u64; 512]), Box::new([0_u64; 512]));
    for word in [GIVEN_NAMES, COMMON_WORDS, FAMILY_NAMES].iter().flat_map(|text| text.split_ascii_whitespace()) {
        for (slot, bit) in word.as_bytes().windows(3).filter_map(bit_of) {
            if let (Some(once), Some(twice)) = (once.get_mut(slot), twice.get_mut(slot)) {
                *twice |= *once & bit;
                *once |= bit;
            }
        }
    }
    twice
});

/// The number and bit of a trigram in [`USUAL`]; `None` if it has anything but letters.
fn bit_of(trigram: &[u8]) -> Option<(usize, u64)> {
    let letter = |byte: &u8| byte.is_ascii_alphabetic().then(|| usize::from((byte | 0x20) - b'a'));
    let number = trigram.iter().try_fold(0, |number, byte| Some(number << 5 | letter(byte)?))?;
    Some((number / 64, 1 << (number % 64)))
}

fn is_usual(usual: &[u64; 512], trigram: &[u8]) -> bool {
    bit_of(trigram).is_some_and(|(slot, bit)| usual.get(slot).is_some_and(|bits| bits & bit != 0))
}

/// A piece without up to three digits after its letters: `sha256` is a word.
fn without_number(piece: &[u8]) -> &[u8] {
    let digits = piece.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let letters = piece.get(..piece.len() - digits).unwrap_or_default();
    if digits <= 3 && letters.iter().all(u8::is_ascii_alphabetic) { letters } else { piece }
}

/// Trigrams of neighbouring bytes in the pieces of a value between `-`, `_`, `.`, `/`, `:` and blanks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WordScore {
    trigrams: usize,
    unusual: usize,
}

impl WordScore {
    pub(crate) fn of(value: &[u8]) -> Self {
        let (usual, mut score) = (&*USUAL, Self::default());
        for piece in value.split(|byte| b"-_./: ".contains(byte)) {
            score.trigrams += piece.len().saturating_sub(2);
            score.unusual += without_number(piece).windows(3).filter(|trigram| !is_usual(usual, trigram)).count();
        }
        score
    }

    /// Whether at most two trigrams of five are unusual. Pieces of one or two bytes have none and count as words.
    pub(crate) fn is_words(self) -> bool {
        self.unusual * 5 <= self.trigrams * 2
    }

    #[cfg(test)]
    pub(crate) fn trigrams(self) -> usize {
        self.trigrams
    }

    /// Number of unusual trigrams.
    pub(crate) fn unusual(self) -> usize {
        self.unusual
    }
}

/// Whether a value is made of words: a name rather than a random value.
pub(crate) fn is_words(value: &[u8]) -> bool {
    WordScore::of(value).is_words()
}
