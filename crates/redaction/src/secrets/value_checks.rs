//! Checks whether a value can be a secret: masked values, variables, types, paths and prose can't. Also re-exports the
//! counts and the checks of randomness. Pure functions with a few passes. `secret_keys` classifies keys.

use std::sync::LazyLock;

pub(super) use super::byte_counts::ByteCounts;
use super::key_word_lists::PrefixSet;
use super::randomness::has_normal_vowels;
pub(crate) use super::randomness::is_wordlike;
pub(super) use super::randomness::{is_path, is_random};
use super::templates::{is_broken_template, is_format, is_interpolation, is_variable};
use crate::pairs::ends_with;
use crate::sets::ByteSet;
use crate::wordlists;

/// Whether a value is a sentence rather than a passphrase.
pub(super) fn is_prose(value: &[u8]) -> bool {
    value
        .split(|byte| !byte.is_ascii_alphabetic() && *byte != b'\'')
        .any(|word| word_set!("secrets.sentence_words").contains(word))
}

/// Whether a value is a sentence in any language: it begins with a capital, has several words, and ends with
/// punctuation.
pub(super) fn is_sentence(value: &[u8], counts: &ByteCounts) -> bool {
    let has_sentence_start = value.first().is_some_and(|byte| byte.is_ascii_uppercase() || !byte.is_ascii());
    counts.blanks >= 4 && has_sentence_start && value.last().is_some_and(|byte| b".!?".contains(byte))
}

/// Words in a value that mark it as an example.
static PLACEHOLDERS: LazyLock<PrefixSet> = LazyLock::new(|| PrefixSet::new(wordlists::lines("secrets.placeholders")));

/// Whether a value is already hidden or missing: `***`, `${X}`, `<token>`, `null`, `process.env.X`.
pub(super) fn cannot_be_secret(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let (Some(first), Some(last)) = (value.first(), value.last()) else { return true };
    if is_broken_template(value) {
        return false;
    }
    let is_one_byte = value.iter().all(|byte| byte == first);
    let is_starred = || value.iter().filter(|byte| matches!(byte, b'*' | b'x' | b'X')).count() * 2 > value.len() + 2;
    let is_enclosed_in = |a: u8, b: u8| *first == a && *last == b;
    let is_windows_variable = is_enclosed_in(b'%', b'%') || (*first == b'%' && value.len() <= 3);
    let is_in_brackets = is_enclosed_in(b'{', b'}')
        || is_enclosed_in(b'<', b'>')
        || is_enclosed_in(b'[', b']')
        || is_enclosed_in(b'(', b')')
        || is_enclosed_in(b'#', b'#');
    let begins_template = value.starts_with(b"<")
        || value.starts_with(b"&lt;")
        || value.starts_with(b"${")
        || value.starts_with(b"#{")
        || value.starts_with(b"@{");
    let has_filled_part = memchr::memchr(b'{', value).is_some_and(|at| {
        let rest = value.get(at + 1..).unwrap_or_default();
        let name =
            rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_' || **byte == b'.').count();
        name > 1 && rest.get(name) == Some(&b'}') && rest.first().is_some_and(u8::is_ascii_alphabetic)
    });
    // `"password: " + x + ","`: the text between two strings
    let is_concatenated = value.starts_with(b"+ ") || value.ends_with(b" +") || value.starts_with(b".$");
    // A number in source code: `ERR_TOKEN = 0x80041064`
    let is_hex_number = value.len() <= 18
        && (value.starts_with(b"0x") || value.starts_with(b"0X"))
        && value.iter().skip(2).all(u8::is_ascii_hexdigit);
    // `'"'$PASSWORD'"'`
    let is_shell_variable = value.starts_with(b"'$");
    is_one_byte
        || is_concatenated
        || is_hex_number
        || is_shell_variable
        || has_filled_part
        || is_starred()
        || matches!(first, b'$' | b'\\') && is_variable(value)
        || is_windows_variable
        || is_in_brackets
        || begins_template
        || is_no_value_word(value)
        || once!(PrefixSet, PrefixSet::new(wordlists::lines("secrets.reference_prefixes"))).matches_start(value)
        || has_placeholder(value)
        || *last == b'}' && is_format(value)
}

/// Whether a value is a package version: `1:4.13+dfsg1-1`, `0.0~git20220621.cb9428e`, `v1.2.3`.
pub(super) fn is_version(value: &[u8]) -> bool {
    let version = value.strip_prefix(b"v").unwrap_or(value);
    let digits = version.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let is_separator_next = version.get(digits).is_some_and(|byte| b".:".contains(byte));
    (1..=4).contains(&digits)
        && is_separator_next
        && version.get(digits + 1).is_some_and(u8::is_ascii_digit)
        && version.len() <= 48
        && version.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".:+~-_".contains(byte))
}

/// Whether a value is a word of prose or code.
pub(super) fn is_prose_or_code_word(value: &[u8]) -> bool {
    word_set!("secrets.prose_words").contains(value)
}

pub(super) fn is_no_value_word(value: &[u8]) -> bool {
    // Swift's `String!`, `String?`
    word_set!("secrets.non_values")
        .contains(value.strip_suffix(b"!").or_else(|| value.strip_suffix(b"?")).unwrap_or(value))
}

