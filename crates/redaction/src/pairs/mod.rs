//! Reads keys with their values in any notation: JSON at any level of escapes, YAML, INI, `.env`, shell flags, queries,
//! source code, XML, table cells, prose. [`key_around`] returns the whole key of a word, [`read_pair`] the separator
//! after a key and its exact value. Private data is more often recognised by its key than by its shape, and secrets and
//! personal data share the same notations.
//!
//! No allocation; at most 4 KiB before a word and 8 KiB after it are read. A value never includes its quotes and ends
//! where its notation ends it, so that the text around a placeholder stays valid. `secrets` and `keys` decide which
//! values are private.

mod cursor;
mod markup;
mod notation_words;
mod sibling_names;
mod unquoted;
mod wrapped_strings;

use std::ops::Range;

use cursor::{IN_KEY, MAX_KEY, MAX_VALUE, PairCursor, byte_before, byte_before_skipping};
use notation_words::{BEFORE_STRING, BEGINS_BARE, IN_TYPE, IS_PHRASES};

pub(super) use cursor::{KeyValuePair, PairSeparator, ends_with, line_range};
pub(super) use sibling_names::is_named_by_sibling;
pub(super) use unquoted::PairReadCache;
pub(super) use wrapped_strings::wrapped_strings;

/// The whole key that contains `word`: letters, digits, `_`, `-` and `.` on both sides, without a leading
/// `-`, `.` or `_` and a trailing `-` or `.`. The letter of an escape such as
/// `\n` before it is excluded.
pub(super) fn key_around(text: &[u8], word: Range<usize>) -> Range<usize> {
    key_start(text, word.start)..key_end(text, word.end)
}

/// Start of the key whose word starts at `word`.
pub(super) fn key_start(text: &[u8], word: usize) -> usize {
    let before = text.get(word.saturating_sub(MAX_KEY)..word).unwrap_or_default();
    let mut start = word - IN_KEY.count_trailing(before);
    if start > 0 && start < word && text.get(start - 1) == Some(&b'\\') {
        start += match text.get(start) {
            Some(b'n' | b't' | b'r' | b'b' | b'f') => 1,
            Some(b'u' | b'x') => (word - start).min(5),
            _ => 0,
        };
    }
    while start < word && text.get(start).is_some_and(|byte| b"-._".contains(byte)) {
        start += 1;
    }
    start
}

/// End of the key whose word ends at `word`.
pub(super) fn key_end(text: &[u8], word: usize) -> usize {
    let after = text.get(word..text.len().min(word + MAX_KEY)).unwrap_or_default();
    let mut end = word + IN_KEY.count_leading(after);
    while end > word && text.get(end - 1).is_some_and(|byte| matches!(byte, b'-' | b'.')) {
        end -= 1;
    }
    end
}

/// The key at `key` (see [`key_around`]) with its value, if it has one. `cache` holds what was read of the same text
/// for other keys.
pub(super) fn read_pair(text: &[u8], key: Range<usize>, cache: &mut PairReadCache) -> Option<KeyValuePair> {
    let text = text.get(..text.len().min(key.end.saturating_add(MAX_VALUE + 256)))?;
    let mut cursor = PairCursor { text, at: key.end };
    let quoted_key = cursor.skip_quote();
    let sep = cursor.read_separator(&key, quoted_key)?;
    let (quote, value) = cursor.read_value(sep, cache)?;
    (!value.is_empty()).then_some(KeyValuePair { key, sep, quote, json_key: quoted_key == Some(b'"'), value })
}

