//! Describes the surroundings of a pair (on its own line, among arguments, in a query): the same words are a value in
//! one place and code in another. Reading is bounded. `assign` uses the result.

use std::ops::Range;

use super::super::pairs::{KeyValuePair, PairSeparator, line_range};
use super::super::scan::TextScan;
use super::secret_keys::SecretKind;
use super::value_facts::ValueFacts;

/// An unquoted value longer than this is not searched again for keys.
pub(super) const LONG_VALUE: usize = 512;

/// The surroundings of a pair.
#[derive(Default)]
pub(super) struct PairContext {
    /// It is a parameter of a URL.
    pub(super) is_parameter: bool,
    /// The key begins its line, perhaps after `export` and similar words.
    pub(super) is_at_line_start: bool,
    /// Only a comment, or the quote around the line, follows the value on its line.
    pub(super) is_at_line_end: bool,
    /// There are blanks around the separator.
    pub(super) is_spaced: bool,
    /// It is an argument: a bracket or comma is before or after it.
    pub(super) is_argument: bool,
    /// The key is a flag: `-` is before it.
    pub(super) is_flag: bool,
    /// The key has no lower-case letter.
    pub(super) is_upper: bool,
    /// Neither a lower-case word nor a comma follows.
    pub(super) is_last_word: bool,
    /// It belongs to a list separated by `;`: `User=x;Password=y;Server=z`.
    pub(super) is_in_list: bool,
}

impl PairContext {
    pub(super) fn around(scan: &TextScan<'_>, pair: &KeyValuePair, is_parameter: bool) -> Self {
        let before = scan.bytes(pair.key.start.saturating_sub(16)..pair.key.start);
        let is_filler = |byte: &&u8| b" \t-\"'`*#>$".contains(byte);
        let head_len = before.len() - before.iter().rev().take_while(is_filler).count();
        let before_key = before.get(..head_len).unwrap_or_default();
        let prefixes = [&b"export"[..], b"ENV", b"ARG", b"set", b"env", b"setx", b"-e", b"{", b"\\n", b"\\r"];
        let is_at_line_start = match before_key.last() {
            None => before.len() < 16,
            Some(b'\n' | b'\r') => true,
            _ => prefixes.iter().any(|word| before_key.ends_with(word)),
        };
        let (after, second_after) = (scan.byte(pair.value.end), scan.byte(pair.value.end + 1));
        let is_at_line_end = matches!(after, b'\n' | b'\r')
            || (after == b'\\' && matches!(second_after, b'n' | b'r'))
            || b"\"'`".contains(&after);
        let last_before = before.iter().rev().find(|byte| !b" \t\n".contains(byte)).copied().unwrap_or(b'\n');
        let between = scan.bytes(pair.key.end..pair.value.start);
        Self {
            is_parameter,
            is_at_line_start,
            is_at_line_end,
            is_spaced: between.iter().any(u8::is_ascii_whitespace),
            is_argument: matches!(last_before, b'(' | b',') || matches!(after, b')' | b','),
            is_flag: before.last() == Some(&b'-'),
            is_last_word: !(after == b' ' && second_after.is_ascii_lowercase()) && after != b',',
            is_in_list: matches!(after, b';' | b'"')
                && pair.sep == PairSeparator::Equals
                && (second_after.is_ascii_alphanumeric() || last_before == b';'),
            is_upper: !scan.bytes(pair.key.clone()).iter().any(u8::is_ascii_lowercase),
        }
    }

    /// The surroundings of a text that is the whole value of a key; `is_upper`: the key is in capitals.
    pub(super) fn whole_value(is_upper: bool) -> Self {
        Self { is_at_line_start: true, is_at_line_end: true, is_upper, is_last_word: true, ..Self::default() }
    }
}

impl PairContext {
    /// The range of an unquoted passphrase in YAML: plain words up to the end of the line.
    pub(super) fn passphrase_range(
        &self,
        scan: &TextScan<'_>,
        pair: &KeyValuePair,
        kind: SecretKind,
    ) -> Option<Range<usize>> {
        if kind != SecretKind::Password || pair.sep != PairSeparator::Colon || pair.quote.is_some() || pair.json_key {
            return None;
        }
        let range = line_range(scan.text.as_bytes(), pair.value.start);
        let line = scan.bytes(range.clone());
        let is_plain = line.iter().all(|byte| byte.is_ascii_alphanumeric() || b" -_!@#".contains(byte));
        let words = line.split(|byte| *byte == b' ').count();
        let is_phrase = self.is_at_line_start && is_plain && (3..=24).contains(&words);
        (is_phrase && !ValueFacts::of(line).is_sentence()).then_some(range)
    }
}

/// Whether the key is itself a value, as in `controller=secret object="x"`.
pub(super) fn is_key_a_value(scan: &TextScan<'_>, pair: &KeyValuePair) -> bool {
    let start = pair.key.start;
    match (scan.byte_before(start, 1), pair.sep) {
        (b'=', PairSeparator::Space) => true,
        // A type before `=`
        (b'=', PairSeparator::Equals) => {
            let after_key = scan.bytes(pair.key.end..pair.key.end + 16).trim_ascii_start();
            scan.byte(pair.key.end) == b' ' && after_key.first().is_some_and(u8::is_ascii_alphabetic)
        }
        _ => false,
    }
}

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
