//! Finds street lines by the rules of several countries. Units and places behind a street are in `address_parts`,
//! streets without a street word in `announced_streets`.

use std::ops::Range;
use std::sync::LazyLock;

use crate::names::name_lists::{self, WordIndex};
use crate::scan::TextScan;
use crate::sets::{ByteSet, WordSet};

use super::announced_streets;
use super::house_numbers::is_whole_number;
use super::street_context::{is_announced, is_followed_by_place, is_year};
use crate::wordlists;

/// English words such as "Street" that end a street name; any name before them counts.
static STREET_WORDS: LazyLock<WordIndex> =
    LazyLock::new(|| WordIndex::new(wordlists::text("addresses.street_suffixes")));
/// Words that may end a street name, but need further evidence.
static AMBIGUOUS_STREET_WORDS: LazyLock<WordIndex> =
    LazyLock::new(|| WordIndex::new(wordlists::text("addresses.street_suffixes_ambiguous")));
/// Directions within or before a street name.
static DIRECTIONS: LazyLock<WordIndex> = LazyLock::new(|| WordIndex::new(wordlists::text("addresses.directions")));
/// Words that never follow a house number in a street written in lower case.
static NEVER_BEHIND_NUMBER: LazyLock<WordIndex> =
    LazyLock::new(|| WordIndex::new(wordlists::text("addresses.not_streets")));
/// Words that begin a street name when the number comes after it.
static PREFIXES: LazyLock<WordIndex> = LazyLock::new(|| WordIndex::new(wordlists::text("addresses.street_prefixes")));
/// Street words that follow the house number.
static FRENCH: LazyLock<WordIndex> =
    LazyLock::new(|| WordIndex::new(wordlists::text("addresses.streets_after_number")));
/// Endings of one-word street names that come before the number.
static ENDINGS: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::words("addresses.street_endings").collect());

/// Street words in lower case: unambiguous ones, and ones that need further evidence.
static LOWER_STREET_WORDS: LazyLock<WordSet> =
    LazyLock::new(|| WordSet::new(wordlists::text("addresses.street_suffixes_lowercase")));
static AMBIGUOUS_LOWER_STREET_WORDS: LazyLock<WordSet> =
    LazyLock::new(|| WordSet::new(wordlists::text("addresses.street_suffixes_lowercase_ambiguous")));
/// Words for a kind of unit before a house number.
static UNITS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("addresses.rooms")));
/// Lower-case words within street names.
static PARTICLES: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("addresses.particles_romance")));
static GERMANIC_PARTICLES: LazyLock<WordSet> =
    LazyLock::new(|| WordSet::new(wordlists::text("addresses.particles_germanic")));

/// The last bytes of all [`ENDINGS`].
static LAST_LETTERS: ByteSet = ByteSet::new(b"adefgjklmnrstuz.").and_non_ascii();

/// Returns the street line around a number that passed [`super::numbers::may_be`].
pub(super) fn match_street(scan: &TextScan<'_>, number: &Range<usize>) -> Option<Range<usize>> {
    let boxed = || Some(announced_streets::post_box_start(scan, number)?..number.end);
    match_number_first(scan, number).or_else(|| match_number_last(scan, number)).or_else(boxed)
}

/// Whether a list has a word, ignoring case.
fn has_word(list: &WordIndex, word: &str) -> bool {
    list.contains_any_case(word)
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
    let begins = scan.byte(at);
    if begins.is_ascii() && !begins.is_ascii_alphanumeric() {
        return None;
    }
    if begins.is_ascii_digit() {
        // A second number is no street, but `12 5th Avenue` is
        if is_whole_number(scan, at) {
            return None;
        }
    }
    static UPTO: ByteSet = ByteSet::new(b"\n\":;(){}[<=|/\t").complement();
    let rest = scan.part(at..scan.widen_to_characters(at..scan.text.len().min(at + 72)).end);
    let rest = rest.get(..UPTO.count_leading(rest.as_bytes())).unwrap_or("");
    let rest = rest.strip_prefix("bis ").or_else(|| rest.strip_prefix("ter ")).map_or((0, rest), |rest| (4, rest));
    let (at, rest) = (at + rest.0, rest.1);
    let first = rest.chars().next()?;
    if let Some(len) = announced_streets::numbered_road_len(scan, number, at, rest) {
        return Some(unit_start(scan, number.start)..at + len);
    }
    let in_small = || lower_street_len(scan, number, rest).map(|len| number.start..at + len);
    if first.is_lowercase() {
        return romance_street_len(rest).map(|len| number.start..at + len).or_else(in_small);
    }
    if !(first.is_uppercase() || first.is_ascii_digit()) {
        return None;
    }
    if let Some(len) = romance_street_len(rest) {
        return Some(number.start..at + len);
    }
    let told = || {
        let len = announced_streets::street_len_behind_number(scan, number, at, rest)?;
        Some(unit_start(scan, number.start)..at + len)
    };
    // `830 3rd st s`
    let ordinal = || if first.is_ascii_digit() { in_small() } else { None };
    match_english(scan, number, at, rest).or_else(told).or_else(ordinal)
}

