//! **What**: the checks behind a rule's `validator`. Each gets the text and the match and says how much of the
//! match stands. **Invariants**: pure; constant memory. **Not here**: patterns (`config/rules`).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

/// Names of the checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validator {
    /// None.
    #[default]
    None,
    /// Not `git@host:path`, not a file name, lengths of RFC 5321.
    Email,
    /// Country code and 8 to 15 digits (ITU-T E.164), not all alike.
    PhoneInternational,
    /// North American plan: area and exchange 2-9xx.
    PhoneNanp,
    /// Luhn (ISO/IEC 7812-1) and an issuer's range and length, one kind of separator.
    CreditCard,
    /// Length by country and mod 97 (ISO 13616); the longest valid prefix.
    Iban,
    /// Areas, groups and serials that the SSA issues.
    UsSsn,
    /// Octets without leading zeros; private, loopback and version numbers stay.
    Ipv4,
    /// RFC 4291 text; private and loopback stay.
    Ipv6,
    /// First part decodes to a JSON object.
    Jwt,
    /// A token, not prose.
    Bearer,
    /// Decodes to `user:password`.
    Basic,
    /// Not `***` or a variable.
    NotMasked,
    /// Digits and letters, no placeholder.
    SecretBody,
    /// Upper case, lower case and digits.
    Mixed,
}

impl Validator {
    /// The part of `found` that is really private, or none.
    pub(super) fn check(self, text: &str, found: Range<usize>) -> Option<Range<usize>> {
        let matched = text.get(found.clone())?;
        let before = near(text.get(..found.start)?);
        let after = text.get(found.end..)?;
        let stands = match self {
            Self::None => true,
            Self::Email => email(matched, before, after),
            Self::PhoneInternational => phone_international(matched, before),
            Self::PhoneNanp => phone_nanp(matched),
            Self::CreditCard => credit_card(matched),
            Self::Iban => return iban(matched).map(|len| found.start..found.start + len),
            Self::UsSsn => us_ssn(matched),
            Self::Ipv4 => ipv4(matched, before),
            Self::Ipv6 => ipv6(matched),
            Self::Jwt => jwt(matched),
            Self::Bearer => bearer(matched, before),
            Self::Basic => basic(matched),
            Self::NotMasked => not_masked(matched),
            Self::SecretBody => secret_body(matched),
            Self::Mixed => mixed(matched),
        };
        stands.then_some(found)
    }
}

/// As much of what stands before a match as a check may look at: a check must not read the whole text for each.
const NEAR: usize = 1024;

fn near(before: &str) -> &str {
    let start = before.ceil_char_boundary(before.len().saturating_sub(NEAR));
    before.get(start..).unwrap_or("")
}

fn digits(text: &str) -> impl Iterator<Item = u32> + '_ {
    text.bytes().filter(u8::is_ascii_digit).map(|byte| u32::from(byte - b'0'))
}

fn all_alike(text: &str) -> bool {
    let mut digits = digits(text);
    digits.next().is_none_or(|first| digits.all(|digit| digit == first))
}

/// Suffixes of files that look like top-level domains after an `@`.
const FILE_SUFFIXES: &[&str] = &[
    "png",
    "jpg",
    "jpeg",
    "gif",
    "svg",
    "webp",
    "js",
    "mjs",
    "ts",
    "tsx",
    "jsx",
    "py",
    "rs",
    "go",
    "java",
    "css",
    "html",
    "json",
    "yaml",
    "yml",
    "toml",
    "md",
    "txt",
    "lock",
    "service",
    "local",
    "localdomain",
];

fn email(matched: &str, before: &str, after: &str) -> bool {
    let Some((local, domain)) = matched.rsplit_once('@') else { return false };
    let suffix = domain.rsplit('.').next().unwrap_or("");
    let remote = local == "git" && after.starts_with(':');
    // `scheme://user:password@host` is the userinfo rule's: the host stays.
    let authority = before.rsplit_once("://").map_or("", |(_, authority)| authority);
    let userinfo = authority.contains(':') && !authority.contains(|c: char| c.is_whitespace() || "/?#@".contains(c));
    !local.contains("..") && !remote && !userinfo && !FILE_SUFFIXES.iter().any(|file| file.eq_ignore_ascii_case(suffix))
}

