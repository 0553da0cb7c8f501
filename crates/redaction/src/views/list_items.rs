//! Joins adjacent strings of a list into one. `split_values` chooses the lists.

use super::decoded_view::DecodedView;

/// Start of the next string in a list, after the `", "` whose first quote is at `at`.
pub(super) fn next_item_start(bytes: &[u8], at: usize) -> Option<usize> {
    let quote = *bytes.get(at).filter(|byte| b"\"'".contains(byte))?;
    let rest = bytes.get(at + 1..bytes.len().min(at + 34))?;
    let count_blanks =
        |from: usize| rest.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let comma_at = count_blanks(0);
    if rest.get(comma_at) != Some(&b',') {
        return None;
    }
    let quote_at = comma_at + 1 + count_blanks(comma_at + 1);
    (rest.get(quote_at) == Some(&quote)).then_some(at + 2 + quote_at)
}

/// Removes the separators between the strings.
pub(super) fn decode(text: &str, view: &mut DecodedView) {
    let bytes = text.as_bytes();
    let next = |from: usize| Some(from + memchr::memchr2(b'"', b'\'', bytes.get(from..)?)?);
    view.decode(text, next, |at| next_item_start(bytes, at).map(|next| (next - at, None)).ok_or(1));
}
