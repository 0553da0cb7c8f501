//! Reads the strings in a list, or in an object that only wraps a value, when they are the value of a key; they share
//! that key. At most [`MAX_ITEMS`] strings within 8 KiB, three brackets deep; anything but a string ends the list.

use std::ops::Range;

use super::cursor::{MAX_VALUE, PairCursor};

/// Most items of a list, with the keys in it.
const MAX_ITEMS: usize = 64;
/// Most nested brackets.
const MAX_BRACKETS: usize = 4;

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
        if matches!(cursor.byte(0), b'[' | b'{') && brackets < MAX_BRACKETS {
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
