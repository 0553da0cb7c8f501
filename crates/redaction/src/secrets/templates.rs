//! Recognises values made by templates and code, such as variables and format strings, and values that only look so.
//! Pure functions with one or two passes. `value_checks` has other checks.

use super::byte_counts::ByteCounts;
use super::randomness::is_random;

/// Whether a value looks like a template but is none: fewer braces close than open, and more text follows (`{{a)b}c…`),
/// or brackets close in the wrong order.
pub(super) fn is_broken_template(value: &[u8]) -> bool {
    let opening = value.iter().take_while(|byte| **byte == b'{').count();
    let is_one_word = || !value.iter().any(|byte| byte.is_ascii_whitespace() || b"\"',".contains(byte));
    if opening < 2 {
        return opening == 0 && value.len() >= 16 && has_crossed_brackets(value) && is_one_word();
    }
    let rest = value.get(opening..).unwrap_or_default();
    let inner_len = rest.iter().take_while(|byte| **byte != b'}').count();
    let closing = rest.iter().skip(inner_len).take_while(|byte| **byte == b'}').count();
    (1..opening).contains(&closing) && rest.len() >= inner_len + closing + 4 && is_one_word()
}

/// Whether brackets close in the wrong order next to one of a template: `m{{h}o)p${e]n(b}}`.
fn has_crossed_brackets(value: &[u8]) -> bool {
    // Such a value has a brace, and most values have none
    let from = memchr::memchr2(b'{', b'}', value).map_or(value.len(), |at| at.saturating_sub(1));
    let rest = value.get(from..).unwrap_or_default();
    if !rest.windows(2).any(|two| matches!(two, b"{{" | b"${" | b"}}")) {
        return false;
    }
    let (mut open_brackets, mut depth, mut crossed) = ([0_u8; 8], 0_usize, 0);
    for byte in value {
        match byte {
            b'(' | b'[' | b'{' => {
                let Some(slot) = open_brackets.get_mut(depth) else { return false };
                *slot = *byte;
                depth += 1;
            }
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                let open = open_brackets.get(depth).copied().unwrap_or_default();
                crossed += usize::from(!matches!((open, byte), (b'(', b')') | (b'[', b']') | (b'{', b'}')));
            }
            _ => {}
        }
    }
    crossed > 1 && ByteCounts::count(value).letters() >= 8
}

/// Whether a value is a variable: `$NAME`, `$$NAME`, `$_POST[…`, `$object->…`, `$BASE/…`. `$Tr0ub4dor` is too mixed for
/// a name.
pub(super) fn is_variable(value: &[u8]) -> bool {
    // Escaped in shell quotes
    let value = value.strip_prefix(b"\\").unwrap_or(value);
    let Some(rest) = value.strip_prefix(b"$") else { return false };
    let rest = rest.strip_prefix(b"$").unwrap_or(rest);
    let len = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"_:".contains(byte)).count();
    let (name, after_name) = rest.split_at_checked(len).unwrap_or_default();
    let counts = ByteCounts::count(name);
    let begins_number = |at: usize| {
        name.get(at).is_some_and(u8::is_ascii_digit) && !name.get(at.wrapping_sub(1)).is_some_and(u8::is_ascii_digit)
    };
    let numbers = (0..name.len()).filter(|at| begins_number(*at)).count();
    let is_mixed = counts.upper > 0 && counts.lower > 0 && (numbers > 1 || counts.len >= 24 && is_random(name));
    let is_constant = counts.lower == 0 && counts.upper > 2;
    let is_complete = match after_name {
        [] => true,
        [b'[', ..] | [b'-', b'>', ..] => counts.upper == 0 || counts.lower == 0,
        [b'/', ..] => is_constant,
        // The escaped closing quote
        [b'\\', ..] => after_name.iter().all(|byte| b"\\\"'".contains(byte)),
        [b'&', ..] => after_name.starts_with(b"&quot") || after_name.starts_with(b"&#"),
        _ => false,
    };
    is_complete && !is_mixed && name.first().is_some_and(|byte| !byte.is_ascii_digit())
}

/// Whether a value is a format string such as `prefix_{}`.
pub(super) fn is_format(value: &[u8]) -> bool {
    let name = value.strip_suffix(b"{}").unwrap_or_default();
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphabetic() || b"_- .:/".contains(byte))
}

/// Whether `rest` begins with `%(name)s` or `$(command …)`; `inner` is the text after its bracket.
pub(super) fn is_interpolation(rest: &[u8], inner: &[u8]) -> bool {
    let name_len = inner.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte)).count();
    let begins_word = inner.first().is_some_and(|byte| byte.is_ascii_alphabetic() || b"_<./$".contains(byte));
    match inner.get(name_len) {
        Some(b')') => name_len > 0,
        Some(next) => begins_word && rest.starts_with(b"$") && (*next <= b' ' || b"/<$".contains(next)),
        None => begins_word && rest.starts_with(b"$"),
    }
}
