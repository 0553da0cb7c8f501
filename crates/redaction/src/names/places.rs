//! **What**: given names that are places, or a unit, too, and journeys, whose ends are places. **Why**: `to Texas` and
//! `a flight to Charlotte` tell no person. **Not here**: words that make a place of the name behind them (`listed`).

use std::sync::LazyLock;

use crate::addresses::tail::STATES;
use crate::scan::Scan;
use crate::sets::Words;
use crate::wordlists;

/// Given names of the list that are more often a place, a house or a unit, where nothing but a preposition stands
/// before them.
static PLACES: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.given_places")));
/// Words before persons that go with places and units too.
static EITHER: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.before_places")));
/// What goes to a place and comes from one.
static JOURNEYS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.journeys")));

/// Whether a given name may as well be a place.
pub(super) fn is_place_too(name: &str) -> bool {
    PLACES.has(name)
}

/// Whether a word before a name goes with places, too.
pub(super) fn goes_with(word: &str) -> bool {
    EITHER.has(word)
}

/// Whether a text begins with a state's two letters, as it stands behind a city: `NC`. Those that are words stay out.
pub(super) fn is_state(text: &str) -> bool {
    let ends = text.as_bytes().get(2).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    text.get(..2).is_some_and(|two| ends && STATES.contains(&two) && !["OK", "IN", "OR", "ME", "HI"].contains(&two))
}

/// Whether a journey's word and `to`, `from` or `of` stand before `start`: `a flight to `.
pub(super) fn is_journey(scan: &Scan<'_>, start: usize) -> bool {
    let head = scan.part(scan.widen(start.saturating_sub(24)..start).start..start);
    let head = [" to ", " from ", " of "].iter().find_map(|word| head.strip_suffix(*word));
    head.and_then(|head| head.rsplit(|c: char| !c.is_ascii_alphabetic()).next()).is_some_and(|word| JOURNEYS.has(word))
}
