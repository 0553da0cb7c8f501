//! Four word lists: given names, family names, words that may be given names, and common words. The lists are
//! sorted (`tests`). A look-up compares few words and allocates nothing. `name_shape` uses them.

use std::sync::LazyLock;

use crate::sets;
use crate::wordlists::{COMMON_WORDS, FAMILY_NAMES, GIVEN_NAMES};

static GIVEN: LazyLock<WordIndex> = LazyLock::new(|| WordIndex::new(GIVEN_NAMES));
static COMMON: LazyLock<WordIndex> = LazyLock::new(|| WordIndex::new(COMMON_WORDS));

/// A hash set of the words in a text.
struct WordIndex {
    text: &'static str,
    /// Start of each word in the text; string slices would take four times the space.
    words: Box<[u32]>,
    /// Hash slots: number of a word, counted from 1; 0 if free. At least half are free.
    slots: Vec<u16>,
}

impl WordIndex {
    /// Builds the set of the words in a text, separated by white space.
    fn new(text: &'static str) -> Self {
        let word_start = |(at, byte): (usize, &u8)| {
            let is_first =
                at.checked_sub(1).and_then(|before| text.as_bytes().get(before)).is_none_or(u8::is_ascii_whitespace);
            (is_first && !byte.is_ascii_whitespace()).then(|| u32::try_from(at).ok()).flatten()
        };
        let words: Box<[u32]> = text.as_bytes().iter().enumerate().filter_map(word_start).collect();
        let mut slots = vec![0_u16; (words.len() * 2).next_power_of_two()];
        let mask = slots.len() - 1;
        for (number, word) in (1_u16..).zip(text.split_ascii_whitespace()) {
            let mut at = sets::hash(word.as_bytes()) & mask;
            while slots.get(at).is_some_and(|slot| *slot != 0) {
                at = (at + 1) & mask;
            }
            if let Some(slot) = slots.get_mut(at) {
                *slot = number;
            }
        }
        Self { text, words, slots }
    }

    fn iter(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.text.split_ascii_whitespace()
    }

    /// Whether the word with a number equals `word`.
    fn is_word(&self, number: u16, word: &[u8]) -> bool {
        let start = self.words.get(usize::from(number) - 1);
        let after = start.and_then(|start| self.text.as_bytes().get(*start as usize..)?.strip_prefix(word));
        after.is_some_and(|after| after.first().is_none_or(u8::is_ascii_whitespace))
    }

    fn contains(&self, word: &[u8]) -> bool {
        let mut at = sets::hash(word) & (self.slots.len() - 1);
        loop {
            match self.slots.get(at) {
                None | Some(0) => return false,
                Some(number) if self.is_word(*number, word) => return true,
                Some(_) => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }
}

/// Given names that are also common words or places; they count as names before a listed family name.
const AMBIGUOUS_GIVEN_TEXT: &str = include_str!("../../../../config/rules/words/ambiguous_given_names.txt");

static AMBIGUOUS_GIVEN: LazyLock<WordIndex> = LazyLock::new(|| WordIndex::new(AMBIGUOUS_GIVEN_TEXT));
static FAMILY: LazyLock<WordIndex> = LazyLock::new(|| WordIndex::new(FAMILY_NAMES));

/// Longest word that is looked up, in bytes.
const LONGEST: usize = 32;

/// All given names, including ambiguous ones.
pub(crate) fn given_names() -> impl Iterator<Item = &'static str> {
    GIVEN.iter().chain(AMBIGUOUS_GIVEN.iter())
}

/// Whether a word is a listed given name, capitalised or all in capitals.
pub(crate) fn is_given_name(word: &str) -> bool {
    let list = &*GIVEN;
    let is_double_name = || word.contains('-') && word.split('-').all(|part| list.contains(part.as_bytes()));
    if list.contains(word.as_bytes()) || is_double_name() {
        return true;
    }
    if !word.bytes().all(|byte| byte.is_ascii_uppercase()) {
        return false;
    }
    let mut buffer = [0_u8; LONGEST];
    let Some(copy) = buffer.get_mut(..word.len()).filter(|_| word.len() > 3) else { return false };
    copy.copy_from_slice(word.as_bytes());
    copy.iter_mut().skip(1).for_each(|byte| byte.make_ascii_lowercase());
    list.contains(copy)
}

/// Like [`is_given_name`], for a lower-case word.
pub(crate) fn is_lower_given_name(word: &str) -> bool {
    is_lower_given_name_bytes(word.as_bytes())
}

fn is_lower_given_name_bytes(word: &[u8]) -> bool {
    let mut buffer = [0_u8; LONGEST];
    let Some(copy) = buffer.get_mut(..word.len()).filter(|_| word.len() > 2 && word.is_ascii()) else { return false };
    copy.copy_from_slice(word);
    copy.iter_mut().take(1).for_each(|byte| byte.make_ascii_uppercase());
    GIVEN.contains(copy)
}

/// Whether a word, ignoring case, is common, so that it is no name by itself.
pub(crate) fn is_common_word(word: &str) -> bool {
    let is_listed = |word: &[u8]| COMMON.contains(word);
    let endings: [&[u8]; 4] = [b"s", b"ed", b"ing", b"'s"];
    // Inflected forms of common words are common as well
    with_lower_case(word, |lower| {
        is_listed(lower)
            || endings.iter().any(|ending| {
                lower
                    .strip_suffix(*ending)
                    .is_some_and(|stem| stem.len() > 3 && is_listed(stem) && !is_lower_given_name_bytes(lower))
            })
    })
}

/// Whether a word is a listed family name.
pub(crate) fn is_family_name(word: &str) -> bool {
    with_lower_case(word, |lower| FAMILY.contains(lower))
}

/// Whether a word may be a given name or something else.
pub(crate) fn may_be_given_name(word: &str) -> bool {
    AMBIGUOUS_GIVEN.contains(word.as_bytes())
}

/// Passes a word in lower case to `is_listed`; false if it is too long.
fn with_lower_case(word: &str, is_listed: impl FnOnce(&[u8]) -> bool) -> bool {
    let mut buffer = [0_u8; LONGEST];
    let Some(copy) = buffer.get_mut(..word.len()) else { return false };
    copy.iter_mut().zip(word.bytes()).for_each(|(to, byte)| *to = byte.to_ascii_lowercase());
    is_listed(copy)
}

#[cfg(test)]
pub(crate) fn sorted() -> bool {
    [&*GIVEN, &*COMMON, &*AMBIGUOUS_GIVEN, &*FAMILY].iter().all(|list| list.iter().is_sorted())
}
