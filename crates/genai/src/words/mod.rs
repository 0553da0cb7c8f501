//! The splitter of texts into words, for values, keys and names. Words end at blanks and marks, where a capital begins
//! a word (`aB`, `ABc`), and at digits. Letters of scripts without blanks are counted one by one.
//!
//! A text that spells its words in another way has no count and so fits nowhere: hexadecimal, base64, letters between
//! digits, digits for letters, signs and invisible characters. Counting is linear and allocates nothing, except to
//! decode.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use foldhash::HashMap;
use serde::Deserialize;

use super::opaque::{OpaqueKind, is_encoded_text, is_opaque};

/// Maximum number of words in a name, and maximum size of one with blanks, bytes.
pub(super) const MAX_NAME_WORDS: usize = 3;
const MAX_NAME_BYTES: usize = 64;
/// The same for a name without blanks, neutral words included (`mcp__jira__get_issue`, an ARN).
const MAX_JOINED_WORDS: usize = 12;
pub(super) const MAX_JOINED_BYTES: usize = 256;
/// Maximum number of segments between dots, and of words in all of them that are not neutral.
const MAX_SEGMENTS: usize = 8;
const MAX_DOTTED_WORDS: usize = 5;
/// A run of more letters than this counts as several words, because it may be a sentence without its blanks.
const LETTERS_PER_WORD: usize = 16;
/// Maximum number of characters in scripts that put no blanks between words.
const MAX_UNSPACED: usize = 6;
/// Runs of so few letters beside a digit (`v1`, `4o`, `01HZ1V4`) are no words, unless there are more such runs.
const MAX_LETTERS_BESIDE_DIGIT: usize = 2;
const MAX_RUNS_BESIDE_DIGITS: usize = 4;
/// Maximum number of groups of digits: each may stand for a letter.
const MAX_DIGIT_GROUPS: usize = 8;
/// Maximum number of marks, which may be Morse code, and of those outside of ASCII, such as flags that spell a word.
const MAX_MARKS: usize = 24;
const MAX_FOREIGN_MARKS: usize = 4;
/// Minimum length of an id inside a text, bytes.
const MIN_ID_BYTES: usize = 7;

/// Words of `config/words.yaml`, in small letters.
#[derive(Default, Deserialize)]
#[serde(from = "String")]
pub(super) struct WordList(Vec<Box<str>>);

impl From<String> for WordList {
    fn from(text: String) -> Self {
        let mut words: Vec<Box<str>> = text.split(',').map(|word| word.trim().into()).collect();
        words.sort_unstable();
        Self(words)
    }
}

impl WordList {
    pub(super) fn contains(&self, word: &str) -> bool {
        self.0.binary_search_by(|known| (**known).cmp(word)).is_ok()
    }

    pub(super) fn contains_in_any_case(&self, word: &str) -> bool {
        let lower = || word.bytes().map(|byte| byte.to_ascii_lowercase());
        self.0.binary_search_by(|known| known.bytes().cmp(lower())).is_ok()
    }
}

/// `config/words.yaml`, which describes the lists.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WordLists {
    pub(super) neutral: WordList,
    pub(super) route: WordList,
    pub(super) domains: WordList,
    pub(super) directories: WordList,
    pub(super) source_endings: WordList,
    pub(super) id_prefixes: WordList,
    pub(super) clause_words: WordList,
    pub(super) name_keys: WordList,
    pub(super) forms: BTreeMap<OpaqueKind, Vec<String>>,
    pub(super) form_parts: BTreeMap<String, String>,
}

/// An unreadable file would let nothing stay; tests read every list.
pub(super) static LISTS: LazyLock<WordLists> = LazyLock::new(|| {
    let text = include_str!("../../../../config/words.yaml");
    config::load::parse_data("config/words.yaml", text).unwrap_or_default()
});

#[derive(Clone, Copy, PartialEq, Eq)]
enum CharKind {
    Upper,
    Lower,
    /// A letter of a script without capitals.
    Uncased,
    Digit,
    /// A blank, a mark, or a letter that is not seen (Hangul fillers).
    Mark,
}

impl CharKind {
    fn of(c: char) -> Self {
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
struct Runs<'t>(&'t str);

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
pub(super) fn divide_words<'w, M>(
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

/// How many words a text has.
#[derive(Clone, Copy, Default)]
pub(super) struct WordCount {
    pub(super) words: usize,
    /// Words that are not neutral.
    pub(super) telling: usize,
    /// Characters that no identifier has: blanks, and marks outside of ASCII.
    pub(super) blanks: usize,
    runs_beside_digits: usize,
    digit_groups: usize,
    marks: usize,
    foreign_marks: usize,
    unspaced: usize,
}

impl WordCount {
    /// Counts the words of a text. `None`: the text is longer than `max_bytes`, or spells words in a way that is not
    /// counted.
    pub(super) fn of(text: &str, max_bytes: usize) -> Option<Self> {
        // Small letters alone encode nothing.
        let may_be_encoded = || text.bytes().any(|byte| !byte.is_ascii_lowercase());
        if text.len() > max_bytes || has_percent_escape(text) || (may_be_encoded() && is_encoded_text(text)) {
            return None;
        }
        let mut count = Self::default();
        for token in text.split(|c: char| c != '-' && CharKind::of(c) == CharKind::Mark).filter(|token| !is_id(token)) {
            for piece in token.split('-').filter(|piece| piece.len() == token.len() || !is_id(piece)) {
                count.add_piece(piece);
            }
        }
        for c in text.chars() {
            let is_foreign = !c.is_ascii() && !is_unspaced(c);
            count.unspaced += usize::from(is_unspaced(c));
            if CharKind::of(c) == CharKind::Mark {
                count.marks += 1;
                count.foreign_marks += usize::from(is_foreign);
                count.blanks += usize::from(!c.is_ascii_graphic());
            }
        }
        let more = match count.runs_beside_digits {
            0..=MAX_RUNS_BESIDE_DIGITS => 0,
            many => many,
        };
        let more = more + usize::from(count.unspaced > 0);
        (count.words, count.telling) = (count.words + more, count.telling + more);
        let is_readable = count.unspaced <= MAX_UNSPACED
            && count.digit_groups <= MAX_DIGIT_GROUPS
            && count.marks <= MAX_MARKS
            && count.foreign_marks <= MAX_FOREIGN_MARKS;
        is_readable.then_some(count)
    }

