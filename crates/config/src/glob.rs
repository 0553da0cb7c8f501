//! Patterns for origins, names and values in which `*` matches any characters. Regular expressions are not supported,
//! so that no user's pattern can be slow. Patterns of redaction rules are in the crate `redaction`.

/// Whether `pattern`, in which `*` matches any characters, matches the whole of `text`. It backtracks to the last star
/// only, so the cost is at most the product of both lengths.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut pattern_at, mut text_at) = (0, 0);
    // The position of the last star, and the end of the text that it matches so far.
    let mut last_star = None;
    while text_at < text.len() {
        match pattern.get(pattern_at) {
            Some(b'*') => {
                last_star = Some((pattern_at, text_at));
                pattern_at += 1;
            }
            Some(byte) if text.get(text_at) == Some(byte) => (pattern_at, text_at) = (pattern_at + 1, text_at + 1),
            _ => {
                let Some((star_at, star_end)) = last_star else { return false };
                last_star = Some((star_at, star_end + 1));
                (pattern_at, text_at) = (star_at + 1, star_end + 1);
            }
        }
    }
    pattern.get(pattern_at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}
