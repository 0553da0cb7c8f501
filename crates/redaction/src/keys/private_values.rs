//! Decides which part of a key's value is private: all of it, unless it means "no value" or describes a value, because
//! tool definitions, schemas and templates have the same keys as records. At most [`LONGEST`] bytes are read. `table`
//! has the keys.

use std::ops::Range;
use std::sync::LazyLock;

use crate::sets::{ByteSet, WordSet};

use super::json_tree::ValueForm;
use super::table::SiblingEvidence;
use crate::names::name_cues::is_organisation_word;
use crate::names::name_lists;
use crate::names::name_shape;
use crate::rule::KeyValueForm;
use crate::validate::phones::is_filler_number;
use crate::wordlists;

/// Blanks around a value.
static BLANKS: ByteSet = ByteSet::new(b" \t\r\n");
/// Longest single value, in bytes; anything longer is text for other rules.
pub(super) const LONGEST: usize = 300;

/// Returns the private part of the value at `range`, if it is acceptable for the kind `value`.
pub(super) fn private_part(
    text: &str,
    range: Range<usize>,
    value: KeyValueForm,
    kind: ValueForm,
    beside: SiblingEvidence,
) -> Option<Range<usize>> {
    let all = text.get(range.clone())?;
    let lead = BLANKS.count_leading(all.as_bytes());
    let inner = all.get(lead..all.len() - BLANKS.count_trailing(all.as_bytes())).unwrap_or("");
    if inner.is_empty() || inner.len() > LONGEST {
        return None;
    }
    let start = range.start + lead;
    let range = start..start + inner.len();
    let wanted = !is_missing(inner)
        && match value {
            KeyValueForm::Any => !is_description(inner),
            KeyValueForm::Words => is_plain_words(inner) || is_booking_name(inner),
            KeyValueForm::Name => kind == ValueForm::Text && is_name(inner, false),
            KeyValueForm::Listed => kind == ValueForm::Text && is_name(inner, true),
            KeyValueForm::Street => kind == ValueForm::Text && is_street(inner, beside),
            KeyValueForm::Code => is_code(inner),
            KeyValueForm::Digits => {
                count_digits(inner) >= 3 && inner.chars().all(|c| c.is_ascii_digit() || " -/.*xX".contains(c))
            }
            KeyValueForm::Card => {
                (12..20).contains(&count_digits(inner)) && inner.chars().all(|c| c.is_ascii_digit() || " -".contains(c))
            }
            KeyValueForm::Date => is_date(inner),
            KeyValueForm::Phone => {
                count_digits(inner) >= 6
                    && !is_filler_number(inner)
                    && inner.chars().filter(char::is_ascii_alphabetic).count() < 6
                    && inner.len() < 40
            }
            KeyValueForm::Email => inner.contains('@') && !inner.contains([' ', '<', '/']) && inner.len() > 3,
        };
    wanted.then_some(range)
}

fn count_digits(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_digit).count()
}

/// Words that mean "no value", and names of types.
static NONE: LazyLock<WordSet> = LazyLock::new(|| WordSet::from_words(wordlists::lines("keys.non_values")));

/// Whether a value is missing: a word for that, a template, a mask, or a reference.
fn is_missing(text: &str) -> bool {
    let bytes = text.as_bytes();
    let first = bytes.first().copied().unwrap_or(b' ');
    let last = bytes.last().copied().unwrap_or(b' ');
    let framed = matches!((first, last), (b'<', b'>') | (b'{', b'}') | (b'[', b']') | (b'%', b'%') | (b'(', b')'));
    let template = |two: &[u8]| matches!(two, b"${" | b"{{" | b"<%" | b"#{");
    let templated = memchr::memchr2(b'{', b'%', bytes).is_some() && bytes.windows(2).any(template);
    let reference = matches!(first, b'$' | b'%' | b'{' | b'#') && !bytes.contains(&b' ');
    let letters = text.bytes().any(|byte| byte.is_ascii_alphanumeric()) || text.chars().any(char::is_alphanumeric);
    framed || templated || reference || !letters || NONE.contains(text)
}

/// Words that occur in descriptions of a value, but not in values.
static DESCRIBING: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("keys.description_words")));

/// Whether a text describes a value.
fn is_description(text: &str) -> bool {
    let code = text.contains("://") || text.contains("()") || text.contains("=>") || text.contains("::");
    let words = text.split_ascii_whitespace().count();
    let describing = |word: &str| DESCRIBING.contains(word) && !word.bytes().any(|byte| byte.is_ascii_uppercase());
    let telling = text.split_ascii_whitespace().filter(|word| describing(word.trim_end_matches(','))).count();
    code || words > 12 || telling > 1 || (telling == 1 && words > 2)
}

