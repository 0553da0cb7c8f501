//! **What**: looks again where a value stood against a hit. **Why**: in `a@b.io0c@d.io` the second address begins within
//! a word until the first is a placeholder; what a second pass over the output would find must be found at once.
//! **Invariants**: only texts with such a hit pay; at most [`ROUNDS`] more passes.

use std::ops::Range;

use super::compile::Detector;
use super::find::Scratch;
use super::resolve::{Hit, replace, resolve};

/// Further passes.
const ROUNDS: usize = 4;

impl Detector {
    /// Adds to the hits of `text` what is found once they are placeholders.
    pub(super) fn find_again(&self, text: &str, scratch: &mut Scratch) {
        for _ in 0..ROUNDS {
            if !scratch.hits.iter().any(|hit| is_joined(text.as_bytes(), &hit.range)) {
                return;
            }
            let hits = std::mem::take(&mut scratch.hits);
            let replaced = replace(text, &hits, &mut |hit, _, out| out.push_str(self.placeholder(hit)));
            self.find_once(&replaced, scratch);
            let more = std::mem::replace(&mut scratch.hits, hits);
            if more.is_empty() {
                return;
            }
            let places = self.places(&scratch.hits);
            scratch.hits.extend(more.into_iter().map(|hit| Hit { range: back(&places, hit.range), ..hit }));
            resolve(&mut scratch.hits, &|hit| self.rules.get(hit.rule).map(|rule| rule.class));
        }
    }

    /// Where each hit stood, and where its placeholder stands.
    fn places(&self, hits: &[Hit]) -> Vec<(Range<usize>, Range<usize>)> {
        let (mut from, mut at) = (0, 0);
        let place = |hit: &Hit| {
            let start = at + (hit.range.start - from);
            let quotes = hit.bare.map_or(0, |backslashes| 2 * (usize::from(backslashes) + 1));
            at = start + self.placeholder(hit).len() + quotes;
            from = hit.range.end;
            (hit.range.clone(), start..at)
        };
        hits.iter().map(place).collect()
    }
}

/// Whether a word goes on beside a hit, perhaps in escapes.
fn is_joined(text: &[u8], range: &Range<usize>) -> bool {
    let before = text.get(range.start.saturating_sub(10)..range.start).unwrap_or_default();
    let word = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii();
    before.last().is_some_and(|byte| word(byte) || b"%+_-*~".contains(byte))
        || (before.last() == Some(&b';') && before.contains(&b'&'))
        || match text.get(range.end..).unwrap_or_default() {
            [b'\\', b'u' | b'U' | b'x', ..] | [b'&', b'#', ..] => true,
            [b'%' | b'+' | b'_' | b'-' | b'*' | b'~' | b'=', ..] => true,
            [b'.', next, ..] => word(next),
            rest => rest.first().is_some_and(word),
        }
}

/// A range of the replaced text as one of the text before; placeholders are within it whole or not at all.
fn back(places: &[(Range<usize>, Range<usize>)], range: Range<usize>) -> Range<usize> {
    let one = |at: usize, end: bool| {
        let index = places.partition_point(|(_, placed)| if end { placed.start < at } else { placed.start <= at });
        match index.checked_sub(1).and_then(|index| places.get(index)) {
            Some((held, placed)) if at < placed.end => {
                if end {
                    held.end
                } else {
                    held.start
                }
            }
            Some((held, placed)) => held.end + (at - placed.end),
            None => at,
        }
    };
    one(range.start, false)..one(range.end, true)
}
