//! The folded forms of a text that may quote content: as it is, and in lower case where that differs. Every byte of a
//! form records its position in the original text. The folding rule is in `fold`, matching in `search`.

use std::ops::Range;

use super::fold::{FoldedUnit, fold_unit};

/// One form of a text.
pub(super) struct FoldedForm {
    pub(super) bytes: Vec<u8>,
    /// The position in the text of each byte, then the length of the text.
    positions: Vec<u32>,
}

impl FoldedForm {
    /// The range of the text from which `at..end` of the form was made.
    pub(super) fn source_range(&self, at: usize, end: usize) -> Range<usize> {
        let place = |at: usize| self.positions.get(at).or(self.positions.last()).map_or(0, |from| *from as usize);
        place(at)..place(end)
    }

    fn fold(text: &str, lower: bool) -> Self {
        let room = text.len() + 1;
        let mut out = Self { bytes: Vec::with_capacity(room), positions: Vec::with_capacity(room) };
        let (mut at, mut after) = (0, false);
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let (length, put) = fold_unit(rest.as_bytes()).unwrap_or_else(|| {
                let first = rest.chars().next().unwrap_or(' ');
                (first.len_utf8(), FoldedUnit::Char(first))
            });
            match put {
                FoldedUnit::Nothing => {}
                FoldedUnit::Blank if after => {}
                FoldedUnit::Blank => out.push(at, b" "),
                FoldedUnit::Byte(byte) => out.push(at, &[byte]),
                FoldedUnit::Char(char) if lower && !char.is_ascii() => {
                    char.to_lowercase().for_each(|char| out.push_char(at, char, length));
                }
                FoldedUnit::Char(char) => out.push_char(at, char, length),
            }
            after = if matches!(put, FoldedUnit::Nothing) { after } else { matches!(put, FoldedUnit::Blank) };
            at += length;
        }
        out.positions.push(text.len() as u32);
        out
    }

    fn push(&mut self, from: usize, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.positions.resize(self.bytes.len(), from as u32);
    }

    /// Appends a character that was made from `length` bytes. If it was not an escape, each of its bytes maps to its
    /// own position; otherwise all map to the start of the escape.
    fn push_char(&mut self, from: usize, char: char, length: usize) {
        let mut bytes = [0; 4];
        let bytes = char.encode_utf8(&mut bytes).as_bytes();
        self.bytes.extend_from_slice(bytes);
        let own = bytes.len() == length;
        self.positions.extend((0..bytes.len()).map(|at| (from + if own { at } else { 0 }) as u32));
    }
}

/// Returns every distinct form of `text`.
pub(super) fn folded_forms(text: &str) -> Vec<FoldedForm> {
    let plain = FoldedForm::fold(text, false);
    let upper = |char: char| !char.is_ascii() && char.is_uppercase();
    let escaped = text.contains("\\u");
    if !(escaped || text.chars().any(upper)) {
        return vec![plain];
    }
    let lower = FoldedForm::fold(text, true);
    if lower.bytes == plain.bytes { vec![plain] } else { vec![plain, lower] }
}
