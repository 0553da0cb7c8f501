//! Tokens of JSON, and of Python's printed dicts, lists and calls, with their positions; and the escapes of strings.
//!
//! Reads any text: an unclosed string ends with the text, an unknown escape stands for its character. Takes linear time
//! and copies only what [`unescape`] returns. Callers check the structure.

use std::borrow::Cow;
use std::ops::Range;

use memchr::{memchr, memchr2};

/// A token; positions are bytes of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// `{`, `[`, or in Python `(`.
    Open(u8),
    /// `}`, `]`, or in Python `)`.
    Close(u8),
    Comma,
    Colon,
    /// A string without its quotes. `is_closed`: false if the text ends in it.
    Text {
        range: Range<usize>,
        is_closed: bool,
    },
    /// A number or word without quotes.
    Word(Range<usize>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// Strings in double quotes, no parentheses.
    Json,
    /// Strings in double or single quotes; tuples.
    Python,
}

/// The tokens of a text in order.
pub struct Tokens<'t> {
    text: &'t [u8],
    /// The position after the last token.
    pub at: usize,
    notation: Notation,
}

impl<'t> Tokens<'t> {
    pub fn new(text: &'t str, notation: Notation) -> Self {
        Self { text: text.as_bytes(), at: 0, notation }
    }

    fn is_quote(&self, byte: u8) -> bool {
        byte == b'"' || byte == b'\'' && self.notation == Notation::Python
    }

    fn is_punctuation(&self, byte: u8) -> bool {
        b"{}[],:".contains(&byte) || b"()".contains(&byte) && self.notation == Notation::Python
    }
}

impl Iterator for Tokens<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        let rest = self.text.get(self.at..)?;
        let start = self.at + rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
        let byte = *self.text.get(start)?;
        self.at = start + 1;
        let token = match byte {
            _ if self.is_quote(byte) => {
                let (end, is_closed) = string_end(self.text, self.at, byte);
                self.at = end + usize::from(is_closed);
                Token::Text { range: start + 1..end, is_closed }
            }
            _ if !self.is_punctuation(byte) => {
                let rest = self.text.get(start..)?;
                let ends = |byte: &u8| byte.is_ascii_whitespace() || self.is_quote(*byte) || self.is_punctuation(*byte);
                self.at = start + rest.iter().position(ends).unwrap_or(rest.len());
                Token::Word(start..self.at)
            }
            b',' => Token::Comma,
            b':' => Token::Colon,
            b'{' | b'[' | b'(' => Token::Open(byte),
            _ => Token::Close(byte),
        };
        Some(token)
    }
}

/// The end of the string whose first byte after the opening `quote` is at `from`: the position of its closing quote,
/// and true; or the text's end, and false.
pub fn string_end(text: &[u8], from: usize, quote: u8) -> (usize, bool) {
    let mut at = from;
    while let Some(found) = text.get(at..).and_then(|rest| memchr2(quote, b'\\', rest)) {
        if text.get(at + found) != Some(&b'\\') {
            return (at + found, true);
        }
        // the escaped byte may begin a multi-byte character; the bytes that follow it are never quotes
        at += found + 2;
    }
    (text.len(), false)
}

/// The escape that a cut at `at` would split, in a string that begins at `from` (or anywhere before the backslashes).
pub fn escape_at(text: &str, from: usize, at: usize) -> Option<Range<usize>> {
    const UNICODE: usize = "\\u0000".len();
    let bytes = text.as_bytes();
    (at.saturating_sub(UNICODE - 1).max(from)..at).find_map(|start| {
        // a backslash begins an escape if the number of backslashes up to it is odd
        let backslashes = bytes.get(from..=start)?.iter().rev().take_while(|byte| **byte == b'\\').count();
        let len = if bytes.get(start + 1) == Some(&b'u') { UNICODE } else { 2 };
        (backslashes % 2 == 1 && start + len > at).then(|| start..text.len().min(start + len))
    })
}

/// Decodes the escape that `rest` begins with, and returns its length in bytes. The character is `None` for half a
/// surrogate pair, a number that is no character, invalid hex digits, or a lone backslash at the end.
pub fn decode_escape(rest: &str) -> (Option<char>, usize) {
    let code = |at: usize, digits: usize| {
        let digits = rest.get(at..at + digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        u32::from_str_radix(digits, 16).ok()
    };
    // invalid digits stay in the text
    let hex = |digits: usize| code(2, digits).map_or((None, 2), |code| (char::from_u32(code), 2 + digits));
    match rest.chars().nth(1) {
        None => (None, 1),
        Some('n') => (Some('\n'), 2),
        Some('t') => (Some('\t'), 2),
        Some('r') => (Some('\r'), 2),
        Some('b') => (Some('\u{8}'), 2),
        Some('f') => (Some('\u{c}'), 2),
        Some('x') => hex(2),
        Some('U') => hex(8),
        Some('u') => {
            let high = code(2, 4).and_then(|code| code.checked_sub(0xd800)).filter(|high| *high < 0x400);
            let low = high.filter(|_| rest.get(6..8) == Some("\\u")).and_then(|_| code(8, 4)?.checked_sub(0xdc00));
            match (high, low) {
                (Some(high), Some(low)) if low < 0x400 => (char::from_u32(0x1_0000 + (high << 10) + low), 12),
                _ => hex(4),
            }
        }
        Some(other) => (Some(other), 1 + other.len_utf8()),
    }
}

/// A string's text, escapes decoded; an escape that stands for no character becomes U+FFFD.
pub fn unescape(raw: &str) -> Cow<'_, str> {
    let next_escape = |text: &str| memchr(b'\\', text.as_bytes()).unwrap_or(text.len());
    let mut rest = raw;
    let mut out = String::new();
    loop {
        let (plain, escape) = rest.split_at(next_escape(rest));
        if escape.is_empty() && out.is_empty() && plain.len() == raw.len() {
            return raw.into();
        }
        out.push_str(plain);
        if escape.len() < 2 {
            return out.into();
        }
        let (character, len) = decode_escape(escape);
        out.push(character.unwrap_or(char::REPLACEMENT_CHARACTER));
        rest = escape.get(len..).unwrap_or_default();
    }
}

/// Appends `text` to `out` as a quoted, escaped string.
pub fn push_escaped(text: &str, quote: char, out: &mut String) {
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => out.extend(['\\', c]),
            c if u32::from(c) < 0x20 => {
                out.push_str("\\u00");
                crate::hex::push(out, &[c as u8]);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
}

#[cfg(test)]
mod tests;