fn has_placeholder(value: &[u8]) -> bool {
    let head = value.get(..value.len().min(160)).unwrap_or_default();
    head.iter().enumerate().filter(|(_, byte)| PLACEHOLDER_STARTS.contains(**byte)).any(|(at, _)| {
        let rest = head.get(at..).unwrap_or_default();
        if let [b'%' | b'$', b'(', inner @ ..] = rest {
            return is_interpolation(rest, inner);
        }
        PLACEHOLDERS.matches_start(rest)
    })
}

/// First bytes of [`PLACEHOLDERS`] and interpolations, in both cases.
static PLACEHOLDER_STARTS: ByteSet = ByteSet::new(b"yYpPrRiI<xX_-aAgGfFtTdD*${}.%\xe2");

/// Whether `text` contains `word`, ignoring case.
pub(super) fn contains_any_case(text: &[u8], word: &[u8]) -> bool {
    let Some(first) = word.first() else { return false };
    text.windows(word.len().max(1)).any(|part| {
        part.first().is_some_and(|byte| byte.eq_ignore_ascii_case(first)) && part.eq_ignore_ascii_case(word)
    })
}

/// Whether a value is a Twilio id (`AC…`, `SM…`): two capitals and 32 hex digits.
pub(super) fn is_twilio_id(value: &[u8]) -> bool {
    let is_lower_hex = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    value.split_at_checked(2).is_some_and(|(kind, id)| {
        kind.iter().all(u8::is_ascii_uppercase) && id.len() == 32 && id.iter().all(is_lower_hex)
    })
}

/// Whether a value is a UUID: 8-4-4-4-12 hex digits.
pub(super) fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value
            .iter()
            .enumerate()
            .all(|(at, byte)| if matches!(at, 8 | 13 | 18 | 23) { *byte == b'-' } else { byte.is_ascii_hexdigit() })
}

/// Shannon entropy per character, in bits.
pub(super) fn shannon_entropy(value: &[u8]) -> f32 {
    let mut counts = [0_u16; 256];
    for byte in value.iter().take(512) {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let total = f32::from(u16::try_from(value.len().clamp(1, 512)).unwrap_or(512));
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f32::from(*count) / total)
        .map(|share| -share * share.log2())
        .sum()
}

/// Whether the body of a token with a prefix is random and not an example.
pub(crate) fn is_token_body(token: &[u8]) -> bool {
    let body_start = token.iter().position(|byte| b"-_.~:".contains(byte)).map_or(0, |at| at + 1);
    let body = token.get(body_start.min(12)..).unwrap_or_default();
    let is_example = [&b"EXAMPLE"[..], b"xxxxxx", b"your-", b"your_", b"_here", b"-here", b"redacted"]
        .iter()
        .any(|word| contains_any_case(token, word));
    // Binary data in base64 also begins so, but has more zero bytes (`AAAA`) later
    if token.starts_with(b"AAAAAAAA") {
        let leading = token.iter().take_while(|byte| **byte == b'A').count();
        let rest = token.get(leading..).unwrap_or_default();
        let counts = ByteCounts::count(rest);
        let has_zeros = rest.windows(4).any(|part| part == b"AAAA");
        return leading <= 22
            && !has_zeros
            && counts.distinct >= 20
            && counts.upper > 4
            && counts.lower > 4
            && counts.digits > 2;
    }
    let counts = ByteCounts::count(body);
    let tail = body.rsplit(|byte| b"-_.~".contains(byte)).next().unwrap_or(body);
    let is_masked = tail.len() > 8 && tail.iter().all(|byte| Some(byte) == tail.first());
    let is_mixed =
        counts.digits > 0 || (counts.upper > 3 && counts.lower > 3) || (counts.len > 20 && !has_normal_vowels(body));
    !is_example && !is_masked && is_mixed && counts.distinct > 5 && !is_wordlike(body)
}

/// Whether a value names a secret rather than being one: `password`, `my_secret`, `userPassword`.
pub(super) fn names_a_secret(value: &[u8]) -> bool {
    let has_only_words = value.iter().all(|byte| byte.is_ascii_alphabetic() || b"-_. ".contains(byte));
    let last_word = value.rsplit(|byte| b"-_. ".contains(byte)).next().unwrap_or_default();
    has_only_words
        && (is_prose_or_code_word(last_word)
            || byte_list!("secrets.secret_name_endings").iter().any(|name| ends_with(value, name)))
}

/// Whether a value is the name of an algorithm or encoding: `HS256`, `aes-256-cbc`, `HmacSHA256`, `utf8`.
pub(super) fn is_algorithm(value: &[u8]) -> bool {
    value.len() <= 24
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_/".contains(byte))
        && byte_list!("secrets.algorithms")
            .iter()
            .any(|prefix| value.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix)))
}

/// Whether a value is a salt as in blog configurations, `define('AUTH_KEY', '…')`: many special characters, perhaps
/// blanks.
pub(super) fn is_salt(value: &[u8], counts: &ByteCounts) -> bool {
    (40..=96).contains(&counts.len)
        && counts.kind_count() == 4
        && counts.distinct >= 22
        && counts.marks >= counts.joints + 6
        && !value.windows(2).any(|part| part == b"  ")
}
