//! Cuts ranges of JSON text so that they can be replaced and the text stays valid JSON: only the inner text of strings
//! is replaced, and no escape is split. `search` and `replacement` choose the ranges.

use std::ops::Range;

use kernel::notation::{Notation, Token, Tokens, escape_at};

/// Returns the ranges of the strings of a JSON map or list in order, without their quotes. Keys are omitted, except
/// those with a blank: a cache may use prompts as keys. `None`: the text is not a JSON map or list.
pub(super) fn string_values(text: &str) -> Option<Vec<Range<usize>>> {
    let first = text.bytes().find(|byte| !byte.is_ascii_whitespace());
    first.filter(|first| matches!(first, b'{' | b'['))?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let (mut strings, mut tokens) = (Vec::new(), Tokens::new(text, Notation::Json).peekable());
    while let Some(token) = tokens.next() {
        let Token::Text { range, .. } = token else { continue };
        let has_blank = text.get(range.clone()).is_some_and(|string| string.contains(' '));
        if has_blank || tokens.peek() != Some(&Token::Colon) {
            strings.push(range);
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
        let start =
            escape_at(text, value.start, range.start.max(value.start)).map_or(range.start, |escape| escape.start);
        let end = escape_at(text, value.start, range.end.min(value.end)).map_or(range.end, |escape| escape.end);
        start.max(value.start)..end.min(value.end)
    };
    inside.map(part).filter(|part| part.start < part.end).collect()
}
