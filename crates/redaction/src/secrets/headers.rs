//! Finds credentials in HTTP headers: `Authorization` with any scheme, and cookies. The scheme, cookie names and cookie
//! attributes stay. `assign` finds the headers.

use std::ops::Range;
use std::sync::LazyLock;

use super::super::pairs::{KeyValuePair, PairSeparator};
use super::byte_counts::ByteCounts;
use super::references::is_reference;
use super::secret_keys::SecretKind;
use super::word_score::is_words;
use crate::rule::RuleFamily;
use crate::scan::{TextScan, bytes_ahead};
use crate::sets::{ByteSet, WordMap};
use crate::wordlists;

const MAX_HEADER: usize = 4096;
/// Schemes whose credentials have several words.
const SCHEMES_WITH_LISTS: &str = "digest aws4-hmac-sha256 sharedaccesssignature hmac oauth mac hawk";
/// All schemes, each with whether its credentials have several words.
static SCHEMES: LazyLock<WordMap<bool>> = LazyLock::new(|| {
    let entries = |words: &'static str, many: bool| words.split_ascii_whitespace().map(move |word| (word, many));
    let single = entries(wordlists::text("secrets.auth_schemes"), false);
    WordMap::from_entries(single.chain(entries(SCHEMES_WITH_LISTS, true)).collect())
});

/// Claims the secrets in the header `pair`. Returns the position from which the search for keys continues.
pub(super) fn check_header(scan: &TextScan<'_>, pair: &KeyValuePair, kind: SecretKind) -> usize {
    // `curl --cookie "a=b"`
    let is_cookie_flag =
        kind == SecretKind::Cookie && pair.sep == PairSeparator::Space && scan.byte_before(pair.key.start, 1) == b'-';
    let is_header =
        !matches!(pair.sep, PairSeparator::Space | PairSeparator::Is | PairSeparator::Compare | PairSeparator::Cell);
    if !is_header && !is_cookie_flag {
        return pair.key.end;
    }
    // `Digest username="bob"` is read as a type before a value
    let may_be_scheme = pair.sep == PairSeparator::Equals && pair.quote.is_some() && scan.byte(pair.key.end) == b':';
    let reread = may_be_scheme.then(|| reread_scheme(scan, pair)).flatten();
    let pair = reread.as_ref().unwrap_or(pair);
    // A line is read only if its first word may be a scheme, credentials or a cookie
    let first_word = scan.bytes(pair.value.clone());
    let scheme = SCHEMES.get(first_word);
    let is_plausible = scheme.is_some() || first_word.iter().any(|byte| byte.is_ascii_digit() || *byte == b'=');
    if pair.quote.is_none() && !is_plausible {
        return pair.key.end;
    }
    let content = match pair.quote {
        Some(_) => pair.value.clone(),
        None => unquoted_range(scan, pair.value.start, kind == SecretKind::Cookie || scheme == Some(true)),
    };
    let end = content.end;
    match kind {
        SecretKind::Cookie => {
            let is_certain = pair.quote.is_some() || pair.sep == PairSeparator::Colon;
            // `Set-Cookie`
            let first_only =
                scan.bytes(pair.key.clone()).get(..3).is_some_and(|head| head.eq_ignore_ascii_case(b"set"));
            claim_cookie_values(scan, content, (first_only, is_certain));
        }
        _ => claim_credentials(scan, content, (first_word.len(), scheme)),
    }
    // A long line is not read again from each of its keys
    if pair.quote.is_none() && end > pair.key.end + 512 { end } else { pair.key.end }
}

/// The range from `start` to the line's end or the header's quote. Without `has_list`, at most two words (a scheme and
/// its credentials) are read, so that a line of headers is not read from each of them.
fn unquoted_range(scan: &TextScan<'_>, start: usize, has_list: bool) -> Range<usize> {
    let rest = bytes_ahead(scan, start, MAX_HEADER);
    static MARKS: ByteSet = ByteSet::new(b"\n\r\"'`\\ \t");
    let mut words = 0;
    let mut is_end = |at: usize, byte: u8| match byte {
        b'\\' => rest.get(at + 1).is_some_and(|next| b"nr\"'".contains(next)),
        b' ' | b'\t' if has_list => false,
        b' ' | b'\t' => {
            words += usize::from(!matches!(rest.get(at + 1), Some(b' ' | b'\t')));
            words > 1
        }
        _ => true,
    };
    let len =
        rest.iter().enumerate().position(|(at, byte)| MARKS.contains(*byte) && is_end(at, *byte)).unwrap_or(rest.len());
    start..start + rest.get(..len).unwrap_or_default().trim_ascii_end().len()
}