impl PairCursor<'_> {
    /// Reads the separator at the cursor.
    fn read_separator(&mut self, key: &Range<usize>, quoted_key: Option<u8>) -> Option<PairSeparator> {
        let (quoted_key, is_call, blanks) = match self.byte(0) {
            b':' | b'=' => (quoted_key, false, 0),
            _ => self.skip_before_separator(key, quoted_key),
        };
        let start = self.at;
        let sep = match (self.byte(0), self.byte(1)) {
            (b':', b':') if self.byte(2) == b'=' => self.advance(3, PairSeparator::Equals),
            (b':', b':') if self.byte(2) == b':' && self.byte(3) == b'=' => self.advance(4, PairSeparator::Equals),
            (b':', b':') => return None,
            (b'.', b'=') => self.advance(2, PairSeparator::Equals),
            (b':', b'/') if self.byte(2) == b'/' => return None,
            // A user name in a URL
            (b':', _) if byte_before(self.text, key.start) == b'/' => return None,
            (b':' | b'?', b'=') => self.advance(2, PairSeparator::Equals),
            (b'<', b'-') => self.advance(2, PairSeparator::Equals),
            (b'|', b'|') | (b'?', b'?') if self.byte(2) == b'=' => self.advance(3, PairSeparator::Equals),
            (b'=', b'>') => self.advance(2, PairSeparator::Arrow),
            (b'=' | b'!' | b'+', b'=') if self.byte(0) != b'+' || self.adds_text() => {
                self.advance(if self.byte(2) == b'=' { 3 } else { 2 }, PairSeparator::Compare)
            }
            (b'=', b'~') => return None,
            (b'=', _) => self.advance(1, PairSeparator::Equals),
            (b':', _) => {
                let sep = self.advance(1, PairSeparator::Colon);
                if quoted_key.is_none() && self.skip_type() { PairSeparator::Equals } else { sep }
            }
            (b'(', _) if is_call => self.advance(1, PairSeparator::Call),
            (b')', b'.')
                if quoted_key.is_some()
                    && byte_list!("notation.fill_calls").iter().any(|call| self.skip_word(call)) =>
            {
                PairSeparator::Comma
            }
            // `{password, "v"}` of Erlang
            (b',', b' ') if byte_before(self.text, key.start) == b'{' && b"\"'".contains(&self.byte(2)) => {
                self.advance(1, PairSeparator::Comma)
            }
            (b',', _) if quoted_key.is_some() => match self.skip_to_sibling_value(key) {
                true => PairSeparator::Sibling,
                false => self.advance(1, PairSeparator::Comma),
            },
            (b'|', _)
                if byte_before_skipping(self.text, key.start, b" \t*`") == b'|'
                    && (blanks > 0 || self.byte(1) == b' ') =>
            {
                self.advance(1, PairSeparator::Cell)
            }
            (b'|', b' ')
                if blanks > 0
                    && quoted_key.is_none()
                    && wrapped_strings::is_record_row(self.text, key.start, self.at) =>
            {
                self.advance(1, PairSeparator::Cell)
            }
            (b'>', _) if quoted_key.is_some() && byte_before_skipping(self.text, key.start, b"\"'\\") == b'=' => {
                self.advance(1, PairSeparator::Element)
            }
            (b'>', _) if markup::begins_element(self.text, key.start) => self.advance(1, PairSeparator::Element),
            _ if self.skip_to_sibling_value(key) => PairSeparator::Sibling,
            _ if blanks > 0 && quoted_key.is_none() && self.skip_attributes(key) => PairSeparator::Element,
            _ if blanks > 0 => self.read_word_separator(quoted_key.is_some())?,
            _ => return None,
        };
        debug_assert!(self.at >= start, "the cursor must not move backwards");
        Some(sep)
    }

    /// Skips characters between a key and its separator. Returns the key's quote, whether the bracket of a call follows
    /// the key directly, and the number of blanks.
    fn skip_before_separator(&mut self, key: &Range<usize>, quoted_key: Option<u8>) -> (Option<u8>, bool, usize) {
        self.skip(|byte| byte == b'*' || byte == b'?' || byte == b'!' || byte == b']');
        // `"input[name=password]", "v"`
        let is_selector = self.at > key.end && byte_before(self.text, self.at) == b']';
        let quoted_key = if is_selector { self.skip_quote().or(quoted_key) } else { quoted_key };
        // An array of C: `[]`, `[255]`
        if self.byte(0) == b'[' {
            let digits = self.rest().iter().skip(1).take(6).take_while(|byte| byte.is_ascii_digit()).count();
            self.at += if self.byte(digits + 1) == b']' { digits + 2 } else { 0 };
        }
        let is_call = quoted_key.is_none() && self.byte(0) == b'(';
        let blanks = self.skip(|byte| byte == b' ' || byte == b'\t');
        (quoted_key, is_call, blanks)
    }

    /// Reads `is`, `was`, `by`, `to`, a type before `=`, or only white space.
    fn read_word_separator(&mut self, quoted_key: bool) -> Option<PairSeparator> {
        let at = self.at;
        for word in IS_PHRASES.iter().copied() {
            if self.skip_word(word) {
                return Some(PairSeparator::Is);
            }
        }
        if !quoted_key && self.skip_type() {
            return Some(PairSeparator::Equals);
        }
        self.at = at;
        (!quoted_key).then_some(PairSeparator::Space)
    }

    /// Skips a type and `=` before a quoted value: `: str = "v"`, `password string = "v"`.
    fn skip_type(&mut self) -> bool {
        let rest = self.rest();
        let len = IN_TYPE.count_leading(rest.get(..rest.len().min(48)).unwrap_or_default());
        let has_type = || rest.iter().take(len).any(u8::is_ascii_alphabetic);
        let is_comparison = || rest.get(len.wrapping_sub(1)) == Some(&b'!');
        if rest.get(len) != Some(&b'=') || rest.get(len + 1) == Some(&b'=') || !has_type() || is_comparison() {
            return false;
        }
        let is_quoted =
            rest.iter().skip(len + 1).find(|byte| **byte != b' ').is_some_and(|byte| b"\"'`".contains(byte));
        self.at += if is_quoted { len + 1 } else { 0 };
        is_quoted
    }

    /// Skips to the value of a sibling: `value` next to a key that is itself a value, `val` or `v` if that is the value
    /// of `name` or `key`, or `content` next to the key of a page's property.
    fn skip_to_sibling_value(&mut self, key: &Range<usize>) -> bool {
        let start = self.at;
        if !matches!(byte_before_skipping(self.text, key.start, b" \t\"'\\"), b':' | b'=') {
            return false;
        }
        while self.skip(|byte| b" \t\r\n,-".contains(&byte)) > 0
            || (self.byte(0) == b'\\' && b"nrt".contains(&self.byte(1)))
        {
            self.at += if self.byte(0) == b'\\' && b"nrt".contains(&self.byte(1)) { 2 } else { 0 };
            self.skip_comment();
            if self.at > start + 256 {
                break;
            }
        }
        self.skip_quote();
        let has_value_key = self.skip_word(b"value")
            || self.skip_word(b"defaultvalue")
            || (sibling_names::is_property_name(self.text, key.start) && self.skip_word(b"content"))
            || (sibling_names::is_named_by_sibling(self.text, key) && (self.skip_word(b"val") || self.skip_word(b"v")));
        self.skip_quote();
        self.skip(|byte| byte == b' ');
        let is_found = has_value_key && self.at > start && matches!(self.byte(0), b':' | b'=');
        self.at = if is_found { self.at + 1 } else { start };
        is_found
    }

    /// Reads the value at the cursor: its quote and its range.
    fn read_value(&mut self, sep: PairSeparator, cache: &mut PairReadCache) -> Option<(Option<u8>, Range<usize>)> {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b'*'));
        // A non-breaking space
        self.at += if self.rest().starts_with(b"\xc2\xa0") { 2 } else { 0 };
        match sep {
            PairSeparator::Cell => {
                let is_markup = byte_before_skipping(self.text, self.at, b" \t\r\n") == b'>';
                let cell = self.range_until(if is_markup { b"<\n\r" } else { b"|\n\r" });
                return Some((None, wrapped_strings::cut_at_string_end(self.text, cell)));
            }
            PairSeparator::Element => return Some((None, self.element_text())),
            PairSeparator::Colon => {
                self.skip_tag();
                self.skip_block();
            }
            _ => {}
        }
        if !BEGINS_BARE.contains(self.byte(0))
            && let Some((escapes, mark)) = self.skip_to_quote(cache)
        {
            self.at += escapes + 1;
            // Three quotes
            self.at += if self.byte(0) == mark && self.byte(1) == mark { 2 } else { 0 };
            return Some((Some(mark), self.quoted_range(escapes, mark)));
        }
        (!matches!(sep, PairSeparator::Call | PairSeparator::Comma)).then(|| (None, self.read_unquoted(cache)))
    }

    /// Skips YAML's `!!str` or `&name` before a value.
    fn skip_tag(&mut self) {
        let rest = self.rest();
        let tag = match rest.first() {
            Some(b'!') => [&b"!!str "[..], b"!!binary "].into_iter().find(|tag| rest.starts_with(tag)).map(<[u8]>::len),
            Some(b'&') => {
                let name = rest.iter().skip(1).take(32).take_while(|byte| IN_KEY.contains(**byte)).count();
                let is_code = [&b"&mut"[..], b"&str", b"&dyn", b"&String"].iter().any(|word| rest.starts_with(word));
                (name > 0 && !is_code && rest.get(name + 1) == Some(&b' ')).then_some(name + 2)
            }
            _ => None,
        };
        self.at += tag.unwrap_or(0);
    }

    /// Skips YAML's `|` or `>`: the value is on the next line.
    fn skip_block(&mut self) {
        let rest = self.rest();
        if !matches!(rest.first(), Some(b'|' | b'>')) {
            return;
        }
        let marks = rest.iter().take(3).take_while(|byte| b"|>-+".contains(byte)).count();
        let line = rest.get(marks..).unwrap_or_default();
        if line.starts_with(b"\n") || line.starts_with(b"\r\n") {
            self.at += marks;
            self.skip(|byte| byte.is_ascii_whitespace());
        }
    }

    /// Reads a quote, after anything that may come before a string.
    fn skip_to_quote(&mut self, cache: &mut PairReadCache) -> Option<(usize, u8)> {
        self.skip_prefix(cache);
        self.quote()
    }

    /// Skips a string prefix or wrapper: `b"`, `r"`, `f"`, `@"`, `new String("`, `Secret("`, `[]byte("`.
    fn skip_prefix(&mut self, cache: &mut PairReadCache) {
        let rest = self.rest();
        let letters = BEFORE_STRING.count_leading(rest.get(..rest.len().min(3)).unwrap_or_default());
        if (1..3).contains(&letters) && rest.get(letters).is_some_and(|byte| b"\"'`".contains(byte)) {
            self.at += letters;
            return;
        }
        self.at += cache.wrapper_len(self.text, self.at).unwrap_or(0);
    }

    /// The range of a value after a `mark` with `escapes` backslashes: up to the quote at the same level of escapes, or
    /// the line's end if there is none.
    fn quoted_range(&self, escapes: usize, mark: u8) -> Range<usize> {
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
}
