//! Finds streets without a street word, and numbered roads, by their surroundings: an announcing cue right before them,
//! or a city with state and code behind. Runs only if the grammar of `street` found nothing; the last word before the
//! address is checked first because it rejects most.

use std::ops::Range;
use std::sync::LazyLock;

use crate::names::name_lists;
use crate::scan::TextScan;
use crate::sets::WordSet;

use super::address_parts;
use super::street_context::{is_announced, is_followed_by_place, is_year};
use crate::wordlists;

/// Cues that announce an address, and cues that do so only if a place with its code follows.
static SURE_CUES: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::lines("addresses.cues").collect());
static CUES_BEFORE_PLACE: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::lines("addresses.place_cues").collect());
/// The last words of all cues.
static LAST_WORDS_OF_CUES: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("addresses.cue_endings")));

/// Lower-case street words between name and number: unambiguous ones, and ones that need further evidence.
static TYPES: LazyLock<WordSet> = LazyLock::new(|| WordSet::new("ulica utca út tér körút põik"));
static TYPES_MAYBE: LazyLock<WordSet> = LazyLock::new(|| WordSet::new("u. tn mnt terrasse allee väg vej"));
/// Lower-case words within street names.
static SMALL: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("addresses.street_function_words")));
/// Words before the numbers of parts of houses, programs and texts, such as "section".
static PARTS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("addresses.numbered_parts")));
static DIRECTIONS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("addresses.road_directions")));
/// Names of numbered roads: those that need no owner, and those after a word of [`OWNERS`].
static ROADS: LazyLock<WordSet> = LazyLock::new(|| WordSet::new(wordlists::text("addresses.numbered_roads")));
static ROADS_OWNED: LazyLock<WordSet> =
    LazyLock::new(|| WordSet::new(wordlists::text("addresses.numbered_roads_after_owner")));
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
    let head = scan.part(scan.widen_to_characters(start.saturating_sub(24)..start).start..start);
    let head = head.trim_end_matches([' ', '\n', '\r']);
    let head = head.strip_suffix("\\n").map_or(head, |head| head.trim_end_matches("\\n"));
    if !LAST_WORDS_OF_CUES.contains(head.rsplit([' ', '\n']).next().unwrap_or("")) {
        return AddressAnnouncement::NotAnnounced;
    }
    let ends = |cue: &&str| {
        head.len().checked_sub(cue.len()).and_then(|at| head.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(cue))
    };
    match (SURE_CUES.iter().any(ends), CUES_BEFORE_PLACE.iter().any(ends)) {
        (true, _) => AddressAnnouncement::Certain,
        (_, true) => AddressAnnouncement::NeedsPlace,
        _ => AddressAnnouncement::NotAnnounced,
    }
}

/// `511 State Route 690`: the length of a numbered road at the start of `rest`, which begins at `at` behind a house
/// number.
pub(super) fn numbered_road_len(scan: &TextScan<'_>, number: &Range<usize>, at: usize, rest: &str) -> Option<usize> {
    let (len, owned) = match_numbered_road(rest)?;
    let capital = rest.starts_with(|c: char| c.is_ascii_uppercase());
    let near = || capital && owned && is_announced(scan, number.start);
    let year = is_year(scan.bytes(number.clone()));
    let holds = !year && (near() || is_followed_by_place(scan, at + len))
        || announcement_before(scan, number.start) == AddressAnnouncement::Certain;
    holds.then_some(len)
}

/// `1248 W Carmen` before `, Chicago, IL 60640`: like [`road`], for a street without a street word.
pub(super) fn street_len_behind_number(
    scan: &TextScan<'_>,
    number: &Range<usize>,
    at: usize,
    rest: &str,
) -> Option<usize> {
    let (len, directed) = match_plain_street(rest).filter(|_| scan.byte(number.end) != b',')?;
    let year = is_year(scan.bytes(number.clone()));
    let zipped = || !year && address_parts::has_us_zip_code(scan, at + len);
    let told = || {
        directed
            && (address_parts::has_unit(scan, at + len)
                || announcement_before(scan, number.start) == AddressAnnouncement::Certain)
    };
    (zipped() || told()).then_some(len)
}

