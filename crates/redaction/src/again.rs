//! **What**: looks again at a text with its placeholders in place. **Why**: what stands beside a value may hide behind
//! it: in `a@b.io0c@d.io` the second address begins within a word, in a table a comma within an address moves the
//! columns; what a second pass over the output would find must be found at once. **Invariants**: after the last look
//! nothing is found in what goes on, so that a second pass changes nothing; a text that does not come to rest within
//! [`ROUNDS`] becomes `[UNSCANNED]`; a finding that is all of a string behind its key is not looked at again, of one
//! within such a string only that string, of long texts only what stands near a finding; texts without a finding cost
//! nothing.

use std::ops::Range;

use super::detector::{Detector, UNSCANNED};
use super::find::Scratch;
use super::resolve::{Hit, replace, resolve};
use super::sets::Bytes;
use super::{json, keys};

/// Further passes.
const ROUNDS: usize = 6;
/// Texts that are read again as a whole unless all findings are quiet, bytes.
const SMALL: usize = 2 << 10;
/// Bytes around a placeholder that are read again, and as many more where no line ends.
const NEAR: usize = 128;
/// Most bytes of a string before and behind a placeholder, and of its key.
const STRING: usize = 512;
const KEY: usize = 64;

/// Where a hit stood, where its placeholder stands, and whether that can have no neighbour.
struct Place {
    held: Range<usize>,
    placed: Range<usize>,
    quiet: bool,
}

impl Detector {
    /// Adds to the hits of `text` what is found once they are placeholders.
    pub(super) fn find_again(&self, key: &str, text: &str, scratch: &mut Scratch) {
        for _ in 0..ROUNDS {
            if scratch.hits.is_empty() {
                return;
            }
            let places = self.places(text, &scratch.hits);
            if places.is_empty() || (key.is_empty() && places.iter().all(|place| place.quiet)) {
                return;
            }
            let hits = std::mem::take(&mut scratch.hits);
            let replaced = replace(text, &hits, &mut |hit, _, out| out.push_str(self.placeholder(hit)));
            match self.is_suspect(key, &replaced, &places, scratch) {
                true => self.find_once(key, &replaced, scratch),
                false => scratch.hits.clear(),
            }
            let more = std::mem::replace(&mut scratch.hits, hits);
            if more.is_empty() {
                return;
            }
            scratch.hits.extend(more.into_iter().map(|hit| Hit { range: back(&places, hit.range), ..hit }));
            resolve(&mut scratch.hits, &|hit| self.rules.get(hit.rule).map(|rule| rule.class));
            json::mend(text, &mut scratch.hits, &|name| self.is_placeholder(name));
        }
        scratch.hits.clear();
        scratch.hits.push(Hit { range: 0..text.len(), rule: usize::from(UNSCANNED), bare: None });
    }

    fn places(&self, text: &str, hits: &[Hit]) -> Vec<Place> {
        let (mut from, mut at) = (0, 0);
        let place = |(index, hit): (usize, &Hit)| {
            let start = at + (hit.range.start - from);
            let quotes = hit.bare.map_or(0, |backslashes| 2 * (usize::from(backslashes) + 1));
            at = start + self.placeholder(hit).len() + quotes;
            from = hit.range.end;
            Place { held: hit.range.clone(), placed: start..at, quiet: is_quiet(text, hits, index) }
        };
        hits.iter().enumerate().map(place).collect()
    }

    /// Whether a look at what stands near the placeholders finds anything. Short texts, and those that are near
    /// placeholders for the most part, are read as a whole.
    fn is_suspect(&self, key: &str, text: &str, places: &[Place], scratch: &mut Scratch) -> bool {
        if !key.is_empty() && self.under(key, text).is_some() {
            return true;
        }
        if text.len() <= SMALL && places.iter().any(|place| !place.quiet) {
            return true;
        }
        let (mut strings, mut near): (Vec<Range<usize>>, Vec<Range<usize>>) = (Vec::new(), Vec::new());
        for place in places.iter().filter(|place| !place.quiet) {
            let (list, range) = match string_around(text, &place.placed) {
                Some(range) => (&mut strings, range),
                None => (&mut near, start_of(text, place.placed.start)..end_of(text, place.placed.end)),
            };
            match list.last_mut().filter(|last| range.start <= last.end) {
                Some(last) => last.end = last.end.max(range.end),
                None => list.push(range),
            }
        }
        if strings.iter().chain(&near).map(Range::len).sum::<usize>() * 2 > text.len() {
            return true;
        }
        // each of them is a document of its own: what stood beside it may have spoken for its key
        let mut documents = String::new();
        for range in strings {
            documents.extend(["{", text.get(range).unwrap_or_default(), "}\n"]);
        }
        scratch.trust_keys(true);
        let suspect = !documents.is_empty() && self.holds(&documents, scratch);
        scratch.trust_keys(false);
        suspect || near.into_iter().any(|range| self.holds(text.get(range).unwrap_or_default(), scratch))
    }

    fn holds(&self, text: &str, scratch: &mut Scratch) -> bool {
        self.find_once("", text, scratch);
        !scratch.hits.is_empty()
    }
}

/// What a value is made of that no notation reads.
static PLAIN: Bytes = Bytes::of(b" @._-+:()/#").and_alnum();

