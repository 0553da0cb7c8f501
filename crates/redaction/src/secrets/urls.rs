//! Finds `user:password@` in URLs of any scheme, and tokens in that place. Scheme and host stay; at most 1 KiB after
//! `://` is read. Query parameters are in `assign`.

use super::byte_counts::ByteCounts;
use super::references::is_reference;
use super::value_facts::ValueFacts;
use crate::rule::RuleFamily;
use crate::scan::{TextScan, bytes_ahead};

/// Most bytes of an authority, and of a webhook's path.
const MAX_PART: usize = 1024;
/// Most letters of a scheme.
const MAX_SCHEME: usize = 24;

/// Checks the URL whose `://` begins at `colon`.
pub(super) fn check_url(scan: &TextScan<'_>, colon: usize) {
    let start = colon + 3;
    let rest = bytes_ahead(scan, start, MAX_PART);
    let is_end = |byte: &u8| *byte <= b' ' || b"\"'`<>\\/?#,;)]}".contains(byte) || !byte.is_ascii();
    let authority_len = rest.iter().take_while(|byte| !is_end(byte)).count();
    let Some(mut at) = userinfo_len(rest, authority_len) else {
        claim_webhook(scan, colon, rest.get(..authority_len).unwrap_or_default());
        return;
    };
    let userinfo = rest.get(..at).unwrap_or_default();
    let scheme = scan.bytes(colon.saturating_sub(MAX_SCHEME)..colon);
    let is_web = scheme.ends_with(b"http") || scheme.ends_with(b"https");
    if is_web && at > authority_len {
        // The path may contain `@`
        at = rest.get(..authority_len).and_then(|rest| rest.iter().rposition(|byte| *byte == b'@')).unwrap_or(at);
    }
    let userinfo = rest.get(..at).unwrap_or(userinfo);
    let is_private = match userinfo.iter().position(|byte| *byte == b':') {
        Some(colon_at) => {
            is_password(userinfo.get(..colon_at).unwrap_or_default(), userinfo.get(colon_at + 1..).unwrap_or_default())
        }
        None => is_web && userinfo.len() >= 16 && ValueFacts::of(userinfo).is_random(),
    };
    if is_private {
        let family = if is_web { RuleFamily::WebUserinfo } else { RuleFamily::Userinfo };
        scan.claim_for(family, start..start + at);
    }
}

/// Claims webhook URLs under hosts such as `example.webhook.office.com`; the whole URL is secret.
fn claim_webhook(scan: &TextScan<'_>, colon: usize, authority: &[u8]) {
    let host = authority.strip_suffix(b":443").unwrap_or(authority);
    let is_webhook_host = host.ends_with(b".webhook.office.com")
        || host.ends_with(b".logic.azure.com")
        || (host.starts_with(b"hook.") && host.ends_with(b".make.com"));
    if !is_webhook_host {
        return;
    }
    let path_start = colon + 3 + authority.len();
    let is_end = |byte: &u8| *byte <= b' ' || b"\"'`<>\\),".contains(byte);
    let len = bytes_ahead(scan, path_start, MAX_PART).iter().take_while(|byte| !is_end(byte)).count();
    let scheme_len =
        scan.bytes(colon.saturating_sub(5)..colon).iter().rev().take_while(|byte| byte.is_ascii_lowercase()).count();
    if len >= 24 {
        scan.claim_for(RuleFamily::HostedWebhook, colon - scheme_len..path_start + len);
    }
}

/// Length of the part before the `@` of an authority. A password may contain `/`, `#` or `?` if a host follows the `@`
/// and no port comes before.
fn userinfo_len(rest: &[u8], authority_len: usize) -> Option<usize> {
    let authority = rest.get(..authority_len).unwrap_or_default();
    if let Some(at) = authority.iter().rposition(|byte| *byte == b'@') {
        return Some(separator_after_slash(rest, at, authority_len).unwrap_or(at));
    }
    let colon = authority.iter().position(|byte| *byte == b':')?;
    let after_colon = authority.get(colon + 1..).unwrap_or_default();
    if after_colon.is_empty() || after_colon.iter().all(u8::is_ascii_digit) || authority.contains(&b'.') {
        return None;
    }
    let len = rest.iter().take(colon + 64).take_while(|byte| **byte > b' ' && !b"\"'`<>\\".contains(byte)).count();
    let at = rest.get(..len)?.iter().position(|byte| *byte == b'@')?;
    let is_host_next = rest.get(at + 1).is_some_and(u8::is_ascii_alphanumeric);
    (is_host_next
        && rest.get(authority_len).is_some_and(|byte| b"/#?".contains(byte))
        && !rest.get(..at)?.contains(&b'&'))
    .then_some(at)
}

/// Position of the host's `@` if the password before it contains both `@` and `/`: the apparent host after `at` has
/// neither dot nor port, and after the `/` come `@`, a host, and its port, path or end.
fn separator_after_slash(rest: &[u8], at: usize, authority_len: usize) -> Option<usize> {
    let host = rest.get(at + 1..authority_len)?;
    let is_host_byte = |byte: &u8| byte.is_ascii_alphanumeric() || b"-.".contains(byte);
    if host.iter().any(|byte| b".:".contains(byte)) || host.eq_ignore_ascii_case(b"localhost") {
        return None;
    }
    let path = rest.get(authority_len..)?;
    let len = path.iter().take(64).take_while(|byte| **byte > b' ' && !b"\"'`<>\\=&".contains(byte)).count();
    let separator = path.get(..len)?.iter().rposition(|byte| *byte == b'@')?;
    let name = path.get(separator + 1..)?;
    let name_len = name.iter().take_while(|byte| is_host_byte(byte)).count();
    let is_complete = match name.get(name_len..)? {
        [b':', port, ..] => port.is_ascii_digit(),
        [next, ..] => b"/?\"'` \n,".contains(next),
        [] => true,
    };
    (name_len > 0 && is_complete && rest.get(..at)?.contains(&b':')).then_some(authority_len + separator)
}

/// Whether a password is real, unlike `***`, `${X}`, `8080?x=`, or `password` in a template.
fn is_password(user: &[u8], password: &[u8]) -> bool {
    let digits = password.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_port = digits > 0 && password.get(digits).is_some_and(|byte| b"?#/".contains(byte));
    let is_template = |part: &[u8]| part.first().is_some_and(|byte| b"$%{<[*".contains(byte)) || part.contains(&b'{');
    let counts = ByteCounts::count(password);
    let secret_words = [&b"password"[..], b"pass", b"pwd", b"passwd", b"secret", b"token", b"key"];
    let is_upper = counts.lower == 0 && counts.digits == 0 && counts.marks == counts.joints && counts.upper > 0;
    let is_hidden = is_template(password)
        || is_template(user)
        || (is_reference(password, true) && !secret_words.iter().any(|word| word.eq_ignore_ascii_case(password)));
    let is_constant = is_upper && !user.iter().any(u8::is_ascii_lowercase);
    !(password.is_empty() || is_port || is_hidden || is_constant)
}
