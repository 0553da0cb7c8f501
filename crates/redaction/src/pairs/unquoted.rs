//! Reads unquoted values, up to white space or a character that ends them. At most [`MAX_VALUE`] bytes and
//! [`MAX_OPEN_BRACKETS`] nested brackets are read. Quoted values are in the parent module.

use std::ops::Range;

use super::cursor::{IN_KEY, MAX_KEY, MAX_VALUE, PairCursor};
use super::notation_words::{IN_BARE, IN_CALL, MAX_CALL_NAME, wrapper_len_at};

/// Most nested brackets in an unquoted value. Deeper nesting is not a value, and would be read again from each of its
/// keys.
const MAX_OPEN_BRACKETS: usize = 8;

/// Bytes in which the next call's bracket is searched at once.
const CALL_LOOKAHEAD: usize = 256;

/// Caches text that was read for one key and also occurs in the values of other keys.
pub(crate) struct PairReadCache {
    /// Start of the last value, if too many open brackets ended it and only they were read; otherwise `usize::MAX`.
    value_start: usize,
    /// Positions of these brackets; the value ended at the last one.
    open_brackets: [usize; MAX_OPEN_BRACKETS + 1],
    /// A range without `(`.
    without_call: Range<usize>,
}

impl Default for PairReadCache {
    fn default() -> Self {
        Self { value_start: usize::MAX, open_brackets: [0; MAX_OPEN_BRACKETS + 1], without_call: 0..0 }
    }
}

impl PairReadCache {
    /// Returns the last cached bracket of a value between `at` and `end`, and the number of brackets open after it.
    /// Drops cached brackets before the value.
    fn cached_brackets(&mut self, at: usize, end: usize) -> Option<(usize, usize)> {
        let last = *self.open_brackets.last()?;
        if self.value_start > at || at > last || last >= end {
            return None;
        }
        let dropped = self.open_brackets.iter().take_while(|bracket| **bracket < at).count();
        self.open_brackets.copy_within(dropped.., 0);
        Some((last, self.open_brackets.len() - dropped))
    }

    /// Length of the wrapper of the string at `at`, see [`wrapper_len_at`].
    pub(super) fn wrapper_len(&mut self, text: &[u8], at: usize) -> Option<usize> {
        if self.without_call.start <= at && text.len().min(at + MAX_CALL_NAME) <= self.without_call.end
            || !text.get(at).is_some_and(|first| IN_CALL.contains(*first))
        {
            return None;
        }
        let rest = text.get(at..text.len().min(at + CALL_LOOKAHEAD))?;
        let bracket = memchr::memchr(b'(', rest);
        self.without_call = at..at + bracket.unwrap_or(rest.len());
        wrapper_len_at(text.get(at..)?, bracket.filter(|bracket| *bracket < MAX_CALL_NAME)?)
    }
}

impl PairCursor<'_> {
    /// Whether the byte `offset` bytes ahead, which is not a bracket of the value, ends an unquoted value.
    /// `is_in_brackets` caches whether a `[` is open before the value.
    fn ends_bare(&self, offset: usize, byte: u8, is_in_brackets: &mut Option<bool>) -> bool {
        let next = self.byte(offset + 1);
        match byte {
            b'\\' => b"nrt\"'\\/u`".contains(&next),
            b'&' => self.rest().get(offset + 1..).is_some_and(begins_parameter),
            b'>' => next <= b' ' || b"\"'`,;<)".contains(&next),
            b']' => {
                offset == 0
                    || !next.is_ascii_alphanumeric()
                    || *is_in_brackets.get_or_insert_with(|| is_within_brackets(self.text, self.at))
            }
            b'<' => offset > 0,
            // Blanks, quotes, other marks
            _ => true,
        }
    }

    /// Reads an unquoted value.
    pub(super) fn read_unquoted(&self, cache: &mut PairReadCache) -> Range<usize> {
        let rest = self.rest();
        let window = rest.get(..rest.len().min(MAX_VALUE)).unwrap_or_default();
        let value_until = |offset: usize| self.at..self.at + trimmed_len(rest.get(..offset).unwrap_or_default());
        let (mut offset, mut open_count) = match cache.cached_brackets(self.at, self.at + window.len()) {
            Some((last, open_count)) if open_count > MAX_OPEN_BRACKETS => return value_until(last - self.at),
            Some((last, open_count)) => (last + 1 - self.at, open_count),
            None => (0, 0),
        };
        // Whether only opening brackets were seen
        let (mut is_in_brackets, mut has_only_brackets) = (None, true);
        cache.value_start = usize::MAX;
        loop {
            offset += IN_BARE.count_leading(window.get(offset..).unwrap_or_default());
            let Some(byte) = window.get(offset) else { break };
            let ends_value = match *byte {
                b'(' | b'[' | b'{' => {
                    cache.open_brackets.get_mut(open_count).into_iter().for_each(|slot| *slot = self.at + offset);
                    open_count += 1;
                    open_count > MAX_OPEN_BRACKETS
                }
                b')' | b']' | b'}' if open_count > 0 => {
                    open_count -= 1;
                    has_only_brackets = false;
                    false
                }
                byte => {
                    has_only_brackets = false;
                    self.ends_bare(offset, byte, &mut is_in_brackets)
                }
            };
            if ends_value {
                cache.value_start = if has_only_brackets { self.at } else { usize::MAX };
                return value_until(offset);
            }
            offset += 1;
        }
        value_until(window.len())
    }
}

/// Whether a `[` is open before `at` on its line.
fn is_within_brackets(text: &[u8], at: usize) -> bool {
    let head = text.get(at.saturating_sub(256)..at).unwrap_or_default();
    let mut closed = 0_usize;
    for byte in head.iter().rev().take_while(|byte| **byte != b'\n') {
        match byte {
            b']' => closed += 1,
            b'[' if closed == 0 => return true,
            b'[' => closed -= 1,
            _ => {}
        }
    }
    false
}

/// Whether `name=` follows `&`, which then separates parameters.
fn begins_parameter(rest: &[u8]) -> bool {
    let name = rest.iter().take(MAX_KEY).take_while(|byte| IN_KEY.contains(**byte) || b"[]%".contains(byte)).count();
    rest.get(name).is_some_and(|byte| b"=;".contains(byte))
}

/// Length without punctuation that ends a sentence.
fn trimmed_len(value: &[u8]) -> usize {
    value.len() - value.iter().rev().take_while(|byte| b".,:;".contains(byte)).count()
}
