//! Distinguishes random values from words, names and paths. Pure functions with one or two passes. `value_checks` has
//! other checks, `byte_counts` the counts.

use super::byte_counts::ByteCounts;

/// Whether a value is words, short numbers and versions joined by `-`, `_`, `.`, `/` or `:`: a name rather than a
/// random value.
pub(crate) fn is_wordlike(value: &[u8]) -> bool {
    value.split(|byte| matches!(byte, b'-' | b'_' | b'.' | b'/' | b':' | b' ')).filter(|piece| !piece.is_empty()).all(
        |piece| {
            let counts = ByteCounts::count(piece);
            if counts.marks > 2 && counts.marks * 2 >= counts.len {
                return false;
            }
            let is_word = counts.digits == 0
                && (counts.lower == 0 || counts.upper <= 1 || is_camel_case(piece))
                && has_normal_vowels(piece);
            let is_numbered_word = counts.digits <= 3
                && counts.digits < counts.len
                && piece.iter().rev().take(counts.digits).all(u8::is_ascii_digit)
                && (counts.upper <= 1 || counts.lower == 0)
                && has_normal_vowels(piece);
            is_word || (counts.digits == counts.len && counts.len <= 8) || counts.len <= 3 || is_numbered_word
        },
    )
}

/// Whether a word is camel case with few capitals.
fn is_camel_case(piece: &[u8]) -> bool {
    let capitals = piece.iter().filter(|byte| byte.is_ascii_uppercase()).count();
    capitals * 4 <= piece.len()
}

/// Whether a word has a normal share of vowels; short words pass.
pub(super) fn has_normal_vowels(piece: &[u8]) -> bool {
    let letters = piece.iter().filter(|byte| byte.is_ascii_alphabetic()).count();
    let vowels = piece.iter().filter(|byte| b"aeiouyAEIOUY".contains(byte)).count();
    letters <= 5 || (vowels * 5 >= letters && vowels * 5 <= letters * 4)
}

/// Whether a value is random enough to be a secret under a weak key: at least sixteen characters of a token, not
/// words, a path or an example.
pub(super) fn is_random(value: &[u8]) -> bool {
    let counts = ByteCounts::count(value);
    let is_token = value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+/=~:!@#%^*$&".contains(byte));
    counts.len >= 16
        && is_token
        && counts.distinct >= 8
        && !value.windows(7).any(|part| part == b"EXAMPLE")
        && counts.letters() >= 3
        && !is_wordlike(value)
        && !is_path(value)
        && (counts.digits >= 2
            || (counts.upper * 3 >= counts.len && counts.lower * 4 >= counts.len && counts.len >= 20))
}

/// Whether a value is a path such as `a/b/c`, a host, or a file.
pub(super) fn is_path(value: &[u8]) -> bool {
    let slashes = value.iter().filter(|byte| **byte == b'/').count();
    slashes > 0
        && (value.starts_with(b"/") || value.starts_with(b".") || slashes * 12 > value.len())
        && value.split(|byte| *byte == b'/').any(|piece| piece.len() > 2 && is_wordlike(piece))
}
