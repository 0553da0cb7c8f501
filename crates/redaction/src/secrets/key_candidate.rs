//! Decides by a few bytes whether a secret's word may be part of a key, because most are not and reading a pair is
//! slow. At most 64 bytes on either side are read. `secret_keys` classifies keys, `assign` reads values.

use super::super::pairs::{self, key_around};
use super::super::stems::StemMatch;
use super::byte_counts::ByteCounts;
use super::value_facts::{contains_any_case, is_path};
use super::word_score::is_words;
use crate::scan::{TextScan, bytes_ahead};

/// Whether a word may be a key, unlike in `tokenizer`, `the key to`, `pass a`.
pub(super) fn may_be_key(scan: &TextScan<'_>, word: &StemMatch) -> bool {
    let (last, next) = (scan.byte_before(word.end, 1), scan.byte(word.end));
    let continues_word = (last.is_ascii_lowercase() && next.is_ascii_lowercase())
        || (last.is_ascii_uppercase() && next.is_ascii_uppercase());
    if continues_word {
        return false;
    }
    match next {
        b' ' | b'\t' => {
            let second = scan.byte(word.end + 1);
            b"=:|<-\"'`?\\ \t".contains(&second) || scan.byte_before(word.start, 1) == b'-' || {
                let rest = bytes_ahead(scan, word.end + 1, 48);
                let begins_with =
                    |text: &&str| rest.get(..text.len()).is_some_and(|head| head.eq_ignore_ascii_case(text.as_bytes()));
                line_list!("secrets.words_before_values").iter().any(begins_with)
                    || matches!(rest.first(), Some(b'l' | b'e' | b'i' | b'j' | 0xC3))
                        && line_list!("secrets.is_in_other_languages").iter().any(begins_with)
                    || begins_with_mixed_token(rest)
                    || is_environment(scan, word)
                    || rest.contains(&b'=')
                    || contains_any_case(scan.bytes(word.start.saturating_sub(48)..word.start), b"login ")
            }
        }
        // `{password, "x"}`: a pair in Erlang
        b',' if scan.byte_before(word.start, 1) == b'{' => scan.byte(word.end + 1) == b' ',
        b'.' | b',' => scan.byte(word.end + 1).is_ascii_alphanumeric() || scan.byte(word.end + 1) == b'=',
        b'\n' | b'\r' => is_named_or_cell(scan, word),
        b';' | b'/' | b'{' | b'}' | b'+' | b'%' | b'@' | b'$' | b'~' | b'^' => false,
        _ => true,
    }
}

/// Whether the word is in YAML's `name: KEY` with a sibling `value: v`, or in an HTML table cell.
fn is_named_or_cell(scan: &TextScan<'_>, word: &StemMatch) -> bool {
    let rest = bytes_ahead(scan, word.end, 64);
    let blanks = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let text = scan.text.as_bytes();
    rest.get(blanks..).is_some_and(|rest| rest.starts_with(b"value:") || rest.starts_with(b"</t"))
        || pairs::is_named_by_sibling(text, &key_around(text, word.start..word.end))
}

/// Whether the word is in `ENV DB_PASSWORD v` of a Dockerfile.
fn is_environment(scan: &TextScan<'_>, word: &StemMatch) -> bool {
    let start = pairs::key_start(scan.text.as_bytes(), word.start);
    scan.bytes(start.saturating_sub(4)..start) == b"ENV "
}

/// Whether the text after a word is a mixed token rather than a word: `password aB3dE6gH`.
fn begins_with_mixed_token(rest: &[u8]) -> bool {
    let len = rest.iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
    let token = rest.get(..len).unwrap_or_default();
    let counts = ByteCounts::count(token);
    len >= 8 && counts.digits > 0 && counts.upper > 0 && counts.lower > 0 && !is_words(token) && !is_path(token)
}
