//! **What**: credentials of HTTP headers: `Authorization` with any scheme, cookies. **Invariants**: the scheme, the
//! names of cookies and their attributes stay. **Not here**: finding the header (`assign`).

use std::ops::Range;
use std::sync::LazyLock;

use super::super::pairs::{Pair, Sep};
use super::super::scan::{Claims, Scan};
use super::keys::Kind;
use super::values::{Look, refused, wordy};
use super::{Rules, ahead};
use crate::redaction::sets::Words;

/// Most bytes of a header.
const MOST: usize = 4096;
/// Schemes before credentials.
static SCHEMES: LazyLock<Words> = LazyLock::new(|| {
    Words::new(
        "\
    bearer basic token apikey api-key key digest negotiate ntlm aws4-hmac-sha256 sharedkey sharedkeylite \
    sharedaccesssignature hmac oauth bot jwt splunk geniekey snyk discogs klaviyo-api-key aws private-token \
    ssws mac hawk dpop",
    )
});
/// Schemes whose credentials are many words.
static LISTS: LazyLock<Words> = LazyLock::new(|| {
    Words::new(
        "\
    digest aws4-hmac-sha256 sharedaccesssignature hmac oauth mac hawk",
    )
});
/// What stands in `Set-Cookie` beside the cookie.
static ATTRIBUTES: LazyLock<Words> = LazyLock::new(|| {
    Words::new(
        "\
    path domain expires max-age samesite secure httponly priority partitioned version comment",
    )
});

/// Adds what is secret in the header `pair`; gives up to where nothing needs another look.
pub(super) fn look(scan: &Scan<'_>, pair: &Pair, kind: Kind, rules: &Rules, claims: &mut Claims) -> usize {
    if !matches!(pair.sep, Sep::Colon | Sep::Equals | Sep::Arrow | Sep::Comma | Sep::Sibling | Sep::Call | Sep::Element)
    {
        return pair.key.end;
    }
    // a line is read only where its first word may be a scheme, credentials or a cookie
    let first = scan.bytes(pair.value.clone());
    let plausible = SCHEMES.has(first) || first.iter().any(|byte| byte.is_ascii_digit() || *byte == b'=');
    if pair.quote.is_none() && !plausible {
        return pair.key.end;
    }
    let content = match pair.quote {
        Some(_) => pair.value.clone(),
        None => unquoted(scan, pair.value.start),
    };
    let end = content.end;
    match kind {
        Kind::Cookie => cookies(scan, pair, content, rules, claims),
        _ => credentials(scan, content, rules, claims),
    }
    // a long line is not read again from each of its keys
    if pair.quote.is_none() && end > pair.key.end + 512 { end } else { pair.key.end }
}

/// From `start` to the line's end or the quote around the header.
fn unquoted(scan: &Scan<'_>, start: usize) -> Range<usize> {
    let rest = ahead(scan, start, MOST);
    let ends = |on: usize| match rest.get(on) {
        Some(b'\n' | b'\r' | b'"' | b'\'' | b'`') | None => true,
        Some(b'\\') => rest.get(on + 1).is_some_and(|next| b"nr\"'".contains(next)),
        _ => false,
    };
    let len = (0..rest.len()).find(|on| ends(*on)).unwrap_or(rest.len());
    start..start + rest.get(..len).unwrap_or_default().trim_ascii_end().len()
}

fn credentials(scan: &Scan<'_>, content: Range<usize>, rules: &Rules, claims: &mut Claims) {
    let bytes = scan.bytes(content.clone());
    let scheme = bytes.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
    let name = bytes.get(..scheme).unwrap_or_default();
    let blanks = bytes.iter().skip(scheme).take_while(|byte| **byte == b' ' || **byte == b':').count();
    let (start, known) = match SCHEMES.has(name) && blanks > 0 {
        true => (scheme + blanks, true),
        false => (0, false),
    };
    let rest = bytes.get(start..).unwrap_or_default();
    let len = match LISTS.has(name) && known {
        true => rest.len(),
        false => rest
            .iter()
            .take_while(|byte| !byte.is_ascii_whitespace() && !b",;<>{}()".contains(byte) || **byte == b'{')
            .count(),
    };
    let found = rest.get(..len).unwrap_or_default();
    let look = Look::at(found);
    let secret = match known {
        true => found.len() >= 4 && !refused(found) && !(look.only_letters() && look.upper == 0 && found.len() < 20),
        false => found.len() >= 8 && !refused(found) && look.digits > 0 && look.letters() > 0 && !wordy(found),
    };
    let rule = if name.eq_ignore_ascii_case(b"basic") { rules.basic } else { rules.header };
    if let Some(rule) = rule.filter(|_| secret && !found.starts_with(b"realm=") && !found.starts_with(b"{")) {
        claims.add(scan, rule, content.start + start..content.start + start + len);
    }
}

fn cookies(scan: &Scan<'_>, pair: &Pair, content: Range<usize>, rules: &Rules, claims: &mut Claims) {
    let Some(rule) = rules.cookie else { return };
    let one = scan.bytes(pair.key.clone()).get(..3).is_some_and(|head| head.eq_ignore_ascii_case(b"set"));
    let mut at = content.start;
    for part in scan.bytes(content).split(|byte| *byte == b';') {
        let from = at;
        at += part.len() + 1;
        let Some(equals) = part.iter().position(|byte| *byte == b'=') else { continue };
        let name = part.get(..equals).unwrap_or_default().trim_ascii_start();
        let value = part.get(equals + 1..).unwrap_or_default();
        let len = value.trim_ascii_end().len();
        let named = !name.is_empty()
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.!#$%&*+^|~:[]@".contains(byte));
        let plain = value.len() < 4
            || value.iter().all(|byte| byte.is_ascii_lowercase())
            || value.iter().all(u8::is_ascii_digit) && value.len() < 6;
        let plain = plain || value.len() == 5 && value.get(2).is_some_and(|byte| b"-_".contains(byte));
        let hidden = plain
            || value.iter().all(|byte| b"*.xX".contains(byte))
            || value.starts_with(b"$")
            || value.starts_with(b"<")
            || value.starts_with(b"{");
        if named && !ATTRIBUTES.has(name) && !hidden {
            let blank = value.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            claims.add(scan, rule, from + equals + 1 + blank..from + equals + 1 + len);
        }
        if one {
            break;
        }
    }
}
