//! Reads keys and values in markup: an element with attributes (`<apiKey type="live">v</apiKey>`), and the end of an
//! element's text or a cell. At most [`MAX_TAG`] bytes of a tag are read; no value extends beyond the JSON string that
//! contains it. Elements without attributes are in the parent module.

use std::ops::Range;

use super::cursor::{MAX_VALUE, PairCursor};
use super::wrapped_strings::may_be_in_string;

/// Whether the quote before `rest` closes a JSON string, judged by what follows: another key or value, or a bracket.
fn closes_string(rest: &[u8]) -> bool {
    // The next byte that is not a blank, and the position after it
    let next_byte = |from: usize| {
        let rest = rest.get(from..).unwrap_or_default();
        let blanks = rest.iter().take(16).take_while(|byte| byte.is_ascii_whitespace()).count();
        (rest.get(blanks).copied().unwrap_or(b'\n'), from + blanks + 1)
    };
    match next_byte(0) {
        (b'}' | b']', after) => matches!(next_byte(after).0, b'\n' | b',' | b'}' | b']' | b'"' | b'\\'),
        (b',' | b':', after) => {
            let (first, after_first) = next_byte(after);
            let rest = rest.get(after_first - 1..).unwrap_or_default();
            matches!(first, b'"' | b'\\' | b'{' | b'[' | b'-' | b'0'..=b'9')
                || [&b"null"[..], b"true", b"false"].iter().any(|word| rest.starts_with(word))
        }
        _ => false,
    }
}

/// Most bytes back to the start of the surrounding JSON string.
const MAX_STRING_START: usize = 4096;
/// Most bytes of a tag.
const MAX_TAG: usize = 256;

impl PairCursor<'_> {
    /// Skips the attributes of the element named by `key`, and its `>`, if a value follows in it.
    pub(super) fn skip_attributes(&mut self, key: &Range<usize>) -> bool {
        if !begins_element(self.text, key.start) {
            return false;
        }
        let Some(len) = tag_len(self.rest()) else { return false };
        let is_empty = self.rest().get(..len).is_some_and(|tag| tag.ends_with(b"/"));
        self.at += if is_empty { 0 } else { len + 1 };
        !is_empty
    }

    /// The text of the element whose tag ends here: up to the next tag, or the end of the line or string.
    pub(super) fn element_text(&mut self) -> Range<usize> {
        self.skip(|byte| byte.is_ascii_whitespace());
        self.skip_word(b"<![CDATA[");
        let mut value = self.range_until(b"<\n\r");
        let text = self.text.get(value.clone()).unwrap_or_default();
        value.end -= if text.ends_with(b"]]>") { 3 } else { 0 };
        value
    }

    /// Whether the double quote `offset` bytes ahead closes the surrounding JSON string.
    pub(super) fn closes_json_string(&self, offset: usize) -> bool {
        self.rest().get(offset + 1..).is_some_and(closes_string)
            && may_be_in_string(self.text, self.at, MAX_STRING_START, false)
    }

    /// The range up to one of `ends` or the end of the string, without trailing blanks.
    pub(super) fn range_until(&self, ends: &[u8]) -> Range<usize> {
        let rest = self.rest();
        let ends_value = |offset: usize, byte: u8| match byte {
            b'"' => self.closes_json_string(offset),
            byte => ends.contains(&byte),
        };
        let len =
            rest.iter().take(MAX_VALUE).enumerate().take_while(|(offset, byte)| !ends_value(*offset, **byte)).count();
        let mut trimmed = rest.get(..len).unwrap_or_default();
        while let Some(inner) = trimmed.strip_suffix(b"\\").filter(|_| rest.get(len) == Some(&b'"')) {
            trimmed = inner;
        }
        let trimmed = trimmed.trim_ascii_end();
        let in_backticks = trimmed.strip_prefix(b"`").and_then(|inner| inner.strip_suffix(b"`"));
        match in_backticks {
            Some(inner) => self.at + 1..self.at + 1 + inner.len(),
            None => self.at..self.at + trimmed.len(),
        }
    }
}

/// Whether the name at `at` begins an element, optionally after a namespace: `<wsse:Password`.
pub(super) fn begins_element(text: &[u8], at: usize) -> bool {
    let head = text.get(at.saturating_sub(32)..at).unwrap_or_default();
    let namespace_len = head.strip_suffix(b":").map_or(0, |head| {
        1 + head.iter().rev().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count()
    });
    namespace_len != 1 && head.get(..head.len() - namespace_len).is_some_and(|head| head.ends_with(b"<"))
}

/// Length up to the `>` of a tag, after a stray quote (`hint=it's`), if only words and quotes follow.
fn tag_len_after_stray_quote(rest: &[u8], from: usize) -> Option<usize> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" =-_.\"'".contains(byte);
    let len = rest.get(from..)?.iter().take(MAX_TAG).take_while(|byte| is_plain(byte)).count();
    (rest.get(from + len) == Some(&b'>')).then_some(from + len)
}

/// Length up to the `>` of the tag that continues here; a quoted `>` does not count.
fn tag_len(rest: &[u8]) -> Option<usize> {
    let mut quote = None;
    let mut previous = b' ';
    for (offset, byte) in rest.iter().take(MAX_TAG).enumerate() {
        match (quote, *byte) {
            // An attribute's value is quoted; a quote elsewhere ends a string
            (None, b'"' | b'\'') if previous != b'=' => return tag_len_after_stray_quote(rest, offset),
            (None, b'>') => return Some(offset),
            (None, b'<') => return None,
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
        previous = if *byte == b'\\' || byte.is_ascii_whitespace() { previous } else { *byte };
    }
    None
}
