//! Recognises parameters of queries and forms, and those that are secret whatever their value. `?code=200` and
//! `?state=open` are not secret, `?code=…&state=…` of a redirect is; a short token is still a token. At most 256 bytes
//! on either side are read. `assign` checks the values.

use std::ops::Range;

use super::super::pairs::{KeyValuePair, PairSeparator, ends_with};
use super::byte_counts::ByteCounts;
use super::value_facts::contains_any_case;
use super::word_score::is_words;
use crate::scan::{TextScan, bytes_ahead};

/// Whether a pair is a parameter of a query or form: after `?` or `&`, or the first of several.
pub(super) fn is_parameter(scan: &TextScan<'_>, pair: &KeyValuePair) -> bool {
    let start = pair.key.start;
    match scan.byte_before(start, 1) {
        b'?' => true,
        b'&' => scan.byte_before(start, 2) != b'&',
        b';' => scan.bytes(start.saturating_sub(5)..start) == b"&amp;",
        before => {
            (start == 0 || before <= b' ' || b"\"'`".contains(&before))
                && pair.quote.is_none()
                && pair.sep == PairSeparator::Equals
                && pair.value.start == pair.key.end + 1
                && scan.byte(pair.value.end) == b'&'
                && scan.byte(pair.value.end + 1) != b'&'
        }
    }
}

/// Whether a pair is `sig=…` or `signature=…` by itself, with a plausible value.
pub(super) fn is_signature(scan: &TextScan<'_>, pair: &KeyValuePair) -> bool {
    let (key, value) = (scan.bytes(pair.key.clone()), scan.bytes(pair.value.clone()));
    let counts = ByteCounts::count(value);
    let is_signature_key = key.eq_ignore_ascii_case(b"sig") || key.eq_ignore_ascii_case(b"signature");
    let has_bare_equals =
        pair.sep == PairSeparator::Equals && pair.value.start == pair.key.end + 1 && pair.quote.is_none();
    is_signature_key
        && has_bare_equals
        && counts.len >= 12
        && counts.digits > 2
        && counts.letters() > 2
        && !is_words(value)
}

/// Whether a parameter's value is secret whatever it looks like: a token, a signature, or `code` and `state` of a
/// redirect.
pub(super) fn is_secret_parameter(scan: &TextScan<'_>, key: &Range<usize>) -> bool {
    let name = scan.bytes(key.clone());
    let head = scan.bytes(key.start.saturating_sub(256)..key.start);
    let is_outside = |byte: &u8| *byte <= b' ' || b"\"'`<>()".contains(byte);
    let from = head.iter().rposition(is_outside).map_or(0, |at| at + 1);
    let head = head.get(from..).unwrap_or_default();
    // Only in a URL, path or query: minified code also has `a?token=b:c`
    let is_in_query = head.contains(&b'/') || head.starts_with(b"?") || head.is_empty() || head.contains(&b'=');
    if [&b"token"[..], b"sig", b"signature", b"secret"].iter().any(|word| ends_with(name, word)) {
        return is_in_query;
    }
    let tail = bytes_ahead(scan, key.end, 256);
    let tail = tail.get(..tail.iter().position(is_outside).unwrap_or(tail.len())).unwrap_or_default();
    let has = |word: &[u8]| contains_any_case(head, word) || contains_any_case(tail, word);
    is_in_query
        && (name.eq_ignore_ascii_case(b"code") && has(b"state=")
            || name.eq_ignore_ascii_case(b"state") && has(b"code="))
}
