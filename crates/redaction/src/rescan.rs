//! Searches a text again with its placeholders in place, because a value can hide what is next to it: in
//! `a@b.io0c@d.io` the second address begins inside a word, and a comma inside an address shifts the columns of a
//! table. When the search ends, the output contains nothing that a further pass would find; a text that still changes
//! after [`ROUNDS`] passes becomes `[UNSCANNED]`.
//!
//! Not everything is read again. A finding that is a whole string behind its key is skipped; for a finding within such
//! a string, only that string is read; of long texts, only the parts near a finding. Texts without findings cost
//! nothing.

use std::ops::Range;

use super::detector::{Detector, UNSCANNED};
use super::find::SearchScratch;
use super::resolve::{RedactionHit, replace_hits, resolve_overlaps};
use super::sets::ByteSet;
use super::{json_repair, keys};

/// Most further passes.
const ROUNDS: usize = 6;
/// Texts up to this many bytes are read again whole, unless all findings are quiet.
const SMALL: usize = 2 << 10;
/// Bytes around a placeholder that are read again; up to twice as many, to reach the end of a line.
const NEAR: usize = 128;
/// Most bytes of a string before and behind a placeholder, and of its key.
const STRING: usize = 512;
const KEY: usize = 64;

/// Position of a hit before and after replacement, and whether its neighbours can't be affected.
struct ReplacedHit {
    original: Range<usize>,
    replacement: Range<usize>,
    isolated: bool,
}

impl Detector {
    /// Adds the hits that appear once the hits of `text` are replaced by placeholders.
    pub(super) fn find_exposed(&self, key: &str, text: &str, scratch: &mut SearchScratch) {
        for _ in 0..ROUNDS {
            if scratch.hits.is_empty() {
                return;
            }
            let places = self.replaced_hits(text, &scratch.hits);
            if places.is_empty() || (key.is_empty() && places.iter().all(|place| place.isolated)) {
                return;
            }
            let hits = std::mem::take(&mut scratch.hits);
            let replaced = replace_hits(text, &hits, &mut |hit, _, out| out.push_str(self.placeholder(hit)));
            match self.needs_rescan(key, &replaced, &places, scratch) {
                true => self.find_single_pass(key, &replaced, scratch),
                false => scratch.hits.clear(),
            }
            let more = std::mem::replace(&mut scratch.hits, hits);
            if more.is_empty() {
                return;
            }
            scratch
                .hits
                .extend(more.into_iter().map(|hit| RedactionHit { range: map_back(&places, hit.range), ..hit }));
            resolve_overlaps(&mut scratch.hits, &|hit| self.rules.get(hit.rule).map(|rule| rule.class));
            json_repair::split_breaking_hits(text, &mut scratch.hits, &|name| self.is_placeholder(name));
        }
        scratch.hits.clear();
        scratch.hits.push(RedactionHit { range: 0..text.len(), rule: usize::from(UNSCANNED), added_quotes: None });
    }

    fn replaced_hits(&self, text: &str, hits: &[RedactionHit]) -> Vec<ReplacedHit> {
        let (mut from, mut at) = (0, 0);
        let place = |(index, hit): (usize, &RedactionHit)| {
            let start = at + (hit.range.start - from);
            let quotes = hit.added_quotes.map_or(0, |backslashes| 2 * (usize::from(backslashes) + 1));
            at = start + self.placeholder(hit).len() + quotes;
            from = hit.range.end;
            ReplacedHit {
                original: hit.range.clone(),
                replacement: start..at,
                isolated: is_isolated(text, hits, index),
            }
        };
        hits.iter().enumerate().map(place).collect()
    }

    /// Whether a search near the placeholders finds anything. Short texts, and texts mostly near placeholders, are not
    /// checked: they always have to be read whole.
    fn needs_rescan(&self, key: &str, text: &str, places: &[ReplacedHit], scratch: &mut SearchScratch) -> bool {
        if !key.is_empty() && self.private_under_key(key, text).is_some() {
            return true;
        }
        if text.len() <= SMALL && places.iter().any(|place| !place.isolated) {
            return true;
        }
        let (mut strings, mut near): (Vec<Range<usize>>, Vec<Range<usize>>) = (Vec::new(), Vec::new());
        for place in places.iter().filter(|place| !place.isolated) {
            let (list, range) = match string_around(text, &place.replacement) {
                Some(range) => (&mut strings, range),
                None => {
                    (&mut near, rescan_start(text, place.replacement.start)..rescan_end(text, place.replacement.end))
                }
            };
            match list.last_mut().filter(|last| range.start <= last.end) {
                Some(last) => last.end = last.end.max(range.end),
                None => list.push(range),
            }
        }
        if strings.iter().chain(&near).map(Range::len).sum::<usize>() * 2 > text.len() {
            return true;
        }
        // Each becomes a document of its own; its key is trusted, because the text next to it may have been the reason
        // for the hit
        let mut documents = String::new();
        for range in strings {
            documents.extend(["{", text.get(range).unwrap_or_default(), "}\n"]);
        }
        scratch.trust_keys(true);
        let suspect = !documents.is_empty() && self.has_findings(&documents, scratch);
        scratch.trust_keys(false);
        suspect || near.into_iter().any(|range| self.has_findings(text.get(range).unwrap_or_default(), scratch))
    }

    fn has_findings(&self, text: &str, scratch: &mut SearchScratch) -> bool {
        self.find_single_pass("", text, scratch);
        !scratch.hits.is_empty()
    }
}

