//! The checks that a rule's `validator` names. Each gets the text and the match, and returns an accepted match.
//! Pure functions. Patterns are in `config/rules`.

use std::ops::Range;

use serde::Deserialize;

use super::views::base64;

pub(super) mod bank;
pub(super) mod checksums;
pub(super) mod crypto;
pub(super) mod dates;
pub(super) mod id_check;
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
    /// Has a digit, and is neither an example nor masked.
    SecretBody,
    /// A random body after a prefix.
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
    /// Check letter of the Italian codice fiscale.
    CodiceFiscale,
    /// Form and country of a business identifier code (ISO 9362).
    Bic,
    #[serde(rename = "base58check")]
    Base58Check,
    /// Bech32 or bech32m with its checksum.
    #[serde(rename = "bech32")]
    Bech32,
}

/// Most bytes before a match that a check reads.
const CONTEXT: usize = 40;

impl Validator {
    /// Returns `found` if it passes the check.
    pub(super) fn check(self, text: &str, found: Range<usize>) -> Option<Range<usize>> {
        let before = text.get(text.ceil_char_boundary(found.start.saturating_sub(CONTEXT))..found.start)?;
        self.accepts(text.get(found.clone())?, before).then_some(found)
    }

    /// Whether a match passes the check. `before` is the text before it.
    pub(super) fn accepts(self, matched: &str, before: &str) -> bool {
        let digits_pass = |check: fn(&[u8]) -> bool| {
            let digits: Vec<u8> = matched.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect();
            digits.len() > 1 && check(&digits)
        };
        match self {
            Self::None => true,
            Self::Jwt => is_jwt(matched),
            Self::Bearer => is_bearer_token(matched, before),
            Self::Basic => is_basic_credentials(matched),
            Self::SecretBody => is_secret_body(matched),
            Self::Luhn => digits_pass(checksums::has_valid_luhn),
            Self::CreditCard => bank::has_card_number(matched.as_bytes()),
            Self::Iban => is_iban(matched),
            Self::Verhoeff => digits_pass(checksums::has_valid_verhoeff),
            Self::Mod97 => checksums::mod_97_remainder(upper_alphanumeric(matched).into_iter()) == Some(1),
            Self::Mod11And10 => digits_pass(checksums::has_valid_mod_11_10),
            Self::CodiceFiscale => checksums::has_codice_fiscale_letter(matched.as_bytes()),
            Self::Bic => bank::is_bic(matched.as_bytes()),
            Self::Base58Check => crypto::is_base58check(matched.as_bytes()),
            Self::Bech32 => crypto::is_bech32(matched.as_bytes()),
            Self::TokenBody => super::secrets::value_facts::is_token_body(matched.as_bytes()),
        }
    }
}

/// The letters, upper-cased, and digits of a match.
fn upper_alphanumeric(matched: &str) -> Vec<u8> {
    matched.bytes().filter(u8::is_ascii_alphanumeric).map(|byte| byte.to_ascii_uppercase()).collect()
}

fn is_iban(matched: &str) -> bool {
    let compact = upper_alphanumeric(matched);
    bank::iban_length(compact.get(..2).unwrap_or_default()) == Some(compact.len()) && bank::is_iban(&compact)
}

/// Decodes a whole text in base64, of either alphabet.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let blob = text.trim_end_matches('=').as_bytes();
    // A single character encodes no byte
    let is_decodable = blob.len() % 4 != 1 && base64::IN_BLOB.count_leading(blob) == blob.len();
    is_decodable.then(|| base64::decode_base64(blob))
}

fn is_jwt(matched: &str) -> bool {
    let head = matched.split('.').next().unwrap_or("");
    decode_base64(head)
        .is_some_and(|json| json.starts_with(b"{") && json.trim_ascii_end().ends_with(b"}") && json.contains(&b'"'))
}

fn is_bearer_token(matched: &str, before: &str) -> bool {
    // `authorization` is the next header
    if matched.eq_ignore_ascii_case("authorization") || is_masked(matched) {
        return false;
    }
    let is_in_header = before.to_ascii_lowercase().contains("authorization");
    let has_digits = matched.bytes().any(|byte| byte.is_ascii_digit());
    let is_word = matched.bytes().all(|byte| byte.is_ascii_lowercase())
        || matched.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    (is_in_header && !is_word) || (has_digits && matched.len() >= 16)
}

fn is_basic_credentials(matched: &str) -> bool {
    let is_text = |decoded: &Vec<u8>| {
        decoded.iter().all(|byte| *byte >= 0x20 && *byte != 0x7f) && std::str::from_utf8(decoded).is_ok()
    };
    decode_base64(matched).is_some_and(|decoded| decoded.contains(&b':') && is_text(&decoded))
}

/// Whether a text is already masked: `***`, `xxxx`, `${…}`, `<…>`.
fn is_masked(text: &str) -> bool {
    let mut bytes = text.bytes();
    let first = bytes.next();
    let is_one_byte = first.is_some() && bytes.all(|byte| Some(byte) == first);
    is_one_byte || text.starts_with(['$', '<', '{', '%', '[']) || text.contains("***")
}

fn is_secret_body(matched: &str) -> bool {
    let upper = matched.to_ascii_uppercase();
    let is_example =
        upper.contains("EXAMPLE") || upper.contains("XXXXXX") || upper.contains("YOUR-") || upper.contains("YOUR_");
    let has_digit = matched.bytes().any(|byte| byte.is_ascii_digit());
    let tail = matched.rsplit(['-', '_']).next().unwrap_or(matched);
    !is_example && has_digit && !(tail.len() > 8 && is_masked(tail))
}
