//! Decodes quoted-printable: `=40`, and `=` at line ends. Escapes count in a text that declares quoted-printable, or
//! where six are adjacent; `=40` alone counts if it may be the `@` of an address. A finding counts only if an escape
//! touches it.

use std::ops::Range;

use super::super::scan::TextScan;
use super::decoded_view::DecodedView;
use super::percent::{hex_byte, read_character};
use super::windows;

/// Number of adjacent escapes that identify quoted-printable.
const ESCAPE_RUN: usize = 6;
/// Bytes in which a header is searched.
const HEADER_REACH: usize = 16 << 10;

/// Adds windows around escapes that count.
pub(super) fn find_windows(scan: &TextScan<'_>, is_fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let bytes = scan.text.as_bytes();
    let head = bytes.get(..bytes.len().min(HEADER_REACH)).unwrap_or_default();
    let is_declared =
        [&b"uoted-printable"[..], b"?Q?", b"?q?"].iter().any(|sign| memchr::memmem::find(head, sign).is_some());
    let (mut adjacent, mut next_start) = (0, 0);
    for at in memchr::memchr_iter(b'=', bytes) {
        let Some(len) = escape_len(bytes, at) else { continue };
        adjacent = if at == next_start { adjacent + 1 } else { 1 };
        next_start = at + len;
        let is_counted = is_declared || adjacent >= ESCAPE_RUN || is_escaped_at_sign(bytes, at);
        if is_counted && !windows::covers_escape(out, at) && is_fresh(at..at + 3) {
            windows::add_window(scan.text, at..at + 3, out);
        }
    }
}

/// Whether `=40` at `at` is between a local part and a domain with a dot.
fn is_escaped_at_sign(bytes: &[u8], at: usize) -> bool {
    let is_word_byte = |byte: &u8| byte.is_ascii_alphanumeric();
    let mut domain = bytes.iter().skip(at + 3).take(64).take_while(|byte| is_word_byte(byte) || b".-".contains(byte));
    bytes.get(at + 1..at + 3) == Some(b"40")
        && at.checked_sub(1).and_then(|at| bytes.get(at)).is_some_and(is_word_byte)
        && domain.next().is_some_and(is_word_byte)
        && domain.any(|byte| *byte == b'.')
}

/// Length of the escape or soft line break at `at`.
fn escape_len(bytes: &[u8], at: usize) -> Option<usize> {
    let is_upper_hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    match bytes.get(at..at + 3).or_else(|| bytes.get(at..at + 2))? {
        [b'=', b'\n', ..] => Some(2),
        [b'=', b'\r', b'\n'] => Some(3),
        [b'=', high, low] => (is_upper_hex(high) && is_upper_hex(low)).then_some(3),
        _ => None,
    }
}

pub(super) fn decode(text: &str, view: &mut DecodedView) {
    let bytes = text.as_bytes();
    let encoded_byte = |at: usize| match (escape_len(bytes, at), bytes.get(at + 1..at + 3)) {
        (Some(3), Some([high, low])) => hex_byte(*high, *low),
        _ => None,
    };
    let next = |from: usize| Some(from + memchr::memchr(b'=', bytes.get(from..)?)?);
    view.decode(text, next, |at| {
        let is_soft_break = bytes.get(at + 1).is_some_and(|byte| matches!(byte, b'\n' | b'\r'));
        let decoded = match (is_soft_break, escape_len(bytes, at)) {
            (true, Some(len)) => Some((len, None)),
            _ => read_character(|index| encoded_byte(at + index * 3)).map(|(len, char)| (len * 3, Some(char))),
        };
        decoded.ok_or(1)
    });
}