fn phone_international(matched: &str, before: &str) -> bool {
    let count = digits(matched).count() - if matched.starts_with("00") { 2 } else { 0 };
    // Without any separator a leading 00 is just a number.
    let plain_zeros = matched.starts_with("00") && matched.bytes().all(|byte| byte.is_ascii_digit());
    let goes_on = matched.starts_with("00") && before.trim_end().ends_with(|c: char| c.is_ascii_digit());
    let balanced = matched.matches('(').count() == matched.matches(')').count();
    (8..=15).contains(&count)
        && !plain_zeros
        && !goes_on
        && !all_alike(matched.trim_start_matches('+'))
        && balanced
        && !before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '+')
}

fn phone_nanp(matched: &str) -> bool {
    let bytes: Vec<u8> = matched.bytes().filter(|byte| !byte.is_ascii_digit()).collect();
    let separators: Vec<u8> = bytes.iter().copied().filter(|byte| !b"()".contains(byte)).collect();
    let area_in_brackets = bytes.contains(&b'(');
    // One kind of separator, unless the area stands in brackets.
    let uniform = separators.windows(2).all(|pair| matches!(pair, [a, b] if a == b));
    (area_in_brackets || uniform) && !all_alike(matched)
}

/// Luhn's sum over the digits of a text (ISO/IEC 7812-1 annex B).
pub(super) fn luhn(text: &str) -> bool {
    let digits: Vec<u32> = digits(text).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match (index % 2, digit * 2) {
            (0, _) => *digit,
            (_, doubled) if doubled > 9 => doubled - 9,
            (_, doubled) => doubled,
        })
        .sum();
    sum.is_multiple_of(10)
}

fn credit_card(matched: &str) -> bool {
    let separators: Vec<u8> = matched.bytes().filter(|byte| !byte.is_ascii_digit()).collect();
    let uniform = separators.windows(2).all(|pair| matches!(pair, [a, b] if a == b));
    let number: String = matched.chars().filter(char::is_ascii_digit).collect();
    let prefix = |len: usize| number.get(..len).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let issuer = matches!(
        (prefix(1), prefix(2), prefix(3), prefix(4), number.len()),
        (4, .., 13 | 16 | 19)
            | (_, 51..=55, .., 16)
            | (.., 2221..=2720, 16)
            | (_, 34 | 37, .., 15)
            | (_, 36 | 38 | 39, .., 14)
            | (_, _, 300..=305, _, 14)
            | (_, _, _, 6011, 16..=19)
            | (_, 65, .., 16..=19)
            | (_, _, 644..=649, _, 16..=19)
            | (_, 35, .., 16)
            | (_, 62, .., 16..=19)
            | (_, 50 | 56..=58 | 63 | 67, .., 13..=19)
    );
    uniform && issuer && !all_alike(matched) && luhn(matched)
}

/// Lengths by country of the SWIFT IBAN registry.
const IBAN_LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NL", 18),
    ("NO", 15),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("SA", 24),
    ("SC", 31),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
];

/// Bytes of `matched` that are a valid IBAN: a word after it may have been matched too.
fn iban(matched: &str) -> Option<usize> {
    let (_, length) = IBAN_LENGTHS.iter().find(|(country, _)| matched.starts_with(country))?;
    let (mut compact, mut end) = (String::with_capacity(34), 0);
    for (at, c) in matched.char_indices() {
        if compact.len() == *length {
            break;
        }
        if c.is_ascii_alphanumeric() {
            compact.push(c);
            end = at + 1;
        }
    }
    let rest = matched.get(end..)?;
    let whole = compact.len() == *length && !rest.starts_with(|c: char| c.is_ascii_alphanumeric());
    (whole && mod_97(&compact)).then_some(end)
}

/// ISO 7064 mod 97-10 over an IBAN rearranged.
fn mod_97(compact: &str) -> bool {
    let (head, tail) = compact.split_at_checked(4).unwrap_or(("", compact));
    let mut rest: u32 = 0;
    for c in tail.chars().chain(head.chars()) {
        let Some(value) = c.to_digit(36) else { return false };
        rest = (if value > 9 { rest * 100 } else { rest * 10 } + value) % 97;
    }
    rest == 1
}

