//! Joins adjacent strings of a list into one. `split_values` and `split_numbers` choose the lists.

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
    let mut from = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\'', text.as_bytes().get(from..).unwrap_or_default()) {
        let at = from + found;
        view.push_plain(text.get(from..at).unwrap_or_default());
        match next_item_start(text.as_bytes(), at) {
            Some(next) => {
                view.push_decoded(next - at, None);
                from = next;
            }
            None => {
                view.push_plain(text.get(at..at + 1).unwrap_or_default());
                from = at + 1;
            }
        }
    }
    view.push_plain(text.get(from..).unwrap_or_default());
}
