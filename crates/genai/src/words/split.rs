//! The splitter itself: runs of characters of one kind, and joined words divided by a list.

use foldhash::HashMap;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CharKind {
    Upper,
    Lower,
    /// A letter of a script without capitals.
    Uncased,
    Digit,
    /// A blank, a mark, or a letter that is not seen (Hangul fillers).
    Mark,
}

impl CharKind {
    pub(crate) fn of(c: char) -> Self {
        match c {
            'a'..='z' => Self::Lower,
            'A'..='Z' => Self::Upper,
            '0'..='9' => Self::Digit,
            '\0'..='\x7f' | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' => Self::Mark,
            _ if c.is_uppercase() => Self::Upper,
            _ if c.is_lowercase() => Self::Lower,
            _ if c.is_alphabetic() => Self::Uncased,
            _ if c.is_numeric() => Self::Digit,
            _ => Self::Mark,
        }
    }
}

/// Runs of characters of one kind. A capital and the small letters behind it are one run.
pub(crate) struct Runs<'t>(pub(crate) &'t str);

impl<'t> Iterator for Runs<'t> {
    type Item = (CharKind, &'t str);

    fn next(&mut self) -> Option<Self::Item> {
        let kind = CharKind::of(self.0.chars().next()?);
        let run = |text: &str, wanted: CharKind| text.find(|c: char| CharKind::of(c) != wanted).unwrap_or(text.len());
        let mut end = run(self.0, kind);
        if kind == CharKind::Upper {
            let (capitals, after) = self.0.split_at_checked(end)?;
            let last = capitals.char_indices().next_back().map_or(0, |(at, _)| at);
            end = match (run(after, CharKind::Lower), last) {
                (0, _) => end,
                (small, 0) => end + small,
                // `HTTPServer` is `HTTP` and `Server`.
                (_, last) => last,
            };
        }
        let (text, rest) = self.0.split_at_checked(end)?;
        self.0 = rest;
        Some((kind, text))
    }
}

/// The words of a text.
pub fn split_words(text: &str) -> impl Iterator<Item = &str> {
    let is_word = |kind: CharKind| !matches!(kind, CharKind::Digit | CharKind::Mark);
    Runs(text).filter(move |(kind, _)| is_word(*kind)).map(|(_, word)| word)
}

/// Divides letters into at most `max_words` known words, which may be written as one (`inputtokens`), each as long as
/// possible. The result begins with the last. `None`: a word is unknown.
pub(crate) fn divide_words<'w, M>(
    (known, longest): (&'w HashMap<Box<str>, M>, usize),
    letters: &str,
    max_words: usize,
) -> Option<Vec<&'w M>> {
    if letters.is_empty() {
        return Some(Vec::new());
    }
    (1..=letters.len().min(longest)).rev().filter(|_| max_words > 0).find_map(|end| {
        let (first, rest) = letters.split_at_checked(end)?;
        let first = known.get(first)?;
        let mut words = divide_words((known, longest), rest, max_words - 1)?;
        words.push(first);
        Some(words)
    })
}