fn us_ssn(matched: &str) -> bool {
    let number: String = matched.chars().filter(char::is_ascii_digit).collect();
    let part = |range: Range<usize>| number.get(range).and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    let (area, group, serial) = (part(0..3), part(3..5), part(5..9));
    // Printed in advertising, so never anybody's (SSA).
    let advertised = matches!(number.as_str(), "078051120" | "219099999" | "457555462");
    number.len() == 9 && !matches!(area, 0 | 666 | 900..) && group != 0 && serial != 0 && !advertised
}

fn ipv4(matched: &str, before: &str) -> bool {
    let Ok(address) = matched.parse::<Ipv4Addr>() else { return false };
    let tail: String = before.chars().rev().take(12).collect::<Vec<_>>().into_iter().rev().collect();
    let lower = tail.to_ascii_lowercase();
    let lower = lower.trim_end_matches([' ', ':', '=', '"']);
    let version = lower.ends_with("version") || lower.ends_with("ver") || lower.ends_with('v');
    // `Chrome/1.2.3.4`, but not `//1.2.3.4`.
    let product = tail.strip_suffix('/').is_some_and(|head| head.ends_with(|c: char| c.is_ascii_alphanumeric()));
    let kept = address.is_private() || address.is_loopback() || address.is_unspecified() || address.is_link_local();
    !(version || product || kept)
}

fn ipv6(matched: &str) -> bool {
    let Ok(address) = matched.parse::<Ipv6Addr>() else { return false };
    let mapped_private = address.to_ipv4_mapped().is_some_and(|v4| v4.is_private() || v4.is_loopback());
    !(address.is_loopback()
        || address.is_unspecified()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || mapped_private)
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

fn decode(text: &str) -> Option<Vec<u8>> {
    let alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    GeneralPurpose::new(alphabet, LENIENT).decode(text).ok()
}

fn jwt(matched: &str) -> bool {
    let head = matched.split('.').next().unwrap_or("");
    decode(head).is_some_and(|json| json.starts_with(b"{\"") && json.ends_with(b"}"))
}

fn bearer(matched: &str, before: &str) -> bool {
    if masked(matched) {
        return false;
    }
    let lower = before.to_ascii_lowercase_tail(40);
    let header = lower.contains("authorization");
    let digits = matched.bytes().any(|byte| byte.is_ascii_digit());
    let prose = matched.bytes().all(|byte| byte.is_ascii_lowercase());
    (header && !prose) || (digits && matched.len() >= 16)
}

trait Tail {
    fn to_ascii_lowercase_tail(&self, bytes: usize) -> String;
}

impl Tail for str {
    fn to_ascii_lowercase_tail(&self, bytes: usize) -> String {
        let mut start = self.len().saturating_sub(bytes);
        while !self.is_char_boundary(start) {
            start += 1;
        }
        self.get(start..).unwrap_or("").to_ascii_lowercase()
    }
}

fn basic(matched: &str) -> bool {
    decode(matched)
        .is_some_and(|plain| plain.contains(&b':') && plain.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f))
}

/// Userinfo whose password is real, and not `host:8080?…`.
fn not_masked(userinfo: &str) -> bool {
    let password = userinfo.split_once(':').map_or(userinfo, |(_, password)| password);
    let port = password.split(['?', '#']).next().filter(|port| port.len() < password.len());
    let address = port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    !masked(password) && !address
}

/// `***`, `xxxx`, `${…}`, `<…>`: somebody hid it already.
fn masked(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next();
    let alike = first.is_some() && bytes.all(|byte| Some(byte) == first);
    alike || text.starts_with(['$', '<', '{', '%', '[']) || text.contains("***")
}

fn secret_body(matched: &str) -> bool {
    let upper = matched.to_ascii_uppercase();
    let hidden =
        upper.contains("EXAMPLE") || upper.contains("XXXXXX") || upper.contains("YOUR-") || upper.contains("YOUR_");
    let digit = matched.bytes().any(|byte| byte.is_ascii_digit());
    let tail = matched.rsplit(['-', '_']).next().unwrap_or(matched);
    !hidden && digit && !(tail.len() > 8 && masked(tail))
}

fn mixed(matched: &str) -> bool {
    let has = |test: fn(&u8) -> bool| matched.as_bytes().iter().any(test);
    has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
}