/// Finds a capitalised street up to its last street word.
fn match_english(scan: &TextScan<'_>, number: &Range<usize>, at: usize, rest: &str) -> Option<Range<usize>> {
    let (mut offset, mut names, mut best) = (0, 0, None);
    for (index, word) in rest.split(' ').enumerate().take(7) {
        let bare = word.trim_end_matches(['.', ',', '!', '?', '\'', '\\']);
        let end = offset
            + bare.len()
            + usize::from(word.get(bare.len()..).is_some_and(|rest| rest.starts_with('.')) && bare.len() < 5);
        let capital = bare.starts_with(char::is_uppercase);
        let ordinal =
            bare.starts_with(|c: char| c.is_ascii_digit()) && bare.ends_with(['t', 'd', 'h']) && bare.len() > 2;
        if !capital && !ordinal {
            break;
        }
        let alone = bare.eq_ignore_ascii_case("broadway");
        if has_word(&STREET_WORDS, bare) && (names > 0 || alone) {
            best = Some((end, true));
        } else if has_word(&AMBIGUOUS_STREET_WORDS, bare) && names > 0 && best.is_none_or(|(_, sure)| !sure) {
            best = Some((end, false));
        } else if has_word(&DIRECTIONS, bare) && best.is_some_and(|(_, sure)| sure) {
            best = Some((end, true));
            break;
        } else if best.is_some_and(|(_, sure)| sure) && index > 1 {
            break;
        }
        names += usize::from(!has_word(&DIRECTIONS, bare) || names > 0);
        let ends = word.len() > bare.len() && !(word.ends_with('.') && bare.len() < 5);
        offset += word.len() + 1;
        if ends {
            break;
        }
    }
    let (len, sure) = best?;
    let name = rest.get(..len)?;
    // `0 AN AV` is not a street
    if number.len() < 2 && !name.contains(char::is_lowercase) {
        return None;
    }
    let common = name.split(' ').next().is_some_and(name_lists::is_common_word);
    let big = number.len() > 2;
    let near = || is_announced(scan, number.start);
    let holds = match sure {
        true => !common || big || near() || is_followed_by_place(scan, at + len),
        false => (big || near()) && has_street_evidence(scan, number, at + len, common),
    };
    holds.then_some(unit_start(scan, number.start)..at + len)
}

/// Returns the start of a unit such as `Suite 415 `, `Flat 3\n` or `H.No. ` before a house number at `start`.
fn unit_start(scan: &TextScan<'_>, start: usize) -> usize {
    let from = scan.widen_to_characters(start.saturating_sub(18)..start).start;
    let head = scan.part(from..start);
    if let Some(house) = ["H.No. ", "No. ", "Nr. ", "№ "].iter().find(|house| head.ends_with(*house)) {
        return start - house.len();
    }
    let Some(trimmed) = head.strip_suffix([' ', '\n', '/']) else { return start };
    let trimmed = trimmed.trim_end_matches(',');
    let Some((before, id)) = trimmed.rsplit_once(' ') else { return start };
    let digit = !id.is_empty() && id.len() < 6 && id.bytes().any(|byte| byte.is_ascii_digit());
    let word = before.rsplit([' ', '\n', '"', ':']).next().unwrap_or("");
    let known = UNITS.contains(word);
    if digit && known { from + before.len() - word.len() } else { start }
}

/// A doubtful street counts with an attached part, an announcing word, or an uncommon name after a house number of four
/// or more characters that is not a year.
fn has_street_evidence(scan: &TextScan<'_>, number: &Range<usize>, end: usize, common: bool) -> bool {
    let year = number.len() == 4 && matches!(scan.bytes(number.clone()), [b'1', b'9', ..] | [b'2', b'0', ..]);
    is_announced(scan, number.start)
        || super::address_parts::address_end(scan, end) > end
        || (number.len() > 3 && !common && !year)
}

