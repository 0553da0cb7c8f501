//! Decodes quoted-printable: `=40`, and `=` at line ends. `=40` counts if it may be the `@` of an address, `=3D` if it
//! is between a key and a value. Other escapes count only in a text that declares quoted-printable, has three escapes
//! that are not numbers as in `key=20`, or six adjacent ones. A finding counts only if an escape touches it.

use std::ops::Range;

use super::super::scan::TextScan;
use super::decoded_view::DecodedView;
use super::percent::{hex_byte, read_character};
use super::soft_breaks::is_upper_hex;
use super::windows;

/// Number of escapes that identify a quoted-printable text.
const ENOUGH_ESCAPES: usize = 3;
/// Number of adjacent escapes that identify one even without a letter.
const ESCAPE_RUN: usize = 6;
/// Bytes in which a header is searched.
const HEADER_REACH: usize = 16 << 10;

/// Adds windows around escapes that count.
pub(super) fn find_windows(scan: &TextScan<'_>, is_fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let bytes = scan.text.as_bytes();
    let mut add = |at: usize, is_quoted_text: bool| {
        let is_counted = || {
            is_escaped_at_sign(bytes, at)
                || is_escaped_equals_sign(bytes, at)
                || (is_quoted_text && escape_len(bytes, at).is_some())
        };
        if !windows::covers_escape(out, at) && is_counted() && is_fresh(at..at + 3) {
            windows::add_window(scan.text, at..at + 3, out);
        }
    };
    if is_quoted_printable(bytes, scan.anchors.byte_kinds.soft != 0) || has_escape_run(scan) {
        memchr::memchr_iter(b'=', bytes).for_each(|at| add(at, true));
        return;
    }
    let mut at_signs = memchr::memmem::find_iter(bytes, b"=40").peekable();
    let mut equals_signs = memchr::memmem::find_iter(bytes, b"=3D").peekable();
    loop {
        let is_equals_first =
            equals_signs.peek().is_some_and(|equals_sign| at_signs.peek().is_none_or(|at| equals_sign < at));
        match if is_equals_first { equals_signs.next() } else { at_signs.next() } {
            Some(at) => add(at, false),
            None => return,
        }
    }
}

/// Whether `=40` at `at` is between a local part and a domain with a dot.
fn is_escaped_at_sign(bytes: &[u8], at: usize) -> bool {
    let is_word_byte = |byte: &u8| byte.is_ascii_alphanumeric();
    bytes.get(at + 1..at + 3) == Some(b"40")
        && at.checked_sub(1).and_then(|at| bytes.get(at)).is_some_and(is_word_byte)
        && bytes.get(at + 3).is_some_and(is_word_byte)
        && bytes
            .iter()
            .skip(at + 3)
            .take(64)
            .take_while(|byte| is_word_byte(byte) || b".-".contains(byte))
            .any(|b| *b == b'.')
}

/// Whether `=3D` at `at` is between a key and a value.
fn is_escaped_equals_sign(bytes: &[u8], at: usize) -> bool {
    let is_key_byte = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'"' | b'\'');
    bytes.get(at + 1..at + 3) == Some(b"3D")
        && at.checked_sub(1).and_then(|at| bytes.get(at)).is_some_and(is_key_byte)
        && bytes.get(at + 3).is_some_and(|byte| byte.is_ascii_graphic())
}

/// Length of the escape or soft line break at `at`.
fn escape_len(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at..at + 3).or_else(|| bytes.get(at..at + 2))? {
        [b'=', b'\n', ..] => Some(2),
        [b'=', b'\r', b'\n'] => Some(3),
        [b'=', high, low] => (is_upper_hex(*high) && is_upper_hex(*low)).then_some(3),
        _ => None,
    }
}

/// Whether a text is recognisable as quoted-printable. `may_have_signs`: it may contain an escape with a letter or a
/// soft line break.
fn is_quoted_printable(bytes: &[u8], may_have_signs: bool) -> bool {
    let head = bytes.get(..bytes.len().min(HEADER_REACH)).unwrap_or_default();
    if memchr::memmem::find(head, b"uoted-printable").is_some() {
        return true;
    }
    let (mut escapes, mut certain) = (0, 0);
    for at in memchr::memchr_iter(b'=', bytes).take_while(|_| may_have_signs) {
        let Some(len) = escape_len(bytes, at) else { continue };
        let digits = bytes.get(at + 1..at + len).unwrap_or_default();
        // Excludes `status=404`, `id=3F2504E0`, `size=40)`
        let next = bytes.get(at + len).copied().unwrap_or(b' ');
        let has_letter = digits.iter().any(u8::is_ascii_uppercase) && !next.is_ascii_digit() && !is_upper_hex(next);
        let is_soft_break =
            digits.ends_with(b"\n") && at.checked_sub(1).and_then(|at| bytes.get(at)).is_some_and(|b| *b != b' ');
        certain += usize::from(has_letter || is_soft_break);
        escapes += usize::from(has_letter || is_soft_break || next.is_ascii_lowercase() || next == b'=');
        if escapes >= ENOUGH_ESCAPES && certain > 0 {
            return true;
        }
    }
    false
}

/// Whether [`ESCAPE_RUN`] escapes of digits are adjacent: `=34=35=33=39=31=34`. One with a letter counts by itself
/// ([`super::soft_breaks::may_be_quoted_printable`]).
fn has_escape_run(scan: &TextScan<'_>) -> bool {
    if scan.anchors.byte_kinds.equals_row == 0 {
        return false;
    }
    let (mut adjacent, mut next_start) = (0, 0);
    for run in &scan.anchors.digit_runs {
        if run.before == b'=' && run.len() == 2 {
            adjacent = if run.start == next_start { adjacent + 1 } else { 1 };
            next_start = run.end + 1;
            if adjacent == ESCAPE_RUN {
                return true;
            }
        }
    }
    false
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
