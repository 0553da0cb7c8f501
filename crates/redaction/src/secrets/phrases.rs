//! **What**: seed phrases of wallets: twelve words and more behind `mnemonic`, `seed phrase`, `recovery words`.
//! **Why**: whoever has them has the wallet, and nothing in them looks secret. **Invariants**: the list of 2048 words
//! is not needed: a dozen words of three to eight small letters in a row, none of them `the`, `and`, `for`, is no
//! prose; a run is taken whole, however many phrases stand in it; no byte is read for two announcing words. **Not
//! here**: passphrases that stand behind their key (`assign`).

use std::ops::Range;
use std::sync::LazyLock;

use crate::scan::{Claims, Scan, ahead};
use crate::sets::Words;
use crate::wordlists;

/// Bytes behind such a word in which the phrase begins.
const REACH: usize = 48;
/// Words of a phrase: 12, 15, 18, 21 or 24.
const LEAST: usize = 12;
/// Bytes between two words: lists that are printed an item a line have quotes, a comma and an indent there.
const JOINT: usize = 32;

/// Words of three to eight letters that prose can't do without, and that are none of a wallet's 2048 (`all`, `can`,
/// `more`, `used` are).
static PROSE: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("secrets.phrase_prose")));

/// Looks behind the word that ends at `end`, from where the words before it have `read` to; gives up to where this one
/// has.
pub(super) fn look(scan: &Scan<'_>, end: usize, read: usize, rule: u16, claims: &mut Claims) -> usize {
    let start = end.max(read);
    let (rest, reach) = (ahead(scan, start, usize::MAX), (end + REACH).saturating_sub(start));
    let mut at = 0;
    while at < reach {
        let Some(byte) = rest.get(at) else { break };
        if !byte.is_ascii_lowercase() {
            at += 1;
            continue;
        }
        let (phrase, stop) = phrase(rest, at);
        if !phrase.is_empty() {
            claims.add(scan, rule, start + phrase.start..start + phrase.end);
        }
        // nothing that begins within a run goes further than it
        at = stop.max(at + 1);
    }
    start + at
}

/// The words of a phrase that begins at `at`, empty where none does; and where reading stopped.
fn phrase(text: &[u8], at: usize) -> (Range<usize>, usize) {
    let (mut from, mut end, mut words) = (at, at, 0);
    loop {
        let len = letters(text, from);
        let word = text.get(from..from + len).unwrap_or_default();
        if !(3..=8).contains(&len) || goes_on(text.get(from + len..).unwrap_or_default()) || PROSE.has(word) {
            let phrase = if words >= LEAST { at..end } else { at..at };
            return (phrase, from + len);
        }
        words += 1;
        end = from + len;
        from = end + joint(text.get(end..).unwrap_or_default());
    }
}

/// Whether what stands behind small letters is still the same word, or says that it is none: code, `don't`.
fn goes_on(rest: &[u8]) -> bool {
    match rest {
        [b'\'', next, ..] => next.is_ascii_alphabetic(),
        [next, ..] => next.is_ascii_alphanumeric() || b"_-(=@/".contains(next),
        [] => false,
    }
}

/// Small letters in a row.
fn letters(text: &[u8], at: usize) -> usize {
    text.get(at..).unwrap_or_default().iter().take(12).take_while(|byte| byte.is_ascii_lowercase()).count()
}

/// What parts two words: blanks, a comma, a line end, quotes of a list.
fn joint(rest: &[u8]) -> usize {
    rest.iter().take(JOINT).take_while(|byte| b" \t\r\n,\"'".contains(byte)).count()
}
