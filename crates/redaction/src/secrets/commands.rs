//! Finds passwords that command lines carry without a key: `curl -u user:x`, `mysql -px`, `sshpass -p x`. At most 512
//! bytes of a command's line are read, and none twice. `--password x` is in `assign`.

use super::arguments::line_end;
use super::command_forms::SecretOption;
use super::headers;
use super::secret_rules::SecretRules;
use super::value_checks::cannot_be_secret;
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes of a command.
const MOST: usize = 512;

/// Checks the command whose name ends at `at`, and returns the end of its line.
pub(super) fn check_command(
    scan: &TextScan<'_>,
    at: usize,
    takes: SecretOption,
    rules: &SecretRules,
    claims: &mut PrivateClaims,
) -> usize {
    let exe = scan.bytes(at..at + 4).eq_ignore_ascii_case(b".exe");
    let at = if exe { at + 4 } else { at };
    let rest = bytes_ahead(scan, at, MOST);
    if takes == SecretOption::Literal {
        claim_kubectl_literal(scan, at, rules, claims);
        return at;
    }
    if takes == SecretOption::Switch {
        claim_windows_switch(scan, at, rest, rules, claims);
        return at + line_end(rest);
    }
    if rest.first().is_none_or(|byte| !b" \t\"',".contains(byte)) {
        return at;
    }
    let end = line_end(rest);
    let line = rest.get(..end).unwrap_or_default();
    let mut from = 0;
    while let Some(flag) = line
        .get(from..)
        .unwrap_or_default()
        .windows(2)
        .position(|pair| matches!(pair, [b' ' | b'\t' | b'"' | b'\'' | b'[', b'-']))
    {
        let start = from + flag + 1;
        let word = line.get(start..).unwrap_or_default();
        let flag_len = flag_len(word, takes);
        if takes == SecretOption::User && word.starts_with(b"-b") {
            claim_cookie_option(scan, at + start + 2, rules, claims);
        } else if let Some(len) = flag_len {
            claim_option_value(scan, at + start + len, at + end, takes, rules, claims);
        }
        from = start + 1;
    }
    at + end
}

/// Claims cookies behind `-b`, unless it names a file.
fn claim_cookie_option(scan: &TextScan<'_>, at: usize, rules: &SecretRules, claims: &mut PrivateClaims) {
    let rest = bytes_ahead(scan, at, MOST);
    let lead = rest.iter().take_while(|byte| b" \\".contains(byte)).count();
    let quote = rest.get(lead).filter(|byte| b"\"'".contains(byte));
    let from = lead + usize::from(quote.is_some());
    let ends = |byte: &u8| match quote {
        Some(quote) => byte == quote || b"\\\n".contains(byte),
        None => byte.is_ascii_whitespace() || b"\"';|".contains(byte),
    };
    let len = rest.iter().skip(from).take_while(|byte| !ends(byte)).count();
    let content = rest.get(from..from + len).unwrap_or_default();
    if content.contains(&b'=') && (quote.is_some() || lead > 0) {
        headers::claim_cookie_values(scan, at + from..at + from + len, (false, true), rules, claims);
    }
}

/// Claims the value in `kubectl create secret --from-literal=key=value`, whatever its key.
fn claim_kubectl_literal(scan: &TextScan<'_>, at: usize, rules: &SecretRules, claims: &mut PrivateClaims) {
    let secret = memchr::memmem::find(scan.bytes(at.saturating_sub(MOST)..at), b"create secret").is_some();
    let Some(rule) = rules.value.filter(|_| secret && b"= ".contains(&scan.byte(at))) else { return };
    let rest = bytes_ahead(scan, at + 1, MOST);
    let Some(key) = rest.iter().take(128).position(|byte| *byte == b'=') else { return };
    let quote = rest.get(key + 1).filter(|byte| b"\"'".contains(byte));
    let from = key + 1 + usize::from(quote.is_some());
    let ends = |byte: &&u8| match quote {
        Some(quote) => *byte == quote,
        None => byte.is_ascii_whitespace() || b"\"'\\".contains(byte),
    };
    let len = rest.iter().skip(from).take_while(|byte| !ends(byte)).count();
    let value = rest.get(from..from + len).unwrap_or_default();
    let named = rest.iter().take(key).all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    if named && value.len() > 2 && !cannot_be_secret(value) {
        claims.add(scan, rule, at + 1 + from..at + 1 + from + len);
    }
}

/// Windows switches before passwords.
const SWITCHES: [&[u8]; 5] = [b"/pass:", b"/password:", b"/rp ", b"/p ", b"/p:"];

/// Claims the password behind a switch.
fn claim_windows_switch(scan: &TextScan<'_>, at: usize, rest: &[u8], rules: &SecretRules, claims: &mut PrivateClaims) {
    let line = rest.get(..line_end(rest)).unwrap_or_default();
    let blanks = line.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(on, _)| on + 1);
    for from in blanks {
        let word = line.get(from..).unwrap_or_default();
        let is = |name: &[u8]| word.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
        let Some(name) = SWITCHES.iter().find(|name| is(name)) else { continue };
        let start = from + name.len();
        let behind = line.get(start..).unwrap_or_default();
        let quote = behind.first().filter(|byte| b"\"'".contains(byte));
        let open = usize::from(quote.is_some());
        let ends = |byte: &&u8| {
            quote.map_or_else(|| byte.is_ascii_whitespace() || b"\"'\\".contains(byte), |quote| *byte == quote)
        };
        let len = behind.iter().skip(open).take_while(|byte| !ends(byte)).count();
        let value = behind.get(open..open + len).unwrap_or_default();
        if let Some(rule) = rules.password.filter(|_| len >= 4 && !value.starts_with(b"/") && !cannot_be_secret(value))
        {
            claims.add(scan, rule, at + start + open..at + start + open + len);
        }
    }
}

