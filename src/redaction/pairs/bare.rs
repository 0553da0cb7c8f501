//! **What**: values without quotes: up to white space or what else ends one. **Invariants**: at most [`VALUE`] bytes, and [`OPEN`] brackets
//! within brackets, are read. **Not here**: quoted ones (`super`).

use std::ops::Range;

use super::words::IN_BARE;
use super::{Cursor, IN_KEY, KEY, VALUE};

/// Most brackets that are open at a place of a value without quotes: what is deeper is no value, and would be read from each of its keys.
const OPEN: usize = 8;

impl Cursor<'_> {
    /// Whether the byte `on` bytes ahead, which opens no bracket nor closes one of the value, ends a value without quotes. `within`:
    /// whether a `[` is open before it, once that is known.
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
            // blanks, quotes, marks
            _ => true,
        }
    }

    /// A value without quotes.
    pub(super) fn bare(&self) -> Range<usize> {
        let rest = self.rest();
        let upto = rest.get(..rest.len().min(VALUE)).unwrap_or_default();
        let (mut open, mut on, mut within) = (0_usize, 0, None);
        loop {
            on += IN_BARE.leading(upto.get(on..).unwrap_or_default());
            let Some(byte) = upto.get(on) else { break };
            let ends = match *byte {
                b'(' | b'[' | b'{' => {
                    open += 1;
                    open > OPEN
                }
                b')' | b']' | b'}' if open > 0 => {
                    open -= 1;
                    false
                }
                byte => self.ends_bare(on, byte, &mut within),
            };
            if ends {
                return self.at..self.at + trim_end(rest.get(..on).unwrap_or_default());
            }
            on += 1;
        }
        self.at..self.at + trim_end(upto)
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

/// `name=` follows `&`: it parts parameters, and is no part of a value.
fn begins_parameter(rest: &[u8]) -> bool {
    let name = rest.iter().take(KEY).take_while(|byte| IN_KEY.has(**byte) || b"[]%".contains(byte)).count();
    rest.get(name).is_some_and(|byte| b"=;".contains(byte))
}

/// Length without the marks that end a sentence.
fn trim_end(value: &[u8]) -> usize {
    value.len() - value.iter().rev().take_while(|byte| b".,:;".contains(byte)).count()
}