/// Claims credentials. `first_word`: its length, and, if it is a known scheme, whether its credentials have several
/// words.
fn claim_credentials(scan: &TextScan<'_>, content: Range<usize>, first_word: (usize, Option<bool>)) {
    static IN_SCHEME: ByteSet = ByteSet::new(b"-").and_alnum();
    static IN_CREDENTIALS: ByteSet = ByteSet::new(b" \t\n\x0c\r,;<>}()").complement();
    let bytes = scan.bytes(content.clone());
    let scheme_len = IN_SCHEME.count_leading(bytes);
    let name = bytes.get(..scheme_len).unwrap_or_default();
    let blanks = bytes.iter().skip(scheme_len).take_while(|byte| **byte == b' ' || **byte == b':').count();
    let scheme = if first_word.0 == scheme_len { first_word.1 } else { SCHEMES.get(name) }.filter(|_| blanks > 0);
    let start = scheme.map_or(0, |_| scheme_len + blanks);
    let (has_scheme, has_list) = (scheme.is_some(), scheme == Some(true));
    let rest = bytes.get(start..).unwrap_or_default();
    if has_scheme && name.eq_ignore_ascii_case(b"digest") && rest.contains(&b'=') {
        return claim_digest(scan, content.start + start);
    }
    let len = match has_list {
        true => rest.len(),
        false => IN_CREDENTIALS.count_leading(rest),
    };
    let credentials = rest.get(..len).unwrap_or_default();
    // The next header is where the credentials would be
    if has_scheme && credentials.ends_with(b":") {
        return;
    }
    let counts = ByteCounts::count(credentials);
    let is_secret = match has_scheme {
        true => {
            // `Token token="…"`: the quoted value has its own key
            let is_key = counts.letters() + 1 == counts.len && credentials.ends_with(b"=");
            let is_word = is_key || counts.is_only_letters() && counts.upper == 0 && credentials.len() < 20;
            credentials.len() >= 4 && !is_word && !is_reference(credentials, true)
        }
        false => {
            credentials.len() >= 8
                && !is_reference(credentials, true)
                && counts.digits > 0
                && counts.letters() > 0
                && !is_words(credentials)
        }
    };
    let is_basic = name.eq_ignore_ascii_case(b"basic");
    let family = if is_basic { RuleFamily::BasicCredentials } else { RuleFamily::HeaderCredentials };
    if is_secret && !credentials.starts_with(b"realm=") && !credentials.starts_with(b"{") {
        scan.claim_for(family, content.start + start..content.start + start + len);
    }
}

/// Claims the response in `Digest username="…", realm="…", response="…"`, which is computed from the password. If the
/// header is unquoted, the quotes of its parts end it too early.
fn claim_digest(scan: &TextScan<'_>, start: usize) {
    let rest = bytes_ahead(scan, start, MAX_HEADER);
    let line = rest.get(..memchr::memchr(b'\n', rest).unwrap_or(rest.len())).unwrap_or_default();
    let Some(at) = memchr::memmem::find(line, b"response=") else { return };
    let from = at + 9 + line.iter().skip(at + 9).take_while(|byte| b"\\\"'".contains(byte)).count();
    let len = line.iter().skip(from).take_while(|byte| byte.is_ascii_hexdigit()).count();
    if len >= 16 {
        scan.claim_for(RuleFamily::HeaderCredentials, start + from..start + from + len);
    }
}

/// Re-reads a pair whose value is a scheme right after the key's colon.
fn reread_scheme(scan: &TextScan<'_>, pair: &KeyValuePair) -> Option<KeyValuePair> {
    let head = bytes_ahead(scan, pair.key.end + 1, 64);
    let blanks = head.iter().take_while(|byte| **byte == b' ').count();
    let word_len = head.iter().skip(blanks).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
    let start = pair.key.end + 1 + blanks;
    let scheme = SCHEMES.get(scan.bytes(start..start + word_len));
    scheme.map(|_| KeyValuePair {
        sep: PairSeparator::Colon,
        quote: None,
        value: start..start + word_len,
        ..pair.clone()
    })
}

/// Claims the values of cookies: all or `first_only`. Lower-case words count only if it `is_certain` that these are
/// cookies.
pub(super) fn claim_cookie_values(scan: &TextScan<'_>, content: Range<usize>, (first_only, is_certain): (bool, bool)) {
    let mut at = content.start;
    for part in scan.bytes(content).split(|byte| *byte == b';') {
        let from = at;
        at += part.len() + 1;
        let Some(equals) = part.iter().position(|byte| *byte == b'=') else { continue };
        let name = part.get(..equals).unwrap_or_default().trim_ascii_start();
        let value = part.get(equals + 1..).unwrap_or_default();
        let len = value.trim_ascii_end().len();
        let is_name = !name.is_empty()
            && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-.!#$%&*+^|~:[]@".contains(byte));
        let is_word = value.iter().all(|byte| byte.is_ascii_lowercase());
        let is_plain = value.len() < 4
            || is_word
                && (!is_certain
                    || word_set!("secrets.preference_cookies").contains(name)
                    || word_set!("secrets.non_session_cookie_values").contains(value)
                    || name.eq_ignore_ascii_case(value))
            || value.iter().all(u8::is_ascii_digit) && value.len() < 6;
        let is_plain = is_plain || value.len() == 5 && value.get(2).is_some_and(|byte| b"-_".contains(byte));
        let is_harmless = is_plain
            || value.iter().all(|byte| b"*.xX".contains(byte))
            || value.first().is_some_and(|first| b"$<{".contains(first));
        if is_name && !word_set!("secrets.cookie_attributes").contains(name) && !is_harmless {
            let blanks = value.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            scan.claim_for(RuleFamily::Cookie, from + equals + 1 + blanks..from + equals + 1 + len);
        }
        if first_only {
            break;
        }
    }
}
