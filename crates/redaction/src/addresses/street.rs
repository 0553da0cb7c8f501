//! Finds street lines by the rules of several countries. Units and places after a street are in `address_parts`,
//! streets without a street word in `announced_streets`.

use std::ops::Range;
use std::sync::LazyLock;

use crate::names::name_lists;
use crate::scan::TextScan;
use crate::sets::{ByteSet, WordSet};

use super::address_parts::is_followed_by_place;
use super::announced_streets::{self, is_announced, is_whole_number, is_year};
use crate::wordlists;

/// Directions within or before a street name.
static DIRECTIONS: LazyLock<WordSet> = LazyLock::new(|| WordSet::listed("addresses.directions"));
/// Endings of one-word street names that come before the number.
static ENDINGS: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::words("addresses.street_endings").collect());

/// Returns the street line around a number that passed [`announced_streets::may_be_house_number`].
pub(super) fn match_street(scan: &TextScan<'_>, number: &Range<usize>) -> Option<Range<usize>> {
    match_number_first(scan, number).or_else(|| match_number_last(scan, number))
}

/// `12 Main Street`, `12 rue de la Paix`.
fn match_number_first(scan: &TextScan<'_>, number: &Range<usize>) -> Option<Range<usize>> {
    let mut at = number.end;
    // `12-14`, `12 bis`, `12, rue`
    if scan.byte(at) == b'-' && scan.byte(at + 1).is_ascii_digit() {
        // `1997-2000, Main Street Software` is a copyright notice
        if is_year(scan.bytes(number.clone())) && is_year(scan.bytes(at + 1..at + 5)) {
            return None;
        }
        at += 1 + scan.bytes(at + 1..at + 6).iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    }
    at += usize::from(scan.byte(at) == b',');
    if scan.byte(at) != b' ' {
        return None;
    }
    at += 1;
    // `2615 1/2 Gary Avenue`
    at += if scan.bytes(at..at + 4) == b"1/2 " { 4 } else { 0 };
    let first_byte = scan.byte(at);
    if first_byte.is_ascii() && !first_byte.is_ascii_alphanumeric() {
        return None;
    }
    // A second number is no street, but `12 5th Avenue` is
    if first_byte.is_ascii_digit() && is_whole_number(scan, at) {
        return None;
    }
    static IN_STREET_LINE: ByteSet = ByteSet::new(b"\n\":;(){}[<=|/\t").complement();
    let rest = scan.text_after(at, 72);
    let rest = rest.get(..IN_STREET_LINE.count_leading(rest.as_bytes())).unwrap_or("");
    let (at, rest) = match rest.strip_prefix("bis ").or_else(|| rest.strip_prefix("ter ")) {
        Some(rest) => (at + 4, rest),
        None => (at, rest),
    };
    let first = rest.chars().next()?;
    if let Some(len) = announced_streets::numbered_road_len(scan, number, at, rest) {
        return Some(unit_start(scan, number.start)..at + len);
    }
    let lower_street = || lower_street_len(scan, number, rest).map(|len| number.start..at + len);
    if first.is_lowercase() {
        return romance_street_len(rest).map(|len| number.start..at + len).or_else(lower_street);
    }
    if !(first.is_uppercase() || first.is_ascii_digit()) {
        return None;
    }
    if let Some(len) = romance_street_len(rest) {
        return Some(number.start..at + len);
    }
    let plain_street = || {
        let len = announced_streets::plain_street_len(scan, number, at, rest)?;
        Some(unit_start(scan, number.start)..at + len)
    };
    // `830 3rd st s`
    let ordinal_street = || if first.is_ascii_digit() { lower_street() } else { None };
    match_english(scan, number, at, rest).or_else(plain_street).or_else(ordinal_street)
}

