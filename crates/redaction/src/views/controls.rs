//! Removes terminal sequences: colours (`ESC [ 31 m`) and links (`ESC ] 8 ; ; …`).

use std::ops::Range;

use super::super::scan::TextScan;
use super::decoded_view::DecodedView;
use super::windows;

const ESC: u8 = 0x1b;
/// Longest terminal sequence, in bytes.
const MAX_SEQUENCE: usize = 200;

/// Adds windows around terminal sequences.
pub(super) fn find_windows(scan: &TextScan<'_>, is_fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    for at in memchr::memchr_iter(ESC, scan.text.as_bytes()) {
        if !windows::covers_escape(out, at) && is_fresh(at..at + 1) {
            windows::add_window(scan.text, at..at + 1, out);
        }
    }
}

pub(super) fn decode(text: &str, view: &mut DecodedView) {
    let rest = |at: usize| text.as_bytes().get(at..).unwrap_or_default();
    let next = |from: usize| memchr::memchr(ESC, rest(from)).map(|found| from + found);
    view.decode(text, next, |at| match sequence_len(rest(at)) {
        0 => Err(1),
        len => Ok((len, None)),
    });
}

/// Length of the terminal sequence at the start of `bytes`.
fn sequence_len(bytes: &[u8]) -> usize {
    let end_at = |last: Option<usize>, more: usize| last.map_or(0, |at| at + more);
    match bytes.get(1) {
        Some(b'[') => end_at(bytes.iter().skip(2).take(MAX_SEQUENCE).position(|byte| (0x40..=0x7e).contains(byte)), 3),
        Some(b']') => end_at(bytes.iter().take(MAX_SEQUENCE).position(|byte| *byte == 7 || *byte == b'\n'), 1),
        Some(b'(' | b')') => 3.min(bytes.len()),
        _ => 0,
    }
}
