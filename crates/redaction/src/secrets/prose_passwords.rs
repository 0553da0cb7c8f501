//! Decides whether a word of prose or code is a password: in backticks, behind `is`, or compared with `==`. Pure
//! functions; names in code, algorithms and paths are not passwords. `stated_passwords` finds such words,
//! `secret_check` checks other values.

use std::sync::LazyLock;

use super::byte_counts::ByteCounts;
use super::value_checks::{contains_any_case, is_algorithm, is_path, is_random, is_wordlike, names_a_secret};
use crate::wordlists;

/// Words in names of code and settings.
static NAMES: LazyLock<Vec<&[u8]>> = LazyLock::new(|| wordlists::bytes("secrets.code_names"));

/// Whether a word in backticks behind `is` is a password rather than a name in code.
pub(super) fn is_literal_password(value: &[u8], look: &ByteCounts) -> bool {
    if look.digits == look.len {
        return (4..=12).contains(&look.len);
    }
    let code = value.iter().any(|byte| b"()[]{}<>\"'/=$\\:;".contains(byte)) || is_path(value);
    let named = NAMES.iter().any(|name| contains_any_case(value, name)) && !is_random(value);
    let shouted = look.lower == 0 && look.marks == look.joints;
    // `field_2` is a name
    let mixed = look.digits >= 2
        || look.digits > 0 && (look.upper > 0 || look.lower > 4 && look.marks == 0)
        || look.marks > look.joints;
    let dotted = value.contains(&b'.') && look.marks == look.joints;
    (6..=128).contains(&look.len)
        && look.blanks == 0
        && look.letters() >= 3
        && (mixed || is_word_password(value, look, true) || is_joined_words(value) && look.digits > 0)
        && !(code || named || shouted || dotted || is_algorithm(value))
}

/// Whether a value is words of at least four letters joined by `-`.
fn is_joined_words(value: &[u8]) -> bool {
    let words =
        value.split(|byte| *byte == b'-').filter(|word| word.len() > 3 && word.iter().all(u8::is_ascii_lowercase));
    words.count() > 1
}

/// Whether a value behind `is` is a password of words and digits: `walnut_velvet555`, `hunter22`. `alone`: no further
/// word follows.
pub(super) fn is_word_password(value: &[u8], look: &ByteCounts, alone: bool) -> bool {
    let digits = value.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let words = value
        .split(|byte| b"_-".contains(byte))
        .map(|word| word.iter().take_while(|byte| byte.is_ascii_lowercase()).count());
    let long = words.filter(|letters| *letters >= 4).count();
    let plain = look.upper == 0 && look.digits == digits && (1..=4).contains(&digits) && look.blanks == 0;
    let joined =
        look.lower + look.digits + look.marks == look.len && look.marks == look.joints && !value.contains(&b'.');
    let named = NAMES.iter().any(|name| contains_any_case(value, name)) || is_algorithm(value);
    plain && joined && !named && (long > 1 && digits > 1 || long == 1 && alone && look.marks == 0 && look.lower >= 5)
}

/// Whether the value that a password is compared with is a password rather than a name.
pub(super) fn is_compared_password(value: &[u8], look: &ByteCounts) -> bool {
    let mixed = look.digits >= 2 && look.letters() >= 4
        || look.digits == look.len && look.len >= 4
        || look.class_count() >= 2 && !is_wordlike(value);
    look.blanks == 0 && mixed && !names_a_secret(value) && !is_algorithm(value)
}
