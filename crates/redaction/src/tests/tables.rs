//! Tests of the look-up tables against plain lists.

use proptest::prelude::*;

use super::super::action::WordAction;
use super::super::anchors::Anchors;
use super::super::sets::{ByteSet, WordSet};
use super::super::stems::{Stem, Stems};

/// A byte set contains exactly the given bytes; runs end where the set does.
#[test]
fn sets_of_bytes_are_what_they_say() {
    static SET: ByteSet = ByteSet::new(b"_-\0\xff").and_alnum();
    for byte in 0..=u8::MAX {
        assert_eq!(SET.contains(byte), byte.is_ascii_alphanumeric() || b"_-\0\xff".contains(&byte), "{byte}");
    }
    assert_eq!(
        (
            SET.count_leading(b"ab-c d"),
            SET.count_trailing(b"ab-c d"),
            SET.count_leading(b""),
            SET.count_trailing(b"abc")
        ),
        (4, 1, 0, 3)
    );
    assert!(ByteSet::new(b"").and_non_ascii().contains(0x80) && !ByteSet::new(b"").and_non_ascii().contains(0x7f));
}

/// A word set ignores case, and contains no prefix, longer word, or character with the same lower bits.
#[test]
fn sets_of_words_are_what_they_say() {
    let words = WordSet::new("a street straße first-name internationalisation");
    for word in ["a", "A", "Street", "STREET", "straße", "First-Name", "Internationalisation"] {
        assert!(words.contains(word), "{word}");
    }
    for word in ["", "b", "stree", "streets", "first\rname", "internationalisatiox", "xnternationalisation"] {
        assert!(!words.contains(word), "{word:?}");
    }
}

const WORDS: [(&str, bool, bool); 11] = [
    ("to", false, false),
    ("key", false, true),
    ("api", true, false),
    ("name", false, false),
    ("card", false, true),
    ("token", true, true),
    ("tokens", false, false),
    ("first-name", false, false),
    ("x_long_word", true, false),
    ("contact", false, true),
    ("contact no", false, false),
];

proptest! {
    /// Stems of all widths are found exactly where a plain comparison at word starts finds them.
    #[test]
    fn stems_are_found_as_by_comparing(
        text in "((to|TO|key|Key|api|API|name|card|token|TOKENS|first-name|x_long_word|contact( no)?|[a-z]{1,4})[ ,\r._/A-Z0-9-]{0,2}){0,40}",
    ) {
        let stem = |(index, (text, exact, whole)): (usize, (&str, bool, bool))| {
            Stem::new(text.as_bytes(), exact, whole, WordAction::Context(index as u16))
        };
        let mut anchors = Anchors::default();
        anchors.find(text.as_bytes(), &Stems::new(WORDS.into_iter().enumerate().map(stem).collect()));
        let bytes = text.as_bytes();
        let byte = |at: usize| bytes.get(at).copied();
        let starts = |at: usize| {
            let before = at.checked_sub(1).and_then(byte).unwrap_or(b' ');
            let camel = bytes[at].is_ascii_uppercase() && before.is_ascii_lowercase();
            bytes[at].is_ascii_alphanumeric() && (!before.is_ascii_alphanumeric() || camel)
        };
        let stands = |at: usize, (word, exact, whole): (&str, bool, bool)| {
            let found = bytes.get(at..at + word.len());
            let same = found.is_some_and(|f| if exact { f == word.as_bytes() } else { f.eq_ignore_ascii_case(word.as_bytes()) });
            // A stem of two letters must be a whole word
            same && !((whole || word.len() == 2) && byte(at + word.len()).is_some_and(|next| next.is_ascii_alphanumeric()))
        };
        let mut wanted: Vec<(usize, usize)> = Vec::new();
        for at in (0..bytes.len()).filter(|at| starts(*at)) {
            wanted.extend(WORDS.iter().enumerate().filter(|(_, word)| stands(at, **word)).map(|(index, _)| (at, index)));
        }
        let index = |action: WordAction| if let WordAction::Context(index) = action { usize::from(index) } else { usize::MAX };
        let mut found: Vec<(usize, usize)> = anchors.words.iter().map(|word| (word.start, index(word.action))).collect();
        found.sort_unstable();
        prop_assert_eq!(found, wanted);
    }
}
