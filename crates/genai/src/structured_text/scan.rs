//! The scanner of [`StructureWalk`]: reads or skips strings, words and values. Each call is linear in the bytes it
//! passes; `at` never runs past the end of the text.

use std::borrow::Cow;

use kernel::notation::{string_end, unescape};

use super::{StructureLeaf, StructureWalk, find_structure, strip_quotes};

/// Maximum size of a `<…>` that counts as one word, bytes.
const MAX_ANGLE_WORD: usize = 256;

impl<'t> StructureWalk<'t> {
    /// A value without quotes: several words are a text.
    pub(super) fn leaf_from_words(words: &'t str) -> StructureLeaf<'t> {
        match words.trim() {
            text if text.contains(char::is_whitespace) => StructureLeaf::Text(text.into()),
            word => StructureLeaf::Word(word),
        }
    }

    /// The end of a printed value without quotes: before `, name=`, or before `close` outside of brackets.
    pub(super) fn printed_text_end(text: &str, close: u8) -> usize {
        let mut open = 0_usize;
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                _ if byte == close && open == 0 => return at,
                b'(' | b'[' | b'{' => open += 1,
                b')' | b']' | b'}' => open = open.saturating_sub(1),
                b',' => {
                    let after = text.get(at + 1..).unwrap_or_default().trim_start();
                    let name = after.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
                    if name > 0 && after.as_bytes().get(name) == Some(&b'=') {
                        return at;
                    }
                }
                _ => {}
            }
        }
        text.len()
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn slice(&self, from: usize, to: usize) -> &'t str {
        self.text.get(from..to).unwrap_or_default()
    }

    /// Copies white space.
    pub(super) fn copy_space(&mut self) {
        let from = self.at;
        self.skip_space();
        self.out.push_str(self.slice(from, self.at));
    }

    /// Copies the text before the next structure.
    pub(super) fn copy_prose(&mut self) {
        let to = find_structure(self.text, self.at).unwrap_or(self.text.len());
        self.out.push_str(self.slice(self.at, to));
        self.at = to;
    }

    /// Copies one character.
    pub(super) fn copy_char(&mut self) {
        let from = self.at;
        self.at += self.slice(from, self.text.len()).chars().next().map_or(0, char::len_utf8);
        self.out.push_str(self.slice(from, self.at));
    }

    /// Skips white space.
    pub(super) fn skip_space(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    /// Reads the `<class 'x'>` that begins here, if one does.
    pub(super) fn read_angle_word(&mut self) -> Option<&'t str> {
        let bytes = self.text.as_bytes().get(self.at..).filter(|bytes| bytes.starts_with(b"<"))?;
        let mut open = 0_usize;
        for (at, byte) in bytes.iter().take(MAX_ANGLE_WORD).enumerate() {
            match byte {
                b'<' => open += 1,
                b'>' => open = open.saturating_sub(1),
                _ => {}
            }
            if open == 0 {
                let word = self.slice(self.at, self.at + at + 1);
                self.at += word.len();
                return Some(word);
            }
        }
        None
    }

    /// Reads the string that begins here together with adjacent strings, which Python concatenates. Returns the raw
    /// text and the decoded one.
    pub(super) fn read_strings(&mut self) -> (&'t str, Cow<'t, str>) {
        let from = self.at;
        let mut text = unescape(strip_quotes(self.read_string()));
        loop {
            let end = self.at;
            self.skip_space();
            if !matches!(self.peek(), Some(b'"' | b'\'')) {
                self.at = end;
                return (self.slice(from, end), text);
            }
            text.to_mut().push_str(&unescape(strip_quotes(self.read_string())));
        }
    }

    /// Reads the string that begins here, with its quotes.
    pub(super) fn read_string(&mut self) -> &'t str {
        let from = self.at;
        let quote = self.peek().unwrap_or(b'"');
        let (end, is_closed) = string_end(self.text.as_bytes(), self.at + 1, quote);
        self.malformed |= !is_closed;
        self.at = end + usize::from(is_closed);
        self.slice(from, self.at)
    }

    /// Reads up to the next punctuation mark of structure.
    pub(super) fn read_word(&mut self) -> &'t str {
        let from = self.at;
        let marks = b",:{}[]()'\"";
        while self.peek().is_some_and(|byte| !marks.contains(&byte)) {
            self.at += 1;
        }
        self.slice(from, self.at)
    }

    /// Reads a name: a string, or a word up to its first `=`.
    pub(super) fn read_name(&mut self) -> &'t str {
        if let Some(b'"' | b'\'') = self.peek() {
            return self.read_string();
        }
        let from = self.at;
        if let Some(at) = self.read_word().find('=') {
            self.at = from + at + 1;
        }
        self.slice(from, self.at)
    }

    /// Skips one value. Several words without quotes are a text.
    pub(super) fn skip_value(&mut self) -> StructureLeaf<'t> {
        if let Some(raw) = self.read_angle_word() {
            return StructureLeaf::Text(raw.into());
        }
        match self.peek() {
            Some(b'"' | b'\'') => return StructureLeaf::Text(self.read_strings().1),
            Some(b'{' | b'[' | b'(') => {}
            _ => {
                let word = self.read_word();
                if !matches!(self.peek(), Some(b'(' | b'"' | b'\'' | b':')) {
                    return Self::leaf_from_words(word);
                }
            }
        }
        let mut open = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' | b'\'' => {
                    self.read_string();
                    continue;
                }
                b'{' | b'[' | b'(' => open += 1,
                b'}' | b']' | b')' if open == 0 => break,
                b'}' | b']' | b')' => open -= 1,
                b',' if open == 0 => break,
                _ => {}
            }
            self.at += 1;
            if open == 0 && matches!(byte, b'}' | b']' | b')') {
                break;
            }
        }
        StructureLeaf::Nested
    }
}
