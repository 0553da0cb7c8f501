//! Checks whether a value can be a secret (masked values, variables, types, paths and prose can't), and how random it
//! is. Pure functions with one pass over at most 8 KiB. Keys are in `keys`.

use std::sync::LazyLock;

pub(super) use super::byte_counts::ByteCounts;
use super::key_word_lists::PrefixSet;
use super::randomness::has_normal_vowels;
pub(crate) use super::randomness::is_wordlike;
pub(super) use super::randomness::{is_path, is_random};
use super::templates::{is_broken_template, is_format, is_interpolation, is_variable};
use crate::pairs::ends_with;
use crate::sets::{ByteSet, WordSet};
use crate::wordlists;

/// Words in place of a value, such as "none".
static NO_VALUE_WORDS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("secrets.non_values")));

/// Words of prose and code behind a key, which are passwords only if the notation is unambiguous.
static PROSE_OR_CODE_WORDS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("secrets.prose_words")));

/// Words of sentences.
static SENTENCE_WORDS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("secrets.sentence_words")));

/// Whether a value is a sentence rather than a passphrase.
pub(super) fn is_prose(value: &[u8]) -> bool {
    value.split(|byte| !byte.is_ascii_alphabetic() && *byte != b'\'').any(|word| SENTENCE_WORDS.contains(word))
}

/// Whether a value is a sentence in any language: it begins with a capital, has several words, and ends with
/// punctuation.
pub(super) fn is_sentence(value: &[u8], look: &ByteCounts) -> bool {
    let begins = value.first().is_some_and(|byte| byte.is_ascii_uppercase() || !byte.is_ascii());
    look.blanks >= 4 && begins && value.last().is_some_and(|byte| b".!?".contains(byte))
}

/// Prefixes of values that only say where the secret is stored.
static STORED_ELSEWHERE: LazyLock<PrefixSet> =
    LazyLock::new(|| PrefixSet::new(wordlists::lines("secrets.reference_prefixes")));

/// Words in a value that mark it as an example.
static PLACEHOLDERS: LazyLock<PrefixSet> = LazyLock::new(|| PrefixSet::new(wordlists::lines("secrets.placeholders")));

/// Whether a value is already hidden or missing: `***`, `${X}`, `<token>`, `null`, `process.env.X`.
pub(super) fn cannot_be_secret(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let (Some(first), Some(last)) = (value.first(), value.last()) else { return true };
    if is_broken_template(value) {
        return false;
    }
    let alike = value.iter().all(|byte| byte == first);
    let starred = || value.iter().filter(|byte| matches!(byte, b'*' | b'x' | b'X')).count() * 2 > value.len() + 2;
    let within = |a: u8, b: u8| *first == a && *last == b;
    let windows = within(b'%', b'%') || (*first == b'%' && value.len() <= 3);
    let braces =
        within(b'{', b'}') || within(b'<', b'>') || within(b'[', b']') || within(b'(', b')') || within(b'#', b'#');
    let typed = value.starts_with(b"<")
        || value.starts_with(b"&lt;")
        || value.starts_with(b"${")
        || value.starts_with(b"#{")
        || value.starts_with(b"@{");
    let filled = memchr::memchr(b'{', value).is_some_and(|at| {
        let rest = value.get(at + 1..).unwrap_or_default();
        let name =
            rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_' || **byte == b'.').count();
        name > 1 && rest.get(name) == Some(&b'}') && rest.first().is_some_and(u8::is_ascii_alphabetic)
    });
    // `"password: " + x + ","`: the text between two strings
    let concatenated = value.starts_with(b"+ ") || value.ends_with(b" +") || value.starts_with(b".$");
    // A number in source code: `ERR_TOKEN = 0x80041064`
    let number = value.len() <= 18
        && (value.starts_with(b"0x") || value.starts_with(b"0X"))
        && value.iter().skip(2).all(u8::is_ascii_hexdigit);
    // '"'$PASSWORD'"'
    let shell = value.starts_with(b"'$");
    alike
        || concatenated
        || number
        || shell
        || filled
        || starred()
        || matches!(first, b'$' | b'\\') && is_variable(value)
        || windows
        || braces
        || typed
        || is_no_value_word(value)
        || STORED_ELSEWHERE.matches_start(value)
        || has_placeholder(value)
        || *last == b'}' && is_format(value)
}

/// Whether a value is a package version: `1:4.13+dfsg1-1`, `0.0~git20220621.cb9428e`, `v1.2.3`.
pub(super) fn is_version(value: &[u8]) -> bool {
    let bare = value.strip_prefix(b"v").unwrap_or(value);
    let digits = bare.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let parted = bare.get(digits).is_some_and(|byte| b".:".contains(byte));
    (1..=4).contains(&digits)
        && parted
        && bare.get(digits + 1).is_some_and(u8::is_ascii_digit)
        && bare.len() <= 48
        && bare.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".:+~-_".contains(byte))
}