/// Length of a numbered road at the start of `rest`, and whether its form is unambiguous.
fn match_numbered_road(rest: &str) -> Option<(usize, bool)> {
    let (mut offset, mut owner, mut road, mut sure) = (0, false, false, false);
    for word in rest.split(' ').take(6) {
        let bare = word.trim_end_matches(['.', ',', '!', '?']);
        if road && bare.starts_with(|c: char| c.is_ascii_digit()) {
            let digits = bare.bytes().take_while(u8::is_ascii_digit).count();
            let letter =
                bare.len() == digits || bare.len() == digits + 1 && bare.ends_with(|c: char| c.is_ascii_uppercase());
            return (digits < 5 && letter).then_some((offset + bare.len(), sure));
        }
        let (is_owner, is_road) =
            (OWNERS.contains(bare), ROADS.contains(bare) || (owner || offset == 0) && ROADS_OWNED.contains(bare));
        if !(is_owner || is_road || DIRECTIONS.contains(bare) && !road) || word.ends_with(',') {
            return None;
        }
        sure |= ROADS.contains(bare) || owner && is_road;
        owner |= is_owner;
        road |= is_road;
        offset += word.len() + 1;
    }
    None
}

/// Length of one to three capitalised or ordinal words, optionally after a direction, and whether there is a direction.
fn match_plain_street(rest: &str) -> Option<(usize, bool)> {
    let (mut offset, mut names, mut directed, mut end) = (0, 0, false, 0);
    for (index, word) in rest.split(' ').enumerate().take(5) {
        let bare = word.trim_end_matches([',', '.', '!', '?', '\\']);
        let capital =
            bare.starts_with(char::is_uppercase) && bare.chars().all(|c| c.is_alphabetic() || "-'’.".contains(c));
        let ordinal = bare.len() > 2
            && bare.starts_with(|c: char| c.is_ascii_digit())
            && bare.ends_with(['t', 'd', 'h', 'T', 'D', 'H']);
        if !(capital || ordinal) || address_parts::is_unit(bare) {
            break;
        }
        directed |= index == 0 && DIRECTIONS.contains(bare);
        names += usize::from(index > 0 || !directed);
        end = offset + bare.len();
        offset += word.len() + 1;
        if bare.len() < word.len() && !(word.ends_with('.') && bare.len() < 4) {
            break;
        }
    }
    ((1..4).contains(&names)).then_some((end, directed))
}

/// Start of the street that ends before a number, in its line `head`, which begins at `base`; `end`: behind the number.
pub(super) fn street_start_before_number(scan: &TextScan<'_>, base: usize, head: &str, end: usize) -> Option<usize> {
    let (mut start, mut count, mut sure, mut maybe) = (head.len(), 0, false, false);
    let mut begins = None;
    for word in head.rsplit(' ').take(5) {
        let capital =
            word.starts_with(char::is_uppercase) && word.chars().all(|c| c.is_alphabetic() || "-'’.".contains(c));
        let last = count == 0;
        sure |= last && TYPES.contains(word);
        maybe |= last && TYPES_MAYBE.contains(word);
        if !(capital || last && (sure || maybe) || !last && SMALL.contains(word)) {
            break;
        }
        start = start.saturating_sub(word.len());
        begins = if capital { Some(start) } else { begins };
        start = start.saturating_sub(1);
        count += 1;
    }
    let begins = begins?;
    if sure {
        return Some(begins);
    }
    let placed = || address_parts::has_place_and_postcode(scan, end);
    let first = || head.get(begins..)?.split(' ').next();
    let odd = || first().is_some_and(|word| !name_lists::is_common_word(word) && !PARTS.contains(word));
    match announcement_before(scan, base + begins) {
        AddressAnnouncement::Certain => odd() || placed(),
        AddressAnnouncement::NeedsPlace => placed() && first().is_some_and(|word| !PARTS.contains(word)),
        AddressAnnouncement::NotAnnounced => false,
    }
    .then_some(begins)
}

/// `Box # 63` before a city with its state and code: returns its start.
pub(super) fn post_box_start(scan: &TextScan<'_>, number: &Range<usize>) -> Option<usize> {
    // `x 63`, `# 63`, `#63`
    let (near, next) = (scan.byte_before(number.start, 1), scan.byte_before(number.start, 2));
    if near != b'#' && (near != b' ' || !matches!(next, b'x' | b'X' | b'#')) {
        return None;
    }
    let head = scan.bytes(number.start.saturating_sub(6)..number.start);
    let bare = head.strip_suffix(b"# ").or_else(|| head.strip_suffix(b"#")).unwrap_or(head);
    let bare = bare.strip_suffix(b" ")?;
    let word = bare.len().checked_sub(3).and_then(|at| bare.get(at..))?;
    let start = number.start - (head.len() - bare.len()) - 3;
    let whole = !scan.byte_before(start, 1).is_ascii_alphanumeric();
    (word.eq_ignore_ascii_case(b"box") && whole && address_parts::has_us_zip_code(scan, number.end)).then_some(start)
}
