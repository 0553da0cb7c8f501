//! Patterns for origins, names and values in which `*` matches any characters. Regular expressions are not supported,
//! so that no user's pattern can be slow. Patterns of redaction rules are in the crate `redaction`.

/// Whether `pattern`, in which `*` matches any characters, matches the whole of `text`. It backtracks to the last star
/// only, so the cost is at most the product of both lengths.
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut to, mut star) = (0, 0, None);
    while to < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, to));
                at += 1;
            }
            Some(known) if text.get(to) == Some(known) => (at, to) = (at + 1, to + 1),
            _ => {
                let Some((from, seen)) = star else { return false };
                star = Some((from, seen + 1));
                (at, to) = (from + 1, seen + 1);
            }
        }
    }
    pattern.get(at..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}