/// `12 main street` in lower case: needs an unambiguous street word, or an announcing word before it.
fn lower_street_len(scan: &TextScan<'_>, number: &Range<usize>, rest: &str) -> Option<usize> {
    let mut offset = 0;
    for (index, word) in rest.as_bytes().split(|byte| *byte == b' ').enumerate().take(4) {
        let bare = word.len() - MARKS.count_trailing(word);
        let bare = word.get(..bare).filter(|bare| IN_WORD.count_leading(bare) == bare.len() && !bare.is_empty())?;
        let street = index > 0
            && (LOWER_STREET_WORDS.contains(bare)
                || AMBIGUOUS_LOWER_STREET_WORDS.contains(bare) && is_announced(scan, number.start));
        if street {
            let end = offset + bare.len();
            let plain = |word: &str| !has_word(&NEVER_BEHIND_NUMBER, word.trim_end_matches(['.', ',', '!', '?']));
            let end_of = end + usize::from(bare.len() < word.len() && rest.get(end..)?.starts_with(". "));
            return rest
                .get(..end)?
                .split(' ')
                .all(plain)
                .then(|| end + direction_len(rest.get(end..).unwrap_or(""), end_of - end));
        }
        if bare.len() < word.len() {
            return None;
        }
        offset += word.len() + 1;
    }
    None
}

/// Length of a lower-case direction at the start of `rest`, such as ` nw` or ` s,`, behind `dots` and a blank; 0 if
/// there is none.
fn direction_len(rest: &str, dots: usize) -> usize {
    let Some(behind) = rest.get(dots..).and_then(|rest| rest.strip_prefix(' ')) else { return 0 };
    let len = behind.bytes().take_while(u8::is_ascii_lowercase).count();
    let two = matches!(behind.get(..len), Some("ne" | "nw" | "se" | "sw"));
    // A single letter may begin any word
    let one = matches!(behind.get(..len), Some("n" | "e" | "s" | "w"));
    let next = behind.get(len..).unwrap_or_default();
    let ends = next.is_empty() || next.starts_with([',', '.']) || next.starts_with(" #");
    let parted = !next.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '_' | '\''));
    if two && parted || one && ends { dots + 1 + len } else { 0 }
}

/// Letters and digits, and punctuation that may end a word.
static IN_WORD: ByteSet = ByteSet::new(b"").and_alnum();
static MARKS: ByteSet = ByteSet::new(b".,!?");

/// `rue de la Paix`, `avenue Foch`: French and similar streets behind the number.
fn romance_street_len(rest: &str) -> Option<usize> {
    let mut words = rest.split(' ');
    let first = words.next()?;
    if !has_word(&FRENCH, first) {
        return None;
    }
    name_len(rest, first.len() + 1)
}