/// Finds a capitalised street up to its last street word.
fn match_english(scan: &TextScan<'_>, number: &Range<usize>, at: usize, rest: &str) -> Option<Range<usize>> {
    let (mut offset, mut name_words, mut best_match) = (0, 0, None);
    for (index, word) in rest.split(' ').enumerate().take(7) {
        let bare = word.split(',').next().unwrap_or("").trim_end_matches(['.', '!', '?', '\'', '\\']);
        let end = offset
            + bare.len()
            + usize::from(word.get(bare.len()..).is_some_and(|rest| rest.starts_with('.')) && bare.len() < 5);
        let is_capitalised = bare.starts_with(char::is_uppercase);
        let is_ordinal =
            bare.starts_with(|c: char| c.is_ascii_digit()) && bare.ends_with(['t', 'd', 'h']) && bare.len() > 2;
        if !is_capitalised && !is_ordinal {
            break;
        }
        let is_broadway = bare.eq_ignore_ascii_case("broadway");
        if word_set!("addresses.street_suffixes").contains(bare) && (name_words > 0 || is_broadway) {
            best_match = Some((end, true));
        } else if word_set!("addresses.street_suffixes_ambiguous").contains(bare)
            && name_words > 0
            && best_match.is_none_or(|(_, is_unambiguous)| !is_unambiguous)
        {
            best_match = Some((end, false));
        } else if DIRECTIONS.contains(bare) && best_match.is_some_and(|(_, is_unambiguous)| is_unambiguous) {
            best_match = Some((end, true));
            break;
        } else if best_match.is_some_and(|(_, is_unambiguous)| is_unambiguous) && index > 1 {
            break;
        }
        name_words += usize::from(!DIRECTIONS.contains(bare) || name_words > 0);
        let has_end_mark = word.len() > bare.len() && !(word.ends_with('.') && bare.len() < 5);
        offset += word.len() + 1;
        if has_end_mark {
            break;
        }
    }
    let (len, is_unambiguous) = best_match?;
    let name = rest.get(..len)?;
    // `0 AN AV` is not a street
    if number.len() < 2 && !name.contains(char::is_lowercase) {
        return None;
    }
    let is_common = name.split(' ').next().is_some_and(name_lists::is_common_word);
    let is_long_number = number.len() > 2;
    let is_number_announced = || is_announced(scan, number.start);
    let is_street = match is_unambiguous {
        true => !is_common || is_long_number || is_number_announced() || is_followed_by_place(scan, at + len),
        false => (is_long_number || is_number_announced()) && has_street_evidence(scan, number, at + len, is_common),
    };
    is_street.then_some(unit_start(scan, number.start)..at + len)
}

/// Returns the start of a unit such as `Suite 415 `, `Flat 3\n` or `H.No. ` before a house number at `start`.
fn unit_start(scan: &TextScan<'_>, start: usize) -> usize {
    let from = scan.widen_to_characters(start.saturating_sub(18)..start).start;
    let head = scan.part(from..start);
    if let Some(label) = ["H.No. ", "No. ", "Nr. ", "№ "].iter().find(|label| head.ends_with(*label)) {
        return start - label.len();
    }
    let Some(trimmed) = head.strip_suffix([' ', '\n', '/']) else { return start };
    let trimmed = trimmed.trim_end_matches(',');
    let Some((before_id, id)) = trimmed.rsplit_once(' ') else { return start };
    let is_number = !id.is_empty() && id.len() < 6 && id.bytes().any(|byte| byte.is_ascii_digit());
    let word = before_id.rsplit([' ', '\n', '"', ':']).next().unwrap_or("");
    let is_unit = word_set!("addresses.rooms").contains(word);
    if is_number && is_unit { from + before_id.len() - word.len() } else { start }
}

/// Whether an ambiguous street has an attached part, an announcing word, or an uncommon name after a house number of
/// four or more characters that is not a year.
fn has_street_evidence(scan: &TextScan<'_>, number: &Range<usize>, end: usize, is_common: bool) -> bool {
    is_announced(scan, number.start)
        || super::address_parts::address_end(scan, end) > end
        || (number.len() > 3 && !is_common && !is_year(scan.bytes(number.clone())))
}

/// `12 main street nw` in lower case: needs an unambiguous street word, or an announcing word before it.
fn lower_street_len(scan: &TextScan<'_>, number: &Range<usize>, rest: &str) -> Option<usize> {
    const NAME: &str = r"(?:[A-Za-z\d]+ ){1,3}?<0>(?-u:\b)(?:\.? (?:[ns][ew]?|[ew])(?-u:\b))?";
    let doubtful = || code_pattern!(NAME, "addresses.street_suffixes_lowercase_ambiguous").match_len(rest);
    let len = code_pattern!(NAME, "addresses.street_suffixes_lowercase").match_len(rest);
    let len = len.or_else(|| doubtful().filter(|_| is_announced(scan, number.start)))?;
    let may_be_in_street = |word: &str| !word_set!("addresses.not_streets").contains(word);
    rest.get(..len)?.split(' ').all(may_be_in_street).then_some(len)
}

/// `rue de la Paix`, `avenue Foch`: French and similar streets after the number.
fn romance_street_len(rest: &str) -> Option<usize> {
    let first = rest.split(' ').next().filter(|first| word_set!("addresses.streets_after_number").contains(first))?;
    street_name_end(rest, first.len() + 1)
}

/// End of a street name that begins at `from`: lower-case particles and capitalised words.
fn street_name_end(rest: &str, from: usize) -> Option<usize> {
    let (mut offset, mut end) = (from, None);
    for word in rest.get(from..)?.split(' ').take(6) {
        let bare = word.trim_end_matches([',', '.', '\'', '\\']);
        let is_particle = word_set!("addresses.particles_romance").contains(bare);
        let is_elided = bare.get(..2).is_some_and(|head| matches!(head, "d'" | "l'" | "D'" | "L'"));
        if bare.starts_with(char::is_uppercase) || is_elided {
            end = Some(offset + bare.len());
        } else if !is_particle {
            break;
        }
        offset += word.len() + 1;
        if bare.len() < word.len() && !word.ends_with('.') {
            break;
        }
    }
    end
}

