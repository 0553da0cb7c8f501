//! Finds numbered roads and streets without a street word by their surroundings: a cue right before them,
//! or a place with its code after them. `street` calls these functions, for numbered roads before its own grammar and
//! otherwise after it. The last word before the address is checked first because it rejects most.

use std::ops::Range;
use std::sync::LazyLock;

use crate::names::name_lists;
use crate::scan::TextScan;
use crate::sets::WordSet;

use super::address_parts;
use super::street_context::{is_announced, is_followed_by_place, is_year};

/// Lower-case street words between name and number: unambiguous ones, and ones that need further evidence.
static STREET_WORDS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new("ulica utca út tér körút põik"));
static AMBIGUOUS_STREET_WORDS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new("u. tn mnt terrasse allee väg vej"));
/// Words before the numbers of parts of houses, programs and texts, such as "section".
static NUMBERED_THINGS: LazyLock<WordSet> = LazyLock::new(|| WordSet::listed("addresses.numbered_parts"));
static DIRECTIONS: LazyLock<WordSet> = LazyLock::new(|| WordSet::listed("addresses.road_directions"));
/// Names of numbered roads that need no owner, and words for owners of other roads.
static ROADS: LazyLock<WordSet> = LazyLock::new(|| WordSet::listed("addresses.numbered_roads"));
static OWNERS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new("state county us u.s old city"));

/// How strongly the words before a text announce an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum AddressAnnouncement {
    NotAnnounced,
    NeedsPlace,
    Certain,
}

/// Returns how strongly the words that end at `start` announce an address.
fn announcement_before(scan: &TextScan<'_>, start: usize) -> AddressAnnouncement {
    let head = scan.text_before(start, 24);
    let head = head.trim_end_matches([' ', '\n', '\r']);
    let head = head.strip_suffix("\\n").map_or(head, |head| head.trim_end_matches("\\n"));
    if !word_set!("addresses.cue_endings").contains(head.rsplit([' ', '\n']).next().unwrap_or("")) {
        return AddressAnnouncement::NotAnnounced;
    }
    let ends_head = |cue: &&str| {
        head.len().checked_sub(cue.len()).and_then(|at| head.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(cue))
    };
    match (line_list!("addresses.cues").iter().any(ends_head), line_list!("addresses.place_cues").iter().any(ends_head))
    {
        (true, _) => AddressAnnouncement::Certain,
        (_, true) => AddressAnnouncement::NeedsPlace,
        _ => AddressAnnouncement::NotAnnounced,
    }
}

/// `511 State Route 690`: the length of a numbered road at the start of `rest`, which begins at `at` after a house
/// number.
pub(super) fn numbered_road_len(scan: &TextScan<'_>, number: &Range<usize>, at: usize, rest: &str) -> Option<usize> {
    let (len, is_unambiguous) = match_numbered_road(rest)?;
    let is_capitalised = rest.starts_with(|c: char| c.is_ascii_uppercase());
    let is_road_announced = || is_capitalised && is_unambiguous && is_announced(scan, number.start);
    let is_number_year = is_year(scan.bytes(number.clone()));
    let is_address = !is_number_year && (is_road_announced() || is_followed_by_place(scan, at + len))
        || announcement_before(scan, number.start) == AddressAnnouncement::Certain;
    is_address.then_some(len)
}

/// `1248 W Carmen` before `, Chicago, IL 60640`: like [`numbered_road_len`], for a street without a street word.
pub(super) fn plain_street_len(scan: &TextScan<'_>, number: &Range<usize>, at: usize, rest: &str) -> Option<usize> {
    let (len, has_direction) = match_plain_street(rest).filter(|_| scan.byte(number.end) != b',')?;
    let has_zip_code = || !is_year(scan.bytes(number.clone())) && address_parts::has_us_zip_code(scan, at + len);
    let is_street_announced = || {
        has_direction
            && (address_parts::has_unit(scan, at + len)
                || announcement_before(scan, number.start) == AddressAnnouncement::Certain)
    };
    (has_zip_code() || is_street_announced()).then_some(len)
}

