//! Decides whether a word of prose or code is a password: in backticks, behind `is`, or compared with `==`. Pure
//! functions; names in code, algorithms and paths are not passwords. `told` finds such words, `judge` checks other
//! values.

use std::sync::LazyLock;

use super::look::Look;
use super::values::{contains, is_algorithm, names_itself, path, random, wordy};
use crate::wordlists;

/// Words in names of code and settings.
static NAMES: LazyLock<Vec<&[u8]>> = LazyLock::new(|| wordlists::bytes("secrets.code_names"));

/// Whether a word in backticks behind `is` is a password rather than a name in code.
pub(super) fn is_literal(value: &[u8], look: &Look) -> bool {
    if look.digits == look.len {
        return (4..=12).contains(&look.len);
    }
    let code = value.iter().any(|byte| b"()[]{}<>\"'/=$\\:;".contains(byte)) || path(value);
    let named = NAMES.iter().any(|name| contains(value, name)) && !random(value);
    let shouted = look.lower == 0 && look.marks == look.joints;
    // `field_2` is a name
    let mixed = look.digits >= 2
        || look.digits > 0 && (look.upper > 0 || look.lower > 4 && look.marks == 0)
        || look.marks > look.joints;
    let dotted = value.contains(&b'.') && look.marks == look.joints;
    (6..=128).contains(&look.len)
        && look.blanks == 0
        && look.letters() >= 3
        && (mixed || is_phrase(value, look, true) || joined(value) && look.digits > 0)
        && !(code || named || shouted || dotted || is_algorithm(value))
}

/// Whether a value is words of at least four letters joined by `-`.
fn joined(value: &[u8]) -> bool {
    let words =
        value.split(|byte| *byte == b'-').filter(|word| word.len() > 3 && word.iter().all(u8::is_ascii_lowercase));
    words.count() > 1
}

/// Whether a value behind `is` is a password of words and digits: `walnut_velvet555`, `hunter22`. `alone`: no further
/// word follows.
pub(super) fn is_phrase(value: &[u8], look: &Look, alone: bool) -> bool {
    let digits = value.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let words = value
        .split(|byte| b"_-".contains(byte))
        .map(|word| word.iter().take_while(|byte| byte.is_ascii_lowercase()).count());
    let long = words.filter(|letters| *letters >= 4).count();
    let plain = look.upper == 0 && look.digits == digits && (1..=4).contains(&digits) && look.blanks == 0;
    let joined =
        look.lower + look.digits + look.marks == look.len && look.marks == look.joints && !value.contains(&b'.');
    let named = NAMES.iter().any(|name| contains(value, name)) || is_algorithm(value);
    plain && joined && !named && (long > 1 && digits > 1 || long == 1 && alone && look.marks == 0 && look.lower >= 5)
}

/// Whether the value that a password is compared with is a password rather than a name.
pub(super) fn is_compared(value: &[u8], look: &Look) -> bool {
    let mixed = look.digits >= 2 && look.letters() >= 4
        || look.digits == look.len && look.len >= 4
        || look.classes() >= 2 && !wordy(value);
    look.blanks == 0 && mixed && !names_itself(value) && !is_algorithm(value)
}
