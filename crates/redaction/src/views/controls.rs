//! Removes terminal and Markdown markup from values: colours (`ESC [ 31 m`), links (`ESC ] 8 ; ; …`), and `**` and
//! backticks within an address.

use std::ops::Range;

use super::super::scan::TextScan;
use super::super::sets::ByteSet;
use super::decoded_view::DecodedView;
use super::windows;

const ESC: u8 = 0x1b;
/// Longest terminal sequence, in bytes.
const MAX_SEQUENCE: usize = 200;
/// Most bytes of an address on each side of its `@`.
const ADDRESS_REACH: usize = 64;

/// Adds windows around terminal sequences, and around addresses with emphasis in them.
pub(super) fn find_windows(scan: &TextScan<'_>, is_fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let bytes = scan.text.as_bytes();
    let mut marked_ats = scan.anchors.at_signs.iter().copied().filter(|at| has_emphasis(bytes, *at)).peekable();
    let mut escapes = memchr::memchr_iter(ESC, bytes).peekable();
    loop {
        let at = match (marked_ats.peek(), escapes.peek()) {
            (Some(at), Some(escape)) if escape < at => escapes.next(),
            (Some(_), _) => marked_ats.next(),
            (None, _) => escapes.next(),
        };
        let Some(at) = at else { return };
        if !windows::covers_escape(out, at) && is_fresh(at..at + 1) {
            windows::add_window(scan.text, at..at + 1, out);
        }
    }
}

/// Bytes of an address, and the same with emphasis.
static IN_ADDRESS: ByteSet = ByteSet::new(b".-_+").and_alnum();
static IN_MARKED_ADDRESS: ByteSet = ByteSet::new(b".-_+*`").and_alnum();

/// Whether emphasis occurs within the address around an `@`.
fn has_emphasis(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(at.saturating_sub(ADDRESS_REACH)..at).unwrap_or_default();
    let after = bytes.get(at + 1..bytes.len().min(at + 1 + ADDRESS_REACH)).unwrap_or_default();
    let is_mark = |byte: Option<&u8>| matches!(byte, Some(b'*' | b'`'));
    // A mark around the whole address does not count
    let continues_after_mark = |run: &mut dyn Iterator<Item = &u8>| {
        run.take_while(|byte| IN_MARKED_ADDRESS.contains(**byte)).any(|byte| !is_mark(Some(byte)))
    };
    let (head_len, tail_len) = (IN_ADDRESS.count_trailing(before), IN_ADDRESS.count_leading(after));
    let mut leftward = before.iter().rev().skip(head_len);
    let mut rightward = after.iter().skip(tail_len);
    is_mark(leftward.clone().next()) && continues_after_mark(&mut leftward)
        || is_mark(rightward.clone().next()) && continues_after_mark(&mut rightward)
}

pub(super) fn decode(text: &str, view: &mut DecodedView) {
    let rest = |at: usize| text.as_bytes().get(at..).unwrap_or_default();
    let next = |from: usize| memchr::memchr3(ESC, b'*', b'`', rest(from)).map(|found| from + found);
    view.decode(text, next, |at| {
        let len = match rest(at) {
            bytes @ [ESC, ..] => sequence_len(bytes),
            bytes => bytes.iter().take(3).take_while(|byte| b"*`".contains(byte)).count(),
        };
        if len > 0 { Ok((len, None)) } else { Err(1) }
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
