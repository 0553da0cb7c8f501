//! [`PairCursor`], a reading position in a text, and [`KeyValuePair`], the result. The notations are in `pairs`.

use std::ops::Range;

use crate::sets::ByteSet;

/// Most bytes of a key before and after its word.
pub(super) const MAX_KEY: usize = 96;
pub(super) const MAX_VALUE: usize = 8 << 10;
/// Most blanks between a separator and a value.
pub(super) const MAX_BLANKS: usize = 64;

/// The separator between a key and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PairSeparator {
    /// `=`, `:=`, `?=`, `<-` and other assignments.
    Equals,
    /// `:`.
    Colon,
    /// `=>`.
    Arrow,
    /// `==`, `!=`, and `+=` before a string.
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
    /// `name: key` next to `value: v`.
    Sibling,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyValuePair {
    /// The whole key, without quotes.
    pub(crate) key: Range<usize>,
    pub(crate) sep: PairSeparator,
    /// The quote around the value, if any.
    pub(crate) quote: Option<u8>,
    /// Whether the key is in double quotes, as in JSON.
    pub(crate) json_key: bool,
    /// The value: the text in the quotes; without quotes, up to white space or another end.
    pub(crate) value: Range<usize>,
}

impl KeyValuePair {
    /// Whether the value is bare in JSON, so that its replacement needs quotes.
    pub(crate) fn is_bare_json(&self) -> bool {
        self.json_key && self.sep == PairSeparator::Colon && self.quote.is_none()
    }

    /// The value up to the end of its line, without a comment; `value` itself if it is quoted. Reads the line.
    pub(crate) fn line_range(&self, text: &[u8]) -> Range<usize> {
        match self.quote.is_some() || matches!(self.sep, PairSeparator::Cell | PairSeparator::Element) {
            true => self.value.clone(),
            false => line_range(text, self.value.start),
        }
    }
}

pub(super) static IN_KEY: ByteSet = ByteSet::new(b"_-.").and_alnum();

/// A reading position in a text.
pub(super) struct PairCursor<'a> {
    pub(super) text: &'a [u8],
    pub(super) at: usize,
}

impl PairCursor<'_> {
    /// The byte `offset` bytes ahead, or a line feed beyond the text.
    pub(super) fn byte(&self, offset: usize) -> u8 {
        self.text.get(self.at + offset).copied().unwrap_or(b'\n')
    }

    pub(super) fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Skips at most [`MAX_BLANKS`] bytes for which `belongs` holds.
    pub(super) fn skip(&mut self, belongs: impl Fn(u8) -> bool) -> usize {
        let mut count = 0;
        while count < MAX_BLANKS && self.text.get(self.at + count).is_some_and(|byte| belongs(*byte)) {
            count += 1;
        }
        self.at += count;
        count
    }

    /// Skips `word`, ignoring case. Returns whether it was there.
    pub(super) fn skip_word(&mut self, word: &[u8]) -> bool {
        let is_found = self.rest().get(..word.len()).is_some_and(|rest| rest.eq_ignore_ascii_case(word));
        self.at += if is_found { word.len() } else { 0 };
        is_found
    }

    /// The quote at the cursor, at any level of escapes: its backslashes and its character.
    pub(super) fn quote(&self) -> Option<(usize, u8)> {
        let escapes = match self.byte(0) {
            b'\\' => self.rest().iter().take(16).take_while(|byte| **byte == b'\\').count(),
            _ => 0,
        };
        let mark = self.byte(escapes);
        matches!(mark, b'"' | b'\'' | b'`').then_some((escapes, mark))
    }

    /// Skips the quote at the cursor, and returns its character.
    pub(super) fn skip_quote(&mut self) -> Option<u8> {
        let (escapes, mark) = self.quote()?;
        self.at += escapes + 1;
        Some(mark)
    }

    /// Skips `bytes`, and returns `sep`, which they mean.
    pub(super) fn advance(&mut self, bytes: usize, sep: PairSeparator) -> PairSeparator {
        self.at += bytes;
        sep
    }
}

/// Whether a name ends with `suffix`, ignoring case.
pub(crate) fn ends_with(name: &[u8], suffix: &[u8]) -> bool {
    name.get(name.len().wrapping_sub(suffix.len())..).is_some_and(|end| end.eq_ignore_ascii_case(suffix))
}

/// The byte before `at`, or a line feed at the start of the text.
pub(super) fn byte_before(text: &[u8], at: usize) -> u8 {
    at.checked_sub(1).and_then(|at| text.get(at)).copied().unwrap_or(b'\n')
}

/// The nearest byte before `at`, within 64, that is not in `skipped`.
pub(super) fn byte_before_skipping(text: &[u8], at: usize, skipped: &[u8]) -> u8 {
    let head = text.get(at.saturating_sub(64)..at).unwrap_or_default();
    head.iter().rev().find(|byte| !skipped.contains(byte)).copied().unwrap_or(b'\n')
}

/// Bytes that neither end a line nor may begin its end.
static IN_LINE: ByteSet = ByteSet::new(b"\n\r\"\\#").complement();

/// The range from `start` to the end of the line (raw or escaped), without trailing comment and blanks.
pub(crate) fn line_range(text: &[u8], start: usize) -> Range<usize> {
    let rest = text.get(start..).unwrap_or_default();
    let rest = rest.get(..rest.len().min(MAX_VALUE)).unwrap_or_default();
    let mut len = IN_LINE.count_leading(rest);
    while let Some(byte) = rest.get(len) {
        let ends_line = match byte {
            b'\\' => rest.get(len + 1).is_some_and(|next| b"nr\"\\".contains(next)),
            b'#' => len > 0 && rest.get(len - 1).is_some_and(u8::is_ascii_whitespace),
            _ => true,
        };
        if ends_line {
            break;
        }
        len += 1 + IN_LINE.count_leading(rest.get(len + 1..).unwrap_or_default());
    }
    start..start + rest.get(..len).unwrap_or_default().trim_ascii_end().len()
}
