//! Cuts ranges of JSON text so that they can be replaced and the text stays valid JSON: only the inner text of strings
//! is replaced, and no escape is split. `search` and `replacement` choose the ranges.

use std::ops::Range;

/// Returns the ranges of the strings of a JSON map or list in order, without their quotes. Keys are omitted, except
/// those with a blank: a cache may use prompts as keys. `None`: the text is not a JSON map or list.
pub(super) fn string_values(text: &str) -> Option<Vec<Range<usize>>> {
    let first = text.bytes().find(|byte| !byte.is_ascii_whitespace());
    first.filter(|first| matches!(first, b'{' | b'['))?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let (bytes, mut strings, mut at) = (text.as_bytes(), Vec::new(), 0);
    while let Some(quote) = memchr::memchr(b'"', bytes.get(at..)?).map(|offset| at + offset) {
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
        let is_key = bytes.get(at..)?.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':');
        let has_blank = bytes.get(quote + 1..end).is_some_and(|string| string.contains(&b' '));
        if !is_key || has_blank {
            strings.push(quote + 1..end);
        }
    }
    Some(strings)
}

/// Returns the parts of `range` that lie in the strings `values`. A part that begins or ends inside an escape is
/// extended to include the whole escape.
pub(super) fn replaceable_parts(text: &str, values: &[Range<usize>], range: &Range<usize>) -> Vec<Range<usize>> {
    let first = values.partition_point(|value| value.end <= range.start);
    let inside = values.iter().skip(first).take_while(|value| value.start < range.end);
    let part = |value: &Range<usize>| {
        let start = escape_at(text, value, range.start.max(value.start)).map_or(range.start, |escape| escape.start);
        let end = escape_at(text, value, range.end.min(value.end)).map_or(range.end, |escape| escape.end);
        start.max(value.start)..end.min(value.end)
    };
    inside.map(part).filter(|part| part.start < part.end).collect()
}

/// Returns the escape of the string `value` that a cut at `at` would split.
fn escape_at(text: &str, value: &Range<usize>, at: usize) -> Option<Range<usize>> {
    const UNICODE_ESCAPE_BYTES: usize = "\\u0000".len();
    let bytes = text.as_bytes();
    let earliest = at.saturating_sub(UNICODE_ESCAPE_BYTES - 1).max(value.start);
    let mut starts = (earliest..at).filter(|start| bytes.get(*start) == Some(&b'\\'));
    starts.find_map(|start| {
        // A backslash begins an escape if the number of backslashes before it is even
        let backslashes_before = bytes.get(value.start..start)?.iter().rev().take_while(|byte| **byte == b'\\').count();
        let len = if bytes.get(start + 1) == Some(&b'u') { UNICODE_ESCAPE_BYTES } else { 2 };
        (backslashes_before % 2 == 0 && start + len > at).then_some(start..start + len)
    })
}
