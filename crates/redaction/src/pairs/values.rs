//! Reads the value at a cursor, in each notation: in quotes at any level of escapes, without quotes, in a cell or in an
//! element. No value extends beyond the JSON string that contains it.

use std::ops::Range;

use super::cursor::{IN_KEY, MAX_KEY, MAX_VALUE, PairCursor, PairSeparator, byte_before_skipping, ends_with};
use crate::sets::ByteSet;

/// Most nested brackets in an unquoted value. Deeper nesting is not a value, and would be read again from each of its
/// keys.
const MAX_OPEN_BRACKETS: usize = 8;
/// Most bytes back to the start of the surrounding JSON string.
const MAX_STRING_START: usize = 4096;
/// Most bytes of the name of a call that wraps a string.
const MAX_CALL_NAME: usize = 40;

/// Bytes that neither end an unquoted value nor open a bracket in it.
static IN_BARE: ByteSet = ByteSet::new(
    b"\0\x01\x02\x03\x04\x05\x06\x07\x08\t\n\x0b\x0c\r\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d\x1e\x1f \"'`,;()[]{}<>|&\\",
)
.complement();

impl PairCursor<'_> {
    /// Reads the value at the cursor: its quote and its range.
    pub(super) fn read_value(&mut self, sep: PairSeparator) -> Option<(Option<u8>, Range<usize>)> {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b'*'));
        match sep {
            PairSeparator::Cell => {
                let is_markup = byte_before_skipping(self.text, self.at, b" \t\r\n") == b'>';
                return Some((None, self.range_until(if is_markup { b"<\n\r" } else { b"|\n\r" })));
            }
            PairSeparator::Element => {
                self.skip(|byte| byte.is_ascii_whitespace());
                self.skip_word(b"<![CDATA[");
                let mut value = self.range_until(b"<\n\r");
                let is_cdata = self.text.get(value.clone()).is_some_and(|text| text.ends_with(b"]]>"));
                value.end -= if is_cdata { 3 } else { 0 };
                return Some((None, value));
            }
            PairSeparator::Colon if b"|>".contains(&self.byte(0)) => self.skip_block(),
            _ => {}
        }
        self.skip_word(b"!!str ");
        self.at += self.wrapper_len();
        if let Some((escapes, mark)) = self.quote() {
            self.at += escapes + 1;
            // Three quotes
            self.at += if self.byte(0) == mark && self.byte(1) == mark { 2 } else { 0 };
            return Some((Some(mark), self.quoted_range(escapes, mark)));
        }
        (!matches!(sep, PairSeparator::Call | PairSeparator::Comma)).then(|| (None, self.read_unquoted()))
    }

    /// Skips YAML's `|` or `>`: the value is on the next line.
    fn skip_block(&mut self) {
        let marks = self.rest().iter().take(3).take_while(|byte| b"|>-+".contains(byte)).count();
        if self.byte(marks) == b'\n' {
            self.at += marks;
            self.skip(|byte| byte.is_ascii_whitespace());
        }
    }

    /// Length of a string prefix or wrapper: `b"`, `r"`, `f"`, `@"`, `new String("`, `Secret("`, `[]byte("`.
    fn wrapper_len(&self) -> usize {
        static BEFORE_STRING: ByteSet = ByteSet::new(b"bBrRuUfFL@$");
        static IN_CALL: ByteSet = ByteSet::new(b" _.[]:").and_alnum();
        let rest = self.rest();
        let rest = rest.get(..rest.len().min(MAX_CALL_NAME)).unwrap_or_default();
        let prefix = BEFORE_STRING.count_leading(rest.get(..rest.len().min(3)).unwrap_or_default());
        if (1..3).contains(&prefix) && rest.get(prefix).is_some_and(|byte| b"\"'`".contains(byte)) {
            return prefix;
        }
        let (name, after) = rest.split_at(IN_CALL.count_leading(rest));
        let is_call = matches!(after, [b'(', b'"' | b'\'' | b'\\', ..]);
        let is_wrapper = || byte_list!("notation.wrapping_functions").iter().any(|wrapper| ends_with(name, wrapper));
        if is_call && is_wrapper() { name.len() + 1 } else { 0 }
    }

    /// The range of a value after a `mark` with `escapes` backslashes: up to the quote at the same level of escapes, or
    /// the line's end if there is none.
    pub(super) fn quoted_range(&self, escapes: usize, mark: u8) -> Range<usize> {
        let unit = escapes + 1;
        let (mut backslashes, mut has_open_quote) = (0, false);
        for (offset, byte) in self.rest().iter().take(MAX_VALUE).enumerate() {
            match *byte {
                b'\\' => backslashes += 1,
                b'\n' => return self.at..self.at + offset,
                byte if byte == mark
                    && (backslashes <= escapes || (backslashes - escapes).is_multiple_of(2 * unit)) =>
                {
                    // More backslashes than the quote's own are escaped backslashes of the value, so they belong to it
                    return self.at..self.at + offset - backslashes.min(escapes);
                }
                // A quote of an outer level ends everything inside
                b'"' if escapes > 0 && backslashes < escapes => return self.at..self.at + offset - backslashes,
                // A quote that was not opened in the value closes the surrounding string
                b'"' if mark != b'"' && !has_open_quote && self.closes_json_string(offset) => {
                    return self.at..self.at + offset - backslashes;
                }
                byte => {
                    has_open_quote ^= byte == b'"';
                    backslashes = 0;
                }
            }
        }
        self.at..self.at + self.rest().len().min(MAX_VALUE)
    }

    /// Reads an unquoted value: up to white space or another character that ends it.
    fn read_unquoted(&self) -> Range<usize> {
        let rest = self.rest();
        let rest = rest.get(..rest.len().min(MAX_VALUE)).unwrap_or_default();
        let (mut len, mut open_brackets) = (0, 0_usize);
        loop {
            len += IN_BARE.count_leading(rest.get(len..).unwrap_or_default());
            let next = rest.get(len + 1).copied().unwrap_or(b'\n');
            let ends_value = match rest.get(len) {
                None => true,
                Some(b'(' | b'[' | b'{') => {
                    open_brackets += 1;
                    open_brackets > MAX_OPEN_BRACKETS
                }
                Some(b')' | b']' | b'}') if open_brackets > 0 => {
                    open_brackets -= 1;
                    false
                }
                Some(b'\\') => b"nrt\"'\\/u`".contains(&next),
                Some(b'&') => begins_parameter(rest.get(len + 1..).unwrap_or_default()),
                Some(b'>') => next <= b' ' || b"\"'`,;<)".contains(&next),
                Some(b']') => len == 0 || !next.is_ascii_alphanumeric(),
                Some(b'<') => len > 0,
                // Blanks, quotes, other marks
                Some(_) => true,
            };
            if ends_value {
                let value = rest.get(..len).unwrap_or_default();
                // Punctuation that ends a sentence
                let marks = value.iter().rev().take_while(|byte| b".,:;".contains(byte)).count();
                return self.at..self.at + value.len() - marks;
            }
            len += 1;
        }
    }

    /// The range up to one of `ends` or the end of the string, without trailing blanks.
    fn range_until(&self, ends: &[u8]) -> Range<usize> {
        let rest = self.rest();
        let rest = rest.get(..rest.len().min(MAX_VALUE)).unwrap_or_default();
        let ends_value = |(offset, byte): (usize, &u8)| match byte {
            b'"' => self.closes_json_string(offset),
            byte => ends.contains(byte),
        };
        let len = rest.iter().enumerate().position(ends_value).unwrap_or(rest.len());
        let mut value = rest.get(..len).unwrap_or_default();
        while let Some(inner) = value.strip_suffix(b"\\").filter(|_| rest.get(len) == Some(&b'"')) {
            value = inner;
        }
        let value = value.trim_ascii_end();
        match value.strip_prefix(b"`").and_then(|inner| inner.strip_suffix(b"`")) {
            Some(inner) => self.at + 1..self.at + 1 + inner.len(),
            None => self.at..self.at + value.len(),
        }
    }

    /// Whether the double quote `offset` bytes ahead closes the surrounding JSON string.
    fn closes_json_string(&self, offset: usize) -> bool {
        let head = || self.text.get(self.at.saturating_sub(MAX_STRING_START)..self.at).unwrap_or_default();
        self.rest().get(offset + 1..).is_some_and(closes_string) && memchr::memrchr(b'"', head()).is_some()
    }
}

