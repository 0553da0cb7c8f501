//! The folded forms of a text that may quote content: as it is, and in lower case where that differs. Every byte of a
//! form records its position in the original text. The folding rule is in `fold`, matching in `search`.

use std::ops::Range;

use super::fold::{Put, unit};

/// One form of a text.
pub(super) struct Form {
    pub(super) bytes: Vec<u8>,
    /// The position in the text of each byte, then the length of the text.
    from: Vec<u32>,
}

impl Form {
    /// The range of the text from which `at..end` of the form was made.
    pub(super) fn origin(&self, at: usize, end: usize) -> Range<usize> {
        let place = |at: usize| self.from.get(at).or(self.from.last()).map_or(0, |from| *from as usize);
        place(at)..place(end)
    }

    fn folded(text: &str, lower: bool) -> Self {
        let room = text.len() + 1;
        let mut out = Self { bytes: Vec::with_capacity(room), from: Vec::with_capacity(room) };
        let (mut at, mut after) = (0, false);
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let (length, put) = unit(rest.as_bytes()).unwrap_or_else(|| {
                let first = rest.chars().next().unwrap_or(' ');
                (first.len_utf8(), Put::Char(first))
            });
            match put {
                Put::Nothing => {}
                Put::Blank if after => {}
                Put::Blank => out.push(at, b" "),
                Put::Byte(byte) => out.push(at, &[byte]),
                Put::Char(char) if lower && !char.is_ascii() => {
                    char.to_lowercase().for_each(|char| out.char(at, char, length));
                }
                Put::Char(char) => out.char(at, char, length),
            }
            after = if matches!(put, Put::Nothing) { after } else { matches!(put, Put::Blank) };
            at += length;
        }
        out.from.push(text.len() as u32);
        out
    }

    fn push(&mut self, from: usize, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.from.resize(self.bytes.len(), from as u32);
    }

    /// Appends a character that was made from `length` bytes. If it was not an escape, each of its bytes maps to its
    /// own position; otherwise all map to the start of the escape.
    fn char(&mut self, from: usize, char: char, length: usize) {
        let mut bytes = [0; 4];
        let bytes = char.encode_utf8(&mut bytes).as_bytes();
        self.bytes.extend_from_slice(bytes);
        let own = bytes.len() == length;
        self.from.extend((0..bytes.len()).map(|at| (from + if own { at } else { 0 }) as u32));
    }
}

/// Returns every distinct form of `text`.
pub(super) fn forms(text: &str) -> Vec<Form> {
    let plain = Form::folded(text, false);
    let upper = |char: char| !char.is_ascii() && char.is_uppercase();
    let escaped = text.contains("\\u");
    if !(escaped || text.chars().any(upper)) {
        return vec![plain];
    }
    let lower = Form::folded(text, true);
    if lower.bytes == plain.bytes { vec![plain] } else { vec![plain, lower] }
}