/// Length of a flag before a value, including blanks, quotes and `=` behind it.
fn flag_len(word: &[u8], takes: SecretOption) -> Option<usize> {
    let (flags, glued): (&[&[u8]], bool) = match takes {
        SecretOption::User => (&[b"-u", b"--user", b"--proxy-user", b"-U"], true),
        SecretOption::Glued => (&[b"-p"], true),
        SecretOption::P => (&[b"-p"], true),
        SecretOption::A => (&[b"-a", b"-A"], false),
        SecretOption::BigP => (&[b"-P"], true),
        SecretOption::W => (&[b"-w"], false),
        SecretOption::Percent => (&[b"-U"], false),
        SecretOption::Literal | SecretOption::Switch => (&[], false),
    };
    let flag = flags.iter().find(|flag| word.starts_with(flag))?;
    let behind = word.get(flag.len()..).unwrap_or_default();
    let blanks = behind.iter().take_while(|byte| **byte == b' ' || **byte == b'=').count();
    let separated = blanks > 0 && takes != SecretOption::Glued;
    let joined = blanks == 0
        && glued
        && (flag.len() == 2)
        && behind.first().is_some_and(|byte| !b"- \",'".contains(byte) || takes != SecretOption::User);
    let listed = behind.starts_with(b"\", \"") || behind.starts_with(b"', '") || behind.starts_with(b"\",\"");
    match (separated || joined, listed) {
        (_, true) => Some(flag.len() + behind.iter().take_while(|byte| b"\"', ".contains(byte)).count()),
        (true, _) => Some(flag.len() + blanks),
        _ => None,
    }
}

fn claim_option_value(
    scan: &TextScan<'_>,
    at: usize,
    end: usize,
    takes: SecretOption,
    rules: &SecretRules,
    claims: &mut PrivateClaims,
) {
    let escapes = scan.bytes(at..end).iter().take_while(|byte| **byte == b'\\').count();
    let quote = Some(scan.byte(at + escapes)).filter(|byte| b"\"'".contains(byte));
    let start = if quote.is_some() { at + escapes + 1 } else { at };
    let rest = scan.bytes(start..end);
    let ends = |byte: &u8| match quote {
        Some(quote) => *byte == quote || *byte == b'\\',
        None => byte.is_ascii_whitespace() || b"\"'`<>\\,)".contains(byte),
    };
    let len = rest.iter().take_while(|byte| !ends(byte)).count();
    let more = if takes == SecretOption::User { quoted_password_len(rest, len, quote) } else { 0 };
    let value = rest.get(..len + more).unwrap_or_default();
    let parted = |mark: u8| value.iter().position(|byte| *byte == mark);
    let (rule, skip) = match takes {
        SecretOption::User | SecretOption::A if parted(b':').is_some() => (rules.basic, 0),
        SecretOption::User => return,
        SecretOption::Percent => match parted(b'%') {
            Some(at) => (rules.password, at + 1),
            None => return,
        },
        _ => (rules.password, 0),
    };
    let secret = value.get(skip..).unwrap_or_default();
    let secret = secret.strip_suffix(b":").unwrap_or(secret);
    let behind = parted(b':')
        .filter(|at| at + 1 < value.len() && rule == rules.basic)
        .and_then(|at| value.get(at + 1..))
        .unwrap_or(secret);
    let behind = if more > 0 { trim_quotes(behind) } else { behind };
    let numbers = behind.iter().all(|byte| byte.is_ascii_digit() || *byte == b':') && takes != SecretOption::User;
    let upper = behind.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
    if let Some(rule) = rule.filter(|_| !cannot_be_secret(behind) && behind.len() >= 3 && !numbers && !upper) {
        claims.add(scan, rule, start + skip..start + value.len());
    }
}

/// Length of a quoted password behind `user:` (with both quotes) or `"user":` (without the last quote).
fn quoted_password_len(rest: &[u8], len: usize, quote: Option<u8>) -> usize {
    let behind = rest.get(len..).unwrap_or_default();
    let open = match (quote, behind) {
        (None, [b'"' | b'\'', ..]) if rest.get(..len).is_some_and(|user| user.ends_with(b":")) => 0,
        (Some(_), [_, b':', b'"' | b'\'', ..]) => 2,
        _ => return 0,
    };
    let Some((mark, inner)) = behind.get(open..).and_then(<[u8]>::split_first) else { return 0 };
    match inner.iter().position(|byte| byte == mark) {
        Some(close) => open + 1 + close + usize::from(quote.is_none()),
        None => 0,
    }
}

/// A password without surrounding quotes.
fn trim_quotes(password: &[u8]) -> &[u8] {
    let from = password.iter().take_while(|byte| b"\"':".contains(byte)).count();
    let to = password.len() - password.iter().rev().take_while(|byte| b"\"'".contains(byte)).count();
    password.get(from..to).unwrap_or_default()
}
