//! **What**: two word lists: given names of many languages, and words that are no names however they are written.
//! **Why**: a capital letter alone says little. **Invariants**: both lists are sorted (`tests`); a look-up compares a
//! few words and allocates nothing. **Not here**: what is made of it (`shape`).

use std::sync::LazyLock;

/// Given names as they are written. From the public lists of the US census of 1990 and the name lists of Faker (MIT), without those that are
/// common words.
const GIVEN_TEXT: &str = include_str!("../../../config/rules/words/given.txt");
/// Common words, places, products, in lower case: counted in documentation and source code.
const COMMON_TEXT: &str = include_str!("../../../config/rules/words/common.txt");

static GIVEN: LazyLock<Vec<&'static str>> = LazyLock::new(|| GIVEN_TEXT.lines().collect());
static COMMON: LazyLock<Vec<&'static str>> = LazyLock::new(|| COMMON_TEXT.lines().collect());

/// Common words that are family names too: they are, behind a given name.
const FAMILY: &[&str] = &[
    "banks",
    "bell",
    "best",
    "bishop",
    "black",
    "blue",
    "branch",
    "bridges",
    "bright",
    "brown",
    "bush",
    "case",
    "cherry",
    "christian",
    "church",
    "craft",
    "cross",
    "day",
    "english",
    "field",
    "fields",
    "fox",
    "french",
    "gates",
    "golden",
    "good",
    "gray",
    "green",
    "grey",
    "head",
    "hill",
    "hood",
    "house",
    "king",
    "knight",
    "lake",
    "lane",
    "law",
    "little",
    "long",
    "love",
    "marks",
    "may",
    "miles",
    "page",
    "park",
    "parks",
    "pope",
    "price",
    "powers",
    "rich",
    "rivers",
    "roman",
    "rose",
    "short",
    "singer",
    "small",
    "smart",
    "stone",
    "street",
    "strong",
    "sharp",
    "swift",
    "wall",
    "washington",
    "waters",
    "weeks",
    "west",
    "white",
    "winter",
    "winters",
    "wise",
    "wolf",
    "wood",
    "woods",
    "young",
    "cook",
    "carpenter",
    "austin",
    "houston",
    "england",
    "ireland",
    "santiago",
    "valencia",
];

/// Longest word that is looked up, bytes.
const LONGEST: usize = 32;

/// All given names.
pub(in crate::redaction) fn given_names() -> impl Iterator<Item = &'static str> {
    GIVEN.iter().copied()
}

/// Whether a word is a given name of the list. It begins with a capital letter; all in capitals will do.
pub(in crate::redaction) fn is_given(word: &str) -> bool {
    let list = &*GIVEN;
    if list.binary_search(&word).is_ok() {
        return true;
    }
    // all in capitals
    let mut buffer = [0_u8; LONGEST];
    let Some(copy) = buffer.get_mut(..word.len()).filter(|_| word.len() > 2 && word.is_ascii()) else { return false };
    copy.copy_from_slice(word.as_bytes());
    if !copy.iter().all(u8::is_ascii_uppercase) {
        return false;
    }
    copy.iter_mut().skip(1).for_each(|byte| byte.make_ascii_lowercase());
    std::str::from_utf8(copy).is_ok_and(|word| list.binary_search(&word).is_ok())
}

/// As [`is_given`], for a word in lower case.
pub(in crate::redaction) fn is_given_lower(word: &str) -> bool {
    let mut buffer = [0_u8; LONGEST];
    let Some(copy) = buffer.get_mut(..word.len()).filter(|_| word.len() > 2 && word.is_ascii()) else { return false };
    copy.copy_from_slice(word.as_bytes());
    copy.iter_mut().take(1).for_each(|byte| byte.make_ascii_uppercase());
    std::str::from_utf8(copy).is_ok_and(|word| GIVEN.binary_search(&word).is_ok())
}

/// Whether a word, in whatever case, is common and so no name by itself.
pub(in crate::redaction) fn is_common(word: &str) -> bool {
    let mut buffer = [0_u8; LONGEST];
    let Some(copy) = buffer.get_mut(..word.len()) else { return false };
    copy.copy_from_slice(word.as_bytes());
    copy.make_ascii_lowercase();
    let Ok(lower) = std::str::from_utf8(copy) else { return false };
    let found = |word: &str| COMMON.binary_search(&word).is_ok();
    // plurals and forms of common words are common
    found(lower)
        || ["s", "ed", "ing", "'s"].iter().any(|end| {
            lower.strip_suffix(end).is_some_and(|stem| stem.len() > 3 && found(stem) && !is_given_lower(lower))
        })
}

/// Whether a common word is a family name too.
pub(in crate::redaction) fn is_family(word: &str) -> bool {
    FAMILY.iter().any(|family| family.eq_ignore_ascii_case(word))
}

#[cfg(test)]
pub(in crate::redaction) fn sorted() -> bool {
    GIVEN.is_sorted() && COMMON.is_sorted()
}
