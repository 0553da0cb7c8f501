//! Describes the surroundings of a pair (on its own line, among arguments, in a query) and the extent of its value: the
//! same words are a value in one place and code in another. A parameter of a query or form may be secret whatever its
//! value: `?code=200` and `?state=open` are not, `?code=…&state=…` of a redirect is. Reading is bounded. `assign` uses
//! the result.

use std::ops::Range;

use super::super::pairs::{KeyValuePair, PairSeparator, ends_with};
use super::super::scan::{TextScan, bytes_ahead};
use super::byte_counts::ByteCounts;
use super::secret_keys::SecretKind;
use super::value_facts::{contains_any_case, is_prose};
use super::word_score::is_words;

/// An unquoted value longer than this is not searched again for keys.
pub(super) const LONG_VALUE: usize = 512;

/// The surroundings of a pair.
#[derive(Default)]
pub(super) struct PairContext {
    /// It is a parameter of a URL.
    pub(super) is_parameter: bool,
    /// It is a signature, or belongs to a query with `code` and `state`, so that any value is secret.
    pub(super) is_always_secret: bool,
    /// The key begins its line, perhaps after `export` and similar words.
    pub(super) is_at_line_start: bool,
    /// Only a comment, or the quote around the line, follows the value on its line.
    pub(super) is_at_line_end: bool,
    /// A call stores the value under the key: `map.put("password", "v")`.
    pub(super) is_stored: bool,
    /// There are blanks around the separator.
    pub(super) is_spaced: bool,
    /// It is an argument: a bracket or comma is before or after it.
    pub(super) is_argument: bool,
    /// The key is a flag: `-` is before it.
    pub(super) is_flag: bool,
    /// The key has no lower-case letter.
    pub(super) is_upper: bool,
    /// The key has letters of another script, and its value is unquoted and not after `=`.
    pub(super) is_foreign: bool,
    /// Neither a lower-case word nor a comma follows.
    pub(super) is_last_word: bool,
    /// The value is a type: `password: T = …`.
    pub(super) is_type: bool,
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
        let is_comment = after == b' ' && matches!(second_after, b'#' | b' ');
        let is_at_line_end = matches!(after, b'\n' | b'\r')
            || is_comment
            || (after == b'\\' && matches!(second_after, b'n' | b'r'))
            || b"\"'`".contains(&after);
        let last_before = before.iter().rev().find(|byte| !b" \t\n".contains(byte)).copied().unwrap_or(b'\n');
        let between = scan.bytes(pair.key.end..pair.value.start);
        Self {
            is_parameter,
            is_always_secret: is_parameter && is_secret_parameter(scan, &pair.key),
            is_at_line_start,
            is_at_line_end,
            is_stored: pair.sep == PairSeparator::Comma && is_stored(before),
            is_spaced: between.iter().any(u8::is_ascii_whitespace),
            is_argument: matches!(last_before, b'(' | b',') || matches!(after, b')' | b','),
            is_flag: before.last() == Some(&b'-'),
            is_last_word: !(after == b' ' && second_after.is_ascii_lowercase()) && after != b',',
            is_type: pair.quote.is_none() && pair.sep == PairSeparator::Colon && after == b' ' && second_after == b'=',
            is_in_list: matches!(after, b';' | b'"')
                && pair.sep == PairSeparator::Equals
                && (second_after.is_ascii_alphanumeric() || last_before == b';'),
            is_foreign: !scan.bytes(pair.key.clone()).is_ascii()
                && pair.quote.is_none()
                && pair.sep != PairSeparator::Equals,
            is_upper: !scan.bytes(pair.key.clone()).iter().any(u8::is_ascii_lowercase),
        }
    }

    /// The surroundings of a text that is the whole value of a key; `is_upper`: the key is in capitals.
    pub(super) fn whole_value(is_upper: bool) -> Self {
        Self { is_at_line_start: true, is_at_line_end: true, is_upper, is_last_word: true, ..Self::default() }
    }

    /// The range of the value; an unquoted passphrase extends to the end of its line.
    pub(super) fn value_range(&self, scan: &TextScan<'_>, pair: &KeyValuePair, kind: SecretKind) -> Range<usize> {
        let is_yaml = kind == SecretKind::Password
            && pair.sep == PairSeparator::Colon
            && pair.quote.is_none()
            && self.is_at_line_start
            && !pair.json_key;
        if let Some(range) = app_password_range(scan, pair, kind) {
            return range;
        }
        if !is_yaml {
            return if pair.sep == PairSeparator::Element {
                strip_jenkins_braces(scan, pair.value.clone())
            } else {
                pair.value.clone()
            };
        }
        let line = pair.line_range(scan.text.as_bytes());
        let word_count = scan.bytes(line.clone()).split(|byte| *byte == b' ').count();
        let is_plain =
            scan.bytes(line.clone()).iter().all(|byte| byte.is_ascii_alphanumeric() || b" -_!@#".contains(byte));
        // `password:  12 bytes` is a size
        let is_size = scan.bytes(line.clone()).ends_with(b" bytes") && word_count == 2;
        match (2..=24).contains(&word_count) && !is_size && is_plain && !is_prose(scan.bytes(line.clone())) {
            true => line,
            false => pair.value.clone(),
        }
    }
}

