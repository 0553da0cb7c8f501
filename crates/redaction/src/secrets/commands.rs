//! Finds passwords that command lines carry without a key: `curl -u user:x`, `mysql -px`, `sshpass -p x`. At most
//! [`MAX_LINE`] bytes of a command's line are read, and none twice. `--password x` is in `assign`.

use super::arguments::line_end;
use super::command_forms::SecretOption;
use super::headers;
use super::value_checks::cannot_be_secret;
use crate::rule::RuleFamily;
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes of a command's line.
const MAX_LINE: usize = 512;

/// Checks the command whose name ends at `at`. Returns the position from which the search for commands continues.
pub(super) fn check_command(scan: &TextScan<'_>, at: usize, option: SecretOption, claims: &mut PrivateClaims) -> usize {
    let has_extension = scan.bytes(at..at + 4).eq_ignore_ascii_case(b".exe");
    let at = if has_extension { at + 4 } else { at };
    let rest = bytes_ahead(scan, at, MAX_LINE);
    if option == SecretOption::Literal {
        claim_kubectl_literal(scan, at, claims);
        return at;
    }
    if option == SecretOption::Switch {
        claim_windows_switch(scan, at, rest, claims);
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
        let flag_len = flag_len(word, option);
        if option == SecretOption::User && word.starts_with(b"-b") {
            claim_cookie_option(scan, at + start + 2, claims);
        } else if let Some(len) = flag_len {
            claim_option_value(scan, at + start + len, at + end, option, claims);
        }
        from = start + 1;
    }
    at + end
}

/// Claims cookies after `-b`, unless it names a file.
fn claim_cookie_option(scan: &TextScan<'_>, at: usize, claims: &mut PrivateClaims) {
    let rest = bytes_ahead(scan, at, MAX_LINE);
    let leading = rest.iter().take_while(|byte| b" \\".contains(byte)).count();
    let quote = rest.get(leading).filter(|byte| b"\"'".contains(byte));
    let from = leading + usize::from(quote.is_some());
    let is_end = |byte: &u8| match quote {
        Some(quote) => byte == quote || b"\\\n".contains(byte),
        None => byte.is_ascii_whitespace() || b"\"';|".contains(byte),
    };
    let len = rest.iter().skip(from).take_while(|byte| !is_end(byte)).count();
    let content = rest.get(from..from + len).unwrap_or_default();
    if content.contains(&b'=') && (quote.is_some() || leading > 0) {
        headers::claim_cookie_values(scan, at + from..at + from + len, (false, true), claims);
    }
}

/// Claims the value in `kubectl create secret --from-literal=key=value`, whatever its key.
fn claim_kubectl_literal(scan: &TextScan<'_>, at: usize, claims: &mut PrivateClaims) {
    let is_create_secret =
        memchr::memmem::find(scan.bytes(at.saturating_sub(MAX_LINE)..at), b"create secret").is_some();
    if !is_create_secret || !b"= ".contains(&scan.byte(at)) {
        return;
    }
    let rest = bytes_ahead(scan, at + 1, MAX_LINE);
    let Some(key_len) = rest.iter().take(128).position(|byte| *byte == b'=') else { return };
    let quote = rest.get(key_len + 1).filter(|byte| b"\"'".contains(byte));
    let from = key_len + 1 + usize::from(quote.is_some());
    let is_end = |byte: &&u8| match quote {
        Some(quote) => *byte == quote,
        None => byte.is_ascii_whitespace() || b"\"'\\".contains(byte),
    };
    let len = rest.iter().skip(from).take_while(|byte| !is_end(byte)).count();
    let value = rest.get(from..from + len).unwrap_or_default();
    let is_key = rest.iter().take(key_len).all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    if is_key && value.len() > 2 && !cannot_be_secret(value) {
        claims.add_for(scan, RuleFamily::SecretValue, at + 1 + from..at + 1 + from + len);
    }
}

/// Switches of Windows commands, each before a password.
const PASSWORD_SWITCHES: [&[u8]; 5] = [b"/pass:", b"/password:", b"/rp ", b"/p ", b"/p:"];

/// Claims the password after a switch.
fn claim_windows_switch(scan: &TextScan<'_>, at: usize, rest: &[u8], claims: &mut PrivateClaims) {
    let line = rest.get(..line_end(rest)).unwrap_or_default();
    let word_starts = line.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(blank, _)| blank + 1);
    for from in word_starts {
        let word = line.get(from..).unwrap_or_default();
        let begins_with =
            |switch: &[u8]| word.get(..switch.len()).is_some_and(|head| head.eq_ignore_ascii_case(switch));
        let Some(switch) = PASSWORD_SWITCHES.iter().find(|switch| begins_with(switch)) else { continue };
        let start = from + switch.len();
        let after = line.get(start..).unwrap_or_default();
        let quote = after.first().filter(|byte| b"\"'".contains(byte));
        let quote_len = usize::from(quote.is_some());
        let is_end = |byte: &&u8| {
            quote.map_or_else(|| byte.is_ascii_whitespace() || b"\"'\\".contains(byte), |quote| *byte == quote)
        };
        let len = after.iter().skip(quote_len).take_while(|byte| !is_end(byte)).count();
        let value = after.get(quote_len..quote_len + len).unwrap_or_default();
        if len >= 4 && !value.starts_with(b"/") && !cannot_be_secret(value) {
            claims.add_for(scan, RuleFamily::Password, at + start + quote_len..at + start + quote_len + len);
        }
    }
}