/// Bytes of a value that have no meaning in any notation.
static PLAIN: ByteSet = ByteSet::new(b" @._-+:()/#").and_alnum();

/// Whether a hit is a whole string behind its key in an object, `{"key":"hit",`, without characters that mean something
/// in a notation. Its quotes stay in place, so nothing else is read differently and no word can reach across the
/// placeholder.
fn is_isolated(text: &str, hits: &[RedactionHit], index: usize) -> bool {
    let Some(hit) = hits.get(index) else { return false };
    let from = index.checked_sub(1).and_then(|last| hits.get(last)).map_or(0, |last| last.range.end);
    let to = hits.get(index + 1).map_or(text.len(), |next| next.range.start);
    let part = |range: Range<usize>| text.as_bytes().get(range).unwrap_or_default();
    let before = part(from..hit.range.start);
    let key = before.strip_suffix(b":\"").or_else(|| before.strip_suffix(b": \""));
    let found = part(hit.range.clone());
    hit.added_quotes.is_none()
        && key.is_some_and(is_key_of_object)
        && matches!(part(hit.range.end..to), [b'"', b',' | b'}', ..])
        && PLAIN.count_leading(found) == found.len()
        && (memchr::memchr(b' ', found).is_none() || is_separate_value(text, hit.range.start))
}

/// Whether the text before a value up to a space can't be the beginning of a longer value: in other quotes, a tag, or
/// behind `=`. The placeholder has no space, and a salt is recognised only without one.
fn is_separate_value(text: &str, at: usize) -> bool {
    let near = text.as_bytes().get(at.saturating_sub(2 * NEAR)..at).unwrap_or_default();
    let run = IN_RUN.count_trailing(near);
    near.len().checked_sub(run + 1).and_then(|at| near.get(at)).is_none_or(u8::is_ascii_whitespace)
}

/// Bytes before a value that do not separate it from the text before.
static IN_RUN: ByteSet = ByteSet::new(b"'`>= \t\n\x0c\r").complement();

/// Whether a text ends with a key in an object: behind its brace, or behind a value and a comma.
fn is_key_of_object(before: &[u8]) -> bool {
    let Some(key) = before.strip_suffix(b"\"") else { return false };
    let Some(open) = key.get(..key.len() - PLAIN.count_trailing(key)).and_then(|rest| rest.strip_suffix(b"\"")) else {
        return false;
    };
    match open.trim_ascii_end() {
        [.., b'{'] => true,
        [.., last, b','] => matches!(last, b'"' | b'}' | b']' | b'e' | b'l') || last.is_ascii_digit(),
        [b','] => true,
        _ => false,
    }
}

/// Returns the string with its key, `"key":"…"`, that contains a placeholder, if it has no escapes and no table cells.
fn string_around(text: &str, placed: &Range<usize>) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let floor = placed.start.saturating_sub(STRING);
    let quote = floor + memchr::memrchr(b'"', bytes.get(floor..placed.start)?)?;
    let head = bytes.get(quote.saturating_sub(KEY)..quote)?;
    let head = head.strip_suffix(b":").or_else(|| head.strip_suffix(b": "))?.strip_suffix(b"\"")?;
    let key = head.get(head.len() - PLAIN.count_trailing(head)..)?;
    let start = quote.saturating_sub(KEY) + head.len() - key.len();
    let opened = start.checked_sub(1).filter(|open| bytes.get(*open) == Some(&b'"'))?;
    let rest = bytes.get(placed.end..bytes.len().min(placed.end + STRING))?;
    let end = placed.end + memchr::memchr(b'"', rest)? + 1;
    let plain = memchr::memchr3(b'\\', b'\n', b'|', bytes.get(quote..end)?).is_none();
    // A value whose key is a sibling has to be read together with it
    (plain && !keys::is_value_of_sibling(key) && matches!(bytes.get(end), Some(b',' | b'}'))).then_some(opened..end)
}

/// Start of the part to read before `at`: the start of a line, if one is near.
fn rescan_start(text: &str, at: usize) -> usize {
    let (far, near) = (at.saturating_sub(2 * NEAR), at.saturating_sub(NEAR));
    let between = text.as_bytes().get(far..near).unwrap_or_default();
    let from = memchr::memrchr(b'\n', between).map_or(near, |line| far + line + 1);
    (0..=from).rev().find(|from| text.is_char_boundary(*from)).unwrap_or(0)
}

/// End of the part to read behind `at`: the end of a line, if one is near.
fn rescan_end(text: &str, at: usize) -> usize {
    let near = text.len().min(at + NEAR);
    let between = text.as_bytes().get(near..text.len().min(near + NEAR)).unwrap_or_default();
    let to = memchr::memchr(b'\n', between).map_or(near, |line| near + line);
    (to..text.len()).find(|to| text.is_char_boundary(*to)).unwrap_or(text.len())
}

/// Maps a range of the replaced text back to the original; it contains each placeholder whole or not at all.
fn map_back(places: &[ReplacedHit], range: Range<usize>) -> Range<usize> {
    let one = |at: usize, end: bool| {
        let index = places
            .partition_point(|place| if end { place.replacement.start < at } else { place.replacement.start <= at });
        match index.checked_sub(1).and_then(|index| places.get(index)) {
            Some(ReplacedHit { original: held, replacement: placed, .. }) if at < placed.end => {
                if end {
                    held.end
                } else {
                    held.start
                }
            }
            Some(ReplacedHit { original: held, replacement: placed, .. }) => held.end + (at - placed.end),
            None => at,
        }
    };
    one(range.start, false)..one(range.end, true)
}
