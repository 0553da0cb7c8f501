//! [`has_private_part`]: whether one part of a composite id is private (`wa_4915123456789`, `CONTOSO\mhuber`,
//! `user:maria.huber`). The rules read an id as one long word, so `_` and `-` hide its parts from them; here the rules
//! read the id with blanks between its parts. UUIDs, hex digits and random parts are replaced by `x` first; an id of
//! one part costs one pass over its bytes. Pseudonyms are in `id_policy`.

use std::sync::LazyLock;

use super::detector::Detector;
use super::find::SearchScratch;
use super::names::name_cues::is_organisation_word;
use super::names::name_lists::{is_common_word, is_family_name, is_lower_given_name};
use super::rule::RuleFamily;
use super::secrets::value_facts;
use super::sets::WordSet;
use crate::wordlists;

/// Fewest digits in an id whose numbers may be private.
const MIN_DIGITS: usize = 4;
/// Least length of random hex digits, and of random letters and digits.
const MIN_HEX: usize = 12;
const MIN_RANDOM: usize = 20;

/// A run of letters and digits in an id: its start, its end, and its text; `x` if it is a UUID or looks generated.
type IdPart<'t> = (usize, usize, &'t str);

/// Whether the rules find a part of `id`, or its parts with blanks between them, private.
pub(super) fn has_private_part(detector: &Detector, id: &str, scratch: &mut SearchScratch) -> bool {
    if is_uuid(id) || !id.contains(is_separator) {
        return false;
    }
    if id.contains(['@', '\\']) && (has_domain_login(id) || has_email_address(id)) {
        return true;
    }
    let parts = split_id(id);
    let is_name = |(first, second): (&IdPart<'_>, &IdPart<'_>)| {
        is_word(first)
            && is_word(second)
            && (are_person_names(first.2, second.2) || is_announced_given_name(first.2, second.2))
    };
    if detector.families.rule(RuleFamily::NameListed).is_some() && parts.iter().zip(parts.iter().skip(1)).any(is_name) {
        return true;
    }
    let digits = parts.iter().flat_map(|(.., text)| text.bytes()).filter(u8::is_ascii_digit).count();
    let mut is_other_text_private = |text: &str| text != id && detector.is_private(text, scratch);
    // `thread_521448193_ssn`: a word announces numbers after it
    let words_first = || {
        let (words, others): (Vec<IdPart<'_>>, Vec<IdPart<'_>>) = parts.iter().partition(|part| is_word(part));
        join_with_blanks(id, &[words, others].concat(), true)
    };
    let mut texts =
        [true, false].into_iter().map(|grouped| join_with_blanks(id, &parts, grouped)).chain([words_first()]);
    digits >= MIN_DIGITS && texts.any(|text| is_other_text_private(&text))
}

fn is_separator(c: char) -> bool {
    "-_:./\\|#@ +=,;".contains(c)
}

fn is_word((.., text): &IdPart<'_>) -> bool {
    text.chars().all(char::is_alphabetic)
}

/// Whether a text has the form of a UUID: hex digits in groups of 8, 4, 4, 4 and 12.
pub fn is_uuid(text: &str) -> bool {
    value_facts::is_uuid(text.as_bytes())
}

/// Splits an id into runs of letters and digits; a UUID is one part.
fn split_id(id: &str) -> Vec<IdPart<'_>> {
    let (mut parts, mut at) = (Vec::new(), 0);
    while let Some(rest) = id.get(at..).filter(|rest| !rest.is_empty()) {
        let uuid = rest.get(..36).filter(|uuid| is_uuid(uuid));
        let len = uuid.map_or_else(|| rest.find(is_separator).unwrap_or(rest.len()), str::len);
        if let Some(text) = rest.get(..len).filter(|text| !text.is_empty()) {
            parts.push((at, at + len, if uuid.is_some() || is_random(text) { "x" } else { text }));
        }
        at += len.max(1);
    }
    parts
}

