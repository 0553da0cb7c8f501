//! Finds streets without a street word, and numbered roads, by their surroundings: an announcing cue right before them,
//! or a city with state and code behind. Runs only if the grammar of `street` found nothing; the last word before the
//! address is checked first because it rejects most.

use std::ops::Range;
use std::sync::LazyLock;

use crate::names::words;
use crate::scan::Scan;
use crate::sets::Words;

use super::near::{is_placed, is_year, likely};
use super::tail;
use crate::wordlists;

/// Cues that announce an address, and cues that do so only if a place with its code follows.
static STRONG: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::lines("addresses.announcing").collect());
static WEAK: LazyLock<Vec<&str>> = LazyLock::new(|| wordlists::lines("addresses.announcing_place").collect());
/// The last words of all cues.
static LAST: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("addresses.announcing_ends")));

/// Lower-case street words between name and number: unambiguous ones, and ones that need further evidence.
static TYPES: LazyLock<Words> = LazyLock::new(|| Words::new("ulica utca út tér körút põik"));
static TYPES_MAYBE: LazyLock<Words> = LazyLock::new(|| Words::new("u. tn mnt terrasse allee väg vej"));
/// Lower-case words within street names.
static SMALL: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("addresses.small")));
/// Words before the numbers of parts of houses, programs and texts, such as "section".
static PARTS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("addresses.parts")));
static DIRECTIONS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("addresses.directions_of_roads")));
/// Names of numbered roads: those that need no owner, and those after a word of [`OWNERS`].
static ROADS: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("addresses.roads")));
static ROADS_OWNED: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("addresses.roads_owned")));
static OWNERS: LazyLock<Words> = LazyLock::new(|| Words::new("state county us u.s old city"));

/// How strongly the words before a text announce an address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Not,
    IfPlaced,
    Surely,
}

/// Returns how strongly the words that end at `start` announce an address.
fn told(scan: &Scan<'_>, start: usize) -> Told {
    let head = scan.part(scan.widen(start.saturating_sub(24)..start).start..start);
    let head = head.trim_end_matches([' ', '\n', '\r']);
    let head = head.strip_suffix("\\n").map_or(head, |head| head.trim_end_matches("\\n"));
    if !LAST.has(head.rsplit([' ', '\n']).next().unwrap_or("")) {
        return Told::Not;
    }
    let ends = |cue: &&str| {
        head.len().checked_sub(cue.len()).and_then(|at| head.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(cue))
    };
    match (STRONG.iter().any(ends), WEAK.iter().any(ends)) {
        (true, _) => Told::Surely,
        (_, true) => Told::IfPlaced,
        _ => Told::Not,
    }
}

/// `511 State Route 690`: the length of a numbered road at the start of `rest`, which begins at `at` behind a house
/// number.
pub(super) fn road(scan: &Scan<'_>, number: &Range<usize>, at: usize, rest: &str) -> Option<usize> {
    let (len, owned) = numbered(rest)?;
    let capital = rest.starts_with(|c: char| c.is_ascii_uppercase());
    let near = || capital && owned && likely(scan, number.start);
    let year = is_year(scan.bytes(number.clone()));
    let holds = !year && (near() || is_placed(scan, at + len)) || told(scan, number.start) == Told::Surely;
    holds.then_some(len)
}

/// `1248 W Carmen` before `, Chicago, IL 60640`: like [`road`], for a street without a street word.
pub(super) fn behind_number(scan: &Scan<'_>, number: &Range<usize>, at: usize, rest: &str) -> Option<usize> {
    let (len, directed) = unnamed(rest).filter(|_| scan.byte(number.end) != b',')?;
    let year = is_year(scan.bytes(number.clone()));
    let zipped = || !year && tail::is_zipped(scan, at + len);
    let told = || directed && (tail::has_unit(scan, at + len) || told(scan, number.start) == Told::Surely);
    (zipped() || told()).then_some(len)
}

/// Length of a numbered road at the start of `rest`, and whether its form is unambiguous.
fn numbered(rest: &str) -> Option<(usize, bool)> {
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
            (OWNERS.has(bare), ROADS.has(bare) || (owner || offset == 0) && ROADS_OWNED.has(bare));
        if !(is_owner || is_road || DIRECTIONS.has(bare) && !road) || word.ends_with(',') {
            return None;
        }
        sure |= ROADS.has(bare) || owner && is_road;
        owner |= is_owner;
        road |= is_road;
        offset += word.len() + 1;
    }
    None
}

/// Length of one to three capitalised or ordinal words, optionally after a direction, and whether there is a direction.
fn unnamed(rest: &str) -> Option<(usize, bool)> {
    let (mut offset, mut names, mut directed, mut end) = (0, 0, false, 0);
    for (index, word) in rest.split(' ').enumerate().take(5) {
        let bare = word.trim_end_matches([',', '.', '!', '?', '\\']);
        let capital =
            bare.starts_with(char::is_uppercase) && bare.chars().all(|c| c.is_alphabetic() || "-'’.".contains(c));
        let ordinal = bare.len() > 2
            && bare.starts_with(|c: char| c.is_ascii_digit())
            && bare.ends_with(['t', 'd', 'h', 'T', 'D', 'H']);
        if !(capital || ordinal) || tail::is_unit(bare) {
            break;
        }
        directed |= index == 0 && DIRECTIONS.has(bare);
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
pub(super) fn before_number(scan: &Scan<'_>, base: usize, head: &str, end: usize) -> Option<usize> {
    let (mut start, mut count, mut sure, mut maybe) = (head.len(), 0, false, false);
    let mut begins = None;
    for word in head.rsplit(' ').take(5) {
        let capital =
            word.starts_with(char::is_uppercase) && word.chars().all(|c| c.is_alphabetic() || "-'’.".contains(c));
        let last = count == 0;
        sure |= last && TYPES.has(word);
        maybe |= last && TYPES_MAYBE.has(word);
        if !(capital || last && (sure || maybe) || !last && SMALL.has(word)) {
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
    let placed = || tail::is_coded(scan, end);
    let first = || head.get(begins..)?.split(' ').next();
    let odd = || first().is_some_and(|word| !words::is_common(word) && !PARTS.has(word));
    match told(scan, base + begins) {
        Told::Surely => odd() || placed(),
        Told::IfPlaced => placed() && first().is_some_and(|word| !PARTS.has(word)),
        Told::Not => false,
    }
    .then_some(begins)
}

/// `Box # 63` before a city with its state and code: returns its start.
pub(super) fn boxed(scan: &Scan<'_>, number: &Range<usize>) -> Option<usize> {
    // `x 63`, `# 63`, `#63`
    let (near, next) = (scan.before(number.start, 1), scan.before(number.start, 2));
    if near != b'#' && (near != b' ' || !matches!(next, b'x' | b'X' | b'#')) {
        return None;
    }
    let head = scan.bytes(number.start.saturating_sub(6)..number.start);
    let bare = head.strip_suffix(b"# ").or_else(|| head.strip_suffix(b"#")).unwrap_or(head);
    let bare = bare.strip_suffix(b" ")?;
    let word = bare.len().checked_sub(3).and_then(|at| bare.get(at..))?;
    let start = number.start - (head.len() - bare.len()) - 3;
    let whole = !scan.before(start, 1).is_ascii_alphanumeric();
    (word.eq_ignore_ascii_case(b"box") && whole && tail::is_zipped(scan, number.end)).then_some(start)
}
