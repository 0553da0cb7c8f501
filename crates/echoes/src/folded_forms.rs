//! The folded forms of a text that may quote content: one as the text is, and one in lower case if that differs. For
//! every byte of a form, its position in the text is recorded. The folding rule is in `fold`, matching in `search`.

use std::ops::Range;

use super::fold::{FoldedUnit, fold_unit};

pub(super) struct FoldedForm {
    pub(super) bytes: Vec<u8>,
    /// The position in the text of each byte, then the length of the text.
    positions: Vec<u32>,
}

impl FoldedForm {
    /// The range of the text from which the bytes `start..end` of the form were made.
    pub(super) fn source_range(&self, start: usize, end: usize) -> Range<usize> {
        let source = |at: usize| self.positions.get(at).or(self.positions.last()).map_or(0, |source| *source as usize);
        source(start)..source(end)
    }

    fn fold(text: &str, lower_case: bool) -> Self {
        let capacity = text.len() + 1;
        let mut out = Self { bytes: Vec::with_capacity(capacity), positions: Vec::with_capacity(capacity) };
        let (mut at, mut after_blank) = (0, false);
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let (length, unit) = fold_unit(rest.as_bytes()).unwrap_or_else(|| {
                let first = rest.chars().next().unwrap_or(' ');
                (first.len_utf8(), FoldedUnit::Char(first))
            });
            match unit {
                FoldedUnit::Nothing => {}
                FoldedUnit::Blank if after_blank => {}
                FoldedUnit::Blank => out.push(at, b" "),
                FoldedUnit::Byte(byte) => out.push(at, &[byte]),
                FoldedUnit::Char(char) if lower_case && !char.is_ascii() => {
                    char.to_lowercase().for_each(|char| out.push_char(at, char, length));
                }
                FoldedUnit::Char(char) => out.push_char(at, char, length),
            }
            if !matches!(unit, FoldedUnit::Nothing) {
                after_blank = matches!(unit, FoldedUnit::Blank);
            }
            at += length;
        }
        out.positions.push(text.len() as u32);
        out
    }

    fn push(&mut self, position: usize, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.positions.resize(self.bytes.len(), position as u32);
    }

    /// Appends a character that was made from `source_length` bytes of the text. If it was not an escape, each of its
    /// bytes maps to its own position; otherwise all map to the start of the escape.
    fn push_char(&mut self, position: usize, char: char, source_length: usize) {
        let mut bytes = [0; 4];
        let bytes = char.encode_utf8(&mut bytes).as_bytes();
        self.bytes.extend_from_slice(bytes);
        let is_unescaped = bytes.len() == source_length;
        self.positions.extend((0..bytes.len()).map(|at| (position + if is_unescaped { at } else { 0 }) as u32));
    }
}

/// Returns every distinct form of `text`.
pub(super) fn folded_forms(text: &str) -> Vec<FoldedForm> {
    let plain = FoldedForm::fold(text, false);
    let is_wide_upper_case = |char: char| !char.is_ascii() && char.is_uppercase();
    let has_escapes = text.contains("\\u");
    if !(has_escapes || text.chars().any(is_wide_upper_case)) {
        return vec![plain];
    }
    let lower = FoldedForm::fold(text, true);
    if lower.bytes == plain.bytes { vec![plain] } else { vec![plain, lower] }
}
