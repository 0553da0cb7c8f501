//! Recognises opaque values, which hold no words: numbers, dates, hashes and generated ids. On an agent's item such a
//! value stays under any key. Text encoded as hexadecimal or base64 is still text, and a name followed by a number is
//! still a name.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use regex_automata::meta::{Config, Regex};
use regex_automata::util::syntax;

use super::words::lists::{LISTS, OpaqueKind};
use super::words::split::split_words;

#[cfg(test)]
mod tests;

/// Maximum size of an opaque value, bytes.
const MAX_BYTES: usize = 128;
/// Minimum length of a generated id, in characters.
const MIN_GENERATED_ID: usize = 12;
/// A generated id with digits has at least one digit per this many characters.
const MAX_CHARS_PER_DIGIT: usize = 8;
/// Minimum length of a generated id without digits, in characters.
const MIN_LETTERS_ONLY_ID: usize = 20;
/// This many lower-case letters in a row are a word.
const MIN_WORD_LETTERS: usize = 5;
/// Maximum length of a form that is a word (`-infinity`), and minimum length of an id's form that may have no digit (a
/// UUID), in characters.
const MAX_WORD_FORM: usize = 9;
const MIN_LETTER_FORM: usize = 36;
/// Minimum length of a whole value, and of a piece of one, to be recognised as encoded text, in characters.
const MIN_ENCODED_VALUE: usize = 8;
const MIN_ENCODED_PIECE: usize = 16;

/// Number of base64 digits that are decoded first.
const HEAD: usize = 16;

/// Placeholders that clients write where content capture was switched off.
const PLACEHOLDERS: [&str; 5] = ["<REDACTED>", "[REDACTED]", "[redacted]", "__REDACTED__", kernel::CONTENT];

/// Returns true if the content was already removed by the client or by an earlier gateway.
pub(super) fn is_placeholder(text: &str) -> bool {
    PLACEHOLDERS.contains(&text)
}

pub(super) fn is_opaque(text: &str) -> bool {
    text.is_empty() || is_placeholder(text) || opaque_kind(text).is_some()
}

/// Returns true for a number, date, version or address, with or without a prefix that names its kind (`page-12`). The
/// exact value may identify a person.
pub fn is_number(text: &str) -> bool {
    opaque_kind(text) == Some(OpaqueKind::Number)
}

fn opaque_kind(text: &str) -> Option<OpaqueKind> {
    if text.len() > MAX_BYTES || !text.is_ascii() {
        return None;
    }
    let prefixed = text.split_once(['_', '-', ':']).filter(|(prefix, _)| LISTS.id_prefixes.contains(prefix));
    unprefixed_kind(text, false).or_else(|| prefixed.and_then(|(_, rest)| unprefixed_kind(rest, true)))
}

/// `had_prefix`: a prefix in front of `text` was removed.
fn unprefixed_kind(text: &str, had_prefix: bool) -> Option<OpaqueKind> {
    let may_be_address = || text.contains("::") || text.matches(':').count() == 7 || text.starts_with('[');
    let is_address = || may_be_address() && (text.parse::<Ipv6Addr>().is_ok() || text.parse::<SocketAddrV6>().is_ok());
    let kind = match_form(text)
        .or_else(|| is_generated(text, had_prefix).then_some(OpaqueKind::Id))
        .or_else(|| is_address().then_some(OpaqueKind::Number))?;
    (kind == OpaqueKind::Word || !is_encoded_text(text)).then_some(kind)
}

/// The first matching form. If the patterns did not compile, no text would match; a test checks that they do.
fn match_form(text: &str) -> Option<OpaqueKind> {
    static PATTERNS: LazyLock<Option<(Regex, Vec<OpaqueKind>)>> = LazyLock::new(|| {
        let forms = LISTS.forms.iter().flat_map(|(kind, forms)| forms.iter().map(|form| (*kind, form.as_str())));
        let (kinds, forms): (_, Vec<&str>) = forms.unzip();
        // Only ASCII text is matched here, so Unicode digits are left out.
        let syntax = syntax::Config::new().unicode(false).utf8(false);
        let patterns = Regex::builder().configure(Config::new().utf8_empty(false)).syntax(syntax).build_many(&forms);
        Some((patterns.ok()?, kinds))
    });
    // Without a digit only short words and long ids have a form.
    if (MAX_WORD_FORM + 1..MIN_LETTER_FORM).contains(&text.len()) && !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (patterns, kinds) = PATTERNS.as_ref()?;
    kinds.get(patterns.find(text)?.pattern().as_usize()).copied()
}

