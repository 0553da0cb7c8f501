//! [`DecodedView`]: a decoded window of a text with the map back to it. A range of a view maps to whole escapes of the
//! text. The other files decode, `find` searches.

use std::ops::Range;

/// A decoded unit: a range of the view and the bytes of the text that it replaces.
#[derive(Clone, Copy)]
pub(super) struct DecodedUnit {
    at: usize,
    raw: usize,
    len: u8,
    raw_len: u8,
}

/// A decoded window with the map to its text, one entry per escape.
#[derive(Default)]
pub(crate) struct DecodedView {
    pub(super) text: String,
    pub(super) marks: Vec<DecodedUnit>,
    base: usize,
    /// Position of the next byte to read in the text.
    next_raw: usize,
    /// If set, every claim covers this whole range.
    pub(super) whole_window: Option<Range<usize>>,
    pub(super) is_cut: bool,
}

impl DecodedView {
    /// The decoded text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether decoding was cut short by the limit.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut
    }

    pub(super) fn reset(&mut self, at: usize) {
        self.text.clear();
        self.marks.clear();
        (self.base, self.next_raw, self.whole_window, self.is_cut) = (at, at, None, false);
    }

    /// Adds bytes that are not escaped.
    pub(super) fn push_plain(&mut self, text: &str) {
        self.text.push_str(text);
        self.next_raw += text.len();
    }

    /// Adds a character, or nothing, decoded from the next `raw_len` bytes.
    #[inline]
    pub(super) fn push_decoded(&mut self, raw_len: usize, decoded: Option<char>) {
        let len = decoded.map_or(0, char::len_utf8);
        if let (Ok(raw_len), Ok(len)) = (u8::try_from(raw_len), u8::try_from(len)) {
            self.marks.push(DecodedUnit { at: self.text.len(), raw: self.next_raw, len, raw_len });
        }
        decoded.into_iter().for_each(|char| self.text.push(char));
        self.next_raw += raw_len;
    }

    /// The range of the text behind a range of the view: whole escapes, without those at its ends that decode to
    /// nothing.
    pub(super) fn map_range(&self, range: &Range<usize>) -> Range<usize> {
        if let Some(whole) = &self.whole_window {
            return whole.clone();
        }
        let last = |upto: usize| upto.checked_sub(1).and_then(|index| self.marks.get(index));
        let start = match last(self.marks.partition_point(|mark| mark.at <= range.start)) {
            Some(mark) => mark.raw + raw_offset(mark, range.start, 0),
            None => self.base + range.start,
        };
        let end = match last(self.marks.partition_point(|mark| mark.at < range.end)) {
            Some(mark) => mark.raw + raw_offset(mark, range.end, usize::from(mark.raw_len)),
            None => self.base + range.end,
        };
        start..end.max(start)
    }

    /// The parts of the text behind a range of the view, without removed text between them; empty if nothing was
    /// removed.
    pub(crate) fn mapped_pieces(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        let within = self.marks.iter().filter(|mark| range.start < mark.at && mark.at < range.end);
        let whole = self.map_range(range);
        let (mut pieces, mut from) = (Vec::new(), whole.start);
        for mark in within {
            pieces.push(from..mark.raw);
            from = mark.raw + usize::from(mark.raw_len);
        }
        if !pieces.is_empty() {
            pieces.push(from..whole.end);
        }
        pieces
    }

    /// Whether anything was decoded within or next to `range`.
    pub(super) fn touches(&self, range: &Range<usize>) -> bool {
        let first = self.marks.partition_point(|mark| mark.at + usize::from(mark.len) < range.start);
        self.marks.get(first).is_some_and(|mark| mark.at <= range.end)
    }
}

/// Number of bytes from the start of `mark` in the text to the position of the view's byte `at`; `within` if that is in
/// the mark.
fn raw_offset(mark: &DecodedUnit, at: usize, within: usize) -> usize {
    let behind = mark.at + usize::from(mark.len);
    if at < behind { within } else { usize::from(mark.raw_len) + (at - behind) }
}
