//! Finds passwords after a word of another script with a small word between: `密码是hunter2xyz`, `пароль такой: x7y8z9`.
//! The anchor pass does not know such words, and without a separator no key is read. The search starts at runs with
//! digits in non-ASCII texts and reads up to [`REACH`] bytes before them and of a value. `glued_words` finds `пароль=`.

use super::value_checks::{ByteCounts, cannot_be_secret};
use crate::anchors::DigitRun;
use crate::glued_words::FOREIGN_PASSWORD_WORDS;
use crate::rule::RuleFamily;
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes read before a run, and of a value.
const REACH: usize = 64;
/// Texts between the word and its value.
const LINKS: [&str; 16] =
    ["是", "为", "為", "は", "는", "은", "이", "가", "：", ":", "такой", "такий", "это", "—", " ", "\""];

/// Claims the value around `run` if a word for a password comes before it.
pub(super) fn claim_after_script_word(scan: &TextScan<'_>, run: &DigitRun, claims: &mut PrivateClaims) {
    let from = scan.text.ceil_char_boundary(run.start.saturating_sub(REACH));
    let head = scan.part(from..run.start);
    if head.is_ascii() {
        return;
    }
    let is_separator = |c: char| c.is_whitespace() || "\"'`：:「」“”，。、；;".contains(c);
    let word_start = head
        .rfind(is_separator)
        .map_or(0, |at| at + head.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8));
    // In scripts without blanks, a value begins with its first ASCII character
    let ascii_start = head.len() - head.bytes().rev().take_while(u8::is_ascii_graphic).count();
    let Some(start) = [word_start.max(ascii_start), word_start]
        .into_iter()
        .find(|start| is_announced(head.get(..*start).unwrap_or("")))
    else {
        return;
    };
    let start = from + start;
    let rest = bytes_ahead(scan, start, REACH);
    let has_non_ascii = !scan.part(start..run.start).is_ascii();
    let is_end =
        |byte: &u8| byte.is_ascii_whitespace() || b"\"'`,;<>".contains(byte) || (!has_non_ascii && !byte.is_ascii());
    let len = rest.iter().position(is_end).unwrap_or(rest.len());
    let value = rest.get(..len).unwrap_or_default();
    let value = value.get(..value.len() - value.iter().rev().take_while(|byte| b".:".contains(byte)).count());
    let Some(value) = value.filter(|value| value.len() >= 6 && !cannot_be_secret(value)) else { return };
    let counts = ByteCounts::count(value);
    if counts.digits > 0 && (counts.letters() > 0 || has_non_ascii) {
        claims.add_for(scan, RuleFamily::Password, start..start + value.len());
    }
}

/// Whether a text ends in a word for a password and a link to its value.
fn is_announced(head: &str) -> bool {
    let mut head = head;
    while let Some(shorter) = LINKS.iter().find_map(|word| head.strip_suffix(word)) {
        head = shorter;
    }
    FOREIGN_PASSWORD_WORDS.iter().any(|word| head.ends_with(word))
}
