//! Finds seed phrases of crypto wallets: at least twelve words after `mnemonic`, `seed phrase` or `recovery words`.
//! The list of 2048 words is not needed: twelve consecutive words of three to eight small letters without `the`, `and`
//! or `for` are not prose. A run is claimed whole, however many phrases it has, and no byte is read twice. Passphrases
//! after a key are in `assign`.

use std::ops::Range;

use crate::rule::RuleFamily;
use crate::scan::{TextScan, bytes_ahead};

/// Most bytes between an announcing word and the phrase.
const REACH: usize = 48;
/// Fewest words in a phrase; phrases have 12, 15, 18, 21 or 24.
const MIN_WORDS: usize = 12;
/// Most bytes between two words: lists with one item per line have quotes, a comma and an indent there.
const MAX_SEPARATOR: usize = 32;

/// Checks the text after the word that ends at `end`, from `read_end` on, where an earlier search ended. Returns the
/// end of the text that was read.
pub(super) fn claim_seed_phrases(scan: &TextScan<'_>, end: usize, read_end: usize) -> usize {
    let start = end.max(read_end);
    let (rest, reach) = (bytes_ahead(scan, start, usize::MAX), (end + REACH).saturating_sub(start));
    let mut at = 0;
    while at < reach {
        let Some(byte) = rest.get(at) else { break };
        if !byte.is_ascii_lowercase() {
            at += 1;
            continue;
        }
        let (phrase, stop) = read_phrase(rest, at);
        if !phrase.is_empty() {
            scan.claim_for(RuleFamily::SeedPhrase, start + phrase.start..start + phrase.end);
        }
        // A phrase that begins within a run does not extend further than the run
        at = stop.max(at + 1);
    }
    start + at
}

/// The phrase at `at` (empty if there is none), and the end of the text that was read.
fn read_phrase(text: &[u8], at: usize) -> (Range<usize>, usize) {
    let (mut from, mut end, mut word_count) = (at, at, 0);
    loop {
        let len = count_letters(text, from);
        let word = text.get(from..from + len).unwrap_or_default();
        if !(3..=8).contains(&len)
            || continues_word(text.get(from + len..).unwrap_or_default())
            || word_set!("secrets.seed_phrase_non_words").contains(word)
        {
            let phrase = if word_count >= MIN_WORDS { at..end } else { at..at };
            return (phrase, from + len);
        }
        word_count += 1;
        end = from + len;
        from = end + separator_len(text.get(end..).unwrap_or_default());
    }
}

/// Whether the text after small letters continues the word, or shows that it is not one: code, `don't`.
fn continues_word(rest: &[u8]) -> bool {
    match rest {
        [b'\'', next, ..] => next.is_ascii_alphabetic(),
        [next, ..] => next.is_ascii_alphanumeric() || b"_-(=@/".contains(next),
        [] => false,
    }
}

/// Number of small letters at `at`.
fn count_letters(text: &[u8], at: usize) -> usize {
    text.get(at..).unwrap_or_default().iter().take(12).take_while(|byte| byte.is_ascii_lowercase()).count()
}

/// Length of the separator between two words: blanks, a comma, a line break, quotes of a list.
fn separator_len(rest: &[u8]) -> usize {
    rest.iter().take(MAX_SEPARATOR).take_while(|byte| b" \t\r\n,\"'".contains(byte)).count()
}
