//! **What**: [`View`], a decoded window of a text with the map back to it. **Invariants**: a range of it stands for
//! whole escapes of the text. **Not here**: what is decoded (the other files), searching (`find`).

use std::ops::Range;

/// A stretch of a view that stands for another number of bytes, or for other bytes.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    at: usize,
    raw: usize,
    len: u8,
    raw_len: u8,
}

/// A decoded window with the map to its text: one entry an escape.
#[derive(Default)]
pub(crate) struct View {
    pub(super) text: String,
    pub(super) marks: Vec<Mark>,
    base: usize,
    /// The next byte of the text that is read.
    raw: usize,
    /// Every claim is one on all of this.
    pub(super) whole: Option<Range<usize>>,
    pub(super) cut: bool,
}

impl View {
    /// What is searched.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether not all could be decoded.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    pub(super) fn begin(&mut self, at: usize) {
        self.text.clear();
        self.marks.clear();
        (self.base, self.raw, self.whole, self.cut) = (at, at, None, false);
    }

    /// The next bytes stand for themselves.
    pub(super) fn copy(&mut self, text: &str) {
        self.text.push_str(text);
        self.raw += text.len();
    }

    /// The next `raw_len` bytes stand for a character, or for nothing.
    #[inline]
    pub(super) fn put(&mut self, raw_len: usize, decoded: Option<char>) {
        let len = decoded.map_or(0, char::len_utf8);
        if let (Ok(raw_len), Ok(len)) = (u8::try_from(raw_len), u8::try_from(len)) {
            self.marks.push(Mark { at: self.text.len(), raw: self.raw, len, raw_len });
        }
        decoded.into_iter().for_each(|char| self.text.push(char));
        self.raw += raw_len;
    }

    /// The range of the text that a range of the view stands for: whole escapes, without those that say nothing at
    /// its ends.
    pub(super) fn map(&self, range: &Range<usize>) -> Range<usize> {
        if let Some(whole) = &self.whole {
            return whole.clone();
        }
        let last = |upto: usize| upto.checked_sub(1).and_then(|index| self.marks.get(index));
        let start = match last(self.marks.partition_point(|mark| mark.at <= range.start)) {
            Some(mark) => mark.raw + raw_into(mark, range.start, 0),
            None => self.base + range.start,
        };
        let end = match last(self.marks.partition_point(|mark| mark.at < range.end)) {
            Some(mark) => mark.raw + raw_into(mark, range.end, usize::from(mark.raw_len)),
            None => self.base + range.end,
        };
        start..end.max(start)
    }

    /// The stretches of the text that a range of the view stands for, without what was left out between them; none
    /// where nothing was.
    pub(crate) fn pieces(&self, range: &Range<usize>) -> Vec<Range<usize>> {
        let within = self.marks.iter().filter(|mark| range.start < mark.at && mark.at < range.end);
        let whole = self.map(range);
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

    /// Whether something was decoded within or beside `range`.
    pub(super) fn touches(&self, range: &Range<usize>) -> bool {
        let first = self.marks.partition_point(|mark| mark.at + usize::from(mark.len) < range.start);
        self.marks.get(first).is_some_and(|mark| mark.at <= range.end)
    }
}

/// Bytes of the text from the start of `mark` to what the view's byte `at` stands for; `within` if it is in the mark.
fn raw_into(mark: &Mark, at: usize, within: usize) -> usize {
    let behind = mark.at + usize::from(mark.len);
    if at < behind { within } else { usize::from(mark.raw_len) + (at - behind) }
}
