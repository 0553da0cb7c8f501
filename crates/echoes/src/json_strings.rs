//! Cuts ranges of JSON text so that they can be replaced and the text stays valid JSON: keys that are names,
//! punctuation and numbers are left alone, and no escape is split. `search` and `replacement` choose the ranges.

use std::ops::Range;

/// Returns the strings of a JSON map or list in order, without their quotes. Keys without a blank are omitted. `None`:
/// the text is not a JSON map or list.
pub(super) fn string_values(text: &str) -> Option<Vec<Range<usize>>> {
    let first = text.bytes().find(|byte| !byte.is_ascii_whitespace());
    first.filter(|first| matches!(first, b'{' | b'['))?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(quote) = memchr::memchr(b'"', bytes.get(at..)?).map(|found| at + found) {
        let mut end = quote + 1;
        // Always ends: the text was parsed as JSON, so every string is closed
        loop {
            end += memchr::memchr2(b'"', b'\\', bytes.get(end..)?)?;
            if bytes.get(end) == Some(&b'"') {
                break;
            }
            end += 2;
        }
        at = end + 1;
        let behind = bytes.get(at..)?.iter().find(|byte| !byte.is_ascii_whitespace());
        // A key with blanks is treated as text: a cache may use prompts as keys
        let prose = bytes.get(quote + 1..end).is_some_and(|key| key.contains(&b' '));
        if behind != Some(&b':') || prose {
            out.push(quote + 1..end);
        }
    }
    Some(out)
}

/// Returns the parts of `range` that lie in `values`. A part that begins or ends inside an escape is extended to all of
/// it.
pub(super) fn replaceable_parts(text: &str, values: &[Range<usize>], range: &Range<usize>) -> Vec<Range<usize>> {
    let first = values.partition_point(|value| value.end <= range.start);
    let inside = values.iter().skip(first).take_while(|value| value.start < range.end);
    let piece = |value: &Range<usize>| {
        let start = escape_at(text, value, range.start.max(value.start)).map_or(range.start, |escape| escape.start);
        let end = escape_at(text, value, range.end.min(value.end)).map_or(range.end, |escape| escape.end);
        start.max(value.start)..end.min(value.end)
    };
    inside.map(piece).filter(|piece| piece.start < piece.end).collect()
}

/// Returns the escape of a string that a cut at `at` would split.
fn escape_at(text: &str, value: &Range<usize>, at: usize) -> Option<Range<usize>> {
    /// Bytes of `\u0000`.
    const LONGEST: usize = 6;
    let bytes = text.as_bytes();
    let from = at.saturating_sub(LONGEST - 1).max(value.start);
    let mut starts = (from..at).filter(|start| bytes.get(*start) == Some(&b'\\'));
    starts.find_map(|start| {
        // After an even number of backslashes, this one begins an escape
        let before = bytes.get(value.start..start)?.iter().rev().take_while(|byte| **byte == b'\\').count();
        let len = if bytes.get(start + 1) == Some(&b'u') { LONGEST } else { 2 };
        (before % 2 == 0 && start + len > at).then_some(start..start + len)
    })
}