/// End of a street name that begins at `from`: lower-case particles and capitalised words.
fn name_len(rest: &str, from: usize) -> Option<usize> {
    let (mut offset, mut end) = (from, None);
    for word in rest.get(from..)?.split(' ').take(6) {
        let bare = word.trim_end_matches([',', '.', '\'', '\\']);
        let particle = PARTICLES.contains(bare);
        let elided = bare.get(..2).is_some_and(|head| matches!(head, "d'" | "l'" | "D'" | "L'"));
        if bare.starts_with(char::is_uppercase) || elided {
            end = Some(offset + bare.len());
        } else if !particle {
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
    let last = scan.byte_before(number.start, 2);
    let ends = last.is_ascii_alphabetic() || !last.is_ascii() || END_MARKS.contains(&last);
    if scan.byte_before(number.start, 1) != b' ' || number.len() > 5 || !ends {
        return None;
    }
    let from = scan.widen_to_characters(number.start.saturating_sub(56)..number.start).start;
    let head = scan.part(from..number.start - 1);
    let line = head.bytes().rposition(|byte| ENDS.contains(byte)).map_or(0, |at| at + 1);
    let head = head.get(line..).filter(|head| may_be_street(head.as_bytes()))?;
    let base = from + line;
    let trimmed = head.trim_end_matches([',', '°', 'º']);
    let trimmed = ["nº", "n", "No", "Nr.", "núm.", "s/n"].iter().fold(trimmed, |head, end| {
        head.strip_suffix(end)
            .filter(|rest| rest.ends_with([' ', ',']))
            .map_or(head, |rest| rest.trim_end_matches([' ', ',']))
    });
    let last = trimmed.rsplit(' ').next()?;
    if last.is_empty() || !last.chars().next_back().is_some_and(|c| c.is_alphabetic() || c == '.') {
        return None;
    }
    let end = number.end + number_range_len(scan, number.end);
    let end = end + suffix_letter_len(scan, end);
    let start = germanic_street_start(trimmed, last)
        .or_else(|| prefixed_street_start(trimmed))
        .or_else(|| announced_streets::street_start_before_number(scan, base, trimmed, end))?;
    Some(base + start..end)
}

/// Bytes other than letters that may end a street name before its number.
const END_MARKS: [u8; 2] = *b".,";
/// Bytes that end a street's line, reading backwards from its number.
static ENDS: ByteSet = ByteSet::new(b"\n\":;({[<=|");

/// Quick check of whether a street may end here: its last word begins with a capital letter or an elision.
fn may_be_street(head: &[u8]) -> bool {
    let word = head.get(head.iter().rposition(|byte| *byte == b' ').map_or(0, |at| at + 1)..).unwrap_or_default();
    let (Some(first), Some(last)) = (word.first(), word.last()) else { return false };
    // For `nº` and `s/n`, the word before them counts
    let sign = word.len() < 6 && (matches!(first, b'n' | b's') || matches!(word, b"ulica" | b"utca" | b"u."));
    let ends = last.is_ascii_alphabetic() || !last.is_ascii() || END_MARKS.contains(last);
    ends && (first.is_ascii_uppercase() || !first.is_ascii() || sign || word.get(1) == Some(&b'\''))
}

/// Length of `-14` or `/68` behind a house number.
fn number_range_len(scan: &TextScan<'_>, at: usize) -> usize {
    let joined = b"-/".contains(&scan.byte(at));
    let len =
        scan.bytes(at + 1..scan.text.len().min(at + 7)).iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    if joined && (1..5).contains(&len) && scan.byte(at + 1).is_ascii_digit() { 1 + len } else { 0 }
}

/// Length of ` a` behind a house number.
fn suffix_letter_len(scan: &TextScan<'_>, at: usize) -> usize {
    let letter =
        scan.byte(at) == b' ' && scan.byte(at + 1).is_ascii_lowercase() && !scan.byte(at + 2).is_ascii_alphanumeric();
    let letter = letter && matches!(scan.byte(at + 2), b',' | b'\n' | b'"' | b'.');
    if letter { 2 } else { 0 }
}

/// Longest word that may name a street, in bytes.
const LONGEST_WORD: usize = 96;

/// Writes a word in lower case to `room`; `None` if it does not fit.
fn to_lower_case<'r>(word: &str, room: &'r mut [u8; LONGEST_WORD]) -> Option<&'r str> {
    let mut len = 0;
    for letter in word.chars().flat_map(char::to_lowercase) {
        letter.encode_utf8(room.get_mut(len..len + letter.len_utf8())?);
        len += letter.len_utf8();
    }
    std::str::from_utf8(room.get(..len)?).ok()
}

/// Those [`ENDINGS`] that are unambiguous even in a short or common word.
static SURE_ENDINGS: LazyLock<Vec<&str>> =
    LazyLock::new(|| wordlists::words("addresses.street_endings_unambiguous").collect());

/// Returns the start of a street whose last word has a German, Dutch or Nordic ending.
fn germanic_street_start(head: &str, last: &str) -> Option<usize> {
    let capital = last.starts_with(char::is_uppercase)
        && !last.split('-').any(|part| part.chars().skip(1).any(char::is_uppercase));
    if !capital || !last.bytes().next_back().is_some_and(|byte| LAST_LETTERS.contains(byte)) {
        return None;
    }
    let mut room = [0; LONGEST_WORD];
    let lower = to_lower_case(last, &mut room)?;
    let ends = ENDINGS.iter().any(|end| lower.ends_with(end));
    let known = || SURE_ENDINGS.iter().any(|end| lower.ends_with(end));
    if !ends || (!known() && (name_lists::is_common_word(last) || last.len() < 6)) {
        return None;
    }
    let alone = ENDINGS.contains(&lower);
    let mut start = head.len() - last.len();
    // `Berliner Straße`, `Am Alten Markt`
    while let Some(before) = head.get(..start).and_then(|head| head.strip_suffix(' ')) {
        let word = before.rsplit(' ').next().unwrap_or("");
        let joins = GERMANIC_PARTICLES.contains(word);
        if !(word.starts_with(char::is_uppercase) && (alone || joins)) || word.ends_with(',') {
            break;
        }
        start -= word.len() + 1;
        if !joins {
            break;
        }
    }
    (!alone || start + last.len() < head.len()).then_some(start)
}

/// Returns the start of a street that begins with a street word.
fn prefixed_street_start(head: &str) -> Option<usize> {
    let mut offset = 0;
    for word in head.split(' ') {
        if has_word(&PREFIXES, word) && name_len(head, offset + word.len() + 1) == Some(head.len()) {
            // `via PEP 658`: capitals after a lower-case word are not a street
            let name = head.get(offset + word.len()..).unwrap_or_default();
            let street = word.starts_with(char::is_uppercase) || name.contains(char::is_lowercase);
            return street.then_some(offset);
        }
        offset += word.len() + 1;
    }
    None
}
