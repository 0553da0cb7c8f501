//! Reads what names a value in a sibling of it: `name: KEY` before `value: v`, with comments between. The parent module
//! reads the value.

use std::ops::Range;

use super::cursor::{PairCursor, byte_before_skipping, ends_with};

impl PairCursor<'_> {
    /// Skips a one-line comment, `# …` or `// …`, that begins here.
    pub(super) fn skip_comment(&mut self) {
        if self.byte(0) == b'#' || (self.byte(0), self.byte(1)) == (b'/', b'/') {
            self.at += self.rest().iter().take(160).take_while(|byte| **byte != b'\n').count();
        }
    }

    /// Whether a quoted text follows the `+=` here, unlike in an addition.
    pub(super) fn adds_text(&self) -> bool {
        self.rest().iter().skip(2).take(8).find(|byte| **byte != b' ').is_some_and(|byte| b"\"'`".contains(byte))
    }
}

/// Whether the key at `key` is the value of `name` or `key`.
pub(crate) fn is_named_by_sibling(text: &[u8], key: &Range<usize>) -> bool {
    is_name_before(text, key).unwrap_or(false)
}

fn is_name_before(text: &[u8], key: &Range<usize>) -> Option<bool> {
    if !matches!(byte_before_skipping(text, key.start, b" \t\"'\\"), b':' | b'=') {
        return None;
    }
    let head = text.get(key.start.saturating_sub(48)..key.start)?;
    let len_without = |head: &[u8], trailing: &[u8]| {
        head.len() - head.iter().rev().take_while(|byte| trailing.contains(byte)).count()
    };
    let separator = len_without(head, b" \t\"'\\").checked_sub(1)?;
    let name = head.get(..len_without(head.get(..separator)?, b" \t\"'\\"))?;
    // `{"k": …, "v": …}`
    let is_short_name =
        || name.last() == Some(&b'k') && name.len().checked_sub(2).and_then(|at| name.get(at)) == Some(&b'"');
    let word = [&b"name"[..], b"key"].into_iter().find(|word| ends_with(name, word));
    let word = word.or_else(|| is_short_name().then_some(&b"k"[..]))?;
    let start = name.len() - word.len();
    let is_within_word =
        start > 0 && name.get(start - 1).is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte));
    let follows_escape = start > 1 && name.get(start - 2) == Some(&b'\\');
    Some(!is_within_word || follows_escape)
}

/// Whether the text at `at` is the value of a key ending in `name` or `key`, or of an HTML property.
pub(super) fn is_property_name(text: &[u8], at: usize) -> bool {
    let head = text.get(at.saturating_sub(64)..at).unwrap_or_default();
    let is_between = |byte: &&u8| b" \t\"'\\:=".contains(byte);
    let head = head.get(..head.len() - head.iter().rev().take_while(is_between).count()).unwrap_or_default();
    [&b"name"[..], b"key", b"id", b"property", b"itemprop"].iter().any(|word| ends_with(head, word))
}