/// Returns true for a generated id: a mix of letters and digits that words do not have. After a prefix such as `call_`
/// letters alone can be an id.
fn is_generated(text: &str, had_prefix: bool) -> bool {
    let in_alphabet = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if !in_alphabet || text.len() < MIN_GENERATED_ID {
        return false;
    }
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    let class = |byte: &u8| (byte.is_ascii_digit(), byte.is_ascii_uppercase(), byte.is_ascii_lowercase());
    let changes = text.as_bytes().chunk_by(|one, other| class(one) == class(other)).count();
    let enough_digits =
        (had_prefix && text.len() >= MIN_LETTERS_ONLY_ID) || (digits > 0 && digits * MAX_CHARS_PER_DIGIT >= text.len());
    // In random text over 62 characters three in five characters begin a run.
    let mixed = 2 * changes > text.len() || (3 * changes > text.len() && digits > 2);
    enough_digits && letters > 0 && mixed && !has_word(text) && 4 * count_word_letters(text) < 3 * letters.max(2)
}

/// Returns true if some letters in a row form a word: five lower-case letters, more than ten capitals, or a whole piece
/// between separators.
fn has_word(text: &str) -> bool {
    let lower_word = text.split(|c: char| !c.is_ascii_lowercase()).any(|run| run.len() >= MIN_WORD_LETTERS);
    let upper_word = text.split(|c: char| !c.is_ascii_uppercase()).any(|run| run.len() > 2 * MIN_WORD_LETTERS);
    // In `John_Smith_1985` each word is a whole piece.
    let is_piece = |piece: &str| piece.len() > 2 && count_word_letters(piece) == piece.len();
    lower_word || upper_word || text.split(['-', '_']).any(is_piece)
}

/// Number of letters in word-like runs (`Xyz`, `xyz`, `XYZ`) of at least three. In random text over 62 characters half
/// of the letters are in such runs; in one id of ten, three quarters.
fn count_word_letters(text: &str) -> usize {
    split_words(text).map(str::len).filter(|length| *length > 2).sum()
}

/// Returns true if hexadecimal or base64 digits decode to text.
pub(super) fn is_encoded_text(text: &str) -> bool {
    let bare = text.trim_start_matches("0x").trim_end_matches('=');
    let whole = (bare.len() >= MIN_ENCODED_VALUE).then_some(bare);
    // A text of one piece is judged as a whole.
    let is_piece = |piece: &&str| piece.len() >= MIN_ENCODED_PIECE && piece.len() < bare.len();
    let pieces = bare.split(|c: char| !c.is_ascii_alphanumeric()).filter(is_piece);
    let is_grouped = || bare.bytes().all(|byte| byte.is_ascii_hexdigit() || !byte.is_ascii_alphanumeric());
    let is_joined_text = || {
        let joined: String = bare.chars().filter(char::is_ascii_hexdigit).collect();
        joined.len() >= MIN_ENCODED_VALUE && joined.len() < bare.len() && is_hex_text(&joined)
    };
    whole.into_iter().chain(pieces).any(|digits| is_hex_text(digits) || is_base64_text(digits))
        || (is_grouped() && is_joined_text())
}

fn is_hex_text(digits: &str) -> bool {
    // An extra digit in front shifts all that follow.
    [digits, digits.get(1..).unwrap_or_default()].into_iter().any(|digits| {
        let (pairs, _) = digits.as_bytes().as_chunks::<2>();
        // Nothing is allocated for the texts that are no hexadecimal digits, or digits of no text.
        pairs.iter().all(|pair| {
            hex_byte(*pair).is_some_and(|byte| !byte.is_ascii_control() || char::from(byte).is_whitespace())
        }) && is_words(&pairs.iter().filter_map(|pair| hex_byte(*pair)).collect::<Vec<u8>>())
    })
}

/// The byte of two digits, or of a plus sign and a digit.
fn hex_byte([high, low]: [u8; 2]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let high = if high == b'+' { 0 } else { digit(high)? };
    Some((high << 4) | digit(low)?)
}

fn is_base64_text(digits: &str) -> bool {
    // Only groups of four digits are whole bytes.
    let whole = digits.get(..digits.len() / 4 * 4).unwrap_or_default();
    let has = |one, other| memchr::memchr2(one, other, whole.as_bytes()).is_some();
    let engine = match (has(b'+', b'/'), has(b'-', b'_')) {
        (true, true) => return false,
        (false, true) => &URL_SAFE_NO_PAD,
        (_, false) => &STANDARD_NO_PAD,
    };
    whole.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte))
        && whole.get(..HEAD).is_none_or(|head| may_begin_words(engine, head))
        && engine.decode(whole).is_ok_and(|bytes| is_words(&bytes))
}

/// Whether the first digits decode to text, which those of ids do not. Nothing is allocated.
fn may_begin_words(engine: &impl Engine, head: &str) -> bool {
    let mut bytes = [0; HEAD / 4 * 3];
    let is_text = |bytes: &[u8]| std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true);
    engine.decode_slice(head, &mut bytes).is_ok() && is_text(&bytes)
}

/// Returns true if the bytes are printable and at least half of them are letters and blanks.
fn is_words(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (chars, letters) = (text.chars().count(), text.chars().filter(|c| c.is_alphabetic() || *c == ' ').count());
    chars > 3 && !text.chars().any(|c| c.is_control() && !c.is_whitespace()) && 2 * letters >= chars
}
