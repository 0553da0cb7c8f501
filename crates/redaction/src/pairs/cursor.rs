//! **What**: a place in a text that reads on, the pair that is read, and what both need. **Not here**: notations
//! (`pairs`).

use std::ops::Range;

use crate::sets::Bytes;

/// Most bytes before and behind a word that belong to its key.
pub(super) const KEY: usize = 96;
/// Most bytes of a value.
pub(super) const VALUE: usize = 8 << 10;
/// Most blanks between a separator and a value.
pub(super) const BLANKS: usize = 64;

/// What stands between a key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sep {
    /// `=`, `:=`, `?=`, `<-`.
    Equals,
    /// `:`.
    Colon,
    /// `=>`.
    Arrow,
    /// `==`, `!=`.
    Compare,
    /// `key("v")`; the value is always quoted.
    Call,
    /// `"key", "v"`; both are quoted.
    Comma,
    /// `| key | v |`.
    Cell,
    /// `<key>v</key>`.
    Element,
    /// White space: flags, `.netrc`, `PASSWORD 'v'`.
    Space,
    /// `key is v`, `IDENTIFIED BY 'v'`.
    Is,
    /// `name: key` and `value: v` side by side.
    Sibling,
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    /// The whole key, without quotes.
    pub(crate) key: Range<usize>,
    /// What stands between.
    pub(crate) sep: Sep,
    /// The quote around the value, if any.
    pub(crate) quote: Option<u8>,
    /// Whether the key stands in double quotes: JSON.
    pub(crate) json_key: bool,
    /// The value: what is in the quotes; else up to white space or what ends it.
    pub(crate) value: Range<usize>,
}

impl Pair {
    /// Whether the value stands bare in JSON: what takes its place needs quotes ([`crate::scan::Claims::add_bare`]).
    pub(crate) fn is_bare_json(&self) -> bool {
        self.json_key && self.sep == Sep::Colon && self.quote.is_none()
    }

    /// The value up to its line's end, without a comment behind it; as `value` where that is quoted. Reads the line.
    pub(crate) fn line(&self, text: &[u8]) -> Range<usize> {
        match self.quote.is_some() || matches!(self.sep, Sep::Cell | Sep::Element) {
            true => self.value.clone(),
            false => line_of(text, self.value.start),
        }
    }
}

/// Letters and digits, and what joins them in a key.
pub(super) static IN_KEY: Bytes = Bytes::of(b"_-.").and_alnum();

/// A place in a text.
pub(super) struct Cursor<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
}

impl Cursor<'_> {
    pub(super) fn byte(&self, on: usize) -> u8 {
        self.text.get(self.at + on).copied().unwrap_or(b'\n')
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips bytes of a kind, at most [`BLANKS`] of them.
    pub(super) fn skip(&mut self, like: impl Fn(u8) -> bool) -> usize {
        let mut count = 0;
        while count < BLANKS && self.text.get(self.at + count).is_some_and(|byte| like(*byte)) {
            count += 1;
        }
        self.at += count;
        count
    }

    pub(super) fn skip_word(&mut self, word: &[u8]) -> bool {
        let found = self.rest().get(..word.len()).is_some_and(|rest| rest.eq_ignore_ascii_case(word));
        self.at += if found { word.len() } else { 0 };
        found
    }

    /// A quote at any level of escapes: its backslashes and its mark.
    pub(super) fn quote(&self) -> Option<(usize, u8)> {
        let escapes = match self.byte(0) {
            b'\\' => self.rest().iter().take(16).take_while(|byte| **byte == b'\\').count(),
            _ => 0,
        };
        let mark = self.byte(escapes);
        matches!(mark, b'"' | b'\'' | b'`').then_some((escapes, mark))
    }

    pub(super) fn skip_quote(&mut self) -> Option<u8> {
        let (escapes, mark) = self.quote()?;
        self.at += escapes + 1;
        Some(mark)
    }

    pub(super) fn take(&mut self, bytes: usize, sep: Sep) -> Sep {
        self.at += bytes;
        sep
    }
}

/// Whether a name ends so, in letters of any case.
pub(crate) fn ends_with(name: &[u8], suffix: &[u8]) -> bool {
    name.len()
        .checked_sub(suffix.len())
        .and_then(|from| name.get(from..))
        .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// The byte before `at`, or a line end where there is none.
pub(super) fn last(text: &[u8], at: usize) -> u8 {
    at.checked_sub(1).and_then(|at| text.get(at)).copied().unwrap_or(b'\n')
}

/// The nearest byte before `at` that is none of `skipped`, within 64.
pub(super) fn before(text: &[u8], at: usize, skipped: &[u8]) -> u8 {
    let head = text.get(at.saturating_sub(64)..at).unwrap_or_default();
    head.iter().rev().find(|byte| !skipped.contains(byte)).copied().unwrap_or(b'\n')
}

/// From `start` to the line's end (also an escaped one), without a comment and blanks at its end.
pub(crate) fn line_of(text: &[u8], start: usize) -> Range<usize> {
    let rest = text.get(start..).unwrap_or_default();
    let rest = rest.get(..rest.len().min(VALUE)).unwrap_or_default();
    let ends = |on: usize, byte: u8| match byte {
        b'\n' | b'\r' | b'"' => true,
        b'\\' => rest.get(on + 1).is_some_and(|next| b"nr\"\\".contains(next)),
        b'#' => on > 0 && rest.get(on - 1).is_some_and(u8::is_ascii_whitespace),
        _ => false,
    };
    let len = rest.iter().enumerate().find(|(on, byte)| ends(*on, **byte)).map_or(rest.len(), |(on, _)| on);
    start..start + rest.get(..len).unwrap_or_default().trim_ascii_end().len()
}
