//! Describes the surroundings of a pair (on its own line, among arguments, in a query) and the extent of its value: the
//! same words are a value in one place and code in another. Reading is bounded. `assign` uses the result.

use std::ops::Range;
use std::sync::LazyLock;

use super::super::pairs::{KeyValuePair, PairSeparator};
use super::super::scan::TextScan;
use super::secret_keys::SecretKind;
use super::url_parameters;
use super::value_checks::is_prose;
use crate::wordlists;

/// An unquoted value longer than this is not searched again for keys.
pub(super) const LONG: usize = 512;

/// The surroundings of a pair.
pub(super) struct PairContext {
    /// It is a parameter of a URL.
    pub(super) parameter: bool,
    /// It is a signature, or belongs to a query with `code` and `state`, so that any value is secret.
    pub(super) is_always_secret: bool,
    /// The key begins its line, perhaps behind `export` and similar words.
    pub(super) line_start: bool,
    /// Nothing but a comment follows on the line.
    pub(super) line_end: bool,
    /// A call stores the value under the key: `map.put("password", "v")`.
    pub(super) stored: bool,
    /// There are blanks around the separator.
    pub(super) spaced: bool,
    /// It is an argument: a bracket or comma is before or behind it.
    pub(super) argument: bool,
    pub(super) flag: bool,
    pub(super) upper: bool,
    /// The key has letters of another script, and its value is unquoted and not behind `=`.
    pub(super) is_foreign: bool,
    /// No lower-case word follows.
    pub(super) last_word: bool,
    /// The value is a type: `password: T = …`.
    pub(super) typed: bool,
    /// It belongs to a list separated by `;`: `User=x;Password=y;Server=z`.
    pub(super) list: bool,
}

impl PairContext {
    pub(super) fn around(scan: &TextScan<'_>, pair: &KeyValuePair, parameter: bool) -> Self {
        let before = scan.bytes(pair.key.start.saturating_sub(16)..pair.key.start);
        let dull = |byte: &&u8| b" \t-\"'`*#>$".contains(byte);
        let head = before.len() - before.iter().rev().take_while(dull).count();
        let lead = before.get(..head).unwrap_or_default();
        let command = [&b"export"[..], b"ENV", b"ARG", b"set", b"env", b"setx", b"-e", b"{", b"\\n", b"\\r"];
        let line_start = match lead.last() {
            None => before.len() < 16,
            Some(b'\n' | b'\r') => true,
            _ => command.iter().any(|word| lead.ends_with(word)),
        };
        let (next, then) = (scan.byte(pair.value.end), scan.byte(pair.value.end + 1));
        let comment = next == b' ' && matches!(then, b'#' | b' ');
        let line_end = matches!(next, b'\n' | b'\r')
            || comment
            || (next == b'\\' && matches!(then, b'n' | b'r'))
            || b"\"'`".contains(&next);
        let last = before.iter().rev().find(|byte| !b" \t\n".contains(byte)).copied().unwrap_or(b'\n');
        let between = scan.bytes(pair.key.end..pair.value.start);
        Self {
            parameter,
            is_always_secret: parameter && url_parameters::is_secret_parameter(scan, &pair.key),
            line_start,
            line_end,
            stored: pair.sep == PairSeparator::Comma && is_stored(before),
            spaced: between.iter().any(u8::is_ascii_whitespace),
            argument: matches!(last, b'(' | b',') || matches!(next, b')' | b','),
            flag: before.last() == Some(&b'-'),
            last_word: !(next == b' ' && then.is_ascii_lowercase()) && next != b',',
            typed: pair.quote.is_none() && pair.sep == PairSeparator::Colon && next == b' ' && then == b'=',
            list: matches!(next, b';' | b'"')
                && pair.sep == PairSeparator::Equals
                && (then.is_ascii_alphanumeric() || last == b';'),
            is_foreign: !scan.bytes(pair.key.clone()).is_ascii()
                && pair.quote.is_none()
                && pair.sep != PairSeparator::Equals,
            upper: !scan.bytes(pair.key.clone()).iter().any(u8::is_ascii_lowercase),
        }
    }

    /// The surroundings of a text that is the whole value of a key; `upper`: the key is in capitals.
    pub(super) fn whole_value(upper: bool) -> Self {
        Self {
            parameter: false,
            is_always_secret: false,
            line_start: true,
            line_end: true,
            stored: false,
            spaced: false,
            argument: false,
            flag: false,
            is_foreign: false,
            upper,
            last_word: true,
            typed: false,
            list: false,
        }
    }

