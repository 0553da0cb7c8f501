//! **What**: documents in the strings of a document. **Why**: the text of a tool's call is JSON within JSON, and the
//! one within is read, too. **Invariants**: only strings are decoded in which a hit may go beyond a quote or is a bare
//! value, so that few are; depth is bounded, as each level doubles the backslashes. **Not here**: how hits are parted
//! (`super`).

use std::ops::Range;

use super::super::resolve::Hit;

/// Whether a hit may break a document in a string: it holds a quote, begins with what stands between two, or seems a
/// bare value.
pub(super) fn may_cross(text: &str, hit: &Hit) -> bool {
    let part = |range: Range<usize>| text.as_bytes().get(range).unwrap_or_default();
    let found = part(hit.range.clone());
    let between = matches!(found.trim_ascii_start(), [b',' | b':' | b'}' | b']', ..]);
    let bare = hit.bare.is_none()
        && matches!(part(hit.range.end..text.len()), [b',' | b'}' | b']', ..])
        && matches!(part(0..hit.range.start).trim_ascii_end(), [.., b',' | b':' | b'[']);
    between || bare || memchr::memchr(b'"', found).is_some()
}

/// An escape, where it stands and what it says.
struct Mark {
    raw: Range<usize>,
    at: Range<usize>,
}

/// What a string says, with the map back.
pub(super) struct Inner {
    pub(super) text: String,
    start: usize,
    marks: Vec<Mark>,
}

impl Inner {
    /// What the string at `range` says, if that may be a document.
    pub(super) fn of(text: &str, range: Range<usize>) -> Option<Self> {
        let raw = text.get(range.clone())?;
        if !raw.starts_with(['{', '[', ' ', '\\']) {
            return None;
        }
        let mut inner = Self { text: String::with_capacity(raw.len()), start: range.start, marks: Vec::new() };
        let mut from = 0;
        while let Some(found) = memchr::memchr(b'\\', raw.as_bytes().get(from..)?) {
            let at = from + found;
            inner.text.push_str(raw.get(from..at)?);
            let (says, len) = escape(raw.get(at..)?)?;
            let start = inner.text.len();
            inner.text.push(says);
            from = at + len;
            let raw = range.start + at..range.start + from;
            inner.marks.push(Mark { raw, at: start..inner.text.len() });
        }
        inner.text.push_str(raw.get(from..)?);
        Some(inner)
    }

    /// A hit of the text as one of what the string says; what cuts an escape takes it whole.
    pub(super) fn within(&self, hit: &Hit) -> Hit {
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
        let bare = hit.bare.map(|bare| bare.saturating_sub(1) / 2);
        Hit { range: one(hit.range.start, false)..one(hit.range.end, true), rule: hit.rule, bare }
    }

    /// And the other way round.
    pub(super) fn without(&self, hit: &Hit) -> Hit {
        let one = |at: usize| {
            let upto = self.marks.partition_point(|mark| mark.at.start < at);
            match upto.checked_sub(1).and_then(|last| self.marks.get(last)) {
                Some(mark) => mark.raw.end + at.saturating_sub(mark.at.end),
                None => self.start + at,
            }
        };
        let bare = hit.bare.map(|bare| bare.saturating_mul(2).saturating_add(1));
        Hit { range: one(hit.range.start)..one(hit.range.end), rule: hit.rule, bare }
    }
}

/// What the escape that `rest` begins with says, and its length.
fn escape(rest: &str) -> Option<(char, usize)> {
    let says = match rest.as_bytes().get(1)? {
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'u' => return wide(rest),
        byte => char::from(*byte),
    };
    Some((says, 2))
}

/// `\u0040`, or two of them that are one character.
fn wide(rest: &str) -> Option<(char, usize)> {
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