/// Whether a call that stores values begins before a key: `put("`, `setenv(`.
fn is_stored(before: &[u8]) -> bool {
    let len = before.len() - before.iter().rev().take_while(|byte| b"\"'\\".contains(byte)).count();
    let Some(name) = before.get(..len).and_then(|head| head.strip_suffix(b"(")) else { return false };
    let start = name.len() - name.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
    name.get(start..)
        .is_some_and(|name| byte_list!("secrets.store_calls").iter().any(|call| call.eq_ignore_ascii_case(name)))
}

/// Whether the key is itself a value, as in `controller=secret object="x"`, or part of
/// `arn:aws:secretsmanager:…:secret:name`.
pub(super) fn is_key_a_value(scan: &TextScan<'_>, pair: &KeyValuePair) -> bool {
    let start = pair.key.start;
    match (scan.byte_before(start, 1), pair.sep) {
        (b'=', PairSeparator::Space) => true,
        // A type before `=`
        (b'=', PairSeparator::Equals) => {
            let after_key = scan.bytes(pair.key.end..pair.key.end + 16).trim_ascii_start();
            scan.byte(pair.key.end) == b' ' && after_key.first().is_some_and(u8::is_ascii_alphabetic)
        }
        (b':', PairSeparator::Colon) => {
            let head = scan.bytes(start.saturating_sub(MAX_ARN)..start);
            let word =
                head.rsplit(|byte| byte.is_ascii_whitespace() || b"\"'`".contains(byte)).next().unwrap_or_default();
            word.starts_with(b"arn:")
        }
        _ => false,
    }
}

/// Most bytes of an ARN before its last part but one.
const MAX_ARN: usize = 96;

/// The range of an app password of Google: four groups of four small letters.
fn app_password_range(scan: &TextScan<'_>, pair: &KeyValuePair, kind: SecretKind) -> Option<Range<usize>> {
    let start = pair.value.start;
    if kind != SecretKind::Password || pair.value.len() != 4 || scan.byte(start + 19).is_ascii_alphanumeric() {
        return None;
    }
    is_app_password(scan.bytes(start..start + 19)).then_some(start..start + 19)
}

/// Whether a text is four groups of four small letters.
pub(super) fn is_app_password(text: &[u8]) -> bool {
    let is_expected = |(at, byte): (usize, &u8)| if at % 5 == 4 { *byte == b' ' } else { byte.is_ascii_lowercase() };
    text.len() == 19 && text.iter().enumerate().all(is_expected)
}

/// The last word in the braces that Jenkins puts around a secret: `<secret>{AQAAABAAA…}</secret>`.
fn strip_jenkins_braces(scan: &TextScan<'_>, value: Range<usize>) -> Range<usize> {
    let Some(inner) = scan.bytes(value.clone()).strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")) else {
        return value;
    };
    let word = inner.iter().rev().take_while(|byte| !byte.is_ascii_whitespace()).count();
    value.end - 1 - word..value.end - 1
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
