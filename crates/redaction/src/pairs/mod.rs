//! Reads keys with their values in any notation: JSON at any level of escapes, YAML, INI, `.env`, shell flags, queries,
//! source code, XML, table cells, prose. [`key_around`] returns the whole key of a word, [`read_pair`] the separator
//! after a key and its exact value. Private data is more often recognised by its key than by its shape, and secrets and
//! personal data share the same notations.
//!
//! No allocation; at most 4 KiB before a word and 8 KiB after it are read. A value never includes its quotes and ends
//! where its notation ends it, so that the text around a placeholder stays valid. `secrets` and `keys` decide which
//! values are private.

mod cursor;
mod values;

use std::ops::Range;

use crate::sets::ByteSet;
use cursor::{IN_KEY, MAX_KEY, MAX_VALUE, PairCursor, byte_before, byte_before_skipping};

pub(super) use cursor::{KeyValuePair, PairSeparator, ends_with, line_range};
pub(super) use values::wrapped_strings;

/// Most bytes between a key and the value of its sibling.
const MAX_TO_SIBLING: usize = 160;
const MAX_TAG: usize = 256;

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

/// The key at `key` (see [`key_around`]) with its value, if it has one.
pub(super) fn read_pair(text: &[u8], key: Range<usize>) -> Option<KeyValuePair> {
    let text = text.get(..text.len().min(key.end.saturating_add(MAX_VALUE + 256)))?;
    let mut cursor = PairCursor { text, at: key.end };
    let quoted_key = cursor.skip_quote();
    let sep = cursor.read_separator(&key, quoted_key)?;
    let (quote, value) = cursor.read_value(sep)?;
    (!value.is_empty()).then_some(KeyValuePair { key, sep, quote, json_key: quoted_key == Some(b'"'), value })
}

/// Whether the key at `key` is the value of a key such as `name` or `key`.
pub(super) fn is_named_by_sibling(text: &[u8], key: &Range<usize>) -> bool {
    let head = text.get(key.start.saturating_sub(48)..key.start).unwrap_or_default();
    let between = head.iter().rev().take_while(|byte| b" \t\"'\\:=".contains(byte)).count();
    let (name, between) = head.split_at_checked(head.len() - between).unwrap_or_default();
    let word_len = name.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte)).count();
    let word = name.get(name.len() - word_len..).unwrap_or_default();
    between.iter().any(|byte| b":=".contains(byte)) && word_set!("keys.key_name_keys").contains(word)
}

