//! Finds names that begin with a listed given name: two words in a row, or one next to words that go with persons. Only
//! capitalised words that passed the anchor filter are checked. The list is in `words`, names behind cues in `cues`;
//! `places` and `things` rule out other meanings.

use std::ops::Range;
use std::sync::LazyLock;

use crate::scan::{Claims, Scan};
use crate::sets::{Bytes, Words};

use super::cues::{all_capitals, organisation};
use super::shape::{self, Name};
use super::words::{is_given, may_be_given};
use super::{places, things};
use crate::wordlists;

/// Words before a single given name that indicate a person.
static BEFORE: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.before")));
/// Words behind a single given name that indicate a person.
static BEHIND: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.behind")));

/// Words for things named after well-known people.
static NAMED_AFTER: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.named_after")));

/// Capitalised words that turn the name behind them into a place or building.
static PLACES: LazyLock<Words> = LazyLock::new(|| Words::new(wordlists::text("names.place_prefixes")));

/// Claims listed names.
pub(super) fn claim(scan: &Scan<'_>, rule: u16, seeds: &mut Vec<Range<usize>>, claims: &mut Claims) {
    let mut upto = 0;
    for at in &scan.anchors.names {
        if *at < upto || scan.before(*at, 1).is_ascii_alphanumeric() {
            continue;
        }
        if !may_begin(scan, *at) {
            continue;
        }
        let Some(name) = shape::read(scan.text, *at).filter(|name| name.given) else { continue };
        let before = scan.before(*at, 1);
        if before == b'/'
            && let Some(range) = booked(scan, *at)
        {
            upto = range.end;
            claims.add(scan, rule, range);
            continue;
        }
        if b"_/.@-#$'\\&=~".contains(&before) && !scan.escaped(*at) && !scan.part(*at..name.range.end).contains(' ') {
            continue;
        }
        upto = name.range.end;
        if is_place(scan, *at) {
            continue;
        }
        let sure = name.words > 1 && !organisation(scan, &name) && !all_capitals(scan, &name);
        if !(sure || name.words == 1 && !all_capitals(scan, &name) && goes_with(scan, &name)) {
            continue;
        }
        if things::is_named(scan, &name.range) {
            continue;
        }
        // Only the listed word itself is searched elsewhere; nothing is known about the word behind it
        let given = scan.part(name.range.clone()).split(' ').next().map_or(0, str::len);
        if claims.add(scan, rule, name.range.clone()) && name.words > 1 {
            seeds.push(name.range.start..name.range.start + given);
        }
    }
}

/// `DOE/JANE MR`, as in bookings; the given name is at `at`.
fn booked(scan: &Scan<'_>, at: usize) -> Option<Range<usize>> {
    let capitals = |part: &[u8]| part.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    let given = at + capitals(scan.bytes(at..scan.text.len().min(at + 24)));
    let title = [&b" MR"[..], b" MRS", b" MS", b" MISS", b" MSTR", b" CHD", b" DR"].into_iter().any(|title| {
        scan.bytes(given..scan.text.len().min(given + title.len())) == title
            && !scan.byte(given + title.len()).is_ascii_alphanumeric()
    });
    let head = scan.bytes(at.saturating_sub(24)..at - 1);
    let family = head.iter().rev().take_while(|byte| byte.is_ascii_uppercase()).count();
    let free = !b"/._-".contains(&scan.before(at - 1 - family, 1));
    (title && family > 1 && free).then(|| at - 1 - family..given)
}

/// Whether the word at `at` may be a given name: a word of plain letters must be listed.
fn may_begin(scan: &Scan<'_>, at: usize) -> bool {
    static JOINTS: Bytes = Bytes::of(b"-'").and_high();
    let rest = scan.bytes(at..scan.text.len().min(at + 32));
    let len = rest.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let word = scan.part(at..at + len);
    rest.get(len).is_some_and(|byte| JOINTS.has(*byte)) || is_given(word) || may_be_given(word)
}

/// Whether the word before `at` makes a place of it: `San Francisco`, `Port Arthur`.
pub(super) fn is_place(scan: &Scan<'_>, at: usize) -> bool {
    let head = scan.part(scan.widen(at.saturating_sub(12)..at).start..at);
    let Some(head) = head.strip_suffix(' ') else { return false };
    let word = head.strip_suffix('.').unwrap_or(head).rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or("");
    word.starts_with(char::is_uppercase) && PLACES.has(word)
}

/// Whether the text on either side of a single given name indicates a person.
fn goes_with(scan: &Scan<'_>, name: &Name) -> bool {
    let Range { start, end } = name.range;
    let behind = scan.part(end..scan.widen(end..scan.text.len().min(end + 20)).end);
    // `Smith, Kelly and Sons` is a company or some other list
    let enumerated = scan.part(start.saturating_sub(2)..start) == ", "
        && (scan.before(start, 3).is_ascii_alphabetic() || scan.before(start, 3) == b']');
    if enumerated && behind.starts_with([' ', ',']) {
        return false;
    }
    if let Some(rest) = behind.strip_prefix("'s ").or_else(|| behind.strip_prefix("’s ")) {
        // Not a person but something named after one: `Johnson's algorithm`
        return !NAMED_AFTER.has(rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or(""));
    }
    if let Some(rest) = behind.strip_prefix(' ') {
        let word = rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or("");
        let past = word.len() > 4 && word.ends_with("ed");
        if word.starts_with(|c: char| c.is_ascii_lowercase()) && (past || BEHIND.has(word)) {
            return true;
        }
    }
    let place = places::is_place_too(scan.part(name.range.clone()));
    if behind.strip_prefix(", ").is_some_and(places::is_state) {
        return false;
    }
    // An item in a list of strings
    let (quote, next) = (scan.before(start, 1), scan.byte(end + 1));
    let spaced = scan.before(start, 2) == b' ' && b",[".contains(&scan.before(start, 3));
    let item = (spaced || b"[,".contains(&scan.before(start, 2))) && matches!(next, b',' | b']');
    if b"\"'".contains(&quote) && scan.byte(end) == quote && item {
        return !place;
    }
    // The name addresses a person
    let addressed = behind.strip_prefix(", ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()));
    if addressed && scan.before(start, 1) == b'\n' {
        return true;
    }
    let head = scan.part(scan.widen(start.saturating_sub(16)..start).start..start);
    let Some(head) = head.strip_suffix(' ') else { return false };
    let word = head.rsplit(|c: char| !c.is_ascii_alphabetic() && c != '\'').next().unwrap_or("");
    let ends = behind.is_empty() || !behind.starts_with(['-', '_', '/', '(', '=', ':', '+']);
    let next = behind.trim_start_matches(' ');
    let title_case = behind.starts_with(' ') && next.starts_with(|c: char| c.is_ascii_uppercase());
    if matches!(word, "and" | "or" | "&") {
        // The other word must be a given name as well: companies are called `Smith and Kelly`
        let other = head.get(..head.len() - word.len()).unwrap_or("").trim_end();
        let other = other.rsplit(|c: char| !c.is_alphabetic()).next().unwrap_or("");
        let head = head.get(..head.len() - word.len()).unwrap_or("").trim_end();
        let listed = head.strip_suffix(other).is_some_and(|head| head.ends_with(", "));
        return ends && !title_case && !listed && is_given(other);
    }
    ends && !title_case
        && word.starts_with(|c: char| c.is_ascii_lowercase())
        && BEFORE.has(word)
        && !(place && places::goes_with(word))
        && !places::is_journey(scan, start)
}