/// Whether the quote before `rest` closes a JSON string, judged by what follows: another key or value, or a bracket.
fn closes_string(rest: &[u8]) -> bool {
    // The text after blanks and a byte
    let after = |rest: &[u8]| {
        let blanks = rest.iter().take(16).take_while(|byte| byte.is_ascii_whitespace()).count();
        (rest.get(blanks).copied().unwrap_or(b'\n'), blanks + 1)
    };
    let (first, next) = after(rest);
    let rest = rest.get(next..).unwrap_or_default();
    let (second, next) = after(rest);
    let value = rest.get(next - 1..).unwrap_or_default();
    match first {
        b'}' | b']' => matches!(second, b'\n' | b',' | b'}' | b']' | b'"' | b'\\'),
        b',' | b':' => {
            matches!(second, b'"' | b'\\' | b'{' | b'[' | b'-' | b'0'..=b'9')
                || [&b"null"[..], b"true", b"false"].iter().any(|word| value.starts_with(word))
        }
        _ => false,
    }
}

/// Whether `name=` follows `&`, which then separates parameters.
fn begins_parameter(rest: &[u8]) -> bool {
    let name = rest.iter().take(MAX_KEY).take_while(|byte| IN_KEY.contains(**byte) || b"[]%".contains(byte)).count();
    rest.get(name).is_some_and(|byte| b"=;".contains(byte))
}

