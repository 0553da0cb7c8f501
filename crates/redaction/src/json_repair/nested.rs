//! Documents in the strings of a document: the arguments of a tool call are JSON in JSON, and their readers parse the
//! inner document too. A string is decoded only if a hit may cross a quote in it or is a bare value, which is rare.
//! Depth is bounded, because each level doubles the backslashes. The parent module splits the hits.

use std::ops::Range;

use super::super::resolve::RedactionHit;

/// Whether a hit may break a document in a string: it contains a quote, begins with punctuation between two strings, or
/// looks like a bare value.
pub(super) fn may_cross(text: &str, hit: &RedactionHit) -> bool {
    let part = |range: Range<usize>| text.as_bytes().get(range).unwrap_or_default();
    let found = part(hit.range.clone());
    let between = matches!(found.trim_ascii_start(), [b',' | b':' | b'}' | b']', ..]);
    let bare = hit.added_quotes.is_none()
        && matches!(part(hit.range.end..text.len()), [b',' | b'}' | b']', ..])
        && matches!(part(0..hit.range.start).trim_ascii_end(), [.., b',' | b':' | b'[']);
    between || bare || memchr::memchr(b'"', found).is_some()
}

/// An escape: its position in the text and in the decoded string.
struct DecodedEscape {
    raw: Range<usize>,
    at: Range<usize>,
}

/// A decoded string with the map back to the text.
pub(super) struct DecodedString {
    pub(super) text: String,
    start: usize,
    marks: Vec<DecodedEscape>,
}

impl DecodedString {
    /// Decodes the string at `range` if it may be a document.
    pub(super) fn decode(text: &str, range: Range<usize>) -> Option<Self> {
        let raw = text.get(range.clone())?;
        if !raw.starts_with(['{', '[', ' ', '\\']) {
            return None;
        }
        let mut inner = Self { text: String::with_capacity(raw.len()), start: range.start, marks: Vec::new() };
        let mut from = 0;
        while let Some(found) = memchr::memchr(b'\\', raw.as_bytes().get(from..)?) {
            let at = from + found;
            inner.text.push_str(raw.get(from..at)?);
            let (says, len) = decode_escape(raw.get(at..)?)?;
            let start = inner.text.len();
            inner.text.push(says);
            from = at + len;
            let raw = range.start + at..range.start + from;
            inner.marks.push(DecodedEscape { raw, at: start..inner.text.len() });
        }
        inner.text.push_str(raw.get(from..)?);
        Some(inner)
    }

    /// Maps a hit of the text into the decoded string; a hit that cuts an escape takes all of it.
    pub(super) fn map_in(&self, hit: &RedactionHit) -> RedactionHit {
        let one = |at: usize, end: bool| {
            let upto = self.marks.partition_point(|mark| mark.raw.start < at);
            match upto.checked_sub(1).and_then(|last| self.marks.get(last)) {
                Some(mark) if at < mark.raw.end => {
                    if end {
                        mark.at.end
                    } else {
                        mark.at.start
                    }
                }
                Some(mark) => mark.at.end + (at - mark.raw.end),
                None => at - self.start,
            }
        };
        let bare = hit.added_quotes.map(|bare| bare.saturating_sub(1) / 2);
        RedactionHit {
            range: one(hit.range.start, false)..one(hit.range.end, true),
            rule: hit.rule,
            added_quotes: bare,
        }
    }

    /// Maps a hit of the decoded string back to the text.
    pub(super) fn map_out(&self, hit: &RedactionHit) -> RedactionHit {
        let one = |at: usize| {
            let upto = self.marks.partition_point(|mark| mark.at.start < at);
            match upto.checked_sub(1).and_then(|last| self.marks.get(last)) {
                Some(mark) => mark.raw.end + at.saturating_sub(mark.at.end),
                None => self.start + at,
            }
        };
        let bare = hit.added_quotes.map(|bare| bare.saturating_mul(2).saturating_add(1));
        RedactionHit { range: one(hit.range.start)..one(hit.range.end), rule: hit.rule, added_quotes: bare }
    }
}

/// Decodes the escape at the start of `rest`, and returns its length.
fn decode_escape(rest: &str) -> Option<(char, usize)> {
    let says = match rest.as_bytes().get(1)? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'u' => return decode_unicode_escape(rest),
        byte => char::from(*byte),
    };
    Some((says, 2))
}

/// Decodes `\u0040`, or a surrogate pair of two of them.
fn decode_unicode_escape(rest: &str) -> Option<(char, usize)> {
    let code = |at: usize| u32::from_str_radix(rest.get(at..at + 4)?, 16).ok();
    let first = code(2)?;
    match first {
        0xd800..0xdc00 if rest.get(6..8) == Some("\\u") => {
            let second = code(8)?.checked_sub(0xdc00)?;
            Some((char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + second)?, 12))
        }
        _ => Some((char::from_u32(first)?, 6)),
    }
}
