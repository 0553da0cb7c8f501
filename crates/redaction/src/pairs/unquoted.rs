//! Reads unquoted values, up to white space or a character that ends them. At most [`VALUE`] bytes and [`OPEN`] nested
//! brackets are read. Quoted values are in the parent module.

use std::ops::Range;

use super::cursor::{IN_KEY, KEY, PairCursor, VALUE};
use super::notation_words::{CALL, IN_BARE, IN_CALL, wrapper_len_at};

/// Most nested brackets in an unquoted value. Deeper nesting is not a value, and would be read again from each of its
/// keys.
const OPEN: usize = 8;

/// Bytes in which the next call's bracket is searched at once.
const AHEAD: usize = 256;

/// Caches text that was read for one key and also occurs in the values of other keys.
pub(crate) struct PairReadCache {
    /// Start of a value that ended by too many open brackets, with no closing bracket or other mark before; otherwise
    /// beyond the text.
    from: usize,
    /// Positions of these brackets; the value ended at the last one.
    opens: [usize; OPEN + 1],
    /// A range without `(`.
    uncalled: Range<usize>,
}

impl Default for PairReadCache {
    fn default() -> Self {
        Self { from: usize::MAX, opens: [0; OPEN + 1], uncalled: 0..0 }
    }
}

impl PairReadCache {
    /// Returns the last cached bracket of a value between `at` and `end`, and the number of brackets open behind it.
    /// Drops cached brackets before the value.
    fn cached_brackets(&mut self, at: usize, end: usize) -> Option<(usize, usize)> {
        let last = *self.opens.last()?;
        if self.from > at || at > last || last >= end {
            return None;
        }
        let before = self.opens.iter().take_while(|open| **open < at).count();
        self.opens.copy_within(before.., 0);
        Some((last, self.opens.len() - before))
    }

    fn cache_bracket(&mut self, open: usize, at: usize) {
        self.opens.get_mut(open).into_iter().for_each(|slot| *slot = at);
    }

    /// Like [`wrapper`](super::wrapper), for the text at `at`.
    pub(super) fn wrapper_len(&mut self, text: &[u8], at: usize) -> Option<usize> {
        if self.uncalled.start <= at && text.len().min(at + CALL) <= self.uncalled.end
            || !text.get(at).is_some_and(|first| IN_CALL.contains(*first))
        {
            return None;
        }
        let rest = text.get(at..text.len().min(at + AHEAD))?;
        let found = memchr::memchr(b'(', rest);
        self.uncalled = at..at + found.unwrap_or(rest.len());
        wrapper_len_at(text.get(at..)?, found.filter(|called| *called < CALL)?)
    }
}

impl PairCursor<'_> {
    /// Whether the byte `on` bytes ahead, which is not a bracket of the value, ends an unquoted value. `within` caches
    /// whether a `[` is open before the value.
    fn ends_bare(&self, on: usize, byte: u8, within: &mut Option<bool>) -> bool {
        let next = self.byte(on + 1);
        match byte {
            b'\\' => b"nrt\"'\\/u`".contains(&next),
            b'&' => self.rest().get(on + 1..).is_some_and(begins_parameter),
            b'>' => next <= b' ' || b"\"'`,;<)".contains(&next),
            b']' => {
                on == 0
                    || !next.is_ascii_alphanumeric()
                    || *within.get_or_insert_with(|| is_within_brackets(self.text, self.at))
            }
            b'<' => on > 0,
            // Blanks, quotes, other marks
            _ => true,
        }
    }

    /// Reads an unquoted value.
    pub(super) fn read_unquoted(&self, read: &mut PairReadCache) -> Range<usize> {
        let rest = self.rest();
        let upto = rest.get(..rest.len().min(VALUE)).unwrap_or_default();
        let ends = |on: usize| self.at..self.at + trimmed_len(rest.get(..on).unwrap_or_default());
        let (mut on, mut open) = match read.cached_brackets(self.at, self.at + upto.len()) {
            Some((last, open)) if open > OPEN => return ends(last - self.at),
            Some((last, open)) => (last + 1 - self.at, open),
            None => (0, 0),
        };
        // Whether only opening brackets were seen
        let (mut within, mut plain) = (None, true);
        read.from = usize::MAX;
        loop {
            on += IN_BARE.count_leading(upto.get(on..).unwrap_or_default());
            let Some(byte) = upto.get(on) else { break };
            let end = match *byte {
                b'(' | b'[' | b'{' => {
                    read.cache_bracket(open, self.at + on);
                    open += 1;
                    open > OPEN
                }
                b')' | b']' | b'}' if open > 0 => {
                    open -= 1;
                    plain = false;
                    false
                }
                byte => {
                    plain = false;
                    self.ends_bare(on, byte, &mut within)
                }
            };
            if end {
                read.from = if plain { self.at } else { usize::MAX };
                return ends(on);
            }
            on += 1;
        }
        ends(upto.len())
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
    let name = rest.iter().take(KEY).take_while(|byte| IN_KEY.contains(**byte) || b"[]%".contains(byte)).count();
    rest.get(name).is_some_and(|byte| b"=;".contains(byte))
}

/// Length without punctuation that ends a sentence.
fn trimmed_len(value: &[u8]) -> usize {
    value.len() - value.iter().rev().take_while(|byte| b".,:;".contains(byte)).count()
}
