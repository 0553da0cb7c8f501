//! The checks behind a rule's `validator`. Each gets the text and the match and returns the match if it is accepted.
//! Pure, with constant memory. Patterns are in `config/rules`.

use std::ops::Range;

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

pub(super) mod bank;
pub(super) mod checksums;
pub(super) mod crypto;
pub(super) mod dates;
pub(super) mod lettered_checks;
pub(super) mod national;
pub(super) mod phones;
#[cfg(test)]
mod tests;

/// Names of the checks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Validator {
    /// No check.
    #[default]
    None,
    /// The first part decodes to a JSON object.
    Jwt,
    /// A token rather than prose.
    Bearer,
    /// Base64 that decodes to `user:password`.
    Basic,
    /// Neither masked (`***`) nor a variable.
    NotMasked,
    /// Digits and letters, not a placeholder.
    SecretBody,
    /// Has upper case, lower case and digits.
    Mixed,
    /// A random body behind a prefix.
    TokenBody,
    /// Luhn check (ISO/IEC 7812-1) over its digits.
    Luhn,
    /// Luhn check, and a known issuer's prefix and length.
    CreditCard,
    /// Length by country, and mod 97 (ISO 13616).
    Iban,
    /// Verhoeff check digit over its digits.
    Verhoeff,
    /// ISO 7064 mod 97-10 over its letters and digits, with remainder 1.
    #[serde(rename = "mod_97")]
    Mod97,
    /// ISO 7064 mod 11,10 over its digits.
    #[serde(rename = "mod_11_10")]
    Mod11And10,
    /// NHS number: ten digits, mod 11.
    NhsNumber,
    /// Routing number of a US bank.
    AbaRouting,
    /// Vehicle identification number with its check digit.
    Vin,
    /// Base58 with its checksum.
    #[serde(rename = "base58check")]
    Base58Check,
    /// Bech32 or bech32m with its checksum.
    #[serde(rename = "bech32")]
    Bech32,
}

impl Validator {
    /// Returns `found` if it passes the check.
    pub(super) fn check(self, text: &str, found: Range<usize>) -> Option<Range<usize>> {
        let matched = text.get(found.clone())?;
        let before = near_end(text.get(..found.start)?);
        let stands =
            match self {
                Self::None => true,
                Self::Jwt => is_jwt(matched),
                Self::Bearer => is_bearer_token(matched, before),
                Self::Basic => is_basic_credentials(matched),
                Self::NotMasked => is_not_masked(matched),
                Self::SecretBody => is_secret_body(matched),
                Self::Mixed => has_mixed_classes(matched),
                Self::Luhn => Some(digit_values(matched))
                    .is_some_and(|digits| digits.len() > 1 && checksums::has_valid_luhn(&digits)),
                Self::CreditCard => bank::is_card_number(&digit_values(matched)),
                Self::Iban => is_iban(matched),
                Self::Verhoeff => Some(digit_values(matched))
                    .is_some_and(|digits| digits.len() > 1 && checksums::has_valid_verhoeff(&digits)),
                Self::Mod97 => checksums::mod_97_remainder(upper_alphanumeric(matched).into_iter()) == Some(1),
                Self::Mod11And10 => Some(digit_values(matched))
                    .is_some_and(|digits| digits.len() > 1 && checksums::has_valid_mod_11_10(&digits)),
                Self::NhsNumber => Some(digit_values(matched))
                    .is_some_and(|digits| digits.len() == 10 && national::is_nhs_number(&digits)),
                Self::AbaRouting => Some(digit_values(matched))
                    .is_some_and(|digits| digits.len() == 9 && bank::is_routing_number(&digits)),
                Self::Vin => lettered_checks::is_vin(&upper_alphanumeric(matched)),
                Self::Base58Check => crypto::is_base58check(matched.as_bytes()),
                Self::Bech32 => crypto::is_bech32(matched.as_bytes()),
                Self::TokenBody => super::secrets::value_checks::is_token_body(matched.as_bytes()),
            };
        stands.then_some(found)
    }
}

/// Whether digits have a card issuer's prefix, a fitting length and a valid check digit.
pub(super) fn is_card(digits: &str) -> bool {
    let mut values = [0; 19];
    let digits = digits.as_bytes();
    values.iter_mut().zip(digits).for_each(|(value, digit)| *value = digit.wrapping_sub(b'0'));
    values.get(..digits.len()).is_some_and(bank::is_card_number)
}

