//! Decides which part of a key's value is private: all of it, unless it means "no value" or describes a value, because
//! tool definitions, schemas and templates have the same keys as records. At most [`LONGEST`] bytes are read. `table`
//! has the keys.

use std::ops::Range;

use super::table::{KeyMatch, KeyRule, SiblingEvidence};
use crate::scan::TextScan;
use crate::sets::{ByteSet, WordSet};

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

/// Claims the part of a value that `accept` returns for the first of its key's rules. `is_bare`: the value has no
/// quotes in JSON, so that its placeholder needs them.
pub(super) fn claim_first(
    scan: &TextScan<'_>,
    key_match: KeyMatch<'_>,
    range: Range<usize>,
    is_bare: bool,
    mut accept: impl FnMut(&KeyRule, Range<usize>) -> Option<Range<usize>>,
) {
    // In a second pass, most values are placeholders
    let blanks = scan.bytes(range.clone()).iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    if scan.is_in_placeholder(range.start + blanks) {
        return;
    }
    let mut rules = key_match.rules(SiblingEvidence::all());
    let Some((rule, range)) = rules.find_map(|rule| Some((rule.rule, accept(rule, range.clone())?))) else { return };
    let is_number = |bytes: &[u8]| bytes.iter().all(|byte| byte.is_ascii_digit() || b".-+".contains(byte));
    if is_bare && is_number(scan.bytes(range.clone())) {
        scan.claim_bare(rule, range);
    } else {
        scan.claim(rule, range);
    }
}

/// Returns the private part of the value at `range`, if it has the form that its key's rule accepts.
pub(super) fn private_part(
    text: &str,
    range: Range<usize>,
    accepted: KeyValueForm,
    is_bare: bool,
) -> Option<Range<usize>> {
    let value = text.get(range.clone())?;
    let blanks = BLANKS.count_leading(value.as_bytes());
    let inner = value.get(blanks..value.len() - BLANKS.count_trailing(value.as_bytes())).unwrap_or("");
    if inner.is_empty() || inner.len() > LONGEST {
        return None;
    }
    let start = range.start + blanks;
    let range = start..start + inner.len();
    let digits = count_digits(inner);
    let has_only_digits_and = |marks: &str| inner.chars().all(|c| c.is_ascii_digit() || marks.contains(c));
    // `$96,500` is no reference
    let without_currency = if accepted == KeyValueForm::Amount { inner.trim_start_matches('$') } else { inner };
    let is_private = !is_missing(without_currency)
        && match accepted {
            KeyValueForm::Any => !is_description(inner),
            KeyValueForm::Words => is_plain_words(inner),
            KeyValueForm::Name => !is_bare && is_name(inner, false),
            KeyValueForm::Listed => !is_bare && is_name(inner, true),
            KeyValueForm::Street => !is_bare && is_street(inner),
            KeyValueForm::Code => is_code(inner),
            KeyValueForm::Digits => digits >= 3 && has_only_digits_and(" -/.*xX"),
            KeyValueForm::Card => (12..20).contains(&digits) && has_only_digits_and(" -"),
            KeyValueForm::Date => digits >= 2 && inner.len() <= 40 && inner.split_ascii_whitespace().count() <= 6,
            KeyValueForm::Phone => {
                digits >= 6
                    && !is_filler_number(inner)
                    && inner.chars().filter(char::is_ascii_alphabetic).count() < 6
                    && inner.len() < 40
            }
            KeyValueForm::Email => inner.contains('@') && !inner.contains([' ', '<', '/']) && inner.len() > 3,
            KeyValueForm::Amount => is_amount(inner),
            KeyValueForm::Trait => is_trait(inner),
        };
    is_private.then_some(range)
}

pub(super) fn count_digits(text: &str) -> usize {
    text.bytes().filter(u8::is_ascii_digit).count()
}

