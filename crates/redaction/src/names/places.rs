//! Given names that are also places or units, and journeys, whose ends are places: `to Texas` and
//! `a flight to Charlotte` name no person. `listed` has the words that make a place of the name behind them.

use std::sync::LazyLock;

use crate::addresses::tail::STATES;
use crate::scan::Scan;
use crate::sets::Words;
use crate::wordlists;

/// Listed given names that are more often a place, a building or a unit if only a preposition comes before them.
static PLACES: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.given_places")));
/// Words before persons that also come before places and units.
static EITHER: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.before_places")));
/// Words for journeys, which go to a place or come from one.
static JOURNEYS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.journeys")));

/// Whether a given name may also be a place.
pub(super) fn is_place_too(name: &str) -> bool {
    PLACES.has(name)
}

/// Whether a word before a name may also come before a place.
pub(super) fn goes_with(word: &str) -> bool {
    EITHER.has(word)
}

/// Whether a text begins with a state abbreviation, as after a city: `NC`. Abbreviations that are words do not count.
pub(super) fn is_state(text: &str) -> bool {
    let ends = text.as_bytes().get(2).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    text.get(..2).is_some_and(|two| ends && STATES.contains(&two) && !["OK", "IN", "OR", "ME", "HI"].contains(&two))
}

/// Whether a word for a journey and `to`, `from` or `of` come before `start`: `a flight to `.
pub(super) fn is_journey(scan: &Scan<'_>, start: usize) -> bool {
    let head = scan.part(scan.widen(start.saturating_sub(24)..start).start..start);
    let head = [" to ", " from ", " of "].iter().find_map(|word| head.strip_suffix(*word));
    head.and_then(|head| head.rsplit(|c: char| !c.is_ascii_alphabetic()).next()).is_some_and(|word| JOURNEYS.has(word))
}
