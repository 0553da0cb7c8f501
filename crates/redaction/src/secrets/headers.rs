//! Finds credentials in HTTP headers: `Authorization` with any scheme, and cookies. The scheme, cookie names and cookie
//! attributes stay. `assign` finds the headers.

use std::ops::Range;
use std::sync::LazyLock;

use super::super::pairs::{KeyValuePair, PairSeparator};
use super::secret_keys::SecretKind;
use super::secret_rules::SecretRules;
use super::value_checks::{ByteCounts, cannot_be_secret, is_wordlike};
use crate::scan::{PrivateClaims, TextScan, bytes_ahead};
use crate::sets::{ByteSet, WordMap, WordSet};
use crate::wordlists;

/// Most bytes of a header.
const MOST: usize = 4096;
/// Schemes whose credentials have several words.
const LISTS: &str = "digest aws4-hmac-sha256 sharedaccesssignature hmac oauth mac hawk";
/// All schemes, each with whether its credentials have several words.
static SCHEMES: LazyLock<WordMap<bool>> = LazyLock::new(|| {
    let of = |words: &'static str, many: bool| words.split_ascii_whitespace().map(move |word| (word, many));
    WordMap::from_entries(of(wordlists::text("secrets.auth_schemes"), false).chain(of(LISTS, true)).collect())
});
/// Attributes of `Set-Cookie`.
static ATTRIBUTES: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("secrets.cookie_attributes")));

/// Cookies that hold a preference rather than a session.
static PREFERENCE_COOKIES: LazyLock<WordSet> =
    LazyLock::new(|| WordSet::new(wordlists::text("secrets.preference_cookies")));

/// Cookie values that are not secret.
static HARMLESS_VALUES: LazyLock<WordSet> =
    LazyLock::new(|| WordSet::new(wordlists::text("secrets.non_session_cookie_values")));

/// Claims the secrets in the header `pair`. Returns the end of the text that needs no further check.
pub(super) fn check_header(
    scan: &TextScan<'_>,
    pair: &KeyValuePair,
    kind: SecretKind,
    rules: &SecretRules,
    claims: &mut PrivateClaims,
) -> usize {
    // `curl --cookie "a=b"`
    let flag =
        kind == SecretKind::Cookie && pair.sep == PairSeparator::Space && scan.byte_before(pair.key.start, 1) == b'-';
    let header = matches!(
        pair.sep,
        PairSeparator::Colon
            | PairSeparator::Equals
            | PairSeparator::Arrow
            | PairSeparator::Comma
            | PairSeparator::Sibling
            | PairSeparator::Call
            | PairSeparator::Element
    );
    if !header && !flag {
        return pair.key.end;
    }
    // `Digest username="bob"` is read as a type before a value
    let typed = pair.sep == PairSeparator::Equals && pair.quote.is_some() && scan.byte(pair.key.end) == b':';
    let restored = typed.then(|| reread_scheme(scan, pair)).flatten();
    let pair = restored.as_ref().unwrap_or(pair);
    // A line is read only if its first word may be a scheme, credentials or a cookie
    let first = scan.bytes(pair.value.clone());
    let scheme = SCHEMES.get(first);
    let plausible = scheme.is_some() || first.iter().any(|byte| byte.is_ascii_digit() || *byte == b'=');
    if pair.quote.is_none() && !plausible {
        return pair.key.end;
    }
    let content = match pair.quote {
        Some(_) => pair.value.clone(),
        None => unquoted_range(scan, pair.value.start, kind == SecretKind::Cookie || scheme == Some(true)),
    };
    let end = content.end;
    match kind {
        SecretKind::Cookie => claim_cookies(scan, pair, content, rules, claims),
        _ => claim_credentials(scan, content, (first.len(), scheme), rules, claims),
    }
    // A long line is not read again from each of its keys
    if pair.quote.is_none() && end > pair.key.end + 512 { end } else { pair.key.end }
}

/// The range from `start` to the line's end or the header's quote. Without `list`, at most two words (a scheme and its
/// credentials) are read, so that a line of headers is not read from each of them.
fn unquoted_range(scan: &TextScan<'_>, start: usize, list: bool) -> Range<usize> {
    let rest = bytes_ahead(scan, start, MOST);
    static MARKS: ByteSet = ByteSet::new(b"\n\r\"'`\\ \t");
    let mut words = 0;
    let mut ends = |on: usize, byte: u8| match byte {
        b'\\' => rest.get(on + 1).is_some_and(|next| b"nr\"'".contains(next)),
        b' ' | b'\t' if list => false,
        b' ' | b'\t' => {
            words += usize::from(!matches!(rest.get(on + 1), Some(b' ' | b'\t')));
            words > 1
        }
        _ => true,
    };
    let len =
        rest.iter().enumerate().position(|(on, byte)| MARKS.contains(*byte) && ends(on, *byte)).unwrap_or(rest.len());
    start..start + rest.get(..len).unwrap_or_default().trim_ascii_end().len()
}