/// Whether a value is missing: a word for that, a template, a mask, or a reference.
fn is_missing(text: &str) -> bool {
    let bytes = text.as_bytes();
    let first = bytes.first().copied().unwrap_or(b' ');
    let last = bytes.last().copied().unwrap_or(b' ');
    let is_framed = matches!((first, last), (b'<', b'>') | (b'{', b'}') | (b'[', b']') | (b'%', b'%') | (b'(', b')'));
    let begins_template = |two: &[u8]| matches!(two, b"${" | b"{{" | b"<%" | b"#{");
    let has_template = memchr::memchr2(b'{', b'%', bytes).is_some() && bytes.windows(2).any(begins_template);
    let is_reference = matches!(first, b'$' | b'%' | b'{' | b'#') && !bytes.contains(&b' ');
    let has_alphanumeric =
        text.bytes().any(|byte| byte.is_ascii_alphanumeric()) || text.chars().any(char::is_alphanumeric);
    let words = once!(WordSet, WordSet::from_words(wordlists::lines("keys.non_values")));
    is_framed || has_template || is_reference || !has_alphanumeric || words.contains(text)
}

/// Whether a text describes a value.
fn is_description(text: &str) -> bool {
    let is_code = text.contains("://") || text.contains("()") || text.contains("=>") || text.contains("::");
    let words = text.split_ascii_whitespace().count();
    let is_describing = |word: &str| {
        word_set!("keys.description_words").contains(word) && !word.bytes().any(|byte| byte.is_ascii_uppercase())
    };
    let describing_words =
        text.split_ascii_whitespace().filter(|word| is_describing(word.trim_end_matches(','))).count();
    is_code || words > 12 || describing_words > 1 || (describing_words == 1 && words > 2)
}

/// Whether an unquoted value is a name rather than an identifier of code.
pub(super) fn is_plain_name(text: &str) -> bool {
    let first_word = text.split([' ', '+', '-']).next().unwrap_or("");
    if name_lists::may_be_given_name(text) {
        return true;
    }
    let found = name_shape::read_name(text, 0);
    found.is_some_and(|name| name.range.end == text.len() && (!name.starts_with_common_word || name.has_given_name))
        || (name_lists::is_lower_given_name(first_word)
            && text.bytes().all(|byte| byte.is_ascii_lowercase() || b" +-'".contains(&byte)))
}

/// `Doe, Jane A.`, as in lists and forms: a listed given name after a family name.
pub(super) fn is_family_name_first(text: &str) -> bool {
    text.contains(", ") && is_name(text, true)
}

/// Whether a text is a few words without signs of code.
fn is_plain_words(text: &str) -> bool {
    // `Kozey370`, as generated records have it
    let name = text.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_generated =
        (2..5).contains(&(text.len() - name.len())) && name.len() > 2 && name.chars().skip(1).all(char::is_lowercase);
    let text = if is_generated && name.starts_with(char::is_uppercase) { name } else { text };
    let has_other_characters = text.chars().any(|c| c.is_ascii_digit() || "_/\\@=<>{}[]|#$%^&*:;?!".contains(c));
    !has_other_characters
        && !is_description(text)
        && text.split_ascii_whitespace().count() <= 6
        && text.chars().filter(|c| c.is_alphabetic()).count() > 1
}

/// Whether a whole text looks like one person's name. `must_be_listed`: its first word must be a known given name.
fn is_name(text: &str, must_be_listed: bool) -> bool {
    // `Family, Given`. Most texts have no comma, and searching one byte is cheaper
    let comma_parts = text.contains(',').then(|| text.split_once(", ")).flatten();
    let (text, is_family_first) = match comma_parts {
        Some((family, given)) => match (name_shape::read_name(family, 0), name_shape::read_name(given, 0)) {
            // More words are a sentence
            (Some(_), Some(name)) if name.has_given_name && name.range.end == given.len() => (family, true),
            _ => return false,
        },
        None => (text, false),
    };
    let text = text.trim_start_matches('@');
    if text.bytes().any(|byte| !byte.is_ascii()) && !text.chars().any(|c| c.is_lowercase() || c.is_ascii()) {
        // A script without capital letters
        return !must_be_listed
            && text.chars().all(|c| c.is_alphabetic() || " ·・'-".contains(c))
            && text.chars().count() <= 24;
    }
    let Some(name) = name_shape::read_name(text, 0) else {
        return !must_be_listed && !is_family_first && is_lower_name(text);
    };
    let covers_text = name.range.end == text.len();
    let has_possible_given_name = || {
        let first_word = text.split(' ').next().unwrap_or("");
        name_lists::may_be_given_name(first_word) && !is_organisation_word(text.rsplit(' ').next().unwrap_or(""))
    };
    covers_text
        && (is_family_first
            || name.has_given_name
            || has_possible_given_name()
            || (!must_be_listed && !name.starts_with_common_word && name.word_count > 1))
}

