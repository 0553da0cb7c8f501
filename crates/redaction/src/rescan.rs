//! Searches a text again with its placeholders in place, because a value can hide what is next to it: in
//! `a@b.io0c@d.io` the second address begins inside a word, and a comma inside an address shifts the columns of a
//! table. When the search ends, the output contains nothing that a further pass would find; a text that still changes
//! after [`MAX_PASSES`] passes becomes `[UNSCANNED]`.
//!
//! Not everything is read again. A finding that is the whole string value of a key is skipped; of long texts, only the
//! parts near a finding are read. Texts without findings cost nothing.

use std::ops::Range;

use super::detector::{Detector, UNSCANNED};
use super::find::SearchScratch;
use super::resolve::{RedactionHit, replace_hits};
use super::sets::ByteSet;

/// Most further passes.
const MAX_PASSES: usize = 6;
/// Texts up to this many bytes are read again whole, unless all findings are isolated.
const SHORT_TEXT: usize = 2 << 10;
/// Bytes on each side of a placeholder that are read again; up to twice as many, to reach the end of a line.
const REACH: usize = 128;

/// Position of a hit before and after replacement, and whether its neighbours can't be affected.
struct ReplacedHit {
    original: Range<usize>,
    replacement: Range<usize>,
    isolated: bool,
}

impl Detector {
    /// Adds the hits that appear once the hits of `text` are replaced by placeholders.
    pub(super) fn find_exposed(&self, key: &str, text: &str, scratch: &mut SearchScratch) {
        for _ in 0..MAX_PASSES {
            if scratch.hits.is_empty() {
                return;
            }
            let replaced_hits = self.locate_replacements(text, &scratch.hits);
            if replaced_hits.is_empty() || (key.is_empty() && replaced_hits.iter().all(|hit| hit.isolated)) {
                return;
            }
            let hits = std::mem::take(&mut scratch.hits);
            let replaced_text = replace_hits(text, &hits, &mut |hit, _, out| out.push_str(self.placeholder(hit)));
            match self.needs_rescan(key, &replaced_text, &replaced_hits, scratch) {
                true => self.find_single_pass(key, &replaced_text, scratch),
                false => scratch.hits.clear(),
            }
            let new_hits = std::mem::replace(&mut scratch.hits, hits);
            if new_hits.is_empty() {
                return;
            }
            scratch.hits.extend(
                new_hits.into_iter().map(|hit| RedactionHit { range: map_back(&replaced_hits, hit.range), ..hit }),
            );
            self.settle_hits(text, &mut scratch.hits);
        }
        scratch.hits.clear();
        scratch.hits.push(RedactionHit { range: 0..text.len(), rule: UNSCANNED, added_quotes: None });
    }

