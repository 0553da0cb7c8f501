//! Finds names that begin with a listed given name: two words in a row, or one next to words that go with persons. Only
//! capitalised words that passed the anchor filter are checked. The list is in `name_lists`, names after cues in
//! `name_cues`; `thing_names` rules out names of things.

use std::ops::Range;

use crate::addresses::address_parts::STATES;
use crate::scan::TextScan;

use super::name_cues::{is_all_capitals, is_organisation_name};
use super::name_lists::is_given_name;
use super::name_shape::{self, PersonName};
use super::thing_names;

pub(super) fn claim_listed_names(scan: &TextScan<'_>, rule: u16) {
    let mut read_until = 0;
    for at in &scan.anchors.given_names {
        if *at < read_until || scan.byte_before(*at, 1).is_ascii_alphanumeric() {
            continue;
        }
        let Some(name) = name_shape::read_name(scan.text, *at).filter(|name| name.has_given_name) else { continue };
        let before = scan.byte_before(*at, 1);
        if before == b'/'
            && let Some(range) = booking_name_range(scan, *at)
        {
            read_until = range.end;
            scan.claim(rule, range);
            continue;
        }
        if b"_/.@-#$'\\&=~".contains(&before)
            && !scan.is_escape_letter(*at)
            && !scan.part(*at..name.range.end).contains(' ')
        {
            continue;
        }
        read_until = name.range.end;
        if follows_place_word(scan, *at) {
            continue;
        }
        let is_full_name = name.word_count > 1 && !is_organisation_name(scan, &name) && !is_all_capitals(scan, &name);
        if !(is_full_name || name.word_count == 1 && !is_all_capitals(scan, &name) && is_in_person_context(scan, &name))
        {
            continue;
        }
        if thing_names::is_thing_name(scan, &name.range) {
            continue;
        }
        // Only the listed word itself is searched elsewhere; nothing is known about the word after it
        let given_len = scan.part(name.range.clone()).split(' ').next().map_or(0, str::len);
        if scan.claim(rule, name.range.clone()) && name.word_count > 1 {
            scan.claims.carried_names.borrow_mut().push(name.range.start..name.range.start + given_len);
        }
    }
}

/// `DOE/JANE MR`, as in bookings; the given name is at `at`.
fn booking_name_range(scan: &TextScan<'_>, at: usize) -> Option<Range<usize>> {
    let given_name = code_pattern!(r"([A-Z]+) (?:MRS?|MS|MISS|MSTR|CHD|DR)(?-u:\b)");
    let given_len = given_name.match_len(scan.text_after(at, 32))?;
    let head = scan.bytes(at.saturating_sub(24)..at - 1);
    let family_len = head.iter().rev().take_while(|byte| byte.is_ascii_uppercase()).count();
    let begins_word = !b"/._-".contains(&scan.byte_before(at - 1 - family_len, 1));
    (family_len > 1 && begins_word).then(|| at - 1 - family_len..at + given_len)
}

/// Whether the word before `at` makes a place of it: `San Francisco`, `Port Arthur`.
pub(super) fn follows_place_word(scan: &TextScan<'_>, at: usize) -> bool {
    let head = scan.text_before(at, 12);
    let Some(head) = head.strip_suffix(' ') else { return false };
    let word = head.strip_suffix('.').unwrap_or(head).rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or("");
    word.starts_with(char::is_uppercase) && word_set!("names.place_prefixes").contains(word)
}

/// Whether the text on either side of a single given name indicates a person.
fn is_in_person_context(scan: &TextScan<'_>, name: &PersonName) -> bool {
    let Range { start, end } = name.range;
    let after = scan.text_after(end, 20);
    // `Smith, Kelly and Sons` is a company or some other list
    let is_list_item = scan.part(start.saturating_sub(2)..start) == ", "
        && (scan.byte_before(start, 3).is_ascii_alphabetic() || scan.byte_before(start, 3) == b']');
    if is_list_item && after.starts_with([' ', ',']) {
        return false;
    }
    if let Some(rest) = after.strip_prefix("'s ").or_else(|| after.strip_prefix("’s ")) {
        // Not a person but something named after one: `Johnson's algorithm`
        return !word_set!("names.eponymous_things")
            .contains(rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or(""));
    }
    if let Some(rest) = after.strip_prefix(' ') {
        let word = rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
        let is_past_tense = word.len() > 4 && word.ends_with("ed");
        if word.starts_with(|c: char| c.is_ascii_lowercase())
            && (is_past_tense || word_set!("names.words_after_names").contains(word))
        {
            return true;
        }
    }
    let may_be_place = word_set!("names.given_names_or_places").contains(scan.part(name.range.clone()));
    if after.strip_prefix(", ").is_some_and(is_state) {
        return false;
    }
    // An item in a list of strings
    let (quote, next) = (scan.byte_before(start, 1), scan.byte(end + 1));
    let has_blank_before = scan.byte_before(start, 2) == b' ' && b",[".contains(&scan.byte_before(start, 3));
    let is_array_item =
        (has_blank_before || b"[,".contains(&scan.byte_before(start, 2))) && matches!(next, b',' | b']');
    if b"\"'".contains(&quote) && scan.byte(end) == quote && is_array_item {
        return !may_be_place;
    }
    // The name addresses a person
    let is_addressed = after.strip_prefix(", ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
    if is_addressed && scan.byte_before(start, 1) == b'\n' {
        return true;
    }
    let head = scan.text_before(start, 16);
    let Some(head) = head.strip_suffix(' ') else { return false };
    let word = head.rsplit(|c: char| !c.is_ascii_alphabetic() && c != '\'').next().unwrap_or("");
    let ends_name = after.is_empty() || !after.starts_with(['-', '_', '/', '(', '=', ':', '+']);
    let next = after.trim_start_matches(' ');
    let is_title_case = after.starts_with(' ') && next.starts_with(|c: char| c.is_ascii_uppercase());
    if matches!(word, "and" | "or" | "&") {
        // The other word must be a given name as well: companies are called `Smith and Kelly`
        let other_word = head.get(..head.len() - word.len()).unwrap_or("").trim_end();
        let other_word = other_word.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or("");
        let head = head.get(..head.len() - word.len()).unwrap_or("").trim_end();
        let has_comma_before = head.strip_suffix(other_word).is_some_and(|head| head.ends_with(", "));
        return ends_name && !is_title_case && !has_comma_before && is_given_name(other_word);
    }
    ends_name
        && !is_title_case
        && word.starts_with(|c: char| c.is_ascii_lowercase())
        && word_set!("names.words_before_names").contains(word)
        && !may_be_place
        && !follows_journey(scan, start)
}

/// Whether a text begins with a state abbreviation, as after a city: `NC`. Abbreviations that are words do not count.
fn is_state(text: &str) -> bool {
    let ends_word = text.as_bytes().get(2).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    text.get(..2)
        .is_some_and(|two| ends_word && STATES.contains(&two) && !["OK", "IN", "OR", "ME", "HI"].contains(&two))
}

/// Whether a word for a journey and `to`, `from` or `of` come before `start`: `a flight to `.
fn follows_journey(scan: &TextScan<'_>, start: usize) -> bool {
    let head = scan.text_before(start, 24);
    let head = [" to ", " from ", " of "].iter().find_map(|word| head.strip_suffix(*word));
    head.and_then(|head| head.rsplit(|c: char| !c.is_ascii_alphabetic()).next())
        .is_some_and(|word| word_set!("names.travel_words").contains(word))
}
