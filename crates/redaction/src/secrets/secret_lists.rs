//! Finds values whose secret key is elsewhere: items of a list, which share their parent's key, values in wrapping
//! objects, and cells of a column. Only random values and values that look like a password are claimed, because lists
//! also contain form rules, names of secrets and words. `keys::columns` finds rows and columns, `pairs` reads lists.

use std::ops::Range;

use super::super::pairs::{KeyValuePair, PairSeparator, ends_with, follows_user_key, wrapped_strings};
use super::headers;
use super::pair_context::PairContext;
use super::prose_passwords::is_word_password;
use super::secret_check::is_secret_value;
use super::secret_keys::{SecretKind, classify_key};
use super::templates::is_broken_template;
use super::value_checks::{ByteCounts, cannot_be_secret, is_path, is_prose_or_code_word, is_random, is_wordlike};
use crate::rule::FamilyRules;
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};
use crate::validate::Validator;

/// Whether the value is a list or object.
pub(super) fn opens_list(scan: &TextScan<'_>, pair: &KeyValuePair) -> bool {
    let begins_list = match scan.byte(pair.value.start) {
        b'[' | b'{' => true,
        b'n' => scan.bytes(pair.value.start..pair.value.start + 12) == b"new String[]",
        _ => false,
    };
    begins_list
        && !is_broken_template(scan.bytes(pair.value.clone()))
        && pair.quote.is_none()
        && matches!(pair.sep, PairSeparator::Colon | PairSeparator::Equals | PairSeparator::Arrow)
}

/// Claims the strings of a list or wrapping object, which share their parent's key; plain words are left. Returns the
/// position from which the search for keys continues.
pub(super) fn claim_items(
    scan: &TextScan<'_>,
    parent: &KeyValuePair,
    kind: SecretKind,
    claims: &mut PrivateClaims,
) -> usize {
    let mut end = parent.key.end;
    for (quote, range) in wrapped_strings(scan.text.as_bytes(), parent.value.start) {
        if claim_item(scan, &parent.key, (Some(quote), range.clone()), kind, claims) {
            end = range.end;
        }
    }
    end
}

/// Claims one item of the list under `key`; returns whether it was claimed.
pub(super) fn claim_item(
    scan: &TextScan<'_>,
    key: &Range<usize>,
    (quote, range): (Option<u8>, Range<usize>),
    kind: SecretKind,
    claims: &mut PrivateClaims,
) -> bool {
    let value = scan.bytes(range.clone());
    let pair =
        KeyValuePair { key: key.clone(), sep: PairSeparator::Colon, quote, json_key: false, value: range.clone() };
    if matches!(kind, SecretKind::Header | SecretKind::Cookie) {
        headers::check_header(scan, &pair, kind, claims);
        return false;
    }
    let counts = ByteCounts::count(value);
    let is_mixed = counts.digits > 0 && counts.letters() > 0 || counts.marks > counts.joints;
    let may_be_plain =
        kind == SecretKind::Token || counts.blanks > 0 || value.contains(&b'|') || is_wordlike(value) || !is_mixed;
    let is_plausible = is_random(value) || !may_be_plain || kind == SecretKind::Pin;
    let rule = scan.detector.families.rule_for_key(kind, scan.bytes(key.clone())).filter(|_| is_plausible);
    rule.is_some_and(|rule| {
        is_secret_value(kind, value, &pair, &PairContext::around(scan, &pair, false)) && claims.add(scan, rule, range)
    })
}

/// Claims the items of a YAML list on the lines below a key: `- v`, `- "v"`. Returns the position from
/// which the search for keys continues.
pub(super) fn claim_list_below(
    scan: &TextScan<'_>,
    key: &Range<usize>,
    kind: SecretKind,
    claims: &mut PrivateClaims,
) -> usize {
    let mut at = key.end + 2;
    for _ in 0..MAX_ITEMS {
        let rest = bytes_ahead(scan, at, MAX_LINE);
        let len = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = rest.get(..len).unwrap_or_default();
        let blanks = line.iter().take_while(|byte| **byte == b' ').count();
        let body = line.get(blanks..).unwrap_or_default();
        let lead = match body {
            [b'-', b' ', ..] => 2,
            // A map below the key may only wrap its value
            _ if blanks > 0 && at < key.end + 2 + MAX_MAP => match wrapping_key_len(body) {
                Some(0) => {
                    at += len + 1;
                    continue;
                }
                Some(lead) => lead,
                None => break,
            },
            _ => break,
        };
        let value = body.get(lead..).unwrap_or_default().trim_ascii_end();
        let start = at + blanks + lead;
        let (quote, range) = match value {
            [mark @ (b'"' | b'\''), inner @ .., close] if close == mark => {
                (Some(*mark), start + 1..start + 1 + inner.len())
            }
            _ => (None, start..start + value.len()),
        };
        // An item that is itself a pair has its own key
        if quote.is_some() || !value.contains(&b' ') {
            claim_item(scan, key, (quote, range), kind, claims);
        }
        at += len + 1;
    }
    key.end
}

/// Length of the key in a line such as `Default: v` of a template parameter; 0 if the line is another of its pairs
/// (`Type: String`).
fn wrapping_key_len(line: &[u8]) -> Option<usize> {
    let name_len = line.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let name = line.get(..name_len).filter(|name| !name.is_empty())?;
    let value = line.get(name_len..)?.strip_prefix(b": ")?;
    let is_wrapping = [&b"default"[..], b"value", b"defaultvalue"].iter().any(|wrap| wrap.eq_ignore_ascii_case(name));
    let blanks = value.iter().take_while(|byte| **byte == b' ').count();
    Some(if is_wrapping { name_len + 2 + blanks } else { 0 })
}

