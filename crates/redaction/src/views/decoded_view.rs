//! [`DecodedView`]: a decoded window of a text with the map back to it. A range of a view maps to whole escapes of the
//! text. The other files of `views` decode, `find` searches.

use std::ops::Range;

/// A decoded escape: a range of the view, and the range of the text that it replaces.
#[derive(Clone, Copy)]
pub(super) struct DecodedUnit {
    at: usize,
    raw_at: usize,
    len: u8,
    raw_len: u8,
}

/// A decoded window with the map to its text, one entry per escape.
#[derive(Default)]
pub(crate) struct DecodedView {
    /// The decoded text.
    pub(crate) text: String,
    pub(super) units: Vec<DecodedUnit>,
    window_start: usize,
    /// Position of the next byte to read in the text.
    next_raw: usize,
    /// If set, every claim covers this whole range of the text.
    pub(super) whole_window: Option<Range<usize>>,
    /// Whether decoding was cut short by the limit.
    pub(crate) is_cut: bool,
}

impl DecodedView {
    /// Prepares the view of the window that starts at `at`.
    pub(crate) fn reset(&mut self, at: usize) {
        self.text.clear();
        self.units.clear();
        (self.window_start, self.next_raw, self.whole_window, self.is_cut) = (at, at, None, false);
    }

    /// Adds bytes that are not escaped.
    #[inline]
    pub(super) fn push_plain(&mut self, text: &str) {
        if !text.is_empty() {
            self.text.push_str(text);
            self.next_raw += text.len();
        }
    }

    /// Adds a character, or nothing, decoded from the next `raw_len` bytes.
    #[inline]
    pub(super) fn push_decoded(&mut self, raw_len: usize, decoded: Option<char>) {
        let len = decoded.map_or(0, char::len_utf8);
        if let (Ok(raw_len), Ok(len)) = (u8::try_from(raw_len), u8::try_from(len)) {
            self.units.push(DecodedUnit { at: self.text.len(), raw_at: self.next_raw, len, raw_len });
        }
        decoded.into_iter().for_each(|char| self.text.push(char));
        self.next_raw += raw_len;
    }

    /// Decodes `text`. `next`: the position of the next escape from a position on. `read`: the length and character of
    /// the escape at a position, or how many bytes to skip there.
    #[inline(always)]
    pub(crate) fn decode(
        &mut self,
        text: &str,
        next: impl Fn(usize) -> Option<usize>,
        mut read: impl FnMut(usize) -> Result<(usize, Option<char>), usize>,
    ) {
        let (mut from, mut searched) = (0, 0);
        while let Some(at) = next(searched) {
            match read(at) {
                Ok((len, char)) => {
                    self.push_plain(text.get(from..at).unwrap_or_default());
                    self.push_decoded(len, char);
                    (from, searched) = (at + len, at + len);
                }
                Err(len) => searched = at + len,
            }
        }
        self.push_plain(text.get(from..).unwrap_or_default());
    }

    /// The range of the text from which a range of the view was decoded: whole escapes, without those at its ends that
    /// decode to nothing.
    pub(crate) fn map_range(&self, range: &Range<usize>) -> Range<usize> {
        if let Some(whole) = &self.whole_window {
            return whole.clone();
        }
        let last_of = |count: usize| count.checked_sub(1).and_then(|index| self.units.get(index));
        let start = match last_of(self.units.partition_point(|unit| unit.at <= range.start)) {
            Some(unit) => unit.raw_at + raw_offset(unit, range.start, 0),
            None => self.window_start + range.start,
        };
        let end = match last_of(self.units.partition_point(|unit| unit.at < range.end)) {
            Some(unit) => unit.raw_at + raw_offset(unit, range.end, usize::from(unit.raw_len)),
            None => self.window_start + range.end,
        };
        start..end.max(start)
    }

    /// The position in the view of a position in the text; within an escape, that of its start or end.
    pub(crate) fn map_position_in(&self, at: usize, is_end: bool) -> usize {
        let next = self.units.partition_point(|unit| unit.raw_at < at);
        let Some(unit) = next.checked_sub(1).and_then(|last| self.units.get(last)) else {
            return at - self.window_start;
        };
        let (raw_end, end) = (unit.raw_at + usize::from(unit.raw_len), unit.at + usize::from(unit.len));
        match at < raw_end {
            true if !is_end => unit.at,
            true => end,
            false => end + (at - raw_end),
        }
    }

    /// The parts of the text from which a range of the view was decoded, without the escapes within it. Empty if it has
    /// none.
    pub(crate) fn mapped_pieces(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        let within = self.units.iter().filter(|unit| range.start < unit.at && unit.at < range.end);
        let whole = self.map_range(range);
        let (mut pieces, mut from) = (Vec::new(), whole.start);
        for unit in within {
            pieces.push(from..unit.raw_at);
            from = unit.raw_at + usize::from(unit.raw_len);
        }
        if !pieces.is_empty() {
            pieces.push(from..whole.end);
        }
        pieces
    }

    /// Whether anything was decoded within or next to `range`.
    pub(super) fn touches(&self, range: &Range<usize>) -> bool {
        let first = self.units.partition_point(|unit| unit.at + usize::from(unit.len) < range.start);
        self.units.get(first).is_some_and(|unit| unit.at <= range.end)
    }
}

/// Number of bytes from the start of `unit` in the text to the position of the view's byte `at`; `within` if that is in
/// the unit.
fn raw_offset(unit: &DecodedUnit, at: usize, within: usize) -> usize {
    let unit_end = unit.at + usize::from(unit.len);
    if at < unit_end { within } else { usize::from(unit.raw_len) + (at - unit_end) }
}