/// Whether an unquoted value is a name rather than an identifier of code.
pub(super) fn is_plain_name(text: &str) -> bool {
    let first = text.split([' ', '+', '-']).next().unwrap_or("");
    if name_lists::may_be_given_name(text) {
        return true;
    }
    let read = name_shape::read_name(text, title_len(text));
    read.is_some_and(|name| name.range.end == text.len() && (!name.common || name.given))
        || (name_lists::is_lower_given_name(first)
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || b" +-'".contains(&byte)))
}

/// Whether a text behind a label such as `Name:` is a name: two to four capitalised words, none from an organisation's
/// name.
pub(super) fn is_labelled_name(text: &str) -> bool {
    let last = text.rsplit(' ').next().unwrap_or("");
    let first = text.split(' ').next().unwrap_or("");
    let counts = (2..5).contains(&text.split(' ').count());
    let plain = |word: &str| {
        word.starts_with(char::is_uppercase) && word.chars().all(|c| c.is_alphabetic() || "-'.’".contains(c))
    };
    counts
        && text.split(' ').all(|word| plain(word) && !is_organisation_word(word))
        && (name_lists::is_given_name(first) || !name_lists::is_common_word(last))
}

/// `Doe, Jane A.`, as in lists and forms: a listed given name behind a family name.
pub(super) fn is_family_name_first(text: &str) -> bool {
    text.contains(", ") && is_name(text, true)
}

/// `DOE/JANE`, `DOE/JANE MR`, as in travel bookings.
fn is_booking_name(text: &str) -> bool {
    let Some((family, given)) = text.split_once('/') else { return false };
    let capitals = |part: &str| part.len() > 1 && part.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b' ');
    let first = given.split(' ').next().unwrap_or("");
    let known = ["", "MR", "MRS", "MS", "DR"]
        .iter()
        .any(|title| first.strip_suffix(title).is_some_and(name_lists::is_given_name));
    capitals(family) && capitals(given) && known
}

/// Whether a text is a few words without signs of code.
fn is_plain_words(text: &str) -> bool {
    // `Kozey370`, as generated records have it
    let name = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let made =
        (2..5).contains(&(text.len() - name.len())) && name.len() > 2 && name.chars().skip(1).all(char::is_lowercase);
    let text = if made && name.starts_with(char::is_uppercase) { name } else { text };
    let odd = text.chars().any(|c| c.is_ascii_digit() || "_/\\@=<>{}[]|#$%^&*:;?!".contains(c));
    !odd && !is_description(text)
        && text.split_ascii_whitespace().count() <= 6
        && text.chars().filter(|c| c.is_alphabetic()).count() > 1
}

/// Whether a whole text looks like one person's name. `listed`: its first word must be a known given name.
fn is_name(text: &str, listed: bool) -> bool {
    // `Family, Given`. Most texts have no comma, and searching one byte is cheaper
    let comma = text.contains(',').then(|| text.split_once(", ")).flatten();
    let (text, turned) = match comma {
        Some((family, given)) => match (name_shape::read_name(family, 0), name_shape::read_name(given, 0)) {
            // More words are a sentence
            (Some(_), Some(name)) if name.given && (name.range.end == given.len() || is_labelled_name(given)) => {
                (family, true)
            }
            _ => return false,
        },
        None => (text, false),
    };
    if text.contains('/') {
        return is_booking_name(text);
    }
    let text = text.trim_start_matches('@');
    if text.bytes().any(|byte| !byte.is_ascii()) && !text.chars().any(|c| c.is_lowercase() || c.is_ascii()) {
        // A script without capital letters
        return !listed
            && text.chars().all(|c| c.is_alphabetic() || " ·・'-".contains(c))
            && text.chars().count() <= 24;
    }
    let at = title_len(text);
    let Some(name) = name_shape::read_name(text, at) else {
        return !listed && !turned && is_lower_name(text);
    };
    let whole = name.range.end == text.len();
    let maybe = || {
        let first = text.split(' ').next().unwrap_or("");
        name_lists::may_be_given_name(first) && !is_organisation_word(text.rsplit(' ').next().unwrap_or(""))
    };
    (whole && (turned || name.given || maybe() || (!listed && !name.common && name.words > 1)))
        || (!listed && !turned && !name.common && is_unlisted_name(text))
}

