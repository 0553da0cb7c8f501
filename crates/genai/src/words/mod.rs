//! The splitter of texts into words, for values, keys and names. Words end at blanks and marks, where a capital begins
//! a word (`aB`, `ABc`), and at digits. Letters of scripts without blanks are counted one by one.
//!
//! A text that spells its words in another way has no count and so fits nowhere: hexadecimal, base64, letters between
//! digits, digits for letters, signs and invisible characters. Counting is linear and allocates nothing, except to
//! decode.

use super::opaque::{is_encoded_text, is_opaque};
pub(super) use split::divide_words;
pub use split::split_words;
use split::{CharKind, Runs};

pub(super) use lists::LISTS;

pub(super) mod lists;
pub(super) mod split;

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
pub(super) const MAX_UNSPACED: usize = 6;
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
pub fn is_name(text: &str) -> bool {
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
