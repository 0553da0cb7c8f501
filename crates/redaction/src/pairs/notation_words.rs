//! Words between keys and values, and around values, in lower case. Words of secrets in keys are in
//! `secrets::secret_keys`.

use std::sync::LazyLock;

use super::super::sets::ByteSet;
use super::cursor::ends_with;
use crate::wordlists;

/// Words of prose between a key and its value; longer ones first.
pub(super) static IS_PHRASES: LazyLock<Vec<&[u8]>> =
    LazyLock::new(|| wordlists::lines("notation.linking_phrases").map(str::as_bytes).collect());

/// Text after a key and before `for root@localhost: ` in logs.
pub(super) const GENERATED_PHRASES: [&[u8]; 2] = [b"is generated ", b"was generated "];

/// Length of a phrase after which the value follows: `for user 'x' is `, `of bob is `, `for bob: `,
/// `(for staging) is `, `(staging): `.
pub(super) fn owner_phrase_len(rest: &[u8]) -> Option<usize> {
    let rest = rest.get(..rest.len().min(48)).unwrap_or_default();
    let is_in_owner = |byte: u8| byte.is_ascii_alphanumeric() || b" ._-@".contains(&byte);
    if rest.first() == Some(&b'(') {
        let close = 1 + rest.iter().skip(1).position(|byte| !is_in_owner(*byte))?;
        let after = rest.get(close..)?.strip_prefix(b")").filter(|_| close > 2)?;
        let link = [&b" is "[..], b": ", b":"].into_iter().find(|link| after.starts_with(link))?;
        return Some(close + 1 + link.len());
    }
    if !rest.starts_with(b"for ") && !rest.starts_with(b"of ") {
        return None;
    }
    if let Some(at) = memchr::memmem::find(rest, b" is ") {
        return Some(at + 4);
    }
    let may_be_quoted = |byte: u8| is_in_owner(byte) || b"\"'`".contains(&byte) && rest.starts_with(b"for user ");
    let colon = rest.iter().position(|byte| !may_be_quoted(*byte)).filter(|at| rest.get(*at) == Some(&b':'))?;
    let words = rest.get(..colon)?.split(|byte| *byte == b' ').count();
    (words < 4).then_some(colon + 1)
}

/// Bytes right before a string, in the name of a call, and in a type.
pub(super) static BEFORE_STRING: ByteSet = ByteSet::new(b"bBrRuUfFL@$");
pub(super) static IN_CALL: ByteSet = ByteSet::new(b" _.[]:").and_alnum();
pub(super) static IN_TYPE: ByteSet = ByteSet::new(b" _<>&'[]?!|.").and_alnum();
/// Bytes that can only begin an unquoted value: not a quote, or a name before one.
pub(super) static BEGINS_BARE: ByteSet = ByteSet::new(b" _.[]:@$\"'`\\").and_alnum().complement();
/// Bytes that neither end an unquoted value nor open a bracket in it.
pub(super) static IN_BARE: ByteSet = ByteSet::new(
    b"\0\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f \"'`,;()[]{}<>|&\\",
)
.complement();

/// Most bytes to the bracket of a wrapper's call.
pub(super) const MAX_CALL_NAME: usize = 41;

/// Length of the wrapper before a string: `new String("`, `[]byte("`.
pub(crate) fn wrapper_len(rest: &[u8]) -> Option<usize> {
    rest.first().filter(|first| IN_CALL.contains(**first))?;
    wrapper_len_at(rest, memchr::memchr(b'(', rest.get(..rest.len().min(MAX_CALL_NAME))?)?)
}

/// Like [`wrapper_len`], with the first `(` at `bracket`.
pub(super) fn wrapper_len_at(rest: &[u8], bracket: usize) -> Option<usize> {
    let has_string = matches!(rest.get(bracket + 1), Some(b'"' | b'\'' | b'\\'));
    let name = rest.get(..bracket)?;
    (has_string
        && IN_CALL.count_leading(name) == bracket
        && byte_list!("notation.wrapping_functions").iter().any(|wrapper| ends_with(name, wrapper)))
    .then_some(bracket + 1)
}