/// Length of a flag before a value, including blanks, quotes and `=` after it.
fn flag_len(word: &[u8], option: SecretOption) -> Option<usize> {
    let (flags, may_be_glued): (&[&[u8]], bool) = match option {
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
    let after = word.get(flag.len()..).unwrap_or_default();
    let blanks = after.iter().take_while(|byte| **byte == b' ' || **byte == b'=').count();
    let is_separated = blanks > 0 && option != SecretOption::Glued;
    let is_glued = blanks == 0
        && may_be_glued
        && (flag.len() == 2)
        && after.first().is_some_and(|byte| !b"- \",'".contains(byte) || option != SecretOption::User);
    let is_list_item = after.starts_with(b"\", \"") || after.starts_with(b"', '") || after.starts_with(b"\",\"");
    match (is_separated || is_glued, is_list_item) {
        (_, true) => Some(flag.len() + after.iter().take_while(|byte| b"\"', ".contains(byte)).count()),
        (true, _) => Some(flag.len() + blanks),
        _ => None,
    }
}

fn claim_option_value(scan: &TextScan<'_>, at: usize, end: usize, option: SecretOption, claims: &mut PrivateClaims) {
    let escapes = scan.bytes(at..end).iter().take_while(|byte| **byte == b'\\').count();
    let quote = Some(scan.byte(at + escapes)).filter(|byte| b"\"'".contains(byte));
    let start = if quote.is_some() { at + escapes + 1 } else { at };
    let rest = scan.bytes(start..end);
    let is_end = |byte: &u8| match quote {
        Some(quote) => *byte == quote || *byte == b'\\',
        None => byte.is_ascii_whitespace() || b"\"'`<>\\,)".contains(byte),
    };
    let len = rest.iter().take_while(|byte| !is_end(byte)).count();
    let quoted_len = if option == SecretOption::User { quoted_password_len(rest, len, quote) } else { 0 };
    let value = rest.get(..len + quoted_len).unwrap_or_default();
    let position_of = |mark: u8| value.iter().position(|byte| *byte == mark);
    let (family, skip) = match option {
        SecretOption::User | SecretOption::A if position_of(b':').is_some() => (RuleFamily::BasicCredentials, 0),
        SecretOption::User => return,
        SecretOption::Percent => match position_of(b'%') {
            Some(at) => (RuleFamily::Password, at + 1),
            None => return,
        },
        _ => (RuleFamily::Password, 0),
    };
    let secret = value.get(skip..).unwrap_or_default();
    let secret = secret.strip_suffix(b":").unwrap_or(secret);
    let password = position_of(b':')
        .filter(|at| at + 1 < value.len() && family == RuleFamily::BasicCredentials)
        .and_then(|at| value.get(at + 1..))
        .unwrap_or(secret);
    let password = if quoted_len > 0 { trim_quotes(password) } else { password };
    let is_number = password.iter().all(|byte| byte.is_ascii_digit() || *byte == b':') && option != SecretOption::User;
    let is_variable_name = password.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
    if !cannot_be_secret(password) && password.len() >= 3 && !is_number && !is_variable_name {
        claims.add_for(scan, family, start + skip..start + value.len());
    }
}

/// Length of the text from `len` on to the end of a quoted password: after `user:` with both quotes, after `"user":`
/// without the last one. 0 if there is none.
fn quoted_password_len(rest: &[u8], len: usize, quote: Option<u8>) -> usize {
    let after_user = rest.get(len..).unwrap_or_default();
    let open_at = match (quote, after_user) {
        (None, [b'"' | b'\'', ..]) if rest.get(..len).is_some_and(|user| user.ends_with(b":")) => 0,
        (Some(_), [_, b':', b'"' | b'\'', ..]) => 2,
        _ => return 0,
    };
    let Some((open_quote, inner)) = after_user.get(open_at..).and_then(<[u8]>::split_first) else { return 0 };
    match inner.iter().position(|byte| byte == open_quote) {
        Some(len_to_quote) => open_at + 1 + len_to_quote + usize::from(quote.is_none()),
        None => 0,
    }
}

/// A password without surrounding quotes.
fn trim_quotes(password: &[u8]) -> &[u8] {
    let from = password.iter().take_while(|byte| b"\"':".contains(byte)).count();
    let to = password.len() - password.iter().rev().take_while(|byte| b"\"'".contains(byte)).count();
    password.get(from..to).unwrap_or_default()
}