/// Whether a value is a word of prose or code.
pub(super) fn is_prose_or_code_word(value: &[u8]) -> bool {
    PROSE_OR_CODE_WORDS.contains(value)
}

pub(super) fn is_no_value_word(value: &[u8]) -> bool {
    // Swift's `String!`, `String?`
    NO_VALUE_WORDS.contains(value.strip_suffix(b"!").or_else(|| value.strip_suffix(b"?")).unwrap_or(value))
}

fn has_placeholder(value: &[u8]) -> bool {
    let head = value.get(..value.len().min(160)).unwrap_or_default();
    head.iter().enumerate().filter(|(_, byte)| BEGIN_PLACEHOLDERS.contains(**byte)).any(|(at, _)| {
        let rest = head.get(at..).unwrap_or_default();
        if let [b'%' | b'$', b'(', inner @ ..] = rest {
            return is_interpolation(rest, inner);
        }
        PLACEHOLDERS.matches_start(rest)
    })
}

/// First bytes of [`PLACEHOLDERS`], in both cases.
static BEGIN_PLACEHOLDERS: ByteSet = ByteSet::new(b"yYpPrRiI<xX_-aAgGfFtTdD*${}.%\xe2");

/// Whether `text` contains `word`, ignoring case.
pub(super) fn contains_any_case(text: &[u8], word: &[u8]) -> bool {
    let Some(first) = word.first() else { return false };
    text.windows(word.len().max(1)).any(|part| {
        part.first().is_some_and(|byte| byte.eq_ignore_ascii_case(first)) && part.eq_ignore_ascii_case(word)
    })
}

/// Whether a value is a Twilio id (`AC…`, `SM…`): two capitals and 32 hex digits.
pub(super) fn is_twilio_id(value: &[u8]) -> bool {
    let hex = |byte: &u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
    value
        .split_at_checked(2)
        .is_some_and(|(kind, id)| kind.iter().all(u8::is_ascii_uppercase) && id.len() == 32 && id.iter().all(hex))
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
    let parted = token.iter().position(|byte| b"-_.~:".contains(byte)).map_or(0, |at| at + 1);
    let body = token.get(parted.min(12)..).unwrap_or_default();
    let hidden = [&b"EXAMPLE"[..], b"xxxxxx", b"your-", b"your_", b"_here", b"-here", b"redacted"]
        .iter()
        .any(|word| contains_any_case(token, word));
    // Zero bytes in base64 also begin so; few of them are isolated
    if token.starts_with(b"AAAAAAAA") {
        let lead = token.iter().take_while(|byte| **byte == b'A').count();
        let rest = token.get(lead..).unwrap_or_default();
        let look = ByteCounts::count(rest);
        let zeros = rest.windows(4).any(|part| part == b"AAAA");
        return lead <= 22 && !zeros && look.distinct >= 20 && look.upper > 4 && look.lower > 4 && look.digits > 2;
    }
    let look = ByteCounts::count(body);
    let tail = body.rsplit(|byte| b"-_.~".contains(byte)).next().unwrap_or(body);
    let masked = tail.len() > 8 && tail.iter().all(|byte| Some(byte) == tail.first());
    let mixed = look.digits > 0 || (look.upper > 3 && look.lower > 3) || (look.len > 20 && !has_normal_vowels(body));
    !hidden && !masked && mixed && look.distinct > 5 && !is_wordlike(body)
}

/// Whether a value names a secret rather than being one: `password`, `my_secret`, `userPassword`.
pub(super) fn names_a_secret(value: &[u8]) -> bool {
    static NAMES: LazyLock<Vec<&[u8]>> = LazyLock::new(|| wordlists::bytes("secrets.secret_name_endings"));
    let plain = value.iter().all(|byte| byte.is_ascii_alphabetic() || b"-_. ".contains(byte));
    let last = value.rsplit(|byte| b"-_. ".contains(byte)).next().unwrap_or_default();
    plain && (is_prose_or_code_word(last) || NAMES.iter().any(|name| ends_with(value, name)))
}

/// Whether a value is the name of an algorithm or encoding: `HS256`, `aes-256-cbc`, `HmacSHA256`, `utf8`.
pub(super) fn is_algorithm(value: &[u8]) -> bool {
    static BEGIN: LazyLock<Vec<&[u8]>> = LazyLock::new(|| wordlists::bytes("secrets.algorithms"));
    value.len() <= 24
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_/".contains(byte))
        && BEGIN.iter().any(|begin| value.get(..begin.len()).is_some_and(|head| head.eq_ignore_ascii_case(begin)))
}

/// Whether a value is a salt as in blog configurations, `define('AUTH_KEY', '…')`: many special characters, perhaps
/// blanks.
pub(super) fn is_salt(value: &[u8], look: &ByteCounts) -> bool {
    (40..=96).contains(&look.len)
        && look.class_count() == 4
        && look.distinct >= 22
        && look.marks >= look.joints + 6
        && !value.windows(2).any(|part| part == b"  ")
}
