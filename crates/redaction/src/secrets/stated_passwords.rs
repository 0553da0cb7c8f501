//! Finds passwords stated in sentences and compared in code: ``the password is `hunter22` ``, `"x" == password`,
//! `log in with admin / x`. There, a password of words and digits looks like a name in code. Algorithms, names of
//! secrets, paths and calls stay. Values after separators are in `assign`.

use std::ops::Range;

use super::super::pairs::ends_with;
use super::prose_passwords::{is_compared_password, is_word_password};
use super::secret_keys::{SecretKind, classify_key};
use super::secret_lists;
use super::value_checks::{ByteCounts, cannot_be_secret, is_algorithm, is_path, is_random, is_wordlike};
use crate::rule::RuleFamily;
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes before or after a key or phrase in which the value may be; a multiple of it across line breaks.
const REACH: usize = 128;

/// Claims the value before `==` or `!=` and the key at `key`: `"x" != password`.
pub(super) fn claim_compared_value(scan: &TextScan<'_>, key: Range<usize>, claims: &mut PrivateClaims) {
    if classify_key(scan.bytes(key.clone())) != Some(SecretKind::Password) {
        return;
    }
    let key = key.start;
    let from = key.saturating_sub(REACH);
    let head = scan.bytes(from..key).trim_ascii_end();
    let Some(head) = head.strip_suffix(b"==").or_else(|| head.strip_suffix(b"!=")) else { return };
    let head = head.strip_suffix(b"=").unwrap_or(head).trim_ascii_end();
    let Some((quote, body)) = head.split_last().filter(|(quote, _)| b"\"'".contains(quote)) else { return };
    let body = body
        .get(..body.len() - body.iter().rev().take(8).take_while(|byte| **byte == b'\\').count())
        .unwrap_or_default();
    let Some(open_quote) = body.iter().rposition(|byte| byte == quote) else { return };
    let value = body.get(open_quote + 1..).unwrap_or_default();
    let is_plausible =
        value.len() >= 4 && !cannot_be_secret(value) && is_compared_password(value, &ByteCounts::count(value));
    if is_plausible {
        claims.add_for(scan, RuleFamily::Password, from + open_quote + 1..from + body.len());
    }
}

/// Phrases before a user and a password.
pub(super) const LOGIN_PHRASES: [&str; 5] =
    ["logging in with", "log in with", "login with", "log in as", "sign in with"];

/// Claims the password of `log in with admin / x`.
pub(super) fn claim_login_password(scan: &TextScan<'_>, end: usize, claims: &mut PrivateClaims) {
    let rest = bytes_ahead(scan, end, REACH);
    let blanks = rest.iter().take(2).take_while(|byte| **byte == b' ').count();
    let Some((true, password)) = rest.get(blanks..).and_then(secret_lists::password_after_user) else { return };
    let start = end + blanks + password.start;
    let value = scan.bytes(start..end + blanks + password.end);
    let value = value.strip_suffix(b".").unwrap_or(value);
    let counts = ByteCounts::count(value);
    let is_random_like =
        counts.digits == 1 && counts.upper > 1 && counts.lower > 1 && counts.len >= 10 && !is_wordlike(value);
    let is_mixed = is_random_like
        || counts.digits >= 2
            && counts.letters() > 2
            && (!is_wordlike(value) || is_word_password(value, &counts, true));
    let is_name = ends_with(value, b"password") || is_algorithm(value) || is_path(value);
    if counts.len >= 6 && is_mixed && !is_name && !cannot_be_secret(value) {
        claims.add_for(scan, RuleFamily::Password, start..start + value.len());
    }
}

/// Phrases that announce a password on a line below.
pub(super) const PHRASES_BEFORE_PASSWORD: [&str; 3] = ["following password", "generated password", "initial password"];

/// Claims the password on the line below a phrase that ends in a colon.
pub(super) fn claim_password_below(scan: &TextScan<'_>, end: usize, claims: &mut PrivateClaims) {
    let rest = bytes_ahead(scan, end, 2 * REACH);
    let Some(colon) = rest.iter().take(REACH).position(|byte| b":\n\\".contains(byte)) else { return };
    let (mut at, mut line_breaks) = (colon + 1, 0);
    // Line breaks, raw or escaped
    loop {
        let backslashes = rest.iter().skip(at).take(8).take_while(|byte| **byte == b'\\').count();
        at += match (backslashes, rest.get(at + backslashes)) {
            (0, Some(b'\n')) => 1,
            (0, Some(b' ' | b'\t' | b'\r' | b'*')) => {
                at += 1;
                continue;
            }
            (1.., Some(b'n' | b'r')) => backslashes + 1,
            _ => break,
        };
        line_breaks += 1;
    }
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"\\\"'`<>".contains(byte);
    let after_breaks = rest.get(at..).unwrap_or_default();
    let len = after_breaks.iter().position(is_end).unwrap_or(after_breaks.len());
    let value = after_breaks.get(..len).unwrap_or_default();
    let is_alone = matches!(after_breaks.get(len), None | Some(b'\n' | b'\r' | b'\\' | b'"'));
    let counts = ByteCounts::count(value);
    let is_mixed = is_random(value) && counts.upper > 0 && counts.digits > 0;
    let is_plausible = counts.len >= 12 && (is_mixed || counts.hex && counts.digits > 3) && !cannot_be_secret(value);
    if rest.get(colon) == Some(&b':') && line_breaks > 0 && is_alone && is_plausible {
        claims.add_for(scan, RuleFamily::Password, end + at..end + at + len);
    }
}

/// Claims the part of a multipart form named by the word at `key`: `name="password"`, an empty line, the value.
pub(super) fn claim_form_part(scan: &TextScan<'_>, key: &Range<usize>, kind: SecretKind, claims: &mut PrivateClaims) {
    let head = scan.bytes(key.start.saturating_sub(16)..key.start);
    let head = head.strip_suffix(b"\"").unwrap_or_default();
    let backslashes = head.iter().rev().take_while(|byte| **byte == b'\\').count();
    if !head.get(..head.len() - backslashes).is_some_and(|head| head.ends_with(b" name=")) {
        return;
    }
    let rest = bytes_ahead(scan, key.end + backslashes, 4 * REACH);
    let Some(rest) = rest.strip_prefix(b"\"") else { return };
    let part_start = key.end + backslashes + 1;
    let line_breaks: [&[u8]; 4] = [b"\r\n\r\n", b"\n\n", b"\\r\\n\\r\\n", b"\\n\\n"];
    let Some(break_len) = line_breaks.into_iter().find(|line_break| rest.starts_with(line_break)).map(<[u8]>::len)
    else {
        return;
    };
    let value = rest.get(break_len..).unwrap_or_default();
    let len = value.iter().position(|byte| b"\r\n\\\"".contains(byte)).unwrap_or(value.len());
    let value = value.get(..len).unwrap_or_default();
    let is_closed = rest
        .get(break_len + len..)
        .is_some_and(|rest| memchr::memmem::find(rest.get(..rest.len().min(8)).unwrap_or_default(), b"--").is_some());
    let counts = ByteCounts::count(value);
    let min_len = if kind == SecretKind::Password { 4 } else { 8 };
    let is_secret_kind =
        matches!(kind, SecretKind::Password | SecretKind::Secret | SecretKind::Token | SecretKind::Pass);
    if is_closed && is_secret_kind && counts.len >= min_len && counts.blanks == 0 && !cannot_be_secret(value) {
        claims.add_for(scan, RuleFamily::Password, part_start + break_len..part_start + break_len + len);
    }
}