/// Whether a hit is all of a string behind its key in an object, `{"key":"hit",`, and held no mark of a notation: the
/// quotes stay where they were, so that nothing else is read differently, no word reaches over a placeholder, and the
/// string itself then is one.
fn is_quiet(text: &str, hits: &[Hit], index: usize) -> bool {
    let Some(hit) = hits.get(index) else { return false };
    let from = index.checked_sub(1).and_then(|last| hits.get(last)).map_or(0, |last| last.range.end);
    let to = hits.get(index + 1).map_or(text.len(), |next| next.range.start);
    let part = |range: Range<usize>| text.as_bytes().get(range).unwrap_or_default();
    let before = part(from..hit.range.start);
    let key = before.strip_suffix(b":\"").or_else(|| before.strip_suffix(b": \""));
    let found = part(hit.range.clone());
    hit.bare.is_none()
        && key.is_some_and(is_key_of_object)
        && matches!(part(hit.range.end..to), [b'"', b',' | b'}', ..])
        && PLAIN.leading(found) == found.len()
        && (memchr::memchr(b' ', found).is_none() || is_apart(text, hit.range.start))
}

/// Whether what stands before a value up to a space is no beginning of a longer one, in quotes of another kind, a tag,
/// or behind `=`: its placeholder has no space, and a salt is one only without.
fn is_apart(text: &str, at: usize) -> bool {
    let near = text.as_bytes().get(at.saturating_sub(2 * NEAR)..at).unwrap_or_default();
    let run = IN_RUN.trailing(near);
    near.len().checked_sub(run + 1).and_then(|at| near.get(at)).is_none_or(u8::is_ascii_whitespace)
}

/// What stands before a value and parts it from nothing.
static IN_RUN: Bytes = Bytes::of(b"'`>= \t\n\x0c\r").others();

/// Whether a text ends with a key where an object has one: behind its brace, or behind a value and a comma.
fn is_key_of_object(before: &[u8]) -> bool {
    let Some(key) = before.strip_suffix(b"\"") else { return false };
    let Some(open) = key.get(..key.len() - PLAIN.trailing(key)).and_then(|rest| rest.strip_suffix(b"\"")) else {
        return false;
    };
    match open.trim_ascii_end() {
        [.., b'{'] => true,
        [.., last, b','] => matches!(last, b'"' | b'}' | b']' | b'e' | b'l') || last.is_ascii_digit(),
        [b','] => true,
        _ => false,
    }
}

/// The string without escapes that a placeholder stands in, with its key: `"key":"…"`. Cells of tables go on behind it.
fn string_around(text: &str, placed: &Range<usize>) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let floor = placed.start.saturating_sub(STRING);
    let quote = floor + memchr::memrchr(b'"', bytes.get(floor..placed.start)?)?;
    let head = bytes.get(quote.saturating_sub(KEY)..quote)?;
    let head = head.strip_suffix(b":").or_else(|| head.strip_suffix(b": "))?.strip_suffix(b"\"")?;
    let key = head.get(head.len() - PLAIN.trailing(head)..)?;
    let start = quote.saturating_sub(KEY) + head.len() - key.len();
    let opened = start.checked_sub(1).filter(|open| bytes.get(*open) == Some(&b'"'))?;
    let rest = bytes.get(placed.end..bytes.len().min(placed.end + STRING))?;
    let end = placed.end + memchr::memchr(b'"', rest)? + 1;
    let plain = memchr::memchr3(b'\\', b'\n', b'|', bytes.get(quote..end)?).is_none();
    // a value that has its key beside it is read with that
    (plain && !keys::is_value_of_sibling(key) && matches!(bytes.get(end), Some(b',' | b'}'))).then_some(opened..end)
}

/// Where reading begins for what ends at `at`: a line's start, if one is near.
fn start_of(text: &str, at: usize) -> usize {
    let (far, near) = (at.saturating_sub(2 * NEAR), at.saturating_sub(NEAR));
    let between = text.as_bytes().get(far..near).unwrap_or_default();
    let from = memchr::memrchr(b'\n', between).map_or(near, |line| far + line + 1);
    (0..=from).rev().find(|from| text.is_char_boundary(*from)).unwrap_or(0)
}

/// Where reading ends for what begins at `at`: a line's end, if one is near.
fn end_of(text: &str, at: usize) -> usize {
    let near = text.len().min(at + NEAR);
    let between = text.as_bytes().get(near..text.len().min(near + NEAR)).unwrap_or_default();
    let to = memchr::memchr(b'\n', between).map_or(near, |line| near + line);
    (to..text.len()).find(|to| text.is_char_boundary(*to)).unwrap_or(text.len())
}

/// A range of the replaced text as one of the text before; placeholders are within it whole or not at all.
fn back(places: &[Place], range: Range<usize>) -> Range<usize> {
    let one = |at: usize, end: bool| {
        let index =
            places.partition_point(|place| if end { place.placed.start < at } else { place.placed.start <= at });
        match index.checked_sub(1).and_then(|index| places.get(index)) {
            Some(Place { held, placed, .. }) if at < placed.end => {
                if end {
                    held.end
                } else {
                    held.start
                }
            }
            Some(Place { held, placed, .. }) => held.end + (at - placed.end),
            None => at,
        }
    };
    one(range.start, false)..one(range.end, true)
}
