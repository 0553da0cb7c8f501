//! Decodes percent-encoding, and `+` as a blank in forms: only in a run without blanks that contains `%XX` but no
//! `%20`. Bytes that are not text stay encoded. At most two nested levels are decoded
//! (`super::MAX_PERCENT_LEVELS`).

use std::ops::Range;

use super::super::scan::TextScan;
use super::super::sets::ByteSet;
use super::decoded_view::DecodedView;
use super::windows;

/// Adds windows around encoded bytes.
pub(super) fn find_windows(scan: &TextScan<'_>, is_fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let bytes = scan.text.as_bytes();
    let mut from = 0;
    while let Some(found) = memchr::memchr(b'%', bytes.get(from..).unwrap_or_default()) {
        let at = from + found;
        from = at + 1;
        if encoded_byte_at(bytes, at).is_some() && is_fresh(at..at + 3) {
            windows::add_window(scan.text, at..at + 3, out);
            from = from.max(windows::covered_end(out));
        }
    }
}

/// The byte encoded by `%XX` at `at`.
pub(crate) fn encoded_byte_at(bytes: &[u8], at: usize) -> Option<u8> {
    match bytes.get(at..at + 3)? {
        [b'%', high, low] => hex_byte(*high, *low),
        _ => None,
    }
}

/// The byte of two hexadecimal digits.
#[inline]
pub(super) fn hex_byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| {
        let [number, letter] = [byte.wrapping_sub(b'0'), (byte | 0x20).wrapping_sub(b'a')];
        if number < 10 { Some(number) } else { (letter < 6).then(|| letter + 10) }
    };
    Some(digit(high)? << 4 | digit(low)?)
}

/// The character whose bytes are `byte(0)`, `byte(1)` …, and their number.
#[inline]
pub(super) fn read_character(byte: impl Fn(usize) -> Option<u8>) -> Option<(usize, char)> {
    let first = byte(0)?;
    let len = match first {
        0x09 | 0x0a | 0x0d | 0x1b | 0x20..=0x7e => return Some((1, char::from(first))),
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let mut bytes = [0_u8; 4];
    for (index, slot) in bytes.iter_mut().enumerate().take(len) {
        *slot = byte(index)?;
    }
    let text = std::str::from_utf8(bytes.get(..len)?).ok()?;
    text.chars().next().map(|char| (len, char))
}

pub(super) fn decode(text: &str, view: &mut DecodedView) {
    let bytes = text.as_bytes();
    // End of the current run without blanks, and whether it is form data
    let (mut run_end, mut is_form) = (0, false);
    let next = |from: usize| match bytes.get(from)? {
        // Escapes are often adjacent
        b'%' | b'+' => Some(from),
        _ => Some(from + memchr::memchr2(b'%', b'+', bytes.get(from..)?)?),
    };
    view.decode(text, next, |at| {
        if at >= run_end {
            (run_end, is_form) = form_run_end(bytes, run_end, at);
        }
        let decoded = match bytes.get(at) {
            Some(b'+') => is_form.then_some((1, ' ')),
            _ => read_character(|index| encoded_byte_at(bytes, at + index * 3)).map(|(len, char)| (len * 3, char)),
        };
        decoded.map(|(len, char)| (len, Some(char))).ok_or(1)
    });
}

/// End of the run around `at`, and whether it is form data.
fn form_run_end(bytes: &[u8], from: usize, at: usize) -> (usize, bool) {
    static IN_RUN: ByteSet = ByteSet::new(b" \t\n\x0c\r\"<>").complement();
    let before = IN_RUN.count_trailing(bytes.get(from..at).unwrap_or_default());
    let after = IN_RUN.count_leading(bytes.get(at..).unwrap_or_default());
    let run = bytes.get(at - before..at + after).unwrap_or_default();
    let mut escapes = memchr::memchr_iter(b'%', run).filter_map(|at| encoded_byte_at(run, at)).peekable();
    let is_form = escapes.peek().is_some() && escapes.all(|byte| byte != b' ');
    (at + after.max(1), is_form)
}
