//! Reads the strings in a list, or in an object that only wraps a value, when they are the value of a key; they share
//! that key. At most [`MAX_ITEMS`] strings within 8 KiB, three brackets deep; anything but a string ends the list.

use std::ops::Range;

use super::cursor::{MAX_VALUE, PairCursor};

/// The strings in the list or wrapping object at `at`, each with its quote: `["v", "w"]`, `[]string{"v"}`,
/// `{"S": "v"}`.
pub(crate) fn wrapped_strings(text: &[u8], at: usize) -> WrappedStrings<'_> {
    let text = text.get(..text.len().min(at.saturating_add(MAX_VALUE))).unwrap_or_default();
    let mut cursor = PairCursor { text, at };
    cursor.skip_word(b"new ");
    cursor.skip_word(b"String[]");
    if !cursor.skip_word(b"[]string") {
        cursor.skip_word(b"[]");
    }
    cursor.skip(|byte| byte == b' ');
    let has_bracket = matches!(cursor.byte(0), b'[' | b'{');
    cursor.at += usize::from(has_bracket);
    WrappedStrings { cursor, items_left: if has_bracket { MAX_ITEMS } else { 0 }, brackets_left: 3 }
}

/// Most items of a list.
const MAX_ITEMS: usize = 64;

/// Iterator over the strings of a list, see [`wrapped_strings`].
pub(crate) struct WrappedStrings<'a> {
    cursor: PairCursor<'a>,
    items_left: usize,
    /// Nested brackets that may still open.
    brackets_left: usize,
}

impl WrappedStrings<'_> {
    /// Skips blanks and line breaks, raw or escaped.
    fn skip_blanks(&mut self) {
        for _ in 0..4 {
            self.cursor.skip(|byte| byte.is_ascii_whitespace());
            let escapes = self.cursor.rest().iter().take(8).take_while(|byte| **byte == b'\\').count();
            if escapes == 0 || !b"nrt".contains(&self.cursor.byte(escapes)) {
                break;
            }
            self.cursor.at += escapes + 1;
        }
    }

    /// Reads the string at the cursor.
    fn read_string(&mut self) -> Option<(u8, Range<usize>)> {
        let (escapes, mark) = self.cursor.quote()?;
        self.cursor.at += escapes + 1;
        let range = self.cursor.quoted_range(escapes, mark);
        self.cursor.at = range.end;
        // Truncated, or without its closing quote
        match self.cursor.quote() {
            Some((escapes, found)) if found == mark => self.cursor.at += escapes + 1,
            _ => self.items_left = 0,
        }
        Some((mark, range))
    }
}

impl Iterator for WrappedStrings<'_> {
    type Item = (u8, Range<usize>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.items_left > 0 {
            self.items_left -= 1;
            self.skip_blanks();
            // A list in an object, or the other way round
            if matches!(self.cursor.byte(0), b'[' | b'{') {
                self.brackets_left = self.brackets_left.checked_sub(1)?;
                self.cursor.at += 1;
                continue;
            }
            let (mark, found) = self.read_string()?;
            self.skip_blanks();
            let is_key = self.cursor.byte(0) == b':';
            self.cursor.at += usize::from(matches!(self.cursor.byte(0), b':' | b','));
            if !is_key {
                return Some((mark, found));
            }
            if !word_set!("notation.wrapping_keys").contains(self.cursor.text.get(found).unwrap_or_default()) {
                // The key of another value, which is skipped if it is a string
                self.skip_blanks();
                self.read_string()?;
                self.skip_blanks();
                self.cursor.at += usize::from(self.cursor.byte(0) == b',');
            }
        }
        None
    }
}

/// Whether a line begins with the key at `key` and has a single `|`, at `bar`: `first_name | Ann`, as psql prints a
/// record. A header line would have dashes below it.
pub(super) fn is_record_row(text: &[u8], key: usize, bar: usize) -> bool {
    let follows_escaped_break = |at: usize| text.get(at - 2..at).is_some_and(|end| end == b"\\n");
    let begins_line = key == 0 || text.get(key - 1) == Some(&b'\n') || key > 1 && follows_escaped_break(key);
    if !begins_line {
        return false;
    }
    let rest = text.get(bar + 1..text.len().min(bar + 512)).unwrap_or_default();
    let line_len = |rest: &[u8]| rest.iter().position(|byte| matches!(byte, b'\n' | b'\\')).unwrap_or(rest.len());
    let row_len = line_len(rest);
    let has_one_bar = !rest.get(..row_len).unwrap_or_default().contains(&b'|');
    let below = rest.get(row_len..).unwrap_or_default();
    let below = below.get(below.iter().take(9).position(|byte| *byte == b'-').unwrap_or(0)..).unwrap_or_default();
    has_one_bar
        && !(below.starts_with(b"---")
            && below.get(..line_len(below)).is_some_and(|row| row.iter().all(|byte| b"-+ \r".contains(byte))))
}

/// Whether a string may have begun within `most` bytes before `at`; with `same_line`, on the same line.
pub(super) fn may_be_in_string(text: &[u8], at: usize, most: usize, same_line: bool) -> bool {
    let head = text.get(at.saturating_sub(most)..at).unwrap_or_default();
    let quote = if same_line { memchr::memrchr2(b'"', b'\n', head) } else { memchr::memrchr(b'"', head) };
    quote.and_then(|quote| head.get(quote)) == Some(&b'"')
}

/// Most bytes back to the start of the surrounding string.
const MAX_STRING_START: usize = 1024;

/// Cuts a cell at an escaped line break, or at the end of the string that contains it.
pub(super) fn cut_at_string_end(text: &[u8], cell: Range<usize>) -> Range<usize> {
    let may_be_in_json = may_be_in_string(text, cell.start, MAX_STRING_START, true);
    let text = text.get(cell.clone()).unwrap_or_default();
    if !may_be_in_json {
        return cell.start..cell.start + text.trim_ascii_end().len();
    }
    let ends_cell = |(at, byte): (usize, &u8)| match (byte, text.get(at + 1)) {
        (b'\\', next) => matches!(next, Some(b'n' | b'r' | b'\\')),
        (b'"', next) => matches!(next, None | Some(b',' | b'}' | b']')) && text.first() != Some(&b'"'),
        _ => false,
    };
    let len = text.iter().enumerate().position(|(at, byte)| ends_cell((at, byte))).unwrap_or(text.len());
    cell.start..cell.start + text.get(..len).unwrap_or_default().trim_ascii_end().len()
}
