//! Decides whether a word of prose or code is a password: in backticks, after `is`, or compared with `==`. Pure
//! functions; names in code, algorithms and paths are not passwords. `stated_passwords` finds such words,
//! `secret_check` checks other values.

use std::sync::LazyLock;

use super::byte_counts::ByteCounts;
use super::value_checks::{contains_any_case, is_algorithm, is_path, is_random, is_wordlike, names_a_secret};
use crate::wordlists;

/// Words in names of code and settings.
static CODE_NAMES: LazyLock<Vec<&[u8]>> = LazyLock::new(|| wordlists::bytes("secrets.code_names"));

/// Whether a word in backticks after `is` is a password rather than a name in code.
pub(super) fn is_literal_password(value: &[u8], counts: &ByteCounts) -> bool {
    if counts.digits == counts.len {
        return (4..=12).contains(&counts.len);
    }
    let is_code = value.iter().any(|byte| b"()[]{}<>\"'/=$\\:;".contains(byte)) || is_path(value);
    let is_code_name = CODE_NAMES.iter().any(|name| contains_any_case(value, name)) && !is_random(value);
    let is_constant = counts.lower == 0 && counts.marks == counts.joints;
    // `field_2` is a name
    let is_mixed = counts.digits >= 2
        || counts.digits > 0 && (counts.upper > 0 || counts.lower > 4 && counts.marks == 0)
        || counts.marks > counts.joints;
    let is_dotted = value.contains(&b'.') && counts.marks == counts.joints;
    (6..=128).contains(&counts.len)
        && counts.blanks == 0
        && counts.letters() >= 3
        && (is_mixed || is_word_password(value, counts, true) || is_joined_words(value) && counts.digits > 0)
        && !(is_code || is_code_name || is_constant || is_dotted || is_algorithm(value))
}

/// Whether a value is words of at least four letters joined by `-`.
fn is_joined_words(value: &[u8]) -> bool {
    let words =
        value.split(|byte| *byte == b'-').filter(|word| word.len() > 3 && word.iter().all(u8::is_ascii_lowercase));
    words.count() > 1
}

/// Whether a value after `is` is a password of words and digits: `walnut_velvet555`, `hunter22`. `is_alone`: no further
/// word follows.
pub(super) fn is_word_password(value: &[u8], counts: &ByteCounts, is_alone: bool) -> bool {
    let trailing_digits = value.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let word_lengths = value
        .split(|byte| b"_-".contains(byte))
        .map(|word| word.iter().take_while(|byte| byte.is_ascii_lowercase()).count());
    let long_words = word_lengths.filter(|len| *len >= 4).count();
    let is_plain = counts.upper == 0
        && counts.digits == trailing_digits
        && (1..=4).contains(&trailing_digits)
        && counts.blanks == 0;
    let is_joined = counts.lower + counts.digits + counts.marks == counts.len
        && counts.marks == counts.joints
        && !value.contains(&b'.');
    let is_code_name = CODE_NAMES.iter().any(|name| contains_any_case(value, name)) || is_algorithm(value);
    is_plain
        && is_joined
        && !is_code_name
        && (long_words > 1 && trailing_digits > 1
            || long_words == 1 && is_alone && counts.marks == 0 && counts.lower >= 5)
}

/// Whether the value that a password is compared with is a password rather than a name.
pub(super) fn is_compared_password(value: &[u8], counts: &ByteCounts) -> bool {
    let is_mixed = counts.digits >= 2 && counts.letters() >= 4
        || counts.digits == counts.len && counts.len >= 4
        || counts.kind_count() >= 2 && !is_wordlike(value);
    counts.blanks == 0 && is_mixed && !names_a_secret(value) && !is_algorithm(value)
}