/// Whether a text is two or three capitalised words, none of which ends an organisation's name.
fn is_unlisted_name(text: &str) -> bool {
    let words = text.split(' ').count();
    let plain = |word: &str| {
        word.starts_with(char::is_uppercase)
            && word.chars().skip(1).all(|c| c.is_lowercase())
            && !is_organisation_word(word)
    };
    (2..4).contains(&words) && text.split(' ').all(plain)
}

/// `jane doe`: all in lower case, beginning with a given name.
fn is_lower_name(text: &str) -> bool {
    let mut words = text.split(' ');
    let first = words.next().unwrap_or("");
    let rest = words.clone().count();
    (1..4).contains(&rest)
        && name_lists::is_lower_given_name(first)
        && words.all(|word| {
            word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_lowercase()) && !name_lists::is_common_word(word)
        })
}

fn title_len(text: &str) -> usize {
    static IN_TITLE: ByteSet = ByteSet::new(b" .").complement();
    let word = text.get(..IN_TITLE.count_leading(text.as_bytes())).unwrap_or("");
    if !name_shape::TITLES.contains(word) {
        return 0;
    }
    let behind = text.get(word.len()..).unwrap_or("");
    let blanks = behind.len() - behind.trim_start_matches(['.', ' ']).len();
    if blanks > 0 { word.len() + blanks } else { 0 }
}

/// Whether a text may be a postal address: letters, a blank, and a digit or several capitalised words.
fn is_street(text: &str, _beside: SiblingEvidence) -> bool {
    let call = || text.as_bytes().windows(2).any(|two| matches!(two, [a, b'('] if a.is_ascii_alphanumeric()));
    let code = text.contains("://") || text.contains('@') || text.starts_with("0x") || call();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let blank = text.contains([' ', '\u{3000}', ',', '\\']) || !text.is_ascii();
    let digit = text.chars().any(char::is_numeric);
    let capital = text.split([' ', ',']).filter(|word| word.starts_with(char::is_uppercase)).count();
    !code && letters >= 2 && blank && !is_description(text) && (digit || capital > 1 || !text.is_ascii())
}

/// Classes of an id's bytes as bits, for one look-up each.
mod class {
    pub(super) const ALNUM: u8 = 1;
    pub(super) const DIGIT: u8 = 2;
    pub(super) const MASK: u8 = 4;
    pub(super) const BLANK: u8 = 8;
    pub(super) const HIGH: u8 = 16;
    /// Characters of code, which do not occur in ids.
    pub(super) const CODE: u8 = 32;

    pub(super) static CLASSES: [u8; 256] = class_table();

    const fn class_table() -> [u8; 256] {
        let mut classes = [0; 256];
        let (mut slots, mut byte): (&mut [u8], u8) = (&mut classes, 0);
        while let [slot, rest @ ..] = slots {
            *slot = class_of_byte(byte);
            slots = rest;
            byte = byte.wrapping_add(1);
        }
        classes
    }

    const fn class_of_byte(byte: u8) -> u8 {
        let digit = if byte.is_ascii_digit() { DIGIT } else { 0 };
        let alnum = if byte.is_ascii_alphanumeric() { ALNUM } else { 0 };
        let other = match byte {
            b'*' | b'X' => MASK,
            b'(' | b'=' | b'{' | b'<' => CODE,
            _ if byte.is_ascii_whitespace() => BLANK,
            _ if !byte.is_ascii() => HIGH,
            _ => 0,
        };
        digit | alnum | other
    }
}

/// Whether a text may be an id: at least five letters or digits (three if it is masked), one of them a digit, in at
/// most eight words.
fn is_code(text: &str) -> bool {
    if text.len() > 64 {
        return false;
    }
    let (mut ascii, mut seen) = (0, 0);
    for byte in text.bytes() {
        let class = class::CLASSES.get(usize::from(byte)).copied().unwrap_or_default();
        ascii += usize::from(class & class::ALNUM);
        seen |= class;
    }
    let has = |class: u8| seen & class != 0;
    let wide = || text.chars().filter(|c| !c.is_ascii() && c.is_alphanumeric()).count();
    let alnum = if has(class::HIGH) { ascii + wide() } else { ascii };
    let masked = has(class::MASK) && (text.contains("**") || text.contains("XXX"));
    !has(class::CODE)
        && alnum >= if masked { 3 } else { 5 }
        && (has(class::DIGIT) || masked)
        && (!has(class::BLANK) || text.split_ascii_whitespace().count() <= 8)
}

/// Whether a text may be a date: at least two digits in a short text of few words.
fn is_date(text: &str) -> bool {
    count_digits(text) >= 2 && text.len() <= 40 && text.split_ascii_whitespace().count() <= 6
}
