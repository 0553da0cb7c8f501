//! Removes terminal and Markdown markup from values: colours (`ESC [ 31 m`), links (`ESC ] 8 ; ; …`), and `**` and
//! backticks within an address.

use std::ops::Range;

use super::super::scan::TextScan;
use super::super::sets::ByteSet;
use super::decoded_view::DecodedView;
use super::windows;

const ESC: u8 = 0x1b;
/// Longest sequence, in bytes.
const LONGEST: usize = 200;
/// Most bytes of an address on each side of its `@`.
const ADDRESS: usize = 64;

pub(super) fn find_windows(scan: &TextScan<'_>, fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let bytes = scan.text.as_bytes();
    let mut ats = scan.anchors.at_signs.iter().copied().filter(|at| has_emphasis(bytes, *at)).peekable();
    let mut escapes = memchr::memchr_iter(ESC, bytes).peekable();
    loop {
        let at = match (ats.peek(), escapes.peek()) {
            (Some(at), Some(escape)) if escape < at => escapes.next(),
            (Some(_), _) => ats.next(),
            (None, _) => escapes.next(),
        };
        let Some(at) = at else { return };
        if !windows::covers_escape(out, at) && fresh(at..at + 1) {
            windows::add_window(scan.text, at..at + 1, out);
        }
    }
}

/// Bytes of an address, and the same with emphasis.
static IN_ADDRESS: ByteSet = ByteSet::new(b".-_+").and_alnum();
static IN_MARKED: ByteSet = ByteSet::new(b".-_+*`").and_alnum();

/// Whether emphasis occurs within the address around an `@`.
fn has_emphasis(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(at.saturating_sub(ADDRESS)..at).unwrap_or_default();
    let behind = bytes.get(at + 1..bytes.len().min(at + 1 + ADDRESS)).unwrap_or_default();
    let marks = |byte: Option<&u8>| matches!(byte, Some(b'*' | b'`'));
    // A mark around the whole address does not count
    let inner = |run: &mut dyn Iterator<Item = &u8>| {
        run.take_while(|byte| IN_MARKED.contains(**byte)).any(|byte| !marks(Some(byte)))
    };
    let (head, tail) = (IN_ADDRESS.count_trailing(before), IN_ADDRESS.count_leading(behind));
    let mut outward = before.iter().rev().skip(head);
    let mut inward = behind.iter().skip(tail);
    marks(outward.clone().next()) && inner(&mut outward) || marks(inward.clone().next()) && inner(&mut inward)
}

pub(super) fn decode(text: &str, view: &mut DecodedView) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for at in memchr::memchr3_iter(ESC, b'*', b'`', bytes) {
        let len = match bytes.get(at) {
            _ if at < from => continue,
            Some(&ESC) => sequence_len(bytes.get(at..).unwrap_or_default()),
            _ => bytes.get(at..).unwrap_or_default().iter().take(3).take_while(|byte| b"*`".contains(byte)).count(),
        };
        if len > 0 {
            view.push_plain(text.get(from..at).unwrap_or_default());
            view.push_decoded(len, None);
            from = at + len;
        }
    }
    view.push_plain(text.get(from..).unwrap_or_default());
}

/// Length of the terminal sequence at the start of `bytes`.
fn sequence_len(bytes: &[u8]) -> usize {
    let end = |found: Option<usize>, more: usize| found.map_or(0, |at| at + more);
    match bytes.get(1) {
        Some(b'[') => end(bytes.iter().skip(2).take(LONGEST).position(|byte| (0x40..=0x7e).contains(byte)), 3),
        Some(b']') => end(bytes.iter().take(LONGEST).position(|byte| *byte == 7 || *byte == b'\n'), 1),
        Some(b'(' | b')') => 3.min(bytes.len()),
        _ => 0,
    }
}