/// Claims credentials. `asked`: length of the first word, and whether it is a known scheme.
fn claim_credentials(
    scan: &TextScan<'_>,
    content: Range<usize>,
    asked: (usize, Option<bool>),
    rules: &SecretRules,
    claims: &mut PrivateClaims,
) {
    static IN_SCHEME: ByteSet = ByteSet::new(b"-").and_alnum();
    static IN_CREDENTIALS: ByteSet = ByteSet::new(b" \t\n\x0c\r,;<>}()").complement();
    let bytes = scan.bytes(content.clone());
    let scheme = IN_SCHEME.count_leading(bytes);
    let name = bytes.get(..scheme).unwrap_or_default();
    let blanks = bytes.iter().skip(scheme).take_while(|byte| **byte == b' ' || **byte == b':').count();
    let known = if asked.0 == scheme { asked.1 } else { SCHEMES.get(name) }.filter(|_| blanks > 0);
    let (start, many, known) = (known.map_or(0, |_| scheme + blanks), known == Some(true), known.is_some());
    let rest = bytes.get(start..).unwrap_or_default();
    if known && name.eq_ignore_ascii_case(b"digest") && rest.contains(&b'=') {
        return claim_digest(scan, content.start + start..content.end, rules, claims);
    }
    let len = match many {
        true => rest.len(),
        false => IN_CREDENTIALS.count_leading(rest),
    };
    let found = rest.get(..len).unwrap_or_default();
    // The next header is where the credentials would be
    if known && found.ends_with(b":") {
        return;
    }
    let look = ByteCounts::count(found);
    let secret = match known {
        true => {
            // `Token token="…"`: the quoted value has its own key
            let key = look.letters() + 1 == look.len && found.ends_with(b"=");
            let word = key || look.is_only_letters() && look.upper == 0 && found.len() < 20;
            found.len() >= 4 && !word && !cannot_be_secret(found)
        }
        false => {
            found.len() >= 8 && !cannot_be_secret(found) && look.digits > 0 && look.letters() > 0 && !is_wordlike(found)
        }
    };
    let rule = if name.eq_ignore_ascii_case(b"basic") { rules.basic } else { rules.header };
    if let Some(rule) = rule.filter(|_| secret && !found.starts_with(b"realm=") && !found.starts_with(b"{")) {
        claims.add(scan, rule, content.start + start..content.start + start + len);
    }
}

/// Claims the response in `Digest username="…", realm="…", response="…"`, which is computed from the password. If the
/// header is unquoted, the quotes of its parts have ended `content` too early.
fn claim_digest(scan: &TextScan<'_>, content: Range<usize>, rules: &SecretRules, claims: &mut PrivateClaims) {
    let Some(rule) = rules.header else { return };
    let rest = bytes_ahead(scan, content.start, MOST);
    let line = rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
    let Some(at) = memchr::memmem::find(line, b"response=") else { return };
    let from = at + 9 + line.iter().skip(at + 9).take_while(|byte| b"\\\"'".contains(byte)).count();
    let len = line.iter().skip(from).take_while(|byte| byte.is_ascii_hexdigit()).count();
    if len >= 16 {
        claims.add(scan, rule, content.start + from..content.start + from + len);
    }
}

/// Re-reads a pair whose value is a scheme right behind the key's colon.
fn reread_scheme(scan: &TextScan<'_>, pair: &KeyValuePair) -> Option<KeyValuePair> {
    let head = bytes_ahead(scan, pair.key.end + 1, 64);
    let blanks = head.iter().take_while(|byte| **byte == b' ').count();
    let word = head.iter().skip(blanks).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
    let start = pair.key.end + 1 + blanks;
    let scheme = SCHEMES.get(scan.bytes(start..start + word));
    scheme.map(|_| KeyValuePair { sep: PairSeparator::Colon, quote: None, value: start..start + word, ..pair.clone() })
}

fn claim_cookies(
    scan: &TextScan<'_>,
    pair: &KeyValuePair,
    content: Range<usize>,
    rules: &SecretRules,
    claims: &mut PrivateClaims,
) {
    let told = pair.quote.is_some() || pair.sep == PairSeparator::Colon;
    let one = scan.bytes(pair.key.clone()).get(..3).is_some_and(|head| head.eq_ignore_ascii_case(b"set"));
    claim_cookie_values(scan, content, (one, told), rules, claims);
}

/// Claims the values of cookies: only the first if `one` is set, and lower-case words only if `told` confirms that
/// these are cookies.
pub(super) fn claim_cookie_values(
    scan: &TextScan<'_>,
    content: Range<usize>,
    (one, told): (bool, bool),
    rules: &SecretRules,
    claims: &mut PrivateClaims,
) {
    let Some(rule) = rules.cookie else { return };
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
        let word = value.iter().all(|byte| byte.is_ascii_lowercase());
        let plain = value.len() < 4
            || word
                && (!told
                    || PREFERENCE_COOKIES.contains(name)
                    || HARMLESS_VALUES.contains(value)
                    || name.eq_ignore_ascii_case(value))
            || value.iter().all(u8::is_ascii_digit) && value.len() < 6;
        let plain = plain || value.len() == 5 && value.get(2).is_some_and(|byte| b"-_".contains(byte));
        let hidden = plain
            || value.iter().all(|byte| b"*.xX".contains(byte))
            || value.starts_with(b"$")
            || value.starts_with(b"<")
            || value.starts_with(b"{");
        if named && !ATTRIBUTES.contains(name) && !hidden {
            let blank = value.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            claims.add(scan, rule, from + equals + 1 + blank..from + equals + 1 + len);
        }
        if one {
            break;
        }
    }
}
