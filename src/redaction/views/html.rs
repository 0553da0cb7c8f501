//! **What**: entities of HTML and XML: numbers, and the names that occur in values.

use std::ops::Range;

use super::super::scan::Scan;
use super::{View, windows};

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

pub(super) fn windows(scan: &Scan<'_>, fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let bytes = scan.text.as_bytes();
    for at in memchr::memchr_iter(b'&', bytes) {
        if windows::holds(out, at) {
            continue;
        }
        if let Some((len, _)) = entity(bytes.get(at..).unwrap_or_default()) {
            // what an `&` itself stands for may be the start of another
            if fresh(at..at + len) {
                windows::add(scan.text, at..at + len, out);
            }
        }
    }
}

/// Whether an entity stands at `at`.
pub(in crate::redaction) fn is_entity(bytes: &[u8], at: usize) -> bool {
    entity(bytes.get(at..).unwrap_or_default()).is_some()
}

pub(super) fn decode(text: &str, view: &mut View) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for at in memchr::memchr_iter(b'&', bytes) {
        if let Some((len, char)) = entity(bytes.get(at..).unwrap_or_default()) {
            view.copy(text.get(from..at).unwrap_or_default());
            view.put(len, Some(char));
            from = at + len;
        }
    }
    view.copy(text.get(from..).unwrap_or_default());
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
