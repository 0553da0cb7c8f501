//! **What**: patterns in which `*` stands for any characters: of origins, names, values. **Invariants**: no regular
//! expressions, so that nobody's pattern takes long. **Not here**: redaction rules (`redaction`).

/// Whether `text` is `pattern`, in which `*` stands for any characters. Goes back to the last star only: at worst the
/// product of both lengths.
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
