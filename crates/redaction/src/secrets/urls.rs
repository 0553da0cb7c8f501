//! Finds `user:password@` in URLs of any scheme, and tokens in that place. Scheme and host stay; at most 1 KiB after
//! `://` is read. Query parameters are in `assign`.

use super::references::is_reference;
use super::value_facts::ValueFacts;
use crate::rule::RuleFamily;
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes of an authority, and of a webhook's path.
const MAX_PART: usize = 1024;
/// Most letters of a scheme.
const MAX_SCHEME: usize = 24;

/// Checks the URL whose `://` begins at `colon`.
pub(super) fn check_url(scan: &TextScan<'_>, colon: usize, claims: &mut PrivateClaims) {
    let start = colon + 3;
    let rest = bytes_ahead(scan, start, MAX_PART);
    let is_end = |byte: &u8| *byte <= b' ' || b"\"'`<>\\/?#,;)]}".contains(byte) || !byte.is_ascii();
    let authority_len = rest.iter().take_while(|byte| !is_end(byte)).count();
    let scheme = scan.bytes(colon.saturating_sub(MAX_SCHEME)..colon);
    let is_web = scheme.ends_with(b"http") || scheme.ends_with(b"https");
    let Some(at) = userinfo_len(rest, authority_len, is_web) else {
        claim_webhook(scan, colon, rest.get(..authority_len).unwrap_or_default(), claims);
        return;
    };
    let userinfo = rest.get(..at).unwrap_or_default();
    let is_private = match userinfo.iter().position(|byte| *byte == b':') {
        Some(colon_at) => {
            is_password(userinfo.get(..colon_at).unwrap_or_default(), userinfo.get(colon_at + 1..).unwrap_or_default())
        }
        None => is_web && userinfo.len() >= 16 && ValueFacts::of(userinfo).is_random(),
    };
    if is_private {
        let family = if is_web { RuleFamily::WebUserinfo } else { RuleFamily::Userinfo };
        claims.add_for(scan, family, start..start + at);
    }
}

/// Claims webhook URLs under hosts such as `example.webhook.office.com`; the whole URL is secret.
fn claim_webhook(scan: &TextScan<'_>, colon: usize, authority: &[u8], claims: &mut PrivateClaims) {
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
        claims.add_for(scan, RuleFamily::HostedWebhook, colon - scheme_len..path_start + len);
    }
}

/// Length of the part before the `@` of an authority. A password may contain `/`, `#` or `?` if a host follows a later
/// `@`, and neither a host nor a port comes before; web addresses may have an `@` in their paths.
fn userinfo_len(rest: &[u8], authority_len: usize, is_web: bool) -> Option<usize> {
    let authority = rest.get(..authority_len)?;
    let at = authority.iter().rposition(|byte| *byte == b'@');
    let in_password = |byte: &u8| *byte > b' ' && !b"\"'`<>\\=&".contains(byte);
    let head = rest.iter().take(authority_len + 64).take_while(|byte| in_password(byte)).count();
    let last = rest.get(..head)?.iter().rposition(|byte| *byte == b'@').filter(|last| *last > authority_len);
    let colon = authority.iter().position(|byte| *byte == b':');
    let password = colon.and_then(|colon| authority.get(colon + 1..)).unwrap_or_default();
    let is_longer = !(is_web && at.is_some())
        && rest.get(authority_len).is_some_and(|byte| b"/#?".contains(byte))
        && last.is_some_and(|last| rest.get(last + 1).is_some_and(u8::is_ascii_alphanumeric))
        && !password.iter().all(u8::is_ascii_digit)
        && !authority.contains(&b'.');
    last.filter(|_| is_longer).or(at)
}

/// Whether a password is real, unlike `***` and `${X}`.
fn is_password(user: &[u8], password: &[u8]) -> bool {
    let is_template = |part: &[u8]| part.first().is_some_and(|byte| b"$%{<[*".contains(byte)) || part.contains(&b'{');
    !(password.is_empty() || is_template(password) || is_template(user) || is_reference(password, true))
}