    fn locate_replacements(&self, text: &str, hits: &[RedactionHit]) -> Vec<ReplacedHit> {
        let (mut from, mut at) = (0, 0);
        let locate = |(index, hit): (usize, &RedactionHit)| {
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
        hits.iter().enumerate().map(locate).collect()
    }

    /// Whether a search near the placeholders finds anything. Always true for short texts and for texts mostly near
    /// placeholders, because reading them whole costs no more.
    fn needs_rescan(&self, key: &str, text: &str, replaced_hits: &[ReplacedHit], scratch: &mut SearchScratch) -> bool {
        if !key.is_empty() && self.private_under_key(key, text).is_some() {
            return true;
        }
        if text.len() <= SHORT_TEXT && replaced_hits.iter().any(|hit| !hit.isolated) {
            return true;
        }
        let mut surroundings: Vec<Range<usize>> = Vec::new();
        for replacement in replaced_hits.iter().filter(|hit| !hit.isolated).map(|hit| &hit.replacement) {
            let range = rescan_start(text, replacement.start)..rescan_end(text, replacement.end);
            match surroundings.last_mut().filter(|last| range.start <= last.end) {
                Some(last) => last.end = last.end.max(range.end),
                None => surroundings.push(range),
            }
        }
        surroundings.iter().map(Range::len).sum::<usize>() * 2 > text.len()
            || surroundings.into_iter().any(|range| {
                self.find_single_pass("", text.get(range).unwrap_or_default(), scratch);
                !scratch.hits.is_empty()
            })
    }
}

/// Bytes of a value that have no meaning in any notation.
static IN_PLAIN_VALUE: ByteSet = ByteSet::new(b" @._-+:()/#").and_alnum();

/// Whether a hit is the whole string value of a key in an object, `{"key":"hit",`, without characters that mean
/// something in a notation. Its quotes stay in place, so nothing else is read differently and no word can reach across
/// the placeholder.
fn is_isolated(text: &str, hits: &[RedactionHit], index: usize) -> bool {
    let Some(hit) = hits.get(index) else { return false };
    let previous_end =
        index.checked_sub(1).and_then(|previous| hits.get(previous)).map_or(0, |previous| previous.range.end);
    let next_start = hits.get(index + 1).map_or(text.len(), |next| next.range.start);
    let bytes_in = |range: Range<usize>| text.as_bytes().get(range).unwrap_or_default();
    let before = bytes_in(previous_end..hit.range.start);
    let key = before.strip_suffix(b":\"").or_else(|| before.strip_suffix(b": \""));
    let value = bytes_in(hit.range.clone());
    hit.added_quotes.is_none()
        && key.is_some_and(is_key_of_object)
        && matches!(bytes_in(hit.range.end..next_start), [b'"', b',' | b'}', ..])
        && IN_PLAIN_VALUE.count_leading(value) == value.len()
        && (memchr::memchr(b' ', value).is_none() || is_separate_value(text, hit.range.start))
}

/// Whether no other quote, tag or `=` begins a longer value that contains the one at `at`. The placeholder has no
/// space, so the longer value might be taken for a salt once this one is replaced.
fn is_separate_value(text: &str, at: usize) -> bool {
    let before = text.as_bytes().get(at.saturating_sub(2 * REACH)..at).unwrap_or_default();
    let len = IN_WORD.count_trailing(before);
    before.len().checked_sub(len + 1).and_then(|at| before.get(at)).is_none_or(u8::is_ascii_whitespace)
}

/// Bytes that neither separate words nor begin a value.
static IN_WORD: ByteSet = ByteSet::new(b"'`>= \t\n\x0c\r").complement();

/// Whether a text ends with a key in an object: after its brace, or after a value and a comma.
fn is_key_of_object(before: &[u8]) -> bool {
    let Some(key) = before.strip_suffix(b"\"") else { return false };
    let Some(before_key) =
        key.get(..key.len() - IN_PLAIN_VALUE.count_trailing(key)).and_then(|rest| rest.strip_suffix(b"\""))
    else {
        return false;
    };
    match before_key.trim_ascii_end() {
        [.., b'{'] => true,
        [.., last, b','] => matches!(last, b'"' | b'}' | b']' | b'e' | b'l') || last.is_ascii_digit(),
        [b','] => true,
        _ => false,
    }
}

/// Start of the part to read before `at`: the start of a line, if one is near.
fn rescan_start(text: &str, at: usize) -> usize {
    let (far, near) = (at.saturating_sub(2 * REACH), at.saturating_sub(REACH));
    let between = text.as_bytes().get(far..near).unwrap_or_default();
    let from = memchr::memrchr(b'\n', between).map_or(near, |line_break| far + line_break + 1);
    text.floor_char_boundary(from)
}

/// End of the part to read after `at`: the end of a line, if one is near.
fn rescan_end(text: &str, at: usize) -> usize {
    let near = text.len().min(at + REACH);
    let between = text.as_bytes().get(near..text.len().min(near + REACH)).unwrap_or_default();
    let to = memchr::memchr(b'\n', between).map_or(near, |line_break| near + line_break);
    text.ceil_char_boundary(to)
}

/// Maps a range of the replaced text back to the original; it contains each placeholder whole or not at all.
fn map_back(replaced_hits: &[ReplacedHit], range: Range<usize>) -> Range<usize> {
    let map_position = |at: usize, is_end: bool| {
        let next = replaced_hits
            .partition_point(|hit| if is_end { hit.replacement.start < at } else { hit.replacement.start <= at });
        match next.checked_sub(1).and_then(|last| replaced_hits.get(last)) {
            Some(hit) if at < hit.replacement.end && is_end => hit.original.end,
            Some(hit) if at < hit.replacement.end => hit.original.start,
            Some(hit) => hit.original.end + (at - hit.replacement.end),
            None => at,
        }
    };
    map_position(range.start, false)..map_position(range.end, true)
}