/// The digit values of a match, without separators.
fn digit_values(matched: &str) -> Vec<u8> {
    matched.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect()
}

/// The letters, upper-cased, and digits of a match.
fn upper_alphanumeric(matched: &str) -> Vec<u8> {
    matched.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_uppercase()).collect()
}

fn is_iban(matched: &str) -> bool {
    let compact = upper_alphanumeric(matched);
    bank::iban_length(compact.get(..2).unwrap_or_default()) == Some(compact.len()) && bank::is_iban(&compact)
}

/// Most bytes before a match that a check may read, so that it does not read the whole text for each match.
const NEAR: usize = 1024;

fn near_end(before: &str) -> &str {
    let start = before.ceil_char_boundary(before.len().saturating_sub(NEAR));
    before.get(start..).unwrap_or("")
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

/// Built once, because the tables cost more than most texts
static PLAIN: GeneralPurpose = GeneralPurpose::new(&STANDARD, LENIENT);
static FOR_URLS: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, LENIENT);

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let engine = if memchr::memchr2(b'-', b'_', text.as_bytes()).is_some() { &FOR_URLS } else { &PLAIN };
    // A single character encodes no byte
    let whole = text.trim_end_matches('=').len() % 4 != 1;
    whole.then(|| engine.decode(text).ok()).flatten()
}

fn is_jwt(matched: &str) -> bool {
    let head = matched.split('.').next().unwrap_or("");
    decode_base64(head)
        .is_some_and(|json| json.starts_with(b"{") && json.trim_ascii_end().ends_with(b"}") && json.contains(&b'"'))
}

fn is_bearer_token(matched: &str, before: &str) -> bool {
    if matched.eq_ignore_ascii_case("authorization") {
        return false; // the next header
    }
    if is_masked(matched) {
        return false;
    }
    let lower = before.to_ascii_lowercase_tail(40);
    let header = lower.contains("authorization");
    let digits = matched.bytes().any(|byte| byte.is_ascii_digit());
    let prose = matched.bytes().all(|byte| byte.is_ascii_lowercase())
        || matched.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    (header && !prose) || (digits && matched.len() >= 16)
}

trait LowercaseTail {
    fn to_ascii_lowercase_tail(&self, bytes: usize) -> String;
}

impl LowercaseTail for str {
    fn to_ascii_lowercase_tail(&self, bytes: usize) -> String {
        let mut start = self.len().saturating_sub(bytes);
        while !self.is_char_boundary(start) {
            start += 1;
        }
        self.get(start..).unwrap_or("").to_ascii_lowercase()
    }
}

fn is_basic_credentials(matched: &str) -> bool {
    let text =
        |plain: &Vec<u8>| plain.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f) && std::str::from_utf8(plain).is_ok();
    decode_base64(matched).is_some_and(|plain| plain.contains(&b':') && text(&plain))
}

/// Whether the password of a userinfo is real, unlike `host:8080?…`.
fn is_not_masked(userinfo: &str) -> bool {
    let password = userinfo.split_once(':').map_or(userinfo, |(_, password)| password);
    let port = password.split(['?', '#']).next().filter(|port| port.len() < password.len());
    let address = port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    !is_masked(password) && !address
}

/// Whether a text is already masked: `***`, `xxxx`, `${…}`, `<…>`.
fn is_masked(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next();
    let alike = first.is_some() && bytes.all(|byte| Some(byte) == first);
    alike || text.starts_with(['$', '<', '{', '%', '[']) || text.contains("***")
}

fn is_secret_body(matched: &str) -> bool {
    let upper = matched.to_ascii_uppercase();
    let hidden =
        upper.contains("EXAMPLE") || upper.contains("XXXXXX") || upper.contains("YOUR-") || upper.contains("YOUR_");
    let digit = matched.bytes().any(|byte| byte.is_ascii_digit());
    let tail = matched.rsplit(['-', '_']).next().unwrap_or(matched);
    !hidden && digit && !(tail.len() > 8 && is_masked(tail))
}

fn has_mixed_classes(matched: &str) -> bool {
    let has = |test: fn(&u8) -> bool| matched.as_bytes().iter().any(test);
    has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit)
}