/// Whether a part looks generated: hex digits with letters, or many alternations of letters and digits.
fn is_random(text: &str) -> bool {
    let hex = text.len() >= MIN_HEX && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let alternations = text.as_bytes().chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit()).count();
    let mixed = text.len() >= MIN_RANDOM && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) && alternations >= 5;
    // A number with a single letter is still a number
    let letters = text.bytes().filter(u8::is_ascii_alphabetic).count();
    (hex || mixed) && text.bytes().any(|byte| byte.is_ascii_digit()) && letters > 1
}

/// `DOMAIN\user`.
fn has_domain_login(id: &str) -> bool {
    let has_letter = |part: Option<&str>| part.is_some_and(|part| part.contains(char::is_alphabetic));
    let is_in_name = |c: char| c.is_alphanumeric() || "._-$".contains(c);
    id.split_once('\\').is_some_and(|(domain, user)| {
        has_letter(domain.rsplit(|c| !is_in_name(c)).next())
            && has_letter(user.trim_start_matches('\\').split(|c| !is_in_name(c)).next())
    })
}

/// Whether an id contains an e-mail address with other text attached: `conv-jane@x.example-1`.
fn has_email_address(id: &str) -> bool {
    let domain = code_pattern!(r"[A-Za-z\d]*[A-Za-z][A-Za-z\d]*[-_\w.]*\.[A-Za-z]{2,24}(?-u:\b)");
    id.split_once('@')
        .is_some_and(|(local, rest)| local.ends_with(char::is_alphanumeric) && domain.match_len(rest).is_some())
}

/// Parts of an id with blanks between them, and cue words for prefixes: `wa_4915…` is a WhatsApp number. `grouped`:
/// groups of digits keep their separator, except `_`.
fn join_with_blanks(id: &str, parts: &[IdPart<'_>], grouped: bool) -> String {
    let cues = once!(Vec<(&str, &str)>, wordlists::rows("numbers.id_abbreviations").collect());
    let (mut out, mut end) = (String::with_capacity(id.len() + 16), 0);
    for (start, next_end, text) in parts {
        let between = id.get(end..*start).unwrap_or(" ");
        let is_grouped = grouped
            && out.ends_with(|c: char| c.is_ascii_digit())
            && text.starts_with(|c: char| c.is_ascii_digit())
            && between.len() == 1
            && between != "_";
        out.push_str(match between {
            "" => "",
            _ if is_grouped => between,
            // `tel:+43664…`
            _ if between.ends_with('+') => " +",
            _ => " ",
        });
        let cue = cues.iter().find(|(short, _)| short.eq_ignore_ascii_case(text));
        out.push_str(cue.map_or(text, |(_, long)| long));
        end = *next_end;
    }
    out
}

/// Programs and models named like a person.
static PROGRAMS: LazyLock<WordSet> = LazyLock::new(|| WordSet::listed("names.programs_in_ids"));

/// Whether a word is a given name, and neither a common word nor a program.
fn is_certain_given_name(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    is_lower_given_name(&lower) && !is_common_word(&lower) && !PROGRAMS.contains(&lower)
}

/// Whether two adjacent words are a person's names, in either order.
fn are_person_names(first: &str, second: &str) -> bool {
    let is_full_name = |given: &str, family: &str| {
        let may_be_family_name = is_family_name(family) || !is_common_word(family) && family.len() > 2;
        is_certain_given_name(given)
            && may_be_family_name
            && family.len() != 1
            && !is_organisation_word(family)
            && !PROGRAMS.contains(family)
    };
    is_full_name(first, second) || is_family_name(first) && !is_common_word(first) && is_certain_given_name(second)
}

/// Whether a given name follows a word for persons: `patient-maria`.
fn is_announced_given_name(before: &str, word: &str) -> bool {
    word_set!("names.persons_in_ids").contains(before) && is_certain_given_name(word)
}
