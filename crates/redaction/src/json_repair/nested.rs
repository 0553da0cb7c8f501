//! Documents in the strings of a document: the arguments of a tool call are JSON in JSON, and their readers parse the
//! inner document too. A string is decoded only if a hit may cross a quote in it or is a bare value, which is rare.
//! Depth is bounded, because each level doubles the backslashes. The parent module splits the hits.

use std::ops::Range;

use kernel::notation::decode_escape;

use super::super::resolve::RedactionHit;

/// Whether a hit may break a document in a string: it contains a quote, begins with punctuation between two strings, or
/// looks like a whole bare value.
pub(super) fn may_cross(text: &str, hit: &RedactionHit) -> bool {
    let bytes = |range: Range<usize>| text.as_bytes().get(range).unwrap_or_default();
    let found = bytes(hit.range.clone());
    let begins_between = matches!(found.trim_ascii_start(), [b',' | b':' | b'}' | b']', ..]);
    let is_bare = hit.added_quotes.is_none()
        && matches!(bytes(hit.range.end..text.len()), [b',' | b'}' | b']', ..])
        && matches!(bytes(0..hit.range.start).trim_ascii_end(), [.., b',' | b':' | b'[']);
    begins_between || is_bare || memchr::memchr(b'"', found).is_some()
}

/// An escape: its position in the text and in the decoded string.
struct DecodedEscape {
    raw: Range<usize>,
    decoded: Range<usize>,
}

/// A decoded string with the map back to the text.
pub(super) struct DecodedString {
    pub(super) text: String,
    /// Start of the string in the text.
    start: usize,
    escapes: Vec<DecodedEscape>,
}

impl DecodedString {
    /// Decodes the string at `range` if it may be a document.
    pub(super) fn decode(text: &str, range: Range<usize>) -> Option<Self> {
        let raw = text.get(range.clone())?;
        if !raw.starts_with(['{', '[', ' ', '\\']) {
            return None;
        }
        let mut document = Self { text: String::with_capacity(raw.len()), start: range.start, escapes: Vec::new() };
        let mut from = 0;
        while let Some(found) = memchr::memchr(b'\\', raw.as_bytes().get(from..)?) {
            let at = from + found;
            document.text.push_str(raw.get(from..at)?);
            let (character, len) = decode_escape(raw.get(at..)?);
            let start = document.text.len();
            document.text.push(character?);
            from = at + len;
            let raw = range.start + at..range.start + from;
            document.escapes.push(DecodedEscape { raw, decoded: start..document.text.len() });
        }
        document.text.push_str(raw.get(from..)?);
        Some(document)
    }

    /// Maps a hit of the text into the decoded string; a hit that cuts an escape takes all of it.
    pub(super) fn map_in(&self, hit: &RedactionHit) -> RedactionHit {
        let map_position = |at: usize, is_end: bool| {
            let next = self.escapes.partition_point(|escape| escape.raw.start < at);
            match next.checked_sub(1).and_then(|last| self.escapes.get(last)) {
                Some(escape) if at < escape.raw.end && is_end => escape.decoded.end,
                Some(escape) if at < escape.raw.end => escape.decoded.start,
                Some(escape) => escape.decoded.end + (at - escape.raw.end),
                None => at - self.start,
            }
        };
        let added_quotes = hit.added_quotes.map(|backslashes| backslashes.saturating_sub(1) / 2);
        RedactionHit {
            range: map_position(hit.range.start, false)..map_position(hit.range.end, true),
            rule: hit.rule,
            added_quotes,
        }
    }

    /// Maps a hit of the decoded string back to the text.
    pub(super) fn map_out(&self, hit: &RedactionHit) -> RedactionHit {
        let map_position = |at: usize| {
            let next = self.escapes.partition_point(|escape| escape.decoded.start < at);
            match next.checked_sub(1).and_then(|last| self.escapes.get(last)) {
                Some(escape) => escape.raw.end + at.saturating_sub(escape.decoded.end),
                None => self.start + at,
            }
        };
        let added_quotes = hit.added_quotes.map(|backslashes| backslashes.saturating_mul(2).saturating_add(1));
        RedactionHit { range: map_position(hit.range.start)..map_position(hit.range.end), rule: hit.rule, added_quotes }
    }
}
