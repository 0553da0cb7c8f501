//! Recognises values made by templates and code, such as variables and format strings, and values that only look so.
//! Pure functions with one or two passes. `value_checks` has other checks.

use super::byte_counts::ByteCounts;
use super::randomness::is_random;

/// Whether a value begins like a template but is none: fewer braces close than open, and more text follows
/// (`{{a)b}c…`).
pub(super) fn is_broken_template(value: &[u8]) -> bool {
    let opened = value.iter().take_while(|byte| **byte == b'{').count();
    let plain = || !value.iter().any(|byte| byte.is_ascii_whitespace() || b"\"',".contains(byte));
    if opened < 2 {
        return opened == 0 && value.len() >= 16 && has_crossed_brackets(value) && plain();
    }
    let rest = value.get(opened..).unwrap_or_default();
    let inner = rest.iter().take_while(|byte| **byte != b'}').count();
    let closed = rest.iter().skip(inner).take_while(|byte| **byte == b'}').count();
    (1..opened).contains(&closed) && rest.len() >= inner + closed + 4 && plain()
}

/// Whether brackets close in the wrong order next to one of a template: `m{{h}o)p${e]n(b}}`.
fn has_crossed_brackets(value: &[u8]) -> bool {
    // All of these have a brace, and most values have none
    let from = memchr::memchr2(b'{', b'}', value).map_or(value.len(), |at| at.saturating_sub(1));
    let rest = value.get(from..).unwrap_or_default();
    if !rest.windows(2).any(|two| matches!(two, b"{{" | b"${" | b"}}")) {
        return false;
    }
    let (mut open, mut depth, mut crossed) = ([0_u8; 8], 0_usize, 0);
    for byte in value {
        match byte {
            b'(' | b'[' | b'{' => {
                let Some(slot) = open.get_mut(depth) else { return false };
                *slot = *byte;
                depth += 1;
            }
            b')' | b']' | b'}' => {
                depth = depth.saturating_sub(1);
                let opened = open.get(depth).copied().unwrap_or_default();
                crossed += usize::from(!matches!((opened, byte), (b'(', b')') | (b'[', b']') | (b'{', b'}')));
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
    let (name, behind) = rest.split_at_checked(len).unwrap_or_default();
    let look = ByteCounts::count(name);
    let begins = |at: usize| {
        name.get(at).is_some_and(u8::is_ascii_digit) && !name.get(at.wrapping_sub(1)).is_some_and(u8::is_ascii_digit)
    };
    let numbers = (0..name.len()).filter(|at| begins(*at)).count();
    let mixed = look.upper > 0 && look.lower > 0 && (numbers > 1 || look.len >= 24 && is_random(name));
    let shouted = look.lower == 0 && look.upper > 2;
    let ends = match behind {
        [] => true,
        [b'[', ..] | [b'-', b'>', ..] => look.upper == 0 || look.lower == 0,
        [b'/', ..] => shouted,
        // The escaped closing quote
        [b'\\', ..] => behind.iter().all(|byte| b"\\\"'".contains(byte)),
        [b'&', ..] => behind.starts_with(b"&quot") || behind.starts_with(b"&#"),
        _ => false,
    };
    ends && !mixed && name.first().is_some_and(|byte| !byte.is_ascii_digit())
}

/// Whether a value is a format string such as `prefix_{}`.
pub(super) fn is_format(value: &[u8]) -> bool {
    let name = value.strip_suffix(b"{}").unwrap_or_default();
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphabetic() || b"_- .:/".contains(byte))
}

/// Whether a value is `%(name)s` or `$(command …)`.
pub(super) fn is_interpolation(rest: &[u8], inner: &[u8]) -> bool {
    let name = inner.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte)).count();
    let word = inner.first().is_some_and(|byte| byte.is_ascii_alphabetic() || b"_<./$".contains(byte));
    match inner.get(name) {
        Some(b')') => name > 0,
        Some(next) => word && rest.starts_with(b"$") && (*next <= b' ' || b"/<$".contains(next)),
        None => word && rest.starts_with(b"$"),
    }
}
