//! Removes terminal and Markdown markup from values: colours (`ESC [ 31 m`), links (`ESC ] 8 ; ; …`), and `**` and
//! backticks within an address.

use std::ops::Range;

use super::super::scan::Scan;
use super::super::sets::Bytes;
use super::view::View;
use super::windows;

const ESC: u8 = 0x1b;
/// Longest sequence, in bytes.
const LONGEST: usize = 200;
/// Most bytes of an address on each side of its `@`.
const ADDRESS: usize = 64;

pub(super) fn windows(scan: &Scan<'_>, fresh: &dyn Fn(Range<usize>) -> bool, out: &mut Vec<Range<usize>>) {
    let bytes = scan.text.as_bytes();
    let mut ats = scan.anchors.ats.iter().copied().filter(|at| is_marked(bytes, *at)).peekable();
    let mut escapes = memchr::memchr_iter(ESC, bytes).peekable();
    loop {
        let at = match (ats.peek(), escapes.peek()) {
            (Some(at), Some(escape)) if escape < at => escapes.next(),
            (Some(_), _) => ats.next(),
            (None, _) => escapes.next(),
        };
        let Some(at) = at else { return };
        if !windows::holds(out, at) && fresh(at..at + 1) {
            windows::add(scan.text, at..at + 1, out);
        }
    }
}

/// Bytes of an address, and the same with emphasis.
static IN_ADDRESS: Bytes = Bytes::of(b".-_+").and_alnum();
static IN_MARKED: Bytes = Bytes::of(b".-_+*`").and_alnum();

/// Whether emphasis occurs within the address around an `@`.
fn is_marked(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(at.saturating_sub(ADDRESS)..at).unwrap_or_default();
    let behind = bytes.get(at + 1..bytes.len().min(at + 1 + ADDRESS)).unwrap_or_default();
    let marks = |byte: Option<&u8>| matches!(byte, Some(b'*' | b'`'));
    // A mark around the whole address does not count
    let inner = |run: &mut dyn Iterator<Item = &u8>| {
        run.take_while(|byte| IN_MARKED.has(**byte)).any(|byte| !marks(Some(byte)))
    };
    let (head, tail) = (IN_ADDRESS.trailing(before), IN_ADDRESS.leading(behind));
    let mut outward = before.iter().rev().skip(head);
    let mut inward = behind.iter().skip(tail);
    marks(outward.clone().next()) && inner(&mut outward) || marks(inward.clone().next()) && inner(&mut inward)
}

pub(super) fn decode(text: &str, view: &mut View) {
    let bytes = text.as_bytes();
    let mut from = 0;
    for at in memchr::memchr3_iter(ESC, b'*', b'`', bytes) {
        let len = match bytes.get(at) {
            _ if at < from => continue,
            Some(&ESC) => sequence(bytes.get(at..).unwrap_or_default()),
            _ => bytes.get(at..).unwrap_or_default().iter().take(3).take_while(|byte| b"*`".contains(byte)).count(),
        };
        if len > 0 {
            view.copy(text.get(from..at).unwrap_or_default());
            view.put(len, None);
            from = at + len;
        }
    }
    view.copy(text.get(from..).unwrap_or_default());
}

/// Length of the terminal sequence at the start of `bytes`.
fn sequence(bytes: &[u8]) -> usize {
    let end = |found: Option<usize>, more: usize| found.map_or(0, |at| at + more);
    match bytes.get(1) {
        Some(b'[') => end(bytes.iter().skip(2).take(LONGEST).position(|byte| (0x40..=0x7e).contains(byte)), 3),
        Some(b']') => end(bytes.iter().take(LONGEST).position(|byte| *byte == 7 || *byte == b'\n'), 1),
        Some(b'(' | b')') => 3.min(bytes.len()),
        _ => 0,
    }
}