    /// Adds letters and digits without a mark between them.
    fn add_piece(&mut self, piece: &str) {
        let (mut runs, mut after_digit) = (Runs(piece), false);
        while let Some((kind, text)) = runs.next() {
            let before_digit = runs.0.starts_with(|c: char| CharKind::of(c) == CharKind::Digit);
            let beside_digit = after_digit || before_digit;
            after_digit = kind == CharKind::Digit;
            let letters = text.chars().count();
            if after_digit {
                self.digit_groups += 1;
            } else if beside_digit && letters <= MAX_LETTERS_BESIDE_DIGIT {
                self.runs_beside_digits += 1;
            } else if !text.starts_with(is_unspaced) {
                let words = letters.div_ceil(LETTERS_PER_WORD);
                self.words += words;
                self.telling += if LISTS.neutral.contains_in_any_case(text) { 0 } else { words };
            }
        }
    }

    /// Returns true for a text without blanks and with at most so many words that are not neutral.
    pub(super) fn is_joined(&self, max_telling: usize) -> bool {
        self.blanks == 0 && self.telling <= max_telling && self.words <= MAX_JOINED_WORDS.max(max_telling)
    }
}

fn has_percent_escape(text: &str) -> bool {
    let is_escape = |after: &str| after.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2;
    text.split('%').skip(1).any(is_escape)
}

/// Returns true for a generated id inside a text.
fn is_id(text: &str) -> bool {
    text.len() >= MIN_ID_BYTES
        && text.bytes().any(|byte| byte.is_ascii_digit())
        && text.bytes().any(|byte| byte.is_ascii_alphabetic())
        && is_opaque(text)
}

/// Returns true for letters and punctuation of scripts that put no blanks between words: Thai, Lao, Tibetan, Burmese,
/// Khmer, Chinese, Japanese.
pub(super) fn is_unspaced(c: char) -> bool {
    matches!(c, '\u{e00}'..='\u{fff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{19e0}'..='\u{19ff}'
        | '\u{3000}'..='\u{30ff}' | '\u{3105}'..='\u{312f}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{9fff}'
        | '\u{a9e0}'..='\u{a9ff}' | '\u{aa60}'..='\u{aa7f}' | '\u{f900}'..='\u{faff}' | '\u{ff01}'..='\u{ff9f}'
        | '\u{20000}'..='\u{3ffff}')
}

/// Returns true for a text of at most so many words and bytes. Neutral words count.
pub fn fits_words(text: &str, max_words: usize, max_bytes: usize) -> bool {
    WordCount::of(text, max_bytes).is_some_and(|count| count.words <= max_words)
}

/// Returns true for a text without blanks and of at most so many words and bytes. Neutral words do not count.
pub fn is_identifier(text: &str, max_words: usize, max_bytes: usize) -> bool {
    WordCount::of(text, max_bytes).is_some_and(|count| count.is_joined(max_words))
}

/// The number of words that a value tells. Opaque values tell none.
pub(super) fn count_telling_words(text: &str) -> Option<usize> {
    if is_opaque(text) { Some(0) } else { WordCount::of(text, MAX_JOINED_BYTES).map(|count| count.telling) }
}

/// Returns true for an opaque value, or a name: at most three words, or three and neutral ones without blanks.
pub(super) fn is_name(text: &str) -> bool {
    let is_short = |count: WordCount| count.words <= MAX_NAME_WORDS && text.len() <= MAX_NAME_BYTES;
    let counted = || WordCount::of(text, MAX_JOINED_BYTES);
    is_opaque(text) || counted().is_some_and(|count| is_short(count) || count.is_joined(MAX_NAME_WORDS))
}

/// Returns true for a name of code (`com.anthropic.claude_code.events`, `codex_core::exec::process_manager`): each
/// segment is a name without blanks, together they have few words, and few segments are a single word, as in a sentence
/// whose blanks are dots.
pub(super) fn is_dotted_name(text: &str) -> bool {
    let segments = || text.split('.').flat_map(|part| part.split("::"));
    let is_single_word =
        |segment: &&str| split_words(segment).count() == 1 && !LISTS.neutral.contains_in_any_case(segment);
    text.contains(['.', ':'])
        && segments().nth(MAX_SEGMENTS).is_none()
        && segments().filter(is_single_word).count() <= MAX_NAME_WORDS
        && is_identifier(text, MAX_DOTTED_WORDS, MAX_JOINED_BYTES)
        && segments().all(|segment| is_identifier(segment, MAX_NAME_WORDS, MAX_JOINED_BYTES))
}

/// Returns true for what stays under a key that no list names: an opaque value, or one identifier of three words,
/// neutral ones included (`payments-core`, `PAID`).
pub(super) fn is_single_identifier(text: &str) -> bool {
    let in_alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+,[]\"".contains(&byte);
    is_opaque(text) || (text.bytes().all(in_alphabet) && fits_words(text, MAX_NAME_WORDS, MAX_NAME_BYTES))
}
