//! Four word lists: given names, family names, words that may be given names, and common words. The lists are
//! sorted (`tests`). A look-up compares few words and allocates nothing. `name_shape` uses them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use crate::sets::WordSet;
use crate::wordlists::{COMMON_WORDS, FAMILY_NAMES, GIVEN_NAMES};

/// Given names that are also common words or places; they count as names before a listed family name.
const AMBIGUOUS_GIVEN_TEXT: &str = include_str!("../../../../config/rules/words/ambiguous_given_names.txt");

static GIVEN: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(GIVEN_NAMES));
/// The first letters of given names with other characters: `Jos` of `José`.
static GIVEN_STARTS: LazyLock<WordSet> = LazyLock::new(|| {
    let start =
        |name: &'static str| name.split(|c: char| !c.is_ascii_alphanumeric()).next().filter(|start| *start != name);
    let names = GIVEN_NAMES.split_ascii_whitespace().chain(AMBIGUOUS_GIVEN_TEXT.split_ascii_whitespace());
    WordSet::from_words(names.filter_map(start).collect::<BTreeSet<_>>())
});
static COMMON: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(COMMON_WORDS));
static AMBIGUOUS_GIVEN: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(AMBIGUOUS_GIVEN_TEXT));
static FAMILY: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(FAMILY_NAMES));

/// Whether a given name may begin with these letters, which no other letter follows.
pub(crate) fn may_begin_given_name(letters: &[u8]) -> bool {
    GIVEN.contains(letters) || AMBIGUOUS_GIVEN.contains(letters) || GIVEN_STARTS.contains(letters)
}

/// Whether a word is a listed given name, capitalised or all in capitals.
pub(crate) fn is_given_name(word: &str) -> bool {
    let is_listed = |part: &str| part.starts_with(char::is_uppercase) && GIVEN.contains(part);
    let is_short_capitals = word.len() < 4 && word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_uppercase());
    !is_short_capitals && (is_listed(word) || word.contains('-') && word.split('-').all(is_listed))
}

/// Like [`is_given_name`], for a lower-case word.
pub(crate) fn is_lower_given_name(word: &str) -> bool {
    word.len() > 2 && word.is_ascii() && GIVEN.contains(word)
}

/// Whether a word, ignoring case, is common, so that it is no name by itself.
pub(crate) fn is_common_word(word: &str) -> bool {
    // Inflected forms of common words are common as well
    let is_inflected = |ending: &str| {
        let stem_len = word.len().saturating_sub(ending.len());
        let (stem, end) = word.split_at_checked(stem_len).unwrap_or_default();
        stem_len > 3 && end.eq_ignore_ascii_case(ending) && COMMON.contains(stem) && !is_lower_given_name(word)
    };
    COMMON.contains(word) || ["s", "ed", "ing", "'s"].into_iter().any(is_inflected)
}

/// Whether a word is a listed family name.
pub(crate) fn is_family_name(word: &str) -> bool {
    FAMILY.contains(word)
}

/// Whether a word may be a given name or something else.
pub(crate) fn may_be_given_name(word: &str) -> bool {
    word.chars().nth(1).is_some_and(char::is_lowercase)
        && word.starts_with(char::is_uppercase)
        && AMBIGUOUS_GIVEN.contains(word)
}

#[cfg(test)]
pub(crate) fn sorted() -> bool {
    let texts = [GIVEN_NAMES, COMMON_WORDS, AMBIGUOUS_GIVEN_TEXT, FAMILY_NAMES];
    texts.into_iter().all(|text| text.split_ascii_whitespace().is_sorted())
}