/// `Hauptstraße 12`, `Calle de Alcalá 45`.
fn match_number_last(scan: &TextScan<'_>, number: &Range<usize>) -> Option<Range<usize>> {
    if scan.byte_before(number.start, 1) != b' ' || number.len() > 5 || !may_end_name(scan.byte_before(number.start, 2))
    {
        return None;
    }
    let from = scan.widen_to_characters(number.start.saturating_sub(56)..number.start).start;
    let head = scan.part(from..number.start - 1);
    let line_start = head.bytes().rposition(|byte| LINE_LIMITS.contains(byte)).map_or(0, |at| at + 1);
    let head = head.get(line_start..).filter(|head| may_be_street(head.as_bytes()))?;
    let base = from + line_start;
    let street = head.trim_end_matches([',', '°', 'º']);
    let street = ["nº", "n", "No", "Nr.", "núm.", "s/n"].iter().fold(street, |head, end| {
        head.strip_suffix(end)
            .filter(|rest| rest.ends_with([' ', ',']))
            .map_or(head, |rest| rest.trim_end_matches([' ', ',']))
    });
    let last_word = street.rsplit(' ').next()?;
    if !last_word.chars().next_back().is_some_and(|c| c.is_alphabetic() || c == '.') {
        return None;
    }
    let range = code_pattern!(r"[-/]\d[A-Za-z\d]{0,3}(?-u:\b)").match_len(scan.text_after(number.end, 8));
    let end = number.end + range.unwrap_or(0);
    let start = germanic_street_start(street, last_word).or_else(|| prefixed_street_start(street))?;
    Some(base + start..end)
}

/// Whether a byte may end a street name before its number.
fn may_end_name(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || !byte.is_ascii() || matches!(byte, b'.' | b',')
}

/// Bytes before which no street continues, reading backwards from its number.
static LINE_LIMITS: ByteSet = ByteSet::new(b"\n\":;({[<=|");

/// Whether a street may end here: quickly rejects most texts by their last word.
fn may_be_street(head: &[u8]) -> bool {
    let word = head.get(head.iter().rposition(|byte| *byte == b' ').map_or(0, |at| at + 1)..).unwrap_or_default();
    let (Some(first), Some(last)) = (word.first(), word.last()) else { return false };
    // Words for "number" may end the text
    let is_lower_word = word.len() < 6 && matches!(first, b'n' | b's');
    may_end_name(*last)
        && (first.is_ascii_uppercase() || !first.is_ascii() || is_lower_word || word.get(1) == Some(&b'\''))
}

/// Returns the start of a street whose last word has a German, Dutch or Nordic ending.
fn germanic_street_start(head: &str, last_word: &str) -> Option<usize> {
    let is_capitalised = last_word.starts_with(char::is_uppercase)
        && !last_word.split('-').any(|part| part.chars().skip(1).any(char::is_uppercase));
    if !is_capitalised {
        return None;
    }
    let is_word = |word: &str, end: &str| word.chars().flat_map(char::to_lowercase).eq(end.chars());
    let part = last_word.rsplit('-').next().unwrap_or_default();
    let ends_word = |end: &&str| part.ends_with(end) || is_word(part, end);
    let has_ending = ENDINGS.iter().any(&ends_word);
    let is_unambiguous = || word_list!("addresses.street_endings_unambiguous").iter().any(ends_word);
    if !has_ending || (!is_unambiguous() && (name_lists::is_common_word(last_word) || last_word.len() < 6)) {
        return None;
    }
    let is_street_word = ENDINGS.iter().any(|end| is_word(last_word, end));
    let mut start = head.len() - last_word.len();
    // `Berliner Straße`, `Am Alten Markt`
    while let Some(before) = head.get(..start).and_then(|head| head.strip_suffix(' ')) {
        let word = before.rsplit(' ').next().unwrap_or("");
        let is_particle = word_set!("addresses.particles_germanic").contains(word);
        if !(word.starts_with(char::is_uppercase) && (is_street_word || is_particle)) || word.ends_with(',') {
            break;
        }
        start -= word.len() + 1;
        if !is_particle {
            break;
        }
    }
    (!is_street_word || start + last_word.len() < head.len()).then_some(start)
}

/// Returns the start of a street that begins with a street word.
fn prefixed_street_start(head: &str) -> Option<usize> {
    let mut offset = 0;
    for word in head.split(' ') {
        if word_set!("addresses.street_prefixes").contains(word)
            && street_name_end(head, offset + word.len() + 1) == Some(head.len())
        {
            // `via PEP 658`: capitals after a lower-case word are not a street
            let name = head.get(offset + word.len()..).unwrap_or_default();
            let is_street = word.starts_with(char::is_uppercase) || name.contains(char::is_lowercase);
            return is_street.then_some(offset);
        }
        offset += word.len() + 1;
    }
    None
}
