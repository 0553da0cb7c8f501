//! Words between keys and values, and around values, in lower case. Words of secrets in keys are in
//! `secrets::secret_keys`.

use std::sync::LazyLock;

use super::super::sets::ByteSet;
use super::cursor::ends_with;
use crate::wordlists;

/// Words of prose between a key and its value; longer ones first.
pub(super) static IS_PHRASES: LazyLock<Vec<&[u8]>> =
    LazyLock::new(|| wordlists::lines("notation.linking_phrases").map(str::as_bytes).collect());

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

/// Length of the wrapper before a string, `new String("`, `[]byte("`, with the first `(` at `bracket`.
pub(super) fn wrapper_len_at(rest: &[u8], bracket: usize) -> Option<usize> {
    let has_string = matches!(rest.get(bracket + 1), Some(b'"' | b'\'' | b'\\'));
    let name = rest.get(..bracket)?;
    (has_string
        && IN_CALL.count_leading(name) == bracket
        && byte_list!("notation.wrapping_functions").iter().any(|wrapper| ends_with(name, wrapper)))
    .then_some(bracket + 1)
}
