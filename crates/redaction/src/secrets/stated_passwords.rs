//! Finds passwords stated in sentences and compared in code: ``the password is `hunter22` ``, `"x" == password`,
//! `log in with admin / x`. There, a password of words and digits looks like a name in code. Algorithms, names of
//! secrets, paths and calls stay; at most [`MOST`] bytes are read. Values behind separators are in `assign`.

use std::ops::Range;

use super::super::pairs::ends_with;
use super::prose_passwords::{is_compared_password, is_word_password};
use super::secret_keys::{SecretKind, classify_key};
use super::secret_lists;
use super::secret_rules::SecretRules;
use super::value_checks::{ByteCounts, cannot_be_secret, is_algorithm, is_path, is_random, is_wordlike};
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes before a key in which the compared value may be.
const MOST: usize = 128;

/// Claims the value before `==` or `!=` and the key at `key`: `"x" != password`.
pub(super) fn claim_compared_value(
    scan: &TextScan<'_>,
    key: Range<usize>,
    rules: &SecretRules,
    claims: &mut PrivateClaims,
) {
    if classify_key(scan.bytes(key.clone())) != Some(SecretKind::Password) {
        return;
    }
    let key = key.start;
    let from = key.saturating_sub(MOST);
    let head = scan.bytes(from..key).trim_ascii_end();
    let Some(head) = head.strip_suffix(b"==").or_else(|| head.strip_suffix(b"!=")) else { return };
    let head = head.strip_suffix(b"=").unwrap_or(head).trim_ascii_end();
    let Some((mark, body)) = head.split_last().filter(|(mark, _)| b"\"'".contains(mark)) else { return };
    let body = body
        .get(..body.len() - body.iter().rev().take(8).take_while(|byte| **byte == b'\\').count())
        .unwrap_or_default();
    let Some(open) = body.iter().rposition(|byte| byte == mark) else { return };
    let value = body.get(open + 1..).unwrap_or_default();
    let fits = value.len() >= 4 && !cannot_be_secret(value) && is_compared_password(value, &ByteCounts::count(value));
    if let Some(rule) = rules.password.filter(|_| fits) {
        claims.add(scan, rule, from + open + 1..from + body.len());
    }
}

/// Phrases before a user and a password.
pub(super) const LOGIN_PHRASES: [&str; 5] =
    ["logging in with", "log in with", "login with", "log in as", "sign in with"];

/// Claims the password of `log in with admin / x`.
pub(super) fn claim_login_password(scan: &TextScan<'_>, end: usize, rules: &SecretRules, claims: &mut PrivateClaims) {
    let rest = bytes_ahead(scan, end, MOST);
    let blanks = rest.iter().take(2).take_while(|byte| **byte == b' ').count();
    let Some((true, password)) = rest.get(blanks..).and_then(secret_lists::password_behind_user) else { return };
    let start = end + blanks + password.start;
    let value = scan.bytes(start..end + blanks + password.end);
    let value = value.strip_suffix(b".").unwrap_or(value);
    let look = ByteCounts::count(value);
    let random = look.digits == 1 && look.upper > 1 && look.lower > 1 && look.len >= 10 && !is_wordlike(value);
    let mixed = random
        || look.digits >= 2 && look.letters() > 2 && (!is_wordlike(value) || is_word_password(value, &look, true));
    let named = ends_with(value, b"password") || is_algorithm(value) || is_path(value);
    if let Some(rule) = rules.password.filter(|_| look.len >= 6 && mixed && !named && !cannot_be_secret(value)) {
        claims.add(scan, rule, start..start + value.len());
    }
}

/// Phrases that announce a password on a line below.
pub(super) const PHRASES_BEFORE_PASSWORD: [&str; 3] = ["following password", "generated password", "initial password"];

/// Claims the password on the line below a phrase that ends in a colon.
pub(super) fn claim_password_below(scan: &TextScan<'_>, end: usize, rules: &SecretRules, claims: &mut PrivateClaims) {
    let rest = bytes_ahead(scan, end, 2 * MOST);
    let Some(colon) = rest.iter().take(MOST).position(|byte| b":\n\\".contains(byte)) else { return };
    let (mut at, mut lines) = (colon + 1, 0);
    // Line breaks, raw or escaped
    loop {
        let slashes = rest.iter().skip(at).take(8).take_while(|byte| **byte == b'\\').count();
        at += match (slashes, rest.get(at + slashes)) {
            (0, Some(b'\n')) => 1,
            (0, Some(b' ' | b'\t' | b'\r' | b'*')) => {
                at += 1;
                continue;
            }
            (1.., Some(b'n' | b'r')) => slashes + 1,
            _ => break,
        };
        lines += 1;
    }
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\\\"'`<>".contains(byte);
    let behind = rest.get(at..).unwrap_or_default();
    let Some(len) = behind.iter().position(ends).or(Some(behind.len())) else { return };
    let value = behind.get(..len).unwrap_or_default();
    let alone = matches!(behind.get(len), None | Some(b'\n' | b'\r' | b'\\' | b'"'));
    let look = ByteCounts::count(value);
    let mixed = is_random(value) && look.upper > 0 && look.digits > 0;
    let fits = look.len >= 12 && (mixed || look.hex && look.digits > 3) && !cannot_be_secret(value);
    if let Some(rule) = rules.password.filter(|_| rest.get(colon) == Some(&b':') && lines > 0 && alone && fits) {
        claims.add(scan, rule, end + at..end + at + len);
    }
}

/// Claims the part of a multipart form named by the word at `key`: `name="password"`, an empty line, the value.
pub(super) fn claim_form_part(
    scan: &TextScan<'_>,
    key: &Range<usize>,
    kind: SecretKind,
    rules: &SecretRules,
    claims: &mut PrivateClaims,
) {
    let head = scan.bytes(key.start.saturating_sub(16)..key.start);
    let head = head.strip_suffix(b"\"").unwrap_or_default();
    let slashes = head.iter().rev().take_while(|byte| **byte == b'\\').count();
    if !head.get(..head.len() - slashes).is_some_and(|head| head.ends_with(b" name=")) {
        return;
    }
    let rest = bytes_ahead(scan, key.end + slashes, 4 * MOST);
    let Some(rest) = rest.strip_prefix(b"\"") else { return };
    let begin = key.end + slashes + 1;
    let ends: [&[u8]; 4] = [b"\r\n\r\n", b"\n\n", b"\\r\\n\\r\\n", b"\\n\\n"];
    let Some(lead) = ends.into_iter().find(|end| rest.starts_with(end)).map(<[u8]>::len) else { return };
    let value = rest.get(lead..).unwrap_or_default();
    let len = value.iter().position(|byte| b"\r\n\\\"".contains(byte)).unwrap_or(value.len());
    let value = value.get(..len).unwrap_or_default();
    let closed = rest
        .get(lead + len..)
        .is_some_and(|rest| memchr::memmem::find(rest.get(..rest.len().min(8)).unwrap_or_default(), b"--").is_some());
    let look = ByteCounts::count(value);
    let least = if kind == SecretKind::Password { 4 } else { 8 };
    let secret = matches!(kind, SecretKind::Password | SecretKind::Secret | SecretKind::Token | SecretKind::Pass);
    if let Some(rule) =
        rules.password.filter(|_| closed && secret && look.len >= least && look.blanks == 0 && !cannot_be_secret(value))
    {
        claims.add(scan, rule, begin + lead..begin + lead + len);
    }
}