/// Length of a numbered road at the start of `rest`, and whether its form is unambiguous.
fn match_numbered_road(rest: &str) -> Option<(usize, bool)> {
    let (mut offset, mut has_owner, mut has_road, mut is_unambiguous) = (0, false, false, false);
    for word in rest.split(' ').take(6) {
        let bare = word.trim_end_matches(['.', ',', '!', '?']);
        if has_road && bare.starts_with(|c: char| c.is_ascii_digit()) {
            let digits = bare.bytes().take_while(u8::is_ascii_digit).count();
            let letter =
                bare.len() == digits || bare.len() == digits + 1 && bare.ends_with(|c: char| c.is_ascii_uppercase());
            return (digits < 5 && letter).then_some((offset + bare.len(), is_unambiguous));
        }
        let (is_owner, is_road) = (
            OWNERS.contains(bare),
            ROADS.contains(bare)
                || (has_owner || offset == 0) && word_set!("addresses.numbered_roads_after_owner").contains(bare),
        );
        if !(is_owner || is_road || DIRECTIONS.contains(bare) && !has_road) || word.ends_with(',') {
            return None;
        }
        is_unambiguous |= ROADS.contains(bare) || has_owner && is_road;
        has_owner |= is_owner;
        has_road |= is_road;
        offset += word.len() + 1;
    }
    None
}

/// Length of one to three capitalised or ordinal words, optionally after a direction, and whether there is a direction.
fn match_plain_street(rest: &str) -> Option<(usize, bool)> {
    let (mut offset, mut names, mut has_direction, mut end) = (0, 0, false, 0);
    for (index, word) in rest.split(' ').enumerate().take(5) {
        let bare = word.trim_end_matches([',', '.', '!', '?', '\\']);
        let is_capitalised =
            bare.starts_with(char::is_uppercase) && bare.chars().all(|c| c.is_alphabetic() || "-'’.".contains(c));
        let is_ordinal = bare.len() > 2
            && bare.starts_with(|c: char| c.is_ascii_digit())
            && bare.ends_with(['t', 'd', 'h', 'T', 'D', 'H']);
        if !(is_capitalised || is_ordinal) || address_parts::is_unit(bare) {
            break;
        }
        has_direction |= index == 0 && DIRECTIONS.contains(bare);
        names += usize::from(index > 0 || !has_direction);
        end = offset + bare.len();
        offset += word.len() + 1;
        if bare.len() < word.len() && !(word.ends_with('.') && bare.len() < 4) {
            break;
        }
    }
    ((1..4).contains(&names)).then_some((end, has_direction))
}

/// Start of the street that ends before a number, in its line `head`, which begins at `base`. The number ends at `end`.
pub(super) fn street_start_before_number(scan: &TextScan<'_>, base: usize, head: &str, end: usize) -> Option<usize> {
    let (mut start, mut word_count, mut has_street_word, mut has_ambiguous_word) = (head.len(), 0, false, false);
    let mut first_capital = None;
    for word in head.rsplit(' ').take(5) {
        let is_capitalised =
            word.starts_with(char::is_uppercase) && word.chars().all(|c| c.is_alphabetic() || "-'’.".contains(c));
        let is_last = word_count == 0;
        has_street_word |= is_last && STREET_WORDS.contains(word);
        has_ambiguous_word |= is_last && AMBIGUOUS_STREET_WORDS.contains(word);
        if !(is_capitalised
            || is_last && (has_street_word || has_ambiguous_word)
            || !is_last && word_set!("addresses.street_function_words").contains(word))
        {
            break;
        }
        start = start.saturating_sub(word.len());
        first_capital = if is_capitalised { Some(start) } else { first_capital };
        start = start.saturating_sub(1);
        word_count += 1;
    }
    let first_capital = first_capital?;
    if has_street_word {
        return Some(first_capital);
    }
    let has_place = || address_parts::has_place_and_postcode(scan, end);
    let first_word = || head.get(first_capital..)?.split(' ').next();
    let is_uncommon =
        || first_word().is_some_and(|word| !name_lists::is_common_word(word) && !NUMBERED_THINGS.contains(word));
    match announcement_before(scan, base + first_capital) {
        AddressAnnouncement::Certain => is_uncommon() || has_place(),
        AddressAnnouncement::NeedsPlace => {
            has_place() && first_word().is_some_and(|word| !NUMBERED_THINGS.contains(word))
        }
        AddressAnnouncement::NotAnnounced => false,
    }
    .then_some(first_capital)
}
