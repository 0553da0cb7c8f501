//! Joins adjacent strings of a list into one. `joints` and `pieces` choose the lists.

use super::view::View;

/// Start of the next string in a list, behind the `", "` at `at`.
pub(super) fn joint(bytes: &[u8], at: usize) -> Option<usize> {
    let quote = *bytes.get(at).filter(|byte| b"\"'".contains(byte))?;
    let rest = bytes.get(at + 1..bytes.len().min(at + 34))?;
    let blanks =
        |from: usize| rest.get(from..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let comma = blanks(0);
    if rest.get(comma) != Some(&b',') {
        return None;
    }
    let next = comma + 1 + blanks(comma + 1);
    (rest.get(next) == Some(&quote)).then_some(at + 2 + next)
}

/// Removes the separators between the strings.
pub(super) fn decode(text: &str, view: &mut View) {
    let mut from = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\'', text.as_bytes().get(from..).unwrap_or_default()) {
        let at = from + found;
        view.copy(text.get(from..at).unwrap_or_default());
        match joint(text.as_bytes(), at) {
            Some(next) => {
                view.put(next - at, None);
                from = next;
            }
            None => {
                view.copy(text.get(at..at + 1).unwrap_or_default());
                from = at + 1;
            }
        }
    }
    view.copy(text.get(from..).unwrap_or_default());
}
