//! **What**: a text that may quote content, folded as content is, and once more in lower case where that makes a
//! difference. **Invariants**: every byte of a form knows the byte of the text that it comes from. **Not here**: the
//! rule (`fold`), matching (`search`).

use std::ops::Range;

use super::fold::{Put, unit};

/// One form of a text.
pub(super) struct Form {
    pub(super) bytes: Vec<u8>,
    /// Where each byte comes from, and where the text ends.
    from: Vec<u32>,
}

impl Form {
    /// The stretch of the text behind `at..end` of the form.
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

    /// A character that stands for `length` bytes: as many as it has itself, if it is no escape.
    fn char(&mut self, from: usize, char: char, length: usize) {
        let mut bytes = [0; 4];
        let bytes = char.encode_utf8(&mut bytes).as_bytes();
        self.bytes.extend_from_slice(bytes);
        let own = bytes.len() == length;
        self.from.extend((0..bytes.len()).map(|at| (from + if own { at } else { 0 }) as u32));
    }
}

/// Every form of `text`, each once.
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