/// Most items of a list, with the keys in it.
const MAX_ITEMS: usize = 64;
/// Most nested brackets.
const MAX_LIST_BRACKETS: usize = 4;

/// The strings in the list or wrapping object at `at`, each with its quote: `["v", "w"]`, `[]string{"v"}`,
/// `{"S": "v"}`.
pub(crate) fn wrapped_strings(text: &[u8], at: usize) -> Vec<(u8, Range<usize>)> {
    let text = text.get(..text.len().min(at.saturating_add(MAX_VALUE))).unwrap_or_default();
    let (mut cursor, mut strings, mut brackets) = (PairCursor { text, at }, Vec::new(), 0);
    for prefix in [&b"new String[]"[..], b"[]string", b"[] "] {
        cursor.skip_word(prefix);
    }
    for _ in 0..MAX_ITEMS {
        cursor.skip_blanks();
        // A list in an object, or the other way round
        if matches!(cursor.byte(0), b'[' | b'{') && brackets < MAX_LIST_BRACKETS {
            brackets += 1;
            cursor.at += 1;
            continue;
        }
        let found = if brackets > 0 { cursor.read_string() } else { None };
        let Some((mark, range)) = found else { break };
        if cursor.byte(0) != b':' {
            strings.push((mark, range));
        } else {
            cursor.at += 1;
            cursor.skip_blanks();
            // The key of another value, which is skipped if it is a string
            let wraps_value = word_set!("notation.wrapping_keys").contains(text.get(range).unwrap_or_default());
            if !wraps_value && cursor.read_string().is_none() {
                break;
            }
        }
        cursor.at += usize::from(cursor.byte(0) == b',');
    }
    strings
}

impl PairCursor<'_> {
    /// Skips blanks and line breaks, raw or escaped.
    fn skip_blanks(&mut self) {
        for _ in 0..4 {
            self.skip(|byte| byte.is_ascii_whitespace());
            let escapes = self.rest().iter().take(8).take_while(|byte| **byte == b'\\').count();
            if escapes == 0 || !b"nrt".contains(&self.byte(escapes)) {
                break;
            }
            self.at += escapes + 1;
        }
    }

    /// Reads the whole string at the cursor, and the blanks after it.
    fn read_string(&mut self) -> Option<(u8, Range<usize>)> {
        let (escapes, mark) = self.quote()?;
        self.at += escapes + 1;
        let range = self.quoted_range(escapes, mark);
        self.at = range.end;
        let closing_mark = self.skip_quote();
        self.skip_blanks();
        // A truncated string is the last one
        (closing_mark.is_none_or(|closing| closing == mark)).then_some((mark, range))
    }
}
