//! Tells given names from places and units of the same name: `to Texas` and `a flight to Charlotte` name no person.
//! `listed` has the words that make a place of the name after them.

use crate::addresses::address_parts::STATES;
use crate::scan::TextScan;

/// Whether a given name may also be a place.
pub(super) fn may_be_place(name: &str) -> bool {
    word_set!("names.given_names_or_places").contains(name)
}

/// Whether a text begins with a state abbreviation, as after a city: `NC`. Abbreviations that are words do not count.
pub(super) fn is_state(text: &str) -> bool {
    let ends_word = text.as_bytes().get(2).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    text.get(..2)
        .is_some_and(|two| ends_word && STATES.contains(&two) && !["OK", "IN", "OR", "ME", "HI"].contains(&two))
}

/// Whether a word for a journey and `to`, `from` or `of` come before `start`: `a flight to `.
pub(super) fn follows_journey(scan: &TextScan<'_>, start: usize) -> bool {
    let head = scan.text_before(start, 24);
    let head = [" to ", " from ", " of "].iter().find_map(|word| head.strip_suffix(*word));
    head.and_then(|head| head.rsplit(|c: char| !c.is_ascii_alphabetic()).next())
        .is_some_and(|word| word_set!("names.travel_words").contains(word))
}
