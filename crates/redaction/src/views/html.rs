//! **What**: entities of HTML and XML: numbers, and the names that occur in values; inline elements of nothing that cut a word:
//! `maria<b></b>@example.com`.

use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::super::scan::Scan;
use super::super::sets::Words;
use super::{View, windows};
use crate::wordlists;

/// Names and what they say.
const NAMES: &[(&[u8], char)] = &[
    (b"amp", '&'),
    (b"lt", '<'),
    (b"gt", '>'),
    (b"quot", '"'),
    (b"apos", '\''),
    (b"nbsp", ' '),
    (b"commat", '@'),
    (b"period", '.'),
    (b"colon", ':'),
    (b"sol", '/'),
    (b"lowbar", '_'),
    (b"plus", '+'),
    (b"equals", '='),
    (b"num", '#'),
    (b"lpar", '('),
    (b"rpar", ')'),
    (b"hyphen", '-'),
    (b"dash", '-'),
    (b"shy", '\u{ad}'),
    (b"zwnj", '\u{200c}'),
    (b"zwj", '\u{200d}'),
    (b"Tab", '\t'),
    (b"NewLine", '\n'),
];

/// Longest entity.
const LONGEST: usize = 12;

/// Elements within lines of text.
static INLINE: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("notation.inline_elements")));

/// Whether an element of nothing may stand in a text.
pub(super) fn has_empty(text: &str) -> bool {
    static CLOSES: LazyLock<Finder<'_>> = LazyLock::new(|| Finder::new(b"></"));
    // most texts have no mark of an element
    let bytes = text.as_bytes();
    let rest = memchr::memchr(b'<', bytes).and_then(|at| bytes.get(at.saturating_sub(1)..));
    rest.is_some_and(|rest| CLOSES.find(rest).is_some())
}

/// Length of `<b></b>` at `at`, where it cuts a value.
fn empty_len(bytes: &[u8], at: usize) -> Option<usize> {
    let name = bytes.get(at + 1..bytes.len().min(at + 8))?;
    let name = name.get(..name.iter().position(|byte| !byte.is_ascii_alphabetic())?).filter(|name| INLINE.has(name))?;
    let behind = bytes.get(at + 1 + name.len()..)?.strip_prefix(b"></")?.strip_prefix(name)?.strip_prefix(b">")?;
    let cuts = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"@._-+ ".contains(byte));
    let before = at.checked_sub(1).and_then(|before| bytes.get(before));
    (cuts(before) && cuts(behind.first())).then_some(2 * name.len() + 5)
}

pub(super) fn windows(scan: &Scan<'_>, fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let bytes = scan.text.as_bytes();
    for at in memchr::memchr2_iter(b'&', b'<', bytes) {
        if windows::holds(out, at) {
            continue;
        }
        if let Some((len, _)) = decoded(bytes, at) {
            // what an `&` itself stands for may be the start of another
            if fresh(at..at + len) {
                windows::add(scan.text, at..at + len, out);
            }
        }
    }
}

/// Whether an entity stands at `at`.
pub(crate) fn is_entity(bytes: &[u8], at: usize) -> bool {
    entity(bytes.get(at..).unwrap_or_default()).is_some()
}

pub(super) fn decode(text: &str, view: &mut View) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for at in memchr::memchr2_iter(b'&', b'<', bytes) {
        if let Some((len, char)) = decoded(bytes, at).filter(|_| at >= from) {
            view.copy(text.get(from..at).unwrap_or_default());
            view.put(len, char);
            from = at + len;
        }
    }
    view.copy(text.get(from..).unwrap_or_default());
}

/// What stands at `at` for another character or none: its length, and what it says.
fn decoded(bytes: &[u8], at: usize) -> Option<(usize, Option<char>)> {
    if bytes.get(at) == Some(&b'<') {
        return Some((empty_len(bytes, at)?, None));
    }
    entity(bytes.get(at..).unwrap_or_default()).map(|(len, char)| (len, Some(char)))
}

/// The entity that `bytes` start with: its length, and what it says.
fn entity(bytes: &[u8]) -> Option<(usize, char)> {
    let name = bytes.get(1..bytes.len().min(LONGEST))?;
    let end = 1 + name.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'#')?;
    if bytes.get(end) != Some(&b';') {
        return None;
    }
    let char = match bytes.get(1..end)? {
        [b'#', b'x' | b'X', digits @ ..] => code(digits, 16)?,
        [b'#', digits @ ..] => code(digits, 10)?,
        name => NAMES.iter().find(|(known, _)| *known == name)?.1,
    };
    Some((end + 1, char))
}

fn code(digits: &[u8], radix: u32) -> Option<char> {
    let digits = std::str::from_utf8(digits).ok().filter(|digits| digits.bytes().all(|b| b.is_ascii_alphanumeric()))?;
    let char = char::from_u32(u32::from_str_radix(digits, radix).ok()?)?;
    (!char.is_control() || matches!(char, '\n' | '\r' | '\t' | '\u{1b}')).then_some(char)
}
