//! [`has_private_part`]: whether one part of a composite id is private (`wa_4915123456789`, `CONTOSO\mhuber`,
//! `user:maria.huber`). The rules read an id as one long word, so `_` and `-` hide its parts from them; here the rules
//! read the id with blanks between its parts. UUIDs, hex digits and random parts are replaced by `x` first; an id of
//! one part costs one pass over its bytes. Pseudonyms are in `id_policy`.

use super::detector::Detector;
use super::find::SearchScratch;
use super::names::{are_person_names, is_announced_given_name};
use super::rule::RuleFamily;
use crate::wordlists;

/// Fewest digits in an id whose numbers may be private.
const MIN_DIGITS: usize = 4;
/// Fewest digits in an id that is also read without the separators of its digit groups.
const MIN_DIGITS_UNGROUPED: usize = 7;
/// Least length of random hex digits, and of random letters and digits.
const MIN_HEX: usize = 12;
const MIN_RANDOM: usize = 20;

/// A run of letters and digits in an id.
#[derive(Clone, Copy)]
struct IdPart<'t> {
    text: &'t str,
    start: usize,
    /// Whether it is a UUID, hex digits or a random token.
    opaque: bool,
}

impl IdPart<'_> {
    fn count_digits(&self) -> usize {
        if self.opaque { 0 } else { self.text.bytes().filter(u8::is_ascii_digit).count() }
    }

    fn is_word(&self) -> bool {
        !self.opaque && self.text.chars().all(char::is_alphabetic)
    }
}

/// Whether the rules find a part of `id`, or its parts with blanks between them, private.
pub(super) fn has_private_part(detector: &Detector, id: &str, scratch: &mut SearchScratch) -> bool {
    if is_uuid(id) || !id.bytes().any(is_separator) {
        return false;
    }
    if id.contains(['@', '\\']) && (has_domain_login(id) || has_email_address(id)) {
        return true;
    }
    let parts = split_id(id);
    if detector.families.rule(RuleFamily::NameListed).is_some() && has_person_name(&parts) {
        return true;
    }
    let digits: usize = parts.iter().map(IdPart::count_digits).sum();
    if digits < MIN_DIGITS {
        return false;
    }
    let mut is_other_text_private = |text: &str| text != id && detector.is_private(text, scratch);
    is_other_text_private(&join_with_blanks(id, &parts, true))
        || digits >= MIN_DIGITS_UNGROUPED && is_other_text_private(&join_with_blanks(id, &parts, false))
        || parts.iter().skip_while(|part| part.count_digits() == 0).any(IdPart::is_word)
            && is_other_text_private(&order_words_first(id, &parts))
}

fn is_separator(byte: u8) -> bool {
    b"-_:./\\|#@ +=,;".contains(&byte)
}

/// Whether a text has the form of a UUID: hex digits in groups of 8, 4, 4, 4 and 12.
pub fn is_uuid(text: &str) -> bool {
    let groups = text.split('-');
    text.len() == 36
        && groups.clone().map(str::len).eq([8, 4, 4, 4, 12])
        && groups.into_iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Splits an id into runs of letters and digits; a UUID is one part.
fn split_id(id: &str) -> Vec<IdPart<'_>> {
    let mut parts: Vec<IdPart<'_>> = Vec::new();
    let mut at = 0;
    while let Some(rest) = id.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(uuid) = rest.get(..36).filter(|uuid| is_uuid(uuid)) {
            parts.push(IdPart { text: uuid, start: at, opaque: true });
            at += 36;
            continue;
        }
        let len = rest.find(|c: char| c.is_ascii() && is_separator(c as u8)).unwrap_or(rest.len());
        if let Some(text) = rest.get(..len).filter(|text| !text.is_empty()) {
            parts.push(IdPart { text, start: at, opaque: is_random(text) });
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
    let is_in_name = |c: char| c.is_alphanumeric() || "._-$".contains(c);
    id.split_once('\\').is_some_and(|(domain, user)| {
        let user = user.trim_start_matches('\\');
        let domain = domain.rsplit(|c| !is_in_name(c)).next().unwrap_or("");
        let user = user.split(|c| !is_in_name(c)).next().unwrap_or("");
        domain.contains(char::is_alphabetic) && user.contains(char::is_alphabetic)
    })
}

/// Whether an id contains an e-mail address with other text attached: `conv-jane@x.example-1`.
fn has_email_address(id: &str) -> bool {
    let Some((local, domain)) = id.split_once('@') else { return false };
    let mut labels = domain.split(['.', '-', '_', ':', '/', '|', '#', '+']).map(str::as_bytes);
    let has_host = labels.next().is_some_and(|label| label.iter().any(u8::is_ascii_alphabetic));
    let is_top_level = |label: &[u8]| (2..=24).contains(&label.len()) && label.iter().all(u8::is_ascii_alphabetic);
    local.ends_with(char::is_alphanumeric) && has_host && domain.contains('.') && labels.any(is_top_level)
}

/// The cue word that a prefix of an id means: `wa_4915…` is a WhatsApp number.
fn cue_word(text: &str) -> &str {
    let cues = once!(Vec<(&str, &str)>, wordlists::rows("numbers.id_abbreviations").collect());
    cues.iter().find(|(short, _)| short.eq_ignore_ascii_case(text)).map_or(text, |(_, long)| long)
}

/// The id with blanks between its parts, `x` for opaque ones and cue words for prefixes. `grouped`: digit groups keep
/// their separators.
fn join_with_blanks(id: &str, parts: &[IdPart<'_>], grouped: bool) -> String {
    let mut out = String::with_capacity(id.len() + 16);
    let mut end = 0;
    for part in parts {
        let between = id.get(end..part.start).unwrap_or_default();
        let between_digits =
            out.ends_with(|c: char| c.is_ascii_digit()) && part.text.starts_with(|c: char| c.is_ascii_digit());
        let keeps_separator = grouped && between_digits && between.len() == 1 && !between.contains('_');
        out.push_str(match between {
            "" => "",
            _ if keeps_separator => between,
            // `tel:+43664…`
            _ if between.ends_with('+') => " +",
            _ => " ",
        });
        out.push_str(if part.opaque { "x" } else { cue_word(part.text) });
        end = part.start + part.text.len();
    }
    out
}

/// The id with its words before its numbers: `thread_521448193_ssn` becomes `thread ssn 521448193`.
fn order_words_first(id: &str, parts: &[IdPart<'_>]) -> String {
    let (words, others): (Vec<IdPart<'_>>, Vec<IdPart<'_>>) = parts.iter().partition(|part| part.is_word());
    let mut out: String = words.iter().flat_map(|word| [cue_word(word.text), " "]).collect();
    out.push_str(&join_with_blanks(id, &others, true));
    out
}

/// Whether two adjacent parts are a person's names, or a word for persons and a given name.
fn has_person_name(parts: &[IdPart<'_>]) -> bool {
    parts.windows(2).any(|two| match two {
        [first, second] if first.is_word() && second.is_word() => {
            are_person_names(first.text, second.text) || is_announced_given_name(first.text, second.text)
        }
        _ => false,
    })
}