    /// The range of the value; an unquoted passphrase extends to the end of its line.
    pub(super) fn value_range(&self, scan: &TextScan<'_>, pair: &KeyValuePair, kind: SecretKind) -> Range<usize> {
        let yaml = kind == SecretKind::Password
            && pair.sep == PairSeparator::Colon
            && pair.quote.is_none()
            && self.line_start
            && !pair.json_key;
        if let Some(range) = app_password_range(scan, pair, kind) {
            return range;
        }
        if !yaml {
            return if pair.sep == PairSeparator::Element {
                strip_jenkins_braces(scan, pair.value.clone())
            } else {
                pair.value.clone()
            };
        }
        let line = pair.line_range(scan.text.as_bytes());
        let words = scan.bytes(line.clone()).split(|byte| *byte == b' ').count();
        let plain =
            scan.bytes(line.clone()).iter().all(|byte| byte.is_ascii_alphanumeric() || b" -_!@#".contains(byte));
        // `password:  12 bytes` is a size
        let size = scan.bytes(line.clone()).ends_with(b" bytes") && words == 2;
        match (2..=24).contains(&words) && !size && plain && !is_prose(scan.bytes(line.clone())) {
            true => line,
            false => pair.value.clone(),
        }
    }
}

/// Whether a call that stores values begins before a key: `put("`, `setenv(`.
fn is_stored(before: &[u8]) -> bool {
    static STORES: LazyLock<Vec<&[u8]>> = LazyLock::new(|| wordlists::bytes("secrets.store_calls"));
    let len = before.len() - before.iter().rev().take_while(|byte| b"\"'\\".contains(byte)).count();
    let Some(name) = before.get(..len).and_then(|head| head.strip_suffix(b"(")) else { return false };
    let start = name.len() - name.iter().rev().take_while(|byte| byte.is_ascii_alphabetic()).count();
    name.get(start..).is_some_and(|name| STORES.iter().any(|store| store.eq_ignore_ascii_case(name)))
}

/// Whether the key is itself a value, as in `controller=secret object="x"`, or part of
/// `arn:aws:secretsmanager:…:secret:name`.
pub(super) fn is_key_a_value(scan: &TextScan<'_>, pair: &KeyValuePair) -> bool {
    let start = pair.key.start;
    match (scan.byte_before(start, 1), pair.sep) {
        (b'=', PairSeparator::Space) => true,
        // A type before `=`
        (b'=', PairSeparator::Equals) => {
            let behind = scan.bytes(pair.key.end..pair.key.end + 16).trim_ascii_start();
            scan.byte(pair.key.end) == b' ' && behind.first().is_some_and(u8::is_ascii_alphabetic)
        }
        (b':', PairSeparator::Colon) => {
            let head = scan.bytes(start.saturating_sub(ARN)..start);
            let word =
                head.rsplit(|byte| byte.is_ascii_whitespace() || b"\"'`".contains(byte)).next().unwrap_or_default();
            word.starts_with(b"arn:")
        }
        _ => false,
    }
}

/// Most bytes of an ARN before its last part but one.
const ARN: usize = 96;

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
    let fits = |(at, byte): (usize, &u8)| if at % 5 == 4 { *byte == b' ' } else { byte.is_ascii_lowercase() };
    text.len() == 19 && text.iter().enumerate().all(fits)
}

/// The last word in the braces that Jenkins puts around a secret: `<secret>{AQAAABAAA…}</secret>`.
fn strip_jenkins_braces(scan: &TextScan<'_>, value: Range<usize>) -> Range<usize> {
    let Some(inner) = scan.bytes(value.clone()).strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")) else {
        return value;
    };
    let word = inner.iter().rev().take_while(|byte| !byte.is_ascii_whitespace()).count();
    value.end - 1 - word..value.end - 1
}

/// Position from which the search continues after a pair: behind a long value, so that it is not read again from each
/// key in it.
pub(super) fn end_of_checked(pair: &KeyValuePair, key: &Range<usize>) -> usize {
    if pair.quote.is_none() && pair.value.len() > LONG { pair.value.end.max(key.end) } else { key.end }
}
