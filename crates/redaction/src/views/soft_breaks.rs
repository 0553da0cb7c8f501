//! Signs of quoted-printable that the anchor pass checks. `quoted_printable` chooses the windows.

/// Whether the `=` at `at` may indicate quoted-printable: it is before a line's end (but not of a line of code), or
/// before an escape with a letter.
#[inline]
pub(crate) fn may_be_quoted_printable(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at + 1..bytes.len().min(at + 3)).unwrap_or_default() {
        [b'\n' | b'\r', ..] => at.checked_sub(1).and_then(|at| bytes.get(at)).is_some_and(|before| *before != b' '),
        [high, low] => {
            is_upper_hex(*high) && is_upper_hex(*low) && (high.is_ascii_uppercase() || low.is_ascii_uppercase())
        }
        _ => false,
    }
}

pub(super) fn is_upper_hex(byte: u8) -> bool {
    byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)
}
