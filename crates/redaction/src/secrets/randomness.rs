//! Distinguishes random values from words, names and paths. Pure functions with one or two passes. `value_checks` has
//! other checks, `byte_counts` the counts.

use super::byte_counts::ByteCounts;

/// Whether a value is words, short numbers and versions joined by `-`, `_`, `.`, `/` or `:`: a name rather than a
/// random value.
pub(crate) fn is_wordlike(value: &[u8]) -> bool {
    value.split(|byte| matches!(byte, b'-' | b'_' | b'.' | b'/' | b':' | b' ')).filter(|piece| !piece.is_empty()).all(
        |piece| {
            let look = ByteCounts::count(piece);
            if look.marks > 2 && look.marks * 2 >= look.len {
                return false;
            }
            let word = look.digits == 0
                && (look.lower == 0 || look.upper <= 1 || is_camel_case(piece))
                && has_normal_vowels(piece);
            let numbered = look.digits <= 3
                && look.digits < look.len
                && piece.iter().rev().take(look.digits).all(u8::is_ascii_digit)
                && (look.upper <= 1 || look.lower == 0)
                && has_normal_vowels(piece);
            word || (look.digits == look.len && look.len <= 8) || look.len <= 3 || numbered
        },
    )
}

/// Whether a word is camel case with few capitals.
fn is_camel_case(piece: &[u8]) -> bool {
    let humps = piece.iter().filter(|byte| byte.is_ascii_uppercase()).count();
    humps * 4 <= piece.len()
}

/// Whether a word has a normal share of vowels; short words pass.
pub(super) fn has_normal_vowels(piece: &[u8]) -> bool {
    let letters = piece.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let vowels = piece.iter().filter(|byte| b"aeiouyAEIOUY".contains(byte)).count();
    letters <= 5 || (vowels * 5 >= letters && vowels * 5 <= letters * 4)
}

/// Whether a value is random enough to be a secret under a weak key: at least sixteen characters of letters and digits.
pub(super) fn is_random(value: &[u8]) -> bool {
    let look = ByteCounts::count(value);
    let token = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+/=~:!@#%^*$&".contains(byte));
    look.len >= 16
        && token
        && look.distinct >= 8
        && !value.windows(7).any(|part| part == b"EXAMPLE")
        && look.letters() >= 3
        && !is_wordlike(value)
        && !is_path(value)
        && (look.digits >= 2 || (look.upper * 3 >= look.len && look.lower * 4 >= look.len && look.len >= 20))
}

/// Whether a value is a path such as `a/b/c`, a host, or a file.
pub(super) fn is_path(value: &[u8]) -> bool {
    let slashes = value.iter().filter(|byte| **byte == b'/').count();
    slashes > 0
        && (value.starts_with(b"/") || value.starts_with(b".") || slashes * 12 > value.len())
        && value.split(|byte| *byte == b'/').any(|piece| piece.len() > 2 && is_wordlike(piece))
}
