//! Finds `user:password@` in URLs of any scheme, and tokens in that place. Scheme and host stay; at most 1 KiB behind
//! `://` is read. Query parameters are in `assign`.

use super::secret_rules::SecretRules;
use super::value_checks::{ByteCounts, cannot_be_secret, is_random};
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};

/// Most bytes of an authority.
const MOST: usize = 1024;
/// Most letters of a scheme.
const SCHEME: usize = 24;

/// Checks the URL whose `://` begins at `colon`.
pub(super) fn check_url(scan: &TextScan<'_>, colon: usize, rules: &SecretRules, claims: &mut PrivateClaims) {
    let start = colon + 3;
    let rest = bytes_ahead(scan, start, MOST);
    let ends = |byte: &u8| *byte <= b' ' || b"\"'`<>\\/?#,;)]}".contains(byte) || !byte.is_ascii();
    let soft = rest.iter().take_while(|byte| !ends(byte)).count();
    let Some(mut at) = userinfo_len(rest, soft) else {
        claim_webhook(scan, colon, rest.get(..soft).unwrap_or_default(), rules, claims);
        return;
    };
    let info = rest.get(..at).unwrap_or_default();
    let scheme = scan.bytes(colon.saturating_sub(SCHEME)..colon);
    let web = scheme.ends_with(b"http") || scheme.ends_with(b"https");
    let rule = if web { rules.url_web } else { rules.url_other };
    if web && at > soft {
        // The path may contain `@`
        at = rest.get(..soft).and_then(|rest| rest.iter().rposition(|byte| *byte == b'@')).unwrap_or(at);
    }
    let info = rest.get(..at).unwrap_or(info);
    let Some(rule) = rule else { return };
    let private = match info.iter().position(|byte| *byte == b':') {
        Some(parted) => is_password(info.get(..parted).unwrap_or_default(), info.get(parted + 1..).unwrap_or_default()),
        None => web && info.len() >= 16 && is_random(info),
    };
    if private {
        claims.add(scan, rule, start..start + at);
    }
}

/// Claims webhook URLs under hosts such as `example.webhook.office.com`; the whole URL is secret.
fn claim_webhook(scan: &TextScan<'_>, colon: usize, authority: &[u8], rules: &SecretRules, claims: &mut PrivateClaims) {
    let host = authority.strip_suffix(b":443").unwrap_or(authority);
    let hosted = host.ends_with(b".webhook.office.com")
        || host.ends_with(b".logic.azure.com")
        || (host.starts_with(b"hook.") && host.ends_with(b".make.com"));
    let Some(rule) = rules.webhook.filter(|_| hosted) else { return };
    let behind = colon + 3 + authority.len();
    let ends = |byte: &u8| *byte <= b' ' || b"\"'`<>\\),".contains(byte);
    let len = bytes_ahead(scan, behind, MOST).iter().take_while(|byte| !ends(byte)).count();
    let scheme =
        scan.bytes(colon.saturating_sub(5)..colon).iter().rev().take_while(|byte| byte.is_ascii_lowercase()).count();
    if len >= 24 {
        claims.add(scan, rule, colon - scheme..behind + len);
    }
}

/// Length of the part before the `@` of an authority. A password may contain `/`, `#` or `?` if a host follows the `@`
/// and no port comes before.
fn userinfo_len(rest: &[u8], soft: usize) -> Option<usize> {
    let authority = rest.get(..soft).unwrap_or_default();
    if let Some(at) = authority.iter().rposition(|byte| *byte == b'@') {
        return Some(separator_behind_slash(rest, at, soft).unwrap_or(at));
    }
    let colon = authority.iter().position(|byte| *byte == b':')?;
    let behind = authority.get(colon + 1..).unwrap_or_default();
    if behind.is_empty() || behind.iter().all(u8::is_ascii_digit) || authority.contains(&b'.') {
        return None;
    }
    let more = rest.iter().take(colon + 64).take_while(|byte| **byte > b' ' && !b"\"'`<>\\".contains(byte)).count();
    let at = rest.get(..more)?.iter().position(|byte| *byte == b'@')?;
    let host = rest.get(at + 1).is_some_and(u8::is_ascii_alphanumeric);
    (host && rest.get(soft).is_some_and(|byte| b"/#?".contains(byte)) && !rest.get(..at)?.contains(&b'&')).then_some(at)
}

/// Position of the host's `@` if the password before it contains both `@` and `/`: the apparent host at `at` has
/// neither dot nor port, and behind the `/` come `@`, a host, and its port, path or end.
fn separator_behind_slash(rest: &[u8], at: usize, soft: usize) -> Option<usize> {
    let host = rest.get(at + 1..soft)?;
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-.".contains(byte);
    if host.iter().any(|byte| b".:".contains(byte)) || host.eq_ignore_ascii_case(b"localhost") {
        return None;
    }
    let behind = rest.get(soft..)?;
    let len = behind.iter().take(64).take_while(|byte| **byte > b' ' && !b"\"'`<>\\=&".contains(byte)).count();
    let end = behind.get(..len)?.iter().rposition(|byte| *byte == b'@')?;
    let name = behind.get(end + 1..)?;
    let letters = name.iter().take_while(|byte| plain(byte)).count();
    let ends = match name.get(letters..)? {
        [b':', port, ..] => port.is_ascii_digit(),
        [next, ..] => b"/?\"'` \n,".contains(next),
        [] => true,
    };
    (letters > 0 && ends && rest.get(..at)?.contains(&b':')).then_some(soft + end)
}

/// Whether a password is real, unlike `***`, `${X}`, `8080?x=`, or `password` in a template.
fn is_password(user: &[u8], password: &[u8]) -> bool {
    let port = password.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let address = port > 0 && password.get(port).is_some_and(|byte| b"?#/".contains(byte));
    let template = |part: &[u8]| part.first().is_some_and(|byte| b"$%{<[*".contains(byte)) || part.contains(&b'{');
    let look = ByteCounts::count(password);
    let named = [&b"password"[..], b"pass", b"pwd", b"passwd", b"secret", b"token", b"key"];
    let capitals = look.lower == 0 && look.digits == 0 && look.marks == look.joints && look.upper > 0;
    let hidden = template(password)
        || template(user)
        || (cannot_be_secret(password) && !named.iter().any(|word| word.eq_ignore_ascii_case(password)));
    let shouted = capitals && !user.iter().any(u8::is_ascii_lowercase);
    !(password.is_empty() || address || hidden || shouted)
}
