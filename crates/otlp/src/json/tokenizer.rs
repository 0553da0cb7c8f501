//! A tokenizer for JSON text (RFC 8259) that is known to be UTF-8. It only moves forward and reads each byte once;
//! strings without escapes are borrowed. `decode` interprets values. It is not the reader of `kernel::notation`, which
//! accepts any text, and on which this crate must not depend.

use memchr::memchr2;

use super::error::{JsonError, MAX_SKIP_DEPTH};
use super::number;

/// A position in the text.
pub(super) struct JsonTokenizer<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> JsonTokenizer<'a> {
    /// Starts at the beginning of `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Number of bytes read so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// An error at the current position.
    pub(super) fn error(&self, what: &'static str) -> JsonError {
        JsonError { message: what, at: self.at }
    }

    /// The next byte that is not white space, without consuming it.
    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Consumes `wanted` if it is next.
    pub(super) fn take_byte(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// Consumes `wanted`, or fails with `what`.
    pub(super) fn expect_byte(&mut self, wanted: u8, what: &'static str) -> Result<(), JsonError> {
        if self.take_byte(wanted) { Ok(()) } else { Err(self.error(what)) }
    }

    /// Fails unless only white space is left.
    pub(super) fn expect_end(&mut self) -> Result<(), JsonError> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.error("text after the end of the request")),
        }
    }

    /// Advances to the next element of a list or object that `close` ends, consuming the comma. Returns false if the
    /// end was reached and consumed.
    pub(super) fn next_element(&mut self, first: bool, close: u8) -> Result<bool, JsonError> {
        if self.take_byte(close) {
            return Ok(false);
        }
        if first {
            return Ok(true);
        }
        self.expect_byte(b',', if close == b']' { "expected `,` or `]`" } else { "expected `,` or `}`" })?;
        if self.peek() == Some(close) {
            return Err(self.error("trailing comma in a list or object"));
        }
        Ok(true)
    }

    /// Consumes `null` if it is next.
    pub(super) fn null(&mut self) -> Result<bool, JsonError> {
        if self.peek() != Some(b'n') {
            return Ok(false);
        }
        self.expect_word(b"null").map(|()| true)
    }

    /// Reads `true` or `false`.
    pub(super) fn boolean(&mut self) -> Result<bool, JsonError> {
        match self.peek() {
            Some(b't') => self.expect_word(b"true").map(|()| true),
            Some(b'f') => self.expect_word(b"false").map(|()| false),
            _ => Err(self.error("expected `true` or `false`")),
        }
    }

    fn expect_word(&mut self, word: &[u8]) -> Result<(), JsonError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word) {
            return Err(self.error("not a JSON value"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Reads the text of a number.
    pub(super) fn number(&mut self) -> Result<&'a [u8], JsonError> {
        self.peek();
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let token = number::scan_number(rest).ok_or_else(|| self.error("not a number"))?;
        self.at += token.len();
        Ok(token)
    }

    /// Reads a key and its colon. The key is unescaped, and borrowed from the text if it has no escapes.
    pub(super) fn key<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], JsonError>
    where
        'a: 's,
    {
        if self.peek() != Some(b'"') {
            return Err(self.error("expected a key in double quotes"));
        }
        let key = self.string(scratch)?;
        self.expect_byte(b':', "expected `:` after a key")?;
        Ok(key)
    }

    /// Reads a whole string, unescaped; borrowed from the text if it has no escapes.
    pub(super) fn string<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8], JsonError>
    where
        'a: 's,
    {
        let (start, is_complete) = self.string_start()?;
        if is_complete {
            return Ok(start);
        }
        scratch.clear();
        scratch.extend_from_slice(start);
        self.string_rest(Some(scratch))?;
        Ok(scratch)
    }

    /// Reads the opening quote and the text up to the first escape. If there is none, reads the whole string with its
    /// closing quote and returns `true`.
    pub(super) fn string_start(&mut self) -> Result<(&'a [u8], bool), JsonError> {
        self.expect_byte(b'"', "expected a string")?;
        let (run, stop) = self.plain_run()?;
        if stop == b'"' {
            self.at += 1;
        }
        Ok((run, stop == b'"'))
    }

    /// After [`JsonTokenizer::string_start`] found an escape: reads the rest with the closing quote, appending it to
    /// `out` if given.
    pub(super) fn string_rest(&mut self, mut out: Option<&mut Vec<u8>>) -> Result<(), JsonError> {
        loop {
            let (run, stop) = self.plain_run()?;
            if let Some(out) = out.as_deref_mut() {
                out.extend_from_slice(run);
            }
            if stop == b'"' {
                self.at += 1;
                return Ok(());
            }
            let decoded = self.escape()?;
            if let Some(out) = out.as_deref_mut() {
                out.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }

    /// Reads text up to the next quote or backslash, which is returned but not consumed.
    fn plain_run(&mut self) -> Result<(&'a [u8], u8), JsonError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let length =
            memchr2(b'"', b'\\', rest).ok_or(JsonError { message: "unterminated string", at: self.bytes.len() })?;
        let (run, tail) = rest.split_at_checked(length).unwrap_or_default();
        // A fold without an early exit is vectorised.
        if run.iter().fold(false, |found, byte| found | (*byte < 0x20)) {
            let at = run.iter().position(|byte| *byte < 0x20).unwrap_or_default();
            return Err(JsonError { message: "unescaped control character in a string", at: self.at + at });
        }
        self.at += length;
        Ok((run, tail.first().copied().unwrap_or(b'"')))
    }

    /// Reads one escape, starting at its backslash.
    fn escape(&mut self) -> Result<char, JsonError> {
        let kind = self.bytes.get(self.at + 1).copied();
        let unescaped = match kind {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            _ => return Err(self.error("invalid escape in a string")),
        };
        self.at += 2;
        Ok(unescaped)
    }

    /// Reads `\uXXXX`, or two of them for a surrogate pair.
    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let unpaired = self.error("unpaired surrogate in a string");
        let first = self.hex_unit()?;
        if let Some(c) = char::from_u32(first) {
            return Ok(c);
        }
        let second = if first < 0xdc00 && self.bytes.get(self.at..).unwrap_or_default().starts_with(b"\\u") {
            self.hex_unit()?
        } else {
            0
        };
        if !(0xdc00..0xe000).contains(&second) {
            return Err(unpaired);
        }
        char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(unpaired)
    }

    /// Reads one `\uXXXX`: a UTF-16 code unit.
    fn hex_unit(&mut self) -> Result<u32, JsonError> {
        let digits = self.bytes.get(self.at + 2..self.at + 6).unwrap_or_default();
        let mut unit = if digits.len() == 4 { Some(0) } else { None };
        for digit in digits {
            unit = unit.zip(char::from(*digit).to_digit(16)).map(|(unit, digit)| (unit << 4) | digit);
        }
        let unit = unit.ok_or_else(|| self.error("invalid escape in a string"))?;
        self.at += 6;
        Ok(unit)
    }

    /// Skips any value, validating that it is JSON.
    pub(super) fn skip(&mut self) -> Result<(), JsonError> {
        let mut open_objects: u64 = 0; // one bit per open container, the innermost lowest: 1 = object, 0 = list
        let mut depth = 0;
        loop {
            if let Some(is_object) = self.skip_scalar_or_open()? {
                if depth == MAX_SKIP_DEPTH {
                    return Err(self.error("nested too deeply"));
                }
                depth += 1;
                open_objects = (open_objects << 1) | u64::from(is_object);
                continue;
            }
            loop {
                if depth == 0 {
                    return Ok(());
                }
                let is_object = open_objects & 1 == 1;
                if self.next_element(false, if is_object { b'}' } else { b']' })? {
                    if is_object {
                        self.skip_key()?;
                    }
                    break;
                }
                open_objects >>= 1;
                depth -= 1;
            }
        }
    }

    /// Reads a scalar or an empty container (`None`), or opens a container up to its first value (`Some(is object)`).
    fn skip_scalar_or_open(&mut self) -> Result<Option<bool>, JsonError> {
        match self.peek() {
            Some(b'{') => {
                self.at += 1;
                if self.take_byte(b'}') {
                    return Ok(None);
                }
                self.skip_key()?;
                Ok(Some(true))
            }
            Some(b'[') => {
                self.at += 1;
                Ok(if self.take_byte(b']') { None } else { Some(false) })
            }
            Some(b'"') => self.skip_string().map(|()| None),
            Some(b't' | b'f') => self.boolean().map(|_| None),
            Some(b'n') => self.null().map(|_| None),
            Some(b'-' | b'0'..=b'9') => self.number().map(|_| None),
            _ => Err(self.error("not a JSON value")),
        }
    }

    fn skip_string(&mut self) -> Result<(), JsonError> {
        let (_, is_complete) = self.string_start()?;
        if is_complete { Ok(()) } else { self.string_rest(None) }
    }

    fn skip_key(&mut self) -> Result<(), JsonError> {
        if self.peek() != Some(b'"') {
            return Err(self.error("expected a key in double quotes"));
        }
        self.skip_string()?;
        self.expect_byte(b':', "expected `:` after a key")
    }
}