impl PairCursor<'_> {
    /// Reads the separator at the cursor.
    fn read_separator(&mut self, key: &Range<usize>, quoted_key: Option<u8>) -> Option<PairSeparator> {
        let (quoted_key, is_call, blanks) = match self.byte(0) {
            b':' | b'=' => (quoted_key, false, 0),
            _ => self.skip_before_separator(quoted_key),
        };
        let has_bar_before = || byte_before_skipping(self.text, key.start, b" \t*`") == b'|';
        let sep = match (self.byte(0), self.byte(1)) {
            (b':', b':') => {
                self.skip(|byte| byte == b':');
                (self.byte(0) == b'=').then(|| self.advance(1, PairSeparator::Equals))?
            }
            (b':', b'/') if self.byte(2) == b'/' => return None,
            // A user name in a URL
            (b':', _) if byte_before(self.text, key.start) == b'/' => return None,
            (b':' | b'?' | b'.', b'=') | (b'<', b'-') => self.advance(2, PairSeparator::Equals),
            (b'|', b'|') | (b'?', b'?') if self.byte(2) == b'=' => self.advance(3, PairSeparator::Equals),
            (b'=', b'>') => self.advance(2, PairSeparator::Arrow),
            (b'=' | b'!', b'=') => self.advance(2 + usize::from(self.byte(2) == b'='), PairSeparator::Compare),
            (b'=', b'~') => return None,
            (b'=', _) => self.advance(1, PairSeparator::Equals),
            (b':', _) => {
                let sep = self.advance(1, PairSeparator::Colon);
                if quoted_key.is_none() && self.skip_type() { PairSeparator::Equals } else { sep }
            }
            (b'(', _) if is_call => self.advance(1, PairSeparator::Call),
            // A full-width colon
            (0xEF, 0xBC) if self.byte(2) == 0x9A => self.advance(3, PairSeparator::Colon),
            // `get("#password").type("v")`
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
            (b'|', next) if (blanks > 0 || next == b' ') && (has_bar_before() || self.is_record_row(key.start)) => {
                self.advance(1, PairSeparator::Cell)
            }
            (b'>', _) if quoted_key.is_some() && byte_before_skipping(self.text, key.start, b"\"'\\") == b'=' => {
                self.advance(1, PairSeparator::Element)
            }
            (b'>', _) if begins_element(self.text, key.start) => self.advance(1, PairSeparator::Element),
            _ if self.skip_to_sibling_value(key) => PairSeparator::Sibling,
            _ if blanks > 0
                && quoted_key.is_none()
                && begins_element(self.text, key.start)
                && self.skip_attributes() =>
            {
                PairSeparator::Element
            }
            _ if blanks > 0 => self.read_word_separator(quoted_key.is_some())?,
            _ => return None,
        };
        Some(sep)
    }

    /// Skips characters between a key and its separator. Returns the key's quote, whether the bracket of a call follows
    /// the key directly, and the number of blanks.
    fn skip_before_separator(&mut self, quoted_key: Option<u8>) -> (Option<u8>, bool, usize) {
        let marks = self.skip(|byte| matches!(byte, b'*' | b'?' | b'!' | b']'));
        // `"input[name=password]", "v"`
        let quoted_key = if marks > 0 { self.skip_quote().or(quoted_key) } else { quoted_key };
        // An array of C: `[]`, `[255]`
        if self.byte(0) == b'[' {
            let digits = self.rest().iter().skip(1).take(6).take_while(|byte| byte.is_ascii_digit()).count();
            self.at += if self.byte(digits + 1) == b']' { digits + 2 } else { 0 };
        }
        let is_call = quoted_key.is_none() && self.byte(0) == b'(';
        (quoted_key, is_call, self.skip(|byte| byte == b' ' || byte == b'\t'))
    }

    /// Reads `is`, `was`, `by`, `to`, a type before `=`, or only white space.
    fn read_word_separator(&mut self, quoted_key: bool) -> Option<PairSeparator> {
        if line_list!("notation.linking_phrases").iter().any(|phrase| self.skip_word(phrase.as_bytes())) {
            return Some(PairSeparator::Is);
        }
        match !quoted_key && self.skip_type() {
            true => Some(PairSeparator::Equals),
            false => (!quoted_key).then_some(PairSeparator::Space),
        }
    }

    /// Skips a type and `=` before a quoted value: `: str = "v"`, `password string = "v"`.
    fn skip_type(&mut self) -> bool {
        static IN_TYPE: ByteSet = ByteSet::new(b" _<>&'[]?!|.").and_alnum();
        let rest = self.rest();
        let len = IN_TYPE.count_leading(rest.get(..rest.len().min(48)).unwrap_or_default());
        let (before, after) = rest.split_at_checked(len).unwrap_or_default();
        let is_assignment = matches!(after, [b'=', next, ..] if *next != b'=') && before.last() != Some(&b'!');
        let value = after.iter().skip(1).find(|byte| **byte != b' ');
        let has_type = is_assignment
            && before.iter().any(u8::is_ascii_alphabetic)
            && value.is_some_and(|byte| b"\"'`".contains(byte));
        self.at += if has_type { len + 1 } else { 0 };
        has_type
    }

    /// Skips to the value of a sibling: `value` behind a key that is itself a value, or `val`, `v`, `content` or
    /// `answer` if that is the value of `name` or a similar key.
    fn skip_to_sibling_value(&mut self, key: &Range<usize>) -> bool {
        let head = self.text.get(..key.start).unwrap_or_default();
        let is_value = matches!(byte_before_skipping(self.text, key.start, b" \t\"'\\"), b':' | b'=');
        // A naming system of FHIR: `"system":"http://hl7.org/fhir/sid/us-ssn","value":"…"`
        if !is_value && !head.ends_with(b"/sid/") {
            return false;
        }
        let is_named = is_named_by_sibling(self.text, key);
        let words: &[&[u8]] =
            if is_named { &[b"value", b"defaultvalue", b"val", b"v", b"content", b"answer"] } else { &[b"value"] };
        let rest = self.rest();
        let rest = rest.get(..rest.len().min(MAX_TO_SIBLING)).unwrap_or_default();
        let end = memchr::memchr(b'{', rest).unwrap_or(rest.len());
        let separators = rest.iter().enumerate().take(end).filter(|(_, byte)| matches!(byte, b':' | b'='));
        for (at, _) in separators {
            let key_len =
                rest.get(..at).unwrap_or_default().trim_ascii_end().iter().rposition(|byte| !b"\"'\\".contains(byte));
            let name = rest.get(..key_len.map_or(0, |last| last + 1)).unwrap_or_default();
            let word = name.get(name.len() - name.iter().rev().take_while(|byte| IN_KEY.contains(**byte)).count()..);
            if word.is_some_and(|word| words.iter().any(|known| word.eq_ignore_ascii_case(known))) {
                self.at += at + 1;
                return true;
            }
        }
        false
    }

    /// Skips the attributes of an element, and its `>`, if a value follows in it.
    fn skip_attributes(&mut self) -> bool {
        let rest = self.rest();
        let rest = rest.get(..rest.len().min(MAX_TAG)).unwrap_or_default();
        let end = rest.iter().position(|byte| matches!(byte, b'<' | b'>' | b'\n'));
        let Some(end) =
            end.filter(|end| rest.get(*end) == Some(&b'>') && !rest.get(..*end).is_some_and(|tag| tag.ends_with(b"/")))
        else {
            return false;
        };
        // A quote that is not closed in the tag ends the string around it
        let quotes = rest.iter().take(end).filter(|byte| **byte == b'"').count();
        self.at += if quotes.is_multiple_of(2) { end + 1 } else { 0 };
        quotes.is_multiple_of(2)
    }

    /// Whether the line begins with the key at `key` and has a single `|`, at the cursor: `first_name | Ann`, as psql
    /// prints a record. A header would have dashes below it.
    fn is_record_row(&self, key: usize) -> bool {
        let rest = self.rest().get(1..).unwrap_or_default();
        let rest = rest.get(..rest.len().min(512)).unwrap_or_default();
        let (row, below) = rest.split_at(memchr::memchr(b'\n', rest).unwrap_or(rest.len()));
        byte_before(self.text, key) == b'\n' && !row.contains(&b'|') && !below.starts_with(b"\n-")
    }
}

/// Whether the name at `at` begins an element, optionally after a namespace: `<wsse:Password`.
fn begins_element(text: &[u8], at: usize) -> bool {
    let head = text.get(at.saturating_sub(32)..at).unwrap_or_default();
    let is_namespace = |byte: &&u8| byte.is_ascii_alphanumeric() || **byte == b'-';
    let namespace_len =
        head.strip_suffix(b":").map_or(0, |head| 1 + head.iter().rev().take_while(is_namespace).count());
    namespace_len != 1 && head.get(..head.len() - namespace_len).is_some_and(|head| head.ends_with(b"<"))
}
