//! Finds passwords stated in sentences and compared in code: ``the password is `hunter22` ``, `"x" == password`,
//! `log in with admin / x`. There, a password of words and digits looks like a name in code. Algorithms, names of
//! secrets, paths and calls stay; at most [`MOST`] bytes are read. Values behind separators are in `assign`.

use std::ops::Range;

use super::super::pairs::ends_with;
use super::keys::{Kind, kind};
use super::lists;
use super::literals::{is_compared, is_phrase};
use super::rules::Rules;
use super::values::{Look, is_algorithm, path, random, refused, wordy};
use crate::scan::{Claims, Scan, ahead};

/// Most bytes before a key in which the compared value may be.
const MOST: usize = 128;

/// Claims the value before `==` or `!=` and the key at `key`: `"x" != password`.
pub(super) fn before(scan: &Scan<'_>, key: Range<usize>, rules: &Rules, claims: &mut Claims) {
    if kind(scan.bytes(key.clone())) != Some(Kind::Password) {
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
    let fits = value.len() >= 4 && !refused(value) && is_compared(value, &Look::at(value));
    if let Some(rule) = rules.password.filter(|_| fits) {
        claims.add(scan, rule, from + open + 1..from + body.len());
    }
}

/// Phrases before a user and a password.
pub(super) const LOGINS: [&str; 5] = ["logging in with", "log in with", "login with", "log in as", "sign in with"];

/// Claims the password of `log in with admin / x`.
pub(super) fn login(scan: &Scan<'_>, end: usize, rules: &Rules, claims: &mut Claims) {
    let rest = ahead(scan, end, MOST);
    let blanks = rest.iter().take(2).take_while(|byte| **byte == b' ').count();
    let Some((true, password)) = rest.get(blanks..).and_then(lists::user_and) else { return };
    let start = end + blanks + password.start;
    let value = scan.bytes(start..end + blanks + password.end);
    let value = value.strip_suffix(b".").unwrap_or(value);
    let look = Look::at(value);
    let random = look.digits == 1 && look.upper > 1 && look.lower > 1 && look.len >= 10 && !wordy(value);
    let mixed = random || look.digits >= 2 && look.letters() > 2 && (!wordy(value) || is_phrase(value, &look, true));
    let named = ends_with(value, b"password") || is_algorithm(value) || path(value);
    if let Some(rule) = rules.password.filter(|_| look.len >= 6 && mixed && !named && !refused(value)) {
        claims.add(scan, rule, start..start + value.len());
    }
}

/// Phrases that announce a password on a line below.
pub(super) const FOLLOWS: [&str; 3] = ["following password", "generated password", "initial password"];

/// Claims the password on the line below a phrase that ends in a colon.
pub(super) fn below(scan: &Scan<'_>, end: usize, rules: &Rules, claims: &mut Claims) {
    let rest = ahead(scan, end, 2 * MOST);
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
    let look = Look::at(value);
    let mixed = random(value) && look.upper > 0 && look.digits > 0;
    let fits = look.len >= 12 && (mixed || look.hex && look.digits > 3) && !refused(value);
    if let Some(rule) = rules.password.filter(|_| rest.get(colon) == Some(&b':') && lines > 0 && alone && fits) {
        claims.add(scan, rule, end + at..end + at + len);
    }
}

/// Claims the part of a multipart form named by the word at `key`: `name="password"`, an empty line, the value.
pub(super) fn part(scan: &Scan<'_>, key: &Range<usize>, kind: Kind, rules: &Rules, claims: &mut Claims) {
    let head = scan.bytes(key.start.saturating_sub(16)..key.start);
    let head = head.strip_suffix(b"\"").unwrap_or_default();
    let slashes = head.iter().rev().take_while(|byte| **byte == b'\\').count();
    if !head.get(..head.len() - slashes).is_some_and(|head| head.ends_with(b" name=")) {
        return;
    }
    let rest = ahead(scan, key.end + slashes, 4 * MOST);
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
    let look = Look::at(value);
    let least = if kind == Kind::Password { 4 } else { 8 };
    let secret = matches!(kind, Kind::Password | Kind::Secret | Kind::Token | Kind::Pass);
    if let Some(rule) =
        rules.password.filter(|_| closed && secret && look.len >= least && look.blanks == 0 && !refused(value))
    {
        claims.add(scan, rule, begin + lead..begin + lead + len);
    }
}