/// Most bytes of a map below a key.
const MAX_MAP: usize = 400;
/// Most items below a key, and most bytes of each line.
const MAX_ITEMS: usize = 32;
const MAX_LINE: usize = 512;

/// Whether a pair is `auth=("user", "password")` of an HTTP library or `CREDENTIALS = ("user", "password")`.
pub(super) fn is_login_tuple(scan: &TextScan<'_>, pair: &KeyValuePair, kind: SecretKind) -> bool {
    if pair.sep != PairSeparator::Equals || pair.quote.is_some() || scan.byte(pair.value.start) != b'(' {
        return false;
    }
    let key = scan.bytes(pair.key.clone());
    match kind {
        SecretKind::Weak => ends_with(key, b"auth"),
        SecretKind::Secret => ends_with(key, b"credentials") || ends_with(key, b"creds"),
        _ => false,
    }
}

/// The password in `credentials: admin / x` or `id/pw: admin/x`; an empty range if there is none to claim;
/// `None` if the pair is no login.
pub(super) fn login_password(scan: &TextScan<'_>, pair: &KeyValuePair, kind: SecretKind) -> Option<Range<usize>> {
    if pair.sep != PairSeparator::Colon || pair.quote.is_some() {
        return None;
    }
    let key = scan.bytes(pair.key.clone());
    let is_credentials_key = kind == SecretKind::Secret && (ends_with(key, b"credentials") || ends_with(key, b"creds"));
    let is_after_user_key =
        matches!(kind, SecretKind::Password | SecretKind::Pass) && follows_user_key(scan.text.as_bytes(), &pair.key);
    if !(is_credentials_key || is_after_user_key) {
        return None;
    }
    let rest = bytes_ahead(scan, pair.value.start, 128);
    let (has_slash, password) = password_after_user(rest)?;
    let value = rest.get(password.clone())?;
    let counts = ByteCounts::count(value);
    let is_mixed = counts.digits > 0 && counts.letters() > 0 && !is_wordlike(value) && !is_path(value);
    let is_plausible = has_slash && value.len() >= 6 && is_mixed;
    let from = pair.value.start + password.start;
    // After both keys, the value has no other meaning
    (is_plausible || is_after_user_key).then(|| from..from + if is_plausible { password.len() } else { 0 })
}

/// The password in `user / password`, and whether exactly one slash separates it from a user.
pub(super) fn password_after_user(rest: &[u8]) -> Option<(bool, Range<usize>)> {
    let user_len = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(byte)).count();
    let gap_len = rest.iter().skip(user_len).take(4).take_while(|byte| b" /".contains(byte)).count();
    let from = user_len + gap_len;
    let password_len =
        rest.iter().skip(from).take_while(|byte| !byte.is_ascii_whitespace() && !b"\"'`,;)\\".contains(byte)).count();
    let has_one_slash = rest.get(user_len..from)?.iter().filter(|byte| **byte == b'/').count() == 1;
    Some((has_one_slash && user_len > 0, from..from + password_len))
}

/// Whether a pair is `"auth": "…"` of Docker's configuration: user and password in base64.
pub(super) fn is_docker_auth(scan: &TextScan<'_>, pair: &KeyValuePair) -> bool {
    let is_auth_key =
        scan.bytes(pair.key.clone()).eq_ignore_ascii_case(b"auth") && pair.json_key && pair.quote.is_some();
    is_auth_key && pair.value.len() >= 8 && Validator::Basic.check(scan.text, pair.value.clone()).is_some()
}

/// A column of secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecretColumn {
    kind: SecretKind,
    rule: u16,
}

/// Returns the column `name`, if it holds secrets.
pub(crate) fn secret_column(families: &FamilyRules, name: &[u8]) -> Option<SecretColumn> {
    let kind = classify_key(name)
        .filter(|kind| !matches!(kind, SecretKind::Parameter | SecretKind::Header | SecretKind::Cookie))?;
    Some(SecretColumn { kind, rule: families.rule_for_key(kind, name)? })
}

/// Claims the cell at `range` of a column. If it `is_certain` (quoted, or between clean separators), a password of
/// lower-case letters counts.
pub(crate) fn claim_cell(
    scan: &TextScan<'_>,
    column: SecretColumn,
    range: Range<usize>,
    is_certain: bool,
    claims: &mut PrivateClaims,
) {
    let value = scan.bytes(range.clone());
    let counts = ByteCounts::count(value);
    if counts.len < 4
        || counts.len > 4096
        || counts.blanks > 0
        || cannot_be_secret(value)
        || is_prose_or_code_word(value)
        || is_path(value)
    {
        return;
    }
    let is_mixed = counts.kind_count() >= 2 && !is_wordlike(value);
    let is_plausible = match column.kind {
        SecretKind::Password => {
            let has_only_joints = counts.marks == counts.joints && counts.digits > 1 && counts.letters() > 0;
            is_mixed
                || is_word_password(value, &counts, false)
                || is_certain
                    && (counts.marks == 0 && (counts.lower == counts.len || counts.digits > 0) || has_only_joints)
        }
        SecretKind::Pass | SecretKind::Doubtful => is_mixed && counts.len >= 6,
        SecretKind::Pin => counts.digits == counts.len && counts.len <= 8,
        SecretKind::Secret => {
            is_random(value) || is_mixed && counts.len >= 8 && counts.digits > 0 && counts.letters() > 0
        }
        _ => is_random(value),
    };
    if is_plausible {
        claims.add(scan, column.rule, range);
    }
}
