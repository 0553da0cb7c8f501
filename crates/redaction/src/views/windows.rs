//! Chooses windows around escapes. A window begins and ends between words, if such a place is near, so that no
//! part of a longer value looks like a value. Windows are in order and do not overlap; linear.

use std::ops::Range;

use super::super::sets::ByteSet;

/// Bytes around an escape in which a value and its context may be.
const REACH: usize = 64;
/// Further bytes in which a blank or quote is searched.
const SEARCH: usize = 160;

/// Adds the window around an escape, or extends the last window if they touch.
pub(super) fn add_window(text: &str, escape: Range<usize>, out: &mut Vec<Range<usize>>) {
    let low = escape.start.saturating_sub(REACH);
    if let Some(last) = out.last_mut().filter(|last| last.end >= low) {
        if escape.end + REACH > last.end {
            last.end = window_end(text, escape.end).max(last.end);
        }
        return;
    }
    let start = window_start(text, low).max(out.last().map_or(0, |last| last.end));
    out.push(start..window_end(text, escape.end));
}

/// Whether `at` is in the last window and far from its end, so that an escape there adds nothing.
pub(super) fn covers_escape(out: &[Range<usize>], at: usize) -> bool {
    at < covered_end(out)
}

/// The position up to which the last window covers all escapes.
pub(super) fn covered_end(out: &[Range<usize>]) -> usize {
    out.last().map_or(0, |last| (last.end + 1).saturating_sub(REACH + 16))
}

/// All bytes except separators of words.
static IN_WORD: ByteSet = ByteSet::new(b" \t\n\x0c\r\"'<>`").complement();

/// Start of a window before `low`, between words.
pub(super) fn window_start(text: &str, low: usize) -> usize {
    let (bytes, lowest) = (text.as_bytes(), low.saturating_sub(SEARCH));
    let before = bytes.get(lowest..low).unwrap_or_default();
    let start = match before.iter().rposition(|byte| !IN_WORD.contains(*byte)) {
        Some(at) => lowest + at + 1,
        None if lowest == 0 => 0,
        None => escape_start(bytes, lowest),
    };
    text.ceil_char_boundary(start)
}

/// Start of the escape that `at` would cut.
fn escape_start(bytes: &[u8], at: usize) -> usize {
    let before = bytes.get(at.saturating_sub(8)..at).unwrap_or_default();
    match before.iter().rposition(|byte| b"\\&%=".contains(byte)) {
        Some(found) => {
            let at = at - (before.len() - found);
            let before_escape = bytes.get(at.saturating_sub(SEARCH)..at).unwrap_or_default();
            at - before_escape.iter().rev().take_while(|byte| **byte == b'\\').count()
        }
        None => at,
    }
}

/// End of a window after `at`, between words.
fn window_end(text: &str, at: usize) -> usize {
    let high = text.len().min(at + REACH);
    let after = text.as_bytes().get(high..text.len().min(high + SEARCH)).unwrap_or_default();
    let end = high + IN_WORD.count_leading(after);
    text.ceil_char_boundary(end)
}