/// `jane doe`: all in lower case, beginning with a given name.
fn is_lower_name(text: &str) -> bool {
    let mut words = text.split(' ');
    let first_word = words.next().unwrap_or("");
    let words_after = words.clone().count();
    (1..4).contains(&words_after)
        && name_lists::is_lower_given_name(first_word)
        && words.all(|word| {
            word.len() > 1 && word.bytes().all(|byte| byte.is_ascii_lowercase()) && !name_lists::is_common_word(word)
        })
}

/// Whether a text may be a postal address: letters, a blank, and a digit or several capitalised words.
fn is_street(text: &str) -> bool {
    let is_code = text.contains("://") || text.contains('@') || text.starts_with("0x") || has_call(text);
    let letter_count = text.chars().filter(|c| c.is_alphabetic()).count();
    let has_blank = text.contains([' ', '\u{3000}', ',', '\\']) || !text.is_ascii();
    let has_digit = text.chars().any(char::is_numeric);
    let capitalised_words = text.split([' ', ',']).filter(|word| word.starts_with(char::is_uppercase)).count();
    !is_code
        && letter_count >= 2
        && has_blank
        && !is_description(text)
        && (has_digit || capitalised_words > 1 || !text.is_ascii())
}

/// Whether a bracket follows a letter or digit directly.
fn has_call(text: &str) -> bool {
    text.as_bytes().windows(2).any(|two| matches!(two, [a, b'('] if a.is_ascii_alphanumeric()))
}

/// Whether a text may be an amount of money: at least two digits, few letters, and no name of a type (`f64`).
fn is_amount(text: &str) -> bool {
    count_digits(text) >= 2
        && text.len() <= 40
        && text.chars().filter(|c| c.is_alphabetic()).count() <= 16
        && !text.contains(['_', '{', '[', '<', '=', ':'])
        && !text.as_bytes().windows(2).any(|two| matches!(two, [a, b] if a.is_ascii_lowercase() && b.is_ascii_digit()))
}

/// Whether a text may say what a person has, believes or belongs to, and is neither a state, code, nor about a machine.
fn is_trait(text: &str) -> bool {
    let is_code = text.contains(['=', '{', '[', '<', '|', '@', '$', '`'])
        || text.contains("::")
        || text.contains("://")
        || has_call(text)
        // `user.religion`
        || text.as_bytes().windows(5).any(|five| matches!(five, [a, b, b'.', c, d]
            if [a, b, c, d].into_iter().all(u8::is_ascii_lowercase)));
    !is_code
        && text.chars().any(char::is_alphabetic)
        && text.chars().filter(|c| c.is_alphanumeric()).count() > 1
        && !word_set!("keys.states").contains(text)
        && !text.split(|c: char| !c.is_alphanumeric()).any(|word| word_set!("keys.machine_words").contains(word))
}

/// Whether a text may be an id: at least five letters or digits (three if it is masked), one of them a digit, in at
/// most eight words.
fn is_code(text: &str) -> bool {
    let is_masked = text.contains("**") || text.contains("XXX");
    let alnum = text.chars().filter(|c| c.is_alphanumeric()).count();
    text.len() <= 64
        && alnum >= if is_masked { 3 } else { 5 }
        && (is_masked || count_digits(text) > 0)
        && !text.contains(['(', '=', '{', '<'])
        && text.split_ascii_whitespace().count() <= 8
}
