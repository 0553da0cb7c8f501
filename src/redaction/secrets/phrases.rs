//! **What**: seed phrases of wallets: twelve words and more behind `mnemonic`, `seed phrase`, `recovery words`. **Why**: whoever has them
//! has the wallet, and nothing in them looks secret. **Invariants**: the list of 2048 words is not needed: a dozen words of three to eight
//! small letters in a row, none of them `the`, `and`, `for`, is no prose; at most [`MOST`] words are read, and none twice. **Not here**: passphrases
//! that stand behind their key (`assign`).

use std::ops::Range;
use std::sync::LazyLock;

use super::super::scan::{Claims, Scan};
use super::ahead;
use crate::redaction::sets::Words;

/// Words that announce a phrase.
pub(super) const CUES: &str = "mnemonic mnemonics phrase seed recovery wallet bip39 bip-39";

/// Bytes behind such a word in which the phrase begins.
const REACH: usize = 48;
/// Words of a phrase: 12, 15, 18, 21 or 24.
const LEAST: usize = 12;
const MOST: usize = 25;

/// Words of three letters and more that prose can't do without, and that wallets do not use.
static PROSE: LazyLock<Words> = LazyLock::new(|| {
    Words::new(
        "\
    the and for are from was not our his her which your were its been has had but all can may must should each \
    them these those than their very more most some other between while where who how does did get use used",
    )
});

/// Looks behind the word that ends at `end`; gives up to where nothing needs another look.
pub(super) fn look(scan: &Scan<'_>, end: usize, rule: u16, claims: &mut Claims) -> usize {
    let rest = ahead(scan, end, REACH + MOST * 12);
    let mut at = 0;
    while at < REACH {
        let Some(byte) = rest.get(at) else { break };
        if !byte.is_ascii_lowercase() {
            at += 1;
            continue;
        }
        let phrase = phrase(rest, at);
        if phrase.end > at {
            claims.add(scan, rule, end + phrase.start..end + phrase.end);
            return end + phrase.end;
        }
        at += letters(rest, at).max(1);
    }
    end
}

/// The words of a phrase that begins at `at`; empty where none does.
fn phrase(text: &[u8], at: usize) -> Range<usize> {
    let (mut from, mut end, mut words) = (at, at, 0);
    while words <= MOST {
        let len = letters(text, from);
        let next = text.get(from + len).copied().unwrap_or(b'\n');
        let word = text.get(from..from + len).unwrap_or_default();
        let cut = next.is_ascii_alphanumeric() || b"_-'(=@/".contains(&next);
        if !(3..=8).contains(&len) || cut || PROSE.has(word) {
            break;
        }
        words += 1;
        end = from + len;
        from = end + joint(text.get(end..).unwrap_or_default());
    }
    if (LEAST..=MOST).contains(&words) { at..end } else { at..at }
}

/// Small letters in a row.
fn letters(text: &[u8], at: usize) -> usize {
    text.get(at..).unwrap_or_default().iter().take(12).take_while(|byte| byte.is_ascii_lowercase()).count()
}

/// What parts two words: blanks, a comma, a line end, quotes of a list.
fn joint(rest: &[u8]) -> usize {
    rest.iter().take(6).take_while(|byte| b" \t\r\n,\"'".contains(byte)).count()
}
