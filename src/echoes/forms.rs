//! **What**: the forms in which content may stand for a text to quote it: as it is, escaped for JSON (once, twice, ASCII
//! only), by Python's `repr`, or without the escapes that the text has; each with one blank for a run of white space.
//! **Invariants**: every byte of a form knows the byte
//! of the text that it comes from. **Not here**: matching (`search`).

use std::ops::Range;

use super::blanks::blank;

/// One form of a text.
pub(super) struct Form {
    pub(super) bytes: Vec<u8>,
    /// Where each byte comes from; empty: from its own place.
    from: Vec<u32>,
}

impl Form {
    /// The stretch of the text behind `at..end` of the form.
    pub(super) fn origin(&self, at: usize, end: usize) -> Range<usize> {
        let place = |at: usize| self.from.get(at).map_or(at, |from| *from as usize);
        let last = end.saturating_sub(1);
        let next = self.from.get(end).map_or(0, |from| *from as usize);
        place(at)..place(last).saturating_add(1).max(next)
    }

    fn plain(text: &str) -> Self {
        Self { bytes: text.as_bytes().to_vec(), from: Vec::new() }
    }

    fn made(&self, mut make: impl FnMut(&mut Self, char) -> bool) -> Option<Self> {
        let text = std::str::from_utf8(&self.bytes).ok()?;
        let mut out = Self { bytes: Vec::with_capacity(text.len() + 16), from: Vec::with_capacity(text.len() + 16) };
        let mut changed = false;
        for (at, char) in text.char_indices() {
            changed |= make(&mut out, char);
            let from = self.origin(at, at + 1).start as u32;
            out.from.resize(out.bytes.len(), from);
        }
        changed.then_some(out)
    }

    /// With escapes. `quotes`: also of `"`; `ascii`: also of what is not ASCII.
    fn escaped(&self, quotes: bool, ascii: bool) -> Option<Self> {
        self.made(|out, char| {
            let short = match char {
                '\n' => 'n',
                '\r' => 'r',
                '\t' => 't',
                '\\' => '\\',
                '"' if quotes => '"',
                _ if char < ' ' || (ascii && !char.is_ascii()) => {
                    for unit in char.encode_utf16(&mut [0; 2]) {
                        out.bytes.extend_from_slice(b"\\u");
                        for shift in [12, 8, 4, 0] {
                            let digit = char::from_digit(u32::from(*unit >> shift & 15), 16).unwrap_or('0');
                            out.bytes.push(digit as u8);
                        }
                    }
                    return true;
                }
                _ => {
                    out.bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                    return false;
                }
            };
            out.bytes.extend_from_slice(&[b'\\', short as u8]);
            true
        })
    }

    /// Without the escapes that it has.
    fn unescaped(&self) -> Option<Self> {
        let text = std::str::from_utf8(&self.bytes).ok()?;
        let mut out = Self { bytes: Vec::with_capacity(text.len()), from: Vec::with_capacity(text.len()) };
        let mut rest = text.char_indices();
        let mut changed = false;
        while let Some((at, char)) = rest.next() {
            let char = match escape(char, rest.as_str()) {
                Some((char, taken)) => {
                    (0..taken).for_each(|_| {
                        rest.next();
                    });
                    changed = true;
                    char
                }
                None => char,
            };
            out.bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
            out.from.resize(out.bytes.len(), self.origin(at, at + 1).start as u32);
        }
        changed.then_some(out)
    }

    /// With one blank for each run of white space and its escapes, as content has it.
    fn folded(self) -> Self {
        let mut out = Self { bytes: Vec::with_capacity(self.bytes.len()), from: Vec::with_capacity(self.bytes.len()) };
        let (mut rest, mut at, mut after) = (self.bytes.as_slice(), 0, false);
        while let Some((first, next)) = rest.split_first() {
            let length = blank(rest);
            if length == 0 || !after {
                out.bytes.push(if length == 0 { *first } else { b' ' });
                out.from.push(self.origin(at, at + 1).start as u32);
            }
            after = length > 0;
            at += length.max(1);
            rest = if length == 0 { next } else { rest.get(length..).unwrap_or_default() };
        }
        if out.bytes == self.bytes { self } else { out }
    }
}

/// What `char` and what follows it stand for, and how many characters of that belong to it.
fn escape(char: char, rest: &str) -> Option<(char, usize)> {
    if char != '\\' {
        return None;
    }
    let next = rest.chars().next()?;
    let plain = match next {
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        '"' | '\'' | '\\' | '/' => next,
        'u' => {
            let code = u32::from_str_radix(rest.get(1..5)?, 16).ok()?;
            return Some((char::from_u32(code)?, 5));
        }
        _ => return None,
    };
    Some((plain, 1))
}

/// Every form of `text`, each once.
pub(super) fn forms(text: &str) -> Vec<Form> {
    let plain = Form::plain(text);
    let special = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\' || byte >= 0x80;
    let mut made = Vec::new();
    if text.bytes().any(special) {
        let json = plain.escaped(true, false);
        let twice = json.as_ref().and_then(|json| json.escaped(true, false));
        let bare = plain.unescaped();
        let barer = bare.as_ref().and_then(Form::unescaped);
        made.extend(
            [plain.escaped(false, false), plain.escaped(true, true), barer, bare, twice, json].into_iter().flatten(),
        );
    }
    let mut out = vec![plain.folded()];
    for form in made.into_iter().map(Form::folded) {
        if out.iter().all(|known| known.bytes != form.bytes) {
            out.push(form);
        }
    }
    out
}
